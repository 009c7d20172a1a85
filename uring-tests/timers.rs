//! Time: nothing fires early, what is due fires in order, what is dropped leaves, a storm is batched; and `timeout`, the
//! scope that makes an offer to its own inside only. Most run on the paused clock, in milliseconds.

use crate::harness::kinds::{rest, run_on, turns};
use crate::harness::pairs::connected;
use crate::harness::probes::{Dice, Drops, Gate, Log, once_pending, poll_once};
use crate::harness::process::patience;
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use futures_util::future::join_all;
use ringloop::{
    Executor, Job, ThreadPool, catch_cancel, create_task, now, resume_cancel, run_in_executor, sleep,
    sleep_until, testing, timeout, timeout_at, timeout_scope, to_thread, wait_for, yield_now,
};
use std::cell::Cell;
use std::future::{pending, ready};
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

pub const TRIALS: &[Trial] = &[
    io!(nothing_fires_early),
    once!(sleeps_end_by_due_time_and_ties_in_order),
    once!(a_due_timer_is_seen_within_a_turn_however_long_a_poll_takes),
    io!(fifteen_thousand_sleeps_with_one_deadline_all_end),
    io!(a_storm_of_timers_is_batched),
    once!(dropped_sleeps_leave_the_store),
    once!(a_sleep_that_is_dropped_on_another_thread_leaves_the_store),
    once!(a_dropped_sleep_neither_wakes_nor_delays),
    once!(a_chain_of_tiny_sleeps_does_not_spin),
    once!(endless_sleeps_and_past_deadlines_are_fine),
    once!(a_sleep_counts_from_its_first_poll_not_from_its_making),
    once!(a_finished_sleep_can_be_awaited_by_reference),
    once!(the_paused_clock_jumps_when_all_wait),
    io!(the_paused_clock_waits_for_files_and_threads),
    once!(the_paused_clock_can_be_advanced_by_hand),
    once!(a_late_loop_still_fires_in_order),
    once!(a_timeout_in_time_gives_the_value),
    once!(a_timeout_too_late_is_elapsed),
    once!(a_timeout_without_a_limit_waits),
    once!(a_timeout_at_an_instant_keeps_it),
    once!(a_timeout_of_zero_polls_the_body_first),
    once!(a_body_may_clean_up_before_its_timeout_is_reported),
    once!(a_body_that_swallows_the_timeout_keeps_its_value),
    once!(a_timeout_round_a_task_gives_how_the_task_ended),
    once!(a_cancel_from_outside_is_not_a_timeout),
    once!(after_a_timeout_the_task_is_as_before),
    once!(of_two_late_timeouts_the_outer_reports),
    once!(the_outer_timeout_reaches_code_after_an_inner_one),
    once!(a_timeout_after_a_swallowed_cancel_works),
    once!(a_timeout_works_in_the_root),
    once!(five_seconds_of_work_with_two_seconds_of_patience),
    once!(a_timeout_that_never_fires_leaves_nothing),
    once!(a_loop_over_limits_that_are_over_lets_others_run),
];

/// Milliseconds, for the tables below.
fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// SCHED-05. The deadline comes from a fresh reading of the clock, whatever the loop did meanwhile.
fn nothing_fires_early(ctx: &Ctx) {
    let mut dice = Dice(ctx.seed);
    ctx.run(async {
        let naps = (0..200).map(|number| {
            let delay = Duration::from_micros(dice.below(20_000));
            create_task(async move {
                let start = Instant::now();
                if number % 50 == 0 {
                    // Holds the loop up, so that a deadline from a cached reading would show.
                    std::thread::sleep(ms(2));
                }
                let asked = Instant::now();
                sleep(delay).await;
                let slept = asked.elapsed();
                assert!(slept >= delay, "a sleep of {delay:?} took {slept:?}, {:?} in all", start.elapsed());
            })
        });
        for nap in naps.collect::<Vec<_>>() {
            nap.await.expect("not early");
        }
    });
}

/// SCHED-03, SCHED-04
fn sleeps_end_by_due_time_and_ties_in_order(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let start = now();
        let delays = [30, 10, 20, 10, 0, 30, 20, 10];
        let naps: Vec<_> = delays
            .into_iter()
            .enumerate()
            .map(|(number, delay)| {
                let log = log.clone();
                create_task(async move {
                    sleep_until(start + ms(delay)).await;
                    log.push((delay, number));
                })
            })
            .collect();
        for nap in naps {
            nap.await.expect("no panic");
        }
        let mut expected: Vec<_> =
            delays.into_iter().enumerate().map(|(number, delay)| (delay, number)).collect();
        expected.sort();
        assert_eq!(log.all(), expected);
    });
}

/// READ-09: as asyncio's loop, which looks at its timers in each turn.
fn a_due_timer_is_seen_within_a_turn_however_long_a_poll_takes(ctx: &Ctx) {
    ctx.run(async {
        let polls = Log::new();
        let computing = create_task({
            let polls = polls.clone();
            async move {
                for poll in 0..10 {
                    std::thread::sleep(ms(20));
                    polls.push(poll);
                    yield_now().await;
                }
            }
        });
        timeout(ms(10), pending::<()>()).await.expect_err("it comes");
        let before = polls.len();
        assert!(before <= 2, "due in the first poll of the other task, seen after {before}");
        computing.await.expect("no panic");
    });
}

/// Far more expire at once than the ring has completions: the store must not depend on its size.
fn fifteen_thousand_sleeps_with_one_deadline_all_end(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let deadline = Instant::now() + ms(300) * patience();
        let naps: Vec<_> = (0..15_000)
            .map(|number| {
                let log = log.clone();
                create_task(async move {
                    let mut nap = sleep_until(deadline);
                    // On a busy machine the last ones come too late to be registered, and end at once.
                    let registered = poll_once(&mut nap).await.is_pending();
                    if registered {
                        nap.await;
                    }
                    assert!(Instant::now() >= deadline);
                    log.push((registered, number));
                })
            })
            .collect();
        for nap in naps {
            nap.await.expect("not early");
        }
        let ends = log.all();
        assert_eq!(ends.len(), 15_000);
        let ties = ends.iter().filter(|(registered, _)| *registered);
        assert!(ties.is_sorted(), "ties fire in the order of their registration");
    });
}

/// Sleeps of the loop caused only by timers lie at least 200 us apart, so thousands of deadlines a second do not cost an
/// enter each.
fn a_storm_of_timers_is_batched(ctx: &Ctx) {
    let mut dice = Dice(ctx.seed);
    ctx.run(async {
        turns(2).await;
        let start = Instant::now();
        let before = testing::stats();
        join_all((0..10_000).map(|_| sleep(Duration::from_micros(dice.below(100_000))))).await;
        let spent = start.elapsed();
        let enters = testing::stats().enters - before.enters;
        let bound = 50 + spent.as_micros() / 200;
        assert!(u128::from(enters) <= bound, "{enters} enters in {spent:?}, at most {bound}");
    });
}

/// SCHED-06, SCHED-07
/// READ-18
fn a_sleep_that_is_dropped_on_another_thread_leaves_the_store(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut nap = sleep(Duration::from_secs(3600));
        assert!(poll_once(&mut nap).await.is_pending());
        assert_eq!(testing::stats().timers, 1);
        std::thread::spawn(move || drop(nap)).join().expect("no panic");
        let start = now();
        turns(3).await;
        assert_eq!((testing::stats().timers, now()), (0, start), "long before its due time");
    });
}

fn dropped_sleeps_leave_the_store(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut naps: Vec<_> = (0..10_000).map(|number| sleep(Duration::from_secs(3600 + number))).collect();
        for nap in &mut naps {
            assert!(poll_once(nap).await.is_pending());
        }
        assert_eq!(testing::stats().timers, 10_000);
        naps.drain(..5000);
        assert_eq!(testing::stats().timers, 5000, "not at their due time: at their drop");
        drop(naps);
        assert_eq!(testing::stats().timers, 0);
    });
}

/// SCHED-06
fn a_dropped_sleep_neither_wakes_nor_delays(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let mut short = sleep(ms(10));
        let mut long = sleep(ms(30));
        assert!(poll_once(&mut short).await.is_pending() && poll_once(&mut long).await.is_pending());
        drop(short);
        let enters = testing::stats().enters;
        sleep(ms(20)).await;
        assert_eq!(now() - start, ms(20), "the clock jumps past what was dropped");
        assert!(testing::stats().enters <= enters + 2);
        drop(long);
        sleep(ms(20)).await;
        assert_eq!(now() - start, ms(40));
    });
}

/// SCHED-11
fn a_chain_of_tiny_sleeps_does_not_spin(ctx: &Ctx) {
    ctx.run(async {
        let before = testing::stats().enters;
        for exponent in 0..10 {
            sleep(Duration::from_secs_f64(1e-3 / 10_f64.powi(exponent))).await;
        }
        let enters = testing::stats().enters - before;
        assert!(enters <= 40, "{enters} enters for ten sleeps");
    });
}

fn endless_sleeps_and_past_deadlines_are_fine(ctx: &Ctx) {
    ctx.run(async {
        let mut endless = sleep(Duration::MAX);
        assert!(poll_once(&mut endless).await.is_pending());
        let mut long = Box::pin(timeout(Duration::MAX, pending::<()>()));
        assert!(poll_once(&mut long).await.is_pending());
        let past = Instant::now();
        std::thread::sleep(ms(1));
        sleep_until(past).await;
        yield_now().await;
        assert!(poll_once(&mut endless).await.is_pending());
        drop((endless, long));
        rest().await;
    });
}

fn a_sleep_counts_from_its_first_poll_not_from_its_making(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let nap = sleep(ms(100));
        assert_eq!(testing::stats().timers, 0, "a future does nothing before its first poll");
        sleep(ms(50)).await;
        nap.await;
        assert_eq!(now() - start, ms(150));
    });
}

fn a_finished_sleep_can_be_awaited_by_reference(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut nap = sleep(ms(10));
        (&mut nap).await;
        assert_eq!(testing::stats().timers, 0);
        drop(nap);
        sleep(ms(10)).await;
    });
}

fn the_paused_clock_jumps_when_all_wait(ctx: &Ctx) {
    let real = Instant::now();
    ctx.run_paused(async {
        let start = now();
        sleep(Duration::from_secs(86_400)).await;
        assert_eq!(now() - start, Duration::from_secs(86_400));
        // While somebody is ready, it stands.
        let standing = now();
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(now(), standing);
    });
    assert!(real.elapsed() < Duration::from_secs(60), "a day did not pass");
}

/// The clock must not jump over work that is really going on: a limit would strike although nothing was slow.
fn the_paused_clock_waits_for_files_and_threads(ctx: &Ctx) {
    let path = ctx.file("file", vec![5; 100_000]);
    ctx.run_paused(async {
        for _ in 0..10 {
            let bytes =
                timeout(ms(1), ringloop::fs::read(&path)).await.expect("no time passes on the loop's clock");
            assert_eq!(bytes.expect("it is there").len(), 100_000);
            let job = to_thread(|| std::thread::sleep(ms(5)));
            timeout(ms(1), job).await.expect("no time passes on the loop's clock").expect("no panic");
        }
        // Whoever's threads they are: those of another pool, and of what is no pool of this crate's.
        struct Fresh;
        impl Executor for Fresh {
            fn execute(&self, job: Job) {
                std::thread::spawn(job);
            }
        }
        let pool = ThreadPool::new("own", 1);
        for executor in [&pool as &dyn Executor, &Fresh] {
            let job = run_in_executor(executor, || std::thread::sleep(ms(5)));
            timeout(ms(1), job).await.expect("no time passes on the loop's clock").expect("no panic");
        }
        // A job that is given up holds it until a thread has passed it by; one that nobody runs, until it is dropped.
        drop(run_in_executor(&pool, || ()));
        struct Nobody;
        impl Executor for Nobody {
            fn execute(&self, job: Job) {
                drop(job);
            }
        }
        run_in_executor(&Nobody, || ()).await.expect_err("nobody runs it");
        let before = now();
        sleep(ms(1000)).await;
        assert_eq!(now() - before, ms(1000));
        assert!(pool.join(None));
    });
}

fn the_paused_clock_can_be_advanced_by_hand(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let start = now();
        for delay in [10, 20, 30] {
            let log = log.clone();
            create_task(async move {
                sleep(ms(delay)).await;
                log.push(delay);
            })
            .detach();
        }
        yield_now().await;
        testing::advance(ms(20));
        assert_eq!(now() - start, ms(20));
        turns(2).await;
        assert_eq!(log.all(), [10, 20]);
        testing::advance(ms(10));
        turns(2).await;
        assert_eq!(log.all(), [10, 20, 30]);
    });
}

fn a_late_loop_still_fires_in_order(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        for delay in [5, 3, 1, 4, 2] {
            let log = log.clone();
            create_task(async move {
                // Far enough apart that the first polls do not change the order.
                sleep(ms(10 * delay) * patience()).await;
                log.push(delay);
            })
            .detach();
        }
        yield_now().await;
        std::thread::sleep(ms(60) * patience());
        sleep(ms(1)).await;
        turns(2).await;
        assert_eq!(log.all(), [1, 2, 3, 4, 5]);
    });
}

/// TIMEOUT-03
fn a_timeout_in_time_gives_the_value(ctx: &Ctx) {
    ctx.run_paused(async {
        let body = async {
            sleep(ms(10)).await;
            "value"
        };
        assert_eq!(timeout(ms(20), body).await.expect("it is fast"), "value");
        assert_eq!(timeout(ms(0), ready(7)).await.expect("it is there"), 7);
    });
}

/// TIMEOUT-01
fn a_timeout_too_late_is_elapsed(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, drops) = (now(), Drops::new());
        let token = drops.token();
        let body = async move {
            let _token = token;
            sleep(ms(30)).await;
        };
        timeout(ms(20), body).await.expect_err("it is slow");
        assert_eq!(now() - start, ms(20));
        assert_eq!(drops.count(), 1);
        assert_eq!(testing::stats().timers, 0);
    });
}

fn a_timeout_without_a_limit_waits(ctx: &Ctx) {
    ctx.run_paused(async {
        timeout(None, sleep(Duration::from_secs(3600))).await.expect("no limit");
        timeout_at(None, sleep(Duration::from_secs(3600))).await.expect("no limit");
    });
}

/// TIMEOUT-02
fn a_timeout_at_an_instant_keeps_it(ctx: &Ctx) {
    ctx.run_paused(async {
        let deadline = now() + ms(50);
        for _ in 0..3 {
            sleep(ms(10)).await;
            timeout_at(deadline, ready(())).await.expect("before it");
        }
        timeout_at(deadline, pending::<()>()).await.expect_err("it comes");
        assert_eq!(now(), deadline);
        timeout_at(deadline, yield_now()).await.expect_err("it is past");
    });
}

/// TIMEOUT-05, WAITFOR-06
fn a_timeout_of_zero_polls_the_body_first(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let body = async {
            log.push("before the first await");
            yield_now().await;
            log.push("never");
        };
        timeout(Duration::ZERO, body).await.expect_err("it suspends");
        assert_eq!(log.all(), ["before the first await"]);
    });
}

/// TIMEOUT-07, WAITFOR-03
fn a_body_may_clean_up_before_its_timeout_is_reported(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, log) = (now(), Log::new());
        let body = async {
            if catch_cancel(pending::<()>()).await.is_err() {
                sleep(ms(30)).await;
                log.push("cleaned up");
                resume_cancel().await;
            }
        };
        timeout(ms(20), body).await.expect_err("the body passed it on");
        assert_eq!(log.all(), ["cleaned up"]);
        assert_eq!(now() - start, ms(50), "it waited for the clean-up");
    });
}

/// WAITFOR-10
fn a_body_that_swallows_the_timeout_keeps_its_value(ctx: &Ctx) {
    ctx.run_paused(async {
        let body = async {
            match catch_cancel(pending::<()>()).await {
                Ok(()) => unreachable!("pending for ever"),
                Err(_) => {
                    once_pending().await;
                    "swallowed"
                }
            }
        };
        assert_eq!(timeout(ms(20), body).await.expect("a value wins"), "swallowed");
    });
}

/// WAITFOR-03 and -09, as far as they are a timeout's: the task is waited for, and its end is the value.
fn a_timeout_round_a_task_gives_how_the_task_ended(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let ended = timeout(ms(20), create_task(pending::<()>())).await.expect("the task's end is a value");
        assert!(ended.expect_err("it never ends by itself").is_cancelled());
        assert_eq!(now() - start, ms(20));
        let slow_to_end = create_task(async {
            if catch_cancel(pending::<()>()).await.is_err() {
                sleep(ms(30)).await;
            }
            "cleaned up"
        });
        let ended = timeout(ms(20), slow_to_end).await.expect("the task's end is a value");
        assert_eq!(ended.expect("it took the cancel"), "cleaned up");
        assert_eq!(now() - start, ms(20 + 20 + 30));
        let failing = create_task(async {
            if catch_cancel(pending::<()>()).await.is_err() {
                return Err("failed while it ended");
            }
            Ok(())
        });
        let ended = timeout(ms(20), failing).await.expect("the task's end is a value");
        assert_eq!(ended.expect("it was not cancelled"), Err("failed while it ended"));
    });
}

/// TIMEOUT-09
fn a_cancel_from_outside_is_not_a_timeout(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let task = create_task({
            let log = log.clone();
            async move {
                let answer = timeout(Duration::from_secs(5), pending::<()>()).await;
                log.push(answer.is_err());
            }
        });
        sleep(Duration::from_secs(1)).await;
        task.cancel();
        assert!(task.await.expect_err("nobody handled it").is_cancelled());
        assert_eq!(log.len(), 0, "the timeout did not take it");
    });
}

/// TIMEOUT-10
fn after_a_timeout_the_task_is_as_before(ctx: &Ctx) {
    ctx.run_paused(async {
        let task = create_task(async {
            timeout(ms(10), pending::<()>()).await.expect_err("it is late");
            let this = ringloop::current_task().expect("a task runs");
            assert_eq!(this.cancelling(), 0);
            once_pending().await;
            sleep(ms(10)).await;
            "went on"
        });
        assert_eq!(task.await.expect("it is not cancelled"), "went on");
    });
}

/// TIMEOUT-11
fn of_two_late_timeouts_the_outer_reports(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let inner = async {
            let blocked = timeout(ms(2), async {
                // Past both deadlines before anybody can look.
                std::thread::sleep(ms(10));
                pending::<()>().await;
            });
            log.push(if blocked.await.is_err() { "inner" } else { "value" });
            pending::<()>().await;
        };
        timeout(ms(1), inner).await.expect_err("the outer deadline is past");
        assert!(log.len() <= 1);
    });
}

/// TIMEOUT-12
fn the_outer_timeout_reaches_code_after_an_inner_one(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, log) = (now(), Log::new());
        let body = async {
            timeout(ms(10), pending::<()>()).await.expect_err("the inner one is first");
            log.push(now() - start);
            pending::<()>().await;
        };
        timeout(ms(30), body).await.expect_err("then the outer one");
        assert_eq!(log.all(), [ms(10)]);
        assert_eq!(now() - start, ms(30));
    });
}

/// TIMEOUT-17
fn a_timeout_after_a_swallowed_cancel_works(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let gate = Gate::new();
        let task = create_task({
            let (log, gate) = (log.clone(), gate.clone());
            async move {
                let _ = catch_cancel(pending::<()>()).await;
                timeout(ms(10), pending::<()>()).await.expect_err("the count does not confuse it");
                log.push("elapsed");
                gate.open();
                let answer = timeout(ms(10), pending::<()>()).await;
                log.push(if answer.is_err() { "a second elapsed" } else { "value" });
            }
        });
        yield_now().await;
        task.cancel();
        gate.pass().await;
        task.cancel();
        assert!(task.await.expect_err("a fresh request is a cancel").is_cancelled());
        assert_eq!(log.all(), ["elapsed"]);
    });
}

/// TIMEOUT-19
fn a_timeout_works_in_the_root(ctx: &Ctx) {
    let builder = ctx.builder().clock(ringloop::Clock::Paused);
    run_on(builder, timeout(ms(10), pending::<()>())).expect_err("the root is a task like the others");
}

/// TIMEOUT-21
fn five_seconds_of_work_with_two_seconds_of_patience(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let work = || async {
            sleep(Duration::from_secs(5)).await;
            "done"
        };
        assert!(timeout(Duration::from_secs(2), work()).await.is_err());
        assert_eq!(now() - start, Duration::from_secs(2));
        // A task is cancelled and awaited: its end is the value, as whoever awaits a handle gets it.
        let ended = timeout(Duration::from_secs(2), create_task(work())).await;
        assert!(ended.is_ok_and(|end| end.is_err_and(|error| error.is_cancelled())));
        assert_eq!(now() - start, Duration::from_secs(4));
    });
}

/// A timeout round a receive that never comes, and one round a receive that does: both leave the store empty.
fn a_timeout_that_never_fires_leaves_nothing(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        for _ in 0..100 {
            let mut byte = [0];
            theirs.write_all(b"x").expect("the loop's end is open");
            let count = timeout(Duration::from_secs(3600), ours.read(&mut byte)).await.expect("in time");
            assert_eq!(count.expect("it was written"), 1);
            assert_eq!(testing::stats().timers, 0);
        }
    });
}

/// BUG-06. asyncio: `async with timeout(0): await queue.get()` in a loop gets the item that another task puts.
fn a_loop_over_limits_that_are_over_lets_others_run(ctx: &Ctx) {
    type Ask = fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>>;
    let asks: [(&str, Ask); 7] = [
        ("timeout", || Box::pin(async { _ = timeout(Duration::ZERO, pending::<()>()).await })),
        ("timeout_at", || Box::pin(async { _ = timeout_at(now(), pending::<()>()).await })),
        ("timeout_scope", || {
            Box::pin(async { _ = timeout_scope(Duration::ZERO, async |_| pending::<()>().await).await })
        }),
        ("nested", || {
            Box::pin(async { _ = timeout(Duration::ZERO, timeout(Duration::ZERO, pending::<()>())).await })
        }),
        ("wait_for", || Box::pin(async { _ = wait_for(create_task(pending::<()>()), Duration::ZERO).await })),
        ("sleep", || Box::pin(sleep(Duration::ZERO))),
        ("sleep_until", || Box::pin(sleep_until(now()))),
    ];
    for (name, ask) in asks {
        ctx.run(async move {
            let done = Rc::new(Cell::new(false));
            let sets = done.clone();
            create_task(async move {
                sleep(Duration::from_millis(1)).await;
                sets.set(true);
            })
            .detach();
            let begun = std::time::Instant::now();
            while !done.get() {
                ask().await;
                assert!(begun.elapsed() < Duration::from_secs(5), "{name}: no other task ran");
            }
        });
    }
}
