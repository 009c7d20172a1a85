//! The life of a task: order, wakes, handles, names, panics, the loop's end.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Wake, Waker};

use super::{Gate, Log, Loop, OnDrop, counted, own_waker, turns};
use crate::executor::{Spawn, Task, all_tasks, current, current_task};

/// TASK-01
#[test]
fn tasks_run_first_in_the_turn_after_their_creation_and_in_its_order() {
    let (looped, log) = (Loop::new(), Log::default());
    let creator = {
        let log = log.clone();
        looped.spawn(async move {
            for number in 0..3 {
                let log = log.clone();
                let executor = current().expect("a task runs inside of its loop");
                executor.spawn(async move { log.push(number) }, Spawn::default()).detach();
            }
            log.push("created");
            turns(1).await;
            log.push("resumed");
        })
    };
    looped.turn();
    assert_eq!(log.take(), "created");
    looped.turn();
    assert_eq!(log.take(), "0 1 2 resumed");
    assert!(creator.is_done());
}

/// SCHED-02 for tasks
#[test]
fn what_a_turn_wakes_runs_in_the_next_one() {
    let (looped, polls) = (Loop::new(), Rc::new(Cell::new(0)));
    let task = looped.spawn(counted(&polls, Box::pin(turns(3))));
    for turn in 1..=4 {
        looped.turn();
        assert_eq!(polls.get(), turn);
    }
    assert!(task.is_done());
}

#[test]
fn many_wakes_before_a_poll_are_one_poll() {
    let (looped, polls) = (Loop::new(), Rc::new(Cell::new(0)));
    let wakers = Rc::new(RefCell::new(Vec::new()));
    let task = {
        let wakers = wakers.clone();
        let never = poll_fn(move |cx| {
            wakers.borrow_mut().push(cx.waker().clone());
            Poll::<()>::Pending
        });
        looped.spawn(counted(&polls, never))
    };
    looped.turn();
    let waker = wakers.borrow()[0].clone();
    for _ in 0..5 {
        waker.wake_by_ref();
        waker.wake_by_ref();
    }
    assert_eq!(looped.executor.ready_count(), 1);
    looped.settle();
    assert_eq!(polls.get(), 2);
    task.abort();
    waker.wake_by_ref();
    assert!(!looped.executor.is_ready(), "a task that has ended is not scheduled");
}

/// TASK-03, TASK-11
#[test]
fn a_handle_gives_the_value_and_one_that_is_done_costs_no_turn() {
    let looped = Loop::new();
    let inner = looped.spawn(async { 20 });
    let outer = looped.spawn(async { ready(2).await + inner.await.expect("it has a value") });
    assert_eq!(looped.settle(), 1, "the inner task had ended when the outer one asked");
    assert_eq!(looped.finish(outer), 22);
}

#[test]
fn a_handle_that_waits_is_woken_by_the_end() {
    let (looped, gate) = (Loop::new(), Gate::default());
    let inner = looped.spawn(gate.pass());
    let outer = looped.spawn(async { inner.await.is_ok() });
    looped.settle();
    assert!(!outer.is_done());
    gate.open();
    assert!(looped.finish(outer));
}

/// TASK-05
#[test]
fn a_handle_wakes_who_polled_it_last_whatever_the_waker() {
    struct Counting(AtomicUsize);
    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    for tasks in [[true, false], [false, true], [true, true], [false, false]] {
        let (looped, gate) = (Loop::new(), Gate::default());
        let handle = Rc::new(RefCell::new(looped.spawn(gate.pass())));
        let wakes = tasks.map(|is_task| -> Box<dyn Fn() -> usize> {
            let (handle, polls) = (handle.clone(), Rc::new(Cell::new(0)));
            let counting = Arc::new(Counting(AtomicUsize::new(0)));
            match is_task {
                true => {
                    let polling = poll_fn(move |cx| Pin::new(&mut *handle.borrow_mut()).poll(cx));
                    looped.spawn(counted(&polls, polling)).detach();
                    looped.settle();
                    Box::new(move || polls.get() - 1)
                }
                false => {
                    let waker = Waker::from(counting.clone());
                    for _ in 0..2 {
                        let polled =
                            Pin::new(&mut *handle.borrow_mut()).poll(&mut Context::from_waker(&waker));
                        assert!(polled.is_pending());
                    }
                    Box::new(move || counting.0.load(Relaxed))
                }
            }
        });
        gate.open();
        looped.settle();
        assert_eq!(wakes.map(|wakes| wakes()), [0, 1], "{tasks:?}");
    }
}

#[test]
fn a_handle_wakes_a_task_of_another_loop_on_its_thread() {
    let (looped, gate) = (Loop::new(), Gate::default());
    let mut handle = looped.spawn(gate.pass());
    let mut other = Loop::new();
    let awaiting = other.spawn(async move { (&mut handle).await.is_ok() });
    assert_eq!(other.settle(), 1);
    other.leave();
    gate.open();
    looped.settle();
    other.enter();
    other.executor.take_mail(|_| ());
    assert!(other.finish(awaiting));
}

#[test]
fn a_task_that_awaits_itself_gets_an_error() {
    let (looped, log) = (Loop::new(), Log::default());
    let own = Rc::new(RefCell::new(None::<Task<()>>));
    let task = looped.spawn({
        let (own, log) = (own.clone(), log.clone());
        async move {
            let own = own.take().expect("it was put there");
            log.push(own.await.expect_err("a task cannot wait for itself"));
        }
    });
    let name = task.task_ref();
    own.replace(Some(task));
    looped.settle();
    assert!(name.is_done() && !name.is_cancelled());
    assert_eq!(log.take(), "the task awaited itself, which would never end");
}

/// TASK-10, SHIELD-07
#[test]
fn a_task_without_a_handle_runs_on() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    for text in ["dropped", "detached"] {
        let (log, passed) = (log.clone(), gate.pass());
        let task = looped.spawn(async move {
            passed.await;
            log.push(text);
        });
        if text == "detached" { task.detach() } else { drop(task) }
    }
    looped.settle();
    assert_eq!(all_tasks().len(), 2);
    gate.open();
    looped.settle();
    assert_eq!(log.take(), "dropped detached");
    assert_eq!(looped.executor.task_count(), 0);
}

/// TASK-12, adapted
#[test]
fn a_panic_reaches_the_handle_and_without_one_the_exception_handler() {
    let looped = Loop::new();
    let awaited = looped.spawn(async { panic!("awaited") });
    let waiting = looped.spawn(async { awaited.await.map(|(): ()| ()) });
    looped.named("lonely", async { panic!("not awaited") }).detach();
    let seen_late = looped.named("kept", async { panic!("seen by nobody") });
    looped.settle();
    let error = looped.finish(waiting).expect_err("it panicked");
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(error.into_panic().downcast_ref(), Some(&"awaited"));
    assert_eq!(looped.reports(), ["lonely: the task panicked: not awaited"]);
    drop(seen_late);
    assert_eq!(looped.reports(), ["kept: the task panicked: seen by nobody"]);
}

#[test]
fn a_panicking_exception_handler_stops_nobody() {
    let executor = {
        let notify = std::task::Waker::noop().clone();
        crate::executor::Executor::new(notify, Box::new(|_, _| panic!("the handler panics too")))
    };
    let inside = executor.enter();
    executor.spawn(async { panic!("nobody awaits this") }, Spawn::default()).detach();
    let after = executor.spawn(async { 1 }, Spawn::default());
    executor.run(2);
    assert!(after.is_done());
    drop(inside);
    executor.close();
}

#[test]
fn a_panic_in_the_destructor_of_a_cancelled_future_is_the_tasks_end() {
    let (looped, log) = (Loop::new(), Log::default());
    let mut task = {
        let first = log.on_drop("outer");
        looped.spawn(async move {
            let _first = first;
            let _second = OnDrop(|| panic!("in a destructor"));
            pending::<()>().await;
        })
    };
    looped.settle();
    task.cancel();
    looped.settle();
    let error = task.try_result().expect("it has ended").expect_err("it panicked");
    assert!(error.is_panic());
    assert_eq!(log.take(), "outer", "the rest was dropped as well");
    assert!(current_task().is_none());
}

#[test]
fn a_panic_in_the_destructor_of_an_output_is_reported() {
    let looped = Loop::new();
    looped.named("heavy", async { OnDrop(|| panic!("in an output")) }).detach();
    let kept = looped.named("kept", async { OnDrop(|| panic!("later")) });
    looped.settle();
    assert_eq!(looped.reports(), ["heavy: the task panicked: in an output"]);
    drop(kept);
    assert_eq!(looped.reports(), ["kept: the task panicked: later"]);
}

/// TASK-15
#[test]
fn destructors_of_outputs_may_use_the_loop() {
    let (looped, log) = (Loop::new(), Log::default());
    for number in 0..3 {
        let log = log.clone();
        let make_another = move || {
            let log = log.clone();
            let executor = current().expect("outputs of detached tasks are dropped inside of the loop");
            executor.spawn(async move { log.push(number) }, Spawn::default()).detach();
        };
        looped.spawn(async { OnDrop(make_another) }).detach();
    }
    looped.settle();
    assert_eq!(log.take(), "0 1 2");
}

/// INTRO-01, INTRO-02, INTRO-13
#[test]
fn tasks_have_names_and_are_listed_in_the_order_of_creation() {
    let (looped, gate) = (Loop::new(), Gate::default());
    let tasks: Vec<Task<()>> = (0..4).map(|_| looped.spawn(gate.pass())).collect();
    let named = looped.named("reader", gate.pass());
    named.set_name(String::from("writer"));
    assert_eq!(&*named.name(), "writer");
    let names: Vec<_> = all_tasks().iter().map(|task| task.name().to_string()).collect();
    assert_eq!(names, ["Task-1", "Task-2", "Task-3", "Task-4", "writer"]);
    // Ends move others about in the executor's list; the order of creation stays.
    tasks[0].abort();
    tasks[2].abort();
    let left: Vec<_> = all_tasks().iter().map(|task| task.name().to_string()).collect();
    assert_eq!(left, ["Task-2", "Task-4", "writer"]);
    let ends: Vec<_> = tasks.iter().map(|task| (task.is_done(), task.is_cancelled())).collect();
    assert_eq!(ends, [(true, true), (false, false), (true, true), (false, false)]);
    gate.open();
    looped.settle();
    assert!(all_tasks().is_empty());
    assert!(tasks[1].is_done() && !tasks[1].is_cancelled());
}

/// INTRO-04
#[test]
fn the_current_task_is_the_one_that_runs() {
    let looped = Loop::new();
    assert!(current_task().is_none());
    let watch = async |name: &'static str| {
        for _ in 0..3 {
            let task = current_task().expect("this runs in a task");
            assert_eq!(&*task.name(), name);
            turns(1).await;
        }
    };
    let tasks = ["a", "b"].map(|name| looped.named(name, watch(name)));
    looped.settle();
    assert!(tasks.into_iter().all(|mut task| task.try_result().is_some_and(|end| end.is_ok())));
    assert!(current_task().is_none());
}

/// INTRO-06
#[test]
fn a_tasks_text_shows_its_state() {
    let (looped, gate) = (Loop::new(), Gate::default());
    let task = looped.named("t", {
        let passed = gate.pass();
        async move {
            assert!(format!("{:?}", current_task()).contains("running"));
            passed.await;
        }
    });
    let text = |task: &Task<()>| format!("{task:?}");
    assert_eq!(text(&task), "<Task name='t' new>");
    looped.settle();
    assert_eq!(text(&task), "<Task name='t' pending>");
    let cancelled = looped.named("c", pending::<()>());
    looped.settle();
    cancelled.cancel();
    assert_eq!(text(&cancelled), "<Task name='c' cancelling>");
    gate.open();
    looped.settle();
    assert_eq!(text(&task), "<Task name='t' finished>");
    assert_eq!(text(&cancelled), "<Task name='c' cancelled>");
    let panicked = looped.named("p", async { panic!("as planned") });
    looped.settle();
    assert_eq!(text(&panicked), "<Task name='p' panicked>");
}

#[test]
fn a_wakers_panic_stops_nobody() {
    struct Bad;
    impl std::task::Wake for Bad {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("a waker panics");
        }
    }
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let mut task = looped.spawn(gate.pass());
    let waker = std::task::Waker::from(std::sync::Arc::new(Bad));
    let polled = std::pin::Pin::new(&mut task).poll(&mut std::task::Context::from_waker(&waker));
    assert!(polled.is_pending());
    let after = log.clone();
    looped.spawn(async move { after.push("others run") }).detach();
    gate.open();
    looped.settle();
    assert!(task.is_done());
    assert_eq!(log.take(), "others run");
}

#[test]
fn an_abort_drops_at_once_and_asks_nobody() {
    let (looped, log) = (Loop::new(), Log::default());
    let stubborn = {
        let (log, dropped) = (log.clone(), log.on_drop("dropped"));
        looped.spawn(async move {
            let _dropped = dropped;
            if crate::executor::catch_cancel(pending::<()>()).await.is_err() {
                log.push("asked");
            }
        })
    };
    looped.settle();
    stubborn.abort();
    assert!(stubborn.is_cancelled(), "now, not in the next turn");
    assert_eq!(log.take(), "dropped");
    stubborn.abort();
    assert!(!stubborn.cancel());

    // Oneself: after the poll that runs, unless it brings a value.
    let suicide = looped.spawn(async {
        current_task().expect("this runs in a task").abort();
        pending::<()>().await;
    });
    let too_late = looped.spawn(async {
        current_task().expect("this runs in a task").abort();
        5
    });
    looped.settle();
    assert!(suicide.is_cancelled());
    assert_eq!(looped.finish(too_late), 5);

    let handle = looped.spawn(pending::<()>()).abort_on_drop();
    looped.settle();
    assert_eq!(all_tasks().len(), 1);
    drop(handle);
    assert!(all_tasks().is_empty());
}

#[test]
fn an_abort_from_outside_of_the_loop_polls_no_more() {
    let (mut looped, polls) = (Loop::new(), Rc::new(Cell::new(0)));
    let task = looped.spawn(counted(&polls, pending::<()>()));
    looped.turn();
    looped.leave();
    task.abort();
    assert!(!task.is_done(), "only its loop may drop it");
    looped.enter();
    looped.turn();
    assert!(task.is_cancelled());
    assert_eq!(polls.get(), 1);
}

#[test]
fn a_root_may_borrow_and_is_dropped_before_its_frame_ends() {
    let (looped, log) = (Loop::new(), Log::default());
    let mut text = String::from("borrowed");
    let output = looped.executor.scoped(
        async {
            turns(2).await;
            text.push_str(" and changed");
            text.len()
        },
        Spawn::default(),
        |_| _ = looped.settle(),
    );
    assert_eq!(output.and_then(Result::ok), Some(20));
    assert_eq!(text, "borrowed and changed");

    // Its driver gives up, or panics: the future goes all the same, before what it borrows.
    let endless = async |dropped: &RefCell<Vec<&str>>| {
        let _dropped = OnDrop(|| dropped.borrow_mut().push("dropped"));
        pending::<()>().await;
    };
    let dropped = RefCell::new(Vec::new());
    let output = looped.executor.scoped(endless(&dropped), Spawn::default(), |_| looped.turn());
    assert!(output.is_none());
    let driver = |_: &crate::executor::TaskRef| {
        looped.turn();
        panic!("the driver panics");
    };
    let scope = || looped.executor.scoped(endless(&dropped), Spawn::default(), driver);
    assert!(catch_unwind(AssertUnwindSafe(scope)).is_err());
    assert_eq!(dropped.take(), ["dropped", "dropped"]);
    assert_eq!(looped.executor.task_count(), 0);
    assert_eq!(log.take(), "");
}

#[test]
fn a_loops_end_drops_all_futures_and_handles_outlive_it() {
    let (looped, log) = (Loop::new(), Log::default());
    let dropped = log.on_drop("dropped");
    let mut waiting = looped.spawn(async move {
        let _dropped = dropped;
        pending::<()>().await;
    });
    let waker = looped.spawn(own_waker());
    let mut never_started = looped.spawn(async {});
    let value = looped.spawn(async { String::from("kept") });
    looped.executor.run(2);
    let late = {
        let log = log.clone();
        OnDrop(move || {
            let executor = current().expect("the end is inside of the loop");
            let log = log.on_drop("spawned at the end");
            executor.spawn(async move { drop(log) }, Spawn::default()).detach();
        })
    };
    looped.spawn(async move { drop(late) }).detach();
    let mut waker = waker;
    let waker = waker.try_result().and_then(Result::ok).expect("it has run");
    drop(looped);
    assert_eq!(log.take(), "spawned at the end dropped");
    assert!(waiting.try_result().is_some_and(|end| end.is_err_and(|error| error.is_cancelled())));
    assert!(never_started.try_result().is_some_and(|end| end.is_err_and(|error| error.is_cancelled())));
    assert!(waiting.is_done() && !waiting.cancel());
    assert_eq!(&*waiting.name(), "Task-1");
    waiting.abort();
    waker.wake_by_ref();
    drop((waker, value));
}

#[test]
fn a_task_made_after_the_end_ends_at_once() {
    let (looped, log) = (Loop::new(), Log::default());
    let executor = looped.executor.clone();
    drop(looped);
    let dropped = log.on_drop("dropped");
    let mut task = executor.spawn(async move { drop(dropped) }, Spawn::default());
    assert_eq!(log.take(), "dropped");
    assert!(task.try_result().is_some_and(|end| end.is_err_and(|error| error.is_cancelled())));
    executor.close();
}

/// SCHED-01, SCHED-12
#[test]
fn callbacks_run_in_order_with_tasks_and_are_not_listed() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = |text: &'static str| {
        let log = log.clone();
        move || log.push(text)
    };
    looped.executor.call_soon(note("first"));
    let task = {
        let note = note("task");
        looped.spawn(async move { note() })
    };
    looped.executor.call_soon(|| panic!("a callback panics"));
    looped.executor.call_soon(note("last"));
    assert_eq!(all_tasks().len(), 1);
    looped.turn();
    assert_eq!(log.take(), "first task last");
    assert_eq!(looped.reports().len(), 1);
    assert!(task.is_done());
}

/// FUT-05, FUT-06
#[test]
fn callbacks_run_in_the_turn_after_the_end_and_before_who_waits() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let task = looped.named("t", gate.pass());
    let (first, second) = (log.clone(), log.clone());
    task.on_done(move |task| first.push(task.name()));
    task.on_done(move |_| second.push("second"));
    let taken_back = task.on_done(|_| unreachable!("it was taken back"));
    assert!(task.remove_on_done(taken_back));
    let name = task.task_ref();
    let waiter = looped.spawn({
        let log = log.clone();
        async move { task.await.map(|()| log.push("waiter")) }
    });
    looped.settle();
    gate.open();
    looped.turn();
    assert!(name.is_done());
    assert_eq!(log.take(), "", "not inside of the end");
    looped.turn();
    assert_eq!(log.take(), "t second waiter");
    let late = log.clone();
    name.on_done(move |_| late.push("late"));
    assert_eq!(log.take(), "");
    looped.settle();
    assert_eq!(log.take(), "late");
    drop(waiter);
}

#[test]
fn the_loops_end_drops_callbacks_that_have_not_run() {
    let log = Log::default();
    let looped = Loop::new();
    let task = looped.spawn(pending::<()>());
    let guard = log.on_drop("dropped");
    task.on_done(move |_| drop(guard));
    let name = task.task_ref();
    drop(looped);
    assert!(name.is_cancelled());
    assert_eq!(log.take(), "dropped");
    drop(task);
}

/// FUT-09, SHIELD-06, adapted
#[test]
fn an_error_that_nobody_has_seen_is_reported_once() {
    fn fail(text: &'static str) -> std::future::Ready<Result<(), &'static str>> {
        ready(Err(text))
    }
    let looped = Loop::new();
    looped.named("detached", fail("a")).detach();
    let kept = looped.named("kept", fail("b"));
    let mut read = looped.named("read", fail("c"));
    let cancelled_after = looped.named("cancelled after", fail("d"));
    let shield = looped.named("shielded", fail("e")).shield();
    let flat = looped.named("flat", ready(Err::<(), _>(std::io::Error::other("f")))).flatten();
    looped.settle();
    assert_eq!(looped.reports(), ["detached: the task failed: a"]);
    drop(kept);
    assert_eq!(looped.reports(), ["kept: the task failed: b"]);
    assert!(read.try_result().is_some());
    assert!(!cancelled_after.cancel());
    drop((read, cancelled_after));
    assert!(looped.reports().is_empty());
    drop(shield);
    drop(flat);
    assert_eq!(looped.reports(), ["shielded: the task failed: e", "flat: the task failed: f"]);
    looped.named("cancelled", pending::<Result<(), &str>>()).cancel();
    looped.settle();
    assert!(looped.reports().is_empty());
}

/// FUT-09, adapted
#[test]
fn an_error_of_any_type_is_reported_if_that_is_asked_for() {
    #[derive(Debug)]
    struct Own;
    impl std::fmt::Display for Own {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a word of one's own")
        }
    }
    let looped = Loop::new();
    looped.named("silent", async { Err::<u8, _>(Own) }).detach();
    looped.settle();
    assert!(looped.reports().is_empty());
    looped.named("told", async { Err::<u8, _>(Own) }).detach_reporting();
    looped
        .named("bad", async { if true { panic!("as planned") } else { Err::<u8, _>(Own) } })
        .detach_reporting();
    looped.named("fine", async { Ok::<_, Own>(7) }).detach_reporting();
    looped.named("quiet", async { Err::<u8, _>(crate::Cancelled) }).detach_reporting();
    looped.settle();
    assert_eq!(
        looped.reports(),
        ["told: the task failed: a word of one's own", "bad: the task panicked: as planned"]
    );
    let late = looped.named("late", async { Err::<u8, _>(Own) });
    looped.settle();
    late.detach_reporting();
    looped.settle();
    assert_eq!(looped.reports(), ["late: the task failed: a word of one's own"]);
}

/// What an error says is code of its own.
#[test]
fn an_error_that_cannot_be_told_stops_nobody() {
    struct Bad;
    impl std::fmt::Display for Bad {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("it cannot be told")
        }
    }
    impl std::fmt::Debug for Bad {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            Ok(())
        }
    }
    impl std::error::Error for Bad {}
    let looped = Loop::new();
    looped.named("t", async { Err::<(), Box<dyn std::error::Error>>(Box::new(Bad)) }).detach();
    looped.settle();
    assert_eq!(looped.reports(), ["t: the task panicked: it cannot be told"]);
}
