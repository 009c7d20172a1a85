//! Ctrl-C: real signals, to the trial's own process or to a forked child of it.

use crate::harness::forked::forked;
use crate::harness::kinds::{run_on, start, turns};
use crate::harness::probes::{Drops, Log, OnDrop, once_pending};
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, kill, raise, signal};
use nix::sys::wait::WaitStatus;
use nix::unistd::getpid;
use ringloop::{
    Builder, Runner, Sigint, all_tasks, catch_cancel, create_task, current_task, resume_cancel, run, sleep,
    uncancellable, with_cleanup, yield_now,
};
use std::fs;
use std::future::pending;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::ptr::null;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(the_first_cancels_main_where_it_awaits),
    io!(a_main_that_never_sleeps_is_cancelled_as_well),
    io!(one_that_comes_in_a_long_batch_ends_the_next_sleep),
    once!(one_that_comes_while_a_task_blocks_is_answered_afterwards),
    once!(a_main_that_somebody_else_cancelled_too_is_cancelled),
    once!(a_main_that_catches_the_cancel_has_its_value_returned),
    once!(an_uncancellable_section_comes_to_its_end_first),
    once!(the_second_drops_everything_and_ends_the_process),
    once!(the_third_ends_a_process_whose_loop_is_blocked),
    once!(one_too_late_for_a_run_is_the_next_runs),
    once!(what_was_there_before_is_put_back),
    once!(a_signal_that_is_ignored_or_handled_by_others_is_left_alone),
    once!(what_others_install_meanwhile_is_left_in_place),
    once!(run_cleans_up_after_ctrl_c),
    once!(run_leaves_the_handler_of_its_program_in_place),
    once!(who_does_not_ask_is_not_watched_for),
    once!(every_run_that_asked_is_cancelled),
    once!(a_forked_child_is_ended_and_its_parent_undisturbed),
];

/// Ctrl-C, as the terminal's driver presses it.
pub fn press() {
    kill(getpid(), Signal::SIGINT).expect("a process may signal itself");
}

/// From another thread, after a moment in which the loop falls asleep.
fn press_soon() -> thread::JoinHandle<()> {
    thread::spawn(|| {
        thread::sleep(Duration::from_millis(20));
        press();
    })
}

/// A loop that watches, where whoever started the suite may have SIGINT ignored.
fn watching(builder: Builder) -> Runner {
    default_sigint();
    start(builder.sigint(Sigint::Cancel))
}

/// As a program finds it that a terminal has started.
pub fn default_sigint() {
    handle_by(SigHandler::SigDfl);
}

fn handle_by(handler: SigHandler) {
    // SAFETY: the default, nothing, or `note_sigint`, which only adds to an atomic.
    unsafe { signal(Signal::SIGINT, handler) }.expect("SIGINT can be handled");
}

/// SIGINT's handler and flags at present.
fn disposition() -> (usize, i32) {
    let mut present = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: it only asks, and the place for the answer is there; all zeros is a value of it.
    let present = unsafe {
        assert_eq!(libc::sigaction(libc::SIGINT, null(), present.as_mut_ptr()), 0);
        present.assume_init()
    };
    (present.sa_sigaction, present.sa_flags)
}

/// How many SIGINT a handler of the trial's own has seen.
static NOTED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn note_sigint(_: libc::c_int) {
    NOTED.fetch_add(1, Ordering::SeqCst);
}

/// Ended by SIGINT itself, which is what a shell looks for.
fn was_ended_by_sigint(status: WaitStatus) -> bool {
    matches!(status, WaitStatus::Signaled(_, Signal::SIGINT, _))
}

/// RUN-11, SIGNAL-02
fn the_first_cancels_main_where_it_awaits(ctx: &Ctx) {
    let log = Log::new();
    let mut runner = watching(ctx.builder());
    let presser = press_soon();
    let ended = runner.run(with_cleanup(sleep(Duration::from_secs(3600)), async |_| {
        log.push("cleaning");
        sleep(Duration::from_millis(1)).await;
        log.push("clean");
    }));
    let error = ended.expect_err("it was interrupted");
    assert!(error.is_interrupted() && !error.is_cancelled(), "{error}");
    assert_eq!(log.all(), ["cleaning", "clean"]);
    presser.join().expect("it pressed");
    // The loop goes on with a next run, which is not interrupted.
    assert_eq!(runner.run(async { 7 }).expect("nobody pressed"), 7);
    runner.close().expect("it ends");
}

/// RUN-12
fn a_main_that_never_sleeps_is_cancelled_as_well(ctx: &Ctx) {
    let mut runner = watching(ctx.builder());
    let presser = press_soon();
    let ended = runner.run(async {
        loop {
            yield_now().await;
            sleep(Duration::ZERO).await;
        }
    });
    assert!(ended.map(|never: ()| never).expect_err("it was interrupted").is_interrupted());
    presser.join().expect("it pressed");
    runner.close().expect("it ends");
}

/// A long batch looks at the ring in between, and so takes in what was to end the sleep after it.
fn one_that_comes_in_a_long_batch_ends_the_next_sleep(ctx: &Ctx) {
    for paused in [false, true] {
        let builder = if paused { ctx.builder().clock(ringloop::Clock::Paused) } else { ctx.builder() };
        let mut runner = watching(builder);
        let ended = runner.run(async {
            turns(3).await;
            create_task(async { press() }).detach();
            for _ in 0..200 {
                create_task(async { thread::sleep(Duration::from_micros(50)) }).detach();
            }
            pending::<()>().await;
        });
        assert!(ended.expect_err("it was interrupted").is_interrupted());
        runner.close().expect("it ends");
    }
}

fn one_that_comes_while_a_task_blocks_is_answered_afterwards(ctx: &Ctx) {
    let log = Log::new();
    let mut runner = watching(ctx.builder());
    let ended = runner.run(async {
        let log = log.clone();
        create_task(async move {
            let presser = press_soon();
            thread::sleep(Duration::from_millis(40));
            presser.join().expect("it pressed");
            log.push("unblocked");
        })
        .detach();
        pending::<()>().await;
    });
    assert!(ended.expect_err("it was interrupted").is_interrupted());
    assert_eq!(log.all(), ["unblocked"]);
    runner.close().expect("it ends");
}

/// RUN-13
fn a_main_that_somebody_else_cancelled_too_is_cancelled(ctx: &Ctx) {
    for others_first in [true, false] {
        let mut runner = watching(ctx.builder());
        let ended = runner.run(async {
            let main = current_task().expect("main is a task");
            create_task(async move {
                if others_first {
                    main.cancel_with("by a task");
                    press();
                } else {
                    press();
                    yield_now().await;
                    main.cancel_with("by a task");
                }
            })
            .detach();
            let _ = catch_cancel(pending::<()>()).await;
            turns(3).await;
            resume_cancel().await
        });
        let error = ended.map(|never: ()| never).expect_err("it was cancelled");
        assert!(error.is_cancelled() && !error.is_interrupted(), "{error}");
        runner.close().expect("it ends");
    }
}

/// RUN-11: a cancel that is swallowed is no interruption, in asyncio either.
fn a_main_that_catches_the_cancel_has_its_value_returned(ctx: &Ctx) {
    default_sigint();
    let value = run_on(ctx.builder().sigint(Sigint::Cancel), async {
        create_task(async { press() }).detach();
        catch_cancel(pending::<()>()).await.expect_err("it was cancelled");
        sleep(Duration::from_millis(1)).await;
        "finished in order"
    });
    assert_eq!(value, "finished in order");
}

fn an_uncancellable_section_comes_to_its_end_first(ctx: &Ctx) {
    let log = Log::new();
    let mut runner = watching(ctx.builder());
    let ended = runner.run(async {
        create_task(async { press() }).detach();
        uncancellable(sleep(Duration::from_millis(5))).await;
        log.push("committed");
        pending::<()>().await;
    });
    assert!(ended.expect_err("it was interrupted").is_interrupted());
    assert_eq!(log.all(), ["committed"]);
    runner.close().expect("it ends");
}

/// RUN-14
fn the_second_drops_everything_and_ends_the_process(ctx: &Ctx) {
    let mark = |name: &str| {
        let path = ctx.path(name);
        move || fs::write(&path, b"").expect("the folder can be written")
    };
    let status = forked(|| {
        let mut runner = watching(ctx.builder());
        let _ = runner.run(async {
            let dropped = OnDrop(mark("task dropped"));
            let cleaned_up = mark("task cleaned up");
            let other = create_task(async move {
                let _dropped = dropped;
                let _ = catch_cancel(pending::<()>()).await;
                cleaned_up();
            });
            let _dropped = OnDrop(mark("main dropped"));
            create_task(async { press() }).detach();
            let _ = catch_cancel(pending::<()>()).await;
            mark("cleaning up")();
            create_task(async { press() }).detach();
            let _ = other.await;
            mark("main cleaned up")();
        });
        0
    });
    assert!(was_ended_by_sigint(status), "{status:?}");
    let marked = |name: &str| Path::exists(&ctx.path(name));
    assert!(marked("cleaning up"), "after the first, main may clean up");
    assert!(marked("main dropped") && marked("task dropped"), "after the second, destructors run");
    assert!(!marked("main cleaned up") && !marked("task cleaned up"), "and nothing else");
}

/// RUN-14
fn the_third_ends_a_process_whose_loop_is_blocked(ctx: &Ctx) {
    let reached = ctx.path("reached");
    let status = forked(|| {
        let mut runner = watching(ctx.builder());
        let _ = runner.run(async {
            press();
            press();
            fs::write(&reached, b"").expect("the folder can be written");
            press();
            thread::sleep(Duration::from_secs(3600));
        });
        0
    });
    assert!(was_ended_by_sigint(status), "{status:?}");
    assert!(reached.exists(), "two are for the loop to answer");
}

/// Or a program of many short runs could not be interrupted.
fn one_too_late_for_a_run_is_the_next_runs(ctx: &Ctx) {
    let mut runner = watching(ctx.builder());
    assert_eq!(runner.run(async { press() }).expect("a value that is there is kept"), ());
    let drops = Drops::new();
    let token = drops.token();
    let ended = runner.run(async move {
        let _token = token;
        unreachable!("it was cancelled before it began")
    });
    let error = ended.map(|never: ()| never).expect_err("it was interrupted");
    assert!(error.is_interrupted(), "{error}");
    assert_eq!(drops.count(), 1);
    runner.run(once_pending()).expect("it is answered");
    runner.close().expect("it ends");
}

/// SIGNAL-04
fn what_was_there_before_is_put_back(ctx: &Ctx) {
    default_sigint();
    let before = disposition();
    let mut runner = watching(ctx.builder());
    assert_eq!(disposition(), before, "nothing runs yet");
    let during = runner.run(async { disposition() }).expect("it runs");
    assert_ne!(during.0, before.0);
    assert_eq!(disposition(), before, "between the runs");
    runner
        .run(async {
            create_task(async { press() }).detach();
            pending::<()>().await
        })
        .expect_err("it was interrupted");
    assert_eq!(disposition(), before, "after an interruption");
    let panic = catch_unwind(AssertUnwindSafe(|| runner.run(async { panic!("in main") })));
    assert!(panic.map(|ended: Result<(), _>| ended).is_err());
    assert_eq!(disposition(), before, "after a panic");
    runner.run(async { create_task(pending::<()>()).detach() }).expect("it runs");
    runner.close().expect("it ends");
    // The loop's end is not a run: Ctrl-C ends it at once, as it ends a process that never had a loop.
    let status = forked(|| {
        let mut runner = watching(ctx.builder());
        runner
            .run(async {
                create_task(async {
                    let _ = catch_cancel(pending::<()>()).await;
                    press();
                    pending::<()>().await;
                })
                .detach();
                once_pending().await;
            })
            .expect("it runs");
        runner.close().expect("it ends");
        0
    });
    assert!(was_ended_by_sigint(status), "{status:?}");
}

/// As asyncio, which takes SIGINT only from Python's own handler.
fn a_signal_that_is_ignored_or_handled_by_others_is_left_alone(ctx: &Ctx) {
    for handler in [SigHandler::SigIgn, SigHandler::Handler(note_sigint)] {
        let mut runner = watching(ctx.builder());
        handle_by(handler);
        let before = disposition();
        let during = runner.run(async {
            press();
            turns(3).await;
            disposition()
        });
        assert_eq!(during.expect("it is not interrupted"), before);
        assert_eq!(disposition(), before);
        runner.close().expect("it ends");
    }
    assert_eq!(NOTED.load(Ordering::SeqCst), 1, "the handler has seen its own");
    default_sigint();
}

fn what_others_install_meanwhile_is_left_in_place(ctx: &Ctx) {
    let mut runner = watching(ctx.builder());
    runner.run(async { handle_by(SigHandler::Handler(note_sigint)) }).expect("it runs");
    press();
    assert_eq!(NOTED.load(Ordering::SeqCst), 1);
    default_sigint();
    // Nothing is left of the run that would keep a later one from watching.
    let ended = runner.run(async {
        create_task(async { press() }).detach();
        pending::<()>().await
    });
    assert!(ended.expect_err("it was interrupted").is_interrupted());
    runner.close().expect("it ends");
}

/// USE-08: as `asyncio.run`, on the main thread and in place of the default action only.
fn run_cleans_up_after_ctrl_c(_: &Ctx) {
    default_sigint();
    let before = disposition();
    let log = Log::new();
    let presser = press_soon();
    let ended = run(with_cleanup(sleep(Duration::from_secs(3600)), async |_| {
        sleep(Duration::from_millis(1)).await;
        log.push("clean");
    }));
    assert!(ended.expect_err("it was interrupted").is_interrupted());
    assert_eq!(log.all(), ["clean"]);
    presser.join().expect("it pressed");
    assert_eq!(disposition(), before);
    let elsewhere = thread::spawn(|| run(async { disposition() }).expect("io_uring works here"));
    assert_eq!(elsewhere.join().expect("no panic"), before, "on another thread it is left alone");
}

/// USE-08: a host program's handler hears of Ctrl-C, not the loop.
fn run_leaves_the_handler_of_its_program_in_place(_: &Ctx) {
    handle_by(SigHandler::Handler(note_sigint));
    let before = disposition();
    let during = run(async {
        press();
        turns(3).await;
        disposition()
    });
    assert_eq!(during.expect("it is not interrupted"), before);
    assert_eq!((NOTED.load(Ordering::SeqCst), disposition()), (1, before));
    default_sigint();
}

/// Opt-in: a builder's loop does not touch the signal, so `Builder::new().run` is the way to decline.
fn who_does_not_ask_is_not_watched_for(ctx: &Ctx) {
    default_sigint();
    let before = disposition();
    assert_eq!(Builder::new().run(async { disposition() }).expect("io_uring works here"), before);
    assert_eq!(ctx.run(async { disposition() }), before);
    let mut runner = start(ctx.builder().sigint(Sigint::Default));
    assert_eq!(runner.run(async { disposition() }).expect("it runs"), before);
    runner.close().expect("it ends");
}

/// Loops begin and end while the handler looks at them: none is missed, and none is touched after its end.
fn every_run_that_asked_is_cancelled(ctx: &Ctx) {
    const LOOPS: usize = 6;
    default_sigint();
    let before = disposition();
    // All that run, and this thread.
    let ready = Arc::new(Barrier::new(LOOPS + 1));
    let threads: Vec<_> = (0..LOOPS)
        .map(|number| {
            let (builder, ready) = (ctx.builder(), ready.clone());
            thread::spawn(move || {
                let mut runner = start(builder.sigint(Sigint::Cancel));
                for _ in 0..50 {
                    ready.wait();
                    let ended = runner.run(async {
                        ready.wait();
                        if number % 2 == 0 {
                            create_task(async {}).detach();
                        }
                        pending::<()>().await;
                    });
                    assert!(ended.expect_err("it was interrupted").is_interrupted());
                }
                runner.close().expect("it ends");
                ringloop::testing::release_parked_ring();
            })
        })
        .collect();
    for _ in 0..50 {
        ready.wait();
        ready.wait();
        press();
    }
    for thread in threads {
        thread.join().expect("each was interrupted each time");
    }
    assert_eq!(disposition(), before);
}

/// SIGNAL-08: it inherits the handler, but nobody listens to it there.
fn a_forked_child_is_ended_and_its_parent_undisturbed(ctx: &Ctx) {
    let mut runner = watching(ctx.builder());
    runner
        .run(async {
            let status = forked(|| {
                raise(Signal::SIGINT).expect("a process may signal itself");
                0
            });
            assert!(was_ended_by_sigint(status), "{status:?}");
            // A loop of the child's own is interrupted like any other, and leaves the child as it found it.
            let status = forked(|| {
                let interrupted = || {
                    let mut own = start(Builder::new().sigint(Sigint::Cancel));
                    let ended = own.run(async {
                        create_task(async { press() }).detach();
                        pending::<()>().await
                    });
                    ended.expect_err("it was interrupted").is_interrupted()
                };
                // This thread is inside of the parent's loop.
                if !thread::spawn(interrupted).join().expect("no panic") {
                    return 1;
                }
                press();
                2
            });
            assert!(was_ended_by_sigint(status), "{status:?}");
            turns(3).await;
            assert_eq!(all_tasks().len(), 1);
        })
        .expect("the parent is not interrupted");
    runner.close().expect("it ends");
}
