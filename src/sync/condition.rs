//! A condition: tasks that found a mutex's value not to be what they need, and wait until somebody says that
//! it has changed.
//!
//! A notification is given to a waiter, not left for whoever looks first; the waiter holds it until it has the
//! lock again, and one that is dropped before that hands it on to the next.

use super::mutex::MutexGuard;
use super::wait_queue::{Place, WaitQueue};
use crate::waiting::in_line;
use std::fmt::{self, Debug, Formatter};
use std::future::{Future, poll_fn};
use std::rc::Rc;

/// Lets tasks wait for a change of what a [`Mutex`](super::Mutex) protects. (asyncio: `Condition`.)
///
/// A cheap handle: clone it into tasks. It has no lock of its own as asyncio's has: the guard that is passed
/// in says which mutex is meant, and is the proof that the lock is held. Several conditions may share a mutex.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use ringloop::sync::{Condition, Mutex};
/// ringloop::run(async {
///     let (stock, changed) = (Mutex::new(0), Condition::new());
///     let buyer = ringloop::create_task({
///         let (stock, changed) = (stock.clone(), changed.clone());
///         async move {
///             let mut stock = changed.wait_for(stock.lock().await, |stock| *stock >= 2).await;
///             *stock -= 2;
///         }
///     });
///     for _ in 0..3 {
///         let mut stock = stock.lock().await;
///         *stock += 1;
///         changed.notify(&stock, 1);
///         drop(stock);
///         ringloop::yield_now().await;
///     }
///     buyer.await.unwrap();
///     assert_eq!(*stock.lock().await, 1);
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct Condition(Rc<WaitQueue<()>>);

impl Condition {
    /// A condition that nobody waits for.
    pub fn new() -> Self {
        Condition(Rc::new(WaitQueue::new()))
    }

    /// Gives the lock up, waits for a notification, and then for the lock. That the value is now what the
    /// caller needs is not said: somebody may have been faster, so look again, or use
    /// [`wait_for`](Self::wait_for).
    ///
    /// The lock is given up at the first poll, in one step with the beginning of the wait, so no notification
    /// is missed in between.
    ///
    /// # Cancellation
    /// No notification is lost: a dropped waiter that had been notified hands it on to the next. The guard went
    /// into the wait, so after a cancel the lock is *not* held, unlike in asyncio: a handler that needs it locks
    /// again.
    pub fn wait<T>(&self, guard: MutexGuard<T>) -> impl Future<Output = MutexGuard<T>> + use<T> {
        let mut call = Call { condition: self.clone(), place: Place::outside(), heard: false };
        async move {
            let mutex = guard.mutex().clone();
            call.hear(guard).await;
            let guard = mutex.lock().await;
            call.end();
            guard
        }
    }

    /// Waits until `predicate` is true of the value, looking at once and after each notification. True at once:
    /// it does not even yield.
    ///
    /// # Cancellation
    /// As for [`wait`](Self::wait).
    pub fn wait_for<T, P: FnMut(&mut T) -> bool>(
        &self,
        mut guard: MutexGuard<T>,
        mut predicate: P,
    ) -> impl Future<Output = MutexGuard<T>> + use<T, P> {
        let condition = self.clone();
        async move {
            while !predicate(&mut guard) {
                guard = condition.wait(guard).await;
            }
            guard
        }
    }

    /// Notifies the first `n` of those who wait, or all if they are fewer. Each goes on when it has the lock,
    /// so not before the caller drops the guard.
    ///
    /// The guard is not used: it is there so that the value cannot change between a waiter's look at it and the
    /// beginning of its wait.
    pub fn notify<T>(&self, _held: &MutexGuard<T>, n: usize) {
        self.call(n);
    }

    /// Notifies all who wait. (See [`notify`](Self::notify).)
    pub fn notify_all<T>(&self, _held: &MutexGuard<T>) {
        self.call(usize::MAX);
    }

    /// Grants so many waiters their notification.
    fn call(&self, mut n: usize) {
        self.0.grant_while(|()| n.checked_sub(1).map(|left| n = left).is_some());
    }
}

impl Default for Condition {
    fn default() -> Self {
        Self::new()
    }
}

/// One waiter's notification, from the wait for it until it has the lock.
struct Call {
    /// What it waits for.
    condition: Condition,
    /// Its place in the line.
    place: Place,
    /// It was notified, and has not come to its end yet.
    heard: bool,
}

impl Call {
    /// Waits for the notification; takes its place in the line before it gives the lock up.
    async fn hear<T>(&mut self, guard: MutexGuard<T>) {
        let mut held = Some(guard);
        poll_fn(|cx| {
            let line = &*self.condition.0;
            let polled = in_line("condition", line, line.poll(&mut self.place, cx, (), |()| false));
            drop(held.take());
            polled
        })
        .await;
        self.heard = true;
    }

    /// The notification has done its work, and goes nowhere else.
    fn end(mut self) {
        self.heard = false;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let Call { condition, place, heard } = self;
        condition.0.leave(place, |granted| *heard = granted.is_some());
        if *heard {
            condition.call(1);
        }
    }
}

impl Debug for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condition").field("waiters", &self.0).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Mutex;
    use crate::sync::by_hand::{ByHand, as_user_code};
    use std::task::Context;

    fn held<T>(mutex: &Mutex<T>) -> MutexGuard<T> {
        mutex.try_lock().expect("it is free")
    }

    fn waiter<T: 'static>(
        condition: &Condition,
        mutex: &Mutex<T>,
    ) -> ByHand<impl Future<Output = MutexGuard<T>> + Unpin + use<T>> {
        ByHand::waiting(Box::pin(condition.wait(held(mutex))))
    }

    fn waiters(condition: &Condition) -> usize {
        condition.0.slots().0
    }

    /// COND-01: as many as were called, in the order of their wait, each only when it has the lock.
    #[test]
    fn as_many_as_were_called_go_on_one_after_the_other() {
        let (mutex, condition) = (Mutex::new(0), Condition::default());
        let [mut a, mut b, mut c] = [(); 3].map(|()| waiter(&condition, &mutex));
        let guard = held(&mutex);
        condition.notify(&guard, 2);
        assert_eq!([a.wakes(), b.wakes(), c.wakes()], [1, 1, 0]);
        assert!(a.poll().is_pending() && b.poll().is_pending());
        drop(guard);
        assert_eq!([a.wakes(), b.wakes(), c.wakes()], [2, 1, 0]);
        let first = a.take();
        assert!(b.poll().is_pending());
        drop(first);
        drop(b.take());
        condition.notify_all(&held(&mutex));
        assert!(c.poll().is_ready());
        assert!(!mutex.is_locked() && waiters(&condition) == 0);
    }

    /// COND-06: {notified, and then waiting for the lock} when it is dropped: the next has the notification.
    #[test]
    fn a_notified_waiter_that_goes_hands_its_notification_on() {
        for waits_for_the_lock in [false, true] {
            let (mutex, condition) = (Mutex::new(()), Condition::new());
            let [mut first, second] = [(); 2].map(|()| waiter(&condition, &mutex));
            let guard = held(&mutex);
            condition.notify(&guard, 1);
            if waits_for_the_lock {
                assert!(first.poll().is_pending());
            }
            assert_eq!(second.wakes(), 0);
            drop(first);
            assert_eq!(second.wakes(), 1);
            drop(guard);
            drop(second.take());
            assert!(!mutex.is_locked() && waiters(&condition) == 0);
        }
    }

    /// COND-06: also with the lock in its hand, as it were: granted it, and not polled yet.
    #[test]
    fn a_waiter_that_goes_as_it_gets_the_lock_hands_both_on() {
        let (mutex, condition) = (Mutex::new(()), Condition::new());
        let [mut first, mut second] = [(); 2].map(|()| waiter(&condition, &mutex));
        let guard = held(&mutex);
        condition.notify(&guard, 1);
        assert!(first.poll().is_pending());
        drop(guard);
        assert_eq!(first.wakes(), 2);
        drop(first);
        assert!(!mutex.is_locked());
        assert!(second.poll().is_ready());
    }

    /// A waiter that was served keeps no notification back, and one that was not called has none to give.
    #[test]
    fn nobody_is_called_twice() {
        let (mutex, condition) = (Mutex::new(()), Condition::new());
        let [first, second, third] = [(); 3].map(|()| waiter(&condition, &mutex));
        condition.notify(&held(&mutex), 1);
        drop(first.take());
        drop(second);
        assert_eq!(third.wakes(), 0);
        assert_eq!(waiters(&condition), 1);
    }

    /// COND-03: looks at once, and again after each notification; a true predicate does not wait.
    #[test]
    fn a_predicate_is_asked_until_it_is_true() {
        let (mutex, condition) = (Mutex::new(0), Condition::new());
        let mut asked = 0;
        let ready = condition.wait_for(held(&mutex), |value| {
            asked += 1;
            *value == 0
        });
        drop(ByHand::new(Box::pin(ready)).take());
        assert_eq!(asked, 1);

        let mut waiting = ByHand::waiting(Box::pin(condition.wait_for(held(&mutex), |value| *value == 2)));
        for _ in 0..2 {
            assert!(waiting.poll().is_pending());
            let mut guard = held(&mutex);
            *guard += 1;
            condition.notify(&guard, 1);
        }
        assert_eq!(*waiting.take(), 2);
    }

    /// COND-04: dropped while it waits, it leaves the mutex alone: unlocked.
    #[test]
    fn a_dropped_waiter_holds_nothing() {
        let (mutex, condition) = (Mutex::new(()), Condition::new());
        drop(condition.wait(held(&mutex)));
        assert!(!mutex.is_locked());
        drop(waiter(&condition, &mutex));
        assert!(!mutex.is_locked() && waiters(&condition) == 0);
        assert_eq!(format!("{condition:?}"), "Condition { waiters: 0 waiting, 0 granted }");
    }

    /// R1: what the unlocking wakes may notify the very wait that unlocked.
    #[test]
    fn a_notification_that_comes_from_the_unlocking_is_not_missed() {
        let (mutex, condition) = (Mutex::new(()), Condition::new());
        let guard = held(&mutex);
        let mut locking = Box::pin(mutex.lock());
        let same = condition.clone();
        let waker = as_user_code(move || same.call(1), || ());
        assert!(locking.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let mut waiting = ByHand::waiting(Box::pin(condition.wait(guard)));
        assert_eq!(waiting.wakes(), 1);
        drop(locking);
        assert!(waiting.poll().is_ready());
    }
}
