//! A part of a trial in a forked child, for what would end the trial's own process.

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The child's exit status after a panic.
pub const PANICKED: i32 = 101;

/// Forks; the child runs `part` and exits with what it returns. Gives how the child ended.
pub fn forked(part: impl FnOnce() -> i32) -> WaitStatus {
    // SAFETY: the trial's process has one thread that matters, this one; the watchdog's holds no lock while it waits.
    match unsafe { fork() }.expect("a process may fork") {
        ForkResult::Parent { child } => waitpid(child, None).expect("it is our child"),
        ForkResult::Child => {
            let status = catch_unwind(AssertUnwindSafe(part)).unwrap_or(PANICKED);
            // Without destructors and exit handlers: they belong to the parent.
            // SAFETY: it ends the process and touches nothing.
            unsafe { nix::libc::_exit(status) }
        }
    }
}
