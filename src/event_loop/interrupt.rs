//! Ctrl-C as asyncio's `run` takes it: the first cancels main, the second ends the process. `ring/sigint.rs` counts them;
//! here is what the loop does about it, between two turns.

use std::cell::Cell;

use super::EventLoop;
use crate::executor::TaskRef;
use crate::ring::{Watch, die};

/// What Ctrl-C, the signal SIGINT, does while a run is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sigint {
    /// As asyncio does it: the first cancels main at its await, which may clean up; the run then gives a
    /// [`RunError`](crate::RunError) that [`is_interrupted`](crate::RunError::is_interrupted). See [`Builder::sigint`](crate::Builder::sigint).
    Cancel,
    /// Whatever it does otherwise: mostly it ends the process at once. The loop does not touch it.
    #[default]
    Default,
}

/// Ctrl-C as one loop sees it.
#[derive(Default)]
pub(super) struct Interrupts {
    /// Counts for the run under way; None between the runs, and where SIGINT is not ours to take.
    watch: Option<Watch>,
    /// One came when the last run's main had just ended: it is the next run's.
    late: bool,
    /// How many of this run were answered.
    answered: Cell<u32>,
}

impl Interrupts {
    fn count(&self) -> u32 {
        self.watch.as_ref().map_or(0, Watch::count).saturating_add(self.late.into())
    }
}

/// A run under way; watches until it is dropped.
pub(super) struct Watching<'a>(&'a EventLoop);

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let late = self.0.is_interrupted();
        self.0.interrupts.replace(Interrupts { late, ..Interrupts::default() });
    }
}

impl EventLoop {
    /// Begins to watch, if the loop's options say so.
    pub(super) fn watch_sigint(&self) -> Watching<'_> {
        if self.options.sigint == Sigint::Cancel {
            self.interrupts.borrow_mut().watch = self.reactor.notifier().and_then(Watch::start);
        }
        Watching(self)
    }

    /// Whether Ctrl-C was pressed and not yet answered.
    #[inline]
    pub(super) fn is_interrupted(&self) -> bool {
        // Asked before each turn: a loop that leaves SIGINT alone looks no further.
        self.options.sigint == Sigint::Cancel && {
            let interrupts = self.interrupts.borrow();
            interrupts.count() > interrupts.answered.get()
        }
    }

    /// Answers what was pressed.
    #[cold]
    pub(super) fn answer_interrupts(&self, root: &TaskRef) {
        let count = self.interrupts.borrow().count();
        let answered = self.interrupts.borrow().answered.replace(count);
        if answered == 0 {
            root.cancel();
        }
        if count > 1 {
            // Destructors have their turn, clean-ups that await have not.
            self.executor.drop_tasks();
            die();
        }
    }

    /// Whether a main that was cancelled was so by Ctrl-C alone.
    pub(super) fn was_interrupted(&self, root: &TaskRef) -> bool {
        self.interrupts.borrow().answered.get() > 0 && root.cancelling() <= 1
    }
}
