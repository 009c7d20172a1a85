//! Waiting with a limit: a scope that makes the cancel offer to its own inside only.
//!
//! The inside is polled in any case, so code before its first await runs even under a limit of zero. When the deadline has
//! passed it is polled under the scope's own offer: nobody takes it, the inside is dropped and the scope gives `Elapsed`;
//! a handler takes it, the scope waits for it to end: what it returns is the scope's value, what it resumes is `Elapsed`.
//! A request from outside has priority and passes through. No request is ever counted.

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::error::Elapsed;
use crate::executor::{Hidden, Listed, Offer, current_task, give_way, offer, set_offer};
use crate::time::{Sleep, now, sleep, sleep_until};
use crate::waiting::{said, take_back};

/// Runs `future`, at most for `limit`; `None` means without a limit. The limit counts from the first await that suspends.
///
/// At the limit a plain future is dropped, and [`catch_cancel`](crate::catch_cancel) inside may clean up before the limit is
/// reported. A value completed in time wins, and so does one that an inside gives although it was asked to end.
///
/// A [`Task`](crate::Task) inside is cancelled and waited for. How it ended is such a value: with a task for a future the limit
/// gives `Ok(Err(error))`, where `error.is_cancelled()`, and not [`Elapsed`]. [`wait_for`](crate::wait_for) tells the limit from
/// other ends; `task.shield()` leaves the task alone and gives [`Elapsed`].
///
/// # Errors
/// [`Elapsed`], which converts into an `io::Error` of kind `TimedOut`.
///
/// # Cancellation
/// A request from outside passes through to `future`. Dropped, it drops `future`.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let slow = ringloop::sleep(Duration::from_secs(5));
///     assert!(ringloop::timeout(Duration::from_millis(10), slow).await.is_err());
///
///     let task = ringloop::create_task(ringloop::sleep(Duration::from_secs(5)));
///     let ended = ringloop::timeout(Duration::from_millis(10), task).await;
///     assert!(matches!(ended, Ok(Err(error)) if error.is_cancelled()));
/// })
/// # }
/// ```
pub async fn timeout<F: IntoFuture>(
    limit: impl Into<Option<Duration>>,
    future: F,
) -> Result<F::Output, Elapsed> {
    scope(limit.into().map_or(When::Never, When::After), future.into_future()).await
}

/// Runs `future`, at most until `deadline`; see [`timeout`].
///
/// # Errors
/// [`Elapsed`].
///
/// # Cancellation
/// As [`timeout`].
pub async fn timeout_at<F: IntoFuture>(
    deadline: impl Into<Option<Instant>>,
    future: F,
) -> Result<F::Output, Elapsed> {
    scope(deadline.into().map_or(When::Never, When::At), future.into_future()).await
}

/// The state of a scope's deadline.
pub(super) enum When {
    /// There is none.
    Never,
    /// Known, and not looked at before the first poll of the inside, which may move it.
    First(Instant),
    /// The clock starts at the first pending poll.
    After(Duration),
    /// Known, and no timer yet.
    At(Instant),
    /// The timer runs.
    Waiting(Sleep),
    /// It has passed; the offer to make next, a blocked one again.
    Due(Offer),
    /// A handler inside took the offer.
    Offered,
}

impl When {
    /// Whether the deadline was found to have passed.
    pub(super) fn has_passed(&self) -> bool {
        matches!(self, When::Due(_) | When::Offered)
    }

    /// The offer to make, if the deadline has passed; keeps a running timer otherwise.
    fn passed(&mut self, cx: &mut Context<'_>) -> Option<Offer> {
        let over = match self {
            When::Due(offer) => return Some(*offer),
            When::After(limit) => limit.is_zero(),
            When::At(deadline) => *deadline <= now(),
            When::Waiting(sleep) => Pin::new(sleep).poll(cx).is_ready(),
            When::Never | When::First(_) | When::Offered => false,
        };
        over.then(|| {
            *self = When::Due(Offer::Raised);
            Offer::Raised
        })
    }

    /// Starts the clock and the timer, now that the inside is pending.
    fn start(&mut self, cx: &mut Context<'_>) {
        *self = When::Waiting(match self {
            When::After(limit) => sleep(*limit),
            When::First(deadline) | When::At(deadline) => sleep_until(*deadline),
            _ => return,
        });
        if self.passed(cx).is_some() {
            // The poll of the inside took that long: the offer is made in the next.
            cx.waker().wake_by_ref();
        }
    }
}

/// Where a scope has the state of its deadline: to itself, or shared with who may move it.
pub(super) trait Limit {
    /// Looks at the state, or changes it.
    fn with<R>(&mut self, look: impl FnOnce(&mut When) -> R) -> R;

    /// A poll of the scope begins.
    fn polled(&mut self) {}

    /// It ends, and the scope waits.
    fn pending(&mut self, _cx: &Context<'_>) {}
}

impl Limit for When {
    fn with<R>(&mut self, look: impl FnOnce(&mut When) -> R) -> R {
        look(self)
    }
}

/// Runs `future` until that has ended or the deadline is over.
///
/// A limit that is over before the scope has waited gives way for a turn: a loop that asks again and again for what is
/// there "now" must not keep the others from putting it there.
pub(super) async fn scope<F: Future>(mut limit: impl Limit, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(Some(future));
    let mut listed = Listed::default();
    // A handler inside took an offer from outside: what it resumes goes there.
    let mut passed_on = false;
    let (mut waited, mut elapsed_at_once) = (false, false);
    std::future::poll_fn(move |cx| {
        if elapsed_at_once {
            return Poll::Ready(Err(Elapsed));
        }
        let (outer, before) = (offer(), said());
        limit.polled();
        // A request from outside has priority.
        let made = limit.with(|when| when.passed(cx)).filter(|_| !outer.is_raised());
        if let Some(made) = made {
            set_offer(made);
            if let Some(task) = current_task() {
                task.wake_handlers();
            }
        }
        let inside = future.as_mut().as_pin_mut().expect("an async fn is not polled after its end");
        let polled = inside.poll(cx);
        let left = if made.is_some() { set_offer(outer) } else { offer() };
        if let Poll::Ready(value) = polled {
            return Poll::Ready(Ok(value));
        }
        let elapsed = limit.with(|when| match (made, left) {
            (Some(_), Offer::Raised | Offer::Again) => true,
            (Some(_), Offer::None) => {
                *when = When::Offered;
                false
            }
            // A section inside must not be interrupted: again when it has ended.
            (Some(_), Offer::Blocked) => {
                *when = When::Due(Offer::Again);
                false
            }
            (None, left) => {
                passed_on |= outer.is_raised() && left == Offer::None;
                if matches!(when, When::Due(_)) && !left.is_raised() {
                    // The request from outside was taken inside: our own offer comes next.
                    cx.waker().wake_by_ref();
                }
                left.is_raised() && !outer.is_raised() && matches!(when, When::Offered) && !passed_on
            }
        });
        if elapsed {
            set_offer(outer);
            let _hidden = Hidden::new();
            future.set(None);
            take_back(before);
            if waited {
                return Poll::Ready(Err(Elapsed));
            }
            elapsed_at_once = true;
            give_way(cx);
            return Poll::Pending;
        }
        limit.with(|when| when.start(cx));
        limit.pending(cx);
        listed.pending(cx);
        waited = true;
        Poll::Pending
    })
    .await
}
