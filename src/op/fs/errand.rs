//! What the ring cannot do: a job for the thread pool, with the face of an operation.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex, PoisonError};

use io_uring::{opcode, types};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::nothing;
use crate::op::io::{INTERRUPTED, Patience};
use crate::op::{Nature, Next, Operation};
use crate::pool::Job;
use crate::ring::{Entry, Outcome};

/// A job for the thread pool as an operation: the entry waits for a bell (an eventfd) that the end of the job rings.
///
/// A cancel ends the waiting, not the job, which no one can interrupt.
pub(crate) struct Errand<T: Send + 'static> {
    /// None once it was handed over.
    job: Option<Box<dyn FnOnce() -> io::Result<T> + Send>>,
    /// Gives the job to the pool. What the pool does not take is dropped.
    hand_over: fn(Job),
    /// Rings when the job is over; None: it was not handed over.
    bell: Option<Arc<EventFd>>,
    /// How often it was tried in vain.
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

// SAFETY: O1: the entry points to nothing.
unsafe impl<T: Send + 'static> Operation for Errand<T> {
    type Output = io::Result<T>;
    const NAME: &'static str = "job on the thread pool";

    fn nature(&self) -> Nature {
        Nature::Finite
    }

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
