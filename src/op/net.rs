//! Operations on sockets: receive, send, accept, connect. Serves `net/`.
//!
//! Every operation holds its socket by count: the descriptor is closed after the last operation on it has ended, so its
//! number is never used again under one.

#![allow(unsafe_code)]

mod chunk;

use std::io;
use std::mem::{MaybeUninit, take};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use super::retry::{NOTHING_MOVED, Retry};
use super::{Company, Next, Operation, Policy, called};
use crate::buf::IoBuf;
use crate::error::{BufError, BufResult};
use crate::ring::{Buffers, Entry, Outcome, wait_first};
use crate::sys::socket::{SockAddr, try_send};

pub use chunk::Chunk;

/// The size of a receive into memory of the connection's own, where the buffer ring is empty or missing.
const OWN: usize = 4096;

/// recv(2): waits for data, then has the kernel pick a buffer for it. Empty data is the end.
pub(crate) struct Recv<S: AsRawFd + 'static> {
    socket: Rc<S>,
    into: Target,
}

impl<S: AsRawFd> Recv<S> {
    pub(crate) fn new(socket: Rc<S>, buffers: Option<Rc<Buffers>>, waits: bool) -> Self {
        let attempt = Attempt { waits, retry: Retry::default() };
        let into = match buffers {
            Some(from) => Target::Picked(from, attempt),
            None => Target::own(attempt),
        };
        Recv { socket, into }
    }
}

/// What was received, and whether the socket had more.
pub(crate) type Received = (Chunk, bool);

/// Where a receive goes.
enum Target {
    /// A buffer that the kernel picks from here.
    Picked(Rc<Buffers>, Attempt),
    /// Memory of its own.
    Own(Box<MaybeUninit<[u8; OWN]>>, Attempt),
}

/// How a receive is tried. Within [`Target`], where there is room for it.
struct Attempt {
    /// It waits for readiness before it tries: data is not expected to be there.
    waits: bool,
    retry: Retry,
}

impl Target {
    fn own(attempt: Attempt) -> Target {
        Target::Own(Box::new_uninit(), attempt)
    }

    fn attempt(&mut self) -> &mut Attempt {
        match self {
            Target::Picked(_, attempt) | Target::Own(_, attempt) => attempt,
        }
    }
}

/// Thousands of receives wait at the same time: small.
const _: () = assert!(size_of::<Recv<OwnedFd>>() == 24);

/// `IORING_RECVSEND_POLL_FIRST`.
const POLL_FIRST: u16 = 1;

// SAFETY: O1: the entry points into memory of its own, which nobody else sees; a picked buffer is the buffer ring's business (H1).
unsafe impl<S: AsRawFd + 'static> Operation for Recv<S> {
    type Output = io::Result<Received>;
    const NAME: &'static str = "recv";

    fn policy(&self) -> Policy {
        Policy::WAITS
    }

    fn entry(&mut self) -> Entry {
        let fd = types::Fd(self.socket.as_raw_fd());
        let ioprio = if self.into.attempt().waits { POLL_FIRST } else { 0 };
        match &mut self.into {
            Target::Picked(from, _) => opcode::Recv::new(fd, std::ptr::null_mut(), from.size() as u32)
                .buf_group(from.group())
                .ioprio(ioprio)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
            Target::Own(memory, _) => {
                let (memory, len) = (memory.as_mut_ptr().cast(), OWN as u32);
                opcode::Recv::new(fd, memory, len).ioprio(ioprio).build()
            }
        }
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        if -outcome.result == libc::ENOBUFS
            && let Target::Picked(from, attempt) = &mut self.into
        {
            if !from.give_rest() {
                // All buffers are with readers: this one receive brings its own.
                let retry = take(&mut attempt.retry);
                self.into = Target::own(Attempt { waits: false, retry });
            }
            return Next::Again;
        }
        // A kernel that does not wait for a descriptor with O_NONBLOCK is told to.
        let attempt = self.into.attempt();
        attempt.waits |= -outcome.result == libc::EAGAIN;
        attempt.retry.advance(outcome, NOTHING_MOVED)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        let count = outcome.count();
        let len = *count.as_ref().unwrap_or(&0);
        let chunk = match (self.into, outcome.buffer_id()) {
            // It goes back to the ring with its loan, also when the result is an error or nobody listens.
            (Target::Picked(from, _), Some(id)) => Chunk::from(from.take(id, len)),
            // None was picked: the end, or an error.
            (Target::Picked(..), None) => Chunk::from(Vec::new()),
            (Target::Own(memory, _), _) => {
                let memory = Box::into_raw(memory).cast();
                // SAFETY: M1: it was allocated as `OWN` bytes; B1: the kernel has filled `len` of them from the start.
                Chunk::from(unsafe { Vec::from_raw_parts(memory, len.min(OWN), OWN) })
            }
        };
        count.map(|_| (chunk, outcome.sock_nonempty()))
    }
}

/// A poll of a socket that tells each time when data has come, or the end.
pub(crate) struct Readable<S: AsRawFd + 'static>(pub(crate) Rc<S>);

/// Whether an event of [`Readable`] tells of something behind the data: the end, of the peer's side or of all, or urgent data.
pub(crate) fn tells_of_more(event: Outcome) -> bool {
    event.result & i32::from(libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR | libc::POLLPRI) != 0
}

// SAFETY: O1: the entry points to nothing.
unsafe impl<S: AsRawFd + 'static> Operation for Readable<S> {
    type Output = ();
    const NAME: &'static str = "poll";
    const REPEATS: bool = true;

    fn policy(&self) -> Policy {
        Policy::WAITS
    }

    fn entry(&mut self) -> Entry {
        let events = (libc::POLLIN | libc::POLLPRI | libc::POLLRDHUP) as u32;
        opcode::PollAdd::new(types::Fd(self.0.as_raw_fd()), events).multi(true).build()
    }

    fn finish(self, _outcome: Outcome) {}
}

/// send(2) of a whole buffer, promised: it goes on when its future is dropped. The buffer comes back with the result.
pub(crate) struct Send<S: AsRawFd + 'static, B: IoBuf> {
    socket: Rc<S>,
    buf: B,
    /// How much of it is sent.
    done: usize,
    retry: Retry,
}

impl<S: AsRawFd, B: IoBuf> Send<S, B> {
    pub(crate) fn new(socket: Rc<S>, buf: B) -> Self {
        Send { socket, buf, done: 0, retry: Retry::default() }
    }
}

// SAFETY: O1: the entry points into the buffer, which the operation owns and which stays as it is while it is lent (B1).
unsafe impl<S: AsRawFd + 'static, B: IoBuf> Operation for Send<S, B> {
    type Output = (Rc<S>, BufResult<B>);
    const NAME: &'static str = "send";
    const HAS_CALL: bool = true;

    fn policy(&self) -> Policy {
        Policy::PROMISED
    }

    fn call(&mut self, company: Company) -> Option<Outcome> {
        let rest = &self.buf.as_slice()[self.done..];
        let sent = (company == Company::Alone).then(|| called(try_send(self.socket.as_raw_fd(), rest)))?;
        // A full socket is the ring's to wait for.
        (!NOTHING_MOVED.contains(&-sent.result)).then_some(sent)
    }

    fn entry(&mut self) -> Entry {
        let rest = &self.buf.as_slice()[self.done..];
        let len = rest.len().min(0x7fff_f000) as u32;
        // MSG_WAITALL has the kernel finish it.
        let flags = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        opcode::Send::new(types::Fd(self.socket.as_raw_fd()), rest.as_ptr(), len).flags(flags).build()
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        match outcome.count() {
            Ok(count) => self.done += count,
            Err(_) => return self.retry.advance(outcome, NOTHING_MOVED),
        }
        if self.done < self.buf.len() { Next::Again } else { Next::Finish }
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        let Send { socket, buf, done, retry: _ } = self;
        let result = match outcome.error() {
            Some(error) if done < buf.len() => Err(BufError { error, buf, done }),
            _ => Ok((done, buf)),
        };
        (socket, result)
    }
}

/// accept4(2). The kernel makes a file before it looks whether there is a connection for it: an attempt that finds none costs
/// almost as much as one that finds one. So an accept waits first, where the kernel can be told.
pub(crate) struct Accept<S: AsRawFd + 'static> {
    listener: Rc<S>,
    address: SockAddr,
    /// It waits before it tries.
    waits: bool,
    retry: Retry,
}

impl<S: AsRawFd> Accept<S> {
    pub(crate) fn new(listener: Rc<S>, waits: bool) -> Self {
        Accept { listener, address: SockAddr::unset(), waits, retry: Retry::default() }
    }
}

// SAFETY: O1: the entry points to the address and its length, which are the operation's own.
unsafe impl<S: AsRawFd + 'static> Operation for Accept<S> {
    type Output = io::Result<(OwnedFd, SockAddr)>;
    const NAME: &'static str = "accept";

    fn policy(&self) -> Policy {
        Policy::WAITS
    }

    fn entry(&mut self) -> Entry {
        let (address, length) = self.address.out_pointers();
        let mut entry = opcode::Accept::new(types::Fd(self.listener.as_raw_fd()), address, length)
            .flags(libc::SOCK_CLOEXEC)
            .build();
        if self.waits {
            wait_first(&mut entry);
        }
        entry
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        // The socket does not listen, or the kernel cannot be told after all: the second try says which.
        if -outcome.result == libc::EINVAL && take(&mut self.waits) {
            return Next::Again;
        }
        self.retry.advance(outcome, NOTHING_MOVED)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        let fd = outcome.count()?;
        // SAFETY: D1: the kernel has just made this descriptor for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        Ok((fd, self.address))
    }
}

/// connect(2). After a cancel the socket is good for nothing but closing.
pub(crate) struct Connect<S: AsRawFd + 'static> {
    socket: S,
    address: SockAddr,
}

impl<S: AsRawFd> Connect<S> {
    pub(crate) fn new(socket: S, address: SocketAddr) -> Self {
        Connect { socket, address: address.into() }
    }
}

// SAFETY: O1: the entry points to the address, which is the operation's own.
unsafe impl<S: AsRawFd + 'static> Operation for Connect<S> {
    type Output = io::Result<S>;
    const NAME: &'static str = "connect";

    fn policy(&self) -> Policy {
        Policy::WAITS
    }

    fn entry(&mut self) -> Entry {
        let fd = types::Fd(self.socket.as_raw_fd());
        opcode::Connect::new(fd, self.address.as_ptr(), self.address.len()).build()
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        outcome.count().map(|_| self.socket)
    }
}

/// The same error once more: `io::Error` cannot be cloned.
pub(crate) fn repeat(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
