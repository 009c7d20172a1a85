//! What debug mode knows of tasks: how often each was polled and for how long, what it waits for, who awaits it; and the
//! span of a task, for subscribers of `tracing`.
//!
//! All of it lies in a record in the task's cold part, and the bit WATCHED says that there is one: `Executor::step` tests
//! it in a word that it has read anyway, and a task without a record pays no more than that.
//!
//! Who awaits whom is kept on the side of the awaited, because a handle below a waker of its own is not polled again
//! before its task ends. An edge that was made with the awaiting task's own waker holds for that poll only, since the next
//! one would make it again; others hold until the handle goes.

use std::fmt::Write as _;
use std::mem;
use std::panic::Location;
use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, Instant};

use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing::{Level, Span};

use super::cancel::Hidden;
use super::join::TaskRef;
use super::task::{Header, RUNNING, Rare, Ref, SCHEDULED, WATCHED};
use super::{Executor, current_task, is_within_reach};
use crate::sys::clock;
use crate::waiting::{Noting, Waiting, is_noting, waits_for};

/// Is told of the polls of tasks with a record, on the loop's thread.
pub(crate) trait Watcher {
    /// A poll begins.
    fn begins(&self, task: &TaskRef, now: Instant);
    /// It has ended; the task may end with it.
    fn ends(&self, task: &TaskRef, took: Duration);
}

/// The record of a task.
pub(super) struct Trace {
    record: Record,
    /// Who awaits the task, or did.
    awaiters: Vec<Edge>,
    /// Entered for each poll.
    span: Span,
}

/// What the polls of a task have told.
#[derive(Clone)]
pub(crate) struct Record {
    /// Polls so far, the one that runs included.
    pub(crate) polls: u64,
    /// How long they took together.
    pub(crate) busy: Duration,
    /// When the last one ended, or the record was made.
    pub(crate) since: Instant,
    /// What the last one found pending.
    pub(crate) waits: Vec<Waiting>,
}

/// That a task awaits.
#[derive(Clone)]
struct Edge {
    task: TaskRef,
    /// The poll of that task which said so; None: it holds until it is withdrawn.
    poll: Option<u64>,
}

/// A task in a message: with the place of its creation, if that is known. A function that the loop calls is a task as well,
/// a hidden one.
pub(crate) fn label(is_hidden: bool, name: &str, location: Option<&'static Location<'static>>) -> String {
    let kind = if is_hidden { "callback" } else { "task" };
    match location {
        Some(location) => format!("{kind} '{name}' (created at {location})"),
        None => format!("{kind} '{name}'"),
    }
}

/// Whether any subscriber may want the spans of tasks: with none set this is a load and a comparison.
#[inline]
fn spans_are_wanted() -> bool {
    Level::INFO <= STATIC_MAX_LEVEL && Level::INFO <= LevelFilter::current()
}

impl Executor {
    /// Has `watcher` told of every poll from now on; None: nobody is told any more, and the records go.
    pub(crate) fn set_watcher(&self, watcher: Option<Rc<dyn Watcher>>) {
        let is_watched = watcher.is_some();
        self.watched.set(is_watched);
        let before = self.watcher.replace(watcher);
        drop(before);
        let tasks: Vec<Ref> = self.tasks.borrow().iter().cloned().collect();
        for task in tasks {
            match is_watched {
                true => task.header().keep_record(Span::none()),
                false => drop(task.header().take_record()),
            }
        }
    }

    /// Begins the record of a new task, if there is somebody to read it.
    #[inline]
    pub(super) fn begin_record(&self, task: &Ref) {
        if self.watched.get() || spans_are_wanted() {
            self.make_record(task);
        }
    }

    #[cold]
    fn make_record(&self, task: &Ref) {
        let task = TaskRef(task.clone());
        // Without a parent: a chain of tasks that make each other would keep the spans of all.
        let span = tracing::info_span!(
            target: "ringloop::task", parent: None, "task", name = &*task.name(), id = task.id()
        );
        if self.watched.get() || !span.is_disabled() {
            task.0.header().keep_record(span);
        }
    }

    /// One poll of a task with a record. True: the output is there.
    #[cold]
    #[inline(never)]
    pub(super) fn poll_watched(&self, task: &Ref) -> bool {
        let header = task.header();
        let watcher = self.watcher.borrow().clone();
        let begun = header.with_trace(|trace| {
            trace.record.polls += 1;
            (mem::replace(&mut trace.span, Span::none()), mem::take(&mut trace.record.waits))
        });
        let (mut span, waits) = begun.unwrap_or_else(|| (Span::none(), Vec::new()));
        let named = TaskRef(task.clone());
        let began = clock::now();
        if let Some(watcher) = &watcher {
            watcher.begins(&named, began);
        }
        let noting = Noting::begin(waits);
        let done = span.in_scope(|| task.as_running(|| task.poll()));
        let waits = noting.end();
        let ended = clock::now();
        let took = ended.saturating_duration_since(began);
        header.with_trace(|trace| {
            trace.record.busy = trace.record.busy.saturating_add(took);
            trace.record.since = ended;
            trace.record.waits = waits;
            mem::swap(&mut trace.span, &mut span);
        });
        if let Some(watcher) = &watcher {
            let _hidden = Hidden::new();
            watcher.ends(&named, took);
        }
        done
    }
}

impl Header {
    /// Keeps a record, unless there is one.
    #[cold]
    fn keep_record(&self, span: Span) {
        let record = Record { polls: 0, busy: Duration::ZERO, since: clock::now(), waits: Vec::new() };
        let trace = Box::new(Trace { record, awaiters: Vec::new(), span });
        let unused = self.with_rare(|rare| match &rare.trace {
            Some(_) => Some(trace),
            None => rare.trace.replace(trace),
        });
        self.set(WATCHED);
        drop(unused);
    }

    /// Takes the record away, unless a subscriber wants its span; the caller drops it.
    fn take_record(&self) -> Option<Box<Trace>> {
        let taken = self.peek_rare(|rare| rare.trace.take_if(|trace| trace.span.is_none())).flatten();
        if taken.is_some() {
            self.clear(WATCHED);
        }
        taken
    }

    /// `f` must run no user code.
    fn with_trace<R>(&self, f: impl FnOnce(&mut Trace) -> R) -> Option<R> {
        self.peek_rare(|rare| rare.trace.as_deref_mut().map(f)).flatten()
    }

    fn polls(&self) -> Option<u64> {
        self.with_trace(|trace| trace.record.polls)
    }
}

impl Rare {
    /// Nobody awaits the task any more by its handle; the caller drops what comes back.
    pub(super) fn take_awaiters(&mut self) -> impl Sized + use<> {
        self.trace.as_mut().map(|trace| mem::take(&mut trace.awaiters))
    }
}

/// Says that the running task waits for several tasks by way of `how`, if debug mode wants to know.
#[inline]
pub(crate) fn waits_for_tasks(
    cx: &Context<'_>,
    how: &'static str,
    each: impl FnOnce(&mut dyn FnMut(&TaskRef)),
) {
    if is_noting() {
        let mut count = 0;
        each(&mut |task| {
            count += usize::from(!task.is_done());
            task.note_awaiter(cx);
        });
        waits_for(|| Waiting::Tasks { how, count });
    }
}

impl TaskRef {
    /// The running task polled this one's handle, and has to wait.
    #[inline]
    pub(super) fn is_awaited(&self, cx: &Context<'_>) {
        if is_noting() {
            waits_for(|| Waiting::Task(self.name()));
            self.note_awaiter(cx);
        }
    }

    /// As [`is_awaited`](Self::is_awaited), by a set that says itself what is waited for.
    #[inline]
    pub(super) fn is_awaited_in_a_set(&self, cx: &Context<'_>) {
        if is_noting() {
            self.note_awaiter(cx);
        }
    }

    #[cold]
    fn note_awaiter(&self, cx: &Context<'_>) {
        let Some(task) = current_task() else { return };
        let polls = task.0.header().polls();
        let edge = Edge { task, poll: polls.filter(|_| is_within_reach(cx.waker())) };
        let gone = self.0.header().with_trace(|trace| {
            let stale = |old: &mut Edge| old.task.is_done() || old.task.same(&edge.task);
            let gone: Vec<Edge> = trace.awaiters.extract_if(.., stale).collect();
            trace.awaiters.push(edge);
            gone
        });
        drop(gone);
    }

    /// The tasks that await this one, as far as debug mode knows.
    pub(crate) fn awaiters(&self) -> Vec<TaskRef> {
        let edges = self.0.header().with_trace(|trace| trace.awaiters.clone()).unwrap_or_default();
        let holds = |edge: &Edge| edge.poll.is_none() || edge.poll == edge.task.0.header().polls();
        let holding = edges.into_iter().filter(|edge| !edge.task.is_done() && holds(edge));
        holding.map(|edge| edge.task).collect()
    }

    /// What its polls have told, if debug mode has kept that; while one runs, the task waits for nothing.
    pub(crate) fn record(&self) -> Option<Record> {
        let mut record = self.0.header().with_trace(|trace| trace.record.clone())?;
        if self.0.header().is(RUNNING) {
            record.waits.clear();
        }
        Some(record)
    }

    /// Whether it waits for its turn.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.header().is(SCHEDULED)
    }

    /// Where the task was created (debug mode).
    pub(crate) fn location(&self) -> Option<&'static Location<'static>> {
        self.0.header().peek_rare(|rare| rare.location).flatten()
    }

    /// The task in a message.
    pub(crate) fn label(&self) -> String {
        label(self.is_hidden(), &self.name(), self.location())
    }

    /// Puts the task's name in place of what is there.
    pub(crate) fn write_name(&self, to: &mut String) {
        to.clear();
        let named = self.0.header().peek_rare(|rare| rare.name.as_deref().map(|name| to.push_str(name)));
        if named.flatten().is_none() {
            let _ = write!(to, "Task-{}", self.id());
        }
    }
}
