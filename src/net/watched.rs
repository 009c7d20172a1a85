//! A socket under watch: the kernel tells each time when something has come, and a plain call takes it.
//!
//! A receive through the ring is an entry, a place in the table, a poll of the socket and a buffer, each time anew. A watch is
//! the first three once: it pays where a connection is waited for again and again (decision record 0011). An event is an edge:
//! after it there is none before more comes. So the socket is asked until it has no more, and only then is the next event waited
//! for.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::mem::take;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::receiver::DIRECT;
use super::segment::{SEGMENT, recycle, spare};
use crate::op::net::{Readable, tells_of_the_end, try_recv};
use crate::reactor::Watch;

thread_local! {
    /// What comes to readers with little room passes through here: one call takes also what they have no room for.
    static PASSAGE: RefCell<Vec<u8>> = RefCell::new(vec![0; SEGMENT]);
}

/// The incoming side of a socket that is watched.
pub(super) struct Watched {
    watch: Watch,
    /// An event has told of the end: no other may come before it.
    ends: bool,
    /// What the last call has brought beyond what there was room for.
    rest: Vec<u8>,
    /// How much of it is consumed.
    consumed: usize,
}

/// What a plain call has brought.
pub(super) struct Taken {
    /// All of it.
    pub(super) received: usize,
    /// What of it the reader has got.
    pub(super) read: usize,
    /// The socket may have more, or the end.
    pub(super) more: bool,
}

impl Watched {
    /// Starts to watch; None: the loop takes no more operations.
    pub(super) fn start(socket: &Rc<impl AsRawFd + 'static>, cx: &Context<'_>) -> Option<Box<Watched>> {
        let watch = Watch::start(Readable(socket.clone()), cx)?;
        Some(Box::new(Watched { watch, ends: false, rest: Vec::new(), consumed: 0 }))
    }

    /// Waits until something has come. False: the watch has ended.
    pub(super) fn poll_event(&mut self, cx: &Context<'_>) -> Poll<bool> {
        let event = ready!(self.watch.poll_event(cx));
        self.ends |= event.is_some_and(tells_of_the_end);
        Poll::Ready(event.is_some())
    }

    /// What has come and is not consumed.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest[self.consumed..]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.consumed = (self.consumed + count).min(self.rest.len());
        if self.rest().is_empty() {
            recycle(take(&mut self.rest));
            self.consumed = 0;
        }
    }

    /// Takes what is in the socket. None: nothing.
    pub(super) fn take(&mut self, socket: RawFd, to: &mut [u8]) -> io::Result<Option<Taken>> {
        // There is no passage while the thread ends.
        if to.len() >= DIRECT || PASSAGE.try_with(|_| ()).is_err() {
            let received = receive(socket, to)?;
            return Ok(received.map(|count| self.taken(count, count, to.len())));
        }
        PASSAGE.with_borrow_mut(|passage| {
            let Some(received) = receive(socket, passage)? else { return Ok(None) };
            let (now, later) = passage[..received].split_at(received.min(to.len()));
            to[..now.len()].copy_from_slice(now);
            if !later.is_empty() {
                self.rest = spare();
                self.rest.extend_from_slice(later);
            }
            Ok(Some(self.taken(received, now.len(), passage.len())))
        })
    }

    /// A call that found less than it had room for has emptied the socket; the next event tells of more, but not of an end that
    /// an event has told of.
    fn taken(&self, received: usize, read: usize, room: usize) -> Taken {
        Taken { received, read, more: self.ends || received == room }
    }
}

/// recv(2) without waiting; None: nothing is there.
fn receive(socket: RawFd, to: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match try_recv(socket, to) {
            Ok(count) => return Ok(Some(count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
