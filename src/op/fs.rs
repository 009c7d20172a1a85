//! Operations on paths, and on files as a whole: open, close, status, names, sync, length. Serves `fs/`.
//!
//! Those that say nothing but whether they succeeded are `calls`. What the ring cannot do at all is
//! [`BlockingWork`](super::BlockingWork) for a thread. `whole` has the operations of several steps: all that is left to read, and
//! whole files by path. Which way each goes is told in [`route`].

#![allow(unsafe_code)]

mod calls;
mod copy;
mod whole;

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use super::retry::{INTERRUPTED, Retry};
use super::{Company, Next, Operation, Policy, route};
use crate::ring::{Entry, Outcome};

pub(crate) use super::route::{Facts, Status, StatusTime, facts, in_memory};
pub(crate) use calls::{
    Allocate, Calling, Fsync, HardLink, MakeDir, RemoveDir, RemoveFile, Rename, Symlink, Sync, Truncate,
};
pub(crate) use copy::Copy;
pub(crate) use whole::{ReadFile, ReadToEnd};

/// Paths are relative to the working directory.
pub(super) const HERE: types::Fd = types::Fd(libc::AT_FDCWD);

/// openat(2).
pub(crate) struct Open<T: 'static> {
    /// What the entry points to.
    path: CString,
    /// As open(2) has them.
    flags: i32,
    /// Permissions, before the umask.
    mode: u32,
    /// What is known of the file, if it was opened by a plain call.
    facts: Option<Facts>,
    /// It is opened on a kernel worker, which waits where the submission would not.
    on_worker: bool,
    /// What the descriptor becomes.
    adopt: fn(OwnedFd, Option<Facts>) -> T,
    /// How often it was tried in vain.
    retry: Retry,
}

impl<T> Open<T> {
    /// Descriptors of this crate are never inherited.
    pub(crate) fn new(path: CString, flags: i32, mode: u32, adopt: fn(OwnedFd, Option<Facts>) -> T) -> Self {
        let (flags, retry) = (flags | libc::O_CLOEXEC, Retry::default());
        Open { path, flags, mode, facts: None, on_worker: false, adopt, retry }
    }
}

/// The entry that opens a path.
pub(super) fn open_entry(path: &CStr, flags: i32, mode: u32) -> Entry {
    let entry = opcode::OpenAt::new(HERE, path.as_ptr()).flags(flags).mode(mode).build();
    let on_worker = flags & (libc::O_CREAT | libc::O_TRUNC) == 0 && route::opens_on_worker(path);
    if on_worker { entry.flags(squeue::Flags::ASYNC) } else { entry }
}

/// How an open of a path ends. A FIFO waits for its other end, some devices for their line; an open that makes or empties a file is
/// to have its effect, also when nobody listens any more.
pub(super) fn open_policy(path: &CStr, flags: i32) -> Policy {
    let has_effect = flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
    if has_effect && !route::may_wait(path) { Policy::CHANGES } else { Policy::UNCERTAIN }
}

/// Takes over the descriptor that an outcome is.
pub(super) fn adopt(outcome: Outcome) -> io::Result<OwnedFd> {
    let fd = outcome.count()?;
    // SAFETY: D1: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

// SAFETY: O1: the entry points to the path, in memory of its own.
unsafe impl<T: 'static> Operation for Open<T> {
    type Output = io::Result<T>;
    const NAME: &'static str = "open";
    const HAS_CALL: bool = true;

    fn policy(&self) -> Policy {
        open_policy(&self.path, self.flags)
    }

    fn call(&mut self, _company: Company) -> Option<Outcome> {
        let (outcome, facts) = route::open_at_once(&self.path, self.flags, self.mode)?;
        self.facts = facts;
        Some(outcome)
    }

    fn entry(&mut self) -> Entry {
        let entry = open_entry(&self.path, self.flags, self.mode);
        if self.on_worker { entry.flags(squeue::Flags::ASYNC) } else { entry }
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        // The kernel first tries with `O_NONBLOCK`, and a FIFO that has no reader yet refuses that.
        let refused = outcome.result == -libc::ENXIO && self.flags & libc::O_NONBLOCK == 0;
        if refused && !std::mem::replace(&mut self.on_worker, true) {
            return Next::Again;
        }
        self.retry.advance(outcome, INTERRUPTED)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        adopt(outcome).map(|fd| (self.adopt)(fd, self.facts))
    }
}

/// close(2).
pub(crate) struct Close<T: 'static> {
    /// Given up here.
    fd: OwnedFd,
    /// Makes the output.
    tell: fn(io::Result<()>) -> T,
}

impl<T> Close<T> {
    pub(crate) fn new(fd: OwnedFd, tell: fn(io::Result<()>) -> T) -> Self {
        Close { fd, tell }
    }
}

/// What became of a descriptor that was given to the kernel to close. It is gone also after an error, except where the
/// kernel never began.
pub(super) fn closed(fd: OwnedFd, outcome: Outcome) -> io::Result<()> {
    let begun = outcome.result > -4096 && outcome.result != -libc::ECANCELED;
    if begun {
        // The number may by now be somebody else's.
        let _ = fd.into_raw_fd();
        return outcome.count().map(drop);
    }
    drop(fd);
    Ok(())
}

// SAFETY: O1: the entry points to nothing.
unsafe impl<T: 'static> Operation for Close<T> {
    type Output = T;
    const NAME: &'static str = "close";

    fn policy(&self) -> Policy {
        Policy::CHANGES
    }

    fn entry(&mut self) -> Entry {
        opcode::Close::new(types::Fd(self.fd.as_raw_fd())).build()
    }

    fn finish(self, outcome: Outcome) -> T {
        (self.tell)(closed(self.fd, outcome))
    }
}

/// What a [`Stat`] looks at.
pub(crate) enum Subject {
    /// What the path leads to, through symbolic links.
    Path(CString),
    /// What the path names, be it a symbolic link.
    Link(CString),
    /// An open file.
    File(Rc<dyn AsRawFd>),
}

/// statx(2).
pub(crate) struct Stat<T: 'static> {
    /// Of what.
    subject: Subject,
    /// Where the kernel puts it.
    status: Status,
    /// Makes the output.
    tell: fn(io::Result<&Status>) -> T,
    /// How often it was tried in vain.
    retry: Retry,
}

impl<T> Stat<T> {
    pub(crate) fn new(subject: Subject, tell: fn(io::Result<&Status>) -> T) -> Self {
        Stat { subject, status: route::unknown_status(), tell, retry: Retry::default() }
    }
}

// SAFETY: O1: the entry points to the path, in memory of its own, and to the operation's place for the status, which is plain
// data (P1).
unsafe impl<T: 'static> Operation for Stat<T> {
    type Output = T;
    const NAME: &'static str = "statx";
    const HAS_CALL: bool = true;

    fn policy(&self) -> Policy {
        Policy::READS
    }

    fn call(&mut self, _company: Company) -> Option<Outcome> {
        match &self.subject {
            Subject::Path(path) => route::status_at_once_by_path(path, 0, &mut self.status),
            Subject::Link(path) => route::status_at_once_by_path(path, libc::O_NOFOLLOW, &mut self.status),
            Subject::File(file) => route::status_at_once(file.as_raw_fd(), &mut self.status),
        }
    }

    fn entry(&mut self) -> Entry {
        let (fd, path, flags) = match &self.subject {
            Subject::Path(path) => (HERE, path.as_ptr(), 0),
            Subject::Link(path) => (HERE, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW),
            Subject::File(file) => (types::Fd(file.as_raw_fd()), c"".as_ptr(), libc::AT_EMPTY_PATH),
        };
        opcode::Statx::new(fd, path, (&raw mut self.status).cast()).flags(flags).mask(route::WANTED).build()
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.retry.advance(outcome, INTERRUPTED)
    }

    fn finish(self, outcome: Outcome) -> T {
        (self.tell)(outcome.count().map(|_| &self.status))
    }
}
