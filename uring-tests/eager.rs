//! Eager tasks: the first step runs inside of `create_task`.

use crate::harness::kinds::turns;
use crate::harness::probes::{Log, once_pending};
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::{
    TaskBuilder, all_tasks, catch_cancel, create_task, current_task, resume_cancel, sleep, timeout,
};
use std::future::pending;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(an_eager_task_returns_to_its_creator_at_its_first_suspension),
    once!(an_eager_task_that_does_not_suspend_is_done_at_once),
    once!(a_cancel_after_the_eager_step_arrives_with_its_reason),
    once!(the_current_task_is_the_eager_one_during_its_step_only),
    once!(all_tasks_has_an_eager_task_from_its_first_step_to_its_end),
    once!(an_eager_task_made_under_a_time_limit_is_not_limited),
];

fn eager() -> TaskBuilder {
    TaskBuilder::new().eager()
}

/// EAGER-02
fn an_eager_task_returns_to_its_creator_at_its_first_suspension(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let task = eager().name("eager").create_task({
            let log = log.clone();
            async move {
                log.push("first step");
                sleep(Duration::from_secs(1)).await;
                log.push("later");
                7
            }
        });
        log.push("creator");
        assert_eq!(&*task.name(), "eager");
        assert_eq!(task.await.expect("no panic"), 7);
        assert_eq!(log.all(), ["first step", "creator", "later"]);
    });
}

fn an_eager_task_that_does_not_suspend_is_done_at_once(ctx: &Ctx) {
    ctx.run(async {
        let mut value = eager().create_task(async { 7 });
        assert!(value.is_done() && all_tasks().len() == 1);
        assert_eq!(value.try_result().expect("it is done").expect("no panic"), 7);
        let mut panicked = eager().create_task(async { panic!("the payload") });
        let end: Result<(), ringloop::JoinError> = panicked.try_result().expect("it is done");
        let payload = end.expect_err("it panicked").into_panic();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"the payload"));
        // None of the two has cost a turn.
        let log = Log::new();
        create_task({
            let log = log.clone();
            async move { log.push("another task") }
        })
        .detach();
        eager().create_task(async {}).await.expect("no panic");
        assert_eq!(log.len(), 0);
        turns(2).await;
        assert_eq!(log.len(), 1);
    });
}

/// EAGER-04
fn a_cancel_after_the_eager_step_arrives_with_its_reason(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let task = eager().create_task({
            let log = log.clone();
            async move {
                let own = current_task().expect("this runs in a task");
                catch_cancel(pending::<()>()).await.expect_err("it is cancelled");
                log.push(own.cancelling());
                resume_cancel().await
            }
        });
        assert!(task.cancel_with("enough"));
        assert_eq!(task.cancelling(), 1);
        let error = task.await.map(|never: ()| never).expect_err("it was cancelled");
        assert_eq!((error.is_cancelled(), error.reason()), (true, Some("enough")));
        assert_eq!(log.all(), [1]);
    });
}

/// EAGER-05
fn the_current_task_is_the_eager_one_during_its_step_only(ctx: &Ctx) {
    ctx.run(async {
        let own = current_task().expect("this runs in a task");
        let task = eager().create_task(async {
            let outer = current_task().expect("this runs in a task");
            let nested = eager().create_task(async {
                let before = current_task().expect("this runs in a task");
                once_pending().await;
                current_task().is_some_and(|now| now.same(&before)).then_some(before)
            });
            assert!(current_task().is_some_and(|now| now.same(&outer)));
            (outer, nested.await.expect("no panic").expect("the same task in both steps"))
        });
        assert!(current_task().is_some_and(|now| now.same(&own)));
        let (name, (outer, nested)) = (task.task_ref(), task.await.expect("no panic"));
        assert!(outer.same(&name) && !nested.same(&name) && !nested.same(&own));
        assert!(current_task().is_some_and(|now| now.same(&own)));
    });
}

/// EAGER-06
fn all_tasks_has_an_eager_task_from_its_first_step_to_its_end(ctx: &Ctx) {
    ctx.run(async {
        let names = || all_tasks().iter().map(|task| task.name().to_string()).collect::<Vec<_>>();
        let task = eager().name("eager").create_task(async move {
            let first = names();
            once_pending().await;
            (first, names())
        });
        assert_eq!(names(), ["main", "eager"], "it is not over");
        let (first, later) = task.await.expect("no panic");
        assert_eq!(first, ["main", "eager"]);
        assert_eq!(later, first);
        assert_eq!(names(), ["main"]);
        let over = eager().create_task(async move { names() });
        assert_eq!(names(), ["main"], "it is over");
        assert_eq!(over.await.expect("no panic").len(), 2);
    });
}

/// The limit is its creator's: it neither ends the new task nor is it taken by that.
fn an_eager_task_made_under_a_time_limit_is_not_limited(ctx: &Ctx) {
    ctx.run_paused(async {
        let made = timeout(Duration::ZERO, async {
            let task = eager().create_task(async {
                sleep(Duration::from_secs(1)).await;
                "lives"
            });
            sleep(Duration::from_secs(9)).await;
            task
        });
        made.await.map(drop).expect_err("the limit was zero");
        assert_eq!(all_tasks().len(), 2, "the root, and the task, which is detached");
        let task = eager().create_task(async {
            sleep(Duration::from_secs(2)).await;
            all_tasks().len()
        });
        assert_eq!(task.await.expect("no panic"), 2, "the other one has ended");
    });
}
