//! `run`, `Runner` and `Builder`: making a loop, running futures on it, and its end.
//!
//! The end follows asyncio's `run`, in this order: tasks are cancelled and awaited; detached writers get their time; the
//! thread pools are joined while the loop goes on turning; what is left of tasks is dropped; the ring is drained, within a
//! limit, or its memory leaked with a warning. Nothing is freed early.

use std::future::IntoFuture;
use std::io;
use std::marker::PhantomData;
use std::panic::{Location, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::exceptions::ErrorHandler;
use super::inspect;
use super::{DetachLimits, ErrorContext, EventLoop, LoopHandle, Sigint, names, operations, running};
use crate::context::{self, Context};
use crate::error::RunError;
use crate::executor::{Spawn, TaskRef, yield_now};
use crate::pool::ThreadPool;
use crate::ring::{Clock, Config, FaultPlan, FeatureMask, Features, SetupError, is_main_thread, later};
use crate::sys::clock;

/// Runs `main` on a new event loop and returns its output, after asyncio's shutdown: the tasks that are left are cancelled
/// and awaited, bytes written to sockets are sent, the thread pool is joined, operations in flight are drained.
///
/// Ctrl-C cancels `main`, which may clean up, as in asyncio; [`Builder::sigint`] tells more. That holds on the program's main
/// thread, while SIGINT has its default action: a handler of the program's own is left alone. To leave SIGINT alone in any
/// case: `Builder::new().run(main)`. An exit status of 130 is up to the caller; [`#[ringloop::main]`](macro@crate::main)
/// gives it.
///
/// # Errors
/// The ring could not be made (the text says why and what to do), Ctrl-C was pressed ([`RunError::is_interrupted`]), or
/// `main` was cancelled otherwise. A panic of `main` resumes here.
///
/// # Panics
/// Inside another loop of this thread: await the future there, or create a task.
///
/// ```
/// fn main() -> Result<(), ringloop::RunError> {
///     let answer = ringloop::run(async { 6 * 7 })?;
///     assert_eq!(answer, 42);
///     Ok(())
/// }
/// ```
#[track_caller]
pub fn run<F: IntoFuture>(main: F) -> Result<F::Output, RunError> {
    assert!(
        running().is_none(),
        "ringloop::run inside of an event loop: await the future, or give it to `create_task`, instead of running it"
    );
    // Of other threads the process would outlive the first Ctrl-C, as whoever started them does not hear of it.
    let sigint = if is_main_thread() { Sigint::Cancel } else { Sigint::Default };
    Builder::new().sigint(sigint).run(main)
}

/// How often a loop's end that lasts says what it waits for.
const NOTICE: Duration = Duration::from_secs(10);

/// Whether a switch in the environment is on.
fn is_set(switch: &str) -> bool {
    std::env::var_os(switch).is_some_and(|value| !value.is_empty() && value != "0")
}

/// How a loop is made. `Send`: it may be made on one thread and built on another; the ring belongs to the thread that
/// calls [`build`](Self::build).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut runner = ringloop::Builder::new().name("worker").ring_entries(64).build()?;
/// let one = runner.run(async { 1 })?;
/// let two = runner.run(async { one + 1 })?;
/// assert_eq!(two, 2);
/// runner.close()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    pub(super) ring: Config,
    pub(super) name: String,
    pub(super) debug: bool,
    pub(super) slow_step: Duration,
    threads: Threads,
    shutdown_timeout: Duration,
    drain_timeout: Duration,
    pub(super) timer_spacing: Duration,
    pub(crate) detached: DetachLimits,
    panics: PanicPolicy,
    pub(super) sigint: Sigint,
    pub(super) on_error: Option<ErrorHandler>,
}

/// The default thread pool.
#[derive(Clone)]
enum Threads {
    /// The loop's own, of asyncio's size.
    Usual,
    /// The loop's own.
    UpTo(usize),
    /// The user's.
    Of(ThreadPool),
}

/// What a panic of a task does besides reaching whoever awaits it; see [`Builder::on_panic`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PanicPolicy {
    /// Nothing. If nobody awaits the task it goes to the exception handler.
    #[default]
    Keep,
    /// It ends the run.
    Propagate,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// The defaults. `RINGLOOP_DEBUG` in the environment, neither empty nor `0`, turns debug mode on;
    /// `RINGLOOP_INSPECT=path` does so as well, and has the loops of the process answer on a unix socket there.
    pub fn new() -> Self {
        Builder {
            ring: Config::default(),
            name: "ringloop".into(),
            debug: is_set("RINGLOOP_DEBUG") || inspect::wanted().is_some(),
            slow_step: Duration::from_millis(100),
            threads: Threads::Usual,
            shutdown_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(5),
            timer_spacing: Duration::from_micros(200),
            detached: DetachLimits::default(),
            panics: PanicPolicy::default(),
            sigint: Sigint::Default,
            on_error: None,
        }
    }

    /// The size of the submission queue, in entries: 1 to 32,768, rounded up to a power of two and to 4. Default 256. More
    /// operations than this may be in flight; it bounds how many one system call submits.
    pub fn ring_entries(mut self, entries: u32) -> Self {
        let room = entries.saturating_mul(4).min(Config::LONGEST.1);
        self.ring.completions = self.ring.completions.max(room);
        self.ring.entries = entries;
        self
    }

    /// The size of the completion queue, in entries: 1 to 65,536, and never less than the submission queue. By default four
    /// times that, and at least 1024. An overflow loses nothing but costs time.
    pub fn completion_entries(mut self, entries: u32) -> Self {
        self.ring.completions = entries;
        self
    }

    /// The buffers that the kernel may fill for sockets: how many (a power of two, at most 32,768), and their size in bytes
    /// (1 to 2^30). Default 128 of 16 KiB. A connection holds one only while data waits in it.
    pub fn buffers(mut self, count: u16, size: u32) -> Self {
        self.ring.buffers = count;
        self.ring.buffer_size = size;
        self
    }

    /// How many kernel worker threads the loop may have: for work that ends by itself (files), and for work that may wait
    /// without end. At least 1 of each; default 4 and 64.
    pub fn workers(mut self, bounded: u32, unbounded: u32) -> Self {
        self.ring.workers = Some((bounded, unbounded));
        self
    }

    /// Pretends that the kernel lacks what the mask names.
    pub fn feature_mask(mut self, mask: FeatureMask) -> Self {
        self.ring.mask = mask;
        self
    }

    /// Injects faults between the loop and the kernel, for tests.
    pub fn faults(mut self, plan: FaultPlan) -> Self {
        self.ring.faults = Some(plan);
        self
    }

    /// The loop's clock; [`Clock::Paused`] is for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.ring.clock = clock;
        self
    }

    /// Debug mode: tasks remember where they were created, how often and for how long they were polled and what they wait
    /// for (see [`dump_tasks`](crate::dump_tasks)), and who holds the loop is reported (see
    /// [`slow_step`](Self::slow_step)). Default: `RINGLOOP_DEBUG=1`.
    pub fn debug(mut self, on: bool) -> Self {
        self.debug = on;
        self
    }

    /// In debug mode, how long one poll of a task may hold the loop before that is reported to
    /// [`on_error`](Self::on_error), with the task's name and where it was created: once when it has lasted so long and still
    /// does, by a thread that watches, and once when it has ended. Default 100 ms. (asyncio: `slow_callback_duration`.)
    pub fn slow_step(mut self, limit: Duration) -> Self {
        self.slow_step = limit;
        self
    }

    /// How many threads `to_thread` may use, at least 1. Default: the number of CPUs plus 4, at most 32, as in asyncio.
    pub fn thread_pool(mut self, threads: usize) -> Self {
        self.threads = Threads::UpTo(threads);
        self
    }

    /// The pool that `to_thread` uses, in place of one of the loop's own; so several loops may share their threads. File
    /// work and name lookups have threads of the loop's own in any case, so that no job holds them up. (asyncio:
    /// `loop.set_default_executor`.)
    ///
    /// The loop's end does not end this pool and does not wait for its jobs: what is queued runs. A pool that is
    /// [shut down](ThreadPool::shutdown) refuses the loop's jobs, and whoever awaits one gets an error. Of this and
    /// [`thread_pool`](Self::thread_pool), what was said last counts.
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// let pool = ringloop::ThreadPool::new("shared", 2);
    /// let builder = ringloop::Builder::new().default_executor(pool.clone());
    /// let name = || std::thread::current().name().map(str::to_owned);
    /// let ran_on = builder.run(async move { ringloop::to_thread(name).await.unwrap() })?;
    /// assert_eq!(ran_on.as_deref(), Some("shared-0"));
    /// assert!(pool.join(None), "it is the user's to end");
    /// # Ok(()) }
    /// ```
    #[doc(alias = "set_default_executor")]
    pub fn default_executor(mut self, pool: ThreadPool) -> Self {
        self.threads = Threads::Of(pool);
        self
    }

    /// A name for threads and messages, without NUL characters. Default `ringloop`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How long the end waits for cancelled tasks, detached writers and the loop's own thread pool, together. Default 300
    /// seconds. While it waits, the exception handler is told every 10 seconds of what for.
    pub fn shutdown_timeout(mut self, limit: Duration) -> Self {
        self.shutdown_timeout = limit;
        self
    }

    /// How long the end waits for the kernel to give back what it was lent; afterwards that memory is leaked, with a
    /// warning. Default 5 seconds.
    pub fn drain_timeout(mut self, limit: Duration) -> Self {
        self.drain_timeout = limit;
        self
    }

    /// How far apart sleeps caused only by timers are at least. Default 200 us.
    pub fn timer_spacing(mut self, spacing: Duration) -> Self {
        self.timer_spacing = spacing;
        self
    }

    /// What may still be sent for connections whose stream was dropped; beyond it they are reset.
    pub fn detached_writers(mut self, limits: DetachLimits) -> Self {
        self.detached = limits;
        self
    }

    /// What a panic of a task does to the run. By default nothing: the [`JoinError`](crate::JoinError) has it, and the other
    /// tasks go on.
    ///
    /// With [`PanicPolicy::Propagate`] the first panic of any task, or of a callback, resumes from [`Runner::run`] after the
    /// current batch of tasks, as SystemExit and KeyboardInterrupt do in asyncio: main is dropped where it stands. The task's
    /// `JoinError` then has the panic's text only. Panics during the loop's end, and on other threads, end no run.
    pub fn on_panic(mut self, policy: PanicPolicy) -> Self {
        self.panics = policy;
        self
    }

    /// What Ctrl-C does during a run. Default: [`Sigint::Default`], as for a library that runs a loop inside of a program of
    /// others. [`run`] on the main thread and `#[ringloop::main]` take it, as asyncio does.
    ///
    /// With [`Sigint::Cancel`], the first Ctrl-C of a run cancels main. If that ends it, and nobody else asked for it, the
    /// run's error [`is_interrupted`](RunError::is_interrupted); a main that catches the cancel and returns has its value
    /// returned. The second, while main still runs, ends the process as if nobody had taken the signal, once all tasks are
    /// dropped. The third ends it even where a task blocks the loop.
    ///
    /// Between runs, and during the end of the loop, Ctrl-C does what it did before. So it does also in a run if it is
    /// ignored or has a handler of another's when the run begins. Of several runs, on several threads, each that asked is
    /// cancelled.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ringloop::{Builder, Sigint, sleep, with_cleanup};
    /// let mut runner = Builder::new().sigint(Sigint::Cancel).build()?;
    /// let work = sleep(std::time::Duration::from_secs(3600));
    /// let ended = runner.run(with_cleanup(work, async |_| println!("cleaned up")));
    /// runner.close()?;
    /// match ended {
    ///     Err(error) if error.is_interrupted() => std::process::exit(130),
    ///     ended => Ok(ended?),
    /// }
    /// # }
    /// ```
    pub fn sigint(mut self, sigint: Sigint) -> Self {
        self.sigint = sigint;
        self
    }

    /// Told of errors that nobody awaits: a panic or an error of a detached task (which errors, tells
    /// [`Task::detach`](crate::Task::detach)), a connection reset at a limit, leaks at the end. By default they go to
    /// [`default_exception_handler`](crate::default_exception_handler). A running loop can be given another by
    /// [`LoopRef::set_exception_handler`](crate::LoopRef::set_exception_handler); debug mode's watcher, on its own thread, goes
    /// on telling this one. A handler that panics is told of by the default one, and the loop goes on.
    pub fn on_error(mut self, handler: impl Fn(&ErrorContext) + Send + Sync + 'static) -> Self {
        self.on_error = Some(Arc::new(handler));
        self
    }

    /// Makes the loop, on this thread.
    ///
    /// # Errors
    /// [`SetupError`] tells what forbids io_uring here, and what to do about it; or which of these options cannot work, and
    /// what it may be.
    pub fn build(self) -> Result<Runner, SetupError> {
        self.check()?;
        Ok(Runner { event_loop: EventLoop::new(self)?, context: None, local: PhantomData })
    }

    /// Makes the loop, on this thread, runs `main` on it and closes it: [`run`] with these options.
    ///
    /// # Errors
    /// As [`run`]; inside another loop of this thread as well.
    ///
    /// ```
    /// # fn main() -> Result<(), ringloop::RunError> {
    /// let answer = ringloop::Builder::new().thread_pool(2).run(async { 6 * 7 })?;
    /// assert_eq!(answer, 42);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn run<F: IntoFuture>(self, main: F) -> Result<F::Output, RunError> {
        if running().is_some() {
            return Err(RunError::already_running());
        }
        let mut runner = self.build()?;
        let output = runner.run(main);
        runner.close()?;
        output
    }

    /// Refuses an option that cannot work here, where it can be named, and not where it is used first.
    fn check(&self) -> Result<(), SetupError> {
        let refuse = |what: String| Err(SetupError::of_option(format!("Builder::{what}.")));
        let Config { entries, completions, buffers, buffer_size, workers, .. } = self.ring;
        let (bounded, unbounded) = workers.unwrap_or((1, 1));
        let numbers = [
            ("ring_entries: the number of entries", entries, Config::LONGEST.0),
            ("completion_entries: the number of entries", completions, Config::LONGEST.1),
            ("buffers: the number of buffers", buffers.into(), Config::MOST_BUFFERS.0.into()),
            ("buffers: the size of a buffer", buffer_size, Config::MOST_BUFFERS.1),
            // The kernel takes a zero for "as it is", and a number above this for an error.
            ("workers: the number of bounded workers", bounded, i32::MAX as u32),
            ("workers: the number of unbounded workers", unbounded, i32::MAX as u32),
        ];
        for (what, number, most) in numbers {
            if number == 0 || number > most {
                return refuse(format!("{what} is {number}, and must be 1 to {most}"));
            }
        }
        if !buffers.is_power_of_two() {
            return refuse(format!(
                "buffers: the number of buffers is {buffers}, and must be a power of two"
            ));
        }
        if let Threads::UpTo(0) = self.threads {
            return refuse("thread_pool: the number of threads is 0, and must be 1 or more".into());
        }
        if self.name.contains('\0') {
            return refuse(format!(
                "name: {:?} has a NUL character, which no thread's name can have",
                self.name
            ));
        }
        Ok(())
    }

    pub(super) fn make_pool(&self) -> ThreadPool {
        match &self.threads {
            Threads::Usual => ThreadPool::default(),
            Threads::UpTo(limit) => ThreadPool::new(&self.name, *limit),
            Threads::Of(pool) => pool.clone(),
        }
    }

    /// Whether the default thread pool ends with the loop.
    pub(super) fn owns_pool(&self) -> bool {
        !matches!(self.threads, Threads::Of(_))
    }

    pub(super) fn panics_end_runs(&self) -> bool {
        self.panics == PanicPolicy::Propagate
    }
}

/// One loop, for several runs. Tasks go on from run to run; [`close`](Self::close) or a drop ends them.
///
/// It never leaves its thread; see [`Builder`] for an example.
pub struct Runner {
    event_loop: Rc<EventLoop>,
    /// The context of what is run, from the first run on; in it None as long as nothing is set.
    context: Option<Option<Context>>,
    /// Not `Send`.
    local: PhantomData<Rc<()>>,
}

impl Runner {
    /// Runs `main` to its end. Tasks that it leaves are not polled until the next run.
    ///
    /// All runs have one [context](crate::Context), in the beginning a copy of the caller's: what one sets, the next sees.
    ///
    /// # Errors
    /// `main` was cancelled, by Ctrl-C (see [`Builder::sigint`]) or otherwise; the loop was stopped
    /// ([`LoopHandle::stop`]); another loop runs on this thread; or the ring broke ([`RunError::is_broken`]).
    #[track_caller]
    pub fn run<F: IntoFuture>(&mut self, main: F) -> Result<F::Output, RunError> {
        let here = Location::caller();
        let location = self.event_loop.is_debug().then_some(here);
        if running().is_some() {
            return Err(RunError::already_running());
        }
        let context = self.context.get_or_insert_with(context::inherited);
        let event_loop = &self.event_loop;
        let _inside = event_loop.enter();
        let _watching = event_loop.watch_sigint();
        let (mut broken, mut interrupted) = (None, false);
        let how = Spawn { name: Some("main".into()), location, context: context.clone(), ..Spawn::default() };
        let output = event_loop.executor.scoped(main.into_future(), how, |root| {
            broken = event_loop.drive(root).err();
            interrupted = event_loop.was_interrupted(root);
            *context = root.context_if_any();
        });
        event_loop.stopping.set(false);
        if let Some(payload) = event_loop.executor.take_panic() {
            resume_unwind(payload);
        }
        match (broken, output) {
            (Some(error), _) => Err(RunError::broken(error)),
            (None, Some(Ok(output))) => Ok(output),
            (None, Some(Err(error))) if error.is_panic() => resume_unwind(error.into_panic()),
            (None, Some(Err(_))) if interrupted => Err(RunError::interrupted()),
            (None, Some(Err(error))) => {
                Err(RunError::cancelled(error.reason().map(|reason| reason.to_owned().into())))
            }
            (None, None) => Err(RunError::stopped()),
        }
    }

    /// Runs one turn of the loop without a root: what is ready runs, what has completed is taken in. For step-by-step
    /// tests; it does not sleep.
    pub fn run_once(&mut self) -> Result<(), RunError> {
        self.run(yield_now())
    }

    /// A handle for other threads.
    pub fn handle(&self) -> LoopHandle {
        LoopHandle::of(&self.event_loop)
    }

    /// What the kernel offers to this loop.
    pub fn features(&self) -> Option<Features> {
        self.event_loop.reactor.features()
    }

    /// Ends the loop; see [`run`].
    ///
    /// # Errors
    /// The kernel broke the ring.
    pub fn close(self) -> Result<(), RunError> {
        self.event_loop.shut_down();
        Ok(())
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.event_loop.shut_down();
    }
}

impl EventLoop {
    /// Turns until the root has ended, or a stop or a panic ends the run.
    fn drive(&self, root: &TaskRef) -> io::Result<()> {
        let is_over = || root.is_done() || self.stopping.get() || self.executor.has_panicked();
        let mut over = is_over();
        while !over {
            if self.is_interrupted() {
                self.answer_interrupts(root);
            }
            over = self.turn(is_over)?;
        }
        Ok(())
    }

    /// Turns until `done` or the deadline, and says every [`NOTICE`] what the end waits for.
    fn turn_until(&self, deadline: Instant, done: impl Fn(&Self) -> bool) -> bool {
        let begun = self.reactor.now();
        let mut notice = later(begun, NOTICE);
        loop {
            let next = notice.min(deadline);
            // A timer that wakes no task, so that the loop does not sleep past it.
            let alarm = self.reactor.add_timer(next, std::task::Waker::noop().clone());
            let turned = self.turn_before(next, &done);
            self.reactor.remove_timer(alarm);
            if let Err(error) = turned {
                self.report(&ErrorContext::new("the ring broke at the loop's end").with_error(error));
                return done(self);
            }
            if done(self) || next == deadline {
                return done(self);
            }
            let waited = notice.saturating_duration_since(begun);
            let held = self.held_by();
            self.report(&ErrorContext::new(format!("the loop's end has waited for {waited:?} for {held}")));
            notice = later(notice, NOTICE);
        }
    }

    /// Turns until `done` or the time `end`.
    fn turn_before(&self, end: Instant, done: impl Fn(&Self) -> bool) -> io::Result<()> {
        while !done(self) && self.reactor.now() < end {
            self.turn(|| done(self))?;
        }
        Ok(())
    }

    /// Names the tasks, writers and jobs that keep the loop from its end.
    fn held_by(&self) -> String {
        let tasks = self.executor.all_tasks();
        let (writers, bytes) = self.detached.pending();
        let pools = self.pool.get().into_iter().chain(self.reactor.threads());
        let jobs: usize = pools.map(ThreadPool::in_flight).sum();
        let mut held = Vec::new();
        if !tasks.is_empty() {
            held.push(format!("tasks: {}", names(&tasks)));
        }
        if writers > 0 {
            held.push(format!("{writers} dropped connections and files with {bytes} bytes to write"));
        }
        if jobs > 0 {
            held.push(format!("{jobs} jobs on the thread pool"));
        }
        held.join("; ")
    }

    /// Ends a thread pool. The loop goes on turning meanwhile, because jobs may wait for it. False: some of them have not
    /// ended by the deadline.
    fn end_pool(&self, pool: &ThreadPool, deadline: Instant) -> bool {
        pool.shutdown();
        // In real time: a clock that is paused stands still for a job.
        let end = clock::now().checked_add(deadline.saturating_duration_since(self.reactor.now()));
        self.ends_pool.set(true);
        let has_ended = || pool.has_ended(&self.notify);
        self.turn_until(deadline, |_| has_ended() || end.is_some_and(|end| clock::now() >= end));
        self.ends_pool.set(false);
        pool.join(Some(Duration::ZERO))
    }

    /// The end, as the module head tells it. Again: nothing.
    fn shut_down(self: &Rc<Self>) {
        if self.closed.replace(true) {
            return;
        }
        let inside = self.enter();
        self.executor.set_panics_end_runs(false);
        self.exceptions.begin_end();
        let limit = self.options.shutdown_timeout;
        let deadline = self.reactor.after(limit);
        // In a forked child nothing here is ours; and where the thread's own storage is gone, no task can run any more.
        if !self.reactor.is_child() && self.reactor.is_listed() {
            self.log_what_is_left();
            // Tasks that are made while others clean up are cancelled as well.
            let cleaned_up = !self.executor.cancel_all();
            if !self.turn_until(deadline, |event_loop| event_loop.executor.cancel_all()) {
                let left = self.executor.all_tasks();
                self.report(&ErrorContext::new(format!(
                    "tasks did not end within {limit:?} of being cancelled and are dropped: {}",
                    names(&left)
                )));
            }
            // What the last of them has asked the loop to call; other callbacks and all timers are left, and dropped below.
            if (cleaned_up || self.executor.has_due_callbacks())
                && let Err(error) = self.turn(|| true)
            {
                self.report(&ErrorContext::new("the ring broke at the loop's end").with_error(error));
            }
            let is_settled =
                |event_loop: &Self| event_loop.executor.cancel_all() && event_loop.detached.pending().0 == 0;
            let settled = self.turn_until(deadline, is_settled);
            let (writers, bytes) = self.detached.pending();
            if !settled && writers > 0 {
                self.report(&ErrorContext::new(format!(
                    "{writers} dropped connections and files still had {bytes} bytes to write after {limit:?}, which are lost"
                )));
            }
            let users = self.pool.get().filter(|_| self.options.owns_pool());
            // The crate's own threads last: jobs of the user's may ask the loop for what these do.
            for pool in users.into_iter().chain(self.reactor.threads()) {
                if !self.end_pool(pool, deadline) {
                    self.report(&ErrorContext::new(format!(
                        "{} jobs on the thread pool did not end within {limit:?} and are left",
                        pool.in_flight()
                    )));
                }
            }
            // Jobs may have made tasks, and these may have written.
            self.turn_until(deadline, is_settled);
        }
        self.executor.close();
        let leaked = self.reactor.close(self.options.drain_timeout);
        if !leaked.is_empty() {
            self.report(&ErrorContext::new(format!(
                "the kernel did not finish {} operations within {:?}; their memory is leaked: {}",
                leaked.len(),
                self.options.drain_timeout,
                operations(&leaked)
            )));
        }
        self.set_debug(false);
        inspect::strike(self);
        drop(inside);
    }
}
