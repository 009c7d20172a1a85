//! A buffer that the kernel cannot finish with: its page is missing, and whoever reads it waits (userfaultfd) until the
//! [`Held`] end is dropped. A write from it is block I/O that never ends, on an ordinary file.

use nix::libc;
use ringloop::buf::IoBuf;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One page.
const PAGE: usize = 4096;

/// The buffer: a page of zeros that nobody can read yet.
pub struct Stuck {
    /// The mapping.
    page: NonNull<u8>,
    /// Set when the buffer is dropped, and its memory unmapped.
    freed: Arc<AtomicBool>,
}

/// Keeps the buffer stuck; dropped, it lets the kernel have the page.
pub struct Held {
    /// The userfaultfd: readers of the page wait as long as it is open.
    _faults: File,
    /// Whether the buffer was dropped.
    freed: Arc<AtomicBool>,
}

impl Held {
    /// Whether the buffer's memory was freed.
    pub fn is_freed(&self) -> bool {
        self.freed.load(Ordering::SeqCst)
    }
}

/// A stuck buffer and its other end.
///
/// # Errors
/// The kernel has no userfaultfd, or this user may not stop the kernel with it.
pub fn stuck() -> io::Result<(Stuck, Held)> {
    // SAFETY: an anonymous mapping of a page of our own choice.
    let page = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(null_mut(), PAGE, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let freed = Arc::new(AtomicBool::new(false));
    let stuck =
        Stuck { page: NonNull::new(page.cast()).expect("a mapping is not null"), freed: freed.clone() };
    // SAFETY: a plain call; the descriptor is new and nobody else's.
    let faults = unsafe {
        let number = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK);
        if number < 0 {
            return Err(io::Error::last_os_error());
        }
        File::from_raw_fd(number as i32)
    };
    // struct uffdio_api, with UFFDIO_API.
    ask(&faults, 0xc018_aa3f, &mut [0xaa, 0, 0])?;
    // struct uffdio_register for missing pages, with UFFDIO_REGISTER.
    ask(&faults, 0xc020_aa00, &mut [page as u64, PAGE as u64, 1, 0])?;
    Ok((stuck, Held { _faults: faults, freed }))
}

/// One ioctl of the userfaultfd, whose argument is a few 64-bit words.
fn ask<const N: usize>(faults: &File, request: libc::c_ulong, words: &mut [u64; N]) -> io::Result<()> {
    // SAFETY: the request's number carries the size of its argument, which is that of `words`.
    let answer = unsafe { libc::ioctl(faults.as_raw_fd(), request, words.as_mut_ptr()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

// SAFETY: the page is mapped as long as the value lives, at one address, zeroed, and nobody writes to it.
unsafe impl IoBuf for Stuck {
    fn as_ptr(&self) -> *const u8 {
        self.page.as_ptr()
    }

    fn len(&self) -> usize {
        PAGE
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.freed.store(true, Ordering::SeqCst);
        // SAFETY: it is our mapping, and its only owner goes.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE) };
    }
}
