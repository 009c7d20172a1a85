use std::future::Future;
use std::io;

use compio::BufResult;
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::{TcpListener, TcpStream};
use ringloop_benches::net::Net;

use crate::Compio;

impl Net for Compio {
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
        let BufResult(read, filled) = stream.read(std::mem::take(buffer)).await;
        let count = read?;
        let BufResult(written, sent) = stream.write_all(filled).await;
        *buffer = sent;
        buffer.clear();
        written.map(|()| count)
    }

    fn detach(task: impl Future<Output = ()> + 'static) {
        compio::runtime::spawn(task).detach();
    }
}
