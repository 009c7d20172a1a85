//! Waiting for some of several tasks: `wait`, `as_completed`, and `wait_for` and `cancel_and_wait` for tasks that must have
//! ended before the caller goes on.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::Stream;

use super::gather::gather_settled;
use super::set::Watch;
use crate::error::{Elapsed, JoinError, WaitError};
use crate::executor::{Listed, Task, current_task, resume_cancel, take_offer};
use crate::time::{Sleep, sleep};

/// Whether the end of one task is enough.
pub(super) type Enough<T> = fn(&Result<T, JoinError>) -> bool;

/// When a [`wait`] returns: [`FirstCompleted`], [`FirstException`] or [`AllCompleted`], for tasks of output `T`.
pub trait ReturnWhen<T>: sealed::Sealed {
    #[doc(hidden)]
    fn enough(&self) -> Enough<T>;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::FirstCompleted {}
    impl Sealed for super::FirstException {}
    impl Sealed for super::AllCompleted {}
}

/// A [`wait`] returns when a task has ended, however.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "FIRST_COMPLETED")]
pub struct FirstCompleted;

/// A [`wait`] returns when a task has ended with an error or a panic, or when all have ended. A task that was cancelled
/// has not failed. For tasks whose output is a `Result`.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "FIRST_EXCEPTION")]
pub struct FirstException;

/// A [`wait`] returns when all tasks have ended.
#[derive(Clone, Copy, Debug)]
#[doc(alias = "ALL_COMPLETED")]
pub struct AllCompleted;

impl<T> ReturnWhen<T> for FirstCompleted {
    fn enough(&self) -> Enough<T> {
        |_| true
    }
}

impl<T, E> ReturnWhen<Result<T, E>> for FirstException {
    fn enough(&self) -> Enough<Result<T, E>> {
        |end| match end {
            Ok(result) => result.is_err(),
            Err(error) => error.is_panic(),
        }
    }
}

impl<T> ReturnWhen<T> for AllCompleted {
    fn enough(&self) -> Enough<T> {
        |_| false
    }
}

/// Waits until some or all of the tasks have ended, and gives back all of them: those that have ended, in the order of
/// their ends, and those that have not, in the order of the arguments.
///
/// It never fails for a task that failed and never cancels one. What has ended is judged when it returns. Without tasks it
/// returns at once. With a [limit](Wait::timeout), tasks that have not ended by then are simply among the second. Tasks
/// whose results are wanted as they come are better off in [`as_completed`], tasks that should not outlive the block in a
/// [`TaskSet`](crate::TaskSet).
///
/// # Cancellation
/// A request is not passed on to the tasks. Dropping the future detaches them: they run on.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// use ringloop::{AllCompleted, FirstCompleted, create_task, sleep, wait};
/// ringloop::run(async {
///     let tasks = [10, 60_000].map(|delay| create_task(sleep(Duration::from_millis(delay))));
///     let (done, pending) = wait(tasks, FirstCompleted).await;
///     assert_eq!((done.len(), pending.len()), (1, 1));
///     let (done, pending) = wait(pending, AllCompleted).timeout(Duration::from_millis(10)).await;
///     assert_eq!((done.len(), pending.len()), (0, 1));
///     ringloop::cancel_and_wait(pending).await;
/// })
/// # }
/// ```
pub fn wait<T>(tasks: impl IntoIterator<Item = Task<T>>, when: impl ReturnWhen<T>) -> Wait<T> {
    Wait { watch: tasks.into_iter().collect(), enough: when.enough(), judged: 0, limit: None }
}

/// The future of [`wait`].
#[must_use = "futures do nothing unless awaited"]
pub struct Wait<T> {
    watch: Watch<T>,
    enough: Enough<T>,
    /// Tasks that have ended and were not enough.
    judged: usize,
    limit: Option<Sleep>,
}

impl<T> Unpin for Wait<T> {}

impl<T> Wait<T> {
    /// Returns after `limit` at the latest, counted from the first poll.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Some(sleep(limit));
        self
    }
}

impl<T> Future for Wait<T> {
    type Output = (Vec<Task<T>>, Vec<Task<T>>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let enough = this.watch.poll_enough(this.enough, &mut this.judged, cx).is_ready();
        if !enough && !this.limit.as_mut().is_some_and(|limit| Pin::new(limit).poll(cx).is_ready()) {
            return Poll::Pending;
        }
        Poll::Ready((this.watch.take_ended(), this.watch.take_running()))
    }
}

/// Gives the tasks, or what they ended with, in the order in which they end.
///
/// For a limit of all together: `timeout(limit, completed.next())`, and [`into_pending`](AsCompleted::into_pending) for
/// what is left.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let tasks = [30, 10, 20].map(|delay| {
///         ringloop::create_task(async move {
///             ringloop::sleep(Duration::from_millis(delay)).await;
///             delay
///         })
///     });
///     let mut completed = ringloop::as_completed(tasks);
///     let mut order = Vec::new();
///     while let Some(end) = completed.next().await {
///         order.push(end.unwrap());
///     }
///     assert_eq!(order, [10, 20, 30]);
/// })
/// # }
/// ```
pub fn as_completed<T>(tasks: impl IntoIterator<Item = Task<T>>) -> AsCompleted<T> {
    AsCompleted { watch: tasks.into_iter().collect() }
}

/// Tasks in the order of their ends; see [`as_completed`]. What is left when it is dropped runs on.
#[must_use = "tasks whose ends nobody looks at are better detached"]
pub struct AsCompleted<T> {
    watch: Watch<T>,
}

impl<T> AsCompleted<T> {
    /// What the next task to end has ended with; None after the last.
    ///
    /// # Cancellation
    /// Nothing is lost: the next call goes on.
    pub async fn next(&mut self) -> Option<Result<T, JoinError>> {
        self.next_task().await?.try_result()
    }

    /// The next task to end, its result in it; None after the last.
    ///
    /// # Cancellation
    /// As [`next`](Self::next).
    pub async fn next_task(&mut self) -> Option<Task<T>> {
        poll_fn(|cx| self.watch.poll_next(cx)).await
    }

    /// The tasks that were not given out, in the order of the arguments. Some may have ended meanwhile.
    pub fn into_pending(self) -> Vec<Task<T>> {
        self.watch.into_vec()
    }
}

impl<T> Stream for AsCompleted<T> {
    type Item = Result<T, JoinError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.watch.poll_next(cx).map(|task| task?.try_result())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.watch.len(), Some(self.watch.len()))
    }
}

/// Waits for a task, at most for `limit`, then cancels it and waits until it has really ended. `None` means without a limit.
///
/// A value wins, also one that the task gives after it was cancelled. Under a limit of zero a task that has not started never
/// does. To go on without the task: [`timeout`](crate::timeout) round `task.shield()`; to limit a future that is no task:
/// [`timeout`](crate::timeout) round it.
///
/// # Errors
/// [`WaitError::Elapsed`] if the limit ended the task, [`WaitError::Join`] if it was cancelled by somebody else or panicked.
///
/// # Cancellation
/// A request is passed on to the task; when that has ended cancelled it goes on outward. Dropping the future detaches the
/// task.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// use ringloop::{WaitError, create_task, sleep, wait_for};
/// ringloop::run(async {
///     let slow = create_task(sleep(Duration::from_secs(60)));
///     let end = wait_for(slow, Duration::from_millis(10)).await;
///     assert!(matches!(end, Err(WaitError::Elapsed(_))));
/// })
/// # }
/// ```
pub async fn wait_for<T>(mut task: Task<T>, limit: impl Into<Option<Duration>>) -> Result<T, WaitError> {
    let limit = limit.into();
    let mut clock = limit.map(sleep);
    let mut asked = Asked::Nobody;
    // Not by way of the clock, which would give the task a turn to start in.
    if limit.is_some_and(|limit| limit.is_zero()) {
        asked = Asked::Limit;
        task.cancel();
    }
    let mut listed = Listed::default();
    let end = poll_fn(move |cx| {
        if let Poll::Ready(end) = task.poll_output(cx) {
            return Poll::Ready(match (end, asked) {
                (Err(error), Asked::Caller) if error.is_cancelled() => None,
                (Err(error), Asked::Limit) if error.is_cancelled() => Some(Err(Elapsed.into())),
                (end, _) => Some(end.map_err(WaitError::from)),
            });
        }
        let mut is_over = |clock: &mut Sleep| Pin::new(clock).poll(cx).is_ready();
        if asked == Asked::Nobody && clock.as_mut().is_some_and(&mut is_over) {
            asked = Asked::Limit;
            task.cancel();
        }
        listed.pending(cx);
        if take_offer()
            && let Some(current) = current_task()
        {
            asked = Asked::Caller;
            current.pass_cancel_to(&task);
        }
        Poll::Pending
    });
    match end.await {
        Some(end) => end,
        None => resume_cancel().await,
    }
}

/// Who asked the task of a [`wait_for`] to end; the caller's request has priority over the limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Nobody,
    Limit,
    Caller,
}

/// Cancels the tasks, waits until all have ended, and gives what each ended with, in the order of the arguments.
///
/// This is asyncio's `task.cancel()` for each, then `gather(.., return_exceptions=True)`: the right way to end tasks, since
/// a request alone does not wait for their clean-up. A task that had ended keeps its result.
///
/// # Cancellation
/// A request is passed on to the tasks once more; when all have ended it goes on outward. Dropping the future detaches the
/// tasks.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let tasks = [1, 2].map(|n| ringloop::create_task(ringloop::sleep(Duration::from_secs(n))));
///     let ends = ringloop::cancel_and_wait(tasks).await;
///     assert!(ends.iter().all(|end| end.as_ref().is_err_and(|error| error.is_cancelled())));
/// })
/// # }
/// ```
pub async fn cancel_and_wait<T>(tasks: impl IntoIterator<Item = Task<T>>) -> Vec<Result<T, JoinError>> {
    let tasks: Vec<Task<T>> = tasks.into_iter().collect();
    for task in &tasks {
        task.cancel();
    }
    gather_settled(tasks).await
}
