//! Several futures at once: our own `gather`, `join!` and `select!`, and other crates' combinators, which poll with wakers
//! of their own and drop what loses.

use crate::harness::kinds::{Reports, rest, turns};
use crate::harness::pairs::{bound, connected, many_connected};
use crate::harness::peers::connect;
use crate::harness::probes::{Drops, Gate, Log, once_pending, poll_once};
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use futures_util::StreamExt;
use futures_util::future::{Either, join_all, select as futures_select};
use futures_util::stream::{FuturesUnordered, iter};
use ringloop::fs::{self, File};
use ringloop::{
    JoinError, all_tasks, catch_cancel, create_task, gather, join, now, resume_cancel, select, sleep,
    testing, timeout, yield_now,
};
use std::collections::BTreeSet;
use std::future::pending;
use std::io::{self as std_io, ErrorKind, Write};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(gather_gives_results_in_the_order_of_its_arguments),
    once!(gather_of_different_types_gives_a_tuple),
    once!(gather_gives_the_first_error_at_once_and_the_others_go_on),
    once!(a_cancelled_gather_cancels_all_its_children),
    once!(gather_of_nothing_is_there_at_once),
    once!(later_errors_of_a_gather_are_not_reported),
    once!(gather_of_what_is_done_is_ready_at_its_first_poll),
    once!(gather_takes_tasks_and_their_errors),
    io!(gathered_operations_all_end),
    once!(join_polls_in_written_order_and_borrows),
    once!(a_cancel_is_offered_to_every_branch_of_a_join),
    once!(select_takes_the_first_ready_in_written_order),
    once!(a_cancel_is_offered_to_every_branch_of_a_select),
    once!(a_losing_branch_is_dropped_before_the_arm_runs),
    io!(a_read_that_loses_a_select_loses_no_byte),
    io!(an_accept_that_loses_a_select_loses_no_client),
    io!(futures_unordered_polls_only_what_was_woken),
    io!(join_all_of_a_thousand_operations_ends),
    io!(a_buffered_stream_keeps_its_order_and_its_bound),
    io!(foreign_select_drops_the_loser),
    once!(timeouts_below_private_wakers_strike),
    once!(tasks_below_private_wakers_are_joined),
];

type Answer<T> = Result<T, std_io::Error>;

fn failure(text: &'static str) -> std_io::Error {
    std_io::Error::other(text)
}

/// GATHER-01
fn gather_gives_results_in_the_order_of_its_arguments(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let sleepers = [3, 1, 2].map(|seconds| async move {
            sleep(Duration::from_secs(seconds)).await;
            Answer::Ok(seconds)
        });
        assert_eq!(gather(sleepers).await.expect("none fails"), [3, 1, 2]);
        assert_eq!(now() - start, Duration::from_secs(3), "all at once");
    });
}

fn gather_of_different_types_gives_a_tuple(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = now();
        let slow = async {
            sleep(Duration::from_secs(2)).await;
            Answer::Ok("text")
        };
        let quick = async {
            sleep(Duration::from_secs(1)).await;
            Answer::Ok(7)
        };
        let (text, number, nothing) =
            gather!(slow, quick, async { Answer::Ok(()) }).await.expect("none fails");
        assert_eq!((text, number, nothing), ("text", 7, ()));
        assert_eq!(now() - start, Duration::from_secs(2));
    });
}

/// GATHER-02, GATHER-03
fn gather_gives_the_first_error_at_once_and_the_others_go_on(ctx: &Ctx) {
    ctx.run_paused(async {
        let (start, log) = (now(), Log::new());
        let work = |seconds: u64, fails: bool| {
            let log = log.clone();
            async move {
                sleep(Duration::from_secs(seconds)).await;
                log.push(seconds);
                if fails { Err(failure("as expected")) } else { Ok(seconds) }
            }
        };
        let error = gather([work(3, false), work(1, true), work(2, false)]).await.expect_err("one fails");
        assert_eq!(error.to_string(), "as expected");
        assert_eq!(now() - start, Duration::from_secs(1));
        assert_eq!(log.all(), [1]);
        sleep(Duration::from_secs(5)).await;
        assert_eq!(log.all(), [1, 2, 3], "their effects happen");
    });
}

/// GATHER-07
fn a_cancelled_gather_cancels_all_its_children(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let child = |number: u32| {
            let log = log.clone();
            async move {
                if catch_cancel(pending::<()>()).await.is_err() {
                    sleep(Duration::from_secs(1)).await;
                    log.push(number);
                    resume_cancel().await;
                }
                Answer::Ok(())
            }
        };
        let task = create_task(gather([child(0), child(1), child(2)]));
        turns(2).await;
        assert_eq!(all_tasks().len(), 5, "three children, their gatherer and the root");
        task.cancel();
        let ended = task.await;
        assert!(ended.is_err_and(|error| error.is_cancelled()));
        assert_eq!(log.all(), [0, 1, 2], "all of them, and it waited for their clean-up");
        assert_eq!(all_tasks().len(), 1);
    });
}

/// GATHER-10
fn gather_of_nothing_is_there_at_once(ctx: &Ctx) {
    ctx.run(async {
        let mut nothing = gather(Vec::<std::future::Ready<Answer<u8>>>::new());
        assert!(poll_once(&mut nothing).await.is_ready());
    });
}

/// GATHER-13
fn later_errors_of_a_gather_are_not_reported(ctx: &Ctx) {
    let reports = Reports::default();
    crate::harness::kinds::run_on(reports.builder(ctx.builder()), async {
        let fail = |turns: usize| async move {
            for _ in 0..turns {
                once_pending().await;
            }
            Err::<(), _>(failure("many"))
        };
        gather([fail(1), fail(3), fail(5)]).await.expect_err("the first");
        turns(8).await;
    });
    assert!(reports.take().is_empty());
}

/// GATHER-15
fn gather_of_what_is_done_is_ready_at_its_first_poll(ctx: &Ctx) {
    ctx.run(async {
        let tasks: Vec<_> = (0..3).map(|number| create_task(async move { number })).collect();
        yield_now().await;
        let mut all = gather(tasks);
        turns(2).await;
        let ready = poll_once(&mut all).await;
        match ready {
            std::task::Poll::Ready(values) => assert_eq!(values.expect("no panic"), [0, 1, 2]),
            // Spawned rather than looked at: then a turn is needed, and no more.
            std::task::Poll::Pending => {
                turns(2).await;
                assert_eq!(all.await.expect("no panic"), [0, 1, 2]);
            }
        }
    });
}

/// A handle's output is a `Result` already: what ended a task ends the gather.
fn gather_takes_tasks_and_their_errors(ctx: &Ctx) {
    ctx.run(async {
        let endless = create_task(pending::<u32>());
        let canceller = endless.task_ref();
        let waiting = create_task(gather([create_task(async { 1 }), endless]));
        turns(2).await;
        canceller.cancel();
        let error: JoinError =
            waiting.await.expect("the waiter itself is fine").expect_err("a child was cancelled");
        assert!(error.is_cancelled());
    });
}

fn gathered_operations_all_end(ctx: &Ctx) {
    ctx.run(async {
        let paths: Vec<_> = (0..100).map(|number| ctx.path(&format!("{number}"))).collect();
        let files = gather(paths.iter().map(File::create)).await.expect("the folder can be written");
        let writes = files.iter().enumerate().map(|(number, file)| {
            let write = file.write_all_at(vec![number as u8; 1000], 0);
            async move { write.await.map_err(std_io::Error::from) }
        });
        let counts = gather(writes).await.expect("there is room");
        assert!(counts.into_iter().all(|(count, _)| count == 1000));
        let (one, other) =
            gather!(fs::read(&paths[1]), fs::metadata(&paths[2])).await.expect("they are there");
        assert_eq!((one, other.len()), (vec![1; 1000], 1000));
        let missing =
            gather([fs::read(&paths[0]), fs::read(ctx.path("missing"))]).await.expect_err("one is not");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        rest().await;
    });
}

fn join_polls_in_written_order_and_borrows(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let text = String::from("borrowed");
        let branch = async |name: &'static str, pauses: usize| {
            log.push(name);
            for _ in 0..pauses {
                once_pending().await;
            }
            (name, text.len())
        };
        let all = join!(branch("a", 2), branch("b", 0), branch("c", 1)).await;
        assert_eq!(all, (("a", 8), ("b", 8), ("c", 8)));
        assert_eq!(log.all(), ["a", "b", "c"]);
        assert_eq!(all_tasks().len(), 1, "nothing is spawned");
    });
}

fn a_cancel_is_offered_to_every_branch_of_a_join(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let task = create_task({
            let log = log.clone();
            async move {
                let branch = async |name: &'static str, seconds: u64| {
                    if catch_cancel(pending::<()>()).await.is_err() {
                        sleep(Duration::from_secs(seconds)).await;
                        log.push(name);
                        resume_cancel().await;
                    }
                };
                join!(branch("slow", 2), pending::<()>(), branch("quick", 1)).await;
                log.push("never");
            }
        });
        turns(2).await;
        task.cancel();
        assert!(task.await.is_err_and(|error| error.is_cancelled()));
        assert_eq!(log.all(), ["quick", "slow"], "both cleaned up to their end");
    });
}

fn select_takes_the_first_ready_in_written_order(ctx: &Ctx) {
    ctx.run_paused(async {
        for _ in 0..20 {
            let winner = select! {
                () = std::future::ready(()) => "first",
                () = std::future::ready(()) => "second",
            };
            assert_eq!(winner, "first", "no lot is drawn");
        }
        let winner = select! {
            () = sleep(Duration::from_secs(2)) => "slow",
            () = sleep(Duration::from_secs(1)) => "quick",
            number = async { pending::<u32>().await } => { assert_eq!(number, 0); "never" },
        };
        assert_eq!(winner, "quick");
        // By reference, the loser goes on.
        let mut nap = sleep(Duration::from_secs(10));
        let start = now();
        for _ in 0..3 {
            select! {
                () = &mut nap => unreachable!("ten seconds have not passed"),
                () = sleep(Duration::from_secs(3)) => {},
            }
        }
        nap.await;
        assert_eq!(now() - start, Duration::from_secs(10));
    });
}

fn a_cancel_is_offered_to_every_branch_of_a_select(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let task = create_task({
            let log = log.clone();
            async move {
                let branch = async |name: &'static str| {
                    let _ = catch_cancel(pending::<()>()).await;
                    log.push(name);
                    pending::<()>().await;
                };
                select! {
                    () = branch("a") => {},
                    () = branch("b") => {},
                }
            }
        });
        turns(2).await;
        task.cancel();
        turns(3).await;
        assert_eq!(log.all(), ["a", "b"]);
        task.abort();
        assert!(task.await.is_err());
    });
}

fn a_losing_branch_is_dropped_before_the_arm_runs(ctx: &Ctx) {
    ctx.run(async {
        let drops = Drops::new();
        let token = drops.token();
        let loser = async move {
            let _token = token;
            pending::<()>().await;
        };
        let dropped = select! {
            () = loser => unreachable!("pending for ever"),
            () = once_pending() => drops.count(),
        };
        assert_eq!(dropped, 1);
    });
}

fn a_read_that_loses_a_select_loses_no_byte(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let mut received = Vec::new();
        for number in 0..60_u8 {
            let mut buffer = [0; 4];
            theirs.write_all(&[number; 3]).expect("the loop's end is open");
            // The winner is ready after one to three turns: the data comes before, with it, or after.
            let won = async {
                for _ in 0..=number % 3 {
                    once_pending().await;
                }
            };
            select! {
                () = won => {},
                count = ours.read(&mut buffer) => received.extend_from_slice(&buffer[..count.expect("it was sent")]),
            }
        }
        while received.len() < 180 {
            let mut buffer = [0; 64];
            let count = ours.read(&mut buffer).await.expect("it was sent");
            received.extend_from_slice(&buffer[..count]);
        }
        let expected: Vec<u8> = (0..60).flat_map(|number| [number; 3]).collect();
        assert_eq!(received, expected);
    });
}

fn an_accept_that_loses_a_select_loses_no_client(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let (mut served, mut expected, mut waiting) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for _ in 0..40 {
            let client = connect(address);
            expected.insert(client.local_addr().expect("it is connected"));
            waiting.push(client);
            select! {
                answer = listener.accept() => assert!(served.insert(answer.expect("a client waits").1)),
                () = once_pending() => {},
            }
        }
        while served.len() < expected.len() {
            assert!(served.insert(listener.accept().await.expect("a client waits").1));
        }
        assert_eq!(served, expected);
    });
}

/// Each future has a waker of its own there: an operation must wake the last one it was polled with, not the task.
fn futures_unordered_polls_only_what_was_woken(ctx: &Ctx) {
    ctx.run(async {
        let pairs = many_connected(30).await;
        let mut reads: FuturesUnordered<_> = pairs
            .iter()
            .enumerate()
            .map(async |(number, (ours, _))| {
                let mut byte = [0];
                ours.read_exact(&mut byte).await.expect("it was sent");
                assert_eq!(byte[0], number as u8);
                number
            })
            .collect();
        let mut order = Vec::new();
        for (number, (_, theirs)) in pairs.iter().enumerate().rev() {
            (&*theirs).write_all(&[number as u8]).expect("the loop's end is open");
            order.push(reads.next().await.expect("thirty of them"));
        }
        assert_eq!(order, (0..30).rev().collect::<Vec<_>>());
        assert!(reads.next().await.is_none());
    });
}

fn join_all_of_a_thousand_operations_ends(ctx: &Ctx) {
    let path = ctx.file("file", [8; 1000]);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        // Above a certain number join_all is a FuturesUnordered: private wakers again.
        for many in [10, 1000] {
            let reads = join_all((0..many).map(|place| file.read_exact_at(vec![0], place % 1000, 1))).await;
            assert!(reads.into_iter().all(|answer| answer.expect("within the file").1 == [8]));
        }
    });
}

fn a_buffered_stream_keeps_its_order_and_its_bound(ctx: &Ctx) {
    ctx.run(async {
        let paths: Vec<_> =
            (0..100).map(|number| ctx.file(&format!("{number}"), number.to_string())).collect();
        let mut most = 0;
        let texts: Vec<String> = iter(paths.iter().map(fs::read_to_string))
            .buffered(8)
            .inspect(|_| most = most.max(testing::stats().operations))
            .map(|text| text.expect("it is there"))
            .collect()
            .await;
        assert_eq!(texts, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
        assert!(most <= 8 * 3, "a read is at most open, read and close: {most} operations");
    });
}

fn foreign_select_drops_the_loser(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let mut byte = [0];
        let gate = Gate::new();
        gate.open();
        let read = Box::pin(ours.read(&mut byte));
        let passing = Box::pin(gate.pass());
        let outcome = futures_select(read, passing).await;
        assert!(matches!(outcome, Either::Right(_)));
        drop(outcome);
        theirs.write_all(b"z").expect("the loop's end is open");
        ours.read_exact(&mut byte).await.expect("it was sent");
        assert_eq!(&byte, b"z");
    });
}

fn timeouts_below_private_wakers_strike(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut scopes: FuturesUnordered<_> = (1..=20_u64)
            .rev()
            .map(|seconds| async move {
                let inner = async {
                    if catch_cancel(pending::<()>()).await.is_err() {
                        once_pending().await;
                        resume_cancel().await;
                    }
                };
                timeout(Duration::from_secs(seconds), inner).await.expect_err("it never ends by itself");
                seconds
            })
            .collect();
        let mut order = Vec::new();
        while let Some(seconds) = scopes.next().await {
            order.push(seconds);
        }
        assert_eq!(order, (1..=20).collect::<Vec<_>>());
    });
}

fn tasks_below_private_wakers_are_joined(ctx: &Ctx) {
    ctx.run_paused(async {
        let mut tasks: FuturesUnordered<_> = (1..=20_u64)
            .rev()
            .map(|seconds| {
                create_task(async move {
                    sleep(Duration::from_secs(seconds)).await;
                    seconds
                })
            })
            .collect();
        let mut order = Vec::new();
        while let Some(ended) = tasks.next().await {
            order.push(ended.expect("no panic"));
        }
        assert_eq!(order, (1..=20).collect::<Vec<_>>());
    });
}
