//! Callbacks at a task's end: asyncio's `add_done_callback`.
//!
//! They wait in the task's cold part, in the order in which they were added. The end takes them out, all at once, and makes
//! each a call of the loop's next turn, so that none runs inside of what ended the task. What is added later is such a
//! call at once. Nothing is stored in a task that has ended: the owner's thread has dropped every callback before the cell
//! may be freed elsewhere.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::join::TaskRef;
use super::{Executor, Spawn, current};
use crate::context::{self, Context};

type Callback = Box<dyn FnOnce(&TaskRef)>;

/// Names a callback that was added to a task; see [`TaskRef::on_done`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallbackId(u64);

impl CallbackId {
    /// One that no other callback of this process has, whatever its task.
    fn new() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        CallbackId(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

/// The callbacks of a task that has not ended, each with the context that it runs in.
#[derive(Default)]
pub(super) struct Callbacks(Vec<(CallbackId, Option<Context>, Callback)>);

impl Callbacks {
    /// The task has ended.
    pub(super) fn call_soon(self, executor: &Executor, task: &TaskRef) {
        for (_, context, callback) in self.0 {
            call_soon(executor, task, context, callback);
        }
    }
}

/// Counts a callback of a task that has ended as due, until it has run or is dropped.
struct Due(Rc<Cell<usize>>);

impl Due {
    fn new(executor: &Executor) -> Self {
        let due = executor.due_callbacks.clone();
        due.set(due.get() + 1);
        Due(due)
    }
}

impl Drop for Due {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Executor {
    /// Whether a task has ended and a callback of it has not run.
    pub(crate) fn has_due_callbacks(&self) -> bool {
        self.due_callbacks.get() > 0
    }
}

/// Runs the callback in the next turn, as a task of the loop's own: it may do what it likes, and its panic is reported
/// under the name `on_done`.
fn call_soon(executor: &Executor, task: &TaskRef, context: Option<Context>, callback: Callback) {
    let (task, due) = (task.clone(), Due::new(executor));
    let call = async move {
        let _due = due;
        callback(&task);
    };
    let how = Spawn { name: Some("on_done".into()), ..Spawn::default() };
    context::run_in(context, || executor.spawn(call, how).hide());
}

impl TaskRef {
    /// Runs `callback` when the task has ended, however: in the turn after, in the order in which callbacks were added, and
    /// before whoever awaits the task goes on. If the task has ended already it runs in the next turn.
    ///
    /// It is given the task's name, not its value, which belongs to who awaits the [`Task`](super::Task). It runs in a copy
    /// of the [context](crate::Context) that is current now. A panic in it goes to the exception handler. The loop's end still
    /// runs those of tasks that have ended, and drops those of tasks that do not end in time.
    ///
    /// # Panics
    /// If the task has ended and its loop does not run on this thread now: nobody would run the callback.
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// use std::{cell::Cell, rc::Rc};
    /// ringloop::run(async {
    ///     let ended = Rc::new(Cell::new(0));
    ///     let task = ringloop::create_task(async { 7 });
    ///     let counting = ended.clone();
    ///     task.on_done(move |task| counting.set(if task.is_cancelled() { 0 } else { 1 }));
    ///     assert_eq!((task.await.unwrap(), ended.get()), (7, 1));
    /// })
    /// # }
    /// ```
    #[doc(alias = "add_done_callback")]
    pub fn on_done(&self, callback: impl FnOnce(&TaskRef) + 'static) -> CallbackId {
        let (id, context, callback) = (CallbackId::new(), context::inherited(), Box::new(callback));
        if !self.is_done() {
            self.0.header().with_rare(|rare| rare.callbacks.0.push((id, context, callback)));
            return id;
        }
        match current() {
            Some(executor) if self.0.header().is_here() => call_soon(&executor, self, context, callback),
            _ => panic!(
                "on_done of {self:?} outside of its event loop: nobody would run the callback; call it inside, or before the task has ended"
            ),
        }
        id
    }

    /// Takes a callback back. False: there is none of this name, or the task has ended and it has run or will run.
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// ringloop::run(async {
    ///     let task = ringloop::create_task(async {});
    ///     let callback = task.on_done(|_| unreachable!("it was taken back"));
    ///     assert!(task.remove_on_done(callback));
    ///     task.await.unwrap();
    /// })
    /// # }
    /// ```
    #[doc(alias = "remove_done_callback")]
    pub fn remove_on_done(&self, callback: CallbackId) -> bool {
        let removed = self.0.header().peek_rare(|rare| {
            let callbacks = &mut rare.callbacks.0;
            let index = callbacks.iter().position(|(id, ..)| *id == callback)?;
            Some(callbacks.remove(index))
        });
        // Dropped here, outside of the cold part: it is user code.
        removed.flatten().is_some()
    }
}
