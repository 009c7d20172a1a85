//! `staggered_race` over a loop turned by hand: who begins when, who wins, and what a request does. What needs a timer is
//! tried in the suite.

use std::future::{Future, pending, ready};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::staggered_race;
use crate::executor::tests::{Gate, Log, Loop, handler, turns};
use crate::executor::{catch_cancel, uncancellable};

type Attempt = Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<&'static str, &'static str>>>;

/// Notes its beginning.
fn attempt(
    log: &Log,
    name: &'static str,
    future: impl Future<Output = Result<&'static str, &'static str>> + 'static,
) -> Attempt {
    let log = log.clone();
    Box::new(move || {
        log.push(name);
        future.boxed_local()
    })
}

#[test]
fn without_a_delay_the_next_begins_when_the_one_before_has_failed() {
    let (looped, log) = (Loop::new(), Log::default());
    let after = |count, end| async move {
        turns(count).await;
        end
    };
    let attempts = [
        attempt(&log, "a", after(3, Err("no a"))),
        attempt(&log, "b", ready(Err("no b"))),
        attempt(&log, "c", after(2, Ok("c's"))),
        attempt(&log, "d", ready(Ok("d's"))),
    ];
    let task = looped.spawn(staggered_race(attempts, None));
    looped.turn();
    assert_eq!(log.take(), "a");
    assert_eq!((looped.finish(task), &*log.take()), (Ok((2, "c's")), "b c"));
}

#[test]
fn all_errors_come_and_none_if_there_was_no_attempt() {
    let failing = ["no a", "no b"].map(|error| move || ready(Err::<(), _>(error)));
    assert_eq!(staggered_race(failing, None).now_or_never(), Some(Err(vec!["no a", "no b"])));
    let none = failing.into_iter().take(0);
    assert_eq!(staggered_race(none, None).now_or_never(), Some(Err(vec![])));
}

#[test]
fn attempts_may_borrow_and_are_dropped_when_they_have_ended() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let task = looped.spawn(async move {
        let (words, note) = (["no", "three"].map(String::from), &note);
        let attempts = words.iter().map(|word| {
            async move || {
                let _dropped = note.on_drop("dropped");
                turns(1).await;
                note.push(word);
                if word.len() > 2 { Ok(word.as_str()) } else { Err(()) }
            }
        });
        let won = staggered_race(attempts, None).await;
        format!("{won:?}")
    });
    assert_eq!(looped.finish(task), r#"Ok((1, "three"))"#);
    assert_eq!(log.take(), "no dropped three dropped");
}

#[test]
fn a_request_that_the_attempt_does_not_handle_goes_on_outward_and_none_begins() {
    let (looped, log) = (Loop::new(), Log::default());
    let dropped = log.on_drop("dropped");
    let untaken = async move {
        let _dropped = dropped;
        pending().await
    };
    let attempts = [attempt(&log, "a", untaken), attempt(&log, "b", ready(Ok("b's")))];
    let task = looped.spawn(staggered_race(attempts, None));
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!((&*log.take(), task.is_cancelled()), ("a dropped", true));
}

#[test]
fn a_request_that_the_attempt_swallows_is_over_for_the_next() {
    let (looped, log) = (Loop::new(), Log::default());
    for cleans_up in [0, 3] {
        let failing = handler(log.clone(), "handled", cleans_up, false).map(|()| Err("gave up"));
        let passes = async {
            turns(2).await;
            Ok("b's")
        };
        let attempts = [attempt(&log, "a", failing), attempt(&log, "b", passes)];
        let task = looped.spawn(staggered_race(attempts, None));
        looped.settle();
        task.cancel();
        assert_eq!(looped.finish(task), Ok((1, "b's")));
        assert_eq!(log.take(), "a handled? handled b");
    }
}

#[test]
fn a_request_that_the_attempt_resumes_goes_on_outward() {
    let (looped, log) = (Loop::new(), Log::default());
    let resuming = handler(log.clone(), "handled", 2, true).map(|()| Err("never"));
    let attempts = [attempt(&log, "a", resuming), attempt(&log, "b", ready(Ok("b's")))];
    let task = looped.spawn(staggered_race(attempts, None));
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!((&*log.take(), task.is_cancelled()), ("a handled? handled", true));
}

/// The request waits for the section, and is the next attempt's if the section's has failed by then.
#[test]
fn a_request_held_off_by_one_attempt_hits_the_next() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let (note, passed) = (log.clone(), gate.pass());
    let section = async move {
        uncancellable(passed).await;
        Err("no a")
    };
    let asked = async move {
        let _ = catch_cancel(pending::<()>()).await;
        note.push("asked");
        Ok("b's")
    };
    let attempts = [attempt(&log, "a", section), attempt(&log, "b", asked)];
    let task = looped.spawn(staggered_race(attempts, None));
    looped.settle();
    task.cancel();
    looped.settle();
    assert_eq!(log.take(), "a");
    gate.open();
    assert_eq!((looped.finish(task), &*log.take()), (Ok((1, "b's")), "b asked"));
}
