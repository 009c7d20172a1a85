//! Putting things in their place, so that nothing half-done ever bears a final name.
//!
//! Files and links are made under a temporary name in the directory where they belong and renamed when they are complete.
//! Directories are made first, open to their owner alone; what the source says of their modes and times is applied last,
//! when nothing is written into them any more.

use std::fs as blocking;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use ringloop::fs::{self, File, OpenOptions};
use ringloop::{to_thread, uncancellable};

use crate::wire::{Attributes, Entry, Kind, Time};

/// A file under its temporary name: ends as [`keep_as`](TempFile::keep_as) or [`remove`](TempFile::remove).
pub struct TempFile {
    /// The open file.
    pub file: File,
    /// Its temporary name.
    path: PathBuf,
}

impl TempFile {
    /// Makes an empty file beside `target`, readable by its owner alone.
    pub async fn beside(target: &Path) -> io::Result<TempFile> {
        loop {
            let path = temporary_name(target);
            // A cancel that came while the kernel makes the file would leave a name that nobody knows of: it waits.
            let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
            match uncancellable(made).await {
                Ok(file) => return Ok(TempFile { file, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the file its attributes and its final name; what bore that name before is replaced.
    pub async fn keep_as(&self, target: &Path, attributes: Attributes) -> io::Result<()> {
        let path = self.path.clone();
        to_thread(move || apply(&path, attributes)).await??;
        fs::rename(&self.path, target).await
    }

    /// Removes the file, unless it has got its final name already.
    pub async fn remove(self) {
        // Nobody could do anything about a failure here, and the one that led here is reported.
        let _ = fs::remove_file(&self.path).await;
    }
}

/// A name in the directory of `target` that no other part of this program uses.
fn temporary_name(target: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    target.with_file_name(format!(".mirror-{}-{number}", std::process::id()))
}

/// Makes a directory that its owner can write into, or makes the one that is there so. Blocks.
pub fn make_directory(path: &Path) -> io::Result<()> {
    let make = || blocking::DirBuilder::new().mode(0o700).create(path);
    match make() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result,
    }
    let there = blocking::symlink_metadata(path)?;
    if !there.is_dir() {
        // A link here could lead anywhere: it is replaced, not followed.
        blocking::remove_file(path)?;
        return make();
    }
    match there.mode() & 0o7777 {
        mode if mode & 0o700 == 0o700 => Ok(()),
        mode => blocking::set_permissions(path, blocking::Permissions::from_mode(mode | 0o700)),
    }
}

/// Makes a symbolic link, under a temporary name first. Blocks.
pub fn make_symlink(target: &Path, points_to: &Path, attributes: Attributes) -> io::Result<()> {
    let path = temporary_name(target);
    symlink(points_to, &path)?;
    let made = set_times(&path, attributes).and_then(|()| blocking::rename(&path, target));
    if made.is_err() {
        let _ = blocking::remove_file(&path);
    }
    made
}

/// Whether what is at `target` is already what `entry` describes. A file counts as the same if its length and its time of
/// change are, to the nanosecond; its mode is set right here. Blocks.
pub fn is_there(target: &Path, entry: &Entry) -> bool {
    let Ok(there) = blocking::symlink_metadata(target) else { return false };
    let (there, kind) = (Attributes::from(&there), there.file_type());
    match &entry.kind {
        Kind::File => {
            let same = |a: Attributes| (a.len, a.modified);
            kind.is_file() && same(there) == same(entry.attributes) && apply(target, entry.attributes).is_ok()
        }
        Kind::Symlink(points_to) => {
            kind.is_symlink()
                && there.modified == entry.attributes.modified
                && blocking::read_link(target).is_ok_and(|link| link == *points_to)
        }
        Kind::Directory => kind.is_dir(),
    }
}

/// Sets mode and times. A set-user-id or set-group-id bit is copied only if the copy belongs to whom the original belongs
/// to: it would lend the rights of somebody else. Blocks.
pub fn apply(path: &Path, attributes: Attributes) -> io::Result<()> {
    let mut mode = attributes.mode;
    if mode & 0o6000 != 0 {
        let own = blocking::symlink_metadata(path)?;
        mode &= if own.uid() == attributes.uid { !0 } else { !0o4000 };
        mode &= if own.gid() == attributes.gid { !0 } else { !0o2000 };
    }
    blocking::set_permissions(path, blocking::Permissions::from_mode(mode))?;
    set_times(path, attributes)
}

fn set_times(path: &Path, attributes: Attributes) -> io::Result<()> {
    let time = |Time(seconds, nanoseconds)| TimeSpec::new(seconds, nanoseconds);
    let (accessed, modified) = (time(attributes.accessed), time(attributes.modified));
    Ok(utimensat(AT_FDCWD, path, &accessed, &modified, UtimensatFlags::NoFollowSymlink)?)
}
