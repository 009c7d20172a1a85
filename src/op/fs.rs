//! Operations on paths, and on files as a whole: open, close, status, names, sync, length. Serves `fs/`.
//!
//! Those that say nothing but whether they succeeded are [`Call`]s. What the ring cannot do at all is an [`Errand`]: a job
//! for the thread pool, with the face of an operation. `whole` has the operations of several steps: all that is left to read, and
//! whole files by path. Which way each goes is told in [`route`](super::route).

#![allow(unsafe_code)]

mod whole;

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use io_uring::{opcode, types};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::io::{INTERRUPTED, NOT_BEGUN, Patience};
use super::{Nature, Next, Operation, route};
use crate::pool::Job;
use crate::ring::{Entry, Outcome};

pub(crate) use super::route::{Facts, Status, StatusTime, facts};
pub(crate) use whole::{ReadFile, ReadToEnd};

/// Paths are relative to the working directory.
pub(super) const HERE: types::Fd = types::Fd(libc::AT_FDCWD);

/// An entry that does nothing.
pub(super) fn nothing() -> Entry {
    opcode::Nop::new().build()
}

/// An operation that was refused before it began: its arguments make no sense to the kernel.
pub(crate) struct Refused<T: 'static> {
    error: io::Error,
    refuse: fn(io::Error) -> T,
}

impl<T> Refused<T> {
    pub(crate) fn new(error: io::Error, refuse: fn(io::Error) -> T) -> Self {
        Refused { error, refuse }
    }
}

// SAFETY: the entry points to nothing.
unsafe impl<T: 'static> Operation for Refused<T> {
    type Output = T;
    const NAME: &'static str = "refused";
    const NATURE: Nature = Nature::Finite;

    fn call(&mut self) -> Option<Outcome> {
        Some(Outcome { result: 0, flags: 0 })
    }

    fn entry(&mut self) -> Entry {
        nothing()
    }

    fn finish(self, _outcome: Outcome) -> T {
        (self.refuse)(self.error)
    }
}

/// openat(2).
pub(crate) struct Open<T: 'static> {
    path: CString,
    flags: i32,
    mode: u32,
    /// What the descriptor becomes.
    adopt: fn(OwnedFd) -> T,
    patience: Patience,
}

impl<T> Open<T> {
    /// Descriptors of this crate are never inherited.
    pub(crate) fn new(path: CString, flags: i32, mode: u32, adopt: fn(OwnedFd) -> T) -> Self {
        Open { path, flags: flags | libc::O_CLOEXEC, mode, adopt, patience: Patience::default() }
    }
}

/// Takes over the descriptor that an outcome is.
pub(super) fn adopt(outcome: Outcome) -> io::Result<OwnedFd> {
    let fd = outcome.count()?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

// SAFETY: the entry points to the path, which lies in memory of its own that the operation owns.
unsafe impl<T: 'static> Operation for Open<T> {
    type Output = io::Result<T>;
    const NAME: &'static str = "open";
    const NATURE: Nature = Nature::Finite;

    fn entry(&mut self) -> Entry {
        opcode::OpenAt::new(HERE, self.path.as_ptr()).flags(self.flags).mode(self.mode).build()
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.patience.advance(outcome, INTERRUPTED)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        adopt(outcome).map(self.adopt)
    }
}

/// close(2).
pub(crate) struct Close<T: 'static> {
    fd: OwnedFd,
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

// SAFETY: the entry points to nothing.
unsafe impl<T: 'static> Operation for Close<T> {
    type Output = T;
    const NAME: &'static str = "close";
    const NATURE: Nature = Nature::Finite;

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
    subject: Subject,
    status: MaybeUninit<Status>,
    tell: fn(io::Result<&Status>) -> T,
    patience: Patience,
}

impl<T> Stat<T> {
    pub(crate) fn new(subject: Subject, tell: fn(io::Result<&Status>) -> T) -> Self {
        Stat { subject, status: MaybeUninit::zeroed(), tell, patience: Patience::default() }
    }
}

// SAFETY: the entry points to the path, in memory of its own, and to the place of the status, both of which are the
// operation's; a status is plain numbers, for which all bits are valid.
unsafe impl<T: 'static> Operation for Stat<T> {
    type Output = T;
    const NAME: &'static str = "statx";
    const NATURE: Nature = Nature::Finite;

    fn call(&mut self) -> Option<Outcome> {
        let Subject::File(file) = &self.subject else { return None };
        self.status.write(route::status_at_once(file.as_raw_fd())?);
        Some(Outcome { result: 0, flags: 0 })
    }

    fn entry(&mut self) -> Entry {
        let (fd, path, flags) = match &self.subject {
            Subject::Path(path) => (HERE, path.as_ptr(), 0),
            Subject::Link(path) => (HERE, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW),
            Subject::File(file) => (types::Fd(file.as_raw_fd()), c"".as_ptr(), libc::AT_EMPTY_PATH),
        };
        opcode::Statx::new(fd, path, self.status.as_mut_ptr().cast()).flags(flags).mask(route::WANTED).build()
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.patience.advance(outcome, INTERRUPTED)
    }

    fn finish(self, outcome: Outcome) -> T {
        // SAFETY: zeroed at first, and all bits are valid.
        let status = unsafe { self.status.assume_init_ref() };
        (self.tell)(outcome.count().map(|_| status))
    }
}

/// A call that says nothing but whether it succeeded.
///
/// # Safety
/// The entry points only into memory of its own that the call owns.
pub(crate) unsafe trait Call: 'static {
    /// The system call's name.
    const NAME: &'static str;
    /// After which errors it may be tried again.
    const REPEATABLE: &'static [i32] = NOT_BEGUN;

    fn entry(&self) -> Entry;
}

/// A [`Call`] as an operation.
pub(crate) struct Calling<C: Call> {
    call: C,
    patience: Patience,
}

impl<C: Call> Calling<C> {
    pub(crate) fn new(call: C) -> Self {
        Calling { call, patience: Patience::default() }
    }
}

// SAFETY: what `Call` promises.
unsafe impl<C: Call> Operation for Calling<C> {
    type Output = io::Result<()>;
    const NAME: &'static str = C::NAME;
    const NATURE: Nature = Nature::Finite;

    fn entry(&mut self) -> Entry {
        self.call.entry()
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.patience.advance(outcome, C::REPEATABLE)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        outcome.count().map(drop)
    }
}

/// renameat2(2).
pub(crate) struct Rename {
    pub(crate) from: CString,
    pub(crate) to: CString,
}

// SAFETY: the paths lie in memory of their own.
unsafe impl Call for Rename {
    const NAME: &'static str = "rename";

    fn entry(&self) -> Entry {
        opcode::RenameAt::new(HERE, self.from.as_ptr(), HERE, self.to.as_ptr()).build()
    }
}

/// linkat(2), of what the path names: a symbolic link is not followed.
pub(crate) struct HardLink {
    pub(crate) original: CString,
    pub(crate) link: CString,
}

// SAFETY: the paths lie in memory of their own.
unsafe impl Call for HardLink {
    const NAME: &'static str = "link";

    fn entry(&self) -> Entry {
        opcode::LinkAt::new(HERE, self.original.as_ptr(), HERE, self.link.as_ptr()).build()
    }
}

/// symlinkat(2).
pub(crate) struct Symlink {
    pub(crate) target: CString,
    pub(crate) link: CString,
}

// SAFETY: the paths lie in memory of their own.
unsafe impl Call for Symlink {
    const NAME: &'static str = "symlink";

    fn entry(&self) -> Entry {
        opcode::SymlinkAt::new(HERE, self.target.as_ptr(), self.link.as_ptr()).build()
    }
}

/// unlinkat(2) of a file, or of whatever is no directory.
pub(crate) struct RemoveFile(pub(crate) CString);

// SAFETY: the path lies in memory of its own.
unsafe impl Call for RemoveFile {
    const NAME: &'static str = "unlink";

    fn entry(&self) -> Entry {
        opcode::UnlinkAt::new(HERE, self.0.as_ptr()).build()
    }
}

/// unlinkat(2) of an empty directory.
pub(crate) struct RemoveDir(pub(crate) CString);

// SAFETY: the path lies in memory of its own.
unsafe impl Call for RemoveDir {
    const NAME: &'static str = "rmdir";

    fn entry(&self) -> Entry {
        opcode::UnlinkAt::new(HERE, self.0.as_ptr()).flags(libc::AT_REMOVEDIR).build()
    }
}

/// mkdirat(2).
pub(crate) struct MakeDir {
    pub(crate) path: CString,
    pub(crate) mode: u32,
}

// SAFETY: the path lies in memory of its own.
unsafe impl Call for MakeDir {
    const NAME: &'static str = "mkdir";

    fn entry(&self) -> Entry {
        opcode::MkDirAt::new(HERE, self.path.as_ptr()).mode(self.mode).build()
    }
}

/// What of a file goes to its medium.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Content and metadata.
    All,
    /// Content, and what is needed to find it.
    Data,
}

/// fsync(2) or fdatasync(2).
pub(crate) struct Fsync<F: AsRawFd + 'static> {
    pub(crate) file: Rc<F>,
    pub(crate) what: Sync,
}

// SAFETY: the entry points to nothing.
unsafe impl<F: AsRawFd + 'static> Call for Fsync<F> {
    const NAME: &'static str = "fsync";
    const REPEATABLE: &'static [i32] = INTERRUPTED;

    fn entry(&self) -> Entry {
        let flags = match self.what {
            Sync::All => types::FsyncFlags::empty(),
            Sync::Data => types::FsyncFlags::DATASYNC,
        };
        opcode::Fsync::new(types::Fd(self.file.as_raw_fd())).flags(flags).build()
    }
}

/// fallocate(2), which may make the file longer.
pub(crate) struct Allocate<F: AsRawFd + 'static> {
    pub(crate) file: Rc<F>,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

// SAFETY: the entry points to nothing.
unsafe impl<F: AsRawFd + 'static> Call for Allocate<F> {
    const NAME: &'static str = "fallocate";
    const REPEATABLE: &'static [i32] = INTERRUPTED;

    fn entry(&self) -> Entry {
        opcode::Fallocate::new(types::Fd(self.file.as_raw_fd()), self.len).offset(self.offset).build()
    }
}

/// ftruncate(2), since Linux 6.9.
pub(crate) struct Truncate<F: AsRawFd + 'static> {
    pub(crate) file: Rc<F>,
    pub(crate) len: u64,
}

impl<F: AsRawFd + 'static> Truncate<F> {
    /// The operation's code, to ask for it.
    pub(crate) const CODE: u8 = opcode::Ftruncate::CODE;
}

// SAFETY: the entry points to nothing.
unsafe impl<F: AsRawFd + 'static> Call for Truncate<F> {
    const NAME: &'static str = "ftruncate";
    const REPEATABLE: &'static [i32] = INTERRUPTED;

    fn entry(&self) -> Entry {
        opcode::Ftruncate::new(types::Fd(self.file.as_raw_fd()), self.len).build()
    }
}

/// A job for the thread pool as an operation: the entry waits for a bell (an eventfd) that the end of the job rings.
///
/// A cancel ends the waiting, not the job, which no one can interrupt.
pub(crate) struct Errand<T: Send + 'static> {
    /// None once it was handed over.
    job: Option<Box<dyn FnOnce() -> io::Result<T> + Send>>,
    /// Gives the job to the pool. What the pool does not take is dropped.
    hand_over: fn(Job),
    bell: Option<Arc<EventFd>>,
    patience: Patience,
    /// Where the job leaves its result.
    place: Arc<Mutex<Option<io::Result<T>>>>,
}

/// Rings when it goes, also if the job was never run.
struct Ringer(Arc<EventFd>);

impl Drop for Ringer {
    fn drop(&mut self) {
        // The counter cannot be full: this is its only write.
        let _ = self.0.write(1);
    }
}

impl<T: Send + 'static> Errand<T> {
    pub(crate) fn new(job: impl FnOnce() -> io::Result<T> + Send + 'static, hand_over: fn(Job)) -> Self {
        Errand {
            job: Some(Box::new(job)),
            hand_over,
            bell: None,
            patience: Patience::default(),
            place: Arc::default(),
        }
    }

    /// Hands the job over, with what rings at its end.
    fn start(&mut self) -> io::Result<()> {
        let Some(job) = self.job.take() else { return Ok(()) };
        let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let (ringer, place) = (Ringer(bell.clone()), self.place.clone());
        self.bell = Some(bell);
        (self.hand_over)(Box::new(move || {
            let result = job();
            place.lock().unwrap_or_else(PoisonError::into_inner).replace(result);
            drop(ringer);
        }));
        Ok(())
    }
}

// SAFETY: the entry points to nothing.
unsafe impl<T: Send + 'static> Operation for Errand<T> {
    type Output = io::Result<T>;
    const NAME: &'static str = "job on the thread pool";
    const NATURE: Nature = Nature::Finite;

    fn entry(&mut self) -> Entry {
        if let Err(error) = self.start() {
            self.place.lock().unwrap_or_else(PoisonError::into_inner).replace(Err(error));
        }
        match &self.bell {
            Some(bell) => {
                opcode::PollAdd::new(types::Fd(bell.as_fd().as_raw_fd()), libc::POLLIN as u32).build()
            }
            None => nothing(),
        }
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.patience.advance(outcome, INTERRUPTED)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        outcome.count()?;
        let result = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.unwrap_or_else(|| {
            Err(io::Error::other("the thread pool did not do the job: it was shut down, or the job panicked"))
        })
    }
}
