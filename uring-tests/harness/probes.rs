//! Small instruments with which a race is forced instead of hoped for: a waker that counts, a poll by hand, a gate that
//! opens when the trial says so, a flag that tells of a drop, an order log.
//!
//! None of them knows the loop: they are plain futures and wakers, so they cannot hide a fault of it.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A waker that only counts how often it was woken.
#[derive(Default)]
pub struct CountingWaker {
    /// Wakes so far.
    woken: AtomicUsize,
}

impl CountingWaker {
    /// A fresh one, and the waker over it.
    pub fn new() -> (Arc<Self>, Waker) {
        let counter = Arc::new(CountingWaker::default());
        (counter.clone(), Waker::from(counter))
    }

    /// Wakes so far.
    pub fn count(&self) -> usize {
        self.woken.load(Ordering::SeqCst)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
    }
}

/// Polls once with the current task's waker.
pub async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Polls once with this waker: from outside any task's own wake-ups.
pub fn poll_with<F: Future + Unpin>(waker: &Waker, future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Polls once and gives the future up while it is pending: a drop right after its submission. Panics if it was ready.
pub async fn start_and_drop<F: Future>(future: F) {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Pending => Poll::Ready(()),
        Poll::Ready(_) => {
            panic!("the future was to be dropped while pending, but it was ready at its first poll")
        }
    })
    .await;
}

/// A door that stays shut until [`Gate::open`]; every waiter then passes. Clones are the same door.
#[derive(Clone, Default)]
pub struct Gate(Rc<GateState>);

#[derive(Default)]
struct GateState {
    /// Whether waiters pass.
    open: Cell<bool>,
    /// Who waits.
    waiting: RefCell<Vec<Waker>>,
}

impl Gate {
    /// A shut door.
    pub fn new() -> Self {
        Gate::default()
    }

    /// Lets everyone pass, now and later.
    pub fn open(&self) {
        self.0.open.set(true);
        for waker in self.0.waiting.take() {
            waker.wake();
        }
    }

    /// Waits until the door is open.
    pub async fn pass(&self) {
        poll_fn(|cx| {
            if self.0.open.get() {
                return Poll::Ready(());
            }
            self.0.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Counts the drops of what carries it.
#[derive(Clone, Default)]
pub struct Drops(Rc<Cell<usize>>);

impl Drops {
    /// None so far.
    pub fn new() -> Self {
        Drops::default()
    }

    /// How many tokens were dropped.
    pub fn count(&self) -> usize {
        self.0.get()
    }

    /// Something whose drop is counted.
    pub fn token(&self) -> DropToken {
        DropToken(self.clone())
    }
}

/// Its drop is counted by the [`Drops`] that made it.
pub struct DropToken(Drops);

impl Drop for DropToken {
    fn drop(&mut self) {
        let count = &self.0.0;
        count.set(count.get() + 1);
    }
}

/// What happened, in order. Clones write to the same log.
#[derive(Clone)]
pub struct Log<T>(Rc<RefCell<Vec<T>>>);

impl<T: Clone> Log<T> {
    /// An empty log.
    pub fn new() -> Self {
        Log(Rc::default())
    }

    /// Notes an event.
    pub fn push(&self, event: T) {
        self.0.borrow_mut().push(event);
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<T> {
        self.0.borrow().clone()
    }

    /// How many events so far.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }
}

/// Runs this when it is dropped.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Ready at the second poll; in between it has woken its task.
pub async fn once_pending() {
    let mut polled = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut polled, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A small generator of pseudo-random numbers (splitmix64), so that a seed repeats a trial.
pub struct Dice(pub u64);

impl Dice {
    /// The next number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}
