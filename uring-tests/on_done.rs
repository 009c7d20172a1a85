//! Callbacks at a task's end: when they run, in what order, and what they may do.

use crate::harness::kinds::{Reports, run_on, start, turns};
use crate::harness::probes::{Drops, Log, OnDrop, once_pending};
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::{CallbackId, TaskBuilder, all_tasks, create_task, current_task, yield_now};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

pub const TRIALS: &[Trial] = &[
    once!(callbacks_run_in_order_in_the_turn_after_the_end),
    once!(callbacks_run_however_the_task_ends),
    once!(a_callback_for_a_task_that_has_ended_runs_soon_and_not_inside),
    once!(a_callback_can_be_taken_back),
    once!(a_callback_may_change_the_list_of_callbacks),
    once!(a_callback_that_panics_is_reported_and_harms_nobody_else),
    once!(callbacks_left_at_the_loops_end_are_dropped),
    once!(callbacks_of_the_last_task_run_although_no_other_is_left),
    once!(outside_of_the_loop_a_callback_for_what_has_ended_is_refused),
];

/// FUT-05
fn callbacks_run_in_order_in_the_turn_after_the_end(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let task = TaskBuilder::new().name("watched").create_task({
            let log = log.clone();
            async move {
                once_pending().await;
                let log = log.clone();
                // The last thing of the task's last step.
                OnDrop(move || log.push("ended".to_owned()))
            }
        });
        for number in 0..3 {
            let log = log.clone();
            task.on_done(move |task| {
                assert!(task.is_done() && !task.is_cancelled());
                assert!(current_task().is_none(), "not inside of the task");
                log.push(format!("{number} of {}", task.name()));
            });
        }
        let waiter = create_task({
            let log = log.clone();
            async move {
                drop(task.await.expect("no panic"));
                log.push("the waiter".to_owned());
            }
        });
        waiter.await.expect("no panic");
        let expected = ["0 of watched", "1 of watched", "2 of watched", "ended", "the waiter"];
        assert_eq!(log.all(), expected, "before whoever awaits the task goes on");
    });
}

fn callbacks_run_however_the_task_ends(ctx: &Ctx) {
    ctx.run(async {
        for name in ["cancel", "abort", "panic"] {
            for started in [false, true] {
                let log = Log::new();
                let task = create_task(async move {
                    if name == "panic" {
                        panic!("as planned");
                    }
                    pending::<()>().await
                });
                let callback = {
                    let log = log.clone();
                    move |task: &ringloop::TaskRef| log.push(task.is_cancelled())
                };
                if started {
                    yield_now().await;
                }
                task.on_done(callback);
                match name {
                    "cancel" => assert!(task.cancel()),
                    "abort" => task.abort(),
                    _ => {}
                }
                assert_eq!(log.len(), 0, "not inside of what ends the task");
                turns(3).await;
                assert_eq!(log.all(), [name != "panic"], "{name}");
                // Seen, so that it is not reported.
                drop(task.await);
            }
        }
    });
}

/// FUT-06
fn a_callback_for_a_task_that_has_ended_runs_soon_and_not_inside(ctx: &Ctx) {
    ctx.run(async {
        let task = create_task(async {});
        yield_now().await;
        let log = Log::new();
        for number in 0..2 {
            let log = log.clone();
            task.on_done(move |_| log.push(number));
        }
        assert_eq!(log.len(), 0);
        yield_now().await;
        assert_eq!(log.all(), [0, 1]);
        task.await.expect("no panic");
    });
}

/// FUT-07
fn a_callback_can_be_taken_back(ctx: &Ctx) {
    ctx.run(async {
        let (log, drops) = (Log::new(), Drops::new());
        let (task, other) = (create_task(async {}), create_task(async {}));
        let ids: Vec<CallbackId> = (0..4)
            .map(|number| {
                let (log, token) = (log.clone(), drops.token());
                task.on_done(move |_| {
                    log.push(number);
                    drop(token);
                })
            })
            .collect();
        assert!(!other.remove_on_done(ids[0]), "it is another task's");
        assert!(task.remove_on_done(ids[0]) && task.remove_on_done(ids[2]));
        assert_eq!(drops.count(), 2, "it goes when it is taken back");
        assert!(!task.remove_on_done(ids[2]), "it is gone");
        let name = task.task_ref();
        task.await.expect("no panic");
        assert_eq!(log.all(), [1, 3]);
        assert!(!name.remove_on_done(ids[1]), "it has run");
        // What is on its way runs.
        let late = Log::new();
        let note = late.clone();
        let id = name.on_done(move |_| note.push(()));
        assert!(!name.remove_on_done(id));
        yield_now().await;
        assert_eq!(late.len(), 1);
        other.await.expect("no panic");
    });
}

/// FUT-08
fn a_callback_may_change_the_list_of_callbacks(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let task = create_task(async {});
        let later: Rc<Cell<Option<CallbackId>>> = Rc::default();
        task.on_done({
            let (log, later) = (log.clone(), later.clone());
            move |task| {
                log.push("first");
                let second = later.get().expect("it was added");
                assert!(!task.remove_on_done(second), "it is on its way");
                let log = log.clone();
                task.on_done(move |_| log.push("added by the first"));
            }
        });
        let note = log.clone();
        later.set(Some(task.on_done(move |_| note.push("second"))));
        // A destructor in the list that changes the list.
        let name = task.task_ref();
        let note = log.clone();
        let guard = OnDrop(move || {
            let log = note.clone();
            name.on_done(move |_| log.push("added by a drop"));
        });
        let id = task.on_done(move |_| drop(guard));
        assert!(task.remove_on_done(id));
        turns(4).await;
        assert_eq!(log.all(), ["first", "second", "added by a drop", "added by the first"]);
        task.await.expect("no panic");
    });
}

fn a_callback_that_panics_is_reported_and_harms_nobody_else(ctx: &Ctx) {
    let reports = Reports::default();
    run_on(reports.builder(ctx.builder()), async {
        let log = Log::new();
        let task = create_task(async {});
        task.on_done(|_| panic!("a bad callback"));
        let note = log.clone();
        task.on_done(move |_| note.push("the next"));
        task.await.expect("it is not concerned");
        turns(2).await;
        assert_eq!(log.len(), 1);
        assert_eq!(all_tasks().len(), 1);
    });
    let said = reports.take();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("on_done") && said[0].contains("a bad callback"), "{said:?}");
}

/// SHUT-06: a callback of a task that ends with the loop, orderly, runs; one that is left after the end does not.
fn callbacks_left_at_the_loops_end_are_dropped(ctx: &Ctx) {
    let (log, drops) = (Log::new(), Drops::new());
    let mut runner = start(ctx.builder().shutdown_timeout(std::time::Duration::ZERO));
    let name = Rc::new(RefCell::new(None));
    let kept = name.clone();
    let (note, token) = (log.clone(), drops.token());
    runner
        .run(async move {
            let stubborn = create_task(ringloop::uncancellable(pending::<()>()));
            yield_now().await;
            stubborn.on_done(move |_| {
                note.push(());
                drop(token);
            });
            *kept.borrow_mut() = Some(stubborn.task_ref());
            stubborn.detach();
        })
        .expect("it runs");
    let _ = runner.close();
    assert!(name.borrow().as_ref().is_some_and(|task| task.is_done()));
    assert_eq!((log.len(), drops.count()), (0, 1), "dropped, and not run");

    let log = Log::new();
    let note = log.clone();
    let mut runner = start(ctx.builder());
    runner
        .run(async move {
            let task = create_task(pending::<()>());
            task.on_done(move |task| note.push(task.is_cancelled()));
            task.detach();
        })
        .expect("it runs");
    runner.close().expect("it ends");
    assert_eq!(log.all(), [true]);
}

/// The root ends with the last turn: nothing else would run its callbacks.
fn callbacks_of_the_last_task_run_although_no_other_is_left(ctx: &Ctx) {
    let log = Log::new();
    let note = log.clone();
    let mut runner = start(ctx.builder());
    runner
        .run(async move {
            let root = ringloop::current_task().expect("the root is a task");
            root.on_done(move |root| note.push(root.is_done()));
        })
        .expect("it runs");
    runner.close().expect("it ends");
    assert_eq!(log.all(), [true]);
}

fn outside_of_the_loop_a_callback_for_what_has_ended_is_refused(ctx: &Ctx) {
    let mut runner = start(ctx.builder());
    let log = Log::new();
    let (ended, waiting) = runner
        .run(async {
            let (ended, waiting) = (create_task(async {}), create_task(yield_now()));
            yield_now().await;
            (ended.task_ref(), waiting.task_ref())
        })
        .expect("it runs");
    let note = log.clone();
    waiting.on_done(move |_| note.push("kept for the next run"));
    let refused = catch_unwind(AssertUnwindSafe(|| ended.on_done(|_| ())));
    let payload = refused.expect_err("nobody would run it");
    assert!(payload.downcast_ref::<String>().is_some_and(|text| text.contains("call it inside")));
    runner.run(turns(3)).expect("it runs");
    assert_eq!(log.all(), ["kept for the next run"]);
    runner.close().expect("it ends");
}
