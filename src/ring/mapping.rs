//! Memory by the page: mapped zeroed, and unmapped with its owner.

#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// A private mapping. Its first byte is the first of a page.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: NonZeroUsize,
}

impl Mapping {
    /// Maps so many bytes. EINVAL: none.
    pub(super) fn new(len: usize) -> Result<Mapping, Errno> {
        let len = NonZeroUsize::new(len).ok_or(Errno::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: M1: a new private mapping, at an address of the kernel's choice: it covers nothing that exists.
        let start = unsafe { mmap_anonymous(None, len, access, MapFlags::MAP_PRIVATE) }?.cast();
        Ok(Mapping { start, len })
    }

    /// The first byte; good for reads and writes of `len` bytes while this lives.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes of it, as asked for.
    pub(super) fn len(&self) -> usize {
        self.len.get()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: M1: whoever has the address has it through this owner, which ends here. Failure would leave it mapped, which
        // harms nobody.
        let _ = unsafe { munmap(self.start.cast(), self.len.get()) };
    }
}
