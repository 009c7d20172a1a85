//! Debug mode: who holds the loop, for how long, and since when it hangs.
//!
//! The executor measures every poll while it has a watcher, which is made here. A poll that took longer than
//! `Builder::slow_step` is reported when it has ended, with the task's name and the place of its creation. A thread, one a
//! loop, looks from outside at the poll that runs and reports one that has lasted that long and still does, so a loop that
//! hangs for good is named as well. Loop and thread share one small place under a lock, which the loop writes twice a
//! poll, and only in debug mode.

use std::cell::{Cell, RefCell};
use std::panic::Location;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::exceptions::{Exceptions, tell_from_afar};
use super::{Builder, ErrorContext, EventLoop, LoopRef, names, operations};
use crate::executor::{TaskRef, Watcher, label};

/// The shortest look of the thread at the loop.
const GLANCE: Duration = Duration::from_millis(1);

/// The poll that runs, as the loop tells it to other threads.
#[derive(Default)]
struct Step {
    /// When it began; None between two.
    began: Option<Instant>,
    /// The task's name.
    name: String,
    /// It is a function that the loop calls.
    is_hidden: bool,
    /// Where the task was created.
    location: Option<&'static Location<'static>>,
    /// The thread has reported it.
    reported: bool,
    /// The loop has ended, or its debug mode.
    over: bool,
}

/// Where loop and threads meet.
#[derive(Default)]
pub(super) struct Place {
    step: Mutex<Step>,
    /// Told of the end.
    ended: Condvar,
}

impl Place {
    /// What is told of the poll that runs, and how long it has; None between two.
    pub(super) fn describe(&self) -> Option<(String, Duration)> {
        let step = self.lock();
        let began = step.began?;
        Some((label(step.is_hidden, &step.name, step.location), rounded(began.elapsed())))
    }

    fn lock(&self) -> MutexGuard<'_, Step> {
        // Nothing under the lock can leave the step half changed.
        self.step.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A duration that a person reads.
pub(super) fn rounded(duration: Duration) -> Duration {
    let unit = match duration.as_nanos() {
        0..100_000 => 1,
        100_000..100_000_000 => 1_000,
        _ => 1_000_000,
    };
    Duration::from_nanos((duration.as_nanos() / unit * unit) as u64)
}

/// The watcher of one loop while it is in debug mode.
struct Steps {
    slow_step: Duration,
    /// Told of slow steps.
    exceptions: Rc<Exceptions>,
    place: Arc<Place>,
    /// Polls that others run inside of: a task's first step may run in its creator's.
    outside: RefCell<Vec<Step>>,
}

impl Watcher for Steps {
    fn begins(&self, task: &TaskRef, now: Instant) {
        let mut step = self.place.lock();
        if step.began.is_some() {
            self.outside.borrow_mut().push(std::mem::take(&mut *step));
        }
        step.began = Some(now);
        step.reported = false;
        step.location = task.location();
        step.is_hidden = task.is_hidden();
        task.write_name(&mut step.name);
    }

    fn ends(&self, task: &TaskRef, took: Duration) {
        let mut step = self.place.lock();
        match self.outside.borrow_mut().pop() {
            Some(outside) => *step = outside,
            None => step.began = None,
        }
        drop(step);
        if took >= self.slow_step {
            let label = task.label();
            self.exceptions
                .tell(&ErrorContext::new(format!("{label} held the loop for {:?}", rounded(took))));
        }
    }
}

/// Looks at the loop until that is over, and reports each poll that hangs, once.
fn watch(options: &Builder, place: &Place) {
    let limit = options.slow_step.max(GLANCE);
    let mut step = place.lock();
    while !step.over {
        let mut wait = limit;
        if let Some(began) = step.began.filter(|_| !step.reported) {
            let lasted = began.elapsed();
            wait = limit.saturating_sub(lasted);
            if wait.is_zero() {
                step.reported = true;
                let label = label(step.is_hidden, &step.name, step.location);
                drop(step);
                let message = format!("{label} has held the loop for {:?} and still does", rounded(lasted));
                tell_from_afar(&options.on_error, &ErrorContext::new(message));
                step = place.lock();
                continue;
            }
        }
        step = place.ended.wait_timeout(step, wait).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// The debug mode of one loop.
#[derive(Default)]
pub(super) struct Debug {
    on: Cell<bool>,
    /// Outlives a time in which the mode is off: others have it as well.
    place: Arc<Place>,
    /// The thread that watches, and the process that it is in. None while the mode is off, or where none could be started.
    thread: Cell<Option<(JoinHandle<()>, u32)>>,
}

impl Debug {
    pub(super) fn place(&self) -> Arc<Place> {
        self.place.clone()
    }
}

impl EventLoop {
    /// Whether debug mode is on.
    pub(crate) fn is_debug(&self) -> bool {
        self.debug.on.get()
    }

    /// Turns debug mode on or off.
    pub(super) fn set_debug(&self, on: bool) {
        match (self.debug.on.replace(on), on) {
            (false, true) => self.begin_debug(),
            (true, false) => self.end_debug(),
            _ => {}
        }
    }

    fn begin_debug(&self) {
        let place = self.debug.place();
        *place.lock() = Step::default();
        let thread = {
            let (options, place) = (self.options.clone(), place.clone());
            let name = format!("{}-watch", options.name);
            thread::Builder::new().name(name).spawn(move || watch(&options, &place))
        };
        if let Err(error) = &thread {
            let message = "debug mode cannot watch for a loop that hangs: no thread";
            self.report(&ErrorContext::new(message).with_error(error));
        }
        self.debug.thread.set(thread.ok().map(|thread| (thread, std::process::id())));
        let (slow_step, exceptions) = (self.options.slow_step, self.exceptions.clone());
        let steps = Steps { slow_step, exceptions, place, outside: RefCell::default() };
        self.executor.set_watcher(Some(Rc::new(steps)));
    }

    /// What is alive when the loop's end begins, by name, for the log.
    pub(super) fn log_what_is_left(&self) {
        let tasks = self.executor.all_tasks();
        let pending: Vec<_> =
            self.reactor.operations().iter().map(|&(name, descriptor, _)| (name, descriptor)).collect();
        let (writers, bytes) = self.detached.pending();
        let jobs = self.pool.get().map_or(0, |pool| pool.in_flight());
        if self.is_debug() && (tasks.len(), pending.len(), writers, jobs) != (0, 0, 0, 0) {
            tracing::debug!(
                target: "ringloop", tasks = %names(&tasks), operations = %operations(&pending), writers, bytes, jobs,
                "alive when the loop's end begins"
            );
        }
    }

    fn end_debug(&self) {
        self.executor.set_watcher(None);
        let Some((thread, process)) = self.debug.thread.take() else { return };
        // In a forked child there is no such thread, and the lock may be that thread's.
        if process != std::process::id() {
            return std::mem::forget(thread);
        }
        let mut step = self.debug.place.lock();
        step.began = None;
        step.over = true;
        drop(step);
        self.debug.place.ended.notify_all();
        if thread.join().is_err() {
            tracing::error!(target: "ringloop", "the thread that watches the loop has panicked");
        }
    }
}

impl LoopRef {
    /// Whether debug mode is on.
    pub fn is_debug(&self) -> bool {
        self.0.is_debug()
    }

    /// Turns debug mode on or off while the loop runs. What the tasks have done before is not known; where they were
    /// created is known only of those that are made in debug mode. (asyncio: `set_debug`.)
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// ringloop::run(async {
    ///     let event_loop = ringloop::current();
    ///     let before = event_loop.is_debug();
    ///     event_loop.set_debug(true);
    ///     assert!(event_loop.is_debug());
    ///     event_loop.set_debug(before);
    /// })
    /// # }
    /// ```
    pub fn set_debug(&self, on: bool) {
        self.0.set_debug(on);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_for_people() {
        let rounded = |nanos| format!("{:?}", rounded(Duration::from_nanos(nanos)));
        assert_eq!(
            [rounded(1_234), rounded(1_234_567), rounded(1_234_567_890)],
            ["1.234µs", "1.234ms", "1.234s"]
        );
    }
}
