//! Which way a file operation goes: as a plain call, through the ring, or over the thread pool. Decided here and nowhere else.
//!
//! | operation | way | why |
//! |---|---|---|
//! | `fstat` on a local file system | plain call | reads memory; the ring would use a kernel worker for it |
//! | `stat` of a cached path that leads to one | plain calls | the same; a path that is not cached goes through the ring |
//! | the size hint of whole-file reads | plain call, without synchronisation | a stale hint costs a read, not a byte |
//! | open | ring | completes inside the enter where the path is cached; on a worker where it makes or empties the file |
//! | open of a cached path on FUSE, NFS and the like | ring, on a worker | inside the enter it would wait for the server |
//! | `lseek`, `fcntl`, `dup` | plain call | they touch the open file only |
//! | close on a local file system, of a pipe | plain call | it waits for nobody |
//! | close of anything else | ring | FUSE and NFS write back first, terminals drain, devices flush |
//! | all else that the ring can do | ring | it may wait for a disk or a server |
//! | `fchmod`, `utimensat`, `readlink`, `getdents`, `realpath`, `copy_file_range`; `ftruncate` before 6.9 | pool | the ring has no such operation |
//!
//! What "local" means is asked of the kernel without asking the file system: `fstatfs` would be a request to the very server that
//! must not be waited for. `statx` with `AT_STATX_DONT_SYNC` reads what the kernel has in memory and names the mount by a
//! number that is never used again; `statmount` (6.8) gives that mount's magic number, which a thread remembers. Where
//! the kernel has no such call, or a sandbox refuses it, nothing counts as local, and all goes through the ring.
//!
//! The numbers are in `docs/decisions/0007-file-routes.md`.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::statfs::{self, FsType};

/// What statx(2) answers.
pub(crate) type Status = libc::statx;
/// A time in it.
pub(crate) type StatusTime = libc::statx_timestamp;

/// What is asked of statx: all that [`Metadata`](crate::fs::Metadata) has.
pub(super) const WANTED: u32 = libc::STATX_BASIC_STATS | libc::STATX_BTIME;

/// The system call's number is the same on all architectures that have it.
const SYS_STATMOUNT: libc::c_long = 457;
/// `STATMOUNT_SB_BASIC`: device and magic number.
const SB_BASIC: u64 = 1;

/// File systems whose `getattr` reads memory of this machine, by magic number.
const LOCAL: [FsType; 6] = [
    statfs::EXT4_SUPER_MAGIC,
    statfs::XFS_SUPER_MAGIC,
    statfs::BTRFS_SUPER_MAGIC,
    statfs::TMPFS_MAGIC,
    statfs::OVERLAYFS_SUPER_MAGIC,
    statfs::F2FS_SUPER_MAGIC,
];

thread_local! {
    /// The mounts met so far, and whether each is local. A mount's number is never used again, so no entry gets wrong.
    static MOUNTS: RefCell<HashMap<u64, bool>> = RefCell::default();
}

/// What the kernel has in memory about an open file, with the number of its mount; it waits for nobody.
fn remembered(fd: RawFd) -> Option<Status> {
    let mut status = MaybeUninit::<Status>::zeroed();
    let flags = libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    let mask = WANTED | libc::STATX_MNT_ID_UNIQUE;
    // SAFETY: the path is an empty string, and the place is as large as what the kernel writes.
    let result = unsafe { libc::statx(fd, c"".as_ptr(), flags, mask, status.as_mut_ptr()) };
    // SAFETY: plain numbers, for which all bits are valid, and zero where the kernel wrote nothing.
    (result == 0).then(|| unsafe { status.assume_init() })
}

/// The status of an open file, if it can be had without waiting and is not stale.
pub(super) fn status_at_once(fd: RawFd) -> Option<Status> {
    remembered(fd).filter(is_local)
}

/// The status of what a path leads to, if the way there is in the kernel's cache and the file is local. `O_NOFOLLOW` is the
/// only flag that makes sense.
pub(super) fn status_at_once_by_path(path: &CStr, flags: i32) -> Option<Status> {
    status_at_once(place_of(path, flags)?.as_raw_fd())
}

/// A descriptor of where a path leads, if the way there is in the kernel's cache. It waits for nobody: `RESOLVE_CACHED` gives up
/// where walking would have to, and an `O_PATH` descriptor is opened and closed without asking the file system.
fn place_of(path: &CStr, flags: i32) -> Option<OwnedFd> {
    // SAFETY: plain numbers, for which all bits are valid.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (libc::O_PATH | libc::O_CLOEXEC | flags) as u64;
    how.resolve = libc::RESOLVE_CACHED;
    let (how, size) = (&raw const how, size_of::<libc::open_how>());
    // SAFETY: path and struct outlive the call, and the struct's size is told.
    let fd = unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how, size) };
    // SAFETY: the kernel has just made this descriptor for us.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// How long it is believed that no file system with a server was mounted.
const TRUST: Duration = Duration::from_secs(1);

/// File systems whose `open` asks nobody, by name, beside those that are local.
const SERVERLESS: [&str; 32] = [
    "autofs",
    "bcachefs",
    "binfmt_misc",
    "bpf",
    "btrfs",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "exfat",
    "ext4",
    "f2fs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "vfat",
    "xfs",
];

thread_local! {
    /// When the mounts were looked at last, and whether one of them may have a server.
    static SERVERS: Cell<Option<(Instant, bool)>> = const { Cell::new(None) };
}

/// Whether to open this path on a kernel worker: where the way to it is cached, the kernel opens it inside the submission, and FUSE
/// or NFS would have the loop wait for their server.
///
/// Most machines have no such mount, and then this costs a look at the clock. Where there is one, each open is preceded by the
/// plain calls of [`status_at_once_by_path`], which tell where the path leads. What they cannot tell is not cached: that goes to
/// a worker without being told.
pub(super) fn opens_on_worker(path: &CStr) -> bool {
    let now = Instant::now();
    let known = SERVERS.get().filter(|(looked, _)| now.duration_since(*looked) < TRUST);
    let has_servers = match known {
        Some((_, has_servers)) => has_servers,
        None => {
            let mounts = std::fs::read_to_string("/proc/self/mountinfo");
            let has_servers = mounts.is_ok_and(|mounts| mounts.lines().any(may_have_server));
            SERVERS.set(Some((now, has_servers)));
            has_servers
        }
    };
    has_servers && place_of(path, 0).is_some_and(|place| status_at_once(place.as_raw_fd()).is_none())
}

/// Whether the file system of a line of `/proc/self/mountinfo` may have to ask a server.
fn may_have_server(mount: &str) -> bool {
    let system = mount.rsplit_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
    !system.is_some_and(|system| SERVERLESS.contains(&system))
}

/// What can be told of a file that is to be read whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hint {
    /// How long it probably is; 0: unknown.
    pub(super) size: u64,
    /// It lies on a local file system.
    pub(super) local: bool,
    /// A read may wait without end.
    pub(super) waits: bool,
}

/// Learns it.
pub(super) fn hint(fd: RawFd) -> Hint {
    remembered(fd).map_or_else(Hint::default, |status| Hint {
        size: status.stx_size,
        local: is_local(&status),
        waits: waits(&status),
    })
}

/// Whether what a path leads to may keep an open waiting without end, as far as the kernel has it in its cache.
pub(super) fn may_wait(path: &CStr) -> bool {
    place_of(path, 0).and_then(|place| remembered(place.as_raw_fd())).is_some_and(|status| waits(&status))
}

/// Whether it is something that may keep its users waiting without end: not a file, a folder or a disk.
fn waits(status: &Status) -> bool {
    let kind = u32::from(status.stx_mode) & libc::S_IFMT;
    !matches!(kind, libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK | libc::S_IFBLK)
}

/// What is known of an open file without asking anybody else than the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// It has offsets; pipes, terminals and sockets have none.
    pub(crate) seekable: bool,
    /// A transfer may wait without end: for a writer, a reader, a device.
    pub(crate) waits: bool,
    /// To close it waits for nobody: no server to write back to, no terminal to drain, no device to flush.
    pub(crate) closes_at_once: bool,
}

/// Learns the facts of an open file.
pub(crate) fn facts(fd: RawFd) -> Facts {
    // SAFETY: it touches the open file only.
    let has_position = || unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) } >= 0;
    let Some(status) = remembered(fd) else {
        return Facts { seekable: has_position(), waits: true, closes_at_once: false };
    };
    let (seekable, closes_at_once) = match u32::from(status.stx_mode) & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFLNK => (true, is_local(&status)),
        libc::S_IFIFO => (false, true),
        libc::S_IFSOCK => (false, false),
        libc::S_IFBLK => (true, false),
        _ => (has_position(), false),
    };
    Facts { seekable, waits: waits(&status), closes_at_once }
}

/// Whether the file lies on a local file system.
fn is_local(status: &Status) -> bool {
    // Before 6.8 the mount has another kind of number, which may be used again.
    let has_number = status.stx_mask & libc::STATX_MNT_ID_UNIQUE != 0;
    let known = |mounts: &RefCell<HashMap<u64, bool>>| {
        *mounts.borrow_mut().entry(status.stx_mnt_id).or_insert_with(|| is_local_mount(status.stx_mnt_id))
    };
    has_number && MOUNTS.try_with(known).unwrap_or(false)
}

/// `struct mnt_id_req`, in its first version.
#[repr(C)]
struct Request {
    /// Of this struct.
    size: u32,
    /// Zero.
    spare: u32,
    /// Which mount, by its unique number.
    mount: u64,
    /// What to fill in.
    wanted: u64,
}

/// The beginning of `struct statmount`, and room for the rest.
#[repr(C)]
struct MountStatus {
    /// How much the kernel has filled in.
    size: u32,
    /// Not asked for.
    options: u32,
    /// What the kernel filled in.
    mask: u64,
    /// Major and minor number.
    device: [u32; 2],
    /// The file system's magic number.
    magic: u64,
    /// Room for what later kernels add.
    rest: [u64; 60],
}

fn is_local_mount(mount: u64) -> bool {
    let request = Request { size: size_of::<Request>() as u32, spare: 0, mount, wanted: SB_BASIC };
    let mut status = MountStatus { size: 0, options: 0, mask: 0, device: [0; 2], magic: 0, rest: [0; 60] };
    let place = &raw mut status;
    // SAFETY: both structs are the kernel's, or begin like them, and outlive the call; their sizes are told.
    let result =
        unsafe { libc::syscall(SYS_STATMOUNT, &raw const request, place, size_of::<MountStatus>(), 0) };
    result == 0 && status.mask & SB_BASIC != 0 && LOCAL.contains(&FsType(status.magic as _))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn the_hint_is_the_size_and_procfs_is_not_local() {
        let file = File::open(std::env::current_exe().expect("a test has a file")).expect("it can be opened");
        assert_eq!(hint(file.as_raw_fd()).size, file.metadata().expect("it is open").len());
        let procfs = File::open("/proc/self/status").expect("procfs is there");
        assert_eq!(hint(procfs.as_raw_fd()), Hint::default());
        assert!(status_at_once(procfs.as_raw_fd()).is_none());
        assert_eq!(hint(-1), Hint::default());
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn a_path_says_the_same_at_once_as_through_the_file_system() {
        use std::os::unix::fs::MetadataExt;
        let by_path = |path: &CStr, flags| status_at_once_by_path(path, flags).map(|status| status.stx_ino);
        let inode = |path: &str| std::fs::metadata(path).expect("Linux has it").ino();
        // Where the kernel cannot tell what is local there is no answer, and never another one.
        for (path, name) in [(c"/", "/"), (c"/tmp/..", "/")] {
            assert!(by_path(path, 0).is_none_or(|ino| ino == inode(name)), "{name}");
        }
        assert_eq!(by_path(c"/proc/self", 0), None, "not a local file system");
        assert_eq!(by_path(c"/no/such/path", 0), None);
        let link = std::env::temp_dir().join(format!("ringloop-route-{}", std::process::id()));
        std::os::unix::fs::symlink("/", &link).expect("the folder can be written");
        let path = std::ffi::CString::new(link.as_os_str().as_encoded_bytes()).expect("no NUL");
        let own = std::fs::symlink_metadata(&link).expect("it is there").ino();
        assert!(by_path(&path, libc::O_NOFOLLOW).is_none_or(|ino| ino == own));
        assert!(by_path(&path, 0).is_none_or(|ino| ino == inode("/")));
        std::fs::remove_file(link).expect("it is there");
    }

    #[test]
    fn a_mount_is_known_by_its_file_system() {
        let mount =
            |system: &str| format!("36 35 98:0 / /mnt/a\\040b rw,noatime shared:1 - {system} name rw");
        for system in SERVERLESS {
            assert!(!may_have_server(&mount(system)), "{system}");
        }
        for system in ["nfs4", "fuse", "fuse.sshfs", "cifs", "9p", "something new"] {
            assert!(may_have_server(&mount(system)), "{system}");
        }
        assert!(may_have_server("no mount at all"));
        assert!(SERVERLESS.is_sorted());
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn what_has_offsets_is_told_from_what_has_none() {
        let (reader, _writer) = std::io::pipe().expect("a pipe can be made");
        let pipe = Facts { seekable: false, waits: true, closes_at_once: true };
        assert_eq!(facts(reader.as_raw_fd()), pipe);
        for (path, waits) in
            [("/proc/self/status", false), ("/dev/null", true), ("/dev/zero", true), ("/", false)]
        {
            let facts = facts(File::open(path).expect("Linux has it").as_raw_fd());
            assert_eq!((facts.seekable, facts.waits), (true, waits), "{path}");
        }
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("sockets can be made");
        let other = Facts { seekable: false, waits: true, closes_at_once: false };
        assert_eq!(facts(one.as_raw_fd()), other);
        assert_eq!(facts(-1), other);
    }
}
