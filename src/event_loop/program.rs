//! What the attributes stand for: `#[ringloop::main]` is [`run_main`], `#[ringloop::test]` is [`run_test`].

use std::future::Future;
use std::process::exit;

use super::Builder;
use super::runner::run_on;

/// The exit status that a shell gives to what SIGINT has ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Runs a program's main and gives its output. Without one, the program ends here: with status 130 after Ctrl-C, else with
/// status 1 and the reason on stderr; either way the loop was closed before.
#[track_caller]
pub fn run_main<F: Future>(builder: Builder, main: F) -> F::Output {
    match run_on(builder, main) {
        Ok(output) => output,
        Err(error) if error.is_interrupted() => exit(INTERRUPTED),
        Err(error) => {
            eprintln!("Error: {error}");
            exit(1);
        }
    }
}

/// Runs a test's body; without an output it fails, with the reason and the remedy.
#[track_caller]
pub fn run_test<F: Future>(builder: Builder, body: F) -> F::Output {
    match run_on(builder, body) {
        Ok(output) => output,
        Err(error) => panic!("{error}"),
    }
}
