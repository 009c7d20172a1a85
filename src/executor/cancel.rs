//! The cancel offer: how a request reaches the innermost code that wants to handle it.
//!
//! A request raises the *offer*, one word of the thread, for the time of one poll of the task. Ordinary futures know
//! nothing of it. On the way up, the innermost handler whose inner future was polled in this poll and is still pending
//! takes the offer, drops its inner future and goes on with `Err(Cancelled)`, so its code may await while it cleans up.
//! Nobody takes it: the executor drops the whole task. A value completed in the same poll beats the offer, which then
//! stays for the next await that suspends.
//!
//! Every nested poll that must not see the offer, and every destructor run by a handler, runs under [`Hidden`], which
//! puts the word back even if they panic. Handlers below wakers that are not the task's own (`FuturesUnordered` and the
//! like) would not be polled by the request; they keep such a waker in the task's list while they are pending
//! ([`Listed`]), and the list is woken before each poll that raises the offer. Handlers are [`catch_cancel`], the
//! handle of a task, [`uncancellable`], which blocks the offer, and scopes such as a timeout.

use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::join::TaskRef;
use super::{current_task, is_within_reach, task_behind};
use crate::error::Cancelled;

/// The state of the offer in the poll that runs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// No request, or it was taken.
    None,
    /// A new request: whoever is pending may take it.
    Raised,
    /// A request that was blocked in an earlier poll: whoever is pending may take it who has not taken it then.
    Again,
    /// A section that must not be interrupted was pending: the request waits for it to end.
    Blocked,
}

impl Offer {
    /// Whether it may be taken.
    pub(crate) fn is_raised(self) -> bool {
        matches!(self, Offer::Raised | Offer::Again)
    }
}

thread_local! {
    static OFFER: Cell<Offer> = const { Cell::new(Offer::None) };
}

/// The offer as it stands.
pub(crate) fn offer() -> Offer {
    OFFER.get()
}

/// Sets the offer, and gives back what it was.
pub(crate) fn set_offer(offer: Offer) -> Offer {
    OFFER.replace(offer)
}

/// Takes the offer if it is raised.
pub(crate) fn take_offer() -> bool {
    let raised = OFFER.get().is_raised();
    if raised {
        OFFER.set(Offer::None);
    }
    raised
}

/// While it lives the offer shows `during`; afterwards what it was before.
pub(crate) struct Hidden(Offer);

impl Hidden {
    pub(crate) fn new() -> Self {
        Hidden(OFFER.replace(Offer::None))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        OFFER.set(self.0);
    }
}

/// A handler's place in its task's list, held while it is pending below a waker that is not the task's own.
#[derive(Default)]
pub(crate) struct Listed(Option<Place>);

/// A place that is taken.
struct Place {
    task: TaskRef,
    key: usize,
}

impl Listed {
    /// Notes the waker of a pending poll, if a wake of the task would not reach this handler.
    #[inline]
    pub(crate) fn pending(&mut self, cx: &Context<'_>) {
        if self.is_listed() || !is_within_reach(cx.waker()) {
            self.list(cx);
        }
    }

    pub(super) fn is_listed(&self) -> bool {
        self.0.is_some()
    }

    fn list(&mut self, cx: &Context<'_>) {
        let Some(task) = task_behind(cx.waker()) else { return self.0 = None };
        match &self.0 {
            Some(place) if place.task.same(&task) => task.renew_handler(place.key, cx.waker().clone()),
            _ => {
                let key = task.list_handler(cx.waker().clone());
                self.0 = Some(Place { task, key });
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.task.unlist_handler(self.key);
    }
}

/// Runs `future`; a cancel request that reaches it while it is pending ends it here, with `Err(Cancelled)`.
///
/// This is asyncio's `try: ... except CancelledError`. What follows may await; [`resume_cancel`] goes on with the
/// cancellation, anything else swallows it. Nested handlers are served from the inside out.
///
/// # Cancellation
/// Takes the request. Dropped by others (a `select!`, a timeout of another crate), it drops `future` like any owner.
///
/// Below a combinator of another crate that polls by wakers of its own (`FuturesUnordered`, the `join_all` of futures-util)
/// a request reaches one handler only; when that one resumes it, the others are dropped without their code. Side by side,
/// every handler is reached below [`join!`](crate::join), [`join_all`](crate::join_all), [`select!`](crate::select),
/// [`gather`](fn@crate::gather) and [`task_group`](crate::task_group).
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let task = ringloop::create_task(async {
///         match ringloop::catch_cancel(ringloop::sleep(Duration::from_secs(60))).await {
///             Ok(()) => "slept",
///             Err(ringloop::Cancelled { .. }) => "cleaned up",
///         }
///     });
///     ringloop::yield_now().await;
///     task.cancel();
///     assert_eq!(task.await.unwrap(), "cleaned up");
/// })
/// # }
/// ```
pub fn catch_cancel<F: IntoFuture>(future: F) -> CatchCancel<F::IntoFuture> {
    CatchCancel { future: Some(future.into_future()), listed: Listed::default() }
}

pin_project! {
    /// The future of [`catch_cancel`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct CatchCancel<F> {
        // None: it has ended or was given up.
        #[pin]
        future: Option<F>,
        // Its place among the handlers of its task.
        listed: Listed,
    }
}

impl<F: Future> Future for CatchCancel<F> {
    type Output = Result<F::Output, Cancelled>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let future = this.future.as_mut().as_pin_mut().expect("`catch_cancel` was polled after it had ended");
        let result = match future.poll(cx) {
            Poll::Ready(value) => Ok(value),
            Poll::Pending if take_offer() => Err(Cancelled),
            Poll::Pending => {
                this.listed.pending(cx);
                return Poll::Pending;
            }
        };
        // The destructors of what is given up see no offer.
        let _hidden = Hidden::new();
        this.future.set(None);
        Poll::Ready(result)
    }
}

/// What [`with_cleanup`] tells the clean-up code.
#[derive(Debug)]
pub enum Exit<'a, T> {
    /// The future ended with this value.
    Value(&'a T),
    /// It was cancelled.
    Cancelled,
}

/// Runs `future`, then `cleanup`, also when the task is cancelled meanwhile; the cancellation then goes on by itself.
///
/// This is asyncio's `try: ... finally`. The clean-up may await.
///
/// # Cancellation
/// A request ends `future`, runs `cleanup` to its end and is then offered to the code outside. A second request during
/// the clean-up ends the clean-up at its next await.
///
/// Below a combinator of another crate that polls by wakers of its own (`FuturesUnordered`, the `join_all` of futures-util)
/// a request reaches one handler only; when that one resumes it, the others are dropped without their code. Side by side,
/// every handler is reached below [`join!`](crate::join), [`join_all`](crate::join_all), [`select!`](crate::select),
/// [`gather`](fn@crate::gather) and [`task_group`](crate::task_group).
pub async fn with_cleanup<T>(
    future: impl IntoFuture<Output = T>,
    cleanup: impl AsyncFnOnce(Exit<'_, T>),
) -> T {
    match catch_cancel(future).await {
        Ok(value) => {
            cleanup(Exit::Value(&value)).await;
            value
        }
        Err(_) => {
            cleanup(Exit::Cancelled).await;
            resume_cancel().await
        }
    }
}

/// Goes on with a cancellation that [`catch_cancel`] caught: asyncio's `raise` in the handler. Never returns.
///
/// The next handler outside takes over; without one the task ends cancelled.
pub async fn resume_cancel() -> ! {
    std::future::poll_fn(|_| {
        set_offer(Offer::Raised);
        Poll::<std::convert::Infallible>::Pending
    })
    .await;
    unreachable!("a future that is always pending has returned")
}

/// Runs `future` to its end although the task may be cancelled meanwhile: the request waits and hits the next await after it.
///
/// For commit and rollback code. The section should be short: `Runner` shutdown waits for it, within its limit.
///
/// # Cancellation
/// Hidden from `future`. A drop by the owner cannot be held off: do not race it in a `select!`.
pub fn uncancellable<F: IntoFuture>(future: F) -> Uncancellable<F::IntoFuture> {
    Uncancellable { future: future.into_future(), listed: Listed::default() }
}

pin_project! {
    /// The future of [`uncancellable`].
    #[must_use = "futures do nothing unless awaited"]
    pub struct Uncancellable<F> {
        #[pin]
        future: F,
        // Its place among the handlers of its task: below private wakers it must be polled to block the offer.
        listed: Listed,
    }
}

impl<F: Future> Future for Uncancellable<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let hidden = Hidden::new();
        let polled = this.future.poll(cx);
        let left = offer();
        drop(hidden);
        if polled.is_pending() {
            this.listed.pending(cx);
            // What the section itself resumes, a child of its own that was cancelled, ends it and goes on outward.
            if left.is_raised() {
                set_offer(Offer::Raised);
            } else if offer().is_raised() {
                set_offer(Offer::Blocked);
            }
        }
        polled
    }
}

/// A point at which a pending cancel request is delivered, for long computations; does nothing otherwise.
///
/// # Cancellation
/// This is what it is for.
pub async fn check_cancel() {
    // Each once: a request that another branch takes, or that is blocked, does not hold up the computation.
    let (mut waited, mut offered) = (false, false);
    std::future::poll_fn(move |cx| {
        let stop = match offer().is_raised() {
            true => !std::mem::replace(&mut offered, true),
            // Asked for in the poll that runs: delivered by the next one.
            false => !waited && current_task().is_some_and(|task| task.is_cancel_pending()),
        };
        waited = true;
        if !stop {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Offers a cancel to every branch of a combinator that polls several futures in one task.
///
/// Each pending branch sees the offer. One that takes it is left to its clean-up; only a new request is offered to it
/// again. While one cleans up or blocks, the request is blocked for what stands outside, so that the others do not drop
/// it; after that, a branch that nobody handled in leaves the offer raised.
pub(crate) struct Branches {
    /// The offer at the start of this poll.
    outer: Offer,
    /// A branch must not be interrupted now.
    blocked: bool,
    /// A branch did not take the offer, or resumes what it took.
    untaken: bool,
    /// A branch that took an offer, now or earlier, is pending.
    cleaning: bool,
    /// A branch took the offer and has ended.
    settled: bool,
}

/// Whether a branch has taken an offer and is still at it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Took(bool);

impl Took {
    pub(crate) fn is_at_it(self) -> bool {
        self.0
    }
}

impl Branches {
    pub(crate) fn start() -> Self {
        Branches { outer: offer(), blocked: false, untaken: false, cleaning: false, settled: false }
    }

    /// Polls one branch under the offer.
    pub(crate) fn poll<T>(&mut self, took: &mut Took, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let offered = match self.outer {
            Offer::Again if took.0 => Offer::None,
            outer => outer,
        };
        set_offer(offered);
        let polled = poll();
        let left = offer();
        match polled {
            Poll::Ready(_) => self.settled |= offered.is_raised() && left == Offer::None,
            Poll::Pending if left.is_raised() => {
                took.0 = false;
                self.untaken = true;
            }
            Poll::Pending if left == Offer::Blocked => self.blocked = true,
            Poll::Pending => {
                took.0 |= offered.is_raised();
                self.cleaning |= took.0;
            }
        }
        polled
    }

    /// Notes whether branches that were not polled are still at what they took.
    pub(crate) fn also_cleaning(&mut self, cleaning: bool) {
        self.cleaning |= cleaning;
    }

    /// Whether a request is with those that were polled: offered now, or taken before by one that is still at it or resumes
    /// it.
    pub(crate) fn has_request(&self) -> bool {
        self.outer.is_raised() || self.blocked || self.untaken || self.cleaning
    }

    /// Leaves the offer for what stands outside, after a poll in which the whole is still pending.
    pub(crate) fn pending(self) {
        set_offer(match () {
            () if self.blocked || (self.untaken && self.cleaning) => Offer::Blocked,
            () if self.cleaning => Offer::None,
            () if self.untaken && !self.outer.is_raised() => Offer::Raised,
            () => self.outer,
        });
    }

    /// Leaves the offer for what stands outside, after a poll in which the whole has ended: as it was, unless a branch
    /// that has ended took it. A branch that took it and is dropped now has handled nothing.
    pub(crate) fn ready(self) {
        set_offer(if self.settled { Offer::None } else { self.outer });
    }
}
