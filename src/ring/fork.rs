//! The mark by which a forked child knows that the rings it remembers are not its own.
//!
//! A ring's memory is not inherited by a fork (a child that used it would submit in its parent's name), so a
//! child that touched the queues would crash, and unmapping them would unmap whatever took their place. One
//! page per process holds the process's epoch; the kernel wipes that page in a child, however the child was
//! made. A ring remembers the epoch it was born in.

#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

/// The wiped page.
static PAGE: OnceLock<&'static AtomicU32> = OnceLock::new();

/// Stands in for the page where the kernel would not give one: forks go unnoticed there.
static UNMARKED: AtomicU32 = AtomicU32::new(0);

/// The last epoch of this process or of an ancestor. Ordinary memory: a child goes on counting where its
/// parent was.
static LAST: AtomicU32 = AtomicU32::new(0);

/// The present process's epoch; zero while nothing was born in it. Two loads: signal handlers may ask.
pub(super) fn epoch() -> u32 {
    PAGE.get().map_or(0, |page| page.load(Ordering::Relaxed))
}

/// The process that something was born in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Birth {
    /// Where the present process's epoch is: at hand, because every use of a ring asks.
    page: &'static AtomicU32,
    /// The epoch at birth.
    epoch: u32,
}

impl Birth {
    /// Marks the present process.
    pub(super) fn here() -> Birth {
        let page = *PAGE.get_or_init(|| map().unwrap_or(&UNMARKED));
        if page.load(Ordering::Relaxed) == 0 {
            let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // Another thread may have been faster; either epoch is new to this process.
            let _ = page.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed);
        }
        Birth { page, epoch: page.load(Ordering::Relaxed) }
    }

    /// Whether this process was forked since.
    #[inline]
    pub(super) fn is_elsewhere(self) -> bool {
        self.page.load(Ordering::Relaxed) != self.epoch
    }
}

/// Maps the page and asks for the wiping.
fn map() -> Option<&'static AtomicU32> {
    let size = NonZeroUsize::MIN.saturating_add(4095);
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: M1: a new private mapping, at an address of the kernel's choice: it covers nothing that exists.
    let page: NonNull<_> = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_PRIVATE) }.ok()?;
    // SAFETY: M1: the advice concerns this mapping alone, and nothing has been stored in it yet.
    unsafe { madvise(page, size.get(), MmapAdvise::MADV_WIPEONFORK) }.ok()?;
    // SAFETY: M1: the page is never unmapped, is aligned and zeroed, and is reached through this atomic only;
    // the wiping happens in a child before it runs.
    Some(unsafe { page.cast::<AtomicU32>().as_ref() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs `check` in a forked child and says whether it held there. The child may not allocate: another
    /// thread of the tests may have held the allocator's lock when it was forked.
    pub(in crate::ring) fn holds_in_a_child(check: impl FnOnce() -> bool) -> bool {
        // SAFETY: the child runs `check`, which keeps to the rule above, and leaves without the parent's exit
        // handlers.
        unsafe {
            match libc::fork() {
                0 => libc::_exit(if check() { 0 } else { 1 }),
                child => {
                    let mut status = -1;
                    assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
                    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
                }
            }
        }
    }

    #[test]
    fn a_child_knows_that_it_is_one() {
        let birth = Birth::here();
        assert!(!birth.is_elsewhere());
        assert!(holds_in_a_child(|| {
            let own = Birth::here();
            birth.is_elsewhere() && !own.is_elsewhere() && own.epoch != birth.epoch
        }));
        assert_eq!(Birth::here().epoch, birth.epoch);
    }
}
