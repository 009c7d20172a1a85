//! Operations on processes: waiting for an end. Serves `process_pool/`.
//!
//! A process is watched by its pidfd, which polls as readable when the process has ended, whoever else has children and
//! whatever becomes of SIGCHLD. Reaping is a plain call afterwards, which then cannot block; it is the owner's business.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::{opcode, types};

use super::retry::NOTHING_MOVED;
use super::{Operation, Policy};
use crate::ring::{Entry, Outcome};

/// What a watch has seen.
pub(crate) enum Sight {
    /// The process has ended.
    End,
    /// Nothing; the watch ended without a reason and may be begun again.
    Nothing,
    /// Nothing: the loop has ended, or this process is a fork of the loop's.
    Closed,
    /// Nothing, and never will.
    Failed(io::Error),
}

/// Whose watch it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Of a process that goes on without end, as far as the loop of this number is concerned: the loop's end ends the watch.
    Life(u32),
    /// Of a process that was killed: it ends soon, and the loop's end waits for that.
    Death,
}

/// poll(2) of a pidfd.
pub(crate) struct Watch<P: AsRawFd + 'static> {
    process: Rc<P>,
    purpose: Purpose,
}

impl<P: AsRawFd + 'static> Watch<P> {
    pub(crate) fn new(process: Rc<P>, purpose: Purpose) -> Self {
        Watch { process, purpose }
    }
}

// SAFETY: O1: the entry points to nothing.
unsafe impl<P: AsRawFd + 'static> Operation for Watch<P> {
    type Output = (Rc<P>, Sight, Purpose);
    const NAME: &'static str = "watch process";

    fn policy(&self) -> Policy {
        match self.purpose {
            Purpose::Life(_) => Policy::PROMISED,
            Purpose::Death => Policy::CHANGES,
        }
    }

    fn entry(&mut self) -> Entry {
        opcode::PollAdd::new(types::Fd(self.process.as_raw_fd()), libc::POLLIN as u32).build()
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        let sight = match outcome.error() {
            None => Sight::End,
            Some(_) if NOTHING_MOVED.contains(&outcome.result.wrapping_neg()) => Sight::Nothing,
            Some(error) if error.raw_os_error().is_some() => Sight::Failed(error),
            Some(_) => Sight::Closed,
        };
        (self.process, sight, self.purpose)
    }
}
