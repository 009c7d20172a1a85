//! Wakers on other threads: cloned, woken and dropped there, while the loop runs and after its end.

use std::cell::Cell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;

use super::{Gate, Log, Loop, counted, own_waker};
use crate::executor::{Spawn, current};

/// How many rounds a race is run: Miri runs a thousand times slower.
const ROUNDS: usize = if cfg!(miri) { 10 } else { 10_000 };

#[test]
fn a_wake_from_another_thread_ends_the_sleep() {
    let looped = Loop::new();
    let (give, get) = mpsc::channel::<Waker>();
    let wakers = thread::spawn(move || get.into_iter().for_each(Waker::wake));
    let polls = Rc::new(Cell::new(0));
    let task = {
        let polls = polls.clone();
        looped.spawn(poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            if polls.get() > ROUNDS {
                return Poll::Ready(());
            }
            give.send(cx.waker().clone()).expect("the other thread listens");
            Poll::Pending
        }))
    };
    // A wake that is lost leaves this asleep for ever.
    while !task.is_done() {
        looped.turn_or_sleep();
    }
    drop(task);
    wakers.join().expect("the other thread does not panic");
    assert!(polls.get() >= ROUNDS, "each poll had a wake of its own");
}

/// Such a one has whoever wakes a task without being polled in it, as the timer of a callback does: it comes from the name of a
/// task, not from a poll, and has a reference of its own.
#[test]
fn a_waker_made_outside_of_a_poll_wakes_and_counts_for_itself() {
    let (looped, log, polls) = (Loop::new(), Log::default(), Rc::new(Cell::new(0)));
    let dropped = log.on_drop("dropped");
    let waits = async move {
        let _dropped = dropped;
        pending::<()>().await;
    };
    let task = looped.spawn(counted(&polls, Box::pin(waits)));
    let early = task.task_ref().waker();
    early.wake_by_ref();
    looped.settle();
    assert_eq!(polls.get(), 1, "it was ready already");
    early.wake_by_ref();
    looped.settle();
    let copy = early.clone();
    assert!(copy.will_wake(&early));
    copy.wake();
    looped.settle();
    assert_eq!(polls.get(), 3);
    // On another thread: woken by value and by reference, cloned, dropped.
    let there = early.clone();
    let other = thread::spawn(move || {
        there.wake_by_ref();
        let copy = there.clone();
        there.wake();
        copy
    });
    let there = other.join().expect("it does not panic");
    looped.settle();
    looped.turn();
    assert_eq!(polls.get(), 4, "two wakes before a turn are one poll");
    // The last references to a task that has ended: it is woken in vain, and freed, here and there.
    task.abort();
    looped.settle();
    assert_eq!(log.take(), "dropped");
    drop(task);
    early.wake();
    looped.settle();
    assert_eq!(polls.get(), 4);
    thread::spawn(move || there.wake()).join().expect("it does not panic");
    looped.turn();
}

/// Each foreign thread counts up, then wakes; the task must see every count before the loop sleeps for good.
#[test]
fn no_wake_of_four_threads_is_lost() {
    let looped = Loop::new();
    let count = Arc::new(AtomicUsize::new(0));
    let (give, get) = mpsc::channel::<Waker>();
    let task = {
        let count = count.clone();
        looped.spawn(poll_fn(move |cx| {
            if count.load(Ordering::Relaxed) == 0 {
                give.send(cx.waker().clone()).ok();
            }
            match count.load(Ordering::Relaxed) == 4 * ROUNDS {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }))
    };
    looped.turn();
    let waker = get.recv().expect("the task has sent its waker");
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let (count, waker) = (count.clone(), waker.clone());
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    count.fetch_add(1, Ordering::Relaxed);
                    match (number + round) % 3 {
                        0 => waker.wake_by_ref(),
                        1 => waker.wake_by_ref(),
                        _ => {
                            let clone = waker.clone();
                            waker.wake_by_ref();
                            drop(clone);
                        }
                    }
                }
            })
        })
        .collect();
    drop(waker);
    while !task.is_done() {
        looped.turn_or_sleep();
    }
    threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
    looped.executor.take_mail(|_| ());
}

#[test]
fn a_wake_while_the_task_runs_is_a_poll_more() {
    let (looped, polls) = (Loop::new(), Rc::new(Cell::new(0)));
    let task = {
        let polls = polls.clone();
        looped.spawn(poll_fn(move |cx| {
            polls.set(polls.get() + 1);
            let waker = cx.waker().clone();
            thread::spawn(move || waker.wake()).join().expect("it does not panic");
            if polls.get() < 3 { Poll::Pending } else { Poll::Ready(()) }
        }))
    };
    while !task.is_done() {
        looped.turn_or_sleep();
    }
    assert_eq!(polls.get(), 3);
}

#[test]
fn a_loop_that_is_awake_is_not_notified() {
    struct Count(AtomicUsize);
    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let notified = Arc::new(Count(AtomicUsize::new(0)));
    let executor = crate::executor::Executor::new(notified.clone().into(), Box::new(|_, _| ()));
    let inside = executor.enter();
    let mut waker = executor.spawn(own_waker(), Spawn::default());
    executor.run(1);
    let waker = waker.try_result().and_then(Result::ok).expect("it has run");
    let wake = |waker: Waker| thread::spawn(move || waker.wake()).join().expect("it does not panic");
    wake(waker.clone());
    assert_eq!(notified.0.load(Ordering::Relaxed), 0, "awake");
    assert!(!executor.fall_asleep(), "there is mail");
    executor.take_mail(|_| ());
    assert!(executor.fall_asleep());
    wake(waker.clone());
    wake(waker.clone());
    assert_eq!(notified.0.load(Ordering::Relaxed), 1, "once per sleep");
    drop((waker, inside));
    executor.close();
}

/// The future is dropped by its own thread; whoever has the last reference, anywhere, frees plain memory. Under Miri this
/// also shows that nothing leaks and nothing is freed twice.
#[test]
fn a_waker_that_outlives_the_loop_wakes_nothing_and_may_be_dropped_anywhere() {
    let (looped, log) = (Loop::new(), Log::default());
    let (give, get) = mpsc::channel::<Waker>();
    let (dropped, home) = (log.on_drop("dropped"), thread::current().id());
    let task = looped.spawn(async move {
        let _dropped = dropped;
        let _at_home = super::OnDrop(move || assert_eq!(thread::current().id(), home));
        give.send(own_waker().await).expect("the test listens");
        pending::<()>().await;
    });
    looped.settle();
    let waker = get.recv().expect("the task has sent its waker");
    let held = waker.clone();
    drop(looped);
    assert_eq!(log.take(), "dropped");
    let last = thread::spawn(move || {
        waker.wake_by_ref();
        let clone = waker.clone();
        waker.wake();
        clone
    });
    let last = last.join().expect("it does not panic");
    drop(held);
    // A new loop may get the old one's place in the inbox: its number is another.
    let next = Loop::new();
    last.wake_by_ref();
    thread::spawn(move || drop(last)).join().expect("it does not panic");
    next.executor.take_mail(|_| ());
    assert!(!next.executor.is_ready());
    assert!(task.is_cancelled());
}

#[test]
fn the_last_reference_to_a_task_may_be_a_foreign_one() {
    let looped = Loop::new();
    for wake in [false, true] {
        let mut task = looped.spawn(own_waker());
        looped.settle();
        let waker = task.try_result().and_then(Result::ok).expect("it has run");
        drop(task);
        let last = move || if wake { waker.wake() } else { drop(waker) };
        thread::spawn(last).join().expect("it does not panic");
    }
    looped.turn();
    assert_eq!(looped.executor.task_count(), 0);
}

/// Foreign threads wake, clone and drop while the loop ends its tasks and closes its inbox: who frees a cell is decided in
/// that moment.
#[test]
fn a_loop_may_end_while_others_use_its_wakers() {
    for round in 0..ROUNDS.div_ceil(10) {
        let looped = Loop::new();
        let (give, get) = mpsc::channel::<Waker>();
        for _ in 0..4 {
            let give = give.clone();
            let send = async move {
                give.send(own_waker().await).expect("the test listens");
                let _local = own_waker().await;
                pending::<()>().await;
            };
            looped.spawn(send).detach();
        }
        looped.settle();
        drop(give);
        let wakers: Vec<Waker> = get.try_iter().collect();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let wakers = wakers.clone();
                thread::spawn(move || {
                    for waker in wakers {
                        waker.wake_by_ref();
                        let clone = waker.clone();
                        drop(waker);
                        clone.wake();
                    }
                })
            })
            .collect();
        let (local, foreign): (Vec<_>, Vec<_>) =
            wakers.into_iter().enumerate().partition(|(number, _)| number % 2 == 0);
        if round % 2 == 0 {
            looped.turn();
        }
        let dropper = thread::spawn(move || drop(foreign));
        drop(looped);
        drop(local);
        threads.into_iter().chain([dropper]).for_each(|thread| thread.join().expect("it does not panic"));
    }
}

#[test]
fn functions_from_other_threads_run_on_the_loop_in_order() {
    let looped = Loop::new();
    let (mailbox, number) = (looped.executor.mailbox(), looped.executor.number());
    let (tell, told) = mpsc::channel();
    let sender = {
        let tell = tell.clone();
        thread::spawn(move || {
            for item in 0..3 {
                let tell = tell.clone();
                let function = move || {
                    assert_eq!(current().map(|executor| executor.number()), Some(number));
                    tell.send(item).expect("the test listens");
                };
                mailbox.call(Box::new(function)).expect("the loop lives");
            }
        })
    };
    sender.join().expect("it does not panic");
    looped.turn();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [0, 1, 2]);
    // One that never ran is dropped with the loop; one that comes later, at once.
    let unrun = super::OnDrop(move || tell.send(7).expect("the test listens"));
    mailbox.call(Box::new(move || drop(unrun))).expect("the loop lives");
    drop(looped);
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [7]);
    assert!(!mailbox.is_open());
    assert!(mailbox.call(Box::new(|| panic!("it must not run"))).is_err());
}

#[test]
fn a_loop_that_is_left_counts_its_thread_as_foreign() {
    let (mut looped, polls, gate) = (Loop::new(), Rc::new(Cell::new(0)), Gate::default());
    let task = looped.spawn(counted(&polls, Box::pin(gate.pass())));
    looped.turn();
    looped.leave();
    let other = Loop::new();
    gate.open();
    drop(gate);
    let made_outside = looped.spawn(async { 3 });
    drop(other);
    looped.enter();
    assert!(!looped.executor.is_ready(), "a wake from outside goes through the inbox");
    looped.turn();
    assert!(task.is_done());
    assert_eq!(looped.finish(made_outside), 3);
}
