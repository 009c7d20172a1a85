//! A socket under watch: the kernel tells each time when something has come, and a plain call takes it.
//!
//! A receive through the ring is an entry, a place in the table, a poll of the socket and a buffer, each time anew. A watch is
//! the first three once: it pays where a connection is waited for again and again (decision record 0011). An event is an edge:
//! after it there is none before more comes. So the socket is asked until it has no more, and only then is the next event waited
//! for.

use std::io;
use std::mem::take;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::plain::{self, Taken};
use super::segment::{recycle, spare};
use crate::op::net::{Readable, tells_of_more};
use crate::reactor::Watch;

/// The incoming side of a socket that is watched.
pub(super) struct Watched {
    watch: Watch,
    /// An event has told of the end, which no other may come before, or of urgent data, at which a call stops: a call that
    /// found less than it had room for has not emptied the socket.
    more: bool,
    /// What the last call has brought beyond what there was room for.
    rest: Vec<u8>,
    /// How much of it is consumed.
    consumed: usize,
}

impl Watched {
    /// Starts to watch; None: the loop takes no more operations.
    pub(super) fn start(socket: &Rc<impl AsRawFd + 'static>, cx: &Context<'_>) -> Option<Box<Watched>> {
        let watch = Watch::start(Readable(socket.clone()), cx)?;
        Some(Box::new(Watched { watch, more: false, rest: Vec::new(), consumed: 0 }))
    }

    /// Waits until something has come. False: the watch has ended.
    pub(super) fn poll_event(&mut self, cx: &Context<'_>) -> Poll<bool> {
        let event = ready!(self.watch.poll_event(cx));
        self.more |= event.is_some_and(tells_of_more);
        // Those that came since say the same: a call takes all that there is.
        while let Some(event) = self.watch.next_event() {
            self.more |= tells_of_more(event);
        }
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
        let taken = plain::take(socket, to, |later| {
            self.rest = spare();
            self.rest.extend_from_slice(later);
        })?;
        // The next event tells of what comes from now on, but not of what an event has told of.
        Ok(taken.map(|taken| Taken { more: taken.more || self.more, ..taken }))
    }
}
