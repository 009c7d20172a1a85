//! Waiting with a limit: a scope that makes the cancel offer to its own inside only.
//!
//! The inside is polled first, so code before its first await runs even under a limit of zero. At the deadline the scope
//! raises the offer and polls the inside once more: nobody takes it, the inside is dropped and the scope gives `Elapsed`;
//! a handler takes it, the scope waits for it to end: what it returns is the scope's value, what it resumes is `Elapsed`.
//! A request from outside has priority and passes through. No request is ever counted.

use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::error::Elapsed;
use crate::executor::{Hidden, Listed, Offer, current_task, offer, set_offer};
use crate::time::{Sleep, now, sleep_until};

/// Runs `future`, at most for `limit`; `None` means without a limit. The limit counts from the first await that suspends.
///
/// A [`Task`](crate::Task) inside is cancelled at the limit and waited for; [`catch_cancel`](crate::catch_cancel) inside may
/// clean up before the limit is reported; a plain future is dropped. A value completed in time wins.
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
enum When {
    /// There is none.
    Never,
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
    /// The offer, if it is time to make it; keeps the timer otherwise.
    fn due(&mut self, cx: &mut Context<'_>) -> Option<Offer> {
        loop {
            *self = match self {
                When::Never | When::Offered => return None,
                When::Due(offer) => return Some(*offer),
                When::After(limit) => now().checked_add(*limit).map_or(When::Never, When::At),
                When::At(deadline) => When::Waiting(sleep_until(*deadline)),
                When::Waiting(sleep) => match Pin::new(sleep).poll(cx) {
                    Poll::Pending => return None,
                    Poll::Ready(()) => When::Due(Offer::Raised),
                },
            }
        }
    }
}

async fn scope<F: Future>(mut when: When, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(Some(future));
    let mut listed = Listed::default();
    // A handler inside took an offer from outside: what it resumes goes there.
    let mut passed = false;
    std::future::poll_fn(move |cx| {
        let outer = offer();
        let mut poll = |cx: &mut Context<'_>| {
            future.as_mut().as_pin_mut().expect("an async fn is not polled after its end").poll(cx)
        };
        if let Poll::Ready(value) = poll(cx) {
            return Poll::Ready(Ok(value));
        }
        let left = offer();
        passed |= outer.is_raised() && left == Offer::None;
        let resumed = matches!(when, When::Offered) && !outer.is_raised() && !passed;
        let mut elapsed = left.is_raised() && resumed;
        if !left.is_raised()
            && let Some(offer) = when.due(cx)
        {
            set_offer(offer);
            if let Some(task) = current_task() {
                task.wake_handlers();
            }
            if let Poll::Ready(value) = poll(cx) {
                set_offer(left);
                return Poll::Ready(Ok(value));
            }
            match set_offer(left) {
                Offer::Raised | Offer::Again => elapsed = true,
                Offer::None => when = When::Offered,
                // A section inside must not be interrupted: again when it has ended.
                Offer::Blocked => when = When::Due(Offer::Again),
            }
        }
        if elapsed {
            set_offer(outer);
            let _hidden = Hidden::new();
            future.set(None);
            return Poll::Ready(Err(Elapsed));
        }
        listed.pending(cx);
        Poll::Pending
    })
    .await
}
