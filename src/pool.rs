//! Threads that run closures: what blocks, or computes for long, goes here instead of holding up a loop.
//!
//! One lock guards one queue of jobs and a stack of idle threads. Who submits a job takes a thread from the
//! top of the stack and wakes it; if none is idle and the limit allows, a new one is started. A thread looks
//! at the queue before it lies down, under the same lock, so no job is left behind. The thread that lay down
//! last is woken first: its caches are warm, and those that a burst has left at the bottom get old and end.
//!
//! Invariants: no job runs, and none is dropped, while the lock is held. A thread is on the stack exactly
//! while nobody has given it work. Each thread that ends joins the one that ended before it, so whoever joins
//! the last has joined them all.
//!
//! Each job begins without context variables, and those that it sets end with it.
//!
//! * `cpu`: the pool for what computes.
//!
//! Not here: results, cancellation and the caller's context, which `to_thread` wraps round a job; and the count
//! of jobs that the paused clock goes by, which the loop keeps that hands them over (see
//! [`ThreadPool::in_flight`]).

mod cpu;

use crate::context;
use crate::error::NO_THREAD;
use crate::sys::clock;
use std::collections::{HashMap, VecDeque};
use std::fmt::{self, Debug, Formatter};
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::{self, JoinHandle, Thread, ThreadId};
use std::time::Duration;

pub use cpu::CpuPool;

/// What a pool runs: once, on a thread of its choice.
pub type Job = Box<dyn FnOnce() + Send>;

/// Something that runs jobs on other threads: a [`ThreadPool`], a [`CpuPool`], or a pool of the user's own, for
/// [`run_in_executor`](crate::run_in_executor).
///
/// A pool of another crate gets it by a type around it. For rayon's that is one line, `self.0.spawn(job)`; here it is a
/// thread that takes jobs from a channel:
///
/// ```
/// use std::sync::mpsc::{Sender, channel};
///
/// use ringloop::{Executor, run_in_executor};
///
/// type Job = Box<dyn FnOnce() + Send>;
/// struct OneThread(Sender<Job>);
///
/// impl Executor for OneThread {
///     fn execute(&self, job: Job) {
///         // Where the thread is gone the job is dropped, and whoever awaits it gets an error.
///         let _ = self.0.send(job);
///     }
/// }
///
/// # fn main() -> Result<(), ringloop::RunError> {
/// let (jobs, line) = channel::<Job>();
/// std::thread::spawn(move || line.into_iter().for_each(|job| job()));
/// let one = OneThread(jobs);
/// ringloop::run(async {
///     assert_eq!(run_in_executor(&one, || 6 * 7).await.unwrap(), 42);
/// })
/// # }
/// ```
pub trait Executor {
    /// Has the job run, soon and on another thread; must not run it here, which would block the loop. An
    /// executor that cannot run the job drops it, and whoever awaits its value is told.
    fn execute(&self, job: Job);
}

/// Threads that run jobs, first come first served: started when there is need of them, reused, ended after
/// ten idle seconds.
///
/// A cheap handle: clone it freely, also into other threads. Dropping the last one detaches the threads: what
/// is queued runs, and they end when they have been idle long enough. [`join`](Self::join) waits for them.
///
/// ```
/// use ringloop::ThreadPool;
/// let pool = ThreadPool::new("hash", 4);
/// pool.submit(Box::new(|| println!("on thread {:?}", std::thread::current().name())))?;
/// assert!(pool.join(None));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct ThreadPool(Arc<Shared>);

/// What the handles and the threads of a pool share.
struct Shared {
    /// Threads are named `{name}-{n}`, n counting from 0.
    name: String,
    /// How many threads there may be at once.
    limit: usize,
    /// How long a thread waits for work before it ends.
    idle_time: Duration,
    /// How a thread of this name is started: by std; the tests have it fail.
    start: fn(String, Job) -> io::Result<JoinHandle<()>>,
    /// All that changes.
    state: Mutex<State>,
    /// Notified when the last thread has ended.
    all_ended: Condvar,
}

/// What changes in a pool, under its lock.
struct State {
    /// Jobs that no thread has taken yet, oldest first.
    queue: VecDeque<Job>,
    /// How many jobs threads are running now.
    running: usize,
    /// Threads that wait for work, the one that began to wait last on top. Whoever wakes one takes it off.
    idle: Vec<Thread>,
    /// The threads that have not ended.
    threads: HashMap<ThreadId, JoinHandle<()>>,
    /// The thread that ended last, for the next one that ends to join.
    last_ended: Option<JoinHandle<()>>,
    /// How many threads were started so far: the number of the next.
    started: usize,
    /// Woken when the last thread has ended.
    watcher: Option<Waker>,
    /// Set by `shutdown`: no new jobs, and threads end when the queue is empty.
    shut_down: bool,
}

/// A job that a pool did not take, and why: the pool was shut down, or it has no thread and can start none.
///
/// Converts into the `io::Error` that it holds.
pub struct Refused {
    /// The job, not run.
    pub job: Job,
    /// Why: the error of starting a thread, or one that says that the pool was shut down.
    pub reason: io::Error,
}

impl ThreadPool {
    /// A pool of up to `limit` threads, named `{name}-{n}`. None is started before there is a job.
    ///
    /// # Panics
    /// If `limit` is 0, or the name has a NUL character.
    pub fn new(name: impl Into<String>, limit: usize) -> Self {
        Self::with_idle_time(name, limit, Duration::from_secs(10))
    }

    /// A pool whose threads end after `idle_time` without work.
    ///
    /// # Panics
    /// If `limit` is 0, or the name has a NUL character.
    pub fn with_idle_time(name: impl Into<String>, limit: usize, idle_time: Duration) -> Self {
        Self::with_start(name.into(), limit, idle_time, |name, work| {
            thread::Builder::new().name(name).spawn(work)
        })
    }

    /// A pool for the crate's own work, of asyncio's size.
    pub(crate) fn for_operations(name: &str) -> Self {
        Self::new(name, usual_size())
    }

    /// A pool whose threads are started by `start`.
    fn with_start(
        name: String,
        limit: usize,
        idle_time: Duration,
        start: fn(String, Job) -> io::Result<JoinHandle<()>>,
    ) -> Self {
        assert!(limit > 0, "a thread pool needs room for one thread at least: give it a limit above 0");
        assert!(!name.contains('\0'), "a thread's name can have no NUL character, and {name:?} has one");
        ThreadPool(Arc::new(Shared {
            name,
            limit,
            idle_time,
            start,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                running: 0,
                idle: Vec::new(),
                threads: HashMap::new(),
                last_ended: None,
                watcher: None,
                started: 0,
                shut_down: false,
            }),
            all_ended: Condvar::new(),
        }))
    }

    /// Has a job run, after those that were submitted before it. Never waits.
    ///
    /// A panic of the job ends the job, not its thread.
    ///
    /// # Errors
    /// The pool was shut down, or it has no thread and the system gives it none (`EAGAIN`, `ENOMEM`). While
    /// it has at least one, it makes do with those it has. The error has the job.
    pub fn submit(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.0.lock();
        if state.shut_down {
            return Err(Refused { job, reason: io::Error::other("the thread pool was shut down") });
        }
        let woken = state.idle.pop();
        if woken.is_none()
            && state.threads.len() < self.0.limit
            && let Err(reason) = self.start_thread(&mut state)
            && state.threads.is_empty()
        {
            return Err(Refused { job, reason });
        }
        state.queue.push_back(job);
        drop(state);
        if let Some(thread) = woken {
            thread.unpark();
        }
        Ok(())
    }

    /// Starts one more thread. The lock is held, so it begins its work when the caller is done.
    fn start_thread(&self, state: &mut State) -> io::Result<()> {
        let shared = Arc::clone(&self.0);
        let thread =
            (self.0.start)(format!("{}-{}", self.0.name, state.started), Box::new(move || shared.work()))
                .map_err(|error| io::Error::new(error.kind(), format!("{NO_THREAD} ({error})")))?;
        state.started += 1;
        state.threads.insert(thread.thread().id(), thread);
        Ok(())
    }

    /// How many jobs are queued or running.
    ///
    /// A job counts until it has returned, which is a moment after it has told anybody about its end. So a
    /// loop that wants to know whether it has something to wait for counts what it has submitted and what it
    /// has heard of instead.
    pub fn in_flight(&self) -> usize {
        let state = self.0.lock();
        state.queue.len() + state.running
    }

    /// Ends the pool without waiting: it takes no more jobs, runs those that are queued, and its threads end.
    pub fn shutdown(&self) {
        let mut state = self.0.lock();
        state.shut_down = true;
        let woken = mem::take(&mut state.idle);
        drop(state);
        woken.iter().for_each(Thread::unpark);
    }

    /// Whether its threads have ended, all that there were; if not, `watcher` is woken when they have.
    pub(crate) fn has_ended(&self, watcher: &Waker) -> bool {
        let watcher = watcher.clone();
        let mut state = self.0.lock();
        if state.threads.is_empty() {
            return true;
        }
        let before = state.watcher.replace(watcher);
        drop(state);
        drop(before);
        false
    }

    /// Whether it takes no more jobs.
    pub(crate) fn is_shut_down(&self) -> bool {
        self.0.lock().shut_down
    }

    /// Ends the pool as [`shutdown`](Self::shutdown) does and waits, blocking this thread, until its threads
    /// have ended, but no longer than `limit`. Returns whether all have ended; those that have not go on, and
    /// can be waited for again.
    ///
    /// # Panics
    /// If a job of this pool calls it, which would wait for itself: call `shutdown` there.
    pub fn join(&self, limit: Option<Duration>) -> bool {
        let by_a_job = self.0.lock().threads.contains_key(&thread::current().id());
        assert!(!by_a_job, "join in a job of the same pool would wait for itself: call shutdown there");
        self.shutdown();
        let alive = |state: &mut State| !state.threads.is_empty();
        let limit = limit.unwrap_or(Duration::MAX);
        let waited = self.0.all_ended.wait_timeout_while(self.0.lock(), limit, alive);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !state.threads.is_empty() {
            return false;
        }
        let last = state.last_ended.take();
        drop(state);
        join_ended(last);
        true
    }
}

impl Default for ThreadPool {
    /// asyncio's default: up to `min(32, cpus + 4)` threads, counting the processors that this process may
    /// use.
    fn default() -> Self {
        Self::new("ringloop", usual_size())
    }
}

fn usual_size() -> usize {
    let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (cpus + 4).min(32)
}

impl Executor for ThreadPool {
    /// Submits the job; a refused one is dropped, with a warning in the log.
    fn execute(&self, job: Job) {
        if let Err(refused) = self.submit(job) {
            tracing::warn!(pool = self.0.name, "a job was dropped: {}", refused.reason);
        }
    }
}

impl Debug for ThreadPool {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Shared { name, limit, .. } = &*self.0;
        f.debug_struct("ThreadPool").field("name", name).field("limit", limit).finish_non_exhaustive()
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> io::Error {
        refused.reason
    }
}

impl Debug for Refused {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl Shared {
    /// The state. No user code runs under this lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a thread does: jobs, as long as there are any, then waiting, then its end.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            while let Some(job) = state.queue.pop_front() {
                state.running += 1;
                drop(state);
                run(job);
                state = self.lock();
                state.running -= 1;
            }
            if state.shut_down {
                break;
            }
            let found_work;
            (state, found_work) = self.wait_for_work(state);
            if !found_work {
                break;
            }
        }
        let this = state.threads.remove(&thread::current().id());
        let before = mem::replace(&mut state.last_ended, this);
        let mut watcher = None;
        if state.threads.is_empty() {
            self.all_ended.notify_all();
            watcher = state.watcher.take();
        }
        drop(state);
        if let Some(watcher) = watcher {
            watcher.wake();
        }
        join_ended(before);
    }

    /// Lies down until somebody takes this thread off the stack, or until it has been idle too long: then it
    /// takes itself off, and the answer is that there is no work. An unpark may be meant for code in an
    /// earlier job, so only the stack counts.
    fn wait_for_work<'a>(&'a self, mut state: MutexGuard<'a, State>) -> (MutexGuard<'a, State>, bool) {
        let this = thread::current();
        let end = clock::now().checked_add(self.idle_time);
        state.idle.push(this.clone());
        loop {
            drop(state);
            let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(clock::now()));
            thread::park_timeout(left);
            state = self.lock();
            match state.idle.iter().position(|idle| idle.id() == this.id()) {
                None => return (state, true),
                Some(place) if left.is_zero() => {
                    state.idle.remove(place);
                    return (state, false);
                }
                Some(_) => {}
            }
        }
    }
}

/// Runs a job and survives it, even one that throws something whose drop throws again.
pub(crate) fn run(job: Job) {
    let mut ended = catch_unwind(AssertUnwindSafe(|| context::run_in(None, job)));
    while let Err(thrown) = ended {
        ended = catch_unwind(AssertUnwindSafe(|| drop(thrown)));
    }
}

/// Joins a thread that has already left its work, so this takes no time. It cannot have panicked: `run`
/// catches all.
fn join_ended(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread {
        let _ = thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::panic_any;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Waits until the pool has nothing to do; then its threads lie down already, because both happen under
    /// one lock.
    fn at_rest(pool: &ThreadPool) {
        while pool.in_flight() > 0 {
            thread::yield_now();
        }
    }

    /// Has the pool tell on which thread it runs a job.
    fn thread_of(pool: &ThreadPool) -> (ThreadId, String) {
        let (tell, told) = channel();
        let job = move || {
            let this = thread::current();
            tell.send((this.id(), this.name().map(String::from))).expect("the test waits for it");
        };
        pool.submit(Box::new(job)).expect("the pool is open");
        let (id, name) = told.recv().expect("the job runs");
        at_rest(pool);
        (id, name.expect("threads of a pool have names"))
    }

    /// Submits a job that says that it has begun and then waits until the sender that this returns is
    /// dropped.
    fn hold(pool: &ThreadPool, begun: &Sender<usize>, number: usize) -> Sender<()> {
        let (release, held) = channel::<()>();
        let begun = begun.clone();
        let job = move || {
            begun.send(number).expect("the test listens");
            let _ = held.recv();
        };
        pool.submit(Box::new(job)).expect("the pool is open");
        release
    }

    fn alive(pool: &ThreadPool) -> usize {
        pool.0.lock().threads.len()
    }

    /// THREAD-11: created lazily, named, idle threads reused.
    #[test]
    fn an_idle_thread_is_reused() {
        let pool = ThreadPool::new("few", 4);
        assert_eq!(alive(&pool), 0);
        let first = thread_of(&pool);
        assert_eq!(first.1, "few-0");
        assert_eq!(thread_of(&pool), first);
        assert_eq!(alive(&pool), 1);
        assert!(pool.join(None));
    }

    #[test]
    fn the_thread_that_lay_down_last_is_woken_first() {
        let pool = ThreadPool::new("stack", 2);
        let (begun, begins) = channel();
        let (first, second) = (hold(&pool, &begun, 0), hold(&pool, &begun, 1));
        begins.recv().and_then(|_| begins.recv()).expect("both run");
        drop(second);
        while pool.in_flight() > 1 {
            thread::yield_now();
        }
        drop(first);
        at_rest(&pool);
        let woken = thread_of(&pool);
        assert_eq!([thread_of(&pool), thread_of(&pool)], [woken.clone(), woken]);
        assert_eq!(alive(&pool), 2);
        assert!(pool.join(None));
    }

    /// THREAD-11: grows when no thread is idle, up to the limit; then jobs wait their turn.
    #[test]
    fn the_pool_grows_with_need_and_not_beyond_its_limit() {
        let pool = ThreadPool::new("grow", 2);
        let (begun, begins) = channel();
        let mut held: Vec<_> = (0..4).map(|number| hold(&pool, &begun, number)).collect();
        let mut running = [begins.recv(), begins.recv()].map(|number| number.expect("two run at once"));
        running.sort();
        assert_eq!((running, alive(&pool), pool.in_flight()), ([0, 1], 2, 4));
        assert!(begins.try_recv().is_err());

        held.remove(0);
        assert_eq!(begins.recv(), Ok(2));
        drop(held);
        assert_eq!(begins.recv(), Ok(3));
        at_rest(&pool);
        assert_eq!(alive(&pool), 2);
        assert!(pool.join(None));
    }

    #[test]
    fn a_job_that_panics_leaves_its_thread_alive() {
        struct Bomb(usize);
        impl Drop for Bomb {
            fn drop(&mut self) {
                if let Some(left) = self.0.checked_sub(1) {
                    panic_any(Bomb(left));
                }
            }
        }
        let pool = ThreadPool::new("panic", 1);
        let before = thread_of(&pool);
        pool.submit(Box::new(|| panic!("a job panics"))).expect("the pool is open");
        pool.submit(Box::new(|| panic_any(Bomb(3)))).expect("the pool is open");
        assert_eq!(thread_of(&pool), before);
        assert!(pool.join(None));
    }

    #[test]
    fn a_thread_ends_when_it_was_idle_too_long_and_the_next_job_starts_another() {
        let pool = ThreadPool::with_idle_time("brief", 2, Duration::from_millis(1));
        let (first, _) = thread_of(&pool);
        while alive(&pool) > 0 {
            thread::yield_now();
        }
        let (second, name) = thread_of(&pool);
        assert_ne!(first, second);
        assert_eq!(name, "brief-1");
        assert!(pool.join(None));
    }

    #[test]
    fn an_endless_idle_time_is_no_overflow() {
        let pool = ThreadPool::with_idle_time("endless", 1, Duration::MAX);
        assert_eq!(thread_of(&pool), thread_of(&pool));
        assert!(pool.join(Some(Duration::MAX)));
    }

    #[test]
    fn an_unpark_that_a_job_left_behind_does_not_count_as_work() {
        let pool = ThreadPool::new("token", 1);
        let before = thread_of(&pool);
        pool.submit(Box::new(|| thread::current().unpark())).expect("the pool is open");
        at_rest(&pool);
        thread::sleep(Duration::from_millis(20)); // for as long as it takes a thread to end that should not
        assert_eq!(thread_of(&pool), before);
        assert!(pool.join(None));
    }

    /// THREAD-08: running and queued jobs end, later ones are refused, and come back.
    #[test]
    fn join_runs_what_is_queued_and_refuses_what_comes_later() {
        let pool = ThreadPool::new("last", 1);
        let (begun, begins) = channel();
        let held = hold(&pool, &begun, 0);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = |ran: &Arc<AtomicUsize>| -> Job {
            let ran = Arc::clone(ran);
            Box::new(move || {
                ran.fetch_add(1, Ordering::Relaxed);
            })
        };
        (0..3).for_each(|_| pool.submit(count(&ran)).expect("the pool is open"));
        pool.shutdown();
        let refused = pool.submit(count(&ran)).expect_err("the pool is shut down");
        assert_eq!(refused.reason.to_string(), "the thread pool was shut down");
        drop(held);
        assert!(pool.join(None));
        assert_eq!((ran.load(Ordering::Relaxed), alive(&pool), pool.in_flight()), (3, 0, 0));
        (refused.job)();
        assert_eq!(ran.load(Ordering::Relaxed), 4);
        assert_eq!(begins.recv(), Ok(0));
        assert!(pool.join(None), "a second join finds that all have ended");
    }

    /// THREAD-09: a stuck job does not hold up a join with a limit.
    #[test]
    fn join_with_a_limit_says_whether_all_have_ended() {
        let pool = ThreadPool::new("stuck", 2);
        let (begun, begins) = channel();
        let held = hold(&pool, &begun, 0);
        begins.recv().expect("it runs");
        assert!(!pool.join(Some(Duration::from_millis(1))));
        drop(held);
        assert!(pool.join(None));
    }

    #[test]
    fn a_job_that_joins_its_own_pool_is_told_so_and_the_pool_stays_open() {
        let pool = ThreadPool::new("self", 1);
        let (tell, told) = channel();
        let same = pool.clone();
        let job = move || {
            let thrown =
                catch_unwind(AssertUnwindSafe(|| same.join(None))).expect_err("it would wait for itself");
            tell.send(thrown).expect("the test waits for it");
        };
        pool.submit(Box::new(job)).expect("the pool is open");
        let thrown = told.recv().expect("the job runs");
        assert!(thrown.downcast_ref::<&str>().is_some_and(|text| text.ends_with("call shutdown there")));
        thread_of(&pool);
        assert!(pool.join(None));
    }

    #[test]
    fn without_a_thread_a_job_is_refused_and_with_one_it_waits_its_turn() {
        fn no_thread(_: String, _: Job) -> io::Result<JoinHandle<()>> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        fn only_the_first(name: String, work: Job) -> io::Result<JoinHandle<()>> {
            if name.ends_with("-0") {
                thread::Builder::new().name(name).spawn(work)
            } else {
                no_thread(name, work)
            }
        }
        let none = ThreadPool::with_start("none".into(), 4, Duration::from_secs(1), no_thread);
        let refused = none.submit(Box::new(|| {})).expect_err("there is no thread");
        assert_eq!(io::Error::from(refused).kind(), io::ErrorKind::WouldBlock);
        assert_eq!(none.in_flight(), 0);
        assert!(none.join(None));

        let one = ThreadPool::with_start("one".into(), 4, Duration::from_secs(1), only_the_first);
        let (begun, begins) = channel();
        let held = [hold(&one, &begun, 0), hold(&one, &begun, 1)];
        assert_eq!((begins.recv(), alive(&one), one.in_flight()), (Ok(0), 1, 2));
        drop(held);
        assert_eq!(begins.recv(), Ok(1));
        assert!(one.join(None));
    }

    #[test]
    fn an_executor_drops_a_job_that_it_cannot_run() {
        let pool = ThreadPool::new("closed", 1);
        pool.shutdown();
        let (held, dropped): (Sender<()>, Receiver<()>) = channel();
        pool.execute(Box::new(move || drop(held)));
        assert!(dropped.recv().is_err());
        assert_eq!(alive(&pool), 0);
    }

    #[test]
    fn jobs_from_many_threads_run_once_each_while_threads_come_and_go() {
        let (submitters, jobs) = if cfg!(miri) { (2, 10) } else { (4, 2_000) };
        let pool = ThreadPool::with_idle_time("many", 3, Duration::from_micros(20));
        let ran = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..submitters {
                scope.spawn(|| {
                    for number in 0..jobs {
                        let ran = Arc::clone(&ran);
                        let job = move || {
                            ran.fetch_add(1, Ordering::Relaxed);
                        };
                        pool.submit(Box::new(job)).expect("the pool is open");
                        if number % 7 == 0 {
                            at_rest(&pool);
                        }
                    }
                });
            }
        });
        assert!(pool.join(None));
        assert_eq!(ran.load(Ordering::Relaxed), submitters * jobs);
    }

    #[test]
    #[should_panic(expected = "give it a limit above 0")]
    fn a_pool_without_room_is_refused() {
        ThreadPool::new("nobody", 0);
    }
}
