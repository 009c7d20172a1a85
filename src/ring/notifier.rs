//! How another thread wakes a loop that waits in the kernel: one write to an eventfd on which the ring has a
//! poll armed.
//!
//! The poll is a multishot one and reacts to each write, so the counter is never read back: it would take a
//! write per nanosecond for five centuries to fill it. Whoever notifies should do so only when the loop
//! sleeps; that flag is kept by the reactor. A write to a ring that is no longer there wakes nobody.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Wakes one ring from any thread. A clone wakes the same ring.
#[derive(Clone, Debug)]
pub(crate) struct Notifier {
    /// The eventfd that the ring polls.
    event: Arc<EventFd>,
}

impl Notifier {
    /// Makes the eventfd; the ring arms its poll with the next enter.
    pub(super) fn new() -> Result<Notifier, Errno> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Notifier { event: Arc::new(event) })
    }

    /// Ends the ring's present or next waiting enter.
    pub(crate) fn notify(&self) {
        // The one possible error is a counter that is full, and a full counter is readable: the poll fires
        // all the same.
        let _ = self.event.write(1);
    }

    /// The descriptor to poll.
    pub(super) fn fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
