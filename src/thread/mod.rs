//! Work that blocks, or computes for long: off the loop's thread.

use std::future::Future;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::context;
use crate::error::JoinError;
use crate::event_loop::{ErrorContext, expect_running};
use crate::executor::{Meeting, meeting};
use crate::pool::{Executor, Job};
use crate::waiting::{Waiting, waits_for};

/// Runs `function` on the loop's thread pool and gives its value. `spawn_blocking` is the same function.
///
/// The job is handed over at once, not at the first poll. The pool grows to `Builder::thread_pool` threads; further jobs
/// wait in line. The function runs in a copy of the current [context](crate::Context).
///
/// # Errors
/// The function panicked, or no thread could be started.
///
/// # Cancellation
/// A thread cannot be interrupted: the await ends, the function runs on and its value is dropped.
///
/// # Panics
/// Outside of an event loop.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async {
///     let sum = ringloop::to_thread(|| (0..1000u64).sum::<u64>()).await.unwrap();
///     assert_eq!(sum, 499_500);
/// })
/// # }
/// ```
#[track_caller]
pub fn to_thread<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> Blocking<T> {
    let event_loop = expect_running("to_thread");
    let (job, blocking) = job(context::carried(function));
    if let Err(refused) = event_loop.pool().submit(job) {
        event_loop.report(&ErrorContext::new("a job was refused").with_error(refused.reason));
    }
    blocking
}

pub use to_thread as spawn_blocking;

/// Runs `function` on an executor of the user's choice and gives its value; otherwise as [`to_thread`], but without the
/// caller's context, as in asyncio. To take it along: `let context = Context::current(); move || context.run(function)`.
pub fn run_in_executor<T: Send + 'static>(
    executor: &(impl Executor + ?Sized),
    function: impl FnOnce() -> T + Send + 'static,
) -> Blocking<T> {
    let (job, blocking) = job(function);
    executor.execute(job);
    blocking
}

/// A function as a job, and the future of its value. A job that is dropped says so.
fn job<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> (Job, Blocking<T>) {
    let (delivery, meeting) = meeting();
    let job = move || {
        let result = catch_unwind(AssertUnwindSafe(function));
        delivery.deliver(result.map_err(JoinError::panicked));
    };
    (Box::new(job), Blocking { meeting, local: PhantomData })
}

/// The value of a function on another thread; see [`to_thread`].
#[must_use = "the function runs anyway; its value is here"]
pub struct Blocking<T> {
    meeting: Meeting<T>,
    /// Not `Send`, like all that is awaited on a loop.
    local: PhantomData<Rc<()>>,
}

impl<T> Unpin for Blocking<T> {}

impl<T> Future for Blocking<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.meeting.poll(cx);
        if polled.is_pending() {
            waits_for(|| Waiting::Thread);
        }
        polled
    }
}
