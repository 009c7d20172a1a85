//! Ctrl-C cancels main: a thread waits for the signal, which all others block.

use std::process::exit;
use std::{io, thread};

use nix::sys::signal::{SigSet, Signal};
use ringloop::{LoopHandle, all_tasks};

/// The exit status after Ctrl-C, by the shell's convention.
pub const STATUS: u8 = 130;

/// Cancels the loop's main when Ctrl-C comes; the second one ends the program. To be called before other threads are
/// started: they inherit that the signal is blocked.
pub fn cancel_main_on_ctrl_c(handle: LoopHandle) -> io::Result<()> {
    let signals = SigSet::from(Signal::SIGINT);
    signals.thread_block()?;
    let wait = move || -> nix::Result<()> {
        signals.wait()?;
        // A loop that is gone has nothing left to cancel.
        let _ = handle.call_soon_threadsafe(|| {
            for task in all_tasks().iter().filter(|task| &*task.name() == "main") {
                task.cancel_with("Ctrl-C");
            }
        });
        signals.wait()?;
        exit(STATUS.into())
    };
    thread::Builder::new().name("ctrl-c".to_owned()).spawn(wait)?;
    Ok(())
}
