//! A value that comes later: one side promises it, the other awaits it. (asyncio: `loop.create_future()`.)
//!
//! Each side tells the other when it gives up: a promise that is dropped leaves a [`BrokenPromise`], and a
//! future that is dropped makes the promise refuse its value. There is one waiter at most, so one waker does
//! and no line is needed, unless the future is [shared](FutureValue::shared).
//!
//! Invariants: `stage` leaves `Pending` once, and `value` is there exactly while it is `Set`. Waiter and value
//! stand in cells that are emptied and filled, never borrowed, so wakers may do what they like (R1).

use super::shared_future::SharedFuture;
use super::wait_queue::WaitQueue;
use crate::error::BrokenPromise;
use crate::waiting::in_line;
use std::cell::Cell;
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A promise of a value, and the future that gets it.
///
/// ```
/// use ringloop::sync::new_future;
/// let (promise, value) = new_future();
/// assert!(!value.is_done());
/// promise.set(7).expect("somebody still wants it");
/// assert!(value.is_done());
/// ```
pub fn new_future<T>() -> (Promise<T>, FutureValue<T>) {
    let shared =
        Rc::new(Shared { stage: Cell::new(Stage::Pending), value: Cell::new(None), waiter: Cell::new(None) });
    (Promise(Rc::clone(&shared)), FutureValue(shared))
}

/// What both sides share.
struct Shared<T> {
    /// How far it is.
    stage: Cell<Stage>,
    /// The value, between the promise and the future.
    value: Cell<Option<T>>,
    /// Whom to wake; set by the future while it waits.
    waiter: Cell<Option<Waiter>>,
}

/// Who waits for the end.
enum Waiter {
    /// The future itself.
    One(Waker),
    /// Those who share it.
    Many(Rc<WaitQueue<()>>),
}

/// How far it is. Only `Pending` is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Promised, awaited or not.
    Pending,
    /// The promise was kept.
    Set,
    /// The promise was dropped.
    Broken,
    /// The future was dropped.
    Cancelled,
}

impl<T> Shared<T> {
    /// Ends the wait.
    fn end(&self, stage: Stage) {
        self.stage.set(stage);
        match self.waiter.take() {
            Some(Waiter::One(waker)) => waker.wake(),
            Some(Waiter::Many(line)) => {
                line.grant_while(|()| true);
            }
            None => {}
        }
    }

    /// What the future gives, if it is done.
    fn outcome(&self) -> Option<Result<T, BrokenPromise>> {
        match self.stage.get() {
            Stage::Pending | Stage::Cancelled => None,
            Stage::Set => {
                Some(Ok(self.value.take().expect("FutureValue was polled after it had given its value")))
            }
            Stage::Broken => Some(Err(BrokenPromise)),
        }
    }
}

/// The side that gives the value, once. Dropping it breaks the promise.
#[must_use = "a promise that is dropped is broken"]
pub struct Promise<T>(Rc<Shared<T>>);

impl<T> Promise<T> {
    /// Gives the value and wakes the waiter.
    ///
    /// # Errors
    /// Nobody wants it any more: the future was dropped, and this is the value back.
    pub fn set(mut self, value: T) -> Result<(), T> {
        self.try_set(value)
    }

    /// Gives the value, for code that may come too late: a timer, or one of several sources of the same
    /// value.
    ///
    /// # Errors
    /// It was given already, or nobody wants it any more; this is the value back.
    pub fn try_set(&mut self, value: T) -> Result<(), T> {
        if self.0.stage.get() != Stage::Pending {
            return Err(value);
        }
        self.0.value.set(Some(value));
        self.0.end(Stage::Set);
        Ok(())
    }

    /// Whether the future was dropped before there was a value: nobody will ever see one.
    pub fn is_cancelled(&self) -> bool {
        self.0.stage.get() == Stage::Cancelled
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        if self.0.stage.get() == Stage::Pending {
            self.0.end(Stage::Broken);
        }
    }
}

/// The side that awaits the value.
///
/// # Cancellation
/// Dropping it tells the promise, whose [`is_cancelled`](Promise::is_cancelled) is true from then on. To wait
/// for a while and come back, await it by reference: `timeout(limit, &mut value)`.
#[must_use = "a value that nobody awaits is refused"]
pub struct FutureValue<T>(Rc<Shared<T>>);

impl<T> FutureValue<T> {
    /// Whether the promise was kept or broken, so that awaiting it does not wait.
    pub fn is_done(&self) -> bool {
        self.0.stage.get() != Stage::Pending
    }

    /// What awaiting it would give, if it is done; `None` before.
    ///
    /// # Panics
    /// If it has given its value already.
    pub fn try_result(&mut self) -> Option<Result<T, BrokenPromise>> {
        self.0.outcome()
    }

    /// Lets many await it: each gets a clone of the value.
    pub fn shared(self) -> SharedFuture<T> {
        let line = Rc::new(WaitQueue::new());
        let before = self.0.waiter.replace(Some(Waiter::Many(Rc::clone(&line))));
        drop(before);
        SharedFuture::new(self, line)
    }
}

impl<T> Future for FutureValue<T> {
    type Output = Result<T, BrokenPromise>;

    /// # Panics
    /// If it is polled again after it has given its value.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = &self.0;
        if let Some(outcome) = shared.outcome() {
            return Poll::Ready(outcome);
        }
        let waker = match shared.waiter.take() {
            Some(Waiter::One(waker)) if waker.will_wake(cx.waker()) => waker,
            _stale => cx.waker().clone(),
        };
        // Cloning is user code, and so is the drop of a stale waker: the promise may have been kept
        // meanwhile.
        match shared.outcome() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                shared.waiter.set(Some(Waiter::One(waker)));
                in_line("promise", &**shared, Poll::Pending)
            }
        }
    }
}

impl<T> Drop for FutureValue<T> {
    fn drop(&mut self) {
        if self.0.stage.get() == Stage::Pending {
            self.0.stage.set(Stage::Cancelled);
        }
        drop(self.0.waiter.take());
        drop(self.0.value.take());
    }
}

impl<T> Debug for Promise<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Promise").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl<T> Debug for FutureValue<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FutureValue").field("is_done", &self.is_done()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::by_hand::{ByHand, as_user_code};

    /// FUT-01, FUT-15: pending, then the value, and the waiter is woken once.
    #[test]
    fn a_value_arrives_and_wakes_the_waiter() {
        let (promise, value) = new_future();
        assert!(!value.is_done() && !promise.is_cancelled());
        let mut waiter = ByHand::new(value);
        assert!(waiter.poll().is_pending());
        assert_eq!((promise.set("it"), waiter.wakes()), (Ok(()), 1));
        assert_eq!(waiter.poll(), Poll::Ready(Ok("it")));
    }

    #[test]
    fn a_value_that_came_first_is_there_without_a_wait() {
        let (promise, value) = new_future();
        assert_eq!(promise.set(1), Ok(()));
        assert!(value.is_done());
        let mut waiter = ByHand::new(value);
        assert_eq!((waiter.poll(), waiter.wakes()), (Poll::Ready(Ok(1)), 0));
    }

    /// FUT-01: not ready, then the value, without awaiting it.
    #[test]
    fn a_value_can_be_looked_for() {
        let (promise, mut value) = new_future();
        assert_eq!(value.try_result(), None);
        assert_eq!((promise.set(1), value.try_result()), (Ok(()), Some(Ok(1))));
    }

    #[test]
    fn a_dropped_promise_is_broken() {
        let (promise, value) = new_future::<()>();
        let mut waiter = ByHand::new(value);
        assert!(waiter.poll().is_pending());
        drop(promise);
        assert_eq!((waiter.wakes(), waiter.poll()), (1, Poll::Ready(Err(BrokenPromise))));
    }

    /// FUT-02: a second value is refused, and the first one stands.
    #[test]
    fn a_promise_is_kept_once() {
        let (mut promise, value) = new_future();
        assert_eq!((promise.try_set(1), promise.try_set(2)), (Ok(()), Err(2)));
        drop(promise);
        assert_eq!(ByHand::new(value).poll(), Poll::Ready(Ok(1)));
    }

    /// FUT-04, FUT-11: a value that comes after the waiter has gone comes back, quietly.
    #[test]
    fn a_dropped_future_refuses_the_value_and_holds_no_waker() {
        let (mut promise, value) = new_future();
        let mut waiter = ByHand::new(value);
        assert!(waiter.poll().is_pending());
        let waker = waiter.drop_future();
        assert_eq!(waker.clones(), 0);
        assert!(promise.is_cancelled());
        assert_eq!((promise.try_set(1), promise.set(2), waker.wakes()), (Err(1), Err(2), 0));
    }

    #[test]
    fn a_value_that_nobody_fetched_is_dropped_with_the_future() {
        let (promise, value) = new_future();
        let content = Rc::new(());
        assert!(promise.set(Rc::clone(&content)).is_ok());
        assert_eq!(Rc::strong_count(&content), 2);
        drop(value);
        assert_eq!(Rc::strong_count(&content), 1);
    }

    #[test]
    fn the_last_waker_is_the_one_that_is_woken() {
        let (promise, value) = new_future();
        let mut waiter = ByHand::new(value);
        assert!(waiter.poll().is_pending());
        let stale = waiter.change_waker();
        assert!(waiter.poll().is_pending());
        assert_eq!(stale.clones(), 0);
        assert_eq!((promise.set(1), stale.wakes(), waiter.wakes()), (Ok(()), 0, 1));
    }

    /// R1: what a waker does when it is dropped may be to keep the promise that it was waiting for.
    #[test]
    fn a_value_that_comes_from_the_drop_of_a_stale_waker_is_not_missed() {
        let (promise, mut value) = new_future();
        let stale = as_user_code(|| (), move || promise.set(1).expect("it is awaited"));
        assert!(Pin::new(&mut value).poll(&mut Context::from_waker(&stale)).is_pending());
        drop(stale);
        assert_eq!(ByHand::new(value).poll(), Poll::Ready(Ok(1)));
    }

    #[test]
    #[should_panic(expected = "polled after it had given its value")]
    fn a_value_is_given_once() {
        let (promise, value) = new_future();
        assert!(promise.set(1).is_ok());
        let mut waiter = ByHand::new(value);
        assert!(waiter.poll().is_ready());
        let _ = waiter.poll();
    }
}
