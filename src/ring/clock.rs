//! Where the loop's time comes from: the machine, or a test.
//!
//! A paused clock stands still until it is advanced, so that a test of hours takes milliseconds and always
//! sees the same times. Who advances it, and when, is decided by the reactor; the kernel's own timers are not
//! involved.

use std::time::{Duration, Instant};

use crate::sys::clock;

/// Which clock a loop runs by.
///
/// ```
/// use ringloop::testing::Clock;
/// assert_eq!(Clock::default(), Clock::Real);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// The machine's monotonic clock.
    #[default]
    Real,
    /// A clock that stands still while anything can run and jumps to the next timer when nothing can.
    ///
    /// What the outside world has to do with takes no time on it, as long as that ends by itself: file operations hold the
    /// clock, and so do functions that this loop has given to threads (`to_thread`, `run_in_executor`), until they have run.
    /// What may wait without end does not: sockets, and jobs in worker processes. Nor do jobs that a pool was given without the
    /// loop, by `ThreadPool::submit`.
    Paused,
}

/// A wait that no clock can express becomes one of about a century.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Returns the time that lies `by` after `at`, or about a century after it where no clock can express that.
///
/// The one place that adds a duration to an instant: `+` panics on overflow, and durations come from users.
pub(crate) fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).or_else(|| at.checked_add(NEVER)).unwrap_or(at)
}

/// A running clock.
#[derive(Clone, Copy, Debug)]
pub(super) enum Time {
    /// Asks the machine at each reading.
    Real,
    /// Stands at this instant until it is advanced.
    Paused(Instant),
}

impl Time {
    /// Starts the clock; a paused one starts at the present.
    pub(super) fn start(clock: Clock) -> Time {
        match clock {
            Clock::Real => Time::Real,
            Clock::Paused => Time::Paused(clock::now()),
        }
    }

    /// Reads the clock.
    pub(super) fn now(self) -> Instant {
        match self {
            Time::Real => clock::now(),
            Time::Paused(at) => at,
        }
    }

    /// Moves a paused clock on. A real clock moves by itself, so for it this does nothing.
    pub(super) fn advance(&mut self, by: Duration) {
        if let Time::Paused(at) = self {
            *at = later(*at, by);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_clock_moves_only_when_advanced() {
        let mut time = Time::start(Clock::Paused);
        let start = time.now();
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(time.now(), start);
        time.advance(Duration::from_secs(3600));
        assert_eq!(time.now(), start + Duration::from_secs(3600));
    }

    // READ-04
    #[test]
    fn no_duration_overflows_an_instant() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(later(start, second), start + second);
        assert_eq!(later(start, Duration::ZERO), start);
        assert_eq!(later(start, Duration::MAX), start + NEVER);
        let mut last = start;
        for exponent in (0..63).rev() {
            last = last.checked_add(Duration::from_secs(1 << exponent)).unwrap_or(last);
        }
        assert_eq!(later(last, second * 2), last, "a clock's last instant");
    }

    #[test]
    fn a_real_clock_cannot_be_advanced() {
        let mut time = Time::start(Clock::Real);
        time.advance(Duration::from_secs(3600));
        assert!(time.now() < Instant::now() + Duration::from_secs(1800));
    }
}
