//! The suite: every trial on every kind of ring, each in a process of its own.
//!
//! `cargo test --test uring` runs it all, `cargo test --test uring -- cancel::` one theme, `... ::tiny` one kind of ring,
//! `... --exact NAME --in-process` one case in this very process, for a debugger. `RINGLOOP_SEED=n` repeats a failure
//! of a faulty ring, `RINGLOOP_PATIENCE=n` stretches every limit on a slow machine.
//!
//! A theme is a file with a table of its trials; how a case is run and judged is told in [`harness`].

// A run often hands a task's handle out to be awaited later: that is what is being tried.
#![allow(clippy::async_yields_async)]

mod harness;

mod answers;
mod architecture;
mod barrier;
mod callbacks;
mod cancel;
mod combinators;
mod condition;
mod contexts;
mod deadlines;
mod debug;
mod durations;
mod eager;
mod endless;
mod exceptions;
mod facts;
mod files;
mod fork;
mod futures;
mod groups;
mod harness_itself;
mod interrupts;
mod intervals;
mod limits;
mod listener;
mod locks;
mod on_done;
mod ops;
#[cfg(feature = "process-pool")]
mod process_pool;
mod programs;
mod queues;
mod registered;
mod requests;
mod ring;
mod running;
mod served;
mod shutdown;
mod sockets;
mod staggered;
mod tasks;
mod threads;
mod timers;
mod unseen;
mod waiters;
mod waiting;
mod wakers;
mod watched;
mod writers;

use harness::process::{self, IN_PROCESS};
use harness::trial::{Case, Trial};
use harness_itself::{SPECIMEN, SPECIMENS};
use libtest_mimic::Arguments;

/// The themes, from the ground up.
const THEMES: &[(&str, &[Trial])] = &[
    ("harness", harness_itself::TRIALS),
    ("architecture", architecture::TRIALS),
    ("facts", facts::TRIALS),
    ("ops", ops::TRIALS),
    ("answers", answers::TRIALS),
    ("endless", endless::TRIALS),
    ("wakers", wakers::TRIALS),
    ("ring", ring::TRIALS),
    ("tasks", tasks::TRIALS),
    ("eager", eager::TRIALS),
    ("on_done", on_done::TRIALS),
    ("unseen", unseen::TRIALS),
    ("contexts", contexts::TRIALS),
    ("threads", threads::TRIALS),
    ("futures", futures::TRIALS),
    ("deadlines", deadlines::TRIALS),
    ("intervals", intervals::TRIALS),
    ("callbacks", callbacks::TRIALS),
    ("exceptions", exceptions::TRIALS),
    ("locks", locks::TRIALS),
    ("condition", condition::TRIALS),
    ("barrier", barrier::TRIALS),
    ("queues", queues::TRIALS),
    ("waiters", waiters::TRIALS),
    ("cancel", cancel::TRIALS),
    ("timers", timers::TRIALS),
    ("durations", durations::TRIALS),
    ("combinators", combinators::TRIALS),
    ("requests", requests::TRIALS),
    ("staggered", staggered::TRIALS),
    ("waiting", waiting::TRIALS),
    ("groups", groups::TRIALS),
    ("files", files::TRIALS),
    ("served", served::TRIALS),
    ("registered", registered::TRIALS),
    ("sockets", sockets::TRIALS),
    ("watched", watched::TRIALS),
    ("listener", listener::TRIALS),
    ("writers", writers::TRIALS),
    ("limits", limits::TRIALS),
    ("running", running::TRIALS),
    ("interrupts", interrupts::TRIALS),
    ("programs", programs::TRIALS),
    ("shutdown", shutdown::TRIALS),
    ("debug", debug::TRIALS),
    ("fork", fork::TRIALS),
    #[cfg(feature = "process-pool")]
    ("process_pool", process_pool::TRIALS),
];

fn main() {
    #[cfg(feature = "process-pool")]
    process_pool::hand_over();
    process::settle_in();
    let in_process = std::env::args().any(|argument| argument == IN_PROCESS);
    let mut arguments = Arguments::from_iter(std::env::args().filter(|argument| argument != IN_PROCESS));
    if in_process {
        // One after the other on the main thread: the trial's process has no other thread than its own.
        arguments.test_threads = Some(1);
    }
    let run = if in_process { process::run_here } else { process::run_in_child };
    // What the harness is tried on is wrong on purpose: it is there for the children only.
    let specimens = in_process.then_some((SPECIMEN, SPECIMENS));
    let themes = THEMES.iter().copied().chain(specimens);
    let cases = themes.flat_map(|(theme, trials)| Case::of_theme(theme, trials));
    let trials: Vec<_> =
        cases.map(|case| libtest_mimic::Trial::ignorable_test(case.name(), move || run(case))).collect();
    let all = trials.len() as u64;
    let conclusion = libtest_mimic::run(&arguments, trials);
    assert!(!in_process || arguments.list || conclusion.num_filtered_out < all, "no case has that name");
    conclusion.exit();
}
