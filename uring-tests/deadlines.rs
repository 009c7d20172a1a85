//! `timeout_scope`: a deadline that can be told and moved, by the inside and by others. All on the paused clock.

use crate::harness::kinds::turns;
use crate::harness::probes::{Drops, Log};
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::{Deadline, catch_cancel, create_task, now, resume_cancel, sleep, testing, timeout_scope};
use std::cell::RefCell;
use std::future::{pending, ready};
use std::rc::Rc;
use std::time::{Duration, Instant};

pub const TRIALS: &[Trial] = &[
    once!(a_scope_in_time_gives_the_value_and_tells_its_deadline),
    once!(a_scope_too_late_is_elapsed_and_leaves_nothing),
    once!(a_scope_without_a_limit_can_be_given_one),
    once!(a_deadline_can_be_moved_on_and_taken_away),
    once!(a_deadline_can_be_moved_nearer),
    once!(after_a_move_a_cancel_from_outside_is_a_cancel),
    once!(another_task_can_move_the_deadline),
    once!(a_move_wakes_nobody_from_within),
    once!(a_limit_of_zero_can_be_moved_before_the_first_await),
    once!(a_deadline_that_expires_or_has_expired_cannot_be_moved),
    once!(the_deadline_of_a_scope_that_has_ended_cannot_be_moved),
    once!(an_outer_scope_interrupts_what_follows_an_inner_one),
    once!(a_moved_deadline_rules_in_a_branch_of_its_own_waker),
];

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// TIMEOUT-02
fn a_scope_in_time_gives_the_value_and_tells_its_deadline(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let body = async |deadline: Deadline| {
            sleep(ms(10)).await;
            (deadline.when(), deadline.expired())
        };
        assert_eq!(timeout_scope(ms(20), body).await, Ok((Some(start + ms(20)), false)));
        let body = async |deadline: Deadline| deadline.when();
        assert_eq!(timeout_scope(Duration::MAX, body).await, Ok(None), "no clock can say it");
        assert_eq!(timeout_scope(None, body).await, Ok(None));
        assert_eq!(timeout_scope(ms(0), async |_| ready(7).await).await, Ok(7));
        assert_eq!(testing::stats().timers, 0);
    });
}

/// TIMEOUT-01
fn a_scope_too_late_is_elapsed_and_leaves_nothing(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, drops) = (now(), Drops::new());
        let token = drops.token();
        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let body = async move |deadline: Deadline| {
            let _token = token;
            *keep.borrow_mut() = Some(deadline);
            pending::<()>().await;
        };
        assert_eq!(timeout_scope(ms(20), body).await.map_err(drop), Err(()));
        assert_eq!((now() - start, drops.count()), (ms(20), 1));
        assert_eq!(testing::stats().timers, 0);
        let deadline: Deadline = kept.take().expect("it was kept");
        assert!(deadline.expired());
        assert_eq!(deadline.when(), Some(start + ms(20)));
    });
}

fn a_scope_without_a_limit_can_be_given_one(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let body = async |deadline: Deadline| {
            sleep(ms(30)).await;
            deadline.reschedule_after(ms(10)).expect("it has not passed");
            pending::<()>().await;
        };
        assert_eq!(timeout_scope(None, body).await.map_err(drop), Err(()));
        assert_eq!(now() - start, ms(40));
    });
}

/// TIMEOUT-13
fn a_deadline_can_be_moved_on_and_taken_away(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let body = async |deadline: Deadline| {
            for _ in 0..3 {
                sleep(ms(15)).await;
                deadline.reschedule_after(ms(20)).expect("it has not passed");
            }
            assert_eq!(deadline.when(), Some(start + ms(65)));
            deadline.reschedule(None).expect("it has not passed");
            assert_eq!((deadline.when(), testing::stats().timers), (None, 0));
            sleep(Duration::from_secs(3600)).await;
            "late"
        };
        assert_eq!(timeout_scope(ms(20), body).await, Ok("late"));
    });
}

/// TIMEOUT-13
fn a_deadline_can_be_moved_nearer(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let nearer = |to: Option<Instant>| {
            timeout_scope(ms(100), async move |deadline: Deadline| {
                deadline.reschedule(to).expect("it has not passed");
                pending::<()>().await;
            })
        };
        assert_eq!(nearer(Some(start + ms(10))).await.map_err(drop), Err(()));
        assert_eq!(now() - start, ms(10));
        assert_eq!(nearer(Some(start)).await.map_err(drop), Err(()), "a time that has passed");
        assert_eq!(now() - start, ms(10));
    });
}

/// TIMEOUT-13
fn after_a_move_a_cancel_from_outside_is_a_cancel(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let note = log.clone();
        let task = create_task(async move {
            let body = async |deadline: Deadline| {
                deadline.reschedule_after(ms(50)).expect("it has not passed");
                pending::<()>().await;
            };
            note.push(timeout_scope(ms(10), body).await.is_err());
        });
        sleep(ms(20)).await;
        task.cancel();
        assert!(task.await.expect_err("nobody handled it").is_cancelled());
        assert_eq!(log.len(), 0, "the scope did not take it");
    });
}

fn another_task_can_move_the_deadline(ctx: &Ctx) {
    ctx.run_paused(async {
        for (to, expected) in [(ms(10), ms(10)), (ms(70), ms(70))] {
            let start = now();
            let body = async move |deadline: Deadline| {
                create_task(async move {
                    sleep(ms(5)).await;
                    deadline.reschedule(start + to).expect("it has not passed");
                })
                .detach();
                pending::<()>().await;
            };
            assert_eq!(timeout_scope(ms(40), body).await.map_err(drop), Err(()));
            assert_eq!(now() - start, expected);
        }
    });
}

/// The end of the poll looks at the deadline anyway.
fn a_move_wakes_nobody_from_within(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let note = log.clone();
        let body = async move |deadline: Deadline| {
            let mut moved = false;
            std::future::poll_fn(|_| {
                note.push(());
                if !std::mem::replace(&mut moved, true) {
                    deadline.reschedule_after(ms(30)).expect("it has not passed");
                }
                std::task::Poll::<()>::Pending
            })
            .await;
        };
        assert_eq!(timeout_scope(ms(10), body).await.map_err(drop), Err(()));
        assert_eq!(log.len(), 2, "at first, and at the deadline");
    });
}

fn a_limit_of_zero_can_be_moved_before_the_first_await(ctx: &Ctx) {
    ctx.run_paused(async {
        let body = async |deadline: Deadline| {
            deadline.reschedule_after(ms(10)).expect("nothing has suspended");
            sleep(ms(5)).await;
        };
        assert_eq!(timeout_scope(ms(0), body).await, Ok(()));
        let start = now();
        assert_eq!(timeout_scope(ms(0), async |_| pending::<()>().await).await.map_err(drop), Err(()));
        assert_eq!(now(), start);
    });
}

/// TIMEOUT-14
fn a_deadline_that_expires_or_has_expired_cannot_be_moved(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, log) = (now(), Log::new());
        let note = log.clone();
        let clean_up = async move |deadline: Deadline, resumes: bool| {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            note.push((deadline.expired(), deadline.reschedule_after(ms(50)).map_err(drop)));
            sleep(ms(10)).await;
            note.push((deadline.expired(), deadline.reschedule(None).map_err(drop)));
            match resumes {
                true => resume_cancel().await,
                false => deadline,
            }
        };
        let resumed = timeout_scope(ms(20), async |deadline| clean_up(deadline, true).await).await;
        assert!(resumed.is_err());
        assert_eq!(now() - start, ms(30), "it was waited for");
        let kept = timeout_scope(ms(20), async |deadline| clean_up(deadline, false).await).await;
        let deadline = kept.expect("the inside gave a value all the same");
        assert!(deadline.expired());
        assert_eq!(deadline.reschedule(None).map_err(drop), Err(()));
        assert_eq!(log.all(), [(true, Err(())); 4]);
    });
}

/// TIMEOUT-14 (asyncio's finished scope)
fn the_deadline_of_a_scope_that_has_ended_cannot_be_moved(ctx: &Ctx) {
    ctx.run_paused(async {
        let deadline = timeout_scope(ms(20), async |deadline| deadline).await.expect("it is fast");
        let at = deadline.when();
        assert_eq!(deadline.reschedule_after(ms(50)).map_err(drop), Err(()));
        assert_eq!((deadline.expired(), deadline.when()), (false, at));
        sleep(ms(30)).await;
        assert!(!deadline.expired(), "it ended in time");

        let kept = Rc::new(RefCell::new(None));
        let keep = kept.clone();
        let dropped = create_task(timeout_scope(ms(20), async move |deadline| {
            *keep.borrow_mut() = Some(deadline);
            pending::<()>().await;
        }));
        turns(2).await;
        dropped.abort();
        let deadline: Deadline = kept.take().expect("it was kept");
        assert_eq!((deadline.reschedule(None).map_err(drop), testing::stats().timers), (Err(()), 0));
    });
}

/// TIMEOUT-12
fn an_outer_scope_interrupts_what_follows_an_inner_one(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, log) = (now(), Log::new());
        let body = async |outer: Deadline| {
            let inner = timeout_scope(ms(10), async |inner: Deadline| {
                outer.reschedule_after(ms(30)).expect("it has not passed");
                inner.reschedule_after(ms(20)).expect("it has not passed");
                pending::<()>().await;
            });
            assert_eq!(inner.await.map_err(drop), Err(()));
            log.push((now() - start, outer.expired()));
            pending::<()>().await;
        };
        assert_eq!(timeout_scope(ms(5), body).await.map_err(drop), Err(()));
        assert_eq!(log.all(), [(ms(20), false)]);
        assert_eq!(now() - start, ms(30));
    });
}

/// A branch with a waker of its own is polled only when that is woken: the move wakes it.
fn a_moved_deadline_rules_in_a_branch_of_its_own_waker(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, kept) = (now(), Rc::new(RefCell::new(None)));
        let keep = kept.clone();
        let scope = timeout_scope(None, async move |deadline| {
            *keep.borrow_mut() = Some(deadline);
            pending::<()>().await;
        });
        let mover = async {
            sleep(ms(5)).await;
            let deadline: Option<Deadline> = kept.take();
            deadline.expect("it was kept").reschedule_after(ms(10)).expect("it has not passed");
            Ok(())
        };
        let mut both = futures_util::stream::FuturesUnordered::new();
        both.push(futures_util::future::Either::Left(scope));
        both.push(futures_util::future::Either::Right(mover));
        let mut ends = Vec::new();
        while let Some(end) = futures_util::StreamExt::next(&mut both).await {
            ends.push((now() - start, end.map_err(drop)));
        }
        assert_eq!(ends, [(ms(5), Ok(())), (ms(15), Err(()))]);
    });
}
