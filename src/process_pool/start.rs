//! A worker, seen from the pool: how it is started, spoken to and ended.
//!
//! The socket is the worker's standard input: that is the one descriptor that std hands to a child by itself, without code
//! between fork and exec, and at no moment can another process that is started meanwhile inherit it.

use std::env;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::child::Child;
use super::frame::{self, HEAD, Tag};
use super::process::Process;
use super::worker::{DEEPEST, DEPTH, MARK, MISSING, is_handed_over};
use crate::net::TcpStream;
use crate::thread::to_thread;

/// How long a new worker may take until it takes jobs: what stands before `worker_main`, on a slow machine.
const HAND_OVER: Duration = Duration::from_secs(30);
/// The most memory that is set aside for an answer before it comes.
const AHEAD: usize = 1 << 20;

/// A worker process and the connection to it; its drop kills.
pub(super) struct Worker {
    pub(super) child: Rc<Child>,
    /// None only while it is being dropped.
    stream: Option<TcpStream>,
}

impl Worker {
    /// Starts one, on the thread pool, because exec(2) and the program's start take their time.
    pub(super) async fn start() -> io::Result<Worker> {
        let mut started = to_thread(start).await??;
        let (process, socket) = started.0.take().expect("what was just started has not been taken yet");
        let child = Child::new(process);
        // All that it asks of its socket a unix stream has as well.
        let stream = TcpStream::from_std(OwnedFd::from(socket).into())?;
        child.watch();
        Ok(Worker { child, stream: Some(stream) })
    }

    fn stream(&self) -> &TcpStream {
        self.stream.as_ref().expect("a worker has its stream until it is dropped")
    }

    /// Sends a whole frame.
    pub(super) async fn send(&self, frame: Bytes) -> io::Result<()> {
        self.stream().write_owned(frame).await?;
        Ok(())
    }

    /// Receives a whole frame.
    pub(super) async fn receive(&self) -> io::Result<(Tag, Vec<u8>)> {
        let mut head = [0; HEAD];
        self.stream().read_exact(&mut head).await?;
        let (tag, length) = frame::parse(head)?;
        // The memory grows with what comes, whatever the length says.
        let mut body = Vec::new();
        while body.len() < length {
            let received = body.len();
            body.resize(length.min(received.saturating_mul(2).max(AHEAD)), 0);
            self.stream().read_exact(&mut body[received..]).await?;
        }
        Ok((tag, body))
    }

    /// Lets an idle one exit.
    pub(super) async fn dismiss(&self) {
        // Where this fails it is gone already.
        let _ = self.stream().shutdown_write().await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let Some(stream) = self.stream.take() else { return };
        // In a fork of the pool's process all this is the parent's.
        if self.child.is_ours() {
            self.child.kill();
            stream.abort();
        }
    }
}

/// A process that takes jobs, and our end of its socket. Dropped on a loop's thread it must not wait for the process's end.
struct Started(Option<(Process, UnixStream)>);

impl Drop for Started {
    fn drop(&mut self) {
        if let Some((process, _)) = self.0.take() {
            Child::new(process).kill();
        }
    }
}

/// Starts a process and waits, blocking, until it takes jobs.
fn start() -> io::Result<Started> {
    if !is_handed_over() {
        return Err(io::Error::other(MISSING));
    }
    let depth = env::var(DEPTH).ok().and_then(|depth| depth.parse().ok()).unwrap_or(0);
    if depth >= DEEPEST {
        let deep = format!(
            "{depth} process pools are above this one: workers that start workers in turn are stopped here"
        );
        return Err(io::Error::other(deep));
    }
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = env::args_os().next() {
        command.arg0(name);
    }
    command.arg(MARK).env(DEPTH, (depth + 1).to_string());
    command.stdin(OwnedFd::from(theirs)).process_group(0);
    let process = Process::of(command.spawn()?)?;
    // With it goes our copy of the worker's end.
    drop(command);
    ours.set_read_timeout(Some(HAND_OVER))?;
    let error = match frame::read(&ours) {
        Ok((Tag::Ready, _)) => {
            ours.set_read_timeout(None)?;
            return Ok(Started(Some((process, ours))));
        }
        Ok(_) => io::Error::from(io::ErrorKind::InvalidData),
        Err(error) => error,
    };
    let how = match (error.kind(), process.wait(Duration::from_secs(1)), process.status()) {
        (io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset, true, Some(status)) => {
            format!("it ended before it took jobs ({status})")
        }
        (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, ..) => {
            format!("it took no jobs within {HAND_OVER:?} and was killed")
        }
        _ => format!("it took no jobs and was killed ({error})"),
    };
    Err(io::Error::other(format!("{how}; {MISSING}")))
}
