//! So many a second, and no more: a semaphore whose permits are used up, and come back with time.

use std::time::Duration;

use ringloop::sync::Semaphore;
use ringloop::{AbortOnDrop, create_task, interval};

/// How many may come at once, after a time in which nobody came.
const BURST: usize = 10;

pub struct Rate {
    permits: Semaphore,
    /// Brings the permits back.
    _refill: AbortOnDrop<()>,
}

impl Rate {
    /// So many a second.
    pub fn new(per_second: u32) -> Rate {
        let permits = Semaphore::new(BURST);
        let refill = refill(permits.clone(), Duration::from_secs(1) / per_second);
        Rate { permits, _refill: create_task(refill).abort_on_drop() }
    }

    /// Waits for its turn, first come first served.
    pub async fn take(&self) {
        self.permits.acquire().await.forget();
    }
}

async fn refill(permits: Semaphore, every: Duration) {
    let mut ticks = interval(every);
    // The first is at once, and everything is there yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if permits.available_permits() < BURST {
            permits.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use ringloop::now;

    use super::*;
    use crate::paused;

    #[test]
    fn a_burst_passes_at_once_and_the_rest_by_the_rate() {
        paused(async {
            let started = now();
            let rate = Rate::new(20);
            let mut times = Vec::new();
            for _ in 0..BURST + 3 {
                rate.take().await;
                times.push(now().duration_since(started));
            }
            let (burst, rest) = times.split_at(BURST);
            assert!(burst.iter().all(Duration::is_zero), "{burst:?}");
            assert_eq!(rest, [50, 100, 150].map(Duration::from_millis));
        })
    }

    #[test]
    fn a_long_rest_earns_no_more_than_a_burst() {
        paused(async {
            let rate = Rate::new(20);
            ringloop::sleep(Duration::from_secs(3600)).await;
            assert_eq!(rate.permits.available_permits(), BURST);
        })
    }
}
