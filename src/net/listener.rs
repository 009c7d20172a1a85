//! `TcpListener`: accepting connections.
//!
//! The listener keeps the accepts it has submitted: one at rest, a few while they complete at once. They wait before they try.
//! What is accepted and not yet taken, and what is in flight, is together at most [`AHEAD`]. A dropped `accept` leaves its
//! connection here for the next. Out of descriptors, it waits for the next close of a socket, or for a timer; it neither spins
//! nor fails. A drop ends the accepts before it returns, so that the port is free, as with std.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::stream::Stream;

use super::address::{ToAddrs, resolve};
use super::socket::{NextClose, Socket, SocketKind};
use super::stream::TcpStream;
use super::turn::Turns;
use crate::error::is_end_of_loop;
use crate::executor::yield_now;
use crate::op::net::Accept;
use crate::reactor::{self, Op, end_now};
use crate::sys::Errno;
use crate::sys::socket::{SockAddr, SockRef, tcp};
use crate::time::{Sleep, sleep};

/// The most accepts in flight together with connections accepted and not yet taken.
const AHEAD: usize = 8;
/// The pause after running out of descriptors or memory, if no socket is closed meanwhile.
const STARVED: Duration = Duration::from_millis(50);
/// Connections that the kernel completes before they are accepted.
const BACKLOG: i32 = 1024;

type Pending = Op<io::Result<(OwnedFd, SockAddr)>>;

/// A listening TCP socket.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ringloop::net::{TcpListener, TcpStream};
/// ringloop::run(async {
///     let listener = TcpListener::bind("127.0.0.1:0").await?;
///     let client = ringloop::create_task(TcpStream::connect(listener.local_addr()?));
///     let (stream, peer) = listener.accept().await?;
///     assert_eq!(stream.peer_addr()?, peer);
///     client.await?.map(drop)
/// })??;
/// # Ok(()) }
/// ```
pub struct TcpListener {
    socket: Rc<Socket>,
    /// Accepts in flight.
    pending: Cell<Vec<Pending>>,
    /// Connections accepted and not yet taken.
    ready: RefCell<VecDeque<(OwnedFd, SockAddr)>>,
    /// How many accepts to keep in flight: more while they complete at once.
    ahead: Cell<usize>,
    /// The pause after running out of descriptors: it ends by time, or with the next close of a socket.
    pause: Cell<Option<(Sleep, NextClose)>>,
    /// Who accepts.
    turns: Turns,
}

impl TcpListener {
    /// Listens on the first address of `to` that can be bound. SO_REUSEADDR is set, as asyncio and
    /// tokio do, and TCP_NODELAY, which its connections inherit, as asyncio does.
    ///
    /// # Errors
    /// `AddrInUse`, `PermissionDenied` and what bind(2) and listen(2) name, for the last address tried.
    ///
    /// # Cancellation
    /// Nothing to lose.
    pub async fn bind(to: impl ToAddrs) -> io::Result<Self> {
        let mut last = None;
        for address in resolve(to.to_target()).await? {
            match open(address) {
                Ok(socket) => return Ok(Self::new(socket)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "the name has no address to listen on")
        }))
    }

    /// Takes over a listening socket of std. It may be blocking or not.
    ///
    /// # Errors
    /// `InvalidInput`: the descriptor is not a stream socket that listens. The text says what it is.
    pub fn from_std(listener: std::net::TcpListener) -> io::Result<Self> {
        let fd = OwnedFd::from(listener);
        SocketKind::TcpListener.check(SockRef::of(&fd))?;
        Ok(Self::new(fd))
    }

    fn new(fd: OwnedFd) -> Self {
        TcpListener {
            socket: Rc::new(Socket::new(fd)),
            pending: Cell::default(),
            ready: RefCell::default(),
            ahead: Cell::new(1),
            pause: Cell::new(None),
            turns: Turns::new(),
        }
    }

    /// The next connection, and its peer's address. Several tasks take turns. Connections come in the order in which the
    /// kernel completed them; on old kernels (seen on 6.1) up to eight that came at once may change places.
    ///
    /// # Errors
    /// What accept(2) names for the listener itself. Errors of one incoming connection are passed over; running out of
    /// descriptors is waited out.
    ///
    /// # Cancellation
    /// Nothing is lost: a connection that comes is given to the next accept.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let _turn = self.turns.take().await;
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// The connections, one after the other, without an end. Poll it from one task, which takes no turns.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        loop {
            let taken = self.ready.borrow_mut().pop_front();
            if let Some((fd, peer)) = taken {
                let stream = TcpStream::new(Socket::new(fd));
                return Poll::Ready(peer.ip().map(|peer| (stream, peer)));
            }
            if let Some((mut pause, mut close)) = self.pause.take()
                && close.poll(cx).is_pending()
                && Pin::new(&mut pause).poll(cx).is_pending()
            {
                self.pause.set(Some((pause, close)));
                return Poll::Pending;
            }
            ready!(self.poll_pending(cx))?;
        }
    }

    /// Keeps accepts in flight, and takes in those that have ended: ready when there is something to look at.
    fn poll_pending(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (mut pending, mut accepted) = (self.pending.take(), self.ready.take());
        let (before, mut number) = (pending.len(), 0);
        while pending.len() < self.ahead.get() {
            let waits = reactor::current().is_some_and(|reactor| reactor.accepts_wait());
            pending.push(Op::new(Accept::new(self.socket.clone(), waits)));
        }
        let (asked, mut failed) = (pending.len(), None);
        pending.retain_mut(|accept| {
            number += 1;
            let Poll::Ready(result) = Pin::new(accept).poll(cx) else { return true };
            match result {
                Ok(connection) => accepted.push_back(connection),
                // It has ended with the loop that it was with, which says nothing about the listener.
                Err(error) if number <= before && is_end_of_loop(&error) => {}
                Err(error) => failed = Some(error),
            }
            false
        });
        let (left, count) = (pending.len(), accepted.len());
        self.pending.set(pending);
        self.ready.replace(accepted);
        // One at rest; twice as many as long as all of them complete at once.
        self.ahead.set(if left == 0 && failed.is_none() { (asked * 2).min(AHEAD) } else { 1 });
        match failed {
            None if left == asked => Poll::Pending,
            None => Poll::Ready(Ok(())),
            Some(error) if is_starved(&error) => {
                self.pause.set(Some((sleep(STARVED), NextClose::from_now())));
                Poll::Ready(Ok(()))
            }
            Some(error) if count > 0 || is_of_one_connection(&error) => {
                tracing::debug!(target: "ringloop", %error, "accept");
                Poll::Ready(Ok(()))
            }
            Some(error) => Poll::Ready(Err(error)),
        }
    }

    /// Closes the listener and waits until the kernel has ended its accepts. A drop does the same without
    /// waiting, which is enough but for a kernel that is out of memory.
    ///
    /// # Cancellation
    /// As a drop of the listener.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ringloop::net::TcpListener;
    /// ringloop::run(async {
    ///     let listener = TcpListener::bind("127.0.0.1:0").await?;
    ///     let address = listener.local_addr()?;
    ///     listener.close().await;
    ///     TcpListener::bind(address).await.map(drop)
    /// })??;
    /// # Ok(()) }
    /// ```
    pub async fn close(self) {
        let socket = self.socket.clone();
        drop(self);
        while Rc::strong_count(&socket) > 1 {
            yield_now().await;
        }
    }

    /// The address that is listened on. getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.options().local_addr()?.ip()
    }

    /// The hop limit of what is sent on its connections (IP_TTL).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        Ok(self.socket.options().set_ttl(ttl)?)
    }
}

/// Whether descriptors or memory have run out: that passes.
fn is_starved(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

/// Whether the error is that of one incoming connection, which accept(2) hands on: the next may be well.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | NetworkDown
            | NetworkUnreachable
            | HostUnreachable
            | TimedOut
            | PermissionDenied
    )
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let fd = tcp(address)?;
    let socket = SockRef::of(&fd);
    socket.set_reuse_address(true)?;
    // Accepted connections inherit it.
    socket.set_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(fd)
}

/// The connections of a listener; see [`TcpListener::incoming`].
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<(TcpStream, SocketAddr)>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.listener.poll_accept(cx).map(Some)
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        end_now(self.pending.take());
    }
}

impl AsFd for TcpListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for TcpListener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("fd", &self.as_raw_fd())
            .field("address", &self.local_addr().ok())
            .finish()
    }
}
