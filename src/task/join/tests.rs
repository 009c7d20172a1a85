//! Joins over a loop turned by hand: order, borrows, and what a request does to the branches.

use std::cell::Cell;
use std::future::{IntoFuture, pending, ready};
use std::mem::size_of_val;
use std::rc::Rc;

use futures_util::FutureExt;

use crate::executor::tests::{Gate, Log, Loop, counted, handler, turns};
use crate::executor::{all_tasks, catch_cancel, current_task, resume_cancel, uncancellable};

#[test]
fn branches_are_polled_in_written_order_and_may_borrow() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move {
        let text = String::from("borrowed");
        let branch = async |name: &'static str, count: usize| {
            for _ in 0..count {
                note.push(name);
                turns(1).await;
            }
            &text[..count]
        };
        let (a, b, c) = join!(branch("a", 2), branch("b", 0), branch("c", 1)).await;
        format!("{a}/{b}/{c} {}", all_tasks().len())
    });
    assert_eq!(looped.finish(task), "bo//b 1", "nothing is spawned");
    assert_eq!(log.take(), "a c a");
}

#[test]
fn what_is_ready_costs_no_turn_and_what_has_ended_is_not_polled_again() {
    struct Builder(u8);
    impl IntoFuture for Builder {
        type Output = u8;
        type IntoFuture = std::future::Ready<u8>;
        fn into_future(self) -> Self::IntoFuture {
            ready(self.0)
        }
    }
    assert_eq!(join!(ready(1), Builder(2),).now_or_never(), Some((1, 2)));
    let twelve = join!(
        ready(0),
        ready(1),
        ready(2),
        ready(3),
        ready(4),
        ready(5),
        ready(6),
        ready(7),
        ready(8),
        ready(9),
        ready("a"),
        ready('b')
    );
    assert_eq!(twelve.now_or_never(), Some((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, "a", 'b')));
    let (looped, polls) = (Loop::new(), Rc::new(Cell::new(0)));
    let once = counted(&polls, ready(()));
    let task = looped.spawn(async { join!(once, turns(4)).await });
    looped.settle();
    assert!(task.is_done());
    assert_eq!(polls.get(), 1);
}

#[test]
fn a_branch_that_has_ended_is_dropped_while_the_others_go_on() {
    let (looped, log) = (Loop::new(), Log::default());
    let dropped = log.on_drop("dropped");
    let short = async move {
        let _dropped = &dropped;
        turns(1).await;
    };
    let task = looped.spawn(async { join!(short, pending::<()>()).await });
    looped.settle();
    assert_eq!((&*log.take(), task.is_done()), ("dropped", false));
}

/// An async block would keep each argument twice, and nested joins four times.
#[test]
fn a_join_is_as_large_as_its_branches() {
    async fn leaf() -> u8 {
        let block = [1_u8; 1000];
        turns(1).await;
        block[0]
    }
    let (one, two) = (size_of_val(&leaf()), size_of_val(&join!(leaf(), leaf())));
    assert!(two < 2 * one + 64, "{one} and {one} make {two}");
}

#[test]
fn a_request_is_offered_to_every_branch_and_waits_for_all_that_take_it() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let dropped = log.on_drop("dropped");
    let untaken = async move {
        let _dropped = dropped;
        pending::<()>().await;
    };
    let task = looped.spawn(async move {
        let (slow, quick) =
            (handler(note.clone(), "slow", 4, true), handler(note.clone(), "quick", 2, false));
        join!(slow, untaken, quick).await;
        note.push("never");
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "slow? quick? quick slow dropped");
    assert!(task.is_cancelled());
}

#[test]
fn a_request_that_all_branches_swallow_is_over() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move {
        join!(handler(note.clone(), "a", 2, false), handler(note.clone(), "b", 0, false)).await;
        turns(2).await;
        note.push("goes on");
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "a? b? b a goes on");
    assert!(task.is_done() && !task.is_cancelled());
}

/// All in the very poll that brings the request: it was delivered, and must not hit the next await as well.
#[test]
fn a_request_swallowed_at_once_is_over_too() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        let ends = join!(catch_cancel(pending::<()>()), catch_cancel(pending::<()>())).await;
        turns(2).await;
        (ends.0.is_err(), ends.1.is_err())
    });
    looped.settle();
    task.cancel();
    assert_eq!(looped.finish(task), (true, true));
}

#[test]
fn values_of_all_branches_beat_a_request() {
    let (looped, gate, log) = (Loop::new(), Gate::default(), Log::default());
    let (passed, also, note) = (gate.pass(), gate.pass(), log.clone());
    let task = looped.spawn(async move {
        join!(passed, also).await;
        note.push("values");
        turns(1).await;
        note.push("never");
    });
    looped.settle();
    gate.open();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "values");
    assert!(task.is_cancelled());
}

#[test]
fn a_second_request_reaches_the_branches_that_clean_up() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move {
        let stubborn = async {
            while catch_cancel(pending::<()>()).await.is_err() {
                note.push("asked");
            }
        };
        join!(stubborn, handler(note.clone(), "b", 100, true)).await;
    });
    looped.settle();
    task.cancel();
    looped.turn();
    assert_eq!(log.take(), "asked b?");
    task.cancel();
    looped.turn();
    looped.turn();
    assert_eq!(log.take(), "asked", "b's clean-up has no handler, and stays while the other is at it");
    assert!(!task.is_done());
    task.abort();
}

#[test]
fn a_blocked_branch_gets_the_request_when_its_section_ends_and_the_others_get_it_once() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let (note, passed) = (log.clone(), gate.pass());
    let task = looped.spawn(async move {
        let section = async {
            uncancellable(passed).await;
            note.push("committed");
            let _ = catch_cancel(pending::<()>()).await;
            note.push("asked");
        };
        let asked_once = async {
            let _ = catch_cancel(pending::<()>()).await;
            note.push("first");
            // Polled, and offered nothing, while the section holds the request off.
            note.push(catch_cancel(turns(3)).await.is_ok());
        };
        join!(section, asked_once).await;
        turns(1).await;
        note.push("goes on");
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "first true");
    gate.open();
    looped.settle();
    assert_eq!(log.take(), "committed asked goes on");
    assert!(task.is_done() && !task.is_cancelled());
}

#[test]
fn nested_joins_offer_to_every_leaf() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move {
        let leaf = |name, count| handler(note.clone(), name, count, true);
        join!(join!(leaf("a", 3), leaf("b", 1)), leaf("c", 2), join!(leaf("d", 0), pending::<()>())).await;
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "a? b? c? d? d b c a");
    assert!(task.is_cancelled());
}

#[test]
fn a_branch_that_is_cancelled_by_itself_ends_the_whole() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        let resumes = async {
            turns(2).await;
            resume_cancel().await
        };
        let both = async { join!(resumes, pending::<()>()).await.0 };
        let caught: Result<(), _> = catch_cancel(both).await;
        (caught.is_err(), current_task().map(|task| task.cancelling()))
    });
    assert_eq!(looped.finish(task), (true, Some(0)));
}
