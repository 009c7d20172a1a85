//! A look at a live process from outside: with `RINGLOOP_INSPECT=path` in the environment its loops answer on a unix socket.
//!
//! A client sends a line, `ps` or `pstree`, and reads to the end (`examples/inspect.rs`). One thread of the process serves
//! all its loops: it asks each by a function that runs on the loop between two tasks, and of a loop that does not answer in
//! time it tells the poll that holds it. So no loop ever waits for a client, and one that hangs can be asked as well.
//!
//! The socket is the user's alone (mode 0600) and goes with the last loop. What cannot be served is reported, and the loop
//! runs without.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::debug::Place;
use super::dump::{Forest, table};
use super::{ErrorContext, EventLoop, LoopHandle, operations, running};
use crate::ring::later;
use crate::sys::Errno;
use crate::sys::clock;
use crate::sys::file::{Mode, fchmod};
use crate::sys::socket::{SockAddr, SockRef, unix_stream};

/// How long the loops together have for an answer, and a client for each piece of its question or of the answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where the socket is wanted, if it is.
pub(super) fn wanted() -> Option<OsString> {
    std::env::var_os("RINGLOOP_INSPECT").filter(|path| !path.is_empty())
}

/// The process's service, while a loop is listed.
static SERVICE: Mutex<Option<Service>> = Mutex::new(None);

struct Service {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
    path: PathBuf,
    /// Device and number of the socket's file: nobody else's is removed.
    file: (u64, u64),
    /// The process that the thread is in.
    process: u32,
}

/// What the service's thread has.
struct Shared {
    listener: UnixListener,
    loops: Mutex<Vec<Listed>>,
    /// The client that is served.
    client: Mutex<Option<UnixStream>>,
    over: AtomicBool,
}

/// A loop that answers.
#[derive(Clone)]
struct Listed {
    number: u32,
    name: String,
    handle: LoopHandle,
    place: Arc<Place>,
}

/// What a client may ask for.
#[derive(Clone, Copy)]
enum Question {
    Table,
    Tree,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can leave a value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the loop answer, if that is wanted.
pub(super) fn enlist(event_loop: &EventLoop) {
    let Some(path) = wanted() else { return };
    let listed = Listed {
        number: event_loop.executor.number(),
        name: event_loop.options.name.clone(),
        handle: LoopHandle::of(event_loop),
        place: event_loop.debug.place(),
    };
    let mut service = lock(&SERVICE);
    if let Some(inherited) = service.take_if(|service| service.process != std::process::id()) {
        // This is a forked child, which has no such thread.
        std::mem::forget(inherited.thread);
    }
    if service.is_none() {
        match Service::start(Path::new(&path)) {
            Ok(started) => *service = Some(started),
            Err(error) => {
                drop(service);
                let path = path.display();
                let message = format!("this process cannot be inspected at {path}");
                return event_loop.report(&ErrorContext::new(message).with_error(error));
            }
        }
    }
    if let Some(service) = &*service {
        lock(&service.shared.loops).push(listed);
    }
}

/// The loop has ended; the last one ends the service.
pub(super) fn strike(event_loop: &EventLoop) {
    let mut service = lock(&SERVICE);
    let own = service.as_ref().filter(|service| service.process == std::process::id());
    let Some(shared) = own.map(|service| service.shared.clone()) else { return };
    let mut loops = lock(&shared.loops);
    loops.retain(|listed| listed.number != event_loop.executor.number());
    let is_last = loops.is_empty();
    drop(loops);
    if is_last && let Some(service) = service.take() {
        service.stop();
    }
}

impl Service {
    fn start(path: &Path) -> io::Result<Service> {
        let listener = listen(path)?;
        let metadata = fs::symlink_metadata(path)?;
        let (loops, client) = (Mutex::default(), Mutex::default());
        let shared = Arc::new(Shared { listener, loops, client, over: AtomicBool::new(false) });
        let own = shared.clone();
        let thread = thread::Builder::new().name("ringloop-inspect".into()).spawn(move || own.serve())?;
        let file = (metadata.dev(), metadata.ino());
        Ok(Service { shared, thread, path: path.to_owned(), file, process: std::process::id() })
    }

    fn stop(self) {
        let Service { shared, thread, path, file, .. } = self;
        shared.over.store(true, Ordering::SeqCst);
        // Ends an accept, and a client that is slow.
        let _ = SockRef::of(&shared.listener).shutdown(Shutdown::Both);
        if let Some(client) = &*lock(&shared.client) {
            let _ = client.shutdown(Shutdown::Both);
        }
        if thread.join().is_err() {
            tracing::error!(target: "ringloop", "the thread that answers `inspect` has panicked");
        }
        if fs::symlink_metadata(&path).is_ok_and(|found| (found.dev(), found.ino()) == file) {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Listens there; a socket that a process left which is gone is replaced.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let fd = unix_stream()?;
    let socket = SockRef::of(&fd);
    // Before it has a name: nobody else ever gets in.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(Errno::EADDRINUSE) if is_abandoned(path) => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    socket.listen(16)?;
    Ok(UnixListener::from(fd))
}

/// Whether it is a socket that nobody listens on.
fn is_abandoned(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

impl Shared {
    fn serve(&self) {
        loop {
            let client = self.listener.accept();
            if self.over.load(Ordering::SeqCst) {
                return;
            }
            match client {
                Ok((client, _)) => self.attend(client),
                // No descriptor is free, say.
                Err(error) => {
                    tracing::debug!(target: "ringloop", %error, "inspect: no client");
                    thread::sleep(PATIENCE / 10);
                }
            }
        }
    }

    /// Serves one client; what goes wrong is the client's to see.
    fn attend(&self, client: UnixStream) {
        *lock(&self.client) = client.try_clone().ok();
        // The end may have come before the client was there to be interrupted.
        if !self.over.load(Ordering::SeqCst)
            && let Err(error) = self.converse(&client)
        {
            tracing::debug!(target: "ringloop", %error, "inspect: a client");
        }
        *lock(&self.client) = None;
    }

    fn converse(&self, mut client: &UnixStream) -> io::Result<()> {
        client.set_read_timeout(Some(PATIENCE))?;
        client.set_write_timeout(Some(PATIENCE))?;
        let mut line = String::new();
        BufReader::new(client.take(64)).read_line(&mut line)?;
        let answer = match line.trim() {
            "ps" => self.ask(Question::Table),
            "pstree" => self.ask(Question::Tree),
            other => format!("'{other}' is no question: ask for ps or pstree\n"),
        };
        client.write_all(answer.as_bytes())
    }

    /// Asks every loop at once, and waits for all of them together.
    fn ask(&self, question: Question) -> String {
        let loops = lock(&self.loops).clone();
        let deadline = later(clock::now(), PATIENCE);
        let asked: Vec<_> = loops.into_iter().map(|listed| (listed.ask(question), listed)).collect();
        let mut text = format!("process {}\n", std::process::id());
        for (answer, listed) in asked {
            text += &format!("\nloop '{}' ", listed.name);
            match answer.recv_timeout(deadline.saturating_duration_since(clock::now())) {
                Ok(answer) => text += &answer,
                Err(RecvTimeoutError::Disconnected) => text += "has ended\n",
                Err(RecvTimeoutError::Timeout) => text += &listed.excuse(),
            }
        }
        text
    }
}

impl Listed {
    fn ask(&self, question: Question) -> Receiver<String> {
        let (sender, answer) = channel();
        let look = move || {
            if let Some(event_loop) = running() {
                // The client may have gone.
                let _ = sender.send(snapshot(&event_loop, question));
            }
        };
        // Refused, the sender is dropped: the loop has ended.
        let _ = self.handle.call_soon_threadsafe(look);
        answer
    }

    /// Why the loop does not answer.
    fn excuse(&self) -> String {
        match self.place.describe() {
            Some((label, lasted)) => format!("has been busy for {lasted:?} in {label}\n"),
            None => "does not answer: it stands still between two runs, or debug mode is off\n".to_owned(),
        }
    }
}

/// What a loop says of itself.
fn snapshot(event_loop: &EventLoop, question: Question) -> String {
    let thread = thread::current();
    let figures = event_loop.reactor.figures();
    let mut text = format!(
        "on thread '{}', turn {}: {} tasks, {} operations, {} timers\n",
        thread.name().unwrap_or("unnamed"),
        event_loop.turns.get(),
        event_loop.executor.all_tasks().len(),
        figures.operations,
        figures.timers
    );
    match question {
        Question::Table => {
            text += &table(event_loop);
            let pending: Vec<_> = event_loop.reactor.operations();
            let pending: Vec<_> =
                pending.into_iter().map(|(name, descriptor, _)| (name, descriptor)).collect();
            if !pending.is_empty() {
                text += &format!("operations: {}\n", operations(&pending));
            }
        }
        Question::Tree => text += &Forest::of(event_loop.executor.all_tasks()).to_string(),
    }
    text
}
