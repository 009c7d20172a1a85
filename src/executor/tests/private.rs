//! Requests below wakers that are not the task's own: combinators of other crates poll only what was woken.

use std::future::pending;
use std::pin::pin;

use futures_util::StreamExt;
use futures_util::future::{Either, join, join_all, select};
use futures_util::stream::FuturesUnordered;

use super::{Gate, Log, Loop, poll_once, turns};
use crate::executor::{Task, TaskRef, catch_cancel, resume_cancel, uncancellable};

/// How many handlers the task lists.
fn handlers(task: &TaskRef) -> usize {
    task.0.header().peek_rare(|rare| rare.handlers.len()).unwrap_or(0)
}

#[test]
fn a_handler_below_futures_unordered_is_reached() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move {
        let handled = async {
            let caught = catch_cancel(pending::<()>()).await.is_err();
            turns(2).await;
            note.push(caught);
        };
        let mut branches = FuturesUnordered::from_iter([Either::Left(handled), Either::Right(pending())]);
        branches.next().await;
        note.push("swallowed");
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "true swallowed");
    assert!(task.is_done() && !task.is_cancelled());
}

#[test]
fn a_handler_below_a_large_join_all_is_reached_however_often() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move {
        let branches = (0..40).map(|number| {
            let note = note.clone();
            async move {
                if number == 17 {
                    while catch_cancel(pending::<()>()).await.is_err() {
                        note.push("asked");
                    }
                }
                pending::<()>().await;
            }
        });
        join_all(branches).await;
    });
    looped.settle();
    for _ in 0..3 {
        task.cancel();
        looped.settle();
        assert_eq!(log.take(), "asked");
    }
    task.abort();
}

#[test]
fn a_handler_that_resumes_below_private_wakers_ends_the_task() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move {
        let handled = async {
            let _ = catch_cancel(pending::<()>()).await;
            turns(2).await;
            note.push("cleaned up");
            resume_cancel().await
        };
        FuturesUnordered::from_iter([handled]).next().await;
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "cleaned up");
    assert!(task.is_cancelled());
}

#[test]
fn a_task_awaited_below_private_wakers_gets_the_request() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let work = looped.spawn(async move {
        let _ = catch_cancel(pending::<()>()).await;
        turns(2).await;
        note.push("cleaned up");
        resume_cancel().await
    });
    let name = work.task_ref();
    let waiter = looped.spawn(async { FuturesUnordered::from_iter([work]).next().await });
    looped.settle();
    waiter.cancel();
    let end = looped.finish(waiter);
    assert!(end.is_some_and(|end: Result<(), _>| end.is_err_and(|error| error.is_cancelled())));
    assert_eq!(log.take(), "cleaned up");
    assert!(name.is_cancelled());
}

#[test]
fn an_uncancellable_section_below_private_wakers_is_not_dropped() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let (note, passed) = (log.clone(), gate.pass());
    let task = looped.spawn(async move {
        let section = async {
            uncancellable(passed).await;
            note.push("committed");
            pending::<()>().await;
        };
        let ticks = async {
            turns(5).await;
            pending::<()>().await;
        };
        FuturesUnordered::from_iter([Either::Left(section), Either::Right(ticks)]).next().await;
    });
    looped.turn();
    task.cancel();
    looped.settle();
    assert!(!task.is_done(), "neither by the request nor by a later wake of somebody else");
    gate.open();
    looped.settle();
    assert_eq!(log.take(), "committed");
    assert!(task.is_cancelled());
}

/// What leaves a combinator leaves the task's list; its waker is the combinator's, and wakes nobody then.
#[test]
fn handlers_that_are_gone_are_not_woken() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move {
        for _ in 0..3 {
            let mut branches = FuturesUnordered::from_iter([catch_cancel(pending::<()>())]);
            assert!(poll_once(branches.next()).await.is_pending());
        }
        let mut last = FuturesUnordered::from_iter([catch_cancel(pending::<()>())]);
        note.push(last.next().await.is_some_and(|end| end.is_err()));
    });
    looped.settle();
    assert_eq!(handlers(&task), 1);
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "true");
    assert_eq!(handlers(&task), 0);
}

/// A handler may move from one task to another, and from private wakers to the task's own.
#[test]
fn a_handler_is_listed_with_the_task_that_polls_it() {
    let looped = Loop::new();
    let handler = Box::pin(catch_cancel(pending::<()>()));
    let first: Task<_> = looped.spawn(async {
        let mut branches = FuturesUnordered::from_iter([handler]);
        assert!(poll_once(branches.next()).await.is_pending());
        branches
    });
    let name = first.task_ref();
    looped.settle();
    assert_eq!(handlers(&name), 0, "a task that has ended lists nobody");
    let branches = looped.finish(first);
    let second = looped.spawn(async { branches.into_iter().next().expect("it is in there").await });
    looped.settle();
    assert_eq!(handlers(&second), 0, "it is polled with the task's own waker");
    second.cancel();
    assert!(looped.finish(second).is_err());
}

/// Known and documented: a combinator of another crate offers the request to the first handler only.
#[test]
fn foreign_joins_and_selects_offer_to_the_first_handler() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let joined = looped.spawn(async move {
        let handled = async |name: &'static str| {
            let _ = catch_cancel(pending::<()>()).await;
            note.push(name);
        };
        join(handled("first"), handled("second")).await;
    });
    let selected = looped.spawn(async {
        match select(pin!(catch_cancel(pending::<()>())), pin!(pending::<()>())).await {
            Either::Left((end, _)) => end.is_err(),
            Either::Right(_) => false,
        }
    });
    looped.settle();
    joined.cancel();
    selected.cancel();
    looped.settle();
    assert_eq!(log.take(), "first");
    assert!(!joined.is_done());
    joined.cancel();
    looped.settle();
    assert_eq!(log.take(), "second");
    assert!(joined.is_done() && !joined.is_cancelled());
    assert!(looped.finish(selected));
}
