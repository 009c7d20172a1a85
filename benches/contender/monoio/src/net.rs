use std::future::Future;
use std::io;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use ringloop_benches::net::Net;

use crate::Monoio;

impl Net for Monoio {
    type Listener = TcpListener;
    type Stream = (TcpStream, Vec<u8>);

    fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        TcpListener::from_std(listener)
    }

    async fn accept(listener: &mut TcpListener, room: usize) -> io::Result<Self::Stream> {
        let (stream, _) = listener.accept().await?;
        Ok((stream, Vec::with_capacity(room)))
    }

    async fn pass_back((stream, buffer): &mut Self::Stream) -> io::Result<usize> {
        let (read, filled) = stream.read(std::mem::take(buffer)).await;
        let count = read?;
        let (written, sent) = stream.write_all(filled).await;
        *buffer = sent;
        written.map(|_| count)
    }

    fn detach(task: impl Future<Output = ()> + 'static) {
        drop(monoio::spawn(task));
    }
}
