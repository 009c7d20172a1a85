//! The executor: tasks, the queue of those that are ready, and the inbox for what other threads send.
//!
//! One executor belongs to one loop and one thread. Tasks run first in, first out; a task woken in a turn runs in the next
//! one, after I/O was looked at. The root future of `run` is a task like the others.
//!
//! * `task`: the cell, the only unsafe code here; `refs`: its biased count; `remote`: the inbox and the sleep flag; `models`
//!   runs these three under loom.
//! * `roster`: the list of tasks. `join`: the handles `Task` and `TaskRef`. `on_done`: callbacks at the end. `lost`: ends that
//!   nobody has seen. `cancel`: the offer and its handlers. `trace`: what debug mode knows.
//!
//! Deliberately not here: time, I/O, the turn. This layer knows of the kernel nothing but a waker that ends the sleep.

mod awaiter;
mod blocking;
mod cancel;
mod join;
mod lost;
#[cfg(all(test, loom))]
mod models;
mod on_done;
mod oneshot;
mod refs;
mod remote;
mod roster;
mod task;
#[cfg(test)]
pub(crate) mod tests;
mod trace;
mod yield_now;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Waker;

pub(crate) use awaiter::Awaiter;
pub(crate) use blocking::BlockingTask;
pub(crate) use cancel::{Branches, Hidden, Listed, Offer, Took, offer, set_offer, take_offer};
pub use cancel::{
    CatchCancel, Exit, Uncancellable, catch_cancel, check_cancel, resume_cancel, uncancellable, with_cleanup,
};
pub use join::{AbortOnDrop, Flatten, Shield, Task, TaskRef};
pub(crate) use lost::Lost;
pub use on_done::CallbackId;
pub(crate) use oneshot::{OneshotReceiver, OneshotSender, oneshot};
use remote::Shared;
pub(crate) use trace::{Watcher, label, waits_for_tasks};
pub(crate) use yield_now::give_way;
pub use yield_now::{YieldNow, yield_now};

use crate::context::{self, Context};
use crate::current_loop::{self, Layer, Layers};
use crate::error::{JoinError, LoopClosed, panic_message};
use remote::Mail;
use roster::Roster;
use task::{
    ABORT, AGAIN, CANCEL, CANCELLED, COMPLETE, ENDING, HANDLE, HIDDEN, OFFERED, RUNNING, Rare, Ready, Ref,
    SCHEDULED, STARTED, Typed, WATCHED,
};

thread_local! {
    static STEP: Cell<u64> = const { Cell::new(0) };
}

/// Counts the polls of tasks on this thread: it changes when another poll begins.
pub(crate) fn step_number() -> u64 {
    STEP.get()
}

/// Whether a task other than the one that is polled is ready to run.
pub(crate) fn is_another_ready() -> bool {
    Ready::here(Ready::count) > 0
}

/// The executor of the loop this thread is inside.
pub(crate) fn current() -> Option<Rc<Executor>> {
    current_loop::get(Layer::Executor)
}

/// The task that runs now; None outside of a task, in a callback of the loop too.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// assert!(ringloop::current_task().is_none());
/// ringloop::run(async { assert!(ringloop::current_task().is_some()) })
/// # }
/// ```
pub fn current_task() -> Option<TaskRef> {
    task::running().map(TaskRef).filter(|task| !task.is_hidden())
}

/// Whether a wake of the task that runs now also reaches who was polled with `waker`: it is the task's own. True as well
/// where no task runs.
#[inline]
fn is_within_reach(waker: &Waker) -> bool {
    task::runs_with(waker)
}

/// The task that runs now, unless a wake of it reaches who was polled with `waker`.
fn task_behind(waker: &Waker) -> Option<TaskRef> {
    if is_within_reach(waker) { None } else { current_task() }
}

/// The tasks of this loop that have not ended, in order of their creation; empty outside of a loop.
pub fn all_tasks() -> Vec<TaskRef> {
    current().map(|executor| executor.all_tasks()).unwrap_or_default()
}

/// What a panic in a task becomes. If it is to end the run, the run gets the payload and the error keeps the text.
#[cold]
pub(crate) fn caught(payload: Box<dyn Any + Send>) -> JoinError {
    let payload = match current() {
        Some(executor) if executor.panics_end_runs.get() && !executor.has_panicked.replace(true) => {
            let text = panic_message(&*payload).to_owned();
            executor.panic.set(Some(payload));
            Box::new(text)
        }
        _ => payload,
    };
    JoinError::panicked(payload)
}

/// Wakes; a waker of somebody else's that panics must not stop the loop.
pub(crate) fn wake(waker: Waker) {
    if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
        tracing::error!(target: "ringloop", "a waker panicked");
    }
}

/// Drops a context that a task has given up; a value that panics must not stop the loop.
fn leave(context: Option<Context>) {
    if context.is_some() && catch_unwind(AssertUnwindSafe(|| drop(context))).is_err() {
        tracing::error!(target: "ringloop", "the value of a context variable panicked when it was dropped");
    }
}

/// How a task is made.
#[derive(Default)]
pub(crate) struct Spawn {
    /// The name; by default `Task-<n>`.
    pub(crate) name: Option<std::borrow::Cow<'static, str>>,
    /// Where it was created, in debug mode.
    pub(crate) location: Option<&'static std::panic::Location<'static>>,
    /// Its first step runs at once, inside of its creator's.
    pub(crate) eager: bool,
    /// The context that it runs in; by default a copy of its creator's.
    pub(crate) context: Option<Context>,
}

impl Spawn {
    /// Notes in a new task what most tasks do not have. Inlined, so that where nothing is asked for nothing is moved.
    #[inline]
    fn note(self, task: &Ref) {
        match self.name.is_some() || self.location.is_some() || self.context.is_some() || context::is_any() {
            true => self.note_in_cold_part(task),
            false => drop(self),
        }
    }

    #[cold]
    fn note_in_cold_part(self, task: &Ref) {
        let context = self.context.or_else(context::inherited);
        if self.name.is_some() || self.location.is_some() {
            task.header().with_rare(|rare| {
                rare.name = self.name;
                rare.location = self.location;
            });
        }
        if context.is_some() {
            task.header().with_cold(|cold| cold.context = context);
        }
    }
}

/// How many tasks that destructors spawn at the loop's end are dropped in their turn.
const SPAWNED_BY_DESTRUCTORS: usize = 10_000;

/// Told of a task and of what it ended with, if nobody awaited it.
type OnLost = Box<dyn Fn(&TaskRef, &Lost)>;

/// The tasks of one loop.
pub(crate) struct Executor {
    /// The loop's number in this process.
    number: u32,
    /// The loop's place for other threads.
    shared: &'static Shared,
    /// The tasks to poll, in order, while no thread is inside; then the thread has them.
    ready: Ready,
    /// All that have not ended; each knows its place.
    tasks: RefCell<Roster<Ref>>,
    /// The last serial number given to a task.
    last_id: Cell<u32>,
    /// Tasks whose futures are to be dropped, while one is.
    aborted: RefCell<VecDeque<Ref>>,
    /// The queue is being worked off.
    aborts: Cell<bool>,
    /// How many callbacks of ended tasks have not run.
    due_callbacks: Rc<Cell<usize>>,
    /// Mail in the making, kept for its memory.
    mail: RefCell<Vec<Mail>>,
    /// The inbox is closed; a task made now ends at once.
    closed: Cell<bool>,
    /// The first panic of a task ends the run.
    panics_end_runs: Cell<bool>,
    /// It has happened.
    has_panicked: Cell<bool>,
    /// Its payload, on the way to the run.
    panic: Cell<Option<Box<dyn Any + Send>>>,
    /// Told of panics and errors that nobody else will see.
    on_lost: OnLost,
    /// There is a watcher.
    watched: Cell<bool>,
    /// Told of every poll, in debug mode.
    watcher: RefCell<Option<Rc<dyn Watcher>>>,
}

/// While it lives, the thread is inside the loop.
pub(crate) struct Inside {
    /// Left first: whoever drops the last reference to an executor is outside of it.
    _current: current_loop::Entered,
    /// The loop; None if the thread was inside before.
    entered: Option<Rc<Executor>>,
    /// The tasks of the loop that the thread is inside of otherwise.
    outer: Ready,
    /// What is polled in here has nothing to do with an offer to the task that runs outside.
    _hidden: Hidden,
    /// Nor with its context variables, or the thread's.
    _hosted: context::Entered,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(entered) = &self.entered {
            Ready::here(|ready| {
                ready.swap(&entered.ready);
                ready.swap(&self.outer);
            });
        }
    }
}

/// While it lives, the queue of aborted tasks is being worked off.
struct Working<'a>(&'a Cell<bool>);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Executor {
    /// `notify` ends the loop's sleep; `on_lost` gets a task and its panic or error that nobody awaited.
    pub(crate) fn new(notify: Waker, on_lost: OnLost) -> Rc<Executor> {
        let (shared, number) = Shared::open(notify);
        Rc::new(Executor {
            number,
            shared,
            ready: Ready::default(),
            tasks: RefCell::default(),
            last_id: Cell::new(0),
            aborted: RefCell::default(),
            aborts: Cell::new(false),
            due_callbacks: Rc::default(),
            mail: RefCell::default(),
            closed: Cell::new(false),
            panics_end_runs: Cell::new(false),
            has_panicked: Cell::new(false),
            panic: Cell::new(None),
            on_lost,
            watched: Cell::new(false),
            watcher: RefCell::default(),
        })
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The loop's mailbox, for other threads.
    pub(crate) fn mailbox(&self) -> Mailbox {
        Mailbox { shared: self.shared, number: self.number }
    }

    /// Makes this the thread's loop, without a reactor, until the guard goes.
    pub(crate) fn enter(self: &Rc<Self>) -> Inside {
        self.enter_with(None, None)
    }

    /// Makes this and the layers above it the thread's loop until the guard goes.
    pub(crate) fn enter_with(
        self: &Rc<Self>,
        reactor: Option<Rc<dyn Any>>,
        event_loop: Option<Rc<dyn Any>>,
    ) -> Inside {
        let layers: Layers = [Some(self.clone()), reactor, event_loop];
        let current = current_loop::enter(self.number, layers);
        let outer = Ready::default();
        let entered = (current.before() != self.number).then(|| {
            Ready::here(|ready| {
                ready.swap(&outer);
                ready.swap(&self.ready);
            });
            self.clone()
        });
        let hosted = context::host(&task::HOST);
        Inside { _current: current, entered, outer, _hidden: Hidden::new(), _hosted: hosted }
    }

    /// Makes a task, and schedules it: it runs for the first time in the next turn, or right here if it is eager.
    pub(crate) fn spawn<F: Future + 'static>(&self, future: F, how: Spawn) -> Task<F::Output> {
        let typed = Typed::new(future, self.shared, self.number, self.next_id());
        let eager = how.eager;
        how.note(&typed.task.0);
        self.adopt(&typed.task.0);
        if self.closed.get() {
            self.cancelled(&typed.task.0);
        } else if eager {
            self.step_inside(&typed.task.0);
        } else {
            typed.task.0.wake();
        }
        Task::new(typed)
    }

    /// Makes the root task of a run, which may borrow from the caller's frame, and lends it to `drive`. When `drive`
    /// returns or unwinds, a root that has not ended is dropped; what it ended with comes back.
    pub(crate) fn scoped<F: Future>(
        &self,
        future: F,
        how: Spawn,
        drive: impl FnOnce(&TaskRef),
    ) -> Option<Result<F::Output, JoinError>> {
        let during = |typed: &Typed<F::Output>| {
            how.note(&typed.task.0);
            self.adopt(&typed.task.0);
            typed.task.0.wake();
            drive(&typed.task);
            typed.take()
        };
        let end = |task: &Ref| {
            if !task.header().is(COMPLETE) {
                self.cancelled(task);
            }
            // There was no handle; what names the task later finds no context.
            task.header().clear(HANDLE);
            leave(task.header().take_context());
        };
        task::scoped(future, (self.shared, self.number, self.next_id()), during, end)
    }

    /// Makes a task of the loop's own: not listed, and not cancelled before the loop's end.
    pub(crate) fn spawn_hidden(&self, future: impl Future<Output = ()> + 'static) {
        self.spawn(future, Spawn::default()).hide();
    }

    /// Makes a function of no result a task of the loop's own, which runs in the turn after somebody has woken it.
    pub(crate) fn prepare_call(&self, function: impl FnOnce() + 'static) -> TaskRef {
        let typed = Typed::new(async move { function() }, self.shared, self.number, self.next_id());
        let header = typed.task.0.header();
        header.clear(HANDLE);
        header.set(HIDDEN);
        Spawn::default().note(&typed.task.0);
        self.adopt(&typed.task.0);
        if self.closed.get() {
            self.cancelled(&typed.task.0);
        }
        typed.task
    }

    /// Runs a function of no result in the next turn, in order with the tasks.
    pub(crate) fn call_soon(&self, function: impl FnOnce() + 'static) -> TaskRef {
        let task = self.prepare_call(function);
        task.0.wake();
        task
    }

    fn next_id(&self) -> u32 {
        self.last_id.set(self.last_id.get().wrapping_add(1));
        self.last_id.get()
    }

    fn adopt(&self, task: &Ref) {
        self.begin_record(task);
        let place = self.tasks.borrow_mut().insert(task.clone());
        task.header().place.set(place);
    }

    /// Whether a task waits for its turn. Only from inside the loop.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready_count() > 0
    }

    /// How many tasks wait for their turn. Only from inside the loop.
    pub(crate) fn ready_count(&self) -> usize {
        debug_assert_eq!(current_loop::number(), self.number);
        Ready::here(Ready::count)
    }

    /// Polls up to `limit` ready tasks. Only from inside the loop.
    // This and what follows to the poll itself is inlined: left alone, the compiler makes three calls of it.
    #[inline(always)]
    pub(crate) fn run(&self, limit: usize) {
        debug_assert_eq!(current_loop::number(), self.number);
        for _ in 0..limit {
            let Some(task) = Ready::here(Ready::pop) else { return };
            self.step(task);
        }
    }

    /// One step of a task whose turn it is.
    #[inline(always)]
    fn step(&self, task: Ref) {
        if task.header().is(COMPLETE | ABORT | CANCEL) && !self.deliver(&task) {
            return;
        }
        STEP.set(STEP.get() + 1);
        self.poll(&task);
    }

    /// The first step of an eager task, inside of the step of the task that makes it. An offer to that task is not one to
    /// the new one, and the two share what a step may do without suspending: otherwise a task that goes on making eager
    /// ones would starve the others.
    fn step_inside(&self, task: &Ref) {
        let _hidden = Hidden::new();
        // The new task has its own context variables, whatever stands between it and the creator's.
        let _hosted = context::host(&task::HOST);
        if task::running().is_none() {
            STEP.set(STEP.get() + 1);
        }
        self.poll(task);
    }

    /// One poll of one task, and what follows from it.
    #[inline(always)]
    fn poll(&self, task: &Ref) {
        let header = task.header();
        let state = header.state.get();
        header.state.set((state & !(SCHEDULED | CANCEL | AGAIN)) | STARTED | RUNNING);
        let done = match state & WATCHED {
            0 => task.as_running(|| task.poll()),
            _ => self.poll_watched(task),
        };
        let left = offer();
        header.clear(RUNNING | OFFERED);
        if done {
            set_offer(Offer::None);
            self.complete(task);
        } else if left != Offer::None || header.is(ABORT) {
            set_offer(Offer::None);
            match left {
                Offer::Raised | Offer::Again => self.cancelled(task),
                _ if header.is(ABORT) => self.cancelled(task),
                // A request that came meanwhile is delivered in its place, as a new one.
                Offer::Blocked if !header.is(CANCEL) => header.set(CANCEL | AGAIN),
                Offer::Blocked | Offer::None => {}
            }
        }
    }

    /// Raises the offer for a task that was asked to end. False: it is not to be polled any more.
    #[cold]
    fn deliver(&self, task: &Ref) -> bool {
        let header = task.header();
        if header.is(COMPLETE | ABORT) || !header.is(STARTED) {
            header.clear(SCHEDULED);
            if !header.is(COMPLETE) {
                self.cancelled(task);
            }
            return false;
        }
        let offer = if header.is(AGAIN) { Offer::Again } else { Offer::Raised };
        header.set(OFFERED);
        // While SCHEDULED still stands, so that these wakes do not schedule the task once more.
        TaskRef(task.clone()).wake_handlers();
        set_offer(offer);
        true
    }

    /// Drops a task's future: it ends cancelled.
    ///
    /// The drop is the user's code and may ask for the same of another task, whose drop may do so again. The requests go
    /// through a queue, which the outermost call works off: a chain of them takes no stack.
    #[cold]
    fn cancelled(&self, task: &Ref) {
        self.aborted.borrow_mut().push_back(task.clone());
        if self.aborts.replace(true) {
            return;
        }
        let _working = Working(&self.aborts);
        while let Some(task) = { self.aborted.borrow_mut().pop_front() } {
            if !task.header().is(COMPLETE) {
                self.drop_future(&task);
            }
        }
    }

    fn drop_future(&self, task: &Ref) {
        let _hidden = Hidden::new();
        // The caller may be another task, in whatever context.
        let _hosted = context::host(&task::HOST);
        task.header().set(CANCELLED | RUNNING);
        let reason = task.header().peek_rare(|rare| rare.reason.clone()).flatten();
        task.as_running(|| task.end(JoinError::cancelled(reason)));
        task.header().clear(RUNNING);
        self.complete(task);
    }

    /// The output is there: takes the task off the list and tells who awaits it.
    fn complete(&self, task: &Ref) {
        let header = task.header();
        header.set(COMPLETE);
        let listed = self.tasks.borrow_mut().remove(header.place.replace(u32::MAX));
        if header.has_cold() {
            self.complete_rare_part(&TaskRef(task.clone()));
        }
        if !header.is(HANDLE) {
            self.discard(task);
            leave(header.take_context());
        }
        header.wake_awaiter();
        drop(listed);
    }

    /// What waits for a task's end beside its handle.
    #[cold]
    fn complete_rare_part(&self, task: &TaskRef) {
        let rare = |rare: &mut Rare| {
            (std::mem::take(&mut rare.handlers), std::mem::take(&mut rare.callbacks), rare.trace.take())
        };
        if let Some((handlers, callbacks, trace)) = task.0.header().peek_rare(rare) {
            drop((handlers, trace));
            callbacks.call_soon(self, task);
        }
    }

    /// Whether the first panic of a task ends the run.
    pub(crate) fn set_panics_end_runs(&self, on: bool) {
        self.panics_end_runs.set(on);
    }

    /// Whether there was a panic that ends the run.
    pub(crate) fn has_panicked(&self) -> bool {
        self.has_panicked.get()
    }

    /// The panic that ends the run.
    pub(crate) fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        self.has_panicked.set(false);
        self.panic.take()
    }

    /// Drops an output that nobody will ask for.
    fn discard(&self, task: &Ref) {
        let _hidden = Hidden::new();
        if let Some(lost) = task.discard() {
            self.report(&TaskRef(task.clone()), &lost);
        }
    }

    /// Tells how a task ended, in the task's context.
    #[cold]
    fn report(&self, task: &TaskRef, lost: &Lost) {
        let tell = || context::run_in(task.context_if_any(), || (self.on_lost)(task, lost));
        if catch_unwind(AssertUnwindSafe(tell)).is_err() {
            tracing::error!(target: "ringloop", "the exception handler panicked on the end of {task:?}: {lost}");
        }
    }

    /// Takes in what other threads have sent. `job_ended` gets the keys of the operations whose work has ended.
    pub(crate) fn take_mail(&self, job_ended: impl Fn(u64)) {
        if self.shared.has_mail() {
            self.open_mail(&job_ended);
        }
    }

    #[cold]
    fn open_mail(&self, job_ended: &dyn Fn(u64)) {
        let mut mail = self.mail.take();
        self.shared.take(&mut mail);
        for item in mail.drain(..) {
            match item {
                Mail::Task(parcel) => {
                    if let Some(task) = parcel.open() {
                        task.wake();
                    }
                }
                Mail::Call(function, context) => drop(context::run_in(context, || self.call_soon(function))),
                Mail::JobEnded(key) => job_ended(key),
            }
        }
        self.mail.replace(mail);
    }

    /// Announces to other threads that the loop sleeps now. False: there is mail, it must not.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.shared.fall_asleep()
    }

    pub(crate) fn wake_up(&self) {
        self.shared.wake_up();
    }

    pub(crate) fn all_tasks(&self) -> Vec<TaskRef> {
        let mut tasks: Vec<TaskRef> = self.tasks.borrow().iter().cloned().map(TaskRef).collect();
        tasks.retain(|task| !task.is_hidden());
        tasks.sort_by_key(TaskRef::id);
        tasks
    }

    /// The loop ends: asks every task to end that was not asked for this reason before, but for the loop's own. True:
    /// none is left.
    pub(crate) fn cancel_all(&self) -> bool {
        let tasks = self.all_tasks();
        for task in tasks.iter().filter(|task| !task.0.header().is(ENDING)) {
            task.0.header().set(ENDING);
            task.cancel();
        }
        tasks.is_empty()
    }

    pub(crate) fn task_count(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// Whether the end has come: a task made now ends at once.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Ends every task at once, without a chance to clean up by awaiting. Only from inside the loop.
    ///
    /// A destructor may spawn; what it spawns ends as well, unless that goes on and on: then the rest is leaked.
    pub(crate) fn drop_tasks(&self) {
        let mut left = self.tasks.borrow().len() + SPAWNED_BY_DESTRUCTORS;
        while let Some(task) = { self.tasks.borrow_mut().last().cloned() } {
            if left == 0 {
                let leaked = self.tasks.borrow_mut().remove(task.header().place.replace(u32::MAX));
                tracing::error!(target: "ringloop", task = %TaskRef(task).name(),
                    "the destructors of dropped tasks spawn tasks without end: this one is leaked");
                std::mem::forget(leaked);
                continue;
            }
            left -= 1;
            self.drop_future(&task);
        }
    }

    /// Ends every task at once, and closes the inbox.
    pub(crate) fn close(self: &Rc<Self>) {
        if self.closed.get() {
            return;
        }
        let inside = (current_loop::number() != self.number).then(|| self.enter());
        self.drop_tasks();
        while let Some(task) = Ready::here(Ready::pop) {
            drop(task);
        }
        drop(inside);
        // A pusher that finds the inbox closed adds up a cell's two counts by itself, so from here on this thread must
        // not touch the local ones: it counts as a foreign one even if its caller is still inside.
        current_loop::disown(self.number);
        self.closed.set(true);
        for mail in self.shared.close() {
            match mail {
                Mail::Task(parcel) => parcel.merge(),
                Mail::Call(..) | Mail::JobEnded(_) => drop(mail),
            }
        }
    }
}

/// A loop's mailbox, seen from any thread. It may outlive the loop.
#[derive(Clone, Copy)]
pub(crate) struct Mailbox {
    /// The loop's place for other threads.
    shared: &'static Shared,
    /// The loop's number; another one in that place means that the loop is gone.
    number: u32,
}

impl Mailbox {
    /// The mailbox of the loop `number`, if that lives, on whatever thread.
    pub(crate) fn find(number: u32) -> Option<Mailbox> {
        Some(Mailbox { shared: Shared::find(number)?, number })
    }

    pub(crate) fn number(self) -> u32 {
        self.number
    }

    /// Whether the loop still takes mail.
    pub(crate) fn is_open(self) -> bool {
        self.shared.is_open(self.number)
    }

    /// Has the loop call `function` in its next turn, in a copy of the caller's context and in order with the other calls.
    pub(crate) fn call(self, function: Box<dyn FnOnce() + Send>) -> Result<(), LoopClosed> {
        // On the loop's own thread a call by mail would come behind those that are made without it later.
        if current_loop::number() == self.number
            && let Some(executor) = current()
        {
            executor.call_soon(function);
            return Ok(());
        }
        let mut refused = None;
        // What is refused is dropped after the lock: its destructor is user code.
        let mail = Mail::Call(function, context::inherited());
        match self.shared.push(self.number, mail, |mail| refused = Some(mail)) {
            true => Ok(()),
            false => Err(LoopClosed),
        }
    }

    /// Tells the loop that the work for the operation of this key has ended.
    pub(crate) fn job_ended(self, key: u64) {
        self.shared.push(self.number, Mail::JobEnded(key), drop);
    }
}
