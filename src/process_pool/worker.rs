//! The worker's side: a process that does nothing but jobs, one at a time.
//!
//! A worker is this program started again, with [`MARK`] as its argument and a socket as its standard input.
//! [`worker_main`] knows it by the mark and never returns there. Its main thread runs the functions; a second one reads, so
//! that it sees the pool's end of the socket close while a function runs: then the process kills itself, for whoever would
//! have had the result is gone. An idle worker exits in order.

use std::env;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use super::frame::{self, Tag};
use super::function::answer;
use crate::context;
use crate::sys::process::{kill_self, name_thread, replace_stdin};

/// The argument that makes a process of this program a worker.
pub(super) const MARK: &str = "--ringloop-process-worker";
/// In the environment of workers and of what they start: how many pools there are above.
pub(super) const DEPTH: &str = "RINGLOOP_PROCESS_DEPTH";
/// How deep pools may be nested. Whoever gets here by mistake doubles with every step.
pub(super) const DEEPEST: u32 = 4;

/// Exit statuses, as in sysexits.h.
const USAGE: i32 = 64;
const SOFTWARE: i32 = 70;

/// `main` has called [`worker_main`].
static HANDED_OVER: AtomicBool = AtomicBool::new(false);

/// Hands a worker process over to its pool: the first line of `main` in every program that has a [`ProcessPool`].
/// [`#[ringloop::main]`](macro@crate::main) does it by itself.
///
/// In a worker it runs jobs and never returns; in every other process it returns at once. What stands before it in `main`
/// happens in every worker too. A program without it gets [`ProcessError::Start`] from its pools, and no process is
/// started. Tests of such a program need a `main` of their own as well: `harness = false` in its Cargo.toml.
///
/// [`ProcessPool`]: crate::ProcessPool
/// [`ProcessError::Start`]: crate::ProcessError::Start
///
/// ```
/// fn main() -> Result<(), ringloop::RunError> {
///     ringloop::process_pool::worker_main();
///     ringloop::run(async {
///         // What the program does.
///     })
/// }
/// ```
pub fn worker_main() {
    HANDED_OVER.store(true, Ordering::Relaxed);
    if is_worker() {
        serve();
    }
}

/// Whether `main` hands workers over.
pub(super) fn is_handed_over() -> bool {
    HANDED_OVER.load(Ordering::Relaxed)
}

/// Whether this process was started as a worker.
fn is_worker() -> bool {
    env::args_os().nth(1).is_some_and(|argument| argument == MARK)
}

/// Ends a worker that runs the program's own code because nobody handed it over: it must not start workers in turn.
pub(super) fn end_if_lost() {
    if is_worker() && !is_handed_over() {
        eprintln!("ringloop: {MISSING}");
        exit(SOFTWARE);
    }
}

/// What a program without the hand-over is told.
pub(super) const MISSING: &str = "a worker process runs this program again, and `main` does not hand it over: \
     call `ringloop::process_pool::worker_main()` first in `main`, whatever the arguments are, \
     or have `#[ringloop::main]` do it";

/// Runs jobs until the pool ends.
fn serve() -> ! {
    let mut socket = match take_socket() {
        Ok(socket) => socket,
        Err(error) => {
            eprintln!(
                "ringloop: {MARK} is how a process pool starts its workers, not for use by hand: {error}"
            );
            exit(USAGE);
        }
    };
    // For ps and top; a failure costs no more than that.
    let _ = name_thread(c"ringloop-worker");
    let (jobs, line) = channel();
    let busy = Arc::new(AtomicBool::new(false));
    let reading = socket.try_clone().and_then(|socket| {
        let busy = busy.clone();
        thread::Builder::new().name("ringloop-reader".into()).spawn(move || listen(socket, &jobs, &busy))
    });
    if let Err(error) = reading.and_then(|_| socket.write_all(&frame::text(Tag::Ready, ""))) {
        eprintln!("ringloop: a worker process could not begin: {error}");
        exit(SOFTWARE);
    }
    for request in line {
        // As on the threads of a pool: what one job sets of context variables, the next does not see.
        let answer = context::run_in(None, || answer(&request));
        busy.store(false, Ordering::SeqCst);
        if socket.write_all(&answer).is_err() {
            break;
        }
    }
    exit(0)
}

/// Reads requests, and sees the pool's end.
fn listen(mut socket: UnixStream, jobs: &Sender<Vec<u8>>, busy: &AtomicBool) {
    while let Ok((Tag::Run, request)) = frame::read(&socket) {
        busy.store(true, Ordering::SeqCst);
        if socket.write_all(&frame::text(Tag::Begun, "")).is_err() || jobs.send(request).is_err() {
            break;
        }
    }
    if busy.load(Ordering::SeqCst) {
        // Nothing else ends a function that goes on.
        kill_self();
    }
}

/// The socket that the process was started with as its standard input, which becomes /dev/null: the functions have none, and
/// what they start inherits nothing.
fn take_socket() -> io::Result<UnixStream> {
    use std::os::fd::AsFd;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    socket.peer_addr()?;
    replace_stdin(File::open("/dev/null")?.as_fd())?;
    Ok(socket)
}
