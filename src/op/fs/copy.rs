//! Copying a file: at once where it is small and both ends lie in memory, else by a thread.

#![allow(unsafe_code)]

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;

use crate::op::{BlockingWork, Company, Operation, Policy, route};
use crate::pool::Job;
use crate::ring::Outcome;

/// A file's copy.
pub(crate) enum Copy {
    /// Nothing was done yet: from where, and to where.
    Open(CString, CString),
    /// A plain call has done it.
    Done,
    /// A thread does it.
    Blocking(BlockingWork<u64>),
}

impl Copy {
    pub(crate) fn new(from: CString, to: CString) -> Self {
        Copy::Open(from, to)
    }
}

// SAFETY: O1: it has no entry.
unsafe impl Operation for Copy {
    type Output = io::Result<u64>;
    const NAME: &'static str = "copy";
    const HAS_CALL: bool = true;
    const HAS_JOB: bool = true;

    fn policy(&self) -> Policy {
        Policy::CHANGES
    }

    fn call(&mut self, _company: Company) -> Option<Outcome> {
        let Copy::Open(from, to) = self else { return None };
        let outcome = route::copy_at_once(from, to)?;
        *self = Copy::Done;
        Some(outcome)
    }

    fn job(&mut self) -> Option<Job> {
        if let Copy::Open(from, to) = self {
            let [from, to] = [from, to].map(|path| OsString::from_vec(std::mem::take(path).into_bytes()));
            *self = Copy::Blocking(BlockingWork::new(move || std::fs::copy(from, to)));
        }
        match self {
            Copy::Blocking(work) => work.job(),
            Copy::Open(..) | Copy::Done => None,
        }
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        match self {
            Copy::Blocking(work) => work.finish(outcome),
            Copy::Open(..) | Copy::Done => outcome.count().map(|bytes| bytes as u64),
        }
    }
}
