//! Handles: `Task<T>` owns the right to a task's output, `TaskRef` only names it.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::cancel::take_offer;
use super::task::{
    ABORT, AGAIN, CANCEL, CANCELLED, COMPLETE, HANDLE, HIDDEN, OFFERED, OUTPUT, PANICKED, REQUEST, RUNNING,
    Rare, Ref, SEEN, STARTED, Typed,
};
use super::{Lost, current, current_task, is_within_reach, wake};
use crate::error::JoinError;

/// Names a task: cancel it, ask for its state. Cheap to clone; keeps the task's memory, not its future.
#[derive(Clone)]
pub struct TaskRef(pub(super) Ref);

impl TaskRef {
    /// Asks the task to end: `Cancelled` is offered to the innermost handler at the await where it stands, and without a
    /// handler the task is dropped there. Returns false if it has ended already.
    ///
    /// The error of a task that has ended counts as seen from then on: dropping the handle reports it no more.
    ///
    /// Every call counts (see [`cancelling`](Self::cancelling)), but requests made before the first is delivered are
    /// delivered as one. A task that has not started never starts.
    pub fn cancel(&self) -> bool {
        let header = self.0.header();
        if header.is(COMPLETE) {
            self.mark_seen();
            return false;
        }
        // The count stands above the flags: it must stay at its limit, not carry over.
        if let Some(more) = header.state.get().checked_add(REQUEST) {
            header.state.set(more);
        }
        header.set(CANCEL);
        header.clear(AGAIN);
        self.0.wake();
        true
    }

    /// As [`cancel`](Self::cancel), with a reason that whoever awaits the task finds in its [`JoinError`].
    pub fn cancel_with(&self, reason: impl Into<Cow<'static, str>>) -> bool {
        if !self.is_done() {
            // The conversion is the user's code.
            let reason = reason.into();
            let before = self.0.header().with_rare(|rare| rare.reason.replace(reason));
            drop(before);
        }
        self.cancel()
    }

    /// How many cancel requests are open: asked for by `cancel` and not taken back by [`uncancel`](Self::uncancel).
    pub fn cancelling(&self) -> u32 {
        self.0.header().state.get() / REQUEST
    }

    /// Takes one request back, and returns how many are left. At zero a request that nobody has taken is withdrawn.
    pub fn uncancel(&self) -> u32 {
        let header = self.0.header();
        if header.is(COMPLETE) || self.cancelling() == 0 {
            return self.cancelling();
        }
        header.state.set(header.state.get() - REQUEST);
        if self.cancelling() == 0 {
            header.clear(CANCEL | AGAIN);
            // A value beat the offer in this poll, and the code that got it calls here before its next await.
            if header.is(OFFERED) {
                take_offer();
            }
        }
        self.cancelling()
    }

    /// Drops the task's future now, or after the poll that runs: no handler is asked, no clean-up may await. It ends
    /// cancelled. This is tokio's `abort`.
    pub fn abort(&self) {
        let header = self.0.header();
        if header.is(COMPLETE) {
            return;
        }
        match current() {
            Some(executor) if executor.owns(&self.0) && !header.is(RUNNING) => executor.cancelled(&self.0),
            _ => {
                header.set(ABORT);
                self.0.wake();
            }
        }
    }

    /// Whether the task has ended, however.
    pub fn is_done(&self) -> bool {
        self.0.header().is(COMPLETE)
    }

    /// Whether the task has ended cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.is_done() && self.0.header().is(CANCELLED)
    }

    /// The task's name, `Task-<n>` if none was given.
    pub fn name(&self) -> Rc<str> {
        self.given_name().unwrap_or_else(|| format!("Task-{}", self.id()).into())
    }

    /// The name that was given to it, if one was.
    pub(crate) fn given_name(&self) -> Option<Rc<str>> {
        self.0.header().peek_rare(|rare| rare.name.as_deref().map(Rc::from)).flatten()
    }

    /// Gives the task another name.
    pub fn set_name(&self, name: impl Into<Cow<'static, str>>) {
        // The conversion is the user's code.
        let name = name.into();
        let before = self.0.header().with_rare(|rare| rare.name.replace(name));
        drop(before);
    }

    /// The context that the task runs in: itself, not a copy. Of a task that has ended and whose handle is gone, an empty one.
    /// (asyncio: `Task.get_context()`.)
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// ringloop::context_var! { static STEP: ContextVar<u32> = 0 }
    /// ringloop::run(async {
    ///     let task = ringloop::create_task(async {
    ///         STEP.set(1);
    ///         ringloop::yield_now().await;
    ///         STEP.get()
    ///     });
    ///     ringloop::yield_now().await;
    ///     assert_eq!(task.context().run(|| STEP.set(2)).before(), Some(&1));
    ///     assert_eq!(task.await.unwrap(), Some(2));
    /// })
    /// # }
    /// ```
    pub fn context(&self) -> crate::context::Context {
        let header = self.0.header();
        match header.is(COMPLETE) && !header.is(HANDLE) {
            true => crate::context::Context::new(),
            false => header.own_context(),
        }
    }

    /// As [`context`](Self::context); None as long as the task has none.
    pub(crate) fn context_if_any(&self) -> Option<crate::context::Context> {
        self.0.header().context()
    }

    /// The task's serial number in its loop.
    pub(crate) fn id(&self) -> u32 {
        self.0.header().id
    }

    /// Whether both name the same task.
    pub fn same(&self, other: &TaskRef) -> bool {
        self.0.same(&other.0)
    }

    /// Whether it was polled, or has ended without.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.header().is(STARTED | COMPLETE)
    }

    /// Whether it is to be dropped at its next poll.
    pub(crate) fn is_aborted(&self) -> bool {
        self.0.header().is(ABORT)
    }

    /// A waker of the task, for who wakes it without being polled in it.
    pub(crate) fn waker(&self) -> Waker {
        self.0.waker()
    }

    pub(crate) fn is_hidden(&self) -> bool {
        self.0.header().is(HIDDEN)
    }

    /// Whether the offer of the poll that runs is a request to this task, not one of a scope inside it.
    pub(crate) fn is_offered(&self) -> bool {
        self.0.header().is(OFFERED)
    }

    /// Puts a request that was taken back, for the next await: it is not counted again.
    pub(crate) fn put_back_cancel(&self) {
        self.0.header().set(CANCEL);
        self.0.wake();
    }

    /// Nobody needs to be told of the task's error. A panic is reported all the same: it is a bug.
    pub(crate) fn mark_seen(&self) {
        self.0.header().set(SEEN);
    }

    pub(super) fn is_cancel_pending(&self) -> bool {
        self.0.header().is(CANCEL)
    }

    /// Lists the waker of a cancel handler.
    pub(super) fn list_handler(&self, waker: Waker) -> usize {
        self.0.header().with_rare(|rare| rare.handlers.insert(Some(waker)))
    }

    /// Lists another waker in the handler's place.
    pub(super) fn renew_handler(&self, key: usize, waker: Waker) {
        let mut waker = Some(waker);
        self.0
            .header()
            .peek_rare(|rare| rare.handlers.get_mut(key).map(|place| mem::swap(place, &mut waker)));
        drop(waker);
    }

    pub(super) fn unlist_handler(&self, key: usize) {
        let waker = self.0.header().peek_rare(|rare| rare.handlers.try_remove(key));
        drop(waker);
    }

    /// Wakes the handlers that a wake of the task alone would not reach. They list themselves again when they are polled.
    pub(crate) fn wake_handlers(&self) {
        let header = self.0.header();
        let listed = |rare: &mut Rare| rare.handlers.iter().map(|(key, _)| key).max();
        let Some(last) = header.peek_rare(listed).flatten() else { return };
        for key in 0..=last {
            let waker = header.peek_rare(|rare| rare.handlers.get_mut(key).and_then(Option::take));
            if let Some(waker) = waker.flatten() {
                wake(waker);
            }
        }
    }

    /// Cancels `other` as this task was cancelled: with the same reason.
    pub(crate) fn pass_cancel_to(&self, other: &TaskRef) {
        let header = self.0.header();
        let reason = header.peek_rare(|rare| rare.reason.clone()).flatten();
        match reason {
            Some(reason) if header.is(OFFERED) => other.cancel_with(reason),
            _ => other.cancel(),
        };
    }

    /// A poll of the handle that finds no output.
    fn watch(&self, cx: &Context<'_>) -> Poll<JoinError> {
        let header = self.0.header();
        if header.is(COMPLETE | RUNNING) && self.is_polled_in_itself() {
            return Poll::Ready(JoinError::self_join());
        }
        header.watch(cx.waker());
        self.is_awaited(cx);
        Poll::Pending
    }

    /// Whether it is the running task's own handle that is polled.
    #[cold]
    fn is_polled_in_itself(&self) -> bool {
        if self.is_done() {
            panic!("the output of {self:?} was taken before: a Task gives it once");
        }
        current_task().is_some_and(|task| task.same(self))
    }

    /// The handle is a handler in the task that awaits it: it keeps its place in that task's list, see `cancel::Listed`,
    /// and what it takes goes to this task.
    #[inline]
    fn take_cancels(&self, cx: &Context<'_>) {
        // Who is not listed, and need not be, has no place to keep.
        if self.0.header().has_cold() || !is_within_reach(cx.waker()) {
            self.keep_place(cx);
        }
        if take_offer() {
            self.take_cancel();
        }
    }

    #[cold]
    fn take_cancel(&self) {
        if let Some(current) = current_task() {
            current.pass_cancel_to(self);
        }
    }

    #[cold]
    fn keep_place(&self, cx: &Context<'_>) {
        let header = self.0.header();
        let mut listed = header.peek_cold(|cold| mem::take(&mut cold.listed)).unwrap_or_default();
        listed.pending(cx);
        if listed.is_listed() {
            header.with_cold(|cold| cold.listed = listed);
        }
    }

    /// After completion the output goes with its handle, and a panic that nobody saw is reported where there is a loop.
    #[cold]
    fn lose_output(&self) {
        match current() {
            Some(executor) => executor.discard(&self.0),
            None => drop(self.0.discard()),
        }
    }

    /// What is kept for the handle goes with it, and the context if the task has ended.
    #[cold]
    fn lose_cold_part(&self) {
        let header = self.0.header();
        if header.is(COMPLETE) {
            drop(header.take_context());
        }
        drop(header.peek_cold(|cold| mem::take(&mut cold.listed)));
        drop(header.peek_rare(Rare::take_awaiters));
    }

    /// The state in a word.
    pub(crate) fn state(&self) -> &'static str {
        let header = self.0.header();
        match () {
            () if header.is(COMPLETE) && header.is(PANICKED) => "panicked",
            () if header.is(COMPLETE) && header.is(CANCELLED) => "cancelled",
            () if header.is(COMPLETE) => "finished",
            () if self.cancelling() > 0 => "cancelling",
            () if header.is(RUNNING) => "running",
            () if header.is(STARTED) => "pending",
            () => "new",
        }
    }
}

impl fmt::Debug for TaskRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<Task name='{}' {}", self.name(), self.state())?;
        if let Some(location) = self.location() {
            write!(f, " created at {location}")?;
        }
        for (index, waiting) in self.record().iter().flat_map(|record| &record.waits).enumerate() {
            write!(f, "{} {waiting}", if index == 0 { " waiting for" } else { "," })?;
        }
        write!(f, ">")
    }
}

impl super::Executor {
    fn owns(&self, task: &Ref) -> bool {
        self.tasks.borrow().get(task.header().place.get()).is_some_and(|listed| listed.same(task))
    }
}

/// A task of the loop: await it for its output, or drop it to let it run on its own.
///
/// The type is `must_use`, although dropping it only detaches: the output goes with the handle, and an error in it of a type
/// that is not known here is then lost in silence. [`detach`](Self::detach) says that this is meant, and
/// [`detach_reporting`](Self::detach_reporting) reports an error of any type.
///
/// Awaiting gives `Err` if the task was cancelled or panicked. A cancel request that reaches an awaiting task is passed on
/// to this one; the awaiting task goes on when this one has ended, with whatever it ended with.
///
/// # Cancellation
/// Awaiting by `&mut task` and dropping that future loses nothing. Dropping the `Task` detaches: the loop owns it and runs
/// it to its end.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async {
///     let task = ringloop::create_task(async { 6 * 7 });
///     assert_eq!(task.await.unwrap(), 42);
/// })
/// # }
/// ```
#[must_use = "a dropped handle detaches its task; say `.detach()` if that is meant"]
pub struct Task<T> {
    /// The task, with the right to its output.
    typed: Typed<T>,
}

impl<T> Unpin for Task<T> {}

impl<T> Task<T> {
    pub(super) fn new(typed: Typed<T>) -> Self {
        Task { typed }
    }

    /// A name for this task that may be kept and cloned.
    pub fn task_ref(&self) -> TaskRef {
        self.typed.task.clone()
    }

    /// Lets the task run on its own. Its panic, if any, goes to the exception handler, [`Builder::on_error`](crate::Builder::on_error).
    ///
    /// So does its error, if the output is `Result<(), E>` with an `E` that is known here: `io::Error`, `fmt::Error`, a boxed
    /// `dyn Error`, `String`, `&'static str`, or an error of this crate. An error that only says that something was cancelled
    /// is none. Of any other output nothing is known, and an error in it is dropped silently:
    /// [`detach_reporting`](Self::detach_reporting) is for these. The same holds for every handle that is dropped.
    pub fn detach(self) {}

    pub(super) fn hide(self) {
        self.typed.task.0.header().set(HIDDEN);
    }

    /// The output if the task has ended; None before, and after it was taken.
    pub fn try_result(&mut self) -> Option<Result<T, JoinError>> {
        self.typed.take()
    }

    /// A future of the output that does not pass a cancel request on: the awaiting side ends, the task lives on.
    pub fn shield(self) -> Shield<T> {
        Shield { task: self }
    }

    /// A handle that aborts the task when it is dropped before the task has ended.
    pub fn abort_on_drop(self) -> AbortOnDrop<T> {
        AbortOnDrop { task: self }
    }

    /// Polls for the output without taking a cancel offer.
    pub(crate) fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        match self.try_result() {
            Some(result) => Poll::Ready(result),
            None => self.typed.task.watch(cx).map(Err),
        }
    }

    /// Polls for the end and leaves the output in its place.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_done() {
            return Poll::Ready(());
        }
        self.typed.task.0.header().watch(cx.waker());
        self.typed.task.is_awaited_in_a_set(cx);
        Poll::Pending
    }

    /// The handle has left the set that polled for its end.
    pub(crate) fn has_left_its_set(&self) {
        drop(self.typed.task.0.header().peek_rare(Rare::take_awaiters));
    }

    /// Looks at the output while it is in its place: the task has ended and nobody took it.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&Result<T, JoinError>) -> R) -> Option<R> {
        self.typed.peek(look)
    }
}

impl<T, E: From<JoinError>> Task<Result<T, E>> {
    /// A future of the task's own result: what ended the task otherwise becomes an `E`.
    ///
    /// For `?`, and for [`gather`](fn@crate::gather) over tasks of fallible futures, which would otherwise take the outer
    /// `Ok` of a failed one for a success.
    ///
    /// # Cancellation
    /// As awaiting the task itself.
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// ringloop::run(async {
    ///     let task = ringloop::create_task(async { "7".parse::<u8>().map_err(std::io::Error::other) });
    ///     assert_eq!(task.flatten().await?, 7);
    ///     std::io::Result::Ok(())
    /// })
    /// # .map(Result::unwrap) }
    /// ```
    pub fn flatten(self) -> Flatten<T, E> {
        Flatten { task: self }
    }
}

impl<T: 'static, E: fmt::Display + 'static> Task<Result<T, E>> {
    /// Lets the task run on its own, as [`detach`](Self::detach), and reports its error, of whatever type, to the exception
    /// handler.
    ///
    /// # Panics
    /// If the task has ended and its loop does not run on this thread now.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::mpsc::channel;
    /// let (tell, told) = channel();
    /// let mut runner = ringloop::Builder::new().on_error(move |error| tell.send(error.to_string()).unwrap()).build()?;
    /// runner.run(async {
    ///     ringloop::create_task(async { "seven".parse::<u8>() }).detach_reporting();
    ///     ringloop::yield_now().await;
    /// })?;
    /// runner.close()?;
    /// assert!(told.recv()?.contains("invalid digit"));
    /// # Ok(()) }
    /// ```
    pub fn detach_reporting(mut self) {
        let task = self.task_ref();
        task.on_done(move |task| {
            let lost = match self.try_result() {
                Some(Ok(Err(error))) => Lost::of(&error),
                Some(Err(error)) if error.is_panic() => Some(Lost::Panic(error)),
                _ => None,
            };
            if let (Some(lost), Some(executor)) = (lost, current()) {
                executor.report(task, &lost);
            }
        });
    }
}

impl<T> std::ops::Deref for Task<T> {
    type Target = TaskRef;

    /// All that can be said of a task without its output.
    fn deref(&self) -> &TaskRef {
        &self.typed.task
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.poll_output(cx);
        if polled.is_pending() {
            self.typed.task.take_cancels(cx);
        }
        polled
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let header = self.typed.task.0.header();
        header.clear(HANDLE);
        if header.is(OUTPUT) {
            self.typed.task.lose_output();
        }
        header.forget_awaiter();
        if header.has_cold() {
            self.typed.task.lose_cold_part();
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.typed.task.fmt(f)
    }
}

/// The output of a task whose awaiting does not pass a cancel request on; see [`Task::shield`].
#[must_use = "futures do nothing unless awaited"]
pub struct Shield<T> {
    task: Task<T>,
}

impl<T> Unpin for Shield<T> {}

impl<T> Future for Shield<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.task.poll_output(cx)
    }
}

/// The own result of a fallible task; see [`Task::flatten`].
#[must_use = "futures do nothing unless awaited"]
pub struct Flatten<T, E> {
    task: Task<Result<T, E>>,
}

impl<T, E> Unpin for Flatten<T, E> {}

impl<T, E: From<JoinError>> Future for Flatten<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx).map(|ended| ended.unwrap_or_else(|error| Err(error.into())))
    }
}

/// A handle whose drop aborts its task; see [`Task::abort_on_drop`].
#[must_use = "dropping it aborts the task"]
pub struct AbortOnDrop<T> {
    task: Task<T>,
}

impl<T> Unpin for AbortOnDrop<T> {}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.task).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
