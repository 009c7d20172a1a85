//! `join!`: several futures polled in one task, until all have ended.
//!
//! Nothing is spawned, so the futures may borrow. They are polled in written order, every one that has not ended at
//! each wake of the task: for many futures, tasks and `gather` are cheaper. Each branch is offered a cancel
//! ([`Branches`]).

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::{MaybeDone, maybe_done};
use pin_project_lite::pin_project;

use crate::executor::{Branches, Took};

/// Polls one to twelve futures in this task, in written order, until all have ended, and gives a tuple of their outputs.
///
/// The macro gives a future, which is awaited: `join!(a, b).await`. (tokio's and futures' `join!` await by themselves.)
///
/// The arguments are evaluated at once, in order; whatever is `IntoFuture` will do, and it may borrow. Nothing is spawned
/// and no error ends the wait early: see [`gather`](fn@crate::gather) for both. The future is as large as its branches together.
///
/// # Cancellation
/// A request is offered to every branch. Those that handle it clean up to their end, side by side; then, if a branch did
/// not handle it or resumes it, it goes on outward. A branch that fails to handle it is dropped only then. Dropping the future
/// drops all branches.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let name = String::from("borrowed");
///     let slow = async {
///         ringloop::sleep(Duration::from_millis(10)).await;
///         name.len()
///     };
///     assert_eq!(ringloop::join!(slow, async { name.as_str() }).await, (8, "borrowed"));
/// })
/// # }
/// ```
#[macro_export]
macro_rules! join {
    ($($future:expr),+ $(,)?) => { $crate::__private::join_tuple(($($future,)+)) };
}

/// What `join!` calls.
pub fn join_tuple<F: JoinTuple>(futures: F) -> F::Join {
    futures.join()
}

/// One to twelve futures.
#[diagnostic::on_unimplemented(
    message = "`join!` takes one to twelve futures",
    note = "for more there is `gather`"
)]
pub trait JoinTuple {
    /// The future of them all.
    type Join: Future;

    /// Puts them side by side.
    fn join(self) -> Self::Join;
}

pin_project! {
    /// One of the futures.
    pub struct Branch<F: Future> {
        // The future, then its output.
        #[pin]
        future: MaybeDone<F>,
        // It took a cancel and cleans up.
        took: Took,
    }
}

impl<F: Future> Branch<F> {
    fn new(future: impl IntoFuture<IntoFuture = F>) -> Self {
        Branch { future: maybe_done(future.into_future()), took: Took::default() }
    }

    fn is_done(self: Pin<&mut Self>, cx: &mut Context<'_>, branches: &mut Branches) -> bool {
        let this = self.project();
        branches.poll(this.took, || this.future.poll(cx)).is_ready()
    }

    fn output(self: Pin<&mut Self>) -> F::Output {
        self.project().future.take_output().expect("the output of a branch that is done is taken once")
    }
}

macro_rules! tuples {
    ($Join:ident: $($F:ident $branch:ident),+) => {
        pin_project! {
            #[doc = "The future of `join!`."]
            #[must_use = "futures do nothing unless awaited"]
            pub struct $Join<$($F: Future),+> {
                $(#[pin] $branch: Branch<$F>,)+
            }
        }

        impl<$($F: Future),+> Future for $Join<$($F),+> {
            type Output = ($($F::Output,)+);

            fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
                let mut this = self.project();
                let mut branches = Branches::start();
                let mut done = true;
                $(done &= this.$branch.as_mut().is_done(cx, &mut branches);)+
                if !done {
                    branches.pending();
                    return Poll::Pending;
                }
                branches.ready();
                Poll::Ready(($(this.$branch.output(),)+))
            }
        }

        impl<$($F: IntoFuture),+> JoinTuple for ($($F,)+) {
            type Join = $Join<$($F::IntoFuture),+>;

            fn join(self) -> Self::Join {
                let ($($branch,)+) = self;
                $Join { $($branch: Branch::new($branch),)+ }
            }
        }
    };
}

tuples!(Join1: A a);
tuples!(Join2: A a, B b);
tuples!(Join3: A a, B b, C c);
tuples!(Join4: A a, B b, C c, D d);
tuples!(Join5: A a, B b, C c, D d, E e);
tuples!(Join6: A a, B b, C c, D d, E e, F f);
tuples!(Join7: A a, B b, C c, D d, E e, F f, G g);
tuples!(Join8: A a, B b, C c, D d, E e, F f, G g, H h);
tuples!(Join9: A a, B b, C c, D d, E e, F f, G g, H h, I i);
tuples!(Join10: A a, B b, C c, D d, E e, F f, G g, H h, I i, J j);
tuples!(Join11: A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k);
tuples!(Join12: A a, B b, C c, D d, E e, F f, G g, H h, I i, J j, K k, L l);

#[cfg(test)]
mod tests;
