//! Jobs in worker processes, for isolation: a job that crashes, aborts or never ends costs a process, not the program.
//!
//! For work that only computes, [`CpuPool`](crate::CpuPool) is the better pool: threads of Rust compute side by side, take
//! closures, and copy nothing.
//!
//! * `function`: what can be asked for, and [`process_fn!`](crate::process_fn). `frame`: what is said between pool and worker.
//!   `worker`: the other process. `process`: a process by its pidfd; `child`: watched by a loop. `start`: how one becomes a
//!   worker. This file: the pool.
//!
//! A job goes its way in [`ProcessPool::run`]: it waits for its turn, takes an idle worker or starts one, and
//! talks to it. While it talks the future owns the worker, so that dropping the future drops the worker, which kills it.
//! A worker that has answered goes back to the idle ones.
//!
//! Not here: subprocesses of other programs. Context variables do not go along: they are not data that serde knows.

mod child;
mod error;
mod frame;
mod function;
mod process;
mod start;
mod worker;

use std::cell::{Cell, RefCell};
use std::fmt::{self, Debug, Formatter};
use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::ProcessError;
use frame::Tag;
pub use function::ProcessFn;
use start::Worker;
pub use worker::worker_main;

use crate::sync::Semaphore;
use crate::task::timeout;
use crate::waiting::{Waiting, said, take_back, waits_for};

#[doc(hidden)]
pub mod private {
    //! What `process_fn!` writes down names these.
    pub use super::function::{Registered, serve};
    pub use inventory;
}

/// How often a job is given to another worker because one has died before it began the job.
const TRIES: u32 = 3;
/// How long a worker may take to end when it has closed its socket, or is to end.
const GRACE: Duration = Duration::from_secs(1);

/// A pool of worker processes. (asyncio: `ProcessPoolExecutor`.)
///
/// The workers are this program again, started when they are needed and used again; they run functions made by
/// [`process_fn!`](crate::process_fn). Arguments and results go by serde, through [postcard](https://docs.rs/postcard), which does
/// not know what needs a self-describing format (`#[serde(untagged)]`, `flatten`, `serde_json::Value`).
/// [`#[ringloop::main]`](macro@crate::main) hands the workers over; any other `main` must call [`worker_main`] first.
///
/// **Isolation.** A worker that exits, aborts or is killed gives its job [`ProcessError::Died`]; one whose function panics lives
/// on. In place of a dead worker the next job that needs one gets a new one. A worker that dies between two jobs is no job's
/// business: a job is given to another one as long as it has not begun.
///
/// **A worker** has the environment, working directory and limits that the program has when it starts, statics of its own,
/// stdout and stderr in common, no stdin, no descriptor that this crate or std has opened, and no context variables. It is a
/// process group of its own, so Ctrl-C reaches only the program. Its functions run on its main thread. It ends when its pool
/// does, also if the program is killed.
///
/// **Dropping** the last handle of a pool kills its workers. [`close`](Self::close) waits.
///
/// A cheap handle: clone it into tasks. It belongs to a thread and works with each loop of that thread. To a paused
/// [`Clock`](crate::Clock) a job is the outside world: the clock does not wait for it.
///
/// ```
/// use std::time::Duration;
/// use ringloop::{ProcessError, ProcessPool, timeout};
///
/// ringloop::process_fn! {
///     fn count(text: String) -> usize { text.split_whitespace().count() }
///     fn crash(_: ()) { std::process::abort() }
///     fn never(_: ()) { loop { std::thread::park() } }
/// }
///
/// #[ringloop::main]
/// async fn main() -> Result<(), ProcessError> {
///     let pool = ProcessPool::new(2);
///     assert_eq!(pool.run(count, "to be or not".into()).await?, 4);
///
///     let crashed = pool.run(crash, ()).await;
///     assert!(matches!(crashed, Err(ProcessError::Died { .. })));
///
///     let endless = timeout(Duration::from_millis(50), pool.run(never, ())).await;
///     assert!(endless.is_err(), "and the worker is killed");
///
///     assert_eq!(pool.run(count, "still here".into()).await?, 2);
///     pool.close().await;
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct ProcessPool(Rc<Shared>);

struct Shared {
    /// How many workers there may be.
    limit: usize,
    /// A permit for each: whoever has one may use a worker, first come first served.
    turns: Semaphore,
    /// Workers without a job, the one used last on top.
    idle: RefCell<Vec<Worker>>,
    /// No new jobs.
    closed: Cell<bool>,
}

impl ProcessPool {
    /// A pool of up to so many workers. None is started before there is a job.
    ///
    /// # Panics
    /// If `workers` is 0.
    pub fn new(workers: usize) -> Self {
        assert!(workers > 0, "a process pool needs one worker at least: give it a number above 0");
        worker::end_if_lost();
        ProcessPool(Rc::new(Shared {
            limit: workers,
            turns: Semaphore::new(workers),
            idle: RefCell::default(),
            closed: Cell::new(false),
        }))
    }

    /// Runs `function` with `argument` in a worker, after the jobs that were first polled before this one, and gives its result.
    ///
    /// The argument is written before the job waits for its turn, and both it and the result are written and read on this
    /// thread: megabytes take milliseconds.
    ///
    /// # Errors
    /// [`ProcessError`] tells them apart.
    ///
    /// # Cancellation
    /// A job in line is withdrawn. One that runs is ended: its worker is killed, and how far it has come is unknown.
    ///
    /// # Panics
    /// Outside of an event loop.
    pub async fn run<A: Serialize, O: DeserializeOwned>(
        &self,
        function: ProcessFn<A, O>,
        argument: A,
    ) -> Result<O, ProcessError> {
        let pool = &self.0;
        if pool.closed.get() {
            return Err(ProcessError::Closed);
        }
        let request = frame::request(function.name(), &argument);
        let request = Bytes::from(request.map_err(|error| ProcessError::Argument(error.to_string()))?);
        drop(argument);
        let _turn = pool.turns.acquire().await;
        let mut tries = 1;
        let (tag, body) = loop {
            let worker = in_process(None, pool.worker()).await?;
            let number = Some(worker.child.number());
            match in_process(number, worker.ask(request.clone())).await {
                Asked::Answered(tag, body) => {
                    pool.idle.borrow_mut().push(worker);
                    break (tag, body);
                }
                Asked::NotBegun if tries < TRIES => tries += 1,
                Asked::NotBegun | Asked::Died => {
                    return Err(ProcessError::Died { status: worker.child.status() });
                }
                Asked::Broken(error) => return Err(ProcessError::Broken(error)),
            }
        };
        let text = || String::from_utf8_lossy(&body).into_owned();
        match tag {
            Tag::Output => {
                postcard::from_bytes(&body).map_err(|error| ProcessError::Output(error.to_string()))
            }
            Tag::Panicked => Err(ProcessError::Panicked(text())),
            Tag::BadArgument => Err(ProcessError::Argument(text())),
            Tag::BadOutput => Err(ProcessError::Output(text())),
            _ => Err(ProcessError::Unknown(text())),
        }
    }

    /// Ends the pool: takes no more jobs, waits for those that it has, and for its workers to exit.
    ///
    /// # Cancellation
    /// The pool stays closed; its jobs go on.
    pub async fn close(&self) {
        let pool = &self.0;
        pool.closed.set(true);
        // Behind all jobs that wait.
        let _all = pool.turns.acquire_many(pool.limit).await;
        let idle = pool.idle.take();
        for worker in &idle {
            worker.dismiss().await;
        }
        for worker in idle {
            worker.child.end(GRACE).await;
        }
    }
}

impl Default for ProcessPool {
    /// A worker for each processor that this process may use.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, NonZeroUsize::get))
    }
}

impl Debug for ProcessPool {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessPool")
            .field("workers", &self.0.limit)
            .field("idle", &self.0.idle.borrow().len())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// An idle worker that lives, or a new one.
    async fn worker(&self) -> Result<Worker, ProcessError> {
        let dead = |worker: &mut Worker| worker.child.has_ended();
        let (dead, idle) = {
            let mut idle = self.idle.borrow_mut();
            let dead: Vec<Worker> = idle.extract_if(.., dead).collect();
            (dead, idle.pop())
        };
        drop(dead);
        match idle {
            Some(worker) => Ok(worker),
            None => Worker::start().await.map_err(ProcessError::Start),
        }
    }
}

/// In place of the threads and sockets that such a wait consists of, debug mode is told of the worker.
async fn in_process<T>(number: Option<u32>, wait: impl Future<Output = T>) -> T {
    let mut wait = pin!(wait);
    poll_fn(|cx| {
        let before = said();
        let polled = wait.as_mut().poll(cx);
        take_back(before);
        if polled.is_pending() {
            waits_for(|| Waiting::Process(number));
        }
        polled
    })
    .await
}

/// What came of a job that was given to a worker.
enum Asked {
    /// Its answer.
    Answered(Tag, Vec<u8>),
    /// The worker is dead, and had not begun it.
    NotBegun,
    /// The worker is dead, and had begun it.
    Died,
    /// The worker said what cannot be said.
    Broken(std::io::Error),
}

impl Worker {
    /// Gives it a job and waits for the answer or its death.
    async fn ask(&self, request: Bytes) -> Asked {
        self.child.watch();
        let begun = Cell::new(false);
        let talk = async {
            self.send(request).await?;
            loop {
                match self.receive().await? {
                    (Tag::Begun, _) => begun.set(true),
                    (Tag::Ready | Tag::Run, _) => {
                        return Err(std::io::Error::new(
                            std::io::ErrorKind::InvalidData,
                            "it is out of turn",
                        ));
                    }
                    answer => return Ok(answer),
                }
            }
        };
        let mut talk = pin!(talk);
        let ended = pin!(self.child.ended());
        let told = match select(&mut talk, ended).await {
            Either::Left((told, _)) => Some(told),
            // What it has said before its end is in the socket, and then the end of that: unless the job has left a process
            // behind that holds the socket open.
            Either::Right(_) => timeout(GRACE, talk).await.ok(),
        };
        match told {
            Some(Ok((tag, body))) => Asked::Answered(tag, body),
            Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => Asked::Broken(error),
            _ => {
                self.child.end(GRACE).await;
                if begun.get() { Asked::Died } else { Asked::NotBegun }
            }
        }
    }
}
