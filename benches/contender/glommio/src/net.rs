use std::future::Future;
use std::io;
use std::os::fd::{FromRawFd, IntoRawFd};

use futures_util::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use ringloop_benches::net::Net;

use crate::Glommio;

impl Net for Glommio {
    type Listener = TcpListener;
    type Stream = (TcpStream, Vec<u8>);

    fn listen(listener: std::net::TcpListener) -> io::Result<TcpListener> {
        // SAFETY: the descriptor is handed over.
        Ok(unsafe { TcpListener::from_raw_fd(listener.into_raw_fd()) })
    }

    async fn accept(listener: &mut TcpListener, room: usize) -> io::Result<Self::Stream> {
        Ok((listener.accept().await?, vec![0; room]))
    }

    async fn pass_back((stream, buffer): &mut Self::Stream) -> io::Result<usize> {
        let count = stream.read(buffer).await?;
        stream.write_all(&buffer[..count]).await?;
        Ok(count)
    }

    fn detach(task: impl Future<Output = ()> + 'static) {
        glommio::spawn_local(task).detach();
    }
}
