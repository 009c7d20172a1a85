//! The life of one operation: what a drop means at each moment of it, where the future may go meanwhile, and whose
//! result it gets.

use crate::harness::kinds::{rest, settle, turns};
use crate::harness::pairs::{connected, many_connected};
use crate::harness::probes::{CountingWaker, poll_once, poll_with};
use crate::harness::{Ctx, Trial, aftermath};
use crate::io;
use futures_util::future::join_all;
use ringloop::fs::{self, File};
use ringloop::{create_task, testing};
use std::io::{ErrorKind, Write};
use std::mem::forget;
use std::task::Poll;

pub const TRIALS: &[Trial] = &[
    io!(a_future_dropped_before_its_first_poll_does_nothing),
    io!(a_dropped_open_closes_its_late_descriptor),
    io!(a_dropped_create_still_creates),
    io!(a_future_dropped_between_completion_and_poll_drops_its_output),
    io!(a_forgotten_future_costs_a_slot_and_nothing_else),
    io!(a_future_moves_between_its_polls),
    io!(a_stale_future_leaves_the_next_owner_of_its_slot_alone),
    io!(a_stale_stream_leaves_the_next_owner_of_its_slot_alone),
    io!(each_of_many_operations_gets_its_own_result),
    io!(a_failed_operation_gives_its_buffer_back),
    io!(an_operation_outlives_the_handle_it_was_made_from),
    io!(an_operation_can_be_a_task),
    io!(a_finished_operation_holds_no_descriptor),
];

fn a_future_dropped_before_its_first_poll_does_nothing(ctx: &Ctx) {
    let path = ctx.path("never");
    ctx.run(async {
        let file = File::open("/proc/self/status").await.expect("procfs is there");
        turns(2).await;
        let before = testing::stats();
        drop(File::create(&path));
        drop(fs::metadata("/"));
        drop(file.read_at(Vec::with_capacity(10), 0));
        turns(3).await;
        let after = testing::stats();
        assert_eq!((after.started, after.submitted), (before.started, before.submitted));
    });
    assert!(!path.exists());
}

/// The open may succeed long after its future has gone: the descriptor is then nobody's, and must close itself.
fn a_dropped_open_closes_its_late_descriptor(ctx: &Ctx) {
    ctx.run(async {
        turns(2).await;
        let before = aftermath::descriptors();
        let mut in_flight = 0;
        for number in 0..200 {
            let path = ctx.path(&format!("late-{number}"));
            in_flight += usize::from(poll_once(&mut File::create(path)).await.is_pending());
        }
        assert!(in_flight > 0, "no open was dropped in flight: the trial must choose another operation");
        rest().await;
        assert_eq!(aftermath::opened_since(&before), [""; 0]);
    });
}

/// A drop abandons the future, it does not undo what the kernel has begun: block I/O is left to finish.
fn a_dropped_create_still_creates(ctx: &Ctx) {
    let path = ctx.path("created");
    ctx.run(async {
        let mut create = File::create(&path);
        assert!(poll_once(&mut create).await.is_pending(), "a create is never immediate");
        // A turn takes the entry to the kernel; what is still in the backlog may simply be removed.
        turns(3).await;
        drop(create);
        rest().await;
    });
    assert!(path.exists());
}

fn a_future_dropped_between_completion_and_poll_drops_its_output(ctx: &Ctx) {
    ctx.run(async {
        turns(2).await;
        let before = aftermath::descriptors();
        let (counter, waker) = CountingWaker::new();
        let mut create = File::create(ctx.path("file"));
        assert!(poll_with(&waker, &mut create).is_pending());
        settle(|_| counter.count() > 0).await;
        assert_eq!(aftermath::descriptors().len(), before.len() + 1, "the descriptor waits in the table");
        drop(create);
        rest().await;
        assert_eq!(aftermath::opened_since(&before), [""; 0]);
        assert_eq!(counter.count(), 1);
    });
}

/// Forgetting is safe Rust: it may cost memory, never soundness, and the loop still ends.
fn a_forgotten_future_costs_a_slot_and_nothing_else(ctx: &Ctx) {
    let path = ctx.file("file", [7; 100]);
    let mut runner = ctx.runner();
    runner
        .run(async {
            for _ in 0..20 {
                let mut read = fs::metadata(&path);
                let _ = poll_once(&mut read).await;
                forget(read);
            }
            turns(20).await;
            assert_eq!(fs::read(&path).await.expect("others are not disturbed"), [7; 100]);
        })
        .expect("it runs");
    runner.close().expect("it ends");
}

/// The payload lies in the table, so the future is free to move while the kernel writes.
fn a_future_moves_between_its_polls(ctx: &Ctx) {
    let path = ctx.file("file", vec![42; 4096]);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let mut reads = Vec::new();
        for number in 0..50 {
            let mut read = file.read_exact_at(vec![0; 64], number * 64, 64);
            let polled = poll_once(&mut read).await;
            // Each push may move all the others: the vector grows from nothing.
            reads.push((Box::new(read), polled));
        }
        reads.reverse();
        for (read, polled) in reads {
            let answer = match polled {
                Poll::Ready(answer) => answer,
                Poll::Pending => read.await,
            };
            let (count, buffer) = answer.expect("the file is long enough");
            assert_eq!((count, buffer), (64, vec![42; 64]));
        }
    });
}

fn a_stale_future_leaves_the_next_owner_of_its_slot_alone(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        // These have ended, but live on with the keys of slots that are free now.
        let mut ended = Vec::new();
        for number in 0..8 {
            let mut create = File::create(ctx.path(&format!("{number}")));
            (&mut create).await.expect("the folder can be written");
            ended.push(create);
        }
        let mut byte = [0];
        let mut read = Box::pin(ours.read(&mut byte));
        assert!(poll_once(&mut read).await.is_pending());
        turns(2).await;
        drop(ended);
        turns(2).await;
        theirs.write_all(b"x").expect("the loop's end is open");
        assert_eq!(read.await.expect("nobody cancelled it"), 1);
        assert_eq!(byte, *b"x");
    });
}

/// The same with streams, whose receive was cancelled and whose slot somebody else has by now.
fn a_stale_stream_leaves_the_next_owner_of_its_slot_alone(ctx: &Ctx) {
    ctx.run(async {
        let pairs = many_connected(20).await;
        let mut peers = Vec::new();
        for (ours, theirs) in pairs {
            let mut byte = [0];
            let mut read = Box::pin(ours.read(&mut byte));
            assert!(poll_once(&mut read).await.is_pending());
            drop(read);
            drop(ours);
            peers.push(theirs);
        }
        // The cancels of the old streams are on their way while the new ones take slots.
        let mut fresh = many_connected(20).await;
        let reads = fresh.iter_mut().enumerate().map(async |(number, (ours, theirs))| {
            theirs.write_all(&[number as u8]).expect("the loop's end is open");
            let mut byte = [0];
            ours.read_exact(&mut byte).await.expect("nobody cancelled it");
            byte[0]
        });
        assert_eq!(join_all(reads).await, (0..20).collect::<Vec<u8>>());
        drop(peers);
    });
}

fn each_of_many_operations_gets_its_own_result(ctx: &Ctx) {
    let blocks: Vec<u8> = (0..=255).flat_map(|number| vec![number; 512]).collect();
    let path = ctx.file("file", blocks);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let reads = (0..=255).rev().map(async |number: u8| {
            let offset = u64::from(number) * 512;
            let (count, buffer) =
                file.read_exact_at(vec![0; 512], offset, 512).await.expect("the file is long");
            assert_eq!((count, buffer), (512, vec![number; 512]));
        });
        join_all(reads).await;
    });
}

fn a_failed_operation_gives_its_buffer_back(ctx: &Ctx) {
    ctx.run(async {
        let file = File::create(ctx.path("write-only")).await.expect("the folder can be written");
        let buffer = vec![9; 32];
        let place = buffer.as_ptr();
        let error = file.read_at(buffer, 0).await.expect_err("the file was opened for writing");
        assert_eq!(error.error.raw_os_error(), Some(nix::libc::EBADF));
        assert_eq!(error.done, 0);
        assert_eq!(error.buf.as_ptr(), place, "it is the same buffer");
        assert_eq!(error.into_buf(), [9; 32], "a read that failed before it began changes nothing");
        file.close().await.expect("it closes");
    });
}

/// An operation in flight keeps its descriptor alive: closing waits for nobody.
fn an_operation_outlives_the_handle_it_was_made_from(ctx: &Ctx) {
    let path = ctx.file("file", b"still there");
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let unpolled = file.read_exact_at(Vec::with_capacity(11), 0, 11);
        let mut polled = file.read_exact_at(Vec::with_capacity(11), 0, 11);
        let first = poll_once(&mut polled).await;
        drop(file);
        let answer = match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => polled.await,
        };
        assert_eq!(answer.expect("it holds the descriptor").1, b"still there");
        assert_eq!(unpolled.await.expect("it holds the descriptor").1, b"still there");
    });
}

fn an_operation_can_be_a_task(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    ctx.run(async {
        let read = create_task(fs::read_to_string(&path));
        let missing = create_task(File::open(ctx.path("missing")));
        assert_eq!(read.await.expect("no panic").expect("it is there"), "text");
        let error = missing.await.expect("no panic").expect_err("it is not there");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

/// Awaited by reference, the future is still there afterwards; what it held is not.
fn a_finished_operation_holds_no_descriptor(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    ctx.run(async {
        turns(2).await;
        let before = aftermath::descriptors();
        let file = File::open(&path).await.expect("it is there");
        let mut read = file.read_at(Vec::with_capacity(4), 0);
        (&mut read).await.expect("it is there");
        drop(file);
        settle(|now| now.operations == 0).await;
        assert_eq!(aftermath::opened_since(&before), [""; 0]);
    });
}
