//! What a stretch of work costs: CPU time and a contender's own counters, between two marks.
//!
//! A contender tells the meter of every operation it has done. The meter reads the clocks when the warm-up is over and
//! once more when all that counts is done; all contenders pay the same two loads and a store per operation for that.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::Span;

/// What a runtime counts of itself, by name.
pub type Counters = BTreeMap<String, u64>;

/// The cost of the operations between the marks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cost {
    /// Operations.
    pub operations: u64,
    /// CPU time of all threads of the process, user and kernel.
    pub cpu: Duration,
    /// The time of day.
    pub wall: Duration,
    /// How much the runtime's own counters rose.
    pub counters: Counters,
}

impl Cost {
    /// CPU time per operation, in nanoseconds.
    pub fn nanoseconds(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.operations as f64
    }
}

struct Mark {
    cpu: Duration,
    wall: Instant,
    counters: Counters,
}

/// Counts operations. One thread tells it of them.
pub struct Meter {
    done: AtomicU64,
    start: u64,
    end: u64,
    /// Reads the runtime's own counters.
    counters: Box<dyn Fn() -> Counters + Send + Sync>,
    first: OnceLock<Mark>,
    second: OnceLock<Mark>,
}

impl Meter {
    /// A meter that lives as long as the process.
    pub fn new(span: Span, counters: impl Fn() -> Counters + Send + Sync + 'static) -> &'static Meter {
        assert!(span.warm_up > 0 && span.counted > 0, "the marks stand behind operations");
        Box::leak(Box::new(Meter {
            done: AtomicU64::new(0),
            start: span.warm_up,
            end: span.warm_up + span.counted,
            counters: Box::new(counters),
            first: OnceLock::new(),
            second: OnceLock::new(),
        }))
    }

    /// An operation is done.
    pub fn add(&self) {
        let done = self.done() + 1;
        self.done.store(done, Relaxed);
        if done == self.start {
            self.mark(&self.first);
        } else if done == self.end {
            self.mark(&self.second);
        }
    }

    /// Operations done.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Whether all that counts is done.
    pub fn is_over(&self) -> bool {
        self.done() >= self.end
    }

    #[cold]
    fn mark(&self, at: &OnceLock<Mark>) {
        let mark = Mark { cpu: cpu_time(), wall: Instant::now(), counters: (self.counters)() };
        assert!(at.set(mark).is_ok(), "one thread counts, so it passes a mark once");
    }

    /// What lies between the marks; None if the work ended before.
    pub fn cost(&self) -> Option<Cost> {
        let (first, second) = (self.first.get()?, self.second.get()?);
        let rise = |(name, value): (&String, &u64)| (name.clone(), value - first.counters[name]);
        Some(Cost {
            operations: self.end - self.start,
            cpu: second.cpu - first.cpu,
            wall: second.wall - first.wall,
            counters: second.counters.iter().map(rise).collect(),
        })
    }
}

/// The CPU time that this process has used.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock").into()
}
