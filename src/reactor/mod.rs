//! The reactor: ring, operation table and timers of one loop.
//!
//! Everything here borrows for the time of plain data changes only (**R1**): wakers, operations and buffers are cloned,
//! built, finished and dropped outside of the borrow, and what a turn has to wake and to drop goes through one queue that
//! survives a panic of one of them.
//!
//! * [`submit`]: the future of one operation, `Op<T>`.
//! * [`timers`]: who wants to be woken when.
//! * [`watch`]: an operation that tells of one event after the other.
//!
//! A reactor outlives its loop while an `Op` refers to it: after the end there is no ring, but outcomes that came in time
//! can still be fetched, and what was never finished stays leaked.

mod submit;
mod timers;
mod watch;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

pub use submit::Op;
pub(crate) use submit::end_now;
pub(crate) use timers::TimerKey;
pub(crate) use watch::Watch;

use crate::current_loop::{self, Layer};
use crate::executor::{Hidden, Mailbox, is_another_ready, step_number, wake};
use crate::op::{
    self, Abandoned, Company, Completed, Ended, Key, Ledger, Lent, Operation, Policy, Polled, Raw, Request,
    Table, Why,
};
use crate::pool::{Job, ThreadPool};
use crate::ring::{
    Buffers, Completion, Counters, Entry, Features, Notifier, Outcome, RegisteredBuf, Ring, descriptor, later,
};
use crate::sys::Errno;
use crate::sys::clock;
use crate::waiting::{Waiting, waits_for};
use timers::Timers;

thread_local! {
    /// The reactors of this thread that have not ended, to be looked up by number.
    static REACTORS: RefCell<Vec<Rc<Reactor>>> = const { RefCell::new(Vec::new()) };
}

/// The reactor of the loop that runs on this thread.
pub(crate) fn current() -> Option<Rc<Reactor>> {
    current_loop::get(Layer::Reactor)
}

/// Takes a timer out of the loop `number`, on whatever thread that is, if it lives.
pub(crate) fn remove_timer(number: u32, key: TimerKey) {
    if let Some(reactor) = numbered(number) {
        reactor.remove_timer(key);
    } else if let Some(mailbox) = Mailbox::find(number) {
        let remove = move || {
            if let Some(reactor) = numbered(number) {
                reactor.remove_timer(key);
            }
        };
        // A loop that ends meanwhile drops its timers.
        let _ = mailbox.call(Box::new(remove));
    }
}

/// The reactor of that number, if it is this thread's and has not ended.
fn numbered(number: u32) -> Option<Rc<Reactor>> {
    let find = |reactors: &RefCell<Vec<Rc<Reactor>>>| {
        reactors.borrow().iter().find(|reactor| reactor.number == number).cloned()
    };
    REACTORS.try_with(find).ok().flatten()
}

/// The current reactor, or a panic that names the remedy.
#[track_caller]
pub(crate) fn expect_current(what: &str) -> Rc<Reactor> {
    match current() {
        Some(reactor) => reactor,
        None => panic!("{what} outside of an event loop: run it inside `ringloop::run(async {{ .. }})`"),
    }
}

/// What plain calls may cost per poll of a task: one that is tried costs one, and one for each of so many bytes. Then, if any
/// was made, the operation gives way and goes on with the next poll. If the task goes on all the same, because it does several
/// things at once, those go through the ring: would each give way, all of them would be polled again for each few that are done.
const CALLS_PER_STEP: u32 = 32;
/// As many bytes take about as long to copy as a call takes.
const BYTES_PER_CALL: usize = 16 << 10;

/// After so many polls of tasks the last reading of the clock is too old to say which timers are due. It is so too after a tick
/// of the kernel's clock, some milliseconds: polls may take any time, and a look at the tick costs a fifth of a reading.
const STALE: u64 = 16;

/// How often the kernel is entered at most to end operations at once: one enter takes all cancels and runs twenty ends or more.
const ENTERS_TO_END: usize = 8;

/// What a thread works on is not known here.
const NO_DESCRIPTOR: i32 = -1;

/// No step has this number.
const NO_STEP: u64 = u64::MAX;

/// How an operation goes that has a plain call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// By a plain call, if it can.
    Call,
    /// Not yet: the task has made enough calls in this poll.
    GiveWay,
    Ring,
}

/// Tells the loop of a job's end, whether it ran, panicked or was dropped.
struct JobEnd {
    mailbox: Mailbox,
    key: Key,
}

impl Drop for JobEnd {
    fn drop(&mut self) {
        self.mailbox.job_ended(self.key.user_data());
    }
}

/// Something to do outside of the borrow.
enum Deferred {
    Wake(Waker),
    Discard(Ended),
}

impl Deferred {
    /// What follows a completion.
    fn by(completed: Completed) -> Option<Deferred> {
        match completed {
            Completed::Wake(waker) => Some(Deferred::Wake(waker)),
            Completed::Discard(ended) => Some(Deferred::Discard(ended)),
            Completed::Noted | Completed::More | Completed::Unknown => None,
        }
    }
}

/// Takes a completion into the table.
fn complete(table: &mut Table, completion: Completion) -> Completed {
    let completed = table.complete(Key::of(completion.user_data), completion.outcome);
    if let Completed::Unknown = completed {
        tracing::error!(target: "ringloop", ?completion, "a completion for no operation");
    }
    completed
}

struct Core {
    /// None after the loop's end.
    ring: Option<Ring>,
    table: Table,
    timers: Timers,
}

/// Ring, table and timers of one loop.
pub(crate) struct Reactor {
    /// The loop's number in this process.
    number: u32,
    core: RefCell<Core>,
    /// What the turn has to wake and to drop.
    deferred: RefCell<VecDeque<Deferred>>,
    /// Where threads tell of the ends of their work for operations.
    mailbox: Mailbox,
    /// Threads for what the ring cannot do, made on first use. They are the crate's own: no job of a user's stands before
    /// one of the crate's.
    threads: OnceCell<ThreadPool>,
    /// The ring makes rare things happen.
    is_faulty: bool,
    /// The executor's step in which plain calls were counted last, and how many.
    calls: Cell<(u64, u32)>,
    /// The executor's step in which one was made that nobody has given way for.
    made: Cell<u64>,
    /// The last reading of the clock that may still serve.
    read: Cell<Option<Reading>>,
}

/// A reading of the clock.
#[derive(Clone, Copy)]
struct Reading {
    now: Instant,
    /// The executor's step in which it was made.
    step: u64,
    /// The kernel's tick at that time.
    tick: Duration,
}

impl Reactor {
    /// Takes the ring over for the loop of this mailbox.
    pub(crate) fn new(ring: Ring, mailbox: Mailbox) -> Rc<Reactor> {
        let number = mailbox.number();
        let is_faulty = ring.is_faulty();
        let timers = Timers::new(ring.now());
        let core = Core { ring: Some(ring), table: Table::default(), timers };
        let reactor = Rc::new(Reactor {
            number,
            core: RefCell::new(core),
            deferred: RefCell::default(),
            mailbox,
            threads: OnceCell::new(),
            is_faulty,
            calls: Cell::new((0, 0)),
            made: Cell::new(NO_STEP),
            read: Cell::new(None),
        });
        // Where the thread is ending the reactor is just not listed: futures then find no loop.
        let _ = REACTORS.try_with(|reactors| reactors.borrow_mut().push(reactor.clone()));
        reactor
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Whether the thread is inside of this reactor's loop.
    fn is_current(&self) -> bool {
        current_loop::number() == self.number
    }

    /// Whether it can be looked up: not after its end, nor where the thread's own storage is gone.
    pub(crate) fn is_listed(&self) -> bool {
        numbered(self.number).is_some()
    }

    /// Whether this is a forked child, which must leave the loop alone.
    pub(crate) fn is_child(&self) -> bool {
        self.core.borrow().ring.as_ref().is_some_and(Ring::is_elsewhere)
    }

    /// Whether a plain call may be made now, and counts it: tasks that never suspend must not starve the others.
    pub(crate) fn may_call(&self) -> bool {
        self.count_call() && !self.prefers_ring()
    }

    /// How an operation that has a plain call goes, and counts the call.
    pub(crate) fn admit(&self) -> Admission {
        if self.prefers_ring() {
            return Admission::Ring;
        }
        match self.count_call() {
            true => Admission::Call,
            false if self.made.replace(NO_STEP) == step_number() => Admission::GiveWay,
            false => Admission::Ring,
        }
    }

    /// Counts one more call of this step. False: there were enough.
    fn count_call(&self) -> bool {
        let step = step_number();
        let (counted, calls) = self.calls.get();
        let calls = if counted == step { calls + 1 } else { 1 };
        self.calls.set((step, calls));
        calls <= CALLS_PER_STEP
    }

    /// Who else goes to the kernel with the next enter.
    pub(crate) fn company(&self) -> Company {
        let queued = self.core.borrow().ring.as_ref().is_some_and(Ring::submits);
        if queued || is_another_ready() { Company::Others } else { Company::Alone }
    }

    /// A plain call was made, and this is what it has moved.
    pub(crate) fn made_call(&self, bytes: usize) {
        let (step, calls) = self.calls.get();
        self.calls.set((step, calls + (bytes / BYTES_PER_CALL) as u32));
        self.made.set(step);
    }

    /// Whether rare things are to happen to an operation, which can only happen in the ring.
    fn prefers_ring(&self) -> bool {
        self.is_faulty && self.core.borrow_mut().ring.as_mut().is_some_and(Ring::prefers_entries)
    }

    /// Puts the operation into the table and its entry into the queue. Without a waker it is detached: its `finish` runs
    /// when it ends. If the loop has ended, or was made before a fork, the operation is finished with that.
    pub(crate) fn submit<T>(&self, lent: Lent<T>, waker: Option<Waker>) -> Result<Key, T> {
        if let Some(refusal) = self.refusal() {
            return Err(lent.finish(refusal));
        }
        self.queue(lent, waker)
    }

    /// Why no operation may begin here, if so.
    #[inline]
    fn refusal(&self) -> Option<Outcome> {
        match &self.core.borrow().ring {
            None => Some(Outcome::CLOSED),
            Some(ring) => ring.is_elsewhere().then_some(Outcome::FORKED),
        }
    }

    /// Puts an operation into the table, and the entry of its next step into the queue or its job to a thread.
    fn queue<T>(&self, mut lent: Lent<T>, waker: Option<Waker>) -> Result<Key, T> {
        let (policy, methods) = (lent.prepare(), lent.methods());
        if let Some(job) = lent.job() {
            let handed = self.hand_over(lent.lend(), job, policy, waker);
            return handed.map_err(|(payload, refusal)| payload.reclaim(methods).finish(refusal));
        }
        let mut entry = lent.entry();
        let queued = self.queue_raw(lent.lend(), &mut entry, policy, waker);
        queued.map_err(|payload| payload.reclaim(methods).finish(Outcome::CLOSED))
    }

    /// The same, whatever its output is.
    fn queue_raw(
        &self,
        payload: Raw,
        entry: &mut Entry,
        policy: Policy,
        waker: Option<Waker>,
    ) -> Result<Key, Raw> {
        let mut core = self.core.borrow_mut();
        let Core { ring: Some(ring), table, .. } = &mut *core else { return Err(payload) };
        let key = table.insert(payload, descriptor(entry), policy, waker);
        let place = op::queue(ring, entry, key);
        table.placed(key, place);
        Ok(key)
    }

    /// Puts the operation into the table and gives its job to a thread.
    #[cold]
    fn hand_over(
        &self,
        payload: Raw,
        job: Job,
        policy: Policy,
        waker: Option<Waker>,
    ) -> Result<Key, (Raw, Outcome)> {
        let mut core = self.core.borrow_mut();
        let key = core.table.insert(payload, NO_DESCRIPTOR, policy, waker);
        core.table.given_to_thread(key);
        drop(core);
        let end = JobEnd { mailbox: self.mailbox, key };
        let job = Box::new(move || {
            // Tells of the end after the job is gone, with what it was given.
            let _end = end;
            job();
        });
        let threads = self.threads.get_or_init(|| ThreadPool::for_operations("ringloop-io"));
        let Err(refused) = threads.submit(job) else { return Ok(key) };
        let payload = self.core.borrow_mut().table.retracted(key);
        drop(refused.job);
        let refusal = if threads.is_shut_down() { Outcome::CLOSED } else { Outcome::NO_THREAD };
        Err((payload, refusal))
    }

    /// The threads of this loop's operations, if there are any.
    pub(crate) fn threads(&self) -> Option<&ThreadPool> {
        self.threads.get()
    }

    /// A thread has told that its work for the operation of this key has ended.
    pub(crate) fn job_ended(&self, key: u64) {
        self.end_job(Key::of(key), Outcome { result: 0, flags: 0 });
    }

    fn end_job(&self, key: Key, outcome: Outcome) {
        let completed = self.core.borrow_mut().table.job_ended(key, outcome);
        self.deferred.borrow_mut().extend(Deferred::by(completed));
        self.run_deferred();
    }

    /// An operation has completed with nobody listening: it goes on, or is finished and its output dropped.
    fn proceed(&self, ended: Ended) {
        let name = ended.name();
        let proceed = || {
            let Some(mut payload) = ended.proceed() else { return };
            let policy = payload.prepare();
            if let Some(job) = payload.job() {
                if let Err((payload, refusal)) = self.hand_over(payload, job, policy, None) {
                    payload.discard(refusal);
                }
                return;
            }
            let mut entry = payload.entry();
            if let Err(payload) = self.queue_raw(payload, &mut entry, policy, None) {
                payload.discard(Outcome::CLOSED);
            }
        };
        if catch_unwind(AssertUnwindSafe(proceed)).is_err() {
            tracing::error!(target: "ringloop", operation = name, "a dropped result panicked");
        }
    }

    /// Gives back the buffers that events have picked which nobody will see.
    fn give_back(&self, unheard: Vec<Outcome>) {
        for id in unheard.into_iter().filter_map(Outcome::buffer_id) {
            if let Some(buffers) = self.buffers() {
                drop(buffers.take(id, 0));
            }
        }
    }

    /// Starts an operation that nobody waits for: its `finish` runs when it ends.
    pub(crate) fn detach(&self, operation: impl Operation<Output = ()>) {
        // Refused, it was finished with the reason, and that was all.
        let _ = self.submit(Lent::new(operation), None);
    }

    /// The future of an operation asks.
    ///
    /// # Panics
    /// If it waits on another loop than the one that runs: nothing would ever wake it.
    fn poll(&self, key: Key, waker: &Waker) -> Polled {
        let polled = self.core.borrow_mut().table.poll(key, waker);
        if let Polled::NeedsWaker = polled {
            assert!(
                self.is_current(),
                "an operation that was begun on one event loop is awaited on another: await it where it was begun"
            );
            let waker = waker.clone();
            let before = self.core.borrow_mut().table.set_waker(key, waker);
            drop(before);
        }
        polled
    }

    /// The future of an operation was dropped.
    fn abandon(&self, key: Key) {
        if self.is_child() {
            return;
        }
        let mut core = self.core.borrow_mut();
        let Core { ring, table, .. } = &mut *core;
        let mut abandoned = table.abandon(key);
        if let Abandoned::Retract(ticket, waker) = abandoned {
            if ring.as_mut().is_some_and(|ring| ring.retract(ticket)) {
                let unused = table.retracted(key);
                drop(core);
                drop(waker);
                return unused.discard(Outcome::NOT_BEGUN);
            }
            table.submitted(key);
            abandoned = match table.abandon(key) {
                Abandoned::Cancel(_) => Abandoned::Cancel(waker),
                _ => Abandoned::Leave(waker),
            };
        }
        if let (Abandoned::Cancel(_), Some(ring)) = (&abandoned, ring) {
            op::cancel(ring, key);
        }
        let unheard = table.take_unheard();
        drop(core);
        self.give_back(unheard);
        match abandoned {
            Abandoned::Discard(ended) => self.proceed(ended),
            abandoned => drop(abandoned),
        }
    }

    /// Enters the kernel without waiting until it has taken all that is queued, and drops those of the abandoned
    /// operations `keys` that end by that. Others' ends are taken in as well, but what follows them is left to the
    /// next turn: this is called from inside of a drop, where no other user code may run.
    fn end_now(&self, keys: &[Key]) {
        if self.is_child() {
            return;
        }
        let mut ended = Vec::with_capacity(keys.len());
        for _ in 0..ENTERS_TO_END {
            let mut core = self.core.borrow_mut();
            let Core { ring: Some(ring), table, .. } = &mut *core else { return };
            if let Err(error) = ring.enter(None) {
                // The next turn meets it again, and tells.
                tracing::debug!(target: "ringloop", %error, "operations were not ended at once");
                return;
            }
            let mut deferred = self.deferred.borrow_mut();
            ring.reap(|completion| {
                let key = Key::of(completion.user_data);
                let next = Deferred::by(complete(table, completion));
                match keys.contains(&key) {
                    true => ended.extend(next),
                    false => deferred.extend(next),
                }
            });
            let settled = keys.iter().all(|&key| !table.has(key)) || !ring.should_enter();
            drop(deferred);
            drop(core);
            ended.drain(..).for_each(|next| self.run(next));
            if settled {
                return;
            }
        }
    }

    /// Asks the kernel to cancel an operation whose future goes on listening.
    fn request_cancel(&self, key: Key, why: Why) {
        let mut core = self.core.borrow_mut();
        let Core { ring: Some(ring), table, .. } = &mut *core else { return };
        match table.request_cancel(key, why) {
            Request::Ask => op::cancel(ring, key),
            Request::Ended(Completed::Wake(waker)) => {
                drop(core);
                wake(waker);
            }
            Request::Ended(_) | Request::Late => {}
        }
    }

    /// The loop's time.
    pub(crate) fn now(&self) -> Instant {
        let now = self.core.borrow().ring.as_ref().map_or_else(clock::now, Ring::now);
        self.read.set(Some(Reading { now, step: step_number(), tick: clock::last_tick() }));
        now
    }

    /// The time when `duration` will have passed; about a century off, if no clock can say it.
    pub(crate) fn after(&self, duration: Duration) -> Instant {
        later(self.now(), duration)
    }

    /// A time by which a timer is due, if there is one. It reads the clock unless that was read within the last [`STALE`]
    /// polls and since the last tick: a reading costs more than a turn of a few tasks, and an old one makes no timer early.
    pub(crate) fn due(&self) -> Option<Instant> {
        let next = self.next_timer()?;
        let now = self.recent().unwrap_or_else(|| self.now());
        (next <= now).then_some(now)
    }

    fn recent(&self) -> Option<Instant> {
        let Reading { now, step, tick } = self.read.get()?;
        (step_number() - step < STALE && tick == clock::last_tick()).then_some(now)
    }

    /// Whether a turn that does not sleep has anything to do here: enter, reap, or see which timers are due.
    #[inline(always)]
    pub(crate) fn has_work(&self) -> bool {
        let core = self.core.borrow();
        core.ring.as_ref().is_some_and(Ring::has_work)
            || !self.deferred.borrow().is_empty()
            || core.timers.next().is_some_and(|next| self.recent().is_none_or(|now| next <= now))
    }

    pub(crate) fn add_timer(&self, at: Instant, waker: Waker) -> TimerKey {
        self.core.borrow_mut().timers.insert(at, waker)
    }

    /// Renews the waker of a timer. False: it has fired.
    pub(crate) fn keep_timer(&self, key: TimerKey, waker: &Waker) -> bool {
        let same = self.core.borrow().timers.will_wake(key, waker);
        if same == Some(false) {
            let waker = waker.clone();
            let before = self.core.borrow_mut().timers.set_waker(key, waker);
            drop(before);
        }
        same.is_some()
    }

    pub(crate) fn remove_timer(&self, key: TimerKey) {
        let waker = self.core.borrow_mut().timers.remove(key);
        drop(waker);
    }

    /// When the first timer is due.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        self.core.borrow().timers.next()
    }

    /// The loop's buffer ring; None where there is none to be had.
    pub(crate) fn buffers(&self) -> Option<Rc<Buffers>> {
        self.core.borrow_mut().ring.as_mut()?.buffers()
    }

    /// A buffer that the loop's ring keeps ready, if it can.
    pub(crate) fn registered_buffer(&self, len: usize) -> Result<RegisteredBuf, Errno> {
        match &self.core.borrow().ring {
            Some(ring) => ring.registered_buffer(len),
            None => Err(Errno::ENXIO),
        }
    }

    /// What the kernel offers; None after the loop's end.
    pub(crate) fn features(&self) -> Option<Features> {
        self.core.borrow().ring.as_ref().map(|ring| ring.features().clone())
    }

    /// What ends the ring's sleep from any thread; None after the loop's end.
    pub(crate) fn notifier(&self) -> Option<Notifier> {
        self.core.borrow().ring.as_ref().map(Ring::notifier)
    }

    pub(crate) fn supports(&self, opcode: u8) -> bool {
        self.core.borrow().ring.as_ref().is_some_and(|ring| ring.supports(opcode))
    }

    /// Whether an accept may be told to wait before it tries.
    pub(crate) fn accepts_wait(&self) -> bool {
        self.core.borrow().ring.as_ref().is_some_and(|ring| ring.features().accepts_wait())
    }

    /// Whether an enter would do something: entries wait, or the kernel has work for us.
    pub(crate) fn should_enter(&self) -> bool {
        self.core.borrow().ring.as_ref().is_some_and(Ring::should_enter)
    }

    /// Whether completions lie ready, in memory.
    pub(crate) fn has_completions(&self) -> bool {
        let core = self.core.borrow();
        core.ring.as_ref().is_some_and(Ring::has_completions) || !self.deferred.borrow().is_empty()
    }

    /// Enters the kernel once; see [`Ring::enter`].
    pub(crate) fn enter_kernel(&self, wait: Option<Duration>) -> io::Result<()> {
        self.read.set(None);
        match &mut self.core.borrow_mut().ring {
            Some(ring) => ring.enter(wait),
            None => Ok(()),
        }
    }

    pub(crate) fn advance_clock(&self, by: Duration) {
        self.read.set(None);
        if let Some(ring) = &mut self.core.borrow_mut().ring {
            ring.advance_clock(by);
        }
    }

    /// Whether the kernel works on something whose end can be waited for.
    pub(crate) fn is_busy(&self) -> bool {
        self.core.borrow().table.under_way() > 0
    }

    /// Takes in what the kernel has completed and, if `now` is given, the timers due by then; wakes and drops what follows.
    pub(crate) fn collect(&self, now: Option<Instant>) {
        let mut core = self.core.borrow_mut();
        let Core { ring, table, timers } = &mut *core;
        let mut deferred = self.deferred.borrow_mut();
        if let Some(ring) = ring {
            ring.reap(|completion| {
                deferred.extend(Deferred::by(complete(table, completion)));
            });
        }
        while let Some(waker) = now.and_then(|now| timers.due(now)) {
            deferred.push_back(Deferred::Wake(waker));
        }
        let unheard = table.take_unheard();
        drop(deferred);
        drop(core);
        self.give_back(unheard);
        self.run_deferred();
    }

    fn run_deferred(&self) {
        let hidden = Hidden::new();
        loop {
            let next = self.deferred.borrow_mut().pop_front();
            match next {
                Some(next) => self.run(next),
                None => break,
            }
        }
        drop(hidden);
    }

    fn run(&self, next: Deferred) {
        match next {
            Deferred::Wake(waker) => wake(waker),
            Deferred::Discard(ended) => self.proceed(ended),
        }
    }

    pub(crate) fn figures(&self) -> Figures {
        let core = self.core.borrow();
        Figures {
            operations: core.table.unfinished(),
            timers: core.timers.len(),
            ledger: core.table.ledger,
            ring: core.ring.as_ref().map(Ring::counters).unwrap_or_default(),
        }
    }

    /// Notes that a task waits for this operation, of this name.
    fn note_wait(&self, name: &'static str, key: Key) {
        waits_for(|| Waiting::Operation { name, descriptor: self.core.borrow_mut().table.descriptor(key) });
    }

    /// Name, descriptor and state of the operations in the table.
    pub(crate) fn operations(&self) -> Vec<(&'static str, Option<i32>, &'static str)> {
        self.core.borrow().table.names().collect()
    }

    /// Ends the reactor: cancels what may wait without end, and waits up to `limit` for the kernel to give back all it
    /// holds. Returns what it did not give back in time, by name and descriptor: its memory is leaked, with the buffers (**K3**).
    pub(crate) fn close(self: &Rc<Self>, limit: Duration) -> Vec<(&'static str, Option<i32>)> {
        let _ =
            REACTORS.try_with(|reactors| reactors.borrow_mut().retain(|listed| !Rc::ptr_eq(listed, self)));
        current_loop::remove(Layer::Reactor, &**self);
        let timers = self.core.borrow_mut().timers.take_all();
        drop(timers);
        if self.is_child() {
            // Not ours: neither the ring's memory nor its descriptor may be touched.
            let ring = self.core.borrow_mut().ring.take();
            drop(ring);
            return Vec::new();
        }
        let start = clock::now();
        loop {
            let with_kernel = self.core.borrow().table.with_kernel();
            let left = limit.saturating_sub(start.elapsed());
            if with_kernel == 0 || left.is_zero() {
                break;
            }
            let keys = self.core.borrow().table.keys_with_kernel();
            for key in keys {
                self.cancel_at_end(key);
            }
            // A slice, because a cancel may come too early for an operation that starts late.
            if let Err(error) = self.enter_kernel(Some(left.min(Duration::from_millis(50)))) {
                tracing::error!(target: "ringloop", %error, "the ring broke while it was drained");
                break;
            }
            self.collect(None);
        }
        // What a thread still does is of no interest to the loop any more.
        let left = self.core.borrow().table.keys_with_threads();
        left.into_iter().for_each(|key| self.end_job(key, Outcome::CLOSED));
        let mut core = self.core.borrow_mut();
        // What this hands out is leaked by its drop.
        let leaked = core.table.leak();
        let leaked = leaked.iter().map(|(payload, descriptor)| (payload.common.name, *descriptor)).collect();
        let ring = core.ring.take();
        drop(core);
        // A ring that is not clean closes, and leaks what the kernel may still write to.
        if let Some(ring) = ring {
            ring.park();
        }
        leaked
    }

    /// At the loop's end everything is cancelled but block I/O, which ends by itself.
    fn cancel_at_end(&self, key: Key) {
        let mut core = self.core.borrow_mut();
        let Core { ring: Some(ring), table, .. } = &mut *core else { return };
        if table.cancel_at_end(key) {
            op::cancel(ring, key);
        }
    }
}

/// What the reactor can tell of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Operations that the kernel may hold.
    pub(crate) operations: usize,
    pub(crate) timers: usize,
    pub(crate) ledger: Ledger,
    pub(crate) ring: Counters,
}
