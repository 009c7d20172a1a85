//! The loop's timers: who wants to be woken when.
//!
//! A heap of due times over slots, behind insert, remove and due. The heap is four children wide: half as deep as one of
//! two, and the children lie side by side. Each slot knows its place in the heap, so a timer leaves in its middle when its
//! future is dropped, not when it expires: a timeout that never fires costs one insert and one remove and no memory later.
//! Due timers come out by due time, ties in the order of registration. Nothing is allocated once there were as many timers.
//! Nothing here reads a clock. A place in the heap has 16 bytes, so that the children that are compared with each other lie in
//! one or two lines of the processor's cache: due times are nanoseconds since a start, and numbers may wrap.

use std::task::Waker;
use std::time::Instant;

use slab::Slab;

/// Names a timer, and tells when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    /// When it is due.
    pub(crate) at: Instant,
    slot: u32,
    /// A slot that is used again has another one.
    generation: u32,
}

/// The timers of one loop.
pub(crate) struct Timers {
    /// Due times count from here.
    start: Instant,
    /// The parent of place `n` is `(n - 1) / WIDTH`, and not due after it.
    heap: Vec<Due>,
    slots: Slab<Timer>,
    /// The number of the last timer.
    last: u32,
}

/// A place in the heap.
#[derive(Clone, Copy)]
struct Due {
    /// In nanoseconds since the start, which reaches for five centuries.
    at: u64,
    /// Counts the registrations, and begins anew after four billion.
    number: u32,
    slot: u32,
}

impl Due {
    /// By due time, then by the order of registration: of two numbers the earlier is the one from which fewer steps lead to the other.
    #[inline]
    fn is_before(&self, other: &Due) -> bool {
        let steps = self.number.wrapping_sub(other.number) as i32;
        self.at < other.at || self.at == other.at && steps < 0
    }
}

struct Timer {
    waker: Waker,
    at: Instant,
    /// Where it is in the heap.
    place: u32,
    /// Its number.
    generation: u32,
}

/// Children of a place in the heap.
const WIDTH: usize = 4;

impl Timers {
    /// Those of a loop that begins now.
    pub(crate) fn new(start: Instant) -> Timers {
        Timers { start, heap: Vec::new(), slots: Slab::new(), last: 0 }
    }

    pub(crate) fn insert(&mut self, at: Instant, waker: Waker) -> TimerKey {
        self.last = self.last.wrapping_add(1);
        let (place, generation) = (self.heap.len(), self.last);
        let slot = self.slots.insert(Timer { waker, at, place: place as u32, generation }) as u32;
        self.heap.push(Due { at: self.nanos(at), number: self.last, slot });
        self.rise(place);
        TimerKey { at, slot, generation }
    }

    /// Takes a timer out; its waker is dropped by the caller, outside of the borrow.
    #[must_use]
    pub(crate) fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        let place = self.timer(key)?.place;
        Some(self.take(place as usize))
    }

    /// Whether the timer's waker would wake the same as this one; None: the timer has fired.
    pub(crate) fn will_wake(&self, key: TimerKey, waker: &Waker) -> Option<bool> {
        self.timer(key).map(|timer| timer.waker.will_wake(waker))
    }

    /// Replaces the waker of a timer that has not fired; the old one comes back to be dropped outside.
    pub(crate) fn set_waker(&mut self, key: TimerKey, waker: Waker) -> Option<Waker> {
        match self.slots.get_mut(key.slot as usize) {
            Some(timer) if timer.generation == key.generation => {
                Some(std::mem::replace(&mut timer.waker, waker))
            }
            _ => Some(waker),
        }
    }

    /// When the first timer is due.
    #[inline]
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.first().map(|first| self.slots[first.slot as usize].at)
    }

    /// Takes the first timer out if it is due by `now`.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Waker> {
        (self.next()? <= now).then(|| self.take(0))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Takes all out, for the loop's end.
    #[must_use]
    pub(crate) fn take_all(&mut self) -> Vec<Waker> {
        self.heap.clear();
        std::mem::take(&mut self.slots).into_iter().map(|(_, timer)| timer.waker).collect()
    }

    /// A due time as the heap has it. What was due before the start is due.
    #[inline]
    fn nanos(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos()))
    }

    fn timer(&self, key: TimerKey) -> Option<&Timer> {
        self.slots.get(key.slot as usize).filter(|timer| timer.generation == key.generation)
    }

    /// Takes the timer at this place out; the last one takes the place, and finds its own from there.
    fn take(&mut self, place: usize) -> Waker {
        let gone = self.heap.swap_remove(place);
        if place < self.heap.len() {
            let place = self.rise(place);
            self.sink(place);
        }
        self.slots.remove(gone.slot as usize).waker
    }

    /// Moves the timer at this place up to where its parent is not due after it; says where that is.
    fn rise(&mut self, mut place: usize) -> usize {
        let due = self.heap[place];
        while place > 0 {
            let parent = (place - 1) / WIDTH;
            if self.heap[parent].is_before(&due) {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, due);
        place
    }

    /// Moves the timer at this place down to where no child is due before it.
    fn sink(&mut self, mut place: usize) {
        let due = self.heap[place];
        loop {
            let first = place * WIDTH + 1;
            let children = first..(first + WIDTH).min(self.heap.len());
            let earlier = |one: usize, other: usize| {
                if self.heap[other].is_before(&self.heap[one]) { other } else { one }
            };
            let Some(least) = children.reduce(earlier) else { break };
            if due.is_before(&self.heap[least]) {
                break;
            }
            self.put(place, self.heap[least]);
            place = least;
        }
        self.put(place, due);
    }

    fn put(&mut self, place: usize, due: Due) {
        self.heap[place] = due;
        self.slots[due.slot as usize].place = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    /// Notes its number when it is woken.
    struct Numbered(usize, Arc<AtomicUsize>);

    impl Wake for Numbered {
        fn wake(self: Arc<Self>) {
            self.1.store(self.0, Ordering::Relaxed);
        }
    }

    fn drain(timers: &mut Timers, woken: &AtomicUsize, now: Instant) -> Vec<usize> {
        let due = std::iter::from_fn(|| timers.due(now));
        due.map(|waker| {
            waker.wake();
            woken.load(Ordering::Relaxed)
        })
        .collect()
    }

    /// The next number of a sequence that looks random, below `below`.
    fn next(seed: &mut u64, below: u64) -> u64 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 33) % below
    }

    #[test]
    fn timers_do_what_an_ordered_map_does() {
        let (start, woken, mut seed) = (Instant::now(), Arc::new(AtomicUsize::new(0)), 1);
        let (mut timers, mut model, mut known) = (Timers::new(start), BTreeMap::new(), Vec::new());
        for number in 0..if cfg!(miri) { 300 } else { 20_000 } {
            match next(&mut seed, 10) {
                // A few due times only, so that there are ties.
                0..=5 => {
                    let at = start + Duration::from_millis(next(&mut seed, 50));
                    let key = timers.insert(at, Arc::new(Numbered(number, woken.clone())).into());
                    model.insert((at, number), number);
                    known.push((key, (at, number)));
                }
                6..=8 if !known.is_empty() => {
                    let (key, of) = known.swap_remove(next(&mut seed, known.len() as u64) as usize);
                    let removed = model.remove(&of);
                    assert_eq!(timers.will_wake(key, Waker::noop()), removed.map(|_| false));
                    assert_eq!(timers.remove(key).is_some(), removed.is_some());
                    assert!(timers.remove(key).is_none(), "it has left");
                }
                _ => {
                    let now = start + Duration::from_millis(next(&mut seed, 10));
                    let expected: Vec<_> =
                        model.iter().filter(|((at, _), _)| *at <= now).map(|(_, number)| *number).collect();
                    assert_eq!(drain(&mut timers, &woken, now), expected);
                    model.retain(|(at, _), _| *at > now);
                }
            }
            assert_eq!(timers.len(), model.len());
            assert_eq!(timers.next(), model.first_key_value().map(|((at, _), _)| *at));
        }
        assert_eq!(timers.take_all().len(), model.len());
        assert_eq!((timers.len(), timers.next()), (0, None));
    }

    #[test]
    fn a_slot_that_is_used_again_belongs_to_another_timer() {
        let (at, woken) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let mut timers = Timers::new(at);
        let first = timers.insert(at, Waker::noop().clone());
        assert!(timers.due(at).is_some());
        let second = timers.insert(at, Arc::new(Numbered(7, woken.clone())).into());
        assert_eq!(first.slot, second.slot);
        assert_eq!(timers.will_wake(first, Waker::noop()), None);
        assert!(timers.remove(first).is_none());
        assert!(timers.set_waker(first, Waker::noop().clone()).is_some(), "it comes back");
        assert_eq!(drain(&mut timers, &woken, at), [7]);
    }

    #[test]
    fn what_was_due_before_the_start_is_due() {
        let at = Instant::now();
        let mut timers = Timers::new(at + Duration::from_secs(1));
        let _ = timers.insert(at, Waker::noop().clone());
        assert!(timers.due(at).is_some());
    }

    #[test]
    fn a_timer_is_due_at_its_nanosecond() {
        let start = Instant::now();
        let mut timers = Timers::new(start);
        for (count, late) in [(1, 0), (1_000_000_007, 3), (u64::MAX, 0)] {
            let at = start + Duration::from_nanos(count);
            let _ = timers.insert(at, Waker::noop().clone());
            assert_eq!(timers.next(), Some(at));
            assert!(timers.due(at - Duration::from_nanos(1)).is_none());
            assert!(timers.due(at + Duration::from_nanos(late)).is_some());
        }
    }

    #[test]
    fn ten_thousand_timers_of_the_same_time_come_in_the_order_of_coming() {
        let (at, woken) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
        let mut timers = Timers::new(at);
        let count = if cfg!(miri) { 100 } else { 10_000 };
        // The numbers begin anew among them.
        timers.last = u32::MAX - count as u32 / 2;
        for number in 0..count {
            timers.insert(at, Arc::new(Numbered(number, woken.clone())).into());
        }
        assert_eq!(drain(&mut timers, &woken, at), (0..count).collect::<Vec<_>>());
    }
}
