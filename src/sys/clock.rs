//! The machine's clocks.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Returns the time of the monotonic clock.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Returns the monotonic time as of the last tick: precise to a few milliseconds, and without a system call.
pub(crate) fn last_tick() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(Duration::ZERO, Duration::from)
}
