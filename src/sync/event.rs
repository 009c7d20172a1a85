//! An event: a flag that tasks wait for.
//!
//! Setting it lets through everybody who waits at that moment, also if it is cleared again before they run:
//! each waiter was granted its way, and does not look at the flag again.

use super::wait_queue::{Place, WaitQueue};
use crate::waiting::in_line;
use std::cell::Cell;
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// A flag that tasks of one loop wait for, and all go on when it is set. (asyncio: `Event`.)
///
/// A cheap handle: clone it into tasks.
///
/// ```
/// use ringloop::sync::Event;
/// let ready = Event::new();
/// let for_the_other = ready.clone();
/// for_the_other.set();
/// assert!(ready.is_set());
/// ready.clear();
/// assert!(!for_the_other.is_set());
/// ```
#[derive(Clone)]
pub struct Event(Rc<Shared>);

/// What the handles and waiters of an event share.
struct Shared {
    /// The flag.
    set: Cell<bool>,
    /// Who waits for it.
    waiters: WaitQueue<()>,
}

impl Event {
    /// An event that is not set.
    pub fn new() -> Self {
        Event(Rc::new(Shared { set: Cell::new(false), waiters: WaitQueue::new() }))
    }

    /// Sets the flag and wakes all who wait, in the order in which they came.
    pub fn set(&self) {
        self.0.set.set(true);
        self.0.waiters.grant_while(|()| true);
    }

    /// Clears the flag: who comes now waits.
    pub fn clear(&self) {
        self.0.set.set(false);
    }

    /// Whether the flag is set.
    pub fn is_set(&self) -> bool {
        self.0.set.get()
    }

    /// Waits until the flag is set. If it is, it does not even yield.
    ///
    /// # Cancellation
    /// Nothing is lost: the flag stays as it is.
    pub fn wait(&self) -> EventWait {
        EventWait { event: self.clone(), place: Place::outside() }
    }
}

impl Default for Event {
    fn default() -> Self {
        Self::new()
    }
}

/// The future of [`Event::wait`].
#[must_use = "nothing waits before the future is awaited"]
pub struct EventWait {
    /// What it waits for.
    event: Event,
    /// Its place in the line.
    place: Place,
}

impl Future for EventWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let EventWait { event: Event(shared), place } = self.get_mut();
        in_line("event", &**shared, shared.waiters.poll(place, cx, (), |()| shared.set.get()))
    }
}

impl Drop for EventWait {
    fn drop(&mut self) {
        // The grant is nothing that another could use: all who waited have one.
        self.event.0.waiters.leave(&mut self.place, drop);
    }
}

impl Debug for Event {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).field("waiters", &self.0.waiters).finish()
    }
}

impl Debug for EventWait {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWait").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::by_hand::ByHand;

    /// EVENT-04: follows set and clear; a set event does not make anybody wait.
    #[test]
    fn an_event_that_is_set_lets_everybody_through() {
        let event = Event::default();
        assert!(!event.is_set());
        event.set();
        assert!(event.is_set());
        ByHand::new(event.wait()).take();
        ByHand::new(event.wait()).take();
        event.clear();
        assert!(!event.is_set());
        ByHand::waiting(event.wait());
        assert_eq!(event.0.waiters.slots().0, 0);
    }

    /// EVENT-02: set and cleared in one step, the old waiters still go on and new ones wait.
    #[test]
    fn waiters_go_on_even_if_the_event_is_cleared_in_the_same_step() {
        let event = Event::new();
        let old = [ByHand::waiting(event.wait()), ByHand::waiting(event.wait())];
        event.set();
        event.clear();
        let mut new = ByHand::waiting(event.wait());
        for waiter in old {
            assert_eq!(waiter.wakes(), 1);
            waiter.take();
        }
        assert!(new.poll().is_pending() && new.wakes() == 0);
        event.set();
        assert_eq!(new.wakes(), 1);
        new.take();
    }

    #[test]
    fn a_cancelled_waiter_changes_nothing_for_the_others() {
        for set_before in [false, true] {
            let event = Event::new();
            let [first, second] = [event.wait(), event.wait()].map(ByHand::waiting);
            if set_before {
                event.set();
                drop(first);
            } else {
                drop(first);
                event.set();
            }
            assert_eq!(second.wakes(), 1);
            second.take();
            assert_eq!(event.0.waiters.slots().0, 0);
        }
    }
}
