//! `ringloop` is asyncio for Rust on Linux: a completion-based event loop over io_uring.
//!
//! One thread, one loop, one ring; what the kernel may touch lives in one table; a dropped future is a completion with
//! nobody listening.
//!
//! The order of the groups below is the layering: a file uses only what stands in an earlier group, or in its own module.

#![deny(unsafe_code)]
#![warn(missing_docs)]
// For `Instant + Duration`, which panics on overflow; clippy.toml exempts numbers.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

// Words.
mod context;
mod current_loop;
mod error;

// Plain system calls.
mod sys;

// Pure Rust: no kernel, runs under Miri.
mod block;
pub mod buf;
mod pool;
mod waiting;

// Who runs, and who waits.
mod executor;
pub mod sync;

// The kernel.
mod ring;

// The life of one operation.
mod op;

// Ring, table and timers: one turn.
mod reactor;

// Executor meets reactor.
mod event_loop;

// What stands on the loop: each on those before it.
mod time;

mod thread;

mod task;

// What users import.
pub mod fs;
pub mod net;

// What stands on those.
#[cfg(feature = "process-pool")]
pub mod process_pool;

mod program;

pub mod testing;

/// What the macros and attributes expand to; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::program::{run_main, run_test};
    pub use crate::task::private::*;
}

pub use context::{Context, ContextScope, ContextVar, ResetError, Token};
pub use error::*;
pub use event_loop::{
    Builder, CallGraph, DetachLimits, ErrorContext, Handle, LoopHandle, LoopRef, PanicPolicy, Runner, Sigint,
    SyncFuture, TimerHandle, capture_call_graph, current, default_exception_handler, dump_task_tree,
    dump_tasks, print_call_graph, run, try_current,
};
pub use executor::{
    AbortOnDrop, CallbackId, CatchCancel, Exit, Flatten, Shield, Task, TaskRef, Uncancellable, YieldNow,
    all_tasks, catch_cancel, check_cancel, current_task, resume_cancel, uncancellable, with_cleanup,
    yield_now,
};
pub use pool::{CpuPool, Executor, Job, Refused, ThreadPool};
#[cfg(feature = "process-pool")]
pub use process_pool::{ProcessError, ProcessFn, ProcessPool};
pub use reactor::Op;
pub use ring::{Clock, Diagnosis, FeatureMask, Features, SetupError, SetupErrorKind, diagnose};
pub use ringloop_macros::{main, test};
pub use sync::{
    Barrier, Condition, Event, FutureValue, LifoQueue, Lock, Mutex, PriorityQueue, Promise, Queue, Semaphore,
    SharedFuture, new_future,
};
pub use task::{
    AllCompleted, AsCompleted, Child, Deadline, FirstCompleted, FirstException, Gather, JoinSet, ReturnWhen,
    TaskBuilder, TaskGroup, TaskSet, Wait, as_completed, cancel_and_wait, create_task, gather,
    gather_settled, join_all, spawn, staggered_race, task_group, timeout, timeout_at, timeout_scope,
    try_create_task, wait, wait_for,
};
pub use thread::{Blocking, run_in_executor, spawn_blocking, to_thread};
pub use time::{Interval, MissedTickBehavior, Sleep, interval, now, sleep, sleep_until};
