//! A set of tasks, given back in the order in which they end.
//!
//! Each task of a set is woken for by a waker of its own, so a set of ten thousand looks at those that have ended and at
//! no other. [`Watch`] is that mechanism; [`TaskSet`] owns what it watches and cancels it when dropped; `wait` and
//! `as_completed` (`wait.rs`) let go of it. None of them passes a cancel request on: asyncio's neither.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream, StreamExt};

use super::create_task;
use super::wait::{Enough, ReturnWhen};
use crate::error::JoinError;
use crate::executor::{Task, TaskRef};
use crate::waiting::{Waiting, waits_for};

/// A task that has not been seen to end: resolves to itself when it has.
struct Running<T> {
    task: Option<Task<T>>,
    /// Tells the order in which tasks were added.
    serial: usize,
}

impl<T> Future for Running<T> {
    type Output = Task<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Task<T>> {
        let task = self.task.as_mut().expect("a task leaves the set once");
        task.poll_end(cx).map(|()| self.task.take().expect("it was just there"))
    }
}

/// Tasks, those that have ended apart from those that run.
pub(super) struct Watch<T> {
    running: FuturesUnordered<Running<T>>,
    /// Ended and not given out, in the order of their ends. Results wait here, not in the future of a `wait`, so that
    /// dropping that loses none.
    ended: VecDeque<Task<T>>,
    /// How many were added.
    added: usize,
}

impl<T> Default for Watch<T> {
    fn default() -> Self {
        Watch { running: FuturesUnordered::new(), ended: VecDeque::new(), added: 0 }
    }
}

impl<T> FromIterator<Task<T>> for Watch<T> {
    fn from_iter<I: IntoIterator<Item = Task<T>>>(tasks: I) -> Self {
        let mut watch = Watch::default();
        tasks.into_iter().for_each(|task| watch.add(task));
        watch
    }
}

impl<T> Watch<T> {
    #[track_caller]
    pub(super) fn add(&mut self, task: Task<T>) {
        let is_spent = task.is_done() && task.peek(|_| ()).is_none();
        assert!(!is_spent, "the output of {task:?} was taken before: there is nothing left to wait for");
        self.running.push(Running { task: Some(task), serial: self.added });
        self.added += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.running.len() + self.ended.len()
    }

    fn running(&self) -> impl Iterator<Item = &TaskRef> {
        self.running.iter().filter_map(|running| running.task.as_deref())
    }

    /// The next task that has ended; None: there is none in the set.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Task<T>>> {
        match self.ended.pop_front() {
            Some(task) => Poll::Ready(Some(task)),
            None => {
                let polled = self.running.poll_next_unpin(cx);
                if polled.is_pending() {
                    self.waits();
                }
                polled
            }
        }
    }

    /// Ready when one that has ended is `enough`, or all have ended; whatever has ended meanwhile is set apart. The first
    /// `judged` of those set apart are known not to be enough.
    pub(super) fn poll_enough(
        &mut self,
        enough: Enough<T>,
        judged: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        while let Poll::Ready(Some(task)) = self.running.poll_next_unpin(cx) {
            self.ended.push_back(task);
        }
        let is_enough = |task: &Task<T>| task.peek(enough).unwrap_or(true);
        if self.running.is_empty() || self.ended.iter().skip(*judged).any(is_enough) {
            return Poll::Ready(());
        }
        *judged = self.ended.len();
        self.waits();
        Poll::Pending
    }

    fn waits(&self) {
        waits_for(|| Waiting::Tasks { how: "the next", count: self.running.len() });
    }

    pub(super) fn take_ended(&mut self) -> Vec<Task<T>> {
        std::mem::take(&mut self.ended).into()
    }

    /// All, those that were set apart first.
    pub(super) fn into_vec(mut self) -> Vec<Task<T>> {
        let mut tasks = self.take_ended();
        tasks.append(&mut self.take_running());
        tasks
    }

    /// Those that run, in the order in which they were added.
    pub(super) fn take_running(&mut self) -> Vec<Task<T>> {
        let mut running: Vec<Running<T>> = std::mem::take(&mut self.running).into_iter().collect();
        running.sort_by_key(|running| running.serial);
        let tasks = running.into_iter().filter_map(|running| running.task);
        tasks.inspect(Task::has_left_its_set).collect()
    }
}

/// Tasks of one type that belong together: they come back in the order in which they end, and what is left when the set
/// is dropped is cancelled. tokio's `JoinSet` is the same, and an alias here.
///
/// Its methods may be dropped half-way (`select!`, `timeout`): a task that has ended stays in the set until it is given out.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let mut set = ringloop::TaskSet::new();
///     for n in [3, 1, 2] {
///         set.create_task(async move {
///             ringloop::sleep(Duration::from_millis(10 * n)).await;
///             n
///         });
///     }
///     let mut order = Vec::new();
///     while let Some(ended) = set.next().await {
///         order.push(ended.unwrap());
///     }
///     assert_eq!(order, [1, 2, 3]);
/// })
/// # }
/// ```
#[doc(alias = "JoinSet")]
pub struct TaskSet<T> {
    watch: Watch<T>,
}

pub use TaskSet as JoinSet;

impl<T> Default for TaskSet<T> {
    fn default() -> Self {
        TaskSet { watch: Watch::default() }
    }
}

impl<T> TaskSet<T> {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a task, as [`create_task`](crate::create_task) does, and adds it.
    ///
    /// # Panics
    /// Outside of an event loop.
    #[track_caller]
    pub fn create_task<F>(&mut self, future: F) -> TaskRef
    where
        F: IntoFuture<Output = T>,
        F::IntoFuture: 'static,
        T: 'static,
    {
        let task = create_task(future);
        let name = task.task_ref();
        self.add(task);
        name
    }

    /// Adds a task, for instance one that [`TaskBuilder`](crate::TaskBuilder) made. One that has ended will do.
    ///
    /// # Panics
    /// If the task's output was taken before.
    #[track_caller]
    pub fn add(&mut self, task: Task<T>) {
        self.watch.add(task);
    }

    /// What the next task to end has ended with; None if the set is empty.
    ///
    /// # Cancellation
    /// Nothing is lost: the tasks stay in the set.
    pub async fn next(&mut self) -> Option<Result<T, JoinError>> {
        self.next_task().await?.try_result()
    }

    /// The next task to end, its result in it; None if the set is empty.
    ///
    /// # Cancellation
    /// As [`next`](Self::next).
    pub async fn next_task(&mut self) -> Option<Task<T>> {
        poll_fn(|cx| self.watch.poll_next(cx)).await
    }

    /// Waits as [`wait`](crate::wait) does, and gives out the tasks that have ended, in the order of their ends. The
    /// others stay.
    ///
    /// # Cancellation
    /// As [`next`](Self::next).
    pub async fn wait(&mut self, when: impl ReturnWhen<T>) -> Vec<Task<T>> {
        let enough = when.enough();
        let mut judged = 0;
        poll_fn(|cx| self.watch.poll_enough(enough, &mut judged, cx)).await;
        self.watch.take_ended()
    }

    /// Asks every task that has not ended to end. They stay in the set: [`next`](Self::next) tells how they did.
    pub fn cancel_all(&self) {
        for task in self.watch.running() {
            task.cancel();
        }
    }

    /// How many tasks are in the set, ended ones that were not given out among them.
    pub fn len(&self) -> usize {
        self.watch.len()
    }

    /// Whether no task is in the set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets go of the tasks without cancelling any, in the order in which they were added. Some may have ended.
    pub fn into_vec(mut self) -> Vec<Task<T>> {
        std::mem::take(&mut self.watch).into_vec()
    }
}

impl<T> Extend<Task<T>> for TaskSet<T> {
    fn extend<I: IntoIterator<Item = Task<T>>>(&mut self, tasks: I) {
        tasks.into_iter().for_each(|task| self.add(task));
    }
}

impl<T> FromIterator<Task<T>> for TaskSet<T> {
    fn from_iter<I: IntoIterator<Item = Task<T>>>(tasks: I) -> Self {
        TaskSet { watch: tasks.into_iter().collect() }
    }
}

impl<T> Stream for TaskSet<T> {
    type Item = Result<T, JoinError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.watch.poll_next(cx).map(|task| task?.try_result())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<T> Drop for TaskSet<T> {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl<T> fmt::Debug for TaskSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (running, ended) = (self.watch.running.len(), self.watch.ended.len());
        write!(f, "<TaskSet running={running} ended={ended}>")
    }
}
