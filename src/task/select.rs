//! `select!`: several futures polled in one task, until the first has ended.
//!
//! The macro writes a block into the calling function, so that handlers may use `?`, `break` and `.await`: it pins the
//! futures there, polls them in written order, drops them and then runs the winner's handler. What needs no name of the
//! caller's is in [`Arm`] and [`Round`]. Each branch is offered a cancel ([`Branches`]).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::executor::{Branches, Took};
use crate::waiting::{said, take_back};

/// Waits for the first of several futures in this task, drops the others and runs the handler of the one that has ended.
///
/// ```text
/// select! {
///     pattern = future => handler,
///     pattern = future, if condition => { handler }
///     else => handler,
/// }
/// ```
///
/// The grammar is tokio's. First the conditions are evaluated, then all the futures, also of branches whose condition is
/// false and which are not polled. The futures may borrow, and are whatever is `IntoFuture`; one that shall go on after it
/// lost is given by reference (`&mut future`). A pattern that does not match disables its branch, and the others go on.
/// With no branch left `else` runs; without an `else` that is a panic. The losers are dropped before the handler runs.
///
/// The order is the written one, always: a branch that is always ready shadows those below it, so put what must not
/// starve, shutdown for example, first. `biased;` is accepted and changes nothing.
///
/// A macro call of some 50 branches reaches the compiler's default `recursion_limit`.
///
/// # Cancellation
/// A request is offered to every branch. Those that handle it clean up to their end, unless another branch ends first and
/// wins; then, if a branch did not handle it or resumes it, it goes on outward. A loser is dropped: what that loses is in
/// the `# Cancellation` line of each call; for calls of this crate, nothing.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// use ringloop::{select, sleep};
/// ringloop::run(async {
///     let mut ticks = 0;
///     let mut end = std::pin::pin!(sleep(Duration::from_millis(35)));
///     loop {
///         select! {
///             () = &mut end => break,
///             () = sleep(Duration::from_millis(10)), if ticks < 2 => ticks += 1,
///         }
///     }
///     assert_eq!(ticks, 2);
/// })
/// # }
/// ```
#[macro_export]
macro_rules! select {
    // All branches are normalized: `(one _ for each branch before this one) pattern = future, if condition => handler,`.
    (@ { $(($($before:tt)*) $bind:pat = $future:expr, if $condition:expr => $handler:expr,)+ } else $otherwise:expr) => {{
        let mut arms = ($($crate::__private::Arm::new($condition),)+);
        // In the head of a `match`, temporaries of the futures' expressions live as long as the futures. All of them go
        // at the end of this statement, before a handler runs.
        match ($(::std::pin::pin!(::std::future::IntoFuture::into_future($future)),)+) {
            mut futures => {
                ::std::future::poll_fn(|context| {
                    let mut round = $crate::__private::Round::start();
                    $({
                        let ($($before,)* arm, ..) = &mut arms;
                        let ($($before,)* future, ..) = &mut futures;
                        #[allow(unused_mut)]
                        let mut value = round.poll(arm, future.as_mut(), context);
                        // In a guard, bindings are references: this looks whether the pattern matches, and moves nothing.
                        let mut matches = false;
                        #[allow(unused_variables, unused_mut, unreachable_code)]
                        match value {
                            ::std::option::Option::Some($bind) if { matches = true; false } => ::std::unreachable!(),
                            _ => {}
                        }
                        if matches {
                            arm.won = value;
                            return round.won();
                        }
                    })+
                    round.lost()
                })
                .await
            }
        };
        match arms {
            $(($($before,)* $crate::__private::Arm { won: ::std::option::Option::Some($bind), .. }, ..) => $handler,)+
            _ => $otherwise,
        }
    }};

    (@ ($($n:tt)*) { $($done:tt)+ } else => $otherwise:expr $(,)?) => {
        $crate::select!(@ { $($done)+ } else $otherwise)
    };
    (@ ($($n:tt)*) { $($done:tt)+ }) => {
        $crate::select!(@ { $($done)+ } else ::std::panic!("all branches of a `select!` are disabled and it has no `else`"))
    };

    // The branches one by one, with tokio's forms of a handler: a block, with or without a comma; an expression.
    (@ ($($n:tt)*) { $($done:tt)* } $bind:pat = $future:expr, if $condition:expr => $handler:block, $($rest:tt)*) => {
        $crate::select!(@ ($($n)* _) { $($done)* ($($n)*) $bind = $future, if $condition => $handler, } $($rest)*)
    };
    (@ ($($n:tt)*) { $($done:tt)* } $bind:pat = $future:expr => $handler:block, $($rest:tt)*) => {
        $crate::select!(@ ($($n)* _) { $($done)* ($($n)*) $bind = $future, if true => $handler, } $($rest)*)
    };
    (@ ($($n:tt)*) { $($done:tt)* } $bind:pat = $future:expr, if $condition:expr => $handler:block $($rest:tt)*) => {
        $crate::select!(@ ($($n)* _) { $($done)* ($($n)*) $bind = $future, if $condition => $handler, } $($rest)*)
    };
    (@ ($($n:tt)*) { $($done:tt)* } $bind:pat = $future:expr => $handler:block $($rest:tt)*) => {
        $crate::select!(@ ($($n)* _) { $($done)* ($($n)*) $bind = $future, if true => $handler, } $($rest)*)
    };
    (@ ($($n:tt)*) { $($done:tt)* } $bind:pat = $future:expr, if $condition:expr => $handler:expr $(, $($rest:tt)*)?) => {
        $crate::select!(@ ($($n)* _) { $($done)* ($($n)*) $bind = $future, if $condition => $handler, } $($($rest)*)?)
    };
    (@ ($($n:tt)*) { $($done:tt)* } $bind:pat = $future:expr => $handler:expr $(, $($rest:tt)*)?) => {
        $crate::select!(@ ($($n)* _) { $($done)* ($($n)*) $bind = $future, if true => $handler, } $($($rest)*)?)
    };

    (@ $($wrong:tt)*) => {
        ::std::compile_error!("`select!` takes branches of the form `pattern = future [, if condition] => handler`")
    };

    ($(biased;)? else => $otherwise:expr $(,)?) => { $otherwise };
    (biased; $($branches:tt)+) => { $crate::select!(@ () {} $($branches)+) };
    ($($branches:tt)+) => { $crate::select!(@ () {} $($branches)+) };
    () => { ::std::compile_error!("`select!` takes at least one branch") };
}

/// The state of one branch.
pub struct Arm<T> {
    /// The output, when the branch has won.
    pub won: Option<T>,
    /// It may still be polled.
    enabled: bool,
    /// It took a cancel and cleans up.
    took: Took,
}

impl<T> Arm<T> {
    /// A branch; `condition` false disables it.
    pub fn new(condition: bool) -> Self {
        Arm { won: None, enabled: condition, took: Took::default() }
    }
}

/// One poll of the branches.
pub struct Round {
    branches: Branches,
    /// A branch is pending.
    pending: bool,
    /// What the task has said before of what it waits for.
    said: usize,
}

impl Round {
    /// Begins a poll.
    pub fn start() -> Self {
        Round { branches: Branches::start(), pending: false, said: said() }
    }

    /// Polls a branch, unless it is disabled; an output disables it.
    pub fn poll<F: Future>(
        &mut self,
        arm: &mut Arm<F::Output>,
        future: Pin<&mut F>,
        context: &mut Context<'_>,
    ) -> Option<F::Output> {
        if !arm.enabled {
            return None;
        }
        match self.branches.poll(&mut arm.took, || future.poll(context)) {
            Poll::Ready(value) => {
                arm.enabled = false;
                Some(value)
            }
            Poll::Pending => {
                self.pending = true;
                None
            }
        }
    }

    /// Ends the last poll: a branch has won.
    pub fn won(self) -> Poll<()> {
        self.branches.ready();
        take_back(self.said);
        Poll::Ready(())
    }

    /// Ends a poll that no branch has won; it is the last if none is left.
    pub fn lost(self) -> Poll<()> {
        match self.pending {
            true => {
                self.branches.pending();
                Poll::Pending
            }
            false => self.won(),
        }
    }
}

#[cfg(test)]
mod tests;
