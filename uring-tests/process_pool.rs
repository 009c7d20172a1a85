//! Jobs in worker processes. The workers are this suite again: its `main` hands over first of all.
//!
//! What the frames look like and what a function answers is tried in `src/process_pool/`; here are the processes.

use crate::fork::in_a_fork;
use crate::harness::aftermath::descriptors;
use crate::harness::kinds::{run_on, settle, start, turns};
use crate::harness::pairs::connected;
use crate::harness::probes::poll_once;
use crate::harness::process::{IN_PROCESS, patience};
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use ringloop::fs::File;
use ringloop::{
    Builder, ProcessError, ProcessPool, context_var, create_task, gather_settled, process_fn, sleep, timeout,
    yield_now,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::fs;
use std::future::Future;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const TRIALS: &[Trial] = &[
    io!(a_function_runs_in_another_process_while_tasks_go_on),
    io!(a_worker_that_dies_gives_its_job_an_error_and_is_replaced),
    io!(a_panic_ends_the_job_and_not_the_worker),
    io!(a_value_that_serde_does_not_carry_is_an_error),
    io!(a_job_sees_no_context_variable_of_its_caller),
    once!(debug_mode_names_the_worker_that_is_waited_for),
    io!(more_than_a_megabyte_goes_there_and_back),
    io!(an_endless_job_is_killed_at_its_limit),
    io!(a_cancelled_jobs_worker_is_killed_and_reaped),
    io!(a_job_that_is_dropped_while_its_worker_starts_leaves_nothing),
    io!(a_cancelled_job_in_line_never_starts),
    io!(a_hundred_jobs_on_four_workers_begin_in_order),
    io!(a_worker_that_is_killed_between_two_jobs_is_no_jobs_business),
    io!(a_close_waits_for_jobs_in_hand_and_in_line),
    io!(the_last_handle_kills_the_workers_on_a_loop_and_outside),
    io!(the_loops_end_ends_jobs_in_hand),
    io!(a_worker_inherits_nothing_and_has_no_input),
    io!(a_pool_goes_from_loop_to_loop_with_its_workers),
    io!(a_pool_works_on_any_thread),
    once!(a_fork_of_the_program_leaves_the_workers_alone),
    once!(a_process_that_a_job_leaves_behind_does_not_hide_the_workers_end),
    once!(workers_end_with_a_program_that_is_killed),
    once!(a_program_that_hands_nothing_over_is_told_so),
    once!(the_attributes_main_hands_workers_over_before_anything_else),
    once!(workers_that_start_workers_are_stopped),
    once!(a_pool_without_workers_is_refused),
];

/// In the environment of a program that does not hand its workers over at once.
const FORGETFUL: &str = "RINGLOOP_TRIAL_FORGETFUL";
/// In the environment of a program that is killed: where its job says that it has begun.
const VICTIM: &str = "RINGLOOP_TRIAL_VICTIM";

/// A way to end.
#[derive(Serialize, Deserialize)]
enum End {
    Exit(i32),
    Abort,
    /// A real one: std's handler of SIGSEGV, which looks for stack overflows, survives a raised one.
    Fault,
    Signal(i32),
}

/// Not to be written.
struct Unwritable;
/// Not to be read.
struct Unreadable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("not to be written"))
    }
}

impl<'de> Deserialize<'de> for Unwritable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Unwritable)
    }
}

impl Serialize for Unreadable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("not to be read"))
    }
}

context_var! { static LEVEL: ContextVar<u32> }

process_fn! {
    fn process(_: ()) -> u32 { std::process::id() }

    /// What it sees of a context variable, and what the next job sees of what it sets.
    fn level(_: ()) -> Option<u32> {
        let seen = LEVEL.get();
        LEVEL.set(7);
        seen
    }

    fn echo(bytes: Vec<u8>) -> Vec<u8> { bytes }

    fn die(how: End) {
        match how {
            End::Exit(status) => std::process::exit(status),
            End::Abort => std::process::abort(),
            // SAFETY: it is not: that is the point. Nothing is mapped there.
            End::Fault => unsafe { std::ptr::without_provenance_mut::<u8>(8).write_volatile(0) },
            End::Signal(number) => {
                raise(Signal::try_from(number).expect("it is a signal")).expect("it can be raised");
                unreachable!("the signal was fatal");
            }
        }
    }

    fn panic(text: String) { panic!("{text}") }

    /// Says that it has begun, and never ends.
    fn never(begun: PathBuf) {
        fs::write(&begun, format!("{}\n", std::process::id())).expect("the case's folder can be written");
        loop { std::thread::park() }
    }

    /// Says that it has begun, and ends when it is told to.
    fn until((begun, told): (PathBuf, PathBuf)) -> String {
        fs::write(begun, "\n").expect("the case's folder can be written");
        while !told.exists() { std::thread::sleep(Duration::from_millis(1)) }
        "told".into()
    }

    /// Puts its number at the end of the file.
    fn note((path, number): (PathBuf, u32)) -> u32 {
        use std::io::Write;
        let mut file = fs::File::options().append(true).create(true).open(path).expect("it can be opened");
        file.write_all(&number.to_le_bytes()).expect("it can be written");
        std::process::id()
    }

    fn write_what_cannot_be_written(_: ()) -> Unwritable { Unwritable }
    fn write_what_cannot_be_read(_: ()) -> Unreadable { Unreadable }
    fn take_what_cannot_be_read(_: Unreadable) {}
    fn take_what_cannot_be_written(_: Unwritable) {}

    /// What it has open, and what it can read.
    fn surroundings(_: ()) -> (Vec<(i32, String)>, Vec<u8>) {
        let mut input = Vec::new();
        std::io::stdin().read_to_end(&mut input).expect("it can be read");
        (descriptors().into_iter().collect(), input)
    }

    /// Leaves a process that has the worker's socket, and dies.
    fn leave_a_process(_: ()) {
        // SAFETY: the child does nothing but sleep and leave.
        if let nix::unistd::ForkResult::Child = unsafe { nix::unistd::fork() }.expect("a process may fork") {
            std::thread::sleep(Duration::from_secs(5));
            // SAFETY: it ends the process and touches nothing.
            unsafe { nix::libc::_exit(0) }
        }
        std::process::abort();
    }

    /// Has a worker of its own do the same.
    fn nest(_: ()) -> String {
        start(Builder::new())
            .run(async { ProcessPool::new(1).run(nest, ()).await.unwrap_or_else(|error| error.to_string()) })
            .expect("it is not cancelled")
    }
}

/// In the environment of a program whose `main` is the attribute's, and of its workers: where they leave their marks.
const ATTRIBUTED: &str = "RINGLOOP_TRIAL_ATTRIBUTED";

mod attributed {
    use super::{ATTRIBUTED, process};
    use ringloop::ProcessPool;
    use std::io::Write;

    /// Notes which process evaluates the options.
    fn noted() -> &'static str {
        let marks = std::env::var_os(ATTRIBUTED).expect("this program has it in its environment");
        let mut marks =
            std::fs::File::options().append(true).create(true).open(marks).expect("it can be opened");
        writeln!(marks, "{}", std::process::id()).expect("it can be written");
        "attributed"
    }

    #[ringloop::main(name = noted())]
    pub async fn main() -> Result<(), ringloop::ProcessError> {
        let pool = ProcessPool::new(1);
        println!("{} {}", std::process::id(), pool.run(process, ()).await?);
        pool.close().await;
        Ok(())
    }
}

/// Makes a process that is a worker do nothing else: first in `main`.
pub fn hand_over() {
    if std::env::var_os(ATTRIBUTED).is_some() {
        attributed::main().expect("the job is well");
        std::process::exit(0);
    }
    if std::env::var_os(FORGETFUL).is_none() {
        ringloop::process_pool::worker_main();
    }
}

/// Waits for the line that a job writes when it has begun.
async fn begun(path: &Path) -> String {
    let deadline = Instant::now() + Duration::from_secs(15) * patience();
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text.trim_end().to_owned(),
            _ => assert!(Instant::now() < deadline, "the job does not begin"),
        }
        turns(1).await;
    }
}

/// Waits until there is no process of that number any more, not even a dead one.
async fn reaped(number: u32) {
    let deadline = Instant::now() + Duration::from_secs(15) * patience();
    while Path::new(&format!("/proc/{number}")).exists() {
        assert!(Instant::now() < deadline, "the worker {number} is not reaped");
        turns(1).await;
    }
}

fn kill_hard(number: u32) {
    kill(Pid::from_raw(number as i32), Signal::SIGKILL).expect("it is our child");
}

/// Whether this process has no child, not even a dead one.
fn is_childless() -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, look) == Err(Errno::ECHILD)
}

fn assert_childless() {
    assert!(is_childless());
}

/// Runs the body with a pool, which is closed afterwards.
fn with_pool<F: Future<Output = ()>>(ctx: &Ctx, workers: usize, body: impl FnOnce(ProcessPool) -> F) {
    ctx.run(async {
        let pool = ProcessPool::new(workers);
        body(pool.clone()).await;
        pool.close().await;
        assert_childless();
    });
}

/// PROC-01: by processes.
fn a_function_runs_in_another_process_while_tasks_go_on(ctx: &Ctx) {
    with_pool(ctx, 2, async |pool| {
        assert_childless();
        let (has_begun, told) = (ctx.path("begun"), ctx.path("told"));
        let task = create_task({
            let (pool, paths) = (pool.clone(), (has_begun.clone(), told.clone()));
            async move { pool.run(until, paths).await }
        });
        begun(&has_begun).await;
        assert!(!task.is_done());
        fs::write(told, "").expect("the case's folder can be written");
        assert_eq!(task.await.expect("not cancelled").expect("it ends"), "told");
        let first = pool.run(process, ()).await.expect("it runs");
        assert_ne!(first, std::process::id());
        assert_eq!(pool.run(process, ()).await.expect("it runs"), first, "an idle worker is used again");
        assert_eq!(process(()), std::process::id(), "called directly it runs here");
    });
}

fn a_worker_that_dies_gives_its_job_an_error_and_is_replaced(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let mut seen = BTreeSet::new();
        let (abort, segv, kill) = (Signal::SIGABRT, Signal::SIGSEGV, Signal::SIGKILL);
        let ends = [
            (End::Exit(3), (Some(3), None), "exit status: 3"),
            (End::Exit(0), (Some(0), None), "exit status: 0"),
            (End::Abort, (None, Some(abort as i32)), "signal: 6 (SIGABRT)"),
            (End::Fault, (None, Some(segv as i32)), "signal: 11 (SIGSEGV)"),
            (End::Signal(kill as i32), (None, Some(kill as i32)), "signal: 9 (SIGKILL)"),
        ];
        for (how, expected, text) in ends {
            assert!(seen.insert(pool.run(process, ()).await.expect("it runs")), "a new worker");
            let error = pool.run(die, how).await.expect_err("the worker ends");
            let said = error.to_string();
            assert_eq!(said, format!("the worker process ended with the job in hand: {text}"));
            let ProcessError::Died { status: Some(status) } = error else { panic!("{error:?}") };
            assert_eq!((status.code(), status.signal()), expected);
            assert_childless();
        }
    });
}

fn a_panic_ends_the_job_and_not_the_worker(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let before = pool.run(process, ()).await.expect("it runs");
        match pool.run(panic, "on purpose".into()).await {
            Err(ProcessError::Panicked(text)) => assert_eq!(text, "on purpose"),
            other => panic!("{other:?}"),
        }
        assert_eq!(pool.run(process, ()).await.expect("it runs"), before);
    });
}

fn a_value_that_serde_does_not_carry_is_an_error(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let before = pool.run(process, ()).await.expect("it runs");
        let there = pool.run(take_what_cannot_be_read, Unreadable).await;
        assert!(matches!(there, Err(ProcessError::Argument(_))), "{there:?}");
        let never_sent = pool.run(take_what_cannot_be_written, Unwritable).await;
        assert!(matches!(never_sent, Err(ProcessError::Argument(_))), "{never_sent:?}");
        let back = pool.run(write_what_cannot_be_written, ()).await.map(drop);
        assert!(matches!(back, Err(ProcessError::Output(_))), "{back:?}");
        let here = pool.run(write_what_cannot_be_read, ()).await.map(drop);
        assert!(matches!(here, Err(ProcessError::Output(_))), "{here:?}");
        assert_eq!(pool.run(process, ()).await.expect("it runs"), before, "the worker lives on");
    });
}

/// PROC-03, and from one job to the next in the same worker neither.
fn a_job_sees_no_context_variable_of_its_caller(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        LEVEL.set(5);
        for _ in 0..2 {
            assert_eq!(pool.run(level, ()).await.expect("it runs"), None);
        }
        assert_eq!(LEVEL.get(), Some(5));
    });
}

fn debug_mode_names_the_worker_that_is_waited_for(ctx: &Ctx) {
    run_on(ctx.builder().debug(true), async {
        let (pool, path) = (ProcessPool::new(1), ctx.path("begun"));
        let (running, waiting) = (pool.clone(), pool.clone());
        let job = path.clone();
        let running = create_task(async move { running.run(never, job).await.map(drop) });
        turns(1).await;
        let shown = format!("{running:?}");
        assert!(shown.contains("waiting for a worker process"), "{shown}");
        let number = begun(&path).await;
        let shown = format!("{running:?}");
        assert!(shown.contains(&format!("waiting for worker process {number}")), "{shown}");
        assert!(!shown.contains("recv"), "its socket goes without saying: {shown}");
        let waiting = create_task(async move { waiting.run(process, ()).await.map(drop) });
        turns(1).await;
        let shown = format!("{waiting:?}");
        assert!(shown.contains("waiting for semaphore"), "in line for the only worker: {shown}");
        running.cancel();
        assert!(running.await.expect_err("it was cancelled").is_cancelled());
        waiting.await.expect("no panic").expect("it runs");
        pool.close().await;
    });
}

fn more_than_a_megabyte_goes_there_and_back(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let bytes: Vec<u8> = (0..(3u32 << 19) + 1).map(|number| (number % 251) as u8).collect();
        assert!(pool.run(echo, bytes.clone()).await.expect("it runs") == bytes);
        assert!(pool.run(echo, Vec::new()).await.expect("it runs").is_empty());
    });
}

fn an_endless_job_is_killed_at_its_limit(ctx: &Ctx) {
    ctx.run_paused(async {
        let pool = ProcessPool::new(1);
        // The limit comes at once, for nothing else is under way than what the clock does not know.
        let ended = timeout(Duration::from_secs(3600), pool.run(never, ctx.path("begun"))).await;
        ended.expect_err("it never ends");
        let heals = pool.run(process, ()).await.expect("the pool heals");
        assert_ne!(heals, std::process::id());
        pool.close().await;
        assert_childless();
    });
}

fn a_cancelled_jobs_worker_is_killed_and_reaped(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let path = ctx.path("begun");
        let task = create_task({
            let (pool, path) = (pool.clone(), path.clone());
            async move { pool.run(never, path).await }
        });
        let worker = begun(&path).await;
        task.cancel();
        assert!(task.await.expect_err("it was cancelled").is_cancelled());
        reaped(worker.parse().expect("it is a number")).await;
        settle(|now| now.operations == 0).await;
        assert_childless();
        assert_eq!(pool.run(echo, vec![1]).await.expect("the pool heals"), [1]);
    });
}

fn a_job_that_is_dropped_while_its_worker_starts_leaves_nothing(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let mut early = Box::pin(pool.run(never, ctx.path("never")));
        assert!(poll_once(&mut early).await.is_pending());
        turns(2).await;
        drop(early);
        // On a thread: a moment later.
        let deadline = Instant::now() + Duration::from_secs(15) * patience();
        while !is_childless() {
            assert!(Instant::now() < deadline, "the worker is left");
            turns(1).await;
        }
        assert_eq!(pool.run(echo, vec![1]).await.expect("it runs"), [1]);
    });
}

fn a_cancelled_job_in_line_never_starts(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let (has_begun, told, notes) = (ctx.path("begun"), ctx.path("told"), ctx.path("notes"));
        let mut first = Box::pin(pool.run(until, (has_begun.clone(), told.clone())));
        assert!(poll_once(&mut first).await.is_pending());
        let jobs = [1, 2, 3].map(|number| {
            let (pool, notes) = (pool.clone(), notes.clone());
            create_task(async move { pool.run(note, (notes, number)).await })
        });
        yield_now().await;
        jobs[1].cancel();
        fs::write(told, "").expect("the case's folder can be written");
        assert_eq!(first.await.expect("it ends"), "told");
        let ends = gather_settled(jobs).await;
        assert_eq!(ends.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        let noted = fs::read(&notes).expect("they have noted");
        assert_eq!(noted, [1u32.to_le_bytes(), 3u32.to_le_bytes()].concat());
    });
}

fn a_hundred_jobs_on_four_workers_begin_in_order(ctx: &Ctx) {
    with_pool(ctx, 4, async |pool| {
        let path = ctx.path("notes");
        let jobs: Vec<_> = (0..100)
            .map(|number| {
                let (pool, path) = (pool.clone(), path.clone());
                create_task(async move { pool.run(note, (path, number)).await })
            })
            .collect();
        let ends = gather_settled(jobs).await;
        let workers: BTreeSet<u32> =
            ends.into_iter().map(|end| end.expect("no panic").expect("it runs")).collect();
        assert!(workers.len() <= 4, "{workers:?}");
        let notes = fs::read(&path).expect("they have noted");
        let notes: Vec<u32> = notes
            .chunks_exact(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("four bytes")))
            .collect();
        assert_eq!(notes.iter().collect::<BTreeSet<_>>().len(), 100, "each once");
        for (place, number) in notes.iter().enumerate() {
            // When a job begins, all before it have begun, and three at most have not ended.
            let late = notes[place..].iter().filter(|later| *later < number).count();
            assert!(late <= 3, "{number} began before {late} of its elders had ended: {notes:?}");
        }
    });
}

fn a_worker_that_is_killed_between_two_jobs_is_no_jobs_business(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let mut last = pool.run(process, ()).await.expect("it runs");
        for reaped_before in [false, true, false] {
            kill_hard(last);
            if reaped_before {
                reaped(last).await;
            }
            let next = pool.run(process, ()).await.expect("the job never sees it");
            assert_ne!(next, last);
            last = next;
        }
    });
}

fn a_close_waits_for_jobs_in_hand_and_in_line(ctx: &Ctx) {
    ctx.run(async {
        let before = descriptors();
        let pool = ProcessPool::new(1);
        let (has_begun, told) = (ctx.path("begun"), ctx.path("told"));
        let in_hand = create_task({
            let (pool, paths) = (pool.clone(), (has_begun.clone(), told.clone()));
            async move { pool.run(until, paths).await }
        });
        let in_line = create_task({
            let pool = pool.clone();
            async move { pool.run(process, ()).await }
        });
        begun(&has_begun).await;
        let mut close = pin!(pool.close());
        assert!(poll_once(&mut close).await.is_pending());
        let late = pool.run(process, ()).await;
        assert!(matches!(late, Err(ProcessError::Closed)), "{late:?}");
        fs::write(told, "").expect("the case's folder can be written");
        close.await;
        assert!(in_hand.is_done() && in_line.is_done());
        in_hand.await.expect("not cancelled").expect("it was waited for");
        in_line.await.expect("not cancelled").expect("it was waited for");
        assert_childless();
        pool.close().await;
        settle(|now| now.operations == 0).await;
        let left: Vec<_> =
            descriptors().into_iter().filter(|(number, _)| !before.contains_key(number)).collect();
        assert!(
            left.iter().all(|(_, target)| !target.contains("socket:") && !target.contains("pidfd")),
            "{left:?}"
        );
    });
}

fn the_last_handle_kills_the_workers_on_a_loop_and_outside(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let outside = runner
        .run(async {
            let pool = ProcessPool::new(1);
            let worker = pool.run(process, ()).await.expect("it runs");
            let again = pool.clone();
            drop(pool);
            assert_eq!(again.run(process, ()).await.expect("it runs"), worker, "not the last");
            drop(again);
            reaped(worker).await;
            let outside = ProcessPool::new(1);
            outside.run(process, ()).await.expect("it runs");
            outside
        })
        .expect("it runs");
    runner.close().expect("it ends");
    drop(outside);
    assert_childless();
}

fn the_loops_end_ends_jobs_in_hand(ctx: &Ctx) {
    let mut runner = ctx.runner();
    runner
        .run(async {
            let path = ctx.path("begun");
            let job = path.clone();
            create_task(async move { ProcessPool::new(1).run(never, job).await }).detach();
            begun(&path).await;
        })
        .expect("it runs");
    runner.close().expect("it ends");
    assert_childless();
}

fn a_worker_inherits_nothing_and_has_no_input(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let both_ends = connected().await;
        let file = File::create(ctx.path("file")).await.expect("the folder can be written");
        let (open, input) = pool.run(surroundings, ()).await.expect("it runs");
        assert!(input.is_empty());
        // What the suite itself was started with, a jobserver's pipe say, is not the library's to close.
        let targets = open.iter().map(|(_, target)| &**target);
        let sockets: BTreeSet<&str> = targets.filter(|target| target.starts_with("socket:")).collect();
        assert_eq!(sockets.len(), 1, "its own: {open:?}");
        let own = descriptors();
        assert!(!own.values().any(|target| sockets.contains(&**target)), "which we have not: {own:?}");
        let path = ctx.path("file");
        let ours = |target: &str| target.contains("anon_inode:") || Path::new(target) == path;
        assert!(
            own.values().any(|target| ours(target)) && !open.iter().any(|(_, target)| ours(target)),
            "{open:?}"
        );
        assert_eq!(open[0], (0, "/dev/null".to_owned()));
        file.close().await.expect("it closes");
        drop(both_ends);
    });
}

fn a_pool_goes_from_loop_to_loop_with_its_workers(ctx: &Ctx) {
    let pool = ProcessPool::new(1);
    let ask = async || pool.run(process, ()).await.expect("it runs");
    let mut first = ctx.runner();
    let worker = first.run(ask()).expect("it runs");
    // Both alive, in turn: what the other one watches, it does not see while it stands still.
    let mut second = ctx.runner();
    assert_eq!(second.run(ask()).expect("it runs"), worker);
    assert_eq!(first.run(ask()).expect("it runs"), worker);
    let died = second.run(pool.run(die, End::Abort)).expect("it runs");
    assert!(matches!(died, Err(ProcessError::Died { status: Some(_) })), "{died:?}");
    let heir = second.run(ask()).expect("it runs");
    assert_ne!(heir, worker);
    second.close().expect("it ends");
    assert_eq!(first.run(ask()).expect("it runs"), heir, "it outlives the loop that started it");
    first.run(pool.close()).expect("it runs");
    first.close().expect("it ends");
    assert_childless();
}

fn a_pool_works_on_any_thread(ctx: &Ctx) {
    let builder = ctx.builder();
    let thread = std::thread::spawn(move || {
        let mut runner = builder.build().expect("the kernel has a ring");
        runner
            .run(async {
                let pool = ProcessPool::new(1);
                let first = pool.run(process, ()).await.expect("it runs");
                // The thread that started the worker goes long before the worker.
                sleep(Duration::from_millis(5)).await;
                assert_eq!(pool.run(process, ()).await.expect("it runs"), first);
                pool.run(die, End::Exit(1)).await.expect_err("it exits");
                pool.run(process, ()).await.expect("it runs");
                pool.close().await;
            })
            .expect("it runs");
        runner.close().expect("it ends");
    });
    thread.join().expect("it ends well");
}

fn a_fork_of_the_program_leaves_the_workers_alone(ctx: &Ctx) {
    ctx.run(async {
        let pool = ProcessPool::new(1);
        let worker = pool.run(process, ()).await.expect("it runs");
        let mut taken = Some(pool);
        let status = in_a_fork(|| {
            drop(taken.take());
            true
        });
        assert_eq!(status, 0);
        let pool = taken.expect("this is the parent's copy");
        assert_eq!(pool.run(process, ()).await.expect("it runs"), worker);
        pool.close().await;
    });
}

fn a_process_that_a_job_leaves_behind_does_not_hide_the_workers_end(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let error = pool.run(leave_a_process, ()).await.expect_err("it aborts");
        assert!(matches!(error, ProcessError::Died { status: Some(_) }), "{error:?}");
        pool.run(process, ()).await.expect("the pool heals");
    });
}

/// This suite again, with this trial alone.
fn this_trial_again(name: &str, role: (&str, &Path)) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(["--exact", &format!("process_pool::{name}"), IN_PROCESS]).env(role.0, role.1);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn workers_end_with_a_program_that_is_killed(ctx: &Ctx) {
    if let Some(path) = std::env::var_os(VICTIM) {
        ctx.run(async { ProcessPool::new(1).run(never, path.into()).await.expect("it never ends") });
    }
    let path = ctx.path("begun");
    let name = "workers_end_with_a_program_that_is_killed";
    let mut victim = this_trial_again(name, (VICTIM, &path)).spawn().expect("it can be started");
    ctx.run(async {
        let worker = begun(&path).await;
        victim.kill().expect("it is our child");
        victim.wait().expect("it is our child");
        // Whoever inherits the worker reaps it, sooner or later: a dead one is as good as none.
        let status = format!("/proc/{worker}/stat");
        let deadline = Instant::now() + Duration::from_secs(15) * patience();
        while fs::read_to_string(&status).is_ok_and(|text| !text.contains(") Z ")) {
            assert!(Instant::now() < deadline, "the worker {worker} lives on");
            turns(1).await;
        }
    });
}

fn a_program_that_hands_nothing_over_is_told_so(ctx: &Ctx) {
    if std::env::var_os(FORGETFUL).is_some() {
        ctx.run(async {
            let refused = |end: Result<u32, ProcessError>| match end {
                Err(ProcessError::Start(error)) => error.to_string(),
                other => panic!("{other:?}"),
            };
            let pool = ProcessPool::new(1);
            let at_once = refused(pool.run(process, ()).await);
            assert!(
                at_once.contains("call `ringloop::process_pool::worker_main()` first in `main`"),
                "{at_once}"
            );
            assert_childless();
            // Handed over, but not in the worker, which takes the mark for an argument of its own.
            ringloop::process_pool::worker_main();
            let only_here = refused(pool.run(process, ()).await);
            assert!(only_here.contains("it ended before it took jobs (exit status: "), "{only_here}");
            assert!(only_here.contains("call `ringloop::process_pool::worker_main()` first"), "{only_here}");
            pool.close().await;
        });
        return;
    }
    let name = "a_program_that_hands_nothing_over_is_told_so";
    let mut forgetful = this_trial_again(name, (FORGETFUL, Path::new("1")));
    let output = forgetful.stderr(Stdio::piped()).output().expect("it can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// In this program the attribute is the only one who hands over: the suite's own `main` does not come to it.
fn the_attributes_main_hands_workers_over_before_anything_else(ctx: &Ctx) {
    let marks = ctx.path("marks");
    let mut program = Command::new("/proc/self/exe");
    program.env(ATTRIBUTED, &marks).stdin(Stdio::null());
    let output = program.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let (program, worker) = said.trim_end().split_once(' ').expect("two numbers");
    assert_ne!(program, worker);
    let evaluated = fs::read_to_string(marks).expect("the program leaves a mark");
    assert_eq!(evaluated, format!("{program}\n"), "only the program looks at the options");
}

fn workers_that_start_workers_are_stopped(ctx: &Ctx) {
    with_pool(ctx, 1, async |pool| {
        let answer = pool.run(nest, ()).await.expect("it runs");
        assert!(answer.contains("4 process pools are above this one"), "{answer}");
    });
}

fn a_pool_without_workers_is_refused(_: &Ctx) {
    let thrown = std::panic::catch_unwind(|| drop(ProcessPool::new(0))).expect_err("it cannot work");
    assert!(thrown.downcast_ref::<&str>().is_some_and(|text| text.ends_with("give it a number above 0")));
}
