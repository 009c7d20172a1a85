//! Futures by hand: promises kept, refused and broken, and a value that many await.

use crate::harness::probes::Log;
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::{create_task, new_future, now, sleep, timeout, yield_now};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(a_new_future_is_not_ready),
    once!(a_task_sets_the_future_that_another_awaits),
    once!(an_error_is_a_value_too),
    once!(a_value_that_comes_too_late_is_refused),
    once!(a_timer_that_comes_too_late_is_refused_quietly),
    once!(a_broken_promise_is_an_error),
    once!(all_who_share_a_future_resume_in_order),
    once!(what_waits_for_a_future_runs_after_the_setter_not_inside),
    once!(a_waiter_that_brings_more_waiters_is_no_trouble),
    once!(a_cancelled_waiter_is_nothing_to_those_who_share),
];

/// FUT-01
fn a_new_future_is_not_ready(ctx: &Ctx) {
    ctx.run(async {
        let (promise, mut value) = new_future();
        assert!(!value.is_done() && !promise.is_cancelled() && value.try_result().is_none());
        assert_eq!(promise.set(1), Ok(()));
        assert_eq!((value.is_done(), value.try_result()), (true, Some(Ok(1))));
    });
}

/// FUT-15, FUT-02
fn a_task_sets_the_future_that_another_awaits(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, (mut promise, value)) = (now(), new_future());
        create_task(async move {
            sleep(Duration::from_secs(2)).await;
            assert_eq!(promise.try_set("the value"), Ok(()));
            assert_eq!(promise.try_set("another"), Err("another"), "it is set once");
        })
        .detach();
        assert_eq!(value.await, Ok("the value"));
        assert_eq!(now() - start, Duration::from_secs(2));
    });
}

/// FUT-03
fn an_error_is_a_value_too(ctx: &Ctx) {
    ctx.run(async {
        let (promise, value) = new_future::<Result<u8, String>>();
        let waiter = create_task(value);
        yield_now().await;
        assert!(promise.set(Err("it failed".to_owned())).is_ok());
        let outcome = waiter.await.expect("not cancelled").expect("not broken");
        assert_eq!(outcome, Err("it failed".to_owned()));
    });
}

/// FUT-04
fn a_value_that_comes_too_late_is_refused(ctx: &Ctx) {
    ctx.run(async {
        let (mut promise, value) = new_future();
        let waiter = create_task(value);
        yield_now().await;
        assert!(!promise.is_cancelled());
        assert!(waiter.cancel());
        assert!(waiter.await.expect_err("it was cancelled").is_cancelled());
        assert!(promise.is_cancelled());
        assert_eq!((promise.try_set(1), promise.set(2)), (Err(1), Err(2)));
    });
}

/// FUT-11
fn a_timer_that_comes_too_late_is_refused_quietly(ctx: &Ctx) {
    ctx.run_paused(async {
        let (mut promise, value) = new_future();
        let timer = create_task(async move {
            sleep(Duration::from_secs(2)).await;
            promise.try_set(1)
        });
        timeout(Duration::from_secs(1), value).await.expect_err("the timer is later");
        assert_eq!(timer.await.expect("no panic"), Err(1));
    });
}

fn a_broken_promise_is_an_error(ctx: &Ctx) {
    ctx.run(async {
        let (promise, value) = new_future::<()>();
        let setter = create_task(async move {
            let _promise = promise;
            sleep(Duration::from_secs(60)).await;
        });
        yield_now().await;
        setter.cancel();
        assert!(value.await.is_err());
        assert!(setter.await.is_err());
    });
}

/// FUT-14
fn all_who_share_a_future_resume_in_order(ctx: &Ctx) {
    ctx.run(async {
        let (log, (promise, value)) = (Log::new(), new_future());
        let value = value.shared();
        let tasks: Vec<_> = (0..5)
            .map(|number| {
                let (log, value) = (log.clone(), value.clone());
                create_task(async move { log.push((number, value.await.expect("it is kept"))) })
            })
            .collect();
        yield_now().await;
        promise.set("same".to_owned()).expect("it is awaited");
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(log.all(), (0..5).map(|number| (number, "same".to_owned())).collect::<Vec<_>>());
        assert_eq!(value.await.as_deref(), Ok("same"), "also for whoever comes later");
    });
}

/// FUT-05, FUT-06: a callback of a future is a task that awaits it. It runs in the next turn, in order, also if the future
/// was done already.
fn what_waits_for_a_future_runs_after_the_setter_not_inside(ctx: &Ctx) {
    ctx.run(async {
        let (log, (promise, value)) = (Log::new(), new_future());
        let value = value.shared();
        let callback = |name: &'static str| {
            let (log, value) = (log.clone(), value.clone());
            create_task(async move {
                value.await.expect("it is kept");
                log.push(name);
            })
            .detach();
        };
        callback("first");
        callback("second");
        yield_now().await;
        promise.set(()).expect("it is awaited");
        log.push("set");
        yield_now().await;
        assert_eq!(log.all(), ["set", "first", "second"]);
        callback("late");
        log.push("added");
        yield_now().await;
        assert_eq!(log.all()[3..], ["added", "late"]);
    });
}

/// FUT-08
fn a_waiter_that_brings_more_waiters_is_no_trouble(ctx: &Ctx) {
    ctx.run(async {
        let (log, (promise, value)) = (Log::new(), new_future());
        let value = value.shared();
        let victim = create_task(value.clone());
        let canceller = victim.task_ref();
        create_task({
            let (log, value) = (log.clone(), value.clone());
            async move {
                value.clone().await.expect("it is kept");
                canceller.abort();
                let more = [0, 1, 2].map(|_| create_task(value.clone()));
                for task in more {
                    log.push(task.await.expect("no panic").expect("it is kept"));
                }
            }
        })
        .detach();
        yield_now().await;
        promise.set(7).expect("it is awaited");
        assert_eq!(victim.await.expect("it was first"), Ok(7));
        for _ in 0..5 {
            yield_now().await;
        }
        assert_eq!(log.all(), [7, 7, 7]);
    });
}

/// FUT-04, FUT-11: a deviation. In asyncio a cancelled waiter cancels the future for all.
fn a_cancelled_waiter_is_nothing_to_those_who_share(ctx: &Ctx) {
    ctx.run(async {
        let (promise, value) = new_future();
        let value = value.shared();
        let [gone, stays] = [(); 2].map(|()| create_task(value.clone()));
        yield_now().await;
        gone.cancel();
        assert!(gone.await.is_err());
        assert!(!promise.is_cancelled());
        promise.set(1).expect("one still awaits it");
        assert_eq!(stays.await.expect("no panic"), Ok(1));
    });
}
