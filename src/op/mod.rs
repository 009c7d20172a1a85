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
//! A dropped future marks its slot abandoned. What then happens is the operation's [`Policy`], a value. To cancel: an entry
//! still in the backlog is taken back, any other is cancelled, which is only a request: the operation may still succeed. To
//! leave: it goes on to its end; `advance` is asked as ever, and further entries follow. At its end the same `finish` runs
//! and its output is dropped, so the late descriptor of a dropped `openat` closes itself with no code per operation.
//!
//! **`finish` runs at every end**, also where nothing began: an owner that changed its own state when it made an operation
//! (a connection that notes "a send is in flight") changes it back in what follows the operation ([`Operation::then`]), and
//! there is no end that it does not hear of. A *detached* operation is one that is submitted abandoned; what follows it does
//! the work. Forgetting a future leaks a slot, soundly and visibly.
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
//! * **T1 thread**: only loop handles, wakers, the notifier, and the result of a thread's work with its operation's key
//!   cross threads.
//! * **R1 quiet borrow**: no user code (poll; wake, clone or drop of a waker; `entry`; `finish`; drop of an output or a
//!   buffer) runs while the reactor is borrowed.
//! * **S1 one receive**: a socket has at most one receive in flight; the next follows its final completion.

#![allow(unsafe_code)]

mod blocking;
pub(crate) mod fs;
pub(crate) mod io;
mod lent;
pub(crate) mod net;
#[cfg(feature = "process-pool")]
pub(crate) mod process;
mod retry;
mod route;
mod table;
mod then;

pub(crate) use blocking::BlockingWork;
pub(crate) use lent::{Lent, Methods, Raw};
pub(crate) use table::{Abandoned, Completed, Ended, Key, Ledger, Polled, Request, Table, Why};
use then::Then;

use crate::pool::Job;
use crate::ring::{Entry, IGNORE, Outcome, Ring, Where};
use crate::sys::Errno;

/// What a drop of its future, the loop's end and a paused clock do about an operation. A value: to ask for it has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// The future is dropped.
    pub(crate) on_drop: OnDrop,
    /// The loop ends.
    pub(crate) at_end: AtEnd,
    /// Time that stands still is not moved on before its end.
    pub(crate) holds_clock: bool,
}

/// What a drop of the future does about its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDrop {
    /// Cancels it, and takes back what has not left the backlog; no further entry follows.
    Cancel,
    /// Leaves it: it goes on to its own end, with as many entries as that takes.
    Leave,
}

/// What the loop's end does about an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEnd {
    Cancel,
    Wait,
}

impl Policy {
    /// For what may wait without end: sockets, pipes, polls.
    pub(crate) const WAITS: Policy =
        Policy { on_drop: OnDrop::Cancel, at_end: AtEnd::Cancel, holds_clock: false };
    /// For what may wait without end, but was accepted: a write-behind send.
    pub(crate) const PROMISED: Policy = Policy { on_drop: OnDrop::Leave, ..Policy::WAITS };
    /// For what ends by itself and changes something: block I/O.
    pub(crate) const CHANGES: Policy =
        Policy { on_drop: OnDrop::Leave, at_end: AtEnd::Wait, holds_clock: true };
    /// For what ends by itself and changes nothing: a dropped read need not go on.
    pub(crate) const READS: Policy = Policy { on_drop: OnDrop::Cancel, ..Policy::CHANGES };
    /// For what ends by itself as a rule, but may wait without end, and nothing tells before: an open, of a file, or of a FIFO
    /// whose other end is not open. It has no effect that could be lost.
    pub(crate) const UNCERTAIN: Policy = Policy { holds_clock: true, ..Policy::WAITS };
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
    /// Whether `job` may ever say something.
    const HAS_JOB: bool = false;
    /// Whether it tells of one event after the other: each completion with more to come is one.
    const REPEATS: bool = false;

    /// Decides on the next step, right before `policy` and `entry` are asked for it.
    fn prepare(&mut self) {}

    /// How the next step ends: steps may differ.
    fn policy(&self) -> Policy;

    /// Builds the entry, at the operation's final address. An operation that only threads do has none.
    fn entry(&mut self) -> Entry {
        unreachable!("{} is done by a thread", Self::NAME)
    }

    /// What a thread of the reactor's is to do in the place of the next entry, if anything. Asked if `HAS_JOB`, before each
    /// entry. The job leaves its result where the operation finds it; when it has ended, or was dropped, that is an
    /// outcome of zero.
    fn job(&mut self) -> Option<Job> {
        None
    }

    /// Looks at an outcome before `finish`: an operation of several steps may ask for another entry, which is then built
    /// by `entry`, unless a cancel was asked for: then `finish` follows with that.
    fn advance(&mut self, _outcome: Outcome) -> Next {
        Next::Finish
    }

    /// Turns the last outcome into the output. It runs at every end, also of an operation that never began
    /// ([`Outcome::NOT_BEGUN`]) or that a loop refused.
    fn finish(self, outcome: Outcome) -> Self::Output;

    /// The same as a plain system call, where that cannot block; None: by the ring. Asked if `HAS_CALL`.
    fn call(&mut self, _company: Company) -> Option<Outcome> {
        None
    }

    /// The operation with something that follows it, at every end.
    #[inline(always)]
    fn then<T: 'static, F: FnOnce(Self::Output) -> T + 'static>(self, follow: F) -> Then<Self, F> {
        Then::new(self, follow)
    }
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

/// The outcome of a plain system call.
pub(crate) fn called(result: Result<usize, Errno>) -> Outcome {
    // Transfers are capped at 0x7ffff000 bytes by the kernel.
    let result = result.map_or_else(|errno| -(errno as i32), |count| count as i32);
    Outcome { result, flags: 0 }
}
