//! `TcpStream`: one connection, both halves.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::io::{AsyncBufRead, AsyncRead, AsyncWrite};

use super::address::ToAddrs;
use super::connect::Connect;
use super::lines::{LineStream, Source, read_exact, read_line, read_until, readable, try_read};
use super::out_queue::OutQueue;
use super::owned::WriteOwned;
use super::receiver::Receiver;
use super::socket::{Socket, SocketKind};
use super::split::{OwnedReadHalf, OwnedWriteHalf};
use crate::buf::IoBuf;
use crate::error::BufResult;
use crate::op::net::Chunk;

/// A TCP connection.
///
/// **Reading** takes plain `&mut [u8]`, by `&self`. The receive belongs to the connection: a read that is dropped (by
/// `select!`, a timeout, a cancel) leaves it in place, and the next read gets its bytes. Two tasks that read take turns,
/// first come first served.
///
/// **Writing** takes plain `&[u8]` and is write-behind, like asyncio's and like the kernel's own socket buffer: a write
/// returns when its bytes are accepted into the connection's queue, at most 64 KiB ahead of the kernel. An error shows at
/// the next `write`, `flush` or `close`. A `write_all` keeps its turn until all is accepted, so two never interleave.
///
/// **Dropping** the stream closes the connection in order: what was accepted is still sent, within the limits of
/// `Builder::detached_writers`. Use [`close`](Self::close) to learn whether it was.
///
/// It also implements the traits of `futures-io`, by value and by reference, and `AsyncBufRead` over the same buffer. Poll
/// those from one task at a time: they do not queue.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ringloop::net::{TcpListener, TcpStream};
/// ringloop::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let address = listener.local_addr()?;
///     let server = ringloop::create_task(async move {
///         let (peer, _) = listener.accept().await?;
///         let mut buf = [0; 64];
///         let count = peer.read(&mut buf).await?;
///         peer.write_all(&buf[..count]).await
///     });
///     let stream = TcpStream::connect(address).await?;
///     stream.write_all(b"hello").await?;
///     let mut answer = [0; 5];
///     stream.read_exact(&mut answer).await?;
///     assert_eq!(&answer, b"hello");
///     server.await?
/// })??;
/// # Ok(()) }
/// ```
pub struct TcpStream {
    /// What comes in. Boxed, as what goes out is: a stream is moved about, and a future that takes one keeps it twice.
    pub(super) receiver: Box<Receiver>,
    /// What goes out.
    pub(super) out: WriteEnd,
}

/// The end of a queue that a user holds; its drop leaves the queue to send the rest.
pub(super) struct WriteEnd(Rc<OutQueue>);

impl WriteEnd {
    pub(super) fn new(queue: Rc<OutQueue>) -> Self {
        WriteEnd(queue)
    }
}

impl std::ops::Deref for WriteEnd {
    type Target = Rc<OutQueue>;

    fn deref(&self) -> &Rc<OutQueue> {
        &self.0
    }
}

impl Drop for WriteEnd {
    fn drop(&mut self) {
        self.0.detach();
    }
}

impl TcpStream {
    pub(super) fn new(socket: Socket) -> Self {
        TcpStream { receiver: Box::new(Receiver::new()), out: WriteEnd::new(OutQueue::new(socket)) }
    }

    /// Connects to the first address of `to` that answers; await it, or set options first.
    pub fn connect(to: impl ToAddrs) -> Connect<TcpStream> {
        Connect::new(to.to_target(), Ok)
    }

    /// Takes over a socket of std. It may be blocking or not, and it need not be connected yet.
    ///
    /// # Errors
    /// `InvalidInput`: the descriptor is not a stream socket, or it listens. The text says which.
    pub fn from_std(stream: std::net::TcpStream) -> io::Result<Self> {
        let socket = Socket::new(OwnedFd::from(stream));
        SocketKind::TcpStream.check(socket.options())?;
        Ok(Self::new(socket))
    }

    fn socket(&self) -> &Socket {
        &self.out.socket
    }

    fn source(&self) -> Source<'_> {
        Source { receiver: &self.receiver, socket: &self.out }
    }

    /// Reads what is there, at most `buf.len()` bytes, and waits for some if nothing is; 0 is the end of the peer's side.
    ///
    /// # Errors
    /// `ConnectionReset` and what recv(2) names.
    ///
    /// # Cancellation
    /// Nothing is lost: what arrives is given to the next read.
    pub async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        read(&self.receiver, &self.out, buf).await
    }

    /// Waits until a read would not wait: there is data, or the end, or an error. It may be wrong: then
    /// [`try_read`](Self::try_read) says `WouldBlock`.
    ///
    /// The pair is for thousands of connections that rest: while it waits, a connection holds no buffer, neither the
    /// caller's nor the kernel's.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    /// Nothing is lost.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ringloop::net::{TcpListener, TcpStream};
    /// ringloop::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     listener.accept().await?.0.write_all(b"hello").await?;
    ///     let count = loop {
    ///         stream.readable().await?;
    ///         let mut buf = [0; 4096]; // not kept across an await
    ///         match stream.try_read(&mut buf) {
    ///             Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
    ///             read => break read?,
    ///         }
    ///     };
    ///     assert_eq!(count, 5);
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    pub async fn readable(&self) -> io::Result<()> {
        readable(self.source()).await
    }

    /// Reads what is there, at most `buf.len()` bytes, without waiting; 0 is the end of the peer's side.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there, or other tasks wait to read; otherwise as [`read`](Self::read).
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        try_read(self.source(), buf)
    }

    /// Fills `buf`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the peer ends its side before; otherwise as [`read`](Self::read). What has come stays with the
    /// connection.
    ///
    /// # Cancellation
    /// Nothing is lost: all of it is read, or nothing. What has been copied into `buf` goes back to the connection, and
    /// the next read gets it.
    pub async fn read_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        read_exact(self.source(), buf).await
    }

    /// Reads a line with its end, `\n`, appends it, and returns its length in bytes; 0 is the end of the peer's side. The
    /// last line may have no end.
    ///
    /// Prefer this over `read_line` of `AsyncBufReadExt`, which loses what it has read when it is dropped. Where that
    /// trait is imported, a variable of type `&mut TcpStream` chooses the trait's: write `(&*stream).read_line(..)`.
    ///
    /// # Errors
    /// `InvalidData` for a line that is not UTF-8, which is skipped (take [`read_until`](Self::read_until) for such);
    /// otherwise as [`read`](Self::read).
    ///
    /// # Cancellation
    /// Nothing is lost: a whole line is read, or nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ringloop::net::{TcpListener, TcpStream};
    /// use std::time::Duration;
    /// ringloop::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     let (peer, _) = listener.accept().await?;
    ///     peer.write_all(b"hel").await?;
    ///     let mut line = String::new();
    ///     let limit = Duration::from_millis(5);
    ///     assert!(ringloop::timeout(limit, stream.read_line(&mut line)).await.is_err());
    ///     peer.write_all(b"lo\n").await?;
    ///     stream.read_line(&mut line).await?;
    ///     assert_eq!(line, "hello\n");
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "readline")]
    pub async fn read_line(&self, line: &mut String) -> io::Result<usize> {
        read_line(self.source(), line).await
    }

    /// Reads all up to and with `delimiter`, appends it, and returns how many bytes that were; 0 is the end of the peer's
    /// side. At that end the delimiter may be missing.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    /// Nothing is lost: all is read, or nothing.
    #[doc(alias = "readuntil")]
    pub async fn read_until(&self, delimiter: u8, bytes: &mut Vec<u8>) -> io::Result<usize> {
        read_until(self.source(), delimiter, bytes).await
    }

    /// Returns the lines from here on. Where `AsyncBufReadExt` is imported its `lines`, which takes the stream by value, is
    /// chosen before this one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ringloop::net::{TcpListener, TcpStream};
    /// ringloop::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let stream = TcpStream::connect(listener.local_addr()?).await?;
    ///     listener.accept().await?.0.write_all(b"one\r\ntwo").await?;
    ///     let mut lines = stream.lines();
    ///     assert_eq!(lines.next().await.transpose()?.as_deref(), Some("one"));
    ///     assert_eq!(lines.next().await.transpose()?.as_deref(), Some("two"));
    ///     assert!(lines.next().await.is_none());
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    pub fn lines(&self) -> LineStream<'_> {
        LineStream::new(self.source())
    }

    /// The next bytes in the buffer into which the kernel put them, without a copy; None at the end.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn read_chunk(&self) -> io::Result<Option<Chunk>> {
        let _turn = self.receiver.turns.take().await;
        std::future::poll_fn(|cx| self.receiver.poll_chunk(&self.out, cx)).await
    }

    /// Accepts what fits of `buf` and returns how much that is; waits while the queue is above its high-water mark.
    ///
    /// # Errors
    /// The first error of what was written before, `BrokenPipe` after the side was shut down.
    ///
    /// # Cancellation
    /// Dropped while it waits, nothing of `buf` was accepted.
    pub async fn write(&self, buf: &[u8]) -> io::Result<usize> {
        write(&self.out, buf).await
    }

    /// Has all of `buf` accepted, in one piece: other writers wait.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    ///
    /// # Cancellation
    /// Dropped midway, a first part of `buf` is accepted and will be sent, once; the rest never. The connection can go on,
    /// its framing usually cannot.
    pub async fn write_all(&self, buf: &[u8]) -> io::Result<()> {
        write_all(&self.out, buf).await
    }

    /// Sends a buffer without copying it, behind what is queued; it comes back when the kernel has taken it all.
    ///
    /// # Errors
    /// The `io::Error`, the buffer, and how many of its bytes were sent.
    ///
    /// # Cancellation
    /// Dropped before its turn, nothing is sent; afterwards all of it is, and the buffer is freed then.
    pub fn write_owned<B: IoBuf>(&self, buf: B) -> impl Future<Output = BufResult<B>> + use<'_, B> {
        WriteOwned::new(&self.out, buf)
    }

    /// Waits until the kernel has taken everything that was accepted.
    ///
    /// # Errors
    /// The first error of what was written.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub async fn flush(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.out.poll_idle(cx)).await
    }

    /// Sends what is queued, then ends our side; the peer reads the end. Reading goes on.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    ///
    /// # Cancellation
    /// The end is queued at the first poll and comes anyway.
    pub async fn shutdown_write(&self) -> io::Result<()> {
        self.out.shut_down();
        self.flush().await
    }

    /// Sends what is queued and closes the connection: the way to learn whether everything went out.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    ///
    /// # Cancellation
    /// As a drop of the stream.
    pub async fn close(self) -> io::Result<()> {
        let flushed = self.flush().await;
        self.receiver.stop().await;
        self.out.let_go().await;
        flushed
    }

    /// Ends the connection at once with a reset: what is queued is lost, the peer gets `ConnectionReset`.
    pub fn abort(self) {
        self.out.abort();
    }

    /// Two halves for two tasks. They are joined again by nothing: the connection ends with the second.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let TcpStream { receiver, out } = self;
        (OwnedReadHalf { receiver, socket: out.clone() }, OwnedWriteHalf { out })
    }

    /// Hands the connection on: sends what is queued, ends the receive in flight, and gives std's stream together with the
    /// bytes that had been received and not read.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); or no descriptor is left.
    ///
    /// # Cancellation
    /// As a drop of the stream.
    pub async fn into_std(self) -> io::Result<(std::net::TcpStream, Bytes)> {
        self.flush().await?;
        let rest = self.receiver.stop().await;
        self.out.let_go().await;
        let fd = self.socket().duplicate()?;
        Ok((fd.into(), rest.into()))
    }

    /// The address of this end. getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket().options().local_addr()?.ip()
    }

    /// The address of the other end. getpeername(2).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().options().peer_addr()?.ip()
    }

    /// Whether small writes are sent at once (TCP_NODELAY) instead of being collected (Nagle's algorithm).
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.socket().options().nodelay()?)
    }

    /// Sets TCP_NODELAY.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        Ok(self.socket().options().set_nodelay(on)?)
    }

    /// Whether the kernel asks a silent peer for a sign of life (SO_KEEPALIVE).
    pub fn set_keepalive(&self, on: bool) -> io::Result<()> {
        Ok(self.socket().options().set_keepalive(on)?)
    }

    /// How long a close waits for the peer (SO_LINGER), in whole seconds, rounded up; zero resets. Such a close happens on the
    /// thread pool.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.socket().set_linger(linger)
    }

    /// The hop limit of what is sent (IP_TTL).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        Ok(self.socket().options().set_ttl(ttl)?)
    }

    /// The kernel's buffer for what comes in, in bytes (SO_RCVBUF).
    pub fn set_recv_buffer_size(&self, bytes: usize) -> io::Result<()> {
        Ok(self.socket().options().set_recv_buffer_size(bytes)?)
    }

    /// The kernel's buffer for what goes out, in bytes (SO_SNDBUF).
    pub fn set_send_buffer_size(&self, bytes: usize) -> io::Result<()> {
        Ok(self.socket().options().set_send_buffer_size(bytes)?)
    }
}

pub(super) async fn read(receiver: &Receiver, socket: &Rc<OutQueue>, buf: &mut [u8]) -> io::Result<usize> {
    let _turn = receiver.turns.take().await;
    std::future::poll_fn(|cx| receiver.poll_read(socket, cx, buf)).await
}

pub(super) async fn write(out: &Rc<OutQueue>, buf: &[u8]) -> io::Result<usize> {
    let _turn = out.turns.take().await;
    std::future::poll_fn(|cx| out.poll_write(cx, buf)).await
}

pub(super) async fn write_all(out: &Rc<OutQueue>, mut buf: &[u8]) -> io::Result<()> {
    let _turn = out.turns.take().await;
    while !buf.is_empty() {
        let count = std::future::poll_fn(|cx| out.poll_write(cx, buf)).await?;
        buf = &buf[count..];
    }
    Ok(())
}

pub(super) fn poll_close(out: &Rc<OutQueue>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    out.shut_down();
    out.poll_idle(cx)
}

impl AsyncRead for &TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.receiver.poll_read(&self.out, cx, buf)
    }
}

impl AsyncWrite for &TcpStream {
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

impl AsyncRead for TcpStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut &*self).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut &*self).poll_close(cx)
    }
}

/// The connection's own buffer: no `BufReader` is needed. A future of `AsyncBufReadExt` that is dropped midway loses what
/// it has consumed: see [`read_line`](TcpStream::read_line).
impl AsyncBufRead for TcpStream {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let stream = self.get_mut();
        ready!(stream.receiver.poll_fill(&stream.out, cx))?;
        Poll::Ready(Ok(stream.receiver.filled()))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        self.get_mut().receiver.consume(count);
    }
}

impl AsFd for TcpStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

impl AsRawFd for TcpStream {
    fn as_raw_fd(&self) -> RawFd {
        self.socket().as_raw_fd()
    }
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("fd", &self.as_raw_fd())
            .field("peer", &self.peer_addr().ok())
            .finish()
    }
}

/// Two pointers: a stream is moved into tasks and futures all the time.
const _: () = assert!(size_of::<TcpStream>() == 16);
