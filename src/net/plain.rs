//! A plain call that takes what is in a socket, without waiting.
//!
//! It fills the reader's own memory where there is much room. Who has little is served through a passage, so that a call is not
//! made for each small read: what they have no room for is kept for their next.

use std::cell::RefCell;
use std::io;
use std::os::fd::RawFd;

use super::receiver::DIRECT;
use super::segment::SEGMENT;
use crate::sys::Errno;
use crate::sys::socket::try_recv;

thread_local! {
    /// What comes to readers with little room passes through here.
    static PASSAGE: RefCell<Vec<u8>> = RefCell::new(vec![0; SEGMENT]);
}

/// What a plain call has brought.
pub(super) struct Taken {
    /// All of it.
    pub(super) received: usize,
    /// What of it the reader has got.
    pub(super) read: usize,
    /// The socket is likely to have more: a call that found less than it had room for has emptied it, unless it stopped at
    /// urgent data. Who relies on it for a wait must be told of such data, or wait for readiness as it is, not for an edge.
    pub(super) more: bool,
}

/// Takes what is in the socket, and has what `to` has no room for kept. None: nothing is there.
pub(super) fn take(socket: RawFd, to: &mut [u8], keep: impl FnOnce(&[u8])) -> io::Result<Option<Taken>> {
    // There is no passage while the thread ends.
    if to.len() >= DIRECT || PASSAGE.try_with(|_| ()).is_err() {
        let received = receive(socket, to)?;
        return Ok(received.map(|count| Taken { received: count, read: count, more: count == to.len() }));
    }
    PASSAGE.with_borrow_mut(|passage| {
        let Some(received) = receive(socket, passage)? else { return Ok(None) };
        let (now, later) = passage[..received].split_at(received.min(to.len()));
        to[..now.len()].copy_from_slice(now);
        if !later.is_empty() {
            keep(later);
        }
        Ok(Some(Taken { received, read: now.len(), more: received == passage.len() }))
    })
}

/// recv(2) without waiting; None: nothing is there.
fn receive(socket: RawFd, to: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match try_recv(socket, to) {
            Ok(count) => return Ok(Some(count)),
            Err(Errno::EAGAIN) => return Ok(None),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
