//! The kinds of ring as the library builds them, and how a trial runs on one.
//!
//! [`Ctx::run`] is strict: when the body is over, the loop must come to rest (no operation in flight, no task, no timer,
//! and a ledger that balances) before it is closed. A trial that leaves something behind on purpose makes its own `Runner`
//! from [`Ctx::builder`].

use super::process::patience;
use super::{Ctx, Kind, watchdog};
use ringloop::testing::{self, FaultPlan, Stats};
use ringloop::{Builder, Clock, FeatureMask, Runner, yield_now};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

impl Ctx {
    /// A loop of the case's kind, in the making.
    pub fn builder(&self) -> Builder {
        match self.kind {
            Kind::Default => Builder::new(),
            Kind::Tiny => Builder::new().ring_entries(4).completion_entries(8).buffers(4, 256),
            Kind::Floor => Builder::new().feature_mask(FeatureMask::kernel_6_1()),
            Kind::Faulty => Builder::new().faults(FaultPlan::seeded(self.seed)),
        }
    }

    /// A loop of the case's kind.
    pub fn runner(&self) -> Runner {
        start(self.builder())
    }

    /// Runs the body on a loop of the case's kind, which must come to rest afterwards.
    pub fn run<T>(&self, body: impl Future<Output = T>) -> T {
        run_on(self.builder(), body)
    }

    /// As [`Ctx::run`], on a clock that stands still and jumps to the next deadline when all wait.
    pub fn run_paused<T>(&self, body: impl Future<Output = T>) -> T {
        run_on(self.builder().clock(Clock::Paused), body)
    }
}

/// Builds the loop; the panic shows the remedy. The watchdog will ask this one.
pub fn start(builder: Builder) -> Runner {
    let runner = builder.build().unwrap_or_else(|error| panic!("no loop: {error}"));
    watchdog::watch(runner.handle());
    runner
}

/// Runs the body on this loop, which must come to rest afterwards.
pub fn run_on<T>(builder: Builder, body: impl Future<Output = T>) -> T {
    let mut runner = start(builder);
    let output = runner.run(body).expect("the body is not cancelled");
    let figures = runner
        .run(async {
            rest().await;
            testing::stats()
        })
        .expect("the loop can be run again");
    // The ledger: each operation ended exactly once, and no completion came for anything else.
    assert_eq!((figures.started, figures.unknown), (figures.ended, 0), "{figures:?}");
    runner.close().expect("a loop at rest closes");
    output
}

/// Turns the loop until only this task is left: what was dropped and cancelled ends a few turns later.
pub async fn rest() {
    settle(|now| now.operations == 0 && now.timers == 0 && now.tasks <= 1).await;
}

/// Turns the loop until `settled`, whatever the loop's clock says. The limit lies below the watchdog's: a file system may
/// stall for seconds on a busy machine, and that is no failure.
pub async fn settle(settled: impl Fn(&Stats) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(15) * patience();
    while !settled(&testing::stats()) {
        assert!(Instant::now() < deadline, "the loop does not come to rest:\n{}", testing::dump());
        turns(1).await;
    }
}

/// So many turns, with the kernel given a moment in each.
pub async fn turns(count: usize) {
    for _ in 0..count {
        std::thread::sleep(Duration::from_micros(500));
        yield_now().await;
    }
}

/// The loop's tasks, timers and operations, for the watchdog.
pub fn dump() -> String {
    testing::dump()
}

/// Gives the ring that an ended loop left for the next one back to the kernel.
pub fn release_parked_ring() {
    testing::release_parked_ring();
}

/// What the exception handler was told.
#[derive(Clone, Default)]
pub struct Reports(Arc<Mutex<Vec<String>>>);

impl Reports {
    /// With a handler that notes what it is told, as text.
    pub fn builder(&self, builder: Builder) -> Builder {
        let hearing = self.0.clone();
        builder.on_error(move |error| hearing.lock().expect("no panic").push(error.to_string()))
    }

    /// All since the last call.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().expect("no panic"))
    }
}
