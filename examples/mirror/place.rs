//! Putting things in their place, so that nothing half-done ever bears a final name.
//!
//! Files and links are made under a temporary name in the directory where they belong and renamed when they are complete.
//! Directories are made first, open to their owner alone; what the source says of their modes and times is applied last,
//! when nothing is written into them any more.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use ringloop::fs::{self, File, FileTimes};
use ringloop::{join, uncancellable};

use crate::wire::{Attributes, Entry, Kind};

/// A file under its temporary name: ends as [`keep_as`](TempFile::keep_as) or [`remove`](TempFile::remove).
pub struct TempFile {
    /// The open file.
    pub file: File,
    /// Its temporary name.
    path: PathBuf,
}

impl TempFile {
    /// Makes an empty file beside `target`.
    pub async fn beside(target: &Path) -> io::Result<TempFile> {
        loop {
            let path = temporary_name(target);
            // A cancel that came while the kernel makes the file would leave a name that nobody knows of: it waits.
            match uncancellable(File::create_new(&path)).await {
                Ok(file) => return Ok(TempFile { file, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the file its attributes and its final name; what bore that name before is replaced.
    pub async fn keep_as(&self, target: &Path, attributes: Attributes) -> io::Result<()> {
        apply(&self.path, attributes).await?;
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

/// Makes a directory that its owner can write into, or makes the one that is there so.
pub async fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path).await {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result,
    }
    let there = fs::symlink_metadata(path).await?;
    if !there.is_dir() {
        // A link here could lead anywhere: it is replaced, not followed.
        fs::remove_file(path).await?;
        return fs::create_dir(path).await;
    }
    match there.mode() & 0o7777 {
        mode if mode & 0o700 == 0o700 => Ok(()),
        mode => fs::set_permissions(path, Permissions::from_mode(mode | 0o700)).await,
    }
}

/// Makes a symbolic link. It takes four short calls, so a cancel waits for their end.
pub async fn make_symlink(target: &Path, points_to: &Path, attributes: Attributes) -> io::Result<()> {
    let path = temporary_name(target);
    let made = async {
        fs::symlink(points_to, &path).await?;
        fs::set_symlink_times(&path, times(attributes)).await?;
        fs::rename(&path, target).await
    };
    uncancellable(async {
        let made = made.await;
        if made.is_err() {
            let _ = fs::remove_file(&path).await;
        }
        made
    })
    .await
}

/// Whether what is at `target` is already what `entry` describes. A file counts as the same if its length and its time of
/// change are, to the nanosecond; its mode is set right here.
pub async fn is_there(target: &Path, entry: &Entry) -> io::Result<bool> {
    let there = fs::symlink_metadata(target).await?;
    let same_time = there.modified()? == entry.attributes.modified;
    match &entry.kind {
        Kind::Directory => Ok(there.is_dir()),
        Kind::Symlink(points_to) => {
            Ok(there.is_symlink() && same_time && fs::read_link(target).await? == *points_to)
        }
        Kind::File => {
            let same = there.is_file() && same_time && there.len() == entry.attributes.len;
            if same && there.mode() & 0o7777 != entry.attributes.mode {
                apply(target, entry.attributes).await?;
            }
            Ok(same)
        }
    }
}

/// Sets mode and times. A set-user-id or set-group-id bit is copied only if the copy belongs to whom the original belongs
/// to: it would lend the rights of somebody else.
pub async fn apply(path: &Path, attributes: Attributes) -> io::Result<()> {
    let mut mode = attributes.mode;
    if mode & 0o6000 != 0 {
        let own = fs::symlink_metadata(path).await?;
        mode &= if own.uid() == attributes.uid { !0 } else { !0o4000 };
        mode &= if own.gid() == attributes.gid { !0 } else { !0o2000 };
    }
    let permissions = fs::set_permissions(path, Permissions::from_mode(mode));
    let (with_mode, with_times) = join!(permissions, fs::set_times(path, times(attributes))).await;
    with_mode.and(with_times)
}

fn times(attributes: Attributes) -> FileTimes {
    FileTimes::new().set_accessed(attributes.accessed).set_modified(attributes.modified)
}
