//! Taking turns: one task at a time reads from a socket, one at a time writes to it, first come first served.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::sync::{Place, WaitQueue};

/// Whose turn it is.
pub(super) struct Turns {
    /// Somebody has the turn.
    taken: Cell<bool>,
    /// Who wants it next.
    waiting: WaitQueue<()>,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Turns { taken: Cell::new(false), waiting: WaitQueue::new() }
    }

    /// Waits for the turn; has it at once if nobody has it and nobody waits.
    pub(super) fn take(&self) -> Take<'_> {
        Take { turns: self, place: Place::outside() }
    }

    fn pass_on(&self) {
        self.taken.set(false);
        self.waiting.grant_while(|()| !self.taken.replace(true));
    }
}

/// The wait for a turn.
pub(super) struct Take<'a> {
    turns: &'a Turns,
    place: Place,
}

impl<'a> Future for Take<'a> {
    type Output = Turn<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn<'a>> {
        let turns = self.turns;
        ready!(turns.waiting.poll(&mut self.place, cx, (), |()| !turns.taken.replace(true)));
        Poll::Ready(Turn(turns))
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        self.turns.waiting.leave(&mut self.place, |granted| {
            if granted.is_some() {
                self.turns.pass_on();
            }
        });
    }
}

/// The turn; passed on when dropped.
#[must_use = "a turn that is dropped is passed on"]
pub(super) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass_on();
    }
}
