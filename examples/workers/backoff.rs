//! How long to wait before a job is tried again.

use std::time::Duration;

use crate::luck::Luck;

/// Pauses that double, within bounds, and of which half is chance: those who failed together do not come back together.
pub struct Backoff {
    /// How often a job is tried.
    pub attempts: u32,
    /// The pause after the first attempt, at its longest.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    pub luck: Luck,
}

impl Backoff {
    /// The pause after this attempt of a job, the first being 1. None: it was the last.
    pub fn pause(&self, job: u32, attempt: u32) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doublings = 2u32.saturating_pow(attempt.saturating_sub(1));
        let half = self.first.saturating_mul(doublings).min(self.longest) / 2;
        Some(half + half.mul_f64(self.luck.with(job).with(attempt).fraction()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: fn() -> Backoff = || Backoff {
        attempts: 50,
        first: Duration::from_millis(100),
        longest: Duration::from_secs(10),
        luck: Luck::of(7),
    };

    #[test]
    fn a_pause_doubles_up_to_the_longest_and_half_of_it_is_chance() {
        let mut whole = Duration::from_millis(100);
        for attempt in 1..50 {
            let pause = BACKOFF().pause(3, attempt).expect("it is not the last");
            assert!(pause >= whole / 2 && pause <= whole, "attempt {attempt}: {pause:?} of {whole:?}");
            whole = (whole * 2).min(Duration::from_secs(10));
        }
    }

    #[test]
    fn the_last_attempt_has_no_pause() {
        assert!(BACKOFF().pause(3, 49).is_some());
        assert_eq!(BACKOFF().pause(3, 50), None);
        assert_eq!(Backoff { attempts: 1, ..BACKOFF() }.pause(3, 1), None);
    }

    #[test]
    fn jobs_that_fail_together_come_back_apart() {
        let mut pauses: Vec<_> = (1..=100).map(|job| BACKOFF().pause(job, 1)).collect();
        pauses.sort();
        pauses.dedup();
        assert!(pauses.len() > 95, "{} different pauses of 100", pauses.len());
    }
}
