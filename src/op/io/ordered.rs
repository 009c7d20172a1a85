//! What must come before an operation on a file, and what it changes.
//!
//! A file has two sides: positional calls, and a cursor that keeps written bytes back for a while. A positional call must see
//! them, so it *passes a gate* first: if bytes are kept back, the gate starts writing them, and the operation waits on a
//! [`Bell`] that the end of that write rings. The bell is an eventfd with a poll, because an operation can wait for
//! nothing but the kernel; it is made only when there is something to wait for, and where no descriptor is left the operation
//! looks again every millisecond. If the write fails, so does the operation that waited for it, with the same error and
//! without having begun.
//!
//! An operation that changes the content says so at its end, however that came: what the cursor has read ahead is then old.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use io_uring::{opcode, types};

use crate::op::retry::{INTERRUPTED, Retry};
use crate::op::{Company, Next, Operation, Policy};
use crate::pool::Job;
use crate::ring::{Entry, Outcome};
use crate::sys::eventfd::{EfdFlags, EventFd};

/// Tells operations that what they wait for is over.
#[derive(Debug)]
pub(crate) struct Bell {
    /// Readable when the bell has rung; None: there was no descriptor left for it.
    event: Option<EventFd>,
    has_rung: Cell<bool>,
    /// The errno of what they waited for.
    error: Cell<Option<i32>>,
}

/// How often an operation looks at a bell that it cannot poll.
static PAUSE: types::Timespec = types::Timespec::new().nsec(1_000_000);

impl Bell {
    pub(crate) fn new() -> Rc<Bell> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).ok();
        Rc::new(Bell { event, has_rung: Cell::new(false), error: Cell::new(None) })
    }

    /// Once, when it is over.
    pub(crate) fn ring(&self, error: Option<i32>) {
        self.error.set(error);
        self.has_rung.set(true);
        if let Some(event) = &self.event {
            // The counter cannot be full: this is its only write.
            let _ = event.write(1);
        }
    }

    /// The entry that waits for it.
    fn entry(&self) -> Entry {
        match &self.event {
            Some(event) => {
                opcode::PollAdd::new(types::Fd(event.as_fd().as_raw_fd()), libc::POLLIN as u32).build()
            }
            None => opcode::Timeout::new(&raw const PAUSE).build(),
        }
    }
}

/// What an operation finds at a gate.
pub(crate) enum Passage {
    Open,
    /// Open when the bell has rung.
    Shut(Rc<Bell>),
}

/// A file whose operations have an order.
pub(crate) trait Shared: 'static {
    /// Starts what must come first.
    fn pass(self: &Rc<Self>) -> Passage;

    /// The content may have changed.
    fn changed(&self);

    /// How many changes of it are with the kernel.
    fn changing(&self) -> &Cell<usize>;
}

/// A change that is with the kernel, counted while this lives.
struct Change<F: Shared>(Rc<F>);

impl<F: Shared> Change<F> {
    fn begin(file: &Rc<F>) -> Self {
        file.changing().update(|count| count + 1);
        Change(file.clone())
    }
}

impl<F: Shared> Drop for Change<F> {
    fn drop(&mut self) {
        self.0.changing().update(|count| count - 1);
    }
}

/// What an operation does to the content of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    None,
    Changes,
}

/// Where an operation stands.
enum Gate {
    /// It has not got through.
    Before,
    /// It waits for the bell.
    At(Rc<Bell>),
    /// It never will.
    Refused(i32),
    /// It has begun.
    Behind,
}

/// An operation in its order among those of its file.
pub(crate) struct Ordered<F: Shared, O: Operation> {
    /// What it works on; held, so that it stays open.
    file: Rc<F>,
    /// What it does to the content.
    effect: Effect,
    /// How far it has come.
    gate: Gate,
    /// It is with the kernel, and changes the content.
    change: Option<Change<F>>,
    /// How often it was tried in vain.
    retry: Retry,
    /// What is done behind the gate.
    operation: O,
}

impl<F: Shared, O: Operation> Ordered<F, O> {
    /// An operation on this file; with a `refusal`, one that it cannot do.
    #[inline]
    pub(crate) fn new(file: Rc<F>, effect: Effect, refusal: Option<i32>, operation: O) -> Self {
        let gate = refusal.map_or(Gate::Before, Gate::Refused);
        Ordered { file, effect, gate, change: None, retry: Retry::default(), operation }
    }

    /// Tries to get through. True: it has.
    fn pass(&mut self) -> bool {
        if let Gate::Before = self.gate {
            self.gate = match self.file.pass() {
                Passage::Open => Gate::Behind,
                Passage::Shut(bell) => Gate::At(bell),
            };
        }
        matches!(self.gate, Gate::Behind)
    }

    /// What is behind the gate goes to who does it.
    #[inline]
    fn begin(&mut self) {
        if self.effect == Effect::Changes {
            self.change.get_or_insert_with(|| Change::begin(&self.file));
        }
    }
}

// SAFETY: O1: the operation's own entries keep it; the others point to nothing, or to a static.
unsafe impl<F: Shared, O: Operation> Operation for Ordered<F, O> {
    type Output = O::Output;
    const NAME: &'static str = O::NAME;
    const HAS_CALL: bool = O::HAS_CALL;
    const HAS_JOB: bool = O::HAS_JOB;

    fn prepare(&mut self) {
        if self.pass() {
            self.operation.prepare();
        }
    }

    fn policy(&self) -> Policy {
        match self.gate {
            Gate::Behind => self.operation.policy(),
            // It has not begun.
            _ => Policy::READS,
        }
    }

    fn call(&mut self, company: Company) -> Option<Outcome> {
        match (self.pass(), &self.gate) {
            // It would wait for the lock of the file.
            (true, _) if self.effect == Effect::Changes && self.file.changing().get() > 0 => None,
            (true, _) => self.operation.call(company),
            (false, Gate::Refused(errno)) => Some(Outcome { result: -errno, flags: 0 }),
            (false, _) => None,
        }
    }

    fn entry(&mut self) -> Entry {
        if self.pass() {
            self.begin();
            return self.operation.entry();
        }
        match &self.gate {
            Gate::At(bell) => bell.entry(),
            // It is refused, and says so at its end.
            _ => opcode::Nop::new().build(),
        }
    }

    fn job(&mut self) -> Option<Job> {
        if !matches!(self.gate, Gate::Behind) {
            return None;
        }
        let job = self.operation.job();
        if job.is_some() {
            self.begin();
        }
        job
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        let refused = match &self.gate {
            Gate::Before | Gate::Behind => return self.operation.advance(outcome),
            Gate::Refused(_) => return Next::Finish,
            Gate::At(bell) if outcome.result == -libc::ETIME && !bell.has_rung.get() => return Next::Again,
            Gate::At(_) if outcome.result < 0 && outcome.result != -libc::ETIME => {
                return self.retry.advance(outcome, INTERRUPTED);
            }
            Gate::At(bell) => bell.error.get(),
        };
        self.gate = refused.map_or(Gate::Before, Gate::Refused);
        if refused.is_some() { Next::Finish } else { Next::Again }
    }

    fn finish(self, outcome: Outcome) -> O::Output {
        // Taken apart, so that nothing is moved that `operation` does not want.
        let Ordered { file, effect, gate, change, retry: _, operation } = self;
        let has_begun = matches!(gate, Gate::Behind);
        let outcome = match gate {
            Gate::Behind => outcome,
            Gate::Refused(errno) => Outcome { result: -errno, flags: 0 },
            // It was asked to stop before it had begun.
            _ if outcome.result >= 0 => Outcome { result: Outcome::CANCELLED, flags: 0 },
            _ => outcome,
        };
        if has_begun && effect == Effect::Changes {
            file.changed();
        }
        drop((change, file));
        operation.finish(outcome)
    }
}
