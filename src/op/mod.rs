//! Operations: what the kernel is asked to do, and the life of each asking.
//!
//! # One operation's life
//!
//! An [`Operation`] is a plain struct. Its future, `Op<T>`, is *idle* until the first poll: the struct lies in a block of
//! its own (`lent`), no entry exists. The first poll chooses the route: a plain call where it cannot block, else the ring.
//! For the ring, `entry` is built at the struct's final address, the block goes into a slot of the table (`table`), and
//! the entry, which carries the slot's key, into the submission queue; the future keeps the key. The completion finds the
//! slot by one indexed load, notes the outcome and wakes the future; its next poll takes the struct out of the block and
//! calls `finish`, which makes the output: a descriptor becomes an `OwnedFd`, a length is set on a buffer, an errno becomes
//! an `io::Error`.
//!
//! # What a drop means
//!
//! A dropped future marks its slot abandoned. An entry still in the backlog is taken back; what may wait without end is
//! cancelled; block I/O is left to end. A cancel is only a request: the operation may still succeed. At its final
//! completion the same `finish` runs and its output is dropped, so the late descriptor of a dropped `openat` closes itself
//! with no code per operation. A *detached* operation (a write-behind send) is one that is submitted abandoned: its `finish`
//! does the work. Forgetting a future leaks a slot, soundly and visibly.
//!
//! # Where to find things
//!
//! * An operation is **cancelled** in `Reactor::abandon` and `Reactor::request_cancel` (`reactor/mod.rs`), which queue
//!   [`cancel`] below.
//! * The structs: `fs.rs`, `io.rs`, `net.rs`, each beside the public module of the same name, and `process.rs`. Adding one is one struct,
//!   one impl, the public method and one trial.
//!
//! # Invariants, cited by SAFETY comments
//!
//! * **O1 own memory**: an entry points only into its operation, or into memory that the operation owns, that does not move
//!   with it and that nobody else has.
//! * **K1 residence**: from `entry` to the final completion the payload stays at one address and nobody refers to it.
//! * **K2 finality**: only a completion without the more-flag ends K1.
//! * **K3 drain**: the ring closes after the table is empty by our own count, or the memory leaks.
//! * **T1 thread**: only loop handles, wakers, the notifier, and the result of a job on the pool with its operation's key
//!   cross threads.
//! * **R1 quiet borrow**: no user code (poll; wake, clone or drop of a waker; `entry`; `finish`; drop of an output or a
//!   buffer) runs while the reactor is borrowed.
//! * **S1 one receive**: a socket has at most one receive in flight; the next follows its final completion.

#![allow(unsafe_code)]

pub(crate) mod fs;
pub(crate) mod io;
mod lent;
pub(crate) mod net;
#[cfg(feature = "process-pool")]
pub(crate) mod process;
mod route;
mod table;

pub(crate) use lent::{Begun, Lent, Methods, Raw};
pub(crate) use table::{Abandoned, Completed, Key, Ledger, Polled, Request, Table, Why};

use crate::pool::Job;
use crate::ring::{Entry, IGNORE, Outcome, Ring, Where};

/// How an operation ends, and what a drop of its future does to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// It may wait without end (sockets, pipes, polls): a drop asks the kernel to cancel it.
    Waits,
    /// It may wait without end, but what it does was promised: a drop leaves it, the loop's end cancels it.
    Promised,
    /// It ends by itself (block I/O): a drop and the loop's end leave it.
    Finite,
    /// It ends by itself as a rule, but may wait without end, and nothing tells before (an open: of a file, or of a FIFO that nobody
    /// opens at its other end). It has no effect that could be lost: a drop and the loop's end cancel it.
    Uncertain,
    /// It waits, and tells of one event after the other: a drop and the loop's end cancel it.
    Repeats,
    /// Another thread does it, and the kernel knows nothing of it: nobody can interrupt it, and a cancel ends the waiting.
    Job,
}

impl Nature {
    /// Whether a drop asks the kernel to cancel it.
    pub(crate) fn ends_with_its_future(self) -> bool {
        matches!(self, Nature::Waits | Nature::Uncertain | Nature::Repeats)
    }

    /// Whether the loop's end asks the kernel to cancel it.
    pub(crate) fn ends_with_its_loop(self) -> bool {
        !matches!(self, Nature::Finite | Nature::Job)
    }

    /// Whether its end is worth waiting for, before time that stands still is moved on.
    pub(crate) fn is_under_way(self) -> bool {
        matches!(self, Nature::Finite | Nature::Uncertain | Nature::Job)
    }
}

/// What follows an outcome.
pub(crate) enum Next {
    /// `finish`.
    Finish,
    /// Another entry, for the rest of a short transfer or the next step.
    Again,
}

/// One kernel operation.
///
/// # Safety
/// Each entry keeps O1. Fields that the kernel writes are plain data (P1).
pub(crate) unsafe trait Operation: Sized + 'static {
    /// What awaiting it gives.
    type Output: 'static;
    /// The system call's name, for diagnosis.
    const NAME: &'static str;
    /// Whether `call` may ever say something: the others are not asked whether a plain call would do.
    const HAS_CALL: bool = false;

    /// How it ends: asked right before each entry, because its steps may differ.
    fn nature(&mut self) -> Nature;

    /// Builds the entry, at the operation's final address.
    fn entry(&mut self) -> Entry;

    /// What another thread shall do in place of an entry, if that is its nature.
    fn work(&mut self) -> Option<Work> {
        None
    }

    /// Looks at an outcome before `finish`: an operation of several steps may ask for another entry, which is then built
    /// by `entry`, unless a cancel was asked for: then `finish` follows with that. Not asked when nobody listens.
    fn advance(&mut self, _outcome: Outcome) -> Next {
        Next::Finish
    }

    /// Turns the last outcome into the output.
    fn finish(self, outcome: Outcome) -> Self::Output;

    /// The same as a plain system call, where that cannot block; None: by the ring. Asked if `HAS_CALL`.
    fn call(&mut self, _company: Company) -> Option<Outcome> {
        None
    }
}

/// What another thread does for an operation.
pub(crate) struct Work {
    /// It leaves its result where the operation finds it.
    pub(crate) job: Job,
    /// Gives it to a pool. What that does not take is dropped.
    pub(crate) hand_over: fn(Job),
}

/// Whether the loop would enter the kernel for this operation alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Company {
    /// Nothing else is queued, and no other task is ready.
    Alone,
    /// Others will be queued: the enter that takes them takes one more for next to nothing.
    Others,
}

/// Queues the entry of an operation that the caller has just put into the table under `key`.
pub(crate) fn queue(ring: &mut Ring, entry: &mut Entry, key: Key) -> Where {
    entry.set_user_data(key.user_data());
    // SAFETY: O1: the entry points into the payload or into what it owns; K1: the table keeps the payload where it is until
    // the final completion.
    unsafe { ring.queue(entry) }
}

/// Asks the kernel to cancel the operation. Only a request; its own completion tells what happened.
pub(crate) fn cancel(ring: &mut Ring, key: Key) {
    let entry = io_uring::opcode::AsyncCancel::new(key.user_data()).build();
    let mut entry = entry.flags(io_uring::squeue::Flags::SKIP_SUCCESS).user_data(IGNORE);
    // SAFETY: O1: the entry points to nothing.
    unsafe { ring.queue(&mut entry) };
}

/// The outcome of a plain system call's return value.
pub(crate) fn called(result: isize) -> Outcome {
    let result = match result {
        -1 => -std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO),
        // Transfers are capped at 0x7ffff000 bytes by the kernel.
        n => n as i32,
    };
    Outcome { result, flags: 0 }
}
