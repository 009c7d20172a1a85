//! A value that comes later and that many await: each gets a clone, in the order in which they came to wait.
//!
//! The value stays with the promise until the first of them comes for it, and stands where all can see it from
//! then on. It is cloned without any borrow that its `Clone` could meet again.

use super::promise::FutureValue;
use super::wait_queue::{Place, WaitQueue};
use crate::error::BrokenPromise;
use crate::waiting::in_line;
use std::cell::{OnceCell, RefCell};
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// The side of a [`Promise`](super::Promise) that awaits the value, for many. (asyncio: a `Future` that several
/// tasks await.)
///
/// A cheap handle: each task awaits a clone of its own, as often as it likes. Made by
/// [`FutureValue::shared`]. What may fail is shared as a `Result` with an error that is `Clone`.
///
/// # Cancellation
/// Dropping one of them, or cancelling a task that awaits one, is nothing to the others; in asyncio a cancelled
/// waiter cancels the future for all. When the last has gone the promise's
/// [`is_cancelled`](super::Promise::is_cancelled) is true.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async {
///     let (promise, value) = ringloop::new_future();
///     let value = value.shared();
///     let readers = [value.clone(), value].map(|value| ringloop::create_task(value));
///     promise.set("config".to_owned()).unwrap();
///     for reader in readers {
///         assert_eq!(reader.await.unwrap().unwrap(), "config");
///     }
/// })
/// # }
/// ```
#[must_use = "a value that nobody awaits is refused"]
pub struct SharedFuture<T> {
    /// What it shares with the others.
    shared: Rc<Shared<T>>,
    /// Its own place in the line.
    place: Place,
}

/// What those who share a future have in common.
struct Shared<T> {
    /// Where the value comes from.
    source: RefCell<FutureValue<T>>,
    /// What came; set by the first who asks when it is there.
    outcome: OnceCell<Result<T, BrokenPromise>>,
    /// Who waits; the promise grants to all.
    line: Rc<WaitQueue<()>>,
}

impl<T> SharedFuture<T> {
    /// For those who wait in `line`, to which the promise of `source` grants.
    pub(super) fn new(source: FutureValue<T>, line: Rc<WaitQueue<()>>) -> Self {
        let shared = Shared { source: RefCell::new(source), outcome: OnceCell::new(), line };
        SharedFuture { shared: Rc::new(shared), place: Place::outside() }
    }

    /// Whether the promise was kept or broken, so that awaiting it does not wait.
    pub fn is_done(&self) -> bool {
        self.shared.outcome().is_some()
    }
}

impl<T: Clone> SharedFuture<T> {
    /// What awaiting it would give, if it is done; `None` before.
    pub fn try_result(&self) -> Option<Result<T, BrokenPromise>> {
        self.shared.outcome().cloned()
    }
}

impl<T> Shared<T> {
    /// What came, if it has come.
    fn outcome(&self) -> Option<&Result<T, BrokenPromise>> {
        if self.outcome.get().is_none()
            && let Some(outcome) = self.source.borrow_mut().try_result()
        {
            return Some(self.outcome.get_or_init(|| outcome));
        }
        self.outcome.get()
    }
}

impl<T: Clone> Future for SharedFuture<T> {
    type Output = Result<T, BrokenPromise>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let SharedFuture { shared, place } = self.get_mut();
        let polled = shared.line.poll(place, cx, (), |()| shared.outcome().is_some());
        ready!(in_line("shared future", &**shared, polled));
        let outcome = shared.outcome().expect("those who wait are granted their way when it has come");
        Poll::Ready(outcome.clone())
    }
}

impl<T> Clone for SharedFuture<T> {
    fn clone(&self) -> Self {
        SharedFuture { shared: Rc::clone(&self.shared), place: Place::outside() }
    }
}

impl<T> Drop for SharedFuture<T> {
    fn drop(&mut self) {
        // The grant is nothing that another could use: all who waited have one.
        self.shared.line.leave(&mut self.place, drop);
    }
}

impl<T> Debug for SharedFuture<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedFuture")
            .field("is_done", &self.is_done())
            .field("waiters", &self.shared.line)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::by_hand::ByHand;
    use crate::sync::new_future;

    /// FUT-14: all who wait are woken in the order of their coming, and get the same value; so do later ones.
    #[test]
    fn all_get_the_value() {
        let (promise, value) = new_future();
        let value = value.shared();
        let waiters = [(); 3].map(|()| ByHand::waiting(value.clone()));
        assert!(!value.is_done() && value.try_result().is_none());
        assert_eq!(promise.set("it"), Ok(()));
        for waiter in waiters {
            assert_eq!((waiter.wakes(), waiter.take()), (1, Ok("it")));
        }
        assert_eq!((value.is_done(), value.try_result()), (true, Some(Ok("it"))));
        assert_eq!(format!("{value:?}"), "SharedFuture { is_done: true, waiters: 0 waiting, 0 granted }");
        let mut again = ByHand::new(value);
        assert_eq!((again.poll(), again.poll()), (Poll::Ready(Ok("it")), Poll::Ready(Ok("it"))));
    }

    #[test]
    fn a_broken_promise_is_broken_for_all() {
        let (promise, value) = new_future::<u8>();
        let value = value.shared();
        let waiter = ByHand::waiting(value.clone());
        drop(promise);
        assert_eq!((waiter.take(), value.try_result()), (Err(BrokenPromise), Some(Err(BrokenPromise))));
    }

    /// FUT-04, FUT-11: who goes is nothing to the others; the last one's going cancels.
    #[test]
    fn the_last_to_go_cancels_the_promise() {
        let (promise, value) = new_future();
        let value = value.shared();
        let waiter = ByHand::waiting(value.clone());
        assert_eq!(waiter.drop_future().clones(), 0);
        assert!(!promise.is_cancelled());
        drop(value);
        assert!(promise.is_cancelled());
        assert_eq!(promise.set(1), Err(1));
    }

    #[test]
    fn a_waiter_that_goes_with_its_grant_takes_nothing_along() {
        let (promise, value) = new_future();
        let value = value.shared();
        let [gone, stays] = [(); 2].map(|()| ByHand::waiting(value.clone()));
        assert_eq!(promise.set(1), Ok(()));
        drop(gone);
        assert_eq!((stays.take(), value.shared.line.slots().0), (Ok(1), 0));
    }

    /// What a value does when it is cloned may be to look for itself.
    #[test]
    fn a_clone_may_use_the_future() {
        struct Curious(Rc<RefCell<Option<SharedFuture<Curious>>>>);
        impl Clone for Curious {
            fn clone(&self) -> Self {
                let future = self.0.take().expect("it is cloned once");
                assert!(future.is_done());
                Curious(Rc::clone(&self.0))
            }
        }
        let (promise, value) = new_future();
        let value = value.shared();
        let slot = Rc::new(RefCell::new(Some(value.clone())));
        assert!(promise.set(Curious(slot)).is_ok());
        assert!(value.try_result().is_some());
    }

    #[test]
    fn a_future_that_was_polled_before_it_is_shared_holds_no_waker() {
        let (promise, value) = new_future();
        let mut alone = ByHand::new(value);
        assert!(alone.poll().is_pending());
        let (value, waker) = alone.into_parts();
        let value = value.shared();
        assert_eq!(waker.clones(), 0);
        assert_eq!((promise.set(1), ByHand::new(value).take()), (Ok(()), Ok(1)));
    }
}
