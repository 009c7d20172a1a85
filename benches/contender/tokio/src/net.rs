use std::io;

use ringloop_benches::net::Net;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Tokio;

impl Net for Tokio {
    type Listener = TcpListener;
    type Stream = TcpStream;

    fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }

    async fn accept(listener: &mut TcpListener) -> io::Result<TcpStream> {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn pass_back(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let count = stream.read(buffer).await?;
        stream.write_all(&buffer[..count]).await?;
        Ok(count)
    }
}
