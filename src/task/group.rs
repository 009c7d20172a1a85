//! The task group: children that end before the block that made them does.
//!
//! A group is a scope. It polls its body in the task that awaits it; the children are tasks of the loop. Each carries a
//! [`Report`], which goes with the child's future however that ends and takes it off the list. The first failure *ends*
//! the group: the other children are cancelled, and the body is offered a cancel of the group's own, as a timeout offers
//! one. The group waits for all of them, whatever happens.
//!
//! A request from outside is taken: it goes to the body and to the children, and outward when all have ended. If there
//! are failures to report, these come first and the request is put back for the next await. No request is ever counted.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture, poll_fn};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use slab::Slab;

use super::TaskBuilder;
use crate::error::{ChildFailed, GroupError, JoinError};
use crate::executor::{
    Awaiter, Hidden, Listed, Offer, Task, TaskRef, caught, current_task, offer, resume_cancel, set_offer,
    take_offer, waits_for_tasks,
};

/// Runs `body`, which makes children in the group it is given, and waits for all of them. The children may make more.
///
/// The first failure, of a child or of the body, cancels all others; when every one has ended, the group gives all
/// failures together. A child that is cancelled on its own has not failed. A panic of a child is among the failures; a
/// panic of the body resumes here, after the children have ended. The body may borrow from what stands outside, children
/// may not.
///
/// The error type `E` comes from the children, or from the body's result. A body that uses `?` and ends in a bare `Ok(..)`
/// says nothing of it (E0282): name it at the parameter, `async |group: TaskGroup<io::Error>| ..`.
///
/// # Errors
/// [`GroupError`], with everything that failed.
///
/// # Cancellation
/// A request is offered to the body, and in the same turn passed on to all children, which see it at their next poll, in no
/// order that is promised; so body and children clean up side by side. (asyncio asks the children when the body has ended.
/// A body that needs them in its clean-up holds the request off by [`uncancellable`](crate::uncancellable); the children are
/// then asked after that section.) When all have ended the request goes on outward, unless there are failures to report:
/// then it hits the next await. Dropping the future cancels the children too, but cannot wait for them.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::io;
/// use std::time::Duration;
/// async fn fetch(id: u64) -> io::Result<u64> {
///     ringloop::sleep(Duration::from_millis(10 * id)).await;
///     if id < 3 { Ok(id) } else { Err(io::Error::other("no such id")) }
/// }
/// ringloop::run(async {
///     // `?` in the body: the parameter names the error.
///     let half = ringloop::task_group(async |_: ringloop::TaskGroup<io::Error>| Ok(fetch(2).await? / 2));
///     assert_eq!(half.await?, 1);
///     let sum = ringloop::task_group(async |group| {
///         let (one, two) = (group.create_task(fetch(1)), group.create_task(fetch(2)));
///         Ok(one.await? + two.await?)
///     });
///     assert_eq!(sum.await?, 3);
///     let failed = ringloop::task_group(async |group| {
///         group.create_task(fetch(3));
///         fetch(2).await
///     });
///     assert_eq!(failed.await.unwrap_err().to_string(), "the task group failed: no such id");
///     io::Result::Ok(())
/// })
/// # .map(Result::unwrap) }
/// ```
#[doc(alias = "TaskGroup")]
pub async fn task_group<E: 'static, R>(
    body: impl AsyncFnOnce(TaskGroup<E>) -> Result<R, E>,
) -> Result<R, GroupError<E>> {
    let group = Rc::new(Group::default());
    let _closing = Closing(&group);
    let body = body(TaskGroup { group: group.clone() });
    let mut body = pin!(Some(AssertUnwindSafe(body).catch_unwind()));
    let mut scope = Scope { group: &group, ours: Ours::Unasked, taken: None, value: None, panic: None };
    let mut listed = Listed::default();
    poll_fn(|cx| {
        let polled = scope.poll(body.as_mut(), cx);
        if polled.is_pending() {
            listed.pending(cx);
        }
        polled
    })
    .await;
    let Scope { taken, value, panic, .. } = scope;
    group.stage.set(Stage::Over);
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
    let error = GroupError { errors: group.errors.take(), panics: group.panics.take() };
    let failed = !error.errors.is_empty() || !error.panics.is_empty();
    match (taken, value) {
        (Some(Taken::OfTask), _) if failed => {
            if let Some(task) = current_task() {
                task.put_back_cancel();
            }
            Err(error)
        }
        (Some(_), _) if !failed => resume_cancel().await,
        (None, Some(value)) if !failed => Ok(value),
        _ => Err(error),
    }
}

/// What the children and the body share.
struct Group<E> {
    stage: Cell<Stage>,
    /// The children that have not ended; None while one is being made.
    children: RefCell<Slab<Option<TaskRef>>>,
    errors: RefCell<Vec<E>>,
    panics: RefCell<Vec<JoinError>>,
    /// Who awaits the group.
    awaiter: Awaiter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Children may be made.
    Open,
    /// One has failed, or the group was cancelled: all are asked to end.
    Ending,
    /// All have ended, or the group was dropped.
    Over,
}

impl<E> Default for Group<E> {
    fn default() -> Self {
        Group {
            stage: Cell::new(Stage::Open),
            children: RefCell::default(),
            errors: RefCell::default(),
            panics: RefCell::default(),
            awaiter: Awaiter::new(),
        }
    }
}

impl<E> Group<E> {
    fn is_empty(&self) -> bool {
        self.children.borrow().is_empty()
    }

    /// Visits the children, with nothing borrowed: a wake may run code of others.
    fn each(&self, visit: impl FnMut(TaskRef)) {
        let children: Vec<TaskRef> =
            self.children.borrow().iter().filter_map(|(_, child)| child.clone()).collect();
        children.into_iter().for_each(visit);
    }

    /// No more children; asks all to end, once.
    fn end(&self, stage: Stage) {
        if self.stage.replace(stage) == Stage::Open {
            self.each(|child| _ = child.cancel());
            self.awaiter.wake();
        }
    }
}

/// Ends the group when its future is dropped before it is over.
struct Closing<'a, E>(&'a Rc<Group<E>>);

impl<E> Drop for Closing<'_, E> {
    fn drop(&mut self) {
        self.0.end(Stage::Over);
    }
}

/// A child's duty to report its end. It goes with the child's future, so an end without a result is reported as well.
struct Report<E> {
    group: Rc<Group<E>>,
    key: usize,
}

impl<E> Report<E> {
    fn result<T>(self, end: Result<Result<T, E>, Box<dyn Any + Send>>) -> Result<T, ChildFailed> {
        match end {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => self.group.errors.borrow_mut().push(error),
            Err(payload) => self.group.panics.borrow_mut().push(caught(payload)),
        }
        let group = self.group.clone();
        drop(self);
        group.end(Stage::Ending);
        Err(ChildFailed)
    }
}

impl<E> Drop for Report<E> {
    fn drop(&mut self) {
        let child = self.group.children.borrow_mut().try_remove(self.key);
        drop(child);
        if self.group.is_empty() {
            self.group.awaiter.wake();
        }
    }
}

/// The cancel offer that the group makes to its body when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    /// No reason yet.
    Unasked,
    /// To be made at the next poll; again, after a section that blocked it.
    Due(Offer),
    /// A handler in the body has taken it.
    Made,
}

/// Whose request the group has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// The task's own.
    OfTask,
    /// A scope's round the group, a timeout for instance, or one that began in the body.
    OfScope,
}

/// The side of the group that its task polls.
struct Scope<'a, E, R> {
    group: &'a Rc<Group<E>>,
    ours: Ours,
    /// A request from outside that goes on outward, or back.
    taken: Option<Taken>,
    /// What the body ended with.
    value: Option<R>,
    panic: Option<Box<dyn Any + Send>>,
}

impl<E, R> Scope<'_, E, R> {
    fn poll<B>(&mut self, mut body: Pin<&mut Option<B>>, cx: &mut Context<'_>) -> Poll<()>
    where
        B: Future<Output = Result<Result<R, E>, Box<dyn Any + Send>>>,
    {
        if let Some(inside) = body.as_mut().as_pin_mut()
            && self.poll_body(inside, cx)
        {
            // The destructors of what is given up see no offer.
            let _hidden = Hidden::new();
            body.set(None);
        }
        if body.is_none() && self.group.is_empty() {
            return Poll::Ready(());
        }
        if body.is_none() && offer().is_raised() {
            self.take();
        }
        self.group.awaiter.watch(cx);
        // The body has ended the group itself, and nobody watched yet: what it is offered comes in the next poll.
        if body.is_some() && self.ours == Ours::Unasked && self.group.stage.get() == Stage::Ending {
            cx.waker().wake_by_ref();
        }
        if !self.group.is_empty() {
            waits_for_tasks(cx, "task_group", |visit| self.group.each(|child| visit(&child)));
        }
        Poll::Pending
    }

    /// Polls the body, under our own offer if that is due. True: it is over, by itself or by the offer.
    fn poll_body<B>(&mut self, body: Pin<&mut B>, cx: &mut Context<'_>) -> bool
    where
        B: Future<Output = Result<Result<R, E>, Box<dyn Any + Send>>>,
    {
        if self.ours == Ours::Unasked && self.group.stage.get() == Stage::Ending {
            self.ours = Ours::Due(Offer::Raised);
        }
        let outer = offer();
        let made = match self.ours {
            // A request from outside has priority.
            Ours::Due(offer) if !outer.is_raised() => Some(offer),
            _ => None,
        };
        if let Some(made) = made {
            set_offer(made);
            if let Some(task) = current_task() {
                task.wake_handlers();
            }
        }
        let polled = body.poll(cx);
        let left = if made.is_some() { set_offer(outer) } else { offer() };
        if made.is_none() && outer.is_raised() && left == Offer::None {
            self.take();
        }
        match polled {
            Poll::Ready(Ok(Ok(value))) => self.value = Some(value),
            Poll::Ready(Ok(Err(error))) => {
                self.group.errors.borrow_mut().push(error);
                self.group.end(Stage::Ending);
            }
            Poll::Ready(Err(payload)) => {
                self.panic = Some(payload);
                self.group.end(Stage::Ending);
            }
            Poll::Pending => return self.gives_up(made.is_some(), outer, left),
        }
        true
    }

    /// Whether a pending body is given up, judged by the offer that it has `left`: of ours if we `made` one, else of
    /// what stood outside.
    fn gives_up(&mut self, made: bool, outer: Offer, left: Offer) -> bool {
        match left {
            Offer::None if made => self.ours = Ours::Made,
            Offer::Blocked if made => self.ours = Ours::Due(Offer::Again),
            Offer::Raised | Offer::Again if !made => {
                // Nobody took the request from outside, or a handler goes on with one that it took: with ours, if there
                // was no other.
                if outer.is_raised() || self.ours != Ours::Made {
                    self.take();
                }
                take_offer();
            }
            _ => {}
        }
        left.is_raised()
    }

    /// Takes a request from outside and passes it on to the children. It stands for ours too.
    fn take(&mut self) {
        let task = current_task();
        if task.as_ref().is_some_and(TaskRef::is_offered) {
            self.taken = Some(Taken::OfTask);
        }
        self.taken.get_or_insert(Taken::OfScope);
        self.ours = Ours::Made;
        take_offer();
        self.group.stage.set(Stage::Ending);
        self.group.each(|child| match &task {
            Some(task) => task.pass_cancel_to(&child),
            None => _ = child.cancel(),
        });
    }
}

/// A task group, for those who make children in it: the body and, by clones, the children. See [`task_group`].
pub struct TaskGroup<E> {
    group: Rc<Group<E>>,
}

impl<E> Clone for TaskGroup<E> {
    fn clone(&self) -> Self {
        TaskGroup { group: self.group.clone() }
    }
}

impl<E: 'static> TaskGroup<E> {
    /// Makes a child. A group that is ending or over drops the future, and the child has failed.
    ///
    /// # Panics
    /// Outside of an event loop.
    #[track_caller]
    pub fn create_task<T: 'static, F>(&self, future: F) -> Child<T>
    where
        F: IntoFuture<Output = Result<T, E>>,
        F::IntoFuture: 'static,
    {
        TaskBuilder::new().create_task_in(self, future)
    }

    /// As [`create_task`](Self::create_task), but a group that is ending or over gives the future back.
    ///
    /// # Errors
    /// The future.
    ///
    /// # Panics
    /// As `create_task`.
    #[track_caller]
    pub fn try_create_task<T: 'static, F>(&self, future: F) -> Result<Child<T>, F>
    where
        F: IntoFuture<Output = Result<T, E>>,
        F::IntoFuture: 'static,
    {
        match self.group.stage.get() {
            Stage::Open => Ok(self.create_task(future)),
            Stage::Ending | Stage::Over => Err(future),
        }
    }

    /// Asks the body and all children to end. No failure: the group gives what the body gives, or, if this ended the body
    /// before it had a value, a [`GroupError`] without errors.
    pub fn cancel(&self) {
        self.group.end(Stage::Ending);
    }

    /// How many children have not ended.
    pub fn len(&self) -> usize {
        self.group.children.borrow().len()
    }

    /// Whether all children have ended.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty()
    }
}

impl TaskBuilder {
    /// Makes a child of a [`task_group`]; see [`TaskGroup::create_task`].
    ///
    /// # Panics
    /// Outside of an event loop.
    #[track_caller]
    pub fn create_task_in<T: 'static, E: 'static, F>(self, group: &TaskGroup<E>, future: F) -> Child<T>
    where
        F: IntoFuture<Output = Result<T, E>>,
        F::IntoFuture: 'static,
    {
        if group.group.stage.get() != Stage::Open {
            return Child { task: None };
        }
        let key = group.group.children.borrow_mut().insert(None);
        let report = Report { group: group.group.clone(), key };
        // `catch_unwind` and `map` keep one copy of the future; an async block would keep two.
        let future = AssertUnwindSafe(future.into_future()).catch_unwind().map(move |end| report.result(end));
        let task = self.create_task(future);
        // It may have ended already: the loop is being closed.
        if let Some(place) = group.group.children.borrow_mut().get_mut(key) {
            *place = Some(task.task_ref());
        }
        Child { task: Some(task) }
    }
}

/// A child of a [`task_group`]: awaits to its value. Dropping it changes nothing: the group waits for the child.
///
/// # Cancellation
/// A request that reaches the await is passed on to the child.
pub struct Child<T> {
    /// None: the group had closed.
    task: Option<Task<Result<T, ChildFailed>>>,
}

impl<T> Unpin for Child<T> {}

impl<T> Child<T> {
    /// The child's task, for its name and to cancel it alone; None if the group had closed.
    pub fn task_ref(&self) -> Option<TaskRef> {
        self.task.as_ref().map(Task::task_ref)
    }
}

impl<T> Future for Child<T> {
    type Output = Result<T, ChildFailed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(task) = &mut self.task else { return Poll::Ready(Err(ChildFailed)) };
        Pin::new(task).poll(cx).map(|end| match end {
            Ok(result) => result,
            // A destructor's, when the child was cancelled: the group has not seen it.
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Err(ChildFailed),
        })
    }
}
