//! Ways to a loop: `LoopRef` on its thread, `LoopHandle` from any other.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{ErrorContext, EventLoop, expect_running, running};
use crate::error::{JoinError, LoopClosed};
use crate::executor::{Mailbox, OneshotReceiver, OneshotSender, Spawn, Task, oneshot};
use crate::waiting::{Waiting, waits_for};

/// The loop that runs on this thread.
///
/// # Panics
/// Outside of a loop; [`try_current`] does not.
#[track_caller]
pub fn current() -> LoopRef {
    LoopRef(expect_running("ringloop::current()"))
}

/// The loop that runs on this thread, if one does.
pub fn try_current() -> Option<LoopRef> {
    running().map(LoopRef)
}

/// The running loop, on its own thread. Cheap to clone.
#[derive(Clone)]
pub struct LoopRef(pub(super) Rc<EventLoop>);

impl LoopRef {
    /// The loop's time: what deadlines are compared with. Monotonic; paused with the clock.
    #[doc(alias = "time")]
    pub fn now(&self) -> Instant {
        self.0.reactor.now()
    }

    /// A handle for other threads.
    pub fn handle(&self) -> LoopHandle {
        LoopHandle::of(&self.0)
    }

    /// From now on `handler` is told of errors that nobody awaits, in the place of `Builder::on_error`'s. To go back to the
    /// default, pass [`default_exception_handler`](crate::default_exception_handler), where asyncio takes `None`.
    ///
    /// It runs on the loop's thread, where the error was found. If it panics, the default handler is told of both, and the
    /// loop goes on.
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// use std::cell::RefCell;
    /// use std::rc::Rc;
    /// ringloop::run(async {
    ///     let told = Rc::new(RefCell::new(Vec::new()));
    ///     let telling = told.clone();
    ///     ringloop::current().set_exception_handler(move |context| telling.borrow_mut().push(context.clone()));
    ///     ringloop::TaskBuilder::new().name("reader").create_task(async { panic!("no such page") }).detach();
    ///     ringloop::yield_now().await;
    ///     assert_eq!(told.borrow()[0].task.as_deref(), Some("reader"));
    ///     assert_eq!(told.borrow()[0].error.as_deref(), Some("no such page"));
    /// })
    /// # }
    /// ```
    pub fn set_exception_handler(&self, handler: impl Fn(&ErrorContext) + 'static) {
        self.0.exceptions.set(handler);
    }

    /// Tells the loop's exception handler, at once.
    pub fn call_exception_handler(&self, context: &ErrorContext) {
        self.0.report(context);
    }

    /// Makes a task of this loop; see [`create_task`](crate::create_task).
    #[track_caller]
    pub fn create_task<F: IntoFuture>(&self, future: F) -> Task<F::Output>
    where
        F::IntoFuture: 'static,
        F::Output: 'static,
    {
        self.0.spawn(future.into_future(), Spawn::default())
    }
}

impl fmt::Debug for LoopRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoopRef({})", self.0.executor.number())
    }
}

impl EventLoop {
    /// Makes a task; debug mode notes where.
    #[track_caller]
    pub(crate) fn spawn<F: Future + 'static>(&self, future: F, mut how: Spawn) -> Task<F::Output> {
        if self.is_debug() {
            how.location = Some(Location::caller());
        }
        self.executor.spawn(future, how)
    }
}

/// A loop, seen from any thread. It may outlive the loop: calls then fail with [`LoopClosed`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut runner = ringloop::Builder::new().build()?;
/// let handle = runner.handle();
/// let thread = std::thread::spawn(move || handle.run_coroutine_threadsafe(async || 42).wait());
/// runner.run(ringloop::sleep(std::time::Duration::from_millis(50)))?;
/// assert_eq!(thread.join().unwrap()?, 42);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy)]
pub struct LoopHandle(Mailbox);

impl fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoopHandle({})", self.0.number())
    }
}

impl LoopHandle {
    pub(super) fn of(event_loop: &EventLoop) -> Self {
        LoopHandle(event_loop.executor.mailbox())
    }

    /// Whether the loop has ended.
    pub fn is_closed(&self) -> bool {
        !self.0.is_open()
    }

    /// Runs `function` on the loop, in order of arrival, and wakes the loop if it sleeps. It runs in a copy of the context
    /// that is current for the caller.
    ///
    /// # Errors
    /// The loop has ended; `function` was dropped.
    pub fn call_soon_threadsafe(&self, function: impl FnOnce() + Send + 'static) -> Result<(), LoopClosed> {
        self.0.call(Box::new(function))
    }

    /// Ends the run under way after the batch of tasks that runs now, or the next run after its first batch: unless main has
    /// ended by then, `Runner::run` gives an error that [`is_stopped`](crate::RunError::is_stopped). Main is dropped; the other
    /// tasks stand still until the next run, where they go on. A loop that has ended has nothing to stop.
    ///
    /// A main that is to go on as well is run by reference:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut runner = ringloop::Builder::new().build()?;
    /// let handle = runner.handle();
    /// let mut main = std::pin::pin!(async {
    ///     handle.stop();
    ///     ringloop::yield_now().await;
    ///     "both halves"
    /// });
    /// assert!(runner.run(main.as_mut()).unwrap_err().is_stopped());
    /// assert_eq!(runner.run(main)?, "both halves");
    /// # Ok(()) }
    /// ```
    pub fn stop(&self) {
        match running() {
            Some(event_loop) if event_loop.executor.number() == self.0.number() => {
                event_loop.stopping.set(true)
            }
            _ => {
                // In order with other calls, as asyncio's users do it from another thread.
                let _ = self.call_soon_threadsafe(|| {
                    if let Some(event_loop) = running() {
                        event_loop.stopping.set(true);
                    }
                });
            }
        }
    }

    /// Makes a task of the loop out of `function`'s future. Only the function must be `Send`: the future is made and lives
    /// on the loop. A loop that has ended, or ends first, gives a [`JoinError`]. The task's context is a copy of the caller's.
    pub fn run_coroutine_threadsafe<T: Send + 'static>(
        &self,
        function: impl AsyncFnOnce() -> T + Send + 'static,
    ) -> SyncFuture<T> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let id = LAST.fetch_add(1, Ordering::Relaxed);
        let (sender, result) = oneshot(JoinError::loop_closed);
        // A loop that has ended drops the call, and the sender with it.
        let _ = self.call_soon_threadsafe(move || {
            if let Some(event_loop) = running() {
                event_loop.spawn_for(id, function, sender);
            }
        });
        SyncFuture { result, id, handle: *self }
    }
}

impl EventLoop {
    /// Makes a task for another thread, which gets its result when it has ended, however.
    fn spawn_for<T: Send + 'static>(
        self: &Rc<Self>,
        id: u64,
        function: impl AsyncFnOnce() -> T + 'static,
        sender: OneshotSender<T>,
    ) {
        let mut task = self.executor.spawn(async move { function().await }, Spawn::default());
        let name = task.task_ref();
        self.from_threads.borrow_mut().insert(id, name.clone());
        let event_loop = Rc::downgrade(self);
        name.on_done(move |_| {
            if let Some(event_loop) = event_loop.upgrade() {
                let ended = event_loop.from_threads.borrow_mut().remove(&id);
                drop(ended);
            }
            if let Some(result) = task.try_result() {
                sender.send(result);
            }
        });
    }
}

/// The result of [`LoopHandle::run_coroutine_threadsafe`]: wait for it on a thread, or await it on any runtime.
///
/// # Cancellation
/// Dropping it lets the task run on. [`cancel`](Self::cancel) asks the task to end.
#[must_use = "the task runs anyway; its result is here"]
pub struct SyncFuture<T> {
    result: OneshotReceiver<T>,
    /// The task's number among those made from other threads.
    id: u64,
    handle: LoopHandle,
}

impl<T> SyncFuture<T> {
    /// Blocks the thread until the task has ended. Not for the loop's own thread, which would wait for itself.
    ///
    /// # Errors
    /// The task was cancelled or panicked, or the loop ended first.
    ///
    /// # Panics
    /// On the thread of the loop itself, while it runs.
    pub fn wait(self) -> Result<T, JoinError> {
        self.refuse_own_thread();
        loop {
            if let Some(result) = self.result.wait(None) {
                return result;
            }
        }
    }

    /// Blocks the thread until the task has ended, at most for `limit`; None: not yet.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, limit: Duration) -> Result<Option<T>, JoinError> {
        self.refuse_own_thread();
        self.result.wait(Some(limit)).transpose()
    }

    /// Asks the task to end; the result tells whether it did.
    pub fn cancel(&self) {
        let id = self.id;
        let _ = self.handle.call_soon_threadsafe(move || {
            let find = |event_loop: Rc<EventLoop>| event_loop.from_threads.borrow().get(&id).cloned();
            if let Some(task) = running().and_then(find) {
                task.cancel();
            }
        });
    }

    #[track_caller]
    fn refuse_own_thread(&self) {
        let own = running().is_some_and(|event_loop| event_loop.executor.number() == self.handle.0.number());
        assert!(!own, "SyncFuture::wait on the loop's own thread would wait for itself: await it instead");
    }
}

impl<T> Unpin for SyncFuture<T> {}

impl<T> Future for SyncFuture<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.result.poll(cx);
        if polled.is_pending() {
            waits_for(|| Waiting::Thread);
        }
        polled
    }
}
