//! `select!`: its grammar, which is tokio's, the order, the losers, and what a request does.

use std::cell::Cell;
use std::future::{pending, ready};
use std::mem::size_of_val;
use std::pin::pin;
use std::rc::Rc;

use futures_util::FutureExt;

use crate::executor::tests::{Gate, Log, Loop, counted, turns};
use crate::executor::{catch_cancel, resume_cancel, uncancellable};

#[test]
fn the_first_in_written_order_wins_and_the_rest_is_not_polled() {
    let polls = Rc::new(Cell::new(0));
    let winner = async {
        select! {
            _ = pending::<()>() => 0,
            n = ready(1) => n,
            _ = counted(&polls, ready(())) => 2,
        }
    };
    assert_eq!(winner.now_or_never(), Some(1));
    assert_eq!(polls.get(), 0);
}

/// Each form of a handler, with and without commas; what tokio's own tests write.
#[test]
fn the_grammar_is_tokios() {
    async fn all(n: u32) -> String {
        let only = select! { x = ready(n) => x };
        let comma = select! { x = ready(n) => { x }, };
        let blocks = select! {
            x = pending::<u32>() => { x }
            x = ready(n), if n > 100 => { x }
            x = ready(n), if n < 100 => { x + 1 },
            x = pending::<u32>(), if true => x,
            else => 9
        };
        let biased = select! {
            biased;
            x = ready(n) => x + 2,
            _ = ready(()) => unreachable!(),
        };
        let disabled = select! {
            _ = ready(()), if false => 0,
            else => n + 3,
        };
        let nothing = select! { else => n + 4 };
        let block = select! {
            biased;
            _ = ready(()), if false => 0,
            else => { n + 5 }
        };
        format!("{only} {comma} {blocks} {biased} {disabled} {nothing} {block}")
    }
    assert_eq!(all(1).now_or_never().as_deref(), Some("1 1 2 3 4 5 6"));
}

#[test]
fn a_pattern_that_does_not_match_disables_its_branch() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        select! {
            Some(text) = ready(None::<String>) => text,
            Ok(text) | Err(text) = async { turns(2).await; Ok::<_, String>("late".to_owned()) } => text,
            else => "none".to_owned(),
        }
    });
    assert_eq!(looped.finish(task), "late");
    let all_out = async {
        select! {
            Some(()) = ready(None) => "some",
            Err(()) = ready(Ok::<(), ()>(())) => "error",
            else => "else",
        }
    };
    assert_eq!(all_out.now_or_never(), Some("else"));
}

#[test]
#[should_panic(expected = "all branches of a `select!` are disabled")]
fn without_an_else_it_panics_when_none_is_left() {
    let _ = async {
        select! { 1 = ready(2) => {}, 3 = ready(4) => {} }
    }
    .now_or_never();
}

/// The look at the pattern must not move, and must take whatever a pattern may say.
#[test]
fn patterns_may_move_borrow_and_be_mutable() {
    struct Pair {
        left: String,
        right: Vec<u8>,
    }
    let pair = || Pair { left: "left".into(), right: vec![1, 2] };
    let all = async {
        let moved =
            select! { Pair { left, right: mut bytes } = ready(pair()) => { bytes.push(3); (left, bytes) } };
        let borrowed = select! { Some(ref text) = ready(Some(String::from("text"))) => text.len() };
        let mutable = select! { mut text = ready(String::from("a")) => { text.push('b'); text } };
        let mutably = select! { (ref mut n, _) = ready((1, 2)) => { *n += 1; *n } };
        let bound = select! { n @ 1..=9 = ready(5) => n, _ = pending::<()>() => 0 };
        let slice = select! { [first, .., last] = ready([1, 2, 3]) => first + last, else => 0 };
        let reference = select! { &n = ready(&7) => n };
        assert_eq!((moved.0.as_str(), moved.1), ("left", vec![1, 2, 3]));
        (borrowed, mutable, mutably, bound, slice, reference)
    };
    assert_eq!(all.now_or_never(), Some((4, "ab".to_owned(), 2, 5, 4, 7)));
}

/// Conditions come first, then all futures are made, those of disabled branches too; those are not polled.
#[test]
fn conditions_are_evaluated_before_futures() {
    let log = Log::default();
    let note = |text: &'static str, value: bool| {
        log.push(text);
        value
    };
    let make = |text: &'static str| {
        log.push(text);
        let log = log.clone();
        async move { log.push(format!("{text} polled")) }
    };
    let run = async {
        let mut stream = Some(1);
        select! {
            () = make("a"), if note("if a", false) => {},
            () = make("b"), if note("if b", true) => {},
            // The condition may look at what the future borrows.
            _ = async { stream.take() }, if stream.is_some() => {},
        }
    };
    assert!(run.now_or_never().is_some());
    assert_eq!(log.take(), "if a if b a b b polled");
}

#[test]
fn handlers_use_the_callers_flow_after_the_losers_are_gone() {
    async fn flow(log: &Log) -> Result<u32, String> {
        let mut text = String::from("borrowed by a loser");
        let mut rounds = 0;
        loop {
            let loser = async {
                let _dropped = log.on_drop("dropped");
                text.push('!');
                pending::<()>().await;
            };
            select! {
                () = loser => unreachable!(),
                () = turns(1), if rounds == 0 => {
                    text.clear();
                    log.push("continue");
                    rounds += 1;
                    continue;
                }
                answer = ready(Ok::<u32, String>(rounds)), if rounds == 1 => {
                    assert_eq!(answer?, 1);
                    turns(1).await;
                    break;
                }
            }
        }
        select! { failed = ready(Err::<u32, _>("failed".to_owned())) => Ok(failed?) }
    }
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move { flow(&note).await });
    assert_eq!(looped.finish(task), Err("failed".to_owned()));
    assert_eq!(log.take(), "dropped continue dropped");
}

#[test]
fn a_branch_by_reference_goes_on_and_temporaries_live_as_long_as_the_futures() {
    async fn length(text: &str) -> usize {
        turns(1).await;
        text.len()
    }
    let looped = Loop::new();
    let task = looped.spawn(async {
        let mut long = pin!(turns(5));
        let mut rounds = 0;
        loop {
            select! {
                () = &mut long => break rounds,
                n = length(&format!("{}", 100)), if rounds < 10 => { rounds += n / 3; }
            }
        }
    });
    assert_eq!(looped.finish(task), 2, "six polls of the long one: two in each round");
}

#[test]
fn a_select_is_as_large_as_its_branches() {
    async fn leaf() -> u8 {
        let block = [1_u8; 1000];
        turns(1).await;
        block[0]
    }
    let two = async {
        select! { a = leaf() => a, b = leaf() => b }
    };
    let (one, two) = (size_of_val(&leaf()), size_of_val(&two));
    assert!(two < 2 * one + 100, "{one} and {one} make {two}");
}

#[test]
fn forty_branches_are_within_the_default_recursion_limit() {
    let n = async {
        let p = pending::<u32>;
        select! {
            n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n,
            n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n,
            n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n,
            n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n,
            n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n, n = p() => n,
            n = ready(40) => n,
        }
    };
    assert_eq!(n.now_or_never(), Some(40));
}

#[test]
fn a_request_is_offered_to_every_branch() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let dropped = log.on_drop("dropped");
    let task = looped.spawn(async move {
        let handler = async |name: &'static str, count: usize| {
            let _ = catch_cancel(pending::<()>()).await;
            turns(count).await;
            note.push(name);
            resume_cancel().await
        };
        let untaken = async {
            let _dropped = dropped;
            pending::<()>().await;
        };
        select! {
            () = handler("slow", 3) => {}
            () = untaken => {}
            () = handler("quick", 1) => {}
        }
        note.push("never");
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "quick slow dropped");
    assert!(task.is_cancelled());
}

#[test]
fn a_branch_that_takes_the_request_and_ends_has_settled_it() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        let caught = select! {
            () = pending() => false,
            end = catch_cancel(pending::<()>()) => end.is_err(),
        };
        turns(2).await;
        caught
    });
    looped.settle();
    task.cancel();
    assert!(looped.finish(task));
}

/// What another branch handled and was dropped in the middle of was not handled.
#[test]
fn a_winner_in_the_poll_of_the_request_leaves_it_pending() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let (note, passed) = (log.clone(), gate.pass());
    let task = looped.spawn(async move {
        let handler = async {
            let _ = catch_cancel(pending::<()>()).await;
            note.push("asked");
            turns(5).await;
            note.push("never");
        };
        select! {
            () = handler => {}
            () = passed => note.push("won"),
        }
        turns(1).await;
        note.push("never");
    });
    looped.settle();
    gate.open();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "asked won");
    assert!(task.is_cancelled());
}

#[test]
fn a_section_that_loses_lets_the_request_through() {
    let (looped, gate) = (Loop::new(), Gate::default());
    let passed = gate.pass();
    let task = looped.spawn(async move {
        select! {
            () = uncancellable(pending()) => {}
            () = passed => {}
        }
        pending::<()>().await;
    });
    looped.settle();
    task.cancel();
    looped.settle();
    assert!(!task.is_done());
    gate.open();
    looped.settle();
    assert!(task.is_cancelled());
}
