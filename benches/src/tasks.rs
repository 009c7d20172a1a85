//! Tasks, time, channels and threads: a runtime without I/O.
//!
//! To add a workload: a variant of [`Work`], an entry of [`CATALOGUE`], a function over [`Tasks`] and its line in [`perform`].

use std::future::Future;
use std::io;
use std::time::Duration;

use crate::contender::{Runtime, cannot};
use crate::meter::Meter;
use crate::workload::{self, A_SECOND, Figure, RAW, Workload, cpu};

/// What is done with tasks.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Spawn so many, join them.
    Spawn { batch: usize },
    /// Yields among so many tasks.
    Yield { tasks: usize },
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
];

const fn entry(id: &'static str, title: &'static str, work: Work) -> Workload {
    let work = workload::Work::Tasks(work);
    Workload { id, title, work, span: A_SECOND, key: Figure::CpuTime, base: RAW, targets: &[] }
}

/// A runtime's tasks, as its users write them.
pub trait Tasks: Runtime {
    /// Lets the other tasks that are ready run first.
    fn yield_now() -> impl Future<Output = ()> + 'static;

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
    }
    Ok(())
}

/// Operations that the meter is told of at once, where a single one is a matter of nanoseconds.
const AT_ONCE: u64 = 1000;

async fn spawn<R: Tasks>(batch: usize, meter: &'static Meter) {
    let mut handles = Vec::with_capacity(batch);
    let mut sum = 0;
    while !meter.is_over() {
        for round in 0..AT_ONCE as usize / batch {
            handles.extend((0..batch).map(|index| R::spawn(async move { round * batch + index })));
            for handle in handles.drain(..) {
                sum += handle.await;
            }
        }
        meter.add_many(AT_ONCE);
    }
    let rounds = meter.done() / AT_ONCE;
    assert_eq!(sum as u64, rounds * (AT_ONCE - 1) * AT_ONCE / 2, "each task gave its number");
}

async fn yield_among<R: Tasks>(tasks: usize, meter: &'static Meter) {
    let each = AT_ONCE as usize / tasks;
    let yielding = move || async move {
        while !meter.is_over() {
            for _ in 0..each {
                R::yield_now().await;
            }
            meter.add_many(each as u64);
        }
    };
    let handles: Vec<_> = (0..tasks).map(|_| R::spawn(yielding())).collect();
    for handle in handles {
        handle.await;
    }
}
