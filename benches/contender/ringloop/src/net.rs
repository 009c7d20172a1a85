use std::io;

use ringloop::net::{TcpListener, TcpStream};
use ringloop_benches::net::Net;

use crate::Ringloop;

impl Net for Ringloop {
    type Listener = TcpListener;
    type Stream = TcpStream;

    fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
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
