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
//! kernel until the last one (**K2**). A key is index and generation: a slot used again has another generation, so a stale
//! key meets nothing. The ledger counts what must not happen and what must add up; the suite looks at it after each trial.

use std::task::Waker;

use super::Nature;
use super::lent::Raw;
use crate::ring::{Outcome, Where};

/// Names an operation in its loop's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// As it travels through the kernel.
    pub(crate) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn of(user_data: u64) -> Self {
        Key { index: user_data as u32, generation: (user_data >> 32) as u32 }
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
        let interrupted = matches!(-outcome.result, libc::ECANCELED | libc::EINTR | 512);
        let result = match self {
            _ if !interrupted => outcome.result,
            Why::Cancelled => Outcome::CANCELLED,
            Why::Elapsed => Outcome::ELAPSED,
            Why::Ended => Outcome::CLOSED.result,
        };
        Outcome { result, ..outcome }
    }
}

enum Phase {
    /// Free; the next free slot.
    Vacant(Option<u32>),
    /// Submitted. Its entry may still wait in the ring's backlog, under this ticket.
    Queued(Option<u64>),
    /// The result is known, the kernel still holds the payload.
    Settling(Outcome),
    /// Finally completed; the future will fetch it.
    Done(Outcome),
}

struct Slot {
    /// Goes up when the slot is vacated.
    generation: u32,
    phase: Phase,
    /// The future exists; else the operation is abandoned.
    listening: bool,
    /// A cancel was asked for.
    why: Option<Why>,
    /// Whom the completion wakes.
    waker: Option<Waker>,
    /// The operation; None in a vacant slot.
    payload: Option<Raw>,
}

/// What a poll finds.
pub(crate) enum Polled {
    /// Not yet; the slot already has this waker.
    Pending,
    /// Not yet; call [`Table::set_waker`] with a clone.
    NeedsWaker,
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
    /// Nobody listens: finish it, drop the output.
    Discard(Raw, Outcome),
    /// Another completion follows.
    More,
    /// No such operation. The ledger has counted it.
    Unknown,
}

/// What to do about a dropped future.
pub(crate) enum Abandoned {
    /// Try to take the entry out of the backlog under this ticket; on success [`Table::retracted`].
    Retract(u64, Option<Waker>),
    /// Ask the kernel to cancel.
    Cancel(Option<Waker>),
    /// Leave it to end by itself.
    Leave(Option<Waker>),
    /// It was done: finish it, drop the output.
    Discard(Raw, Outcome),
    /// No such operation any more.
    Gone,
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
    /// Those of them that end by themselves: block I/O.
    finite: usize,
    pub(crate) ledger: Ledger,
}

impl Table {
    /// Takes an operation in.
    pub(crate) fn insert(&mut self, payload: Raw, waker: Option<Waker>) -> Key {
        self.ledger.started += 1;
        self.unfinished += 1;
        self.finite += usize::from(payload.common.nature == Nature::Finite);
        let (phase, listening) = (Phase::Queued(None), waker.is_some());
        let slot =
            |generation| Slot { generation, phase, listening, why: None, waker, payload: Some(payload) };
        if let Some(index) = self.vacant {
            let place = &mut self.slots[index as usize];
            let Phase::Vacant(next) = place.phase else { unreachable!("the free list leads to a used slot") };
            self.vacant = next;
            *place = slot(place.generation);
            return Key { index, generation: place.generation };
        }
        let index = u32::try_from(self.slots.len()).ok().filter(|&index| index != u32::MAX);
        let index = index.expect("four billion operations do not fit into memory");
        self.slots.push(slot(0));
        Key { index, generation: 0 }
    }

    /// Notes where the entry went.
    pub(crate) fn placed(&mut self, key: Key, place: Where) {
        if let (Where::Backlog(ticket), Some(slot)) = (place, self.slot(key)) {
            slot.phase = Phase::Queued(Some(ticket));
        }
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(key.index as usize)?;
        (slot.generation == key.generation && slot.payload.is_some()).then_some(slot)
    }

    /// Empties a slot; the caller has taken its waker out.
    fn vacate(&mut self, key: Key) -> Raw {
        let slot = &mut self.slots[key.index as usize];
        let payload = slot.payload.take().expect("only a used slot is vacated");
        if !matches!(slot.phase, Phase::Done(_)) {
            self.unfinished -= 1;
            self.finite -= usize::from(payload.common.nature == Nature::Finite);
        }
        slot.generation = slot.generation.wrapping_add(1);
        slot.phase = Phase::Vacant(self.vacant.replace(key.index));
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
            _ if slot.waker.as_ref().is_some_and(|own| own.will_wake(waker)) => Polled::Pending,
            _ => Polled::NeedsWaker,
        }
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
        let outcome = match slot.phase {
            Phase::Done(_) => {
                self.ledger.unknown += 1;
                return Completed::Unknown;
            }
            _ if outcome.has_more() => {
                slot.phase = Phase::Settling(outcome);
                return Completed::More;
            }
            Phase::Settling(result) => result,
            _ => outcome,
        };
        if !slot.listening {
            return Completed::Discard(self.vacate(key), outcome);
        }
        slot.phase = Phase::Done(outcome);
        let waker = slot.waker.take();
        let finite = slot.payload.as_ref().is_some_and(|payload| payload.common.nature == Nature::Finite);
        self.unfinished -= 1;
        self.finite -= usize::from(finite);
        waker.map_or(Completed::Noted, Completed::Wake)
    }

    /// The future was dropped.
    pub(crate) fn abandon(&mut self, key: Key) -> Abandoned {
        let Some(slot) = self.slot(key) else { return Abandoned::Gone };
        slot.listening = false;
        let waker = slot.waker.take();
        let cancel = slot.payload.as_ref().is_some_and(|payload| payload.common.nature == Nature::Waits);
        match slot.phase {
            Phase::Done(outcome) => Abandoned::Discard(self.vacate(key), outcome),
            Phase::Queued(Some(ticket)) => Abandoned::Retract(ticket, waker),
            Phase::Queued(None) if cancel && slot.why.is_none() => {
                slot.why = Some(Why::Cancelled);
                Abandoned::Cancel(waker)
            }
            _ => Abandoned::Leave(waker),
        }
    }

    /// The entry was taken out of the backlog: the operation never reaches the kernel.
    pub(crate) fn retracted(&mut self, key: Key) -> Raw {
        self.vacate(key)
    }

    /// The entry had left the backlog: from now on the operation counts as in flight.
    pub(crate) fn submitted(&mut self, key: Key) {
        if let Some(slot) = self.slot(key)
            && let Phase::Queued(ticket) = &mut slot.phase
        {
            *ticket = None;
        }
    }

    /// A cancel is asked for while the future goes on listening. True: ask the kernel.
    pub(crate) fn request_cancel(&mut self, key: Key, why: Why) -> bool {
        match self.slot(key) {
            Some(slot) if matches!(slot.phase, Phase::Queued(_)) && slot.why.is_none() => {
                slot.why = Some(why);
                true
            }
            _ => false,
        }
    }

    /// The loop ends. True: ask the kernel to cancel the operation (again: a request may come too early to count).
    pub(crate) fn cancel_at_end(&mut self, key: Key) -> bool {
        let Some(slot) = self.slot(key) else { return false };
        slot.why.get_or_insert(Why::Ended);
        slot.payload.as_ref().is_some_and(|payload| payload.common.nature != Nature::Finite)
    }

    /// Operations that the kernel may hold.
    pub(crate) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Those of them that end by themselves.
    pub(crate) fn finite(&self) -> usize {
        self.finite
    }

    /// Keys of all operations that the kernel may hold.
    pub(crate) fn unfinished_keys(&self) -> Vec<Key> {
        let slots = self.slots.iter().zip(0..);
        let used = slots.filter(|(slot, _)| slot.payload.is_some() && !matches!(slot.phase, Phase::Done(_)));
        used.map(|(slot, index)| Key { index, generation: slot.generation }).collect()
    }

    /// Names and states of what is in the table, for diagnosis.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.slots.iter().filter_map(|slot| {
            let payload = slot.payload.as_ref()?;
            let state = match slot.phase {
                Phase::Done(_) => "done",
                _ if !slot.listening => "abandoned",
                Phase::Settling(_) => "settling",
                _ => "in flight",
            };
            Some((payload.common.name, state))
        })
    }
}
