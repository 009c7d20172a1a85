//! Callbacks of the loop: in what order they are called, what a handle can do, what becomes of them at the end.

use crate::harness::kinds::{Reports, run_on, start, turns};
use crate::harness::probes::{Drops, Log, OnDrop, once_pending};
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use ringloop::{
    Clock, Handle, TimerHandle, create_task, current, current_task, now, sleep, testing, yield_now,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(calls_run_once_each_in_order_with_tasks),
    once!(calls_of_both_kinds_on_the_loops_own_thread_run_in_order),
    once!(a_call_made_by_a_call_runs_in_the_next_turn),
    io!(later_calls_run_by_due_time_and_ties_in_order),
    once!(a_call_for_a_time_that_has_passed_runs_in_the_next_turn),
    once!(a_later_call_keeps_the_loops_time),
    once!(a_delay_that_no_clock_can_say_is_no_error),
    once!(dropping_a_handle_cancels_nothing),
    once!(a_cancelled_call_never_runs_and_drops_its_function_at_once),
    once!(a_call_can_be_cancelled_by_one_before_it_and_not_by_itself),
    once!(cancelled_timers_leave_the_store_at_once),
    once!(a_cancelled_timer_does_not_change_the_sleep),
    once!(a_timer_that_is_due_can_still_be_cancelled),
    once!(a_handle_tells_its_state),
    io!(a_call_that_panics_is_reported_and_the_next_runs),
    io!(calls_left_at_the_end_are_dropped_uncalled),
    once!(a_call_can_be_cancelled_between_two_runs),
    once!(a_call_made_after_the_end_is_dropped),
    once!(a_call_is_no_task),
];

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A function that notes this.
fn note<T: Clone + 'static>(log: &Log<T>, event: T) -> impl FnOnce() + 'static {
    let log = log.clone();
    move || log.push(event)
}

/// SCHED-01
fn calls_run_once_each_in_order_with_tasks(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        current().call_soon(note(&log, "first"));
        let task = create_task({
            let note = note(&log, "task");
            async move { note() }
        });
        current().call_soon(note(&log, "second"));
        assert_eq!(log.len(), 0, "not in the turn of the call");
        yield_now().await;
        assert_eq!(log.all(), ["first", "task", "second"]);
        turns(3).await;
        assert_eq!(log.len(), 3, "once each");
        task.await.expect("no panic");
    });
}

/// AIO-06, CST-02
fn calls_of_both_kinds_on_the_loops_own_thread_run_in_order(ctx: &Ctx) {
    ctx.run(async {
        let (tell, told) = std::sync::mpsc::channel();
        let handle = current().handle();
        for number in 0..6 {
            let tell = tell.clone();
            let call = move || tell.send(number).expect("the trial listens");
            match number % 2 {
                0 => drop(current().call_soon(call)),
                _ => handle.call_soon_threadsafe(call).expect("the loop runs"),
            }
        }
        assert_eq!(told.try_iter().count(), 0, "not in the turn of the call");
        yield_now().await;
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    });
}

/// SCHED-02
fn a_call_made_by_a_call_runs_in_the_next_turn(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let inner = log.clone();
        let began = testing::stats().turns;
        current().call_soon(move || {
            inner.push(testing::stats().turns - began);
            let innermost = inner.clone();
            current().call_soon(move || innermost.push(testing::stats().turns - began));
        });
        turns(3).await;
        assert_eq!(log.all(), [1, 2]);
    });
}

/// SCHED-03, SCHED-04 (the order of registration)
fn later_calls_run_by_due_time_and_ties_in_order(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let (this, start) = (current(), now());
        let delays = [30, 10, 20, 10, 0, 30, 20, 10];
        for (number, delay) in delays.into_iter().enumerate() {
            this.call_at(start + ms(delay), note(&log, (delay, number)));
        }
        sleep(ms(40)).await;
        let mut expected: Vec<_> =
            delays.into_iter().enumerate().map(|(number, delay)| (delay, number)).collect();
        expected.sort();
        assert_eq!(log.all(), expected);
    });
}

/// SCHED-03 (asyncio's negative delays are times that have passed)
fn a_call_for_a_time_that_has_passed_runs_in_the_next_turn(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        sleep(ms(100)).await;
        let this = current();
        this.call_at(now() - ms(10), note(&log, "second"));
        this.call_at(now() - ms(20), note(&log, "first"));
        this.call_later(Duration::ZERO, note(&log, "third"));
        let before = now();
        turns(2).await;
        assert_eq!(log.all(), ["first", "second", "third"]);
        assert_eq!(now(), before);
    });
}

/// SCHED-05, SCHED-15, SCHED-17
fn a_later_call_keeps_the_loops_time(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let (this, start) = (current(), now());
        assert_eq!(this.now(), start, "one clock");
        let noting = log.clone();
        let handle = this.call_later(ms(50), move || noting.push(now()));
        assert_eq!(handle.when(), start + ms(50));
        sleep(ms(49)).await;
        assert_eq!(log.len(), 0, "not before");
        sleep(ms(10)).await;
        assert_eq!(log.all(), [start + ms(50)]);
    });
}

fn a_delay_that_no_clock_can_say_is_no_error(ctx: &Ctx) {
    ctx.run_paused(async {
        let handle = current().call_later(Duration::MAX, || unreachable!("in a century"));
        sleep(ms(10)).await;
        handle.cancel();
    });
}

fn dropping_a_handle_cancels_nothing(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        drop(current().call_soon(note(&log, "soon")));
        drop(current().call_later(ms(5), note(&log, "later")));
        sleep(ms(10)).await;
        assert_eq!(log.all(), ["soon", "later"]);
    });
}

/// SCHED-06
fn a_cancelled_call_never_runs_and_drops_its_function_at_once(ctx: &Ctx) {
    ctx.run_paused(async {
        let drops = Drops::new();
        let call = || {
            let token = drops.token();
            move || {
                drop(token);
                unreachable!("it was cancelled")
            }
        };
        let (soon, later) = (current().call_soon(call()), current().call_later(ms(5), call()));
        assert!(!soon.is_cancelled() && !later.is_cancelled());
        soon.cancel();
        later.cancel();
        assert_eq!(drops.count(), 2);
        assert!(soon.is_cancelled() && later.is_cancelled());
        soon.cancel();
        later.cancel();
        sleep(ms(10)).await;
    });
}

fn a_call_can_be_cancelled_by_one_before_it_and_not_by_itself(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let second: Rc<RefCell<Option<Handle>>> = Rc::default();
        let own: Rc<RefCell<Option<Handle>>> = Rc::default();
        let (cancels, itself, noting) = (second.clone(), own.clone(), log.clone());
        let first = current().call_soon(move || {
            cancels.borrow_mut().take().expect("it is there").cancel();
            itself.borrow_mut().take().expect("it is there").cancel();
            noting.push("first");
        });
        *own.borrow_mut() = Some(first.clone());
        let cancelled = current().call_soon(note(&log, "never"));
        *second.borrow_mut() = Some(cancelled.clone());
        turns(2).await;
        assert_eq!(log.all(), ["first"]);
        assert!(cancelled.is_cancelled() && !first.is_cancelled());
    });
}

/// SCHED-07
fn cancelled_timers_leave_the_store_at_once(ctx: &Ctx) {
    ctx.run_paused(async {
        let before = testing::stats().tasks;
        let hours = Duration::from_secs(3600);
        let handles: Vec<TimerHandle> = (0..10_000).map(|_| current().call_later(hours, || ())).collect();
        assert_eq!(testing::stats().timers, 10_000);
        handles[..5000].iter().for_each(TimerHandle::cancel);
        assert_eq!(testing::stats().timers, 5000, "not at their due time");
        handles.iter().for_each(TimerHandle::cancel);
        assert_eq!((testing::stats().timers, testing::stats().tasks), (0, before));
    });
}

/// SCHED-06
fn a_cancelled_timer_does_not_change_the_sleep(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let (short, long) = (current().call_later(ms(10), || ()), current().call_later(ms(30), || ()));
        short.cancel();
        long.cancel();
        let enters = testing::stats().enters;
        sleep(ms(20)).await;
        assert_eq!(now() - start, ms(20), "the clock jumps past what was cancelled");
        assert!(testing::stats().enters <= enters + 2);
    });
}

/// Due, it stands in line behind what was ready: the first in line may cancel the second.
fn a_timer_that_is_due_can_still_be_cancelled(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let second: Rc<RefCell<Option<TimerHandle>>> = Rc::default();
        let cancels = second.clone();
        let noting = log.clone();
        current().call_later(ms(5), move || {
            cancels.borrow_mut().take().expect("it is there").cancel();
            noting.push("first");
        });
        *second.borrow_mut() = Some(current().call_later(ms(5), note(&log, "never")));
        sleep(ms(10)).await;
        assert_eq!(log.all(), ["first"]);
    });
}

fn a_handle_tells_its_state(ctx: &Ctx) {
    ctx.run_paused(async {
        let (soon, later) = (current().call_soon(|| ()), current().call_later(ms(5), || ()));
        assert_eq!(format!("{soon:?}"), "<Handle pending>");
        yield_now().await;
        assert_eq!(format!("{soon:?}"), "<Handle called>");
        soon.cancel();
        assert!(!soon.is_cancelled(), "it was called");
        later.cancel();
        assert!(format!("{later:?}").starts_with("<TimerHandle cancelled when="));
    });
}

/// SCHED-12
fn a_call_that_panics_is_reported_and_the_next_runs(ctx: &Ctx) {
    let reports = Reports::default();
    run_on(reports.builder(ctx.builder()), async {
        let log = Log::new();
        current().call_later(Duration::ZERO, || panic!("later"));
        current().call_soon(|| panic!("soon"));
        current().call_soon(note(&log, "the next"));
        turns(3).await;
        assert_eq!(log.len(), 1);
    });
    assert_eq!(reports.take(), ["a callback panicked: soon", "a callback panicked: later"]);
}

/// SHUT-06: the end does not wait for them either.
fn calls_left_at_the_end_are_dropped_uncalled(ctx: &Ctx) {
    let dropped = Log::new();
    let call = || {
        let noting = dropped.clone();
        let token = OnDrop(move || noting.push(now()));
        move || {
            drop(token);
            unreachable!("the loop has ended")
        }
    };
    let hour = Duration::from_secs(3600);
    let mut runner = start(ctx.builder().clock(Clock::Paused).shutdown_timeout(hour));
    let (begun, handles) = runner
        .run(async {
            once_pending().await;
            let this = current();
            let (later, due) = (this.call_later(hour, call()), this.call_at(now(), call()));
            (now(), (later, due, this.call_soon(call())))
        })
        .expect("it runs");
    runner.close().expect("it ends");
    assert_eq!(dropped.all(), [begun; 3], "the paused clock would have jumped to whatever is waited for");
    assert!(handles.0.is_cancelled() && handles.1.is_cancelled() && handles.2.is_cancelled());
    handles.0.cancel();
    ctx.run(sleep(ms(5)));
}

fn a_call_can_be_cancelled_between_two_runs(ctx: &Ctx) {
    let log = Log::new();
    let mut runner = start(ctx.builder());
    let (soon, later) = runner
        .run(async {
            (current().call_soon(note(&log, "soon")), current().call_later(ms(1), note(&log, "later")))
        })
        .expect("it runs");
    soon.cancel();
    later.cancel();
    assert!(soon.is_cancelled() && later.is_cancelled());
    runner.run(sleep(ms(5))).expect("it runs");
    assert_eq!(log.len(), 0);
    runner.close().expect("it ends");
}

fn a_call_made_after_the_end_is_dropped(ctx: &Ctx) {
    let drops = Drops::new();
    let mut runner = ctx.runner();
    let this = runner.run(async { current() }).expect("it runs");
    runner.close().expect("it ends");
    let (one, other) = (drops.token(), drops.token());
    let soon = this.call_soon(move || drop(one));
    let later = this.call_later(ms(1), move || drop(other));
    assert_eq!(drops.count(), 2);
    assert!(soon.is_cancelled() && later.is_cancelled());
}

/// INTRO-04: in a callback no task runs.
fn a_call_is_no_task(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let noting = log.clone();
        current()
            .call_soon(move || noting.push(current_task().is_none() && ringloop::all_tasks().len() == 1));
        yield_now().await;
        assert_eq!(log.all(), [true]);
    });
}
