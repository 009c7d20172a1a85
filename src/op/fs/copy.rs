//! Copying a file: at once where it is small and both ends lie in memory, else by a job on the thread pool.

#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;

use super::{Errand, nothing};
use crate::op::{Company, Operation, Policy, Work, route};
use crate::pool::Job;
use crate::ring::{Entry, Outcome};

/// A file's copy.
pub(crate) struct Copy {
    how: How,
    /// Gives a job to the pool.
    hand_over: fn(Job),
}

enum How {
    /// Nothing was done yet: from where, and to where.
    Open(CString, CString),
    /// A plain call has done it.
    Done,
    /// A job does it.
    Job(Errand<u64>),
}

impl Copy {
    pub(crate) fn new(from: CString, to: CString, hand_over: fn(Job)) -> Self {
        Copy { how: How::Open(from, to), hand_over }
    }
}

// SAFETY: O1: the entry points to nothing.
unsafe impl Operation for Copy {
    type Output = io::Result<u64>;
    const NAME: &'static str = "copy";
    const HAS_JOB: bool = true;
    const HAS_CALL: bool = true;

    fn policy(&self) -> Policy {
        Policy::CHANGES
    }

    fn call(&mut self, _company: Company) -> Option<Outcome> {
        let How::Open(from, to) = &self.how else { return None };
        let outcome = route::copy_at_once(from, to)?;
        self.how = How::Done;
        Some(outcome)
    }

    fn entry(&mut self) -> Entry {
        nothing()
    }

    fn work(&mut self) -> Option<Work> {
        if let How::Open(from, to) = &mut self.how {
            let [from, to] = [from, to].map(|path| OsString::from_vec(std::mem::take(path).into_bytes()));
            self.how = How::Job(Errand::new(move || std::fs::copy(from, to), self.hand_over));
        }
        match &mut self.how {
            How::Job(job) => job.work(),
            How::Open(..) | How::Done => None,
        }
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        match self.how {
            How::Job(job) => job.finish(outcome),
            How::Open(..) | How::Done => outcome.count().map(|bytes| bytes as u64),
        }
    }
}
