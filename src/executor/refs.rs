//! The count of references to a task cell, biased towards the thread that owns the task.
//!
//! Nearly every clone, wake and drop of a task's waker happens on the loop's own thread, so these must not cost an atomic
//! operation. The count is therefore split: `local` is a plain number that only the owner touches, `remote` an atomic
//! word that other threads add to and take from, and that may go below zero (a waker cloned here and dropped there).
//! The cell may be freed when the sum is zero and the cell is not in the owner's inbox.
//!
//! * The owner's `local` reaching zero sets MERGED: from then on `remote` is the whole count, for everybody.
//! * A foreign drop that takes `remote` below zero puts the cell into the owner's inbox (QUEUED, in the same atomic
//!   step), because only the owner can add the two numbers. The owner cannot have freed it: `local` is above zero then.
//! * QUEUED keeps the cell alive until the owner has taken it from the inbox, or until the pusher found the inbox closed
//!   and did the addition itself.
//!
//! Deliberately not here: what a task is. `models` runs the protocol, with the tasks around it, through every interleaving
//! of a few threads: under loom, which replaces the cell and the atomic by ones that watch every access.

#[cfg(all(test, loom))]
use loom::{
    alloc::Track,
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering::*},
};
#[cfg(not(all(test, loom)))]
use std::{
    cell::Cell,
    sync::atomic::{AtomicU32, Ordering::*},
};

/// The cell is in the owner's inbox, or about to be pushed there by whoever set this bit.
const QUEUED: u32 = 1;
/// `local` is zero for good: `remote` holds the whole count.
const MERGED: u32 = 2;
/// The owner shall schedule the task when it takes the cell from the inbox.
const WAKE: u32 = 4;
/// One reference; the bits above are a signed number.
const ONE: u32 = 8;
/// A half of the count that passes this aborts the process, as `Arc` does: safe code that forgets wakers in a loop could
/// else wrap the count and free a cell in use. Both halves and a clone by each of 2^20 threads still fit the signed number.
const LIMIT: i32 = (1 << 27) - (1 << 20);

/// The two halves of the count.
pub(super) struct Refs {
    /// References counted by the owner's thread.
    local: Cell<u32>,
    /// References counted by others (signed, above the three flags).
    remote: AtomicU32,
    /// A model fails if this is still there at its end.
    #[cfg(all(test, loom))]
    _freed: Track<()>,
}

/// In a model, to free the cell is an access to it as well: a use that is not ordered before it is found.
#[cfg(all(test, loom))]
impl Drop for Refs {
    fn drop(&mut self) {
        self.local.set(0);
        self.remote.with_mut(|_| ());
    }
}

/// What the caller has to do after giving a reference back.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum After {
    /// Nothing.
    Nothing,
    /// Free the cell: this was the last reference.
    Free,
    /// Push the cell into its owner's inbox; on finding the loop gone, call [`Refs::merge_closed`].
    Push,
}

/// What the owner learns when it takes a cell from its inbox.
pub(super) struct Arrival {
    /// Somebody woke the task.
    pub(super) wake: bool,
    /// No reference is left: free the cell.
    pub(super) free: bool,
}

fn count(word: u32) -> i32 {
    (word as i32) >> 3
}

/// Ends the process: the count would overflow.
#[cold]
#[inline(never)]
fn overflow() -> ! {
    std::process::abort()
}

impl Refs {
    pub(super) fn new(local: u32) -> Self {
        Refs {
            local: Cell::new(local),
            remote: AtomicU32::new(0),
            #[cfg(all(test, loom))]
            _freed: Track::new(()),
        }
    }

    /// One more reference, on the owner's thread.
    #[inline]
    pub(super) fn clone_local(&self) {
        match self.local.get() {
            0 => self.clone_remote(),
            n if n >= LIMIT as u32 => overflow(),
            n => self.local.set(n + 1),
        }
    }

    /// One reference less, on the owner's thread. True: free the cell.
    #[inline]
    #[must_use]
    pub(super) fn drop_local(&self) -> bool {
        match self.local.get() {
            0 => {
                let before = self.remote.fetch_sub(ONE, AcqRel);
                count(before) == 1 && before & QUEUED == 0
            }
            1 => {
                self.local.set(0);
                let before = self.remote.fetch_or(MERGED, AcqRel);
                count(before) == 0 && before & QUEUED == 0
            }
            n => {
                self.local.set(n - 1);
                false
            }
        }
    }

    /// One more reference, anywhere. The caller holds one, so the cell cannot go away meanwhile.
    pub(super) fn clone_remote(&self) {
        if count(self.remote.fetch_add(ONE, Relaxed)) >= LIMIT {
            overflow();
        }
    }

    /// One reference less, on a foreign thread.
    pub(super) fn drop_remote(&self) -> After {
        let mut word = self.remote.load(Relaxed);
        loop {
            let mut next = word.wrapping_sub(ONE);
            let alone = word & (MERGED | QUEUED) == 0 && count(next) < 0;
            if alone {
                next |= QUEUED;
            }
            match self.remote.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) if alone => return After::Push,
                Ok(_) if next & MERGED != 0 && next & QUEUED == 0 && count(next) == 0 => return After::Free,
                Ok(_) => return After::Nothing,
                Err(now) => word = now,
            }
        }
    }

    /// A wake from a foreign thread. True: push the cell into its owner's inbox.
    #[must_use]
    pub(super) fn wake_remote(&self) -> bool {
        self.remote.fetch_or(WAKE | QUEUED, AcqRel) & QUEUED == 0
    }

    /// A wake and one reference less, in one, on a foreign thread. True: push the cell into its owner's inbox.
    #[must_use]
    pub(super) fn wake_and_drop_remote(&self) -> bool {
        let mut word = self.remote.load(Relaxed);
        loop {
            let next = word.wrapping_sub(ONE) | WAKE | QUEUED;
            match self.remote.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) => return word & QUEUED == 0,
                Err(now) => word = now,
            }
        }
    }

    /// The owner has taken the cell from its inbox.
    pub(super) fn arrive(&self) -> Arrival {
        if self.local.get() == 0 {
            let before = self.remote.fetch_and(!(QUEUED | WAKE), AcqRel);
            return Arrival { wake: before & WAKE != 0, free: count(before) == 0 };
        }
        let before = self.remote.swap(0, AcqRel);
        let sum = self.local.get() as i32 + count(before);
        debug_assert!(sum >= 0, "a task cell lost a reference");
        self.local.set(sum as u32);
        Arrival { wake: before & WAKE != 0, free: sum == 0 }
    }

    /// The inbox is closed; whoever has the cell in hand adds the two numbers in the owner's place. True: free the cell.
    ///
    /// Only by the one who set QUEUED, under the inbox's lock, or by the old owner for what it took from the inbox when it
    /// closed it. The owner counts like everybody else from before it takes that lock on, so its last writes to `local`
    /// are visible here, and QUEUED keeps a second one out until this one is through.
    #[must_use]
    pub(super) fn merge_closed(&self) -> bool {
        let local = self.local.replace(0);
        let mut word = self.remote.load(Relaxed);
        loop {
            let next = (word.wrapping_add(local * ONE) | MERGED) & !(QUEUED | WAKE);
            match self.remote.compare_exchange_weak(word, next, AcqRel, Relaxed) {
                Ok(_) => return count(next) == 0,
                Err(now) => word = now,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_last_local_reference_frees() {
        let refs = Refs::new(2);
        assert!(!refs.drop_local());
        assert!(refs.drop_local());
    }

    #[test]
    fn a_reference_cloned_here_and_dropped_there_goes_through_the_inbox() {
        let refs = Refs::new(2);
        assert_eq!(refs.drop_remote(), After::Push);
        assert!(!refs.drop_local(), "the other reference is still counted in two places");
        assert!(refs.arrive().free);
    }

    #[test]
    fn a_cell_in_the_inbox_is_freed_by_its_arrival_only() {
        let refs = Refs::new(1);
        refs.clone_remote();
        assert!(refs.wake_remote());
        assert!(!refs.wake_remote(), "it is in the inbox already");
        assert!(!refs.drop_local(), "one foreign reference is left");
        assert_eq!(refs.drop_remote(), After::Nothing, "the inbox keeps it");
        let arrival = refs.arrive();
        assert!(arrival.wake && arrival.free);
    }

    #[test]
    fn a_wake_that_uses_the_waker_up_goes_through_the_inbox_once() {
        let refs = Refs::new(2);
        assert!(refs.wake_and_drop_remote());
        let arrival = refs.arrive();
        assert!(arrival.wake && !arrival.free, "the owner has one reference");
        refs.clone_remote();
        assert!(refs.wake_remote());
        assert!(!refs.wake_and_drop_remote(), "it is in the inbox already");
        assert!(!refs.drop_local(), "the inbox keeps it");
        let arrival = refs.arrive();
        assert!(arrival.wake && arrival.free);
    }

    #[test]
    fn after_the_merge_everybody_counts_on_the_same_word() {
        let refs = Refs::new(1);
        refs.clone_remote();
        assert!(!refs.drop_local());
        refs.clone_local();
        assert_eq!(refs.drop_remote(), After::Nothing);
        assert!(refs.drop_local());
    }

    #[test]
    fn a_closed_loop_leaves_the_addition_to_the_pusher() {
        let refs = Refs::new(2);
        assert_eq!(refs.drop_remote(), After::Push);
        assert!(!refs.merge_closed(), "one local reference is left");
        assert!(refs.drop_local());
    }
}
