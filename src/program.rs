//! What the attributes stand for: `#[ringloop::main]` is [`run_main`], `#[ringloop::test]` is [`run_test`].

use std::future::Future;
use std::process::exit;

use crate::event_loop::Builder;

/// The exit status that a shell gives to what SIGINT has ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Runs a program's main and gives its output. Without one, the program ends here: with status 130 after Ctrl-C, else with
/// status 1 and the reason on stderr; either way the loop was closed before.
///
/// A worker process of a `ProcessPool` is handed over first. It has another command line than the program, so not even the
/// options are evaluated in it.
#[track_caller]
pub fn run_main<F: Future>(options: impl FnOnce() -> Builder, main: F) -> F::Output {
    #[cfg(feature = "process-pool")]
    crate::process_pool::worker_main();
    match options().run(main) {
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
    match builder.run(body) {
        Ok(output) => output,
        Err(error) => panic!("{error}"),
    }
}
