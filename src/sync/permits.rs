//! A number of permits and the line of those who want some: what semaphore, mutex and queues stand on.
//!
//! A permit that comes back goes to the first waiter at once, before that one runs, so nobody can snatch it
//! in between; and a waiter that wants many is not starved by later ones that want few. What a cancelled
//! waiter had been granted goes on to the next. A newcomer that finds free permits while a granted waiter has not
//! come for its own goes through the line behind it, so that it does not run before it.
//!
//! Invariant: while a future waits, the free permits are fewer than the first waiter wants.
//!
//! Not here: who holds a permit, and gives it back; that is for the guards of the primitives.

use super::wait_queue::{Place, WaitQueue};
use std::cell::Cell;
use std::task::{Context, Poll};

/// Permits, and who waits for how many.
pub(crate) struct Permits {
    /// Permits that nobody has.
    free: Cell<usize>,
    /// Who waits for how many.
    waiters: WaitQueue<usize>,
}

impl Permits {
    /// So many, all of them free.
    pub(crate) const fn new(permits: usize) -> Self {
        Permits { free: Cell::new(permits), waiters: WaitQueue::new() }
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        self.free.get()
    }

    /// Whether a newcomer that wants one has to wait: none is free, or others come first.
    pub(crate) fn must_wait(&self) -> bool {
        self.free.get() == 0 || self.is_queued()
    }

    /// Whether others come first: they wait, or have not come yet for what they were granted.
    fn is_queued(&self) -> bool {
        !self.waiters.is_empty() || self.waiters.outstanding() > 0
    }

    /// Those who wait, for a `Debug`.
    pub(crate) fn waiters(&self) -> &WaitQueue<usize> {
        &self.waiters
    }

    /// Takes so many, if they are free and no other comes first.
    pub(crate) fn try_take(&self, permits: usize) -> bool {
        !self.is_queued() && self.take(permits)
    }

    /// Takes so many, if they are free and no other waits for some.
    pub(crate) fn try_take_spare(&self, permits: usize) -> bool {
        self.waiters.is_empty() && self.take(permits)
    }

    /// Takes so many, or waits for them in line: the place is that of the first poll.
    #[inline]
    pub(crate) fn poll_take(&self, place: &mut Place, cx: &mut Context<'_>, permits: usize) -> Poll<()> {
        match !place.is_inside() && self.try_take(permits) {
            true => Poll::Ready(()),
            false => self.poll_wait(place, cx, permits),
        }
    }

    fn poll_wait(&self, place: &mut Place, cx: &mut Context<'_>, permits: usize) -> Poll<()> {
        let was_inside = place.is_inside();
        let taken = self.waiters.poll_past(place, cx, permits, |&mut wanted| self.try_take(wanted));
        if taken.is_pending() && !was_inside {
            // It stands behind those that were granted; what is free is its own.
            self.release(0);
        }
        taken.map(drop)
    }

    /// Takes one, or waits for it in line. Returns how many were granted theirs before and have not come yet: a newcomer
    /// need not wait for those.
    pub(crate) fn poll_take_spare(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<usize> {
        let fits = |&mut wanted: &mut usize| self.try_take_spare(wanted);
        self.waiters.poll_ranked(place, cx, 1, fits).map(|(_, rank)| rank)
    }

    /// How many were granted what they want and have not come for it.
    pub(crate) fn outstanding(&self) -> usize {
        self.waiters.outstanding()
    }

    /// Gives up a place in the line; what had been granted to it goes on to the next.
    #[inline]
    pub(crate) fn leave(&self, place: &mut Place) {
        if place.is_inside() {
            // Also if it still waited: the one behind it may want less.
            self.waiters.leave(place, |granted| self.release(granted.unwrap_or(0)));
        }
    }

    /// Gives permits back, and on to those who wait. Their number stops at `usize::MAX`.
    #[inline]
    pub(crate) fn release(&self, permits: usize) {
        self.free.set(self.free.get().saturating_add(permits));
        if !self.waiters.is_empty() {
            self.waiters.grant_while(|&mut wanted| self.take(wanted));
        }
    }

    /// Lifts the limit: there are as many as anybody can take, so nobody waits any more.
    pub(crate) fn lift(&self) {
        self.release(usize::MAX);
    }

    /// Takes permits, if as many are free.
    fn take(&self, permits: usize) -> bool {
        let left = self.free.get().checked_sub(permits);
        left.map(|left| self.free.set(left)).is_some()
    }
}
