//! Work on other threads: the loop's pool, the pool for what computes, a user's own executor. What a single `to_thread` gives
//! is tried with the tasks, what the loop's end does with jobs with the shutdown, the pool itself in `src/pool.rs`.

use crate::harness::kinds::{Reports, run_on, start, turns};
use crate::harness::probes::poll_once;
use crate::harness::{Ctx, Trial};
use crate::io;
use futures_util::future::join_all;
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use ringloop::{
    CpuPool, Executor, Job, ThreadPool, create_task, current, fs, net, run_in_executor, sleep,
    spawn_blocking, to_thread, yield_now,
};
use std::cell::Cell;
use std::fs::{OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender, channel};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(a_job_that_is_given_up_before_its_turn_never_starts),
    io!(a_detached_job_runs_although_nobody_waits),
    io!(a_pool_computes_while_other_tasks_go_on),
    io!(an_executor_of_the_users_own_serves),
    io!(a_job_that_an_executor_drops_is_an_error),
    io!(a_pool_of_the_users_own_serves_functions),
    io!(the_crates_own_work_never_waits_for_jobs_of_the_users),
    io!(a_busy_pool_of_the_users_does_not_hold_the_loops_end),
    io!(the_loops_end_leaves_a_pool_of_the_users_alone),
    io!(a_default_executor_that_was_shut_down_refuses),
    io!(file_work_of_the_pool_reaches_a_loop_that_sleeps_and_one_that_does_not),
    io!(the_wait_for_file_work_of_the_pool_ends_and_the_work_goes_on),
    io!(file_work_that_is_queued_at_the_loops_end_is_done),
];

/// Has the pool's only thread wait until the sender is dropped; a thread of it has begun that when this returns.
fn occupy(pool: &impl Executor) -> Sender<()> {
    let (release, held) = channel::<()>();
    let (begun, begins) = channel();
    pool.execute(Box::new(move || {
        begun.send(()).expect("the trial waits for it");
        let _ = held.recv();
    }));
    begins.recv().expect("it runs");
    release
}

/// THREAD-07
fn a_job_that_is_given_up_before_its_turn_never_starts(ctx: &Ctx) {
    ctx.run(async {
        let pool = ThreadPool::new("one", 1);
        let release = occupy(&pool);
        let ran = Arc::new(AtomicUsize::new(0));
        let count = |by: usize| {
            let ran = ran.clone();
            move || ran.fetch_add(by, Ordering::SeqCst)
        };
        // Cancelled with its task, dropped after a poll, dropped without one.
        let cancelled = create_task(run_in_executor(&pool, count(1)));
        let mut polled = run_in_executor(&pool, count(10));
        assert!(poll_once(&mut polled).await.is_pending());
        let never_polled = run_in_executor(&pool, count(100));
        yield_now().await;
        cancelled.cancel();
        assert!(cancelled.await.expect_err("it was cancelled").is_cancelled());
        drop(polled);
        drop(never_polled);
        drop(release);
        run_in_executor(&pool, count(1000)).await.expect("those before it have had their turn");
        assert_eq!(ran.load(Ordering::SeqCst), 1000);
        assert_eq!(Arc::strong_count(&ran), 1, "what they held is gone");
        assert!(pool.join(None));
    });
}

fn a_detached_job_runs_although_nobody_waits(ctx: &Ctx) {
    run_on(ctx.builder().thread_pool(1), async {
        let (release, held) = channel::<()>();
        let first = spawn_blocking(move || held.recv());
        let (tell, told) = channel();
        to_thread(move || tell.send(7)).detach();
        drop(release);
        first.await.expect("no panic").expect_err("nothing was sent");
        to_thread(move || assert_eq!(told.recv(), Ok(7))).await.expect("it was before this one");
    });
}

/// PROC-01: by threads.
fn a_pool_computes_while_other_tasks_go_on(ctx: &Ctx) {
    ctx.run(async {
        let pool = CpuPool::with_threads(1);
        let ticks = Arc::new(AtomicUsize::new(0));
        let seen = ticks.clone();
        let sum = create_task(run_in_executor(&pool, move || {
            // It ends only after the loop has gone on.
            while seen.load(Ordering::SeqCst) < 3 {
                std::thread::yield_now();
            }
            (0..1000u64).sum::<u64>()
        }));
        while !sum.is_done() {
            sleep(Duration::from_millis(1)).await;
            ticks.fetch_add(1, Ordering::SeqCst);
        }
        assert_eq!(sum.await.expect("not cancelled").expect("no panic"), 499_500);
        let names = run_in_executor(&pool, || std::thread::current().name().map(String::from)).await;
        assert_eq!(names.expect("no panic").as_deref(), Some("cpu-0"), "idle threads are used again");
        assert!(pool.join(None));
        let shared = run_in_executor(CpuPool::shared(), || "shared").await;
        assert_eq!(shared.expect("no panic"), "shared");
    });
    // Its threads would count as left behind.
    CpuPool::shared().join(None);
}

/// One thread that takes jobs from a channel: somebody else's pool.
struct Own(mpsc::Sender<Job>);

impl Executor for Own {
    fn execute(&self, job: Job) {
        let _ = self.0.send(job);
    }
}

fn an_executor_of_the_users_own_serves(ctx: &Ctx) {
    let (jobs, line) = channel::<Job>();
    let thread = std::thread::spawn(move || {
        line.into_iter().for_each(|job| job());
    });
    let theirs = thread.thread().id();
    ctx.run(async move {
        let own: Box<dyn Executor> = Box::new(Own(jobs));
        let here = run_in_executor(&*own, || std::thread::current().id());
        assert_eq!(here.await.expect("no panic"), theirs);
        let error = run_in_executor(&*own, || panic!("in theirs")).await.map(|(): ()| ());
        assert!(error.expect_err("it panicked").is_panic());
    });
    thread.join().expect("it ends with its channel");
}

fn a_job_that_an_executor_drops_is_an_error(ctx: &Ctx) {
    ctx.run(async {
        let (jobs, line) = channel::<Job>();
        let waits = run_in_executor(&Own(jobs), || 1);
        let waiting = create_task(waits);
        turns(1).await;
        assert!(!waiting.is_done());
        drop(line);
        assert!(!waiting.await.expect("the task itself ends well").expect_err("nobody ran it").is_panic());
    });
}

/// BUG-08: only functions wait for the only thread. File work and the look-up of names have threads of their own.
fn a_pool_of_the_users_own_serves_functions(ctx: &Ctx) {
    let (pool, path) = (ThreadPool::new("theirs", 1), ctx.file("file", "text"));
    let release = occupy(&pool);
    run_on(ctx.builder().thread_pool(5).default_executor(pool.clone()), async {
        let mut name = to_thread(|| std::thread::current().name().map(String::from));
        let mut entries = fs::read_dir(path.parent().expect("it is in a folder")).await.expect("it is there");
        let first = entries.next().await.expect("it is not empty").expect("it can be read");
        assert_eq!(first.file_name(), "file");
        net::lookup_host("localhost:80").await.expect("every machine knows it");
        assert!(poll_once(&mut name).await.is_pending());
        drop(release);
        assert_eq!(name.await.expect("no panic").as_deref(), Some("theirs-0"));
    });
    let own = run_on(ctx.builder().default_executor(pool.clone()).thread_pool(1), async {
        to_thread(|| std::thread::current().name().map(String::from)).await.expect("no panic")
    });
    assert_eq!(own.as_deref(), Some("ringloop-0"), "what was said last counts");
    assert!(pool.join(None));
}

/// BUG-08: a job on the only thread asks the loop for what the crate does on threads, and waits for it.
fn the_crates_own_work_never_waits_for_jobs_of_the_users(ctx: &Ctx) {
    let (path, copy) = (ctx.file("file", vec![7; 100_000]), ctx.path("copy"));
    let real = std::fs::canonicalize(&path).expect("it is there");
    run_on(ctx.builder().thread_pool(1), async {
        let handle = current().handle();
        let job = to_thread(move || {
            let work = handle.run_coroutine_threadsafe(async move || {
                assert_eq!(fs::canonicalize(&path).await?, real);
                fs::set_permissions(&path, Permissions::from_mode(0o600)).await?;
                net::lookup_host("localhost:80").await?;
                drop(fs::read_dir(path.parent().expect("it is in a folder")).await?);
                fs::copy(&path, &copy).await
            });
            work.wait()
        });
        let copied = job.await.expect("no panic").expect("the loop runs").expect("all of it works");
        assert_eq!(copied, 100_000);
    });
}

/// READ-14: nothing of the loop's is with the user's pool that its end would have to wait for.
fn a_busy_pool_of_the_users_does_not_hold_the_loops_end(ctx: &Ctx) {
    let (pool, path, reports) = (ThreadPool::new("theirs", 1), ctx.file("file", "text"), Reports::default());
    let release = occupy(&pool);
    let builder = reports.builder(ctx.builder()).default_executor(pool.clone());
    let mut runner = start(builder.drain_timeout(Duration::from_secs(3600)));
    runner
        .run(async {
            to_thread(|| ()).detach();
            assert!(poll_once(&mut Box::pin(fs::canonicalize(&path))).await.is_pending());
        })
        .expect("nobody stops it");
    runner.close().expect("it ends");
    assert_eq!(reports.take(), [""; 0]);
    drop(release);
    assert!(pool.join(None));
}

fn the_loops_end_leaves_a_pool_of_the_users_alone(ctx: &Ctx) {
    let pool = ThreadPool::new("theirs", 1);
    let release = occupy(&pool);
    let (tell, told) = channel();
    for number in 0..2 {
        let tell = tell.clone();
        // Strict about tasks and operations; the end does not wait for the thread, which is held until after it.
        run_on(ctx.builder().default_executor(pool.clone()), async move {
            to_thread(move || tell.send(number)).detach();
        });
    }
    assert_eq!(pool.in_flight(), 3);
    drop(release);
    assert!(pool.join(None));
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1], "what was queued ran");
}

fn a_default_executor_that_was_shut_down_refuses(ctx: &Ctx) {
    let (pool, reports) = (ThreadPool::new("theirs", 1), Reports::default());
    pool.shutdown();
    run_on(reports.builder(ctx.builder()).default_executor(pool), async {
        assert!(!to_thread(|| ()).await.expect_err("nobody runs it").is_panic());
    });
    let reports = reports.take();
    assert!(reports.iter().any(|report| report.contains("shut down")), "{reports:?}");
}

fn file_work_of_the_pool_reaches_a_loop_that_sleeps_and_one_that_does_not(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    let real = std::fs::canonicalize(&path).expect("it is there");
    ctx.run(async {
        for busy in [false, true] {
            let ended = Rc::new(Cell::new(false));
            let other = create_task({
                let ended = ended.clone();
                async move {
                    while busy && !ended.get() {
                        yield_now().await;
                    }
                }
            });
            for count in [1, 100] {
                let found = join_all((0..count).map(|_| fs::canonicalize(&path))).await;
                assert_eq!(found.len(), count);
                for found in found {
                    assert_eq!(found.expect("it is there"), real);
                }
            }
            ended.set(true);
            other.await.expect("it ends");
        }
    });
}

/// As many copies from a FIFO as there are threads for file work: each waits for a writer until `release_files`.
fn occupy_files(ctx: &Ctx) -> (PathBuf, Vec<ringloop::Task<std::io::Result<u64>>>) {
    let fifo = ctx.path("fifo");
    mkfifo(&fifo, Mode::from_bits_truncate(0o600)).expect("the folder can be written");
    let threads = std::thread::available_parallelism().map_or(1, usize::from) + 4;
    let copy = |number| create_task(fs::copy(&fifo, ctx.path(&format!("copy-{number}"))));
    let copies = (0..threads.min(32)).map(copy).collect();
    (fifo, copies)
}

/// Opens the FIFO for writing, and closes it, until told to stop.
fn release_files(fifo: PathBuf, done: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while !done.load(Ordering::SeqCst) {
            // Without a reader there is nothing to open.
            let _ = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&fifo);
            std::thread::sleep(Duration::from_millis(1));
        }
    })
}

fn the_wait_for_file_work_of_the_pool_ends_and_the_work_goes_on(ctx: &Ctx) {
    let paths = ["timed", "cancelled", "dropped", "last"].map(|name| ctx.file(name, b""));
    let mode = |path: &Path| std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    let set = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o600));
    for path in &paths {
        std::fs::set_permissions(path, Permissions::from_mode(0o644)).expect("it is ours");
    }
    let [timed, cancelled, dropped, last] = &paths;
    let done = Arc::new(AtomicBool::new(false));
    ctx.run(async {
        let (fifo, copies) = occupy_files(ctx);
        turns(2).await;
        let error = set(timed).timeout(Duration::from_millis(5)).await.expect_err("all threads are busy");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let task = create_task(set(cancelled).cancellable());
        turns(2).await;
        task.cancel();
        let error = task.await.expect("it took the request").expect_err("all threads are busy");
        assert!(error.get_ref().is_some_and(|word| word.is::<ringloop::Cancelled>()), "{error}");
        let mut waits = Box::pin(set(dropped));
        assert!(poll_once(&mut waits).await.is_pending());
        drop(waits);
        assert_eq!(mode(timed), 0o644, "it waits for its turn");
        let releasing = release_files(fifo, done.clone());
        set(last).await.expect("it is ours");
        for copy in copies {
            // std copies no FIFO, but opens it before it looks.
            copy.await.expect("no panic").expect_err("it is no file");
        }
        done.store(true, Ordering::SeqCst);
        releasing.join().expect("no panic");
    });
    for path in &paths {
        assert_eq!(mode(path), 0o600, "{path:?}");
    }
}

/// Its future is dropped with the main task; the loop's end waits for it.
fn file_work_that_is_queued_at_the_loops_end_is_done(ctx: &Ctx) {
    let path = ctx.file("file", b"");
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
    let done = Arc::new(AtomicBool::new(false));
    let releasing = ctx.run(async {
        let (fifo, copies) = occupy_files(ctx);
        turns(2).await;
        for copy in copies {
            copy.detach();
        }
        let mut waits = Box::pin(fs::set_permissions(&path, Permissions::from_mode(0o600)));
        assert!(poll_once(&mut waits).await.is_pending());
        let done = done.clone();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            release_files(fifo, done).join()
        })
    });
    done.store(true, Ordering::SeqCst);
    releasing.join().expect("no panic").expect("no panic");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
