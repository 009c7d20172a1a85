//! Calls that say nothing but whether they succeeded.

use std::ffi::CString;
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::{opcode, types};

use super::HERE;
use crate::op::retry::{INTERRUPTED, NOT_BEGUN, Retry};
use crate::op::{Next, Operation, Policy};
use crate::ring::{Entry, Outcome};

/// A call that says nothing but whether it succeeded.
///
/// # Safety
/// O1: the entry points only into memory that the call owns and that does not move with it.
pub(crate) unsafe trait Call: 'static {
    /// The system call's name.
    const NAME: &'static str;
    /// After which errors it may be tried again.
    const REPEATABLE: &'static [i32] = NOT_BEGUN;

    fn entry(&self) -> Entry;
}

/// A [`Call`] as an operation.
pub(crate) struct Calling<C: Call> {
    /// Which.
    call: C,
    /// How often it was tried in vain.
    retry: Retry,
}

impl<C: Call> Calling<C> {
    pub(crate) fn new(call: C) -> Self {
        Calling { call, retry: Retry::default() }
    }
}

// SAFETY: O1: what `Call` promises.
unsafe impl<C: Call> Operation for Calling<C> {
    type Output = io::Result<()>;
    const NAME: &'static str = C::NAME;

    fn policy(&self) -> Policy {
        Policy::CHANGES
    }

    fn entry(&mut self) -> Entry {
        self.call.entry()
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.retry.advance(outcome, C::REPEATABLE)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        outcome.count().map(drop)
    }
}

/// renameat2(2).
pub(crate) struct Rename {
    /// The old name.
    pub(crate) from: CString,
    /// The new name.
    pub(crate) to: CString,
}

// SAFETY: O1: the paths lie in memory of their own.
unsafe impl Call for Rename {
    const NAME: &'static str = "rename";

    fn entry(&self) -> Entry {
        opcode::RenameAt::new(HERE, self.from.as_ptr(), HERE, self.to.as_ptr()).build()
    }
}

/// linkat(2), of what the path names: a symbolic link is not followed.
pub(crate) struct HardLink {
    /// What gets one more name.
    pub(crate) original: CString,
    /// The new name.
    pub(crate) link: CString,
}

// SAFETY: O1: the paths lie in memory of their own.
unsafe impl Call for HardLink {
    const NAME: &'static str = "link";

    fn entry(&self) -> Entry {
        opcode::LinkAt::new(HERE, self.original.as_ptr(), HERE, self.link.as_ptr()).build()
    }
}

/// symlinkat(2).
pub(crate) struct Symlink {
    /// What the link says.
    pub(crate) target: CString,
    /// The new name.
    pub(crate) link: CString,
}

// SAFETY: O1: the paths lie in memory of their own.
unsafe impl Call for Symlink {
    const NAME: &'static str = "symlink";

    fn entry(&self) -> Entry {
        opcode::SymlinkAt::new(HERE, self.target.as_ptr(), self.link.as_ptr()).build()
    }
}

/// unlinkat(2) of a file, or of whatever is no directory.
pub(crate) struct RemoveFile(pub(crate) CString);

// SAFETY: O1: the path lies in memory of its own.
unsafe impl Call for RemoveFile {
    const NAME: &'static str = "unlink";

    fn entry(&self) -> Entry {
        opcode::UnlinkAt::new(HERE, self.0.as_ptr()).build()
    }
}

/// unlinkat(2) of an empty directory.
pub(crate) struct RemoveDir(pub(crate) CString);

// SAFETY: O1: the path lies in memory of its own.
unsafe impl Call for RemoveDir {
    const NAME: &'static str = "rmdir";

    fn entry(&self) -> Entry {
        opcode::UnlinkAt::new(HERE, self.0.as_ptr()).flags(libc::AT_REMOVEDIR).build()
    }
}

/// mkdirat(2).
pub(crate) struct MakeDir {
    /// The new name.
    pub(crate) path: CString,
    /// Permissions, before the umask.
    pub(crate) mode: u32,
}

// SAFETY: O1: the path lies in memory of its own.
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
    /// What it works on; held, so that it stays open.
    pub(crate) file: Rc<F>,
    /// How much of it.
    pub(crate) what: Sync,
}

// SAFETY: O1: the entry points to nothing.
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
    /// What it works on; held, so that it stays open.
    pub(crate) file: Rc<F>,
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// How many bytes.
    pub(crate) len: u64,
}

// SAFETY: O1: the entry points to nothing.
unsafe impl<F: AsRawFd + 'static> Call for Allocate<F> {
    const NAME: &'static str = "fallocate";
    const REPEATABLE: &'static [i32] = INTERRUPTED;

    fn entry(&self) -> Entry {
        opcode::Fallocate::new(types::Fd(self.file.as_raw_fd()), self.len).offset(self.offset).build()
    }
}

/// ftruncate(2), since Linux 6.9.
pub(crate) struct Truncate<F: AsRawFd + 'static> {
    /// What it works on; held, so that it stays open.
    pub(crate) file: Rc<F>,
    /// How long it is to be.
    pub(crate) len: u64,
}

impl<F: AsRawFd + 'static> Truncate<F> {
    /// The operation's code, to ask for it.
    pub(crate) const CODE: u8 = opcode::Ftruncate::CODE;
}

// SAFETY: O1: the entry points to nothing.
unsafe impl<F: AsRawFd + 'static> Call for Truncate<F> {
    const NAME: &'static str = "ftruncate";
    const REPEATABLE: &'static [i32] = INTERRUPTED;

    fn entry(&self) -> Entry {
        opcode::Ftruncate::new(types::Fd(self.file.as_raw_fd()), self.len).build()
    }
}
