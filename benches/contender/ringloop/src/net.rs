use std::future::Future;
use std::io;

use ringloop::net::{TcpListener, TcpStream};
use ringloop_benches::net::Net;

use crate::{Ringloop, With};

/// Plain reads and writes.
impl Net for Ringloop {
    type Listener = TcpListener;
    type Stream = (TcpStream, Vec<u8>);

    fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
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
        drop(ringloop::create_task(task));
    }
}

/// What arrives is sent from the buffer it lies in: a connection has no buffer of its own.
pub struct Chunks;

impl Net for With<Chunks> {
    type Listener = TcpListener;
    type Stream = TcpStream;

    fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        TcpListener::from_std(listener)
    }

    async fn accept(listener: &mut TcpListener, _room: usize) -> io::Result<TcpStream> {
        let (stream, _) = listener.accept().await?;
        Ok(stream)
    }

    async fn pass_back(stream: &mut TcpStream) -> io::Result<usize> {
        match stream.read_chunk().await? {
            Some(chunk) => Ok(stream.write_owned(chunk).await?.0),
            None => Ok(0),
        }
    }

    fn detach(task: impl Future<Output = ()> + 'static) {
        Ringloop::detach(task);
    }
}
