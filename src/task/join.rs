//! `join!`: several futures in one task, until all have ended.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use crate::executor::{Branches, Hidden, Took};

/// One future of a combinator, until it has ended or is given up.
pub struct Branch<'a, F: Future> {
    future: Pin<&'a mut Option<F>>,
    /// It has taken a cancel and still cleans up.
    took: Took,
}

impl<'a, F: Future> Branch<'a, F> {
    /// A branch over a pinned place; an empty place is a branch that was given up.
    pub fn new(future: Pin<&'a mut Option<F>>) -> Self {
        Branch { future, took: Took::default() }
    }

    /// Polls the branch under the offer that the whole is under, and drops a future that has ended. None: there is none.
    pub fn poll(&mut self, round: &mut Round, cx: &mut Context<'_>) -> Option<Poll<F::Output>> {
        let future = &mut self.future;
        let running = future.as_mut().as_pin_mut()?;
        let polled = round.0.poll(&mut self.took, || running.poll(cx));
        if polled.is_ready() {
            let _hidden = Hidden::new();
            future.set(None);
        }
        Some(polled)
    }
}

/// One poll of a combinator: every branch is offered a cancel that is under way.
pub struct Round(Branches);

impl Round {
    /// Notes the offer that the whole is under.
    pub fn start() -> Self {
        Round(Branches::start())
    }

    /// The whole goes on.
    pub fn pending<T>(self) -> Poll<T> {
        self.0.pending();
        Poll::Pending
    }

    /// The whole has ended.
    pub fn ready<T>(self, value: T) -> Poll<T> {
        self.0.ready();
        Poll::Ready(value)
    }
}

/// One to twelve futures.
#[diagnostic::on_unimplemented(
    message = "`join!` takes one to twelve futures; for more of one type there is `join_all`"
)]
pub trait JoinTuple {
    /// Their outputs.
    type Outputs;

    /// Runs them in this task.
    fn join(self) -> impl Future<Output = Self::Outputs>;
}

macro_rules! tuples {
    ($($F:ident),+) => {
        #[allow(non_snake_case, reason = "one name serves for the type and for the future")]
        impl<$($F: IntoFuture),+> JoinTuple for ($($F,)+) {
            type Outputs = ($($F::Output,)+);

            async fn join(self) -> Self::Outputs {
                let ($($F,)+) = self;
                $(
                    let future = pin!(Some($F.into_future()));
                    let mut $F = (Branch::new(future), None);
                )+
                poll_fn(move |cx| {
                    let mut round = Round::start();
                    let mut pending = false;
                    $(match $F.0.poll(&mut round, cx) {
                        Some(Poll::Ready(output)) => $F.1 = Some(output),
                        Some(Poll::Pending) => pending = true,
                        None => {}
                    })+
                    if pending {
                        return round.pending();
                    }
                    round.ready(($($F.1.take().expect("a branch that has ended has left its output"),)+))
                })
                .await
            }
        }
    };
}

tuples!(A);
tuples!(A, B);
tuples!(A, B, C);
tuples!(A, B, C, D);
tuples!(A, B, C, D, E);
tuples!(A, B, C, D, E, F);
tuples!(A, B, C, D, E, F, G);
tuples!(A, B, C, D, E, F, G, H);
tuples!(A, B, C, D, E, F, G, H, I);
tuples!(A, B, C, D, E, F, G, H, I, J);
tuples!(A, B, C, D, E, F, G, H, I, J, K);
tuples!(A, B, C, D, E, F, G, H, I, J, K, L);

/// What `join!` calls.
pub fn join_tuple<F: JoinTuple>(futures: F) -> impl Future<Output = F::Outputs> {
    futures.join()
}

/// Runs one to twelve futures in this task, polled in written order, and gives all their outputs. Await the result.
///
/// Nothing is spawned, so the futures may borrow, and one that blocks holds up the others. Builders are accepted.
///
/// # Cancellation
/// A request is offered to every branch. While one that took it cleans up, the others stay; then, if a branch did not take
/// it, the whole is dropped.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// ringloop::run(async {
///     let text = String::from("borrowed");
///     let (length, ()) = ringloop::join!(async { text.len() }, ringloop::yield_now()).await;
///     assert_eq!(length, 8);
/// })
/// # }
/// ```
#[macro_export]
macro_rules! join {
    ($($future:expr),+ $(,)?) => { $crate::__private::join_tuple(($($future,)+)) };
}
