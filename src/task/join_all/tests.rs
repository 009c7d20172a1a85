//! `join_all` over a loop turned by hand: who is polled, and what a request does to the branches.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;

use futures_util::FutureExt;

use super::join_all;
use crate::executor::tests::{Gate, Log, Loop, counted, handler, turns};
use crate::executor::{all_tasks, catch_cancel, uncancellable};

#[test]
fn outputs_come_in_the_order_of_the_arguments_and_nothing_is_spawned() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        let words = ["three", "no", "two"].map(String::from);
        let outputs = join_all(words.iter().map(async |word| {
            turns(word.len()).await;
            (word.as_str(), all_tasks().len())
        }));
        format!("{:?}", outputs.await)
    });
    assert_eq!(looped.finish(task), r#"[("three", 1), ("no", 1), ("two", 1)]"#);
    assert_eq!(join_all(Vec::<std::future::Ready<()>>::new()).now_or_never(), Some(vec![]));
    assert_eq!(join_all((0..3).map(std::future::ready)).now_or_never(), Some(vec![0, 1, 2]));
}

#[test]
fn only_branches_that_were_woken_are_polled() {
    let (looped, gate, polls) = (Loop::new(), Gate::default(), Rc::new(Cell::new(0)));
    let waiting: Vec<_> =
        (0..100).map(|_| counted(&polls, gate.pass().boxed_local()).boxed_local()).collect();
    let task = looped.spawn(join_all(waiting.into_iter().chain([turns(50).boxed_local()])));
    looped.settle();
    assert_eq!(polls.get(), 100);
    gate.open();
    assert_eq!(looped.finish(task).len(), 101);
    assert_eq!(polls.get(), 200);
}

#[test]
fn a_branch_that_has_ended_is_dropped_while_the_others_go_on() {
    let (looped, log) = (Loop::new(), Log::default());
    let dropped = log.on_drop("dropped");
    let short = async move {
        let _dropped = &dropped;
        turns(1).await;
    };
    let task = looped.spawn(join_all([short.boxed_local(), pending().boxed_local()]));
    looped.settle();
    assert_eq!((&*log.take(), task.is_done()), ("dropped", false));
}

#[test]
fn a_request_is_offered_to_every_branch_and_waits_for_all_that_take_it() {
    let (looped, log) = (Loop::new(), Log::default());
    let dropped = log.on_drop("dropped");
    let untaken = async move {
        let _dropped = dropped;
        pending::<()>().await;
    };
    let branches = [
        handler(log.clone(), "slow", 4, true).boxed_local(),
        untaken.boxed_local(),
        handler(log.clone(), "quick", 2, false).boxed_local(),
    ];
    let task = looped.spawn(join_all(branches));
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "slow? quick? quick slow dropped");
    assert!(task.is_cancelled());
}

#[test]
fn a_request_that_all_branches_swallow_is_over() {
    let (looped, log) = (Loop::new(), Log::default());
    let (both, note) = (
        [
            handler(log.clone(), "a", 2, false).boxed_local(),
            handler(log.clone(), "b", 0, false).boxed_local(),
        ],
        log.clone(),
    );
    let task = looped.spawn(async move {
        join_all(both).await;
        turns(2).await;
        note.push("goes on");
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "a? b? b a goes on");
    assert!(task.is_done() && !task.is_cancelled());
}

/// The one that resumes is polled alone, in turns in which the other, which still cleans up, is not.
#[test]
fn a_branch_that_resumes_waits_for_one_that_sleeps_in_its_clean_up() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let (note, passed) = (log.clone(), gate.pass());
    let sleeper = async move {
        let _ = catch_cancel(pending::<()>()).await;
        passed.await;
        note.push("cleaned up");
    };
    let task = looped
        .spawn(join_all([sleeper.boxed_local(), handler(log.clone(), "resumes", 3, true).boxed_local()]));
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!((&*log.take(), task.is_done()), ("resumes? resumes", false));
    gate.open();
    looped.settle();
    assert_eq!(log.take(), "cleaned up");
    assert!(task.is_cancelled());
}

#[test]
fn a_blocked_branch_gets_the_request_when_its_section_ends() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let (note, passed) = (log.clone(), gate.pass());
    let section = async move {
        uncancellable(passed).await;
        note.push("committed");
        let _ = catch_cancel(pending::<()>()).await;
        note.push("asked");
    };
    let task = looped
        .spawn(join_all([section.boxed_local(), handler(log.clone(), "other", 0, false).boxed_local()]));
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "other? other");
    gate.open();
    looped.settle();
    assert_eq!(log.take(), "committed asked");
    assert!(task.is_done() && !task.is_cancelled());
}
