//! The end of a loop: what is still there is cancelled and awaited, sent, joined, drained; and whatever outlives the loop
//! is harmless afterwards.

use crate::harness::kinds::{Reports, run_on, start, turns};
use crate::harness::pairs::{bound, connected, many_connected};
use crate::harness::probes::{Drops, Log, once_pending, poll_once, poll_with};
use crate::harness::stuck::stuck;
use crate::harness::{Ctx, Need, Trial, aftermath};
use crate::{io, once};
use nix::sys::resource::{UsageWho, getrusage};
use ringloop::fs::{self, File};
use ringloop::{
    Builder, Clock, LoopHandle, RunError, Task, TaskBuilder, all_tasks, catch_cancel, create_task, current,
    run, sleep, testing, to_thread,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Waker;
use std::time::{Duration, Instant};

pub const TRIALS: &[Trial] = &[
    once!(run_gives_what_main_returns),
    once!(a_panic_of_main_resumes_after_the_shutdown),
    once!(a_loop_inside_of_a_loop_is_refused),
    once!(tasks_that_are_left_are_cancelled_and_awaited),
    once!(a_panic_during_shutdown_is_reported_and_the_value_kept),
    once!(tasks_made_during_shutdown_end_as_well),
    once!(a_task_that_will_not_end_is_dropped_at_the_limit),
    once!(an_end_that_lasts_says_every_ten_seconds_what_for),
    once!(a_loop_ends_once_however_often_it_is_closed),
    once!(calls_of_a_closed_loop_are_refused_and_dropped),
    once!(a_runner_runs_many_times_and_keeps_its_tasks),
    once!(a_cancelled_main_is_an_error),
    once!(a_closed_loop_refuses_its_handles),
    io!(jobs_on_the_pool_are_waited_for),
    io!(the_loop_goes_on_turning_while_jobs_on_the_pool_wait_for_it),
    once!(a_job_that_will_not_end_is_left_at_the_limit),
    once!(timers_and_calls_that_are_left_never_run),
    io!(a_loop_ends_with_hundreds_of_operations_in_flight).needs(&[Need::Descriptors(1000)]),
    io!(block_io_in_flight_is_finished_before_its_memory_goes),
    io!(what_the_kernel_will_not_give_back_is_leaked_with_a_warning),
    io!(futures_kept_past_their_loop_are_harmless_in_the_next),
    io!(streams_kept_past_their_loop_are_harmless_in_the_next),
    io!(a_chunk_kept_past_its_loop_can_be_read),
    io!(tasks_and_handles_kept_past_their_loop_have_ended),
    io!(a_builder_made_on_one_thread_runs_on_another),
    once!(drops_in_thread_local_destructors_are_harmless),
    once!(a_runner_in_a_thread_local_destructor_is_harmless),
    io!(a_panic_in_main_leaves_nothing_behind),
    io!(loops_made_and_ended_a_thousand_times_leave_nothing).seconds(120),
    once!(destructors_that_spawn_without_end_do_not_hold_the_end),
];

/// RUN-01
fn run_gives_what_main_returns(_: &Ctx) {
    assert_eq!(run(async { "value" }).expect("io_uring works here"), "value");
    let failed: Result<(), &str> = run(async { Err("its own error") }).expect("io_uring works here");
    assert_eq!(failed, Err("its own error"));
    let borrowed = String::from("from the caller's frame");
    assert_eq!(run(async { borrowed.len() }).expect("io_uring works here"), 23);
}

/// RUN-02
fn a_panic_of_main_resumes_after_the_shutdown(_: &Ctx) {
    let log = Log::new();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        run(async {
            let log = log.clone();
            create_task(async move {
                let _ = catch_cancel(pending::<()>()).await;
                once_pending().await;
                log.push("cleaned up");
            })
            .detach();
            once_pending().await;
            panic!("in main");
        })
    }));
    let payload = panic.map(|result: Result<(), RunError>| result).expect_err("it panicked");
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"in main"));
    assert_eq!(log.all(), ["cleaned up"]);
}

/// RUN-05, RUN-21
fn a_loop_inside_of_a_loop_is_refused(ctx: &Ctx) {
    ctx.run(async {
        let drops = Drops::new();
        let token = drops.token();
        let panic = catch_unwind(AssertUnwindSafe(|| drop(run(async move { drop(token) }))));
        let payload = panic.expect_err("a loop runs");
        let text = payload.downcast_ref::<&str>().copied().unwrap_or_default();
        assert!(text.contains("create_task"), "the panic names the remedy: {text:?}");
        assert_eq!(drops.count(), 1, "never started, not leaked");
        let mut other = start(Builder::new());
        assert!(other.run(async {}).is_err(), "a runner gives an error");
    });
}

/// RUN-06
fn tasks_that_are_left_are_cancelled_and_awaited(_: &Ctx) {
    let log = Log::new();
    let value = run(async {
        for number in 0..3 {
            let log = log.clone();
            create_task(async move {
                if catch_cancel(sleep(Duration::from_secs(3600))).await.is_err() {
                    sleep(Duration::from_millis(1)).await;
                    log.push(number);
                }
            })
            .detach();
        }
        once_pending().await;
        "value"
    });
    assert_eq!(value.expect("main was not cancelled"), "value");
    assert_eq!(log.all(), [0, 1, 2]);
}

/// RUN-07, AIO-07
fn a_panic_during_shutdown_is_reported_and_the_value_kept(_: &Ctx) {
    let reports = Reports::default();
    let mut runner = start(reports.builder(Builder::new()));
    let value = runner.run(async {
        let stubborn = async {
            let _ = catch_cancel(pending::<()>()).await;
            panic!("while cleaning up");
        };
        TaskBuilder::new().name("left").create_task(stubborn).detach();
        once_pending().await;
        7
    });
    assert_eq!(value.expect("main is fine"), 7);
    runner.close().expect("it ends");
    let said = reports.take();
    let expected =
        "task 'left': it panicked while the run was ending, and nobody awaited it: while cleaning up";
    assert_eq!(said, [expected]);
}

/// SHUT-03 (the deviation): what a task makes while it is being cancelled is cancelled as well, until none is left. Each is
/// begun at once, as one that is cancelled before its first step never runs.
fn tasks_made_during_shutdown_end_as_well(_: &Ctx) {
    fn spawn_child(log: Log<u32>, depth: u32) {
        let child = async move {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            if depth < 5 {
                spawn_child(log.clone(), depth + 1);
            }
            once_pending().await;
            log.push(depth);
        };
        TaskBuilder::new().eager().create_task(child).detach();
    }
    let log = Log::new();
    run(async {
        spawn_child(log.clone(), 0);
        once_pending().await;
    })
    .expect("it ends");
    assert_eq!(log.all(), [0, 1, 2, 3, 4, 5]);
}

/// AIO-12, READ-24: it is reported, and nothing else is.
fn a_task_that_will_not_end_is_dropped_at_the_limit(_: &Ctx) {
    let reports = Reports::default();
    let builder = reports.builder(Builder::new().shutdown_timeout(Duration::from_millis(50)));
    let drops = Drops::new();
    let mut runner = start(builder);
    runner
        .run(async {
            let token = drops.token();
            TaskBuilder::new()
                .name("stubborn")
                .create_task(async move {
                    let _token = token;
                    loop {
                        let _ = catch_cancel(pending::<()>()).await;
                    }
                })
                .detach();
            once_pending().await;
        })
        .expect("main is fine");
    runner.close().expect("it ends");
    assert_eq!(drops.count(), 1);
    let said = reports.take();
    let expected = "tasks did not end within 50ms of being cancelled and are dropped: stubborn";
    assert_eq!(said, [expected]);
}

/// A limit of minutes must not pass in silence.
fn an_end_that_lasts_says_every_ten_seconds_what_for(ctx: &Ctx) {
    let reports = Reports::default();
    let builder = Builder::new().clock(Clock::Paused).shutdown_timeout(Duration::from_secs(25));
    let mut runner = start(reports.builder(builder));
    let real = Instant::now();
    runner
        .run(async {
            let stubborn = async {
                loop {
                    let _ = catch_cancel(pending::<()>()).await;
                }
            };
            TaskBuilder::new().name("stubborn").create_task(stubborn).detach();
            once_pending().await;
        })
        .expect("main is fine");
    runner.close().expect("it ends");
    assert_eq!(
        reports.take(),
        [
            "the loop's end has waited for 10s for tasks: stubborn",
            "the loop's end has waited for 20s for tasks: stubborn",
            "tasks did not end within 25s of being cancelled and are dropped: stubborn",
        ]
    );
    assert!(real.elapsed() < Duration::from_secs(10), "a paused clock, on {:?}", ctx.kind);
}

/// SHUT-07: a runner that was closed is dropped as well, and the second end is none.
fn a_loop_ends_once_however_often_it_is_closed(_: &Ctx) {
    for closes in [true, false] {
        let (release, held) = mpsc::channel::<()>();
        let reports = Reports::default();
        let limit = Duration::from_millis(20);
        let mut runner = start(reports.builder(Builder::new().shutdown_timeout(limit)));
        let handle = runner.handle();
        runner
            .run(async {
                let begun = Arc::new(AtomicBool::new(false));
                let begins = begun.clone();
                let job = to_thread(move || {
                    begins.store(true, Ordering::SeqCst);
                    let _ = held.recv();
                });
                while !begun.load(Ordering::SeqCst) {
                    once_pending().await;
                }
                drop(job);
            })
            .expect("it runs");
        match closes {
            true => runner.close().expect("it ends"),
            false => drop(runner),
        }
        assert!(handle.is_closed());
        let said = reports.take();
        assert!(said.len() == 1 && said[0].contains("1 jobs on the thread pool"), "told once: {said:?}");
        drop(release);
    }
}

/// Several runs, one loop: what the first left is there in the second.
fn a_runner_runs_many_times_and_keeps_its_tasks(ctx: &Ctx) {
    let log = Log::new();
    let mut runner = ctx.runner();
    let mut task: Task<()> = runner
        .run(async {
            let log = log.clone();
            create_task(async move {
                for step in 0..3 {
                    log.push(step);
                    once_pending().await;
                }
            })
        })
        .expect("it runs");
    assert!(log.len() <= 1, "between the runs nothing is polled");
    runner.run(async { (&mut task).await.expect("no panic") }).expect("it runs");
    assert_eq!(log.all(), [0, 1, 2]);
    for number in 0..100 {
        assert_eq!(runner.run(async { number }).expect("it runs"), number);
    }
    runner.close().expect("it ends");
}

fn a_cancelled_main_is_an_error(_: &Ctx) {
    let error = run(async {
        ringloop::current_task().expect("main is a task").cancel_with("by itself");
        pending::<()>().await;
    });
    let error = error.expect_err("it was cancelled");
    assert!(error.is_cancelled() && error.to_string().contains("by itself"), "{error}");
}

/// RUN-10, RUN-19
fn a_closed_loop_refuses_its_handles(ctx: &Ctx) {
    let runner = ctx.runner();
    let handle: LoopHandle = runner.handle();
    assert!(!handle.is_closed());
    runner.close().expect("it ends");
    assert!(handle.is_closed());
    let sent = Arc::new(AtomicBool::new(false));
    let called = sent.clone();
    handle
        .call_soon_threadsafe(move || called.store(true, Ordering::SeqCst))
        .expect_err("the loop has ended");
    let called = sent.clone();
    let coroutine = async move || called.store(true, Ordering::SeqCst);
    assert!(handle.run_coroutine_threadsafe(coroutine).wait().is_err());
    assert!(!sent.load(Ordering::SeqCst));
    assert_eq!(Arc::strong_count(&sent), 1, "what was refused is gone");
    // A new loop of this thread is not the old one.
    let mut next = ctx.runner();
    next.run(async { handle.call_soon_threadsafe(|| ()).expect_err("another loop") }).expect("it runs");
}

/// READ-03. As asyncio, where `shutdown_default_executor` is awaited: the job gets 1.
fn the_loop_goes_on_turning_while_jobs_on_the_pool_wait_for_it(ctx: &Ctx) {
    for builder in [ctx.builder(), ctx.builder().clock(Clock::Paused)] {
        let (tell, told) = mpsc::channel();
        let reports = Reports::default();
        run_on(reports.builder(builder), async {
            let handle = current().handle();
            to_thread(move || {
                // Main has long ended.
                std::thread::sleep(Duration::from_millis(20));
                let task = handle.run_coroutine_threadsafe(async || {
                    ringloop::yield_now().await;
                    ringloop::fs::metadata("/").await.is_ok()
                });
                tell.send(task.wait().ok()).expect("the trial waits for it");
            })
            .detach();
        });
        assert_eq!(told.recv(), Ok(Some(true)));
        assert_eq!(reports.take(), [""; 0]);
    }
}

/// RUN-19: each of asyncio's calls that fails with "Event loop is closed". `run` and `close` are refused by the compiler, as
/// `close` takes the runner; handlers of signals there are none.
fn calls_of_a_closed_loop_are_refused_and_dropped(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let kept = runner.run(async { ringloop::current() }).expect("it runs");
    let handle = runner.handle();
    runner.close().expect("it ends");
    let drops = Drops::new();
    let token = || {
        let token = drops.token();
        move || -> () { unreachable!("the loop has ended: {}", size_of_val(&token)) }
    };
    let soon = kept.call_soon(token());
    let timer = kept.call_later(Duration::ZERO, token());
    handle.call_soon_threadsafe(|| unreachable!("the loop has ended")).expect_err("call_soon_threadsafe");
    let coroutine = async || unreachable!("the loop has ended");
    assert!(handle.run_coroutine_threadsafe(coroutine).wait().map(|(): ()| ()).is_err());
    let body = token();
    let task = kept.create_task(async move { body() });
    assert!(task.task_ref().is_done(), "create_task");
    assert_eq!(drops.count(), 3, "what was refused is gone");
    drop((soon, timer, task));
    let spawned = ringloop::try_create_task(async {});
    assert!(spawned.is_err(), "no loop runs");
    let panic = catch_unwind(|| drop(to_thread(|| ())));
    let payload = panic.expect_err("no loop runs");
    let text = payload.downcast_ref::<String>().map(String::as_str).unwrap_or_default();
    assert!(text.contains("ringloop::run"), "run_in_executor names the remedy: {text}");
    ctx.run(async {
        turns(3).await;
    });
}

/// SHUT-05
fn jobs_on_the_pool_are_waited_for(ctx: &Ctx) {
    let done = Arc::new(AtomicUsize::new(0));
    let mut runner = ctx.runner();
    runner
        .run(async {
            for _ in 0..4 {
                let done = done.clone();
                to_thread(move || {
                    std::thread::sleep(Duration::from_millis(20));
                    done.fetch_add(1, Ordering::SeqCst);
                })
                .detach();
            }
        })
        .expect("it runs");
    runner.close().expect("it ends");
    assert_eq!(done.load(Ordering::SeqCst), 4);
}

/// THREAD-09, SHUT-08
fn a_job_that_will_not_end_is_left_at_the_limit(_: &Ctx) {
    let (release, held) = mpsc::channel::<()>();
    let (over, ended) = mpsc::channel();
    let reports = Reports::default();
    let builder = reports.builder(Builder::new().shutdown_timeout(Duration::from_millis(50)));
    let mut runner = start(builder);
    runner
        .run(async {
            to_thread(move || {
                let _ = held.recv();
                let _ = over.send(());
            })
            .detach();
        })
        .expect("it runs");
    let closing = Instant::now();
    runner.close().expect("it ends");
    assert!(closing.elapsed() < Duration::from_secs(10));
    assert!(!reports.take().is_empty(), "it says so");
    drop(release);
    ended.recv().expect("the thread goes on, and its end harms nobody");
}

/// SHUT-06
fn timers_and_calls_that_are_left_never_run(ctx: &Ctx) {
    let log = Log::new();
    let mut runner = ctx.runner();
    runner
        .run(async {
            let log = log.clone();
            create_task(async move {
                sleep(Duration::from_millis(5)).await;
                log.push("never");
            })
            .detach();
            once_pending().await;
        })
        .expect("it runs");
    runner.close().expect("it ends");
    std::thread::sleep(Duration::from_millis(10));
    ctx.run(sleep(Duration::from_millis(10)));
    assert_eq!(log.len(), 0);
}

/// Receives, accepts and connects that wait without end, files that end by themselves, timers, all at once.
fn a_loop_ends_with_hundreds_of_operations_in_flight(ctx: &Ctx) {
    let path = ctx.file("file", vec![1; 1 << 20]);
    let mut runner = ctx.runner();
    let peers = runner
        .run(async {
            let mut peers = Vec::new();
            for (ours, theirs) in many_connected(150).await {
                create_task(async move {
                    let mut buffer = [0; 16];
                    ours.read(&mut buffer).await
                })
                .detach();
                peers.push(theirs);
            }
            for number in 0..150 {
                let path = path.clone();
                let target = ctx.path(&format!("{number}"));
                create_task(async move {
                    let bytes = fs::read(path).await.expect("it is there");
                    fs::write(target, bytes).await
                })
                .detach();
                create_task(sleep(Duration::from_secs(3600))).detach();
            }
            let (listener, _) = bound().await;
            create_task(async move { listener.accept().await.map(drop) }).detach();
            turns(2).await;
            assert!(testing::stats().operations >= 150);
            peers
        })
        .expect("it runs");
    let closing = Instant::now();
    runner.close().expect("it ends");
    assert!(closing.elapsed() < Duration::from_secs(10));
    for mut theirs in peers {
        assert!(matches!(theirs.read(&mut [0; 8]), Ok(0) | Err(_)), "the descriptors are closed");
    }
}

/// Measured: the kernel goes on writing from and into memory of block I/O after the ring is closed. So the loop waits for
/// it, and what was written is the buffer as it was, not what came to lie in its memory later.
fn block_io_in_flight_is_finished_before_its_memory_goes(ctx: &Ctx) {
    const SIZE: usize = 8 << 20;
    for round in 0..5_u8 {
        let path = ctx.path(&format!("file-{round}"));
        let mut runner = ctx.runner();
        runner
            .run(async {
                let file = File::create(&path).await.expect("the folder can be written");
                let mut write = file.write_at(vec![round + 1; SIZE], 0);
                assert!(poll_once(&mut write).await.is_pending());
                turns(1).await;
                drop(write);
            })
            .expect("it runs");
        runner.close().expect("it ends");
        // Whoever gets the memory next scribbles over it.
        let scribble = vec![0xee_u8; SIZE];
        std::hint::black_box(&scribble);
        std::thread::sleep(Duration::from_millis(20));
        let bytes = std::fs::read(&path).expect("it was created");
        assert!(bytes.iter().all(|&byte| byte == round + 1), "the file has what was in the buffer");
    }
}

/// The kernel reads from the buffer of a write, and is stuck in it: the loop waits its time, then leaks the buffer and says
/// so. Freed, its memory would be somebody else's when the kernel goes on.
fn what_the_kernel_will_not_give_back_is_leaked_with_a_warning(ctx: &Ctx) {
    let reports = Reports::default();
    let before = aftermath::descriptors();
    let (buffer, held) = stuck().unwrap_or_else(|error| ctx.skip(format!("needs userfaultfd: {error}")));
    let builder = reports.builder(ctx.builder().drain_timeout(Duration::from_millis(100)));
    let mut runner = start(builder);
    runner
        .run(async {
            let file = File::create(ctx.path("file")).await.expect("the folder can be written");
            let mut write = file.write_at(buffer, 0);
            assert!(poll_once(&mut write).await.is_pending());
            turns(3).await;
            drop(write);
            // The loop itself is not held up.
            assert_eq!(fs::read("/proc/self/comm").await.expect("procfs is there").last(), Some(&b'\n'));
        })
        .expect("it runs");
    let closing = Instant::now();
    runner.close().expect("it ends");
    assert!(closing.elapsed() < Duration::from_secs(5));
    let said = reports.take();
    assert!(said.concat().contains("leaked: write on descriptor "), "{said:?}");
    assert!(!held.is_freed());
    // The descriptor is leaked with the operation that holds it: it is the trial's to close.
    let leaked = aftermath::descriptors().into_iter().filter(|(number, _)| !before.contains_key(number));
    let files: Vec<_> = leaked.filter(|(_, path)| path.contains("/file")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    nix::unistd::close(files[0].0).expect("nobody else closes it");
    // A next loop works beside what was leaked.
    ctx.run(async { fs::read("/proc/self/comm").await.expect("procfs is there") });
}

fn futures_kept_past_their_loop_are_harmless_in_the_next(ctx: &Ctx) {
    const NAP: Duration = Duration::from_millis(50);
    let begun = Instant::now();
    let path = ctx.file("file", b"text");
    let mut kept = Vec::new();
    let mut unpolled = None;
    let mut naps = Vec::new();
    let mut runner = ctx.runner();
    runner
        .run(async {
            for number in 0..20 {
                let mut create = File::create(ctx.path(&format!("{number}")));
                assert!(poll_once(&mut create).await.is_pending());
                kept.push(create);
                let mut nap = sleep(NAP);
                assert!(poll_once(&mut nap).await.is_pending());
                naps.push(nap);
            }
            unpolled = Some(File::open(&path));
        })
        .expect("it runs");
    runner.close().expect("it ends");
    ctx.run(async {
        // The new loop's own operations have the same slots by now.
        let mut own: Vec<_> =
            (0..20).map(|number| File::create(ctx.path(&format!("own-{number}")))).collect();
        for create in &mut own {
            assert!(poll_once(create).await.is_pending());
        }
        let half = kept.split_off(10);
        drop(kept);
        for mut create in half {
            // What was drained at the end is there; what was not says so. Neither waits for a loop that is gone.
            assert!(poll_with(Waker::noop(), &mut create).is_ready());
        }
        let half = naps.split_off(10);
        drop(naps);
        for nap in half {
            // A deadline means the same in every loop.
            nap.await;
        }
        assert!(begun.elapsed() >= NAP);
        assert_eq!(testing::stats().timers, 0);
        for create in own {
            create.await.expect("nobody disturbed it");
        }
        unpolled
            .expect("it was made")
            .await
            .expect("never started: it belongs to the loop that polls it first");
    });
}

fn streams_kept_past_their_loop_are_harmless_in_the_next(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let (kept, listener, peers) = runner
        .run(async {
            let (mut kept, mut peers) = (Vec::new(), Vec::new());
            for (ours, theirs) in many_connected(6).await {
                let _ = poll_once(&mut Box::pin(ours.read(&mut [0; 4]))).await;
                kept.push(ours);
                peers.push(theirs);
            }
            let (listener, _) = bound().await;
            let _ = poll_once(&mut Box::pin(listener.accept())).await;
            turns(2).await;
            (kept, listener, peers)
        })
        .expect("it runs");
    runner.close().expect("it ends");
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let mut byte = [0];
        let mut read = Box::pin(ours.read(&mut byte));
        assert!(poll_once(&mut read).await.is_pending());
        let mut kept = kept;
        let dropped = kept.split_off(3);
        drop(dropped);
        // BUG-14: what was in flight has ended with its loop; the connection itself goes on with this one, as a socket of
        // std goes from thread to thread.
        for (stream, mut theirs) in kept.iter().zip(&peers) {
            theirs.write_all(b"hello").expect("the loop's end is open");
            let mut received = [0; 5];
            stream.read_exact(&mut received).await.expect("the peer is there");
            assert_eq!(&received, b"hello");
            stream.write_all(b"x").await.expect("the peer is there");
            stream.flush().await.expect("the peer is there");
        }
        let client =
            std::net::TcpStream::connect(listener.local_addr().expect("it listens")).expect("it listens");
        let (_, peer) = listener.accept().await.expect("a client waits");
        assert_eq!(peer, client.local_addr().expect("it is connected"));
        drop((kept, listener));
        turns(3).await;
        theirs.write_all(b"y").expect("the loop's end is open");
        read.await.expect("nobody disturbed it");
        assert_eq!(&byte, b"y");
    });
    for (number, mut theirs) in peers.into_iter().enumerate() {
        let mut received = Vec::new();
        let _ = theirs.read_to_end(&mut received);
        assert_eq!(received, if number < 3 { &b"x"[..] } else { b"" }, "and then the descriptor is closed");
    }
}

/// The chunk owns its buffer by count: the memory of the buffer ring lives as long.
fn a_chunk_kept_past_its_loop_can_be_read(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let chunk = runner
        .run(async {
            let (ours, mut theirs) = connected().await;
            theirs.write_all(b"still here").expect("the loop's end is open");
            ours.read_chunk().await.expect("it was sent").expect("not the end")
        })
        .expect("it runs");
    runner.close().expect("it ends");
    ctx.run(async {
        for (ours, mut theirs) in many_connected(20).await {
            theirs.write_all(&[0xff; 100]).expect("the loop's end is open");
            ours.read_exact(&mut [0; 100]).await.expect("it was sent");
        }
    });
    testing::release_parked_ring();
    assert_eq!(&*chunk, &b"still here"[..chunk.len()]);
}

fn tasks_and_handles_kept_past_their_loop_have_ended(ctx: &Ctx) {
    let drops = Drops::new();
    let mut runner = ctx.runner();
    let task = runner
        .run(async {
            let token = drops.token();
            create_task(async move {
                let _token = token;
                pending::<()>().await;
            })
        })
        .expect("it runs");
    let reference = task.task_ref();
    runner.close().expect("it ends");
    assert_eq!(drops.count(), 1);
    assert!(reference.is_done() && reference.is_cancelled() && !reference.cancel());
    ctx.run(async {
        assert!(task.await.expect_err("its loop has ended").is_cancelled());
        assert_eq!(all_tasks().len(), 1);
    });
    reference.abort();
    assert!(format!("{reference:?}").contains("cancelled"));
}

/// `Builder` is Send; the ring is made by the thread that runs it.
fn a_builder_made_on_one_thread_runs_on_another(ctx: &Ctx) {
    let builder = ctx.builder();
    let path = ctx.file("file", b"from another thread");
    let text = crate::harness::peers::Peer::play(move || {
        let mut runner = start(builder);
        let text = runner.run(async { fs::read_to_string(path).await }).expect("it runs");
        runner.close().expect("it ends");
        testing::release_parked_ring();
        text.expect("the file is there")
    });
    assert_eq!(text.end(), "from another thread");
}

thread_local! {
    /// What is dropped when its thread ends, some time after or before the library's own thread-local variables.
    static KEPT: RefCell<Vec<Box<dyn std::any::Any>>> = const { RefCell::new(Vec::new()) };
}

/// Access to the loop is tried, never demanded. Both orders: destructors run in the order of first use.
fn drops_in_thread_local_destructors_are_harmless(ctx: &Ctx) {
    for kept_first in [true, false] {
        let path = ctx.path("file");
        let thread = std::thread::spawn(move || {
            if kept_first {
                KEPT.with(|kept| kept.borrow_mut().clear());
            }
            let mut runner = start(Builder::new());
            let everything: [Box<dyn std::any::Any>; 4] = runner
                .run(async {
                    let mut create = File::create(path);
                    assert!(poll_once(&mut create).await.is_pending());
                    let mut nap = sleep(Duration::from_secs(3600));
                    assert!(poll_once(&mut nap).await.is_pending());
                    let pair = connected().await;
                    let _ = poll_once(&mut Box::pin(pair.0.read(&mut [0; 4]))).await;
                    let task = create_task(pending::<()>());
                    [Box::new(create) as _, Box::new(nap) as _, Box::new(pair) as _, Box::new(task) as _]
                })
                .expect("it runs");
            KEPT.with(|kept| kept.borrow_mut().extend(everything));
        });
        thread.join().expect("no panic while the thread ended");
    }
}

/// A loop that ends so late cannot run any more: it may leak, it must not abort the process.
fn a_runner_in_a_thread_local_destructor_is_harmless(_: &Ctx) {
    for kept_first in [true, false] {
        let thread = std::thread::spawn(move || {
            if kept_first {
                KEPT.with(|kept| kept.borrow_mut().clear());
            }
            let mut runner = start(Builder::new());
            runner.run(async { create_task(pending::<()>()).detach() }).expect("it runs");
            KEPT.with(|kept| kept.borrow_mut().push(Box::new(runner)));
        });
        thread.join().expect("no panic while the thread ended");
    }
}

fn a_panic_in_main_leaves_nothing_behind(ctx: &Ctx) {
    let before = aftermath::descriptors().len();
    for _ in 0..10 {
        let mut runner = ctx.runner();
        let panic = catch_unwind(AssertUnwindSafe(|| {
            runner.run(async {
                let (ours, _theirs) = connected().await;
                let mut create = File::create(ctx.path("file"));
                let _ = poll_once(&mut create).await;
                let _ = poll_once(&mut Box::pin(ours.read(&mut [0; 4]))).await;
                panic!("with operations in flight");
            })
        }));
        assert!(panic.map(|result: Result<(), RunError>| result).is_err());
        assert_eq!(runner.run(async { 7 }).expect("the loop is still good"), 7);
        runner.close().expect("it ends");
    }
    testing::release_parked_ring();
    let deadline = Instant::now() + Duration::from_secs(1);
    while aftermath::descriptors().len() > before {
        assert!(Instant::now() < deadline, "{:?}", aftermath::descriptors());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// With operations pending each time. Descriptors are compared after the trial anyway; memory is compared here.
fn loops_made_and_ended_a_thousand_times_leave_nothing(ctx: &Ctx) {
    let round = |number: usize| {
        let mut runner = ctx.runner();
        runner
            .run(async {
                let (ours, _theirs) = connected().await;
                create_task(async move {
                    let mut buffer = [0; 16];
                    ours.read(&mut buffer).await
                })
                .detach();
                create_task(sleep(Duration::from_secs(3600))).detach();
                let mut create = File::create(ctx.path(&format!("{}", number % 10)));
                let _ = poll_once(&mut create).await;
                turns(1).await;
            })
            .expect("it runs");
        // Every tenth loop cannot leave its ring to the next.
        if number.is_multiple_of(10) {
            testing::release_parked_ring();
        }
    };
    (0..200).for_each(round);
    let before = resident();
    (200..1000).for_each(round);
    let grown = resident().saturating_sub(before);
    assert!(grown < 4 << 10, "{grown} KiB more after 800 loops");
}

/// The most memory that this process ever had, in KiB.
fn resident() -> i64 {
    getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask").max_rss()
}

/// READ-24.
fn destructors_that_spawn_without_end_do_not_hold_the_end(ctx: &Ctx) {
    struct Spawns(Rc<Cell<u32>>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
            let next = Spawns(self.0.clone());
            create_task(async move {
                let _next = next;
                ringloop::uncancellable(std::future::pending::<()>()).await;
            })
            .detach();
        }
    }
    let count = Rc::new(Cell::new(0));
    let first = Spawns(count.clone());
    let builder = ctx.builder().shutdown_timeout(Duration::from_millis(20));
    builder.run(async move { drop(first) }).expect("it ends");
    assert!(count.get() > 1, "what destructors spawn is dropped as well");
}
