//! Functions that the loop calls: asyncio's `call_soon`, `call_later` and `call_at`.
//!
//! A callback is a task of the loop's own: it stands in line with the tasks, its panic goes to the exception handler, and
//! the loop's end drops it. One with a time is not in line at first: its timer wakes it, registered by the call itself, so
//! that ties run in the order of the calls. A handle names the task; dropping it changes nothing.

use std::fmt;
use std::time::{Duration, Instant};

use super::{EventLoop, LoopRef};
use crate::executor::TaskRef;
use crate::reactor::{self, TimerKey};

/// A callback of [`LoopRef::call_soon`]. Cheap to clone. Dropping it does not cancel the callback.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async {
///     let handle = ringloop::current().call_soon(|| unreachable!("it was cancelled"));
///     handle.cancel();
///     assert!(handle.is_cancelled());
///     ringloop::yield_now().await;
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct Handle {
    /// The task that calls.
    task: TaskRef,
}

impl Handle {
    /// Drops the function uncalled. Nothing, if it was called or is being called.
    pub fn cancel(&self) {
        if !self.task.has_begun() {
            self.task.abort();
        }
    }

    /// Whether the function was dropped uncalled: by [`cancel`](Self::cancel), or by the loop's end.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.task.is_cancelled() || self.task.is_aborted()
    }

    fn state(&self) -> &'static str {
        match () {
            () if self.is_cancelled() => "cancelled",
            () if self.task.has_begun() => "called",
            () => "pending",
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Handle {}>", self.state())
    }
}

/// A callback of [`LoopRef::call_later`] or [`LoopRef::call_at`]. Cheap to clone. Dropping it does not cancel the callback.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let alarm = ringloop::current().call_later(Duration::from_secs(60), || eprintln!("still at it"));
///     assert!(alarm.when() > ringloop::now());
///     alarm.cancel();
/// })
/// # }
/// ```
#[derive(Clone)]
pub struct TimerHandle {
    handle: Handle,
    /// The number of the loop that has the timer.
    number: u32,
    timer: TimerKey,
}

impl TimerHandle {
    /// Drops the function uncalled, and takes the timer out. Nothing, if it was called or is being called.
    pub fn cancel(&self) {
        reactor::remove_timer(self.number, self.timer);
        self.handle.cancel();
    }

    /// Whether the function was dropped uncalled: by [`cancel`](Self::cancel), or by the loop's end.
    #[doc(alias = "cancelled")]
    pub fn is_cancelled(&self) -> bool {
        self.handle.is_cancelled()
    }

    /// The time at which it is due, by the loop's clock.
    pub fn when(&self) -> Instant {
        self.timer.at
    }
}

impl fmt::Debug for TimerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<TimerHandle {} when={:?}>", self.handle.state(), self.when())
    }
}

impl LoopRef {
    /// Calls `function` in the next turn, in order with tasks and other calls, and in a copy of the current
    /// [context](crate::Context).
    ///
    /// For asyncio's `call_soon(f, context=context)` give it `move || context.run(f)`.
    ///
    /// A panic in it goes to the exception handler, and the loop goes on with the next. What is left at the loop's end is
    /// dropped uncalled.
    pub fn call_soon(&self, function: impl FnOnce() + 'static) -> Handle {
        Handle { task: self.0.executor.call_soon(function) }
    }

    /// Calls `function` when `delay` has passed, counted from now; otherwise as [`call_at`](Self::call_at).
    pub fn call_later(&self, delay: Duration, function: impl FnOnce() + 'static) -> TimerHandle {
        self.0.call_at(self.0.reactor.after(delay), function)
    }

    /// Calls `function` at the time `at` of the loop's clock, not before; in the next turn, if that has passed. What is due
    /// first is called first, and of calls for the same time the one that was asked for first.
    ///
    /// Otherwise as [`call_soon`](Self::call_soon).
    pub fn call_at(&self, at: Instant, function: impl FnOnce() + 'static) -> TimerHandle {
        self.0.call_at(at, function)
    }
}

impl EventLoop {
    fn call_at(&self, at: Instant, function: impl FnOnce() + 'static) -> TimerHandle {
        let task = self.executor.prepare_call(function);
        let timer = self.reactor.add_timer(at, task.waker());
        TimerHandle { handle: Handle { task }, number: self.reactor.number(), timer }
    }
}
