//! Giving way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::waiting::{Waiting, waits_for};

/// Gives way for exactly one turn of the loop: what is ready now runs, I/O is looked at, then this goes on.
///
/// # Cancellation
/// Nothing to lose.
pub fn yield_now() -> YieldNow {
    YieldNow { given: false }
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct YieldNow {
    given: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.given, true) {
            return Poll::Ready(());
        }
        give_way(cx);
        Poll::Pending
    }
}

/// Has the task polled again behind all that are ready.
pub(crate) fn give_way(cx: &Context<'_>) {
    cx.waker().wake_by_ref();
    waits_for(|| Waiting::Turn);
}
