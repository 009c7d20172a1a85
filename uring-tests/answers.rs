//! `Op::timeout` and `Op::cancellable` end the operation and not its future: the buffer comes back with what really happened,
//! whenever the request comes.
//!
//! The files here are eventfds: a read of one takes its eight bytes once somebody has written, and waits until then.

use crate::harness::kinds::{rest, settle, turns};
use crate::harness::probes::{CountingWaker, Dice, Gate, poll_with};
use crate::harness::{Ctx, Kind, Trial};
use crate::io;
use nix::sys::eventfd::{EfdFlags, EventFd};
use ringloop::fs::File;
use ringloop::{BufResult, LoopClosed, Op, create_task, sleep, testing};
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(an_answer_that_is_there_is_not_touched),
    io!(an_answer_that_came_before_the_request_stands),
    io!(an_answer_in_the_race_is_what_happened),
    io!(what_is_in_flight_ends_with_its_buffer),
    io!(what_is_in_the_backlog_ends_with_its_buffer),
    io!(a_transfer_cut_short_keeps_its_count),
    io!(the_loops_end_gives_the_buffer_back),
];

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

/// An eventfd, and the same one as a file of the loop.
fn event() -> (EventFd, File) {
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).expect("an eventfd can be made");
    let file = event.as_fd().try_clone_to_owned().expect("a descriptor can be doubled");
    (event, File::from(file))
}

/// A read, and where its buffer lies.
fn read(file: &File) -> (Op<BufResult<Vec<u8>>>, *const u8) {
    let buf = Vec::with_capacity(8);
    let place = buf.as_ptr();
    (file.read_at(buf, 0), place)
}

fn an_answer_that_is_there_is_not_touched(ctx: &Ctx) {
    ctx.run(async {
        let (event, file) = event();
        for limit in [Duration::ZERO, LONG] {
            event.write(7).expect("it has room");
            let (read, place) = read(&file);
            let task = create_task(read.cancellable().timeout(limit));
            // With no time at all the request follows the entry at once; the kernel has read by then.
            let (count, buf) = task.await.expect("no panic").expect("it could be read");
            assert_eq!((count, &buf[..], buf.as_ptr()), (8, &7_u64.to_ne_bytes()[..], place));
        }
        let (short, place) = read(&file);
        let error = short.timeout(Duration::ZERO).await.expect_err("nothing is there");
        assert_eq!((error.error.kind(), error.buf.as_ptr()), (ErrorKind::TimedOut, place));
    });
}

/// The operation has ended, and only its future does not know it yet.
fn an_answer_that_came_before_the_request_stands(ctx: &Ctx) {
    ctx.run(async {
        let (event, file) = event();
        let (counter, waker) = CountingWaker::new();
        let (read, _) = read(&file);
        let mut read = read.timeout(SHORT);
        assert!(poll_with(&waker, &mut read).is_pending());
        event.write(1).expect("it has room");
        settle(|_| counter.count() > 0 && testing::stats().operations == 0).await;
        sleep(2 * SHORT).await;
        let Poll::Ready(answer) = poll_with(&waker, &mut read) else { panic!("it has ended") };
        assert_eq!(answer.expect("it was read in time").0, 8);
    });
}

/// Request and answer meet in the kernel. Whoever wins: bytes that were taken are handed out, bytes that were not are still there.
fn an_answer_in_the_race_is_what_happened(ctx: &Ctx) {
    let mut dice = Dice(ctx.seed);
    ctx.run(async {
        let (event, file) = event();
        for _ in 0..100 {
            let (first, place) = read(&file);
            let task = create_task(first.cancellable());
            turns(dice.below(3) as usize).await;
            let write = || event.write(1).expect("it has room");
            let cancel = || task.cancel();
            if dice.below(2) == 0 {
                write();
                cancel();
            } else {
                cancel();
                write();
            }
            match task.await {
                Ok(Ok((count, buf))) => assert_eq!((count, buf.as_ptr()), (8, place)),
                Ok(Err(error)) => {
                    assert!(error.is_cancelled(), "{error:?}");
                    assert_eq!((error.done, error.buf.len(), error.buf.as_ptr()), (0, 0, place));
                    let (again, _) = read(&file);
                    assert_eq!(again.await.expect("it was not taken").0, 8);
                }
                // Cancelled before its first step: nothing was begun.
                Err(error) => {
                    assert!(error.is_cancelled());
                    let (again, _) = read(&file);
                    assert_eq!(again.await.expect("it was not taken").0, 8);
                }
            }
            let (none, _) = read(&file);
            none.timeout(Duration::ZERO).await.expect_err("it was taken once");
        }
    });
}

fn what_is_in_flight_ends_with_its_buffer(ctx: &Ctx) {
    ctx.run(async {
        let (_event, file) = event();
        let (timed, place) = read(&file);
        let error = timed.timeout(SHORT).await.expect_err("nobody writes");
        assert_eq!((error.error.kind(), error.done), (ErrorKind::TimedOut, 0));
        assert_eq!((error.buf.len(), error.buf.as_ptr()), (0, place));
        assert_eq!(testing::stats().operations, 0, "it ended before its future");
        let (asked, place) = read(&file);
        let task = create_task(async move {
            let error = asked.cancellable().await.expect_err("nobody writes");
            assert!(error.is_cancelled(), "{error:?}");
            assert_eq!((error.done, error.buf.as_ptr()), (0, place));
            "went on"
        });
        turns(3).await;
        task.cancel();
        assert_eq!(task.await.expect("it took the request"), "went on");
    });
}

/// Queued and asked to end in the same step: on a small ring neither the entry nor the request has reached the kernel.
fn what_is_in_the_backlog_ends_with_its_buffer(ctx: &Ctx) {
    ctx.run(async {
        let (_event, file) = event();
        let gate = Gate::new();
        let task = create_task(async move {
            let (read, place) = read(&file);
            let mut read = read.cancellable();
            let mut others: Vec<_> = (0..20).map(|_| file.read_at(Vec::with_capacity(8), 0)).collect();
            let mut wait = Box::pin(gate.pass());
            let mut asked = false;
            let answer = poll_fn(|cx| {
                // The first poll starts nothing; the second is that of the request.
                if !std::mem::replace(&mut asked, true) {
                    return wait.as_mut().poll(cx).map(|()| unreachable!("the gate stays shut"));
                }
                for other in &mut others {
                    let _ = Pin::new(other).poll(&mut Context::from_waker(cx.waker()));
                }
                Pin::new(&mut read).poll(cx)
            });
            let error = answer.await.expect_err("nobody writes");
            assert!(error.is_cancelled(), "{error:?}");
            assert_eq!((error.done, error.buf.as_ptr()), (0, place));
        });
        turns(2).await;
        let before = testing::stats().backlogged;
        task.cancel();
        task.await.expect("it took the request");
        let backlogged = testing::stats().backlogged - before;
        assert!(backlogged > 0 || ctx.kind != Kind::Tiny, "a ring of four entries had room for 21");
        rest().await;
    });
}

/// The first half came, the second never does.
fn a_transfer_cut_short_keeps_its_count(ctx: &Ctx) {
    ctx.run(async {
        let (event, file) = event();
        for cancel in [false, true] {
            event.write(5).expect("it has room");
            let read = file.read_exact_at(Vec::with_capacity(16), 0, 16);
            let error = if cancel {
                let task = create_task(read.cancellable());
                turns(5).await;
                task.cancel();
                task.await.expect("it took the request")
            } else {
                read.timeout(Duration::from_millis(20)).await
            }
            .expect_err("half of it is missing");
            assert_eq!(error.is_cancelled(), cancel, "{error:?}");
            assert_eq!(error.done, error.buf.len());
            // On a busy machine the request may come before the first half.
            match error.done {
                8 => assert_eq!(error.buf, 5_u64.to_ne_bytes()),
                done => {
                    assert_eq!(done, 0);
                    let (rest, _) = self::read(&file);
                    assert_eq!(rest.await.expect("it was not taken").0, 8);
                }
            }
        }
    });
}

fn the_loops_end_gives_the_buffer_back(ctx: &Ctx) {
    let (_event, file) = event();
    let mut runner = ctx.runner();
    let (waker, mut kept) = (CountingWaker::new().1, Vec::new());
    runner
        .run(async {
            for number in 0..3 {
                let (read, place) = read(&file);
                let mut read = match number {
                    0 => read,
                    1 => read.timeout(LONG),
                    _ => read.cancellable(),
                };
                assert!(poll_with(&waker, &mut read).is_pending());
                kept.push((read, place));
            }
            turns(2).await;
        })
        .expect("it runs");
    runner.close().expect("what waits without end is cancelled");
    ctx.run(async {
        for (read, place) in kept {
            let error = read.await.expect_err("nobody wrote");
            assert!(error.error.get_ref().is_some_and(|word| word.is::<LoopClosed>()), "{error:?}");
            assert_eq!((error.done, error.buf.as_ptr()), (0, place));
        }
    });
}
