//! Ends a trial that hangs, and says first where it hangs.
//!
//! The loop's state is known only to its own thread, which is the one that hangs. So the watchdog sends that thread a
//! signal, and the handler prints the backtrace and the loop's tasks and operations from there, then aborts. That is not
//! async-signal-safe, and need not be: a thread that sleeps in the kernel or spins in a poll holds no lock that printing
//! needs, and where it does, the handler hangs as well and the parent's harder limit ends the process.

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// Watches over the thread that made it until it is dropped.
pub struct Watchdog {
    /// Closing it calls the dog off.
    over: Option<Sender<()>>,
    /// The dog.
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Ends the process if the watchdog still lives after `limit`.
    pub fn start(name: String, limit: Duration) -> Self {
        let action = SigAction::new(
            SigHandler::Handler(report_and_abort),
            SaFlags::empty(),
            SigSet::empty(),
        );
        // SAFETY: the handler ends the process; that it may deadlock before is accepted, see the module's head.
        unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("SIGUSR1 can be caught");
        let (over, watch) = mpsc::channel();
        let watched: Pthread = pthread_self();
        let bark = move || {
            if watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("watchdog: {name} still runs after {limit:?}");
                let _ = pthread_kill(watched, Signal::SIGUSR1);
            }
        };
        let thread = std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(bark)
            .expect("a thread can start");
        Watchdog {
            over: Some(over),
            thread: Some(thread),
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.over.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

extern "C" fn report_and_abort(_: nix::libc::c_int) {
    eprintln!("{}", super::kinds::dump());
    eprintln!("{}", std::backtrace::Backtrace::force_capture());
    std::process::abort();
}
