//! Where a result passes from one thread to another: given once, waited for by a future or by a thread.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::wake;
use crate::error::JoinError;

struct Shared<T> {
    place: Mutex<Place<T>>,
    /// Notified when the result is there.
    arrived: Condvar,
}

struct Place<T> {
    result: Option<Result<T, JoinError>>,
    /// The future that waits.
    waker: Option<Waker>,
    /// Whoever wanted the result does not any more.
    given_up: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Place<T>> {
        // Nothing under the lock can leave the place half changed.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ends.
pub(crate) fn meeting<T>() -> (Delivery<T>, Meeting<T>) {
    let place = Mutex::new(Place { result: None, waker: None, given_up: false });
    let shared = Arc::new(Shared { place, arrived: Condvar::new() });
    (Delivery(Some(shared.clone())), Meeting(shared))
}

/// The giving end; dropped without a result it says that the loop has ended.
pub(crate) struct Delivery<T>(Option<Arc<Shared<T>>>);

impl<T> Delivery<T> {
    /// Whether nobody wants the result any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.lock().given_up)
    }

    pub(crate) fn deliver(mut self, result: Result<T, JoinError>) {
        self.give(result);
    }

    fn give(&mut self, result: Result<T, JoinError>) {
        let Some(shared) = self.0.take() else { return };
        let mut place = shared.lock();
        place.result = Some(result);
        let waker = place.waker.take();
        drop(place);
        shared.arrived.notify_all();
        if let Some(waker) = waker {
            wake(waker);
        }
    }
}

impl<T> Drop for Delivery<T> {
    fn drop(&mut self) {
        self.give(Err(JoinError::loop_closed()));
    }
}

/// The taking end.
pub(crate) struct Meeting<T>(Arc<Shared<T>>);

impl<T> Meeting<T> {
    /// The result if it is there; else `cx` is woken when it comes.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        let waker = cx.waker().clone();
        let mut place = self.0.lock();
        if let Some(result) = place.result.take() {
            return Poll::Ready(result);
        }
        let before = place.waker.replace(waker);
        drop(place);
        drop(before);
        Poll::Pending
    }

    /// Nobody will ask for the result: who has not begun to make it need not.
    pub(crate) fn give_up(&self) {
        self.0.lock().given_up = true;
    }

    /// Blocks the thread until the result is there, at most for `limit`.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Option<Result<T, JoinError>> {
        let place = self.0.lock();
        let missing = |place: &mut Place<T>| place.result.is_none();
        let arrived = &self.0.arrived;
        let mut place = match limit {
            Some(limit) => {
                arrived.wait_timeout_while(place, limit, missing).unwrap_or_else(PoisonError::into_inner).0
            }
            None => arrived.wait_while(place, missing).unwrap_or_else(PoisonError::into_inner),
        };
        place.result.take()
    }
}
