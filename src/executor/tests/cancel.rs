//! Cancelling: what a request does to a task, and what handlers make of it.

use std::cell::Cell;
use std::future::{pending, ready};
use std::rc::Rc;

use super::{Gate, Log, Loop, counted, turns};
use crate::executor::task::REQUEST;
use crate::executor::{
    Exit, Offer, Task, TaskRef, catch_cancel, check_cancel, current_task, offer, resume_cancel, set_offer,
    uncancellable, with_cleanup,
};

fn me() -> TaskRef {
    current_task().expect("this runs in a task")
}

fn ended_cancelled<T>(mut task: Task<T>) -> bool {
    task.is_cancelled() && task.try_result().is_some_and(|end| end.is_err_and(|error| error.is_cancelled()))
}

/// CANCEL-01, CANCEL-02, CANCEL-24
#[test]
fn a_cancelled_task_is_dropped_where_it_stands() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let (dropped, passed) = (log.on_drop("dropped"), gate.pass());
    let task = looped.spawn({
        let log = log.clone();
        async move {
            let _dropped = dropped;
            passed.await;
            log.push("never");
        }
    });
    looped.settle();
    assert!(task.cancel());
    assert_eq!((task.is_cancelled(), task.cancelling()), (false, 1), "asked, not ended");
    assert_eq!(looped.settle(), 1);
    assert_eq!(log.take(), "dropped");
    assert!(!task.cancel(), "there is nothing left to cancel");
    assert!(ended_cancelled(task));
}

/// CANCEL-03
#[test]
fn requests_before_the_first_delivery_are_delivered_as_one() {
    let (looped, log) = (Loop::new(), Log::default());
    let task = looped.spawn({
        let log = log.clone();
        async move {
            for _ in 0..2 {
                log.push(catch_cancel(turns(3)).await.is_err());
            }
        }
    });
    looped.turn();
    assert!(task.cancel() && task.cancel());
    assert_eq!(task.cancelling(), 2);
    looped.settle();
    assert_eq!(log.take(), "true false");
    assert!(task.is_done() && !task.is_cancelled());
}

/// CANCEL-05
#[test]
fn a_task_cancelled_before_its_first_poll_never_starts() {
    let (looped, log, polls) = (Loop::new(), Log::default(), Rc::new(Cell::new(0)));
    let captured = log.on_drop("captured");
    let body = async move {
        let _captured = captured;
        pending::<()>().await;
    };
    let task = looped.spawn(counted(&polls, Box::pin(body)));
    task.cancel();
    looped.settle();
    assert_eq!((polls.get(), &*log.take()), (0, "captured"));
    assert!(ended_cancelled(task));
}

/// CANCEL-07
#[test]
fn a_task_that_catches_the_cancel_ends_with_its_value() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        let caught = catch_cancel(pending::<()>()).await.is_err();
        turns(2).await; // edge-triggered: the clean-up may await
        (caught, me().cancelling())
    });
    looped.settle();
    task.cancel();
    assert_eq!(looped.finish(task), (true, 1));
}

/// CANCEL-10, the deviation; WAITFOR-11
#[test]
fn a_completed_value_beats_a_request_which_then_waits() {
    let (looped, gate, log) = (Loop::new(), Gate::default(), Log::default());
    let task = looped.spawn({
        let (passed, log) = (gate.pass(), log.clone());
        async move {
            passed.await;
            log.push("value");
            ready(()).await;
            log.push("no suspension, no end");
            turns(1).await;
            log.push("never");
        }
    });
    let returns = looped.spawn(async {
        me().cancel();
        7
    });
    looped.turn();
    gate.open();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "value no suspension, no end");
    assert!(ended_cancelled(task));
    assert_eq!(returns.cancelling(), 1);
    assert_eq!(looped.finish(returns), 7);
}

/// CANCEL-11
#[test]
fn a_request_to_oneself_goes_through_the_next_await_to_the_awaited_task() {
    let looped = Loop::new();
    let inner = looped.spawn(pending::<()>());
    let name = inner.task_ref();
    let outer = looped.spawn(async {
        turns(1).await;
        me().cancel();
        inner.await.expect_err("it is cancelled").is_cancelled()
    });
    assert!(looped.finish(outer));
    assert!(name.is_cancelled());
}

/// CANCEL-12
#[test]
fn handlers_run_from_the_inside_out() {
    let (looped, log) = (Loop::new(), Log::default());
    let inner = looped.spawn({
        let log = log.clone();
        async move {
            let _ = catch_cancel(pending::<()>()).await;
            log.push("inner task");
            resume_cancel().await
        }
    });
    let task = looped.spawn({
        let log = log.clone();
        async move {
            let nested = async {
                let _ = catch_cancel(inner).await.expect("the inner task takes it").is_err_and(|_: _| true);
                log.push("inner");
                current_task().expect("in a task").cancel();
                let _ = catch_cancel(catch_cancel(pending::<()>())).await;
                log.push("innermost only");
                resume_cancel().await
            };
            let _ = catch_cancel(nested).await;
            log.push("outer");
            turns(1).await;
            resume_cancel().await
        }
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "inner task inner innermost only outer");
    assert!(ended_cancelled(task));
}

/// CANCEL-13
#[test]
fn an_awaited_task_may_swallow_its_awaiters_cancel() {
    let looped = Loop::new();
    let inner = looped.spawn(async {
        let _ = catch_cancel(pending::<()>()).await;
        turns(3).await;
        "swallowed"
    });
    let outer = looped.spawn(async { (inner.await.expect("it has a value"), me().cancelling()) });
    looped.settle();
    outer.cancel();
    assert_eq!(looped.finish(outer), ("swallowed", 1));
}

/// CANCEL-15
#[test]
fn the_reason_reaches_whoever_awaits_also_through_an_awaited_task() {
    let looped = Loop::new();
    let reason = |error: crate::error::JoinError| error.reason().map(str::to_owned);
    let inner = looped.spawn(pending::<()>());
    let outer = looped.spawn(async move { reason(inner.await.expect_err("it is cancelled")) });
    let mut plain = looped.spawn(pending::<()>());
    looped.settle();
    outer.cancel_with("too slow");
    plain.cancel_with("first");
    plain.cancel_with(String::from("latest"));
    assert_eq!(looped.finish(outer).as_deref(), Some("too slow"));
    let end = plain.try_result().expect("it has ended").expect_err("it is cancelled");
    assert_eq!(end.reason(), Some("latest"));
    assert!(!plain.cancel_with("too late"));
}

/// CANCEL-16
#[test]
fn a_handler_that_uncancels_makes_the_task_as_before() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        for _ in 0..2 {
            assert!(catch_cancel(pending::<()>()).await.is_err());
            assert_eq!((me().cancelling(), me().uncancel(), me().uncancel()), (1, 0, 0));
            assert!(!format!("{:?}", me()).contains("cancelling"));
        }
        me().cancel();
    });
    looped.settle();
    for _ in 0..2 {
        assert!(task.cancel());
        looped.settle();
    }
    assert!(task.is_done() && !task.is_cancelled());
    assert_eq!((task.cancelling(), task.uncancel()), (1, 1), "after the end nothing changes");
}

/// CANCEL-17
#[test]
fn at_zero_an_undelivered_request_is_withdrawn() {
    let (looped, gate) = (Loop::new(), Gate::default());
    let from_outside = looped.spawn(turns(3));
    let from_inside = looped.spawn(async {
        me().cancel();
        me().cancel();
        assert_eq!(me().uncancel(), 1);
        assert_eq!(me().uncancel(), 0);
        turns(1).await;
    });
    // The request was beaten by a value in the poll that should deliver it: that is not delivered either.
    let beaten = looped.spawn({
        let passed = gate.pass();
        async move {
            passed.await;
            assert_eq!((me().cancelling(), offer()), (1, Offer::Raised));
            me().uncancel();
            turns(1).await;
        }
    });
    looped.turn();
    assert!(from_outside.cancel());
    assert_eq!(from_outside.uncancel(), 0);
    gate.open();
    beaten.cancel();
    looped.settle();
    for task in [from_outside, from_inside, beaten] {
        assert!(task.is_done() && !task.is_cancelled(), "{task:?}");
    }
}

#[test]
fn uncancel_leaves_a_scopes_own_offer_alone() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        assert!(catch_cancel(pending::<()>()).await.is_err());
        turns(1).await;
        // What a timeout does at its deadline.
        let before = set_offer(Offer::Raised);
        me().uncancel();
        set_offer(before)
    });
    looped.settle();
    task.cancel();
    assert_eq!(looped.finish(task), Offer::Raised);
}

#[test]
fn the_count_of_requests_stays_at_its_limit() {
    let looped = Loop::new();
    let task = looped.spawn(pending::<()>());
    looped.settle();
    let limit = u32::MAX / REQUEST;
    let name = task.task_ref();
    let state = &name.0.header().state;
    state.set(state.get() + (limit - 1) * REQUEST);
    assert_eq!(task.cancelling(), limit - 1);
    for _ in 0..3 {
        assert!(task.cancel());
        assert_eq!(task.cancelling(), limit);
    }
    looped.settle();
    assert!(ended_cancelled(task));
}

#[test]
fn a_second_request_ends_the_clean_up() {
    let (looped, log) = (Loop::new(), Log::default());
    let task = looped.spawn({
        let log = log.clone();
        async move {
            let cleanup = async |exit: Exit<'_, ()>| {
                assert!(matches!(exit, Exit::Cancelled));
                log.push("clean-up");
                pending::<()>().await;
                log.push("never");
            };
            with_cleanup(pending::<()>(), cleanup).await;
            log.push("never");
        }
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!((&*log.take(), task.is_done()), ("clean-up", false));
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "");
    assert!(ended_cancelled(task));
}

#[test]
fn a_clean_up_runs_on_every_way_out_and_the_cancel_goes_on() {
    let (looped, log) = (Loop::new(), Log::default());
    let make = |endless: bool| {
        let log = log.clone();
        looped.spawn(async move {
            let work = async {
                if endless {
                    pending::<()>().await;
                }
                3
            };
            let value = with_cleanup(work, async |exit| {
                turns(2).await;
                match exit {
                    Exit::Value(value) => log.push(value),
                    Exit::Cancelled => log.push("cancelled"),
                }
            });
            let value = value.await;
            log.push("went on");
            value
        })
    };
    let (ends, cancelled) = (make(false), make(true));
    looped.settle();
    cancelled.cancel();
    looped.settle();
    assert_eq!(log.take(), "3 went on cancelled");
    assert_eq!(looped.finish(ends), 3);
    assert!(ended_cancelled(cancelled));
}

#[test]
fn an_uncancellable_section_holds_the_request_off_to_the_next_await() {
    let (looped, gate, log) = (Loop::new(), Gate::default(), Log::default());
    let task = looped.spawn({
        let (passed, log) = (gate.pass(), log.clone());
        async move {
            uncancellable(async {
                // A handler inside sees nothing of it either.
                assert!(catch_cancel(passed).await.is_ok());
                turns(1).await;
            })
            .await;
            log.push("committed");
            turns(1).await;
            log.push("never");
        }
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert!(!task.is_done());
    gate.open();
    looped.settle();
    assert_eq!(log.take(), "committed");
    assert!(ended_cancelled(task));
}

#[test]
fn a_request_held_off_can_be_withdrawn() {
    let (looped, gate) = (Loop::new(), Gate::default());
    let task = looped.spawn({
        let passed = gate.pass();
        async move {
            uncancellable(passed).await;
            turns(1).await;
        }
    });
    looped.settle();
    task.cancel();
    looped.settle();
    task.uncancel();
    gate.open();
    looped.settle();
    assert!(task.is_done() && !task.is_cancelled());
}

/// Hidden for good it would wait for ever.
#[test]
fn what_an_uncancellable_section_resumes_goes_on_outward() {
    let looped = Loop::new();
    let task = looped.spawn(catch_cancel(uncancellable(resume_cancel())));
    assert!(looped.finish(task).is_err());
}

#[test]
fn a_check_delivers_what_is_pending_and_costs_no_turn_otherwise() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let free = looped.spawn(check_cancel());
    assert_eq!(looped.settle(), 1);
    assert!(free.is_done());

    let note = log.clone();
    let asks_itself = looped.spawn(async move {
        me().cancel();
        check_cancel().await;
        note.push("never");
    });
    let note = log.clone();
    let passed = gate.pass();
    let was_beaten = looped.spawn(async move {
        passed.await;
        note.push("value");
        check_cancel().await;
        note.push("never");
    });
    let note = log.clone();
    let held_off = looped.spawn(uncancellable(async move {
        me().cancel();
        check_cancel().await;
        note.push("computed");
    }));
    looped.turn();
    gate.open();
    was_beaten.cancel();
    assert!(looped.settle() <= 2, "nothing waits for itself");
    assert_eq!(log.take(), "computed value");
    assert!(ended_cancelled(asks_itself));
    assert!(ended_cancelled(was_beaten));
    assert!(held_off.is_done() && !held_off.is_cancelled());
}

#[test]
fn destructors_that_a_handler_runs_see_no_offer() {
    let (looped, log) = (Loop::new(), Log::default());
    let look = |text: &'static str| {
        let log = log.clone();
        super::OnDrop(move || log.push(format!("{text}:{:?}", offer())))
    };
    let (caught, whole) = (look("caught"), look("whole"));
    let gate = Gate::default();
    let (beaten, passed) = (look("beaten"), gate.pass());
    let task = looped.spawn(async move {
        let _whole = whole;
        let value = async move {
            let _beaten = beaten;
            passed.await;
        };
        assert!(catch_cancel(value).await.is_ok());
        let caught = async move {
            let _caught = caught;
            pending::<()>().await;
        };
        assert!(catch_cancel(caught).await.is_err());
        pending::<()>().await;
    });
    looped.settle();
    gate.open();
    task.cancel();
    looped.settle();
    task.cancel();
    looped.settle();
    let seen = log.take();
    assert!(seen.ends_with("caught:None whole:None"), "{seen}");
    assert!(ended_cancelled(task));
}

/// SHIELD-03, SHIELD-04
#[test]
fn a_shield_lets_the_waiter_go_and_the_task_live() {
    let (looped, gate) = (Loop::new(), Gate::default());
    let work = looped.spawn(gate.pass());
    let name = work.task_ref();
    let waiter = looped.spawn(work.shield());
    looped.settle();
    waiter.cancel();
    looped.settle();
    assert!(ended_cancelled(waiter));
    assert!(!name.is_done() && name.cancelling() == 0);
    gate.open();
    looped.settle();
    assert!(name.is_done() && !name.is_cancelled());

    let done = looped.spawn(ready(1));
    looped.settle();
    let waiter = looped.spawn(done.shield());
    assert_eq!(looped.settle(), 1);
    assert_eq!(looped.finish(waiter).ok(), Some(1));
    let cancelled = looped.spawn(pending::<()>());
    cancelled.cancel();
    let waiter = looped.spawn(cancelled.shield());
    assert!(looped.finish(waiter).is_err_and(|error| error.is_cancelled()));
}

/// CANCEL-06, adapted; and `flatten`
#[test]
fn a_waiter_learns_that_its_task_was_cancelled() {
    let looped = Loop::new();
    let work = looped.spawn(async { pending::<Result<u8, std::io::Error>>().await });
    let name = work.task_ref();
    let waiter = looped.spawn(work.flatten());
    let fine = looped.spawn(async { Ok::<_, std::io::Error>(4) });
    let fine = looped.spawn(fine.flatten());
    looped.settle();
    name.cancel();
    let error = looped.finish(waiter).expect_err("it was cancelled");
    assert_eq!(error.to_string(), "the task was cancelled");
    assert_eq!(looped.finish(fine).ok(), Some(4));
}
