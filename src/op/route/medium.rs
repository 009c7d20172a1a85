//! Where files lie, asked of the kernel without asking any file system.
//!
//! `fstatfs` would be a request to the very server that must not be waited for. `statx` with `AT_STATX_DONT_SYNC` reads what
//! the kernel has in memory and names the mount by a number that is never used again; `statmount` (6.8) gives that mount's
//! magic number, which a thread remembers. Where the kernel has no such call, or a sandbox refuses it, nothing is known.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use super::{Status, WANTED};
use crate::sys::Errno;
use crate::sys::clock::last_tick;
use crate::sys::file::{FsType, mounted_system, open_cached, statfs, statx, sysinfo, unknown_status};

/// What a file system keeps its files in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// This machine's memory: there is nothing to wait for.
    Memory,
    /// A disk of this machine: what the kernel has in memory is at hand.
    Disk,
    /// Other file systems, of this machine as a rule: the status of a file is at hand, its content perhaps not.
    Layers,
    /// A FUSE server.
    Fuse,
    /// A server, a driver, or something else that is not in the list.
    Other,
    /// The kernel does not say.
    Unknown,
}

/// The file systems that are known, by magic number.
const KNOWN: [(FsType, Medium); 8] = [
    (statfs::TMPFS_MAGIC, Medium::Memory),
    (FsType(RAMFS_MAGIC), Medium::Memory),
    (statfs::EXT4_SUPER_MAGIC, Medium::Disk),
    (statfs::XFS_SUPER_MAGIC, Medium::Disk),
    (statfs::BTRFS_SUPER_MAGIC, Medium::Disk),
    (statfs::OVERLAYFS_SUPER_MAGIC, Medium::Layers),
    (statfs::F2FS_SUPER_MAGIC, Medium::Disk),
    (statfs::FUSE_SUPER_MAGIC, Medium::Fuse),
];

/// The kernel's `RAMFS_MAGIC`.
const RAMFS_MAGIC: libc::c_long = 0x8584_58f6_u32 as libc::c_long;

/// Things and what is known of them, in the order in which they were asked for last: programs ask for the same few things many
/// times.
struct Known<K, V>(Vec<(K, V)>);

impl<K, V: Copy> Known<K, V> {
    /// So many are remembered.
    const MOST: usize = 256;

    const fn new() -> Self {
        Known(Vec::new())
    }

    fn get(&mut self, is_it: impl Fn(&K) -> bool) -> Option<V> {
        let place = self.0.iter().position(|(key, _)| is_it(key))?;
        self.0[..=place].rotate_right(1);
        Some(self.0[0].1)
    }

    /// What is not known yet; if there are too many, that is forgotten which was not asked for the longest.
    fn put(&mut self, key: K, value: V) {
        self.0.truncate(Self::MOST - 1);
        self.0.insert(0, (key, value));
    }
}

thread_local! {
    /// The mounts met so far. A mount's number is never used again, so no entry gets wrong.
    static MOUNTS: RefCell<Known<u64, Medium>> = const { RefCell::new(Known::new()) };
}

impl Medium {
    /// That of the file with this status.
    pub(super) fn of(status: &Status) -> Medium {
        // Before 6.8 the mount has another kind of number, which may be used again.
        if status.stx_mask & libc::STATX_MNT_ID_UNIQUE == 0 {
            return Medium::Unknown;
        }
        let mount = status.stx_mnt_id;
        let known = |mounts: &RefCell<Known<u64, Medium>>| {
            let mut mounts = mounts.borrow_mut();
            mounts.get(|&number| number == mount).unwrap_or_else(|| {
                let medium = of_mount(mount);
                mounts.put(mount, medium);
                medium
            })
        };
        MOUNTS.try_with(known).unwrap_or(Medium::Unknown)
    }
}

/// What the kernel has in memory about an open file, with the number of its mount; it waits for nobody.
pub(super) fn remembered(fd: RawFd) -> Option<Status> {
    let mut status = unknown_status();
    remember(fd, &mut status).then_some(status)
}

/// The same, put where the caller says. False: it cannot be had.
pub(super) fn remember(fd: RawFd, status: &mut Status) -> bool {
    ask(fd, c"", libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC, status).is_ok()
}

/// Learns a file's status with the number of its mount. statx(2).
pub(super) fn ask(fd: RawFd, path: &CStr, flags: i32, status: &mut Status) -> Result<(), Errno> {
    statx(fd, path, flags, WANTED | libc::STATX_MNT_ID_UNIQUE, status)
}

/// A descriptor of where a path leads. It waits for nobody: an `O_PATH` descriptor is opened and closed without asking the
/// file system.
pub(super) fn place_of(path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    open_cached(path, libc::O_PATH | flags)
}

fn of_mount(mount: u64) -> Medium {
    let Some(found) = mounted_system(mount) else { return Medium::Unknown };
    KNOWN.iter().find(|(system, _)| *system == found).map_or(Medium::Other, |&(_, medium)| medium)
}

/// How long it is believed what was seen of things that change without notice.
const TRUST: Duration = Duration::from_secs(1);

/// Folders by their paths: whether they lie in memory, and when that was seen.
type Folders = Known<Box<[u8]>, (bool, Duration)>;

thread_local! {
    /// What was seen of folders.
    static IN_MEMORY: RefCell<Folders> = const { RefCell::new(Known::new()) };
    /// What was seen of the machine, and when.
    static MACHINE: Cell<Option<(Machine, Duration)>> = const { Cell::new(None) };
}

/// Whether the folder of this name lies in memory, and the way to it is cached. The folder of each path is asked for once
/// a second, which is what a call on one of its names would cost each time.
pub(crate) fn in_memory(path: &CStr) -> bool {
    let Some(folder) = folder(path.to_bytes()) else { return false };
    if !folder.starts_with(b"/") {
        // The working folder may be another one the next time.
        return medium_of_folder(folder) == Some(Medium::Memory);
    }
    let now = last_tick();
    let known = |folders: &RefCell<Folders>| {
        let mut folders = folders.borrow_mut();
        let known = folders.get(|path| **path == *folder);
        if let Some((in_memory, seen)) = known
            && now.saturating_sub(seen) < TRUST
        {
            return in_memory;
        }
        // What is not cached is not remembered either: it will be.
        let Some(medium) = medium_of_folder(folder) else { return false };
        let in_memory = medium == Medium::Memory;
        match known {
            // It has come to the front.
            Some(_) => folders.0[0].1 = (in_memory, now),
            None => folders.put(folder.into(), (in_memory, now)),
        }
        in_memory
    };
    IN_MEMORY.try_with(known).unwrap_or(false)
}

/// The folder in which a path names something; None where the last part is no plain name.
fn folder(path: &[u8]) -> Option<&[u8]> {
    let (folder, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..=slash], &path[slash + 1..]),
        None => (&b"."[..], path),
    };
    (!matches!(name, b"" | b"." | b"..")).then_some(folder)
}

fn medium_of_folder(folder: &[u8]) -> Option<Medium> {
    let folder = std::ffi::CString::new(folder).ok()?;
    let place = place_of(&folder, libc::O_DIRECTORY).ok()?;
    Some(Medium::of(&remembered(place.as_raw_fd())?))
}

/// What matters of this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// A file system is mounted that may have to ask a server.
    pub(super) has_servers: bool,
    /// A FUSE server is among them.
    pub(super) has_fuse: bool,
    /// Something that was in memory has been written to the swap space.
    pub(super) has_swapped: bool,
}

impl Machine {
    /// As it was seen within the last second.
    pub(super) fn look() -> Machine {
        let now = last_tick();
        let known = MACHINE.get().filter(|(_, seen)| now.saturating_sub(*seen) < TRUST);
        known.map_or_else(|| Machine::look_anew(now), |(machine, _)| machine)
    }

    #[cold]
    fn look_anew(now: Duration) -> Machine {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo");
        let any = |of_interest: fn(&str) -> bool| {
            // Where that cannot be read, anything may be mounted.
            mounts.as_ref().map_or(true, |mounts| mounts.lines().any(of_interest))
        };
        let machine = Machine {
            has_servers: any(may_have_server),
            has_fuse: any(is_fuse),
            has_swapped: !sysinfo().is_ok_and(|memory| memory.swap_free() == memory.swap_total()),
        };
        MACHINE.set(Some((machine, now)));
        machine
    }
}

/// File systems whose `open` asks nobody, by name.
const SERVERLESS: [&str; 33] = [
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
    "rootfs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tmpfs",
    "tracefs",
    "vfat",
    "xfs",
];

/// Whether the file system of a line of `/proc/self/mountinfo` may have to ask a server.
fn may_have_server(mount: &str) -> bool {
    !file_system(mount).is_some_and(|system| SERVERLESS.contains(&system))
}

/// Whether the mount of such a line speaks the FUSE protocol.
fn is_fuse(mount: &str) -> bool {
    file_system(mount)
        .is_none_or(|system| ["fuse", "fuseblk", "virtiofs"].contains(&system) || system.starts_with("fuse."))
}

/// The kind of file system that such a line tells of.
fn file_system(mount: &str) -> Option<&str> {
    mount.rsplit_once(" - ").and_then(|(_, rest)| rest.split(' ').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_last_is_kept_longest() {
        let mut known = Known::new();
        let most = Known::<usize, usize>::MOST;
        for number in 0..2 * most {
            assert_eq!(known.get(|&key| key == number), None);
            known.put(number, number + 1);
            assert_eq!(known.get(|&key| key == 7), (number >= 7).then_some(8), "it is used all the time");
            assert!(known.0.len() <= most);
        }
        assert_eq!(known.get(|&key| key == 2 * most - 1), Some(2 * most));
        // Two that are asked for in turn come to the front and stay there.
        for _ in 0..2 {
            assert!(known.get(|&key| key == 2 * most - 5).is_some() && known.get(|&key| key == 7).is_some());
        }
        assert_eq!((known.0[0].0, known.0[1].0), (7, 2 * most - 5));
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
        for (system, expected) in
            [("fuse", true), ("fuse.sshfs", true), ("fuseblk", true), ("fusectl", false), ("nfs4", false)]
        {
            assert_eq!(is_fuse(&mount(system)), expected, "{system}");
        }
        assert!(may_have_server("no mount at all") && is_fuse("no mount at all"));
        assert!(SERVERLESS.is_sorted());
    }

    #[test]
    fn the_folder_of_a_name_is_what_stands_before_it() {
        for (path, expected) in [("/a/b/c", "/a/b/"), ("/c", "/"), ("b/c", "b/"), ("c", "."), ("//c", "//")] {
            assert_eq!(folder(path.as_bytes()), Some(expected.as_bytes()), "{path}");
        }
        for path in ["", "/", "a/", ".", "..", "/a/.", "/a/.."] {
            assert_eq!(folder(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn procfs_and_a_missing_folder_are_not_in_memory() {
        for path in [c"/proc/version", c"/no/such/folder/name", c"/", c"/proc/self/fd/.."] {
            assert!(!in_memory(path), "{path:?}");
        }
    }
}
