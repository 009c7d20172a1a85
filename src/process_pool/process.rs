//! One process that this one has started, by its pidfd: kill, look, wait, reap. The number of a process is used again when it
//! was reaped, a pidfd never means another process.
//!
//! Nothing here knows a loop; [`Child`](super::child::Child) watches a process on one.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::process::{Child as StdChild, ExitStatus};
use std::time::Duration;

use crate::sys::process::{kill, pidfd_open, reap, wait_readable};
use crate::sys::{Errno, clock};

/// How long a drop waits for a killed process where no loop does it. It takes a millisecond; a process that hangs in the
/// kernel (a dead network file system) is left to whoever reaps orphans.
const KILLED: Duration = Duration::from_secs(2);

/// A process; its drop kills and reaps it.
pub(super) struct Process {
    pidfd: OwnedFd,
    /// For messages only.
    number: u32,
    /// Who started it: a fork of that process has the descriptor too, but no say.
    parent: u32,
    /// Some once it is reaped: its exit status, or None if somebody else has taken that.
    ended: Cell<Option<Option<ExitStatus>>>,
}

impl Process {
    /// Takes over a child that std has just started.
    pub(super) fn of(mut child: StdChild) -> io::Result<Self> {
        let number = child.id();
        match pidfd_open(number) {
            Ok(pidfd) => Ok(Process { pidfd, number, parent: std::process::id(), ended: Cell::new(None) }),
            Err(error) => {
                // No descriptor is left, say: without one it is not ours to keep.
                let _ = child.kill();
                let _ = child.wait();
                Err(error.into())
            }
        }
    }

    /// Whether it is this process's child, and not that of one which was forked from.
    pub(super) fn is_ours(&self) -> bool {
        self.parent == std::process::id()
    }

    /// Its number, for messages: another process may have it by now.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Whether it has ended; then it is reaped.
    pub(super) fn has_ended(&self) -> bool {
        if self.ended.get().is_none() && self.is_ours() {
            match reap(self.pidfd.as_fd()) {
                Ok(Some(status)) => self.ended.set(Some(Some(status))),
                Ok(None) | Err(Errno::EINTR) => {}
                // ECHILD: SIGCHLD is ignored, or other code waits for all children.
                Err(_) => self.ended.set(Some(None)),
            }
        }
        self.ended.get().is_some()
    }

    /// How it ended, if it has and that is known.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.ended.get().flatten()
    }

    /// Sends SIGKILL, unless it has ended.
    pub(super) fn kill(&self) {
        if self.is_ours() && !self.has_ended() {
            // It may end in between; that is as good.
            let _ = kill(self.pidfd.as_fd());
        }
    }

    /// Blocks until it has ended, at most for `limit`, and reaps it. Returns whether it has.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let began = clock::now();
        while !self.has_ended() {
            let left = limit.saturating_sub(clock::now().saturating_duration_since(began));
            if left.is_zero() {
                return false;
            }
            // An error is looked into by the next round.
            let _ = wait_readable(self.pidfd.as_fd(), left);
        }
        true
    }
}

impl AsRawFd for Process {
    fn as_raw_fd(&self) -> RawFd {
        self.pidfd.as_raw_fd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_ours() || self.has_ended() {
            return;
        }
        self.kill();
        if !self.wait(KILLED) {
            tracing::warn!(target: "ringloop", "a killed worker process did not end within {KILLED:?} and is left");
        }
    }
}
