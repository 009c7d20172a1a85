//! The ring under pressure: full queues, overflowing completions, interrupted and refused enters, and what a turn costs.

use crate::harness::kinds::{rest, run_on, settle, turns};
use crate::harness::pairs::{bound, clients, many_connected};
use crate::harness::peers::{Peer, echo, serve_one};
use crate::harness::probes::poll_once;
use crate::harness::{Ctx, Kind, Trial, aftermath};
use crate::{io, once};
use futures_util::future::{join_all, join4};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use ringloop::fs::{self, File};
use ringloop::net::TcpStream;
use ringloop::testing::FaultPlan;
use ringloop::{create_task, sleep, testing, yield_now};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(more_operations_than_entries_all_end),
    io!(more_cancels_than_entries_all_arrive),
    io!(an_overflow_of_completions_loses_none),
    io!(more_receives_than_buffers_all_get_their_data),
    io!(a_cancel_in_the_backlog_meets_its_operation_there),
    once!(a_turn_without_io_does_not_enter_the_kernel),
    once!(a_turn_enters_the_kernel_once),
    once!(a_foreign_wake_of_a_loop_that_is_awake_costs_no_enter),
    io!(interrupted_enters_change_nothing),
    io!(refused_enters_change_nothing),
    io!(short_transfers_and_late_completions_change_nothing),
    io!(real_signals_change_nothing),
    once!(the_ring_is_left_for_the_next_loop_of_the_thread),
];

/// The submission queue is full over and over; what does not fit waits and keeps its order of service.
fn more_operations_than_entries_all_end(ctx: &Ctx) {
    let path = ctx.file("file", [3; 1000]);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let reads = (0..1000).map(async |offset| {
            let (count, buffer) = file.read_at(vec![0; 1], offset).await.expect("within the file");
            assert_eq!((count, buffer), (1, vec![3]));
        });
        join_all(reads).await;
        let creates = join_all((0..300).map(|number| File::create(ctx.path(&format!("{number}"))))).await;
        assert!(creates.into_iter().all(|created| created.is_ok()));
        assert_eq!(std::fs::read_dir(ctx.dir()).expect("it is there").count(), 301);
    });
}

/// A cancel needs an entry of its own: with the queue full, none may be given up.
fn more_cancels_than_entries_all_arrive(ctx: &Ctx) {
    ctx.run(async {
        let pairs = many_connected(150).await;
        let mut peers = Vec::new();
        let tasks: Vec<_> = pairs
            .into_iter()
            .map(|(ours, theirs)| {
                peers.push(theirs);
                create_task(async move {
                    let mut byte = [0];
                    ours.read(&mut byte).await
                })
            })
            .collect();
        settle(|now| now.operations >= 150).await;
        for task in &tasks {
            task.cancel();
        }
        for task in tasks {
            assert!(task.await.expect_err("nobody writes").is_cancelled());
        }
        rest().await;
    });
}

/// Everybody answers in one moment, in one turn: far more completions than the queue has places.
fn an_overflow_of_completions_loses_none(ctx: &Ctx) {
    ctx.run(async {
        let mut pairs = many_connected(120).await;
        for round in 0..5_u8 {
            let mut buffers = vec![[0; 4]; pairs.len()];
            let mut reads: Vec<_> = pairs
                .iter()
                .zip(&mut buffers)
                .map(|((ours, _), buffer)| Box::pin(ours.read_exact(buffer)))
                .collect();
            for read in &mut reads {
                assert!(poll_once(read).await.is_pending());
            }
            // A small queue is fed to the kernel bit by bit, a few entries a turn.
            turns(60).await;
            let peers: Vec<_> = pairs.iter().map(|(_, theirs)| theirs).collect();
            for (number, mut theirs) in peers.into_iter().enumerate() {
                theirs.write_all(&[round, number as u8, 1, 2]).expect("the loop's end is open");
            }
            for read in reads {
                read.await.expect("it was written");
            }
            for (number, buffer) in buffers.iter().enumerate() {
                assert_eq!(buffer, &[round, number as u8, 1, 2]);
            }
        }
        pairs.clear();
    });
}

/// An empty buffer ring is no error of the connection: the data waits in the socket and comes by another way.
fn more_receives_than_buffers_all_get_their_data(ctx: &Ctx) {
    ctx.run(async {
        let pairs = many_connected(40).await;
        let mut chunks = Vec::new();
        for (number, (ours, theirs)) in pairs.iter().enumerate() {
            (&*theirs).write_all(&vec![number as u8; 2000]).expect("the loop's end is open");
            let mut received = 0;
            while received < 2000 {
                let chunk = ours.read_chunk().await.expect("it was written").expect("not the end");
                assert!(chunk.iter().all(|&byte| byte == number as u8));
                received += chunk.len();
                // Kept: the buffers do not come back while the others read.
                chunks.push(chunk);
            }
        }
        drop(chunks);
        for (ours, theirs) in &pairs {
            (&*theirs).write_all(b"again").expect("the loop's end is open");
            let mut buffer = [0; 5];
            ours.read_exact(&mut buffer).await.expect("the buffers came back");
        }
    });
}

/// Dropped in the very turn of its first poll, an operation has not left the backlog: it is removed there, and neither it
/// nor its cancel is ever seen by the kernel.
fn a_cancel_in_the_backlog_meets_its_operation_there(ctx: &Ctx) {
    ctx.run(async {
        let pairs = many_connected(20).await;
        turns(3).await;
        let before = testing::stats();
        for (ours, _) in &pairs {
            let mut byte = [0];
            let mut read = Box::pin(ours.read(&mut byte));
            assert!(poll_once(&mut read).await.is_pending());
        }
        let peers: Vec<_> = pairs.into_iter().map(|(ours, theirs)| (drop(ours), theirs)).collect();
        rest().await;
        let after = testing::stats();
        // What fitted into the queue itself may have been submitted; the backlog was not.
        if ctx.kind == Kind::Tiny {
            assert!(after.submitted - before.submitted < 40, "{before:?} {after:?}");
        }
        drop(peers);
    });
}

fn a_turn_without_io_does_not_enter_the_kernel(ctx: &Ctx) {
    ctx.run(async {
        turns(3).await;
        let before = testing::stats().enters;
        for _ in 0..1000 {
            yield_now().await;
        }
        let tasks: Vec<_> = (0..100).map(|_| create_task(yield_now())).collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(testing::stats().enters, before);
    });
}

/// An echo's request costs one enter of the loop: it submits the send and the next receive, and waits, in one call.
fn a_turn_enters_the_kernel_once(ctx: &Ctx) {
    let (address, peer) = serve_one(echo);
    ctx.run(async {
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        let mut buffer = [0; 64];
        for warm in [true, false] {
            let before = testing::stats().enters;
            for _ in 0..200 {
                stream.write_all(&[1; 64]).await.expect("the peer reads");
                stream.read_exact(&mut buffer).await.expect("the peer answers");
            }
            let enters = testing::stats().enters - before;
            // One to send and wait; now and then the completion of the send wakes it first.
            assert!(warm || enters <= 420, "{enters} enters for 200 requests");
        }
    });
    peer.end();
}

fn a_foreign_wake_of_a_loop_that_is_awake_costs_no_enter(ctx: &Ctx) {
    ctx.run(async {
        turns(3).await;
        let over = Arc::new(AtomicBool::new(false));
        let waker = std::future::poll_fn(|cx| std::task::Poll::Ready(cx.waker().clone())).await;
        let waking = Peer::play({
            let over = over.clone();
            move || {
                for _ in 0..1000 {
                    waker.wake_by_ref();
                    std::thread::yield_now();
                }
                over.store(true, Ordering::Release);
            }
        });
        let before = testing::stats().enters;
        while !over.load(Ordering::Acquire) {
            yield_now().await;
        }
        let enters = testing::stats().enters - before;
        assert!(enters <= 2, "{enters} enters although the loop never slept");
        waking.end();
    });
}

fn interrupted_enters_change_nothing(ctx: &Ctx) {
    for every in [1, 2, 3, 7] {
        run_on(ctx.builder().faults(FaultPlan::new().interrupt_enter(every)), work(ctx));
    }
}

fn refused_enters_change_nothing(ctx: &Ctx) {
    for every in [1, 2, 3, 7] {
        run_on(ctx.builder().faults(FaultPlan::new().no_memory_enter(every)), work(ctx));
    }
}

fn short_transfers_and_late_completions_change_nothing(ctx: &Ctx) {
    let (short, late) = (FaultPlan::new().short(1), FaultPlan::new().delay(1));
    for plan in [short.clone(), late, short.delay(2).interrupt_enter(5)] {
        run_on(ctx.builder().faults(plan), work(ctx));
    }
}

/// Files, sockets, timers and cancels at once.
async fn work(ctx: &Ctx) {
    let pairs = many_connected(10).await;
    let sockets = pairs.iter().enumerate().map(async |(number, (ours, theirs))| {
        for round in 0..5 {
            (&*theirs).write_all(&[number as u8, round]).expect("the loop's end is open");
            let mut buffer = [0; 2];
            ours.read_exact(&mut buffer).await.expect("it was written");
            assert_eq!(buffer, [number as u8, round]);
        }
    });
    let files = (0..10).map(async |number| {
        let path = ctx.path(&format!("work-{number}"));
        fs::write(&path, vec![number; 5000]).await.expect("the folder can be written");
        assert_eq!(fs::read(&path).await.expect("it was written"), vec![number; 5000]);
    });
    let timers = (0..10).map(|number| sleep(Duration::from_micros(300 * number)));
    let (listener, address) = bound().await;
    let accepts = async {
        let waiting = clients(address, 5);
        for _ in &waiting {
            drop(Box::pin(listener.accept()));
            listener.accept().await.expect("clients wait");
        }
    };
    join4(join_all(sockets), join_all(files), join_all(timers), accepts).await;
}

/// EINTR as it really comes: a signal a millisecond, without SA_RESTART, to the thread of the loop.
fn real_signals_change_nothing(ctx: &Ctx) {
    extern "C" fn nothing(_: nix::libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR2, &action) }.expect("SIGUSR2 can be caught");
    let over = Arc::new(AtomicBool::new(false));
    let this = pthread_self();
    let storm = Peer::play({
        let over = over.clone();
        move || {
            while !over.load(Ordering::Acquire) {
                pthread_kill(this, Signal::SIGUSR2).expect("the thread lives");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    ctx.run(async {
        for _ in 0..10 {
            work(ctx).await;
            sleep(Duration::from_millis(3)).await;
        }
    });
    over.store(true, Ordering::Release);
    storm.end();
}

/// Making a ring costs much and its memory comes back late: a loop that ends clean leaves its ring to the next one.
fn the_ring_is_left_for_the_next_loop_of_the_thread(ctx: &Ctx) {
    let rings =
        || aftermath::descriptors().into_iter().filter(|(_, to)| to.contains("io_uring")).collect::<Vec<_>>();
    let mut first = None;
    for _ in 0..10 {
        ctx.run(async {
            let now = rings();
            assert_eq!(now.len(), 1);
            assert_eq!(*first.get_or_insert(now.clone()), now, "it is the same ring");
        });
    }
    testing::release_parked_ring();
    assert!(rings().is_empty());
}
