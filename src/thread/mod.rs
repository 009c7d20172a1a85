//! Work that blocks, or computes for long: off the loop's thread.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::context;
use crate::error::JoinError;
use crate::event_loop::{ErrorContext, expect_running, running};
use crate::executor::BlockingTask;
use crate::pool::Executor;

/// Runs `function` on the loop's thread pool and gives its value. `spawn_blocking` is the same function.
///
/// The job is handed over at once, not at the first poll. The pool grows to `Builder::thread_pool` threads; further jobs
/// wait in line. The function runs in a copy of the current [context](crate::Context).
///
/// # Errors
/// The function panicked, or no thread could be started.
///
/// # Cancellation
/// A function that no thread has taken up yet is never called. One that runs cannot be interrupted: the await ends, the
/// function runs on and its value is dropped. [`Blocking::detach`] has it run in any case.
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
    let mut blocking = Blocking::new(context::carried(function));
    if let Err(reason) = blocking.task.hand_over(|job| event_loop.submit(job)) {
        event_loop.report(&ErrorContext::new("a job was refused").with_error(reason));
    }
    blocking
}

pub use to_thread as spawn_blocking;

/// Runs `function` on an executor of the user's choice, a [`CpuPool`](crate::CpuPool) say, and gives its value; otherwise as
/// [`to_thread`], but without the caller's context, as in asyncio. To take it along:
/// `let context = Context::current(); move || context.run(function)`. It works outside of an event loop too; to await it, any
/// runtime will do. On a loop whose [`Clock`](crate::Clock) is paused, the job holds the clock until it has run or was dropped,
/// as those of `to_thread` do.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// let pool = ringloop::ThreadPool::new("parse", 2);
/// let length = ringloop::run(async { ringloop::run_in_executor(&pool, || "text".len()).await.unwrap() })?;
/// assert_eq!(length, 4);
/// assert!(pool.join(None));
/// # Ok(()) }
/// ```
pub fn run_in_executor<T: Send + 'static>(
    executor: &(impl Executor + ?Sized),
    function: impl FnOnce() -> T + Send + 'static,
) -> Blocking<T> {
    let mut blocking = Blocking::new(function);
    if let Some(job) = blocking.task.take_job() {
        executor.execute(match running() {
            Some(event_loop) => event_loop.counted(job),
            None => job,
        });
    }
    blocking
}

/// The value of a function on another thread; see [`to_thread`].
#[must_use = "dropped, it withdraws a function that no thread has taken up; `detach` lets it run"]
pub struct Blocking<T> {
    task: BlockingTask<T>,
    /// The function shall run also if this is dropped.
    detached: bool,
    /// Not `Send`, like all that is awaited on a loop.
    local: PhantomData<Rc<()>>,
}

impl<T: Send + 'static> Blocking<T> {
    fn new(function: impl FnOnce() -> T + Send + 'static) -> Self {
        Blocking { task: BlockingTask::new(function), detached: false, local: PhantomData }
    }
}

impl<T> Blocking<T> {
    /// Lets the function run without anybody waiting for its value. A panic in it is then told to nobody.
    pub fn detach(mut self) {
        self.detached = true;
    }
}

impl<T> Unpin for Blocking<T> {}

impl<T> Future for Blocking<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.task.poll(cx)
    }
}

impl<T> Drop for Blocking<T> {
    fn drop(&mut self) {
        if !self.detached {
            self.task.withdraw();
        }
    }
}
