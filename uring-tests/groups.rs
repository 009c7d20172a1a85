//! Task groups: children that end before the block that made them does.

use crate::harness::kinds::turns;
use crate::harness::probes::{Drops, Gate, Log, once_pending};
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::{
    ChildFailed, GroupError, TaskBuilder, TaskGroup, all_tasks, catch_cancel, create_task, now,
    resume_cancel, sleep, task_group, timeout, uncancellable,
};
use std::future::pending;
use std::io;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(a_group_ends_after_its_children),
    once!(children_made_while_the_body_runs_are_awaited),
    once!(a_child_cancelled_on_purpose_is_no_failure),
    once!(a_failing_child_ends_its_siblings_and_is_reported),
    once!(a_failing_child_ends_the_body_at_its_await),
    once!(a_cancelled_group_ends_its_children_first),
    once!(a_failure_in_the_clean_up_is_reported_and_the_cancel_comes_next),
    once!(groups_nest_and_so_do_their_errors),
    once!(the_body_may_turn_a_cancel_into_an_error),
    once!(errors_of_body_and_children_come_together),
    once!(one_error_for_all_is_an_error_else_a_panic),
    once!(a_body_that_ends_its_group_in_its_first_poll_is_ended_at_its_await),
    once!(ended_children_leave_the_group),
    once!(children_make_children_after_the_body_has_ended),
    once!(a_group_that_always_makes_children_ends_when_one_fails),
    once!(a_closed_group_refuses_children),
    once!(a_timeout_round_a_cancelled_group_strikes),
    once!(a_failure_in_the_clean_up_beats_the_timeout),
    once!(children_have_names),
    once!(a_panic_of_a_child_is_among_the_failures),
    once!(a_panic_of_the_body_waits_for_the_children),
    once!(a_value_wins_over_a_cancel_in_the_same_turn),
    once!(a_section_in_the_body_is_not_interrupted),
    once!(a_dropped_group_cancels_its_children),
    once!(the_body_borrows),
];

type Answer<T> = Result<T, &'static str>;

async fn after(seconds: u64, end: Answer<u64>) -> Answer<u64> {
    sleep(Duration::from_secs(seconds)).await;
    end
}

/// Never ends by itself; when it is cancelled it cleans up for a second, notes that, and ends as told.
async fn cleaning(log: Log<&'static str>, end: Option<Answer<u64>>) -> Answer<u64> {
    if catch_cancel(pending::<()>()).await.is_ok() {
        return Ok(0);
    }
    sleep(Duration::from_secs(1)).await;
    log.push("cleaned");
    match end {
        Some(end) => end,
        None => resume_cancel().await,
    }
}

fn alone() -> usize {
    all_tasks().len()
}

/// TG-01
fn a_group_ends_after_its_children(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let sum = task_group(async |group| {
            let one = group.create_task(after(1, Ok(1)));
            let two = group.create_task(after(2, Ok(2)));
            drop(group.create_task(after(3, Ok(3))));
            Answer::Ok((one, two))
        });
        let (one, two) = sum.await.expect("none fails");
        assert_eq!((now() - start, alone()), (Duration::from_secs(3), 1));
        assert_eq!((one.await, two.await), (Ok(1), Ok(2)));
    });
}

/// TG-02
fn children_made_while_the_body_runs_are_awaited(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let ended = task_group(async |group| {
            group.create_task(after(1, Ok(1)));
            sleep(Duration::from_secs(2)).await;
            group.create_task(after(2, Ok(2)));
            Answer::Ok(group.len())
        });
        assert_eq!(ended.await.expect("none fails"), 1);
        assert_eq!(now() - start, Duration::from_secs(4));
    });
}

/// TG-03
fn a_child_cancelled_on_purpose_is_no_failure(ctx: &Ctx) {
    ctx.run_paused(async {
        let ended = task_group(async |group| {
            let stopped = group.create_task(after(60, Ok(1)));
            let other = group.create_task(after(2, Ok(2)));
            sleep(Duration::from_secs(1)).await;
            stopped.task_ref().expect("it is a child").cancel();
            Answer::Ok((stopped.await, other.await))
        });
        assert!(matches!(ended.await.expect("none fails"), (Err(ChildFailed { .. }), Ok(2))));
    });
}

/// TG-04
fn a_failing_child_ends_its_siblings_and_is_reported(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, log) = (now(), Log::new());
        let ended = task_group(async |group| {
            group.create_task(cleaning(log.clone(), None));
            group.create_task(after(2, Err("two")));
            group.create_task(cleaning(log.clone(), Some(Err("in the clean-up"))));
            group.create_task(after(60, Ok(60)));
            Answer::Ok(())
        });
        let error = ended.await.expect_err("two fail");
        assert_eq!((error.errors, error.panics.len()), (vec!["two", "in the clean-up"], 0));
        assert_eq!((now() - start, alone()), (Duration::from_secs(3), 1));
        assert_eq!(log.len(), 2, "every clean-up was awaited");
    });
}

/// TG-05
fn a_failing_child_ends_the_body_at_its_await(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let ended = task_group(async |group| -> Answer<()> {
            group.create_task(after(1, Err("one")));
            let cleaned = catch_cancel(sleep(Duration::from_secs(60))).await;
            log.push(if cleaned.is_err() { "cancelled" } else { "slept" });
            resume_cancel().await
        });
        assert_eq!(ended.await.expect_err("one fails").errors, ["one"]);
        assert_eq!(log.all(), ["cancelled"]);
        // And the task itself was not cancelled.
        sleep(Duration::from_secs(1)).await;
    });
}

/// TG-06, TG-24
fn a_cancelled_group_ends_its_children_first(ctx: &Ctx) {
    for children in [0, 3] {
        ctx.run_paused(async {
            let log = Log::new();
            let noting = log.clone();
            let task = create_task(async move {
                let ended = task_group(async |group| {
                    for _ in 0..children {
                        group.create_task(cleaning(noting.clone(), None));
                    }
                    pending::<Answer<()>>().await
                });
                let _ = ended.await;
                noting.push("went on");
            });
            turns(2).await;
            task.cancel();
            assert!(task.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!((log.len(), alone()), (children, 1));
        });
    }
}

/// TG-07, TG-19
fn a_failure_in_the_clean_up_is_reported_and_the_cancel_comes_next(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let noting = log.clone();
        let task = create_task(async move {
            let ended = task_group(async |group| {
                group.create_task(cleaning(noting.clone(), Some(Err("in the clean-up"))));
                pending::<Answer<()>>().await
            });
            assert_eq!(ended.await.expect_err("it fails").errors, ["in the clean-up"]);
            assert_eq!(ringloop::current_task().expect("a task").cancelling(), 1);
            noting.push("reported");
            sleep(Duration::from_secs(60)).await;
            noting.push("too far");
        });
        turns(2).await;
        task.cancel();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(log.all(), ["cleaned", "reported"]);
    });
}

/// TG-09
fn groups_nest_and_so_do_their_errors(ctx: &Ctx) {
    ctx.run_paused(async {
        let outer = task_group(async |group: TaskGroup<GroupError<&'static str>>| {
            let child = group.create_task(async {
                task_group(async |group| {
                    group.create_task(after(1, Err("inner")));
                    Answer::Ok(())
                })
                .await
            });
            assert!(matches!(child.await, Err(ChildFailed { .. })));
            Ok(())
        });
        let error = outer.await.expect_err("the inner one fails");
        assert_eq!(error.errors.len(), 1);
        assert_eq!(error.first().and_then(GroupError::first), Some("inner"));
    });
}

/// TG-11
fn the_body_may_turn_a_cancel_into_an_error(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let noting = log.clone();
        let task = create_task(async move {
            let ended = task_group(async |_group: TaskGroup<&'static str>| {
                catch_cancel(pending::<()>()).await.map_err(|_| "cancelled, as an error")
            });
            let error = ended.await.expect_err("the body's");
            assert_eq!(error.errors, ["cancelled, as an error"]);
            noting.push("reported");
            pending::<()>().await;
        });
        turns(2).await;
        task.cancel();
        assert!(task.await.is_err_and(|error| error.is_cancelled()), "the request is still there");
        assert_eq!(log.all(), ["reported"]);
    });
}

/// TG-12
fn errors_of_body_and_children_come_together(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let ended = task_group(async |group| {
            group.create_task(cleaning(log.clone(), Some(Err("child"))));
            sleep(Duration::from_secs(1)).await;
            Answer::<()>::Err("body")
        });
        assert_eq!(ended.await.expect_err("both").errors, ["body", "child"]);
    });
}

/// `GroupError::flatten`, for callers with the children's kind of error.
fn one_error_for_all_is_an_error_else_a_panic(ctx: &Ctx) {
    ctx.run_paused(async {
        let both = task_group(async |group| {
            group.create_task(async {
                let _ = catch_cancel(pending::<()>()).await;
                io::Result::<()>::Err(io::Error::other("a child fails as it ends"))
            });
            group.create_task(async { panic!("a child panics") as io::Result<()> });
            Ok(())
        });
        let error = both.await.expect_err("both fail");
        assert_eq!((error.errors.len(), error.panics.len()), (1, 1));
        assert_eq!(error.flatten().to_string(), "a child fails as it ends");

        let panics = task_group(async |group| {
            group.create_task(async { panic!("a child panics") as io::Result<()> });
            Ok(())
        });
        let error = panics.await.expect_err("it panics").flatten();
        assert!(error.to_string().contains("a child panics"), "{error}");
    });
}

/// Nobody watches the group before its body was polled once.
fn a_body_that_ends_its_group_in_its_first_poll_is_ended_at_its_await(ctx: &Ctx) {
    ctx.run_paused(async {
        let cancelled = task_group(async |group: TaskGroup<io::Error>| {
            group.cancel();
            pending::<io::Result<()>>().await
        });
        let error = cancelled.await.expect_err("it gives no value");
        assert_eq!((error.errors.len(), error.panics.len()), (0, 0));
        assert!(error.flatten().to_string().contains("its task group was cancelled"));

        let failed = task_group(async |group| {
            TaskBuilder::new().eager().create_task_in(&group, async { Answer::<()>::Err("at once") });
            pending::<Answer<()>>().await
        });
        assert_eq!(failed.await.expect_err("the child fails").errors, ["at once"]);

        // Again in a poll that the group itself has asked for.
        let failed = task_group(async |group| {
            group.create_task(after(1, Ok(1))).await.expect("it does not fail");
            TaskBuilder::new().eager().create_task_in(&group, async { Answer::<()>::Err("at once") });
            pending::<Answer<()>>().await
        });
        assert_eq!(failed.await.expect_err("the child fails").errors, ["at once"]);
    });
}

/// TG-14
fn ended_children_leave_the_group(ctx: &Ctx) {
    ctx.run(async {
        let drops = Drops::new();
        let ended = task_group(async |group| {
            for count in 1..=1000 {
                let token = drops.token();
                let child = group.create_task(async move {
                    let _token = token;
                    Answer::Ok(())
                });
                child.await.expect("it does not fail");
                assert_eq!((group.len(), drops.count()), (0, count));
            }
            Answer::Ok(())
        });
        ended.await.expect("none fails");
    });
}

/// TG-15
fn children_make_children_after_the_body_has_ended(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, log) = (now(), Log::new());
        async fn generation(left: u64, group: TaskGroup<&'static str>, log: Log<u64>) -> Answer<()> {
            sleep(Duration::from_secs(1)).await;
            log.push(left);
            if left > 0 {
                group.create_task(Box::pin(generation(left - 1, group.clone(), log)));
            }
            Ok(())
        }
        let ended = task_group(async |group| {
            group.create_task(generation(3, group.clone(), log.clone()));
            Answer::Ok(())
        });
        ended.await.expect("none fails");
        assert_eq!((log.all(), now() - start), (vec![3, 2, 1, 0], Duration::from_secs(4)));
    });
}

/// TG-16
fn a_group_that_always_makes_children_ends_when_one_fails(ctx: &Ctx) {
    ctx.run(async {
        async fn endless(group: TaskGroup<&'static str>) -> Answer<()> {
            once_pending().await;
            group.create_task(Box::pin(endless(group.clone())));
            Ok(())
        }
        let ended = task_group(async |group| {
            group.create_task(endless(group.clone()));
            group.create_task(async {
                turns(5).await;
                Answer::<()>::Err("enough")
            });
            Answer::Ok(())
        });
        assert_eq!(ended.await.expect_err("enough").errors, ["enough"]);
        assert_eq!(alone(), 1);
    });
}

/// TG-17
fn a_closed_group_refuses_children(ctx: &Ctx) {
    ctx.run_paused(async {
        let drops = Drops::new();
        let refused = |group: &TaskGroup<&'static str>| {
            let token = drops.token();
            group.try_create_task(async move {
                let _token = token;
                Answer::Ok(())
            })
        };
        let mut kept = None;
        let ended = task_group(async |group| {
            kept = Some(group.clone());
            group.create_task(async { Answer::<()>::Err("closes it") });
            let _ = catch_cancel(pending::<()>()).await;
            // While it is ending.
            assert!(refused(&group).is_err());
            assert!(matches!(group.create_task(async { Ok(1) }).await, Err(ChildFailed { .. })));
            Ok(())
        });
        ended.await.expect_err("it fails");
        let group = kept.expect("the body ran");
        assert!(refused(&group).is_err(), "and when it is over");
        let token = drops.token();
        let child = group.create_task(async move {
            drop(token);
            Ok(())
        });
        assert_eq!(drops.count(), 3, "what is refused is dropped at once");
        assert!(matches!(child.await, Err(ChildFailed { .. })));
    });
}

/// TG-22
fn a_timeout_round_a_cancelled_group_strikes(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let ended = timeout(
            Duration::from_millis(1500),
            task_group(async |group| {
                group.create_task(cleaning(log.clone(), None));
                sleep(Duration::from_secs(1)).await;
                group.cancel();
                pending::<Answer<()>>().await
            }),
        );
        assert!(ended.await.is_err(), "the limit came during the clean-up");
        assert_eq!(alone(), 1);

        // Without a limit there is a group error, and no error in it.
        let ended = task_group(async |group| {
            group.create_task(cleaning(log.clone(), None));
            sleep(Duration::from_secs(1)).await;
            group.cancel();
            pending::<Answer<()>>().await
        });
        let error = ended.await.expect_err("the body has no value");
        assert!(error.errors.is_empty() && error.panics.is_empty());
        // A body that has its value keeps it.
        let ended = task_group(async |group| {
            group.create_task(cleaning(log.clone(), None));
            sleep(Duration::from_secs(1)).await;
            group.cancel();
            Answer::Ok(7)
        });
        assert_eq!(ended.await.expect("it was there"), 7);
    });
}

/// TIMEOUT-20
fn a_failure_in_the_clean_up_beats_the_timeout(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let ended = timeout(
            Duration::from_secs(1),
            task_group(async |group| {
                group.create_task(cleaning(log.clone(), Some(Err("in the clean-up"))));
                pending::<Answer<()>>().await
            }),
        );
        let error = ended.await.expect("the group's end wins").expect_err("it fails");
        assert_eq!(error.errors, ["in the clean-up"]);
        // Nothing of the limit's own request is left.
        sleep(Duration::from_secs(5)).await;
    });
}

/// TG-23
fn children_have_names(ctx: &Ctx) {
    ctx.run(async {
        let ended = task_group(async |group| {
            let child = TaskBuilder::new().name("reader").create_task_in(&group, async {
                Answer::Ok(ringloop::current_task().expect("a task").name().to_string())
            });
            Ok(child.await)
        });
        assert_eq!(ended.await.expect("none fails").as_deref(), Ok("reader"));
    });
}

fn a_panic_of_a_child_is_among_the_failures(ctx: &Ctx) {
    ctx.run_paused(async {
        let ended = task_group(async |group| {
            group.create_task(async {
                sleep(Duration::from_secs(1)).await;
                if true {
                    panic!("as expected");
                }
                Ok(())
            });
            pending::<Answer<()>>().await
        });
        let error = ended.await.expect_err("a panic");
        assert_eq!((error.errors.len(), error.panics.len()), (0, 1));
        assert!(error.panics[0].to_string().contains("as expected"));
    });
}

fn a_panic_of_the_body_waits_for_the_children(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let noting = log.clone();
        let task = create_task(async move {
            let ended = task_group(async |group| {
                group.create_task(cleaning(noting.clone(), None));
                sleep(Duration::from_secs(1)).await;
                if true {
                    panic!("as expected");
                }
                Answer::Ok(())
            });
            ended.await
        });
        assert!(task.await.is_err_and(|error| error.is_panic()));
        assert_eq!((log.all(), alone()), (vec!["cleaned"], 1));
    });
}

fn a_value_wins_over_a_cancel_in_the_same_turn(ctx: &Ctx) {
    ctx.run_paused(async {
        let (gate, log) = (Gate::new(), Log::new());
        let (passed, noting) = (gate.clone(), log.clone());
        let task = create_task(async move {
            let ended = task_group(async |_group: TaskGroup<&'static str>| {
                passed.pass().await;
                Ok(3)
            });
            assert_eq!(ended.await.expect("none fails"), 3);
            noting.push("value");
            sleep(Duration::from_secs(1)).await;
            noting.push("too far");
        });
        turns(2).await;
        gate.open();
        task.cancel();
        assert!(task.await.is_err_and(|error| error.is_cancelled()), "the next await is hit");
        assert_eq!(log.all(), ["value"]);
    });
}

fn a_section_in_the_body_is_not_interrupted(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let ended = task_group(async |group| {
            group.create_task(after(1, Err("one")));
            uncancellable(sleep(Duration::from_secs(3))).await;
            log.push("committed");
            sleep(Duration::from_secs(60)).await;
            log.push("too far");
            Ok(())
        });
        assert_eq!(ended.await.expect_err("one fails").errors, ["one"]);
        assert_eq!(log.all(), ["committed"]);
    });
}

fn a_dropped_group_cancels_its_children(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        {
            let group = Box::pin(task_group(async |group| {
                group.create_task(cleaning(log.clone(), None));
                pending::<Answer<()>>().await
            }));
            let gone = futures_util::future::select(group, Box::pin(sleep(Duration::from_secs(1)))).await;
            drop(gone);
        }
        sleep(Duration::from_secs(2)).await;
        assert_eq!((log.all(), alone()), (vec!["cleaned"], 1));
    });
}

fn the_body_borrows(ctx: &Ctx) {
    ctx.run(async {
        let mut names = vec![String::from("a")];
        let ended = task_group(async |group| {
            let child = group.create_task(async { Answer::Ok(String::from("b")) });
            names.push(child.await.map_err(|_| "failed")?);
            Ok(names.len())
        });
        assert_eq!(ended.await.expect("none fails"), 2);
        assert_eq!(names, ["a", "b"]);
    });
}
