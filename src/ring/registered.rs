//! Buffers that the kernel keeps ready: their pages are looked up and pinned once, not for each read and write.
//!
//! A ring has one table of them, made with the first. An operation whose buffer says its index builds its entry for a registered
//! buffer. The ring that queues the entry looks the index up: if that is not the memory of the entry, because the buffer was
//! registered with another ring, the entry becomes a plain one. So the index is a hint, and nobody has to say which ring it means.
//!
//! Ring and buffers share the table by count, because each may be the last. After `close` the kernel is not called any more: its
//! table ends with the ring, and the number of the ring's descriptor may be another's by then.

#![allow(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use nix::errno::Errno;
use slab::Slab;

use super::kernel::RegisteredTable;
use super::mapping::Mapping;
use crate::buf::{IoBuf, IoBufMut};

/// Which memory is registered with a ring.
pub(super) struct Registry {
    /// The kernel's side.
    table: RegisteredTable,
    /// Our side: first address and length, by index.
    places: RefCell<Slab<(usize, usize)>>,
    /// The ring has ended.
    closed: Cell<bool>,
}

impl Registry {
    /// Most buffers of one ring. The kernel has eight bytes for each.
    pub(super) const ENTRIES: u32 = 1024;

    pub(super) fn new(table: RegisteredTable) -> Rc<Registry> {
        Rc::new(Registry { table, places: RefCell::default(), closed: Cell::new(false) })
    }

    /// Whether this memory is a part of what is registered under the index.
    #[inline]
    pub(super) fn has(&self, index: u16, start: usize, len: usize) -> bool {
        let places = self.places.borrow();
        let place = places.get(usize::from(index));
        place.is_some_and(|&(first, size)| {
            start.checked_sub(first).is_some_and(|before| before <= size && len <= size - before)
        })
    }

    /// The ring ends.
    pub(super) fn close(&self) {
        self.closed.set(true);
    }

    /// Registers memory, if there is room and the kernel takes it.
    fn register(self: &Rc<Self>, memory: &Mapping) -> Option<Registration> {
        let mut places = self.places.borrow_mut();
        let place = places.vacant_entry();
        let index = u16::try_from(place.key()).ok().filter(|&index| u32::from(index) < Self::ENTRIES)?;
        if let Err(errno) = self.table.set(index.into(), memory) {
            tracing::debug!(bytes = memory.len(), "a buffer is not registered: {}", errno.desc());
            return None;
        }
        place.insert((memory.start().as_ptr() as usize, memory.len()));
        Some(Registration { registry: self.clone(), index })
    }
}

/// A place in the table, until this is dropped.
struct Registration {
    registry: Rc<Registry>,
    index: u16,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.places.borrow_mut().remove(self.index.into());
        if !self.registry.closed.get() {
            self.registry.table.clear(self.index.into());
        }
    }
}

/// A buffer whose pages the kernel has looked up and pinned beforehand, for files that are read and written much: the same
/// memory again and again. It begins at a page, as `O_DIRECT` wants it, and it is always full, like a `Box<[u8]>`: the count that a read
/// returns says how much of it is new.
///
/// What it saves is a part of each call: of cached reads of 4 KiB a twentieth of the CPU time, of 128 KiB a tenth, and with
/// `O_DIRECT` the pinning. Making one is a call into the kernel and takes some microseconds, so keep it, and use it again.
///
/// It belongs to the loop that it is made on, and up to 1024 of a loop are registered. Elsewhere, beyond that, or where the kernel
/// does not want to lock so much memory (`RLIMIT_MEMLOCK`, without `CAP_IPC_LOCK`), it is a buffer like any other;
/// [`is_registered`](Self::is_registered) tells. It works with all owned-buffer calls; those on sockets and of several buffers at
/// once have no use for the registration. io_uring_register_buffers(3).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ringloop::fs::{File, RegisteredBuf};
/// ringloop::run(async {
///     let file = File::open("/proc/self/exe").await?;
///     let mut buf = RegisteredBuf::new(4096)?;
///     let mut sum = 0;
///     for page in 0..4 {
///         let n;
///         (n, buf) = file.read_at(buf, page * 4096).await?;
///         sum += buf[..n].iter().map(|&byte| u64::from(byte)).sum::<u64>();
///     }
///     assert!(sum > 0);
///     std::io::Result::Ok(())
/// })??;
/// # Ok(()) }
/// ```
pub struct RegisteredBuf {
    /// Ends before the memory does.
    registration: Option<Registration>,
    memory: Mapping,
}

impl RegisteredBuf {
    /// Maps the memory, and registers it if it can be.
    pub(super) fn make(len: usize, registry: Option<&Rc<Registry>>) -> Result<RegisteredBuf, Errno> {
        let memory = Mapping::new(len)?;
        let registration = registry.and_then(|registry| registry.register(&memory));
        Ok(RegisteredBuf { registration, memory })
    }

    /// Whether a ring has it registered.
    pub fn is_registered(&self) -> bool {
        self.registration.as_ref().is_some_and(|registration| !registration.registry.closed.get())
    }
}

// SAFETY: B1: the mapping is the buffer's own, stays where it is when the buffer is moved, and was zeroed when it was made.
unsafe impl IoBuf for RegisteredBuf {
    fn as_ptr(&self) -> *const u8 {
        self.memory.start().as_ptr()
    }

    fn len(&self) -> usize {
        self.memory.len()
    }

    fn registered(&self) -> Option<u16> {
        self.registration.as_ref().map(|registration| registration.index)
    }
}

// SAFETY: B1: as above; capacity and length are the size of the mapping, which never changes.
unsafe impl IoBufMut for RegisteredBuf {
    fn capacity(&self) -> usize {
        self.memory.len()
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.memory.start().as_ptr()
    }

    unsafe fn set_len(&mut self, _: usize) {}
}

impl Deref for RegisteredBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl DerefMut for RegisteredBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: B1: the memory is this buffer's for all of its length, and `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.memory.len()) }
    }
}

impl AsRef<[u8]> for RegisteredBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for RegisteredBuf {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

impl fmt::Debug for RegisteredBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registered = if self.is_registered() { "registered" } else { "not registered" };
        write!(f, "RegisteredBuf({} bytes, {registered})", self.memory.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::submit::tests::{finish, queue};
    use super::super::{Config, Ring};
    use super::*;
    use io_uring::opcode::ReadFixed;
    use io_uring::types::Fd;
    use std::fs::File;
    use std::os::fd::AsRawFd;

    fn ring() -> Ring {
        Ring::new(&Config::with_entries(8)).expect("the tests run where io_uring is allowed")
    }

    fn buffer(ring: &Ring, len: usize) -> RegisteredBuf {
        ring.registered_buffer(len).expect("there is memory")
    }

    #[test]
    fn only_what_is_registered_under_the_index_counts_as_registered() {
        let ring = ring();
        let (first, second) = (buffer(&ring, 100), buffer(&ring, 100));
        let registry = ring.registry.get().and_then(Option::as_deref).expect("there is a table");
        let start = first.as_ptr() as usize;
        for (begin, len, counts) in [
            (0, 100, true),
            (0, 101, false),
            (99, 1, true),
            (100, 0, true),
            (101, 0, false),
            (50, usize::MAX, false),
        ] {
            assert_eq!(registry.has(0, start + begin, len), counts, "{len} bytes from {begin}");
        }
        assert!(!registry.has(0, start - 1, 2) && !registry.has(1, start, 100) && !registry.has(2, start, 1));
        let second_start = second.as_ptr() as usize;
        assert!(registry.has(1, second_start, 100));
        drop(second);
        assert!(!registry.has(1, second_start, 100));
    }

    /// The kernel itself refuses memory that is not what is registered under the index.
    #[test]
    fn an_entry_with_a_wrong_index_becomes_a_plain_one() {
        let (mut ring, other) = (ring(), ring());
        let file = File::open("/proc/self/exe").expect("it can be read");
        let decoy = buffer(&other, 4);
        let own = buffer(&ring, 4);
        let mut plain = [0; 4];
        for (start, index) in
            [(plain.as_mut_ptr(), 0), (plain.as_mut_ptr(), 7), (decoy.as_ptr().cast_mut(), 0)]
        {
            let entry = ReadFixed::new(Fd(file.as_raw_fd()), start, 4, index).build();
            queue(&mut ring, entry.user_data(1));
            assert_eq!(finish(&mut ring)[0].outcome.result, 4);
        }
        assert_eq!((&plain, &decoy[..], &own[..]), (b"\x7fELF", &b"\x7fELF"[..], &[0; 4][..]));
    }

    #[test]
    fn a_read_into_a_registered_buffer_fills_it() {
        let mut ring = ring();
        let file = File::open("/proc/self/exe").expect("it can be read");
        let buf = buffer(&ring, 4096);
        let index = buf.registered().expect("the kernel locks as little as that");
        let entry = ReadFixed::new(Fd(file.as_raw_fd()), buf.as_ptr().cast_mut(), 4096, index).build();
        queue(&mut ring, entry.user_data(1));
        assert_eq!(finish(&mut ring)[0].outcome.result, 4096);
        assert_eq!(buf[..4], *b"\x7fELF");
        drop(ring);
        assert!(!buf.is_registered());
    }
}
