//! Jobs: what other threads do for operations of this loop.
//!
//! A thread that has ended one leaves its key here. A loop that is awake looks for keys in each turn, one that sleeps is woken by
//! the first, with one write to the ring's notifier: a job needs no descriptor of its own. Going to sleep looks at the keys under
//! the same lock under which they come: whoever has it first, one of the two sees the other.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::op::Key;
use crate::ring::Notifier;

/// The jobs of one loop.
#[derive(Default)]
pub(super) struct Jobs {
    /// How many have not been collected.
    under_way: Cell<usize>,
    shared: Arc<Shared>,
    /// Room for those that are.
    room: Cell<Vec<Key>>,
}

/// Those that have ended.
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
    /// Counts a job for this operation. What comes back tells of its end by its drop, on any thread.
    pub(super) fn begin(&self, key: Key) -> End {
        self.under_way.update(|count| count + 1);
        End { shared: self.shared.clone(), key }
    }

    pub(super) fn are_under_way(&self) -> bool {
        self.under_way.get() > 0
    }

    /// Whether one has ended: one load, and none while there is no job.
    #[inline]
    pub(super) fn have_ended(&self) -> bool {
        self.are_under_way() && self.shared.have_ended.load(Ordering::Acquire)
    }

    /// Hands out those that have ended.
    pub(super) fn collect(&self, each: impl FnMut(Key)) {
        let mut ended = self.room.take();
        let mut list = self.shared.lock();
        self.shared.have_ended.store(false, Ordering::Relaxed);
        std::mem::swap(&mut list.ended, &mut ended);
        drop(list);
        self.under_way.update(|count| count - ended.len());
        ended.drain(..).for_each(each);
        self.room.set(ended);
    }

    /// Announces sleep, which `notifier` ends. False: a job has ended, do not sleep.
    pub(super) fn fall_asleep(&self, notifier: Notifier) -> bool {
        let mut list = self.shared.lock();
        let sleeps = list.ended.is_empty();
        list.asleep = sleeps.then_some(notifier);
        sleeps
    }

    /// The sleep is over.
    pub(super) fn wake_up(&self) {
        self.shared.lock().asleep = None;
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
    shared: Arc<Shared>,
    key: Key,
}

impl Drop for End {
    fn drop(&mut self) {
        let mut list = self.shared.lock();
        list.ended.push(self.key);
        self.shared.have_ended.store(true, Ordering::Release);
        // The first wakes it for all that come until then.
        let asleep = list.asleep.take();
        // The loop wakes at once and wants the lock.
        drop(list);
        if let Some(notifier) = asleep {
            notifier.notify();
        }
    }
}
