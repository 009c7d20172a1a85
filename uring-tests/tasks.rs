//! Tasks: when they run, in what order, what a handle can say, what a panic does, and that none starves the others.

use crate::harness::kinds::{rest, settle, turns};
use crate::harness::peers::{Peer, echo, serve_one};
use crate::harness::probes::{Drops, Gate, Log, OnDrop, once_pending, poll_once};
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use futures_util::future::LocalBoxFuture;
use ringloop::net::TcpStream;
use ringloop::sync::Semaphore;
use ringloop::{
    TaskBuilder, all_tasks, create_task, current, current_task, select, sleep, spawn, timeout, to_thread,
    try_create_task, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(a_new_task_runs_in_the_next_turn_in_order_of_creation),
    once!(outside_of_a_loop_a_task_cannot_be_made),
    once!(outside_of_a_loop_the_future_comes_back),
    once!(nested_awaits_return_their_values),
    once!(a_task_that_awaits_itself_gets_an_error),
    once!(a_task_without_a_handle_runs_on),
    once!(awaiting_what_is_done_does_not_yield),
    once!(outputs_with_heavy_destructors_may_use_the_loop),
    once!(unnamed_tasks_are_numbered),
    once!(a_task_keeps_its_name),
    once!(the_current_task_stays_the_same_between_awaits),
    once!(a_tasks_text_shows_its_state),
    once!(tasks_that_wait_for_each_other_have_a_text),
    once!(a_list_of_tasks_can_be_inspected),
    once!(a_panic_reaches_the_handle_and_nobody_else),
    once!(a_panic_in_a_tasks_drop_harms_nobody_else),
    once!(a_task_runs_once_per_turn_however_often_it_wakes_itself),
    io!(self_waking_tasks_starve_neither_io_nor_timers),
    once!(sleep_zero_is_one_turn),
    once!(a_semaphore_admits_only_so_many),
    once!(a_semaphore_serves_in_order_and_nobody_barges),
    once!(a_semaphore_passes_a_cancelled_waiters_turn_on),
    once!(a_permit_granted_to_a_waiter_that_goes_is_given_back),
    once!(several_permits_wake_all_that_fit),
    once!(a_permit_is_released_on_every_way_out),
    once!(a_semaphore_of_zero_admits_nobody),
    once!(a_thread_runs_what_would_block),
    once!(a_cancelled_wait_for_a_thread_returns_at_once),
    once!(a_task_of_another_thread_is_one_task),
    once!(another_thread_can_run_code_on_the_loop),
    once!(a_chain_of_tasks_that_abort_each_other_takes_no_stack).seconds(60),
    once!(names_and_reasons_are_converted_outside_of_the_task),
];

/// TASK-01
fn a_new_task_runs_in_the_next_turn_in_order_of_creation(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let tasks: Vec<_> = (0..5)
            .map(|number| {
                let log = log.clone();
                create_task(async move { log.push(number) })
            })
            .collect();
        assert_eq!(log.len(), 0, "creating does not run");
        yield_now().await;
        assert_eq!(log.all(), [0, 1, 2, 3, 4], "they ran before the creator went on");
        for task in tasks {
            task.await.expect("no panic");
        }
    });
}

/// TASK-02
fn outside_of_a_loop_a_task_cannot_be_made(_: &Ctx) {
    let drops = Drops::new();
    let token = drops.token();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(create_task(async move { drop(token) }))));
    let payload = panic.expect_err("there is no loop");
    let text = payload.downcast_ref::<String>().map_or_else(
        || payload.downcast_ref::<&str>().copied().unwrap_or_default().to_owned(),
        String::clone,
    );
    assert!(text.contains("run"), "the panic names the remedy: {text:?}");
    assert_eq!(drops.count(), 1, "the future is not leaked");
    assert!(current_task().is_none() && all_tasks().is_empty());
}

/// TASK-02
fn outside_of_a_loop_the_future_comes_back(ctx: &Ctx) {
    let drops = Drops::new();
    let token = drops.token();
    let future = async move {
        drop(token);
        7
    };
    let Err(future) = try_create_task(future) else { panic!("there is no loop") };
    let Err(future) = TaskBuilder::new().name("later").eager().try_create_task(future) else {
        panic!("there is no loop")
    };
    assert_eq!(drops.count(), 0);
    let value = ctx.run(async {
        let Ok(task) = TaskBuilder::new().name("now").try_create_task(future) else {
            panic!("there is a loop")
        };
        assert_eq!(&*task.name(), "now");
        task.await
    });
    assert_eq!((value.expect("no panic"), drops.count()), (7, 1));
}

/// TASK-03
fn nested_awaits_return_their_values(ctx: &Ctx) {
    async fn sum(depth: u32) -> u32 {
        once_pending().await;
        if depth == 0 { 0 } else { depth + Box::pin(sum(depth - 1)).await }
    }
    ctx.run(async {
        assert_eq!(create_task(sum(20)).await.expect("no panic"), 210);
        assert_eq!(spawn(sum(2)).await.expect("no panic"), 3, "the alias");
    });
}

/// TASK-05
fn a_task_that_awaits_itself_gets_an_error(ctx: &Ctx) {
    ctx.run(async {
        let handle: Rc<RefCell<Option<ringloop::Task<()>>>> = Rc::default();
        let log = Log::new();
        let task = create_task({
            let (handle, log) = (handle.clone(), log.clone());
            async move {
                let mut this = handle.borrow_mut().take().expect("the creator has put it there");
                log.push((&mut this).await.is_err());
            }
        });
        *handle.borrow_mut() = Some(task);
        turns(3).await;
        assert_eq!(log.all(), [true]);
    });
}

/// TASK-10, SHIELD-07
fn a_task_without_a_handle_runs_on(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        drop(create_task({
            let log = log.clone();
            async move {
                sleep(Duration::from_secs(1)).await;
                log.push("dropped");
            }
        }));
        create_task({
            let log = log.clone();
            async move {
                sleep(Duration::from_secs(2)).await;
                log.push("detached");
            }
        })
        .detach();
        sleep(Duration::from_secs(3)).await;
        assert_eq!(log.all(), ["dropped", "detached"]);
    });
}

/// TASK-11, SCHED-16
fn awaiting_what_is_done_does_not_yield(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let mut done = create_task(async { 7 });
        yield_now().await;
        assert!(done.is_done());
        create_task({
            let log = log.clone();
            async move { log.push("another task") }
        })
        .detach();
        assert_eq!((&mut done).await.expect("no panic"), 7);
        let semaphore = Semaphore::new(1);
        drop(semaphore.acquire().await);
        std::future::ready(()).await;
        assert_eq!(log.len(), 0, "nobody else had a turn");
        yield_now().await;
        assert_eq!(log.len(), 1);
    });
}

/// TASK-15
fn outputs_with_heavy_destructors_may_use_the_loop(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let tasks: Vec<_> = (0..100)
            .map(|number| {
                let log = log.clone();
                create_task(async move {
                    if number % 2 == 0 {
                        once_pending().await;
                    }
                    OnDrop(move || {
                        // A destructor that spawns, and looks at the loop, while its own task is being taken apart.
                        let log = log.clone();
                        create_task(async move { log.push(number) }).detach();
                        assert!(!all_tasks().is_empty());
                    })
                })
            })
            .collect();
        drop(tasks);
        settle(|_| log.len() == 100).await;
    });
}

/// INTRO-01
fn unnamed_tasks_are_numbered(ctx: &Ctx) {
    ctx.run(async {
        let (one, other) = (create_task(yield_now()), create_task(yield_now()));
        let number = |name: &str| {
            name.strip_prefix("Task-").expect("asyncio's prefix").parse::<u32>().expect("digits")
        };
        assert_eq!(number(&one.name()) + 1, number(&other.name()));
        one.await.expect("no panic");
        other.await.expect("no panic");
    });
}

/// INTRO-02
fn a_task_keeps_its_name(ctx: &Ctx) {
    ctx.run(async {
        let task = TaskBuilder::new()
            .name("worker")
            .create_task(async { current_task().expect("a task runs").name() });
        assert_eq!(&*task.name(), "worker");
        let reference = task.task_ref();
        assert_eq!(&*task.await.expect("no panic"), "worker");
        assert_eq!(&*reference.name(), "worker", "also after its end");
        reference.set_name(format!("worker {}", 2));
        assert_eq!(&*reference.name(), "worker 2");
    });
}

/// INTRO-04
fn the_current_task_stays_the_same_between_awaits(ctx: &Ctx) {
    assert!(current_task().is_none());
    ctx.run(async {
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                create_task(async {
                    let before = current_task().expect("a task runs");
                    for _ in 0..5 {
                        yield_now().await;
                        assert!(current_task().expect("a task runs").same(&before));
                    }
                    before
                })
            })
            .collect();
        let references: Vec<_> = tasks.iter().map(|task| task.task_ref()).collect();
        for (task, reference) in tasks.into_iter().zip(references) {
            assert!(task.await.expect("no panic").same(&reference));
        }
    });
    assert!(current_task().is_none());
}

/// INTRO-06
fn a_tasks_text_shows_its_state(ctx: &Ctx) {
    ctx.run(async {
        let mut task = TaskBuilder::new().name("shown").create_task(async {
            let _ = ringloop::catch_cancel(pending::<()>()).await;
            once_pending().await;
            format!("{:?}", current_task().expect("a task runs"))
        });
        yield_now().await;
        let waiting = format!("{task:?}");
        assert!(waiting.contains("shown") && waiting.contains("pending"), "{waiting}");
        task.cancel();
        assert!(format!("{task:?}").contains("cancelling"), "{task:?}");
        task.uncancel();
        task.cancel();
        let running = (&mut task).await.expect("it caught the request");
        assert!(running.contains("shown"), "{running}");
        assert!(format!("{task:?}").contains("finished"), "{task:?}");
        let mut ended = create_task(pending::<()>());
        ended.cancel();
        let _ = (&mut ended).await;
        assert!(format!("{ended:?}").contains("cancelled"), "{ended:?}");
    });
}

/// INTRO-12
fn tasks_that_wait_for_each_other_have_a_text(ctx: &Ctx) {
    ctx.run(async {
        let other: Rc<RefCell<Option<ringloop::Task<()>>>> = Rc::default();
        let one = create_task({
            let other = other.clone();
            async move {
                let mut other = other.borrow_mut().take().expect("the creator has put it there");
                let _ = (&mut other).await;
            }
        });
        let canceller = one.task_ref();
        let watched = one.task_ref();
        *other.borrow_mut() = Some(create_task(async move {
            let _ = one.await;
        }));
        turns(3).await;
        assert!(format!("{watched:?}").contains("Task-"));
        canceller.abort();
        turns(3).await;
        assert!(watched.is_done());
    });
}

/// INTRO-13, and the tutorial's section 7
fn a_list_of_tasks_can_be_inspected(ctx: &Ctx) {
    ctx.run_paused(async {
        let name = |number: u64| TaskBuilder::new().name(format!("Task_{number}"));
        let tasks: Vec<_> = (1..=3).map(|n| name(n).create_task(sleep(Duration::from_secs(n)))).collect();
        let state = || {
            tasks.iter().map(|t| (t.name().to_string(), t.is_done(), t.is_cancelled())).collect::<Vec<_>>()
        };
        let named = |ended: [bool; 3], cancelled: [bool; 3]| {
            (0..3).map(|n| (format!("Task_{}", n + 1), ended[n], cancelled[n])).collect::<Vec<_>>()
        };
        assert_eq!(state(), named([false; 3], [false; 3]));
        assert_eq!(all_tasks().len(), 4, "and the root");
        sleep(Duration::from_millis(1500)).await;
        assert_eq!(state(), named([true, false, false], [false; 3]));
        tasks[1].cancel();
        assert_eq!(state(), named([true, false, false], [false; 3]), "a request is not yet an end");
        yield_now().await;
        assert_eq!(state(), named([true, true, false], [false, true, false]));
        sleep(Duration::from_secs(2)).await;
        assert_eq!(state(), named([true; 3], [false, true, false]));
        assert_eq!(all_tasks().len(), 1);
    });
}

fn a_panic_reaches_the_handle_and_nobody_else(ctx: &Ctx) {
    ctx.run(async {
        let (neighbour, gate) = (Log::new(), Gate::new());
        let beside = create_task({
            let (neighbour, gate) = (neighbour.clone(), gate.clone());
            async move {
                gate.pass().await;
                neighbour.push("lives");
            }
        });
        let task = create_task(async {
            once_pending().await;
            panic!("the payload");
        });
        let error: ringloop::JoinError = task.await.map(|(): ()| ()).expect_err("it panicked");
        assert!(error.is_panic() && !error.is_cancelled());
        assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"the payload"));
        gate.open();
        beside.await.expect("it is not concerned");
        assert_eq!(neighbour.len(), 1);
    });
}

fn a_panic_in_a_tasks_drop_harms_nobody_else(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let bad = create_task(async {
            let _guard = OnDrop(|| panic!("a bad destructor"));
            pending::<()>().await;
        });
        let good = create_task({
            let log = log.clone();
            async move {
                once_pending().await;
                log.push("lives");
            }
        });
        yield_now().await;
        bad.cancel();
        let error = bad.await.expect_err("it was cancelled, and its destructor panicked");
        assert!(error.is_panic() || error.is_cancelled());
        good.await.expect("it is not concerned");
        assert_eq!(log.all(), ["lives"]);
        assert_eq!(all_tasks().len(), 1);
    });
}

/// SCHED-02 for tasks: what a turn wakes runs in the next one.
fn a_task_runs_once_per_turn_however_often_it_wakes_itself(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        for name in ["a", "b"] {
            let log = log.clone();
            create_task(async move {
                for _ in 0..3 {
                    poll_fn(|cx| {
                        cx.waker().wake_by_ref();
                        cx.waker().wake_by_ref();
                        Poll::Ready(())
                    })
                    .await;
                    log.push(name);
                    yield_now().await;
                }
            })
            .detach();
        }
        turns(5).await;
        assert_eq!(log.all(), ["a", "b", "a", "b", "a", "b"]);
    });
}

/// Tasks that are always ready keep the loop from ever sleeping; an echo and a ticker go on beside them.
fn self_waking_tasks_starve_neither_io_nor_timers(ctx: &Ctx) {
    let (address, peer) = serve_one(echo);
    ctx.run(async {
        let spinners: Vec<_> = (0..20)
            .map(|_| {
                create_task(poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    Poll::<()>::Pending
                }))
            })
            .collect();
        let ticks = Rc::new(Cell::new(0));
        let ticker = create_task({
            let ticks = ticks.clone();
            async move {
                loop {
                    sleep(Duration::from_millis(1)).await;
                    ticks.set(ticks.get() + 1);
                }
            }
        });
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        for round in 0..50_u8 {
            stream.write_all(&[round; 10]).await.expect("the peer reads");
            let mut buffer = [0; 10];
            stream.read_exact(&mut buffer).await.expect("the peer answers");
            assert_eq!(buffer, [round; 10]);
        }
        while ticks.get() < 5 {
            yield_now().await;
        }
        for task in spinners.iter().map(|task| task.task_ref()).chain([ticker.task_ref()]) {
            task.cancel();
        }
        drop(stream);
        rest().await;
    });
    assert_eq!(peer.end(), 500);
}

/// SCHED-08
fn sleep_zero_is_one_turn(ctx: &Ctx) {
    ctx.run(async {
        let waits: [LocalBoxFuture<()>; 2] = [Box::pin(sleep(Duration::ZERO)), Box::pin(yield_now())];
        for wait in waits {
            let log = Log::new();
            for name in ["earlier", "also earlier"] {
                let log = log.clone();
                create_task(async move {
                    log.push(name);
                    once_pending().await;
                    log.push("next turn");
                })
                .detach();
            }
            wait.await;
            assert_eq!(log.all(), ["earlier", "also earlier"]);
            turns(2).await;
        }
    });
}

/// SEM-02
fn a_semaphore_admits_only_so_many(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, semaphore) = (ringloop::now(), Semaphore::new(3));
        let (inside, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let (semaphore, inside, most) = (semaphore.clone(), inside.clone(), most.clone());
                create_task(async move {
                    let _permit = semaphore.acquire().await;
                    inside.set(inside.get() + 1);
                    most.set(most.get().max(inside.get()));
                    sleep(Duration::from_secs(2)).await;
                    inside.set(inside.get() - 1);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(most.get(), 3);
        assert_eq!(ringloop::now() - start, Duration::from_secs(8));
    });
}

/// SEM-03, SEM-04
fn a_semaphore_serves_in_order_and_nobody_barges(ctx: &Ctx) {
    ctx.run(async {
        let (semaphore, log) = (Semaphore::new(1), Log::new());
        let first = semaphore.acquire().await;
        for number in 0..5 {
            let (semaphore, log) = (semaphore.clone(), log.clone());
            create_task(async move {
                for round in 0..2 {
                    let _permit = semaphore.acquire().await;
                    log.push((round, number));
                }
            })
            .detach();
        }
        yield_now().await;
        drop(first);
        assert!(semaphore.is_locked(), "the permit already belongs to the first waiter");
        assert!(semaphore.try_acquire().is_none(), "nobody barges");
        let again = semaphore.acquire().await;
        log.push((9, 9));
        drop(again);
        settle(|_| log.len() == 11).await;
        let order = log.all();
        assert_eq!(order[..5], [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]);
        assert_eq!(order[5], (9, 9), "who came back queued behind the five");
        assert_eq!(order[6..], [(1, 0), (1, 1), (1, 2), (1, 3), (1, 4)]);
    });
}

/// SEM-05. A waiter whose cancel arrives first is skipped; one that was granted its permit in the same turn keeps it (a
/// completed value wins), and then gives it back at its end. Either way the next one gets it.
fn a_semaphore_passes_a_cancelled_waiters_turn_on(ctx: &Ctx) {
    ctx.run(async {
        for (in_the_same_turn, expected) in [(false, [false, true, true]), (true, [true, true, true])] {
            let semaphore = Semaphore::new(1);
            let held = semaphore.acquire().await;
            let tasks: Vec<_> = (0..3)
                .map(|_| {
                    let semaphore = semaphore.clone();
                    create_task(async move { drop(semaphore.acquire().await) })
                })
                .collect();
            yield_now().await;
            tasks[0].cancel();
            if !in_the_same_turn {
                yield_now().await;
            }
            drop(held);
            let mut ends = Vec::new();
            for task in tasks {
                ends.push(task.await.is_ok());
            }
            assert_eq!(ends, expected);
            assert!(!semaphore.is_locked());
        }
    });
}

/// SEM-06: the waiter was granted its permit, but goes before it is polled again; by cancel, by timeout, by select.
fn a_permit_granted_to_a_waiter_that_goes_is_given_back(ctx: &Ctx) {
    ctx.run(async {
        let semaphore = Semaphore::new(1);
        let held = semaphore.acquire().await;
        let waiter = create_task({
            let semaphore = semaphore.clone();
            async move {
                drop(semaphore.acquire().await);
                pending::<()>().await;
            }
        });
        yield_now().await;
        drop(held);
        waiter.abort();
        assert!(waiter.await.expect_err("it was dropped where it waited").is_cancelled());
        let held = semaphore.try_acquire().expect("nothing is lost by a cancel");

        let mut acquire = Box::pin(semaphore.acquire());
        assert!(poll_once(&mut acquire).await.is_pending());
        drop(held);
        drop(acquire);
        let held = semaphore.try_acquire().expect("nothing is lost by a drop");

        let gate = Gate::new();
        let mut race = Box::pin(async {
            select! {
                () = gate.pass() => "gate",
                _permit = semaphore.acquire() => "permit",
            }
        });
        assert!(poll_once(&mut race).await.is_pending());
        gate.open();
        drop(held);
        assert_eq!(race.await, "gate", "the branch that stands first");
        let _held = semaphore.try_acquire().expect("nothing is lost by a select");
        timeout(Duration::from_millis(1), semaphore.acquire()).await.expect_err("it is held");
    });
}

/// SEM-07
fn several_permits_wake_all_that_fit(ctx: &Ctx) {
    ctx.run(async {
        let (semaphore, log) = (Semaphore::new(3), Log::new());
        let all = semaphore.acquire_many(3).await;
        for number in 0..4 {
            let (semaphore, log) = (semaphore.clone(), log.clone());
            create_task(async move {
                let permit = semaphore.acquire().await;
                log.push(number);
                pending::<()>().await;
                drop(permit);
            })
            .detach();
        }
        yield_now().await;
        drop(all);
        turns(2).await;
        assert_eq!(log.all(), [0, 1, 2]);
        all_tasks()
            .iter()
            .filter(|task| !task.same(&current_task().expect("the root")))
            .for_each(|task| task.abort());
        drop(semaphore.acquire_many(3).await);
    });
}

/// SEM-08
fn a_permit_is_released_on_every_way_out(ctx: &Ctx) {
    ctx.run(async {
        let semaphore = Semaphore::new(1);
        let returned = create_task({
            let semaphore = semaphore.clone();
            async move {
                let _permit = semaphore.acquire().await;
                Err::<(), _>("an error")
            }
        });
        assert_eq!(returned.await.expect("no panic"), Err("an error"));
        assert!(!semaphore.is_locked());
        let panicked = create_task({
            let semaphore = semaphore.clone();
            async move {
                let _permit = semaphore.acquire().await;
                panic!("with a permit");
            }
        });
        assert!(panicked.await.map(|(): ()| ()).expect_err("it panicked").is_panic());
        assert!(!semaphore.is_locked());
        let cancelled = create_task({
            let semaphore = semaphore.clone();
            async move {
                let _permit = semaphore.acquire().await;
                pending::<()>().await;
            }
        });
        yield_now().await;
        assert!(semaphore.is_locked());
        cancelled.cancel();
        assert!(cancelled.await.is_err());
        assert!(!semaphore.is_locked());
    });
}

/// SEM-01
fn a_semaphore_of_zero_admits_nobody(ctx: &Ctx) {
    ctx.run_paused(async {
        let semaphore = Semaphore::new(0);
        assert!(semaphore.is_locked());
        assert!(semaphore.try_acquire().is_none());
        timeout(Duration::from_secs(60), semaphore.acquire()).await.expect_err("nobody ever releases");
    });
}

/// THREAD-03, THREAD-05
fn a_thread_runs_what_would_block(ctx: &Ctx) {
    let home = std::thread::current().id();
    ctx.run(async move {
        let jobs: Vec<_> = (0..10).map(|n| to_thread(move || (n, std::thread::current().id()))).collect();
        for (expected, job) in jobs.into_iter().enumerate() {
            let (number, thread) = job.await.expect("no panic");
            assert_eq!(number, expected);
            assert_ne!(thread, home);
        }
        let error = to_thread(|| panic!("in the pool")).await.map(|(): ()| ()).expect_err("it panicked");
        assert_eq!(error.into_panic().downcast_ref::<&str>(), Some(&"in the pool"));
        assert_eq!(to_thread(|| 7).await.expect("the pool heals"), 7);
    });
}

/// THREAD-06
fn a_cancelled_wait_for_a_thread_returns_at_once(ctx: &Ctx) {
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let (done, ended) = std::sync::mpsc::channel();
    ctx.run(async move {
        let waiter = create_task(to_thread(move || {
            let _ = receiver.recv();
            done.send("the thread went on").expect("the trial waits for it");
        }));
        turns(3).await;
        waiter.cancel();
        assert!(waiter.await.expect_err("the waiter was dropped").is_cancelled());
        drop(sender);
        settle(|now| now.operations == 0).await;
    });
    assert_eq!(ended.recv(), Ok("the thread went on"));
}

/// READ-05. As in asyncio: two tasks with main, and the future of the other thread is cancelled with the task.
fn a_task_of_another_thread_is_one_task(ctx: &Ctx) {
    let (tell, told) = std::sync::mpsc::channel();
    ctx.run(async {
        let handle = current().handle();
        let other = std::thread::spawn(move || {
            let task = handle.run_coroutine_threadsafe(async || std::future::pending::<()>().await);
            tell.send(()).expect("the trial listens");
            task.wait()
        });
        told.recv().expect("it asks");
        turns(2).await;
        let others: Vec<_> = all_tasks().into_iter().filter(|task| &*task.name() != "main").collect();
        assert_eq!(others.len(), 1, "{others:?}");
        others.iter().for_each(|task| assert!(task.cancel()));
        turns(3).await;
        assert_eq!(all_tasks().len(), 1);
        let error = other.join().expect("no panic").expect_err("it was cancelled");
        assert!(error.is_cancelled(), "{error}");
    });
}

/// RCT-01, RCT-02, RCT-03, CST-02
fn another_thread_can_run_code_on_the_loop(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let handle = runner.handle();
    let other = Peer::play(move || {
        let here = std::thread::current().id();
        let (sender, receiver) = std::sync::mpsc::channel();
        for number in 0..3 {
            let sender = sender.clone();
            handle
                .call_soon_threadsafe(move || {
                    sender.send((number, std::thread::current().id())).expect("it listens")
                })
                .expect("the loop runs");
        }
        for number in 0..3 {
            let (called, thread) = receiver.recv().expect("the loop calls");
            assert_eq!(called, number, "in order");
            assert_ne!(thread, here);
        }
        let answer = handle.run_coroutine_threadsafe(async || {
            sleep(Duration::from_millis(1)).await;
            42
        });
        assert_eq!(answer.wait().expect("no panic"), 42);
        let panicking = handle.run_coroutine_threadsafe(async || -> () { panic!("on the loop") });
        assert!(panicking.wait().expect_err("it panicked").is_panic());
        let mut endless = handle.run_coroutine_threadsafe(async || pending::<()>().await);
        assert!(endless.wait_timeout(Duration::from_millis(5)).expect("not ended").is_none());
        endless.cancel();
        assert!(endless.wait().expect_err("it was cancelled").is_cancelled());
    });
    runner
        .run(async {
            while !other.is_over() {
                sleep(Duration::from_millis(1)).await;
            }
            settle(|now| now.tasks <= 1).await;
        })
        .expect("it runs");
    other.end();
    runner.close().expect("it ends");
}

/// BUG-07. On a stack of 256 KiB, where a chain of a few hundred links did not fit; with tokio, aborts go through its scheduler.
fn a_chain_of_tasks_that_abort_each_other_takes_no_stack(_: &Ctx) {
    const LINKS: usize = 100_000;
    let chain = |links: usize, dropped: Rc<Cell<usize>>| {
        let mut last = create_task(std::future::pending::<()>()).abort_on_drop();
        for _ in 0..links {
            let (before, drops) = (last, dropped.clone());
            let counts = OnDrop(move || drops.set(drops.get() + 1));
            last = create_task(async move {
                let _counts = counts;
                _ = before.await;
            })
            .abort_on_drop();
        }
        last
    };
    let all = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
        let dropped = Rc::new(Cell::new(0));
        // By a drop of the handle, by an abort of the owner's task, and at the loop's end.
        ringloop::run(async {
            let last = chain(LINKS, dropped.clone());
            turns(2).await;
            drop(last);
            assert_eq!(dropped.take(), LINKS);

            let last = chain(LINKS, dropped.clone());
            let owner = create_task(async move { _ = last.await });
            turns(2).await;
            owner.abort();
            assert_eq!(dropped.take(), LINKS);

            let last = chain(LINKS, dropped.clone());
            create_task(async move { _ = last.await }).detach();
            turns(2).await;
        })
        .expect("it runs");
        assert_eq!(dropped.take(), LINKS);
    });
    all.expect("a thread can start").join().expect("it does not panic");
}

/// READ-15.
fn names_and_reasons_are_converted_outside_of_the_task(_: &Ctx) {
    struct Nosy(ringloop::TaskRef);
    impl From<Nosy> for std::borrow::Cow<'static, str> {
        fn from(nosy: Nosy) -> Self {
            nosy.0.set_name("by itself");
            format!("{} was asked", nosy.0.name()).into()
        }
    }
    ringloop::run(async {
        let task = create_task(std::future::pending::<()>());
        let nosy = || Nosy(task.task_ref().clone());
        task.set_name(nosy());
        assert_eq!(&*task.name(), "by itself was asked");
        task.cancel_with(nosy());
        assert_eq!(&*task.name(), "by itself");
        let end = task.await.expect_err("it was cancelled");
        assert!(end.is_cancelled() && end.to_string().contains("by itself was asked"), "{end}");
    })
    .expect("it runs");
}
