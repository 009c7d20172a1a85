//! The task cell: one allocation that holds a future, then its output, under a header of seven words.
//!
//! # States
//!
//! ```text
//!             schedule                 poll: Pending
//!   (spawn) ──────────▶ SCHEDULED ◀───────────────────┐
//!                           │ the turn takes it        │
//!                           ▼                          │
//!                        RUNNING ──────────────────────┘
//!                           │ poll: Ready, panic, an untaken cancel, abort
//!                           ▼
//!                       COMPLETE (+ OUTPUT until the handle takes it or goes away)
//! ```
//!
//! SCHEDULED is set by `schedule` (spawn, wake, cancel) and cleared when the turn takes the task from the ready queue.
//! RUNNING stands during a poll; a wake in a poll schedules at once. CANCEL is a request not yet delivered: `cancel` sets
//! it, the next poll clears it and raises the offer (see `cancel.rs`), a blocked offer puts it back, with AGAIN.
//! ABORT asks for the end right after the poll that runs now. HANDLE says that a `Task<T>` may still ask for the output.
//!
//! # Who may touch what
//!
//! Only the owner, the thread inside the loop `number`, touches the cells of the header and the stage (**T1**). Any thread
//! may read `vtable`, `number` and `shared`, and use the atomic half of `refs`. A thread is "inside" while
//! [`current_loop::number`] says so; after its loop's end even the old owner counts as foreign. The future and the output are
//! dropped by the owner, at the latest at the loop's end or with the handle, so that a last waker dropped anywhere frees
//! plain memory.
//!
//! # Invariants, cited by SAFETY comments
//!
//! * **C1 count**: a cell lives as long as a reference to it is counted or it is QUEUED; who takes away the last of these
//!   frees it, and nobody else.
//! * **C2 stage**: the state says what the stage holds: until the task is COMPLETE the future, which never moves and is
//!   dropped before anything it borrows; then, while OUTPUT is set, the output; then nothing.

#![allow(unsafe_code)]

use std::alloc::Layout;
use std::any::Any;
use std::borrow::Cow;
use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};

use slab::Slab;

use super::cancel::Listed;
use super::caught;
use super::join::TaskRef;
use super::lost::Lost;
use super::on_done::Callbacks;
use super::refs::{After, Refs};
use super::remote::{Mail, Shared};
use super::trace::Trace;
use crate::block;
use crate::context::{self, Host};
use crate::current_loop;
use crate::error::JoinError;

pub(super) const SCHEDULED: u32 = 1;
pub(super) const RUNNING: u32 = 1 << 1;
pub(super) const STARTED: u32 = 1 << 2;
pub(super) const COMPLETE: u32 = 1 << 3;
pub(super) const OUTPUT: u32 = 1 << 4;
pub(super) const HANDLE: u32 = 1 << 5;
pub(super) const CANCEL: u32 = 1 << 6;
pub(super) const ABORT: u32 = 1 << 7;
pub(super) const CANCELLED: u32 = 1 << 8;
pub(super) const PANICKED: u32 = 1 << 9;
/// The loop's own, a callback for instance: not listed, and not cancelled before the loop's end.
pub(super) const HIDDEN: u32 = 1 << 10;
/// The request in CANCEL was raised before and blocked.
pub(super) const AGAIN: u32 = 1 << 11;
/// The offer of the poll that runs stems from a request, not from a scope inside the task.
pub(super) const OFFERED: u32 = 1 << 12;
/// The loop's end has asked the task to end.
pub(super) const ENDING: u32 = 1 << 13;
/// Debug mode or a subscriber keeps a record: the cold part has a trace, and polls go by way of that.
pub(super) const WATCHED: u32 = 1 << 14;
/// Nobody needs to be told of the task's error.
pub(super) const SEEN: u32 = 1 << 15;
/// The number of cancel requests stands above the flags.
pub(super) const REQUEST: u32 = 1 << 16;

/// What every task has, whatever its future.
pub(super) struct Header {
    /// How to handle the stage behind the header.
    vtable: &'static VTable,
    /// References: handles, wakers, the ready queue, the executor.
    refs: Refs,
    /// Flags, and the count of cancel requests above them.
    pub(super) state: Cell<u32>,
    /// The loop that owns the task.
    number: u32,
    /// That loop's inbox, for wakes from other threads.
    shared: &'static Shared,
    /// Where the executor lists the task.
    pub(super) place: Cell<u32>,
    /// The serial number behind the default name `Task-<id>`.
    pub(super) id: u32,
    /// The task that awaits the handle by a waker of its own; another waker lies in the cold part.
    awaiter: Cell<Option<Ref>>,
    /// What most tasks never need. `free` drops it.
    cold: ManuallyDrop<Cell<Option<Box<Cold>>>>,
}

/// The part of a task that is allocated when it is first used.
#[derive(Default)]
pub(super) struct Cold {
    /// Who awaits the handle by a waker that is not a task's own.
    awaiter: Option<Waker>,
    /// The handle's place in the list of the task which awaits it: a handle is a handler.
    pub(super) listed: Listed,
    /// Its context variables; None: none was set so far. Given up with the end, or with the handle if that stays longer: what
    /// is left then may be freed on any thread, under a lock.
    pub(super) context: Option<context::Context>,
    /// What is rarer still.
    rare: Option<Box<Rare>>,
}

/// The part of a task that is allocated last.
#[derive(Default)]
pub(super) struct Rare {
    /// The name given at creation or later.
    pub(super) name: Option<Cow<'static, str>>,
    /// The reason given with the latest cancel.
    pub(super) reason: Option<Cow<'static, str>>,
    /// Where the task was created (debug mode).
    pub(super) location: Option<&'static Location<'static>>,
    /// Wakers of the cancel handlers that wait below wakers which are not the task's own.
    pub(super) handlers: Slab<Option<Waker>>,
    /// To be called at the end; empty from then on.
    pub(super) callbacks: Callbacks,
    /// What debug mode knows of the task.
    pub(super) trace: Option<Box<Trace>>,
}

struct VTable {
    /// Polls the future and, when it is done, puts the output in its place. True: done.
    poll: unsafe fn(NonNull<Header>, &mut Context<'_>) -> bool,
    /// Drops the future and puts `error` in its place.
    end: unsafe fn(NonNull<Header>, JoinError),
    /// Moves the output (a `Result<T, JoinError>`) to the given place.
    take: unsafe fn(NonNull<Header>, *mut ()),
    /// Where the output lies.
    output: unsafe fn(NonNull<Header>) -> *const (),
    /// Drops the output in its place; gives back what of it should not be lost unseen.
    discard: unsafe fn(NonNull<Header>) -> Option<Lost>,
    /// Frees the memory.
    free: unsafe fn(NonNull<Header>),
}

/// The future until the task is complete, then the output until it is taken.
union Stage<F: Future> {
    future: ManuallyDrop<F>,
    output: ManuallyDrop<Result<F::Output, JoinError>>,
}

#[repr(C)]
struct TaskCell<F: Future> {
    header: Header,
    stage: UnsafeCell<Stage<F>>,
}

/// Drops a cold part, out of the way of tasks that have none.
#[cold]
#[inline(never)]
fn lose(cold: Box<Cold>) {
    drop(cold);
}

/// Runs `f`; a panic becomes its payload.
fn guarded<R>(f: impl FnOnce() -> R) -> Result<R, Box<dyn Any + Send>> {
    catch_unwind(AssertUnwindSafe(f))
}

impl<F: Future> TaskCell<F> {
    /// The block that a cell lies in.
    const CLASS: Layout = block::class(Layout::new::<Self>());

    const VTABLE: &'static VTable = &VTable {
        poll: Self::poll,
        end: Self::end,
        take: Self::take,
        output: Self::output,
        discard: Self::discard,
        free: Self::free,
    };

    /// # Safety
    /// Of this and the functions below: `task` points to a live `TaskCell<F>` (C1), the caller is its owner (T1), and the
    /// stage holds what the function uses (C2). `free` asks for the last reference instead, on whatever thread.
    unsafe fn stage<'a>(task: NonNull<Header>) -> &'a UnsafeCell<Stage<F>> {
        // SAFETY: C1: the cell is repr(C) with the header first, so the header's address is the cell's.
        unsafe { &(*task.cast::<TaskCell<F>>().as_ptr()).stage }
    }

    unsafe fn poll(task: NonNull<Header>, cx: &mut Context<'_>) -> bool {
        // SAFETY: C2: not COMPLETE, so the stage holds the future, which never moves until it is dropped in `end` or below.
        let polled =
            guarded(|| unsafe { Pin::new_unchecked(&mut *(*Self::stage(task).get()).future).poll(cx) });
        let output = match polled {
            Ok(std::task::Poll::Pending) => return false,
            Ok(std::task::Poll::Ready(value)) => Ok(value),
            Err(payload) => Err(caught(payload)),
        };
        // SAFETY: C2: the future was just polled to its end; `replace` drops it.
        unsafe { Self::replace(task, output) };
        true
    }

    /// Drops the future and stores the output; a panic in a destructor is the outcome, unless there was a panic before.
    unsafe fn replace(task: NonNull<Header>, output: Result<F::Output, JoinError>) {
        // SAFETY: C2: the caller says that the stage holds the future; nobody refers to it now.
        let dropped = guarded(|| unsafe { ManuallyDrop::drop(&mut (*Self::stage(task).get()).future) });
        let output = match (dropped, output) {
            (Err(payload), Ok(_)) => Err(caught(payload)),
            (Err(payload), Err(error)) if error.is_cancelled() => Err(caught(payload)),
            (_, output) => output,
        };
        // SAFETY: C1, and we are its owner (T1).
        let header = unsafe { task.as_ref() };
        if matches!(&output, Err(error) if error.is_panic()) {
            header.set(PANICKED);
        }
        // SAFETY: C2: the future is gone; a union field of ManuallyDrop may be overwritten.
        unsafe { (*Self::stage(task).get()).output = ManuallyDrop::new(output) };
        header.set(OUTPUT);
    }

    unsafe fn end(task: NonNull<Header>, error: JoinError) {
        // SAFETY: C2: passed on to the caller.
        unsafe { Self::replace(task, Err(error)) }
    }

    unsafe fn take(task: NonNull<Header>, to: *mut ()) {
        // SAFETY: C2: OUTPUT was set, the caller clears it: the value is moved out once. `to` is a place for this very type.
        unsafe {
            let output = ManuallyDrop::take(&mut (*Self::stage(task).get()).output);
            to.cast::<Result<F::Output, JoinError>>().write(output);
        }
    }

    unsafe fn output(task: NonNull<Header>) -> *const () {
        // SAFETY: C2: OUTPUT is set, so this is the union's live field.
        unsafe { (&raw const (*Self::stage(task).get()).output).cast() }
    }

    unsafe fn discard(task: NonNull<Header>) -> Option<Lost> {
        // SAFETY: C2: passed on to the caller.
        unsafe { Self::discard_after(task, |_| None) }
    }

    /// Drops the output in its place; `look` is shown it before, if it is a value.
    unsafe fn discard_after(
        task: NonNull<Header>,
        look: impl FnOnce(&F::Output) -> Option<Lost>,
    ) -> Option<Lost> {
        // SAFETY: C2 as in `take`.
        match unsafe { ManuallyDrop::take(&mut (*Self::stage(task).get()).output) } {
            // What an error says is code of its own.
            Ok(value) => match guarded(move || look(&value)) {
                Ok(lost) => lost,
                Err(payload) => Some(Lost::Panic(caught(payload))),
            },
            Err(error) => error.is_panic().then_some(Lost::Panic(error)),
        }
    }

    unsafe fn free(task: NonNull<Header>) {
        // SAFETY: C1: the last reference is gone, and the stage's content with the owner before it: a union drops nothing, but the
        // header may have a cold part. `Ref::new` took the block (F1).
        unsafe {
            if let Some(cold) = task.as_ref().cold.take() {
                lose(cold);
            }
            task.cast::<TaskCell<F>>().drop_in_place();
            block::free(task.cast(), Self::CLASS);
        }
    }
}

impl<F: Future + 'static> TaskCell<F> {
    /// For an output that can be asked what it is.
    const TELLING: &'static VTable = &VTable { discard: Self::discard_and_tell, ..*Self::VTABLE };

    unsafe fn discard_and_tell(task: NonNull<Header>) -> Option<Lost> {
        // SAFETY: C2: passed on to the caller.
        unsafe { Self::discard_after(task, Lost::find) }
    }
}

impl Header {
    pub(super) fn is(&self, flags: u32) -> bool {
        self.state.get() & flags != 0
    }

    pub(super) fn set(&self, flags: u32) {
        self.state.set(self.state.get() | flags);
    }

    pub(super) fn clear(&self, flags: u32) {
        self.state.set(self.state.get() & !flags);
    }

    /// Gives up the context: nothing of the task runs any more. It is for the caller to drop.
    pub(super) fn take_context(&self) -> Option<context::Context> {
        self.peek_cold(|cold| cold.context.take()).flatten()
    }

    /// Whether the thread is inside of the task's loop.
    pub(super) fn is_here(&self) -> bool {
        self.number == current_loop::number()
    }

    /// The cold part, made on first use, for the time of one call. `f` must run no user code.
    pub(super) fn with_cold<R>(&self, f: impl FnOnce(&mut Cold) -> R) -> R {
        let mut cold = self.cold.take().unwrap_or_default();
        let result = f(&mut cold);
        self.cold.set(Some(cold));
        result
    }

    /// The task's context if it has one.
    pub(super) fn context(&self) -> Option<context::Context> {
        self.peek_cold(|cold| cold.context.clone()).flatten()
    }

    /// The task's context, made if it is missing.
    pub(super) fn own_context(&self) -> context::Context {
        self.with_cold(|cold| cold.context.get_or_insert_default().clone())
    }

    /// As [`with_cold`](Self::with_cold), with what is rare.
    pub(super) fn with_rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> R {
        self.with_cold(|cold| f(cold.rare.get_or_insert_default()))
    }

    /// As [`peek_cold`](Self::peek_cold), with what is rare.
    pub(super) fn peek_rare<R>(&self, f: impl FnOnce(&mut Rare) -> R) -> Option<R> {
        self.peek_cold(|cold| cold.rare.as_deref_mut().map(f)).flatten()
    }

    /// Notes who awaits the handle; a waker that does the same as the one noted is not noted again.
    #[inline]
    pub(super) fn watch(&self, waker: &Waker) {
        if let Some(noted) = self.awaiter.take()
            && noted.is_behind(waker)
        {
            return self.awaiter.set(Some(noted));
        }
        match Ref::behind(waker) {
            Some(task) => {
                self.awaiter.set(Some(task));
                if self.has_cold() {
                    self.forget_other();
                }
            }
            None => self.watch_other(waker),
        }
    }

    /// Notes a waker that is not the own of one of this loop's tasks.
    #[cold]
    fn watch_other(&self, waker: &Waker) {
        let same = |cold: &mut Cold| cold.awaiter.as_ref().is_some_and(|noted| noted.will_wake(waker));
        if self.peek_cold(same) != Some(true) {
            let waker = waker.clone();
            let before = self.with_cold(|cold| cold.awaiter.replace(waker));
            drop(before);
        }
    }

    /// Wakes whoever awaits the handle, once.
    #[inline]
    pub(super) fn wake_awaiter(&self) {
        if let Some(task) = self.awaiter.take() {
            // SAFETY: C1: the reference that was noted is given up.
            unsafe { wake_and_release(ManuallyDrop::new(task).0) }
        } else if self.has_cold() {
            self.wake_other();
        }
    }

    #[cold]
    fn wake_other(&self) {
        if let Some(waker) = self.peek_cold(|cold| cold.awaiter.take()).flatten() {
            super::wake(waker);
        }
    }

    /// Forgets whoever awaits the handle.
    #[inline]
    pub(super) fn forget_awaiter(&self) {
        drop(self.awaiter.take());
        if self.has_cold() {
            self.forget_other();
        }
    }

    #[cold]
    fn forget_other(&self) {
        drop(self.peek_cold(|cold| cold.awaiter.take()));
    }

    /// Whether anything was noted that most tasks do not have.
    pub(super) fn has_cold(&self) -> bool {
        self.peek_cold(|_| ()).is_some()
    }

    /// The cold part if there is one, for the time of one call. `f` must run no user code.
    pub(super) fn peek_cold<R>(&self, f: impl FnOnce(&mut Cold) -> R) -> Option<R> {
        let mut cold = self.cold.take()?;
        let result = f(&mut cold);
        self.cold.set(Some(cold));
        Some(result)
    }
}

/// A counted reference to a task. Not `Send`: only wakers leave the thread.
pub(super) struct Ref(NonNull<Header>);

impl Ref {
    /// # Safety
    /// C2: what the future borrows must outlive it: the caller has it dropped (by polling it to its end or by `end`) in time.
    /// `vtable` is one of `TaskCell<F>`.
    unsafe fn new<F: Future>(
        future: F,
        vtable: &'static VTable,
        shared: &'static Shared,
        number: u32,
        id: u32,
    ) -> Ref {
        let task = block::reserve(TaskCell::<F>::CLASS);
        let header = Header {
            vtable,
            refs: Refs::new(1),
            state: Cell::new(HANDLE),
            number,
            shared,
            place: Cell::new(u32::MAX),
            id,
            awaiter: Cell::new(None),
            cold: ManuallyDrop::default(),
        };
        let stage = UnsafeCell::new(Stage { future: ManuallyDrop::new(future) });
        // SAFETY: F1: the block is ours, and large and aligned enough for the cell.
        unsafe { task.cast().write(TaskCell { header, stage }) };
        Ref(task.cast())
    }

    pub(super) fn header(&self) -> &Header {
        // SAFETY: C1: this is a counted reference; it never leaves its thread (T1).
        unsafe { self.0.as_ref() }
    }

    /// Whether `waker` is one of this task's own.
    fn is_behind(&self, waker: &Waker) -> bool {
        is_own(waker, self.0)
    }

    /// The task of which `waker` is the own, if it is one of the loop that this thread is inside.
    fn behind(waker: &Waker) -> Option<Ref> {
        if !std::ptr::eq(waker.vtable(), &WAKER) {
            return None;
        }
        let task = NonNull::new(waker.data().cast_mut().cast::<Header>())?;
        // SAFETY: C1: the waker holds a reference, or borrows that of a poll, so the cell is alive.
        if !unsafe { task.as_ref() }.is_here() {
            return None;
        }
        // SAFETY: C1: as above.
        unsafe { retain(task) };
        Some(Ref(task))
    }

    /// Whether both are the same task.
    pub(super) fn same(&self, other: &Ref) -> bool {
        self.0 == other.0
    }

    /// Runs `f` with this as the running task, and so in its context: the caller has seen to it that the host is asked.
    pub(super) fn as_running<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Before(Option<NonNull<Header>>);
        impl Drop for Before {
            fn drop(&mut self) {
                RUNNING_NOW.set(self.0);
            }
        }
        debug_assert!(
            context::is_hosted(),
            "between a host and a task stands a context: `context::host(&HOST)` first"
        );
        let _before = Before(RUNNING_NOW.replace(Some(self.0)));
        f()
    }

    /// A waker, with a reference of its own.
    pub(super) fn waker(&self) -> Waker {
        let task = ManuallyDrop::new(self.clone());
        // SAFETY: C1: the waker's table treats the pointer as a counted reference, and the clone's goes over to it.
        unsafe { Waker::from_raw(RawWaker::new(task.0.as_ptr() as *const (), &WAKER)) }
    }

    /// Polls the future once. True: the output is there.
    pub(super) fn poll(&self) -> bool {
        debug_assert!(!self.header().is(COMPLETE | OUTPUT));
        // The waker is lent, not counted: this reference outlives the poll.
        // SAFETY: C1: the waker's table treats the pointer as a counted reference; ManuallyDrop keeps the count as it is.
        let waker = ManuallyDrop::new(unsafe {
            Waker::from_raw(RawWaker::new(self.0.as_ptr() as *const (), &WAKER))
        });
        // SAFETY: C2: not COMPLETE, so the stage holds the future; only the owner gets here (T1).
        unsafe { (self.header().vtable.poll)(self.0, &mut Context::from_waker(&waker)) }
    }

    /// Drops the future; `error` is what the handle gets.
    pub(super) fn end(&self, error: JoinError) {
        debug_assert!(!self.header().is(COMPLETE | OUTPUT));
        // SAFETY: C2 as in `poll`.
        unsafe { (self.header().vtable.end)(self.0, error) }
    }

    /// Drops the output that nobody will ask for; gives back what of it nobody has seen and somebody should.
    pub(super) fn discard(&self) -> Option<Lost> {
        if !self.header().is(OUTPUT) {
            return None;
        }
        self.header().clear(OUTPUT);
        // SAFETY: C2: OUTPUT was set and is now cleared.
        let lost = unsafe { (self.header().vtable.discard)(self.0) };
        lost.filter(|lost| matches!(lost, Lost::Panic(_)) || !self.header().is(SEEN))
    }
}

impl Clone for Ref {
    fn clone(&self) -> Self {
        // SAFETY: C1: a reference is held.
        unsafe { retain(self.0) };
        Ref(self.0)
    }
}

impl Drop for Ref {
    fn drop(&mut self) {
        // SAFETY: C1: this reference is given back once.
        unsafe { release(self.0) }
    }
}

/// Tasks that wait for their turn, first in, first out, each with one reference.
#[derive(Default)]
pub(super) struct Ready(UnsafeCell<VecDeque<Ref>>);

thread_local! {
    /// The queue of the loop this thread is inside. Without a destructor, so that a wake finds it at the price of a load.
    static READY: ManuallyDrop<Ready> = const { ManuallyDrop::new(Ready::new()) };
    /// The task that is being polled. Not counted: whoever polls it holds a reference.
    static RUNNING_NOW: Cell<Option<NonNull<Header>>> = const { Cell::new(None) };
}

impl Ready {
    const fn new() -> Ready {
        Ready(UnsafeCell::new(VecDeque::new()))
    }

    fn with<R>(&self, f: impl FnOnce(&mut VecDeque<Ref>) -> R) -> R {
        // SAFETY: T1: only the owner's thread is here, and `f`, in the lines below, runs nobody's code: it comes back
        // before anything asks again.
        f(unsafe { &mut *self.0.get() })
    }

    /// Runs `f` on the queue of the loop this thread is inside.
    pub(super) fn here<R>(f: impl FnOnce(&Ready) -> R) -> R {
        READY.with(|ready| f(ready))
    }

    pub(super) fn count(&self) -> usize {
        self.with(|tasks| tasks.len())
    }

    /// Exchanges the tasks of the two.
    pub(super) fn swap(&self, other: &Ready) {
        other.with(|others| self.with(|tasks| std::mem::swap(tasks, others)));
    }

    /// SCHEDULED keeps a task from being in a queue twice.
    fn push(&self, task: Ref) {
        self.with(|tasks| match tasks.len() < tasks.capacity() {
            true => tasks.push_back(task),
            false => push_and_grow(tasks, task),
        });
    }

    pub(super) fn pop(&self) -> Option<Ref> {
        self.with(VecDeque::pop_front)
    }
}

/// The last thing that a push does, so that the way of most saves no registers for it.
#[cold]
#[inline(never)]
fn push_and_grow(tasks: &mut VecDeque<Ref>, task: Ref) {
    tasks.push_back(task);
}

/// The task that is being polled on this thread.
pub(super) fn running() -> Option<Ref> {
    RUNNING_NOW.get().map(|task| {
        // SAFETY: `Ref::as_running` lends a reference for as long as the pointer stands there (C1).
        unsafe { retain(task) };
        Ref(task)
    })
}

/// A loop's thread is in the context of the task that runs, if it is one of the loop's.
pub(super) static HOST: Host = Host {
    find: || with_running(|header| header.context()).flatten(),
    make: || with_running(Header::own_context),
};

/// Whether `waker` is this task's own.
fn is_own(waker: &Waker, task: NonNull<Header>) -> bool {
    std::ptr::eq(waker.data(), task.as_ptr().cast()) && std::ptr::eq(waker.vtable(), &WAKER)
}

fn with_running<R>(f: impl FnOnce(&Header) -> R) -> Option<R> {
    let task = running()?;
    // In a task of another loop, this one may be run to its end.
    task.header().is_here().then(|| f(task.header()))
}

/// Whether `waker` is the running task's own, with nothing between; true as well where no task runs.
#[inline]
pub(super) fn runs_with(waker: &Waker) -> bool {
    RUNNING_NOW.get().is_none_or(|task| is_own(waker, task))
}

/// A reference to a task of which the output's type is known.
pub(super) struct Typed<T> {
    pub(super) task: TaskRef,
    output: PhantomData<T>,
}

impl<T> Typed<T> {
    /// Makes a task of `future`, owned by the loop `number`.
    pub(super) fn new<F>(future: F, shared: &'static Shared, number: u32, id: u32) -> Self
    where
        F: Future<Output = T> + 'static,
    {
        Typed {
            // SAFETY: C2: a 'static future borrows nothing that could end before it.
            task: TaskRef(unsafe { Ref::new(future, TaskCell::<F>::TELLING, shared, number, id) }),
            output: PhantomData,
        }
    }

    /// The output, once, if it is there.
    pub(super) fn take(&self) -> Option<Result<T, JoinError>> {
        let header = self.task.0.header();
        if !header.is(OUTPUT) {
            return None;
        }
        header.clear(OUTPUT);
        let mut output = MaybeUninit::<Result<T, JoinError>>::uninit();
        // SAFETY: C2: OUTPUT was set, and the task was made of a future of output `T`: the table writes exactly this type.
        unsafe {
            (header.vtable.take)(self.task.0.0, output.as_mut_ptr().cast());
            Some(output.assume_init())
        }
    }

    /// Looks at the output, if it is there, and leaves it.
    pub(super) fn peek<R>(&self, look: impl FnOnce(&Result<T, JoinError>) -> R) -> Option<R> {
        let task = &self.task.0;
        task.header().is(OUTPUT).then(|| {
            // SAFETY: C2: OUTPUT is set, and the task was made of a future of output `T`. The output is taken by way of
            // this handle only, which is borrowed for as long as `look` runs.
            look(unsafe { &*(task.header().vtable.output)(task.0).cast::<Result<T, JoinError>>() })
        })
    }
}

/// Makes a task of a future that may borrow, and lends it to `during`. Before this returns or unwinds, `end` is called,
/// which must leave the task complete; its output, if nobody took it, is dropped here.
pub(super) fn scoped<F: Future, R>(
    future: F,
    (shared, number, id): (&'static Shared, u32, u32),
    during: impl FnOnce(&Typed<F::Output>) -> R,
    end: impl Fn(&Ref),
) -> R {
    struct Scope<T, E: Fn(&Ref)>(Typed<T>, E);
    impl<T, E: Fn(&Ref)> Drop for Scope<T, E> {
        fn drop(&mut self) {
            (self.1)(&self.0.task.0);
            if !self.0.task.0.header().is(COMPLETE) {
                // A future that outlived its borrows would be read after free by the next wake.
                std::process::abort();
            }
            drop(self.0.take());
        }
    }
    // SAFETY: C2: `Scope` lives in this frame, inside of all that the future borrows, and its drop ends the future.
    let task = unsafe { Ref::new(future, TaskCell::<F>::VTABLE, shared, number, id) };
    let scope = Scope(Typed { task: TaskRef(task), output: PhantomData }, end);
    during(&scope.0)
}

/// A cell on its way to its owner. QUEUED in its count keeps it alive.
pub(super) struct Parcel(NonNull<Header>);

// SAFETY: T1: the receiving end is the owner's inbox, or `merge` when the owner has closed it.
unsafe impl Send for Parcel {}

impl Parcel {
    /// The owner takes the cell in: counts are added; a reference comes back if the task was woken.
    pub(super) fn open(self) -> Option<Ref> {
        // SAFETY: C1: QUEUED kept the cell alive until here; this is the owner (T1).
        let header = unsafe { self.0.as_ref() };
        let arrival = header.refs.arrive();
        if arrival.free {
            // SAFETY: C1: no reference is left.
            unsafe { (header.vtable.free)(self.0) };
            return None;
        }
        arrival.wake.then(|| {
            // SAFETY: C1: references are left.
            unsafe { retain(self.0) };
            Ref(self.0)
        })
    }

    /// The inbox is closed: by a pusher, under its lock, or by the old owner, with what was left in it.
    pub(super) fn merge(self) {
        // SAFETY: C1: QUEUED kept the cell alive until here.
        let header = unsafe { self.0.as_ref() };
        if header.refs.merge_closed() {
            // SAFETY: C1: no reference is left.
            unsafe { (header.vtable.free)(self.0) };
        }
    }
}

/// Pushes a cell whose QUEUED bit the caller has just set.
fn push(task: NonNull<Header>, shared: &'static Shared, number: u32) {
    // A closed inbox calls back under its lock; see `merge_closed`.
    shared.push(number, Mail::Task(Parcel(task)), |mail| {
        if let Mail::Task(parcel) = mail {
            parcel.merge();
        }
    });
}

/// # Safety
/// C1: the caller holds a reference.
#[inline]
unsafe fn retain(task: NonNull<Header>) {
    // SAFETY: C1: the caller's reference keeps the cell alive.
    let header = unsafe { task.as_ref() };
    match header.number == current_loop::number() {
        true => header.refs.clone_local(),
        false => header.refs.clone_remote(),
    }
}

/// # Safety
/// C1: the caller gives up a reference it holds.
#[inline]
unsafe fn release(task: NonNull<Header>) {
    // SAFETY: C1: the reference keeps the cell alive until it is given back below.
    let header = unsafe { task.as_ref() };
    if header.number != current_loop::number() {
        // SAFETY: C1: passed on.
        unsafe { release_elsewhere(task) }
    } else if header.refs.drop_local() {
        // SAFETY: C1: that was the last reference.
        unsafe { (header.vtable.free)(task) }
    }
}

/// # Safety
/// C1: the caller, on a foreign thread, gives up a reference it holds.
#[cold]
unsafe fn release_elsewhere(task: NonNull<Header>) {
    // SAFETY: C1: the reference keeps the cell alive until it is given back below.
    let header = unsafe { task.as_ref() };
    let (number, shared) = (header.number, header.shared);
    match header.refs.drop_remote() {
        After::Nothing => {}
        // SAFETY: C1: that was the last reference.
        After::Free => unsafe { (header.vtable.free)(task) },
        After::Push => push(task, shared, number),
    }
}

/// # Safety
/// C1: the caller holds a reference.
#[inline]
unsafe fn wake(task: NonNull<Header>) {
    // SAFETY: C1: the caller's reference keeps the cell alive.
    let header = unsafe { task.as_ref() };
    if header.number != current_loop::number() {
        wake_elsewhere(task, header);
    } else if !header.is(SCHEDULED | COMPLETE) {
        header.set(SCHEDULED);
        header.refs.clone_local();
        READY.with(|ready| ready.push(Ref(task)));
    }
}

/// A wake and a release in one: the reference becomes the queue's, if the task is to go there.
///
/// # Safety
/// C1: the caller gives up a reference it holds.
#[inline]
unsafe fn wake_and_release(task: NonNull<Header>) {
    // SAFETY: C1: the caller's reference keeps the cell alive.
    let header = unsafe { task.as_ref() };
    if !header.is_here() {
        // SAFETY: C1: passed on.
        unsafe { wake_and_release_elsewhere(task) }
    } else if header.is(SCHEDULED | COMPLETE) {
        // SAFETY: C1: as the caller says.
        unsafe { release(task) }
    } else {
        header.set(SCHEDULED);
        READY.with(|ready| ready.push(Ref(task)));
    }
}

/// A wake on a foreign thread.
#[cold]
fn wake_elsewhere(task: NonNull<Header>, header: &Header) {
    if header.refs.wake_remote() {
        push(task, header.shared, header.number);
    }
}

/// In one step: in two the owner might take the cell from its inbox between them, and find it there once more.
///
/// # Safety
/// C1: the caller, on a foreign thread, gives up a reference it holds.
#[cold]
unsafe fn wake_and_release_elsewhere(task: NonNull<Header>) {
    // SAFETY: C1: the reference keeps the cell alive until it is given back below.
    let header = unsafe { task.as_ref() };
    let (number, shared) = (header.number, header.shared);
    if header.refs.wake_and_drop_remote() {
        push(task, shared, number);
    }
}

impl Ref {
    /// Puts the task into the ready queue, unless it is there or complete.
    pub(super) fn wake(&self) {
        // SAFETY: C1: this reference is held.
        unsafe { wake(self.0) }
    }
}

static WAKER: RawWakerVTable = RawWakerVTable::new(
    |task| {
        let task = NonNull::new(task as *mut Header).expect("a task's waker points to its cell");
        // SAFETY: C1: the waker holds a reference.
        unsafe { retain(task) };
        RawWaker::new(task.as_ptr() as *const (), &WAKER)
    },
    |task| {
        let task = NonNull::new(task as *mut Header).expect("a task's waker points to its cell");
        // SAFETY: C1: the waker holds a reference and gives it up.
        unsafe { wake_and_release(task) };
    },
    |task| {
        let task = NonNull::new(task as *mut Header).expect("a task's waker points to its cell");
        // SAFETY: C1: the waker holds a reference.
        unsafe { wake(task) };
    },
    |task| {
        let task = NonNull::new(task as *mut Header).expect("a task's waker points to its cell");
        // SAFETY: C1: the waker gives up its reference.
        unsafe { release(task) };
    },
);

#[cfg(not(all(test, loom)))]
const _: () = assert!(std::mem::size_of::<Header>() == 56, "the header is seven words");
