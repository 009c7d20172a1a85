use std::future::Future;
use std::io;

use ringloop_benches::net::Net;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

use crate::{EXECUTOR, Smol};

impl Net for Smol {
    type Listener = TcpListener;
    type Stream = (TcpStream, Vec<u8>);

    fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        smol::Async::new(listener).map(TcpListener::from)
    }

    async fn accept(listener: &mut TcpListener, room: usize) -> io::Result<Self::Stream> {
        let (stream, _) = listener.accept().await?;
        Ok((stream, vec![0; room]))
    }

    async fn pass_back((stream, buffer): &mut Self::Stream) -> io::Result<usize> {
        let count = stream.read(buffer).await?;
        stream.write_all(&buffer[..count]).await?;
        Ok(count)
    }

    fn detach(task: impl Future<Output = ()> + 'static) {
        EXECUTOR.with(|executor| executor.spawn(task).detach());
    }
}
