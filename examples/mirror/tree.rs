//! The tree that is served: listed and opened, and never left.
//!
//! Everything here blocks, so the server calls it on the thread pool, once per directory and once per file. The kernel is
//! asked to resolve each path beneath the tree's root and through no symbolic link (`openat2`): a link that is put in the
//! place of a directory while the mirror runs leads nowhere.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::wire::{Attributes, Entry, Found, Kind};

pub struct Tree {
    /// The root directory; what it names cannot change under us.
    root: OwnedFd,
}

impl Tree {
    pub fn open(root: &Path) -> io::Result<Tree> {
        Ok(Tree { root: fs::File::open(root)?.into() })
    }

    /// The root itself, as the first entry of the listing.
    pub fn root(&self) -> io::Result<Found> {
        let attributes = Attributes::of(&fs::metadata(handle_path(&self.root))?)?;
        Ok(Found::Entry(Entry { path: PathBuf::new(), kind: Kind::Directory, attributes }))
    }

    /// What is in one directory. What cannot be read is part of the answer: the rest is listed all the same.
    pub fn list(&self, directory: &Path) -> Vec<Found> {
        let unreadable = |path: &Path, error: io::Error| Found::Unreadable(path.into(), error.to_string());
        let opened = self.locate(directory, OFlag::O_DIRECTORY);
        // The handle stays open until the last entry was looked at: the names are read through it.
        let entries = match opened.as_ref().map(handle_path) {
            Ok(path) => fs::read_dir(path),
            Err(error) => return vec![unreadable(directory, io::Error::from(*error))],
        };
        let entries = match entries {
            Ok(entries) => entries,
            Err(error) => return vec![unreadable(directory, error)],
        };
        entries
            .map(|entry| match entry {
                Err(error) => unreadable(directory, error),
                Ok(entry) => {
                    let path = directory.join(entry.file_name());
                    look_at(&entry, path.clone()).unwrap_or_else(|error| unreadable(&path, error))
                }
            })
            .collect()
    }

    /// Opens a file for reading. Anything else is refused before it is opened: opening a device can have effects.
    pub fn open_file(&self, path: &Path) -> io::Result<(fs::File, Attributes)> {
        let located = self.locate(path, OFlag::O_NOFOLLOW)?;
        if !fs::metadata(handle_path(&located))?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file any more"));
        }
        let file = fs::File::open(handle_path(&located))?;
        let attributes = Attributes::of(&file.metadata()?)?;
        Ok((file, attributes))
    }

    /// A handle that names a thing in the tree without opening it.
    fn locate(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let how = OpenHow::new()
            .flags(flags | OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&self.root, path, how)
    }
}

/// One entry of a directory, without following it.
fn look_at(entry: &fs::DirEntry, path: PathBuf) -> io::Result<Found> {
    let metadata = entry.metadata()?;
    let kind = metadata.file_type();
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_file() {
        Kind::File
    } else if kind.is_symlink() {
        Kind::Symlink(fs::read_link(entry.path())?)
    } else {
        let what = match kind {
            kind if kind.is_fifo() => "fifo",
            kind if kind.is_socket() => "socket",
            kind if kind.is_char_device() => "character device",
            _ => "block device",
        };
        return Ok(Found::Skipped(path, what.to_string()));
    };
    Ok(Found::Entry(Entry { path, kind, attributes: Attributes::of(&metadata)? }))
}

/// The path by which a handle can be used where only a path will do.
fn handle_path(handle: &OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}", handle.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_of_the_tree_can_be_had() {
        let outside = nix::unistd::mkdtemp(&std::env::temp_dir().join("tree-XXXXXX")).expect("a directory");
        let root = outside.join("root");
        fs::create_dir_all(root.join("below")).expect("a directory");
        fs::write(outside.join("secret"), "secret").expect("a file");
        fs::write(root.join("below/file"), "open").expect("a file");
        symlink("../secret", root.join("file-link")).expect("a link");
        symlink("..", root.join("directory-link")).expect("a link");
        symlink(root.join("below"), root.join("inner-link")).expect("a link");
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("a fifo");

        let tree = Tree::open(&root).expect("the tree");
        let has = |path: &str| tree.open_file(Path::new(path)).is_ok();
        assert!(has("below/file"));
        for path in ["../secret", "file-link", "directory-link/secret", "inner-link/file", "below", "fifo"] {
            assert!(!has(path), "{path}");
        }
        for path in ["..", "directory-link", "inner-link", "below/file"] {
            assert!(matches!(tree.list(Path::new(path))[..], [Found::Unreadable(..)]), "{path}");
        }
        assert_eq!(tree.list(Path::new("")).len(), 5);
        fs::remove_dir_all(outside).expect("it is ours");
    }
}
