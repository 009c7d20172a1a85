//! A cancel request that reaches a task which waits for others: one table of all that can be waited with, one driver.
//!
//! Whatever stands between: either those who are waited for clean up to their end before the waiter ends, or they are left
//! alone, or they are told and the waiter does not wait. The same below wakers that are not the task's own.

use crate::harness::probes::Log;
use crate::harness::{Ctx, Trial};
use crate::once;
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture};
use futures_util::stream::FuturesUnordered;
use ringloop::{
    AllCompleted, Task, TaskSet, all_tasks, as_completed, catch_cancel, create_task, gather, gather_settled,
    join, join_all, now, resume_cancel, select, sleep, staggered_race, task_group, timeout, wait, wait_for,
};
use std::future::pending;
use std::io;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(a_request_to_a_waiter_ends_as_its_way_of_waiting_says),
    once!(a_request_that_is_swallowed_below_may_be_over),
];

/// Makes what is waited for: it never ends by itself; when it is asked to end it cleans up for a second.
#[derive(Clone)]
struct Child {
    /// Who has cleaned up.
    log: Log<()>,
    /// Gives a value then, instead of ending cancelled.
    swallows: bool,
}

const CLEAN_UP: Duration = Duration::from_secs(1);

impl Child {
    fn new(swallows: bool) -> Self {
        Child { log: Log::new(), swallows }
    }

    fn future(&self) -> LocalBoxFuture<'static, io::Result<u8>> {
        let Child { log, swallows } = self.clone();
        Box::pin(async move {
            catch_cancel(pending::<()>()).await.expect_err("it is asked to end");
            sleep(CLEAN_UP).await;
            log.push(());
            if swallows { Ok(7) } else { resume_cancel().await }
        })
    }

    fn task(&self) -> Task<io::Result<u8>> {
        create_task(self.future())
    }
}

/// What becomes of those who are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// They are asked to end, and waited for.
    Awaited,
    /// They are asked to end.
    Told,
    /// They run on.
    Left,
}

/// A way of waiting for one child or more.
struct Way {
    name: &'static str,
    wait: fn(Child) -> LocalBoxFuture<'static, ()>,
    fate: Fate,
    /// How the request ends that the children have taken.
    ends: Ends,
}

/// What becomes of a request that those who are waited for have taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    /// It goes on outward, whatever they ended with.
    Outward,
    /// It goes on outward if they ended cancelled; a value is the waiter's value.
    WithThem,
    /// The waiter goes on with whatever they ended with.
    Here,
}

const fn way(
    name: &'static str,
    fate: Fate,
    ends: Ends,
    wait: fn(Child) -> LocalBoxFuture<'static, ()>,
) -> Way {
    Way { name, wait, fate, ends }
}

/// All of them.
const WAYS: &[Way] = &[
    way("Task", Fate::Awaited, Ends::Here, |child| child.task().map(drop).boxed_local()),
    way("Task::flatten", Fate::Awaited, Ends::Here, |child| child.task().flatten().map(drop).boxed_local()),
    way("Task::abort_on_drop", Fate::Awaited, Ends::Here, |child| {
        child.task().abort_on_drop().map(drop).boxed_local()
    }),
    way("Task::shield", Fate::Left, Ends::Outward, |child| child.task().shield().map(drop).boxed_local()),
    way("gather", Fate::Awaited, Ends::Outward, |child| {
        gather([child.future(), child.future()]).map(drop).boxed_local()
    }),
    way("gather!", Fate::Awaited, Ends::Outward, |child| {
        gather!(child.future(), child.future()).map(drop).boxed_local()
    }),
    way("gather of tasks", Fate::Awaited, Ends::Outward, |child| {
        gather([child.task().flatten(), child.task().flatten()]).map(drop).boxed_local()
    }),
    way("a shielded gather", Fate::Left, Ends::Outward, |child| {
        create_task(gather([child.future(), child.future()])).shield().map(drop).boxed_local()
    }),
    way("gather_settled", Fate::Awaited, Ends::Outward, |child| {
        gather_settled([child.task(), child.task()]).map(drop).boxed_local()
    }),
    way("join!", Fate::Awaited, Ends::WithThem, |child| {
        join!(child.future(), child.future()).map(drop).boxed_local()
    }),
    way("join! of tasks", Fate::Awaited, Ends::Here, |child| {
        join!(child.task(), child.task()).map(drop).boxed_local()
    }),
    way("join_all", Fate::Awaited, Ends::WithThem, |child| {
        join_all([child.future(), child.future()]).map(drop).boxed_local()
    }),
    way("staggered_race", Fate::Awaited, Ends::WithThem, |child| {
        let attempts = [child.clone(), child].map(|child| move || child.future());
        staggered_race(attempts, Duration::from_micros(100)).map(drop).boxed_local()
    }),
    way("select!", Fate::Awaited, Ends::WithThem, |child| {
        Box::pin(async move {
            select! {
                _ = child.future() => {}
                _ = child.future() => {}
            }
        })
    }),
    way("timeout", Fate::Awaited, Ends::WithThem, |child| {
        timeout(Duration::from_secs(60), child.future()).map(drop).boxed_local()
    }),
    way("wait_for", Fate::Awaited, Ends::WithThem, |child| {
        wait_for(child.task(), Duration::from_secs(60)).map(drop).boxed_local()
    }),
    way("task_group", Fate::Awaited, Ends::Outward, |child| {
        Box::pin(async move {
            let group = task_group(async |group| {
                group.create_task(child.future());
                child.future().await
            });
            drop(group.await);
        })
    }),
    way("wait", Fate::Left, Ends::Outward, |child| {
        wait([child.task(), child.task()], AllCompleted).map(drop).boxed_local()
    }),
    way("as_completed", Fate::Left, Ends::Outward, |child| {
        Box::pin(async move { drop(as_completed([child.task(), child.task()]).next().await) })
    }),
    way("TaskSet", Fate::Told, Ends::Outward, |child| {
        Box::pin(async move {
            let mut set = TaskSet::from_iter([child.task(), child.task()]);
            drop(set.next().await);
        })
    }),
];

/// Begins to wait, by the task's own waker or below one that is not.
fn begin(way: &Way, child: &Child, below: bool) -> Task<()> {
    let waiting = (way.wait)(child.clone());
    create_task(async move {
        if below {
            FuturesUnordered::from_iter([waiting, pending().boxed_local()]).next().await;
        } else {
            waiting.await;
        }
    })
}

/// CANCEL-11, CANCEL-12, GATHER-07, GATHER-08, SHIELD-05, WAIT-11, WAITFOR-08, TG-06
fn a_request_to_a_waiter_ends_as_its_way_of_waiting_says(ctx: &Ctx) {
    ctx.run_paused(async {
        for way in WAYS {
            for below in [false, true] {
                let name = format!("{}, below another waker: {below}", way.name);
                eprintln!("{name}");
                let child = Child::new(false);
                let task = begin(way, &child, below);
                sleep(Duration::from_millis(1)).await;
                let children = all_tasks().len();
                let asked = now();
                task.cancel();
                let end = task.await;
                assert_eq!(end.is_ok(), way.ends == Ends::Here, "{name}: {end:?}");
                assert!(end.err().is_none_or(|error| error.is_cancelled()), "{name}");
                let waited = now() - asked;
                match way.fate {
                    Fate::Awaited => {
                        assert_eq!(waited, CLEAN_UP, "{name}");
                        assert!(child.log.len() > 0, "{name}");
                        assert_eq!(all_tasks().len(), 1, "{name}: all have ended");
                    }
                    Fate::Told => {
                        assert!(waited.is_zero(), "{name}");
                        assert_eq!(child.log.len(), 0, "{name}");
                        sleep(CLEAN_UP * 2).await;
                        assert!(child.log.len() > 0, "{name}");
                        assert_eq!(all_tasks().len(), 1, "{name}: all have ended");
                    }
                    Fate::Left => {
                        assert!(waited.is_zero(), "{name}");
                        sleep(CLEAN_UP * 2).await;
                        assert_eq!(child.log.len(), 0, "{name}: nobody was asked to end");
                        assert_eq!(all_tasks().len(), children - 1, "{name}: only the waiter has ended");
                        end_all_others().await;
                    }
                }
            }
        }
    });
}

/// CANCEL-07, CANCEL-13, WAITFOR-10, GATHER-08
fn a_request_that_is_swallowed_below_may_be_over(ctx: &Ctx) {
    ctx.run_paused(async {
        for way in WAYS.iter().filter(|way| way.fate == Fate::Awaited) {
            for below in [false, true] {
                let name = format!("{}, below another waker: {below}", way.name);
                eprintln!("{name}");
                let task = begin(way, &Child::new(true), below);
                sleep(Duration::from_millis(1)).await;
                let asked = now();
                task.cancel();
                let end = task.await;
                assert_eq!(now() - asked, CLEAN_UP, "{name}");
                assert_eq!(end.is_ok(), way.ends != Ends::Outward, "{name}: {end:?}");
            }
            assert_eq!(all_tasks().len(), 1, "{}", way.name);
        }
    });
}

/// Those who were left alone, and whoever waits for them.
async fn end_all_others() {
    for task in all_tasks().iter().filter(|task| &*task.name() != "main") {
        task.abort();
    }
    sleep(Duration::from_millis(1)).await;
    assert_eq!(all_tasks().len(), 1);
}
