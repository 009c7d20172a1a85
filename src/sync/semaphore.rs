//! A semaphore: a number of permits, and tasks that wait for them, strictly first come first served.

use super::permits::Permits;
use super::wait_queue::Place;
use crate::waiting::in_line;
use std::fmt::{self, Debug, Formatter};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Limits how many tasks of a loop do something at the same time. (asyncio: `Semaphore`.)
///
/// A cheap handle: clone it into tasks. Permits are released when they are dropped, on every way out.
///
/// ```
/// use ringloop::sync::Semaphore;
/// let at_most_two = Semaphore::new(2);
/// let first = at_most_two.try_acquire().expect("there are two permits");
/// let second = at_most_two.try_acquire().expect("there is one left");
/// assert!(at_most_two.is_locked());
/// drop(first);
/// assert_eq!(at_most_two.available_permits(), 1);
/// ```
#[derive(Clone)]
pub struct Semaphore(Rc<Permits>);

impl Semaphore {
    /// A semaphore with this many permits. With none, all wait until [`add_permits`](Self::add_permits).
    pub fn new(permits: usize) -> Self {
        Semaphore(Rc::new(Permits::new(permits)))
    }

    /// Waits for a permit. If one is free and nobody waits, it is there at once, without a yield.
    ///
    /// # Cancellation
    /// Nothing is lost: a dropped waiter gives up its place, and a permit that it had just been granted goes
    /// to the next.
    pub fn acquire(&self) -> Acquire {
        self.acquire_many(1)
    }

    /// Waits for several permits, which come together. Its place in the line is that of its first poll; those
    /// behind it wait until it has been served, even if they want less. More than the semaphore has is never
    /// served.
    ///
    /// # Cancellation
    /// As for [`acquire`](Self::acquire).
    pub fn acquire_many(&self, permits: usize) -> Acquire {
        Acquire { semaphore: Some(self.clone()), permits, place: Place::outside() }
    }

    /// A permit, if one is free and nobody waits.
    pub fn try_acquire(&self) -> Option<Permit> {
        self.try_acquire_many(1)
    }

    /// Several permits, if as many are free and nobody waits.
    pub fn try_acquire_many(&self, permits: usize) -> Option<Permit> {
        self.0.try_take(permits).then(|| Permit { semaphore: self.clone(), permits })
    }

    /// Whether [`acquire`](Self::acquire) would have to wait: no permit is free, or somebody waits already.
    pub fn is_locked(&self) -> bool {
        self.0.must_wait()
    }

    /// How many permits are free.
    pub fn available_permits(&self) -> usize {
        self.0.free()
    }

    /// Puts more permits into circulation. Their number stops at `usize::MAX`.
    pub fn add_permits(&self, permits: usize) {
        self.0.release(permits);
    }
}

/// The future of [`Semaphore::acquire`].
#[must_use = "a semaphore is not acquired before the future is awaited"]
pub struct Acquire {
    /// The semaphore, until the permit takes it.
    semaphore: Option<Semaphore>,
    /// How many permits it wants.
    permits: usize,
    /// Its place in the line.
    place: Place,
}

impl Future for Acquire {
    type Output = Permit;

    /// # Panics
    /// If it is polled again after it has given its permit.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        let Acquire { semaphore, permits, place } = self.get_mut();
        let shared = &semaphore.as_ref().expect("Acquire was polled after it had given its permit").0;
        ready!(in_line("semaphore", &**shared, shared.poll_take(place, cx, *permits)));
        let semaphore = semaphore.take().expect("it was there a moment ago");
        Poll::Ready(Permit { semaphore, permits: *permits })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        if let Some(Semaphore(shared)) = &self.semaphore {
            shared.leave(&mut self.place);
        }
    }
}

/// The right to be one of those whom a [`Semaphore`] counts; dropping it releases it. It is `'static`: keep
/// it where you like.
#[must_use = "a permit that is dropped is released at once"]
pub struct Permit {
    /// Where it belongs.
    semaphore: Semaphore,
    /// How many it counts for.
    permits: usize,
}

impl Permit {
    /// Takes the permit out of circulation: the semaphore has one (or as many as were acquired together) less
    /// from now on.
    pub fn forget(mut self) {
        self.permits = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.semaphore.0.release(self.permits);
    }
}

impl Debug for Semaphore {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("available_permits", &self.available_permits())
            .field("waiters", self.0.waiters())
            .finish()
    }
}

impl Debug for Acquire {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire").field("permits", &self.permits).finish_non_exhaustive()
    }
}

impl Debug for Permit {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit").field("permits", &self.permits).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::by_hand::{ByHand, as_user_code};
    use std::collections::VecDeque;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn held(semaphore: &Semaphore) -> Permit {
        semaphore.try_acquire().expect("a permit is free")
    }

    fn waiters(semaphore: &Semaphore) -> usize {
        semaphore.0.waiters().slots().0
    }

    /// SEM-01: none at first is locked; a permit that is added opens it.
    #[test]
    fn a_semaphore_without_permits_is_locked() {
        let semaphore = Semaphore::new(0);
        assert!(semaphore.is_locked() && semaphore.try_acquire().is_none());
        let waiter = ByHand::waiting(semaphore.acquire());
        semaphore.add_permits(1);
        assert_eq!(waiter.wakes(), 1);
        drop(waiter.take());
        assert_eq!((semaphore.available_permits(), semaphore.is_locked()), (1, false));
    }

    /// SEM-02: three permits, ten tasks that hold one for a while: never more than three inside, four rounds
    /// in all.
    #[test]
    fn never_more_are_inside_than_there_are_permits() {
        let semaphore = Semaphore::new(3);
        let mut outside: Vec<_> = (0..10).map(|_| ByHand::new(semaphore.acquire())).collect();
        let mut rounds = Vec::new();
        while !outside.is_empty() {
            let mut inside = Vec::new();
            outside.retain_mut(|task| match task.poll() {
                Poll::Ready(permit) => {
                    inside.push(permit);
                    false
                }
                Poll::Pending => true,
            });
            rounds.push(inside.len());
        }
        assert_eq!(rounds, [3, 3, 3, 1]);
        assert_eq!((semaphore.available_permits(), waiters(&semaphore)), (3, 0));
    }

    /// SEM-03: strictly first come first served, also for those who come twice.
    #[test]
    fn permits_go_round_in_the_order_of_coming() {
        let semaphore = Semaphore::new(1);
        let mut running = held(&semaphore);
        let mut line: VecDeque<_> = (0..3).map(|who| (who, ByHand::waiting(semaphore.acquire()))).collect();
        let mut order = Vec::new();
        for _ in 0..9 {
            drop(running);
            let (who, next) = line.pop_front().expect("the line stays as long as it is");
            assert!(line.iter().all(|(_, other)| other.wakes() == 0));
            running = next.take();
            order.push(who);
            line.push_back((who, ByHand::waiting(semaphore.acquire())));
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    }

    /// SEM-04: who releases and acquires again at once goes behind the waiter; it is locked all the time.
    #[test]
    fn a_waiter_cannot_be_overtaken() {
        let semaphore = Semaphore::new(1);
        let holder = held(&semaphore);
        let waiter = ByHand::waiting(semaphore.acquire());
        drop(holder);
        assert!(semaphore.is_locked() && semaphore.try_acquire().is_none());
        let mut again = ByHand::waiting(semaphore.acquire());
        let permit = waiter.take();
        assert!(again.poll().is_pending());
        drop(permit);
        drop(again.take());
        assert!(!semaphore.is_locked());
    }

    /// SEM-05: {waiting, granted} when the first waiter is cancelled: the next has the permit, and none is
    /// lost.
    #[test]
    fn a_cancelled_waiter_hands_its_permit_on() {
        for granted in [false, true] {
            let semaphore = Semaphore::new(1);
            let holder = held(&semaphore);
            let first = ByHand::waiting(semaphore.acquire());
            let second = ByHand::waiting(semaphore.acquire());
            if granted {
                drop(holder);
                assert_eq!((first.wakes(), second.wakes()), (1, 0));
                drop(first);
            } else {
                drop(first);
                assert_eq!(second.wakes(), 0);
                drop(holder);
            }
            assert_eq!(second.wakes(), 1);
            drop(second.take());
            assert_eq!((semaphore.available_permits(), waiters(&semaphore)), (1, 0));
        }
    }

    /// SEM-06: cancelled in the moment of its grant, with nobody behind it: the permit is free again.
    #[test]
    fn a_waiter_cancelled_as_it_is_granted_gives_the_permit_back() {
        let semaphore = Semaphore::new(1);
        let holder = held(&semaphore);
        let waiter = ByHand::waiting(semaphore.acquire());
        drop(holder);
        drop(waiter);
        assert!(!semaphore.is_locked());
        drop(ByHand::new(semaphore.acquire()).take());
    }

    /// SEM-07: several permits at once serve all who fit, in order; who comes later goes behind.
    #[test]
    fn all_who_fit_are_woken_at_once() {
        let semaphore = Semaphore::new(0);
        let [one, two, three] = [1, 2, 3].map(|n| ByHand::waiting(semaphore.acquire_many(n)));
        semaphore.add_permits(4);
        assert_eq!([one.wakes(), two.wakes(), three.wakes()], [1, 1, 0]);
        assert_eq!(semaphore.available_permits(), 1);
        let late = ByHand::waiting(semaphore.acquire());
        drop(one.take());
        assert_eq!((three.wakes(), late.wakes(), semaphore.available_permits()), (0, 0, 2));
        drop(two.take());
        assert_eq!((three.wakes(), late.wakes(), semaphore.available_permits()), (1, 1, 0));
    }

    /// SEM-07, the other way: when a waiter that wants too much gives up, those behind it are served.
    #[test]
    fn a_cancelled_waiter_makes_way_for_those_who_want_less() {
        let semaphore = Semaphore::new(2);
        let greedy = ByHand::waiting(semaphore.acquire_many(3));
        let [one, two] = [1, 1].map(|n| ByHand::waiting(semaphore.acquire_many(n)));
        assert!(semaphore.is_locked() && semaphore.available_permits() == 2);
        drop(greedy);
        assert_eq!([one.wakes(), two.wakes()], [1, 1]);
    }

    /// SEM-08: released on every way out, also by a panic and by a cancel.
    #[test]
    fn a_permit_is_released_on_every_way_out() {
        let semaphore = Semaphore::new(1);
        let permit = held(&semaphore);
        let thrown = catch_unwind(AssertUnwindSafe(move || {
            let _permit = permit;
            panic!("a task panics inside");
        }));
        assert!(thrown.is_err() && semaphore.available_permits() == 1);

        let mut cancelled = Box::pin({
            let semaphore = semaphore.clone();
            async move {
                let _permit = semaphore.acquire().await;
                std::future::pending::<()>().await;
            }
        });
        assert!(cancelled.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
        assert!(semaphore.is_locked());
        drop(cancelled);
        assert_eq!(semaphore.available_permits(), 1);
    }

    #[test]
    fn a_forgotten_permit_is_out_of_circulation() {
        let semaphore = Semaphore::new(3);
        semaphore.try_acquire_many(2).expect("three are free").forget();
        assert_eq!(semaphore.available_permits(), 1);
        semaphore.add_permits(usize::MAX);
        assert_eq!(semaphore.available_permits(), usize::MAX);
    }

    /// R1: the waker that a release wakes may use the semaphore.
    #[test]
    fn a_waker_may_use_the_semaphore() {
        let semaphore = Semaphore::new(1);
        let holder = held(&semaphore);
        let mut waiter = semaphore.acquire();
        let same = semaphore.clone();
        let waker = as_user_code(move || same.add_permits(same.available_permits() + 1), || ());
        assert!(Pin::new(&mut waiter).poll(&mut Context::from_waker(&waker)).is_pending());
        drop(holder);
        assert_eq!(semaphore.available_permits(), 1);
        drop(ByHand::new(waiter).take());
        assert_eq!(semaphore.available_permits(), 2);
    }

    #[test]
    #[should_panic(expected = "polled after it had given its permit")]
    fn a_permit_is_given_once() {
        let mut acquire = ByHand::new(Semaphore::new(2).acquire());
        let _permit = acquire.poll();
        let _ = acquire.poll();
    }

    /// What the semaphore must do, in the plainest words.
    struct Model {
        free: usize,
        line: VecDeque<(usize, usize)>,
        granted: Vec<usize>,
    }

    impl Model {
        /// Whether a newcomer goes through: it goes before nobody who waits or was let through.
        fn lets_through(&self, wanted: usize) -> bool {
            self.line.is_empty() && self.granted.is_empty() && wanted <= self.free
        }

        fn serve(&mut self) {
            while let Some(&(id, wanted)) = self.line.front()
                && wanted <= self.free
            {
                self.free -= wanted;
                self.granted.push(id);
                self.line.pop_front();
            }
        }
    }

    /// Random steps of everything that can be done, each compared with the model: who is served, who is
    /// woken, how many are free. At the end all permits are back. SEM-03 to SEM-07 in every mixture.
    #[test]
    fn a_semaphore_does_what_its_model_does() {
        const PERMITS: usize = 4;
        let (seeds, steps) = if cfg!(miri) { (2, 200) } else { (50, 2_000) };
        for seed in 1..=seeds {
            let mut random = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed);
            let mut below = |n: usize| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random % n as u64) as usize
            };
            let semaphore = Semaphore::new(PERMITS);
            let mut model = Model { free: PERMITS, line: VecDeque::new(), granted: Vec::new() };
            let mut waiting: Vec<(usize, usize, ByHand<Acquire>)> = Vec::new();
            let mut permits: Vec<Permit> = Vec::new();
            for id in 0..steps {
                let wanted = below(PERMITS + 1);
                match below(6) {
                    0 | 1 if waiting.len() < 8 => {
                        let mut acquire = ByHand::new(semaphore.acquire_many(wanted));
                        match acquire.poll() {
                            Poll::Ready(permit) => {
                                assert!(model.lets_through(wanted));
                                model.free -= wanted;
                                permits.push(permit);
                            }
                            Poll::Pending => {
                                assert!(!model.lets_through(wanted));
                                model.line.push_back((id, wanted));
                                waiting.push((id, wanted, acquire));
                            }
                        }
                    }
                    2 => match semaphore.try_acquire_many(wanted) {
                        Some(permit) => {
                            assert!(model.lets_through(wanted));
                            model.free -= wanted;
                            permits.push(permit);
                        }
                        None => assert!(!model.lets_through(wanted)),
                    },
                    3 if !permits.is_empty() => {
                        let permit = permits.swap_remove(below(permits.len()));
                        model.free += permit.permits;
                        drop(permit);
                    }
                    4 if !waiting.is_empty() => {
                        let (id, wanted, acquire) = waiting.swap_remove(below(waiting.len()));
                        drop(acquire);
                        model.line.retain(|&(other, _)| other != id);
                        if let Some(place) = model.granted.iter().position(|&other| other == id) {
                            model.granted.remove(place);
                            model.free += wanted;
                        }
                    }
                    5 if !waiting.is_empty() => {
                        let place = below(waiting.len());
                        let (id, _, acquire) = &mut waiting[place];
                        if acquire.wakes() == 0 && below(2) == 0 {
                            acquire.change_waker();
                        }
                        let granted = model.granted.iter().position(|other| other == id);
                        match acquire.poll() {
                            Poll::Ready(permit) => {
                                model.granted.remove(granted.expect("only the granted are served"));
                                permits.push(permit);
                                waiting.swap_remove(place);
                            }
                            Poll::Pending => assert!(granted.is_none()),
                        }
                    }
                    _ => {}
                }
                model.serve();
                assert_eq!(semaphore.available_permits(), model.free);
                assert_eq!(semaphore.is_locked(), !model.lets_through(1));
                for (id, _, acquire) in &waiting {
                    assert_eq!(acquire.wakes(), usize::from(model.granted.contains(id)));
                }
            }
            drop((waiting, permits));
            assert_eq!((semaphore.available_permits(), waiters(&semaphore)), (PERMITS, 0));
        }
    }
}
