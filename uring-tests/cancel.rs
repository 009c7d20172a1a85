//! Cancellation, both forms of it. A drop loses nothing that the kernel delivered: the accept, the read and the write of
//! a dropped future are served by the next one. A request (`Task::cancel`) is offered to the innermost handler, and
//! without one the task is dropped where it waits.

use crate::harness::kinds::{settle, turns};
use crate::harness::pairs::{bound, clients, connected};
use crate::harness::peers::{connect, listen, serve_one};
use crate::harness::probes::{
    CountingWaker, Dice, Drops, Gate, Log, once_pending, poll_once, poll_with, start_and_drop,
};
use crate::harness::{Ctx, Trial, aftermath};
use crate::{io, once};
use ringloop::net::TcpStream;
use ringloop::{
    catch_cancel, check_cancel, create_task, current_task, resume_cancel, sleep, testing, timeout,
    uncancellable, with_cleanup, yield_now,
};
use std::collections::BTreeSet;
use std::future::pending;
use std::io::Write;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(dropped_accept_is_served_by_the_next),
    io!(an_accept_dropped_with_clients_waiting_loses_none),
    io!(an_accept_dropped_after_its_client_came_loses_none),
    io!(an_accept_that_timed_out_is_served_by_the_next),
    io!(a_read_dropped_before_its_data_loses_no_byte),
    io!(a_read_dropped_after_its_data_came_loses_no_byte),
    io!(a_dropped_chunk_read_loses_no_byte),
    io!(reads_under_random_timeouts_lose_no_byte),
    io!(a_dropped_connect_closes_its_socket),
    io!(a_task_cancelled_in_a_receive_ends_promptly),
    once!(a_cancelled_sleep_ends_at_once),
    once!(a_request_is_not_yet_an_end),
    once!(two_requests_are_delivered_as_one),
    once!(a_task_cancelled_before_its_first_step_never_runs),
    once!(a_waiter_learns_that_its_task_was_cancelled),
    once!(a_task_that_catches_the_cancel_returns_its_value),
    once!(a_completed_value_beats_a_pending_cancel),
    once!(a_request_to_oneself_is_passed_on_through_the_next_await),
    once!(the_inner_handler_runs_before_the_outer),
    once!(an_awaited_task_may_swallow_the_cancel_of_its_awaiter),
    once!(the_reason_of_a_cancel_reaches_the_joiner),
    once!(an_uncancelled_task_can_be_cancelled_again),
    once!(uncancel_withdraws_an_undelivered_request),
    once!(a_task_in_a_foreign_future_is_dropped_with_its_destructors),
    once!(a_handler_may_await_and_resume),
    once!(cleanup_runs_on_every_way_out),
    once!(an_uncancellable_section_holds_a_request_back),
    once!(a_shielded_task_survives_its_waiter),
    once!(a_long_computation_can_ask),
    once!(a_handler_below_private_wakers_is_asked),
];

fn dropped_accept_is_served_by_the_next(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        start_and_drop(listener.accept()).await;
        let client = connect(address);
        turns(3).await;
        let (_, peer) = listener.accept().await.expect("a client waits");
        assert_eq!(peer, client.local_addr().expect("it is connected"));
    });
}

fn an_accept_dropped_with_clients_waiting_loses_none(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let waiting = clients(address, 60);
        let mut served = BTreeSet::new();
        while served.len() < waiting.len() {
            let mut accept = Box::pin(listener.accept());
            let _ = poll_once(&mut accept).await.map(|answer| {
                let (_, peer) = answer.expect("a client waits");
                assert!(served.insert(peer), "{peer} is served once");
            });
            drop(accept);
            // The polled one may have been given the last.
            if served.len() < waiting.len() {
                let (_, peer) = listener.accept().await.expect("a client waits");
                assert!(served.insert(peer), "{peer} is served once");
            }
        }
        let expected: BTreeSet<_> =
            waiting.iter().map(|c| c.local_addr().expect("it is connected")).collect();
        assert_eq!(served, expected);
    });
}

/// The connection is established and its descriptor is in the table when the future goes.
fn an_accept_dropped_after_its_client_came_loses_none(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        for _ in 0..50 {
            let (counter, waker) = CountingWaker::new();
            let mut accept = Box::pin(listener.accept());
            assert!(poll_with(&waker, &mut accept).is_pending());
            let client = connect(address);
            settle(|_| counter.count() > 0).await;
            drop(accept);
            let (_, peer) = listener.accept().await.expect("the client came");
            assert_eq!(peer, client.local_addr().expect("it is connected"));
        }
    });
}

fn an_accept_that_timed_out_is_served_by_the_next(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        for _ in 0..20 {
            assert!(timeout(Duration::from_millis(1), listener.accept()).await.is_err(), "nobody is there");
            let client = connect(address);
            let (_, peer) = listener.accept().await.expect("a client waits");
            assert_eq!(peer, client.local_addr().expect("it is connected"));
        }
    });
}

/// SOCK-02
fn a_read_dropped_before_its_data_loses_no_byte(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let mut lost = [0; 16];
        start_and_drop(ours.read(&mut lost)).await;
        theirs.write_all(b"every byte").expect("the loop's end is open");
        turns(3).await;
        let mut buffer = [0; 10];
        ours.read_exact(&mut buffer).await.expect("it was written");
        assert_eq!(&buffer, b"every byte");
        assert_eq!(lost, [0; 16]);
    });
}

/// SOCK-02
fn a_read_dropped_after_its_data_came_loses_no_byte(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let mut received = Vec::new();
        for number in 0..100_u8 {
            let mut buffer = [0; 3];
            let (counter, waker) = CountingWaker::new();
            let mut read = Box::pin(ours.read(&mut buffer));
            assert!(poll_with(&waker, &mut read).is_pending());
            theirs.write_all(&[number; 5]).expect("the loop's end is open");
            settle(|_| counter.count() > 0).await;
            drop(read);
            // Not all of it, so that a rest is there when the next read is dropped.
            let mut some = [0; 5];
            ours.read_exact(&mut some).await.expect("it was written");
            received.extend(some);
        }
        let expected: Vec<u8> = (0..100).flat_map(|number| [number; 5]).collect();
        assert_eq!(received, expected);
    });
}

fn a_dropped_chunk_read_loses_no_byte(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        start_and_drop(ours.read_chunk()).await;
        theirs.write_all(b"chunk").expect("the loop's end is open");
        turns(3).await;
        let mut read = Box::pin(ours.read_chunk());
        turns(3).await;
        let first = poll_once(&mut read).await;
        drop(read);
        let mut received = match first {
            std::task::Poll::Ready(chunk) => chunk.expect("it was written").expect("not the end").to_vec(),
            std::task::Poll::Pending => Vec::new(),
        };
        while received.len() < 5 {
            received
                .extend_from_slice(&ours.read_chunk().await.expect("it was written").expect("not the end"));
        }
        assert_eq!(received, b"chunk");
    });
}

/// Whatever the moment at which a limit strikes: the stream that arrives is the stream that was sent.
fn reads_under_random_timeouts_lose_no_byte(ctx: &Ctx) {
    let sent = Dice(ctx.seed).bytes(40_000);
    let mut dice = Dice(ctx.seed);
    let (address, peer) = serve_one({
        let sent = sent.clone();
        move |mut stream| {
            for piece in sent.chunks(97) {
                stream.write_all(piece).expect("the loop's end is open");
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    });
    let received = ctx.run(async {
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        let mut received = Vec::new();
        let mut buffer = vec![0; 300];
        loop {
            let limit = Duration::from_micros(dice.below(400));
            let size = 1 + dice.below(299) as usize;
            match timeout(limit, stream.read(&mut buffer[..size])).await {
                Ok(Ok(0)) => return received,
                Ok(count) => received.extend_from_slice(&buffer[..count.expect("the peer is well")]),
                Err(_) => yield_now().await,
            }
        }
    });
    peer.end();
    assert!(received == sent, "{} bytes of {} arrived, or others", received.len(), sent.len());
}

/// A backlog that is full lets a connect wait for ever: the drop must end it and close what it holds.
fn a_dropped_connect_closes_its_socket(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = listen();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).expect("a small number"))
            .expect("a listener can listen again");
        let filling: Vec<_> = (0..8).filter_map(|_| try_connect(address)).collect();
        turns(3).await;
        let before = aftermath::descriptors();
        for _ in 0..10 {
            start_and_drop(std::future::IntoFuture::into_future(TcpStream::connect(address))).await;
        }
        settle(|now| now.operations == 0).await;
        assert_eq!(aftermath::opened_since(&before), [""; 0]);
        drop(filling);
    });
}

/// A connection if the backlog has room; None after a moment if it has not.
fn try_connect(address: std::net::SocketAddr) -> Option<std::net::TcpStream> {
    std::net::TcpStream::connect_timeout(&address, Duration::from_millis(50)).ok()
}

/// CANCEL-21
fn a_task_cancelled_in_a_receive_ends_promptly(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let task = create_task(async move {
            let mut buffer = [0; 64];
            ours.read(&mut buffer).await
        });
        turns(3).await;
        assert!(task.cancel());
        let error = task.await.expect_err("it waits for ever");
        assert!(error.is_cancelled());
        // The stream went with the task: nothing receives any more, and the peer learns of it.
        settle(|now| now.operations == 0).await;
        let reset = (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(1));
            theirs.write_all(b"anybody there?").is_err()
        });
        assert!(reset, "the descriptor is closed");
    });
}

/// CANCEL-01
fn a_cancelled_sleep_ends_at_once(ctx: &Ctx) {
    ctx.run_paused(async {
        let start = ringloop::now();
        let task = create_task(sleep(Duration::from_secs(3600)));
        yield_now().await;
        assert_eq!(testing::stats().timers, 1);
        assert!(task.cancel());
        assert!(task.await.expect_err("it was cancelled").is_cancelled());
        assert_eq!(testing::stats().timers, 0);
        assert_eq!(ringloop::now(), start, "no time passed");
    });
}

/// CANCEL-02
fn a_request_is_not_yet_an_end(ctx: &Ctx) {
    ctx.run(async {
        let mut task = create_task(pending::<()>());
        yield_now().await;
        assert_eq!(task.cancelling(), 0);
        assert!(task.cancel());
        assert_eq!((task.is_cancelled(), task.is_done(), task.cancelling()), (false, false, 1));
        assert!((&mut task).await.is_err());
        assert_eq!((task.is_cancelled(), task.is_done()), (true, true));
        assert!(!task.cancel(), "a task that has ended cannot be cancelled");
    });
}

/// CANCEL-03
fn two_requests_are_delivered_as_one(ctx: &Ctx) {
    ctx.run(async {
        let deliveries = Log::new();
        let task = create_task({
            let deliveries = deliveries.clone();
            async move {
                if catch_cancel(pending::<()>()).await.is_err() {
                    deliveries.push(1);
                }
                if catch_cancel(once_pending()).await.is_err() {
                    deliveries.push(2);
                }
            }
        });
        yield_now().await;
        assert!(task.cancel());
        assert!(task.cancel());
        assert_eq!(task.cancelling(), 2);
        task.await.expect("it swallowed the request");
        assert_eq!(deliveries.all(), [1]);
    });
}

/// CANCEL-05
fn a_task_cancelled_before_its_first_step_never_runs(ctx: &Ctx) {
    ctx.run(async {
        let drops = Drops::new();
        let token = drops.token();
        let log = Log::new();
        let task = create_task({
            let log = log.clone();
            async move {
                log.push("ran");
                drop(token);
            }
        });
        assert!(task.cancel_with("too late"));
        let error = task.await.expect_err("it never started");
        assert_eq!((error.is_cancelled(), error.reason()), (true, Some("too late")));
        assert_eq!(log.len(), 0);
        assert_eq!(drops.count(), 1, "what it captured is dropped");
    });
}

/// CANCEL-06
fn a_waiter_learns_that_its_task_was_cancelled(ctx: &Ctx) {
    ctx.run(async {
        let inner = create_task(pending::<()>());
        let canceller = inner.task_ref();
        let outer = create_task(inner);
        turns(2).await;
        canceller.cancel();
        let error = outer.await.expect("the outer task was not cancelled").expect_err("the inner one was");
        assert!(error.is_cancelled());
    });
}

/// CANCEL-07
fn a_task_that_catches_the_cancel_returns_its_value(ctx: &Ctx) {
    ctx.run(async {
        let mut task = create_task(async {
            match catch_cancel(pending::<()>()).await {
                Ok(()) => unreachable!("pending for ever"),
                Err(_) => 42,
            }
        });
        yield_now().await;
        task.cancel();
        assert_eq!((&mut task).await.expect("it caught the request"), 42);
        assert!(!task.is_cancelled());
    });
}

/// CANCEL-10 (the deviation): the request stays pending, and a task that ends without another await keeps its value.
fn a_completed_value_beats_a_pending_cancel(ctx: &Ctx) {
    ctx.run(async {
        let mut task = create_task(async {
            current_task().expect("a task runs").cancel();
            "value"
        });
        assert_eq!((&mut task).await.expect("it completed"), "value");
        assert_eq!(task.cancelling(), 1);
        assert!(!task.is_cancelled());

        // The same with a result that was there before the request: it wins, and the next await is hit.
        let gate = Gate::new();
        let task = create_task({
            let gate = gate.clone();
            async move {
                gate.pass().await;
                catch_cancel(pending::<()>()).await.is_err()
            }
        });
        yield_now().await;
        gate.open();
        task.cancel();
        assert!(task.await.expect("it caught the request"), "the request hit the await after the gate");
    });
}

/// CANCEL-11
fn a_request_to_oneself_is_passed_on_through_the_next_await(ctx: &Ctx) {
    ctx.run(async {
        let inner = create_task(pending::<()>());
        let watched = inner.task_ref();
        let outer = create_task(async move {
            current_task().expect("a task runs").cancel();
            inner.await
        });
        let answer = outer.await.expect("the outer task took the answer of the inner");
        assert!(answer.expect_err("the inner task was cancelled through the await").is_cancelled());
        assert!(watched.is_cancelled());
    });
}

/// CANCEL-12
fn the_inner_handler_runs_before_the_outer(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let task = create_task({
            let log = log.clone();
            async move {
                let inner = async {
                    if catch_cancel(pending::<()>()).await.is_err() {
                        log.push("inner");
                        resume_cancel().await;
                    }
                };
                if catch_cancel(inner).await.is_err() {
                    log.push("outer");
                    resume_cancel().await;
                }
            }
        });
        yield_now().await;
        task.cancel();
        assert!(task.await.expect_err("both passed it on").is_cancelled());
        assert_eq!(log.all(), ["inner", "outer"]);
    });
}

/// CANCEL-13
fn an_awaited_task_may_swallow_the_cancel_of_its_awaiter(ctx: &Ctx) {
    ctx.run_paused(async {
        let inner = create_task(async {
            let _ = catch_cancel(pending::<()>()).await;
            sleep(Duration::from_secs(5)).await;
            "cleaned up"
        });
        let outer = create_task(async move {
            let answer = inner.await.expect("it swallowed the request");
            (answer, current_task().expect("a task runs").cancelling())
        });
        turns(2).await;
        let start = ringloop::now();
        outer.cancel();
        assert_eq!(outer.await.expect("it went on"), ("cleaned up", 1));
        assert_eq!(ringloop::now() - start, Duration::from_secs(5), "it waited for the clean-up");
    });
}

/// CANCEL-15
fn the_reason_of_a_cancel_reaches_the_joiner(ctx: &Ctx) {
    ctx.run(async {
        let task = create_task(pending::<()>());
        yield_now().await;
        task.cancel_with(format!("reason {}", 7));
        assert_eq!(task.await.expect_err("it was cancelled").reason(), Some("reason 7"));
    });
}

/// CANCEL-16
fn an_uncancelled_task_can_be_cancelled_again(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let mut task = create_task({
            let log = log.clone();
            async move {
                let this = current_task().expect("a task runs");
                let _ = catch_cancel(pending::<()>()).await;
                log.push((this.cancelling(), this.uncancel()));
                pending::<()>().await;
            }
        });
        yield_now().await;
        task.cancel();
        turns(2).await;
        assert_eq!(log.all(), [(1, 0)]);
        assert!(!format!("{task:?}").contains("cancelling"), "{task:?}");
        assert!(!task.is_done());
        assert!(task.cancel());
        assert!((&mut task).await.is_err());
        assert_eq!(task.uncancel(), task.cancelling(), "after the end it changes nothing");
        assert!(task.is_cancelled());
    });
}

/// CANCEL-17
fn uncancel_withdraws_an_undelivered_request(ctx: &Ctx) {
    ctx.run(async {
        let gate = Gate::new();
        let task = create_task({
            let gate = gate.clone();
            async move {
                gate.pass().await;
                "undisturbed"
            }
        });
        yield_now().await;
        task.cancel();
        assert_eq!(task.uncancel(), 0);
        turns(2).await;
        gate.open();
        assert_eq!(task.await.expect("the request was withdrawn"), "undisturbed");
    });
}

/// CANCEL-24
fn a_task_in_a_foreign_future_is_dropped_with_its_destructors(ctx: &Ctx) {
    ctx.run(async {
        let drops = Drops::new();
        let gate = Gate::new();
        let foreign = gate.clone();
        let task = create_task({
            let token = drops.token();
            async move {
                let _token = token;
                foreign.pass().await;
            }
        });
        turns(2).await;
        task.cancel();
        assert!(task.await.expect_err("nobody handled it").is_cancelled());
        assert_eq!(drops.count(), 1);
        drop(gate);
    });
}

/// TIMEOUT-07's handler, by a task's own request: the handler awaits, then lets the cancel go on.
fn a_handler_may_await_and_resume(ctx: &Ctx) {
    ctx.run_paused(async {
        let log = Log::new();
        let task = create_task({
            let log = log.clone();
            async move {
                if catch_cancel(pending::<()>()).await.is_err() {
                    sleep(Duration::from_secs(1)).await;
                    log.push("cleaned up");
                    resume_cancel().await;
                }
                log.push("never");
            }
        });
        yield_now().await;
        let start = ringloop::now();
        task.cancel();
        assert!(task.await.expect_err("the handler passed it on").is_cancelled());
        assert_eq!(log.all(), ["cleaned up"]);
        assert_eq!(ringloop::now() - start, Duration::from_secs(1));
    });
}

fn cleanup_runs_on_every_way_out(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let note = |log: &Log<&'static str>| {
            let log = log.clone();
            async move |exit: ringloop::Exit<'_, i32>| {
                once_pending().await;
                log.push(match exit {
                    ringloop::Exit::Value(_) => "value",
                    ringloop::Exit::Cancelled => "cancelled",
                });
            }
        };
        assert_eq!(with_cleanup(async { 7 }, note(&log)).await, 7);
        let cleanup = note(&log);
        let task = create_task(with_cleanup(pending::<i32>(), cleanup));
        yield_now().await;
        task.cancel();
        assert!(task.await.expect_err("a clean-up does not swallow").is_cancelled());
        assert_eq!(log.all(), ["value", "cancelled"]);
    });
}

fn an_uncancellable_section_holds_a_request_back(ctx: &Ctx) {
    ctx.run(async {
        let (gate, log) = (Gate::new(), Log::new());
        let task = create_task({
            let (gate, log) = (gate.clone(), log.clone());
            async move {
                uncancellable(async {
                    gate.pass().await;
                    log.push("committed");
                })
                .await;
                log.push("before the next await");
                pending::<()>().await;
                log.push("never");
            }
        });
        yield_now().await;
        task.cancel();
        turns(3).await;
        assert!(!task.is_done(), "the section holds it");
        gate.open();
        assert!(task.await.expect_err("the next await is hit").is_cancelled());
        assert_eq!(log.all(), ["committed", "before the next await"]);
    });
}

/// SHIELD-03 and what `shield` is for: the waiter goes, the work goes on.
fn a_shielded_task_survives_its_waiter(ctx: &Ctx) {
    ctx.run(async {
        let (gate, log) = (Gate::new(), Log::new());
        let work = create_task({
            let (gate, log) = (gate.clone(), log.clone());
            async move {
                gate.pass().await;
                log.push("done");
            }
        });
        let waiter = create_task(work.shield());
        turns(2).await;
        waiter.cancel();
        assert!(waiter.await.expect_err("the shield does not take it").is_cancelled());
        gate.open();
        turns(2).await;
        assert_eq!(log.all(), ["done"]);

        let inner = create_task(pending::<()>());
        inner.cancel();
        assert!(inner.shield().await.expect_err("the inner task itself was cancelled").is_cancelled());
    });
}

fn a_long_computation_can_ask(ctx: &Ctx) {
    ctx.run(async {
        let log = Log::new();
        let task = create_task({
            let log = log.clone();
            async move {
                for step in 0.. {
                    log.push(step);
                    if step == 3 {
                        current_task().expect("a task runs").cancel();
                    }
                    check_cancel().await;
                }
            }
        });
        assert!(task.await.expect_err("it asked").is_cancelled());
        assert_eq!(log.all(), [0, 1, 2, 3]);
    });
}

/// `FuturesUnordered` polls only the futures whose own wakers were woken: a request must wake the handlers in them.
fn a_handler_below_private_wakers_is_asked(ctx: &Ctx) {
    use futures_util::stream::{FuturesUnordered, StreamExt};
    ctx.run(async {
        let log = Log::new();
        let task = create_task({
            let log = log.clone();
            async move {
                let handlers: FuturesUnordered<_> = (0..5)
                    .map(|number| {
                        let log = log.clone();
                        async move {
                            if catch_cancel(pending::<()>()).await.is_err() {
                                log.push(number);
                            }
                        }
                    })
                    .collect();
                handlers.collect::<Vec<()>>().await;
            }
        });
        turns(2).await;
        task.cancel();
        turns(3).await;
        assert_eq!(log.len(), 1, "one request has one taker");
        task.abort();
        assert!(task.await.expect_err("four handlers still waited").is_cancelled());
    });
}
