//! [`File`]: opening, the positional side, and what concerns the file as a whole.

use std::fmt;
use std::fs::Permissions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::rc::Rc;

use super::cursor::Cursor;
use super::descriptor::Descriptor;
use super::metadata::Times;
use super::{Metadata, OpenOptions};
use crate::op::fs::{Allocate, Calling, Close, Facts, Fsync, Stat, Subject, Sync, Truncate};
use crate::op::io::{Effect, Loan, Ordered, Routed, write_at_once};
use crate::op::{BlockingWork, Operation};
use crate::reactor::{self, Op};
use crate::sys::Errno;
use crate::sys::file::{Mode, fchmod, ftruncate};

/// An open file.
///
/// It has two sides. **Positional calls** (`read_at`, `write_at` and their kin) take `&self` and an offset: any number of them may be in
/// flight on one file. They take their buffer by value, lend it to the kernel and give it back, so nothing is copied. The
/// **cursor** (`read`, `write_all`, `seek`, `lines`..) takes `&mut self` and plain slices, and reads ahead and gathers writes in a
/// buffer; the same calls are there as futures-io's traits. The position belongs to this `File`, not to the descriptor: positional
/// calls do not move it, and clones have positions of their own.
///
/// A positional call sees what the cursor wrote before: the cursor's bytes are written first, as part of the call. If that
/// fails, so does the call, and the bytes are kept for the next [`flush`](Self::flush).
///
/// Dropping a `File` loses nothing. On a file system of this machine the bytes that the cursor has gathered, at most 128 KiB, go to
/// the kernel's memory in the drop itself, as std's writes do, so whoever looks next finds them. What is on its way by then, or
/// belongs on a server, is written after the drop: calls of this loop that name a path wait for it, other processes see it a
/// moment later (debug mode reports that), and the end of the loop waits for it. Operations in flight go on, and the descriptor is
/// closed after the last of them. Errors on that way reach the loop's exception handler (`Builder::on_error`);
/// [`close`](Self::close) is the way to see them, and never holds up the loop.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("ringloop-file-{}", std::process::id()));
/// use ringloop::fs::File;
/// ringloop::run(async {
///     let mut file = File::options().read(true).write(true).create_new(true).open(&path).await?;
///     file.write_all(b"Hello, file!").await?;
///     let (n, bytes) = file.read_at(vec![0; 5], 7).await?;
///     assert_eq!((n, &bytes[..]), (5, &b"file!"[..]));
///     file.close().await
/// })??;
/// # std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
pub struct File {
    /// What operations in flight share with this.
    pub(super) descriptor: Rc<Descriptor>,
    /// The position, and what was read ahead of it.
    pub(super) cursor: Cursor,
}

impl File {
    /// Opens a file to read it. open(2).
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    ///
    /// # Cancellation
    /// A file that is opened after the future was dropped is closed again.
    pub fn open(path: impl AsRef<Path>) -> Op<io::Result<File>> {
        OpenOptions::new().read(true).open(path)
    }

    /// Opens a file to write it: makes it if there is none, and makes it empty if there is. open(2).
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    ///
    /// # Cancellation
    /// As [`open`](Self::open); the file may have been made.
    pub fn create(path: impl AsRef<Path>) -> Op<io::Result<File>> {
        OpenOptions::new().write(true).create(true).truncate(true).open(path)
    }

    /// Makes a file, to read and write it, and fails with `AlreadyExists` if there is one. open(2).
    ///
    /// # Errors
    /// As [`OpenOptions::open`].
    ///
    /// # Cancellation
    /// As [`open`](Self::open); the file may have been made.
    pub fn create_new(path: impl AsRef<Path>) -> Op<io::Result<File>> {
        OpenOptions::new().read(true).write(true).create_new(true).open(path)
    }

    /// [`OpenOptions::new`].
    pub fn options() -> OpenOptions {
        OpenOptions::new()
    }

    /// A file that was opened, with what is known of it already.
    pub(super) fn opened(fd: OwnedFd, facts: Option<Facts>) -> File {
        File { descriptor: Descriptor::new(fd, facts), cursor: Cursor::default() }
    }

    /// The future of an operation on this file, in its order behind what the cursor has written.
    pub(super) fn operation<O: Operation>(&self, effect: Effect, operation: O) -> Op<O::Output> {
        Op::new(Ordered::new(self.descriptor.clone(), effect, None, operation))
    }

    /// Writes as many bytes to the beginning as can be written without waiting and without a copy; perhaps none.
    pub(super) fn write_at_once(&self, bytes: &[u8]) -> usize {
        let Some(reactor) = reactor::current().filter(|reactor| reactor.may_call()) else { return 0 };
        let count = write_at_once(&*self.descriptor, bytes);
        reactor.made_call(count);
        count
    }

    /// Has content and metadata written to the medium. fsync(2).
    ///
    /// # Errors
    /// `EIO`, `ENOSPC`, `EDQUOT` of writes that were accepted before. The kernel tells each only once: after a call that failed the
    /// next one may succeed although the bytes never reached the medium. Write them again before syncing again.
    ///
    /// # Cancellation
    /// It goes on.
    #[doc(alias = "fsync")]
    pub fn sync_all(&self) -> Op<io::Result<()>> {
        self.sync(Sync::All)
    }

    /// Has content written to the medium, and of the metadata only what is needed to find it. fdatasync(2).
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    ///
    /// # Cancellation
    /// It goes on.
    #[doc(alias = "fdatasync")]
    pub fn sync_data(&self) -> Op<io::Result<()>> {
        self.sync(Sync::Data)
    }

    fn sync(&self, what: Sync) -> Op<io::Result<()>> {
        self.operation(Effect::None, Calling::new(Fsync { file: self.descriptor.clone(), what }))
    }

    /// Makes the file so long: cuts it off, or lengthens it by zeros that take no room. The cursor's position stays. ftruncate(2);
    /// by the ring since Linux 6.9, before that on the thread pool.
    ///
    /// # Errors
    /// `InvalidInput` if the file is not open for writing, and those of ftruncate(2).
    ///
    /// # Cancellation
    /// It goes on.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("ringloop-len-{}", std::process::id()));
    /// # std::fs::write(&path, "too long a text")?;
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::options().write(true).open(&path).await?;
    ///     file.set_len(8).await?;
    ///     file.sync_all().await
    /// })??;
    /// assert_eq!(std::fs::read(&path)?, b"too long");
    /// # std::fs::remove_file(path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "ftruncate")]
    pub fn set_len(&self, len: u64) -> Op<io::Result<()>> {
        if reactor::current().is_some_and(|reactor| reactor.supports(Truncate::<Descriptor>::CODE)) {
            let file = self.descriptor.clone();
            return self.operation(Effect::Changes, Calling::new(Truncate { file, len }));
        }
        self.on_pool(Effect::Changes, move |fd| {
            let len = i64::try_from(len).map_err(|_| Errno::EINVAL)?;
            Ok(ftruncate(fd, len)?)
        })
    }

    /// Has room reserved on the medium for `len` bytes from `offset` on, so that writing there finds it; the file gets longer if
    /// need be. fallocate(2).
    ///
    /// # Errors
    /// `Unsupported` where the file system cannot do it, `StorageFull`, and the others of fallocate(2).
    ///
    /// # Cancellation
    /// It goes on.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::temp_dir().join(format!("ringloop-room-{}", std::process::id()));
    /// ringloop::run(async {
    ///     let file = ringloop::fs::File::create(&path).await?;
    ///     match file.allocate(0, 1 << 20).await {
    ///         Ok(()) => assert_eq!(file.metadata().await?.len(), 1 << 20),
    ///         Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Unsupported),
    ///     }
    ///     std::io::Result::Ok(())
    /// })??;
    /// # std::fs::remove_file(path)?;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "fallocate")]
    pub fn allocate(&self, offset: u64, len: u64) -> Op<io::Result<()>> {
        let file = self.descriptor.clone();
        self.operation(Effect::Changes, Calling::new(Allocate { file, offset, len }))
    }

    /// What the file system says of this file. fstat(2) (statx).
    ///
    /// # Errors
    /// Those of statx(2); a local file system has none here.
    ///
    /// # Cancellation
    /// Nothing to lose.
    #[doc(alias = "fstat")]
    pub fn metadata(&self) -> Op<io::Result<Metadata>> {
        self.operation(Effect::None, Stat::new(Subject::File(self.descriptor.clone()), Metadata::told))
    }

    /// Sets the permissions. fchmod(2), on the thread pool.
    ///
    /// # Errors
    /// `PermissionDenied` for who does not own the file, and the others of fchmod(2).
    ///
    /// # Cancellation
    /// It goes on.
    #[doc(alias = "fchmod")]
    pub fn set_permissions(&self, permissions: Permissions) -> Op<io::Result<()>> {
        let mode = Mode::from_bits_truncate(permissions.mode());
        self.on_pool(Effect::None, move |fd| Ok(fchmod(fd, mode)?))
    }

    /// Sets the times of last access and change, after what the cursor has written: [`FileTimes`](super::FileTimes), or std's.
    /// futimens(2), on the thread pool.
    ///
    /// # Errors
    /// `PermissionDenied` for who does not own the file, and the others of futimens(2).
    ///
    /// # Cancellation
    /// It goes on.
    #[doc(alias = "futimens")]
    pub fn set_times(&self, times: impl Times) -> Op<io::Result<()>> {
        self.on_pool(Effect::None, move |fd| times.set(fd.as_fd()))
    }

    /// Does something with the file on the thread pool, which keeps the descriptor open as long.
    fn on_pool(
        &self,
        effect: Effect,
        job: impl FnOnce(Loan) -> io::Result<()> + Send + 'static,
    ) -> Op<io::Result<()>> {
        let loan = self.descriptor.lend();
        self.operation(effect, BlockingWork::new(move || job(loan)))
    }

    /// Another `File` for the same open file, with a position of its own: it begins where this one is. fcntl(2) `F_DUPFD_CLOEXEC`.
    ///
    /// What this one's cursor has gathered stays with this one.
    ///
    /// # Errors
    /// `EMFILE`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// ringloop::run(async {
    ///     let mut one = ringloop::fs::File::open("/proc/version").await?;
    ///     let mut other = one.try_clone()?;
    ///     let (mut left, mut right) = ([0; 5], [0; 5]);
    ///     one.read_exact(&mut left).await?;
    ///     other.read_exact(&mut right).await?;
    ///     assert_eq!(left, right);
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    pub fn try_clone(&self) -> io::Result<File> {
        let fd = self.descriptor.as_fd().try_clone_to_owned()?;
        Ok(File { descriptor: Descriptor::new(fd, None), cursor: self.cursor.beside() })
    }

    /// A `File` on a std one; it begins at that one's position.
    pub fn from_std(file: std::fs::File) -> File {
        OwnedFd::from(file).into()
    }

    /// A std file on this one, at this one's position. What the cursor has gathered is written first.
    ///
    /// # Errors
    /// That of the write; or more was read ahead of a pipe or terminal than was given out, which only
    /// [`into_parts`](Self::into_parts) hands on. The file is then closed.
    ///
    /// # Cancellation
    /// As a drop of the file.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Read;
    /// let mut file = ringloop::run(async {
    ///     let mut file = ringloop::fs::File::open("/proc/version").await?;
    ///     file.read_exact(&mut [0; 6]).await?;
    ///     file.into_std().await
    /// })??;
    /// let mut rest = String::new();
    /// file.read_to_string(&mut rest)?;
    /// assert!(rest.starts_with("version"));
    /// # Ok(()) }
    /// ```
    pub async fn into_std(self) -> io::Result<std::fs::File> {
        let (file, rest) = self.into_parts().await?;
        match rest.len() {
            0 => Ok(file),
            count => Err(io::Error::other(format!(
                "{count} bytes that were read ahead of a stream would be lost: call `File::into_parts`"
            ))),
        }
    }

    /// Returns a std file on this one, and the bytes that were read ahead and not given out, which a pipe or
    /// terminal cannot take back. Other files have none: they are at this one's position.
    ///
    /// # Errors
    /// That of writing what the cursor has gathered; the file is then closed.
    ///
    /// # Cancellation
    /// As a drop of the file.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ringloop::fs::File;
    /// let (reader, mut writer) = std::io::pipe()?;
    /// std::io::Write::write_all(&mut writer, b"one\ntwo\n")?;
    /// ringloop::run(async {
    ///     let mut file = File::from(std::os::fd::OwnedFd::from(reader));
    ///     assert_eq!(file.lines().next().await.transpose()?.as_deref(), Some("one"));
    ///     let (_pipe, rest) = file.into_parts().await?;
    ///     assert_eq!(rest, b"two\n");
    ///     std::io::Result::Ok(())
    /// })??;
    /// # Ok(()) }
    /// ```
    pub async fn into_parts(mut self) -> io::Result<(std::fs::File, Vec<u8>)> {
        self.flush().await?;
        let rest = if self.descriptor.is_stream() { self.cursor.stop().await } else { Vec::new() };
        let position = self.stream_position().await.ok();
        let descriptor = self.into_descriptor();
        // An operation in flight, or a thread, keeps the descriptor that it works on.
        let copy = match Rc::strong_count(&descriptor) > 1 || descriptor.is_lent() {
            true => Some(descriptor.as_fd().try_clone_to_owned()?),
            false => None,
        };
        let own = || Rc::into_inner(descriptor).and_then(Descriptor::into_fd);
        let fd = copy.or_else(own).ok_or(Errno::EBADF)?;
        let mut file = std::fs::File::from(fd);
        if let Some(position) = position {
            io::Seek::seek(&mut file, io::SeekFrom::Start(position))?;
        }
        Ok((file, rest))
    }

    /// Writes what the cursor has gathered, closes the file and reports the errors of both. close(2).
    ///
    /// An operation that is still in flight keeps the descriptor open until it ends; nobody waits for it.
    ///
    /// # Errors
    /// Those of the last writes, and on network file systems of writing back.
    ///
    /// # Cancellation
    /// As a drop of the file: it goes on, and errors reach the exception handler.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let closed = ringloop::run(async {
    ///     let mut full = ringloop::fs::OpenOptions::new().write(true).open("/dev/full").await?;
    ///     full.write_all(b"gathered, and not written yet").await?;
    ///     full.close().await
    /// })?;
    /// assert_eq!(closed.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    /// # Ok(()) }
    /// ```
    pub async fn close(mut self) -> io::Result<()> {
        let flushed = self.flush().await;
        if flushed.is_err() {
            self.descriptor.forget_unwritten();
        }
        let alone = Rc::into_inner(self.into_descriptor());
        let closed =
            match alone.filter(|descriptor| !descriptor.closes_at_once()).and_then(Descriptor::into_fd) {
                Some(fd) => Op::new(Close::new(fd, |result| result)).await,
                // Dropping it closes it: now, or when an operation in flight or a thread is done with it.
                None => Ok(()),
            };
        flushed.and(closed)
    }

    /// The descriptor, without the cursor and what it has in flight.
    fn into_descriptor(self) -> Rc<Descriptor> {
        self.descriptor.clone()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        self.descriptor.orphan();
    }
}

/// A descriptor of any kind is taken, as by `std::fs::File`: what its kind cannot do fails at the first call that asks for
/// it, `IsADirectory` for a read of a folder.
impl From<OwnedFd> for File {
    fn from(fd: OwnedFd) -> Self {
        File::opened(fd, None)
    }
}

impl From<std::fs::File> for File {
    fn from(file: std::fs::File) -> Self {
        File::from_std(file)
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("fd", &self.as_raw_fd()).finish_non_exhaustive()
    }
}
