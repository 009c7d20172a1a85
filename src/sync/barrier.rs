//! A barrier: tasks that wait until a number of them has come, and then all go on.
//!
//! The last of a round does not wait: it grants the others their way, and its round is over in that moment,
//! whenever they run. So who comes next belongs to the next round, and none of the states in between that
//! asyncio's barrier has ("draining", "resetting") exists.
//!
//! Invariant: fewer wait than the barrier has parties, and nobody while it is broken.

use super::wait_queue::{Place, WaitQueue};
use crate::error::BrokenBarrier;
use crate::waiting::in_line;
use std::cell::Cell;
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Lets a fixed number of tasks wait for each other, round after round. (asyncio: `Barrier`.)
///
/// A cheap handle: clone it into tasks.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ringloop::sync::Barrier;
/// ringloop::run(async {
///     let barrier = Barrier::new(3);
///     let runners = [(); 3].map(|()| ringloop::create_task(barrier.wait()));
///     let mut places = Vec::new();
///     for runner in runners {
///         places.push(runner.await.unwrap()?);
///     }
///     assert_eq!(places, [0, 1, 2]);
///     Ok(())
/// })?
/// # }
/// ```
#[derive(Clone)]
pub struct Barrier(Rc<Shared>);

/// What the handles and waiters of a barrier share.
struct Shared {
    /// How many make a round.
    parties: usize,
    /// Whether it was aborted.
    broken: Cell<bool>,
    /// Who has come so far; with what it is told in the end.
    waiters: WaitQueue<Result<usize, BrokenBarrier>>,
}

impl Barrier {
    /// A barrier for so many. With one, nobody ever waits.
    ///
    /// # Panics
    /// If `parties` is zero.
    #[track_caller]
    pub fn new(parties: usize) -> Self {
        assert!(parties > 0, "a barrier needs at least one party");
        Barrier(Rc::new(Shared { parties, broken: Cell::new(false), waiters: WaitQueue::new() }))
    }

    /// Waits until as many have come as the barrier has parties; the last of them does not even yield. Each of
    /// a round gets another number, from 0 in the order of their coming: so one of them, say 0, can do what is
    /// to be done once.
    ///
    /// # Errors
    /// [`BrokenBarrier`]: it was reset while this one waited, or it was aborted.
    ///
    /// # Cancellation
    /// A dropped waiter has not come, and another may fill in for it. Once the round was complete nothing is
    /// taken back: the others have passed.
    pub fn wait(&self) -> BarrierWait {
        BarrierWait { barrier: self.clone(), place: Place::outside() }
    }

    /// Sends those away who wait, with [`BrokenBarrier`], and begins anew; also mends a broken barrier.
    pub fn reset(&self) {
        self.0.broken.set(false);
        self.0.send_away();
    }

    /// Breaks the barrier: those who wait get [`BrokenBarrier`], and so do all who come, until
    /// [`reset`](Self::reset).
    pub fn abort(&self) {
        self.0.broken.set(true);
        self.0.send_away();
    }

    /// How many make a round.
    pub fn parties(&self) -> usize {
        self.0.parties
    }

    /// How many wait.
    pub fn n_waiting(&self) -> usize {
        self.0.waiters.waiting()
    }

    /// Whether it was aborted.
    pub fn is_broken(&self) -> bool {
        self.0.broken.get()
    }
}

impl Shared {
    /// Tells who has come what to do: go on, with the last one's number or its own, or give up.
    fn answer(&self, outcome: &mut Result<usize, BrokenBarrier>) -> bool {
        let last = self.parties - 1;
        *outcome = if self.broken.get() { Err(BrokenBarrier) } else { Ok(last) };
        outcome.is_err() || self.waiters.waiting() == last
    }

    /// The round is complete: all who wait go on, each with its number.
    fn pass(&self) {
        let mut numbers = 0..;
        self.waiters.grant_while(|outcome| numbers.next().map(|number| *outcome = Ok(number)).is_some());
    }

    /// The round comes to nothing.
    fn send_away(&self) {
        self.waiters.grant_while(|outcome| {
            *outcome = Err(BrokenBarrier);
            true
        });
    }
}

/// The future of [`Barrier::wait`].
#[must_use = "nobody has come before the future is awaited"]
pub struct BarrierWait {
    /// Where it waits.
    barrier: Barrier,
    /// Its place in the line.
    place: Place,
}

impl Future for BarrierWait {
    type Output = Result<usize, BrokenBarrier>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let BarrierWait { barrier: Barrier(shared), place } = self.get_mut();
        let has_waited = place.is_inside();
        let polled =
            shared.waiters.poll_past(place, cx, Err(BrokenBarrier), |outcome| shared.answer(outcome));
        let outcome = ready!(in_line("barrier", &**shared, polled));
        if !has_waited && outcome.is_ok() {
            shared.pass();
        }
        Poll::Ready(outcome)
    }
}

impl Drop for BarrierWait {
    fn drop(&mut self) {
        // What it was told is for nobody else.
        self.barrier.0.waiters.leave(&mut self.place, drop);
    }
}

impl Debug for Barrier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier")
            .field("parties", &self.parties())
            .field("broken", &self.is_broken())
            .field("waiters", &self.0.waiters)
            .finish()
    }
}

impl Debug for BarrierWait {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("BarrierWait").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::by_hand::{ByHand, as_user_code};

    fn waiters(barrier: &Barrier) -> usize {
        barrier.0.waiters.slots().0
    }

    /// BARRIER-01, BARRIER-02, BARRIER-08: all pass when the last has come, each with another number, round
    /// after round.
    #[test]
    fn all_pass_when_the_last_has_come() {
        let barrier = Barrier::new(3);
        for _ in 0..2 {
            let first = ByHand::waiting(barrier.wait());
            assert_eq!((barrier.parties(), barrier.n_waiting()), (3, 1));
            let second = ByHand::waiting(barrier.wait());
            assert_eq!((barrier.n_waiting(), first.wakes()), (2, 0));
            assert_eq!(ByHand::new(barrier.wait()).take(), Ok(2));
            assert_eq!((first.wakes(), second.wakes(), barrier.n_waiting()), (1, 1, 0));
            assert_eq!((second.take(), first.take()), (Ok(1), Ok(0)));
            assert_eq!(waiters(&barrier), 0);
        }
    }

    /// BARRIER-08
    #[test]
    fn one_party_never_waits() {
        let barrier = Barrier::new(1);
        assert_eq!(ByHand::new(barrier.wait()).take(), Ok(0));
        assert_eq!(ByHand::new(barrier.wait()).take(), Ok(0));
    }

    /// BARRIER-08
    #[test]
    #[should_panic(expected = "at least one party")]
    fn no_party_is_refused() {
        let _ = Barrier::new(0);
    }

    /// BARRIER-03: the round is over for those who come back, although not all of it have left.
    #[test]
    fn who_comes_back_waits_for_the_next_round() {
        let barrier = Barrier::new(2);
        let late = ByHand::waiting(barrier.wait());
        assert_eq!(ByHand::new(barrier.wait()).take(), Ok(1));
        let back = ByHand::waiting(barrier.wait());
        assert_eq!((late.take(), back.wakes()), (Ok(0), 0));
        assert_eq!((ByHand::new(barrier.wait()).take(), back.take()), (Ok(1), Ok(0)));
    }

    /// BARRIER-04: {waiting, passed} when it is dropped.
    #[test]
    fn another_fills_in_for_one_that_goes() {
        let barrier = Barrier::new(3);
        let [gone, other] = [(); 2].map(|()| ByHand::waiting(barrier.wait()));
        drop(gone);
        assert_eq!((barrier.n_waiting(), barrier.is_broken()), (1, false));
        let passed = ByHand::waiting(barrier.wait());
        assert_eq!(ByHand::new(barrier.wait()).take(), Ok(2));
        drop(passed);
        assert_eq!((other.take(), waiters(&barrier)), (Ok(0), 0));
    }

    /// BARRIER-05: who waits gets the error, and the next round is as ever; those who had passed have passed.
    #[test]
    fn a_reset_sends_those_away_who_wait() {
        let barrier = Barrier::new(2);
        let passed = ByHand::waiting(barrier.wait());
        assert_eq!(ByHand::new(barrier.wait()).take(), Ok(1));
        let waiting = ByHand::waiting(barrier.wait());
        barrier.reset();
        assert_eq!((waiting.take(), passed.take(), barrier.is_broken()), (Err(BrokenBarrier), Ok(0), false));
        let first = ByHand::waiting(barrier.wait());
        assert_eq!((ByHand::new(barrier.wait()).take(), first.take()), (Ok(1), Ok(0)));
    }

    #[test]
    fn an_aborted_barrier_is_broken_until_it_is_reset() {
        let barrier = Barrier::new(2);
        let waiting = ByHand::waiting(barrier.wait());
        barrier.abort();
        assert_eq!(waiting.take(), Err(BrokenBarrier));
        assert_eq!((ByHand::new(barrier.wait()).take(), barrier.is_broken()), (Err(BrokenBarrier), true));
        barrier.reset();
        assert!(!barrier.is_broken());
        drop(ByHand::waiting(barrier.wait()));
        assert_eq!(
            format!("{barrier:?}"),
            "Barrier { parties: 2, broken: false, waiters: 0 waiting, 0 granted }"
        );
    }

    /// R1: the waker of one that passes may come to the barrier.
    #[test]
    fn a_waker_may_use_the_barrier() {
        let barrier = Barrier::new(2);
        let same = barrier.clone();
        let mut first = barrier.wait();
        let waker = as_user_code(
            move || {
                let early = ByHand::waiting(same.wait());
                assert_eq!(ByHand::new(same.wait()).take(), Ok(1));
                assert_eq!(early.take(), Ok(0));
            },
            || (),
        );
        assert!(Pin::new(&mut first).poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(ByHand::new(barrier.wait()).take(), Ok(1));
        assert_eq!(ByHand::new(first).take(), Ok(0));
    }
}
