//! `join_all`: many futures of one type polled in one task, until all have ended.
//!
//! As in `join!` nothing is spawned, the futures may borrow, and each is offered a cancel ([`Branches`]). But each has a
//! waker of its own, a [`Bell`], and only those that rang are polled, in the order of the arguments. In a poll that brings a
//! cancel offer all are: which of them take it decides what becomes of the offer.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::executor::{Branches, Hidden, Took, offer};

/// Polls the futures in this task until all have ended, and gives their outputs, in the order of the arguments.
///
/// They may borrow. Nothing is spawned and no error ends the wait early: see [`gather`](fn@crate::gather) for both. At each wake
/// only those are polled that were woken. Without futures the empty list is there at once.
///
/// # Cancellation
/// A request is offered to every future. Those that handle it clean up to their end, side by side; then, if one did not handle
/// it or resumes it, it goes on outward. Dropping the future drops all.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let words = [String::from("borrowed"), String::from("too")];
///     let lengths = words.iter().map(async |word| {
///         ringloop::sleep(Duration::from_millis(word.len() as u64)).await;
///         word.len()
///     });
///     assert_eq!(ringloop::join_all(lengths).await, [8, 3]);
/// })
/// # }
/// ```
pub async fn join_all<I>(futures: I) -> Vec<<I::Item as IntoFuture>::Output>
where
    I: IntoIterator,
    I::Item: IntoFuture,
{
    let mut all = All::new(futures.into_iter().map(IntoFuture::into_future));
    poll_fn(|cx| all.poll(cx)).await
}

/// Who rang, and who is to be told of it.
#[derive(Default)]
struct Rung {
    branches: Vec<usize>,
    awaiter: Option<Waker>,
}

/// The waker of one branch.
struct Bell {
    index: usize,
    /// It rang, and its branch was not polled since.
    rang: AtomicBool,
    rung: Arc<Mutex<Rung>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.rang.swap(true, Ordering::AcqRel) {
            return;
        }
        let awaiter = {
            let mut rung = lock(&self.rung);
            rung.branches.push(self.index);
            rung.awaiter.take()
        };
        if let Some(awaiter) = awaiter {
            awaiter.wake();
        }
    }
}

fn lock(rung: &Mutex<Rung>) -> MutexGuard<'_, Rung> {
    rung.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One of the futures, while it is pending.
struct Branch<F> {
    future: Pin<Box<F>>,
    /// It took a cancel and cleans up.
    took: Took,
    bell: Arc<Bell>,
    /// The bell.
    waker: Waker,
}

/// All of them.
struct All<F: Future> {
    /// None: it has ended.
    branches: Vec<Option<Branch<F>>>,
    outputs: Vec<Option<F::Output>>,
    /// How many are pending.
    left: usize,
    /// How many of those clean up.
    cleaning: usize,
    rung: Arc<Mutex<Rung>>,
}

impl<F: Future> All<F> {
    fn new(futures: impl Iterator<Item = F>) -> Self {
        let rung = Arc::<Mutex<Rung>>::default();
        let branch = |(index, future)| {
            let bell = Arc::new(Bell { index, rang: AtomicBool::new(true), rung: rung.clone() });
            let waker = bell.clone().into();
            Some(Branch { future: Box::pin(future), took: Took::default(), bell, waker })
        };
        let branches: Vec<_> = futures.enumerate().map(branch).collect();
        let left = branches.len();
        // All are to be polled at first.
        lock(&rung).branches.extend(0..left);
        All { outputs: (0..left).map(|_| None).collect(), branches, left, cleaning: 0, rung }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Vec<F::Output>> {
        let mut round = Branches::start();
        // A cloned waker and a dropped one are code of others: not under the lock.
        let waker = cx.waker().clone();
        let (mut rung, before) = {
            let mut rung = lock(&self.rung);
            (std::mem::take(&mut rung.branches), rung.awaiter.replace(waker))
        };
        drop(before);
        match offer().is_raised() {
            true => (0..self.branches.len()).for_each(|index| self.poll_branch(index, &mut round)),
            false => {
                rung.sort_unstable();
                rung.dedup();
                rung.into_iter().for_each(|index| self.poll_branch(index, &mut round));
            }
        }
        if self.left > 0 {
            round.also_cleaning(self.cleaning > 0);
            round.pending();
            return Poll::Pending;
        }
        round.ready();
        Poll::Ready(self.outputs.iter_mut().filter_map(Option::take).collect())
    }

    fn poll_branch(&mut self, index: usize, round: &mut Branches) {
        let Some(branch) = &mut self.branches[index] else { return };
        // Before the poll: what rings in it rings again.
        branch.bell.rang.swap(false, Ordering::AcqRel);
        self.cleaning -= usize::from(branch.took.is_at_it());
        let mut cx = Context::from_waker(&branch.waker);
        match round.poll(&mut branch.took, || branch.future.as_mut().poll(&mut cx)) {
            Poll::Pending => self.cleaning += usize::from(branch.took.is_at_it()),
            Poll::Ready(output) => {
                self.outputs[index] = Some(output);
                self.left -= 1;
                let _hidden = Hidden::new();
                self.branches[index] = None;
            }
        }
    }
}

impl<F: Future> Drop for All<F> {
    /// A bell that somebody keeps does not keep the task.
    fn drop(&mut self) {
        let awaiter = lock(&self.rung).awaiter.take();
        drop(awaiter);
    }
}

#[cfg(test)]
mod tests;
