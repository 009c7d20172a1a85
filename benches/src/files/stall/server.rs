//! A slow file system: FUSE, which waits before each answer.
//!
//! Paths stay in the kernel's cache, lengths and contents do not. So opening is what is hardest not to wait for: the kernel
//! walks the path without asking and then asks within the call.
//!
//! It is served by a process of its own, `slow-server`: a process that waits for itself can never be ended.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
};
use nix::mount::{MntFlags, umount2};

use crate::contender::cannot;
use crate::files::blocks::BLOCK;
use crate::files::tree::{Tree, content};
use crate::session::{Core, keep_to, program};

/// How long the server takes for an answer.
const DELAY: Duration = Duration::from_millis(20);
/// Files in its one folder.
const FILES: usize = 16;
/// How long the kernel believes what a name means.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// The process that serves. Ended by the end of its input: when this goes, or when this process ends however it does.
pub(super) struct Server(Child);

impl Server {
    /// Starts one for this folder.
    pub(super) fn start(folder: &Path) -> io::Result<Server> {
        let mut command = Command::new(program("slow-server"));
        let mut child = command.arg(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = [0];
        let count = child.stdout.as_mut().expect("it is piped").read(&mut said)?;
        let server = Server(child);
        if count == 0 { Err(cannot("no FUSE here")) } else { Ok(server) }
    }

    /// The names of its files, all of them known to the kernel.
    pub(super) fn tree(&self, folder: &Path) -> io::Result<Tree> {
        let tree = Tree::of((0..FILES).map(|file| folder.join(file.to_string())).collect());
        for path in tree.files() {
            std::fs::metadata(path)?;
        }
        Ok(tree)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // There is nobody to tell, and the mount is gone in any case.
        let _ = self.0.wait();
    }
}

/// The file system in the process that serves it, until this goes.
pub struct Mounted {
    folder: PathBuf,
    _session: BackgroundSession,
}

impl Mounted {
    /// Mounts it, and serves it on the second core.
    pub fn at(folder: &Path) -> io::Result<Mounted> {
        keep_to(Core::Second);
        let session = fuser::spawn_mount(Slow, folder, &Config::default())?;
        Ok(Mounted { folder: folder.to_owned(), _session: session })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Also where a file is still open: what waits for an answer then fails, instead of waiting for ever.
        let _ = umount2(&self.folder, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
    }
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
