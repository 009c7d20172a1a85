//! Waiting for several tasks at once: `gather`, its macro for different types, and `gather_settled`.
//!
//! The children of a gather are tasks of the loop. Each carries a [`Report`], which goes with the child's future however
//! that ends, and enters the end on the [`Board`] that all share: how many are left, who failed first. The gather is
//! woken when somebody fails first and when nobody is left, not in between, so ten thousand children cost ten thousand
//! decrements. A list of one type and a tuple of several are the same [`Gathering`] over different [`Children`].
//!
//! A cancel request that reaches a gather is taken: it cancels the children, waits for all of them and goes on outward.

use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::panic::{Location, resume_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::FutureExt;

use crate::error::JoinError;
use crate::event_loop::expect_running;
use crate::executor::{
    Awaiter, Executor, Listed, Offer, Spawn, Task, TaskRef, current_task, set_offer, take_offer,
    waits_for_tasks,
};

/// What the children of one gather tell it.
#[derive(Default)]
struct Board {
    /// Children that have not ended.
    left: Cell<usize>,
    /// The first that ended without a value.
    failed: Cell<Option<usize>>,
    /// Who awaits the gather.
    awaiter: Awaiter,
}

/// A child's duty to report its end. It goes with the child's future, so an end without a result is reported as well.
struct Report {
    board: Rc<Board>,
    /// The child's place among the arguments.
    index: usize,
    /// There was no value.
    failed: bool,
}

impl Report {
    fn result<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        self.failed = result.is_err();
        result
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        let board = &self.board;
        let left = board.left.get() - 1;
        board.left.set(left);
        let first = self.failed && board.failed.get().is_none();
        if first {
            board.failed.set(Some(self.index));
        }
        if first || left == 0 {
            board.awaiter.wake();
        }
    }
}

/// Where the children of one gather are born.
pub struct Cradle<'a> {
    executor: &'a Executor,
    /// Where the gather was called, in debug mode.
    location: Option<&'static Location<'static>>,
    board: Rc<Board>,
    /// How many there are.
    born: Cell<usize>,
}

impl<'a> Cradle<'a> {
    fn new(executor: &'a Executor, location: Option<&'static Location<'static>>) -> Self {
        Cradle { executor, location, board: Rc::default(), born: Cell::new(0) }
    }

    fn spawn<F, T, E>(&self, future: F) -> Task<Result<T, E>>
    where
        F: Future<Output = Result<T, E>> + 'static,
    {
        let index = self.born.replace(self.born.get() + 1);
        self.board.left.set(self.board.left.get() + 1);
        let report = Report { board: self.board.clone(), index, failed: true };
        let how = Spawn { location: self.location, ..Spawn::default() };
        // `map` keeps one copy of the future and runs the closure when that is gone; an async block would keep two.
        self.executor.spawn(future.map(move |result| report.result(result)), how)
    }

    fn gather<C: Children>(self, children: C) -> Gathering<C> {
        Gathering { children, board: self.board, stage: Stage::Waiting, listed: Listed::default() }
    }
}

/// The tasks of one gather.
pub trait Children {
    /// Their values, in the order of the arguments.
    type Values;
    /// What one of them fails with.
    type Error;

    /// Visits each.
    fn each(&self, visit: impl FnMut(&TaskRef));

    /// How the failed child `index` ended; None if its task has not yet stored that.
    fn failure(&mut self, index: usize) -> Option<Result<Self::Error, JoinError>>;

    /// The values, of children that all have one.
    fn values(&mut self) -> Self::Values;
}

/// How a task that reported a failure ended.
fn failure<T, E>(task: &mut Task<Result<T, E>>) -> Option<Result<E, JoinError>> {
    Some(task.try_result()?.map(|result| result.err().expect("a child that failed has no value")))
}

/// The value of a task that ended and reported no failure.
fn value<T, E>(task: &mut Task<Result<T, E>>) -> T {
    let result = task.try_result().and_then(Result::ok).and_then(Result::ok);
    result.expect("a child that ended and did not fail has a value")
}

impl<T, E> Children for Vec<Task<Result<T, E>>> {
    type Values = Vec<T>;
    type Error = E;

    fn each(&self, visit: impl FnMut(&TaskRef)) {
        self.iter().map(|task| &**task).for_each(visit);
    }

    fn failure(&mut self, index: usize) -> Option<Result<E, JoinError>> {
        failure(&mut self[index])
    }

    fn values(&mut self) -> Vec<T> {
        self.iter_mut().map(value).collect()
    }
}

/// Up to twelve futures of different types and one error.
#[diagnostic::on_unimplemented(
    message = "`gather!` takes one to twelve futures whose outputs are `Result`s with the same error",
    note = "for more of one type there is `gather`; `Task`s of fallible futures go in as `task.flatten()`"
)]
pub trait GatherTuple {
    /// Their tasks.
    type Children: Children;

    /// Spawns them in order.
    fn spawn(self, cradle: &Cradle<'_>) -> Self::Children;
}

macro_rules! tuples {
    ($($F:ident $T:ident $index:tt),+) => {
        impl<E, $($T),+> Children for ($(Task<Result<$T, E>>,)+) {
            type Values = ($($T,)+);
            type Error = E;

            fn each(&self, mut visit: impl FnMut(&TaskRef)) {
                $(visit(&self.$index);)+
            }

            fn failure(&mut self, index: usize) -> Option<Result<E, JoinError>> {
                match index {
                    $($index => failure(&mut self.$index),)+
                    _ => unreachable!("the board knows the children of this gather only"),
                }
            }

            fn values(&mut self) -> Self::Values {
                ($(value(&mut self.$index),)+)
            }
        }

        impl<E, $($T, $F),+> GatherTuple for ($($F,)+)
        where
            $($F: IntoFuture<Output = Result<$T, E>>, $F::IntoFuture: 'static,)+
        {
            type Children = ($(Task<Result<$T, E>>,)+);

            fn spawn(self, cradle: &Cradle<'_>) -> Self::Children {
                ($(cradle.spawn(self.$index.into_future()),)+)
            }
        }
    };
}

tuples!(A TA 0);
tuples!(A TA 0, B TB 1);
tuples!(A TA 0, B TB 1, C TC 2);
tuples!(A TA 0, B TB 1, C TC 2, D TD 3);
tuples!(A TA 0, B TB 1, C TC 2, D TD 3, F TF 4);
tuples!(A TA 0, B TB 1, C TC 2, D TD 3, F TF 4, G TG 5);
tuples!(A TA 0, B TB 1, C TC 2, D TD 3, F TF 4, G TG 5, H TH 6);
tuples!(A TA 0, B TB 1, C TC 2, D TD 3, F TF 4, G TG 5, H TH 6, I TI 7);
tuples!(A TA 0, B TB 1, C TC 2, D TD 3, F TF 4, G TG 5, H TH 6, I TI 7, J TJ 8);
tuples!(A TA 0, B TB 1, C TC 2, D TD 3, F TF 4, G TG 5, H TH 6, I TI 7, J TJ 8, K TK 9);
tuples!(A TA 0, B TB 1, C TC 2, D TD 3, F TF 4, G TG 5, H TH 6, I TI 7, J TJ 8, K TK 9, L TL 10);
tuples!(A TA 0, B TB 1, C TC 2, D TD 3, F TF 4, G TG 5, H TH 6, I TI 7, J TJ 8, K TK 9, L TL 10, M TM 11);

/// How far a gather is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// For all values, or the first failure.
    Waiting,
    /// It took a cancel, passed it to the children and waits for the last one's end.
    Ending,
    /// It goes on with a cancellation, its own or a child's, until somebody outside drops it.
    Resuming,
    /// The result was given.
    Over,
}

/// The future of a gather, over a list or a tuple of tasks.
#[must_use = "the tasks run anyway; their values are here"]
pub struct Gathering<C> {
    children: C,
    board: Rc<Board>,
    stage: Stage,
    /// Its place among the cancel handlers of the task that awaits it.
    listed: Listed,
}

impl<C> Unpin for Gathering<C> {}

impl<C: Children> Gathering<C> {
    /// Whether every task is complete. The last report comes from within that child's last poll, a moment earlier.
    fn all_done(&self) -> bool {
        let mut done = self.board.left.get() == 0;
        if done {
            self.children.each(|task| done &= task.is_done());
        }
        done
    }

    /// The first failure is the gather's: those that come later count as seen.
    fn mark_seen(&self) {
        self.children.each(TaskRef::mark_seen);
    }

    /// Looks at the board; None: nothing has been decided.
    fn decide(&mut self, cx: &Context<'_>) -> Option<Result<C::Values, C::Error>> {
        match self.board.failed.get() {
            None if self.all_done() => Some(Ok(self.children.values())),
            None => None,
            Some(index) => match self.children.failure(index) {
                Some(Ok(error)) => {
                    self.mark_seen();
                    Some(Err(error))
                }
                Some(Err(ended)) if ended.is_panic() => {
                    self.mark_seen();
                    self.stage = Stage::Over;
                    resume_unwind(ended.into_panic())
                }
                Some(Err(_)) => {
                    self.mark_seen();
                    self.stage = Stage::Resuming;
                    None
                }
                None => {
                    cx.waker().wake_by_ref();
                    None
                }
            },
        }
    }
}

impl<C: Children> Future for Gathering<C> {
    type Output = Result<C::Values, C::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        assert!(this.stage != Stage::Over, "a gather was polled after it had given its result");
        if this.stage == Stage::Waiting
            && let Some(result) = this.decide(cx)
        {
            this.stage = Stage::Over;
            return Poll::Ready(result);
        }
        if this.stage == Stage::Ending && this.all_done() {
            this.mark_seen();
            this.stage = Stage::Resuming;
        }
        if this.stage == Stage::Resuming {
            set_offer(Offer::Raised);
            return Poll::Pending;
        }
        this.board.awaiter.watch(cx);
        waits_for_tasks(cx, "gather", |visit| this.children.each(visit));
        this.listed.pending(cx);
        if take_offer()
            && let Some(current) = current_task()
        {
            this.stage = Stage::Ending;
            this.children.each(|task| current.pass_cancel_to(task));
        }
        Poll::Pending
    }
}

/// Makes a task of each future, at once and in order, and waits for all their values, in the order of the arguments.
///
/// The first error ends the wait at once; the other tasks go on and their later errors are dropped, unreported. A panic of a task
/// resumes here. A task that is cancelled by somebody else cancels the waiting task too, as in asyncio. Without futures
/// the empty list is there at once.
///
/// Tasks of *fallible* futures go in as `task.flatten()`. A bare [`Task`] has a `Result` of its own, so the task's error
/// would be taken for one of the values.
///
/// # Cancellation
/// A request is passed on to every task that has not ended; when all have ended it goes on outward, whatever they ended
/// with. Dropping the future detaches the tasks: they run on. To end them with the block that made them is what a task
/// group is for.
///
/// # Panics
/// Outside of an event loop.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// async fn fetch(id: u32, delay: u64) -> std::io::Result<u32> {
///     ringloop::sleep(Duration::from_millis(delay)).await;
///     Ok(id * 10)
/// }
/// ringloop::run(async {
///     let values = ringloop::gather([fetch(1, 20), fetch(2, 10), fetch(3, 30)]).await.unwrap();
///     assert_eq!(values, [10, 20, 30]);
///     // Tasks whose futures cannot fail go in as they are: their error is a `JoinError`.
///     let tasks = (0..3).map(|id| ringloop::create_task(async move { id }));
///     assert_eq!(ringloop::gather(tasks).await.unwrap(), [0, 1, 2]);
/// })
/// # }
/// ```
#[track_caller]
pub fn gather<I, T, E>(futures: I) -> Gather<T, E>
where
    I: IntoIterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
{
    let (event_loop, here) = (expect_running("gather"), Location::caller());
    let cradle = Cradle::new(&event_loop.executor, event_loop.is_debug().then_some(here));
    gather_in(cradle, futures)
}

fn gather_in<I, T, E>(cradle: Cradle<'_>, futures: I) -> Gather<T, E>
where
    I: IntoIterator,
    I::Item: IntoFuture<Output = Result<T, E>>,
    <I::Item as IntoFuture>::IntoFuture: 'static,
{
    let tasks = futures.into_iter().map(|future| cradle.spawn(future.into_future())).collect();
    Gather(cradle.gather(tasks))
}

/// The future of [`gather`].
#[must_use = "the tasks run anyway; their values are here"]
pub struct Gather<T, E>(Gathering<Vec<Task<Result<T, E>>>>);

impl<T, E> Future for Gather<T, E> {
    type Output = Result<Vec<T>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// As [`gather`](fn@crate::gather), for one to twelve futures with different values and one error; gives a tuple.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async {
///     let number = async { "7".parse::<u8>() };
///     let text = async { Ok("seven") };
///     assert_eq!(ringloop::gather!(number, text).await.unwrap(), (7, "seven"));
/// })
/// # }
/// ```
#[macro_export]
macro_rules! gather {
    ($($future:expr),+ $(,)?) => { $crate::__private::gather_tuple(($($future,)+)) };
}

/// What `gather!` calls.
#[track_caller]
pub fn gather_tuple<F: GatherTuple>(futures: F) -> Gathering<F::Children> {
    let (event_loop, here) = (expect_running("gather!"), Location::caller());
    let cradle = Cradle::new(&event_loop.executor, event_loop.is_debug().then_some(here));
    let children = futures.spawn(&cradle);
    cradle.gather(children)
}

/// Waits for all tasks and gives what each ended with, in the order of the arguments: asyncio's
/// `gather(.., return_exceptions=True)`.
///
/// # Cancellation
/// A request is passed on to every task that has not ended; when all have ended it goes on outward. Dropping the future
/// detaches the tasks.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async {
///     let tasks = [1, 0].map(|n| ringloop::create_task(async move { 6 / n }));
///     let ends = ringloop::gather_settled(tasks).await;
///     assert!(matches!(ends[0], Ok(6)));
///     assert!(ends[1].as_ref().is_err_and(|error| error.is_panic()));
/// })
/// # }
/// ```
pub async fn gather_settled<T>(tasks: impl IntoIterator<Item = Task<T>>) -> Vec<Result<T, JoinError>> {
    let mut tasks: Vec<Task<T>> = tasks.into_iter().collect();
    let mut ends = Vec::with_capacity(tasks.len());
    let mut cancelled = false;
    let mut listed = Listed::default();
    // All must end, so their order does not matter: it is enough to await the first that has not.
    std::future::poll_fn(move |cx| {
        while let Some(task) = tasks.get_mut(ends.len()) {
            match task.poll_output(cx) {
                Poll::Ready(end) => ends.push(end),
                Poll::Pending => break,
            }
        }
        if ends.len() == tasks.len() {
            if cancelled {
                set_offer(Offer::Raised);
                return Poll::Pending;
            }
            return Poll::Ready(std::mem::take(&mut ends));
        }
        waits_for_tasks(cx, "gather_settled", |visit| {
            tasks[ends.len()..].iter().for_each(|task| visit(task))
        });
        listed.pending(cx);
        if take_offer()
            && let Some(current) = current_task()
        {
            cancelled = true;
            tasks[ends.len()..].iter().for_each(|task| current.pass_cancel_to(task));
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
