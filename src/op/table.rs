//! The operation table: who is queued, in flight, abandoned or done. Plain data.
//!
//! Each transition is a method here that touches no ring and runs no user code; it returns what to do next. So the state
//! machine is tested without a kernel.
//!
//! ```text
//!   insert ──▶ Queued ──(entry taken by the kernel: nothing to note)──▶ in flight ──complete──▶ Done ──poll──▶ (vacant)
//!                │ abandon: entry still in the backlog                     │ abandon               ▲
//!                ▼                                                         ▼                       │ complete, listening
//!             (vacant, dropped unused)                                Abandoned ──complete──▶ (vacant, discarded)
//! ```
//!
//! A completion that announces another one (the more-flag) only notes its result (Settling): the payload stays with the
//! kernel until the last one (**K2**). Of an operation that repeats, each is an event that its future is woken for (Told);
//! those that it has not seen wait in their order (Telling), and come before the end. An event may hold a buffer that the
//! kernel has picked: those that no future will see any more are handed to the reactor, which gives their buffers back.
//!
//! A key is index and generation: a slot used again has another generation, so a stale key meets nothing. The ledger counts
//! what must not happen and what must add up; the suite looks at it after each trial.

use std::collections::VecDeque;
use std::task::Waker;

use super::lent::Raw;
use super::{AtEnd, Next, OnDrop, Policy};
use crate::ring::{Outcome, Where};

/// Names an operation in its loop's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

impl Key {
    #[inline]
    fn new(index: u32, generation: u32) -> Self {
        Key(u64::from(generation) << 32 | u64::from(index))
    }

    /// The place in the table.
    #[inline]
    fn index(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// As it travels through the kernel.
    pub(crate) fn user_data(self) -> u64 {
        self.0
    }

    pub(crate) fn of(user_data: u64) -> Self {
        Key(user_data)
    }
}

/// Why a cancel was asked for; it decides the error if the operation did end by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// A cancel request was taken by `.cancellable()`.
    Cancelled,
    /// The deadline of `.timeout(d)` has passed.
    Elapsed,
    /// The loop ends.
    Ended,
}

impl Why {
    /// The outcome as its future sees it: an operation that ended by the cancel says why there was one. A transfer that
    /// was interrupted keeps its count.
    pub(crate) fn explains(self, outcome: Outcome) -> Outcome {
        match is_interrupted(outcome) {
            true => Outcome { flags: outcome.flags, ..self.outcome() },
            false => outcome,
        }
    }

    /// The outcome of an operation that was ended for this reason before it did more.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Why::Cancelled => Outcome { result: Outcome::CANCELLED, flags: 0 },
            Why::Elapsed => Outcome { result: Outcome::ELAPSED, flags: 0 },
            Why::Ended => Outcome::CLOSED,
        }
    }
}

/// The kernel's own "restart", which reaches user space when a blocked open or splice is cancelled.
const ERESTARTSYS: i32 = 512;

/// Whether an operation has ended by a cancel.
fn is_interrupted(outcome: Outcome) -> bool {
    matches!(-outcome.result, libc::ECANCELED | libc::EINTR | ERESTARTSYS)
}

enum Phase {
    /// Free; the next free slot.
    Vacant(Option<u32>),
    /// Submitted; its entry waits in the ring's backlog, or did when that was looked at last, under this ticket.
    Backlogged(u64),
    /// Submitted; its entry is the kernel's, or goes with the next enter.
    Queued,
    /// With a thread; the kernel knows nothing of it.
    WithThread,
    /// The result is known, the kernel still holds the payload.
    Settling(Outcome),
    /// As Queued, and there was an event that the future has not seen.
    Told(Outcome),
    /// There were several events, or one and then the end.
    Telling(Box<Events>),
    /// Finally completed; the future will fetch it.
    Done(Outcome),
}

/// Events that the future has not seen, oldest first; and the last outcome, if it has come.
struct Events {
    unseen: VecDeque<Outcome>,
    last: Option<Outcome>,
}

impl Phase {
    /// The operation was submitted and has not finally completed.
    fn is_in_flight(&self) -> bool {
        match self {
            Phase::Vacant(_) | Phase::Done(_) => false,
            Phase::Backlogged(_)
            | Phase::Queued
            | Phase::WithThread
            | Phase::Settling(_)
            | Phase::Told(_) => true,
            Phase::Telling(events) => events.last.is_none(),
        }
    }

    /// One more event.
    fn tell(&mut self, event: Outcome) {
        match self {
            Phase::Telling(events) => events.unseen.push_back(event),
            Phase::Told(first) => {
                let unseen = VecDeque::from([*first, event]);
                *self = Phase::Telling(Box::new(Events { unseen, last: None }));
            }
            _ => *self = Phase::Told(event),
        }
    }

    /// The end, behind the events that were not seen.
    fn end(&mut self, outcome: Outcome) {
        match self {
            Phase::Telling(events) => events.last = Some(outcome),
            Phase::Told(first) => {
                let unseen = VecDeque::from([*first]);
                *self = Phase::Telling(Box::new(Events { unseen, last: Some(outcome) }));
            }
            _ => *self = Phase::Done(outcome),
        }
    }

    /// The next event that was not seen.
    fn next_event(&mut self) -> Option<Outcome> {
        let (event, after) = match self {
            Phase::Told(event) => (*event, Some(Phase::Queued)),
            Phase::Telling(events) => {
                let event = events.unseen.pop_front()?;
                let is_last = events.unseen.is_empty();
                (event, is_last.then(|| events.last.map_or(Phase::Queued, Phase::Done)))
            }
            _ => return None,
        };
        if let Some(after) = after {
            *self = after;
        }
        Some(event)
    }
}

struct Slot {
    /// Goes up when the slot is vacated.
    generation: u32,
    phase: Phase,
    /// What the operation works on, for texts; negative where there is none.
    descriptor: i32,
    /// What ends the operation.
    policy: Policy,
    /// The future exists; else the operation is abandoned.
    listening: bool,
    /// A cancel was asked for.
    why: Option<Why>,
    /// Whom the completion wakes.
    waker: Option<Waker>,
    /// The operation; None in a vacant slot.
    payload: Option<Raw>,
}

impl Slot {
    fn descriptor(&self) -> Option<i32> {
        (self.descriptor >= 0).then_some(self.descriptor)
    }
}

/// What a poll finds.
pub(crate) enum Polled {
    /// Not yet; the slot already has this waker.
    Pending,
    /// Not yet; call [`Table::set_waker`] with a clone.
    NeedsWaker,
    /// Not done, but there was this event.
    Event(Outcome),
    /// Done: the slot is vacant now.
    Ready(Raw, Outcome, Option<Why>),
    /// No such operation: it was leaked at the loop's end.
    Gone,
}

/// What to do about a completion.
pub(crate) enum Completed {
    /// Wake the future.
    Wake(Waker),
    /// The future has not left a waker; it will ask.
    Noted,
    /// Nobody listens.
    Discard(Ended),
    /// Another completion follows.
    More,
    /// No such operation. The ledger has counted it.
    Unknown,
}

/// What to do about a cancel that was asked for.
pub(crate) enum Request {
    /// Ask the kernel.
    Ask,
    /// It has ended the waiting, and this follows.
    Ended(Completed),
    /// It changes nothing: the operation has ended, or another was asked for before.
    Late,
}

/// What to do about a dropped future. The waker comes along to be dropped outside of the borrow.
#[allow(dead_code, reason = "a waker in here is only dropped")]
pub(crate) enum Abandoned {
    /// Try to take the entry out of the backlog under this ticket; on success [`Table::retracted`].
    Retract(u64, Option<Waker>),
    /// Ask the kernel to cancel.
    Cancel(Option<Waker>),
    /// Leave it to end by itself.
    Leave(Option<Waker>),
    /// It was done.
    Discard(Ended),
    /// No such operation any more.
    Gone,
}

/// An operation that has completed with nobody listening.
pub(crate) struct Ended {
    payload: Raw,
    outcome: Outcome,
    why: Option<Why>,
}

impl Ended {
    /// The operation's name.
    pub(crate) fn name(&self) -> &'static str {
        self.payload.common.name
    }

    /// Asks the operation what follows. Some: it goes on, with another entry. None: it was finished, and its output dropped.
    pub(crate) fn proceed(mut self) -> Option<Raw> {
        let ends = self.why.is_some() && is_interrupted(self.outcome);
        let again = !ends && matches!(self.payload.advance(self.outcome), Next::Again);
        let last = match self.why {
            None if again => return Some(self.payload),
            // The cancel came between two steps.
            Some(why) if again => why.outcome(),
            // An owner hears of its loop's end; of a dropped future's cancel there is nobody to tell.
            Some(Why::Ended) => Why::Ended.explains(self.outcome),
            _ => self.outcome,
        };
        self.payload.discard(last);
        None
    }
}

/// What must add up.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ledger {
    /// Operations taken in.
    pub(crate) started: u64,
    /// Operations that ended, however.
    pub(crate) ended: u64,
    /// Completions for keys that name nothing: always zero.
    pub(crate) unknown: u64,
}

/// The operations of one loop.
#[derive(Default)]
pub(crate) struct Table {
    slots: Vec<Slot>,
    /// The first vacant slot.
    vacant: Option<u32>,
    /// Slots whose operation the kernel may hold.
    unfinished: usize,
    /// Those of them whose end a paused clock waits for: block I/O.
    under_way: usize,
    /// Events that no future will see.
    unheard: Vec<Outcome>,
    /// Slots whose operation is with a thread.
    with_threads: usize,
    pub(crate) ledger: Ledger,
}

impl Table {
    /// Takes an operation in.
    pub(crate) fn insert(
        &mut self,
        payload: Raw,
        descriptor: i32,
        policy: Policy,
        waker: Option<Waker>,
    ) -> Key {
        self.ledger.started += 1;
        self.unfinished += 1;
        self.under_way += usize::from(policy.holds_clock);
        let index = self.vacant.unwrap_or_else(|| self.add_vacant());
        let slot = &mut self.slots[index as usize];
        let Phase::Vacant(next) = slot.phase else { unreachable!("the free list leads to a used slot") };
        self.vacant = next;
        slot.phase = Phase::Queued;
        slot.descriptor = descriptor;
        slot.policy = policy;
        slot.listening = waker.is_some();
        slot.why = None;
        slot.waker = waker;
        slot.payload = Some(payload);
        Key::new(index, slot.generation)
    }

    #[cold]
    fn add_vacant(&mut self) -> u32 {
        let index = u32::try_from(self.slots.len()).ok().filter(|&index| index != u32::MAX);
        self.slots.push(Slot {
            generation: 0,
            phase: Phase::Vacant(None),
            descriptor: -1,
            policy: Policy::WAITS,
            listening: false,
            why: None,
            waker: None,
            payload: None,
        });
        index.expect("four billion operations do not fit into memory")
    }

    /// Notes that a thread is to do it.
    pub(crate) fn given_to_thread(&mut self, key: Key) {
        if let Some(slot) = self.slot(key) {
            slot.phase = Phase::WithThread;
            self.with_threads += 1;
        }
    }

    /// Notes where the entry went.
    pub(crate) fn placed(&mut self, key: Key, place: Where) {
        if let Where::Backlog(ticket) = place
            && let Some(slot) = self.slot(key)
        {
            slot.phase = Phase::Backlogged(ticket);
        }
    }

    /// Whether the operation is still in the table.
    pub(crate) fn has(&self, key: Key) -> bool {
        let slot = self.slots.get(key.index() as usize);
        slot.is_some_and(|slot| slot.generation == key.generation() && slot.payload.is_some())
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.index() as usize)?;
        (slot.generation == key.generation() && slot.payload.is_some()).then_some(slot)
    }

    /// Empties a slot; the caller has taken its waker out.
    fn vacate(&mut self, key: Key) -> Raw {
        let slot = &mut self.slots[key.index() as usize];
        let payload = slot.payload.take().expect("only a used slot is vacated");
        if slot.phase.is_in_flight() {
            self.unfinished -= 1;
            self.under_way -= usize::from(slot.policy.holds_clock);
            self.with_threads -= usize::from(matches!(slot.phase, Phase::WithThread));
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.phase = Phase::Vacant(self.vacant.replace(key.index()));
        self.ledger.ended += 1;
        payload
    }

    /// The future asks.
    pub(crate) fn poll(&mut self, key: Key, waker: &Waker) -> Polled {
        let Some(slot) = self.slot(key) else { return Polled::Gone };
        match slot.phase {
            Phase::Done(outcome) => {
                let why = slot.why;
                Polled::Ready(self.vacate(key), outcome, why)
            }
            Phase::Told(_) | Phase::Telling(_) => {
                slot.phase.next_event().map_or(Polled::Pending, Polled::Event)
            }
            _ if slot.waker.as_ref().is_some_and(|own| own.will_wake(waker)) => Polled::Pending,
            _ => Polled::NeedsWaker,
        }
    }

    /// An event that its future has not seen.
    pub(crate) fn next_event(&mut self, key: Key) -> Option<Outcome> {
        self.slot(key)?.phase.next_event()
    }

    /// Leaves a waker; the old one comes back to be dropped outside.
    pub(crate) fn set_waker(&mut self, key: Key, waker: Waker) -> Option<Waker> {
        match self.slot(key) {
            Some(slot) => slot.waker.replace(waker),
            None => Some(waker),
        }
    }

    /// A completion has come.
    pub(crate) fn complete(&mut self, key: Key, outcome: Outcome) -> Completed {
        let Some(slot) = self.slot(key) else {
            self.ledger.unknown += 1;
            return Completed::Unknown;
        };
        let repeats = slot.payload.as_ref().is_some_and(|payload| payload.common.repeats);
        let outcome = match slot.phase {
            _ if !slot.phase.is_in_flight() => {
                self.ledger.unknown += 1;
                return Completed::Unknown;
            }
            _ if outcome.has_more() && repeats && slot.listening => {
                slot.phase.tell(outcome);
                return slot.waker.take().map_or(Completed::Noted, Completed::Wake);
            }
            _ if outcome.has_more() && repeats => {
                self.unheard.push(outcome);
                return Completed::More;
            }
            _ if outcome.has_more() => {
                slot.phase = Phase::Settling(outcome);
                return Completed::More;
            }
            Phase::Settling(result) => result,
            _ => outcome,
        };
        if !slot.listening {
            return Completed::Discard(self.end(key, outcome));
        }
        let with_thread = matches!(slot.phase, Phase::WithThread);
        slot.phase.end(outcome);
        let waker = slot.waker.take();
        let under_way = slot.policy.holds_clock;
        self.unfinished -= 1;
        self.under_way -= usize::from(under_way);
        self.with_threads -= usize::from(with_thread);
        waker.map_or(Completed::Noted, Completed::Wake)
    }

    /// A thread has ended its work for an operation. The wait for that may have ended before, by a cancel.
    pub(crate) fn job_ended(&mut self, key: Key, outcome: Outcome) -> Completed {
        match self.slot(key) {
            Some(slot) if matches!(slot.phase, Phase::WithThread) => self.complete(key, outcome),
            _ => Completed::Noted,
        }
    }

    /// The future was dropped.
    pub(crate) fn abandon(&mut self, key: Key) -> Abandoned {
        let Some(slot) = self.slot(key) else { return Abandoned::Gone };
        slot.listening = false;
        let waker = slot.waker.take();
        let cancel = slot.policy.on_drop == OnDrop::Cancel;
        let mut unseen = Vec::new();
        while let Some(event) = slot.phase.next_event() {
            unseen.push(event);
        }
        let was_asked = slot.why.is_some();
        if cancel && !matches!(slot.phase, Phase::Backlogged(_)) {
            slot.why.get_or_insert(Why::Cancelled);
        }
        let abandoned = match slot.phase {
            Phase::Done(outcome) => Abandoned::Discard(self.end(key, outcome)),
            Phase::Backlogged(ticket) if cancel => Abandoned::Retract(ticket, waker),
            Phase::Queued if cancel && !was_asked => Abandoned::Cancel(waker),
            _ => Abandoned::Leave(waker),
        };
        self.unheard.append(&mut unseen);
        abandoned
    }

    /// Empties the slot of an operation that has completed.
    fn end(&mut self, key: Key, outcome: Outcome) -> Ended {
        let why = self.slot(key).and_then(|slot| slot.why);
        Ended { payload: self.vacate(key), outcome, why }
    }

    /// Events that no future will see, since this was asked last.
    pub(crate) fn take_unheard(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.unheard)
    }

    /// The entry was taken out of the backlog: the operation never reaches the kernel.
    pub(crate) fn retracted(&mut self, key: Key) -> Raw {
        self.vacate(key)
    }

    /// The entry had left the backlog: from now on the operation counts as in flight.
    pub(crate) fn submitted(&mut self, key: Key) {
        if let Some(slot) = self.slot(key)
            && let Phase::Backlogged(_) = slot.phase
        {
            slot.phase = Phase::Queued;
        }
    }

    /// A cancel is asked for while the future goes on listening.
    pub(crate) fn request_cancel(&mut self, key: Key, why: Why) -> Request {
        let Some(slot) = self.slot(key).filter(|slot| slot.why.is_none()) else { return Request::Late };
        match slot.phase {
            Phase::Queued | Phase::Backlogged(_) => {
                slot.why = Some(why);
                Request::Ask
            }
            // A thread cannot be asked for anything: a cancel ends the wait for it.
            Phase::WithThread => {
                slot.why = Some(why);
                Request::Ended(self.complete(key, Outcome { result: -libc::ECANCELED, flags: 0 }))
            }
            _ => Request::Late,
        }
    }

    /// The loop ends. True: ask the kernel to cancel the operation (again: a request may come too early to count).
    pub(crate) fn cancel_at_end(&mut self, key: Key) -> bool {
        let Some(slot) = self.slot(key) else { return false };
        slot.why.get_or_insert(Why::Ended);
        slot.policy.at_end == AtEnd::Cancel && !matches!(slot.phase, Phase::WithThread)
    }

    /// The kernel did not give everything back in time: what it may hold leaves the table, for the caller to leak (K3).
    /// With what each works on.
    pub(crate) fn leak(&mut self) -> Vec<(Raw, Option<i32>)> {
        let keys = self.keys_with_kernel().into_iter();
        keys.map(|key| {
            let descriptor = self.descriptor(key);
            (self.vacate(key), descriptor)
        })
        .collect()
    }

    /// What an operation works on.
    pub(crate) fn descriptor(&mut self, key: Key) -> Option<i32> {
        self.slot(key)?.descriptor()
    }

    /// Operations that have not ended.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Those of them that the kernel may hold.
    pub(crate) fn with_kernel(&self) -> usize {
        self.unfinished - self.with_threads
    }

    /// Keys of those that are with a thread.
    pub(crate) fn keys_with_threads(&self) -> Vec<Key> {
        self.keys_where(|phase| matches!(phase, Phase::WithThread))
    }

    /// Those of them whose end can be waited for.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Keys of all operations that the kernel may hold.
    pub(crate) fn keys_with_kernel(&self) -> Vec<Key> {
        self.keys_where(|phase| phase.is_in_flight() && !matches!(phase, Phase::WithThread))
    }

    fn keys_where(&self, is_wanted: impl Fn(&Phase) -> bool) -> Vec<Key> {
        let slots = self.slots.iter().zip(0..);
        let wanted = slots.filter(|(slot, _)| slot.payload.is_some() && is_wanted(&slot.phase));
        wanted.map(|(slot, index)| Key::new(index, slot.generation)).collect()
    }

    /// Name, descriptor and state of what is in the table, for diagnosis.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, Option<i32>, &'static str)> + '_ {
        self.slots.iter().filter_map(|slot| {
            let payload = slot.payload.as_ref()?;
            let state = match slot.phase {
                ref phase if !phase.is_in_flight() => "done",
                _ if !slot.listening => "abandoned",
                Phase::Settling(_) => "settling",
                _ => "in flight",
            };
            Some((payload.common.name, slot.descriptor(), state))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Lent, Operation};
    use super::*;
    use crate::ring::Entry;
    use std::cell::RefCell;
    use std::rc::Rc;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// An operation whose end is told.
    struct Probe<const KIND: usize>(Rc<RefCell<Vec<i32>>>);

    // SAFETY: O1: the entry points to nothing.
    #[allow(unsafe_code)]
    unsafe impl<const KIND: usize> Operation for Probe<KIND> {
        type Output = i32;
        const NAME: &'static str = "probe";
        const REPEATS: bool = KIND == 4;

        fn policy(&self) -> Policy {
            [
                Policy::WAITS,
                Policy::PROMISED,
                Policy::CHANGES,
                Policy::UNCERTAIN,
                Policy::WAITS,
                Policy::CHANGES,
                Policy::READS,
            ][KIND]
        }

        fn entry(&mut self) -> Entry {
            io_uring::opcode::Nop::new().build()
        }

        fn advance(&mut self, outcome: Outcome) -> Next {
            if outcome.result == 0 { Next::Again } else { Next::Finish }
        }

        fn finish(self, outcome: Outcome) -> i32 {
            self.0.borrow_mut().push(outcome.result);
            outcome.result
        }
    }

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What the model knows of one operation.
    #[derive(Clone, Copy, PartialEq)]
    enum Model {
        InFlight { listening: bool },
        Done,
        Gone,
    }

    fn outcome(result: i32) -> Outcome {
        Outcome { result, flags: 0 }
    }

    fn fill<const KIND: usize>(table: &mut Table, ends: &Rc<RefCell<Vec<i32>>>, waker: Option<Waker>) -> Key {
        let mut lent = Lent::new(Probe::<KIND>(ends.clone()));
        let policy = lent.prepare();
        table.insert(lent.lend(), -1, policy, waker)
    }

    #[test]
    fn every_short_sequence_of_events_ends_each_operation_once() {
        // Events: 0 complete, 1 abandon, 2 poll, 3 ask for a cancel, 4 complete with more to come.
        let length = if cfg!(miri) { 3 } else { 5 };
        for sequence in 0..5usize.pow(length) {
            let (mut table, ends) = (Table::default(), Rc::default());
            let waker = Waker::from(Arc::new(Counter::default()));
            let key = fill::<0>(&mut table, &ends, Some(waker.clone()));
            let mut model = Model::InFlight { listening: true };
            for step in 0..length {
                match sequence / 5usize.pow(step) % 5 {
                    0 if matches!(model, Model::InFlight { .. }) => match table.complete(key, outcome(7)) {
                        Completed::Discard(ended) => {
                            assert!(model == Model::InFlight { listening: false });
                            assert!(ended.proceed().is_none());
                            model = Model::Gone;
                        }
                        Completed::Wake(_) => {
                            assert!(model == Model::InFlight { listening: true });
                            model = Model::Done;
                        }
                        _ => panic!("a completion was lost"),
                    },
                    0 => assert!(matches!(table.complete(key, outcome(7)), Completed::Unknown)),
                    1 => match (table.abandon(key), model) {
                        (Abandoned::Cancel(_) | Abandoned::Leave(_), Model::InFlight { .. }) => {
                            model = Model::InFlight { listening: false };
                        }
                        (Abandoned::Discard(ended), Model::Done) => {
                            assert!(ended.proceed().is_none());
                            model = Model::Gone;
                        }
                        (Abandoned::Gone, Model::Gone) => {}
                        _ => panic!("an abandoned operation went astray"),
                    },
                    // A future polls only while it exists.
                    2 if model == (Model::InFlight { listening: false }) => {}
                    2 => match (table.poll(key, &waker), model) {
                        (Polled::Pending | Polled::NeedsWaker, Model::InFlight { .. }) => {}
                        (Polled::Ready(payload, outcome, _), Model::Done) => {
                            payload.discard(outcome);
                            model = Model::Gone;
                        }
                        (Polled::Gone, Model::Gone) => {}
                        _ => panic!("a poll found what is not there"),
                    },
                    3 => {
                        let asks = matches!(table.request_cancel(key, Why::Elapsed), Request::Ask);
                        assert!(!asks || matches!(model, Model::InFlight { .. }));
                    }
                    4 if matches!(model, Model::InFlight { .. }) => {
                        let more = Outcome { result: 7, flags: 1 << 1 };
                        assert!(matches!(table.complete(key, more), Completed::More));
                    }
                    _ => {}
                }
                let unfinished = matches!(model, Model::InFlight { .. });
                assert_eq!(table.unfinished(), usize::from(unfinished));
                assert_eq!(ends.borrow().len(), usize::from(model == Model::Gone));
            }
            if let Model::InFlight { .. } | Model::Done = model {
                if let Completed::Discard(ended) = table.complete(key, outcome(7)) {
                    assert!(ended.proceed().is_none());
                } else if let Abandoned::Discard(ended) = table.abandon(key) {
                    assert!(ended.proceed().is_none());
                }
            }
            assert_eq!(*ends.borrow(), [7], "sequence {sequence}");
            assert_eq!(table.ledger.started, table.ledger.ended);
        }
    }

    #[test]
    fn a_stale_key_meets_nothing_in_a_slot_used_again() {
        let (mut table, ends) = (Table::default(), Rc::default());
        let first = fill::<0>(&mut table, &ends, None);
        let Completed::Discard(ended) = table.complete(first, outcome(1)) else { panic!("nobody listens") };
        assert!(ended.proceed().is_none());
        let second = fill::<0>(&mut table, &ends, None);
        assert_eq!(first.index(), second.index());
        assert_ne!(first, second);
        assert!(matches!(table.complete(first, outcome(2)), Completed::Unknown));
        assert!(matches!(table.abandon(first), Abandoned::Gone));
        assert_eq!(table.ledger.unknown, 1);
        let Completed::Discard(ended) = table.complete(second, outcome(3)) else { panic!("nobody listens") };
        assert!(ended.proceed().is_none());
        assert_eq!(*ends.borrow(), [1, 3]);
    }

    #[test]
    fn a_job_ends_by_itself_and_the_wait_for_it_by_a_cancel() {
        let (mut table, ends) = (Table::default(), Rc::default());
        let waited_for = fill::<5>(&mut table, &ends, Some(Waker::noop().clone()));
        table.given_to_thread(waited_for);
        let request = table.request_cancel(waited_for, Why::Elapsed);
        assert!(matches!(request, Request::Ended(Completed::Wake(_))));
        assert!(matches!(table.request_cancel(waited_for, Why::Cancelled), Request::Late));
        // The job may end before its future has asked, or later.
        assert!(matches!(table.job_ended(waited_for, outcome(0)), Completed::Noted));
        let Polled::Ready(payload, end, Some(Why::Elapsed)) = table.poll(waited_for, Waker::noop()) else {
            panic!("the wait has ended")
        };
        payload.discard(Why::Elapsed.explains(end));
        assert!(matches!(table.job_ended(waited_for, outcome(0)), Completed::Noted));
        let abandoned = fill::<5>(&mut table, &ends, Some(Waker::noop().clone()));
        table.given_to_thread(abandoned);
        assert!(matches!(table.abandon(abandoned), Abandoned::Leave(_)));
        let stale = table.job_ended(waited_for, outcome(0));
        assert!(matches!(stale, Completed::Noted), "its place has another generation");
        assert_eq!((table.unfinished(), table.with_kernel()), (1, 0));
        assert_eq!((table.keys_with_threads(), table.keys_with_kernel()), (vec![abandoned], vec![]));
        let Completed::Discard(ended) = table.job_ended(abandoned, outcome(0)) else {
            panic!("nobody listens")
        };
        ended.proceed().expect("`Probe` asks for another entry after 0").discard(outcome(0));
        assert_eq!(*ends.borrow(), [Outcome::ELAPSED, 0]);
        assert_eq!((table.ledger.unknown, table.unfinished(), table.under_way()), (0, 0, 0));
    }

    #[test]
    fn what_waits_in_the_backlog_is_taken_back_and_finished_as_not_begun() {
        let (mut table, ends) = (Table::default(), Rc::default());
        let key = fill::<0>(&mut table, &ends, Some(Waker::noop().clone()));
        table.placed(key, Where::Backlog(5));
        assert!(matches!(table.abandon(key), Abandoned::Retract(5, _)));
        table.retracted(key).discard(Outcome::NOT_BEGUN);
        assert_eq!(*ends.borrow(), [Outcome::NOT_BEGUN.result]);
        assert_eq!(Rc::strong_count(&ends), 1, "the operation was dropped");
        assert_eq!((table.unfinished(), table.under_way()), (0, 0));
    }

    #[test]
    fn what_a_drop_leaves_stays_in_the_backlog() {
        let (mut table, ends) = (Table::default(), Rc::default());
        for key in [fill::<1>, fill::<2>].map(|fill| fill(&mut table, &ends, Some(Waker::noop().clone()))) {
            table.placed(key, Where::Backlog(5));
            assert!(matches!(table.abandon(key), Abandoned::Leave(_)));
            let Completed::Discard(ended) = table.complete(key, outcome(3)) else { panic!("nobody listens") };
            assert!(ended.proceed().is_none());
        }
        assert_eq!(*ends.borrow(), [3, 3]);
    }

    /// READ-02. `Probe` asks for another entry after 0.
    #[test]
    fn what_a_drop_leaves_goes_on_and_what_it_cancels_ends_between_two_steps() {
        let (mut table, ends) = (Table::default(), Rc::default());
        type Fill = fn(&mut Table, &Rc<RefCell<Vec<i32>>>, Option<Waker>) -> Key;
        let fills: [Fill; 5] = [fill::<0>, fill::<1>, fill::<2>, fill::<3>, fill::<6>];
        let mut goes_on = Vec::new();
        for (fill, dropped_late) in fills.into_iter().flat_map(|fill| [(fill, false), (fill, true)]) {
            let key = fill(&mut table, &ends, Some(Waker::noop().clone()));
            let ended = match dropped_late {
                true => {
                    assert!(matches!(table.complete(key, outcome(0)), Completed::Wake(_)));
                    let Abandoned::Discard(ended) = table.abandon(key) else { panic!("it was done") };
                    ended
                }
                false => {
                    table.abandon(key);
                    let Completed::Discard(ended) = table.complete(key, outcome(0)) else {
                        panic!("dropped")
                    };
                    ended
                }
            };
            let rest = ended.proceed();
            goes_on.push(rest.is_some());
            rest.into_iter().for_each(|payload| payload.discard(outcome(9)));
        }
        let (ends_there, goes) = ([false; 2], [true; 2]);
        assert_eq!(goes_on, [ends_there, goes, goes, ends_there, ends_there].concat());
        let cancelled = [Outcome::CANCELLED; 2];
        assert_eq!(*ends.borrow(), [cancelled, [9; 2], [9; 2], cancelled, cancelled].concat());
    }

    #[test]
    fn the_loops_end_ends_what_goes_on_and_tells_why() {
        let (mut table, ends) = (Table::default(), Rc::default());
        for last in [0, -libc::ECANCELED] {
            let detached = fill::<1>(&mut table, &ends, None);
            assert!(table.cancel_at_end(detached));
            let Completed::Discard(ended) = table.complete(detached, outcome(last)) else {
                panic!("detached")
            };
            assert!(ended.proceed().is_none());
        }
        assert_eq!(*ends.borrow(), [Outcome::CLOSED.result; 2]);
    }

    #[test]
    fn block_io_and_promises_are_left_by_a_drop_and_only_block_io_by_the_end() {
        let (mut table, ends) = (Table::default(), Rc::default());
        let waits = fill::<0>(&mut table, &ends, Some(Waker::noop().clone()));
        let promised = fill::<1>(&mut table, &ends, Some(Waker::noop().clone()));
        let finite = fill::<2>(&mut table, &ends, Some(Waker::noop().clone()));
        let uncertain = fill::<3>(&mut table, &ends, Some(Waker::noop().clone()));
        assert_eq!((table.unfinished(), table.under_way()), (4, 2));
        assert!(matches!(table.abandon(waits), Abandoned::Cancel(_)));
        assert!(matches!(table.abandon(promised), Abandoned::Leave(_)));
        assert!(matches!(table.abandon(finite), Abandoned::Leave(_)));
        assert!(matches!(table.abandon(uncertain), Abandoned::Cancel(_)));
        let keys = [waits, promised, finite, uncertain];
        assert_eq!(keys.map(|key| table.cancel_at_end(key)), [true, true, false, true]);
        let leaked = table.leak();
        assert_eq!(leaked.len(), 4);
        leaked.into_iter().for_each(|(payload, _)| payload.discard(Outcome::NOT_BEGUN));
        assert_eq!((table.unfinished(), table.under_way()), (0, 0));
        assert!(matches!(table.complete(waits, outcome(0)), Completed::Unknown));
    }

    #[test]
    fn what_repeats_wakes_for_each_event_and_ends_with_its_last_completion() {
        let (mut table, ends) = (Table::default(), Rc::default());
        let waker = Waker::from(Arc::new(Counter::default()));
        let event = |result| Outcome { result, flags: 1 << 1 };
        let key = fill::<4>(&mut table, &ends, Some(waker.clone()));
        for round in 0..3 {
            assert!(matches!(table.complete(key, event(round)), Completed::Wake(_)));
            assert!(matches!(table.complete(key, event(round + 10)), Completed::Noted));
            assert!(matches!(table.complete(key, event(round + 20)), Completed::Noted));
            for told in [round, round + 10] {
                assert!(matches!(table.poll(key, &waker), Polled::Event(seen) if seen == event(told)));
            }
            assert_eq!(table.next_event(key), Some(event(round + 20)));
            assert_eq!(table.next_event(key), None);
            assert!(matches!(table.poll(key, &waker), Polled::NeedsWaker));
            assert!(table.set_waker(key, waker.clone()).is_none());
        }
        assert!(matches!(table.complete(key, event(1)), Completed::Wake(_)));
        assert!(
            matches!(table.abandon(key), Abandoned::Cancel(_)),
            "also with an event that nobody has seen"
        );
        assert_eq!(table.take_unheard(), [event(1)]);
        assert!(matches!(table.complete(key, event(2)), Completed::More));
        assert_eq!(table.take_unheard(), [event(2)]);
        let Completed::Discard(ended) = table.complete(key, outcome(-libc::ECANCELED)) else {
            panic!("that was the last")
        };
        assert!(ended.proceed().is_none());
        assert_eq!(*ends.borrow(), [-libc::ECANCELED]);
    }

    #[test]
    fn events_that_were_not_seen_come_before_the_end() {
        let (mut table, ends) = (Table::default(), Rc::default());
        let event = |result| Outcome { result, flags: 1 << 1 };
        for count in 0..4 {
            let key = fill::<4>(&mut table, &ends, Some(Waker::noop().clone()));
            for number in 0..count {
                table.complete(key, event(number));
            }
            table.complete(key, outcome(9));
            assert!(matches!(table.complete(key, event(7)), Completed::Unknown), "that was the end");
            for number in 0..count {
                assert!(
                    matches!(table.poll(key, Waker::noop()), Polled::Event(seen) if seen == event(number))
                );
            }
            let Polled::Ready(payload, end, None) = table.poll(key, Waker::noop()) else { panic!("the end") };
            payload.discard(end);
            // The same, but dropped instead of polled.
            let key = fill::<4>(&mut table, &ends, Some(Waker::noop().clone()));
            for number in 0..count {
                table.complete(key, event(number));
            }
            table.complete(key, outcome(9));
            let Abandoned::Discard(ended) = table.abandon(key) else { panic!("it was done") };
            assert!(ended.proceed().is_none());
            assert_eq!(table.take_unheard(), (0..count).map(event).collect::<Vec<_>>());
        }
        assert_eq!((table.unfinished(), table.under_way(), table.ledger.unknown), (0, 0, 4));
        assert_eq!(*ends.borrow(), [9; 8]);
    }

    #[test]
    fn the_result_of_a_completion_with_more_to_come_is_kept() {
        let (mut table, ends) = (Table::default(), Rc::default());
        let key = fill::<0>(&mut table, &ends, None);
        assert!(matches!(table.complete(key, Outcome { result: 42, flags: 1 << 1 }), Completed::More));
        let Completed::Discard(ended) = table.complete(key, Outcome { result: 0, flags: 1 << 3 }) else {
            panic!("that was the last")
        };
        assert!(ended.proceed().is_none());
        assert_eq!(*ends.borrow(), [42]);
    }
}
