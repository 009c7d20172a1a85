//! The ring's descriptor and the raw calls on it.
//!
//! The `io-uring` crate maps the queues and builds the entries; enter is our own system call, because the
//! crate's never runs deferred work unless it waits, forgets the registered descriptor between calls and
//! sends a signal mask of the wrong size.

#![allow(unsafe_code)]

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::rc::Rc;
use std::time::Duration;

use io_uring::cqueue::CompletionQueue;
use io_uring::squeue::SubmissionQueue;
use io_uring::types::Timespec;
use io_uring::{IoUring, Probe};
use nix::errno::Errno;

use super::buffers::{Buffers, GROUP};
use super::features::{FeatureMask, Features};
use super::fork::Birth;
use super::mapping::Mapping;

/// `IORING_ENTER_GETEVENTS`: run deferred work; without it nothing ever completes on this kind of ring.
const GETEVENTS: u32 = 1;
/// `IORING_ENTER_EXT_ARG`: the argument is an [`EnterArgument`].
const EXT_ARG: u32 = 1 << 3;
/// `IORING_ENTER_REGISTERED_RING`: the descriptor is an index of this thread's registered rings.
const REGISTERED_RING: u32 = 1 << 4;
/// `IORING_ENTER_NO_IOWAIT`: do not account an idle wait as waiting for I/O.
const NO_IOWAIT: u32 = 1 << 7;

/// `IORING_REGISTER_BUFFERS_UPDATE`.
const BUFFERS_UPDATE: u32 = 16;
/// `IORING_REGISTER_RING_FDS`.
const REGISTER_RING_FDS: u32 = 20;
/// `IORING_UNREGISTER_RING_FDS`.
const UNREGISTER_RING_FDS: u32 = 21;

/// The kernel's `io_uring_getevents_arg`.
#[repr(C)]
struct EnterArgument {
    /// Address of a signal mask: none.
    mask: u64,
    /// Size of the kernel's signal mask, checked even if there is none.
    mask_size: u32,
    /// Microseconds after which fewer completions are enough: not used.
    least_wait: u32,
    /// Address of the relative timeout.
    timeout: u64,
}

/// The kernel's `io_uring_rsrc_update`, as the registration of descriptors reads it.
#[repr(C)]
struct Slot {
    /// Which slot; the highest number lets the kernel choose, and it writes its choice here.
    index: u32,
    /// Zero.
    reserved: u32,
    /// The descriptor.
    fd: u64,
}

/// The kernel's `io_uring_rsrc_update2`.
#[repr(C)]
struct BufferUpdate {
    /// The first index.
    index: u32,
    /// Zero.
    reserved: u32,
    /// Address of so many vectors.
    vectors: u64,
    /// Address of tags: none.
    tags: u64,
    /// How many vectors.
    count: u32,
    /// Zero.
    more: u32,
}

/// One ring of the kernel: descriptor, mapped queues, registered slot. Dropping it gives all of them back, in
/// the order in which nothing keeps the ring alive: slot, mappings, descriptor.
pub(super) struct Kernel {
    /// The descriptor and the mappings.
    uring: ManuallyDrop<IoUring>,
    /// The slot of this thread in which the descriptor is registered.
    slot: Option<u32>,
    /// What the kernel gave.
    features: Features,
    /// The process that the mappings belong to.
    birth: Birth,
}

impl Kernel {
    /// Takes a new ring over: asks what it can do and registers its descriptor. An error is one of a register
    /// call.
    pub(super) fn adopt(
        uring: IoUring,
        workers: Option<(u32, u32)>,
        mask: FeatureMask,
    ) -> io::Result<Kernel> {
        // SAFETY: P1: the crate says that `Parameters` is a transparent wrapper of `io_uring_params`, which is
        // thirty words.
        let setup = unsafe { std::mem::transmute_copy::<io_uring::Parameters, [u32; 30]>(uring.params()) };
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let operations =
            (0..128).filter(|&code| probe.is_supported(code)).fold(0, |all, code| all | 1 << code);
        if let Some((bounded, unbounded)) = workers {
            uring.submitter().register_iowq_max_workers(&mut [bounded, unbounded])?;
        }
        let slot = register(&uring);
        let features = Features::new(setup, operations, slot.is_some(), mask);
        Ok(Kernel { uring: ManuallyDrop::new(uring), slot, features, birth: Birth::here() })
    }

    /// What the kernel gave.
    pub(super) fn features(&self) -> &Features {
        &self.features
    }

    /// Whether this process is a fork of the ring's: the queues are not mapped here and must not be looked
    /// at.
    #[inline]
    pub(super) fn is_elsewhere(&self) -> bool {
        self.birth.is_elsewhere()
    }

    /// The submission queue. Only in the ring's own process.
    #[inline]
    pub(super) fn submission(&mut self) -> SubmissionQueue<'_> {
        self.uring.submission()
    }

    /// The completion queue. Only in the ring's own process.
    #[inline]
    pub(super) fn completion(&mut self) -> CompletionQueue<'_> {
        self.uring.completion()
    }

    /// Entries in the submission queue. Only in the ring's own process.
    #[inline]
    pub(super) fn pending(&self) -> usize {
        self.peek().len()
    }

    /// Whether entries are queued, the kernel has work for this thread to run, or completions found their
    /// queue full. Only in the ring's own process.
    #[inline]
    pub(super) fn calls(&self) -> bool {
        let queue = self.peek();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// Whether completions found their queue full. Only in the ring's own process.
    #[inline]
    pub(super) fn overflows(&self) -> bool {
        self.peek().cq_overflow()
    }

    /// Whether the completion queue holds something. Only in the ring's own process.
    #[inline]
    pub(super) fn has_completions(&self) -> bool {
        // SAFETY: T1: on this one thread no other view of the completion queue exists: `completion` lends one
        // by `&mut self`, and this one ends here.
        unsafe { !self.uring.completion_shared().is_empty() }
    }

    /// A look at the submission queue.
    #[inline]
    fn peek(&self) -> SubmissionQueue<'_> {
        // SAFETY: T1: on this one thread no other view of the submission queue exists: `submission` lends one
        // by `&mut self`, and the callers of this one drop it before they return. A view that was only looked
        // at writes back the tail that it read.
        unsafe { self.uring.submission_shared() }
    }

    /// Enters: submits `submit` entries, runs deferred work and, unless `wait` is None, waits for a
    /// completion no longer than that. Gives how many entries the kernel took. A duration of zero does not
    /// wait.
    pub(super) fn enter(&self, submit: usize, wait: Option<Duration>) -> Result<usize, Errno> {
        // Waiting with a zero timeout puts the thread to sleep all the same: a hundred times the price of not
        // waiting.
        let wait = wait.filter(|duration| !duration.is_zero());
        let mut flags = GETEVENTS;
        if self.slot.is_some() {
            flags |= REGISTERED_RING;
        }
        if wait.is_some() && self.features.has_no_iowait() {
            flags |= NO_IOWAIT;
        }
        let timeout: Timespec;
        let argument: EnterArgument;
        let (address, size) = match wait {
            Some(duration) if duration != Duration::MAX => {
                flags |= EXT_ARG;
                // The kernel's seconds are signed; a wait of a century is as good as one of a thousand.
                timeout = Timespec::from(duration.min(Duration::from_secs(u32::MAX.into())));
                argument = EnterArgument {
                    mask: 0,
                    mask_size: 8,
                    least_wait: 0,
                    timeout: &raw const timeout as u64,
                };
                (&raw const argument, size_of::<EnterArgument>())
            }
            _ => (ptr::null(), 0),
        };
        let fd = self.slot.map_or_else(|| self.uring.as_raw_fd(), |slot| slot as i32);
        let least = u32::from(wait.is_some());
        // SAFETY: L1: argument and timeout live to the end of this function. K1: the entries' memory is valid
        // by the contract of `Ring::queue`.
        let taken = unsafe {
            libc::syscall(libc::SYS_io_uring_enter, fd, submit as u32, least, flags, address, size)
        };
        Errno::result(taken).map(|taken| taken as usize)
    }

    /// Makes a buffer ring and registers it. ENOMEM means that locked memory is short, EINVAL an impossible
    /// size.
    pub(super) fn register_buffers(&self, count: u16, size: u32) -> Result<Rc<Buffers>, Errno> {
        let buffers = Buffers::new(count, size).ok_or(Errno::EINVAL)?;
        let (submitter, address) = (self.uring.submitter(), buffers.address());
        // SAFETY: K3: the memory is of that length and aligned to pages, and stays until the group is
        // unregistered or the ring is gone: `Ring` holds a reference for as long as that and leaks it
        // otherwise.
        let registered = unsafe { submitter.register_buf_ring_with_flags(address, count, GROUP, 0) };
        registered.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EINVAL)))?;
        buffers.open();
        Ok(Rc::new(buffers))
    }

    /// Makes the table of registered buffers, empty.
    pub(super) fn register_table(&self, entries: u32) -> io::Result<RegisteredTable> {
        self.uring.submitter().register_buffers_sparse(entries)?;
        Ok(RegisteredTable { fd: self.uring.as_raw_fd(), birth: self.birth })
    }

    /// Takes the buffer ring from the kernel: it picks no buffer any more.
    pub(super) fn unregister_buffers(&self) {
        // An error means that the ring does not know the group: then there is nothing to take.
        let _ = self.uring.submitter().unregister_buf_ring(GROUP);
    }
}

/// The kernel's table of registered buffers, for as long as the ring is open.
pub(super) struct RegisteredTable {
    /// The ring's descriptor.
    fd: RawFd,
    /// The process that the ring belongs to.
    birth: Birth,
}

impl RegisteredTable {
    /// Registers memory under an index that is vacant. ENOMEM: locked memory is short.
    pub(super) fn set(&self, index: u32, memory: &Mapping) -> Result<(), Errno> {
        self.update(index, memory.start().as_ptr().cast(), memory.len())
    }

    /// Makes an index vacant. What is under way keeps the memory until it has ended.
    pub(super) fn clear(&self, index: u32) {
        // The kernel refuses this to nobody who has the ring.
        let _ = self.update(index, ptr::null_mut(), 0);
    }

    fn update(&self, index: u32, start: *mut libc::c_void, len: usize) -> Result<(), Errno> {
        if self.birth.is_elsewhere() {
            // The ring is the parent's, and so is its table.
            return Err(Errno::ENXIO);
        }
        let memory = libc::iovec { iov_base: start, iov_len: len };
        let change = BufferUpdate {
            index,
            reserved: 0,
            vectors: &raw const memory as u64,
            tags: 0,
            count: 1,
            more: 0,
        };
        let size = size_of::<BufferUpdate>();
        // SAFETY: L1: the change and the vector live to the end of the call; the kernel pins the pages that the vector names, so it
        // needs their address no more.
        let done = unsafe {
            libc::syscall(libc::SYS_io_uring_register, self.fd, BUFFERS_UPDATE, &raw const change, size)
        };
        Errno::result(done).map(drop)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        if self.is_elsewhere() {
            // In a child the mappings are gone, and something else may have taken their place; the slots were
            // not inherited. But a descriptor left open would keep the parent's ring alive after its end.
            // SAFETY: D1: the descriptor is this process's copy, owned by `uring`, which is never used or
            // dropped after this.
            unsafe { libc::close(self.uring.as_raw_fd()) };
            return;
        }
        if let Some(index) = self.slot.take() {
            let slot = Slot { index, reserved: 0, fd: 0 };
            // SAFETY: L1: one slot, which the kernel reads.
            unsafe { slot_call(&self.uring, UNREGISTER_RING_FDS, (&raw const slot).cast_mut()) };
        }
        // SAFETY: M1: the queues are unmapped once: `self` is being dropped, and nothing uses `uring` after this.
        unsafe { ManuallyDrop::drop(&mut self.uring) };
    }
}

/// Registers the ring's descriptor in one of this thread's sixteen slots; None when all are taken, which
/// costs only some speed.
fn register(uring: &IoUring) -> Option<u32> {
    let mut slot = Slot { index: u32::MAX, reserved: 0, fd: uring.as_raw_fd() as u64 };
    // SAFETY: L1: one slot, which the kernel reads and writes.
    (unsafe { slot_call(uring, REGISTER_RING_FDS, &raw mut slot) } == 1).then_some(slot.index)
}

/// A register call that concerns one slot.
///
/// # Safety
///
/// `slot` points to a slot that the call may read and write.
unsafe fn slot_call(uring: &IoUring, what: u32, slot: *mut Slot) -> libc::c_long {
    // SAFETY: L1: the caller promises it of the slot.
    unsafe { libc::syscall(libc::SYS_io_uring_register, uring.as_raw_fd(), what, slot, 1) }
}
