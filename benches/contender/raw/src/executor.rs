//! The least that an executor can be: one thread, one allocation per task, nothing atomic, no I/O.
//!
//! A task is one block: its links and counts, then its future, in whose place its output stands at the end. The run queue
//! is a list through the tasks. There is no cancel, no panic is caught, and wakers must not leave the thread: what wakes
//! from another one is refused before it begins.

use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use io_uring::IoUring;

use crate::timers;

/// What all tasks have in common.
struct Header {
    /// The next in the run queue.
    next: Cell<Option<Task>>,
    /// Handle, wakers and a place in the queue.
    references: Cell<u32>,
    is_queued: Cell<bool>,
    is_done: Cell<bool>,
    /// Who waits for the end.
    joiner: Cell<Option<Waker>>,
    kind: &'static Kind,
}

/// What depends on the type of the future.
struct Kind {
    /// Polls the future; true if it is done.
    poll: unsafe fn(Task, &mut Context<'_>) -> bool,
    /// Moves the output to this place.
    take: unsafe fn(Task, NonNull<()>),
    free: unsafe fn(Task),
}

#[repr(C)]
struct Block<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

enum Stage<F: Future> {
    Running(F),
    Done(F::Output),
    Empty,
}

/// A pointer to a [`Block`]. It counts as a reference where the place that keeps it says so.
#[derive(Clone, Copy)]
struct Task(NonNull<Header>);

impl Task {
    fn header(&self) -> &Header {
        // SAFETY: whoever has a task has, or borrows, one of its references, and a block lives as long as it has one.
        unsafe { self.0.as_ref() }
    }

    fn hold(self) {
        self.header().references.set(self.header().references.get() + 1);
    }

    /// Gives a reference back.
    fn release(self) {
        let left = self.header().references.get() - 1;
        self.header().references.set(left);
        if left == 0 {
            // SAFETY: that was the last reference, so nobody has the block any more.
            unsafe { (self.header().kind.free)(self) };
        }
    }

    /// Puts it into the queue, unless it is there or done. True if the queue has taken a reference.
    fn schedule(self) -> bool {
        let header = self.header();
        if header.is_queued.get() || header.is_done.get() {
            return false;
        }
        header.is_queued.set(true);
        QUEUE.with(|queue| queue.push(self));
        true
    }
}

/// The tasks that are ready, first in, first out. It has a reference to each.
struct Queue {
    first: Cell<Option<Task>>,
    last: Cell<Option<Task>>,
}

thread_local! {
    static QUEUE: Queue = const { Queue { first: Cell::new(None), last: Cell::new(None) } };
}

impl Queue {
    fn push(&self, task: Task) {
        task.header().next.set(None);
        match self.last.replace(Some(task)) {
            Some(last) => last.header().next.set(Some(task)),
            None => self.first.set(Some(task)),
        }
    }

    fn pop(&self) -> Option<Task> {
        let task = self.first.get()?;
        let next = task.header().next.get();
        self.first.set(next);
        if next.is_none() {
            self.last.set(None);
        }
        Some(task)
    }
}

/// Runs tasks until this one is done.
pub fn run<T: 'static>(main: impl Future<Output = T> + 'static) -> T {
    let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(8);
    let ring = ring.expect("a ring can be made here");
    let handle = spawn(main);
    while !handle.task.header().is_done.get() {
        match QUEUE.with(Queue::pop) {
            Some(task) => poll(task),
            None => timers::sleep(&ring),
        }
    }
    handle.take()
}

/// Polls a task that came out of the queue, and gives the queue's reference back.
fn poll(task: Task) {
    let header = task.header();
    header.is_queued.set(false);
    // SAFETY: the table keeps the counts as `RawWaker` asks, but for threads: nothing here leaves its thread. It borrows the
    // queue's reference, and is not dropped.
    let waker = ManuallyDrop::new(unsafe { Waker::from_raw(raw_waker(task)) });
    // SAFETY: tasks are polled from here alone, never within each other, and a block never moves.
    if unsafe { (header.kind.poll)(task, &mut Context::from_waker(&waker)) } {
        header.is_done.set(true);
        if let Some(joiner) = header.joiner.take() {
            joiner.wake();
        }
    }
    task.release();
}

pub fn spawn<F: Future<Output: 'static> + 'static>(future: F) -> Handle<F::Output> {
    let header = Header {
        next: Cell::new(None),
        // The handle's and the queue's.
        references: Cell::new(2),
        is_queued: Cell::new(true),
        is_done: Cell::new(false),
        joiner: Cell::new(None),
        kind: &const { Kind { poll: poll_block::<F>, take: take_output::<F>, free: free_block::<F> } },
    };
    let block = Box::new(Block { header, stage: UnsafeCell::new(Stage::Running(future)) });
    let task = Task(NonNull::from(Box::leak(block)).cast());
    QUEUE.with(|queue| queue.push(task));
    Handle { task, output: PhantomData }
}

/// # Safety
/// The task's future is an `F`, and nobody else has its stage.
unsafe fn stage<'a, F: Future>(task: Task) -> &'a mut Stage<F> {
    // SAFETY: the header is the block's first field, and the caller has the stage for itself.
    unsafe { &mut *task.0.cast::<Block<F>>().as_ref().stage.get() }
}

/// # Safety
/// As for [`stage`].
unsafe fn poll_block<F: Future>(task: Task, context: &mut Context<'_>) -> bool {
    // SAFETY: as the caller promises.
    let stage = unsafe { stage::<F>(task) };
    let Stage::Running(future) = stage else { return false };
    // SAFETY: the block is never moved, and the future is dropped where it is.
    let Poll::Ready(output) = unsafe { Pin::new_unchecked(future) }.poll(context) else { return false };
    *stage = Stage::Done(output);
    true
}

/// # Safety
/// As for [`stage`]; the place is an `Option` of the future's output.
unsafe fn take_output<F: Future>(task: Task, place: NonNull<()>) {
    // SAFETY: as the caller promises.
    let (stage, place) = unsafe { (stage::<F>(task), place.cast::<Option<F::Output>>().as_mut()) };
    if let Stage::Done(output) = mem::replace(stage, Stage::Empty) {
        *place = Some(output);
    }
}

/// # Safety
/// The task's future is an `F`, and nobody has the block any more.
unsafe fn free_block<F: Future>(task: Task) {
    // SAFETY: it came out of such a box.
    drop(unsafe { Box::from_raw(task.0.cast::<Block<F>>().as_ptr()) });
}

/// A task's handle.
pub struct Handle<T> {
    /// With a reference.
    task: Task,
    output: PhantomData<T>,
}

impl<T> Handle<T> {
    /// The output of a task that is done.
    fn take(&self) -> T {
        let mut output: Option<T> = None;
        // SAFETY: `spawn` gave the handle the type of its future's output; the task is done, so it is not polled.
        unsafe { (self.task.header().kind.take)(self.task, NonNull::from(&mut output).cast()) };
        output.expect("a handle is awaited once")
    }
}

impl<T> Unpin for Handle<T> {}

impl<T> Future for Handle<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let header = self.task.header();
        if header.is_done.get() {
            return Poll::Ready(self.take());
        }
        let joiner = header.joiner.take().filter(|joiner| joiner.will_wake(context.waker()));
        header.joiner.set(Some(joiner.unwrap_or_else(|| context.waker().clone())));
        Poll::Pending
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        self.task.release();
    }
}

/// What wakers do. Each has a reference.
static WAKER: RawWakerVTable = RawWakerVTable::new(
    |data| {
        task_of(data).hold();
        RawWaker::new(data, &WAKER)
    },
    |data| {
        if !task_of(data).schedule() {
            task_of(data).release();
        }
    },
    |data| {
        if task_of(data).schedule() {
            task_of(data).hold();
        }
    },
    |data| task_of(data).release(),
);

fn raw_waker(task: Task) -> RawWaker {
    RawWaker::new(task.0.as_ptr().cast_const().cast(), &WAKER)
}

fn task_of(data: *const ()) -> Task {
    Task(NonNull::new(data.cast_mut().cast()).expect("a waker has a task"))
}
