//! Ends that nobody has seen: which errors are reported, which are not, and what a panic does to the run.

use crate::harness::kinds::{Reports, run_on, start, turns};
use crate::harness::probes::{Log, OnDrop, once_pending};
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::{
    PanicPolicy, Runner, TaskBuilder, catch_cancel, create_task, gather, gather_settled, sleep, task_group,
    timeout, yield_now,
};
use std::future::pending;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(an_error_nobody_looked_at_is_reported_once),
    once!(an_error_that_was_read_or_cancelled_after_is_not_reported),
    once!(an_error_of_ones_own_type_is_reported_if_that_is_asked_for),
    once!(a_shielded_tasks_error_is_reported_when_the_waiter_has_gone),
    once!(the_children_of_a_gather_fail_in_its_name),
    once!(an_error_during_shutdown_is_reported),
    once!(a_panic_may_end_the_run),
    once!(a_panic_that_ends_the_run_leaves_a_runner_that_works),
    once!(a_panic_of_a_groups_child_or_a_callback_may_end_the_run),
    once!(by_default_a_panic_ends_no_run),
];

fn named(name: &'static str) -> TaskBuilder {
    TaskBuilder::new().name(name)
}

async fn fail(text: &'static str) -> io::Result<()> {
    once_pending().await;
    Err(io::Error::other(text))
}

/// FUT-09, DEBUG-03
fn an_error_nobody_looked_at_is_reported_once(ctx: &Ctx) {
    let reports = Reports::default();
    run_on(reports.builder(ctx.builder()), async {
        named("detached").create_task(fail("one")).detach();
        let kept = named("kept").create_task(fail("two"));
        turns(3).await;
        assert_eq!(reports.take(), ["task 'detached': it failed, and nobody awaited it: one"]);
        drop(kept);
        assert_eq!(reports.take(), ["task 'kept': it failed, and nobody awaited it: two"]);
        create_task(async { io::Result::Ok(()) }).detach();
        create_task(async { Err::<u8, _>(io::Error::other("besides a value")) }).detach();
        create_task(async { 7 }).detach();
        turns(3).await;
    });
    assert!(reports.take().is_empty());
}

/// FUT-09, CANCEL-20
fn an_error_that_was_read_or_cancelled_after_is_not_reported(ctx: &Ctx) {
    let reports = Reports::default();
    run_on(reports.builder(ctx.builder()), async {
        let mut read = create_task(fail("read"));
        let cancelled_after = create_task(fail("cancelled after"));
        let awaited = create_task(fail("awaited"));
        turns(3).await;
        assert!(read.try_result().is_some());
        assert!(!cancelled_after.cancel(), "it has ended");
        drop((read, cancelled_after));
        awaited.await.expect("no panic").expect_err("it failed");
        let cancelled = create_task(pending::<io::Result<()>>());
        cancelled.cancel();
        drop(cancelled);
        // A cancellation that travels as an error is none.
        let inner = create_task(pending::<()>());
        let name = inner.task_ref();
        create_task(async move { inner.await.map_err(io::Error::from) }).detach();
        create_task(async { catch_cancel(ringloop::resume_cancel()).await.map(|never| never) }).detach();
        yield_now().await;
        name.cancel();
        turns(3).await;
    });
    assert_eq!(reports.take(), [""; 0]);
}

/// FUT-09, for types that nothing is known of
fn an_error_of_ones_own_type_is_reported_if_that_is_asked_for(ctx: &Ctx) {
    let reports = Reports::default();
    run_on(reports.builder(ctx.builder()), async {
        named("silent").create_task(async { "seven".parse::<u8>() }).detach();
        named("told").create_task(async { "seven".parse::<u8>() }).detach_reporting();
        named("fine").create_task(async { "7".parse::<u8>() }).detach_reporting();
        let cancelled = named("cancelled").create_task(pending::<Result<u8, String>>());
        let name = cancelled.task_ref();
        cancelled.detach_reporting();
        yield_now().await;
        name.cancel();
        turns(3).await;
    });
    let said = reports.take();
    assert!(said.len() == 1 && said[0].contains("'told'") && said[0].contains("invalid digit"), "{said:?}");
}

/// SHIELD-06
fn a_shielded_tasks_error_is_reported_when_the_waiter_has_gone(ctx: &Ctx) {
    let reports = Reports::default();
    let paused = ctx.builder().clock(ringloop::Clock::Paused);
    run_on(reports.builder(paused), async {
        let work = named("work").create_task(async {
            sleep(Duration::from_secs(2)).await;
            fail("after the waiter").await
        });
        timeout(Duration::from_secs(1), work.shield()).await.map(drop).expect_err("it is too slow");
        assert!(reports.take().is_empty());
        sleep(Duration::from_secs(2)).await;
        assert_eq!(reports.take(), ["task 'work': it failed, and nobody awaited it: after the waiter"]);
    });
}

/// GATHER-13: what comes after the first error counts as seen; a gather that nobody awaits to its end has seen nothing.
fn the_children_of_a_gather_fail_in_its_name(ctx: &Ctx) {
    let reports = Reports::default();
    run_on(reports.builder(ctx.builder()), async {
        gather([fail("first"), fail("second"), fail("third")]).await.expect_err("they fail");
        gather_settled([create_task(fail("settled"))]).await;
        turns(3).await;
        assert_eq!(reports.take(), [""; 0]);
        drop(gather([fail("detached")]));
        turns(3).await;
        let said = reports.take();
        assert!(said.len() == 1 && said[0].contains("detached"), "{said:?}");
        let group = task_group(async |group| {
            group.create_task(fail("in a group"));
            Ok(())
        });
        group.await.expect_err("a child failed");
        turns(3).await;
        assert_eq!(reports.take(), [""; 0]);
    });
}

/// RUN-07, AIO-07, for an error
fn an_error_during_shutdown_is_reported(ctx: &Ctx) {
    let reports = Reports::default();
    let mut runner = start(reports.builder(ctx.builder()));
    let value = runner.run(async {
        let stubborn = async {
            catch_cancel(pending::<()>()).await.expect_err("it is cancelled at the end");
            fail("while cleaning up").await
        };
        named("left").create_task(stubborn).detach();
        yield_now().await;
        7
    });
    assert_eq!(value.expect("main is fine"), 7);
    runner.close().expect("it ends");
    assert_eq!(
        reports.take(),
        ["task 'left': it failed while the run was ending, and nobody awaited it: while cleaning up"]
    );
}

/// What `run` throws.
fn thrown(runner: &mut Runner, main: impl Future<Output = ()>) -> String {
    let payload = catch_unwind(AssertUnwindSafe(|| runner.run(main))).expect_err("a panic ends the run");
    payload.downcast_ref::<&str>().expect("the payload itself").to_string()
}

/// TASK-12
fn a_panic_may_end_the_run(ctx: &Ctx) {
    let (reports, log) = (Reports::default(), Log::new());
    let mut runner = start(reports.builder(ctx.builder()).on_panic(PanicPolicy::Propagate));
    let (main_dropped, other) = (log.clone(), log.clone());
    let text = thrown(&mut runner, async {
        let _guard = OnDrop(move || main_dropped.push("main was dropped"));
        named("bad").create_task(async { panic!("as planned") }).detach();
        create_task(async move { other.push("the rest of the batch runs") }).detach();
        pending::<()>().await;
    });
    assert_eq!(text, "as planned");
    assert_eq!(log.all(), ["the rest of the batch runs", "main was dropped"]);
    let said = reports.take();
    assert!(said.len() == 1 && said[0].contains("'bad'"), "who it was stands in the report: {said:?}");
    runner.close().expect("it ends");
}

/// TASK-12: the error keeps the text for whoever holds the handle; a panic at the end goes where it always goes.
fn a_panic_that_ends_the_run_leaves_a_runner_that_works(ctx: &Ctx) {
    let reports = Reports::default();
    let mut runner = start(reports.builder(ctx.builder()).on_panic(PanicPolicy::Propagate));
    let kept = Arc::new(Mutex::new(None::<String>));
    let keep = kept.clone();
    let text = thrown(&mut runner, async {
        let bad = create_task(async { panic!("one") });
        create_task(async move {
            let error = bad.await.map(|(): ()| ()).expect_err("it panicked");
            *keep.lock().expect("no panic") = Some(error.to_string());
        })
        .detach();
        let another = create_task(async { panic!("two") });
        create_task(async move { drop(another.await.map(|(): ()| ())) }).detach();
        pending::<()>().await;
    });
    assert_eq!(text, "one", "the first");
    runner.run(turns(3)).expect("it runs on");
    assert_eq!(kept.lock().expect("no panic").as_deref(), Some("the task panicked: one"));
    let text = thrown(&mut runner, async { panic!("main") });
    assert_eq!(text, "main");
    runner
        .run(async {
            create_task(async {
                let _ = catch_cancel(pending::<()>()).await;
                panic!("at the end");
            })
            .detach();
            yield_now().await;
        })
        .expect("it runs");
    runner.close().expect("it ends");
    let said = reports.take();
    assert!(said.len() == 1 && said[0].contains("at the end"), "{said:?}");
}

/// TASK-12
fn a_panic_of_a_groups_child_or_a_callback_may_end_the_run(ctx: &Ctx) {
    let mut runner = start(Reports::default().builder(ctx.builder()).on_panic(PanicPolicy::Propagate));
    let text = thrown(&mut runner, async {
        let group = task_group(async |group| {
            group.create_task(async { if true { panic!("a child") } else { io::Result::Ok(()) } });
            pending::<io::Result<()>>().await
        });
        drop(group.await);
    });
    assert_eq!(text, "a child");
    let text = thrown(&mut runner, async {
        ringloop::current().call_soon(|| panic!("a callback"));
        pending::<()>().await;
    });
    assert_eq!(text, "a callback");
    runner.close().expect("it ends");
}

/// TASK-12, the default
fn by_default_a_panic_ends_no_run(ctx: &Ctx) {
    let reports = Reports::default();
    run_on(reports.builder(ctx.builder()), async {
        create_task(async { panic!("as planned") }).detach();
        turns(3).await;
    });
    assert_eq!(reports.take().len(), 1);
}
