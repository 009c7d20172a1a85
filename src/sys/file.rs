//! Calls on files and paths. Those that nix has are named here, so that no other room calls nix.

#![allow(unsafe_code)]

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::Errno;

pub(crate) use nix::fcntl::{AT_FDCWD, OFlag, open};
pub(crate) use nix::sys::sendfile::sendfile;
pub(crate) use nix::sys::stat::{Mode, SFlag, UtimensatFlags, fchmod, futimens, makedev, utimensat};
pub(crate) use nix::sys::statfs::{self, FsType};
pub(crate) use nix::sys::sysinfo::sysinfo;
pub(crate) use nix::sys::time::TimeSpec;
pub(crate) use nix::unistd::{Whence, ftruncate, lseek};

/// Returns the open file's status flags. fcntl(2) `F_GETFL`.
pub(crate) fn flags(fd: RawFd) -> Result<OFlag, Errno> {
    // SAFETY: L1: the call takes no pointers.
    let flags = Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    Ok(OFlag::from_bits_retain(flags))
}

/// Sets the open file's status flags. fcntl(2) `F_SETFL`.
pub(crate) fn set_flags(fd: RawFd, flags: OFlag) -> Result<(), Errno> {
    // SAFETY: L1: the call takes no pointers.
    Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFL, flags.bits()) }).map(drop)
}

/// Whether it is a FIFO or a pipe. An error counts as no: whatever is done with the descriptor next will tell it.
pub(crate) fn is_fifo(fd: BorrowedFd<'_>) -> bool {
    nix::sys::stat::fstat(fd).is_ok_and(|status| status.st_mode & libc::S_IFMT == libc::S_IFIFO)
}

/// Returns the open file's position. lseek(2).
///
/// # Errors
/// ESPIPE: it has none.
pub(crate) fn position(fd: RawFd) -> Result<u64, Errno> {
    // SAFETY: L1: the call takes no pointers.
    let position = Errno::result(unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) })?;
    Ok(position as u64)
}

/// Reads at an offset. pread(2).
///
/// # Safety
/// The `len` bytes from `start` may be written to.
pub(crate) unsafe fn pread(fd: RawFd, start: *mut u8, len: usize, offset: i64) -> Result<usize, Errno> {
    // SAFETY: L1: the caller lends the memory for the call.
    let count = Errno::result(unsafe { libc::pread(fd, start.cast(), len, offset) })?;
    Ok(count as usize)
}

/// Reads at an offset what the page cache has, and nothing else. preadv2(2) with `RWF_NOWAIT`.
///
/// # Safety
/// The `len` bytes from `start` may be written to.
pub(crate) unsafe fn pread_cached(
    fd: RawFd,
    start: *mut u8,
    len: usize,
    offset: i64,
) -> Result<usize, Errno> {
    let part = libc::iovec { iov_base: start.cast(), iov_len: len };
    // SAFETY: L1: the caller lends the memory for the call, which the vector outlives.
    let count = Errno::result(unsafe { libc::preadv2(fd, &raw const part, 1, offset, libc::RWF_NOWAIT) })?;
    Ok(count as usize)
}

/// Writes at an offset. pwrite(2).
///
/// # Safety
/// The `len` bytes from `start` are initialised, and nobody writes to them.
pub(crate) unsafe fn pwrite(fd: RawFd, start: *const u8, len: usize, offset: i64) -> Result<usize, Errno> {
    // SAFETY: L1: the caller lends the memory for the call.
    let count = Errno::result(unsafe { libc::pwrite(fd, start.cast(), len, offset) })?;
    Ok(count as usize)
}

/// Returns the status of nothing, to be filled in by [`statx`].
pub(crate) fn unknown_status() -> libc::statx {
    // SAFETY: P1: plain numbers.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Learns the status of a file. statx(2).
pub(crate) fn statx(
    fd: RawFd,
    path: &CStr,
    flags: i32,
    mask: u32,
    status: &mut libc::statx,
) -> Result<(), Errno> {
    // SAFETY: L1: the path outlives the call, and the place is as large as what the kernel writes.
    Errno::result(unsafe { libc::statx(fd, path.as_ptr(), flags, mask, status) }).map(drop)
}

/// Opens a file if the way to it is in the kernel's cache. openat2(2) with `RESOLVE_CACHED`, which gives up with EAGAIN
/// where walking would have to wait.
pub(crate) fn open_cached(path: &CStr, flags: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: P1: plain numbers.
    let mut how: libc::open_how = unsafe { MaybeUninit::zeroed().assume_init() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.resolve = libc::RESOLVE_CACHED;
    let (how, size) = (&raw const how, size_of::<libc::open_how>());
    // SAFETY: L1: path and struct outlive the call, and the struct's size is told.
    let fd =
        Errno::result(unsafe { libc::syscall(libc::SYS_openat2, libc::AT_FDCWD, path.as_ptr(), how, size) })?;
    // SAFETY: D1: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// `struct mnt_id_req`, in its first version.
#[repr(C)]
struct MountRequest {
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

/// The system call's number is the same on all architectures that have it.
const SYS_STATMOUNT: libc::c_long = 457;
/// `STATMOUNT_SB_BASIC`: device and magic number.
const SB_BASIC: u64 = 1;

/// Returns the kind of file system of the mount with this unique number. statmount(2), since 6.8.
pub(crate) fn mounted_system(mount: u64) -> Option<FsType> {
    let request = MountRequest { size: size_of::<MountRequest>() as u32, spare: 0, mount, wanted: SB_BASIC };
    let mut status = MountStatus { size: 0, options: 0, mask: 0, device: [0; 2], magic: 0, rest: [0; 60] };
    let place = &raw mut status;
    // SAFETY: L1: both structs are the kernel's, or begin like them, and outlive the call; their sizes are told.
    let result =
        unsafe { libc::syscall(SYS_STATMOUNT, &raw const request, place, size_of::<MountStatus>(), 0) };
    (result == 0 && status.mask & SB_BASIC != 0).then_some(FsType(status.magic as _))
}
