use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;

use kimojio::operations;
use ringloop_benches::net::Net;

use crate::Kimojio;

impl Net for Kimojio {
    type Listener = TcpListener;
    type Stream = (OwnedFd, Vec<u8>);

    fn listen(listener: TcpListener) -> io::Result<TcpListener> {
        Ok(listener)
    }

    async fn accept(listener: &mut TcpListener, room: usize) -> io::Result<Self::Stream> {
        Ok((operations::accept(listener).await?, vec![0; room]))
    }

    async fn pass_back((stream, buffer): &mut Self::Stream) -> io::Result<usize> {
        let count = operations::read(stream, buffer).await?;
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let sent = operations::write(stream, rest).await?;
            rest = &rest[sent..];
        }
        Ok(count)
    }

    fn detach(task: impl Future<Output = ()> + 'static) {
        drop(operations::spawn_task(task));
    }
}
