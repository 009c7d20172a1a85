//! The sending half of a connection: write-behind, as in asyncio and in the kernel's own socket buffer.
//!
//! What a write accepts goes into one queue of segments. One send is in flight, detached: its `finish` starts the next
//! segment, records the first error and wakes who waits. So two writes never interleave, a dropped write loses nothing that
//! it was told is accepted and doubles nothing, and bytes accepted before the stream was dropped still go out.
//!
//! With nothing queued, a write of much, or one that would enter the kernel for itself alone, first tries a plain
//! non-blocking send from the caller's slice, and copies only the rest. Above the high-water mark a write waits.

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::segment::{recycle, spare};
use super::socket::Socket;
use super::turn::Turns;
use crate::buf::IoBuf;
use crate::error::{BufError, BufResult};
use crate::event_loop::{ErrorContext, Home, running};
use crate::executor::{wake, yield_now};
use crate::op::net::{Send, repeat};
use crate::op::{Company, Operation};
use crate::reactor::{self, Op, Reactor};
use crate::sys::Errno;
use crate::sys::socket::try_send;
use crate::task::timeout;
use crate::waiting::{Waiting, waits_for};

/// The most bytes that are accepted and not yet with the kernel.
const HIGH_WATER: usize = 64 << 10;
/// From this size on a write tries the plain send first; below it only where nothing else goes with the next enter, which a
/// send through the ring would end at once.
const DIRECT: usize = 8 << 10;

/// The outgoing side of a connection.
pub(super) struct OutQueue {
    /// The socket, of both directions: what is in flight in either holds it by the queue's count.
    pub(super) socket: Socket,
    /// Bytes accepted, and not yet taken by the kernel.
    pending: Cell<usize>,
    /// A send is in flight.
    sending: Cell<bool>,
    /// The loop that the send in flight is with.
    home: Home,
    /// The side shall end, or has ended, behind what is queued.
    shutdown: Cell<bool>,
    /// Made when it is needed: most connections answer before they are asked again, and a thousand of them rest.
    behind: OnceCell<Box<RefCell<Behind>>>,
    /// Who writes.
    pub(super) turns: Turns,
}

/// What comes up where the peer, or the kernel, does not keep pace.
#[derive(Default)]
struct Behind {
    /// What waits behind the send in flight.
    waiting: VecDeque<Vec<u8>>,
    /// Who waits for room or for the end of the queue.
    wakers: Vec<Waker>,
    /// The first error; everything after it fails with the same.
    error: Option<io::Error>,
}

impl OutQueue {
    pub(super) fn new(socket: Socket) -> Rc<Self> {
        Rc::new(OutQueue {
            socket,
            pending: Cell::new(0),
            sending: Cell::new(false),
            home: Home::default(),
            shutdown: Cell::new(false),
            behind: OnceCell::new(),
            turns: Turns::new(),
        })
    }

    /// Bytes accepted, and not yet taken by the kernel.
    pub(super) fn pending(&self) -> usize {
        self.pending.get()
    }

    fn behind(&self) -> RefMut<'_, Behind> {
        self.behind.get_or_init(Box::default).borrow_mut()
    }

    /// The first error.
    fn error(&self) -> Option<io::Error> {
        self.behind.get()?.borrow().error.as_ref().map(repeat)
    }

    pub(super) fn check(&self) -> io::Result<()> {
        match self.error() {
            Some(error) => Err(error),
            None if self.shutdown.get() => Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the sending side of this connection was shut down",
            )),
            None => Ok(()),
        }
    }

    fn wait(&self, cx: &mut Context<'_>) {
        waits_for(|| Waiting::Operation { name: "send", descriptor: Some(self.socket.as_raw_fd()) });
        let waker = cx.waker().clone();
        let mut behind = self.behind();
        let known = behind.wakers.iter().any(|known| known.will_wake(&waker));
        if !known {
            behind.wakers.push(waker);
            return;
        }
        drop(behind);
        drop(waker);
    }

    /// Accepts what fits; waits while nothing does.
    pub(super) fn poll_write(self: &Rc<Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.pending.get() == 0
            && reactor::current().is_some_and(|reactor| {
                (bytes.len() >= DIRECT || reactor.company() == Company::Alone) && reactor.may_call()
            })
        {
            match try_send(self.socket.as_raw_fd(), bytes) {
                Ok(0) => {}
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => {
                    let error = io::Error::from(errno);
                    self.behind().error = Some(repeat(&error));
                    return Poll::Ready(Err(error));
                }
            }
        }
        let room = HIGH_WATER.saturating_sub(self.pending.get());
        if room == 0 {
            self.wait(cx);
            return Poll::Pending;
        }
        let count = room.min(bytes.len());
        self.pending.set(self.pending.get() + count);
        self.append(&bytes[..count]);
        Poll::Ready(Ok(count))
    }

    /// Copies into the last segment and into new ones. With nothing in flight the first goes out at once.
    fn append(self: &Rc<Self>, mut bytes: &[u8]) {
        if !self.sending.get() {
            let mut first = spare();
            let (now, later) = bytes.split_at(bytes.len().min(first.capacity()));
            first.extend_from_slice(now);
            self.send(first);
            bytes = later;
        }
        if bytes.is_empty() || self.error().is_some() {
            return;
        }
        let waiting = &mut self.behind().waiting;
        while !bytes.is_empty() {
            let last = match waiting.back_mut() {
                Some(last) if last.len() < last.capacity() => last,
                _ => {
                    waiting.push_back(spare());
                    waiting.back_mut().expect("one was just pushed")
                }
            };
            let count = bytes.len().min(last.capacity() - last.len());
            last.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
        }
    }

    /// Starts the next send, if none is in flight.
    fn start(self: &Rc<Self>) {
        if self.sending.get() {
            return;
        }
        let next = self.behind.get().and_then(|behind| behind.borrow_mut().waiting.pop_front());
        match next {
            Some(segment) => self.send(segment),
            None if self.shutdown.get() && self.error().is_none() => {
                // The peer may be gone: then there is no side to end.
                let _ = self.socket.options().shutdown(Shutdown::Write);
            }
            None => {}
        }
    }

    fn send(self: &Rc<Self>, segment: Vec<u8>) {
        self.sending.set(true);
        self.home.settle();
        self.home.detach(Send::new(self.clone(), segment).then(|(queue, sent)| match sent {
            Ok((count, segment)) => {
                queue.sent(count, None);
                recycle(segment);
            }
            Err(BufError { error, buf: segment, done }) => {
                recycle(segment);
                queue.sent(done, Some(error));
            }
        }));
    }

    /// A send of the caller's own buffer, now that nothing is queued. Dropped before it began, it has sent nothing.
    pub(super) fn send_owned<B: IoBuf>(self: &Rc<Self>, buf: B) -> Op<BufResult<B>> {
        self.sending.set(true);
        self.home.settle();
        let len = buf.len();
        self.pending.set(len);
        Op::new(Send::new(self.clone(), buf).then(move |(queue, sent)| {
            // The kernel's word for a send that it did not begin, as ours for one that was dropped before.
            let has_not_begun = Some(Errno::ECANCELED as i32);
            let failed =
                |failed: &&BufError<B>| failed.done > 0 || failed.error.raw_os_error() != has_not_begun;
            let error = sent.as_ref().err().filter(failed);
            queue.sent(len, error.map(|failed| repeat(&failed.error)));
            sent
        }))
    }

    /// A send has ended: `count` of the bytes that are pending went with it. The queue goes on, or ends with the error.
    fn sent(self: &Rc<Self>, count: usize, error: Option<io::Error>) {
        self.sending.set(false);
        self.pending.set(self.pending.get().saturating_sub(count));
        match error {
            Some(error) => self.fail(error),
            None => {
                self.start();
                self.wake();
            }
        }
    }

    /// Waits until everything accepted is with the kernel.
    pub(super) fn poll_idle(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.error() {
            return Poll::Ready(Err(error));
        }
        if self.pending.get() == 0 && !self.sending.get() {
            return Poll::Ready(Ok(()));
        }
        self.wait(cx);
        Poll::Pending
    }

    /// Waits until no operation holds the socket: with nothing to send, and the reading side stopped, those that are left were
    /// cancelled, and end within a turn or two.
    pub(super) async fn let_go(self: &Rc<Self>) {
        while Rc::strong_count(self) > 1 {
            yield_now().await;
        }
    }

    /// Ends the side behind what is queued.
    pub(super) fn shut_down(self: &Rc<Self>) {
        if !self.shutdown.replace(true) {
            self.start();
        }
    }

    /// Ends the side at once, with an error for all later writes. Bytes are lost, so that the peer must not read an end
    /// in order.
    pub(super) fn fail(&self, error: io::Error) {
        self.socket.reset_when_closed();
        self.behind().error.get_or_insert(error);
        let waiting = std::mem::take(&mut self.behind().waiting);
        waiting.into_iter().for_each(recycle);
        self.pending.set(0);
        self.wake();
    }

    /// Ends the connection at once with a reset.
    pub(super) fn abort(&self) {
        self.socket.reset();
        self.fail(io::Error::new(io::ErrorKind::ConnectionAborted, "the connection was reset on this side"));
    }

    /// The user's end is gone: what was accepted still goes out, within the limits of the loop that has it, which may stand still.
    pub(super) fn detach(self: &Rc<Self>) {
        let bytes = self.pending();
        let Some(event_loop) = self.home.event_loop().filter(|_| bytes > 0) else { return };
        if event_loop.reactor.is_child() {
            // What the parent process has accepted is the parent's to send.
            return;
        }
        let limits = event_loop.options.detached;
        let Some(writer) = event_loop.detached.admit(bytes, limits) else {
            event_loop.detached.count_reset();
            let message = format!(
                "a dropped connection still had {bytes} bytes to send, beyond the limits of detached writers, and was reset"
            );
            event_loop.report(&ErrorContext::new(message).with_peer(self.socket.peer_addr()));
            return self.abort();
        };
        let rest = Rest { queue: self.clone(), reactor: event_loop.reactor.clone() };
        event_loop.executor.spawn_hidden(async move {
            let _writer = writer;
            let queue = &rest.queue;
            if timeout(limits.time, std::future::poll_fn(|cx| queue.poll_idle(cx))).await.is_err()
                && let Some(event_loop) = running()
            {
                event_loop.detached.count_reset();
                let message = format!(
                    "a dropped connection still had {} bytes to send after {:?} and was reset",
                    queue.pending(),
                    limits.time
                );
                event_loop.report(&ErrorContext::new(message).with_peer(queue.socket.peer_addr()));
                queue.abort();
            }
        });
    }

    fn wake(&self) {
        if self.behind.get().is_none_or(|behind| behind.borrow().wakers.is_empty()) {
            return;
        }
        let mut woken = std::mem::take(&mut self.behind().wakers);
        woken.drain(..).for_each(wake);
        // The list keeps its memory, unless somebody waits again by now.
        let wakers = &mut self.behind().wakers;
        if wakers.is_empty() {
            *wakers = woken;
        }
    }
}

/// The bytes that a dropped connection still has to send. If the loop ends before, the connection is reset: the peer must
/// not take what it got for the whole.
struct Rest {
    queue: Rc<OutQueue>,
    /// Of the loop that sends it.
    reactor: Rc<Reactor>,
}

impl Drop for Rest {
    fn drop(&mut self) {
        // In a forked child the connection is the parent's.
        if self.queue.pending() > 0 && !self.reactor.is_child() {
            self.queue.abort();
        }
    }
}

impl AsRawFd for OutQueue {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Thousands of connections rest.
const _: () = assert!(size_of::<OutQueue>() == 56);
