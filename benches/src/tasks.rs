//! Tasks, time, channels and threads: a runtime without I/O.
//!
//! To add a workload: a variant of [`Work`], an entry of [`CATALOGUE`], a function over [`Tasks`] and its line in [`perform`].

use std::future::Future;
use std::hint::{black_box, spin_loop};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc as blocking;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_channel::{mpsc, oneshot};
use futures_util::StreamExt;
use futures_util::future::join_all;

use crate::contender::{Runtime, cannot};
use crate::machine;
use crate::meter::{Meter, Span};
use crate::session::{Core, keep_to};
use crate::workload::{self, A_SECOND, Figure, Limit, RAW, Target, Workload, cpu, cpu_of_best_peer};

/// What is done with tasks.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Spawn so many, join them. An operation is a task.
    Spawn { batch: usize },
    /// Yields among so many tasks.
    Yield { tasks: usize },
    /// Two tasks, two channels: a number goes there and back. An operation is a message.
    PingPong,
    /// A task asks another, with a one-shot channel for the answer.
    Requests,
    /// As many tasks as operations, each sleeps until a time of its own, spread over a second.
    Sleeps,
    /// A timeout that never fires round a future that is ready.
    TimeoutReady,
    /// The same round a future that is pending once.
    TimeoutPending,
    /// So many tasks, each wakes by a message of another thread, which the loop's thread waits for: it does not sleep.
    WakeAwake { tasks: usize },
    /// Another thread, on another core, answers after a while: the loop sleeps.
    WakeAsleep,
    /// Another thread, on the same core, answers at once, and sleeps as well.
    WakeInTurn,
    /// A job for a thread of the pool that does nothing.
    ToThread,
    /// So many futures that yield once, joined. An operation is a future.
    JoinFutures { count: usize },
    /// The same, each in a task.
    JoinTasks { count: usize },
    /// As many tasks as operations, of 32 bytes each, that wait for ever.
    Idle,
}

/// The workloads of this family, in the order of the table.
pub const CATALOGUE: &[Workload] = &[
    Workload {
        targets: &[cpu(2.5, RAW)],
        ..entry("spawn-batch", "spawn and join, batches of 1000", Work::Spawn { batch: 1000 })
    },
    Workload {
        targets: &[cpu(2.3, RAW)],
        ..entry("spawn-one", "spawn and join, one by one", Work::Spawn { batch: 1 })
    },
    Workload {
        targets: &[cpu(4.0, RAW)],
        ..entry("yield", "yield among 100 tasks", Work::Yield { tasks: 100 })
    },
    Workload { targets: &[cpu(1.25, RAW)], ..entry("ping-pong", "channel ping-pong", Work::PingPong) },
    Workload { targets: &[cpu(1.15, RAW)], ..entry("oneshot", "oneshot per request", Work::Requests) },
    Workload {
        span: Span::Operations { warm_up: 0, counted: 100_000 },
        base: TOKIO,
        targets: &[
            cpu(1.0, TOKIO),
            Target { figure: Figure::Noted("late p99", "ns"), limit: Limit::AtMost(1e6) },
            Target { figure: Figure::Noted("early", ""), limit: Limit::AtMost(0.0) },
        ],
        ..entry("sleeps", "100,000 sleeps spread over a second", Work::Sleeps)
    },
    Workload {
        targets: &[cpu(1.0, RAW)],
        ..entry("timeout-ready", "timeout round a ready future", Work::TimeoutReady)
    },
    Workload {
        targets: &[cpu(2.0, RAW)],
        ..entry("timeout-pending", "timeout round a future that is pending once", Work::TimeoutPending)
    },
    Workload {
        base: TOKIO,
        targets: &[cpu_of_best_peer(1.0)],
        ..entry("wake-awake", "wake from a thread, loop awake", Work::WakeAwake { tasks: 100 })
    },
    Workload {
        span: Span::Operations { warm_up: 0, counted: 10_000 },
        key: LATENCY,
        base: TOKIO,
        targets: &[Target { figure: LATENCY, limit: Limit::TimesBestPeer(1.0) }],
        ..entry("wake-asleep", "wake from a thread, loop asleep: median latency", Work::WakeAsleep)
    },
    Workload {
        base: TOKIO,
        targets: &[cpu_of_best_peer(1.0)],
        ..entry("wake-in-turn", "wake from a thread, loop and thread in turn", Work::WakeInTurn)
    },
    Workload {
        base: TOKIO,
        targets: &[cpu(0.9, TOKIO)],
        ..entry("to-thread", "to_thread round trip", Work::ToThread)
    },
    Workload {
        targets: &[cpu(1.1, RAW)],
        ..entry("join-futures", "join_all of 10,000 futures", Work::JoinFutures { count: 10_000 })
    },
    Workload {
        targets: &[cpu(1.3, RAW)],
        ..entry("join-tasks", "join_all of 10,000 tasks", Work::JoinTasks { count: 10_000 })
    },
    Workload {
        span: Span::Operations { warm_up: 0, counted: 100_000 },
        key: BYTES,
        targets: &[Target { figure: BYTES, limit: Limit::AtMost(110.0) }],
        ..entry("idle-task", "memory of an idle task with 32 B of state", Work::Idle)
    },
];

const TOKIO: &str = "tokio";
const LATENCY: Figure = Figure::Noted("latency p50", "ns");
const BYTES: Figure = Figure::Noted("bytes", "B");

const fn entry(id: &'static str, title: &'static str, work: Work) -> Workload {
    let work = workload::Work::Tasks(work);
    Workload { id, title, work, span: A_SECOND, key: Figure::CpuTime, base: RAW, targets: &[] }
}

/// A runtime's tasks, as its users write them.
pub trait Tasks: Runtime {
    /// Lets the other tasks that are ready run first. Here by hand, for a runtime that does not bring it.
    fn yield_now() -> impl Future<Output = ()> + 'static {
        PendingOnce::new()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static;

    /// What comes of the future, or None where that takes longer.
    fn timeout<F: Future>(limit: Duration, future: F) -> impl Future<Output = Option<F::Output>>;

    /// Has a thread of the runtime's pool do it.
    fn to_thread<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static)
    -> impl Future<Output = T>;

    /// Why the runtime cannot do this, if so.
    fn cannot(_work: Work) -> Option<&'static str> {
        None
    }
}

/// Does this work with this runtime.
pub fn perform<R: Tasks>(runtime: &R, work: Work, meter: &'static Meter) -> io::Result<()> {
    if let Some(why) = R::cannot(work) {
        return Err(cannot(why));
    }
    match work {
        Work::Spawn { batch } => runtime.run(spawn::<R>(batch, meter)),
        Work::Yield { tasks } => runtime.run(yield_among::<R>(tasks, meter)),
        Work::PingPong => runtime.run(ping_pong::<R>(meter)),
        Work::Requests => runtime.run(requests::<R>(meter)),
        Work::Sleeps => runtime.run(sleeps::<R>(meter)),
        Work::TimeoutReady => runtime.run(timeouts::<R, _>(|| std::future::ready(()), meter)),
        Work::TimeoutPending => runtime.run(timeouts::<R, _>(PendingOnce::new, meter)),
        Work::WakeAwake { tasks } => runtime.run(wake_awake::<R>(tasks, meter)),
        Work::WakeAsleep => runtime.run(wake_asleep(meter)),
        Work::WakeInTurn => runtime.run(wake_in_turn(meter)),
        Work::ToThread => runtime.run(to_thread::<R>(meter)),
        Work::JoinFutures { count } => runtime.run(join_futures::<R>(count, meter)),
        Work::JoinTasks { count } => runtime.run(join_tasks::<R>(count, meter)),
        Work::Idle => runtime.run(idle::<R>(meter))?,
    }
    Ok(())
}

/// Operations that the meter is told of at once, where a single one is a matter of nanoseconds.
const AT_ONCE: u64 = 1000;

async fn spawn<R: Tasks>(batch: usize, meter: &'static Meter) {
    let mut handles = Vec::with_capacity(batch);
    let (mut sum, mut rounds) = (0, 0);
    while !meter.is_over() {
        for start in (0..AT_ONCE as usize).step_by(batch) {
            handles.extend((start..start + batch).map(|number| R::spawn(async move { number as u64 })));
            for handle in handles.drain(..) {
                sum += handle.await;
            }
        }
        rounds += 1;
        meter.add_many(AT_ONCE);
    }
    assert_eq!(sum, rounds * (AT_ONCE - 1) * AT_ONCE / 2, "each task gives its number");
}

async fn yield_among<R: Tasks>(tasks: usize, meter: &'static Meter) {
    let each = AT_ONCE / tasks as u64;
    let yielding = move || async move {
        while !meter.is_over() {
            for _ in 0..each {
                R::yield_now().await;
            }
            meter.add_many(each);
        }
    };
    let handles: Vec<_> = (0..tasks).map(|_| R::spawn(yielding())).collect();
    for handle in handles {
        handle.await;
    }
}

async fn ping_pong<R: Tasks>(meter: &'static Meter) {
    let (to_server, mut at_server) = mpsc::unbounded::<u64>();
    let (to_client, mut at_client) = mpsc::unbounded::<u64>();
    let server = R::spawn(async move {
        while let Some(number) = at_server.next().await {
            // At the end the client is gone.
            let _ = to_client.unbounded_send(number + 1);
        }
    });
    let client = R::spawn(async move {
        let mut number = 0;
        while !meter.is_over() {
            for _ in 0..AT_ONCE / 2 {
                to_server.unbounded_send(number).expect("the server is there");
                let answer = at_client.next().await.expect("the server answers");
                assert_eq!(answer, number + 1, "a message came back changed");
                number = answer;
            }
            meter.add_many(AT_ONCE);
        }
    });
    client.await;
    server.await;
}

async fn requests<R: Tasks>(meter: &'static Meter) {
    let (to_server, mut at_server) = mpsc::unbounded::<(u64, oneshot::Sender<u64>)>();
    let server = R::spawn(async move {
        while let Some((number, answer)) = at_server.next().await {
            answer.send(number + 1).expect("the client waits");
        }
    });
    let client = R::spawn(async move {
        let mut number = 0;
        while !meter.is_over() {
            for _ in 0..AT_ONCE {
                let (sender, receiver) = oneshot::channel();
                to_server.unbounded_send((number, sender)).expect("the server is there");
                let answer = receiver.await.expect("the server answers");
                assert_eq!(answer, number + 1, "another request's answer");
                number = answer;
            }
            meter.add_many(AT_ONCE);
        }
    });
    client.await;
    server.await;
}

/// The first sleep ends so long after the first task is made: by then all are.
const SLEEPS_FROM: Duration = Duration::from_millis(200);
const SLEEPS_SPREAD: Duration = Duration::from_secs(1);

async fn sleeps<R: Tasks>(meter: &'static Meter) {
    let count = meter.operations();
    meter.begin();
    let start = Instant::now();
    let sleeper = |number: u64| async move {
        // Neighbours in time are not neighbours in the order of making: 61,803 has no divisor in common with the count.
        let place = number * 61_803 % count;
        let due = start + SLEEPS_FROM + SLEEPS_SPREAD.mul_f64(place as f64 / count as f64);
        R::sleep(due - Instant::now()).await;
        let woken = Instant::now();
        woken.checked_duration_since(due)
    };
    let handles: Vec<_> = (0..count).map(|number| R::spawn(sleeper(number))).collect();
    let (mut late, mut early) = (Vec::with_capacity(count as usize), 0);
    for handle in handles {
        match handle.await {
            Some(by) => late.push(by),
            None => early += 1,
        }
    }
    meter.add_many(count);
    meter.end();
    meter.note("early", f64::from(early));
    meter.note_percentiles("late", &mut late);
}

async fn timeouts<R: Tasks, F: Future>(make: impl Fn() -> F, meter: &'static Meter) {
    while !meter.is_over() {
        for _ in 0..AT_ONCE {
            let done = R::timeout(Duration::from_secs(60), make()).await;
            assert!(done.is_some(), "the future is faster than a minute");
        }
        meter.add_many(AT_ONCE);
    }
}

async fn wake_awake<R: Tasks>(tasks: usize, meter: &'static Meter) {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..tasks).map(|_| mpsc::unbounded::<()>()).unzip();
    let waiting: Vec<_> = receivers
        .into_iter()
        .map(|mut receiver| {
            R::spawn(async move {
                while receiver.next().await.is_some() {
                    meter.add();
                }
            })
        })
        .collect();
    let (go, told) = blocking::sync_channel::<()>(0);
    let (done, wait) = blocking::sync_channel::<()>(0);
    let waker = std::thread::spawn(move || {
        while told.recv().is_ok() {
            for sender in &senders {
                sender.unbounded_send(()).expect("the tasks wait");
            }
            done.send(()).expect("the loop waits");
        }
    });
    let mut expected = 0;
    while !meter.is_over() {
        go.send(()).expect("the thread waits");
        wait.recv().expect("the thread answers");
        expected += tasks as u64;
        while meter.done() < expected {
            R::yield_now().await;
        }
    }
    drop(go);
    waker.join().expect("a thread of a bench does not fail");
    for task in waiting {
        task.await;
    }
}

/// The answer takes so long, so that the loop is asleep when it comes.
const ANSWER_AFTER: Duration = Duration::from_micros(20);

async fn wake_asleep(meter: &'static Meter) {
    let count = meter.operations();
    let (to_thread, at_thread) = blocking::channel::<oneshot::Sender<Instant>>();
    let answering = std::thread::spawn(move || {
        keep_to(Core::Second);
        loop {
            match at_thread.try_recv() {
                Ok(answer) => {
                    let due = Instant::now() + ANSWER_AFTER;
                    while Instant::now() < due {
                        spin_loop();
                    }
                    answer.send(Instant::now()).expect("the loop waits");
                }
                Err(blocking::TryRecvError::Empty) => spin_loop(),
                Err(blocking::TryRecvError::Disconnected) => break,
            }
        }
    });
    let mut latencies = Vec::with_capacity(count as usize);
    meter.begin();
    for _ in 0..count {
        let (sender, receiver) = oneshot::channel();
        to_thread.send(sender).expect("the thread waits");
        let sent = receiver.await.expect("the thread answers");
        latencies.push(sent.elapsed());
    }
    meter.add_many(count);
    meter.end();
    meter.note_percentiles("latency", &mut latencies);
    drop(to_thread);
    answering.join().expect("a thread of a bench does not fail");
}

async fn wake_in_turn(meter: &'static Meter) {
    let (to_thread, at_thread) = blocking::channel::<(u64, oneshot::Sender<u64>)>();
    let answering = std::thread::spawn(move || {
        for (number, answer) in at_thread {
            answer.send(number + 1).expect("the loop waits");
        }
    });
    let mut number = 0;
    while !meter.is_over() {
        let (sender, receiver) = oneshot::channel();
        to_thread.send((number, sender)).expect("the thread waits");
        let answer = receiver.await.expect("the thread answers");
        assert_eq!(answer, number + 1, "another request's answer");
        number = answer;
        meter.add();
    }
    drop(to_thread);
    answering.join().expect("a thread of a bench does not fail");
}

async fn to_thread<R: Tasks>(meter: &'static Meter) {
    let mut number = 0;
    while !meter.is_over() {
        let answer = R::to_thread(move || number + 1).await;
        assert_eq!(answer, number + 1, "another job's answer");
        number = answer;
        meter.add();
    }
}

/// Of futures-util, for all.
async fn join_futures<R: Tasks>(count: usize, meter: &'static Meter) {
    while !meter.is_over() {
        let numbers = join_all((0..count).map(yield_once::<R>)).await;
        assert!(numbers.into_iter().eq(0..count), "each gives its number, in order");
        meter.add_many(count as u64);
    }
}

async fn join_tasks<R: Tasks>(count: usize, meter: &'static Meter) {
    while !meter.is_over() {
        let numbers = join_all((0..count).map(|number| R::spawn(yield_once::<R>(number)))).await;
        assert!(numbers.into_iter().eq(0..count), "each gives its number, in order");
        meter.add_many(count as u64);
    }
}

async fn yield_once<R: Tasks>(number: usize) -> usize {
    R::yield_now().await;
    number
}

/// Tasks that are made before they are let run: a queue of all of them would count as their memory.
const MADE_AT_ONCE: u64 = 1000;

async fn idle<R: Tasks>(meter: &'static Meter) -> io::Result<()> {
    let count = meter.operations();
    // All places are written before, so that they do not count.
    let mut handles: Vec<Option<R::Join<()>>> = (0..count).map(|_| None).collect();
    let before = machine::resident()?;
    meter.begin();
    for made in (0..count).step_by(MADE_AT_ONCE as usize) {
        for number in made..made + MADE_AT_ONCE {
            handles[number as usize] = Some(R::spawn(Waiting([number; 4])));
        }
        while (WAITING.load(Ordering::Relaxed) as u64) < made + MADE_AT_ONCE {
            R::yield_now().await;
        }
    }
    meter.add_many(count);
    meter.end();
    meter.note("bytes", (machine::resident()? - before) as f64 / count as f64);
    // Whoever does not give up a task on its own is not made to.
    black_box(&handles);
    Ok(())
}

/// 32 bytes that wait for ever.
struct Waiting([u64; 4]);

/// How many have begun to.
static WAITING: AtomicUsize = AtomicUsize::new(0);

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        black_box(&self.0);
        WAITING.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    }
}

/// A future that wakes its task at once, and is ready then.
pub struct PendingOnce {
    polled: bool,
}

impl PendingOnce {
    fn new() -> Self {
        PendingOnce { polled: false }
    }
}

impl Future for PendingOnce {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.polled {
            return Poll::Ready(());
        }
        self.polled = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
