//! Ends a trial that hangs, and says first where it hangs.
//!
//! The loop's state is known only to its own thread. A trial usually hangs because something that it awaits never comes:
//! then the loop itself is well, and tells its tasks and operations when the watchdog calls it from outside. If it does
//! not answer within a second it is the thread that hangs. In both cases a signal then makes that thread print its
//! backtrace and abort. That is not async-signal-safe, and need not be: a thread that sleeps in the kernel or spins in a
//! poll holds no lock that printing needs, and where it does, the parent's harder limit ends the process.

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use ringloop::LoopHandle;
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// The loop that was made last in this process.
static LOOP: Mutex<Option<LoopHandle>> = Mutex::new(None);

/// Tells the watchdog whom to ask.
pub fn watch(handle: LoopHandle) {
    *LOOP.lock().expect("nobody panics with it") = Some(handle);
}

/// Has the loop print its tasks and operations; waits a second for it at most.
fn ask_the_loop() {
    let handle = LOOP.lock().expect("nobody panics with it").take();
    let (told, telling) = mpsc::channel();
    let tell = move || {
        eprintln!("{}", super::kinds::dump());
        let _ = told.send(());
    };
    let asked = handle.is_some_and(|handle| handle.call_soon_threadsafe(tell).is_ok());
    if !asked || telling.recv_timeout(Duration::from_secs(1)).is_err() {
        eprintln!("no loop answers");
    }
}

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
        let action =
            SigAction::new(SigHandler::Handler(backtrace_and_abort), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler ends the process; that it may deadlock before is accepted, see the module's head.
        unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("SIGUSR1 can be caught");
        let (over, watch) = mpsc::channel();
        let watched: Pthread = pthread_self();
        let bark = move || {
            if watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                eprintln!("watchdog: {name} still runs after {limit:?}");
                ask_the_loop();
                let _ = pthread_kill(watched, Signal::SIGUSR1);
            }
        };
        let thread =
            std::thread::Builder::new().name("watchdog".into()).spawn(bark).expect("a thread can start");
        Watchdog { over: Some(over), thread: Some(thread) }
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

extern "C" fn backtrace_and_abort(_: nix::libc::c_int) {
    eprintln!("{}", std::backtrace::Backtrace::force_capture());
    std::process::abort();
}
