//! Ticks at even times.
//!
//! An `Interval` is a `Sleep` until the next tick. Which time that is follows from the time at which the last one was due, so
//! that small delays do not add up, and from what is to become of ticks that nobody fetched in time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::stream::Stream;

use super::{Sleep, now, sleep, sleep_until};

/// Ticks every `period`, at first at once: the time of the first poll is what all others are counted from.
///
/// # Panics
/// If `period` is zero: to give way in each turn there is [`yield_now`](crate::yield_now).
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let mut interval = ringloop::interval(Duration::from_millis(10));
///     let first = interval.tick().await;
///     let second = interval.tick().await;
///     assert_eq!(second - first, Duration::from_millis(10));
/// })
/// # }
/// ```
#[track_caller]
pub fn interval(period: Duration) -> Interval {
    assert!(
        !period.is_zero(),
        "an interval of no length would tick without end; `yield_now` gives way for one turn"
    );
    Interval { period, missed: MissedTickBehavior::default(), next: None }
}

/// What becomes of ticks that are missed. A tick is missed if it is fetched when the one after it is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissedTickBehavior {
    /// All are made up for, at once, one after the other: their number is right in the end.
    #[default]
    Burst,
    /// The next is a whole period later, and all others count from there: two are never closer than a period.
    Delay,
    /// They are left out; the next is at the next of the times that the first one set.
    Skip,
}

/// The ticks of [`interval`]. Also a `Stream`, without end.
#[derive(Debug)]
#[must_use = "an interval does nothing unless its ticks are awaited"]
pub struct Interval {
    period: Duration,
    missed: MissedTickBehavior,
    /// Until the next tick; None: the first is at once.
    next: Option<Sleep>,
}

impl Interval {
    /// Resumes at the next tick, and gives the time at which that was due.
    ///
    /// # Cancellation
    /// Dropped, it loses no tick: the interval keeps the next one's time.
    pub async fn tick(&mut self) -> Instant {
        poll_fn(|cx| self.poll_tick(cx)).await
    }

    /// As [`tick`](Self::tick), for code that polls.
    ///
    /// # Panics
    /// Outside of an event loop.
    pub fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        let due = match &mut self.next {
            None => now(),
            Some(next) => {
                let due = next.deadline();
                // A tick that was missed is there at once: there are only so many of them.
                if due.is_none_or(|due| due > now()) {
                    ready!(Pin::new(next).poll(cx));
                }
                due.unwrap_or_else(now)
            }
        };
        // A time that no clock can say is a century off.
        self.next = Some(self.after(due, now()).map_or_else(|| sleep(Duration::MAX), sleep_until));
        Poll::Ready(due)
    }

    /// From the next tick on, what becomes of ticks that are missed. Without it: [`MissedTickBehavior::Burst`].
    pub fn set_missed_tick_behavior(&mut self, behavior: MissedTickBehavior) {
        self.missed = behavior;
    }

    /// What becomes of ticks that are missed.
    pub fn missed_tick_behavior(&self) -> MissedTickBehavior {
        self.missed
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// The time of the tick after one that was due at `due` and is fetched now.
    fn after(&self, due: Instant, now: Instant) -> Option<Instant> {
        let next = due.checked_add(self.period)?;
        if next > now {
            return Some(next);
        }
        match self.missed {
            MissedTickBehavior::Burst => Some(next),
            MissedTickBehavior::Delay => now.checked_add(self.period),
            MissedTickBehavior::Skip => {
                let past = now.saturating_duration_since(due).as_nanos() % self.period.as_nanos();
                let past = Duration::new((past / 1_000_000_000) as u64, (past % 1_000_000_000) as u32);
                now.checked_add(self.period.saturating_sub(past))
            }
        }
    }
}

impl Stream for Interval {
    type Item = Instant;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Instant>> {
        self.poll_tick(cx).map(Some)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}
