//! `select!`: several futures in one task, until the first has ended.

/// Runs up to twelve futures in this task until the first has ended in a way that its pattern fits, and evaluates that
/// branch's handler. The other futures are dropped.
///
/// The grammar is tokio's:
///
/// ```text
/// select! {
///     pattern = future => handler,
///     pattern = future, if condition => { handler }
///     else => handler,
/// }
/// ```
///
/// Branches are polled in written order, so an early branch that is always ready starves the later ones (`biased;` in front
/// is accepted and changes nothing). A branch whose condition is false is not polled, though its future is made; one whose
/// pattern does not fit the output is out of the race. If all are out, `else` is evaluated; without one that is a panic.
/// Handlers run after the futures are gone and may use what those borrowed, `?`, `break`, `continue` and `.await`. A future
/// that shall survive goes in as `&mut future`. In a pattern of several parts bindings cannot be `mut`: bind again inside.
///
/// # Cancellation
/// A request is offered to every branch, as in [`join!`](crate::join). The losing branches are dropped without an offer: what
/// that loses is said with each operation of this crate (nothing, for reads, accepts and receives).
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::Duration;
/// ringloop::run(async {
///     let winner = ringloop::select! {
///         () = ringloop::sleep(Duration::from_secs(5)) => "slow",
///         () = ringloop::sleep(Duration::from_millis(5)) => "quick",
///     };
///     assert_eq!(winner, "quick");
/// })
/// # }
/// ```
#[macro_export]
macro_rules! select {
    (biased; $($branches:tt)+) => { $crate::select!($($branches)+) };
    // One branch a step: a name for it, how its pattern is tested, and its four parts.
    (@ [$($names:ident)*] [$($done:tt)+]) => {
        $crate::select!(@ [$($names)*] [$($done)+] else => {
            panic!("every branch of this select! is out of the race, and it has no `else`")
        })
    };
    (@ [$($names:ident)*] [$({ $name:ident [$($test:tt)*] [$pattern:pat] [$future:expr] [$condition:expr] [$handler:expr] })+]
        else => $else:expr $(,)?) => {{
        // The variants carry the names of their types; the enum is out of the handlers' way.
        enum __RingloopSelected<$($name),+> {
            $($name($name),)+
            Else,
        }
        #[allow(non_snake_case)]
        let selected = {
            $(
                let $name = ::std::future::IntoFuture::into_future($future);
                let $name = ::std::pin::pin!(if $condition { Some($name) } else { None });
                let mut $name = $crate::__private::Branch::new($name);
            )+
            ::std::future::poll_fn(|cx| {
                let mut round = $crate::__private::Round::start();
                let mut pending = false;
                $(match $name.poll(&mut round, cx) {
                    Some(::std::task::Poll::Ready(output)) => {
                        #[allow(unused_variables, unreachable_patterns, clippy::match_like_matches_macro, clippy::match_single_binding)]
                        let fits = match &output {
                            $($test)* => true,
                            _ => false,
                        };
                        if fits {
                            return round.ready(__RingloopSelected::$name(output));
                        }
                    }
                    Some(::std::task::Poll::Pending) => pending = true,
                    None => {}
                })+
                if pending { round.pending() } else { round.ready(__RingloopSelected::Else) }
            })
            .await
        };
        match selected {
            $(__RingloopSelected::$name($pattern) => $handler,)+
            __RingloopSelected::Else => $else,
            #[allow(unreachable_patterns)]
            _ => unreachable!("a pattern that fitted fits no more"),
        }
    }};
    // `mut name` fits everything, and cannot be tested by reference.
    (@ [$name:ident $($names:ident)*] [$($done:tt)*] mut $bind:ident = $($rest:tt)+) => {
        $crate::select!(@@ [$($names)*] [$($done)*] { $name [_] [mut $bind] } $($rest)+)
    };
    (@ [$name:ident $($names:ident)*] [$($done:tt)*] $pattern:pat = $($rest:tt)+) => {
        $crate::select!(@@ [$($names)*] [$($done)*] { $name [$pattern] [$pattern] } $($rest)+)
    };
    (@@ [$($names:ident)*] [$($done:tt)*] { $($branch:tt)+ } $future:expr, if $condition:expr => $($rest:tt)+) => {
        $crate::select!(@@@ [$($names)*] [$($done)*] { $($branch)+ [$future] [$condition] } $($rest)+)
    };
    (@@ [$($names:ident)*] [$($done:tt)*] { $($branch:tt)+ } $future:expr => $($rest:tt)+) => {
        $crate::select!(@@@ [$($names)*] [$($done)*] { $($branch)+ [$future] [true] } $($rest)+)
    };
    (@@@ [$($names:ident)*] [$($done:tt)*] { $($branch:tt)+ } $handler:block, $($rest:tt)*) => {
        $crate::select!(@ [$($names)*] [$($done)* { $($branch)+ [$handler] }] $($rest)*)
    };
    (@@@ [$($names:ident)*] [$($done:tt)*] { $($branch:tt)+ } $handler:block $($rest:tt)*) => {
        $crate::select!(@ [$($names)*] [$($done)* { $($branch)+ [$handler] }] $($rest)*)
    };
    (@@@ [$($names:ident)*] [$($done:tt)*] { $($branch:tt)+ } $handler:expr, $($rest:tt)*) => {
        $crate::select!(@ [$($names)*] [$($done)* { $($branch)+ [$handler] }] $($rest)*)
    };
    (@@@ [$($names:ident)*] [$($done:tt)*] { $($branch:tt)+ } $handler:expr) => {
        $crate::select!(@ [$($names)*] [$($done)* { $($branch)+ [$handler] }])
    };
    ($($branches:tt)+) => { $crate::select!(@ [A B C D E F G H I J K L] [] $($branches)+) };
}
