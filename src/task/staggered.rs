//! `staggered_race`: attempts at one thing that start one after the other, until the first succeeds.
//!
//! As in `select!` nothing is spawned, the attempts may borrow, and each is offered a cancel ([`Branches`]). While a request
//! is with those that run, no other starts: what they make of it decides whether the race goes on.

use std::future::{Future, IntoFuture, poll_fn};
use std::iter::Fuse;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::executor::{Branches, Hidden, Took};
use crate::time::{Sleep, sleep};
use crate::waiting::{said, take_back};

/// Runs attempts in this task, each begun when the one before has failed or has had `delay` for itself, until the first gives
/// `Ok`; the others are dropped then.
///
/// This is what asyncio's `create_connection` does with `happy_eyeballs_delay`, for attempts of any kind: mirrors of one
/// file, resolvers of one name. An attempt is a function, called when its turn comes; it and its future may borrow.
/// A `delay` of `None` starts an attempt only when the one before has failed; one of zero starts them in successive turns.
/// Of attempts that end in the same turn the earlier counts.
///
/// Gives the place of the winner among the attempts, counted from 0, and its value. What attempts failed with before is
/// dropped.
///
/// # Errors
/// No attempt succeeded: the errors of all, in the order of the attempts. Without attempts that is the empty list.
///
/// # Cancellation
/// A request is offered to every attempt that runs, and no other starts before it is settled. Those that handle it clean up
/// to their end, unless one succeeds and wins; then, if one did not handle it or resumes it, it goes on outward. Attempts that
/// are dropped, because another won or the race itself is dropped, lose what their own calls lose.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     // The first hangs, the second fails, the third is well.
///     let mirrors = [(9000, "hangs"), (0, ""), (1, "third")];
///     let attempts = mirrors.iter().map(|(delay, text)| {
///         move || async move {
///             ringloop::sleep(Duration::from_millis(*delay)).await;
///             if text.is_empty() { Err("unreachable") } else { Ok(*text) }
///         }
///     });
///     let won = ringloop::staggered_race(attempts, Duration::from_millis(20)).await;
///     assert_eq!(won, Ok((2, "third")));
/// })
/// # }
/// ```
#[doc(alias = "happy_eyeballs")]
pub async fn staggered_race<I, F, T, E>(
    attempts: I,
    delay: impl Into<Option<Duration>>,
) -> Result<(usize, T), Vec<E>>
where
    I: IntoIterator,
    I::Item: FnOnce() -> F,
    F: IntoFuture<Output = Result<T, E>>,
{
    let mut race = Race {
        attempts: attempts.into_iter().map(|begin| begin().into_future()).fuse(),
        begun: 0,
        delay: delay.into(),
        pause: Pause::Over,
        running: Vec::new(),
        errors: Vec::new(),
    };
    poll_fn(|cx| race.poll(cx)).await
}

/// One that has begun and not ended.
struct Attempt<F> {
    number: usize,
    future: Pin<Box<F>>,
    /// It took a cancel and cleans up.
    took: Took,
}

/// When the next one begins, unless the last fails before.
enum Pause {
    /// Now.
    Over,
    /// When the last one's head start is over.
    Runs(Sleep),
    /// Never.
    Endless,
}

struct Race<I, F, E> {
    /// Makes the futures of those that have not begun.
    attempts: Fuse<I>,
    begun: usize,
    delay: Option<Duration>,
    pause: Pause,
    /// In the order of their beginnings.
    running: Vec<Attempt<F>>,
    /// How the others ended, with their numbers.
    errors: Vec<(usize, E)>,
}

impl<I: Iterator<Item = F>, F: Future<Output = Result<T, E>>, T, E> Race<I, F, E> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(usize, T), Vec<E>>> {
        let before = said();
        let mut round = Branches::start();
        let mut index = 0;
        loop {
            while index < self.running.len() {
                match self.poll_attempt(index, &mut round, cx) {
                    Poll::Pending => index += 1,
                    Poll::Ready((number, Err(error))) => self.failed(number, error),
                    Poll::Ready((number, Ok(value))) => {
                        round.ready();
                        let _hidden = Hidden::new();
                        self.running.clear();
                        take_back(before);
                        return Poll::Ready(Ok((number, value)));
                    }
                }
            }
            if self.running.is_empty() {
                // What those before have left of the offer is the next one's.
                round.ready();
                if !self.begin() {
                    return Poll::Ready(Err(self.all_errors()));
                }
                (round, index) = (Branches::start(), 0);
            } else if !self.is_next_due(cx) || round.has_request() || !self.begin() {
                round.pending();
                return Poll::Pending;
            }
        }
    }

    /// One that has ended is dropped.
    fn poll_attempt(
        &mut self,
        index: usize,
        round: &mut Branches,
        cx: &mut Context<'_>,
    ) -> Poll<(usize, F::Output)> {
        let Attempt { number, future, took } = &mut self.running[index];
        let ended = (*number, ready!(round.poll(took, || future.as_mut().poll(cx))));
        let _hidden = Hidden::new();
        self.running.remove(index);
        Poll::Ready(ended)
    }

    fn failed(&mut self, number: usize, error: E) {
        self.errors.push((number, error));
        if number + 1 == self.begun {
            self.pause = Pause::Over;
        }
    }

    /// Makes the next one, which is not polled yet. False: there is none.
    fn begin(&mut self) -> bool {
        let Some(future) = self.attempts.next() else {
            self.pause = Pause::Endless;
            return false;
        };
        self.running.push(Attempt { number: self.begun, future: Box::pin(future), took: Took::default() });
        self.begun += 1;
        // The last needs no timer, if the iterator knows that it is the last.
        let is_last = self.attempts.size_hint().1 == Some(0);
        self.pause = match self.delay {
            Some(delay) if !is_last => Pause::Runs(sleep(delay)),
            _ => Pause::Endless,
        };
        true
    }

    fn is_next_due(&mut self, cx: &mut Context<'_>) -> bool {
        if let Pause::Runs(head_start) = &mut self.pause
            && Pin::new(head_start).poll(cx).is_ready()
        {
            self.pause = Pause::Over;
        }
        matches!(self.pause, Pause::Over)
    }

    fn all_errors(&mut self) -> Vec<E> {
        self.errors.sort_unstable_by_key(|(number, _)| *number);
        self.errors.drain(..).map(|(_, error)| error).collect()
    }
}

#[cfg(test)]
mod tests;
