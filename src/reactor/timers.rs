//! The loop's timers: who wants to be woken when.
//!
//! An ordered map behind insert, remove and due: a timer leaves when its future is dropped, not when it expires, so a
//! timeout that never fires costs one insert and one remove and no memory later. Due timers come out by due time, ties in
//! the order of registration. Nothing here reads a clock.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// Names a timer: its due time and its place among those of the same time.
pub(crate) type TimerKey = (Instant, u64);

/// The timers of one loop.
#[derive(Default)]
pub(crate) struct Timers {
    by_time: BTreeMap<TimerKey, Waker>,
    /// The number of the last timer.
    last: u64,
}

impl Timers {
    pub(crate) fn insert(&mut self, at: Instant, waker: Waker) -> TimerKey {
        self.last += 1;
        self.by_time.insert((at, self.last), waker);
        (at, self.last)
    }

    /// Takes a timer out; its waker is dropped by the caller, outside of the borrow.
    #[must_use]
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        self.by_time.remove(&key)
    }

    /// Whether the timer's waker would wake the same as this one; None: the timer has fired.
    pub(crate) fn will_wake(&self, key: TimerKey, waker: &Waker) -> Option<bool> {
        self.by_time.get(&key).map(|own| own.will_wake(waker))
    }

    /// Replaces the waker of a timer that has not fired; the old one comes back to be dropped outside.
    pub(crate) fn set_waker(&mut self, key: TimerKey, waker: Waker) -> Option<Waker> {
        match self.by_time.get_mut(&key) {
            Some(own) => Some(std::mem::replace(own, waker)),
            None => Some(waker),
        }
    }

    /// When the first timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes the first timer out if it is due by `now`.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Waker> {
        let first = self.by_time.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }

    /// Takes all out, for the loop's end.
    #[must_use]
    pub(crate) fn take_all(&mut self) -> BTreeMap<TimerKey, Waker> {
        std::mem::take(&mut self.by_time)
    }
}
