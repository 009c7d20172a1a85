//! Calls on a path: whole files, names, links, permissions, times.

use std::fs::Permissions;
use std::io;
use std::path::{Path, PathBuf};

use super::descriptor::dispose;
use super::options::{behind_dropped_files, c_path, on_path, on_paths};
use super::{File, FileTimes, Metadata};
use crate::error::not_utf8;
use crate::op::BlockingWork;
use crate::op::fs::{
    Calling, Copy, HardLink, MakeDir, ReadFile, RemoveDir, RemoveFile, Rename, Stat, Subject, Symlink,
    in_memory,
};
use crate::reactor::Op;
use crate::sys::file::{AT_FDCWD, UtimensatFlags, utimensat};

/// Reads all of a file. Files of unknown length, such as those of `/proc`, are read until they end. open(2), read(2), close(2).
///
/// # Errors
/// Those of open(2) and read(2), `OutOfMemory`, and `InvalidInput` for a path with a NUL.
///
/// # Cancellation
/// Nothing to lose.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let status = ringloop::run(ringloop::fs::read("/proc/self/status"))??;
/// assert!(status.starts_with(b"Name:"));
/// # Ok(()) }
/// ```
pub fn read(path: impl AsRef<Path>) -> Op<io::Result<Vec<u8>>> {
    on_path(path.as_ref(), |path| ReadFile::new(path, dispose, |content| content))
}

/// Reads all of a file, which must be UTF-8.
///
/// # Errors
/// `InvalidData` if it is not UTF-8; otherwise as [`read`].
///
/// # Cancellation
/// Nothing to lose.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let version = ringloop::run(ringloop::fs::read_to_string("/proc/version"))??;
/// assert!(version.starts_with("Linux"));
/// # Ok(()) }
/// ```
pub fn read_to_string(path: impl AsRef<Path>) -> Op<io::Result<String>> {
    on_path(path.as_ref(), |path| ReadFile::new(path, dispose, |content| content.and_then(text)))
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| not_utf8())
}

/// Makes a file of these bytes; a file that is there is replaced by them, in place. The bytes are copied once, unless the file is
/// new, small and in memory: [`File::write_all_at`] takes them by value. open(2), write(2), close(2); on a disk or a server they are
/// one job on the thread pool. A FIFO, a terminal or another device takes the bytes as they come.
///
/// # Errors
/// Those of the three calls, and `InvalidInput` for a path with a NUL. The old content is gone then, and what could be written stands
/// under the name: after `StorageFull` the beginning of the bytes. Where that matters, write under another name and
/// [`rename`].
///
/// # Cancellation
/// The file may be left empty, or with part of the bytes, or all of them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("ringloop-write-{}", std::process::id()));
/// use ringloop::fs;
/// ringloop::run(async {
///     fs::write(&path, "some text").await?;
///     assert_eq!(fs::read_to_string(&path).await?, "some text");
///     fs::remove_file(&path).await
/// })??;
/// # Ok(()) }
/// ```
pub async fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let (path, bytes) = (path.as_ref(), bytes.as_ref());
    if !c_path(path).is_ok_and(|path| in_memory(&path)) {
        let copy = bytes.to_vec();
        if by_job(path, move |path| write_regular(&path, &copy)).await? {
            return Ok(());
        }
    }
    let mut file = File::create(path).await?;
    if file.descriptor.is_stream() {
        file.write_all(bytes).await?;
        return file.close().await;
    }
    let done = file.write_at_once(bytes);
    if done < bytes.len() {
        file.write_all_at(bytes[done..].to_vec(), done as u64).await?;
    }
    file.close().await
}

/// Writes a file by plain calls: those of the ring leave it open for writing a moment longer than its close, and it could not be
/// executed. False: it is something that may wait without end, and nothing was done.
fn write_regular(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if std::fs::metadata(path).is_ok_and(|there| !there.is_file()) {
        return Ok(false);
    }
    std::fs::write(path, bytes).map(|()| true)
}

/// Copies a file with its permissions, and says how many bytes it has; a file at `to` is replaced, in place. copy_file_range(2),
/// on the thread pool; a small file at once, where both folders lie in memory and the copy is new.
///
/// # Errors
/// As [`std::fs::copy`].
///
/// # Cancellation
/// It goes on.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir();
/// # let (from, to) = (folder.join(format!("ringloop-from-{}", std::process::id())), folder.join(format!("ringloop-to-{}", std::process::id())));
/// # std::fs::write(&from, "content")?;
/// assert_eq!(ringloop::run(ringloop::fs::copy(&from, &to))??, 7);
/// # std::fs::remove_file(from)?;
/// # std::fs::remove_file(to)?;
/// # Ok(()) }
/// ```
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Op<io::Result<u64>> {
    on_paths(from.as_ref(), to.as_ref(), Copy::new)
}

/// The metadata of what a path leads to, through symbolic links. stat(2) (statx).
///
/// # Errors
/// `NotFound`, `PermissionDenied`, and the others of statx(2); `InvalidInput` for a path with a NUL.
///
/// # Cancellation
/// Nothing to lose.
#[doc(alias = "stat")]
pub fn metadata(path: impl AsRef<Path>) -> Op<io::Result<Metadata>> {
    on_path(path.as_ref(), |path| Stat::new(Subject::Path(path), Metadata::told))
}

/// The metadata of what a path names; if that is a symbolic link, those of the link. lstat(2) (statx).
///
/// # Errors
/// As [`metadata`].
///
/// # Cancellation
/// Nothing to lose.
#[doc(alias = "lstat")]
pub fn symlink_metadata(path: impl AsRef<Path>) -> Op<io::Result<Metadata>> {
    on_path(path.as_ref(), |path| Stat::new(Subject::Link(path), Metadata::told))
}

/// Whether a path leads to something.
///
/// # Errors
/// Where that cannot be known, such as `PermissionDenied`.
///
/// # Cancellation
/// Nothing to lose.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert!(ringloop::run(ringloop::fs::try_exists("/proc"))??);
/// assert!(!ringloop::run(ringloop::fs::try_exists("/no such place"))??);
/// # Ok(()) }
/// ```
pub fn try_exists(path: impl AsRef<Path>) -> Op<io::Result<bool>> {
    let exists = |status: io::Result<&_>| match status {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    on_path(path.as_ref(), |path| Stat::new(Subject::Path(path), exists))
}

/// Makes a directory, open to all but for the umask. mkdir(2).
///
/// # Errors
/// `AlreadyExists`, `NotFound` if there is no parent, and the others of mkdir(2).
///
/// # Cancellation
/// It may be made all the same.
#[doc(alias = "mkdir")]
pub fn create_dir(path: impl AsRef<Path>) -> Op<io::Result<()>> {
    on_path(path.as_ref(), |path| Calling::new(MakeDir { path, mode: 0o777 }))
}

/// Removes a name of a file, and the file with its last name; a symbolic link is removed, not followed. unlink(2).
///
/// # Errors
/// `NotFound`, `IsADirectory`, and the others of unlink(2).
///
/// # Cancellation
/// It may be removed all the same.
#[doc(alias = "unlink")]
pub fn remove_file(path: impl AsRef<Path>) -> Op<io::Result<()>> {
    on_path(path.as_ref(), |path| Calling::new(RemoveFile(path)))
}

/// Removes an empty directory. rmdir(2).
///
/// # Errors
/// `DirectoryNotEmpty`, `NotFound`, `NotADirectory`, and the others of rmdir(2).
///
/// # Cancellation
/// It may be removed all the same.
#[doc(alias = "rmdir")]
pub fn remove_dir(path: impl AsRef<Path>) -> Op<io::Result<()>> {
    on_path(path.as_ref(), |path| Calling::new(RemoveDir(path)))
}

/// Gives a file or directory another name on the same file system; what bears that name is replaced, at once for all who look.
/// rename(2).
///
/// # Errors
/// `CrossesDevices`, `NotFound`, `DirectoryNotEmpty`, and the others of rename(2).
///
/// # Cancellation
/// It may be renamed all the same.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("ringloop-rename-{}", std::process::id()));
/// # std::fs::write(&path, "")?;
/// # let new = path.with_extension("new");
/// use ringloop::fs;
/// ringloop::run(async {
///     fs::hard_link(&path, path.with_extension("link")).await?;
///     fs::rename(path.with_extension("link"), &new).await?;
///     assert_eq!(fs::metadata(&new).await?.nlink(), 2);
///     fs::remove_file(&new).await
/// })??;
/// # std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Op<io::Result<()>> {
    on_paths(from.as_ref(), to.as_ref(), |from, to| Calling::new(Rename { from, to }))
}

/// Gives a file one more name. A symbolic link is not followed: it gets the name itself. link(2).
///
/// # Errors
/// `AlreadyExists`, `CrossesDevices`, and the others of link(2).
///
/// # Cancellation
/// It may be made all the same.
#[doc(alias = "link")]
pub fn hard_link(original: impl AsRef<Path>, link: impl AsRef<Path>) -> Op<io::Result<()>> {
    on_paths(original.as_ref(), link.as_ref(), |original, link| Calling::new(HardLink { original, link }))
}

/// Makes a symbolic link to `target`, which need not exist and is taken as it is written. symlink(2).
///
/// # Errors
/// `AlreadyExists`, and the others of symlink(2).
///
/// # Cancellation
/// It may be made all the same.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let link = std::env::temp_dir().join(format!("ringloop-link-{}", std::process::id()));
/// use ringloop::fs;
/// ringloop::run(async {
///     fs::symlink("far/away", &link).await?;
///     assert_eq!(fs::read_link(&link).await?, std::path::Path::new("far/away"));
///     fs::remove_file(&link).await
/// })??;
/// # Ok(()) }
/// ```
pub fn symlink(target: impl AsRef<Path>, link: impl AsRef<Path>) -> Op<io::Result<()>> {
    on_paths(target.as_ref(), link.as_ref(), |target, link| Calling::new(Symlink { target, link }))
}

/// Where a symbolic link points to, as it is written there. readlink(2), on the thread pool.
///
/// # Errors
/// `InvalidInput` if it is no symbolic link, and the others of readlink(2).
///
/// # Cancellation
/// Nothing to lose.
#[doc(alias = "readlink")]
pub fn read_link(path: impl AsRef<Path>) -> Op<io::Result<PathBuf>> {
    by_job(path.as_ref(), std::fs::read_link)
}

/// The absolute path without symbolic links, `.` and `..`. realpath(3), on the thread pool.
///
/// # Errors
/// `NotFound` if it leads to nothing, and those of walking there.
///
/// # Cancellation
/// Nothing to lose.
#[doc(alias = "realpath")]
pub fn canonicalize(path: impl AsRef<Path>) -> Op<io::Result<PathBuf>> {
    by_job(path.as_ref(), std::fs::canonicalize)
}

/// Sets the permissions of what a path leads to. chmod(2), on the thread pool.
///
/// # Errors
/// `PermissionDenied` for who does not own it, and the others of chmod(2).
///
/// # Cancellation
/// It goes on.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("ringloop-mode-{}", std::process::id()));
/// # std::fs::write(&path, "")?;
/// use ringloop::fs;
/// use std::fs::Permissions;
/// use std::os::unix::fs::PermissionsExt;
/// ringloop::run(async {
///     fs::set_permissions(&path, Permissions::from_mode(0o640)).await?;
///     assert_eq!(fs::metadata(&path).await?.permissions().mode() & 0o777, 0o640);
///     std::io::Result::Ok(())
/// })??;
/// # std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
#[doc(alias = "chmod")]
pub fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> Op<io::Result<()>> {
    by_job(path.as_ref(), |path| std::fs::set_permissions(path, permissions))
}

/// Sets the times of what a path leads to, be it a file or a directory. utimensat(2), on the thread pool.
///
/// # Errors
/// `PermissionDenied` for who does not own it, and the others of utimensat(2).
///
/// # Cancellation
/// It goes on.
#[doc(alias = "utimensat")]
pub fn set_times(path: impl AsRef<Path>, times: FileTimes) -> Op<io::Result<()>> {
    set_times_by(path.as_ref(), times, UtimensatFlags::FollowSymlink)
}

/// Sets the times of what a path names; if that is a symbolic link, those of the link. utimensat(2), on the thread pool.
///
/// # Errors
/// As [`set_times`].
///
/// # Cancellation
/// It goes on.
#[doc(alias = "lutimes")]
pub fn set_symlink_times(path: impl AsRef<Path>, times: FileTimes) -> Op<io::Result<()>> {
    set_times_by(path.as_ref(), times, UtimensatFlags::NoFollowSymlink)
}

fn set_times_by(path: &Path, times: FileTimes, flags: UtimensatFlags) -> Op<io::Result<()>> {
    let (accessed, modified) = times.specs();
    by_job(path, move |path| Ok(utimensat(AT_FDCWD, &path, &accessed, &modified, flags)?))
}

/// Does something with a path on the thread pool.
pub(super) fn by_job<T: Send + 'static>(
    path: &Path,
    job: impl FnOnce(PathBuf) -> io::Result<T> + Send + 'static,
) -> Op<io::Result<T>> {
    if let Err(error) = c_path(path) {
        return Op::ready(Err(error));
    }
    let path = path.to_owned();
    behind_dropped_files(BlockingWork::new(move || job(path)))
}
