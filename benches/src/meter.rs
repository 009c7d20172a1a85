//! What a stretch of work costs: CPU time and a contender's own counters, between two marks.
//!
//! A contender tells the meter of every operation it has done, or of many at once. The meter reads the clocks when the
//! warm-up is over and once more when all that counts is done; all contenders pay two loads and a store per call for that.
//! How many operations count may be given, or how long they shall take: then the warm-up shows how many that are.
//! Work that is a whole by itself sets the two marks with [`begin`](Meter::begin) and [`end`](Meter::end).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// How much is done, and which part of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Span {
    /// So many operations, after others.
    Operations { warm_up: u64, counted: u64 },
    /// As many operations as take about so long, after at least so many others and a fifth of the time.
    Wall { warm_up: u64, counted: Duration },
}

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
    /// What the workload noted besides: latencies in nanoseconds, bytes.
    pub noted: BTreeMap<String, f64>,
}

impl Cost {
    /// CPU time per operation, in nanoseconds.
    pub fn nanoseconds(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.operations as f64
    }

    /// The time of day per operation, in nanoseconds.
    pub fn wall_nanoseconds(&self) -> f64 {
        self.wall.as_nanos() as f64 / self.operations as f64
    }
}

struct Mark {
    done: u64,
    cpu: Duration,
    wall: Instant,
    counters: Counters,
}

/// Counts operations. One thread tells it of them.
pub struct Meter {
    span: Span,
    done: AtomicU64,
    /// When so many are done, the meter looks at what is to be done next.
    next: AtomicU64,
    over: AtomicBool,
    /// Reads the runtime's own counters.
    counters: fn() -> Counters,
    passed: Mutex<Passed>,
    noted: Mutex<BTreeMap<String, f64>>,
}

/// What the meter has seen.
#[derive(Default)]
struct Passed {
    /// The first operation's end.
    start: Option<Instant>,
    first: Option<Mark>,
    second: Option<Mark>,
}

/// With a span of time, the warm-up takes at least this part of it.
const WARM_UP_PART: u32 = 5;

impl Meter {
    /// A meter that lives as long as the process.
    pub fn new(span: Span, counters: fn() -> Counters) -> &'static Meter {
        Box::leak(Box::new(Meter {
            span,
            done: AtomicU64::new(0),
            next: AtomicU64::new(1),
            over: AtomicBool::new(false),
            counters,
            passed: Mutex::default(),
            noted: Mutex::default(),
        }))
    }

    /// An operation is done.
    pub fn add(&self) {
        self.add_many(1);
    }

    /// So many operations are done.
    pub fn add_many(&self, count: u64) {
        let done = self.done() + count;
        self.done.store(done, Relaxed);
        if done >= self.next.load(Relaxed) {
            self.pass(done);
        }
    }

    /// Operations done.
    pub fn done(&self) -> u64 {
        self.done.load(Relaxed)
    }

    /// Whether all that counts is done.
    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// The number of operations that count. Of work that is a whole by itself, which has a span of operations.
    pub fn operations(&self) -> u64 {
        match self.span {
            Span::Operations { counted, .. } => counted,
            Span::Wall { .. } => panic!("this work does not end by time"),
        }
    }

    /// Sets the first mark now, whatever the span says; [`end`](Meter::end) sets the second.
    pub fn begin(&self) {
        self.next.store(u64::MAX, Relaxed);
        self.passed().first = Some(self.mark());
    }

    /// Sets the second mark now.
    pub fn end(&self) {
        self.passed().second = Some(self.mark());
        self.over.store(true, Relaxed);
    }

    /// Notes a figure besides the cost.
    pub fn note(&self, name: &str, value: f64) {
        self.noted.lock().expect("nobody panics with the lock").insert(name.to_owned(), value);
    }

    /// Notes the median and the 99th percentile of these durations, in nanoseconds.
    pub fn note_percentiles(&self, name: &str, durations: &mut [Duration]) {
        durations.sort_unstable();
        let at = |share: f64| durations[((durations.len() - 1) as f64 * share) as usize].as_nanos() as f64;
        self.note(&format!("{name} p50"), at(0.5));
        self.note(&format!("{name} p99"), at(0.99));
    }

    #[cold]
    fn pass(&self, done: u64) {
        let mut passed = self.passed();
        let Some(start) = passed.start else {
            passed.start = Some(Instant::now());
            let (Span::Operations { warm_up, .. } | Span::Wall { warm_up, .. }) = self.span;
            self.next.store(warm_up.max(done + 1), Relaxed);
            return;
        };
        if passed.first.is_some() {
            passed.second = Some(self.mark());
            self.next.store(u64::MAX, Relaxed);
            self.over.store(true, Relaxed);
            return;
        }
        let end = match self.span {
            Span::Operations { counted, .. } => done + counted,
            Span::Wall { counted, .. } => {
                let warm_up = start.elapsed();
                if warm_up < counted / WARM_UP_PART {
                    self.next.store(done + done.div_ceil(2), Relaxed);
                    return;
                }
                done + (done as f64 * counted.as_secs_f64() / warm_up.as_secs_f64()).ceil() as u64
            }
        };
        self.next.store(end, Relaxed);
        passed.first = Some(self.mark());
    }

    fn passed(&self) -> std::sync::MutexGuard<'_, Passed> {
        self.passed.lock().expect("nobody panics with the lock")
    }

    fn mark(&self) -> Mark {
        let counters = (self.counters)();
        Mark { done: self.done(), cpu: cpu_time(), wall: Instant::now(), counters }
    }

    /// What lies between the marks; None if the work ended before.
    pub fn cost(&self) -> Option<Cost> {
        let passed = self.passed();
        let (first, second) = (passed.first.as_ref()?, passed.second.as_ref()?);
        let rise = |(name, value): (&String, &u64)| (name.clone(), value - first.counters[name]);
        Some(Cost {
            operations: second.done - first.done,
            cpu: second.cpu - first.cpu,
            wall: second.wall - first.wall,
            counters: second.counters.iter().map(rise).collect(),
            noted: self.noted.lock().expect("nobody panics with the lock").clone(),
        })
    }
}

/// The CPU time that this process has used.
pub fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_count_from_the_end_of_the_warm_up() {
        let meter = Meter::new(Span::Operations { warm_up: 10, counted: 5 }, Counters::new);
        for _ in 0..14 {
            meter.add();
        }
        assert!(!meter.is_over() && meter.cost().is_none());
        meter.add();
        assert!(meter.is_over());
        assert_eq!(meter.cost().map(|cost| cost.operations), Some(5));
    }

    #[test]
    fn a_batch_may_pass_a_mark_in_its_middle() {
        let meter = Meter::new(Span::Operations { warm_up: 10, counted: 5 }, Counters::new);
        while !meter.is_over() {
            meter.add_many(7);
        }
        // Marks at 14 and 21.
        assert_eq!(meter.cost().map(|cost| cost.operations), Some(7));
    }

    #[test]
    fn a_span_of_time_ends() {
        let counted = Duration::from_millis(20);
        let meter = Meter::new(Span::Wall { warm_up: 1, counted }, Counters::new);
        while !meter.is_over() {
            std::thread::sleep(Duration::from_micros(100));
            meter.add();
        }
        assert!(meter.cost().is_some_and(|cost| cost.operations > 1));
    }

    #[test]
    fn marks_by_hand_need_no_warm_up() {
        let meter = Meter::new(Span::Operations { warm_up: 0, counted: 3 }, Counters::new);
        meter.begin();
        meter.add_many(3);
        assert!(!meter.is_over());
        meter.end();
        assert_eq!(meter.cost().map(|cost| cost.operations), Some(3));
    }

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let meter = Meter::new(Span::Operations { warm_up: 0, counted: 1 }, Counters::new);
        meter.begin();
        meter.end();
        let mut durations: Vec<_> = (0..=100).rev().map(Duration::from_nanos).collect();
        meter.note_percentiles("lateness", &mut durations);
        let noted = meter.cost().map(|cost| cost.noted).unwrap_or_default();
        assert_eq!((noted["lateness p50"], noted["lateness p99"]), (50.0, 99.0));
    }
}
