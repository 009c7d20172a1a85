//! Runs of a loop: how it is made, stopped and run again, and in which order it ends.

use crate::harness::kinds::{settle, start, turns};
use crate::harness::pairs::connected;
use crate::harness::probes::{Drops, Log, OnDrop, once_pending};
use crate::harness::{Ctx, Trial, aftermath};
use crate::{io, once};
use ringloop::{
    Builder, SetupErrorKind, Task, ThreadPool, catch_cancel, create_task, current, fs, sleep, testing,
    to_thread, try_current, yield_now,
};
use std::future::pending;
use std::io::Write;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(a_stop_ends_the_run_after_its_batch),
    io!(what_is_stopped_goes_on_with_the_next_run),
    io!(a_stop_from_another_thread_ends_the_sleep),
    once!(a_stop_before_a_run_lets_one_batch_through),
    once!(a_stop_as_main_ends_is_spent),
    once!(what_a_stopped_main_awaited_does_not_end_the_next_run),
    once!(a_stop_of_an_ended_loop_is_nothing),
    once!(a_builders_options_make_the_loop_that_all_runs_use),
    once!(an_option_that_cannot_work_is_refused_by_name),
    once!(options_at_the_ends_of_their_ranges_make_a_loop),
    once!(what_is_dropped_at_the_end_still_finds_its_loop),
    io!(the_running_loop_stays_current_when_another_runner_is_made),
    io!(the_running_loop_stays_current_when_one_of_three_runners_ends),
    once!(a_paused_clock_stands_still_whatever_other_loops_are_made),
    io!(the_end_comes_in_its_order),
    io!(a_closed_loop_has_no_descriptor_left),
];

/// SCHED-13
fn a_stop_ends_the_run_after_its_batch(ctx: &Ctx) {
    let log = Log::new();
    let mut runner = ctx.runner();
    let handle = runner.handle();
    let ended = runner.run(async {
        for number in 0..3 {
            let log = log.clone();
            create_task(async move {
                log.push(format!("{number} of the batch"));
                if number == 0 {
                    handle.stop();
                    create_task(async move { log.push("for the next run".into()) }).detach();
                }
            })
            .detach();
        }
        pending::<()>().await;
    });
    let error = ended.expect_err("main had not ended");
    assert!(error.is_stopped() && !error.is_cancelled(), "{error}");
    assert_eq!(log.all(), ["0 of the batch", "1 of the batch", "2 of the batch"]);
    runner.run(turns(3)).expect("nobody stops it");
    assert_eq!(log.all().split_off(3), ["for the next run"], "once");
    runner.close().expect("it ends");
}

/// The loop that runs, by all of its layers: the handle, a task, a timer, an operation of the ring.
async fn assert_current(expected: &str, path: &std::path::Path) {
    assert_eq!(format!("{:?}", current()), expected);
    create_task(sleep(Duration::from_micros(10))).await.expect("no panic");
    assert_eq!(fs::read(path).await.expect("it is read"), b"text");
}

/// READ-01
fn the_running_loop_stays_current_when_another_runner_is_made(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    ctx.run(async {
        let own = format!("{:?}", current());
        let mut other = start(Builder::new());
        assert_current(&own, &path).await;
        assert!(other.run(async {}).is_err(), "one runs already");
        assert_current(&own, &path).await;
        drop(other);
        assert_current(&own, &path).await;
    });
}

/// READ-01
fn the_running_loop_stays_current_when_one_of_three_runners_ends(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    let (first, last) = (start(Builder::new()), ctx.runner());
    let mut running = ctx.runner();
    let (mut first, mut last) = (Some(first), Some(last));
    running
        .run(async {
            let own = format!("{:?}", current());
            first.take().expect("once").close().expect("it ends");
            assert_current(&own, &path).await;
            let pending = create_task(sleep(Duration::from_millis(1)));
            last.take().expect("once").close().expect("it ends");
            pending.await.expect("no panic");
            assert_current(&own, &path).await;
        })
        .expect("nobody stops it");
    running.close().expect("it ends");
}

/// READ-01
fn a_paused_clock_stands_still_whatever_other_loops_are_made(ctx: &Ctx) {
    ctx.run_paused(async {
        let start_of_all = ringloop::now();
        let other = start(Builder::new());
        thread::sleep(Duration::from_millis(2));
        assert_eq!(ringloop::now(), start_of_all);
        drop(other);
        thread::sleep(Duration::from_millis(2));
        assert_eq!(ringloop::now(), start_of_all);
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(ringloop::now() - start_of_all, Duration::from_secs(3600));
    });
}

/// RUN-17: tasks, timers and operations go on; main does where the caller has kept it.
fn what_is_stopped_goes_on_with_the_next_run(ctx: &Ctx) {
    let drops = Drops::new();
    let path = ctx.file("file", b"text");
    let mut runner = ctx.runner();
    let handle = runner.handle();
    let mut reading: Option<Task<_>> = None;
    let token = drops.token();
    let ended = runner.run(async {
        let _token = token;
        reading = Some(create_task(async move {
            sleep(Duration::from_millis(1)).await;
            fs::read(path).await
        }));
        once_pending().await;
        handle.stop();
        pending::<()>().await;
    });
    assert!(ended.expect_err("main had not ended").is_stopped());
    assert_eq!(drops.count(), 1, "this main is gone");

    let mut main = pin!(async {
        let (ours, mut theirs) = connected().await;
        let mut byte = [0];
        let mut read = pin!(ours.read(&mut byte));
        assert!(crate::harness::probes::poll_once(&mut read).await.is_pending());
        handle.stop();
        yield_now().await;
        theirs.write_all(b"x").expect("the loop's end is open");
        read.await.expect("the receive outlived the stop");
        reading.expect("the first run made it").await
    });
    assert!(runner.run(main.as_mut()).expect_err("main had not ended").is_stopped());
    let text = runner.run(main).expect("nobody stops it").expect("no panic");
    assert_eq!(text.expect("the file is there"), b"text");
    runner.close().expect("it ends");
}

fn a_stop_from_another_thread_ends_the_sleep(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let handle = runner.handle();
    let stopper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        handle.stop();
    });
    let ended = runner.run(sleep(Duration::from_secs(3600)));
    assert!(ended.expect_err("main had not ended").is_stopped());
    stopper.join().expect("no panic");
    runner.close().expect("it ends");
}

/// RUN-18
fn a_stop_before_a_run_lets_one_batch_through(ctx: &Ctx) {
    let mut runner = ctx.runner();
    runner.handle().stop();
    let log = Log::new();
    let ended = runner.run(async {
        for turn in 0.. {
            log.push(turn);
            yield_now().await;
        }
    });
    assert!(ended.expect_err("main had not ended").is_stopped());
    assert_eq!(log.all(), [0]);
    // One stop, one run.
    runner.run(turns(3)).expect("nobody stops it");
    runner.close().expect("it ends");
}

/// RUN-22: a value that is there beats the stop, which does not hit the next run either.
fn a_stop_as_main_ends_is_spent(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let handle = runner.handle();
    let value = runner.run(async {
        handle.stop();
        7
    });
    assert_eq!(value.expect("it has ended"), 7);
    runner.run(turns(3)).expect("nobody stops it");
    runner.close().expect("it ends");
}

/// RUN-22
fn what_a_stopped_main_awaited_does_not_end_the_next_run(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let handle = runner.handle();
    let (promise, value) = ringloop::new_future::<()>();
    let ended = runner.run(async {
        let waiter = create_task(value);
        handle.stop();
        waiter.await
    });
    assert!(ended.expect_err("main had not ended").is_stopped());
    let whole = runner.run(async {
        promise.set(()).expect("the task of the first run waits");
        turns(5).await;
        "to its end"
    });
    assert_eq!(whole.expect("nobody stops it"), "to its end");
    runner.close().expect("it ends");
}

/// RUN-19
fn a_stop_of_an_ended_loop_is_nothing(ctx: &Ctx) {
    let runner = ctx.runner();
    let handle = runner.handle();
    runner.close().expect("it ends");
    handle.stop();
    // Neither from inside of another loop, which may have the place of the old one.
    let mut next = ctx.runner();
    next.run(async {
        handle.stop();
        turns(3).await;
    })
    .expect("it was not meant");
    next.close().expect("it ends");
}

/// RUN-16
fn a_builders_options_make_the_loop_that_all_runs_use(ctx: &Ctx) {
    let mut runner = start(ctx.builder().name("custom").thread_pool(1));
    let own = format!("{:?}", runner.handle());
    for _ in 0..3 {
        let (handle, thread) = runner
            .run(async {
                let name = || thread::current().name().map(str::to_owned);
                (current().handle(), to_thread(name).await.expect("no panic"))
            })
            .expect("it runs");
        assert_eq!(format!("{handle:?}"), own, "one loop");
        let thread = thread.expect("the pool's threads have names");
        assert!(thread.starts_with("custom"), "{thread}");
    }
    runner.close().expect("it ends");
}

/// BUG-15, READ-13: what is refused is refused by `build`, not by the kernel and not in the midst of main.
fn an_option_that_cannot_work_is_refused_by_name(_: &Ctx) {
    let new = Builder::new;
    let most = u32::MAX;
    let odd = [
        (new().ring_entries(0), "ring_entries: the number of entries is 0, and must be 1 to 32768"),
        (new().ring_entries(32_769), "ring_entries: the number of entries is 32769,"),
        (new().ring_entries(most), "ring_entries: the number of entries is 4294967295,"),
        (
            new().completion_entries(0),
            "completion_entries: the number of entries is 0, and must be 1 to 65536",
        ),
        (new().completion_entries(65_537), "completion_entries: the number of entries is 65537,"),
        (new().completion_entries(most), "completion_entries: the number of entries is 4294967295,"),
        (new().buffers(0, 4096), "buffers: the number of buffers is 0, and must be 1 to 32768"),
        (new().buffers(100, 4096), "buffers: the number of buffers is 100, and must be a power of two"),
        (new().buffers(u16::MAX, 4096), "buffers: the number of buffers is 65535,"),
        (new().buffers(128, 0), "buffers: the size of a buffer is 0, and must be 1 to 1073741824"),
        (new().buffers(128, most), "buffers: the size of a buffer is 4294967295,"),
        (new().workers(0, 1), "workers: the number of bounded workers is 0, and must be 1 to 2147483647"),
        (new().workers(1, 0), "workers: the number of unbounded workers is 0,"),
        (new().workers(most, 1), "workers: the number of bounded workers is 4294967295,"),
        (new().workers(1, most), "workers: the number of unbounded workers is 4294967295,"),
        (new().thread_pool(0), "thread_pool: the number of threads is 0, and must be 1 or more"),
        (new().name("a\0b"), "name: \"a\\0b\" has a NUL character"),
    ];
    for (builder, text) in odd {
        let Err(error) = builder.clone().build() else { panic!("it made a loop, with {text}") };
        assert_eq!(error.kind(), SetupErrorKind::InvalidOption, "{error}");
        assert!(error.to_string().starts_with(&format!("Builder::{text}")), "{error}");
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidInput);
        let error = builder.run(async {}).expect_err("nor does it run");
        assert!(error.is_setup() && error.to_string().contains(text), "{error}");
    }
    // What is made without a builder is refused where it is made as well.
    let makes: [fn() -> ThreadPool; 2] = [|| ThreadPool::new("a", 0), || ThreadPool::new("a\0b", 1)];
    for make in makes {
        catch_unwind(make).expect_err("such a pool can start no thread");
    }
}

/// BUG-15
fn options_at_the_ends_of_their_ranges_make_a_loop(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    let most = i32::MAX as u32;
    for builder in [
        Builder::new().ring_entries(1),
        Builder::new().ring_entries(1).completion_entries(1),
        Builder::new().ring_entries(32_768),
        Builder::new().completion_entries(65_536),
        Builder::new().buffers(1, 1),
        Builder::new().buffers(32_768, 1),
        Builder::new().buffers(1, 1 << 30),
        Builder::new().workers(1, 1),
        Builder::new().workers(most, most),
        Builder::new().thread_pool(1),
        Builder::new().thread_pool(usize::MAX),
        Builder::new().name(""),
        Builder::new().name("a name much longer than the kernel's fifteen bytes"),
    ] {
        let path = path.clone();
        let main = async move {
            let (ours, mut theirs) = connected().await;
            theirs.write_all(b"x").expect("the loop's end is open");
            ours.read_exact(&mut [0]).await.expect("it was sent");
            assert_eq!(fs::read(path).await.expect("it is there"), b"text");
            to_thread(|| 7).await.expect("no panic")
        };
        assert_eq!(builder.run(main).expect("it runs"), 7);
        testing::release_parked_ring();
    }
}

/// RUN-08: a stream is dropped with its owner, wherever that is at the end, and its destructor may use the loop.
fn what_is_dropped_at_the_end_still_finds_its_loop(_: &Ctx) {
    let log = Log::new();
    let probe = |name: &'static str| {
        let log = log.clone();
        OnDrop(move || log.push((name, try_current().is_some())))
    };
    let mut runner = start(Builder::new().shutdown_timeout(Duration::from_millis(20)).on_error(|_| ()));
    runner
        .run(async {
            let _main = probe("main");
            let cancelled = probe("cancelled");
            create_task(async move {
                let _cancelled = cancelled;
                pending::<()>().await;
            })
            .detach();
            let stubborn = probe("stubborn");
            create_task(async move {
                let _stubborn = stubborn;
                loop {
                    let _ = catch_cancel(pending::<()>()).await;
                }
            })
            .detach();
            once_pending().await;
        })
        .expect("it runs");
    runner.close().expect("it ends");
    assert_eq!(log.all(), [("main", true), ("cancelled", true), ("stubborn", true)]);
}

/// SHUT-01: tasks are cancelled and awaited, their errors reported, accepted writes sent, the thread pool joined, operations
/// in flight drained; and all the while the loop is open.
fn the_end_comes_in_its_order(ctx: &Ctx) {
    let events = Arc::new(Mutex::new(Vec::new()));
    let note = |event: &'static str| {
        let events = events.clone();
        move || events.lock().expect("no panic with it").push(event)
    };
    let reported = note("its panic was reported");
    let (tasks_over, tasks_end) = mpsc::channel::<()>();
    let mut runner = start(ctx.builder().on_error(move |_| {
        reported();
        tasks_over.send(()).expect("the job waits for it");
    }));
    let handle = runner.handle();
    let mut theirs = runner
        .run(async {
            let (ours, theirs) = connected().await;
            let cleaned_up = note("a task cleaned up");
            create_task(async move {
                let _ = catch_cancel(pending::<()>()).await;
                sleep(Duration::from_millis(1)).await;
                ours.write_all(b"last words").await.expect("the peer is there");
                cleaned_up();
                panic!("at the end");
            })
            .detach();
            let (joined, closed) = (note("a job ended"), note("too late"));
            let begun = Arc::new(AtomicBool::new(false));
            let begins = begun.clone();
            let job = to_thread(move || {
                begins.store(true, Ordering::Release);
                let _ = tasks_end.recv();
                thread::sleep(Duration::from_millis(20));
                joined();
                if handle.is_closed() {
                    closed();
                }
            });
            let (idle, peer) = connected().await;
            create_task(async move { idle.read(&mut [0]).await }).detach();
            // A job that has not begun would be withdrawn.
            settle(|now| now.operations > 0 && begun.load(Ordering::Acquire)).await;
            drop(job);
            drop(peer);
            theirs
        })
        .expect("it runs");
    runner.close().expect("it ends");
    assert!(handle.is_closed());
    let events = events.lock().expect("no panic with it");
    assert_eq!(*events, ["a task cleaned up", "its panic was reported", "a job ended"]);
    let mut received = Vec::new();
    std::io::Read::read_to_end(&mut theirs, &mut received).expect("the connection ended in order");
    assert_eq!(received, b"last words");
}

/// SHUT-10
fn a_closed_loop_has_no_descriptor_left(ctx: &Ctx) {
    let before = aftermath::descriptors();
    let mut runner = ctx.runner();
    runner
        .run(async {
            let (ours, mut theirs) = connected().await;
            theirs.write_all(b"x").expect("the loop's end is open");
            ours.read_exact(&mut [0]).await.expect("it was sent");
            to_thread(|| ()).await.expect("no panic");
        })
        .expect("it runs");
    assert!(!aftermath::opened_since(&before).is_empty(), "a ring and an eventfd at least");
    runner.close().expect("it ends");
    testing::release_parked_ring();
    // The kernel gives a closed ring's own files back late; that is no descriptor of the process.
    let left = aftermath::opened_since(&before);
    assert!(left.is_empty(), "{left:?}");
}
