//! What the attributes expand to, and what they say where they do not.

use proc_macro2::{Span, TokenStream as Tokens};
use syn::{Error, Result};

use super::{expand_main, expand_test, refusal};

fn tokens(text: &str) -> Tokens {
    text.parse().expect("the text is balanced")
}

fn main_of(options: &str, item: &str) -> Result<Tokens> {
    expand_main(tokens(options), tokens(item))
}

fn test_of(options: &str, item: &str) -> Result<Tokens> {
    expand_test(tokens(options), tokens(item))
}

#[track_caller]
fn assert_expands(expanded: Result<Tokens>, expected: &str) {
    assert_eq!(expanded.expect("it is in order").to_string(), tokens(expected).to_string());
}

#[track_caller]
fn assert_refused(expanded: Result<Tokens>, expected: &str) {
    assert_eq!(expanded.expect_err("it is out of order").to_string(), expected);
}

#[test]
fn main_keeps_its_attributes_visibility_output_and_body() {
    assert_expands(
        main_of(
            r#"debug, name = a::b("c", 1),"#,
            "#[allow(dead_code)] pub(crate) async fn main() -> Result<(), E> { anything ?? at : all }",
        ),
        r#"
        #[allow(dead_code)]
        pub(crate) fn main() -> Result<(), E> {
            async fn main() -> Result<(), E> { anything ?? at : all }
            ::ringloop::__private::run_main(
                || ::ringloop::Builder::new().sigint(::ringloop::Sigint::Cancel).debug(true).name(a::b("c", 1)),
                main()
            )
        }"#,
    );
}

#[test]
fn a_test_is_one_to_the_test_harness() {
    assert_expands(
        test_of(r#"clock = "paused", debug = false"#, "#[should_panic] async fn fails() {}"),
        "
        #[::core::prelude::v1::test]
        #[should_panic]
        fn fails() {
            async fn fails() {}
            ::ringloop::__private::run_test(
                ::ringloop::Builder::new().clock(::ringloop::Clock::Paused).debug(false),
                fails()
            )
        }",
    );
    test_of(r#"clock = "real""#, "async fn sleeps() {}").expect("it is in order");
}

#[test]
fn what_is_no_plain_async_function_is_refused() {
    let refused = |item, expected| assert_refused(main_of("", item), expected);
    refused("fn main() {}", "#[ringloop::main] needs an `async fn`: put `async` before `fn`");
    refused(
        "async fn main(a: u8) {}",
        "#[ringloop::main] calls the function without arguments: it cannot have parameters",
    );
    for item in ["async fn main<T>() {}", "async fn main() where (): Copy {}"] {
        refused(item, "#[ringloop::main] cannot tell what the function is to be generic over");
    }
    for item in ["async unsafe fn main() {}", r#"extern "C" fn main() {}"#, "const fn main() {}"] {
        refused(item, "#[ringloop::main] needs a plain `async fn`");
    }
    for item in ["struct Main;", "async fn main();"] {
        refused(item, "#[ringloop::main] stands before an `async fn`");
    }
}

#[test]
fn the_wrong_attribute_is_refused() {
    assert_refused(
        main_of("", "async fn serve() {}"),
        "#[ringloop::main] is for `main`; `ringloop::run` runs other functions",
    );
    assert_refused(
        test_of("", "#[test] async fn twice() {}"),
        "#[ringloop::test] makes it a test already: leave #[test] away",
    );
}

#[test]
fn options_that_are_out_of_order_are_told_what_is_right() {
    let refused = |options, expected| assert_refused(main_of(options, "async fn main() {}"), expected);
    refused(
        "threads = 4",
        "#[ringloop::main] has no option `threads`; \
         there are debug, name, ring_entries, thread_pool, shutdown_timeout, sigint",
    );
    refused(r#"name = "a", debug, name = "b""#, "`name` is given twice");
    refused("name", "`name` needs a value: `name = ..`");
    refused(r#"name("a")"#, "`name` needs a value: `name = ..`");
    refused(r#""name""#, "an option of #[ringloop::main] is a word: `debug`, or `name = ..`");

    let refused = |options, expected| assert_refused(test_of(options, "async fn waits() {}"), expected);
    for options in [r#"clock = "stopped""#, "clock = Paused"] {
        refused(options, r#"the clock is "paused" or "real""#);
    }
    refused(
        "sigint = a",
        "#[ringloop::test] has no option `sigint`; \
         there are debug, name, ring_entries, thread_pool, shutdown_timeout, clock",
    );
}

#[test]
fn a_refused_main_leaves_one_behind() {
    let refused = refusal(&Error::new(Span::call_site(), "no"), tokens("fn main() {}")).to_string();
    assert!(refused.contains("compile_error") && refused.ends_with("fn main () { }"), "{refused}");
}
