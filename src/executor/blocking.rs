//! A blocking task: a function for another thread, and the wait for its result. It serves all that goes to threads: the
//! user's functions, work on files, the lookup of names.
//!
//! The thread leaves the result in a oneshot. Who waits hears of it by mail to the loop: a future by its task's waker, an
//! operation by `Mail::JobEnded`.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use super::oneshot::{OneshotReceiver, oneshot};
use crate::error::JoinError;
use crate::pool::{Job, Refused};
use crate::waiting::{Waiting, waits_for};

/// A function for another thread, and the wait for its result.
pub(crate) struct BlockingTask<T> {
    /// None once it was taken.
    job: Option<Job>,
    result: OneshotReceiver<T>,
}

impl<T: Send + 'static> BlockingTask<T> {
    pub(crate) fn new(function: impl FnOnce() -> T + Send + 'static) -> Self {
        let (sender, result) = oneshot(JoinError::job_dropped);
        let job = move || {
            if !sender.is_given_up() {
                let result = catch_unwind(AssertUnwindSafe(function));
                sender.send(result.map_err(JoinError::panicked));
            }
        };
        BlockingTask { job: Some(Box::new(job)), result }
    }
}

impl<T> BlockingTask<T> {
    /// The function, once, as a job that leaves its result here.
    pub(crate) fn take_job(&mut self) -> Option<Job> {
        self.job.take()
    }

    /// Gives the function to a pool. The error of one that refuses it is the result as well.
    pub(crate) fn hand_over(
        &mut self,
        submit: impl FnOnce(Job) -> Result<(), Refused>,
    ) -> Result<(), io::Error> {
        let Some(job) = self.take_job() else { return Ok(()) };
        submit(job).map_err(|Refused { job, reason }| {
            self.result.fail(JoinError::job_refused(&reason));
            drop(job);
            reason
        })
    }

    /// The result, of a job that has ended.
    pub(crate) fn take_result(self) -> Result<T, JoinError> {
        self.result.take().unwrap_or_else(|| Err(JoinError::job_dropped()))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let polled = self.result.poll(cx);
        if polled.is_pending() {
            waits_for(|| Waiting::Thread);
        }
        polled
    }

    /// Withdraws a function that no thread has taken up; one that runs, runs on.
    pub(crate) fn withdraw(&self) {
        self.result.give_up();
    }
}
