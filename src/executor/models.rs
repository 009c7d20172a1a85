//! The executor under loom: each model runs through every interleaving of its threads, up to a number of preemptions.
//!
//! Everything that other threads may touch is the real thing, tasks, wakers, count and inbox; only the kernel's sleep is
//! modelled. A wake that is lost is a thread that sleeps for ever, which loom reports. It also finds a cell that is never
//! freed, and an access to a cell that is not ordered before or after one of another thread, its end included.
//!
//! `scripts/check loom` runs them.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Wake, Waker};

use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

use super::{BlockingTask, Executor, Inside, Spawn, Task};

/// What the kernel is to a loop: a sleep that a notification ends, also one that came before it.
#[derive(Default)]
struct Kernel {
    notified: Mutex<bool>,
    changed: Condvar,
}

impl Kernel {
    fn sleep(&self) {
        let mut notified = self.notified.lock().expect("nobody panics under it");
        while !*notified {
            notified = self.changed.wait(notified).expect("nobody panics under it");
        }
        *notified = false;
    }
}

impl Wake for Kernel {
    fn wake(self: std::sync::Arc<Self>) {
        *self.notified.lock().expect("nobody panics under it") = true;
        self.changed.notify_one();
    }
}

/// A loop whose end, the drop, is the end of a real one.
struct Loop {
    executor: Rc<Executor>,
    kernel: std::sync::Arc<Kernel>,
    _inside: Inside,
}

impl Loop {
    fn new() -> Self {
        let kernel = std::sync::Arc::new(Kernel::default());
        let executor =
            Executor::new(Waker::from(kernel.clone()), Box::new(|task, _| panic!("{task:?} panicked")));
        let inside = executor.enter();
        Loop { executor, kernel, _inside: inside }
    }

    /// A task that ends as soon as `is_done` says so, how often it was polled, and its waker.
    fn spawn(&self, is_done: impl Fn() -> bool + 'static) -> (Task<()>, Rc<Cell<usize>>, Waker) {
        let (polls, waker) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
        let (counted, given) = (polls.clone(), waker.clone());
        let future = poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            if counted.get() == 1 {
                given.set(Some(cx.waker().clone()));
            }
            if is_done() { Poll::Ready(()) } else { Poll::Pending }
        });
        let task = self.executor.spawn(future, Spawn::default());
        self.turn();
        (task, polls, waker.take().expect("it was polled once"))
    }

    fn turn(&self) {
        self.executor.take_mail(|_| ());
        self.executor.run(self.executor.ready_count());
    }

    /// Turns until the task has ended, and sleeps as a loop does.
    fn finish(&self, task: &Task<()>) {
        self.turn_until(|| task.is_done());
    }

    fn turn_until(&self, done: impl Fn() -> bool) {
        while !done() {
            self.executor.take_mail(|_| ());
            if !self.executor.is_ready() && self.executor.fall_asleep() {
                self.kernel.sleep();
                self.executor.wake_up();
            }
            self.turn();
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.executor.close();
    }
}

#[test]
fn no_wake_is_lost_between_the_last_look_and_the_sleep() {
    loom::model(|| {
        let looped = Loop::new();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let (task, _, waker) = looped.spawn(move || counted.load(Relaxed) == 2);
        let threads = [waker.clone(), waker].map(|waker| {
            let count = count.clone();
            thread::spawn(move || {
                count.fetch_add(1, Relaxed);
                waker.wake();
            })
        });
        looped.finish(&task);
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
    });
}

#[test]
fn a_waker_that_is_used_up_comes_with_its_wake() {
    loom::model(|| {
        let looped = Loop::new();
        let (_task, polls, waker) = looped.spawn(|| false);
        let thread = thread::spawn(move || waker.wake());
        looped.turn_until(|| polls.get() == 2);
        thread.join().expect("it does not panic");
        assert!(!looped.executor.shared.has_mail(), "the loop would wake once more");
    });
}

#[test]
fn a_call_reaches_a_loop_that_falls_asleep() {
    loom::model(|| {
        let looped = Loop::new();
        let called = Arc::new(AtomicBool::new(false));
        let seen = called.clone();
        let (task, _, waker) = looped.spawn(move || seen.load(Relaxed));
        let mailbox = looped.executor.mailbox();
        let thread = thread::spawn(move || {
            let call = move || {
                called.store(true, Relaxed);
                waker.wake();
            };
            mailbox.call(Box::new(call)).expect("the loop lives until the call has come");
        });
        looped.finish(&task);
        thread.join().expect("it does not panic");
    });
}

#[test]
fn the_end_of_a_job_reaches_a_loop_that_falls_asleep() {
    loom::model(|| {
        let looped = Loop::new();
        let result = Arc::new(AtomicUsize::new(0));
        let mailbox = looped.executor.mailbox();
        let threads = [1, 2].map(|key| {
            let result = result.clone();
            thread::spawn(move || {
                result.fetch_add(1, Relaxed);
                mailbox.job_ended(key);
            })
        });
        let ended = Cell::new(0);
        // The mail comes with what its thread did before.
        let job_ended = |key| {
            ended.set(ended.get() + key);
            assert!(result.load(Relaxed) > 0, "the work was done");
        };
        while ended.get() < 3 {
            looped.executor.take_mail(job_ended);
            if ended.get() < 3 && looped.executor.fall_asleep() {
                looped.kernel.sleep();
                looped.executor.wake_up();
            }
        }
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
    });
}

#[test]
fn the_result_of_a_blocking_task_reaches_a_loop_that_falls_asleep() {
    loom::model(|| {
        let looped = Loop::new();
        let mut blocking = BlockingTask::new(|| 7);
        let job = blocking.take_job().expect("it was not taken before");
        let thread = thread::spawn(job);
        let task = looped.executor.spawn(
            poll_fn(move |cx| blocking.poll(cx).map(|result| assert_eq!(result.expect("it ran"), 7))),
            Spawn::default(),
        );
        looped.finish(&task);
        thread.join().expect("it does not panic");
    });
}

#[test]
fn a_cell_is_freed_once_whoever_drops_its_last_reference() {
    loom::model(|| {
        let looped = Loop::new();
        let (task, _, waker) = looped.spawn(|| true);
        let threads = [waker.clone(), waker].map(|waker| {
            thread::spawn(move || {
                let another = waker.clone();
                drop(waker);
                drop(another);
            })
        });
        drop(task);
        looped.turn();
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
    });
}

#[test]
fn a_cell_is_freed_once_though_the_last_is_a_reference_that_another_thread_made() {
    // What the thread does with two references of its own making, and what it gives back.
    let model = |then: fn(Waker, Waker) -> Option<Waker>| {
        let looped = Loop::new();
        let (task, _, waker) = looped.spawn(|| true);
        let waker = Arc::new(waker);
        let lent = waker.clone();
        let thread = thread::spawn(move || {
            let (own, another) = (Waker::clone(&lent), Waker::clone(&lent));
            drop(lent);
            then(own, another)
        });
        drop(task);
        drop(waker);
        drop(thread.join().expect("it does not panic"));
        looped.turn();
    };
    loom::model(move || model(|_own, _another| None));
    loom::model(move || {
        model(|own, _another| {
            own.wake();
            None
        })
    });
    loom::model(move || {
        model(|own, another| {
            own.wake();
            Some(another)
        })
    });
}

#[test]
fn a_cell_in_the_inbox_is_not_freed_by_the_drop_of_its_last_reference() {
    loom::model(|| {
        let looped = Loop::new();
        let (task, _, waker) = looped.spawn(|| true);
        let thread = thread::spawn(move || {
            waker.wake_by_ref();
            waker
        });
        drop(task);
        drop(thread.join().expect("it does not panic"));
        looped.turn();
    });
}

#[test]
fn a_cell_is_freed_once_though_its_loop_ends_meanwhile() {
    let model = |then: fn(Waker)| {
        let looped = Loop::new();
        let (task, _, waker) = looped.spawn(|| false);
        let threads = [waker.clone(), waker].map(|waker| thread::spawn(move || then(waker)));
        looped.executor.close();
        // Still inside of the loop, as a caller of its end may be.
        drop(task);
        drop(looped);
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
    };
    loom::model(move || {
        model(|waker| {
            waker.wake_by_ref();
            drop(waker);
        })
    });
    loom::model(move || model(Waker::wake));
}

#[test]
fn a_wake_after_the_loops_end_wakes_nothing_in_the_next_loop() {
    loom::model(|| {
        let first = Loop::new();
        let (task, _, waker) = first.spawn(|| false);
        let place = first.executor.shared;
        let thread = thread::spawn(move || {
            waker.wake_by_ref();
            waker
        });
        drop(first);
        drop(task);
        let next = Loop::new();
        assert!(std::ptr::eq(place, next.executor.shared), "the next loop gets the same place");
        let (_task, polls, waker) = next.spawn(|| false);
        let kept = thread.join().expect("it does not panic");
        next.turn();
        assert_eq!(polls.get(), 1, "the wake was for another loop");
        assert!(next.executor.fall_asleep(), "nothing has come");
        assert!(!*next.kernel.notified.lock().expect("nobody panics under it"), "nor was it notified");
        drop((kept, waker));
    });
}

#[test]
fn a_call_to_a_loop_that_ends_runs_or_is_dropped() {
    loom::model(|| {
        let looped = Loop::new();
        // What is kept for ever would be found as a leak.
        let mark = Arc::new(());
        let mailbox = looped.executor.mailbox();
        let thread = thread::spawn(move || mailbox.call(Box::new(move || drop(mark))));
        looped.turn();
        drop(looped);
        let _ = thread.join().expect("it does not panic");
        assert!(mailbox.call(Box::new(|| ())).is_err(), "it has ended");
    });
}
