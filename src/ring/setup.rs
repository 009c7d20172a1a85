//! Making a ring: the ladder of flags and sizes, and the ring that waits for the thread's next loop.
//!
//! The flags are asked for best first, and what the kernel does not know is left out: without `NO_SQARRAY` (6.6) the set is that of
//! 6.1, and below 6.1 there is no ring. The sizes shrink when locked memory is short. The kernel gives a closed ring's memory back
//! some ten milliseconds late, so the full size is tried once more after that time, and before the smallest size is
//! reported as impossible a tenth of a second has passed.
//!
//! A loop that ended clean parks its ring: a program that runs loops one after the other sets up one ring, not a thousand. One
//! ring per thread is parked at most, and only one with nothing in flight and all buffers at home.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::IoUring;
use nix::errno::Errno;

use super::backlog::Backlog;
use super::clock::Time;
use super::diagnosis::{SetupError, Stage};
use super::fault::Faults;
use super::features::{FeatureMask, NO_SQARRAY};
use super::kernel::Kernel;
use super::notifier::Notifier;
use super::{Config, Counters, Ring};

/// How long the kernel takes to give the memory of a closed ring back.
const LATE: Duration = Duration::from_millis(10);

/// How often that is waited for: a tenth of a second in all.
const PATIENCE: u32 = 10;

/// The lengths below which a ring does not shrink by itself: submission and completion queue.
const FLOOR: (u32, u32) = (32, 64);

/// The least submission queue: a chain of open, read and close fits.
const LEAST: u32 = 4;

thread_local! {
    /// The ring of the thread's last loop.
    static PARKED: Cell<Option<Ring>> = const { Cell::new(None) };
}

impl Ring {
    /// Makes a ring for this thread, or takes the parked one if it was made from the same configuration.
    pub(crate) fn new(config: &Config) -> Result<Ring, SetupError> {
        // What is parked and does not fit is dropped here: its memory may be what the new one needs.
        let parked = PARKED.try_with(Cell::take).ok().flatten();
        if let Some(mut ring) =
            parked.filter(|ring| !ring.kernel.is_elsewhere() && ring.config.makes_the_same_ring(config))
        {
            ring.config = config.clone();
            ring.time = Time::start(config.clock);
            ring.faults = Faults::start(&config.faults);
            ring.counters = Counters::default();
            return Ok(ring);
        }
        let notifier = Notifier::new().map_err(|errno| SetupError::new(Stage::Notifier, errno, 0))?;
        Ok(Ring {
            kernel: kernel(config)?,
            backlog: Backlog::default(),
            ready: VecDeque::new(),
            faults: Faults::start(&config.faults),
            buffers: OnceCell::new(),
            notifier,
            listening: false,
            time: Time::start(config.clock),
            in_flight: 0,
            counters: Counters::default(),
            config: config.clone(),
        })
    }

    /// Ends a loop's use of the ring. If all came to its end, the ring waits for the thread's next loop; if not, it is dropped.
    pub(crate) fn park(mut self) {
        if self.is_clean() {
            // Late in a thread's end there is no place to park; the ring is dropped then.
            let _ = PARKED.try_with(|place| place.set(Some(self)));
        }
    }

    /// Whether no trace of a loop is left in the ring: after that a completion can only be one of the next loop.
    fn is_clean(&mut self) -> bool {
        if self.kernel.is_elsewhere() || self.in_flight != 0 {
            return false;
        }
        // Cancels that nobody waits for may still be queued, or answered and not yet taken.
        let mut rest = Vec::new();
        if self.submits() && self.enter(None).is_err() {
            return false;
        }
        self.reap(&mut rest);
        let at_home = |buffers: &super::Buffers| buffers.free() == usize::from(buffers.count());
        rest.is_empty()
            && !self.submits()
            && !self.should_enter()
            && self.buffers.get().and_then(Option::as_deref).is_none_or(at_home)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(Some(buffers)) = self.buffers.get() {
            buffers.close();
            if self.kernel.is_elsewhere() {
                return;
            }
            if self.in_flight != 0 {
                // K3: a receive may hold a buffer that it has picked, and closing the ring does not end it.
                buffers.leak();
            }
            self.kernel.unregister_buffers();
        }
    }
}

impl Config {
    /// Whether a ring made from the other configuration is as good as one made from this.
    fn makes_the_same_ring(&self, other: &Config) -> bool {
        let ring = |config: &Config| {
            (
                config.entries,
                config.completions,
                config.buffers,
                config.buffer_size,
                config.workers,
                config.mask,
            )
        };
        ring(self) == ring(other)
    }
}

/// Climbs the ladder and sees that the ring can be used: a sandbox may allow set-up and refuse the rest.
fn kernel(config: &Config) -> Result<Kernel, SetupError> {
    let entries = config.entries.max(LEAST);
    let full = (entries, config.completions.max(entries));
    let needed = locked_memory(full, config.mask.allows_setup(NO_SQARRAY));
    let refused = |stage, error: io::Error| {
        SetupError::new(stage, Errno::from_raw(error.raw_os_error().unwrap_or(0)), needed)
    };
    let uring = climb(full, config.mask).map_err(|error| refused(Stage::Setup, error))?;
    let kernel =
        Kernel::adopt(uring, config.workers, config.mask).map_err(|error| refused(Stage::Register, error))?;
    kernel.enter(0, None).map_err(|errno| SetupError::new(Stage::Enter, errno, needed))?;
    Ok(kernel)
}

/// Tries the sizes, from the full one down, with time for the kernel to give memory back.
fn climb(full: (u32, u32), mask: FeatureMask) -> io::Result<IoUring> {
    let floor = (full.0.min(FLOOR.0), full.1.min(FLOOR.1));
    let mut round = 0;
    loop {
        let mut size = full;
        let error = loop {
            match attempt(size, mask) {
                // A ring of full size after a short wait is better than a small one at once.
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && (round == 0 || size == floor) => {
                    break error;
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {}
                other => return other,
            }
            size = ((size.0 / 2).max(floor.0), (size.1 / 2).max(floor.1));
        };
        if round == PATIENCE {
            return Err(error);
        }
        round += 1;
        std::thread::sleep(LATE);
    }
}

/// Tries one size with the best flags, then with those of 6.1.
fn attempt((entries, completions): (u32, u32), mask: FeatureMask) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(completions)
        .dontfork();
    if mask.allows_setup(NO_SQARRAY) {
        match builder.clone().setup_no_sqarray().build(entries) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            other => return other,
        }
    }
    builder.build(entries)
}

/// Bytes of locked memory that a ring of these lengths is charged with: whole pages for the entries and for both queues.
pub(super) fn locked_memory((entries, completions): (u32, u32), no_sqarray: bool) -> u64 {
    let (entries, completions) =
        (u64::from(entries.next_power_of_two()), u64::from(completions.next_power_of_two()));
    let array = if no_sqarray { 0 } else { 4 * entries };
    (64 * entries).next_multiple_of(4096) + (320 + 16 * completions + array).next_multiple_of(4096)
}
