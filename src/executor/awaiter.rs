//! Who waits for one thing: a place for a waker.

use std::cell::Cell;
use std::task::{Context, Waker};

use super::wake;

/// A place for the waker of the one that waits.
#[derive(Default)]
pub(crate) struct Awaiter(Cell<Option<Waker>>);

impl Awaiter {
    /// Nobody waits yet.
    pub(crate) const fn new() -> Self {
        Awaiter(Cell::new(None))
    }

    /// Notes whom to wake; a waker that does the same as the one noted is not cloned.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        let noted = self.0.take();
        let same = noted.as_ref().is_some_and(|noted| noted.will_wake(cx.waker()));
        let (kept, dropped) = if same { (noted, None) } else { (Some(cx.waker().clone()), noted) };
        self.0.set(kept);
        drop(dropped);
    }

    /// Wakes whoever waits, once.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.0.take() {
            wake(waker);
        }
    }

    /// Forgets whoever waits.
    pub(crate) fn forget(&self) {
        drop(self.0.take());
    }
}
