//! `staggered_race`: when attempts begin, who wins, and what a request does meanwhile. Whoever leaves a race is in `waiters.rs`,
//! a request to one in `requests.rs`, and the race of connects in `sockets.rs`.

use crate::harness::kinds::turns;
use crate::harness::probes::{Drops, Log};
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::{
    all_tasks, catch_cancel, create_task, now, resume_cancel, sleep, staggered_race, testing, timeout,
};
use std::future::pending;
use std::time::{Duration, Instant};

pub const TRIALS: &[Trial] = &[
    once!(the_next_attempt_begins_when_the_one_before_failed_or_the_delay_passed),
    once!(an_older_failure_does_not_shorten_the_head_start),
    once!(without_a_winner_all_errors_come_in_the_order_of_the_attempts),
    once!(of_attempts_that_end_in_the_same_turn_the_earlier_wins),
    once!(a_delay_of_zero_begins_one_attempt_a_turn),
    once!(no_attempt_begins_while_others_clean_up),
    once!(an_attempt_that_succeeds_in_its_clean_up_wins),
    once!(a_limit_ends_all_attempts),
];

const SECOND: Duration = Duration::from_secs(1);

/// Notes who began when, in seconds.
#[derive(Clone)]
struct Beginnings {
    start: Instant,
    log: Log<(&'static str, u64)>,
}

impl Beginnings {
    fn new() -> Self {
        Beginnings { start: now(), log: Log::new() }
    }

    /// Ends after so many seconds.
    async fn attempt(
        &self,
        name: &'static str,
        seconds: u64,
        end: Result<&'static str, &'static str>,
    ) -> Result<&'static str, &'static str> {
        self.log.push((name, self.seconds()));
        sleep(SECOND * seconds as u32).await;
        end
    }

    /// The race of such attempts: name, seconds and end of each.
    async fn race<const N: usize>(
        &self,
        cast: [(&'static str, u64, Result<&'static str, &'static str>); N],
        delay: Duration,
    ) -> Result<(usize, &'static str), Vec<&'static str>> {
        let attempts = cast.map(|(name, seconds, end)| move || self.attempt(name, seconds, end));
        staggered_race(attempts, delay).await
    }

    fn seconds(&self) -> u64 {
        (now() - self.start).as_secs()
    }
}

/// CONN-03, for attempts of any kind: the first hangs, the second fails, the third wins.
fn the_next_attempt_begins_when_the_one_before_failed_or_the_delay_passed(ctx: &Ctx) {
    ctx.run_paused(async {
        let (began, drops) = (Beginnings::new(), Drops::new());
        let cast = [("a", 99, Ok("a's")), ("b", 1, Err("b's")), ("c", 1, Ok("c's")), ("d", 0, Err("never"))];
        let attempts = cast.map(|(name, seconds, end)| {
            let (began, token) = (&began, drops.token());
            async move || {
                let _token = token;
                began.attempt(name, seconds, end).await
            }
        });
        assert_eq!(staggered_race(attempts, SECOND * 2).await, Ok((2, "c's")));
        assert_eq!((began.log.all(), began.seconds()), (vec![("a", 0), ("b", 2), ("c", 3)], 4));
        assert_eq!(drops.count(), 4, "those that ran, and the one that did not begin");
        assert_eq!(testing::stats().timers, 0, "nor is a timer left");
        assert_eq!(all_tasks().len(), 1, "nothing was spawned");
    });
}

fn an_older_failure_does_not_shorten_the_head_start(ctx: &Ctx) {
    ctx.run_paused(async {
        let began = Beginnings::new();
        let cast = [("a", 3, Err("a's")), ("b", 99, Err("never")), ("c", 1, Ok("c's"))];
        assert_eq!(began.race(cast, SECOND * 2).await, Ok((2, "c's")));
        assert_eq!((began.log.all(), began.seconds()), (vec![("a", 0), ("b", 2), ("c", 4)], 5));
    });
}

/// CONN-03: none is successful.
fn without_a_winner_all_errors_come_in_the_order_of_the_attempts(ctx: &Ctx) {
    ctx.run_paused(async {
        let began = Beginnings::new();
        let cast = [("a", 9, Err("a's")), ("b", 6, Err("b's")), ("c", 0, Err("c's"))];
        assert_eq!(began.race(cast, SECOND).await, Err(vec!["a's", "b's", "c's"]));
        assert_eq!((began.log.all(), began.seconds()), (vec![("a", 0), ("b", 1), ("c", 2)], 9));
    });
}

fn of_attempts_that_end_in_the_same_turn_the_earlier_wins(ctx: &Ctx) {
    ctx.run_paused(async {
        let began = Beginnings::new();
        let cast = [("a", 3, Err("a's")), ("b", 2, Ok("b's")), ("c", 1, Ok("c's"))];
        assert_eq!(began.race(cast, SECOND).await, Ok((1, "b's")));
        assert_eq!(began.seconds(), 3);
    });
}

fn a_delay_of_zero_begins_one_attempt_a_turn(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let task = create_task({
            let log = log.clone();
            async move {
                let attempts = (0..3).map(|number| {
                    let log = &log;
                    async move || {
                        log.push(number);
                        pending::<Result<(), ()>>().await
                    }
                });
                staggered_race(attempts, Duration::ZERO).await
            }
        });
        for count in 1..4 {
            turns(1).await;
            assert_eq!(log.len(), count);
        }
        task.abort();
    });
}

/// Two run when the request comes; both take it, and clean up for longer than a head start.
fn no_attempt_begins_while_others_clean_up(ctx: &Ctx) {
    ctx.run_paused(async {
        for (resumes, end) in [(true, vec!["a", "b"]), (false, vec!["a", "b", "c", "d"])] {
            let (start, log) = (now(), Log::new());
            let task = create_task({
                let log = log.clone();
                async move {
                    let attempts = ["a", "b", "c", "d"].map(|name| {
                        let log = &log;
                        async move || {
                            log.push(name);
                            if catch_cancel(sleep(SECOND * 4)).await.is_err() {
                                sleep(SECOND * 4).await;
                                if resumes {
                                    resume_cancel().await;
                                }
                            }
                            Err::<(), _>(name)
                        }
                    });
                    staggered_race(attempts, SECOND * 2).await
                }
            });
            sleep(SECOND * 3).await;
            assert_eq!(log.all(), ["a", "b"]);
            task.cancel();
            sleep(SECOND * 3).await;
            assert_eq!(log.all(), ["a", "b"], "its turn would have come two seconds ago");
            let ended = task.await;
            assert_eq!(log.all(), end);
            match resumes {
                true => {
                    assert!(ended.is_err_and(|error| error.is_cancelled()));
                    assert_eq!(now() - start, SECOND * 7, "both have cleaned up");
                }
                false => {
                    assert_eq!(ended.expect("the request is over"), Err(vec!["a", "b", "c", "d"]));
                    assert_eq!(now() - start, SECOND * 13, "c from 7 to 11, d from 9 to 13");
                }
            }
        }
    });
}

fn an_attempt_that_succeeds_in_its_clean_up_wins(ctx: &Ctx) {
    ctx.run_paused(async {
        let task = create_task(async {
            let attempts = [1, 3].map(|seconds| {
                async move || {
                    catch_cancel(pending::<()>()).await.expect_err("it is asked to end");
                    sleep(SECOND * seconds).await;
                    Ok::<_, ()>(seconds)
                }
            });
            let won = staggered_race(attempts, SECOND).await;
            sleep(SECOND).await;
            won
        });
        sleep(SECOND * 2).await;
        task.cancel();
        assert_eq!(task.await.expect("the request was taken"), Ok((0, 1)));
    });
}

fn a_limit_ends_all_attempts(ctx: &Ctx) {
    ctx.run_paused(async {
        let drops = Drops::new();
        let attempts = (0..5).map(|_| {
            let token = drops.token();
            async move || {
                let _token = token;
                pending::<Result<(), ()>>().await
            }
        });
        let raced = timeout(SECOND * 3 / 2, staggered_race(attempts, SECOND)).await;
        assert!(raced.is_err(), "{raced:?}");
        assert_eq!(drops.count(), 2, "two had begun");
        assert_eq!(testing::stats().timers, 0);
    });
}
