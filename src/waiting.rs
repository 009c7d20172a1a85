//! What a task waits for, said by the futures at the leaves: operations, timers, locks, handles of tasks.
//!
//! Who returns `Pending` calls [`waits_for`], which tests one flag of the thread. The flag is set while the executor polls
//! a task that debug mode keeps a record of; the executor then takes what was said. So a record has what the *last* poll
//! found; what a combinator did not poll then (`FuturesUnordered` polls only what was woken) is not in it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

/// What a pending poll waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// The kernel: an operation, and the descriptor that it works on.
    Operation { name: &'static str, descriptor: Option<i32> },
    /// A point in time, by the loop's clock.
    Timer(Instant),
    /// The next turn.
    Turn,
    /// A lock, a queue, a promise: what it is, and where it lies, so that two who wait for the same can be told.
    Place { kind: &'static str, address: usize },
    /// A function on another thread.
    Thread,
    /// A function in a worker process, of this number once it has begun.
    #[cfg(feature = "process-pool")]
    Process(Option<u32>),
    /// Another task's end. Only its name: tasks may wait for each other.
    Task(Rc<str>),
    /// The ends of several: what waits for them, and how many are left.
    Tasks { how: &'static str, count: usize },
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Operation { name, descriptor: Some(number) } => {
                write!(f, "{name} on descriptor {number}")
            }
            Waiting::Operation { name, descriptor: None } => f.write_str(name),
            Waiting::Timer(_) => f.write_str("a timer"),
            Waiting::Turn => f.write_str("its next turn"),
            Waiting::Place { kind, address } => write!(f, "{kind} {address:#x}"),
            Waiting::Thread => f.write_str("a thread"),
            #[cfg(feature = "process-pool")]
            Waiting::Process(None) => f.write_str("a worker process"),
            #[cfg(feature = "process-pool")]
            Waiting::Process(Some(number)) => write!(f, "worker process {number}"),
            Waiting::Task(name) => write!(f, "task '{name}'"),
            Waiting::Tasks { how, count } => write!(f, "{how} of {count} tasks"),
        }
    }
}

thread_local! {
    /// Somebody wants to know.
    static NOTING: Cell<bool> = const { Cell::new(false) };
    /// What was said in the poll that runs.
    static NOTED: RefCell<Vec<Waiting>> = const { RefCell::new(Vec::new()) };
}

/// Whether somebody wants to know.
#[inline]
pub(crate) fn is_noting() -> bool {
    NOTING.get()
}

/// Says what the poll that runs waits for, if somebody wants to know.
#[inline]
pub(crate) fn waits_for(what: impl FnOnce() -> Waiting) {
    if is_noting() {
        note(what());
    }
}

/// As [`waits_for`], of a poll in a line: what is waited for, and what its handles share, which tells where it lies.
#[inline]
pub(crate) fn in_line<S, T>(kind: &'static str, shared: &S, polled: Poll<T>) -> Poll<T> {
    if polled.is_pending() {
        waits_for(|| Waiting::Place { kind, address: (&raw const *shared).addr() });
    }
    polled
}

/// How much was said so far in the poll that runs.
#[inline]
pub(crate) fn said() -> usize {
    match is_noting() {
        true => NOTED.try_with(|noted| noted.borrow().len()).unwrap_or(0),
        false => 0,
    }
}

/// What was said since then does not hold: who said it is given up.
#[inline]
pub(crate) fn take_back(said: usize) {
    if is_noting() {
        let _ = NOTED.try_with(|noted| noted.borrow_mut().truncate(said));
    }
}

#[cold]
fn note(what: Waiting) {
    let _ = NOTED.try_with(|noted| noted.borrow_mut().push(what));
}

/// While it lives, what is said is noted. One may live inside of another: a task's first step may be.
pub(crate) struct Noting {
    was_noting: bool,
    /// What was said before, by the poll outside.
    outside: Vec<Waiting>,
}

impl Noting {
    /// Into this memory, whose content is forgotten.
    pub(crate) fn begin(mut notes: Vec<Waiting>) -> Noting {
        notes.clear();
        let outside = NOTED.try_with(|noted| noted.replace(notes)).unwrap_or_default();
        Noting { was_noting: NOTING.replace(true), outside }
    }

    /// What was said; the same of several in a row, once.
    pub(crate) fn end(mut self) -> Vec<Waiting> {
        let outside = std::mem::take(&mut self.outside);
        let mut notes = NOTED.try_with(|noted| noted.replace(outside)).unwrap_or_default();
        notes.dedup();
        notes
    }
}

impl Drop for Noting {
    fn drop(&mut self) {
        NOTING.set(self.was_noting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_noted_while_somebody_wants_to_know() {
        waits_for(|| unreachable!("nobody wants to know"));
        let mut notes = vec![Waiting::Thread];
        for kind in ["lock", "queue"] {
            let noting = Noting::begin(notes);
            assert!(
                in_line(kind, &0, Poll::<()>::Pending).is_pending()
                    && in_line(kind, &0, Poll::Ready(1)).is_ready()
            );
            waits_for(|| Waiting::Turn);
            notes = noting.end();
            assert!(
                matches!(notes[..], [Waiting::Place { kind: noted, .. }, Waiting::Turn] if noted == kind)
            );
        }
        let noting = Noting::begin(notes);
        waits_for(|| Waiting::Thread);
        let inside = Noting::begin(Vec::new());
        (0..3).for_each(|_| waits_for(|| Waiting::Turn));
        assert_eq!(inside.end(), [Waiting::Turn]);
        let before = said();
        waits_for(|| Waiting::Turn);
        take_back(before);
        assert_eq!(noting.end(), [Waiting::Thread]);
        take_back(said());
        waits_for(|| unreachable!("nobody wants to know"));
    }

    #[test]
    fn each_has_its_words() {
        let recv = Waiting::Operation { name: "recv", descriptor: Some(7) };
        let open = Waiting::Operation { name: "open", descriptor: None };
        let lock = Waiting::Place { kind: "mutex", address: 0x40 };
        let tasks = Waiting::Tasks { how: "gather", count: 3 };
        let said = [recv, open, lock, tasks, Waiting::Task("a".into())].map(|waiting| waiting.to_string());
        assert_eq!(said, ["recv on descriptor 7", "open", "mutex 0x40", "gather of 3 tasks", "task 'a'"]);
    }

    #[test]
    #[cfg(feature = "process-pool")]
    fn a_worker_process_has_its_number_once_it_has_begun() {
        let said = [None, Some(7)].map(|number| Waiting::Process(number).to_string());
        assert_eq!(said, ["a worker process", "worker process 7"]);
    }
}
