//! Jobs: what other threads do for operations of this loop.
//!
//! A thread that has ended one leaves its key here. A loop that is awake looks for keys in each turn, one that sleeps is woken by
//! the first, with one write to the ring's notifier: a job needs no descriptor of its own. Going to sleep looks at the keys under
//! the same lock under which they come: whoever has it first, one of the two sees the other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::op::Key;
use crate::ring::Notifier;

/// The jobs of one loop that have ended.
#[derive(Clone, Default)]
pub(super) struct Jobs(Arc<Shared>);

#[derive(Default)]
struct Shared {
    list: Mutex<List>,
    /// Whether there are any. It changes under the lock.
    have_ended: AtomicBool,
}

#[derive(Default)]
struct List {
    /// In the order in which they ended.
    ended: Vec<Key>,
    /// The loop is in the kernel, or about to enter it, and must be woken by this.
    asleep: Option<Notifier>,
}

impl Jobs {
    /// What tells of the end of a job for this operation by its drop, on any thread.
    pub(super) fn end_of(&self, key: Key) -> End {
        End { jobs: self.clone(), key }
    }

    /// Whether one has ended: one load.
    pub(super) fn have_ended(&self) -> bool {
        self.0.have_ended.load(Ordering::Acquire)
    }

    /// Exchanges those that have ended for `into`, which is empty.
    pub(super) fn take(&self, into: &mut Vec<Key>) {
        let mut list = self.0.lock();
        self.0.have_ended.store(false, Ordering::Relaxed);
        std::mem::swap(&mut list.ended, into);
    }

    /// Announces sleep, which `notifier` ends. False: a job has ended, do not sleep.
    pub(super) fn fall_asleep(&self, notifier: Notifier) -> bool {
        let mut list = self.0.lock();
        let sleeps = list.ended.is_empty();
        list.asleep = sleeps.then_some(notifier);
        sleeps
    }

    /// The sleep is over.
    pub(super) fn wake_up(&self) {
        self.0.lock().asleep = None;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, List> {
        // Nothing under this lock can leave the list half changed.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of a job, whether it ran, panicked or was dropped.
pub(super) struct End {
    jobs: Jobs,
    key: Key,
}

impl Drop for End {
    fn drop(&mut self) {
        let shared = &*self.jobs.0;
        let mut list = shared.lock();
        list.ended.push(self.key);
        shared.have_ended.store(true, Ordering::Release);
        // The first wakes it for all that come until then.
        let asleep = list.asleep.take();
        // The loop wakes at once and wants the lock.
        drop(list);
        if let Some(notifier) = asleep {
            notifier.notify();
        }
    }
}
