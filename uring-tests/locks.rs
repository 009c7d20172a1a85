//! Mutexes and events: who has the lock next, that it comes back on every way out, and that an event keeps its word to
//! those who waited when it was set.

use crate::harness::kinds::turns;
use crate::harness::probes::Log;
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::sync::{Event, Mutex, Semaphore};
use ringloop::{create_task, yield_now};
use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;

pub const TRIALS: &[Trial] = &[
    once!(a_lock_goes_from_one_to_the_next),
    once!(who_unlocks_and_locks_again_goes_behind_the_waiter),
    once!(an_unlock_and_a_cancel_in_one_turn_leave_one_holder),
    once!(a_lock_is_released_on_every_way_out),
    once!(an_event_that_is_set_and_cleared_at_once_lets_its_waiters_go),
    once!(an_event_follows_set_and_clear),
    once!(a_newcomer_does_not_run_before_a_waiter_that_was_let_through),
];

async fn pause() {
    for _ in 0..6 {
        yield_now().await;
    }
}

/// LOCK-01: one goes on for each release.
fn a_lock_goes_from_one_to_the_next(ctx: &Ctx) {
    ctx.run(async {
        let (lock, log) = (Mutex::new(Vec::new()), Log::new());
        let mut guard = lock.lock().await;
        let tasks: Vec<_> = (0..3)
            .map(|number| {
                let (lock, log) = (lock.clone(), log.clone());
                create_task(async move {
                    let mut guard = lock.lock().await;
                    guard.push(number);
                    log.push(number);
                    guard
                })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            pause().await;
            assert_eq!(log.len(), number, "nobody else while it is held");
            drop(guard);
            guard = task.await.expect("no panic");
        }
        assert_eq!(*guard, [0, 1, 2]);
    });
}

/// LOCK-02
fn who_unlocks_and_locks_again_goes_behind_the_waiter(ctx: &Ctx) {
    ctx.run(async {
        let (lock, log) = (Mutex::new(()), Log::new());
        let guard = lock.lock().await;
        let waiter = create_task({
            let (lock, log) = (lock.clone(), log.clone());
            async move {
                let _guard = lock.lock().await;
                log.push("waiter");
            }
        });
        yield_now().await;
        drop(guard);
        assert!(lock.is_locked() && lock.try_lock().is_none());
        drop(lock.lock().await);
        log.push("again");
        assert_eq!(log.all(), ["waiter", "again"]);
        waiter.await.expect("no panic");
    });
}

/// LOCK-04
fn an_unlock_and_a_cancel_in_one_turn_leave_one_holder(ctx: &Ctx) {
    ctx.run(async {
        for release_first in [false, true] {
            for dropped in [false, true] {
                let (lock, log) = (Mutex::new(0), Log::new());
                let guard = lock.lock().await;
                let [first, second] = [1, 2].map(|number| {
                    let (lock, log) = (lock.clone(), log.clone());
                    create_task(async move {
                        let mut guard = lock.lock().await;
                        assert!(lock.try_lock().is_none());
                        *guard += 1;
                        log.push(number);
                    })
                });
                yield_now().await;
                let leave = || match dropped {
                    true => first.abort(),
                    false => assert!(first.cancel()),
                };
                if release_first {
                    drop(guard);
                    leave();
                } else {
                    leave();
                    drop(guard);
                }
                second.await.expect("the second has it in any case");
                let first = first.await.is_ok();
                assert_eq!(first, !dropped, "what has completed beats a request, not a drop");
                assert_eq!(log.all(), if first { vec![1, 2] } else { vec![2] });
                assert_eq!(*lock.try_lock().expect("it is free") as usize, log.len());
            }
        }
    });
}

/// LOCK-06
fn a_lock_is_released_on_every_way_out(ctx: &Ctx) {
    ctx.run(async {
        let lock = Mutex::new(0);
        let with_lock = |ending: &'static str| {
            let lock = lock.clone();
            create_task(async move {
                let mut guard = lock.lock().await;
                *guard += 1;
                match ending {
                    "error" => Err("an error"),
                    "panic" => panic!("with the lock"),
                    "cancel" => pending().await,
                    _ => Ok(()),
                }
            })
        };
        for ending in ["value", "error", "panic", "cancel"] {
            let task = with_lock(ending);
            yield_now().await;
            assert_eq!(lock.is_locked(), ending == "cancel");
            task.cancel();
            drop(task.await);
            assert!(!lock.is_locked());
        }
        assert_eq!(*lock.lock().await, 4);
    });
}

/// EVENT-02
fn an_event_that_is_set_and_cleared_at_once_lets_its_waiters_go(ctx: &Ctx) {
    ctx.run(async {
        let (event, log) = (Event::new(), Log::new());
        let waiter = |number: u32| {
            let (event, log) = (event.clone(), log.clone());
            create_task(async move {
                event.wait().await;
                log.push(number);
            })
        };
        let old = [waiter(0), waiter(1)];
        yield_now().await;
        event.set();
        event.clear();
        let new = waiter(2);
        pause().await;
        assert_eq!(log.all(), [0, 1]);
        assert!(old.iter().all(|task| task.is_done()) && !new.is_done());
        event.set();
        new.await.expect("no panic");
    });
}

/// EVENT-04
fn an_event_follows_set_and_clear(ctx: &Ctx) {
    ctx.run(async {
        let event = Event::new();
        assert!(!event.is_set());
        event.set();
        event.wait().await;
        assert!(event.is_set());
        event.clear();
        assert!(!event.is_set());
    });
}

/// AIO-05, SEM-03, SEM-04. CPython 3.11: two permits are released while a task waits, and a newcomer acquires at once: the
/// waiter is in first, and `locked()` is true until it is.
fn a_newcomer_does_not_run_before_a_waiter_that_was_let_through(_: &Ctx) {
    ringloop::run(async {
        let semaphore = Semaphore::new(0);
        let order = Rc::new(RefCell::new(Vec::new()));
        let waiter = create_task({
            let (semaphore, order) = (semaphore.clone(), order.clone());
            async move {
                let _permit = semaphore.acquire().await;
                order.borrow_mut().push("waiter");
            }
        });
        turns(2).await;
        semaphore.add_permits(2);
        assert!(semaphore.is_locked() && semaphore.try_acquire().is_none());
        let _permit = semaphore.acquire().await;
        order.borrow_mut().push("newcomer");
        waiter.await.expect("it ends");
        assert_eq!(order.take(), ["waiter", "newcomer"]);
        assert!(!semaphore.is_locked() && semaphore.available_permits() == 1);
    })
    .expect("it runs");
}
