//! The client: asks for the listing, then for each file, over a bounded number of connections.
//!
//! A semaphore holds one permit per connection. Each file is a task of its own that is not created before it has a permit, so
//! there are never more tasks than permits; the connection of a task that is done serves the next. A transfer that takes
//! too long, or whose connection breaks, is tried again after a pause, on a fresh connection.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ringloop::net::TcpStream;
use ringloop::sync::Semaphore;
use ringloop::{catch_cancel, create_task, join, resume_cancel, sleep, timeout};
use sha2::{Digest, Sha256};

use crate::options::Options;
use crate::place::{self, TempFile};
use crate::report::Report;
use crate::serve::{digest, hex};
use crate::wire::{Entry, Found, Kind, Message, Reply, Request, Wire};

/// The mirror's receiving end.
pub struct Client {
    /// Where the server listens.
    server: SocketAddr,
    /// What proves to it that this is its client.
    token: Rc<str>,
    /// What the user wants.
    options: Rc<Options>,
    /// What happened so far.
    report: Rc<Report>,
    /// Connections that wait for a file.
    idle: RefCell<Vec<Wire>>,
}

/// The slowest that a large file may come, in bytes per second: without it no fixed limit would suit every length.
const PER_SECOND: u64 = 8 << 20;

/// The pause before the second attempt; it doubles for each further one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why a file is not there.
enum Failure {
    /// Another attempt may succeed.
    Again(String),
    /// None will.
    Final(String),
    /// No other file will succeed either: the disk is full, or cannot be written to.
    Stop(io::Error),
}

impl Failure {
    /// What an error of the destination's file system means.
    fn local(error: io::Error) -> Failure {
        use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        match error.kind() {
            StorageFull | QuotaExceeded | ReadOnlyFilesystem => Failure::Stop(error),
            _ => Failure::Final(error.to_string()),
        }
    }

    /// What an error of a connection means.
    fn remote(error: io::Error) -> Failure {
        Failure::Again(format!("connection: {error}"))
    }
}

impl Client {
    pub fn new(server: SocketAddr, token: Rc<str>, options: Rc<Options>, report: Rc<Report>) -> Client {
        Client { server, token, options, report, idle: RefCell::default() }
    }

    /// Mirrors everything. An error ends the mirror; what concerns one file only is in the report.
    pub async fn mirror(self: Rc<Client>) -> io::Result<()> {
        let (directories, others) =
            self.list().await?.into_iter().partition(|entry| entry.kind == Kind::Directory);
        let directories = self.make_directories(directories).await?;

        let permits = Semaphore::new(self.options.jobs);
        for entry in others {
            let permit = permits.acquire().await;
            self.report.check_stopped()?;
            let client = self.clone();
            create_task(async move {
                client.transfer(entry).await;
                drop(permit);
            })
            .detach();
        }
        // Whoever holds every permit knows that no transfer is left.
        let _all = permits.acquire_many(self.options.jobs).await;
        self.report.check_stopped()?;

        self.finish_directories(directories).await;
        Ok(())
    }

    /// The whole listing. So much of the tree is kept in memory that the end of the mirror is in sight.
    async fn list(&self) -> io::Result<Vec<Entry>> {
        let mut wire = self.connect().await?;
        wire.send(Request::List).await?;
        let mut entries = Vec::new();
        loop {
            let next = timeout(self.options.timeout, receive(&mut wire)).await;
            let next = next.unwrap_or_else(|elapsed| Err(elapsed.into()));
            match next.map_err(|error| explain("the listing broke off", error))? {
                Found::Entry(entry) => {
                    self.report.expect(&entry);
                    entries.push(entry);
                }
                Found::Skipped(path, what) => self.report.skipped(&path, &what),
                Found::Unreadable(path, why) => self.report.failed(&path, &why),
                Found::End => break,
            }
        }
        self.idle.borrow_mut().push(wire);
        Ok(entries)
    }

    /// Makes the directories, parents first, and returns those that are there.
    async fn make_directories(&self, directories: Vec<Entry>) -> io::Result<Vec<Entry>> {
        let mut made = Vec::new();
        for directory in directories {
            match place::make_directory(&self.target(&directory)).await.map_err(Failure::local) {
                Ok(()) => made.push(directory),
                Err(failure) => self.report_failure(&directory.path, failure),
            }
            self.report.check_stopped()?;
        }
        Ok(made)
    }

    /// Gives the directories their modes and times, children first: a parent may end up closed to us.
    async fn finish_directories(&self, directories: Vec<Entry>) {
        for directory in directories.into_iter().rev() {
            let is_root = directory.path.as_os_str().is_empty();
            let applied = if is_root && !self.options.owns_destination {
                Ok(())
            } else {
                place::apply(&self.target(&directory), directory.attributes).await
            };
            match applied {
                Ok(()) => self.report.done(&directory),
                Err(error) => self.report.failed(&directory.path, &error.to_string()),
            }
        }
    }

    /// Brings one file or link into its place and reports what came of it.
    async fn transfer(&self, entry: Entry) {
        let target = self.target(&entry);
        // What cannot be looked at is not there, or will complain again when it is replaced.
        if self.options.look_first && place::is_there(&target, &entry).await.unwrap_or(false) {
            return self.report.unchanged(&entry);
        }
        let result = match &entry.kind {
            Kind::Symlink(points_to) => {
                place::make_symlink(&target, points_to, entry.attributes).await.map_err(Failure::local)
            }
            _ => self.fetch(&entry, &target).await,
        };
        match result {
            Ok(()) => self.report.done(&entry),
            Err(failure) => self.report_failure(&entry.path, failure),
        }
    }

    fn report_failure(&self, path: &Path, failure: Failure) {
        match failure {
            Failure::Again(why) | Failure::Final(why) => self.report.failed(path, &why),
            Failure::Stop(error) => self.report.stop(&self.options.destination.join(path), error),
        }
    }

    /// Where the mirror of `entry` is.
    fn target(&self, entry: &Entry) -> PathBuf {
        self.options.destination.join(&entry.path)
    }

    /// Fetches one file, with as many attempts as it may have.
    async fn fetch(&self, entry: &Entry, target: &Path) -> Result<(), Failure> {
        let limit = self.options.timeout + Duration::from_secs(entry.attributes.len / PER_SECOND);
        let mut pause = FIRST_PAUSE;
        let mut retries_left = self.options.retries;
        loop {
            let received = Cell::new(0);
            let ended = timeout(limit, self.attempt(entry, target, &received)).await;
            if !matches!(ended, Ok(Ok(()))) {
                self.report.retract(received.get());
            }
            let why = match ended {
                Ok(Err(Failure::Again(why))) => why,
                Ok(result) => return result,
                Err(_elapsed) => format!("not there after {limit:?}"),
            };
            if retries_left == 0 {
                return Err(Failure::Final(format!("{why} ({} retries)", self.options.retries)));
            }
            retries_left -= 1;
            self.report.retried();
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }

    /// One attempt. However it ends, by success, failure, timeout or Ctrl-C, no half-written file is left.
    async fn attempt(&self, entry: &Entry, target: &Path, received: &Cell<u64>) -> Result<(), Failure> {
        let idle = self.idle.borrow_mut().pop();
        let mut wire = match idle {
            Some(wire) => wire,
            None => self.connect().await.map_err(Failure::remote)?,
        };
        wire.send(Request::Get(entry.path.clone())).await.map_err(Failure::remote)?;
        let attributes = match receive(&mut wire).await.map_err(Failure::remote)? {
            Reply::File(attributes) => attributes,
            other => return self.refused(wire, other),
        };

        let temp = TempFile::beside(target).await.map_err(Failure::local)?;
        let ending = async {
            let last = self.receive_content(&mut wire, &temp, received).await?;
            if let Reply::Done(_) = last {
                temp.keep_as(target, attributes).await.map_err(Failure::local)?;
            }
            Ok(last)
        };
        let ended = catch_cancel(ending).await;
        if let Ok(Ok(Reply::Done(_))) = ended {
            self.idle.borrow_mut().push(wire);
            return Ok(());
        }
        temp.remove().await;
        match ended {
            Ok(Ok(other)) => self.refused(wire, other),
            Ok(Err(failure)) => Err(failure),
            Err(_cancelled) => resume_cancel().await,
        }
    }

    /// Receives the content into the file, and returns the reply that ended it.
    async fn receive_content(
        &self,
        wire: &mut Wire,
        temp: &TempFile,
        received: &Cell<u64>,
    ) -> Result<Reply, Failure> {
        let mut hasher = Sha256::new();
        loop {
            match receive(wire).await.map_err(Failure::remote)? {
                Reply::Data(n) => {
                    let chunk = wire.receive_data(n).await.map_err(Failure::remote)?;
                    let write = temp.file.write_all_at(chunk.clone(), received.get());
                    let (hashed, written) = join!(digest(hasher, chunk), write).await;
                    hasher = hashed.map_err(Failure::local)?;
                    written.map_err(|error| Failure::local(error.into()))?;
                    received.set(received.get() + n as u64);
                    self.report.progress(n as u64);
                }
                Reply::Done(theirs) if theirs != hex(hasher.clone()) => {
                    self.report.mismatch();
                    return Err(Failure::Again("the hashes of the two ends differ".to_string()));
                }
                end => return Ok(end),
            }
        }
    }

    /// What an answer means that ends in something else than the file; the connection is as good as before.
    fn refused(&self, wire: Wire, reply: Reply) -> Result<(), Failure> {
        let failure = match reply {
            Reply::Again(why) => Failure::Again(why),
            Reply::Fail(why) => Failure::Final(why),
            other => return Err(Failure::Again(format!("{other:?} makes no sense here"))),
        };
        self.idle.borrow_mut().push(wire);
        Err(failure)
    }

    async fn connect(&self) -> io::Result<Wire> {
        let wire = Wire::new(TcpStream::connect(self.server).await?)?;
        wire.send(Request::Hello(self.token.to_string())).await?;
        Ok(wire)
    }
}

/// The next message: a connection that ends instead has failed.
async fn receive<M: Message>(wire: &mut Wire) -> io::Result<M> {
    Ok(wire.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?)
}

/// The error, and in what it ended.
pub fn explain(what: impl Display, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
