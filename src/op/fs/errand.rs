//! What the ring cannot do: a job for the thread pool, with the face of an operation.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::nothing;
use crate::op::{Operation, Policy, Work};
use crate::pool::Job;
use crate::ring::{Entry, Outcome};

/// A job for the thread pool as an operation. A cancel ends the waiting, not the job, which no one can interrupt.
pub(crate) struct Errand<T: Send + 'static> {
    /// None once it was handed over.
    work: Option<Work>,
    /// Where the job leaves its result.
    place: Arc<Mutex<Option<io::Result<T>>>>,
}

impl<T: Send + 'static> Errand<T> {
    pub(crate) fn new(job: impl FnOnce() -> io::Result<T> + Send + 'static, hand_over: fn(Job)) -> Self {
        let place = Arc::<Mutex<Option<io::Result<T>>>>::default();
        let left = place.clone();
        let job = Box::new(move || {
            let result = job();
            left.lock().unwrap_or_else(PoisonError::into_inner).replace(result);
        });
        Errand { work: Some(Work { job, hand_over }), place }
    }
}

// SAFETY: O1: the entry points to nothing.
unsafe impl<T: Send + 'static> Operation for Errand<T> {
    type Output = io::Result<T>;
    const NAME: &'static str = "job on the thread pool";
    const HAS_JOB: bool = true;

    fn policy(&self) -> Policy {
        Policy::CHANGES
    }

    fn entry(&mut self) -> Entry {
        nothing()
    }

    fn work(&mut self) -> Option<Work> {
        self.work.take()
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        outcome.count()?;
        let result = self.place.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.unwrap_or_else(|| {
            Err(io::Error::other("the thread pool did not do the job: it was shut down, or the job panicked"))
        })
    }
}
