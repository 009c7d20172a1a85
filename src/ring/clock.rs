//! Where the loop's time comes from: the machine, or a test.
//!
//! A paused clock stands still until it is advanced, so that a test of hours takes milliseconds and always
//! sees the same times. Who advances it, and when, is decided by the reactor; the kernel's own timers are not
//! involved.

use std::time::{Duration, Instant};

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
            Clock::Paused => Time::Paused(Instant::now()),
        }
    }

    /// Reads the clock.
    pub(super) fn now(self) -> Instant {
        match self {
            Time::Real => Instant::now(),
            Time::Paused(at) => at,
        }
    }

    /// Moves a paused clock on. A real clock moves by itself, so for it this does nothing.
    pub(super) fn advance(&mut self, by: Duration) {
        if let Time::Paused(at) = self {
            *at += by;
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

    #[test]
    fn a_real_clock_cannot_be_advanced() {
        let mut time = Time::start(Clock::Real);
        time.advance(Duration::from_secs(3600));
        assert!(time.now() < Instant::now() + Duration::from_secs(1800));
    }
}
