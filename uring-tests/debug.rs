//! Debug mode: who holds the loop is named, also while it hangs; what each task waits for, and who awaits whom, can be
//! asked, from inside and from outside; off, nothing of it is kept.

use crate::harness::kinds::{run_on, start, turns};
use crate::harness::pairs::connected;
use crate::harness::probes::{once_pending, poll_once};
use crate::harness::{Ctx, Trial};
use crate::once;
use futures_util::future::{Either, LocalBoxFuture, select};
use ringloop::sync::{Barrier, Condition, Event, Mutex, Queue, Semaphore};
use ringloop::{
    Builder, Clock, Task, TaskBuilder, TaskGroup, TaskRef, TaskSet, capture_call_graph, catch_cancel,
    create_task, current, dump_task_tree, dump_tasks, gather, gather_settled, new_future, print_call_graph,
    run, sleep, task_group, timeout, to_thread, try_current, wait, yield_now,
};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::fs;
use std::future::{Future, pending};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event as LogEvent, Level, Metadata, Subscriber};

pub const TRIALS: &[Trial] = &[
    once!(the_environment_turns_debug_mode_on),
    once!(debug_mode_can_be_switched_while_the_loop_runs),
    once!(a_step_that_holds_the_loop_is_reported),
    once!(a_callback_that_holds_the_loop_is_reported),
    once!(a_loop_that_hangs_is_reported_while_it_hangs),
    once!(a_handler_that_panics_on_a_slow_step_harms_nobody),
    once!(off_nothing_is_kept_and_nothing_reported),
    once!(a_tasks_text_says_what_it_waits_for),
    once!(what_a_timeout_or_a_select_gave_up_is_not_waited_for),
    once!(the_table_tells_waits_polls_and_places),
    once!(tasks_that_wait_for_each_other_are_reported_as_a_circle),
    once!(who_awaits_whom_is_known_through_handles_gathers_groups_and_sets),
    once!(a_wait_that_is_given_up_leaves_no_edge),
    once!(a_task_that_several_await_is_shown_once),
    once!(the_texts_are_empty_outside_of_a_loop),
    once!(what_is_alive_at_the_end_is_logged_by_name),
    once!(what_does_not_end_is_reported_with_its_place),
    once!(a_subscriber_sees_which_task_speaks),
    once!(a_live_process_answers_on_its_socket),
    once!(a_loop_that_hangs_is_excused_by_its_task),
    once!(the_socket_is_its_users_alone_and_goes_with_the_last_loop),
    once!(a_path_in_use_is_reported_and_the_loop_runs),
    once!(a_client_that_says_nothing_does_not_hold_up_the_end),
];

/// A builder in debug mode, and what its handler is told; no step is slow, however busy the machine is.
fn debugged(ctx: &Ctx) -> (Builder, Receiver<String>) {
    let (sender, reports) = channel();
    let sender = std::sync::Mutex::new(sender);
    let told = move |error: &ringloop::ErrorContext| {
        // A trial that has heard enough has dropped the other end.
        let _ = sender.lock().expect("no panic").send(error.to_string());
    };
    (ctx.builder().debug(true).slow_step(Duration::MAX).on_error(told), reports)
}

/// A task of that name.
#[track_caller]
fn named<F: Future + 'static>(name: &'static str, future: F) -> Task<F::Output>
where
    F::Output: 'static,
{
    TaskBuilder::new().name(name).create_task(future)
}

/// For trials that change the environment of their process.
fn set(variable: &str, value: Option<&str>) {
    // SAFETY: the trial's process is its own; its one other thread, the watchdog, does not read the environment.
    unsafe {
        match value {
            Some(value) => std::env::set_var(variable, value),
            None => std::env::remove_var(variable),
        }
    }
}

/// DEBUG-01
fn the_environment_turns_debug_mode_on(_: &Ctx) {
    let is_debug = |builder: Builder| start(builder).run(async { current().is_debug() }).expect("it runs");
    for (value, on) in
        [(None, false), (Some(""), false), (Some("0"), false), (Some("1"), true), (Some("yes"), true)]
    {
        set("RINGLOOP_DEBUG", value);
        assert_eq!(is_debug(Builder::new()), on, "RINGLOOP_DEBUG={value:?}");
        assert_eq!(run(async { current().is_debug() }).expect("it runs"), on);
        assert!(is_debug(Builder::new().debug(true)) && !is_debug(Builder::new().debug(false)));
    }
}

/// DEBUG-09
fn debug_mode_can_be_switched_while_the_loop_runs(ctx: &Ctx) {
    run_on(ctx.builder().debug(false), async {
        let (event_loop, mut tasks) = (current(), Vec::new());
        for (name, on) in [("before", false), ("during", true), ("after", false)] {
            event_loop.set_debug(on);
            event_loop.set_debug(on);
            assert_eq!(event_loop.is_debug(), on);
            tasks.push(named(name, sleep(Duration::from_secs(3600))));
            turns(2).await;
            let texts: Vec<String> = tasks.iter().map(|task| format!("{task:?}")).collect();
            for (text, made_in) in texts.iter().zip(["before", "during", "after"]) {
                assert_eq!(text.contains("debug.rs"), made_in == "during", "in {name}: {text}");
                // Of a task that was made before, only what it does from now on is known: it sleeps.
                assert_eq!(text.contains("a timer"), on && made_in == "during", "in {name}: {text}");
            }
        }
        tasks.iter().for_each(|task| task.abort());
    });
}

/// DEBUG-12
fn a_step_that_holds_the_loop_is_reported(ctx: &Ctx) {
    let (builder, reports) = debugged(ctx);
    run_on(builder.slow_step(Duration::from_millis(20)), async {
        named("blocker", async { std::thread::sleep(Duration::from_millis(60)) }).await.expect("no panic");
    });
    let of_blocker: Vec<String> = reports.iter().filter(|report| report.contains("blocker")).collect();
    let ended: Vec<_> = of_blocker.iter().filter(|report| !report.contains("still")).collect();
    assert_eq!(ended.len(), 1, "{of_blocker:?}");
    assert!(
        ended[0].starts_with("task 'blocker' (created at uring-tests/debug.rs:")
            && ended[0].contains("held the loop for"),
        "{ended:?}"
    );
}

/// DEBUG-12
fn a_callback_that_holds_the_loop_is_reported(ctx: &Ctx) {
    let (builder, reports) = debugged(ctx);
    run_on(builder.slow_step(Duration::from_millis(20)), async {
        current().call_soon(|| std::thread::sleep(Duration::from_millis(60)));
        turns(2).await;
    });
    let reports: Vec<String> = reports.iter().collect();
    let of_callback = |report: &&String| report.starts_with("callback 'Task-") && !report.contains("still");
    assert_eq!(reports.iter().filter(of_callback).count(), 1, "{reports:?}");
}

/// DEBUG-12: by another thread, once a step.
fn a_loop_that_hangs_is_reported_while_it_hangs(ctx: &Ctx) {
    let (builder, reports) = debugged(ctx);
    let mut runner = start(builder.slow_step(Duration::from_millis(10)));
    let reports = runner.run(async {
        for name in ["stuck", "stuck again"] {
            let reports: &Receiver<String> = &reports;
            let hang = async {
                // It goes on when the report has come, and not before.
                let report = reports.iter().find(|report| report.contains("still does"));
                report.expect("the thread reports")
            };
            ringloop::current_task().expect("main runs").set_name(name);
            yield_now().await;
            let report = hang.await;
            assert!(report.starts_with(&format!("task '{name}'")), "{report}");
            assert!(report.contains("has held the loop for"), "{report}");
            std::thread::sleep(Duration::from_millis(50));
            yield_now().await;
        }
        reports
    });
    runner.close().expect("it ends");
    let more =
        reports.expect("main was not cancelled").try_iter().filter(|report| report.contains("still")).count();
    assert_eq!(more, 0, "each step was reported once");
}

fn a_handler_that_panics_on_a_slow_step_harms_nobody(ctx: &Ctx) {
    let builder = ctx.builder().debug(true).slow_step(Duration::ZERO).on_error(|text| panic!("on {text}"));
    let mut runner = start(builder);
    let sum = runner.run(async {
        let mut sum = 0;
        for number in 0..3 {
            sum += create_task(async move { number }).await.expect("no panic of its own");
        }
        sum
    });
    assert_eq!(sum.expect("main was not cancelled"), 3);
    runner.close().expect("it ends");
}

fn off_nothing_is_kept_and_nothing_reported(ctx: &Ctx) {
    let (builder, reports) = debugged(ctx);
    run_on(builder.debug(false).slow_step(Duration::from_millis(1)), async {
        let sleeper = named("sleeper", sleep(Duration::from_secs(3600)));
        let awaiting = named("awaiting", sleeper.shield());
        turns(2).await;
        std::thread::sleep(Duration::from_millis(20));
        yield_now().await;
        assert_eq!(format!("{awaiting:?}"), "<Task name='awaiting' pending>");
        let lines: Vec<String> = dump_tasks().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 4, "{lines:?}");
        assert_eq!(lines[2].split_whitespace().collect::<Vec<_>>(), ["sleeper", "pending"]);
        assert_eq!(dump_task_tree(), "main\nsleeper\nawaiting\n");
        assert!(capture_call_graph(&awaiting).awaited_by().is_empty());
        for task in ringloop::all_tasks().iter().filter(|task| &*task.name() != "main") {
            task.abort();
        }
    });
    assert_eq!(reports.iter().count(), 0);
}

/// INTRO-06
fn a_tasks_text_says_what_it_waits_for(ctx: &Ctx) {
    let (builder, _reports) = debugged(ctx);
    run_on(builder, async {
        let (ours, _theirs) = connected().await;
        let descriptor = ours.as_raw_fd();
        let (mutex, semaphore, event) = (Mutex::new(()), Semaphore::new(0), Event::new());
        let (full, empty) = (Queue::bounded(1), Queue::<u8>::unbounded());
        full.try_put(1).expect("there is room for one");
        let (condition, barrier, other) = (Condition::new(), Barrier::new(2), Mutex::new(()));
        let (promise, value) = new_future::<()>();
        let (shared_promise, shared) = new_future::<()>();
        let shared = shared.shared();
        let guard = mutex.lock().await;
        let (release, held) = channel::<()>();
        let waits_for = |future: LocalBoxFuture<'static, ()>| create_task(future);
        let sleeper = named("sleeper", sleep(Duration::from_secs(3600)));
        let [locking, both] = [mutex.clone(), mutex.clone()];
        let cases: Vec<(String, Task<()>)> = vec![
            ("a timer".into(), waits_for(Box::pin(sleep(Duration::from_secs(3600))))),
            (
                format!("recv on descriptor {descriptor}"),
                waits_for(Box::pin(async move {
                    let _ = ours.read(&mut [0]).await;
                })),
            ),
            ("mutex 0x".into(), waits_for(Box::pin(async move { drop(locking.lock().await) }))),
            ("semaphore 0x".into(), waits_for(Box::pin(async move { drop(semaphore.acquire().await) }))),
            ("event 0x".into(), waits_for(Box::pin(async move { event.wait().await }))),
            ("room in queue 0x".into(), waits_for(Box::pin(async move { _ = full.put(2).await }))),
            ("item of queue 0x".into(), waits_for(Box::pin(async move { _ = empty.get().await }))),
            (
                "condition 0x".into(),
                waits_for(Box::pin(async move {
                    drop(condition.wait(other.lock().await).await);
                })),
            ),
            ("barrier 0x".into(), waits_for(Box::pin(async move { _ = barrier.wait().await }))),
            ("promise 0x".into(), waits_for(Box::pin(async move { _ = value.await }))),
            ("shared future 0x".into(), waits_for(Box::pin(async move { _ = shared.await }))),
            (
                "a thread".into(),
                waits_for(Box::pin(async move {
                    let _ = to_thread(move || held.recv()).await;
                })),
            ),
            ("task 'sleeper'".into(), waits_for(Box::pin(async move { drop(sleeper.await) }))),
            (
                "gather of 2 tasks".into(),
                waits_for(Box::pin(async {
                    let never = || pending::<Result<(), std::io::Error>>();
                    let _ = gather([never(), never()]).await;
                })),
            ),
            (
                "mutex 0x".into(),
                waits_for(Box::pin(async move {
                    let _ = timeout(Duration::from_secs(3600), both.lock()).await;
                })),
            ),
        ];
        turns(3).await;
        for (words, task) in &cases {
            let text = format!("{task:?}");
            let told = text.split_once(" waiting for ").map(|(_, told)| told);
            assert!(told.is_some_and(|told| told.starts_with(words)), "{words}: {text}");
            assert!(
                text.starts_with("<Task name='Task-")
                    && text.contains(" pending created at uring-tests/debug.rs:")
            );
        }
        // Two that wait for the same lock say so, and a combinator says all that it waits for.
        let told = |task: &Task<()>| format!("{task:?}").split_once(" for ").map(|(_, told)| told.to_owned());
        let (alone, limited) = (told(&cases[2].1).expect("it waits"), told(&cases[14].1).expect("it waits"));
        assert_eq!(limited, format!("{}, a timer>", alone.trim_end_matches('>')));
        drop((guard, release, promise, shared_promise));
        for (_, task) in cases {
            task.cancel();
            let _ = task.await;
        }
        for task in ringloop::all_tasks().iter().filter(|task| &*task.name() != "main") {
            task.abort();
        }
    });
}

/// INTRO-06
fn what_a_timeout_or_a_select_gave_up_is_not_waited_for(ctx: &Ctx) {
    let (builder, _reports) = debugged(ctx);
    run_on(builder.clock(Clock::Paused), async {
        let (event, barrier) = (Event::new(), Barrier::new(2));
        let selecting = create_task({
            let (event, barrier) = (event.clone(), barrier.clone());
            async move {
                ringloop::select! {
                    () = event.wait() => unreachable!("nobody sets it"),
                    () = std::future::ready(()) => {}
                }
                let _ = barrier.wait().await;
            }
        });
        let limited = create_task(async move {
            assert!(timeout(Duration::from_secs(1), event.wait()).await.is_err());
            let _ = barrier.wait().await;
        });
        yield_now().await;
        let told = |task: &Task<()>| format!("{task:?}").split_once(" for ").map(|(_, told)| told.to_owned());
        let told = [told(&selecting), told(&limited)].map(|told| told.expect("it waits"));
        assert!(told[0].starts_with("barrier") && told[1].starts_with("event"), "{told:?}");
        let both = gather_settled([selecting, limited]);
        sleep(Duration::from_secs(2)).await;
        let text = dump_tasks();
        assert!(!text.contains("event"), "{text}");
        both.await.into_iter().for_each(|end| end.expect("no panic"));
    });
}

fn the_table_tells_waits_polls_and_places(ctx: &Ctx) {
    let (builder, _reports) = debugged(ctx);
    run_on(builder.clock(Clock::Paused), async {
        let sleeper = named("sleeper", async {
            for _ in 0..4 {
                yield_now().await;
            }
            sleep(Duration::from_secs(90)).await;
        });
        let created = line!() - 6;
        for _ in 0..8 {
            yield_now().await;
        }
        let dump = dump_tasks();
        let lines: Vec<&str> = dump.lines().collect();
        let heads: Vec<&str> = lines[0].split("  ").filter(|head| !head.is_empty()).map(str::trim).collect();
        assert_eq!(heads, ["NAME", "STATE", "WAITS FOR", "SINCE", "POLLS", "BUSY", "CREATED AT"]);
        assert!(lines[1].starts_with("main  ") && lines[1].contains("  running  "), "{dump}");
        assert!(
            lines[1].contains("  uring-tests/harness/kinds.rs:"),
            "main was made where `run` was called: {dump}"
        );
        let cells: Vec<&str> = lines[2].split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect();
        assert_eq!(cells[..3], ["sleeper", "pending", "a timer in 90s"], "{dump}");
        // SINCE and BUSY are real time.
        assert_eq!(cells[4], "5", "{dump}");
        assert!(cells[6].starts_with(&format!("uring-tests/debug.rs:{created}:")), "{dump}");
        sleeper.abort();
    });
}

/// INTRO-12
fn tasks_that_wait_for_each_other_are_reported_as_a_circle(ctx: &Ctx) {
    let (builder, _reports) = debugged(ctx);
    run_on(builder, async {
        let handle: Rc<RefCell<Option<Task<()>>>> = Rc::default();
        let one = named("one", {
            let handle = handle.clone();
            async move {
                let two = handle.borrow_mut().take().expect("the creator has put it there");
                let _ = two.await;
            }
        });
        let (first, watched) = (one.task_ref(), one.task_ref());
        *handle.borrow_mut() = Some(named("two", async move { drop(one.await) }));
        turns(3).await;
        assert!(format!("{watched:?}").ends_with(" waiting for task 'two'>"), "{watched:?}");
        let tree = dump_task_tree();
        assert_eq!(
            tree,
            "main\none\n└── two\n    └── one: in a circle, see above\nwaiting for each other: one -> two -> one\n"
        );
        let graph = capture_call_graph(&watched);
        let round = &graph.awaited_by()[0].awaited_by()[0];
        assert!(round.is_cycle() && round.task().same(&watched) && round.awaited_by().is_empty());
        assert!(!graph.is_cycle() && graph.to_string().contains("in a circle"), "{graph}");
        first.abort();
        turns(2).await;
    });
}

/// The names of those that await a task, as its graph has them.
fn awaiters(task: &TaskRef) -> Vec<String> {
    let graph = capture_call_graph(task);
    graph.awaited_by().iter().map(|graph| graph.task().name().to_string()).collect()
}

/// INTRO-10
fn who_awaits_whom_is_known_through_handles_gathers_groups_and_sets(ctx: &Ctx) {
    let (builder, _reports) = debugged(ctx);
    run_on(builder, async {
        let leaves: Rc<RefCell<Vec<TaskRef>>> = Rc::default();
        let leaf = {
            let leaves = leaves.clone();
            move || {
                let leaves = leaves.clone();
                async move {
                    leaves.borrow_mut().push(ringloop::current_task().expect("a task runs"));
                    pending::<Result<(), std::io::Error>>().await
                }
            }
        };
        let [a, b, c, d, e, f] = [(); 6].map(|()| leaf.clone());
        let ends = [
            named("by handle", async move { drop(create_task(a()).await) }),
            named("by gather", async move { drop(gather([b(), b()]).await) }),
            named("by group", async move {
                let group = async |group: TaskGroup<std::io::Error>| {
                    drop(group.create_task(c()));
                    Ok(())
                };
                drop(task_group(group).await);
            }),
            named("by set", async move {
                let mut set = TaskSet::new();
                set.create_task(d());
                set.create_task(d());
                drop(set.next().await);
            }),
            named("by wait", async move { drop(wait([create_task(e())], ringloop::AllCompleted).await) }),
            named("settled", async move {
                drop(gather_settled([create_task(f()), create_task(f())]).await);
            }),
        ];
        let all = named("all", gather_settled(ends));
        turns(4).await;
        let found: Vec<Vec<String>> = leaves.borrow().iter().map(awaiters).collect();
        let mut found: Vec<String> = found.into_iter().map(|names| names.join("+")).collect();
        found.sort();
        assert_eq!(
            found,
            [
                "by gather",
                "by gather",
                "by group",
                "by handle",
                "by set",
                "by set",
                "by wait",
                "settled",
                "settled"
            ]
        );
        let leaf = leaves.borrow()[0].clone();
        let graph = capture_call_graph(&leaf);
        assert_eq!(&*graph.awaited_by()[0].awaited_by()[0].task().name(), "all");
        let text = graph.to_string();
        assert_eq!(text.matches("awaited by").count(), 2, "{text}");
        print_call_graph(&leaf);
        let tree = dump_task_tree();
        assert!(tree.contains("\n├── by gather\n│   ├── Task-"), "{tree}");
        assert!(tree.contains("\n└── settled\n    ├── Task-"), "{tree}");
        all.cancel();
        turns(4).await;
        for task in ringloop::all_tasks().iter().filter(|task| &*task.name() != "main") {
            task.abort();
        }
    });
}

/// INTRO-10: from what is not awaited any more.
fn a_wait_that_is_given_up_leaves_no_edge(ctx: &Ctx) {
    let (builder, _reports) = debugged(ctx);
    run_on(builder.clock(Clock::Paused), async {
        let mut task = create_task(pending::<()>());
        let inside = task.task_ref();
        let (go, gone) = new_future::<()>();
        let (finish, finished) = new_future::<()>();
        let waiting = named("waiting", async move {
            let first = select(&mut task, gone).await;
            assert!(matches!(first, Either::Right(_)));
            drop(first);
            yield_now().await;
            finished.await.expect("main lets it go on");
            // In a set the handle has a waker of its own; what it gives back is not awaited any more.
            let (_, mut left) = wait([task], ringloop::AllCompleted).timeout(Duration::from_secs(1)).await;
            left.pop().expect("it runs")
        });
        yield_now().await;
        assert_eq!(awaiters(&inside), ["waiting"]);
        go.set(()).expect("it waits");
        turns(3).await;
        assert_eq!(awaiters(&inside), [""; 0]);
        finish.set(()).expect("it waits");
        turns(2).await;
        assert_eq!(awaiters(&inside), ["waiting"]);
        let mut task = waiting.await.expect("no panic");
        assert_eq!(awaiters(&inside), [""; 0]);
        assert!(poll_once(&mut task).await.is_pending());
        drop(task);
        assert_eq!(awaiters(&inside), [""; 0], "who has no handle awaits nothing");
        inside.abort();
    });
}

fn a_task_that_several_await_is_shown_once(ctx: &Ctx) {
    let (builder, _reports) = debugged(ctx);
    run_on(builder, async {
        let task = named("group", async {
            let body = async |group: TaskGroup<std::io::Error>| {
                let child = group.create_task(pending::<Result<(), std::io::Error>>());
                child.task_ref().expect("the group is open").set_name("child");
                drop(named("watcher", child).await);
                Ok(())
            };
            drop(task_group(body).await);
        });
        turns(4).await;
        let tree = dump_task_tree();
        assert_eq!(tree, "main\ngroup\n├── child\n└── watcher\n    └── child: see above\n");
        task.cancel();
        let _ = task.await;
    });
}

fn the_texts_are_empty_outside_of_a_loop(_: &Ctx) {
    assert!(try_current().is_none());
    assert_eq!((dump_tasks(), dump_task_tree()), (String::new(), String::new()));
}

/// What a subscriber hears: of each event the level, the target, the task that speaks, and the fields.
#[derive(Clone, Default)]
struct Ears(Arc<Heard>);

#[derive(Default)]
struct Heard {
    lines: std::sync::Mutex<Vec<String>>,
    /// Spans, by number less one, and those that are entered.
    spans: std::sync::Mutex<(Vec<String>, Vec<usize>)>,
}

impl Ears {
    /// All events of this process, up to that level.
    fn open() -> Ears {
        let ears = Ears::default();
        tracing::subscriber::set_global_default(ears.clone()).expect("the trial's process has no other");
        ears
    }

    fn lines(&self) -> Vec<String> {
        self.0.lines.lock().expect("no panic").clone()
    }
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}

impl Subscriber for Ears {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut words = Words(String::new());
        span.record(&mut words);
        let metadata = span.metadata();
        let mut spans = self.0.spans.lock().expect("no panic");
        spans.0.push(format!("{} {} {}{}", metadata.level(), metadata.target(), words.0, span.is_root()));
        Id::from_u64(spans.0.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &LogEvent<'_>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        let spans = self.0.spans.lock().expect("no panic");
        let task = spans.1.last().map_or("", |&span| &spans.0[span]);
        let metadata = event.metadata();
        let line = format!("{} {} [{task}] {}", metadata.level(), metadata.target(), words.0);
        self.0.lines.lock().expect("no panic").push(line);
    }

    fn enter(&self, span: &Id) {
        self.0.spans.lock().expect("no panic").1.push(span.into_u64() as usize - 1);
    }

    fn exit(&self, span: &Id) {
        let left = self.0.spans.lock().expect("no panic").1.pop();
        assert_eq!(left, Some(span.into_u64() as usize - 1), "spans are left in the order of their entering");
    }
}

/// DEBUG-04, DEBUG-06, DEBUG-10
fn what_is_alive_at_the_end_is_logged_by_name(ctx: &Ctx) {
    let ears = Ears::open();
    let (builder, reports) = debugged(ctx);
    let mut runner = start(builder);
    let descriptor = runner.run(async {
        let (ours, theirs) = connected().await;
        let descriptor = ours.as_raw_fd();
        named("reader", async move {
            let _theirs = theirs;
            let _ = ours.read(&mut [0]).await;
        })
        .detach();
        turns(2).await;
        descriptor
    });
    let descriptor = descriptor.expect("main was not cancelled");
    runner.close().expect("it ends");
    let lines = ears.lines();
    let left = lines.iter().find(|line| line.contains("reader")).unwrap_or_else(|| panic!("{lines:?}"));
    assert!(left.starts_with("DEBUG ringloop ") && !left.contains("main"), "{left}");
    assert!(left.contains(&format!("recv on descriptor {descriptor}")), "{left}");
    assert_eq!(reports.iter().count(), 0, "what ends when it is asked to is no error");
}

/// DEBUG-04
fn what_does_not_end_is_reported_with_its_place(ctx: &Ctx) {
    let (builder, reports) = debugged(ctx);
    let mut runner = start(builder.shutdown_timeout(Duration::from_millis(50)));
    let main = async {
        named("stubborn", async {
            loop {
                let _ = catch_cancel(pending::<()>()).await;
            }
        })
        .detach();
        once_pending().await;
    };
    runner.run(main).expect("main is fine");
    runner.close().expect("it ends");
    let reports: Vec<String> = reports.iter().collect();
    let place = "<Task name='stubborn' cancelling created at uring-tests/debug.rs:";
    assert!(reports.iter().any(|report| report.contains(place)), "{reports:?}");
}

/// DEBUG-10: spans of tasks, without debug mode.
fn a_subscriber_sees_which_task_speaks(ctx: &Ctx) {
    let ears = Ears::open();
    run_on(ctx.builder().debug(false), async {
        let speak = |name: &'static str| {
            named(name, async move {
                for turn in 0..2 {
                    tracing::info!(turn, "speaks");
                    yield_now().await;
                }
            })
        };
        let tasks = [speak("one"), speak("two")];
        gather_settled(tasks).await.into_iter().for_each(|end| end.expect("no panic"));
        assert_eq!(
            format!("{:?}", ringloop::current_task().expect("main runs")),
            "<Task name='main' running>"
        );
    });
    let speaks =
        |line: &String| line.contains("speaks").then(|| line.split(' ').nth(4).map(str::to_owned)).flatten();
    let names: Vec<String> = ears.lines().iter().filter_map(speaks).collect();
    assert_eq!(names, ["name=\"one\"", "name=\"two\"", "name=\"one\"", "name=\"two\""], "{:?}", ears.lines());
    let spans = ears.0.spans.lock().expect("no panic");
    let of_one: Vec<&String> = spans.0.iter().filter(|span| span.contains("name=\"one\"")).collect();
    assert!(of_one.len() == 1 && of_one[0].starts_with("INFO ringloop::task "), "{of_one:?}");
    assert!(of_one[0].ends_with("true"), "it has no parent that it would keep: {of_one:?}");
    assert!(spans.1.is_empty(), "none stays entered");
}

/// Asks a live process.
fn ask(path: &Path, question: &str) -> String {
    let mut client = UnixStream::connect(path).expect("the process listens");
    client.write_all(question.as_bytes()).expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    answer
}

fn a_live_process_answers_on_its_socket(ctx: &Ctx) {
    let path = ctx.path("socket");
    set("RINGLOOP_INSPECT", path.to_str());
    let (second, first) = (ctx.builder().name("second"), ctx.builder().name("first"));
    // A loop that stands still between two runs is told from one that answers.
    let standing = start(second);
    run_on(first, async {
        assert!(current().is_debug(), "there would be little to say without");
        let inner = named("inner", sleep(Duration::from_secs(3600)));
        let outer = named("outer", inner);
        turns(2).await;
        for (question, wanted) in
            [("ps\n", "a timer in "), ("pstree\n", "outer\n└── inner\n"), ("what\n", "ask for ps")]
        {
            let path = path.clone();
            let answer = to_thread(move || ask(&path, question)).await.expect("no panic");
            assert!(answer.contains(wanted), "{question}: {answer}");
            if question != "what\n" {
                assert!(answer.starts_with(&format!("process {}\n", std::process::id())), "{answer}");
                assert!(answer.contains("\nloop 'first' on thread "), "{answer}");
                assert!(answer.contains("\nloop 'second' does not answer: it stands still"), "{answer}");
            }
        }
        outer.abort();
        turns(2).await;
        ringloop::all_tasks().iter().filter(|task| &*task.name() == "inner").for_each(TaskRef::abort);
    });
    drop(standing);
}

/// DEBUG-12: also for who asks from outside.
fn a_loop_that_hangs_is_excused_by_its_task(ctx: &Ctx) {
    let path = ctx.path("socket");
    set("RINGLOOP_INSPECT", path.to_str());
    let (builder, _reports) = debugged(ctx);
    run_on(builder.name("held"), async {
        let hang = async move {
            let answer = std::thread::spawn(move || ask(&path, "ps\n")).join().expect("no panic");
            assert!(answer.contains("loop 'held' has been busy for "), "{answer}");
            assert!(answer.contains("in task 'hanging' (created at uring-tests/debug.rs:"), "{answer}");
        };
        named("hanging", hang).await.expect("no panic");
    });
}

fn the_socket_is_its_users_alone_and_goes_with_the_last_loop(ctx: &Ctx) {
    let path = ctx.path("socket");
    // What a process left that was killed is replaced.
    drop(UnixListener::bind(&path).expect("the folder can be written"));
    set("RINGLOOP_INSPECT", path.to_str());
    let (one, other) = (ctx.runner(), ctx.runner());
    let metadata = fs::metadata(&path).expect("the socket is there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    one.close().expect("it ends");
    assert!(ask(&path, "ps\n").matches("\nloop ").count() == 1);
    other.close().expect("it ends");
    assert!(!path.exists(), "it goes with the last loop");
    // A next loop opens it again; a file that is not the service's own stays.
    let next = ctx.runner();
    fs::remove_file(&path).expect("it is there again");
    fs::write(&path, "somebody else's").expect("the folder can be written");
    next.close().expect("it ends");
    assert_eq!(fs::read_to_string(&path).expect("it stays"), "somebody else's");
}

fn a_path_in_use_is_reported_and_the_loop_runs(ctx: &Ctx) {
    let (listening, file, long) =
        (ctx.path("listening"), ctx.file("file", "text"), ctx.path(&"x".repeat(120)));
    let _listener = UnixListener::bind(&listening).expect("the folder can be written");
    for path in [&listening, &file, &long] {
        set("RINGLOOP_INSPECT", path.to_str());
        let (builder, reports) = debugged(ctx);
        run_on(builder, yield_now());
        let reports: Vec<String> = reports.iter().collect();
        let told = format!("cannot be inspected at {}: ", path.display());
        assert!(reports.len() == 1 && reports[0].contains(&told), "{reports:?}");
    }
    assert_eq!(fs::read_to_string(&file).expect("it is untouched"), "text");
    assert!(UnixStream::connect(&listening).is_ok(), "whose socket it is keeps it");
}

fn a_client_that_says_nothing_does_not_hold_up_the_end(ctx: &Ctx) {
    let path = ctx.path("socket");
    set("RINGLOOP_INSPECT", path.to_str());
    let runner = ctx.runner();
    let mut client = UnixStream::connect(&path).expect("it listens");
    runner.close().expect("it ends");
    let mut answer = String::new();
    // It is told that there is no answer, or cut off.
    let _ = client.read_to_string(&mut answer);
    assert!(!path.exists() && !answer.contains("loop '"), "{answer}");
}
