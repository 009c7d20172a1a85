//! Barriers: rounds, who fills in for whom, reset and abort.

use crate::harness::probes::Log;
use crate::harness::{Ctx, Trial};
use crate::once;
use ringloop::sync::Barrier;
use ringloop::{BrokenBarrier, Task, create_task, sleep, yield_now};
use std::panic::catch_unwind;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(all_pass_with_different_numbers_round_after_round),
    once!(who_comes_back_early_waits_for_the_next_round),
    once!(another_fills_in_for_a_cancelled_waiter),
    once!(a_reset_sends_those_away_who_wait),
    once!(a_reset_does_not_reach_those_who_have_passed),
    once!(an_aborted_barrier_refuses_all_until_its_reset),
    once!(parties_are_counted),
];

type Outcome = Result<usize, BrokenBarrier>;

async fn outcome(task: Task<Outcome>) -> Outcome {
    task.await.expect("no panic")
}

/// BARRIER-01, BARRIER-02
fn all_pass_with_different_numbers_round_after_round(ctx: &Ctx) {
    ctx.run_paused(async {
        let (barrier, log) = (Barrier::new(5), Log::new());
        let tasks: Vec<_> = (0..5)
            .map(|party| {
                let (barrier, log) = (barrier.clone(), log.clone());
                create_task(async move {
                    for round in 0..3 {
                        sleep(Duration::from_secs(party)).await;
                        log.push((round, barrier.wait().await));
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        for (round, passed) in log.all().chunks(5).enumerate() {
            assert!(passed.iter().all(|(of, _)| *of == round), "no round begins before the last has ended");
            let mut numbers: Vec<_> = passed.iter().map(|(_, number)| number.expect("unbroken")).collect();
            numbers.sort_unstable();
            assert_eq!(numbers, [0, 1, 2, 3, 4]);
        }
        assert_eq!(barrier.n_waiting(), 0);
    });
}

/// BARRIER-03
fn who_comes_back_early_waits_for_the_next_round(ctx: &Ctx) {
    ctx.run(async {
        let barrier = Barrier::new(2);
        let slow = create_task(barrier.wait());
        yield_now().await;
        // The round is complete, and the other has not run yet.
        assert_eq!(barrier.wait().await, Ok(1));
        let back = create_task(barrier.wait());
        assert_eq!(outcome(slow).await, Ok(0));
        yield_now().await;
        assert_eq!((back.is_done(), barrier.n_waiting()), (false, 1));
        assert_eq!((barrier.wait().await, outcome(back).await), (Ok(1), Ok(0)));
    });
}

/// BARRIER-04
fn another_fills_in_for_a_cancelled_waiter(ctx: &Ctx) {
    ctx.run(async {
        let barrier = Barrier::new(3);
        let [gone, stays] = [(); 2].map(|()| create_task(barrier.wait()));
        yield_now().await;
        gone.cancel();
        assert!(gone.await.is_err());
        assert_eq!((barrier.n_waiting(), barrier.is_broken()), (1, false));
        let fills_in = create_task(barrier.wait());
        yield_now().await;
        assert_eq!(barrier.n_waiting(), 2);
        assert_eq!(barrier.wait().await, Ok(2));
        assert_eq!((outcome(stays).await, outcome(fills_in).await), (Ok(0), Ok(1)));
    });
}

/// BARRIER-05
fn a_reset_sends_those_away_who_wait(ctx: &Ctx) {
    ctx.run(async {
        let barrier = Barrier::new(3);
        for _ in 0..2 {
            let waiting = [(); 2].map(|()| create_task(barrier.wait()));
            yield_now().await;
            barrier.reset();
            for task in waiting {
                assert!(outcome(task).await.is_err());
            }
            assert_eq!((barrier.n_waiting(), barrier.is_broken()), (0, false));
        }
        let waiting = [(); 2].map(|()| create_task(barrier.wait()));
        yield_now().await;
        assert_eq!(barrier.wait().await, Ok(2));
        for (number, task) in waiting.into_iter().enumerate() {
            assert_eq!(outcome(task).await, Ok(number));
        }
    });
}

/// BARRIER-06, as it is here: a round that is complete is over, also for those who have not run yet, and who came after
/// it waits for the next one, so the reset is for them.
fn a_reset_does_not_reach_those_who_have_passed(ctx: &Ctx) {
    ctx.run(async {
        let barrier = Barrier::new(3);
        let passed = [(); 2].map(|()| create_task(barrier.wait()));
        yield_now().await;
        assert_eq!(barrier.wait().await, Ok(2));
        let mut next = barrier.wait();
        assert!(crate::harness::probes::poll_once(&mut next).await.is_pending());
        barrier.reset();
        for (number, task) in passed.into_iter().enumerate() {
            assert_eq!(outcome(task).await, Ok(number));
        }
        assert!(next.await.is_err());
    });
}

fn an_aborted_barrier_refuses_all_until_its_reset(ctx: &Ctx) {
    ctx.run(async {
        let barrier = Barrier::new(2);
        let waiting = create_task(barrier.wait());
        yield_now().await;
        barrier.abort();
        assert!(outcome(waiting).await.is_err());
        assert!(barrier.wait().await.is_err() && barrier.is_broken());
        barrier.reset();
        let first = create_task(barrier.wait());
        yield_now().await;
        assert_eq!((barrier.wait().await, outcome(first).await), (Ok(1), Ok(0)));
    });
}

/// BARRIER-08
fn parties_are_counted(ctx: &Ctx) {
    let refused = catch_unwind(|| Barrier::new(0)).expect_err("nobody could ever pass");
    assert!(refused.downcast_ref::<&str>().is_some_and(|text| text.contains("at least one")));
    ctx.run(async {
        let alone = Barrier::new(1);
        assert_eq!((alone.wait().await, alone.wait().await, alone.n_waiting()), (Ok(0), Ok(0), 0));
        let barrier = Barrier::new(4);
        assert_eq!(barrier.parties(), 4);
        let mut tasks = Vec::new();
        for waiting in 0..3 {
            assert_eq!(barrier.n_waiting(), waiting);
            tasks.push(create_task(barrier.wait()));
            yield_now().await;
        }
        assert_eq!(barrier.wait().await, Ok(3));
        assert_eq!(barrier.n_waiting(), 0);
        for task in tasks {
            outcome(task).await.expect("unbroken");
        }
    });
}
