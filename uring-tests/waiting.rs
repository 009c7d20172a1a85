//! Waiting for some of several tasks: `wait`, `as_completed`, `wait_for`, `cancel_and_wait`, sets of tasks.

use crate::harness::kinds::turns;
use crate::harness::probes::{Drops, Log, once_pending, poll_once};
use crate::harness::{Ctx, Trial};
use crate::once;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ringloop::{
    AllCompleted, FirstCompleted, FirstException, Task, TaskSet, WaitError, all_tasks, as_completed,
    cancel_and_wait, catch_cancel, create_task, now, resume_cancel, sleep, timeout, wait, wait_for,
};
use std::future::pending;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(wait_for_all_gives_all_when_the_last_has_ended),
    once!(wait_for_what_is_done_takes_no_time),
    once!(wait_gives_the_first_and_the_others_run_on),
    once!(wait_gives_all_that_ended_in_the_same_turn),
    once!(wait_for_a_failure_returns_at_it_and_not_at_a_cancel),
    once!(wait_does_not_fail_with_its_tasks),
    once!(wait_for_nothing_is_over_at_once),
    once!(wait_is_over_at_its_limit_and_cancels_nothing),
    once!(a_cancelled_wait_leaves_its_tasks_alone),
    once!(tasks_come_as_they_are_completed),
    once!(what_is_left_after_a_limit_can_be_had),
    once!(the_same_tasks_come_out_that_went_in),
    once!(a_dropped_next_loses_nothing),
    once!(wait_for_gives_a_value_in_time),
    once!(wait_for_cancels_at_its_limit_and_waits_for_the_end),
    once!(wait_for_under_no_time_takes_what_is_done_and_starts_nothing),
    once!(wait_for_passes_a_cancel_on_and_goes_on_with_it),
    once!(a_value_beats_the_limit_and_a_panic_too),
    once!(a_value_that_comes_with_a_cancel_is_kept_and_the_next_await_is_hit),
    once!(a_shielded_task_outlives_the_limit),
    once!(cancel_and_wait_waits_for_the_clean_up),
    once!(a_dropped_set_cancels_what_is_left),
    once!(a_set_keeps_what_a_dropped_wait_has_seen),
    once!(a_set_of_ten_thousand_ends),
    once!(a_spent_task_cannot_be_waited_for),
    once!(waits_below_private_wakers_are_woken),
];

fn after(seconds: u64) -> Task<u64> {
    create_task(async move {
        sleep(Duration::from_secs(seconds)).await;
        seconds
    })
}

fn values(tasks: Vec<Task<u64>>) -> Vec<u64> {
    tasks.into_iter().map(|mut task| task.try_result().expect("it has ended").expect("well")).collect()
}

/// A task that cleans up for a second when it is cancelled, and notes that.
fn cleaning(log: &Log<&'static str>) -> Task<()> {
    let log = log.clone();
    create_task(async move {
        if catch_cancel(pending::<()>()).await.is_err() {
            sleep(Duration::from_secs(1)).await;
            log.push("cleaned");
            resume_cancel().await;
        }
    })
}

/// WAIT-01
fn wait_for_all_gives_all_when_the_last_has_ended(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let (done, pending) = wait([after(2), after(1)], AllCompleted).await;
        assert_eq!((values(done), pending.len()), (vec![1, 2], 0));
        assert_eq!(now() - start, Duration::from_secs(2));
    });
}

/// WAIT-02
fn wait_for_what_is_done_takes_no_time(ctx: &Ctx) {
    ctx.run_paused(async {
        let tasks = [after(1), after(2)];
        sleep(Duration::from_secs(3)).await;
        assert!(poll_once(&mut wait(tasks, AllCompleted)).await.is_ready());
    });
}

/// WAIT-03
fn wait_gives_the_first_and_the_others_run_on(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let (done, pending) = wait([after(3), after(1), after(2)], FirstCompleted).await;
        assert_eq!((values(done), now() - start), (vec![1], Duration::from_secs(1)));
        let names: Vec<_> = pending.iter().map(|task| task.is_done()).collect();
        assert_eq!(names, [false, false]);
        let (done, pending) = wait(pending, AllCompleted).await;
        assert_eq!((values(done), pending.len()), (vec![2, 3], 0), "in the order of their ends");
    });
}

fn wait_gives_all_that_ended_in_the_same_turn(ctx: &Ctx) {
    ctx.run_paused(async {
        let (done, pending) = wait([after(1), after(2), after(1)], FirstCompleted).await;
        assert_eq!((done.len(), values(pending_of(pending).await)), (2, vec![2]));
    });
}

async fn pending_of(tasks: Vec<Task<u64>>) -> Vec<Task<u64>> {
    wait(tasks, AllCompleted).await.0
}

/// WAIT-05, WAIT-06
fn wait_for_a_failure_returns_at_it_and_not_at_a_cancel(ctx: &Ctx) {
    ctx.run_paused(async {
        let end = |seconds: u64, end: Result<u8, &'static str>| {
            create_task(async move {
                sleep(Duration::from_secs(seconds)).await;
                end
            })
        };
        let tasks = [end(1, Ok(1)), end(9, Ok(9)), end(3, Err("late")), end(60, Ok(60))];
        tasks[1].cancel();
        let start = now();
        let (done, pending) = wait(tasks, FirstException).await;
        assert_eq!((done.len(), pending.len(), now() - start), (3, 1, Duration::from_secs(3)));
        let panicking = create_task(async { panic!("as expected") });
        let (done, pending) = wait(pending.into_iter().chain([panicking]), FirstException).await;
        assert_eq!((done.len(), pending.len()), (1, 1), "a panic is a failure");
        cancel_and_wait(pending).await;
    });
}

/// WAIT-07
fn wait_does_not_fail_with_its_tasks(ctx: &Ctx) {
    ctx.run_paused(async {
        let tasks =
            [create_task(async { panic!("as expected") }), create_task(pending()), create_task(async {})];
        tasks[1].cancel();
        let (done, pending) = wait(tasks, AllCompleted).await;
        assert_eq!((done.len(), pending.len()), (3, 0));
    });
}

/// WAIT-09: as it is decided, no error.
fn wait_for_nothing_is_over_at_once(ctx: &Ctx) {
    ctx.run(async {
        let (done, pending) = wait(Vec::<Task<()>>::new(), FirstCompleted).await;
        assert!(done.is_empty() && pending.is_empty());
    });
}

fn wait_is_over_at_its_limit_and_cancels_nothing(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let (done, pending) = wait([after(1), after(5)], AllCompleted).timeout(Duration::from_secs(2)).await;
        assert_eq!((values(done), now() - start), (vec![1], Duration::from_secs(2)));
        assert_eq!(pending[0].cancelling(), 0);
        assert_eq!(values(pending_of(pending).await), [5]);
    });
}

/// WAIT-11
fn a_cancelled_wait_leaves_its_tasks_alone(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let noting = log.clone();
        let work = create_task(async move {
            sleep(Duration::from_secs(2)).await;
            noting.push("done");
        });
        let waiter = create_task(wait([work], AllCompleted));
        turns(2).await;
        waiter.cancel();
        assert!(waiter.await.is_err_and(|error| error.is_cancelled()));
        sleep(Duration::from_secs(3)).await;
        assert_eq!(log.all(), ["done"]);
    });
}

/// ASC-01
fn tasks_come_as_they_are_completed(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut completed = as_completed([after(3), after(1), after(2)]);
        let mut order = Vec::new();
        while let Some(end) = completed.next().await {
            order.push(end.expect("well"));
        }
        assert_eq!(order, [1, 2, 3]);
        let streamed: Vec<_> =
            StreamExt::map(as_completed([after(2), after(1)]), Result::unwrap).collect().await;
        assert_eq!(streamed, [1, 2]);
    });
}

/// ASC-02, ASC-06
fn what_is_left_after_a_limit_can_be_had(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut completed = as_completed([after(1), after(9), after(5)]);
        let limit = timeout(Duration::from_secs(3), async {
            let first = completed.next().await;
            (first, completed.next().await)
        });
        assert!(limit.await.is_err());
        // Resumed: nothing of it was lost but what the block had in hand.
        assert_eq!(completed.next().await.expect("two are left").expect("well"), 5);
        let left = completed.into_pending();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].cancelling(), 0, "the limit cancels no task");
        assert_eq!(values(pending_of(left).await), [9]);
    });
}

/// ASC-05
fn the_same_tasks_come_out_that_went_in(ctx: &Ctx) {
    ctx.run_paused(async {
        let (slow, quick) = (after(2), after(1));
        let names = [quick.task_ref(), slow.task_ref()];
        let mut completed = as_completed([slow, quick]);
        for name in names {
            let mut task = completed.next_task().await.expect("two");
            assert!(task.same(&name));
            assert!(task.try_result().is_some_and(|end| end.is_ok()));
        }
        assert!(completed.next_task().await.is_none());
    });
}

fn a_dropped_next_loses_nothing(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut completed = as_completed([after(1), after(2)]);
        for _ in 0..3 {
            assert!(timeout(Duration::from_millis(300), completed.next()).await.is_err());
        }
        assert_eq!(completed.next().await.expect("two").expect("well"), 1);
        assert_eq!(completed.next().await.expect("one").expect("well"), 2);
    });
}

/// WAITFOR-01
fn wait_for_gives_a_value_in_time(ctx: &Ctx) {
    ctx.run_paused(async {
        assert!(matches!(wait_for(after(1), Duration::from_secs(2)).await, Ok(1)));
        assert!(matches!(wait_for(after(7), None).await, Ok(7)));
    });
}

/// WAITFOR-02, WAITFOR-03
fn wait_for_cancels_at_its_limit_and_waits_for_the_end(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, log) = (now(), Log::new());
        let end = wait_for(cleaning(&log), Duration::from_secs(2)).await;
        assert!(matches!(end, Err(WaitError::Elapsed(_))));
        assert_eq!((log.all(), now() - start), (vec!["cleaned"], Duration::from_secs(3)));
    });
}

/// WAITFOR-05, WAITFOR-06, WAITFOR-07
fn wait_for_under_no_time_takes_what_is_done_and_starts_nothing(ctx: &Ctx) {
    ctx.run_paused(async {
        let done = after(1);
        sleep(Duration::from_secs(2)).await;
        assert!(matches!(wait_for(done, Duration::ZERO).await, Ok(1)));

        let log = Log::new();
        let noting = log.clone();
        let unstarted = create_task(async move { noting.push("started") });
        assert!(matches!(wait_for(unstarted, Duration::ZERO).await, Err(WaitError::Elapsed(_))));
        assert_eq!(log.len(), 0);

        let running = cleaning(&log);
        turns(2).await;
        assert!(matches!(wait_for(running, Duration::ZERO).await, Err(WaitError::Elapsed(_))));
        assert_eq!(log.all(), ["cleaned"]);
    });
}

/// WAITFOR-08
fn wait_for_passes_a_cancel_on_and_goes_on_with_it(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let (work, noting) = (cleaning(&log), log.clone());
        let caller = create_task(async move {
            let _ = wait_for(work, Duration::from_secs(60)).await;
            noting.push("went on");
        });
        turns(2).await;
        caller.cancel();
        assert!(caller.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(log.all(), ["cleaned"]);
    });
}

/// WAITFOR-09, WAITFOR-10
fn a_value_beats_the_limit_and_a_panic_too(ctx: &Ctx) {
    ctx.run_paused(async {
        let stubborn = create_task(async { catch_cancel(pending::<u8>()).await.unwrap_or(9) });
        assert!(matches!(wait_for(stubborn, Duration::from_secs(1)).await, Ok(9)));
        let panicking = create_task(async {
            let _ = catch_cancel(pending::<()>()).await;
            panic!("as expected")
        });
        let end: Result<(), _> = wait_for(panicking, Duration::from_secs(1)).await;
        assert!(matches!(end, Err(WaitError::Join(error)) if error.is_panic()));
        let cancelled = create_task(pending::<()>());
        cancelled.cancel();
        let end = wait_for(cancelled, Duration::from_secs(1)).await;
        assert!(matches!(end, Err(WaitError::Join(error)) if error.is_cancelled()));
    });
}

/// WAITFOR-11
fn a_value_that_comes_with_a_cancel_is_kept_and_the_next_await_is_hit(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let noting = log.clone();
        let (promise, value) = ringloop::new_future();
        let work = create_task(value);
        let caller = create_task(async move {
            let end = wait_for(work, Duration::from_secs(60)).await;
            assert!(matches!(end, Ok(Ok(5))));
            noting.push("value");
            sleep(Duration::from_secs(1)).await;
            noting.push("too far");
        });
        turns(2).await;
        promise.set(5).expect("it waits");
        // The task ends in the turn that follows, and the caller is cancelled before it is polled again.
        once_pending().await;
        caller.cancel();
        assert!(caller.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(log.all(), ["value"]);
    });
}

/// WAITFOR-12
fn a_shielded_task_outlives_the_limit(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        for limit in [Duration::from_secs(1), Duration::ZERO] {
            let noting = log.clone();
            let work = create_task(async move {
                sleep(Duration::from_secs(2)).await;
                noting.push("done");
            });
            turns(2).await;
            assert!(timeout(limit, work.shield()).await.is_err());
        }
        sleep(Duration::from_secs(3)).await;
        assert_eq!(log.all(), ["done", "done"]);
    });
}

fn cancel_and_wait_waits_for_the_clean_up(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let done = create_task(async {});
        let tasks = [cleaning(&log), done, cleaning(&log)];
        turns(2).await;
        let ends = cancel_and_wait(tasks).await;
        let cancelled: Vec<_> = ends.iter().map(|end| end.is_err()).collect();
        assert_eq!(cancelled, [true, false, true], "one had ended before");
        assert_eq!(log.all(), ["cleaned", "cleaned"]);
        assert_eq!(all_tasks().len(), 1);
    });
}

fn a_dropped_set_cancels_what_is_left(ctx: &Ctx) {
    ctx.run_paused(async {
        let (drops, log) = (Drops::new(), Log::new());
        let mut set = TaskSet::new();
        for seconds in [1, 60, 90] {
            let (token, noting) = (drops.token(), log.clone());
            set.create_task(async move {
                let _token = token;
                sleep(Duration::from_secs(seconds)).await;
                noting.push(seconds);
            });
        }
        assert!(set.next().await.is_some_and(|end| end.is_ok()));
        assert_eq!((set.len(), drops.count()), (2, 1));
        drop(set);
        turns(2).await;
        assert_eq!((drops.count(), all_tasks().len(), log.all()), (3, 1, vec![1]));
    });
}

fn a_set_keeps_what_a_dropped_wait_has_seen(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut set: TaskSet<u64> = [after(3), after(1), after(2)].into_iter().collect();
        assert!(timeout(Duration::from_millis(2500), set.wait(AllCompleted)).await.is_err());
        assert_eq!(set.len(), 3, "two have ended and wait to be taken");
        assert_eq!(values(set.wait(FirstCompleted).await), [1, 2]);
        assert_eq!(values(set.into_vec().into_iter().collect::<TaskSet<_>>().wait(AllCompleted).await), [3]);
        assert!(TaskSet::<()>::new().next().await.is_none());
    });
}

/// Each end is looked at by itself: this would not be over in time if every wake looked at all.
fn a_set_of_ten_thousand_ends(ctx: &Ctx) {
    ctx.run(async {
        let mut set = TaskSet::new();
        for number in 0..10_000_usize {
            set.create_task(async move {
                for _ in 0..number % 7 {
                    once_pending().await;
                }
                number
            });
        }
        let mut sum = 0;
        while let Some(end) = set.next().await {
            sum += end.expect("well");
        }
        assert_eq!(sum, 10_000 * 9_999 / 2);
    });
}

fn a_spent_task_cannot_be_waited_for(ctx: &Ctx) {
    ctx.run(async {
        let mut task = create_task(async {});
        turns(2).await;
        task.try_result().expect("it has ended").expect("well");
        let refused = create_task(async { TaskSet::new().add(task) }).await;
        let panic = refused.expect_err("it would never come out").into_panic();
        assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains("taken before")));
    });
}

fn waits_below_private_wakers_are_woken(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let work = cleaning(&log);
        let caller = create_task(async move {
            let waits: FuturesUnordered<_> = [wait_for(work, Duration::from_secs(60))].into_iter().collect();
            waits.collect::<Vec<_>>().await
        });
        turns(2).await;
        caller.cancel();
        assert!(caller.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(log.all(), ["cleaned"], "the request found its way below a waker that is not the task's");
    });
}
