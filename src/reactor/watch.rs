//! `Watch`: an operation that tells of one event after the other.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::{Reactor, expect_current};
use crate::op::{Key, Lent, Operation, Polled};
use crate::ring::Outcome;

/// An operation that repeats, in the table of this reactor. Dropping it cancels the operation.
pub(crate) struct Watch {
    reactor: Rc<Reactor>,
    key: Key,
    name: &'static str,
}

impl Watch {
    /// Starts it on the current loop; None: that takes no more operations.
    pub(crate) fn start(operation: impl Operation<Output = ()>, cx: &Context<'_>) -> Option<Watch> {
        let lent = Lent::new(operation);
        let name = lent.name();
        let reactor = expect_current(name);
        let key = reactor.submit(lent, Some(cx.waker().clone())).ok()?;
        Some(Watch { reactor, key, name })
    }

    /// The next event. None: it has ended, or its loop does not run, and what it had to
    /// tell is not known.
    pub(crate) fn poll_event(&mut self, cx: &Context<'_>) -> Poll<Option<Outcome>> {
        if !self.reactor.is_current() {
            return Poll::Ready(None);
        }
        match self.reactor.poll(self.key, cx.waker()) {
            Polled::Event(event) => Poll::Ready(Some(event)),
            Polled::Ready(payload, outcome, _) => {
                payload.discard(outcome);
                Poll::Ready(None)
            }
            Polled::Gone => Poll::Ready(None),
            Polled::Pending | Polled::NeedsWaker => {
                self.reactor.note_wait(self.name, self.key);
                Poll::Pending
            }
        }
    }
}

impl Watch {
    /// An event that has come since, if there is one.
    pub(crate) fn next_event(&mut self) -> Option<Outcome> {
        self.reactor.core.borrow_mut().table.next_event(self.key)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reactor.abandon(self.key);
    }
}
