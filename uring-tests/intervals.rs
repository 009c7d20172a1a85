//! `interval`: even ticks, and what becomes of those that are missed. All on the paused clock, in milliseconds.

use crate::harness::probes::poll_once;
use crate::harness::{Ctx, Trial};
use crate::once;
use futures_util::StreamExt;
use ringloop::{Interval, MissedTickBehavior, interval, now, sleep, testing, timeout};
use std::panic::catch_unwind;
use std::pin::pin;
use std::time::{Duration, Instant};

pub const TRIALS: &[Trial] = &[
    once!(the_first_tick_is_at_once_and_the_others_are_a_period_apart),
    once!(an_interval_counts_from_its_first_poll),
    once!(a_late_tick_does_not_move_the_others),
    once!(missed_ticks_are_made_up_for),
    once!(after_missed_ticks_the_next_may_be_a_period_later),
    once!(missed_ticks_may_be_left_out),
    once!(a_tick_that_was_given_up_is_not_lost),
    once!(an_interval_is_a_stream),
    once!(an_interval_leaves_no_timer),
    once!(an_interval_of_no_length_is_refused),
    once!(a_period_that_no_clock_can_say_is_no_error),
];

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The next ticks: when each was due and when it came, counted from `start`.
async fn ticks(interval: &mut Interval, start: Instant, count: usize) -> Vec<(u128, u128)> {
    let mut all = Vec::new();
    for _ in 0..count {
        let due = interval.tick().await;
        all.push(((due - start).as_millis(), (now() - start).as_millis()));
    }
    all
}

fn the_first_tick_is_at_once_and_the_others_are_a_period_apart(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let mut interval = interval(ms(10));
        assert_eq!(ticks(&mut interval, start, 4).await, [(0, 0), (10, 10), (20, 20), (30, 30)]);
        assert_eq!(interval.period(), ms(10));
    });
}

fn an_interval_counts_from_its_first_poll(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut interval = interval(ms(10));
        sleep(ms(25)).await;
        assert_eq!(ticks(&mut interval, now(), 3).await, [(0, 0), (10, 10), (20, 20)]);
    });
}

fn a_late_tick_does_not_move_the_others(ctx: &Ctx) {
    ctx.run_paused(async {
        for behavior in [MissedTickBehavior::Burst, MissedTickBehavior::Delay, MissedTickBehavior::Skip] {
            let start = now();
            let mut interval = interval(ms(10));
            interval.set_missed_tick_behavior(behavior);
            interval.tick().await;
            sleep(ms(17)).await;
            assert_eq!(ticks(&mut interval, start, 3).await, [(10, 17), (20, 20), (30, 30)], "{behavior:?}");
        }
    });
}

/// Ticks after 35 ms of other work, at a period of 10.
async fn after_other_work(behavior: MissedTickBehavior) -> Vec<(u128, u128)> {
    let start = now();
    let mut interval = interval(ms(10));
    interval.set_missed_tick_behavior(behavior);
    assert_eq!(interval.missed_tick_behavior(), behavior);
    interval.tick().await;
    sleep(ms(35)).await;
    ticks(&mut interval, start, 4).await
}

fn missed_ticks_are_made_up_for(ctx: &Ctx) {
    ctx.run_paused(async {
        assert_eq!(interval(ms(1)).missed_tick_behavior(), MissedTickBehavior::Burst, "the default");
        let ticks = after_other_work(MissedTickBehavior::Burst).await;
        assert_eq!(ticks, [(10, 35), (20, 35), (30, 35), (40, 40)]);
    });
}

fn after_missed_ticks_the_next_may_be_a_period_later(ctx: &Ctx) {
    ctx.run_paused(async {
        let ticks = after_other_work(MissedTickBehavior::Delay).await;
        assert_eq!(ticks, [(10, 35), (45, 45), (55, 55), (65, 65)]);
    });
}

fn missed_ticks_may_be_left_out(ctx: &Ctx) {
    ctx.run_paused(async {
        let ticks = after_other_work(MissedTickBehavior::Skip).await;
        assert_eq!(ticks, [(10, 35), (40, 40), (50, 50), (60, 60)]);
    });
}

fn a_tick_that_was_given_up_is_not_lost(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let mut interval = interval(ms(10));
        interval.tick().await;
        assert!(poll_once(&mut pin!(interval.tick())).await.is_pending());
        timeout(ms(5), interval.tick()).await.expect_err("it is early");
        assert_eq!(ticks(&mut interval, start, 2).await, [(10, 10), (20, 20)]);
    });
}

fn an_interval_is_a_stream(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let times: Vec<_> = interval(ms(10)).map(|due| due - start).take(3).collect().await;
        assert_eq!(times, [ms(0), ms(10), ms(20)]);
    });
}

fn an_interval_leaves_no_timer(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut interval = interval(ms(10));
        interval.tick().await;
        assert!(poll_once(&mut pin!(interval.tick())).await.is_pending());
        assert_eq!(testing::stats().timers, 1);
        drop(interval);
        assert_eq!(testing::stats().timers, 0);
    });
}

fn an_interval_of_no_length_is_refused(_: &Ctx) {
    let refused = catch_unwind(|| interval(Duration::ZERO)).expect_err("it would never give way");
    assert!(refused.downcast_ref::<&str>().is_some_and(|text| text.contains("`yield_now`")));
}

fn a_period_that_no_clock_can_say_is_no_error(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut interval = interval(Duration::MAX);
        interval.tick().await;
        timeout(Duration::from_secs(3600), interval.tick()).await.expect_err("in a century");
    });
}
