//! A mutex: a value that one task at a time has, also across awaits; strictly first come first served.
//!
//! The value *moves*: it stands in the mutex, or in the guard of who has locked it, so having the guard is
//! having the value and no cell has to be opened through a pointer. What moves is a `Box`, whatever the size
//! of the value. A guard that is dropped puts the value back and hands the lock, still locked, to the first
//! waiter.
//!
//! Invariant: the value is in the mutex unless a guard has it; the one permit is with the guard, or with a
//! waiter that has been granted the lock and has not come for it yet. So while somebody waits it is locked.
//!
//! Not here: poisoning. A panic ends the task that had the guard, and the next has the value as it was left,
//! as in asyncio.

use super::permits::Permits;
use super::wait_queue::Place;
use crate::waiting::in_line;
use std::cell::Cell;
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// A value that one task of a loop at a time may use, also across awaits. (asyncio: `Lock`, and the data that
/// it protects.)
///
/// A cheap handle: clone it into tasks. Within one step, without an await, a `RefCell` does.
///
/// ```
/// use ringloop::sync::Mutex;
/// let log = Mutex::new(vec!["begin"]);
/// let mut guard = log.try_lock().expect("nobody has it");
/// guard.push("go on");
/// assert!(log.is_locked());
/// drop(guard);
/// assert_eq!(log.try_lock().expect("it is free again").len(), 2);
/// ```
pub struct Mutex<T>(Rc<Shared<T>>);

/// What the handles, guards and waiters of a mutex share.
struct Shared<T> {
    /// The value, unless a guard has it.
    value: Cell<Option<Box<T>>>,
    /// One: the right to the value.
    right: Permits,
}

impl<T> Mutex<T> {
    /// A mutex round this value, unlocked.
    pub fn new(value: T) -> Self {
        let value = Cell::new(Some(Box::new(value)));
        Mutex(Rc::new(Shared { value, right: Permits::new(1) }))
    }

    /// Waits for the value. If it is free it is there at once, without a yield.
    ///
    /// # Cancellation
    /// Nothing is lost: a dropped waiter gives up its place, and if it had just been granted the lock, the
    /// next has it.
    pub fn lock(&self) -> Locking<T> {
        Locking { mutex: Some(self.clone()), place: Place::outside() }
    }

    /// The value, if it is free.
    pub fn try_lock(&self) -> Option<MutexGuard<T>> {
        self.0.right.try_take(1).then(|| MutexGuard::of(self.clone()))
    }

    /// Whether somebody has the value, or is about to: [`lock`](Self::lock) would have to wait.
    pub fn is_locked(&self) -> bool {
        self.0.right.must_wait()
    }
}

/// The future of [`Mutex::lock`].
#[must_use = "a mutex is not locked before the future is awaited"]
pub struct Locking<T> {
    /// The mutex, until the guard takes it.
    mutex: Option<Mutex<T>>,
    /// Its place in the line.
    place: Place,
}

impl<T> Future for Locking<T> {
    type Output = MutexGuard<T>;

    /// # Panics
    /// If it is polled again after it has given its guard.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<MutexGuard<T>> {
        let Locking { mutex, place } = self.get_mut();
        let shared = &mutex.as_ref().expect("Locking was polled after it had given its guard").0;
        ready!(in_line("mutex", &**shared, shared.right.poll_take(place, cx, 1)));
        let mutex = mutex.take().expect("it was there a moment ago");
        Poll::Ready(MutexGuard::of(mutex))
    }
}

impl<T> Drop for Locking<T> {
    fn drop(&mut self) {
        if let Some(Mutex(shared)) = &self.mutex {
            shared.right.leave(&mut self.place);
        }
    }
}

/// The value of a [`Mutex`], for whoever has locked it; dropping the guard unlocks it. It is `'static`: keep
/// it where you like, also across awaits.
#[must_use = "a guard that is dropped unlocks at once"]
pub struct MutexGuard<T> {
    /// The value; there until the guard is dropped.
    value: Option<Box<T>>,
    /// Where it goes back to.
    mutex: Mutex<T>,
}

impl<T> MutexGuard<T> {
    /// The guard of a mutex that was locked for it.
    fn of(mutex: Mutex<T>) -> Self {
        MutexGuard { value: mutex.0.value.take(), mutex }
    }

    /// What it is the guard of.
    pub(super) fn mutex(&self) -> &Mutex<T> {
        &self.mutex
    }
}

impl<T> Deref for MutexGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_deref().expect("a guard has the value until it is dropped")
    }
}

impl<T> DerefMut for MutexGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_deref_mut().expect("a guard has the value until it is dropped")
    }
}

impl<T> Drop for MutexGuard<T> {
    fn drop(&mut self) {
        self.mutex.0.value.set(self.value.take());
        self.mutex.0.right.release(1);
    }
}

impl<T> Clone for Mutex<T> {
    fn clone(&self) -> Self {
        Mutex(Rc::clone(&self.0))
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

// The value may be with a task that has locked it, so only the lock is shown.
impl<T> Debug for Mutex<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex")
            .field("locked", &self.is_locked())
            .field("waiters", self.0.right.waiters())
            .finish_non_exhaustive()
    }
}

impl<T> Debug for Locking<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locking").finish_non_exhaustive()
    }
}

impl<T: Debug> Debug for MutexGuard<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::by_hand::ByHand;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<T> {
        mutex.try_lock().expect("it is free")
    }

    /// LOCK-01: first come first served, one at a time, and each sees what the last one left.
    #[test]
    fn the_value_goes_from_one_to_the_next() {
        let mutex = Mutex::new(vec![0]);
        let first = locked(&mutex);
        let [second, third] = [mutex.lock(), mutex.lock()].map(ByHand::waiting);
        drop(first);
        assert_eq!((second.wakes(), third.wakes()), (1, 0));
        let mut second = second.take();
        second.push(1);
        assert_eq!(third.wakes(), 0);
        drop(second);
        let mut third = third.take();
        third.push(2);
        drop(third);
        assert_eq!(*locked(&mutex), [0, 1, 2]);
        assert!(!mutex.is_locked() && mutex.0.right.waiters().slots().0 == 0);
    }

    /// LOCK-02: who unlocks and locks again at once goes behind the waiter; it is locked all the time.
    #[test]
    fn a_waiter_cannot_be_overtaken() {
        let mutex = Mutex::new(());
        let holder = locked(&mutex);
        let waiter = ByHand::waiting(mutex.lock());
        drop(holder);
        assert!(mutex.is_locked() && mutex.try_lock().is_none());
        let again = ByHand::waiting(mutex.lock());
        drop(waiter.take());
        drop(again.take());
        assert!(!mutex.is_locked());
    }

    /// LOCK-04: {waiting, granted} when the first waiter is cancelled: the second has the lock, and nobody
    /// else.
    #[test]
    fn a_cancelled_waiter_hands_the_lock_on() {
        for granted in [false, true] {
            let mutex = Mutex::new(7);
            let holder = locked(&mutex);
            let [first, second] = [mutex.lock(), mutex.lock()].map(ByHand::waiting);
            if granted {
                drop(holder);
                drop(first);
            } else {
                drop(first);
                assert_eq!(second.wakes(), 0);
                drop(holder);
            }
            assert_eq!(second.wakes(), 1);
            let guard = second.take();
            assert!(mutex.try_lock().is_none() && *guard == 7);
            drop(guard);
            assert!(!mutex.is_locked() && mutex.0.right.waiters().slots().0 == 0);
        }
    }

    #[test]
    fn the_last_waiter_cancelled_as_it_is_granted_unlocks() {
        let mutex = Mutex::new(());
        let holder = locked(&mutex);
        let waiter = ByHand::waiting(mutex.lock());
        drop(holder);
        assert!(mutex.is_locked());
        drop(waiter);
        assert!(!mutex.is_locked());
    }

    /// LOCK-06: unlocked on every way out, with the value as it was left.
    #[test]
    fn a_panic_unlocks() {
        let mutex = Mutex::new(0);
        let mut guard = locked(&mutex);
        let thrown = catch_unwind(AssertUnwindSafe(move || {
            *guard = 1;
            panic!("a task panics inside");
        }));
        assert!(thrown.is_err() && *locked(&mutex) == 1);
    }

    #[test]
    fn the_value_is_dropped_once_wherever_it_is() {
        let content = Rc::new(());
        let mutex = Mutex::new(Rc::clone(&content));
        let guard = locked(&mutex);
        drop(mutex);
        assert_eq!(Rc::strong_count(&content), 2);
        drop(guard);
        assert_eq!(Rc::strong_count(&content), 1);
    }
}
