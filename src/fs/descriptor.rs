//! The open file that a `File` and its operations in flight share: it is closed when the last of them is gone, so no
//! operation ever meets a descriptor number that is used again.

use std::cell::{Cell, OnceCell};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use super::behind::Behind;
use crate::op::fs::{Close, Facts, facts};
use crate::op::io::{Lender, Loan, Passage, Routed, Shared};
use crate::reactor;
use crate::sys::file::{OFlag, flags, position};

/// An open file.
pub(super) struct Descriptor {
    /// None only in a descriptor that is being taken apart.
    fd: Option<OwnedFd>,
    /// Threads that work on it.
    lender: Lender,
    /// How often its content was changed through this file.
    changes: Cell<u64>,
    /// How many changes of its content are with the kernel.
    changing: Cell<usize>,
    /// What kind of file it is; learnt when that matters.
    facts: OnceCell<Facts>,
    /// Bytes that the cursor has accepted; made with the first write.
    pub(super) behind: OnceCell<Box<Behind>>,
}

impl Descriptor {
    /// With what is known of the file already.
    pub(super) fn new(fd: OwnedFd, facts: Option<Facts>) -> Rc<Self> {
        let facts = facts.map_or_else(OnceCell::new, OnceCell::from);
        let (changes, changing) = (Cell::new(0), Cell::new(0));
        let lender = Lender::default();
        Rc::new(Descriptor { fd: Some(fd), lender, changes, changing, facts, behind: OnceCell::new() })
    }

    /// The descriptor alone, without closing it; None if a thread is at work on it, which then closes it.
    pub(super) fn into_fd(mut self) -> Option<OwnedFd> {
        self.take_fd()
    }

    fn take_fd(&mut self) -> Option<OwnedFd> {
        let lender = std::mem::take(&mut self.lender);
        self.fd.take().and_then(|fd| lender.end(fd))
    }

    /// Whether a thread is at work on it.
    pub(super) fn is_lent(&self) -> bool {
        self.lender.is_lent()
    }

    pub(super) fn changes(&self) -> u64 {
        self.changes.get()
    }

    pub(super) fn count_change(&self) {
        self.changes.set(self.changes.get() + 1);
    }

    /// Whether it is a pipe, a terminal or a socket, and not something with offsets.
    #[inline]
    pub(super) fn is_stream(&self) -> bool {
        !self.facts().seekable
    }

    /// Whether to close it waits for nobody, and has no error to tell.
    pub(super) fn closes_at_once(&self) -> bool {
        self.facts().closes_at_once
    }

    /// The descriptor's own position; 0 in a stream, which has none.
    pub(super) fn own_position(&self) -> u64 {
        position(self.as_raw_fd()).unwrap_or(0)
    }

    /// The flags with which it was opened.
    pub(super) fn flags(&self) -> OFlag {
        flags(self.as_raw_fd()).unwrap_or(OFlag::O_RDWR)
    }
}

impl AsFd for Descriptor {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("it is taken only when nobody refers to it any more").as_fd()
    }
}

impl AsRawFd for Descriptor {
    #[inline]
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Routed for Descriptor {
    fn lend(&self) -> Loan {
        self.lender.lend(self.as_fd())
    }

    #[inline]
    fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| facts(self.as_raw_fd()))
    }
}

impl Shared for Descriptor {
    #[inline]
    fn pass(self: &Rc<Self>) -> Passage {
        match self.behind.get() {
            None => Passage::Open,
            Some(behind) => self.pass_behind(behind),
        }
    }

    fn changed(&self) {
        self.count_change();
    }

    fn changing(&self) -> &Cell<usize> {
        &self.changing
    }
}

/// Closes a descriptor that nobody uses any more, without waiting, however long the file takes to write back. Outside of a loop
/// there is nothing that could be held up.
pub(super) fn dispose(fd: OwnedFd) {
    match reactor::current() {
        Some(reactor) => reactor.detach(Close::new(fd, drop)),
        None => drop(fd),
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.fd.is_none() {
            return;
        }
        match self.closes_at_once() {
            true => drop(self.take_fd()),
            false => self.take_fd().into_iter().for_each(dispose),
        }
    }
}
