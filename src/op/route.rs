//! Which way a file operation goes: as a plain call, through the ring, or over the thread pool. Decided here and nowhere else.
//!
//! A plain call is the fastest way by far, and whatever it waits for, the whole loop waits for. So it is made only where it
//! cannot wait, and each is paid from the budget that a poll has (`Reactor::may_call`). Where no line fits, the ring.
//!
//! | operation | plain call if | why it cannot wait |
//! |---|---|---|
//! | open of what is there | the path is cached, and no file system with a server is mounted | `RESOLVE_CACHED` gives up where walking would wait, `O_NONBLOCK` where a lease or a pipe would |
//! | open that makes a file | in a folder in memory, and the name is new (`O_EXCL`) | no disk; a file that is there would first be emptied, and a large one takes long |
//! | read of at most [`AT_ONCE`] | of a regular file in memory, and nothing is swapped out | it copies |
//! | read of at most [`AT_ONCE`] | of a regular file on a known disk file system, without `O_DIRECT`, what is cached, if nothing else is queued and the buffer is not a registered one of [`MANY`] bytes | `RWF_NOWAIT` gives up where it would wait; FUSE takes it, and waits for its server all the same |
//! | write of at most [`AT_ONCE`] | of a regular file in memory that no other change is under way to | it copies; a longer one would hold the file's lock |
//! | copy of at most [`AT_ONCE`] | between two folders in memory, the copy is new, and nothing is swapped out | as its read, its open and its write |
//! | `stat` | the name's folder is in memory | no disk |
//! | `stat` | the whole path is cached and leads to a local file system | by an `O_PATH` descriptor, which asks nobody |
//! | `fstat` | on a local file system | reads memory |
//! | close | on a local file system, of a pipe | FUSE and NFS write back first, terminals drain, devices flush |
//! | the size hint of whole-file reads | always, without synchronisation | a stale hint costs a read, not a byte |
//! | `lseek`, `fcntl`, `dup` | always | they touch the open file only |
//!
//! | operation | else | why |
//! |---|---|---|
//! | open of a cached path on FUSE, NFS and the like; read on NFS and the like | ring, on a worker | inside the enter it would wait for the server |
//! | `fchmod`, `utimensat`, `readlink`, `getdents`, `realpath`, `copy_file_range`; `ftruncate` before 6.9 | pool | the ring has no such operation |
//! | `fs::write` out of memory | pool | the ring's workers leave the file open for writing a moment longer than its close: it could not be executed |
//! | read of a FUSE file, or of one that may be | pool | of a file opened with direct I/O, io_uring goes on after a short read, at the wrong place |
//! | everything | ring | a disk's or a server's time is the kernel's to wait for |
//!
//! Not plain calls, though there is nothing to wait for in memory: `unlink`, `rename`, `ftruncate`, `O_TRUNC`. They give a
//! file's memory back, and for a gigabyte that takes a third of a second.
//!
//! `medium` knows what lies where. What is local, or in memory, is known from Linux 6.8 on; before, the lines that need it do
//! not apply. The numbers are in `docs/decisions/0007-file-routes.md`.

#![allow(unsafe_code)]

mod medium;

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};

use io_uring::squeue;

pub(crate) use self::medium::in_memory;
use self::medium::{Machine, Medium, ask, place_of, remember, remembered};
use super::{Company, called};
use crate::ring::{Entry, Outcome};
use crate::sys::Errno;
pub(super) use crate::sys::file::unknown_status;
use crate::sys::file::{
    Mode, OFlag, fchmod, flags, open, open_cached, position, pread, pread_cached, pwrite, sendfile, set_flags,
};

/// What statx(2) answers.
pub(crate) type Status = libc::statx;
/// A time in it.
pub(crate) type StatusTime = libc::statx_timestamp;

/// What is asked of statx: all that [`Metadata`](crate::fs::Metadata) has.
pub(super) const WANTED: u32 = libc::STATX_BASIC_STATS | libc::STATX_BTIME;

/// The most bytes that a plain call moves: some tens of microseconds of copying.
const AT_ONCE: usize = 256 << 10;

/// As many registered bytes are read sooner through the ring.
const MANY: usize = 32 << 10;

/// Errors that a walk along cached names finds for certain.
const CERTAIN: [Errno; 5] =
    [Errno::ENOENT, Errno::ENOTDIR, Errno::EACCES, Errno::EISDIR, Errno::ENAMETOOLONG];

/// The outcome of a call that has no number to tell.
const DONE: Outcome = Outcome { result: 0, flags: 0 };

/// An outcome that is an error.
fn failed(errno: Errno) -> Outcome {
    Outcome { result: -(errno as i32), flags: 0 }
}

/// Opens a file without waiting; None: that cannot be done. With the descriptor comes what is known of the file already.
pub(super) fn open_at_once(path: &CStr, flags: i32, mode: u32) -> Option<(Outcome, Option<Facts>)> {
    if flags & libc::O_CREAT != 0 {
        // Asked of the file itself: what is known of the folder may be a second old.
        let outcome = opened(make_in_memory(path, flags, mode)?);
        return Some((outcome, (outcome.result >= 0).then(|| facts(outcome.result))));
    }
    let outcome = open_nonblocking(path, flags)?;
    if outcome.result < 0 {
        return Some((outcome, None));
    }
    if flags & libc::O_NONBLOCK == 0 {
        let_wait(outcome.result, flags);
    }
    // Closing it takes these facts at the latest.
    let told = |status| Facts::told(outcome.result, &status, || flags & libc::O_DIRECT != 0);
    Some((outcome, remembered(outcome.result).map(told)))
}

/// The outcome of a call that opens a file.
fn opened(result: Result<OwnedFd, Errno>) -> Outcome {
    result.map_or_else(failed, |fd| Outcome { result: fd.into_raw_fd(), flags: 0 })
}

/// Makes a file that is not there yet, in a folder in memory.
fn make_in_memory(path: &CStr, flags: i32, mode: u32) -> Option<Result<OwnedFd, Errno>> {
    // `O_TMPFILE` contains `O_DIRECTORY`.
    if flags & (libc::O_DIRECTORY | libc::O_PATH) != 0 || !medium::in_memory(path) {
        return None;
    }
    let new = OFlag::from_bits_retain(flags | libc::O_EXCL | libc::O_CLOEXEC);
    match open(path, new, Mode::from_bits_retain(mode)) {
        Err(Errno::EEXIST) if flags & libc::O_EXCL == 0 => None,
        Err(Errno::EINTR) => None,
        made => Some(made),
    }
}

/// Opens what is there as the ring would, where the way to it is cached: with `O_NONBLOCK`, which [`let_wait`] takes away.
pub(super) fn open_nonblocking(path: &CStr, flags: i32) -> Option<Outcome> {
    open_there(path, flags).map(opened)
}

fn open_there(path: &CStr, flags: i32) -> Option<Result<OwnedFd, Errno>> {
    const OTHERWISE: i32 = libc::O_TRUNC | libc::O_PATH | (libc::O_TMPFILE & !libc::O_DIRECTORY);
    if flags & OTHERWISE != 0 || Machine::look().has_servers {
        return None;
    }
    match open_cached(path, flags | libc::O_NONBLOCK) {
        // What a walk along cached names does not find for certain, the ring has to look for.
        Err(errno) if !CERTAIN.contains(&errno) => None,
        there => Some(there),
    }
}

/// Gives a file that was opened with `O_NONBLOCK` the flags that were asked for.
pub(super) fn let_wait(fd: RawFd, flags: i32) {
    let _ = set_flags(fd, OFlag::from_bits_retain(flags));
}

/// Whether to open this path on a kernel worker: where the way to it is cached, the kernel opens it inside the submission, and FUSE
/// or NFS would have the loop wait for their server.
///
/// Most machines have no such mount, and then this costs a look at the clock. Where there is one, each open is preceded by
/// plain calls, which tell where the path leads. What they cannot tell is not cached: that goes to a worker without being told.
pub(super) fn opens_on_worker(path: &CStr) -> bool {
    Machine::look().has_servers
        && place_of(path, 0)
            .is_ok_and(|place| status_at_once(place.as_raw_fd(), &mut unknown_status()).is_none())
}

/// Whether what a path leads to may keep an open waiting without end, as far as the kernel has it in its cache.
pub(super) fn may_wait(path: &CStr) -> bool {
    place_of(path, 0).is_ok_and(|place| {
        let fd = place.as_raw_fd();
        remembered(fd).is_some_and(|status| Facts::told(fd, &status, || false).waits)
    })
}

/// The status of an open file, if it can be had without waiting and is not stale.
pub(super) fn status_at_once(fd: RawFd, status: &mut Status) -> Option<Outcome> {
    (remember(fd, status) && is_local(status)).then_some(DONE)
}

/// The status of what a path leads to, or why it leads nowhere, if that can be had without waiting and is not stale.
/// `O_NOFOLLOW` is the only flag that makes sense.
pub(super) fn status_at_once_by_path(path: &CStr, flags: i32, status: &mut Status) -> Option<Outcome> {
    if medium::in_memory(path)
        && let Some(outcome) = status_in_memory(path, flags, status)
    {
        return Some(outcome);
    }
    match place_of(path, flags) {
        Ok(place) => status_at_once(place.as_raw_fd(), status),
        Err(errno) => CERTAIN.contains(&errno).then(|| failed(errno)),
    }
}

/// The status of a name in a folder that lies in memory; None if it is a link to somewhere else, or the place of another mount.
fn status_in_memory(path: &CStr, flags: i32, status: &mut Status) -> Option<Outcome> {
    let own = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_STATX_DONT_SYNC;
    match ask(libc::AT_FDCWD, path, own, status) {
        Ok(()) => {
            let is_link = u32::from(status.stx_mode) & libc::S_IFMT == libc::S_IFLNK;
            let answers = !is_link || flags & libc::O_NOFOLLOW != 0;
            (answers && Medium::of(status) == Medium::Memory).then_some(DONE)
        }
        Err(errno) => CERTAIN.contains(&errno).then(|| failed(errno)),
    }
}

/// Whether one read by itself should be tried as a plain call. What is cached, the ring copies inside the enter as well, and
/// cheaper by what `preadv2` costs more than `pread`; worth it is the enter that is saved. Into so many bytes that are `registered`
/// it copies faster than any call can, and that outweighs the enter.
pub(super) fn reads_by_call(facts: &Facts, registered: Option<usize>, company: Company) -> bool {
    match facts.reads.get() {
        Way::Plain => true,
        Way::IfCached => company == Company::Alone && registered.is_none_or(|len| len < MANY),
        Way::Ring | Way::Worker | Way::Thread => false,
    }
}

/// The entry of a read, on a worker if need be.
#[inline]
pub(super) fn read_entry(facts: &Facts, entry: Entry) -> Entry {
    entry.flags(if_so(facts.reads.get() == Way::Worker, squeue::Flags::ASYNC))
}

/// These flags, or none. An entry that gets them either way is built in one place.
#[inline]
pub(super) fn if_so(so: bool, flags: squeue::Flags) -> squeue::Flags {
    if so { flags } else { squeue::Flags::empty() }
}

/// pread(2) without waiting, into memory that is the caller's to fill; None: that cannot be done.
///
/// # Safety
/// The memory is as long as that, and nobody else refers to it.
pub(super) unsafe fn read_at_once(
    fd: RawFd,
    facts: &Facts,
    (start, len): (*mut u8, u32),
    offset: u64,
) -> Option<Outcome> {
    let offset = i64::try_from(offset).ok().filter(|_| len as usize <= AT_ONCE)?;
    let result = match facts.reads.get() {
        Way::Plain if Machine::look().has_swapped => return None,
        // SAFETY: L1: the caller lends the memory for the call.
        Way::Plain => unsafe { pread(fd, start, len as usize, offset) },
        // SAFETY: L1: the caller lends the memory for the call.
        Way::IfCached => unsafe { pread_cached(fd, start, len as usize, offset) },
        Way::Ring | Way::Worker | Way::Thread => return None,
    };
    match result {
        Ok(count) => Some(called(Ok(count))),
        Err(errno) => {
            if errno != Errno::EAGAIN {
                facts.reads.set(Way::Ring);
            }
            None
        }
    }
}

/// pread(2), which blocks.
pub(super) fn read_plainly(fd: RawFd, place: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    // SAFETY: L1: the place is borrowed for the call, with its length.
    Ok(unsafe { pread(fd, place.as_mut_ptr(), place.len(), offset) }?)
}

/// pwrite(2), or write(2) for the offset -1; both block.
pub(super) fn write_plainly(fd: RawFd, bytes: &[u8], offset: u64) -> std::io::Result<usize> {
    let start = bytes.as_ptr().cast();
    let count = match offset {
        // SAFETY: L1: the bytes are borrowed for the call, with their length.
        u64::MAX => unsafe { libc::write(fd, start, bytes.len()) },
        _ => {
            let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
            // SAFETY: L1: the bytes are borrowed for the call, with their length.
            unsafe { libc::pwrite(fd, start, bytes.len(), offset) }
        }
    };
    Ok(Errno::result(count)? as usize)
}

/// pwrite(2) without waiting; None: that cannot be done.
///
/// # Safety
/// The memory is as long as that, and nobody writes to it.
pub(super) unsafe fn write_at_once(
    fd: RawFd,
    facts: &Facts,
    (start, len): (*const u8, u32),
    offset: u64,
) -> Option<Outcome> {
    let offset =
        i64::try_from(offset).ok().filter(|_| len as usize <= AT_ONCE && facts.writes == Way::Plain)?;
    // SAFETY: L1: the caller lends the memory for the call.
    let outcome = called(unsafe { pwrite(fd, start, len as usize, offset) });
    (outcome.result != -libc::EINTR).then_some(outcome)
}

/// Copies a file with its permissions between two folders in memory; None: that cannot be done, and nothing was made.
pub(super) fn copy_at_once(from: &CStr, to: &CStr) -> Option<Outcome> {
    if Machine::look().has_swapped || !medium::in_memory(from) {
        return None;
    }
    // Also of a link, which may lead out of memory: as any file that is opened to be read.
    let source = open_there(from, libc::O_RDONLY)?.ok()?;
    let status = remembered(source.as_raw_fd())?;
    let is_file = u32::from(status.stx_mode) & libc::S_IFMT == libc::S_IFREG;
    if !is_file || Medium::of(&status) != Medium::Memory || status.stx_size > AT_ONCE as u64 {
        return None;
    }
    let mode = u32::from(status.stx_mode) & 0o7777;
    // If the name is taken, or cannot be, the pool finds that as well, and says why.
    let copy = make_in_memory(to, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, mode)?.ok()?;
    let permissions = Mode::from_bits_truncate(mode);
    let copied = fchmod(&copy, permissions).and_then(|()| copy_all(&source, &copy, status.stx_size as usize));
    Some(copied.map_or_else(failed, |bytes| Outcome { result: bytes as i32, flags: 0 }))
}

/// Copies a file that has probably so many bytes.
fn copy_all(from: &OwnedFd, to: &OwnedFd, expected: usize) -> Result<usize, Errno> {
    let mut total = 0;
    // One that grows meanwhile is not followed for ever.
    while total <= 2 * AT_ONCE {
        // One byte more than should come, so that the end shows.
        let asked = if total < expected { expected - total + 1 } else { AT_ONCE };
        let count = sendfile(to, from, None, asked)?;
        total += count;
        if count == 0 || count < asked && total == expected {
            break;
        }
    }
    Ok(total)
}

/// How a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By a plain call.
    Plain,
    /// By a plain call, if it need not wait.
    IfCached,
    /// Through the ring.
    Ring,
    /// Through the ring, on a kernel worker.
    Worker,
    /// By a plain call on the thread pool.
    Thread,
}

/// What is known of an open file without asking anybody else than the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// It has offsets; pipes, terminals and sockets have none.
    pub(crate) seekable: bool,
    /// A transfer may wait without end: for a writer, a reader, a device.
    pub(crate) waits: bool,
    /// To close it waits for nobody: no server to write back to, no terminal to drain, no device to flush.
    pub(crate) closes_at_once: bool,
    /// How it is read; a file system may have to be tried to know.
    reads: Cell<Way>,
    /// How it is written.
    writes: Way,
}

impl Facts {
    /// Of something on a disk, or like it.
    fn new(seekable: bool, closes_at_once: bool) -> Facts {
        Facts { seekable, waits: false, closes_at_once, reads: Cell::new(Way::Ring), writes: Way::Ring }
    }

    /// Of something that may keep its users waiting.
    fn of_stream(seekable: bool, closes_at_once: bool) -> Facts {
        Facts { waits: true, ..Facts::new(seekable, closes_at_once) }
    }

    /// Of a file that takes every way but the shorter ones.
    #[cfg(test)]
    pub(crate) fn unknown() -> Facts {
        Facts::new(true, false)
    }

    /// Whether it is read by a thread. Of a file that a FUSE server has opened for direct I/O, io_uring goes on after a short
    /// read and takes it that the file system has moved the position, which FUSE has not: the bytes come from the wrong place.
    #[inline]
    pub(crate) fn reads_by_thread(&self) -> bool {
        self.reads.get() == Way::Thread
    }

    fn of_file_in_memory() -> Facts {
        Facts { reads: Cell::new(Way::Plain), writes: Way::Plain, ..Facts::new(true, true) }
    }

    /// From the status of an open file.
    fn told(fd: RawFd, status: &Status, is_direct: impl FnOnce() -> bool) -> Facts {
        match u32::from(status.stx_mode) & libc::S_IFMT {
            libc::S_IFREG => match Medium::of(status) {
                Medium::Memory => Facts::of_file_in_memory(),
                Medium::Disk if !is_direct() => {
                    Facts { reads: Cell::new(Way::IfCached), ..Facts::new(true, true) }
                }
                Medium::Disk => Facts::new(true, true),
                medium => {
                    let reads = match (medium, Machine::look()) {
                        (Medium::Fuse, _) => Way::Thread,
                        // A layer may be on FUSE.
                        (Medium::Layers | Medium::Unknown, Machine { has_fuse: true, .. }) => Way::Thread,
                        (_, Machine { has_servers: true, .. }) => Way::Worker,
                        _ => Way::Ring,
                    };
                    Facts { reads: Cell::new(reads), ..Facts::new(true, is_local(status)) }
                }
            },
            libc::S_IFDIR | libc::S_IFLNK => Facts::new(true, is_local(status)),
            libc::S_IFIFO => Facts::of_stream(false, true),
            libc::S_IFSOCK => Facts::of_stream(false, false),
            libc::S_IFBLK => Facts::new(true, false),
            _ => Facts::of_stream(has_position(fd), false),
        }
    }
}

/// Learns the facts of an open file.
pub(crate) fn facts(fd: RawFd) -> Facts {
    measure(fd).1
}

/// Learns the facts of an open file, and how long it probably is.
pub(super) fn measure(fd: RawFd) -> (u64, Facts) {
    match remembered(fd) {
        Some(status) => (status.stx_size, Facts::told(fd, &status, || is_direct(fd))),
        None => (0, Facts::of_stream(has_position(fd), false)),
    }
}

/// Whether the open file has offsets.
fn has_position(fd: RawFd) -> bool {
    position(fd).is_ok()
}

/// Whether its transfers bypass the cache: then `RWF_NOWAIT` does not keep them from waiting for the disk.
fn is_direct(fd: RawFd) -> bool {
    flags(fd).map_or(true, |flags| flags.contains(OFlag::O_DIRECT))
}

/// Whether the file lies on a local file system.
fn is_local(status: &Status) -> bool {
    matches!(Medium::of(status), Medium::Memory | Medium::Disk | Medium::Layers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{FromRawFd, OwnedFd};

    /// What of a file is known, by its path.
    fn facts_of(path: &str) -> Facts {
        facts(File::open(path).expect("Linux has it").as_raw_fd())
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn the_size_is_told_and_procfs_is_not_local() {
        let file = File::open(std::env::current_exe().expect("a test has a file")).expect("it can be opened");
        assert_eq!(measure(file.as_raw_fd()).0, file.metadata().expect("it is open").len());
        let procfs = File::open("/proc/self/status").expect("procfs is there");
        let (size, facts) = measure(procfs.as_raw_fd());
        assert!(
            size == 0
                && !facts.closes_at_once
                && status_at_once(procfs.as_raw_fd(), &mut unknown_status()).is_none()
        );
        assert_eq!(measure(-1).0, 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn a_path_says_the_same_at_once_as_through_the_file_system() {
        use std::os::unix::fs::MetadataExt;
        let by_path = |path: &CStr, flags| {
            let mut status = unknown_status();
            let outcome = status_at_once_by_path(path, flags, &mut status)?;
            Some(if outcome == DONE { Ok(status.stx_ino) } else { Err(outcome) })
        };
        let inode = |path: &str| std::fs::metadata(path).expect("Linux has it").ino();
        // Where the kernel cannot tell what is local there is no answer, and never another one.
        for (path, name) in [(c"/", "/"), (c"/tmp/..", "/")] {
            assert!(by_path(path, 0).is_none_or(|ino| ino == Ok(inode(name))), "{name}");
        }
        assert_eq!(by_path(c"/proc/self", 0), None, "not a local file system");
        let missing = Err(Outcome { result: -libc::ENOENT, flags: 0 });
        assert!(by_path(c"/no/such/path", 0).is_none_or(|status| status == missing));
        let link = std::env::temp_dir().join(format!("ringloop-route-{}", std::process::id()));
        std::os::unix::fs::symlink("/", &link).expect("the folder can be written");
        let path = std::ffi::CString::new(link.as_os_str().as_encoded_bytes()).expect("no NUL");
        let own = std::fs::symlink_metadata(&link).expect("it is there").ino();
        assert!(by_path(&path, libc::O_NOFOLLOW).is_none_or(|ino| ino == Ok(own)));
        assert!(by_path(&path, 0).is_none_or(|ino| ino == Ok(inode("/"))));
        std::fs::remove_file(link).expect("it is there");
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn what_is_opened_at_once_has_the_flags_that_were_asked_for() {
        let opened = |flags| {
            let (outcome, facts) = open_at_once(c"/dev/null", flags, 0)?;
            let fd = outcome.count().expect("it can be opened") as RawFd;
            // SAFETY: D1: the descriptor was just made, for us.
            let file = unsafe { OwnedFd::from_raw_fd(fd) };
            // SAFETY: L1: no pointer goes in.
            let told = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
            assert!(facts.is_some_and(|facts| facts.seekable && facts.reads.get() == Way::Ring));
            Some(told & (libc::O_ACCMODE | libc::O_NONBLOCK))
        };
        for flags in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR | libc::O_NONBLOCK] {
            assert!(opened(flags).is_none_or(|told| told == flags), "{flags:o}");
        }
        for flags in [libc::O_CREAT | libc::O_WRONLY, libc::O_TRUNC | libc::O_WRONLY, libc::O_PATH] {
            assert!(open_at_once(c"/proc/self/status", flags, 0o600).is_none(), "{flags:o}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn what_has_offsets_is_told_from_what_has_none() {
        let (reader, _writer) = std::io::pipe().expect("a pipe can be made");
        let pipe = facts(reader.as_raw_fd());
        assert!(!pipe.seekable && pipe.closes_at_once && pipe.reads.get() == Way::Ring);
        for path in ["/proc/self/status", "/dev/null", "/dev/zero", "/"] {
            let facts = facts_of(path);
            assert!(facts.seekable && facts.writes == Way::Ring, "{path}");
        }
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("sockets can be made");
        for fd in [one.as_raw_fd(), -1] {
            let facts = facts(fd);
            assert!(!facts.seekable && !facts.closes_at_once && facts.reads.get() == Way::Ring, "{fd}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn a_file_that_refuses_to_be_read_without_waiting_is_not_tried_again() {
        let file = File::open("/proc/self/status").expect("procfs is there");
        assert!(
            !reads_by_call(&facts(file.as_raw_fd()), None, Company::Alone),
            "not a file system that is known"
        );
        let facts = Facts { reads: Cell::new(Way::IfCached), ..Facts::new(true, true) };
        let mut room = [0; 16];
        // SAFETY: L1: the room is as long as that.
        let read = unsafe { read_at_once(file.as_raw_fd(), &facts, (room.as_mut_ptr(), 16), 0) };
        assert_eq!((read, facts.reads.get()), (None, Way::Ring));
    }
}
