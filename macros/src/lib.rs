//! The attributes of `ringloop`, which re-exports them: `#[ringloop::main]` and `#[ringloop::test]`.
//!
//! Both leave the function as it is, inside of one that is not async and calls `ringloop::__private` with it: what it means
//! to run a program or a test is told there. `function` reads what the attribute stands on, `options` what is in its
//! brackets. A body is never parsed, so what is wrong in it is the compiler's to say.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod function;
mod options;
#[cfg(test)]
mod tests;

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{ToTokens, quote};
use syn::{Error, Result};

use function::Function;
use options::Options;

/// Makes `async fn main` the program: it runs on an event loop, Ctrl-C is taken as asyncio takes it, and what it returns is
/// what `main` returns.
///
/// ```
/// #[ringloop::main]
/// async fn main() -> std::io::Result<()> {
///     let version = ringloop::fs::read_to_string("/proc/version").await?;
///     println!("{}", version.trim_end());
///     Ok(())
/// }
/// ```
///
/// The first Ctrl-C cancels main, which may clean up; the loop is then closed in order, and the exit status is 130. The
/// second ends the process at once. A main that catches the cancel and returns is a main that returns.
///
/// Where there can be no event loop, the reason and the remedy go to stderr, and the exit status is 1. So it is if somebody
/// cancels main. A program that wants to answer these itself calls `ringloop::run`.
///
/// With ringloop's feature `process-pool`, worker processes are handed over before anything else happens
/// (`process_pool::worker_main`): such a program has nothing more to do for its `ProcessPool`.
///
/// # Options
///
/// `debug`, `name`, `ring_entries`, `thread_pool`, `shutdown_timeout` and `sigint` are the methods of `ringloop::Builder`, with
/// any expression that these take; `debug` alone turns it on.
///
/// ```
/// use std::time::Duration;
///
/// #[ringloop::main(debug, name = "server", ring_entries = 1024, shutdown_timeout = Duration::from_secs(5))]
/// async fn main() {
///     assert_eq!(&*ringloop::current_task().unwrap().name(), "main");
/// }
/// ```
///
/// # Errors
///
/// All of these are told by the compiler: a function that is not async,
///
/// ```compile_fail
/// #[ringloop::main]
/// fn main() {}
/// ```
///
/// that has parameters,
///
/// ```compile_fail
/// #[ringloop::main]
/// async fn main(arguments: Vec<String>) {}
/// ```
///
/// that is not `main`,
///
/// ```compile_fail
/// #[ringloop::main]
/// async fn serve() {}
/// # fn main() {}
/// ```
///
/// and an option that there is not, or that is given twice or in another form.
///
/// ```compile_fail
/// #[ringloop::main(threads = 4)]
/// async fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::main(name)]
/// async fn main() {}
/// ```
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = expand_main(options.into(), item.into());
    // Without any `main` the compiler would complain of that as well.
    expanded
        .unwrap_or_else(|error| {
            refusal(
                &error,
                quote!(
                    fn main() {}
                ),
            )
        })
        .into()
}

/// Makes an `async fn` a test that runs on an event loop of its own.
///
/// ```
/// use ringloop::{sleep, timeout};
/// use std::time::Duration;
///
/// #[ringloop::test]
/// async fn a_file_can_be_read() -> std::io::Result<()> {
///     assert!(!ringloop::fs::read("/proc/version").await?.is_empty());
///     Ok(())
/// }
///
/// // An hour passes at once: the clock stands still, and jumps when everybody waits.
/// #[ringloop::test(clock = "paused")]
/// async fn a_limit_ends_what_takes_longer() {
///     let hour = Duration::from_secs(3600);
///     assert!(timeout(hour, sleep(2 * hour)).await.is_err());
/// }
/// # fn main() {}
/// ```
///
/// `#[ignore]`, `#[should_panic]` and other attributes stand beside it as beside `#[test]`, which is not needed. Where there
/// can be no event loop, the test fails with the remedy. Where everything is imported from `ringloop` by `*`, a plain `#[test]`
/// is ambiguous: import by name.
///
/// # Options
///
/// `clock = "paused"`; and `debug`, `name`, `ring_entries`, `thread_pool`, `shutdown_timeout` as for `#[ringloop::main]`.
///
/// # Errors
///
/// The compiler refuses a function that is not async, or that has parameters, and other options.
///
/// ```compile_fail
/// #[ringloop::test]
/// fn blocks() {}
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::test]
/// async fn wants(case: u8) {}
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::test(clock = "stopped")]
/// async fn waits() {}
/// # fn main() {}
/// ```
///
/// ```compile_fail
/// #[ringloop::test(sigint = ringloop::Sigint::Cancel)]
/// async fn is_interrupted() {}
/// # fn main() {}
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    let expanded = expand_test(options.into(), item.into());
    expanded.unwrap_or_else(|error| refusal(&error, Tokens::new())).into()
}

fn expand_main(options: Tokens, item: Tokens) -> Result<Tokens> {
    let function = Function::parse("#[ringloop::main]", item)?;
    if function.name != "main" {
        return Err(Error::new(
            function.name.span(),
            "#[ringloop::main] is for `main`; `ringloop::run` runs other functions",
        ));
    }
    let builder = Options::parse("#[ringloop::main]", &["sigint"], options)?.on(
        // Before the options, which may say otherwise.
        quote!(::ringloop::Builder::new().sigint(::ringloop::Sigint::Cancel)),
    );
    Ok(function.around(Tokens::new(), |name| quote!(::ringloop::__private::run_main(|| #builder, #name()))))
}

fn expand_test(options: Tokens, item: Tokens) -> Result<Tokens> {
    let function = Function::parse("#[ringloop::test]", item)?;
    if let Some(second) = function.attributes.iter().find(|attribute| attribute.path().is_ident("test")) {
        return Err(Error::new_spanned(
            second,
            "#[ringloop::test] makes it a test already: leave #[test] away",
        ));
    }
    let builder =
        Options::parse("#[ringloop::test]", &["clock"], options)?.on(quote!(::ringloop::Builder::new()));
    let attribute = quote!(#[::core::prelude::v1::test]);
    Ok(function.around(attribute, |name| quote!(::ringloop::__private::run_test(#builder, #name()))))
}

/// The error, and what keeps the compiler from finding more.
fn refusal(error: &Error, instead: Tokens) -> Tokens {
    let mut tokens = error.to_compile_error();
    instead.to_tokens(&mut tokens);
    tokens
}
