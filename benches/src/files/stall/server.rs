//! A slow file system: FUSE, served by a thread of this process on the other core, which waits before each answer.
//!
//! Paths stay in the kernel's cache, lengths and contents do not. So opening is what is hardest not to wait for: the kernel
//! walks the path without asking and then asks within the call.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
};

use crate::contender::cannot;
use crate::files::blocks::BLOCK;
use crate::files::tree::{Tree, content};
use crate::session::{Core, keep_to};

/// How long the server takes for an answer.
const DELAY: Duration = Duration::from_millis(20);
/// Files in its one folder.
const FILES: usize = 16;
/// How long the kernel believes what a name means.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Mounts it here until the session goes.
pub(super) fn mount(path: &Path) -> io::Result<BackgroundSession> {
    // A thread runs where the one ran that made it.
    keep_to(Core::Second);
    let session = fuser::spawn_mount(Slow, path, &Config::default());
    keep_to(Core::First);
    session.map_err(|error| cannot(&format!("no FUSE here: {error}")))
}

/// The names of its files, all of them known to the kernel.
pub(super) fn tree(root: &Path) -> io::Result<Tree> {
    let tree = Tree::of((0..FILES).map(|file| root.join(file.to_string())).collect());
    for path in tree.files() {
        std::fs::metadata(path)?;
    }
    Ok(tree)
}

struct Slow;

fn attributes(inode: INodeNo) -> FileAttr {
    let folder = inode == INodeNo::ROOT;
    FileAttr {
        ino: inode,
        size: if folder { 0 } else { BLOCK as u64 },
        blocks: 8,
        atime: SystemTime::UNIX_EPOCH,
        mtime: SystemTime::UNIX_EPOCH,
        ctime: SystemTime::UNIX_EPOCH,
        crtime: SystemTime::UNIX_EPOCH,
        kind: if folder { FileType::Directory } else { FileType::RegularFile },
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK as u32,
        flags: 0,
    }
}

/// The number of a file, from its inode.
fn number(inode: INodeNo) -> usize {
    u64::from(inode) as usize - 2
}

impl Filesystem for Slow {
    fn lookup(&self, _: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        sleep(DELAY);
        match name.to_str().and_then(|name| name.parse::<usize>().ok()) {
            Some(file) if file < FILES => {
                reply.entry(&FOR_EVER, &attributes(INodeNo(file as u64 + 2)), Generation(0))
            }
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        sleep(DELAY);
        let valid = if inode == INodeNo::ROOT { FOR_EVER } else { Duration::ZERO };
        reply.attr(&valid, &attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        sleep(DELAY);
        reply.opened(FileHandle(0), FopenFlags::empty());
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        sleep(DELAY);
        let bytes = content(number(inode));
        let start = (offset as usize).min(bytes.len());
        reply.data(&bytes[start..bytes.len().min(start + size as usize)]);
    }
}
