//! Directories: read, made and removed with all that is above or below.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::future::Future;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_util::Stream;

use super::path::{by_job, create_dir, metadata, symlink_metadata};
use super::{FileType, Metadata, PathError};
use crate::op::BlockingWork;
use crate::reactor::Op;

/// How many entries are read at once, on the thread pool.
const BATCH: usize = 256;

/// The entries of a directory, but for `.` and `..`, in the order in which the file system has them. getdents64(2), on the thread
/// pool, many at once.
///
/// # Errors
/// `NotFound`, `NotADirectory`, `PermissionDenied`, and the others of open(2).
///
/// # Cancellation
/// Nothing to lose.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// ringloop::run(async {
///     let mut entries = ringloop::fs::read_dir("/proc/self").await?;
///     let mut names = Vec::new();
///     while let Some(entry) = entries.next().await {
///         names.push(entry?.file_name().to_owned());
///     }
///     assert!(names.iter().any(|name| name == "status"));
///     std::io::Result::Ok(())
/// })??;
/// # Ok(()) }
/// ```
pub async fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref();
    let folder = Rc::from(path);
    let batch = by_job(path, |path| fs::read_dir(path).map(read_batch)).await?;
    let mut entries = ReadDir { folder, ready: VecDeque::new(), rest: None, reading: None };
    entries.take(batch);
    Ok(entries)
}

/// What a job has read: entries, and the directory if there may be more.
type Batch = (Vec<io::Result<Found>>, Option<fs::ReadDir>);

/// An entry, as it comes from the thread pool.
struct Found {
    /// Its name in the directory.
    name: OsString,
    /// Its number on the device.
    ino: u64,
    /// What it is, as far as that could be learnt.
    kind: io::Result<FileType>,
}

fn read_batch(mut directory: fs::ReadDir) -> Batch {
    let found = |entry: fs::DirEntry| {
        // Where the directory does not tell, this asks the file.
        let kind = entry.file_type().map(FileType::from);
        Found { ino: entry.ino(), kind, name: entry.file_name() }
    };
    let batch: Vec<_> = directory.by_ref().take(BATCH).map(|entry| entry.map(found)).collect();
    let rest = (batch.len() == BATCH).then_some(directory);
    (batch, rest)
}

/// The entries of a directory; see [`read_dir`]. Also a `Stream`.
#[must_use = "entries are read when they are asked for"]
pub struct ReadDir {
    /// The directory's path, as it was given.
    folder: Rc<Path>,
    /// Entries that were read.
    ready: VecDeque<io::Result<Found>>,
    /// The directory, if it may have more.
    rest: Option<fs::ReadDir>,
    /// The job that reads more.
    reading: Option<Op<io::Result<Batch>>>,
}

impl ReadDir {
    /// The next entry; None behind the last.
    ///
    /// # Errors
    /// Those of getdents64(2); further entries may follow.
    ///
    /// # Cancellation
    /// Nothing is lost: what is read after a drop is there for the next call.
    pub async fn next(&mut self) -> Option<io::Result<DirEntry>> {
        poll_fn(|cx| self.poll_entry(cx)).await
    }

    fn take(&mut self, (entries, rest): Batch) {
        self.ready.extend(entries);
        self.rest = rest;
    }

    fn poll_entry(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<DirEntry>>> {
        loop {
            if let Some(found) = self.ready.pop_front() {
                let folder = self.folder.clone();
                return Poll::Ready(Some(found.map(|found| DirEntry { folder, found })));
            }
            if let Some(directory) = self.rest.take() {
                self.reading = Some(Op::new(BlockingWork::new(move || Ok(read_batch(directory)))));
            }
            let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
            let batch = ready!(Pin::new(reading).poll(cx));
            self.reading = None;
            match batch {
                Ok(batch) => self.take(batch),
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

impl Stream for ReadDir {
    type Item = io::Result<DirEntry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_entry(cx)
    }
}

impl std::fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReadDir").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// An entry of a directory; see [`read_dir`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// ringloop::run(async {
///     let mut entries = ringloop::fs::read_dir("/proc/self").await?;
///     while let Some(entry) = entries.next().await.transpose()? {
///         if entry.name() == "exe" {
///             assert!(entry.file_type()?.is_symlink());
///             assert_eq!(entry.path(), std::path::Path::new("/proc/self/exe"));
///         }
///     }
///     std::io::Result::Ok(())
/// })??;
/// # Ok(()) }
/// ```
pub struct DirEntry {
    /// The path of the directory, as it was given.
    folder: Rc<Path>,
    /// What the directory says of it.
    found: Found,
}

impl DirEntry {
    /// The path: that of the directory as it was given, and the name.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.found.name)
    }

    /// The name.
    pub fn file_name(&self) -> OsString {
        self.found.name.clone()
    }

    /// The name, borrowed.
    pub fn name(&self) -> &OsStr {
        &self.found.name
    }

    /// What kind of file it is; a symbolic link is not followed. It was read with the entry.
    ///
    /// # Errors
    /// Those of stat(2), where the file system does not tell with the entry.
    pub fn file_type(&self) -> io::Result<FileType> {
        match &self.found.kind {
            Ok(kind) => Ok(*kind),
            Err(error) => {
                Err(error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error))
            }
        }
    }

    /// The file's number on its device.
    pub fn ino(&self) -> u64 {
        self.found.ino
    }

    /// The metadata; a symbolic link is not followed. As [`symlink_metadata`].
    ///
    /// # Errors
    /// As [`symlink_metadata`].
    ///
    /// # Cancellation
    /// Nothing to lose.
    pub fn metadata(&self) -> Op<io::Result<Metadata>> {
        symlink_metadata(self.path())
    }
}

impl std::fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}

/// Makes a directory and those above it that are missing; one that is there is fine, whoever made it. mkdir(2).
///
/// # Errors
/// Those of mkdir(2), for the path that they concern; `AlreadyExists` or `NotADirectory` if something else stands in the way.
///
/// # Cancellation
/// Some of the directories may have been made.
#[doc(alias = "mkdir")]
pub async fn create_dir_all(path: impl AsRef<Path>) -> Result<(), PathError> {
    let path = path.as_ref();
    // From the deepest up, until one is there or can be made; then down again.
    let mut missing = Vec::new();
    let mut candidates = path.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty());
    for candidate in candidates.by_ref() {
        match make(candidate).await {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => missing.push(candidate),
            Err(error) => return Err(PathError::new(candidate, "mkdir", error)),
        }
    }
    while let Some(path) = missing.pop() {
        make(path).await.map_err(|error| PathError::new(path, "mkdir", error))?;
    }
    Ok(())
}

/// Makes a directory, unless there is one.
async fn make(path: &Path) -> io::Result<()> {
    match create_dir(path).await {
        // Also of a read-only file system, or one that may not be written to, a directory may be there.
        Err(error) if error.kind() != io::ErrorKind::NotFound => match metadata(path).await {
            Ok(there) if there.is_dir() => Ok(()),
            _ => Err(error),
        },
        result => result,
    }
}

/// Removes a directory with all that is in it; symbolic links are removed, not followed. On the thread pool.
///
/// # Errors
/// As [`std::fs::remove_dir_all`]. What was removed before the error is gone.
///
/// # Cancellation
/// It goes on.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("ringloop-tree-{}", std::process::id()));
/// use ringloop::fs;
/// ringloop::run(async {
///     fs::create_dir_all(folder.join("a/b/c")).await?;
///     fs::write(folder.join("a/b/file"), "content").await?;
///     fs::remove_dir_all(&folder).await?;
///     assert!(!fs::try_exists(&folder).await?);
///     std::io::Result::Ok(())
/// })??;
/// # Ok(()) }
/// ```
pub async fn remove_dir_all(path: impl AsRef<Path>) -> Result<(), PathError> {
    let path = path.as_ref();
    let removed = by_job(path, fs::remove_dir_all).await;
    removed.map_err(|error| PathError::new(path, "remove", error))
}
