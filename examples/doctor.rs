//! Says what this kernel and container offer to ringloop, and what to do about what they do not: `cargo run --example doctor`.
//!
//! The exit status is 1 if io_uring cannot be used here, so a deployment script can ask before it installs anything.

use std::process::ExitCode;

fn main() -> ExitCode {
    let diagnosis = ringloop::diagnose();
    println!("{diagnosis}");
    if diagnosis.is_usable() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
