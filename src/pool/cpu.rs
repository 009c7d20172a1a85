//! `CpuPool`: a thread for each processor, for what computes.
//!
//! It is a [`ThreadPool`] of another size, and that is the whole difference: more threads than processors would only take
//! time from each other. It is kept apart from the loop's pool so that a long computation never stands before file work,
//! and file work never before it.

use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use super::{Executor, Job, Refused, ThreadPool};

/// One thread for each processor, for jobs that compute. (asyncio: what a `ProcessPoolExecutor` is taken for; threads of
/// Rust compute side by side.)
///
/// A cheap handle: clone it freely, also into other threads. It works as a [`ThreadPool`] does: threads are started when
/// there is need of them and end after ten idle seconds; jobs are served first come first served. Dropping the last
/// handle waits for nobody: what is queued runs, then the threads end. [`join`](Self::join) waits.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use ringloop::{CpuPool, run_in_executor};
/// ringloop::run(async {
///     let pool = CpuPool::shared();
///     let sum = run_in_executor(pool, || (0..1_000_000u64).map(|n| n * n % 7).sum::<u64>());
///     assert_eq!(sum.await.unwrap(), 1_999_998);
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CpuPool(ThreadPool);

impl CpuPool {
    /// A pool of as many threads as there are processors that this process may use (affinity and cgroup limits count).
    pub fn new() -> Self {
        Self::with_threads(thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }

    /// A pool of up to so many threads, named `cpu-{n}`.
    ///
    /// # Panics
    /// If `threads` is 0.
    pub fn with_threads(threads: usize) -> Self {
        CpuPool(ThreadPool::new("cpu", threads))
    }

    /// The pool of the whole program, made on first use, as [`new`](Self::new) does: all loops together then have no more
    /// busy threads than there are processors.
    ///
    /// Nothing joins it. At the program's end its threads end with the process.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<CpuPool> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    /// Has a job run; see [`ThreadPool::submit`].
    ///
    /// # Errors
    /// The pool was shut down, or it has no thread and can start none. The error has the job.
    pub fn submit(&self, job: Job) -> Result<(), Refused> {
        self.0.submit(job)
    }

    /// How many jobs are queued or running; see [`ThreadPool::in_flight`].
    pub fn in_flight(&self) -> usize {
        self.0.in_flight()
    }

    /// Ends the pool without waiting; see [`ThreadPool::shutdown`]. On the [`shared`](Self::shared) one this is for the whole
    /// program.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }

    /// Ends the pool and waits, blocking this thread, until its threads have ended, but no longer than `limit`. Returns
    /// whether all have ended; see [`ThreadPool::join`]. (asyncio: the end of `with pool:`.)
    ///
    /// # Panics
    /// If a job of this pool calls it.
    pub fn join(&self, limit: Option<Duration>) -> bool {
        self.0.join(limit)
    }
}

impl Default for CpuPool {
    fn default() -> Self {
        Self::new()
    }
}

impl Executor for CpuPool {
    /// Submits the job; a refused one is dropped, with a warning in the log.
    fn execute(&self, job: Job) {
        self.0.execute(job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn it_computes_on_threads_of_its_own_up_to_its_number() {
        let pool = CpuPool::with_threads(2);
        let (tell, told) = channel();
        let (release, held) = channel::<()>();
        let held = std::sync::Arc::new(std::sync::Mutex::new(held));
        for _ in 0..3 {
            let (tell, held) = (tell.clone(), held.clone());
            let job = move || {
                tell.send(thread::current().name().map(String::from)).expect("the test waits for it");
                let _ = held.lock().map(|held| held.recv());
            };
            pool.submit(Box::new(job)).expect("the pool is open");
        }
        let mut names = [told.recv(), told.recv()].map(|name| name.expect("two run at once"));
        names.sort();
        assert_eq!(names.map(|name| name.expect("it has a name")), ["cpu-0", "cpu-1"]);
        assert_eq!(pool.in_flight(), 3, "the third waits for a thread");
        drop(release);
        assert!(pool.join(None));
        assert!(told.recv().is_ok(), "and runs before the pool ends");
        assert!(pool.submit(Box::new(|| ())).is_err());
    }

    #[test]
    fn there_is_one_shared_pool_and_it_has_a_thread_for_each_processor() {
        assert!(std::ptr::eq(CpuPool::shared(), CpuPool::shared()));
        let cpus = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        assert_eq!(CpuPool::new().0.0.limit, cpus);
    }

    #[test]
    #[should_panic(expected = "give it a limit above 0")]
    fn a_pool_without_threads_is_refused() {
        CpuPool::with_threads(0);
    }
}
