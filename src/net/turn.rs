//! Taking turns: one task at a time reads from a socket, one at a time writes to it, first come first served.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::sync::{Permits, Place};
use crate::waiting::in_line;

/// Whose turn it is: one permit, which is the turn.
pub(super) struct Turns(Permits);

impl Turns {
    pub(super) const fn new() -> Self {
        Turns(Permits::new(1))
    }

    /// Waits for the turn; has it at once if nobody has it and nobody waits.
    pub(super) fn take(&self) -> Take<'_> {
        Take { turns: self, place: Place::outside() }
    }

    /// Has the turn if nobody has it and nobody waits.
    pub(super) fn try_take(&self) -> Option<Turn<'_>> {
        self.0.try_take(1).then_some(Turn(self))
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
        ready!(in_line("its turn at socket", turns, turns.0.poll_take(&mut self.place, cx, 1)));
        Poll::Ready(Turn(turns))
    }
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        self.turns.0.leave(&mut self.place);
    }
}

/// The turn; passed on when dropped.
#[must_use = "a turn that is dropped is passed on"]
pub(super) struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.release(1);
    }
}
