//! For tests of programs on this crate: a clock that stands still, faults made frequent, and a look inside.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use ringloop::testing::{Clock, FaultPlan};
//! use std::time::Duration;
//! // An hour passes at once, and every few operations something rare happens.
//! let mut runner = ringloop::Builder::new().clock(Clock::Paused).faults(FaultPlan::seeded(7)).build()?;
//! runner.run(ringloop::sleep(Duration::from_secs(3600)))?;
//! # Ok(()) }
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use crate::event_loop::expect_running;
use crate::executor::all_tasks;
pub use crate::ring::{Clock, FaultPlan};
use crate::waiting::Waiting;

/// What a loop has and what it has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Operations that the kernel may hold.
    pub operations: usize,
    /// Tasks that have not ended, the loop's own included.
    pub tasks: usize,
    /// Timers that have not fired.
    pub timers: usize,
    /// Turns of the loop.
    pub turns: u64,
    /// System calls to enter the kernel: at most one a turn, unless a batch of tasks took long or entries were backlogged.
    pub enters: u64,
    /// Entries that the kernel took.
    pub submitted: u64,
    /// Completions that came back.
    pub completed: u64,
    /// Entries that did not fit into the submission queue at once.
    pub backlogged: u64,
    /// Enters that found the completion queue overflown.
    pub overflowed: u64,
    /// Operations begun.
    pub started: u64,
    /// Operations that ended; with [`operations`](Self::operations) and those whose result waits to be fetched they make up
    /// those begun.
    pub ended: u64,
    /// Completions that belonged to no operation: zero, or the loop has a bug.
    pub unknown: u64,
    /// Connections dropped with bytes to send that still send them.
    pub detached_writers: usize,
    /// Such connections that were reset at a limit.
    pub writers_reset: u64,
}

/// The running loop's figures.
///
/// # Panics
/// Outside of a loop.
#[track_caller]
pub fn stats() -> Stats {
    let event_loop = expect_running("testing::stats");
    let figures = event_loop.reactor.figures();
    Stats {
        operations: figures.operations,
        tasks: event_loop.executor.task_count(),
        timers: figures.timers,
        turns: event_loop.turns.get(),
        enters: figures.ring.enters,
        submitted: figures.ring.submitted,
        completed: figures.ring.completed,
        backlogged: figures.ring.backlogged,
        overflowed: figures.ring.overflowed,
        started: figures.ledger.started,
        ended: figures.ledger.ended,
        unknown: figures.ledger.unknown,
        detached_writers: event_loop.detached.pending().0,
        writers_reset: event_loop.detached.resets(),
    }
}

/// Moves the running loop's paused clock on. Timers that are due then fire in the next turn.
///
/// # Panics
/// Outside of a loop.
#[track_caller]
pub fn advance(by: Duration) {
    expect_running("testing::advance").reactor.advance_clock(by);
}

/// The running loop's tasks, and its operations by name and state, one a line.
///
/// # Panics
/// Outside of a loop.
#[track_caller]
pub fn dump() -> String {
    let event_loop = expect_running("testing::dump");
    let mut text = String::new();
    for task in all_tasks() {
        let _ = writeln!(text, "{task:?}");
    }
    for (name, descriptor, state) in event_loop.reactor.operations() {
        let operation = Waiting::Operation { name, descriptor };
        let _ = writeln!(text, "<Operation {operation} {state}>");
    }
    let _ = writeln!(text, "{:?}", stats());
    text
}

/// Gives the ring that this thread keeps for its next loop back to the kernel.
pub fn release_parked_ring() {
    crate::ring::release_parked();
}
