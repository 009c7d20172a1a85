//! Wakers: the last one given is the one that is woken, a bad one harms nobody else, and another thread may wake at any
//! time, before the sleep, during it, and after the loop's end.

use crate::harness::forked::forked;
use crate::harness::kinds::{settle, start, turns};
use crate::harness::pairs::connected;
use crate::harness::peers::Peer;
use crate::harness::probes::{CountingWaker, OnDrop, poll_with};
use crate::harness::{Ctx, Kind, Trial};
use crate::{io, once};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use ringloop::fs::File;
use ringloop::net::TcpStream;
use ringloop::sync::Semaphore;
use ringloop::{Builder, create_task, sleep, testing, yield_now};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::Write;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Wake, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(an_operations_last_waker_is_the_one_that_is_woken),
    io!(a_receives_last_waker_is_the_one_that_is_woken),
    once!(a_sleeps_last_waker_is_the_one_that_is_woken),
    once!(a_handles_last_waker_is_the_one_that_is_woken),
    once!(an_acquires_last_waker_is_the_one_that_is_woken),
    io!(a_waker_that_panics_harms_nobody_else),
    once!(a_waker_whose_drop_panics_harms_nobody_else),
    io!(a_wake_from_another_thread_ends_the_loops_sleep),
    io!(a_wake_from_another_thread_during_the_poll_is_not_lost),
    once!(a_wake_after_the_loops_end_does_nothing),
    once!(a_foreign_thread_never_drops_the_future),
    once!(no_wake_of_four_threads_is_lost),
    once!(wakes_before_the_poll_are_one_poll),
    once!(a_wake_of_a_finished_task_does_nothing),
    once!(wakers_forgotten_without_end_abort_the_process).seconds(120),
];

fn an_operations_last_waker_is_the_one_that_is_woken(ctx: &Ctx) {
    ctx.run(async {
        let wakers: Vec<_> = (0..5).map(|_| CountingWaker::new()).collect();
        let mut create = File::create(ctx.path("file"));
        for (_, waker) in &wakers {
            assert!(poll_with(waker, &mut create).is_pending(), "no turn has passed");
        }
        settle(|_| wakers[4].0.count() > 0).await;
        let counts: Vec<_> = wakers.iter().map(|(counter, _)| counter.count()).collect();
        assert_eq!(counts, [0, 0, 0, 0, 1]);
        assert!(poll_with(&wakers[0].1, &mut create).is_ready());
    });
}

fn a_receives_last_waker_is_the_one_that_is_woken(ctx: &Ctx) {
    ctx.run(async {
        let (ours, theirs) = connected().await;
        data_wakes_the_last_waker(ctx, &ours, theirs).await;
    });
}

/// Polls a read with one waker and with another: what comes then wakes only that.
pub async fn data_wakes_the_last_waker(ctx: &Ctx, ours: &TcpStream, mut theirs: std::net::TcpStream) {
    let (first, first_waker) = CountingWaker::new();
    let (last, last_waker) = CountingWaker::new();
    let mut byte = [0];
    let mut read = Box::pin(ours.read(&mut byte));
    assert!(poll_with(&first_waker, &mut read).is_pending());
    turns(2).await;
    assert!(poll_with(&last_waker, &mut read).is_pending());
    // A fault may have ended the receive while the first waker was the last one: then this poll began another.
    let before = first.count();
    theirs.write_all(b"x").expect("the loop's end is open");
    settle(|_| last.count() > 0).await;
    // Where the ring had no buffer, the first wake only starts the receive anew.
    while poll_with(&last_waker, &mut read).is_pending() {
        let woken = last.count();
        settle(|_| last.count() > woken).await;
    }
    assert_eq!(first.count(), before);
    assert!(before == 0 || ctx.kind == Kind::Faulty, "nobody had anything to tell");
}

fn a_sleeps_last_waker_is_the_one_that_is_woken(ctx: &Ctx) {
    ctx.run_paused(async {
        let (first, first_waker) = CountingWaker::new();
        let (last, last_waker) = CountingWaker::new();
        let mut nap = sleep(Duration::from_secs(1));
        assert!(poll_with(&first_waker, &mut nap).is_pending());
        assert!(poll_with(&last_waker, &mut nap).is_pending());
        assert_eq!(testing::stats().timers, 1, "one timer, whoever polls");
        testing::advance(Duration::from_secs(1));
        turns(2).await;
        assert_eq!((first.count(), last.count()), (0, 1));
        assert!(poll_with(&last_waker, &mut nap).is_ready());
    });
}

fn a_handles_last_waker_is_the_one_that_is_woken(ctx: &Ctx) {
    ctx.run(async {
        let (first, first_waker) = CountingWaker::new();
        let (last, last_waker) = CountingWaker::new();
        let mut task = create_task(yield_now());
        assert!(poll_with(&first_waker, &mut task).is_pending());
        assert!(poll_with(&last_waker, &mut task).is_pending());
        turns(3).await;
        assert_eq!((first.count(), last.count()), (0, 1));
        assert!(poll_with(&last_waker, &mut task).is_ready());
    });
}

fn an_acquires_last_waker_is_the_one_that_is_woken(ctx: &Ctx) {
    ctx.run(async {
        let semaphore = Semaphore::new(1);
        let permit = semaphore.acquire().await;
        let (first, first_waker) = CountingWaker::new();
        let (last, last_waker) = CountingWaker::new();
        let mut acquire = Box::pin(semaphore.acquire());
        assert!(poll_with(&first_waker, &mut acquire).is_pending());
        assert!(poll_with(&last_waker, &mut acquire).is_pending());
        drop(permit);
        turns(2).await;
        assert_eq!((first.count(), last.count()), (0, 1));
        assert!(poll_with(&last_waker, &mut acquire).is_ready());
    });
}

/// Panics when it is woken, or when it is dropped.
struct Bad {
    /// Panics at its drop as well.
    at_drop: bool,
}

impl Wake for Bad {
    fn wake(self: Arc<Self>) {
        panic!("a bad waker");
    }
}

impl Drop for Bad {
    fn drop(&mut self) {
        if self.at_drop && !thread::panicking() {
            panic!("a waker that drops badly");
        }
    }
}

/// Wakes and drops of a turn go through a queue that survives the panic of one of them: the rest still run, in order.
fn a_waker_that_panics_harms_nobody_else(ctx: &Ctx) {
    ctx.run(async {
        let (good, good_waker) = CountingWaker::new();
        let mut bad = Vec::new();
        let mut fine = Vec::new();
        for number in 0..20 {
            let mut create = File::create(ctx.path(&format!("bad-{number}")));
            assert!(poll_with(&Waker::from(Arc::new(Bad { at_drop: false })), &mut create).is_pending());
            bad.push(create);
            let mut create = File::create(ctx.path(&format!("good-{number}")));
            assert!(poll_with(&good_waker, &mut create).is_pending());
            fine.push(create);
        }
        settle(|_| good.count() == fine.len()).await;
        for create in bad.into_iter().chain(fine) {
            create.await.expect("the operation itself is fine");
        }
    });
}

fn a_waker_whose_drop_panics_harms_nobody_else(ctx: &Ctx) {
    ctx.run(async {
        let (good, good_waker) = CountingWaker::new();
        let mut one = File::create(ctx.path("one"));
        let mut other = File::create(ctx.path("other"));
        // The waker itself panics as well; the last reference is dropped on the way out of that wake.
        let waker = Waker::from(Arc::new(Bad { at_drop: true }));
        assert!(poll_with(&waker, &mut one).is_pending());
        std::mem::forget(waker);
        assert!(poll_with(&good_waker, &mut other).is_pending());
        settle(|_| good.count() == 1).await;
        one.await.expect("the operation itself is fine");
        other.await.expect("the operation itself is fine");
    });
}

fn a_wake_from_another_thread_ends_the_loops_sleep(ctx: &Ctx) {
    ctx.run(async {
        for _ in 0..20 {
            let woken = Arc::new(AtomicBool::new(false));
            let mut waking = None;
            poll_fn(|cx| {
                if woken.load(Ordering::SeqCst) {
                    return Poll::Ready(());
                }
                assert!(waking.is_none(), "woken before the wake");
                let (waker, woken) = (cx.waker().clone(), woken.clone());
                waking = Some(Peer::play(move || {
                    // The loop has nothing else to do, so by then it sleeps.
                    thread::sleep(Duration::from_millis(5));
                    woken.store(true, Ordering::SeqCst);
                    waker.wake();
                }));
                Poll::Pending
            })
            .await;
        }
    });
}

/// The task is woken while it is being polled, after the moment at which a naive executor would have looked.
fn a_wake_from_another_thread_during_the_poll_is_not_lost(ctx: &Ctx) {
    ctx.run(async {
        for _ in 0..50 {
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                if polls == 2 {
                    return Poll::Ready(());
                }
                let waker = cx.waker().clone();
                Peer::play(move || waker.wake()).end();
                Poll::Pending
            })
            .await;
        }
    });
}

fn a_wake_after_the_loops_end_does_nothing(_: &Ctx) {
    let mut kept = Vec::new();
    for _ in 0..10 {
        let mut runner = start(Builder::new());
        let waker = runner.run(poll_fn(|cx| Poll::Ready(cx.waker().clone()))).expect("it runs");
        waker.wake_by_ref();
        let child = runner
            .run(async {
                let stored = Rc::new(Cell::new(None));
                let storing = stored.clone();
                create_task(poll_fn(move |cx| {
                    storing.set(Some(cx.waker().clone()));
                    Poll::<()>::Pending
                }))
                .detach();
                yield_now().await;
                yield_now().await;
                stored.take().expect("the task was polled")
            })
            .expect("it runs");
        runner.close().expect("it ends");
        kept.extend([waker, child]);
    }
    for waker in &kept {
        waker.wake_by_ref();
        waker.wake_by_ref();
    }
    Peer::play(move || kept.into_iter().for_each(Waker::wake)).end();
    // The next loop of this thread knows nothing of them.
    start(Builder::new()).run(sleep(Duration::from_millis(1))).expect("it runs");
}

/// The last waker frees memory on its thread, but the future died at home, with its loop.
fn a_foreign_thread_never_drops_the_future(_: &Ctx) {
    let dropped_on: Arc<Mutex<Option<ThreadId>>> = Arc::default();
    let mut runner = start(Builder::new());
    let noting = dropped_on.clone();
    let waker = runner
        .run(async move {
            let stored = Rc::new(Cell::new(None));
            let storing = stored.clone();
            let guard =
                OnDrop(move || *noting.lock().expect("nobody panicked") = Some(thread::current().id()));
            create_task(async move {
                let _guard = guard;
                poll_fn(|cx| {
                    storing.set(Some(cx.waker().clone()));
                    Poll::<()>::Pending
                })
                .await;
            })
            .detach();
            yield_now().await;
            yield_now().await;
            stored.take().expect("the task was polled")
        })
        .expect("it runs");
    runner.close().expect("it ends");
    assert_eq!(*dropped_on.lock().expect("nobody panicked"), Some(thread::current().id()));
    Peer::play(move || drop(waker)).end();
}

/// A million wakes: each thread raises a number and wakes; the task must see every final number. A lost wake leaves it asleep for ever,
/// which the watchdog reports.
fn no_wake_of_four_threads_is_lost(ctx: &Ctx) {
    const ROUNDS: u64 = 250_000;
    ctx.run(async {
        let counts: Arc<[AtomicU64; 4]> = Arc::default();
        let seen: Arc<[AtomicU64; 4]> = Arc::default();
        let waker = Arc::new(Mutex::new(poll_fn(|cx| Poll::Ready(cx.waker().clone())).await));
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let (counts, seen, waker) = (counts.clone(), seen.clone(), waker.clone());
                Peer::play(move || {
                    let waker = waker.lock().expect("nobody panicked").clone();
                    for round in 1..=ROUNDS {
                        counts[number].store(round, Ordering::Release);
                        waker.wake_by_ref();
                        // Every hundredth is answered before the next: the loop falls asleep and wakes in between.
                        while round % 100 == 0 && seen[number].load(Ordering::Acquire) < round {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        poll_fn(|_| {
            // Judged by what was told to the threads: a count that is looked at again may have moved on meanwhile, and its
            // thread would wait for ever for an answer.
            let mut all = true;
            for (count, seen) in counts.iter().zip(seen.iter()) {
                let now = count.load(Ordering::Acquire);
                seen.store(now, Ordering::Release);
                all &= now == ROUNDS;
            }
            if all { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        threads.into_iter().for_each(Peer::end);
    });
}

fn wakes_before_the_poll_are_one_poll(ctx: &Ctx) {
    ctx.run(async {
        let polls = Rc::new(Cell::new(0));
        let stored = Rc::new(Cell::new(None));
        let task = create_task({
            let (polls, stored) = (polls.clone(), stored.clone());
            poll_fn(move |cx| {
                polls.set(polls.get() + 1);
                stored.set(Some(cx.waker().clone()));
                if polls.get() == 3 { Poll::Ready(()) } else { Poll::Pending }
            })
        });
        yield_now().await;
        assert_eq!(polls.get(), 1);
        for wakes in [1000, 1] {
            let waker: Waker = stored.take().expect("the task was polled");
            (0..wakes).for_each(|_| waker.wake_by_ref());
            drop(waker);
            turns(3).await;
        }
        assert_eq!(polls.get(), 3);
        task.await.expect("it ended");
    });
}

fn a_wake_of_a_finished_task_does_nothing(ctx: &Ctx) {
    ctx.run(async {
        let awake = Arc::new(AtomicBool::new(true));
        let task = create_task(poll_fn(|cx| Poll::Ready(cx.waker().clone())));
        let waker = task.await.expect("it ended");
        waker.wake_by_ref();
        let keep = awake.clone();
        Peer::play(move || {
            waker.wake_by_ref();
            drop(waker);
            keep.store(false, Ordering::SeqCst);
        })
        .end();
        turns(3).await;
        assert!(!awake.load(Ordering::SeqCst));
    });
}

/// READ-06. `Arc` aborts before its count wraps, and so must a task's: else the cell is freed while wakers refer to it.
fn wakers_forgotten_without_end_abort_the_process(_: &Ctx) {
    // A 32-bit count wraps after fewer clones than this.
    const CLONES: u64 = (1 << 32) + 8;
    let forgets = |here: bool| {
        move || {
            let done = ringloop::run(async move {
                let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
                let forget = move || (0..CLONES).for_each(|_| std::mem::forget(waker.clone()));
                if here { forget() } else { ringloop::to_thread(forget).await.unwrap() }
            });
            i32::from(done.is_err())
        }
    };
    for here in [true, false] {
        let end = forked(forgets(here));
        assert!(
            matches!(end, WaitStatus::Signaled(_, Signal::SIGABRT, _)),
            "on the loop's thread: {here}; {end:?}"
        );
    }
}
