//! A timeout whose deadline its own inside can move: asyncio's `async with timeout(..) as scope`.
//!
//! The scope of `timeout.rs`, with its state shared: the inside has a [`Deadline`], and so may whomever it gives a clone to.
//! A move from outside of the scope's poll wakes the scope, which then starts the new timer.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::task::Context;
use std::time::{Duration, Instant};

use super::timeout::{Limit, When, scope};
use crate::error::Elapsed;
use crate::executor::Awaiter;
use crate::time::now;

/// Runs `body`, at most for `limit`, counted from the first poll; `None` means without a limit at first. What `body` is given
/// tells the deadline and moves it.
///
/// Otherwise as [`timeout`](crate::timeout): the same clean-up at the limit, and a value completed in time wins. A limit of zero
/// lets `body` run up to its first await that suspends, and move the deadline there.
///
/// # Errors
/// [`Elapsed`], which converts into an `io::Error` of kind `TimedOut`.
///
/// # Cancellation
/// A request from outside passes through to `body`. Dropped, it drops `body`.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let patience = Duration::from_millis(20);
///     // Any number of pieces, as long as none takes too long.
///     let pieces = ringloop::timeout_scope(patience, async |deadline| {
///         for piece in 0..5 {
///             ringloop::sleep(Duration::from_millis(5)).await;
///             deadline.reschedule_after(patience)?;
///         }
///         Ok::<_, ringloop::Elapsed>(5)
///     });
///     assert_eq!(pieces.await, Ok(Ok(5)));
/// })
/// # }
/// ```
pub async fn timeout_scope<T>(
    limit: impl Into<Option<Duration>>,
    body: impl AsyncFnOnce(Deadline) -> T,
) -> Result<T, Elapsed> {
    let at = limit.into().and_then(|limit| now().checked_add(limit));
    let deadline = Deadline(Rc::new(Shared {
        when: RefCell::new(at.map_or(When::Never, When::First)),
        at: Cell::new(at),
        over: Cell::new(false),
        awaiter: Awaiter::new(),
    }));
    scope(Scope(deadline.clone()), body(deadline)).await
}

/// The deadline of a [`timeout_scope`]. Cheap to clone; it may leave the scope, for another task to move.
#[derive(Clone)]
pub struct Deadline(Rc<Shared>);

struct Shared {
    when: RefCell<When>,
    /// The deadline, also when it has passed.
    at: Cell<Option<Instant>>,
    /// The scope has ended.
    over: Cell<bool>,
    /// Woken when the deadline is moved while nobody polls the scope.
    awaiter: Awaiter,
}

impl Deadline {
    /// The time at which the scope ends its inside; None: never.
    pub fn when(&self) -> Option<Instant> {
        self.0.at.get()
    }

    /// Moves the deadline; `None` takes it away. A time that has passed ends the inside at its next await that suspends.
    ///
    /// # Errors
    /// It is too late: the deadline [has passed](Self::expired), or the scope has ended. The deadline stays.
    pub fn reschedule(&self, deadline: impl Into<Option<Instant>>) -> Result<(), Elapsed> {
        let shared = &self.0;
        if shared.over.get() || self.expired() {
            return Err(Elapsed);
        }
        let at = deadline.into();
        let before = shared.when.replace(at.map_or(When::Never, When::At));
        drop(before);
        shared.at.set(at);
        shared.awaiter.wake();
        Ok(())
    }

    /// Moves the deadline to the time when `delay` has passed, counted from now. A delay that no clock can say takes it away.
    ///
    /// # Errors
    /// As [`reschedule`](Self::reschedule).
    pub fn reschedule_after(&self, delay: Duration) -> Result<(), Elapsed> {
        self.reschedule(now().checked_add(delay))
    }

    /// Whether the scope has found the deadline passed and asked its inside to end. True from the clean-up on, also if the
    /// inside gives a value all the same.
    pub fn expired(&self) -> bool {
        self.0.when.borrow().has_passed()
    }
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self {
            _ if self.expired() => "expired",
            _ if self.0.over.get() => "over",
            _ => "active",
        };
        f.debug_struct("Deadline").field("when", &self.when()).field("state", &state).finish()
    }
}

/// The scope's end of a deadline: with it goes the timer.
struct Scope(Deadline);

impl Limit for Scope {
    fn with<R>(&mut self, look: impl FnOnce(&mut When) -> R) -> R {
        look(&mut self.0.0.when.borrow_mut())
    }

    fn polled(&mut self) {
        // What the inside itself moves is seen at the end of this very poll.
        self.0.0.awaiter.forget();
    }

    fn pending(&mut self, cx: &Context<'_>) {
        self.0.0.awaiter.watch(cx);
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        let shared = &self.0.0;
        shared.over.set(true);
        if !self.0.expired() {
            drop(shared.when.replace(When::Never));
        }
        shared.awaiter.forget();
    }
}
