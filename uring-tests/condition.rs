//! Conditions: who is notified, in what order, with the lock held, and what becomes of a notification that nobody uses.

use crate::harness::probes::{Log, once_pending};
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::sync::{Condition, Mutex};
use ringloop::{Task, catch_cancel, create_task, sleep, timeout, yield_now};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(as_many_as_are_notified_go_on_in_order_with_the_lock),
    once!(several_conditions_may_share_a_mutex),
    once!(a_wait_for_ends_when_its_predicate_is_true),
    once!(after_a_cancelled_wait_the_lock_is_not_held),
    once!(a_waiter_cancelled_while_it_waits_for_the_lock_ends_cancelled),
    once!(an_unused_notification_goes_to_another),
    once!(a_notification_is_not_missed_between_unlocking_and_waiting),
];

/// A task that waits once, and notes its number and that it has the lock.
fn waiter(number: u32, mutex: &Mutex<u32>, condition: &Condition, log: &Log<u32>) -> Task<()> {
    let (mutex, condition, log) = (mutex.clone(), condition.clone(), log.clone());
    create_task(async move {
        let guard = condition.wait(mutex.lock().await).await;
        assert!(mutex.is_locked());
        log.push(number);
        once_pending().await;
        drop(guard);
    })
}

async fn pause() {
    for _ in 0..12 {
        yield_now().await;
    }
}

/// COND-01, COND-02
fn as_many_as_are_notified_go_on_in_order_with_the_lock(ctx: &Ctx) {
    ctx.run(async {
        let (mutex, condition, log) = (Mutex::new(0), Condition::new(), Log::new());
        let tasks: Vec<_> = (0..5).map(|number| waiter(number, &mutex, &condition, &log)).collect();
        pause().await;
        assert!(!mutex.is_locked());
        for (notified, expected) in [(0, 0), (1, 1), (2, 3), (9, 5)] {
            let guard = mutex.lock().await;
            condition.notify(&guard, notified);
            pause().await;
            assert!(log.len() < expected || notified == 0, "not before the lock is free");
            drop(guard);
            pause().await;
            assert_eq!(log.all(), (0..expected as u32).collect::<Vec<_>>());
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        condition.notify_all(&mutex.lock().await);
    });
}

/// COND-07: the guard says which lock is meant, so the same state is seen through both.
fn several_conditions_may_share_a_mutex(ctx: &Ctx) {
    ctx.run(async {
        let (mutex, log) = (Mutex::new(0), Log::new());
        let (even, odd) = (Condition::new(), Condition::new());
        let tasks = [waiter(0, &mutex, &even, &log), waiter(1, &mutex, &odd, &log)];
        pause().await;
        odd.notify_all(&mutex.lock().await);
        pause().await;
        assert_eq!(log.all(), [1]);
        even.notify_all(&mutex.lock().await);
        for task in tasks {
            task.await.expect("no panic");
        }
    });
}

/// COND-03
fn a_wait_for_ends_when_its_predicate_is_true(ctx: &Ctx) {
    ctx.run(async {
        let (mutex, condition, asked) = (Mutex::new(0), Condition::new(), Log::new());
        let task = create_task({
            let (mutex, condition, asked) = (mutex.clone(), condition.clone(), asked.clone());
            async move {
                let look = |value: &mut u32| {
                    asked.push(*value);
                    *value == 3
                };
                *condition.wait_for(mutex.lock().await, look).await
            }
        });
        for value in 1..=3 {
            pause().await;
            assert!(!task.is_done());
            let mut guard = mutex.lock().await;
            *guard = value;
            condition.notify(&guard, 1);
        }
        assert_eq!(task.await.expect("no panic"), 3);
        assert_eq!(asked.all(), [0, 1, 2, 3]);
    });
}

/// COND-04: a deviation, since the guard went into the wait: the handler locks again.
fn after_a_cancelled_wait_the_lock_is_not_held(ctx: &Ctx) {
    ctx.run_paused(async {
        let (mutex, condition) = (Mutex::new(0), Condition::new());
        let task = create_task({
            let (mutex, condition) = (mutex.clone(), condition.clone());
            async move {
                let waited = catch_cancel(condition.wait(mutex.lock().await)).await;
                assert!(waited.is_err() && !mutex.is_locked());
                *mutex.lock().await += 1;
            }
        });
        pause().await;
        task.cancel();
        task.await.expect("it caught the request");
        let guard = mutex.lock().await;
        assert_eq!(*guard, 1);
        timeout(Duration::from_secs(1), condition.wait(guard)).await.expect_err("nobody notifies");
        assert!(!mutex.is_locked());
    });
}

/// COND-05
fn a_waiter_cancelled_while_it_waits_for_the_lock_ends_cancelled(ctx: &Ctx) {
    ctx.run(async {
        let (mutex, condition, log) = (Mutex::new(0), Condition::new(), Log::new());
        let task = waiter(0, &mutex, &condition, &log);
        pause().await;
        let guard = mutex.lock().await;
        condition.notify(&guard, 1);
        pause().await;
        task.cancel();
        pause().await;
        assert!(task.is_cancelled(), "although the lock is held by another");
        drop(guard);
        assert!(!mutex.is_locked() && log.len() == 0);
    });
}

/// COND-06: cancelled {as it is notified, while it waits for the lock}.
fn an_unused_notification_goes_to_another(ctx: &Ctx) {
    ctx.run(async {
        for waits_for_the_lock in [false, true] {
            let (mutex, condition, log) = (Mutex::new(0), Condition::new(), Log::new());
            let [first, second] = [0, 1].map(|number| waiter(number, &mutex, &condition, &log));
            pause().await;
            let guard = mutex.lock().await;
            condition.notify(&guard, 1);
            if waits_for_the_lock {
                pause().await;
                first.cancel();
            } else {
                first.abort();
            }
            pause().await;
            assert!(first.is_cancelled());
            drop(guard);
            second.await.expect("it has the notification");
            assert_eq!(log.all(), [1]);
        }
    });
}

/// A notifier that waits for the lock runs as soon as the wait gives it up.
fn a_notification_is_not_missed_between_unlocking_and_waiting(ctx: &Ctx) {
    ctx.run_paused(async {
        let (mutex, condition) = (Mutex::new(0), Condition::new());
        let guard = mutex.lock().await;
        create_task({
            let (mutex, condition) = (mutex.clone(), condition.clone());
            async move { condition.notify_all(&mutex.lock().await) }
        })
        .detach();
        sleep(Duration::from_secs(1)).await;
        let notified = timeout(Duration::from_secs(1), condition.wait(guard)).await;
        assert!(notified.is_ok());
    });
}
