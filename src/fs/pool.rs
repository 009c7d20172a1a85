//! File work on the loop's thread pool: what the ring has no operation for.

use std::io;

use crate::event_loop;
use crate::op::fs::Errand;
use crate::pool::Job;

/// The operation of a job.
pub(super) fn errand<T: Send + 'static>(job: impl FnOnce() -> io::Result<T> + Send + 'static) -> Errand<T> {
    Errand::new(job, hand_over)
}

/// Gives a job to the pool of the running loop. A job that it does not take is dropped, and its operation says so.
pub(super) fn hand_over(job: Job) {
    if let Some(event_loop) = event_loop::running()
        && let Err(refused) = event_loop.submit(job)
    {
        tracing::error!(target: "ringloop", error = %refused.reason, "file work was refused by the thread pool");
    }
}
