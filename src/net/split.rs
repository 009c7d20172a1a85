//! The halves of a connection, for two tasks.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_util::io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::lines::{LineStream, Source, read_exact, read_line, read_until, readable, try_read};
use super::out_queue::OutQueue;
use super::owned::WriteOwned;
use super::receiver::Receiver;
use super::stream::{WriteEnd, poll_close, read, write, write_all};
use crate::buf::IoBuf;
use crate::error::BufResult;
use crate::op::net::Chunk;

/// The reading half of a [`TcpStream`](super::TcpStream); its calls mean what the stream's do.
pub struct OwnedReadHalf {
    pub(super) receiver: Box<Receiver>,
    pub(super) socket: Rc<OutQueue>,
}

impl OwnedReadHalf {
    /// See [`TcpStream::read`](super::TcpStream::read).
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        read(&self.receiver, &self.socket, buf).await
    }

    /// See [`TcpStream::readable`](super::TcpStream::readable).
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn readable(&self) -> io::Result<()> {
        readable(self.source()).await
    }

    /// See [`TcpStream::try_read`](super::TcpStream::try_read).
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        try_read(self.source(), buf)
    }

    /// See [`TcpStream::read_exact`](super::TcpStream::read_exact).
    ///
    /// # Cancellation
    /// Nothing is lost: all of it is read, or nothing.
    pub async fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        read_exact(self.source(), buf).await
    }

    /// See [`TcpStream::read_line`](super::TcpStream::read_line).
    ///
    /// # Cancellation
    /// Nothing is lost: a whole line is read, or nothing.
    pub async fn read_line(&self, line: &mut String) -> io::Result<usize> {
        read_line(self.source(), line).await
    }

    /// See [`TcpStream::read_until`](super::TcpStream::read_until).
    ///
    /// # Cancellation
    /// Nothing is lost: all is read, or nothing.
    pub async fn read_until(&self, delimiter: u8, bytes: &mut Vec<u8>) -> io::Result<usize> {
        read_until(self.source(), delimiter, bytes).await
    }

    /// See [`TcpStream::lines`](super::TcpStream::lines).
    pub fn lines(&self) -> LineStream<'_> {
        LineStream::new(self.source())
    }

    fn source(&self) -> Source<'_> {
        Source { receiver: &self.receiver, socket: &self.socket }
    }

    /// See [`TcpStream::read_chunk`](super::TcpStream::read_chunk).
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn read_chunk(&self) -> io::Result<Option<Chunk>> {
        let _turn = self.receiver.turns.take().await;
        std::future::poll_fn(|cx| self.receiver.poll_chunk(&self.socket, cx)).await
    }
}

impl AsyncRead for OwnedReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.receiver.poll_read(&self.socket, cx, buf)
    }
}

impl AsyncBufRead for OwnedReadHalf {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let half = self.get_mut();
        ready!(half.receiver.poll_fill(&half.socket, cx))?;
        Poll::Ready(Ok(half.receiver.filled()))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        self.get_mut().receiver.consume(count);
    }
}

/// The writing half of a [`TcpStream`](super::TcpStream); its calls mean what the stream's do. Dropping it sends what is
/// queued and ends our side of the connection: the peer reads the end.
pub struct OwnedWriteHalf {
    pub(super) out: WriteEnd,
}

impl OwnedWriteHalf {
    /// See [`TcpStream::write`](super::TcpStream::write).
    ///
    /// # Cancellation
    /// Dropped while it waits, nothing was accepted.
    pub async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        write(&self.out, buf).await
    }

    /// See [`TcpStream::write_all`](super::TcpStream::write_all).
    ///
    /// # Cancellation
    /// Dropped midway, a first part is accepted and will be sent, once.
    pub async fn write_all(&self, buf: &[u8]) -> io::Result<()> {
        write_all(&self.out, buf).await
    }

    /// See [`TcpStream::write_owned`](super::TcpStream::write_owned).
    ///
    /// # Cancellation
    /// Dropped before its turn, nothing is sent; afterwards all of it is.
    pub fn write_owned<B: IoBuf>(&self, buf: B) -> impl Future<Output = BufResult<B>> + use<'_, B> {
        WriteOwned::new(&self.out, buf)
    }

    /// See [`TcpStream::flush`](super::TcpStream::flush).
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn flush(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.out.poll_idle(cx)).await
    }

    /// See [`TcpStream::shutdown_write`](super::TcpStream::shutdown_write).
    ///
    /// # Cancellation
    /// The end is queued at the first poll and comes anyway.
    pub async fn shutdown_write(&self) -> io::Result<()> {
        self.out.shut_down();
        self.flush().await
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        self.out.shut_down();
    }
}

impl AsyncWrite for OwnedWriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.out.poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.out.poll_idle(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_close(&self.out, cx)
    }
}
