use std::future::Future;
use std::io;

use ringloop_benches::net::Net;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::{Local, Tokio};

impl Net for Tokio {
    type Listener = TcpListener;
    type Stream = (TcpStream, Vec<u8>);

    fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
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
        tokio::spawn(Local(task));
    }
}
