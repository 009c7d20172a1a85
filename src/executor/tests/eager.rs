//! Eager tasks: a step inside of another task's step.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::pin::Pin;
use std::rc::Rc;

use super::{Gate, Log, Loop, turns};
use crate::executor::{
    Spawn, Task, all_tasks, catch_cancel, current, current_task, resume_cancel, step_number,
};

/// Makes an eager task from within another.
fn eager<F: Future + 'static>(name: &'static str, future: F) -> Task<F::Output> {
    let executor = current().expect("a task runs inside of its loop");
    executor.spawn(future, Spawn { name: Some(name.into()), eager: true, ..Spawn::default() })
}

fn running() -> String {
    current_task().map_or("none".into(), |task| task.name().to_string())
}

/// EAGER-02, EAGER-05, EAGER-06
#[test]
fn the_first_step_runs_inside_of_the_creators_step() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let creator = looped.named("creator", {
        let (log, gate) = (log.clone(), gate.clone());
        async move {
            let step = step_number();
            let task = eager("eager", {
                let log = log.clone();
                async move {
                    log.push(running());
                    log.push(format!("{:?}", current_task()));
                    log.push(all_tasks().len());
                    gate.pass().await;
                    log.push(running());
                }
            });
            log.push(running());
            assert_eq!(step_number(), step, "one step, as far as budgets are concerned");
            task.await.expect("it has a value");
        }
    });
    looped.turn();
    assert_eq!(log.take(), "eager Some(<Task name='eager' running>) 2 creator");
    gate.open();
    looped.finish(creator);
    assert_eq!(log.take(), "eager");
}

#[test]
fn what_ends_in_its_first_step_costs_no_turn() {
    let looped = Loop::new();
    let mut task = eager("eager", async { 7 });
    assert_eq!(task.try_result().map(Result::unwrap), Some(7));
    assert!(!looped.executor.is_ready() && all_tasks().is_empty());
    eager("lonely", async { panic!("nobody sees it") }).detach();
    assert_eq!(looped.reports(), ["lonely: the task panicked: nobody sees it"]);
    let mut task = eager("seen", async { panic!("as planned") });
    assert!(task.try_result().is_some_and(|end: Result<(), _>| end.is_err_and(|error| error.is_panic())));
    assert!(current_task().is_none());
}

#[test]
fn eager_tasks_may_make_eager_tasks() {
    let (looped, log) = (Loop::new(), Log::default());
    fn nest(depth: usize, log: Log) -> Pin<Box<dyn Future<Output = usize>>> {
        Box::pin(async move {
            if depth == 0 {
                return 0;
            }
            let inner = eager("inner", nest(depth - 1, log.clone()));
            log.push(all_tasks().len());
            turns(depth % 2).await;
            inner.await.expect("it has a value") + 1
        })
    }
    let task = looped.spawn(nest(4, log.clone()));
    looped.turn();
    // The innermost has ended, the two next to it wait, and each of these keeps the one outside of it waiting.
    assert_eq!(log.take(), "4 4 4 4");
    assert_eq!(looped.finish(task), 4);
}

/// EAGER-04
#[test]
fn a_request_after_the_first_step_reaches_the_await_where_it_stands() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let mut task = eager("eager", async move {
        let caught = catch_cancel(pending::<()>()).await.is_err();
        note.push(caught);
        resume_cancel().await;
    });
    task.cancel_with("enough");
    assert_eq!(task.cancelling(), 1);
    assert_eq!(log.take(), "");
    looped.settle();
    assert_eq!(log.take(), "true");
    let error = task.try_result().expect("it has ended").expect_err("it was cancelled");
    assert_eq!(error.reason(), Some("enough"));
}

#[test]
fn an_offer_to_the_creator_is_none_to_the_new_task() {
    let (looped, log) = (Loop::new(), Log::default());
    let made = Rc::new(RefCell::new(None));
    let creator = looped.spawn({
        let (made, log) = (made.clone(), log.clone());
        let mut polls = 0;
        // Under the offer, and before it reports that it is pending.
        std::future::poll_fn(move |_| {
            polls += 1;
            if polls == 2 {
                let note = log.clone();
                let first = async move { note.push(catch_cancel(turns(1)).await.is_ok()) };
                made.replace(Some(eager("eager", first)));
            }
            std::task::Poll::<()>::Pending
        })
    });
    looped.turn();
    creator.cancel();
    looped.settle();
    assert!(creator.is_cancelled(), "the offer was left as it was");
    assert_eq!(log.take(), "true");
    assert!(made.take().is_some_and(|mut task| task.try_result().is_some_and(|end| end.is_ok())));
}

#[test]
fn a_first_step_may_end_its_own_task_and_ask_its_creator_to_end() {
    let looped = Loop::new();
    let creator = looped.spawn(async {
        let own = current_task().expect("this runs in a task");
        let mut aborted = eager("aborted", async {
            current_task().expect("this runs in a task").abort();
            pending::<()>().await;
        });
        assert!(aborted.is_cancelled());
        assert!(aborted.try_result().is_some_and(|end| end.is_err()));
        let resumed = eager("resumed", async { resume_cancel().await });
        assert!(resumed.is_cancelled());
        let cancelled = eager("cancelled", async {
            current_task().expect("this runs in a task").cancel();
            pending::<()>().await;
        });
        assert!(!cancelled.is_done(), "delivered by its next step");
        let ended = eager("ends the creator", async move { own.cancel() });
        assert!(ended.is_done());
        let caught = catch_cancel(pending::<()>()).await;
        assert!(caught.is_err() && cancelled.is_cancelled());
    });
    looped.finish(creator);
}

/// It has no turn to wait for, so it must not take one at the loop's end either.
#[test]
fn at_the_loops_end_an_eager_task_does_not_start() {
    let log = Log::default();
    let looped = Loop::new();
    let executor = looped.executor.clone();
    drop(looped);
    let note = log.clone();
    let task = executor.spawn(async move { note.push("ran") }, Spawn { eager: true, ..Spawn::default() });
    assert!(task.is_cancelled());
    assert_eq!(log.take(), "");
}
