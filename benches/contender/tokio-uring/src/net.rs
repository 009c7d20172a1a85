use std::future::Future;
use std::io;

use ringloop_benches::net::Net;
use tokio_uring::net::{TcpListener, TcpStream};

use crate::TokioUring;

impl Net for TokioUring {
    type Listener = TcpListener;
    type Stream = (TcpStream, Vec<u8>);

    fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        Ok(TcpListener::from_std(listener))
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
        written.map(|()| count)
    }

    fn detach(task: impl Future<Output = ()> + 'static) {
        tokio_uring::spawn(task);
    }
}
