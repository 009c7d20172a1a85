//! An entry seen as what it asks the kernel to move: for the fault filter, can it be less, and then how much less; for the
//! registered buffers, where it moves it. And what the crate's builders have no word for.
//!
//! Only where the kernel itself may be short is an entry shortened. A datagram has a boundary that a shorter
//! length would destroy; an eventfd wants its eight bytes; direct I/O wants whole blocks; a file of `/proc`
//! may give its text to the first read only.

#![allow(unsafe_code)]

use std::os::fd::BorrowedFd;

use io_uring::opcode::{Read, ReadFixed, Readv, Recv, Send, SendZc, Write, WriteFixed, Writev};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::{self, FsType, fstatfs};

use super::Entry;
use crate::sys::socket::SockRef;

/// `IOSQE_FIXED_FILE`: the descriptor is an index.
const FIXED_FILE: u8 = 1;
/// `IOSQE_IO_LINK` and `IOSQE_IO_HARDLINK`: the next entry waits for this one.
const LINKED: u8 = 1 << 2 | 1 << 3;
/// `IOSQE_BUFFER_SELECT`: the kernel picks a buffer.
const BUFFER_SELECT: u8 = 1 << 5;
/// `IORING_RECVSEND_POLL_FIRST`: do not try before there is something.
const POLL_FIRST: u16 = 1;

/// `IORING_ACCEPT_POLL_FIRST`: the same for an accept.
const ACCEPT_POLL_FIRST: u16 = 1 << 2;

/// What a shortened receive into a whole provided buffer asks for at most.
const PIECE: u32 = 4096;

/// File systems whose files are not bytes on a medium, and may give or take them in one call only.
const PSEUDO: [FsType; 6] = [
    statfs::PROC_SUPER_MAGIC,
    statfs::SYSFS_MAGIC,
    statfs::DEBUGFS_MAGIC,
    statfs::TRACEFS_MAGIC,
    statfs::CGROUP_SUPER_MAGIC,
    statfs::CGROUP2_SUPER_MAGIC,
];

/// The kernel's `io_uring_sqe`, as the transfers use it.
#[repr(C)]
pub(super) struct Transfer {
    /// `IORING_OP_*`.
    opcode: u8,
    /// `IOSQE_*`.
    flags: u8,
    /// Flags of receives, sends and accepts; the priority of reads and writes.
    ioprio: u16,
    /// The descriptor, or an index.
    fd: i32,
    /// Position.
    offset: u64,
    /// Memory.
    address: u64,
    /// Bytes, or vectors.
    len: u32,
    /// Flags of the operation, and the user data.
    between: [u32; 3],
    /// The index of a registered buffer, or a group of provided ones.
    buffer: u16,
    /// What does not matter here.
    rest: [u16; 11],
}

const _: () =
    assert!(size_of::<Transfer>() == size_of::<Entry>() && align_of::<Transfer>() == align_of::<Entry>());

impl Transfer {
    /// The fields of an entry.
    pub(super) fn of(entry: &mut Entry) -> &mut Transfer {
        // SAFETY: P1: `Entry` is a C struct around `io_uring_sqe`, of the same size and alignment, zeroed
        // before its builder filled it.
        unsafe { &mut *(&raw mut *entry).cast::<Transfer>() }
    }

    /// The descriptor that the operation works on; negative where there is none.
    pub(super) fn descriptor(&self) -> i32 {
        self.fd
    }

    /// Has an accept wait before it tries.
    pub(super) fn wait_first(&mut self) {
        self.ioprio |= ACCEPT_POLL_FIRST;
    }

    /// Whether this is the operation of that code.
    pub(super) fn is(&self, code: u8) -> bool {
        self.opcode == code
    }

    /// The index and the memory of a transfer that counts on a registered buffer.
    #[inline]
    pub(super) fn registered(&self) -> Option<(u16, usize, usize)> {
        let counts = self.is(ReadFixed::CODE) || self.is(WriteFixed::CODE);
        counts.then_some((self.buffer, self.address as usize, self.len as usize))
    }

    /// Makes a transfer that counts on a registered buffer one that does not.
    pub(super) fn count_on_nothing(&mut self) {
        self.opcode = if self.is(ReadFixed::CODE) { Read::CODE } else { Write::CODE };
        self.buffer = 0;
    }

    /// Whether this is a receive for which the kernel picks a buffer.
    pub(super) fn picks_buffer(&self) -> bool {
        self.is(Recv::CODE) && self.flags & BUFFER_SELECT != 0
    }

    /// Whether the kernel might move less than this entry asks for, and the rest can be had by asking again.
    pub(super) fn can_be_short(&self) -> bool {
        // Multishot receives and bundles give the length a meaning of its own; a link may depend on a
        // transfer's being whole.
        let plain = self.flags & (FIXED_FILE | LINKED) == 0 && self.ioprio & !POLL_FIRST == 0;
        plain && self.at_most() > 1 && self.is_stream()
    }

    /// Asks for less: at least one byte or vector, and at most all but one.
    pub(super) fn shorten(&mut self, by: u64) {
        self.len = 1 + (by % u64::from(self.at_most() - 1)) as u32;
    }

    /// Bytes or vectors that the entry asks for.
    fn at_most(&self) -> u32 {
        if self.len == 0 && self.picks_buffer() { PIECE } else { self.len }
    }

    /// Whether this moves bytes that have no boundaries.
    fn is_stream(&self) -> bool {
        if self.fd < 0 {
            return false;
        }
        // SAFETY: D1: the entry is about to be submitted with this descriptor, so its owner keeps it open; if
        // not, the calls below fail.
        let fd = unsafe { BorrowedFd::borrow_raw(self.fd) };
        match self.opcode {
            Send::CODE | SendZc::CODE | Recv::CODE => is_stream_socket(fd),
            Read::CODE | ReadFixed::CODE | Readv::CODE => is_stream_file(fd, |_| true),
            // A pipe takes so much at once or nothing; a vector's bytes are not known here.
            Write::CODE | WriteFixed::CODE => {
                is_stream_file(fd, |kind| kind != SFlag::S_IFIFO || self.len as usize > libc::PIPE_BUF)
            }
            Writev::CODE => is_stream_file(fd, |kind| kind != SFlag::S_IFIFO),
            _ => false,
        }
    }
}

/// Whether a socket is one without boundaries.
fn is_stream_socket(fd: BorrowedFd<'_>) -> bool {
    SockRef::of(&fd).is_stream() == Ok(true)
}

/// Whether a descriptor that is read or written is one without boundaries, and of a kind that `fits`.
fn is_stream_file(fd: BorrowedFd<'_>, fits: impl Fn(SFlag) -> bool) -> bool {
    let Ok(status) = fstat(fd) else { return false };
    let kind = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits());
    // Direct I/O wants whole blocks; a pipe opened so keeps the boundaries of its writes.
    let direct = || {
        fcntl(fd, FcntlArg::F_GETFL)
            .is_ok_and(|flags| OFlag::from_bits_truncate(flags).contains(OFlag::O_DIRECT))
    };
    fits(kind)
        && match kind {
            SFlag::S_IFSOCK => is_stream_socket(fd),
            SFlag::S_IFIFO => !direct(),
            SFlag::S_IFREG => {
                !direct() && fstatfs(fd).is_ok_and(|system| !PSEUDO.contains(&system.filesystem_type()))
            }
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::super::submit::tests::{finish, queue};
    use super::super::{Config, FaultPlan, Ring};
    use super::*;
    use io_uring::opcode::Nop;
    use io_uring::squeue::Flags;
    use io_uring::types::{Fd, Fixed};
    use nix::sys::eventfd::EventFd;
    use std::fs::File;
    use std::io::pipe;
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::net::{UnixDatagram, UnixStream};

    fn can_be_short(mut entry: Entry) -> bool {
        Transfer::of(&mut entry).can_be_short()
    }

    fn read(fd: RawFd, len: u32) -> Entry {
        Read::new(Fd(fd), std::ptr::null_mut(), len).build()
    }

    fn write(fd: RawFd, len: u32) -> Entry {
        Write::new(Fd(fd), std::ptr::null(), len).build()
    }

    #[test]
    fn streams_can_be_short() {
        let (near, _far) = UnixStream::pair().expect("sockets can be made");
        let fd = near.as_raw_fd();
        assert!(can_be_short(Send::new(Fd(fd), std::ptr::null(), 100).build()));
        assert!(can_be_short(Recv::new(Fd(fd), std::ptr::null_mut(), 100).build()));
        assert!(can_be_short(read(fd, 100)) && can_be_short(write(fd, 100)));
        assert!(can_be_short(Readv::new(Fd(fd), std::ptr::null(), 2).build()));
        let picked = Recv::new(Fd(fd), std::ptr::null_mut(), 0).build().flags(Flags::BUFFER_SELECT);
        assert!(can_be_short(picked));
        let this = File::open(std::env::current_exe().expect("the test has a file")).expect("it can be read");
        assert!(can_be_short(read(this.as_raw_fd(), 100)));
        let (_reader, writer) = pipe().expect("pipes can be made");
        assert!(can_be_short(write(writer.as_raw_fd(), 4097)));
    }

    #[test]
    fn what_has_boundaries_cannot() {
        let (near, _far) = UnixDatagram::pair().expect("sockets can be made");
        assert!(!can_be_short(Send::new(Fd(near.as_raw_fd()), std::ptr::null(), 100).build()));
        assert!(!can_be_short(Recv::new(Fd(near.as_raw_fd()), std::ptr::null_mut(), 100).build()));
        assert!(!can_be_short(write(near.as_raw_fd(), 100)));
        let event = EventFd::new().expect("eventfds can be made");
        assert!(!can_be_short(read(event.as_raw_fd(), 8)));
        let (_reader, writer) = pipe().expect("pipes can be made");
        assert!(!can_be_short(write(writer.as_raw_fd(), 4096)));
        let version = File::open("/proc/version").expect("it can be read");
        assert!(!can_be_short(read(version.as_raw_fd(), 100)));
    }

    #[test]
    fn what_others_depend_on_cannot() {
        let (near, _far) = UnixStream::pair().expect("sockets can be made");
        let fd = near.as_raw_fd();
        assert!(!can_be_short(write(fd, 100).flags(Flags::IO_LINK)));
        assert!(!can_be_short(write(fd, 100).flags(Flags::IO_HARDLINK)));
        assert!(!can_be_short(Read::new(Fixed(3), std::ptr::null_mut(), 100).build()));
        assert!(!can_be_short(io_uring::opcode::RecvMulti::new(Fd(fd), 0).build()));
        assert!(!can_be_short(read(fd, 1)) && !can_be_short(read(fd, 0)));
        assert!(!can_be_short(read(-1, 100)) && !can_be_short(read(9999, 100)));
        assert!(!can_be_short(Nop::new().build()));
    }

    #[test]
    fn a_shortened_length_is_less_and_not_nothing() {
        for len in [2, 3, 100] {
            for by in [0, 1, 98, 99, u64::MAX] {
                let mut entry = read(0, len);
                let transfer = Transfer::of(&mut entry);
                transfer.shorten(by);
                assert!((1..len).contains(&transfer.len), "{len} by {by}: {}", transfer.len);
            }
        }
    }

    #[test]
    fn an_accept_that_waits_first_is_told_from_one_that_tries() {
        use io_uring::opcode::{Accept, AcceptMulti};
        let plain = || Accept::new(Fd(3), std::ptr::null_mut(), std::ptr::null_mut()).build();
        let flags = |mut entry: Entry| Transfer::of(&mut entry).ioprio;
        let mut waits = plain();
        super::super::wait_first(&mut waits);
        assert_eq!((flags(plain()), flags(waits)), (0, 4));
        assert_eq!(flags(AcceptMulti::new(Fd(3)).build()), 1, "the crate puts its flag into the same place");
    }

    #[test]
    fn a_short_write_moves_what_it_says() {
        let (near, far) = UnixStream::pair().expect("sockets can be made");
        let config = Config { faults: Some(FaultPlan::new().short(1)), ..Config::with_entries(8) };
        let mut ring = Ring::new(&config).expect("the tests run where io_uring is allowed");
        static TEXT: [u8; 100] = [b'x'; 100];
        queue(&mut ring, Write::new(Fd(near.as_raw_fd()), TEXT.as_ptr(), 100).build().user_data(1));
        let written = finish(&mut ring)[0].outcome.count().expect("the socket takes it");
        assert!((1..100).contains(&written));
        drop(near);
        let arrived = std::io::Read::read_to_end(&mut &far, &mut Vec::new()).expect("the rest can be read");
        assert_eq!(arrived, written);
    }
}
