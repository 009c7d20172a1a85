//! Queues: tasks that put items in, tasks that get them out, and a way to wait until all is done.
//!
//! One implementation under three names; they differ in the [`Storage`] alone. A queue is its storage between
//! two counts of permits: *items*, of which a getter takes one, and *room*, of which a putter takes one. What a
//! waiter is granted is the *right* to an item, or to room for one; the item itself moves when the waiter is
//! polled. So a getter that is dropped has taken nothing out, and the order of the items is what it was; a
//! putter that is dropped has put nothing in; and the right goes on to the next in line.
//!
//! ```text
//!   put ──► room ──► storage ──► items ──► get
//!     ▲                                     │
//!     └──────── one permit of room ◄────────┘
//! ```
//!
//! A shutdown lifts the limits: nobody waits any more, and who comes finds the queue shut, or empty and shut.
//! *room* is lifted at once, *items* when the last one has been fetched: a getter that waits for an item which
//! another has a right to and may yet hand on is not sent away too early.
//!
//! Invariants, until the shutdown: the free items and the rights to items are together as many as the storage
//! keeps; the free room, the rights to room and the items kept are together the capacity. `finished` is set
//! exactly while `unfinished` is zero. No item is dropped while the storage is borrowed (R1); they are compared
//! under the borrow, so the `Ord` of a priority must not use its queue.

mod prioritized;
mod storage;

use super::event::{Event, EventWait};
use super::permits::Permits;
use super::wait_queue::Place;
use crate::error::{ShutDown, TryGetError, TryPutError};
use crate::waiting::in_line;
use futures_util::Stream;
pub use prioritized::Prioritized;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
pub use storage::{Smallest, Storage};

/// A queue that gives its items back in the order in which they were put in. (asyncio: `Queue`.)
///
/// For the methods see [`QueueOf`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ringloop::sync::Queue;
/// ringloop::run(async {
///     let jobs = Queue::bounded(2);
///     let worker = ringloop::create_task({
///         let jobs = jobs.clone();
///         async move {
///             let mut done = Vec::new();
///             while let Ok(job) = jobs.get().await {
///                 done.push(job);
///                 jobs.task_done();
///             }
///             done
///         }
///     });
///     for job in 0..5 {
///         jobs.put(job).await?; // waits while two are in the queue
///     }
///     jobs.join().await;
///     jobs.shutdown();
///     assert_eq!(worker.await?, [0, 1, 2, 3, 4]);
///     Ok(())
/// })?
/// # }
/// ```
pub type Queue<T> = QueueOf<VecDeque<T>>;

/// A queue that gives the item back first that was put in last. (asyncio: `LifoQueue`.)
///
/// For the methods see [`QueueOf`].
///
/// ```
/// use ringloop::sync::LifoQueue;
/// let plates = LifoQueue::unbounded();
/// for plate in ["blue", "green"] {
///     plates.try_put(plate).expect("it has no bound");
/// }
/// assert_eq!(plates.try_get(), Ok("green"));
/// ```
pub type LifoQueue<T> = QueueOf<Vec<T>>;

/// A queue that gives the smallest item back first, and of equal ones that which was put in first. (asyncio:
/// `PriorityQueue`, where the order of equals is anybody's guess.)
///
/// Items are compared by their `Ord`: put in `(priority, job)`, or [`Prioritized`] where jobs have no order, or
/// `std::cmp::Reverse` for the greatest first.
/// Comparing must not use the queue. For the methods see [`QueueOf`].
///
/// ```
/// use ringloop::sync::PriorityQueue;
/// let jobs = PriorityQueue::unbounded();
/// for job in [(2, "sweep"), (1, "cook"), (2, "dust")] {
///     jobs.try_put(job).expect("it has no bound");
/// }
/// assert_eq!(jobs.try_get(), Ok((1, "cook")));
/// assert_eq!(jobs.try_get(), Ok((2, "dust")));
/// ```
pub type PriorityQueue<T> = QueueOf<Smallest<T>>;

/// What [`Queue`], [`LifoQueue`] and [`PriorityQueue`] have in common: tasks of one loop put items in and get
/// them out, each side first come first served.
///
/// A cheap handle: clone it into tasks. The [`Storage`] says in which order the items come back.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ringloop::sync::{PriorityQueue, Queue};
/// ringloop::run(async {
///     let (numbers, sorted) = (Queue::unbounded(), PriorityQueue::unbounded());
///     for number in [3, 1, 2] {
///         numbers.put(number).await?;
///     }
///     numbers.shutdown();
///     while let Ok(number) = numbers.get().await {
///         sorted.put(number).await?;
///     }
///     assert_eq!((sorted.get().await?, sorted.len()), (1, 2));
///     Ok(())
/// })?
/// # }
/// ```
pub struct QueueOf<S: Storage>(Rc<Shared<S>>);

/// What the handles and waiters of a queue share.
struct Shared<S: Storage> {
    /// The items.
    storage: RefCell<S>,
    /// Items of getters that were granted theirs and have not come yet, in the order of the grants: a later getter came
    /// before them.
    aside: RefCell<VecDeque<S::Item>>,
    /// A permit for each item that nobody has a right to.
    items: Permits,
    /// A permit for each item that may still be put in.
    room: Permits,
    /// How many items may be in it.
    capacity: usize,
    /// Whether it was shut down.
    shut: Cell<bool>,
    /// How many items were put in and not reported as done.
    unfinished: Cell<usize>,
    /// Set while that is none.
    finished: Event,
}

impl<S: Storage> QueueOf<S> {
    /// A queue that holds so many items at most: then putting waits.
    ///
    /// # Panics
    /// If `capacity` is zero.
    #[track_caller]
    pub fn bounded(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue without room takes nothing: for one without a bound use unbounded()");
        Self::with_capacity(capacity)
    }

    /// A queue that takes whatever comes: putting never waits. If what puts is faster than what gets, it grows
    /// without end.
    pub fn unbounded() -> Self {
        Self::with_capacity(usize::MAX)
    }

    fn with_capacity(capacity: usize) -> Self {
        let finished = Event::new();
        finished.set();
        QueueOf(Rc::new(Shared {
            storage: RefCell::default(),
            aside: RefCell::default(),
            items: Permits::new(0),
            room: Permits::new(capacity),
            capacity,
            shut: Cell::new(false),
            unfinished: Cell::new(0),
            finished,
        }))
    }

    /// Puts an item in, when there is room; if there is and nobody waits for it, without a yield.
    ///
    /// # Errors
    /// [`ShutDown`]: the queue was shut down before the item was in it; the item is dropped.
    ///
    /// # Cancellation
    /// Nothing is doubled: the item is in the queue when this has returned, and only then. A dropped putter drops
    /// its item, and room that it had just been granted goes to the next.
    pub fn put(&self, item: S::Item) -> Put<S> {
        Put { queue: self.clone(), item: Some(item), place: Place::outside() }
    }

    /// Puts an item in, if there is room and nobody waits for it.
    ///
    /// # Errors
    /// The queue is full or was shut down; the error has the item.
    #[doc(alias = "put_nowait")]
    pub fn try_put(&self, item: S::Item) -> Result<(), TryPutError<S::Item>> {
        if !self.0.shut.get() && !self.0.room.try_take_spare(1) {
            return Err(TryPutError::Full(item));
        }
        self.0.store(item).map_err(TryPutError::ShutDown)
    }

    /// Gets the next item out, when there is one; if there is and nobody waits for it, without a yield.
    ///
    /// # Errors
    /// [`ShutDown`]: the queue was shut down, and is empty.
    ///
    /// # Cancellation
    /// Nothing is lost: a dropped getter leaves the item in the queue, in its place, for the next.
    pub fn get(&self) -> Get<S> {
        Get { queue: self.clone(), place: Place::outside() }
    }

    /// Gets the next item out, if there is one that nobody waits for.
    ///
    /// # Errors
    /// There is none, or the queue was shut down and is empty.
    #[doc(alias = "get_nowait")]
    pub fn try_get(&self) -> Result<S::Item, TryGetError> {
        if !self.0.items.try_take_spare(1) {
            return Err(TryGetError::Empty);
        }
        self.0.fetch(self.0.items.outstanding()).ok_or(TryGetError::ShutDown)
    }

    /// The items as a stream, which gets one after the other and ends when the queue was shut down and is empty.
    pub fn iter(&self) -> Items<S> {
        Items(self.get())
    }

    /// Reports that an item that was got out has been dealt with. Once for each item: [`join`](Self::join) waits
    /// for that.
    ///
    /// # Panics
    /// If it is called more often than items were put in.
    #[track_caller]
    pub fn task_done(&self) {
        assert!(
            self.0.unfinished.get() > 0,
            "task_done() was called more often than items were put in: call it once for each item got out"
        );
        self.0.finish(1);
    }

    /// Waits until each item that was put in has been got out and reported by [`task_done`](Self::task_done), or
    /// thrown away by [`shutdown_now`](Self::shutdown_now). If nothing is unfinished it does not even yield.
    ///
    /// # Cancellation
    /// Nothing is lost.
    pub fn join(&self) -> EventWait {
        self.0.finished.wait()
    }

    /// Shuts the queue down: nothing more is put in, and who waits to do so gets [`ShutDown`]. What is in it may
    /// still be got out; then getters get [`ShutDown`] too.
    pub fn shutdown(&self) {
        self.0.shut.set(true);
        self.0.room.lift();
        self.0.lift_if_drained();
    }

    /// Shuts the queue down and throws away what is in it, also what a waiting getter had been granted and has
    /// not come for. (asyncio: `shutdown(immediate=True)`.) [`join`](Self::join) then waits for those items only
    /// that were got out before.
    pub fn shutdown_now(&self) {
        let thrown_away = mem::take(&mut *self.0.storage.borrow_mut());
        let aside = self.0.aside.take();
        self.shutdown();
        self.0.finish(thrown_away.len() + aside.len());
    }

    /// How many items are in it. One that a waiting getter was granted counts until the getter comes for it.
    #[doc(alias = "qsize")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no item is in it.
    #[doc(alias = "empty")]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether as many items are in it as it holds: never, if it has no bound.
    #[doc(alias = "full")]
    pub fn is_full(&self) -> bool {
        self.len() == self.0.capacity
    }

    /// How many items it holds at most; `None` if it has no bound.
    #[doc(alias = "maxsize")]
    pub fn capacity(&self) -> Option<usize> {
        Some(self.0.capacity).filter(|&capacity| capacity < usize::MAX)
    }
}

impl<S: Storage> Shared<S> {
    /// Stores the item of one who has a right to room.
    fn store(&self, item: S::Item) -> Result<(), S::Item> {
        if self.shut.get() {
            return Err(item);
        }
        self.unfinished.set(self.unfinished.get() + 1);
        self.finished.clear();
        self.storage.borrow_mut().push(item);
        self.items.release(1);
        Ok(())
    }

    /// Fetches the item of a getter that has a right to one, behind so many getters that were granted theirs before and
    /// have not come yet: their items are set aside. It is there, unless the queue was shut down.
    fn fetch(&self, rank: usize) -> Option<S::Item> {
        let item = self.next_item(rank)?;
        self.room.release(1);
        self.lift_if_drained();
        Some(item)
    }

    fn next_item(&self, rank: usize) -> Option<S::Item> {
        let (mut storage, mut aside) = (self.storage.borrow_mut(), self.aside.borrow_mut());
        while aside.len() < rank {
            aside.push_back(storage.pop()?);
        }
        match rank < aside.len() {
            true => aside.remove(rank),
            false => storage.pop(),
        }
    }

    fn len(&self) -> usize {
        self.storage.borrow().len() + self.aside.borrow().len()
    }

    /// Shut down, and nothing left in it: nobody need wait for an item.
    fn lift_if_drained(&self) {
        if self.shut.get() && self.len() == 0 {
            self.items.lift();
        }
    }

    /// So many items have been dealt with.
    fn finish(&self, items: usize) {
        self.unfinished.set(self.unfinished.get().saturating_sub(items));
        if self.unfinished.get() == 0 {
            self.finished.set();
        }
    }
}

/// The future of [`QueueOf::put`].
#[must_use = "nothing is put in before the future is awaited"]
pub struct Put<S: Storage> {
    /// Where it goes.
    queue: QueueOf<S>,
    /// What goes there; until it is in the queue.
    item: Option<S::Item>,
    /// Its place in the line for room.
    place: Place,
}

// The item is moved, never polled in place.
impl<S: Storage> Unpin for Put<S> {}

impl<S: Storage> Future for Put<S> {
    type Output = Result<(), ShutDown>;

    /// # Panics
    /// If it is polled again after it has put its item in.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Put { queue: QueueOf(shared), item, place } = self.get_mut();
        assert!(item.is_some(), "Put was polled after it had ended");
        ready!(in_line("room in queue", &**shared, shared.room.poll_take(place, cx, 1)));
        let item = item.take().expect("it was there a moment ago");
        Poll::Ready(shared.store(item).map_err(|_| ShutDown))
    }
}

impl<S: Storage> Drop for Put<S> {
    fn drop(&mut self) {
        self.queue.0.room.leave(&mut self.place);
    }
}

/// The future of [`QueueOf::get`].
#[must_use = "nothing is got out before the future is awaited"]
pub struct Get<S: Storage> {
    /// Where it comes from.
    queue: QueueOf<S>,
    /// Its place in the line for items.
    place: Place,
}

impl<S: Storage> Future for Get<S> {
    type Output = Result<S::Item, ShutDown>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Get { queue: QueueOf(shared), place } = self.get_mut();
        let rank = ready!(in_line("item of queue", &**shared, shared.items.poll_take_spare(place, cx)));
        Poll::Ready(shared.fetch(rank).ok_or(ShutDown))
    }
}

impl<S: Storage> Drop for Get<S> {
    fn drop(&mut self) {
        self.queue.0.items.leave(&mut self.place);
    }
}

/// The items of a queue, one after the other; see [`QueueOf::iter`].
///
/// # Cancellation
/// Dropping the future of its next item loses nothing, but keeps the place in the line for the next time.
#[must_use = "nothing is got out before the stream is polled"]
pub struct Items<S: Storage>(Get<S>);

impl<S: Storage> Stream for Items<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.get_mut().0).poll(cx).map(Result::ok)
    }
}

impl<S: Storage> Clone for QueueOf<S> {
    fn clone(&self) -> Self {
        QueueOf(Rc::clone(&self.0))
    }
}

impl<S: Storage> Debug for QueueOf<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("getters", self.0.items.waiters())
            .field("putters", self.0.room.waiters())
            .field("unfinished", &self.0.unfinished.get())
            .field("finished", &self.0.finished)
            .finish()
    }
}

impl<S: Storage> Debug for Put<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put").finish_non_exhaustive()
    }
}

impl<S: Storage> Debug for Get<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").finish_non_exhaustive()
    }
}

impl<S: Storage> Debug for Items<S> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
