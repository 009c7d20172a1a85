//! `Op<T>`: the future of one operation.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::{Admission, Reactor, TimerKey, expect_current};
use crate::executor::{Listed, give_way, take_offer};
use crate::op::{Lent, Methods, Next, Operation, Polled, Why};

/// The future of one kernel operation. It does nothing until it is polled; it is `'static`, because it owns what it needs
/// (descriptor, path, buffer), so it can be spawned, gathered and timed.
///
/// # Cancellation
/// Dropping it is always sound: the kernel keeps what it was lent until the operation has really ended, and a result that
/// comes late (a descriptor, say) is released. What happened to the operation is then unknown. To know, and to get an
/// owned buffer back, use [`timeout`](Self::timeout) or [`cancellable`](Self::cancellable) instead of a drop.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let length = ringloop::run(async { ringloop::fs::read("/proc/self/status").await.map(|text| text.len()) })??;
/// assert!(length > 0);
/// # Ok(()) }
/// ```
#[must_use = "operations do nothing unless awaited"]
pub struct Op<T: 'static> {
    state: State<T>,
    /// What `timeout` and `cancellable` ask for; most operations are never told, and every socket has one in flight.
    control: Option<Box<Control>>,
}

enum State<T: 'static> {
    Here(Here<T>),
    /// In the table of this reactor.
    Submitted {
        reactor: Rc<Reactor>,
        key: crate::op::Key,
        methods: &'static Methods<T>,
    },
}

/// What the future holds itself.
enum Here<T: 'static> {
    /// Not polled yet, or between two steps.
    Idle(Lent<T>),
    /// The output, of what was refused before it began. None: it was given out. In a box, so that no `Op` is larger for it.
    Ready(Option<Box<T>>),
}

impl<T> State<T> {
    /// The output was given out, or the operation is on its way to its next step.
    const EMPTY: Self = State::Here(Here::Ready(None));
}

const _: () = assert!(size_of::<Op<()>>() == 4 * size_of::<usize>(), "each socket has one in flight");

/// When the kernel is to be asked for a cancel while the future goes on listening.
#[derive(Default)]
struct Control {
    /// Takes a cancel offer, and goes on until the kernel has answered.
    cancellable: bool,
    /// Asks for a cancel this long after the first poll that found it pending.
    limit: Limit,
    /// The place in the task's list of handlers, if this takes offers below another waker.
    listed: Listed,
}

#[derive(Default)]
enum Limit {
    #[default]
    None,
    /// Not yet started.
    After(Duration),
    /// The timer runs.
    Running(Rc<Reactor>, TimerKey),
    /// It has fired: the cancel is under way.
    Over,
}

impl<T> Unpin for Op<T> {}

impl<T> Op<T> {
    /// The future of this operation.
    #[inline(always)]
    pub(crate) fn new(operation: impl Operation<Output = T>) -> Self {
        Op { state: State::Here(Here::Idle(Lent::new(operation))), control: None }
    }

    /// One that has ended before it could begin: its arguments make no sense to the kernel.
    pub(crate) fn ready(output: T) -> Self {
        Op { state: State::Here(Here::Ready(Some(Box::new(output)))), control: None }
    }

    /// Answers a cancel request of the task itself instead of being dropped by it: the operation is cancelled in the
    /// kernel, and the output says what really happened; if nothing did, an error of [`Cancelled`](crate::Cancelled), with
    /// the buffer. The surrounding code goes on and decides what that means (see [`resume_cancel`](crate::resume_cancel)).
    pub fn cancellable(mut self) -> Self {
        self.control.get_or_insert_default().cancellable = true;
        self
    }

    /// Cancels the operation in the kernel when it has not ended `limit` after its start, waits for the kernel's answer
    /// and gives the output: what really happened, or an error of kind `TimedOut`, with the buffer.
    ///
    /// An operation that the kernel has begun and cannot interrupt (block I/O) is waited for.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.control.get_or_insert_default().limit = Limit::After(limit);
        self
    }

    /// Whether the kernel has it, or has had it.
    pub(crate) fn is_submitted(&self) -> bool {
        matches!(self.state, State::Submitted { .. })
    }

    /// Puts an operation into the current loop's table, or leaves it idle for a turn if it has not begun: what has begun is never
    /// without a place in which it can go on by itself. Some: it ended at once. What the state was is forgotten.
    fn submit(&mut self, mut lent: Lent<T>, mut has_begun: bool, cx: &mut Context<'_>) -> Option<T> {
        let reactor = expect_current(lent.name());
        if let Some(refusal) = reactor.refusal() {
            return Some(lent.finish(refusal));
        }
        let methods = lent.methods();
        let queued = loop {
            let company = match lent.has_call().then(|| reactor.admit()) {
                Some(Admission::Call) => Some(reactor.company()),
                // One that takes offers must take them from now on.
                Some(Admission::GiveWay) if self.control.is_none() && !has_begun => {
                    self.state = State::Here(Here::Idle(lent));
                    give_way(cx);
                    return None;
                }
                _ => None,
            };
            let Some(outcome) = company.and_then(|company| lent.call(company)) else {
                break reactor.queue(lent, Some(cx.waker().clone()));
            };
            // What is no count of bytes is a descriptor: a small number.
            reactor.made_call(outcome.result.max(0) as usize);
            if let Next::Finish = lent.advance(outcome) {
                return Some(lent.finish(outcome));
            }
            has_begun = true;
        };
        match queued {
            Ok(key) => self.state = State::Submitted { reactor, key, methods },
            Err(output) => return Some(output),
        }
        None
    }

    /// Looks after deadline and offer of an operation that is pending.
    #[inline]
    fn pending(&mut self, cx: &mut Context<'_>) {
        let State::Submitted { reactor, key, methods } = &self.state else { return };
        reactor.note_wait(methods.name(), *key);
        if let Some(control) = &mut self.control {
            control.pending(reactor, *key, cx);
        }
    }

    /// The operation has ended: no timer, no place in a list, no key.
    fn release(&mut self) {
        self.state = State::EMPTY;
        if self.control.is_some() {
            self.control = None;
        }
    }
}

impl Control {
    /// Starts the limit's timer and asks whether it is over; takes an offer.
    fn pending(&mut self, reactor: &Rc<Reactor>, key: crate::op::Key, cx: &mut Context<'_>) {
        match &self.limit {
            Limit::After(limit) => {
                // A limit beyond what the clock can say is none.
                if let Some(at) = reactor.now().checked_add(*limit) {
                    self.limit = Limit::Running(reactor.clone(), reactor.add_timer(at, cx.waker().clone()));
                }
            }
            Limit::Running(_, timer) if !reactor.keep_timer(*timer, cx.waker()) => {
                self.limit = Limit::Over;
                reactor.request_cancel(key, Why::Elapsed);
            }
            _ => {}
        }
        if self.cancellable {
            if take_offer() {
                reactor.request_cancel(key, Why::Cancelled);
            }
            self.listed.pending(cx);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Limit::Running(reactor, timer) = &self.limit {
            reactor.remove_timer(*timer);
        }
    }
}

impl<T> Future for Op<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let (reactor, key, methods) = match &mut self.state {
            State::Submitted { reactor, key, methods } => (reactor, key, methods),
            State::Here(here) => {
                let lent = match std::mem::replace(here, Here::Ready(None)) {
                    Here::Idle(lent) => lent,
                    Here::Ready(Some(output)) => return Poll::Ready(*output),
                    Here::Ready(None) => panic!("an operation was polled after it had ended"),
                };
                // What was queued just now cannot have ended: nobody has entered the kernel.
                return match self.submit(lent, false, cx) {
                    Some(output) => Poll::Ready(output),
                    None => {
                        self.pending(cx);
                        Poll::Pending
                    }
                };
            }
        };
        let (mut lent, outcome, why) = match reactor.poll(*key, cx.waker()) {
            Polled::Ready(payload, outcome, why) => (payload.reclaim(methods), outcome, why),
            Polled::Gone => panic!(
                "{} did not end within the drain limit of its loop, and its memory was leaked with the loop's end; \
                 raise `Builder::drain_timeout`",
                std::any::type_name::<Self>()
            ),
            _ => {
                self.pending(cx);
                return Poll::Pending;
            }
        };
        let again = matches!(lent.advance(outcome), Next::Again);
        // Another loop has other buffers: what this one has begun ends with it.
        let why = why.or_else(|| (again && !reactor.is_current()).then_some(Why::Ended));
        if again && why.is_none() {
            self.state = State::EMPTY;
            if let Some(output) = self.submit(lent, true, cx) {
                self.release();
                return Poll::Ready(output);
            }
            self.pending(cx);
            return Poll::Pending;
        }
        self.release();
        let last = match why {
            // The cancel came between two steps: it ends what was not begun.
            Some(why) if again => why.outcome(),
            Some(why) => why.explains(outcome),
            None => outcome,
        };
        Poll::Ready(lent.finish(last))
    }
}

/// Drops operations of one loop and has them end before this returns, as far as the kernel can end them without waiting: what they
/// hold is closed then. It costs an enter, if one of them is with the kernel.
pub(crate) fn end_now<T>(operations: Vec<Op<T>>) {
    let mut reactor = None;
    let submitted = operations.iter().filter_map(|operation| match &operation.state {
        State::Submitted { reactor: own, key, .. } => {
            reactor = Some(own.clone());
            Some(*key)
        }
        State::Here(_) => None,
    });
    let keys: Vec<_> = submitted.collect();
    drop(operations);
    if let Some(reactor) = reactor {
        reactor.end_now(&keys);
    }
}

impl<T> Drop for Op<T> {
    fn drop(&mut self) {
        // Only what was submitted has a timer or a place in a list.
        if let State::Submitted { reactor, key, .. } = &self.state {
            let (reactor, key) = (reactor.clone(), *key);
            self.release();
            reactor.abandon(key);
        }
    }
}
