//! What programs do with tasks: make them, give way, wait with a limit, wait for several.

mod deadline;
mod gather;
mod group;
mod join;
mod join_all;
mod select;
mod set;
mod staggered;
mod timeout;
mod wait;

/// What the macros expand to; not for use by hand.
pub mod private {
    pub use super::gather::{Children, GatherTuple, Gathering, gather_tuple};
    pub use super::join::{JoinTuple, join_tuple};
    pub use super::select::{Arm, Round};
}

use std::borrow::Cow;
use std::future::IntoFuture;

pub use deadline::{Deadline, timeout_scope};
pub use gather::{Gather, gather, gather_settled};
pub use group::{Child, TaskGroup, task_group};
pub use join_all::join_all;
pub use set::{JoinSet, TaskSet};
pub use staggered::staggered_race;
pub use timeout::{timeout, timeout_at};
pub use wait::{
    AllCompleted, AsCompleted, FirstCompleted, FirstException, ReturnWhen, Wait, as_completed,
    cancel_and_wait, wait, wait_for,
};

use crate::context::Context;
use crate::event_loop::{expect_running, running};
use crate::executor::{Spawn, Task};

/// Makes a task of `future`. It is scheduled, not run: tasks run for the first time in the next turn of the loop, in the
/// order of their creation. `spawn` is the same function.
///
/// The loop owns the task: dropping the handle lets it run on its own, as tokio does; asyncio's trap of tasks that vanish
/// because nobody kept them does not exist. `create_task(..).detach()` says that this is meant; errors of any type are then
/// reported by [`detach_reporting`](Task::detach_reporting).
///
/// # Panics
/// Outside of an event loop.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::{Duration, Instant};
/// async fn say_after(delay: u64, what: &str) -> String {
///     ringloop::sleep(Duration::from_millis(delay)).await;
///     what.to_owned()
/// }
/// ringloop::run(async {
///     let start = Instant::now();
///     let hello = ringloop::create_task(say_after(20, "hello"));
///     let world = ringloop::create_task(say_after(40, "world"));
///     let text = format!("{} {}", hello.await.unwrap(), world.await.unwrap());
///     assert_eq!(text, "hello world");
///     assert!(start.elapsed() < Duration::from_millis(60));
/// })
/// # }
/// ```
#[track_caller]
pub fn create_task<F: IntoFuture>(future: F) -> Task<F::Output>
where
    F::IntoFuture: 'static,
    F::Output: 'static,
{
    expect_running("create_task").spawn(future.into_future(), Spawn::default())
}

pub use create_task as spawn;

/// As [`create_task`], for code that may run outside of an event loop.
///
/// # Errors
/// No event loop runs on this thread; the future comes back.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// let future = std::future::ready(7);
/// let Err(future) = ringloop::try_create_task(future) else { unreachable!("no loop runs") };
/// assert_eq!(ringloop::run(future)?, 7);
/// # Ok(()) }
/// ```
#[track_caller]
pub fn try_create_task<F: IntoFuture>(future: F) -> Result<Task<F::Output>, F>
where
    F::IntoFuture: 'static,
    F::Output: 'static,
{
    TaskBuilder::new().try_create_task(future)
}

/// How a task is made.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async {
///     let task = ringloop::TaskBuilder::new().name("reader").create_task(async {});
///     assert_eq!(&*task.name(), "reader");
///     task.await.unwrap();
/// })
/// # }
/// ```
#[derive(Default)]
#[must_use = "a builder makes no task until `create_task`"]
pub struct TaskBuilder {
    spawn: Spawn,
}

impl TaskBuilder {
    /// A task like those of [`create_task`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Names the task; without it, it is called `Task-<n>`.
    pub fn name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.spawn.name = Some(name.into());
        self
    }

    /// Runs the task's first step at once, inside of `create_task`, up to the first await that suspends. A task that ends
    /// there costs no turn: its value is in the handle that comes back. This is asyncio's `eager_start`.
    ///
    /// In that step [`current_task`](crate::current_task) is the new task; a cancel request to its creator does not reach
    /// it, and a panic goes to the handle as always. The step runs on the creator's stack and shares its creator's turn: what
    /// the two compute without suspending holds up the others together.
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// ringloop::run(async {
    ///     let mut task = ringloop::TaskBuilder::new().eager().create_task(async { 7 });
    ///     assert_eq!(task.try_result().unwrap().unwrap(), 7);
    /// })
    /// # }
    /// ```
    #[doc(alias = "eager_start")]
    pub fn eager(mut self) -> Self {
        self.spawn.eager = true;
        self
    }

    /// Has the task run in this very context. Several tasks may: each sees what the others set. Without it, a task has a
    /// copy of its creator's.
    pub fn context(mut self, context: Context) -> Self {
        self.spawn.context = Some(context);
        self
    }

    /// Makes the task; see [`create_task`].
    #[track_caller]
    pub fn create_task<F: IntoFuture>(self, future: F) -> Task<F::Output>
    where
        F::IntoFuture: 'static,
        F::Output: 'static,
    {
        expect_running("create_task").spawn(future.into_future(), self.spawn)
    }

    /// Makes the task; see [`try_create_task`].
    ///
    /// # Errors
    /// No event loop runs on this thread; the future comes back.
    #[track_caller]
    pub fn try_create_task<F: IntoFuture>(self, future: F) -> Result<Task<F::Output>, F>
    where
        F::IntoFuture: 'static,
        F::Output: 'static,
    {
        match running() {
            Some(event_loop) => Ok(event_loop.spawn(future.into_future(), self.spawn)),
            None => Err(future),
        }
    }
}
