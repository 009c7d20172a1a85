//! One socket's descriptor, shared by count: it is closed when the stream and the last operation on it are gone, so its
//! number is never used again under an operation.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use crate::event_loop::running;
use crate::executor::wake;
use crate::sys::Errno;
use crate::sys::socket::SockRef;

thread_local! {
    /// Listeners that ran out of descriptors: the next close of a socket wakes them.
    static STARVED: RefCell<Slab<Waker>> = const { RefCell::new(Slab::new()) };
    /// How many sockets this thread has closed.
    static CLOSES: Cell<u64> = const { Cell::new(0) };
}

/// The wait for this thread to close a socket.
pub(super) struct NextClose {
    /// How many were closed when the wait began.
    closes: u64,
    /// Where the waker of the last poll is, until that close.
    place: Option<usize>,
}

impl NextClose {
    pub(super) fn from_now() -> Self {
        NextClose { closes: CLOSES.get(), place: None }
    }

    /// Keeps the waker of this poll only.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        if CLOSES.get() != self.closes {
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        let before = STARVED.with_borrow_mut(|starved| match self.place {
            Some(place) => Some(std::mem::replace(&mut starved[place], waker)),
            None => {
                self.place = Some(starved.insert(waker));
                None
            }
        });
        drop(before);
        Poll::Pending
    }
}

impl Drop for NextClose {
    fn drop(&mut self) {
        // A close has taken all wakers out, and their places are others' by now.
        if let Some(place) = self.place.filter(|_| CLOSES.get() == self.closes) {
            let waker = STARVED.try_with(|starved| starved.borrow_mut().try_remove(place));
            drop(waker);
        }
    }
}

/// An open socket.
pub(super) struct Socket {
    /// None only while it is being dropped.
    fd: Option<OwnedFd>,
    /// Closing may block: SO_LINGER was set.
    lingers: Cell<bool>,
}

/// The public type that takes over a descriptor of the user's, which says of what kind that must be.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum SocketKind {
    TcpStream,
    TcpListener,
}

impl SocketKind {
    /// Refuses a descriptor that cannot serve as one. A socket that is not connected may yet become so: it can serve as
    /// a stream.
    ///
    /// # Errors
    /// `InvalidInput`, which names the type and the kind of the descriptor.
    pub(super) fn check(self, socket: SockRef<'_>) -> io::Result<()> {
        let (name, needed) = match self {
            SocketKind::TcpStream => ("TcpStream", "a stream socket that does not listen"),
            SocketKind::TcpListener => ("TcpListener", "a listening stream socket"),
        };
        let found = match (socket.is_stream(), socket.listens()) {
            (Err(Errno::ENOTSOCK), _) => "no socket",
            (Ok(false), _) => "a socket, but not of streams",
            (Ok(true), Ok(listens)) if listens == (self == SocketKind::TcpListener) => return Ok(()),
            (Ok(true), Ok(true)) => "a listening socket",
            (Ok(true), Ok(false)) => "a stream socket that does not listen",
            (Err(error), _) | (_, Err(error)) => return Err(error.into()),
        };
        let text = format!("{name}::from_std needs {needed}; the descriptor is {found}");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

impl Socket {
    pub(super) fn new(fd: OwnedFd) -> Self {
        Socket { fd: Some(fd), lingers: Cell::new(false) }
    }

    /// Its options.
    pub(super) fn options(&self) -> SockRef<'_> {
        SockRef::of(self)
    }

    /// The other end; None where there is none, or no more.
    pub(super) fn peer_addr(&self) -> Option<SocketAddr> {
        self.options().peer_addr().ok()?.ip().ok()
    }

    pub(super) fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.options().set_linger(linger)?;
        self.lingers.set(linger.is_some_and(|linger| !linger.is_zero()));
        Ok(())
    }

    /// Resets the connection: the peer gets `ConnectionReset`, and what the kernel has not sent is lost.
    ///
    /// shutdown(2) would send the end of the stream first, which the peer takes for a complete one, and the close, which
    /// resets, comes only when the operations in flight have let go of the descriptor. connect(2) with AF_UNSPEC
    /// dissolves the connection at once and ends those operations.
    pub(super) fn reset(&self) {
        self.reset_when_closed();
        let _ = self.options().disconnect();
    }

    /// Has the close reset the connection instead of ending it in order.
    pub(super) fn reset_when_closed(&self) {
        // An error means that there is no connection any more.
        let _ = self.set_linger(Some(Duration::ZERO));
    }

    /// A second descriptor of the same socket.
    pub(super) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("a socket has its descriptor until it is dropped").as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let fd = self.fd.take();
        match running() {
            // close(2) of a lingering socket waits for the peer: not on the loop's thread.
            Some(event_loop) if self.lingers.get() => {
                let refused = event_loop.submit(Box::new(move || drop(fd)));
                drop(refused);
            }
            _ => drop(fd),
        }
        CLOSES.set(CLOSES.get() + 1);
        let starved = STARVED.try_with(RefCell::take).unwrap_or_default();
        starved.into_iter().for_each(|(_, waker)| wake(waker));
    }
}
