//! Work that a thread does in the place of the kernel: an operation, or the part of one that has no entry.

use std::io;

use super::{Operation, Policy};
use crate::executor::BlockingTask;
use crate::pool::Job;
use crate::ring::Outcome;

/// A blocking task as an operation. A cancel ends the wait, not the work, which nothing can interrupt.
pub(crate) struct BlockingWork<T: Send + 'static>(BlockingTask<io::Result<T>>);

impl<T: Send + 'static> BlockingWork<T> {
    pub(crate) fn new(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Self {
        BlockingWork(BlockingTask::new(work))
    }
}

// SAFETY: O1: it has no entry.
unsafe impl<T: Send + 'static> Operation for BlockingWork<T> {
    type Output = io::Result<T>;
    const NAME: &'static str = "work on the thread pool";
    const HAS_JOB: bool = true;

    fn policy(&self) -> Policy {
        Policy::CHANGES
    }

    fn job(&mut self) -> Option<Job> {
        self.0.take_job()
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        outcome.count()?;
        self.0.take_result()?
    }
}
