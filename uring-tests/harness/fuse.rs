//! A FUSE server of the suite's own: one folder with one file, `file`, which is read in pieces. It speaks the kernel's protocol on
//! `/dev/fuse` itself, so a trial needs no program and no library; the mount is seen by the trial's process alone.

use super::Ctx;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// How a server serves its file.
#[derive(Clone)]
pub struct Served {
    /// The content.
    pub bytes: Vec<u8>,
    /// A read or write moves at most as many bytes, however many were asked for.
    pub most: usize,
}

/// A mounted server; its drop unmounts it.
pub struct Fuse {
    /// Where it is mounted.
    folder: PathBuf,
    /// The server.
    thread: Option<JoinHandle<()>>,
}

impl Fuse {
    /// Serves a file that the kernel does not cache (`FOPEN_DIRECT_IO`), without `FUSE_ASYNC_DIO`.
    pub fn direct(ctx: &Ctx, served: Served) -> Fuse {
        let folder = ctx.path("fuse");
        std::fs::create_dir_all(&folder).expect("the case's folder can be written");
        keep_mounts_private(ctx);
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("it was there before");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        mount(Some("ringloop"), &folder, Some("fuse"), MsFlags::MS_NOSUID, Some(&*options))
            .expect("root may");
        let serve = move || serve(device, served);
        let thread =
            std::thread::Builder::new().name("fuse".into()).spawn(serve).expect("a thread can start");
        Fuse { folder, thread: Some(thread) }
    }

    /// The file.
    pub fn file(&self) -> PathBuf {
        self.folder.join("file")
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        umount2(&self.folder, MntFlags::MNT_DETACH).expect("it is mounted");
        // After a failed trial a descriptor may keep the mount alive, and the server waits for it.
        if let Some(thread) = self.thread.take().filter(|_| !std::thread::panicking()) {
            thread.join().expect("the server does not panic");
        }
    }
}

/// Gives the process a mount namespace of its own; once, because the kernel's workers stay in that in which they began.
fn keep_mounts_private(ctx: &Ctx) {
    static IS_PRIVATE: AtomicBool = AtomicBool::new(false);
    if IS_PRIVATE.swap(true, Ordering::Relaxed) {
        return;
    }
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
        ctx.skip(format!("needs a mount namespace: {error}"));
    }
    let nowhere = None::<&str>;
    mount(nowhere, "/", nowhere, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nowhere).expect("root may");
}

/// Numbers of the protocol (`linux/fuse.h`).
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const DESTROY: u32 = 38;
const BATCH_FORGET: u32 = 42;

/// The file's number; the folder's is 1.
const FILE: u64 = 2;
/// `FOPEN_DIRECT_IO`.
const DIRECT_IO: u32 = 1;
/// The length of a request's head.
const HEAD: usize = 40;

/// Answers requests until the mount is gone.
fn serve(mut device: File, mut served: Served) {
    let mut request = vec![0; 1 << 18];
    while let Ok(len) = device.read(&mut request) {
        let request = &request[..len];
        let (opcode, node, body) = (number(request, 4), wide(request, 16), &request[HEAD..]);
        if [FORGET, BATCH_FORGET, INTERRUPT].contains(&opcode) {
            continue;
        }
        let (error, answer) = match answer(opcode, node, body, &mut served) {
            Ok(answer) => (0, answer),
            Err(errno) => (-errno, Vec::new()),
        };
        let len = 16 + answer.len() as u32;
        let head = [&len.to_ne_bytes()[..], &error.to_ne_bytes(), &request[8..16]].concat();
        // A request that was given up meanwhile is no failure of the trial.
        let _ = device.write(&[head, answer].concat());
        if opcode == DESTROY {
            break;
        }
    }
}

fn answer(opcode: u32, node: u64, body: &[u8], served: &mut Served) -> Result<Vec<u8>, i32> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
    match opcode {
        // Version 7.31; a readahead of nothing, no flag, requests of up to 128 KiB.
        INIT => Ok(words(&[7, 31, 0, 0, 0x0008_0010, 128 << 10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        LOOKUP if body.starts_with(b"file\0") => {
            let mut entry = words(&[FILE as u32, 0, 1, 0, 3600, 0, 3600, 0, 0, 0]);
            entry.extend(attributes(FILE, served));
            Ok(entry)
        }
        LOOKUP => Err(nix::libc::ENOENT),
        GETATTR => {
            let mut attribute = words(&[3600, 0, 0, 0]);
            attribute.extend(attributes(node, served));
            Ok(attribute)
        }
        OPEN => Ok(words(&[0, 0, DIRECT_IO, 0])),
        OPENDIR => Ok(words(&[0; 4])),
        WRITE => {
            let (offset, size) = (wide(body, 8) as usize, number(body, 16) as usize);
            let taken = &body[40..][..size.min(served.most)];
            let end = served.bytes.len().max(offset + taken.len());
            served.bytes.resize(end, 0);
            served.bytes[offset..][..taken.len()].copy_from_slice(taken);
            Ok(words(&[taken.len() as u32, 0]))
        }
        READ => {
            let (offset, size) = (wide(body, 8) as usize, number(body, 16) as usize);
            let rest = served.bytes.get(offset..).unwrap_or_default();
            Ok(rest[..rest.len().min(size).min(served.most)].to_vec())
        }
        RELEASE | RELEASEDIR | FLUSH | DESTROY => Ok(Vec::new()),
        _ => Err(nix::libc::ENOSYS),
    }
}

/// `struct fuse_attr`.
fn attributes(node: u64, served: &Served) -> Vec<u8> {
    let (mode, size) = if node == FILE { (0o100_644, served.bytes.len() as u64) } else { (0o040_755, 0) };
    let wide = [node, size, size.div_ceil(512), 0, 0, 0].into_iter().flat_map(u64::to_ne_bytes);
    let narrow = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0_u32].into_iter().flat_map(u32::to_ne_bytes);
    wide.chain(narrow).collect()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn wide(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
