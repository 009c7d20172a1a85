//! Durations of any size, in every call that takes one: the longest means "no limit", and none overflows a clock.

use crate::harness::kinds::{Reports, rest, run_on, start};
use crate::harness::pairs::connected;
use crate::harness::probes::{once_pending, poll_once};
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use nix::libc;
use ringloop::fs::File;
use ringloop::net::TcpStream;
use ringloop::{
    AllCompleted, Builder, CpuPool, DetachLimits, RunError, ThreadPool, catch_cancel, create_task, current,
    interval, now, run, sleep, staggered_race, testing, timeout, timeout_scope, to_thread, wait, wait_for,
};
use std::future::{pending, ready};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(a_builders_durations_may_have_any_size),
    once!(a_panic_of_main_outlives_an_endless_shutdown_timeout),
    once!(an_endless_shutdown_timeout_waits_for_clean_ups),
    io!(what_waits_may_wait_for_any_duration),
    io!(an_operation_may_have_a_limit_of_any_size),
    once!(threads_may_be_waited_for_by_any_duration),
    once!(a_paused_clock_may_be_advanced_by_any_duration),
    once!(a_linger_of_any_size_sends_what_was_written),
];

/// The least, one that no clock can add to its reading, and those around which a count of seconds may wrap.
fn sizes() -> impl Iterator<Item = Duration> {
    let seconds = [u64::MAX, i64::MAX as u64, i64::MAX as u64 - 1, u64::from(u32::MAX) + 1, 1 << 31];
    [Duration::ZERO, Duration::from_nanos(1), Duration::MAX]
        .into_iter()
        .chain(seconds.map(Duration::from_secs))
}

/// BUG-04, READ-04
fn a_builders_durations_may_have_any_size(_: &Ctx) {
    for size in sizes() {
        let limits = DetachLimits { time: size, ..DetachLimits::default() };
        let builder = || Builder::new().on_error(|_| ());
        for builder in [
            builder().shutdown_timeout(size),
            builder().drain_timeout(size),
            builder().timer_spacing(size),
            builder().slow_step(size).debug(true),
            builder().detached_writers(limits),
        ] {
            let value = builder.run(async {
                // A first timer sets the time that the spacing of later ones counts from.
                sleep(Duration::from_millis(1)).await;
                let (ours, _theirs) = connected().await;
                ours.write_all(b"x").await.expect("the peer is there");
                drop(ours);
                create_task(pending::<()>()).detach();
                once_pending().await;
                42
            });
            assert_eq!(value.expect("io_uring works here"), 42, "{size:?}");
        }
    }
}

/// BUG-04: a second panic, in the destructor of the runner, would abort the process.
fn a_panic_of_main_outlives_an_endless_shutdown_timeout(_: &Ctx) {
    let caught = catch_unwind(AssertUnwindSafe(|| {
        Builder::new().shutdown_timeout(Duration::MAX).run(async { panic!("in main") })
    }));
    let payload = caught.map(|result: Result<(), RunError>| result).expect_err("main panicked");
    assert_eq!(payload.downcast_ref::<&str>(), Some(&"in main"));
}

/// BUG-04: "as long as it takes"
fn an_endless_shutdown_timeout_waits_for_clean_ups(_: &Ctx) {
    let reports = Reports::default();
    let mut runner = start(reports.builder(Builder::new().shutdown_timeout(Duration::MAX)));
    let (over, ended) = std::sync::mpsc::channel();
    runner
        .run(async {
            create_task(async move {
                let _ = catch_cancel(pending::<()>()).await;
                sleep(Duration::from_millis(5)).await;
                to_thread(move || over.send("clean")).await.expect("no panic").expect("the trial waits");
            })
            .detach();
            once_pending().await;
        })
        .expect("io_uring works here");
    runner.close().expect("it ends");
    assert_eq!(ended.try_recv(), Ok("clean"));
    assert_eq!(reports.take(), [""; 0]);
}

/// READ-04
fn what_waits_may_wait_for_any_duration(ctx: &Ctx) {
    for size in sizes().filter(|size| *size > Duration::from_secs(1)) {
        ctx.run(async {
            let mut nap = sleep(size);
            assert!(poll_once(&mut nap).await.is_pending());
            let mut ticks = interval(size);
            ticks.tick().await;
            assert!(poll_once(&mut Box::pin(ticks.tick())).await.is_pending());
            assert_eq!(timeout(size, ready(1)).await, Ok(1));
            assert!(poll_once(&mut Box::pin(timeout(size, pending::<()>()))).await.is_pending());
            let scope = timeout_scope(size, async |deadline| {
                deadline.reschedule_after(size).expect("it has not passed");
                once_pending().await;
                2
            });
            assert_eq!(scope.await, Ok(2));
            assert_eq!(wait_for(create_task(async { 3 }), size).await.expect("no panic"), 3);
            let (done, left) = wait([create_task(async { 4 })], AllCompleted).timeout(size).await;
            assert_eq!((done.len(), left.len()), (1, 0));
            let called = current().call_later(size, || unreachable!("it is never due"));
            assert!(called.when() > now());
            called.cancel();
            let first = [|| async { Ok::<_, ()>(5) }];
            assert_eq!(staggered_race(first, size).await.map(|(_, value)| value), Ok(5));
            drop((nap, ticks));
            rest().await;
        });
    }
    ctx.run(async {
        sleep(Duration::ZERO).await;
        timeout(Duration::ZERO, pending::<()>()).await.expect_err("it is past");
        current().call_later(Duration::ZERO, || ());
        rest().await;
    });
}

/// READ-04
fn an_operation_may_have_a_limit_of_any_size(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    for size in sizes().filter(|size| *size > Duration::from_secs(1)) {
        ctx.run(async {
            let file = File::open(&path).await.expect("it is there");
            let (read, bytes) = file.read_at(vec![0; 4], 0).timeout(size).await.expect("nothing is slow");
            assert_eq!(&bytes[..read], &b"text"[..read]);
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            TcpStream::connect(address).timeout(size).await.expect("it listens");
        });
    }
}

/// READ-04
fn threads_may_be_waited_for_by_any_duration(ctx: &Ctx) {
    for size in sizes() {
        let pool = ThreadPool::with_idle_time("idle", 1, size);
        pool.submit(Box::new(|| ())).expect("it takes jobs");
        std::thread::sleep(Duration::from_millis(2));
        pool.submit(Box::new(|| ())).expect("it takes jobs");
        let cpus = CpuPool::new();
        for joined in [pool.join(Some(size)), cpus.join(Some(size))] {
            assert!(joined || size < Duration::from_secs(1), "{size:?}");
        }
        assert!(pool.join(None) && cpus.join(None));
    }
    run_on(ctx.builder(), async {
        let handle = current().handle();
        for size in sizes().filter(|size| *size > Duration::from_secs(1)) {
            let waited = to_thread(move || {
                let mut future = handle.run_coroutine_threadsafe(async || 1);
                future.wait_timeout(size)
            });
            assert_eq!(waited.await.expect("no panic").expect("no panic"), Some(1));
        }
    });
}

/// READ-04
fn a_paused_clock_may_be_advanced_by_any_duration(ctx: &Ctx) {
    for size in sizes() {
        ctx.run_paused(async {
            let before = now();
            for _ in 0..3 {
                testing::advance(size);
            }
            assert!(now() > before || size.is_zero());
            sleep(Duration::from_secs(1)).await;
            sleep(Duration::MAX).await;
        });
    }
}

/// READ-04: seconds that do not fit, or are less than one, must not become the zero that resets the connection.
fn a_linger_of_any_size_sends_what_was_written(_: &Ctx) {
    for size in sizes().filter(|size| !size.is_zero()) {
        run(async {
            let (ours, mut theirs) = connected().await;
            ours.set_linger(Some(size)).expect("it is open");
            let told = linger_of(&ours);
            assert!(told > 0, "{size:?} became {told}");
            ours.write_all(b"text").await.expect("the peer is there");
            ours.flush().await.expect("the peer is there");
            let reader = std::thread::spawn(move || {
                let mut received = Vec::new();
                theirs.read_to_end(&mut received).map(|_| received)
            });
            drop(ours);
            sleep(Duration::from_millis(1)).await;
            let received = to_thread(|| reader.join().expect("no panic")).await.expect("no panic");
            assert_eq!(received.expect("no reset"), b"text");
        })
        .expect("io_uring works here");
    }
}

/// The kernel's own word for it, in seconds.
fn linger_of(stream: &TcpStream) -> i32 {
    use std::os::fd::AsRawFd;
    let mut linger = libc::linger { l_onoff: 0, l_linger: 0 };
    let mut size = size_of_val(&linger) as libc::socklen_t;
    // SAFETY: the place for the answer is there, and of that size.
    let asked = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw mut linger).cast(),
            &mut size,
        )
    };
    assert_eq!((asked, linger.l_onoff), (0, 1));
    linger.l_linger
}
