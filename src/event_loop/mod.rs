//! The event loop: executor meets reactor.
//!
//! # One turn
//!
//! 1. Take what other threads sent; run the tasks that were ready when the batch began. Those they wake run in the next
//!    turn, after I/O was looked at, so tasks that wake themselves without end starve neither I/O nor timers.
//! 2. Enter the kernel **once**: it takes the queued entries and runs the completion work that it deferred for us. Not at
//!    all if there is nothing of either; sleeping only if no task is ready, and no longer than the next timer.
//! 3. Take the completions, let the table decide, release the borrow, then wake and drop.
//! 4. Wake the owners of due timers, by due time, ties in the order of registration.
//!
//! Queuing never enters. Before it sleeps, the loop announces that to other threads and looks at its inbox once more;
//! whoever pushes later wakes it (`executor/remote.rs`).
//!
//! # What bounds what
//!
//! A batch that lasts longer than [`LOOK`] looks at the ring in between. Sleeps caused by timers alone are at least
//! `Builder::timer_spacing` apart, so a lone timer is exact and a storm is batched; nothing fires early, because a deadline
//! is computed from a fresh reading of the clock and compared with one.
//!
//! * `runner`: `run`, `Runner`, `Builder`, the shutdown. `handle`: `LoopRef`, `LoopHandle`, `SyncFuture`. `callback`:
//!   `call_soon` and its like. `exceptions`: who is told of errors that nobody awaits. `interrupt`: Ctrl-C. `jobs`: what the loop
//!   has handed to other threads.
//! * `debug`: who holds the loop. `dump`: what the tasks do, as text. `inspect`: the same, from outside.

mod callback;
mod debug;
mod detached;
mod dump;
mod exceptions;
mod handle;
mod inspect;
mod interrupt;
mod jobs;
mod runner;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

pub use callback::{Handle, TimerHandle};
use debug::Debug;
pub use detached::DetachLimits;
use detached::Detached;
pub(crate) use detached::{DroppedFile, Home, Writer};
pub use dump::{CallGraph, capture_call_graph, dump_task_tree, dump_tasks, print_call_graph};
use exceptions::Exceptions;
pub use exceptions::{ErrorContext, default_exception_handler};
pub use handle::{LoopHandle, LoopRef, SyncFuture, current, try_current};
use interrupt::Interrupts;
pub use interrupt::Sigint;
use jobs::Jobs;
pub use runner::{Builder, PanicPolicy, Runner, run};

use crate::current_loop::{Layer, get};
use crate::executor::{Executor, Inside, Lost, TaskRef};
use crate::pool::ThreadPool;
use crate::reactor::Reactor;
use crate::ring::{Clock, Notifier, Ring, SetupError, later};
use crate::sys::clock;
use crate::waiting::Waiting;

/// A batch of tasks that lasts longer than this looks at the ring in between.
const LOOK: Duration = Duration::from_micros(100);
/// Tasks run between two looks at the clock.
const STRIDE: usize = 32;

/// The loop that runs on this thread.
pub(crate) fn running() -> Option<Rc<EventLoop>> {
    get(Layer::EventLoop)
}

/// The running loop, or a panic that names the remedy.
#[track_caller]
pub(crate) fn expect_running(what: &str) -> Rc<EventLoop> {
    match running() {
        Some(event_loop) => event_loop,
        None => panic!("{what} outside of an event loop: call it inside `ringloop::run(async {{ .. }})`"),
    }
}

/// One thread's loop.
pub(crate) struct EventLoop {
    /// Ends the loop's sleep from any thread.
    notify: Waker,
    pub(crate) executor: Rc<Executor>,
    pub(crate) reactor: Rc<Reactor>,
    pub(crate) options: Builder,
    /// Told of errors that nobody awaits.
    exceptions: Rc<Exceptions>,
    /// The default thread pool, made on first use.
    pool: OnceCell<ThreadPool>,
    /// What other threads do for this loop.
    jobs: Jobs,
    /// Tasks that other threads have asked for, so that they can be cancelled from there.
    from_threads: RefCell<HashMap<u64, TaskRef>>,
    /// When timers fired last.
    last_timers: Cell<Option<Instant>>,
    /// Turns begun.
    pub(crate) turns: Cell<u64>,
    /// Connections and files whose owners are gone and that still write.
    pub(crate) detached: Detached,
    /// Ctrl-C, for the runs that watch for it.
    interrupts: RefCell<Interrupts>,
    /// The loop ends and waits for the threads of a pool, which are as real as what a paused clock waits for.
    ends_pool: Cell<bool>,
    /// The run ends with this batch.
    stopping: Cell<bool>,
    /// The end has begun.
    closed: Cell<bool>,
    /// Debug mode, while it is on.
    debug: Debug,
}

/// Ends the loop's sleep from any thread.
struct Notify(Notifier);

impl Wake for Notify {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify();
    }
}

impl EventLoop {
    fn new(options: Builder) -> Result<Rc<EventLoop>, SetupError> {
        let ring = Ring::new(&options.ring)?;
        tracing::debug!(target: "ringloop", features = %ring.features(), "event loop");
        let notify = Waker::from(Arc::new(Notify(ring.notifier())));
        let exceptions = Exceptions::new(options.on_error.clone());
        let told = exceptions.clone();
        let on_lost = move |task: &TaskRef, lost: &Lost| told.tell_loss(task, lost);
        let executor = Executor::new(notify.clone(), Box::new(on_lost));
        executor.set_panics_end_runs(options.panics_end_runs());
        let reactor = Reactor::new(ring, executor.mailbox());
        let jobs = Jobs::new(options.ring.clock);
        let event_loop = Rc::new(EventLoop {
            notify,
            executor,
            reactor,
            options,
            exceptions,
            pool: OnceCell::new(),
            jobs,
            from_threads: RefCell::default(),
            last_timers: Cell::new(None),
            turns: Cell::new(0),
            detached: Detached::default(),
            interrupts: RefCell::default(),
            ends_pool: Cell::new(false),
            stopping: Cell::new(false),
            closed: Cell::new(false),
            debug: Debug::default(),
        });
        event_loop.set_debug(event_loop.options.debug);
        inspect::enlist(&event_loop);
        Ok(event_loop)
    }

    /// Makes this the thread's loop until the guard goes.
    fn enter(self: &Rc<Self>) -> Inside {
        self.executor.enter_with(Some(self.reactor.clone()), Some(self.clone()))
    }

    /// Tells the exception handler.
    pub(crate) fn report(&self, context: &ErrorContext) {
        self.exceptions.tell(context);
    }

    /// One turn, as the module head tells it; it ends after the batch if that was what `done` waits for. Says whether that
    /// has come.
    fn turn(&self, done: impl Fn() -> bool) -> io::Result<bool> {
        self.turns.set(self.turns.get() + 1);
        self.executor.take_mail(|key| self.reactor.job_ended(key));
        self.run_batch()?;
        if done() {
            return Ok(true);
        }
        // The most frequent turn by far: tasks wake each other, and the kernel has nothing to say.
        if self.executor.is_ready() && !self.reactor.has_work() {
            return Ok(false);
        }
        self.meet_kernel()?;
        Ok(done())
    }

    /// The kernel's part of a turn.
    fn meet_kernel(&self) -> io::Result<()> {
        match self.executor.is_ready() {
            true => self.look()?,
            false => self.sleep()?,
        }
        self.collect();
        Ok(())
    }

    /// Sleeps until something happens or a timer is due, if nothing has and none is.
    fn sleep(&self) -> io::Result<()> {
        match self.patience() {
            None => self.look(),
            Some(patience) if self.options.ring.clock == Clock::Paused => self.idle_paused(patience),
            Some(patience) if self.fall_asleep() => {
                let slept = self.reactor.enter_kernel(Some(patience));
                self.executor.wake_up();
                slept
            }
            Some(_) => self.look(),
        }
    }

    /// Runs the tasks that are ready now. Inlined, as most batches are of a task or two.
    #[inline(always)]
    fn run_batch(&self) -> io::Result<()> {
        let ready = self.executor.ready_count();
        self.executor.run(ready.min(STRIDE));
        match ready > STRIDE {
            true => self.run_long_batch(ready - STRIDE),
            false => Ok(()),
        }
    }

    /// Runs the rest of a batch, with an eye on the clock.
    #[cold]
    fn run_long_batch(&self, mut left: usize) -> io::Result<()> {
        let mut looked = clock::now();
        while left > 0 {
            let stride = left.min(STRIDE);
            self.executor.run(stride);
            left -= stride;
            if left > 0 && looked.elapsed() > LOOK {
                self.look()?;
                self.reactor.collect(None);
                looked = clock::now();
            }
        }
        Ok(())
    }

    /// Enters the kernel without waiting, if that would do something.
    fn look(&self) -> io::Result<()> {
        match self.reactor.should_enter() {
            true => self.reactor.enter_kernel(None),
            false => Ok(()),
        }
    }

    /// How long the loop may sleep while no task is ready; None: not at all.
    fn patience(&self) -> Option<Duration> {
        if self.reactor.has_completions() {
            return None;
        }
        let Some(next) = self.reactor.next_timer() else { return Some(Duration::MAX) };
        let spaced =
            self.last_timers.get().map_or(next, |last| next.max(later(last, self.options.timer_spacing)));
        let left = spaced.saturating_duration_since(self.reactor.now());
        (!left.is_zero()).then_some(left)
    }

    /// Announces sleep to all who may end it. False: somebody has already tried to.
    fn fall_asleep(&self) -> bool {
        let asleep = self.executor.fall_asleep();
        if asleep && self.is_interrupted() {
            self.executor.wake_up();
            return false;
        }
        asleep
    }

    /// With the paused clock: goes on to the next timer when nothing else can happen.
    fn idle_paused(&self, patience: Duration) -> io::Result<()> {
        self.reactor.enter_kernel(None)?;
        // Asked before the inbox: a job leaves the count after it has told the loop.
        let busy = self.reactor.is_busy() || self.jobs.are_under_way() || self.ends_pool.get();
        if self.reactor.has_completions() || !self.fall_asleep() {
            return Ok(());
        }
        let result = match patience {
            Duration::MAX => self.reactor.enter_kernel(Some(Duration::MAX)),
            // Something real is under way: look again soon, in real time.
            _ if busy => self.reactor.enter_kernel(Some(Duration::from_millis(1))),
            patience => {
                self.reactor.advance_clock(patience);
                Ok(())
            }
        };
        self.executor.wake_up();
        result
    }

    /// Completions and due timers.
    fn collect(&self) {
        let due = self.reactor.due();
        if due.is_some() {
            self.last_timers.set(due);
        }
        if due.is_some() || self.reactor.has_completions() {
            self.reactor.collect(due);
        }
    }
}

/// The names of tasks, for a message; all that is known of those that were made in debug mode.
fn names(tasks: &[TaskRef]) -> String {
    let words = tasks.iter().map(|task| match task.location() {
        Some(_) => format!("{task:?}"),
        None => task.name().to_string(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Operations by name and descriptor, for a message.
fn operations(of: &[(&'static str, Option<i32>)]) -> String {
    let words = of.iter().map(|&(name, descriptor)| Waiting::Operation { name, descriptor }.to_string());
    words.collect::<Vec<_>>().join(", ")
}
