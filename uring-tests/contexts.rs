//! Context variables: each task has its own, and so has all that runs for it, on this thread or another.

use crate::harness::kinds::{start, turns};
use crate::harness::probes::{Log, OnDrop, once_pending};
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use futures_util::FutureExt;
use ringloop::{
    Cancelled, Context, TaskBuilder, TaskSet, ThreadPool, catch_cancel, context_var, create_task, current,
    current_task, fs, gather, join, now, run_in_executor, select, sleep, task_group, timeout, to_thread,
    yield_now,
};
use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(a_hundred_tasks_keep_their_values_apart),
    io!(a_value_stays_over_awaits_of_any_kind),
    once!(a_task_begins_with_its_creators_values_and_changes_only_its_own),
    once!(all_ways_to_make_a_task_hand_the_values_on),
    once!(tasks_may_share_one_context),
    once!(a_tasks_context_is_the_one_it_was_given),
    once!(an_eager_task_changes_its_own_values_only),
    once!(a_done_callback_runs_in_a_copy_of_its_own),
    once!(a_call_runs_in_a_copy_or_in_the_context_it_names),
    once!(a_timed_call_runs_in_a_copy_of_the_time_when_it_was_asked_for_or_in_the_context_it_names),
    once!(a_call_from_another_thread_brings_the_callers_values),
    once!(a_token_undoes_a_set_in_its_own_task_only),
    once!(the_exception_handler_runs_in_the_failing_tasks_context),
    once!(the_runs_of_one_runner_share_a_context),
    once!(a_thread_sees_a_copy_and_an_executor_nothing),
    once!(a_job_of_the_pool_leaves_nothing_for_the_next),
    once!(a_loop_on_a_thread_begins_with_what_the_thread_was_given),
    once!(a_scope_is_seen_by_its_future_and_what_that_makes),
    once!(branches_of_one_task_share_its_values_but_not_their_scopes),
    once!(a_scope_that_is_cancelled_or_dropped_restores),
    once!(a_panic_in_a_scope_restores),
];

context_var! {
    static REQUEST: ContextVar<String>;
    static LEVEL: ContextVar<u32> = 0;
}

fn level() -> u32 {
    LEVEL.get().expect("it has a default")
}

async fn later() -> u32 {
    once_pending().await;
    level()
}

/// CTX-03
fn a_hundred_tasks_keep_their_values_apart(ctx: &Ctx) {
    ctx.run_paused(async {
        REQUEST.set("outside".into());
        let tasks: Vec<_> = (0..100u64)
            .map(|number| {
                create_task(async move {
                    assert_eq!(REQUEST.get().as_deref(), Some("outside"));
                    for round in 0..5 {
                        let value = format!("{number}, {round}");
                        REQUEST.set(value.clone());
                        sleep(Duration::from_millis(1 + number * 7 % 5)).await;
                        assert_eq!(REQUEST.get(), Some(value));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no value is another task's");
        }
        assert_eq!(REQUEST.get().as_deref(), Some("outside"));
    });
}

/// CTX-02
fn a_value_stays_over_awaits_of_any_kind(ctx: &Ctx) {
    let path = ctx.file("some", b"bytes");
    ctx.run(async {
        let tasks = [1, 2].map(|number| {
            let path = path.clone();
            create_task(async move {
                LEVEL.set(number);
                fs::read(path).await.expect("it can be read");
                sleep(Duration::from_millis(1)).await;
                to_thread(|| LEVEL.set(9)).await.expect("no panic");
                yield_now().await;
                level()
            })
        });
        let [one, two] = tasks;
        assert_eq!((one.await.expect("no panic"), two.await.expect("no panic")), (1, 2));
        assert_eq!(level(), 0);
    });
}

fn a_task_begins_with_its_creators_values_and_changes_only_its_own(ctx: &Ctx) {
    ctx.run(async {
        LEVEL.set(1);
        let task = create_task(async {
            let begun = level();
            LEVEL.set(10);
            (begun, later().await)
        });
        LEVEL.set(2);
        assert_eq!(task.await.expect("no panic"), (1, 10), "as it was when the task was made");
        assert_eq!(level(), 2);
    });
}

/// TG-23
fn all_ways_to_make_a_task_hand_the_values_on(ctx: &Ctx) {
    ctx.run(async {
        LEVEL.set(1);
        let own = Context::new();
        own.run(|| LEVEL.set(7));
        let fine = || async { Ok::<_, Cancelled>(later().await) };
        assert_eq!(gather([fine(), fine()]).await, Ok(vec![1, 1]));
        assert_eq!(gather!(fine(), fine()).await, Ok((1, 1)));
        assert_eq!(current().create_task(later()).await.expect("no panic"), 1);
        let mut set = TaskSet::new();
        set.create_task(later());
        assert_eq!(set.next().await.expect("there is one").expect("no panic"), 1);
        let ended = task_group(async |group| {
            let child = group.create_task(fine());
            let apart = TaskBuilder::new().context(own.clone()).create_task_in(&group, fine());
            Ok((child.await, apart.await))
        });
        assert_eq!(ended.await.expect("none fails"), (Ok(1), Ok(7)));
        let made = own.run(|| create_task(later()));
        assert_eq!(made.await.expect("no panic"), 7, "its creator is in that context");
    });
}

/// CTX-04
fn tasks_may_share_one_context(ctx: &Ctx) {
    ctx.run(async {
        let shared = Context::new();
        let make = |number: u32| {
            TaskBuilder::new().context(shared.clone()).create_task(async move {
                let found = level();
                LEVEL.set(number);
                yield_now().await;
                (found, level())
            })
        };
        let (first, second) = (make(1), make(2));
        assert_eq!(first.await.expect("no panic"), (0, 2));
        assert_eq!(second.await.expect("no panic"), (1, 2));
        assert_eq!((level(), shared.run(level)), (0, 2));
    });
}

/// INTRO-09
fn a_tasks_context_is_the_one_it_was_given(ctx: &Ctx) {
    ctx.run(async {
        let given = Context::new();
        let task = TaskBuilder::new()
            .context(given.clone())
            .create_task(async { current_task().expect("a task").context() });
        assert!(task.context().same(&given));
        assert!(task.await.expect("no panic").same(&given));
        let task = create_task(async {
            LEVEL.set(1);
            current_task().expect("a task").context()
        });
        let before = task.context();
        let inside = task.await.expect("no panic");
        assert!(inside.same(&before) && inside.run(level) == 1, "also if it had none when it was asked for");
    });
}

/// EAGER-07
fn an_eager_task_changes_its_own_values_only(ctx: &Ctx) {
    ctx.run(async {
        let eager = || {
            TaskBuilder::new().eager().create_task(async {
                let found = level();
                LEVEL.set(10);
                (found, later().await)
            })
        };
        let plain = eager();
        assert_eq!(level(), 0, "the first step has run");
        LEVEL.set(1);
        let inherits = eager();
        assert_eq!(level(), 1);
        let within = Context::new();
        within.run(|| LEVEL.set(2));
        let from_within = within.run(|| (eager(), level()));
        assert_eq!((from_within.1, level()), (2, 1));
        assert_eq!(plain.await.expect("no panic"), (0, 10));
        assert_eq!(inherits.await.expect("no panic"), (1, 10));
        assert_eq!(from_within.0.await.expect("no panic"), (2, 10));
    });
}

/// CTX-02
fn a_done_callback_runs_in_a_copy_of_its_own(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let task = create_task(async {
            LEVEL.set(5);
            yield_now().await;
        });
        LEVEL.set(1);
        let note = log.clone();
        task.on_done(move |_| {
            note.push(level());
            LEVEL.set(9);
        });
        LEVEL.set(2);
        task.await.expect("no panic");
        assert_eq!((log.all(), level()), (vec![1], 2), "as it was when the callback was added");
    });
}

/// CTX-05 for `call_soon`
fn a_call_runs_in_a_copy_or_in_the_context_it_names(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let named = Context::new();
        named.run(|| LEVEL.set(7));
        LEVEL.set(1);
        let note = || {
            let log = log.clone();
            move || {
                log.push(level());
                LEVEL.set(10 + level());
            }
        };
        current().call_soon(note());
        let (runs, call) = (named.clone(), note());
        current().call_soon(move || runs.run(call));
        LEVEL.set(2);
        turns(2).await;
        assert_eq!(log.all(), [1, 7]);
        assert_eq!((level(), named.run(level)), (2, 17));
    });
}

/// CTX-05 for `call_later` and `call_at`
fn a_timed_call_runs_in_a_copy_of_the_time_when_it_was_asked_for_or_in_the_context_it_names(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let named = Context::new();
        named.run(|| LEVEL.set(7));
        let note = || {
            let log = log.clone();
            move || {
                log.push(level());
                LEVEL.set(10 + level());
            }
        };
        let second = Duration::from_secs(1);
        LEVEL.set(1);
        current().call_later(second, note());
        LEVEL.set(2);
        current().call_at(now() + second * 2, note());
        for later in [true, false] {
            let (runs, call) = (named.clone(), note());
            let call = move || runs.run(call);
            match later {
                true => current().call_later(second * 3, call),
                false => current().call_at(now() + second * 4, call),
            };
        }
        LEVEL.set(3);
        sleep(second * 5).await;
        assert_eq!(log.all(), [1, 2, 7, 17], "the named one has what the first call in it has set");
        assert_eq!((level(), named.run(level)), (3, 27));
    });
}

/// CTX-05 for `call_soon_threadsafe`
fn a_call_from_another_thread_brings_the_callers_values(ctx: &Ctx) {
    ctx.run(async {
        LEVEL.set(1);
        let handle = current().handle();
        let (tell, told) = channel();
        let caller = thread::spawn(move || {
            LEVEL.set(5);
            let told_of = tell.clone();
            let call = move || {
                told_of.send(level()).expect("the trial listens");
                LEVEL.set(6);
            };
            handle.call_soon_threadsafe(call).expect("the loop runs");
            let task = handle.run_coroutine_threadsafe(async || {
                LEVEL.set(10 + level());
                later().await
            });
            tell.send(task.wait().expect("no panic")).expect("the trial listens");
            level()
        });
        while !caller.is_finished() {
            turns(1).await;
        }
        assert_eq!(caller.join().expect("no panic"), 5);
        assert_eq!(told.iter().collect::<Vec<_>>(), [5, 15]);
        assert_eq!(level(), 1);
    });
}

/// CTX-06
fn a_token_undoes_a_set_in_its_own_task_only(ctx: &Ctx) {
    ctx.run(async {
        LEVEL.set(1);
        let token = LEVEL.set(2);
        let other = create_task(async move { LEVEL.reset(token).expect_err("another task's") });
        let token = other.await.expect("no panic").into_token();
        yield_now().await;
        LEVEL.reset(token).expect("this task's");
        assert_eq!(level(), 1);
    });
}

/// CTX-07
fn the_exception_handler_runs_in_the_failing_tasks_context(ctx: &Ctx) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let builder = ctx.builder().on_error(move |_| {
        told.lock().expect("nobody panics with it").push(level());
        LEVEL.set(99);
    });
    let mut runner = start(builder);
    let run = runner.run(async {
        LEVEL.set(1);
        create_task(async {
            LEVEL.set(2);
            yield_now().await;
            panic!("as expected");
        })
        .detach();
        current().call_soon(|| panic!("as expected, in a call"));
        create_task(async {
            LEVEL.set(4);
            yield_now().await;
            Err::<u8, _>("as expected, an error")
        })
        .detach_reporting();
        let kept = create_task(async {
            LEVEL.set(3);
            panic!("as expected, with a handle");
        });
        turns(5).await;
        drop::<ringloop::Task<()>>(kept);
        level()
    });
    assert_eq!(run.expect("it is not cancelled"), 1);
    assert_eq!(*seen.lock().expect("nobody panics with it"), [1, 2, 4, 3]);
    runner.close().expect("it closes");
}

/// RUN-09
fn the_runs_of_one_runner_share_a_context(ctx: &Ctx) {
    let mut runner = ctx.runner();
    LEVEL.set(1);
    let first = runner.run(async {
        let found = level();
        LEVEL.set(2);
        (found, current_task().expect("the root").context())
    });
    let (found, context) = first.expect("it is not cancelled");
    assert_eq!((found, level()), (1, 1), "it begins with a copy of the caller's");
    LEVEL.set(3);
    let second = runner.run(async { (later().await, current_task().expect("the root").context()) });
    let (found, same) = second.expect("it is not cancelled");
    assert!(found == 2 && same.same(&context));
    let cancelled = runner.run(async {
        LEVEL.set(4);
        current_task().expect("the root").cancel();
        pending::<()>().await
    });
    assert!(cancelled.is_err());
    assert_eq!(runner.run(later()).expect("it is not cancelled"), 4, "however a run ends");
    runner.close().expect("it closes");
    assert_eq!(ringloop::run(later()).expect("a loop can be made"), 3);
    assert_eq!(level(), 3);
}

/// THREAD-04
fn a_thread_sees_a_copy_and_an_executor_nothing(ctx: &Ctx) {
    let pool = ThreadPool::new("own", 1);
    ctx.run(async {
        LEVEL.set(1);
        let changes = || {
            let found = level();
            LEVEL.set(9);
            found
        };
        let job = to_thread(changes);
        LEVEL.set(2);
        assert_eq!(job.await.expect("no panic"), 1, "as it was when the job was handed over");
        assert_eq!(run_in_executor(&pool, changes).await.expect("no panic"), 0);
        let context = Context::current();
        let carried = run_in_executor(&pool, move || context.run(changes));
        assert_eq!(carried.await.expect("no panic"), 2);
        assert_eq!(level(), 2);
    });
    assert!(pool.join(None));
}

fn a_job_of_the_pool_leaves_nothing_for_the_next(ctx: &Ctx) {
    let pool = ThreadPool::new("one", 1);
    ctx.run(async {
        let thread_and_level = || (thread::current().id(), level());
        let sets = run_in_executor(&pool, move || (LEVEL.set(1), thread_and_level()).1);
        let (first, set) = sets.await.expect("no panic");
        let panics = run_in_executor(&pool, || {
            LEVEL.set(2);
            panic!("as expected");
        });
        assert!(panics.await.is_err_and(|error: ringloop::JoinError| error.is_panic()));
        let (second, found) = run_in_executor(&pool, thread_and_level).await.expect("no panic");
        assert_eq!((first, set, found), (second, 1, 0));
    });
    assert!(pool.join(None));
}

fn a_loop_on_a_thread_begins_with_what_the_thread_was_given(ctx: &Ctx) {
    ctx.run(async {
        LEVEL.set(1);
        let nested = to_thread(|| {
            let inside = ringloop::run(async {
                let found = later().await;
                LEVEL.set(2);
                let child = create_task(later()).await.expect("no panic");
                (found, child)
            });
            (inside.expect("a loop can be made"), level())
        });
        assert_eq!(nested.await.expect("no panic"), ((1, 2), 1));
        assert_eq!(level(), 1);
    });
}

fn a_scope_is_seen_by_its_future_and_what_that_makes(ctx: &Ctx) {
    ctx.run_paused(async {
        let bystander = create_task(async {
            for _ in 0..5 {
                sleep(Duration::from_secs(1)).await;
                assert_eq!(level(), 0);
            }
        });
        let child = LEVEL.scope(1, async {
            sleep(Duration::from_secs(2)).await;
            assert_eq!(level(), 1);
            let inner = LEVEL.scope(2, later()).await;
            assert_eq!((inner, level()), (2, 1));
            create_task(async {
                sleep(Duration::from_secs(2)).await;
                level()
            })
        });
        let child = child.await;
        assert_eq!(level(), 0);
        assert_eq!(child.await.expect("no panic"), 1, "it has a copy, and outlives the scope");
        bystander.await.expect("it saw nothing");
    });
}

fn branches_of_one_task_share_its_values_but_not_their_scopes(ctx: &Ctx) {
    ctx.run(async {
        let scoped = LEVEL.scope(1, async {
            REQUEST.set("of a branch".into());
            let first = later().await;
            LEVEL.set(2);
            (first, later().await)
        });
        let plain = async {
            let first = later().await;
            LEVEL.set(5);
            (first, later().await)
        };
        assert_eq!(join!(scoped, plain).await, ((1, 2), (0, 5)));
        assert_eq!((level(), REQUEST.get().as_deref()), (5, Some("of a branch")));
    });
}

fn a_scope_that_is_cancelled_or_dropped_restores(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let endless = || {
            let note = log.clone();
            LEVEL.scope(1, async move {
                let _at_drop = OnDrop(move || note.push(level()));
                LEVEL.set(2);
                pending::<()>().await
            })
        };
        assert!(timeout(Duration::from_secs(1), endless()).await.is_err());
        assert_eq!((log.len(), level()), (1, 0), "by a timeout");
        select! {
            () = endless() => unreachable!("it never ends"),
            () = sleep(Duration::from_secs(1)) => {}
        }
        assert_eq!((log.len(), level()), (2, 0), "by another branch");
        let endless = endless();
        let task = create_task(async move {
            let caught = catch_cancel(endless).await;
            (caught.is_err(), level())
        });
        sleep(Duration::from_secs(1)).await;
        task.cancel();
        assert_eq!(task.await.expect("no panic"), (true, 0), "by a cancel");
        assert_eq!(log.all(), [2, 2, 2], "what is dropped still sees what it has set");
    });
}

fn a_panic_in_a_scope_restores(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let note = log.clone();
        let task = create_task(async move {
            let _at_drop = OnDrop(move || note.push(level()));
            let panics = async {
                once_pending().await;
                panic!("as expected");
            };
            LEVEL.scope(1, panics).await
        });
        assert!(task.await.is_err_and(|error: ringloop::JoinError| error.is_panic()));
        assert_eq!(log.all(), [0]);
        let panics = AssertUnwindSafe(LEVEL.scope(1, async { panic!("as expected") }));
        let thrown: Result<(), _> = panics.catch_unwind().await;
        assert!(thrown.is_err() && level() == 0, "the task goes on");
    });
}
