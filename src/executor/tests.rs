//! Tests of the executor without a kernel: a loop that is turned by hand, so that each can say in which turn what happens.
//!
//! They run under Miri as they are: `MIRIFLAGS="-Zmiri-strict-provenance" cargo +nightly miri test --lib executor::`.

mod cancel;
mod contexts;
mod eager;
mod life;
mod private;
mod threads;
mod watched;

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use super::{Executor, Inside, Lost, Spawn, Task, catch_cancel, resume_cancel};

/// A loop that runs when it is told to. Its end, the drop, is the end of a real one.
pub(crate) struct Loop {
    pub(crate) executor: Rc<Executor>,
    /// What `on_lost` was told.
    reports: Rc<RefCell<Vec<String>>>,
    inside: Option<Inside>,
}

/// Ends the sleep of [`Loop::turn_or_sleep`].
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

impl Loop {
    pub(crate) fn new() -> Loop {
        let reports = Rc::new(RefCell::new(Vec::new()));
        let told = reports.clone();
        let on_lost = move |task: &super::TaskRef, lost: &Lost| {
            told.borrow_mut().push(format!("{}: {lost}", task.name()))
        };
        let notify = Waker::from(Arc::new(Unpark(std::thread::current())));
        let executor = Executor::new(notify, Box::new(on_lost));
        let inside = Some(executor.enter());
        Loop { executor, reports, inside }
    }

    pub(crate) fn spawn<F: Future + 'static>(&self, future: F) -> Task<F::Output> {
        self.executor.spawn(future, Spawn::default())
    }

    pub(crate) fn named<F: Future + 'static>(&self, name: &'static str, future: F) -> Task<F::Output> {
        self.executor.spawn(future, Spawn { name: Some(name.into()), ..Spawn::default() })
    }

    /// One turn, without sleep.
    pub(crate) fn turn(&self) {
        self.executor.take_mail(|_| ());
        self.executor.run(self.executor.ready_count());
    }

    /// Turns until nothing is ready; how many it took.
    pub(crate) fn settle(&self) -> usize {
        let mut turns = 0;
        while self.executor.is_ready() {
            self.turn();
            turns += 1;
            assert!(turns < 1000, "something wakes itself without end");
        }
        turns
    }

    /// One turn, after a sleep if nothing is ready.
    pub(crate) fn turn_or_sleep(&self) {
        self.executor.take_mail(|_| ());
        if !self.executor.is_ready() && self.executor.fall_asleep() {
            std::thread::park();
            self.executor.wake_up();
        }
        self.turn();
    }

    /// Turns until the task has ended, and gives its value.
    pub(crate) fn finish<T>(&self, mut task: Task<T>) -> T {
        self.settle();
        let ended = task.try_result().expect("the task has ended when nothing is ready any more");
        ended.expect("the task has a value")
    }

    pub(crate) fn reports(&self) -> Vec<String> {
        self.reports.take()
    }

    /// Leaves the loop: its thread is then as foreign to it as any other.
    fn leave(&mut self) {
        self.inside = None;
    }

    fn enter(&mut self) {
        self.inside = Some(self.executor.enter());
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.executor.close();
    }
}

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub(crate) fn push(&self, text: impl ToString) {
        self.0.borrow_mut().push(text.to_string());
    }

    /// All since the last call, with spaces between.
    pub(crate) fn take(&self) -> String {
        self.0.take().join(" ")
    }

    /// Notes `text` when it is dropped.
    pub(crate) fn on_drop(&self, text: &'static str) -> OnDrop<impl FnMut() + use<>> {
        let log = self.clone();
        OnDrop(move || log.push(text))
    }
}

/// Runs a function when it is dropped.
pub(crate) struct OnDrop<F: FnMut()>(pub(crate) F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Gives way for so many turns.
pub(crate) async fn turns(mut left: usize) {
    poll_fn(move |cx| match left {
        0 => Poll::Ready(()),
        _ => {
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// A branch that handles the request logs that it was asked, cleans up for so many turns and then resumes or swallows.
pub(crate) async fn handler(log: Log, name: &'static str, cleans_up: usize, resumes: bool) {
    let _ = catch_cancel(pending::<()>()).await;
    log.push(format!("{name}?"));
    turns(cleans_up).await;
    log.push(name);
    if resumes {
        resume_cancel().await
    }
}

/// Waits until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Rc<(Cell<bool>, RefCell<Vec<Waker>>)>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.0.set(true);
        self.0.1.take().into_iter().for_each(Waker::wake);
    }

    pub(crate) fn pass(&self) -> impl Future<Output = ()> + use<> {
        let gate = self.clone();
        poll_fn(move |cx| {
            if gate.0.0.get() {
                return Poll::Ready(());
            }
            gate.0.1.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
    }
}

/// Polls once and leaves the future where it is.
pub(crate) async fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut future).poll(cx))).await
}

/// The running task's waker.
pub(crate) async fn own_waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// A future that also counts its polls.
pub(crate) fn counted<F: Future + Unpin>(
    polls: &Rc<Cell<usize>>,
    mut future: F,
) -> impl Future<Output = F::Output> + use<F> {
    let polls = polls.clone();
    poll_fn(move |cx: &mut Context<'_>| {
        polls.set(polls.get() + 1);
        Pin::new(&mut future).poll(cx)
    })
}
