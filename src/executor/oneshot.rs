//! A oneshot: a result passes from one thread to another, once, and is waited for by a future or by a thread.

#[cfg(all(test, loom))]
use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::sync::PoisonError;
#[cfg(not(all(test, loom)))]
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::wake;
use crate::error::JoinError;
use crate::sys::clock;

struct OneshotState<T> {
    place: Mutex<Place<T>>,
    /// Notified when the result is there.
    arrived: Condvar,
}

struct Place<T> {
    result: Option<Result<T, JoinError>>,
    /// A result was put in; it may have been taken since.
    settled: bool,
    /// The future that waits.
    waker: Option<Waker>,
    /// The receiver does not want the result any more.
    given_up: bool,
}

impl<T> OneshotState<T> {
    fn lock(&self) -> MutexGuard<'_, Place<T>> {
        // Nothing under the lock can leave the place half changed.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the result in, unless there is or was one.
    fn settle(&self, result: Result<T, JoinError>) {
        let mut place = self.lock();
        if place.settled {
            drop(place);
            return drop(result);
        }
        place.settled = true;
        place.result = Some(result);
        let waker = place.waker.take();
        drop(place);
        self.arrived.notify_all();
        if let Some(waker) = waker {
            wake(waker);
        }
    }
}

/// Makes the two ends. If the sender is dropped without a result, the receiver gets the error that `unsent` makes.
pub(crate) fn oneshot<T>(unsent: fn() -> JoinError) -> (OneshotSender<T>, OneshotReceiver<T>) {
    let place = Mutex::new(Place { result: None, settled: false, waker: None, given_up: false });
    let state = Arc::new(OneshotState { place, arrived: Condvar::new() });
    (OneshotSender { state: state.clone(), unsent }, OneshotReceiver(state))
}

/// The giving end.
pub(crate) struct OneshotSender<T> {
    state: Arc<OneshotState<T>>,
    unsent: fn() -> JoinError,
}

impl<T> OneshotSender<T> {
    /// Whether the receiver does not want the result any more.
    pub(crate) fn is_given_up(&self) -> bool {
        self.state.lock().given_up
    }

    pub(crate) fn send(self, result: Result<T, JoinError>) {
        self.state.settle(result);
    }
}

impl<T> Drop for OneshotSender<T> {
    fn drop(&mut self) {
        if !self.state.lock().settled {
            self.state.settle(Err((self.unsent)()));
        }
    }
}

/// The taking end.
pub(crate) struct OneshotReceiver<T>(Arc<OneshotState<T>>);

impl<T> OneshotReceiver<T> {
    /// Takes the result if it is there; else `cx` is woken when it comes.
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

    /// Takes the result if it is there.
    pub(crate) fn take(&self) -> Option<Result<T, JoinError>> {
        self.0.lock().result.take()
    }

    /// Tells the sender that it need not make the result, if it has not begun to.
    pub(crate) fn give_up(&self) {
        self.0.lock().given_up = true;
    }

    /// Puts in an error in the place of the result that is not going to come.
    pub(crate) fn fail(&self, error: JoinError) {
        self.0.settle(Err(error));
    }

    /// Blocks the thread until the result is there, at most for `limit`.
    pub(crate) fn wait(&self, limit: Option<Duration>) -> Option<Result<T, JoinError>> {
        let end = limit.and_then(|limit| clock::now().checked_add(limit));
        let mut place = self.0.lock();
        while place.result.is_none() {
            place = match end {
                None => self.0.arrived.wait(place).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.saturating_duration_since(clock::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.0.arrived.wait_timeout(place, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        place.result.take()
    }
}
