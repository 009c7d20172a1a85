//! The one parking lot under every primitive: who waits, in which order, and who has been given what.
//!
//! A primitive keeps its own state (permits, a flag, a value) and one `WaitQueue` beside it. A future that
//! cannot go on takes a [`Place`] and leaves a payload: what it wants. The primitive looks at the waiters
//! from the front and *grants*: each waiter it says yes to has, from that moment on, what it wanted, whatever
//! happens before it is polled. So nobody can overtake a waiter, an event that is set and cleared in one step
//! still lets its waiters through, and there is no second look at a condition that somebody else may have
//! changed.
//!
//! A waiter's life: *waiting* (in the line, with its waker), *granted* (out of the running, perhaps still to
//! be woken), and gone: its future was polled and took the grant, or was dropped. Dropping a granted future
//! hands the grant on: [`leave`](WaitQueue::leave) gives it back to the primitive. So a cancel loses nothing,
//! whenever it comes.
//!
//! The line is a doubly linked list through the slots of a slab, first come first served:
//!
//! ```text
//!   head ─► granted ─► granted ─► waiting ─► waiting ◄─ tail
//!           (to be woken)         ▲ turn
//! ```
//!
//! Granting moves `turn`, waking takes from `head`. A granted and woken waiter is out of the list, but keeps
//! its slot until its future comes for it. Slots are reused: after the first few waiters nothing is
//! allocated.
//!
//! Invariants: wakers are cloned before, and woken and dropped after the line is borrowed (R1), so they may
//! do with the primitive what they like. A slot has a waker exactly while it is in the list. A place belongs
//! to one queue and one slot.
//!
//! Not here: any judgement on who may go on, which is the primitive's; and threads: all of it is for one
//! loop.

use slab::Slab;
use std::cell::{OnceCell, RefCell, RefMut};
use std::fmt::{self, Debug, Formatter};
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker};

/// No slot: the end of the list.
const NOBODY: usize = usize::MAX;

/// The waiters of one primitive. `T` is what a waiter wants and, once granted, has.
pub(crate) struct WaitQueue<T> {
    /// Made when somebody waits for the first time: most locks never see a second user, and an idle socket
    /// has two.
    line: OnceCell<Box<RefCell<Line<T>>>>,
}

/// The slots and the order of the waiters.
struct Line<T> {
    /// Who waits, or was granted and has not come yet.
    slots: Slab<Waiter<T>>,
    /// The first in the list: the next to be woken, unless it is `turn`.
    head: usize,
    /// The last in the list.
    tail: usize,
    /// The first that still waits; all before it are granted.
    turn: usize,
    /// How many wait: those in the list from `turn` on.
    waiting: usize,
    /// The number of the last grant.
    grants: u64,
    /// All grants up to this one have been taken or given up.
    settled: u64,
}

/// One waiter.
struct Waiter<T> {
    /// What it wants, or has.
    payload: T,
    /// The number of its grant, set by `grant_while` and never taken back; zero while it waits.
    grant: u64,
    /// Whom to wake; taken by whoever takes the waiter out of the list.
    waker: Option<Waker>,
    /// The one before it in the list.
    prev: usize,
    /// The one behind it in the list.
    next: usize,
}

/// A future's place in a queue: none until it has to wait, and none again after it was served.
///
/// Its owner must call [`WaitQueue::leave`] when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(usize);

impl Place {
    /// Not in the queue.
    pub(crate) const fn outside() -> Self {
        Place(NOBODY)
    }

    /// Whether it is in the queue, waiting or granted.
    pub(crate) fn is_inside(&self) -> bool {
        self.0 != NOBODY
    }
}

impl<T> WaitQueue<T> {
    /// Nobody waits.
    pub(crate) const fn new() -> Self {
        WaitQueue { line: OnceCell::new() }
    }

    /// How many wait. Those that were granted do not wait any more.
    pub(crate) fn waiting(&self) -> usize {
        self.line.get().map_or(0, |line| line.borrow().waiting)
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// How many were granted what they want and have not come for it.
    pub(crate) fn outstanding(&self) -> usize {
        self.line.get().map_or(0, |line| line.borrow().outstanding())
    }

    /// Serves the future if nobody waits before it and `fits` says yes to what it wants, or if it has been
    /// granted that meanwhile; else it waits, behind all others. The waker of the last call is the one that
    /// will be woken.
    ///
    /// `want` and `fits` are for the first call; see [`grant_while`](Self::grant_while), which asks the same
    /// question.
    pub(crate) fn poll(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        want: T,
        mut fits: impl FnMut(&mut T) -> bool,
    ) -> Poll<T> {
        self.poll_past(place, cx, want, |want| self.is_empty() && fits(want))
    }

    /// As [`poll`](Self::poll), whoever waits already: for what all who came have together.
    pub(crate) fn poll_past(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        want: T,
        fits: impl FnMut(&mut T) -> bool,
    ) -> Poll<T> {
        self.poll_ranked(place, cx, want, fits).map(|(payload, _)| payload)
    }

    /// As [`poll_past`](Self::poll_past); also returns how many were granted before and have not come yet.
    pub(crate) fn poll_ranked(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        want: T,
        fits: impl FnMut(&mut T) -> bool,
    ) -> Poll<(T, usize)> {
        if place.is_inside() { self.poll_inside(place, cx) } else { self.poll_outside(place, cx, want, fits) }
    }

    /// The first poll: goes through, or takes a place.
    fn poll_outside(
        &self,
        place: &mut Place,
        cx: &mut Context<'_>,
        mut want: T,
        mut fits: impl FnMut(&mut T) -> bool,
    ) -> Poll<(T, usize)> {
        let mut fresh = None;
        loop {
            if fits(&mut want) {
                return Poll::Ready((want, self.outstanding()));
            }
            if let Some(waker) = fresh {
                place.0 = self.line().enter(want, waker);
                return Poll::Pending;
            }
            fresh = Some(cx.waker().clone()); // user code, which may change everything: look again
        }
    }

    /// Later polls: takes the grant, or keeps the waker up to date.
    fn poll_inside(&self, place: &mut Place, cx: &mut Context<'_>) -> Poll<(T, usize)> {
        let mut fresh = None;
        loop {
            let mut line = self.line();
            let waiter = &mut line.slots[place.0];
            if waiter.grant > 0 {
                let rank = line.settle(place);
                let (payload, waker) = line.remove(place);
                drop(line);
                drop(waker);
                return Poll::Ready((payload, rank));
            }
            if waiter.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            if fresh.is_some() {
                let stale = mem::replace(&mut waiter.waker, fresh);
                drop(line);
                drop(stale);
                return Poll::Pending;
            }
            drop(line);
            fresh = Some(cx.waker().clone()); // user code, which may bring the grant: look again
        }
    }

    /// Takes a waiter out, because its future is dropped. `hand_on` gets what it was granted, or `None` if it
    /// still waited; it is not called if the future is not in the queue.
    pub(crate) fn leave(&self, place: &mut Place, hand_on: impl FnOnce(Option<T>)) {
        if place.is_inside() {
            let mut line = self.line();
            let granted = line.slots[place.0].grant > 0;
            if granted {
                line.settle(place);
            }
            let (payload, waker) = line.remove(place);
            drop(line);
            hand_on(granted.then_some(payload));
            drop(waker); // last: a waker whose drop panics must not take the grant with it
        }
    }

    /// Grants to the waiters, from the front, for as long as `fits` says yes to what they want (and may
    /// change it into what they get); then wakes them in that order. Returns how many.
    ///
    /// `fits` runs under the borrow: it does the primitive's arithmetic and nothing else.
    pub(crate) fn grant_while(&self, mut fits: impl FnMut(&mut T) -> bool) -> usize {
        let mut granted = 0;
        if let Some(line) = self.line.get() {
            let line = &mut *line.borrow_mut();
            while let Some(waiter) = line.slots.get_mut(line.turn)
                && fits(&mut waiter.payload)
            {
                line.grants += 1;
                waiter.grant = line.grants;
                line.turn = waiter.next;
                granted += 1;
            }
            line.waiting -= granted;
        }
        if granted > 0 {
            self.wake_granted();
        }
        granted
    }

    /// The line, made if there was none. Held for a few instructions, in which no user code runs (R1).
    fn line(&self) -> RefMut<'_, Line<T>> {
        self.line.get_or_init(Box::default).borrow_mut()
    }

    /// Wakes who was granted and has not been woken. If a waker panics the others are woken all the same, and
    /// then the panic goes on. A waker that comes back here, having granted more, finds and wakes those
    /// before its own.
    fn wake_granted(&self) {
        let mut thrown = None;
        while let Some(waker) = self.next_to_wake() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                thrown = thrown.or(Some(panic));
            }
        }
        if let Some(panic) = thrown {
            resume_unwind(panic);
        }
    }

    /// The waker of the first granted waiter in the list, which leaves the list.
    fn next_to_wake(&self) -> Option<Waker> {
        let mut line = self.line();
        let head = line.head;
        if head == line.turn {
            return None; // the list is empty, or begins with one that waits
        }
        line.unlink(head)
    }
}

impl<T> Default for Line<T> {
    fn default() -> Self {
        let slots = Slab::new();
        Line { slots, head: NOBODY, tail: NOBODY, turn: NOBODY, waiting: 0, grants: 0, settled: 0 }
    }
}

impl<T> Line<T> {
    /// Puts a waiter at the end.
    fn enter(&mut self, payload: T, waker: Waker) -> usize {
        let waiter = Waiter { payload, grant: 0, waker: Some(waker), prev: self.tail, next: NOBODY };
        let key = self.slots.insert(waiter);
        match self.slots.get_mut(self.tail) {
            Some(last) => last.next = key,
            None => self.head = key,
        }
        self.tail = key;
        if self.turn == NOBODY {
            self.turn = key;
        }
        self.waiting += 1;
        key
    }

    /// Takes a waiter out of the list, if it is in it, and gives its waker.
    fn unlink(&mut self, key: usize) -> Option<Waker> {
        let Waiter { waker, prev, next, .. } = &mut self.slots[key];
        let waker = waker.take()?;
        let (prev, next) = (*prev, *next);
        match self.slots.get_mut(prev) {
            Some(before) => before.next = next,
            None => self.head = next,
        }
        match self.slots.get_mut(next) {
            Some(behind) => behind.prev = prev,
            None => self.tail = prev,
        }
        if self.turn == key {
            self.turn = next;
        }
        Some(waker)
    }

    fn outstanding(&self) -> usize {
        self.slots.len() - self.waiting
    }

    /// Notes that a granted waiter has come, or leaves, and returns how many of those granted before it have not. Most
    /// come in order: only then is that known without a look at all.
    fn settle(&mut self, place: &Place) -> usize {
        let grant = self.slots[place.0].grant;
        let rank = match grant == self.settled + 1 {
            true => 0,
            false => self.slots.iter().filter(|(_, other)| other.grant > 0 && other.grant < grant).count(),
        };
        if rank == 0 {
            self.settled = grant;
        }
        rank
    }

    /// Takes a waiter out of list and slot.
    fn remove(&mut self, place: &mut Place) -> (T, Option<Waker>) {
        let waker = self.unlink(place.0);
        let Waiter { payload, grant, .. } = self.slots.remove(place.0);
        self.waiting -= usize::from(grant == 0);
        *place = Place::outside();
        (payload, waker)
    }
}

/// How many are in it: for the `Debug` of the primitives.
impl<T> Debug for WaitQueue<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let inside = self.line.get().map_or(0, |line| line.borrow().slots.len());
        let waiting = self.waiting();
        write!(f, "{waiting} waiting, {} granted", inside - waiting)
    }
}

#[cfg(test)]
impl<T> WaitQueue<T> {
    /// How many slots are in use, and how many were ever made: for the tests of the primitives.
    pub(crate) fn slots(&self) -> (usize, usize) {
        self.line.get().map_or((0, 0), |line| {
            let line = line.borrow();
            (line.slots.len(), line.slots.capacity())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::by_hand::{ByHand, as_user_code};
    use std::cell::Cell;
    use std::future::Future;
    use std::pin::Pin;
    use std::rc::Rc;

    /// A primitive that never lets anybody through by itself, and notes what comes back.
    struct Gate {
        waiters: WaitQueue<&'static str>,
        handed_back: RefCell<Vec<Option<&'static str>>>,
    }

    impl Gate {
        fn new() -> Rc<Self> {
            Rc::new(Gate { waiters: WaitQueue::new(), handed_back: RefCell::default() })
        }

        fn pass(self: &Rc<Self>, name: &'static str) -> Pass {
            Pass { gate: Rc::clone(self), name, place: Place::outside() }
        }

        fn grant(&self, mut n: usize) -> usize {
            self.waiters.grant_while(|_| n.checked_sub(1).map(|left| n = left).is_some())
        }
    }

    struct Pass {
        gate: Rc<Gate>,
        name: &'static str,
        place: Place,
    }

    impl Future for Pass {
        type Output = &'static str;
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<&'static str> {
            let Pass { gate, name, place } = &mut *self;
            gate.waiters.poll(place, cx, name, |_| false)
        }
    }

    impl Drop for Pass {
        fn drop(&mut self) {
            let Pass { gate, place, .. } = self;
            gate.waiters.leave(place, |granted| gate.handed_back.borrow_mut().push(granted));
        }
    }

    fn waiting(gate: &Rc<Gate>, names: [&'static str; 3]) -> [ByHand<Pass>; 3] {
        names.map(|name| ByHand::waiting(gate.pass(name)))
    }

    #[test]
    fn an_unused_queue_is_one_pointer() {
        assert_eq!(size_of::<WaitQueue<usize>>(), size_of::<usize>());
        assert_eq!(size_of::<Place>(), size_of::<usize>());
    }

    #[test]
    fn grants_go_from_the_front_to_those_who_wait() {
        let gate = Gate::new();
        assert_eq!(gate.grant(1), 0);
        let [mut a, mut b, mut c] = waiting(&gate, ["a", "b", "c"]);
        assert_eq!((gate.waiters.waiting(), gate.grant(2), gate.waiters.waiting()), (3, 2, 1));
        assert_eq!(format!("{:?}", gate.waiters), "1 waiting, 2 granted");
        assert_eq!([a.wakes(), b.wakes(), c.wakes()], [1, 1, 0]);
        assert_eq!((c.poll(), b.poll(), a.poll()), (Poll::Pending, Poll::Ready("b"), Poll::Ready("a")));
        assert_eq!((gate.grant(2), c.poll()), (1, Poll::Ready("c")));
        assert_eq!(format!("{:?}", gate.waiters), "0 waiting, 0 granted");
    }

    #[test]
    fn a_waiter_is_woken_once_and_a_later_grant_passes_it_by() {
        let gate = Gate::new();
        let [mut a, mut b, c] = waiting(&gate, ["a", "b", "c"]);
        assert_eq!((gate.grant(1), gate.grant(1)), (1, 1));
        assert_eq!([a.wakes(), b.wakes(), c.wakes()], [1, 1, 0]);
        assert_eq!((a.poll(), b.poll()), (Poll::Ready("a"), Poll::Ready("b")));
    }

    /// Waiting or granted, first or last: who leaves hands back what it had, and takes nobody along.
    #[test]
    fn a_waiter_may_leave_from_anywhere_at_any_time() {
        let names = ["a", "b", "c"];
        for leaver in 0..3 {
            for granted in 0..=3 {
                let gate = Gate::new();
                let mut waiters = Vec::from(waiting(&gate, names));
                assert_eq!(gate.grant(granted), granted);
                let gone = waiters.remove(leaver).drop_future();
                assert_eq!(gate.handed_back.take(), [(leaver < granted).then_some(names[leaver])]);
                assert_eq!((gone.wakes(), gone.clones()), (usize::from(leaver < granted), 0));
                assert_eq!(gate.waiters.waiting(), 3 - granted - usize::from(leaver >= granted));

                waiters.push(ByHand::waiting(gate.pass("d")));
                gate.grant(4);
                assert!(waiters.iter().all(|waiter| waiter.wakes() == 1));
                let served: Vec<_> = waiters.into_iter().map(ByHand::take).collect();
                let others = ["a", "b", "c", "d"].into_iter().filter(|&name| name != names[leaver]);
                assert_eq!(served, others.collect::<Vec<_>>());
                assert!(gate.handed_back.take().is_empty());
                assert_eq!(gate.waiters.slots().0, 0);
            }
        }
    }

    #[test]
    fn the_last_waker_is_the_one_that_is_woken() {
        let gate = Gate::new();
        let mut waiter = ByHand::waiting(gate.pass("a"));
        let stale = waiter.change_waker();
        assert!(waiter.poll().is_pending());
        assert_eq!(stale.clones(), 0);
        gate.grant(1);
        assert_eq!((stale.wakes(), waiter.wakes()), (0, 1));
        waiter.change_waker();
        assert_eq!(waiter.poll(), Poll::Ready("a"));
    }

    #[test]
    fn slots_are_reused() {
        let gate = Gate::new();
        drop(waiting(&gate, ["a", "b", "c"]));
        let made = gate.waiters.slots().1;
        for _ in 0..100 {
            let [a, b, c] = waiting(&gate, ["a", "b", "c"]);
            gate.grant(2);
            drop((b, c));
            assert_eq!(a.take(), "a");
        }
        assert_eq!(gate.waiters.slots(), (0, made));
    }

    /// Polls a future with a waker that does this when it is woken, and that when it is dropped.
    fn poll_as_user_code(
        pass: &mut Pass,
        on_wake: impl FnOnce() + 'static,
        on_drop: impl FnOnce() + 'static,
    ) {
        let waker = as_user_code(on_wake, on_drop);
        assert!(Pin::new(pass).poll(&mut Context::from_waker(&waker)).is_pending());
    }

    /// R1: the waker of the first grants to another, looks at the queue, and lets a newcomer wait.
    #[test]
    fn a_waker_may_use_the_queue_when_it_is_woken() {
        let gate = Gate::new();
        let mut first = gate.pass("first");
        let late = Rc::new(Cell::new(None));
        let on_wake = {
            let (gate, late) = (Rc::clone(&gate), Rc::clone(&late));
            move || {
                assert_eq!(gate.grant(1), 1);
                assert!(gate.waiters.is_empty());
                late.set(Some(ByHand::waiting(gate.pass("late"))));
            }
        };
        poll_as_user_code(&mut first, on_wake, || ());
        let (second, third) = (ByHand::waiting(gate.pass("second")), ByHand::waiting(gate.pass("third")));
        assert_eq!(gate.grant(2), 2);
        assert_eq!((second.wakes(), third.wakes()), (1, 1));
        assert_eq!((ByHand::new(first).take(), second.take(), third.take()), ("first", "second", "third"));
        let late = late.take().expect("the waker was woken");
        assert_eq!((late.wakes(), gate.grant(1), late.take()), (0, 1, "late"));
    }

    /// R1: wakers are dropped when they are replaced and when their future leaves; each time the drop grants
    /// to the first.
    #[test]
    fn a_waker_may_use_the_queue_when_it_is_dropped() {
        let gate = Gate::new();
        let dropped = Rc::new(Cell::new(0));
        let on_drop = || {
            let (gate, dropped) = (Rc::clone(&gate), Rc::clone(&dropped));
            move || {
                gate.grant(1);
                dropped.set(dropped.get() + 1);
            }
        };
        let (mut a, mut b) = (gate.pass("a"), gate.pass("b"));
        poll_as_user_code(&mut a, || (), on_drop());
        let mut a = ByHand::waiting(a);
        assert_eq!((dropped.get(), a.wakes(), a.poll()), (1, 1, Poll::Ready("a")));

        poll_as_user_code(&mut b, || (), on_drop());
        let c = ByHand::waiting(gate.pass("c"));
        drop(b);
        assert_eq!((dropped.get(), c.wakes(), c.take()), (2, 1, "c"));
    }

    /// Between two wakes of one batch a granted waiter may be polled; its waker is not woken afterwards.
    #[test]
    fn a_waiter_that_comes_before_it_is_woken_is_served() {
        let gate = Gate::new();
        let mut first = gate.pass("first");
        let second = Rc::new(RefCell::new(ByHand::new(gate.pass("second"))));
        let on_wake = {
            let second = Rc::clone(&second);
            move || assert_eq!(second.borrow_mut().poll(), Poll::Ready("second"))
        };
        poll_as_user_code(&mut first, on_wake, || ());
        assert!(second.borrow_mut().poll().is_pending());
        assert_eq!(gate.grant(2), 2);
        assert_eq!((second.borrow().wakes(), ByHand::new(first).take()), (0, "first"));
        assert_eq!(gate.waiters.slots().0, 0);
    }

    #[test]
    fn a_waker_that_panics_keeps_no_other_from_being_woken() {
        let gate = Gate::new();
        let (mut bad, mut worse) = (gate.pass("bad"), gate.pass("worse"));
        poll_as_user_code(&mut bad, || panic!("bad waker"), || ());
        poll_as_user_code(&mut worse, || panic!("worse waker"), || ());
        let good = ByHand::waiting(gate.pass("good"));
        let thrown = catch_unwind(AssertUnwindSafe(|| gate.grant(3))).expect_err("the panic goes on");
        assert_eq!(thrown.downcast_ref::<&str>(), Some(&"bad waker"));
        assert_eq!((good.wakes(), good.take()), (1, "good"));
        assert_eq!((ByHand::new(bad).take(), ByHand::new(worse).take()), ("bad", "worse"));
    }

    /// Granted and not yet woken, it still has its waker when it is dropped: by the waker of the one before
    /// it.
    #[test]
    fn a_waker_whose_drop_panics_does_not_take_the_grant_along() {
        let gate = Gate::new();
        let (mut first, mut doomed) = (gate.pass("first"), gate.pass("doomed"));
        let dropped = Rc::new(Cell::new(None));
        let on_wake = {
            let (gate, dropped) = (Rc::clone(&gate), Rc::clone(&dropped));
            move || {
                catch_unwind(AssertUnwindSafe(|| drop::<Option<Pass>>(dropped.take())))
                    .expect_err("it panics");
                assert_eq!(gate.handed_back.take(), [Some("doomed")]);
            }
        };
        poll_as_user_code(&mut first, on_wake, || ());
        poll_as_user_code(&mut doomed, || (), || panic!("the waker panics when it is dropped"));
        dropped.set(Some(doomed));
        assert_eq!(gate.grant(2), 2);
        assert_eq!((ByHand::new(first).take(), gate.waiters.slots().0), ("first", 0));
    }
}
