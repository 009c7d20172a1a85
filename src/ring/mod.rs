//! The kernel: one io_uring, and the only door to it.
//!
//! Everything above reaches the kernel and the clock through [`Ring`]: queue entries (one, or a chain),
//! enter, reap, give a buffer back, notify, now. An [`Entry`] goes out, a [`Completion`] comes back with the
//! same user data; what the numbers mean is the business of the layers above.
//!
//! * `setup` makes the ring (the ladder of flags and sizes) and keeps one for the thread's next loop;
//!   `features` says what the kernel gave, `diagnosis` why it gave nothing.
//! * `submit` is the traffic: queue, enter, reap. What does not fit waits in the `backlog`.
//! * `buffers` is the provided-buffer ring, `registered` the buffers that the kernel keeps ready, both on memory
//!   of `mapping`.
//! * `notifier` is the wake from other threads, `clock` the time, `fault` the optional filter that makes rare
//!   things happen in tests, `fork` the mark by which a forked child knows that it has no ring, `sigint` the way
//!   of Ctrl-C to the rings that ask for it.
//!
//! Invariants. Queuing never enters the kernel. An entry that was queued either comes back as a final
//! completion or is retracted, exactly once. No code of the user runs in here. One ring belongs to one
//! thread: `Ring` is neither `Send` nor `Sync` (T1).
//!
//! Invariants of our dealings with the kernel, here and in `op`, cited by SAFETY comments:
//!
//! * **M1 memory**: memory that we map or allocate is reached through its owner alone and within its size, and
//!   is given back once, as it was got, when nobody uses it.
//! * **L1 live arguments**: what a system call gets a pointer to lives to the end of the call and has the size
//!   that the call is told; the kernel keeps no pointer to it.
//! * **P1 plain data**: a struct that we share with the kernel is plain numbers: all bits are valid, zeros too.
//! * **D1 descriptor**: a descriptor has one owner, which took it from the kernel's answer and closes it.
//!
//! Deliberately not here: what an operation is, who owns the memory that an entry points to (K1), when the
//! ring may be closed (K3). The ring only counts, and leaks its own memory when it is dropped before its
//! count is zero.

mod backlog;
mod buffers;
mod clock;
mod diagnosis;
mod doctor;
mod fault;
mod features;
mod fork;
mod kernel;
mod mapping;
mod notifier;
mod registered;
mod setup;
mod sigint;
mod submit;
mod surroundings;
mod transfer;

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::error::{Cancelled, Elapsed, LoopClosed, NO_THREAD};

pub(crate) use buffers::{Buffers, Loan};
pub use clock::Clock;
pub(crate) use clock::later;
pub use diagnosis::{SetupError, SetupErrorKind};
pub use doctor::{Diagnosis, diagnose};
pub use fault::FaultPlan;
pub use features::{FeatureMask, Features};
pub(crate) use notifier::Notifier;
pub use registered::RegisteredBuf;
pub(crate) use setup::release_parked;
pub(crate) use sigint::{Watch, die, is_main_thread};

use backlog::Backlog;
use clock::Time;
use fault::Faults;
use kernel::Kernel;
use registered::Registry;
use setup::{LATE, PATIENCE};

/// The submission entry of one operation.
pub(crate) type Entry = io_uring::squeue::Entry;

/// The descriptor that an entry's operation works on; negative where there is none.
pub(crate) fn descriptor(entry: &mut Entry) -> i32 {
    transfer::Transfer::of(entry).descriptor()
}

/// Has an accept wait until a connection is there, before it tries; see [`Features::accepts_wait`].
pub(crate) fn wait_first(accept: &mut Entry) {
    transfer::Transfer::of(accept).wait_first();
}

/// User data of entries whose completion nobody reads: it is dropped on the way in.
pub(crate) const IGNORE: u64 = u64::MAX;

/// User data of the ring's own poll on its notifier. A key's index is never `u32::MAX`, so no key looks like
/// these two.
pub(crate) const NOTIFY: u64 = u64::MAX - (1 << 32);

/// `IORING_CQE_F_BUFFER`: the upper half of the flags is the id of a picked buffer.
const HAS_BUFFER: u32 = 1;
/// `IORING_CQE_F_MORE`: the operation is still alive.
const HAS_MORE: u32 = 1 << 1;
/// `IORING_CQE_F_SOCK_NONEMPTY`: the socket has more to read.
const SOCK_NONEMPTY: u32 = 1 << 2;

/// ERESTARTSYS: the kernel's own word for "interrupted", which reaches user space when a blocked open or
/// splice is cancelled.
const RESTART: i32 = 512;

/// What a use of the loop in a forked child is told.
const FORKED: &str = "the event loop was made before a fork: start a new one in the child";

/// What the kernel answered to one entry: result and flags of its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// A count or a descriptor, or a negated errno.
    pub(crate) result: i32,
    /// `IORING_CQE_F_*` and, in the upper half, the id of a picked buffer.
    pub(crate) flags: u32,
}

impl Outcome {
    /// Cancelled, because the task was asked to end.
    pub(crate) const CANCELLED: i32 = i32::MIN;
    /// Cancelled, because its time was over.
    pub(crate) const ELAPSED: i32 = i32::MIN + 1;
    /// Cancelled or not begun, because the loop has ended.
    pub(crate) const CLOSED: Outcome = Outcome { result: i32::MIN + 2, flags: 0 };
    /// Not begun, because this process is a fork of the loop's.
    pub(crate) const FORKED: Outcome = Outcome { result: i32::MIN + 3, flags: 0 };
    /// Not begun, because the system gives no thread for it.
    pub(crate) const NO_THREAD: Outcome = Outcome { result: i32::MIN + 4, flags: 0 };

    /// Dropped before it began.
    pub(crate) const NOT_BEGUN: Outcome = Outcome { result: i32::MIN + 5, flags: 0 };

    /// The result as a count or a descriptor.
    pub(crate) fn count(self) -> io::Result<usize> {
        match self.error() {
            Some(error) => Err(error),
            None => Ok(self.result as usize),
        }
    }

    /// The error, if it is one. The kernel's internal "restart" is told as what it means here: cancelled.
    pub(crate) fn error(self) -> Option<io::Error> {
        match self.result {
            0.. => None,
            Self::CANCELLED => Some(Cancelled.into()),
            Self::ELAPSED => Some(Elapsed.into()),
            result if result == Self::CLOSED.result => Some(LoopClosed.into()),
            result if result == Self::FORKED.result => Some(io::Error::other(FORKED)),
            // For owners only, and each drop of a future would pay for a word of ours.
            result if result == Self::NOT_BEGUN.result => Some(io::Error::from_raw_os_error(libc::ECANCELED)),
            // The kernel says so, unless asked to cancel, where it cannot start the worker that the operation needs.
            result if result == Self::NO_THREAD.result || result == -libc::ECANCELED => {
                Some(io::Error::new(io::ErrorKind::WouldBlock, NO_THREAD))
            }
            result if result == -RESTART => Some(io::Error::from_raw_os_error(libc::ECANCELED)),
            result => Some(io::Error::from_raw_os_error(-result)),
        }
    }

    /// Whether the operation goes on: this is not its final completion (K2).
    pub(crate) fn has_more(self) -> bool {
        self.flags & HAS_MORE != 0
    }

    /// The buffer that the kernel picked from the buffer ring.
    pub(crate) fn buffer_id(self) -> Option<u16> {
        (self.flags & HAS_BUFFER != 0).then_some((self.flags >> 16) as u16)
    }

    /// Whether the socket had more to read when this completion was made.
    pub(crate) fn sock_nonempty(self) -> bool {
        self.flags & SOCK_NONEMPTY != 0
    }
}

/// One answer of the kernel, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    /// The user data of the entry.
    pub(crate) user_data: u64,
    /// The answer.
    pub(crate) outcome: Outcome,
}

/// What a ring is made of. Plain data: it may be built on another thread than the one that runs the ring.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Submission entries; the kernel rounds up to a power of two.
    pub(crate) entries: u32,
    /// Completion entries; at least as many as `entries`.
    pub(crate) completions: u32,
    /// Buffers in the provided-buffer ring; a power of two, at most 32768.
    pub(crate) buffers: u16,
    /// Bytes of one provided buffer.
    pub(crate) buffer_size: u32,
    /// Most kernel workers of this thread for block I/O, and for what may wait without end. None: the
    /// kernel's own limits.
    pub(crate) workers: Option<(u32, u32)>,
    /// What of the kernel to overlook.
    pub(crate) mask: FeatureMask,
    /// Rare things to make happen.
    pub(crate) faults: Option<FaultPlan>,
    /// Where the time comes from.
    pub(crate) clock: Clock,
}

impl Config {
    /// The longest submission queue that the kernel makes, and the longest completion queue.
    pub(crate) const LONGEST: (u32, u32) = (1 << 15, 1 << 16);
    /// The most provided buffers that the kernel takes, and the largest that is of use: no transfer is longer.
    pub(crate) const MOST_BUFFERS: (u16, u32) = (1 << 15, 1 << 30);

    /// The defaults, with so many submission entries and a completion queue to match: multishots want it at
    /// least four times as long.
    pub(crate) fn with_entries(entries: u32) -> Config {
        Config {
            entries,
            completions: entries.saturating_mul(4).max(1024),
            buffers: 128,
            buffer_size: 16 * 1024,
            workers: Some((4, 64)),
            mask: FeatureMask::default(),
            faults: None,
            clock: Clock::Real,
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::with_entries(256)
    }
}

/// Where a queued entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// In the submission queue: the next enter hands it to the kernel. It cannot be taken back.
    Ring,
    /// In the backlog: it can be taken back with this ticket until the next enter.
    Backlog(u64),
}

/// What a ring has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// System calls to enter the kernel.
    pub(crate) enters: u64,
    /// Entries that the kernel took.
    pub(crate) submitted: u64,
    /// Completions that came back, the ring's own included.
    pub(crate) completed: u64,
    /// Entries that did not fit into the submission queue when they were queued.
    pub(crate) backlogged: u64,
    /// Enters that found the completion queue overflown.
    pub(crate) overflowed: u64,
}

/// One io_uring and what belongs to it. Field order is drop order, after `Drop` has closed the buffers.
pub(crate) struct Ring {
    /// The descriptor, its mappings and the raw enter.
    kernel: Kernel,
    /// Entries that wait for room in the submission queue.
    backlog: Backlog,
    /// Completions to hand out with the next reap, before those of the kernel: injected and delayed ones.
    ready: VecDeque<Completion>,
    /// The filter of the tests.
    faults: Option<Box<Faults>>,
    /// The provided buffers, registered when first asked for; None inside: the kernel refused.
    buffers: OnceCell<Option<Rc<Buffers>>>,
    /// The registered buffers; None inside: the kernel refused.
    registry: OnceCell<Option<Rc<Registry>>>,
    /// What other threads write to.
    notifier: Notifier,
    /// Whether the poll on the notifier is with the kernel, or queued.
    listening: bool,
    /// Where the time comes from.
    time: Time,
    /// Entries of others queued and not yet finally completed: our own count, as the kernel's answers do not
    /// tell (K3).
    in_flight: u64,
    /// What was done so far.
    counters: Counters,
    /// What it was made from.
    config: Config,
}

impl Ring {
    /// What the kernel gave.
    pub(crate) fn features(&self) -> &Features {
        self.kernel.features()
    }

    /// Whether the kernel has this operation, by its code.
    pub(crate) fn supports(&self, opcode: u8) -> bool {
        self.features().supports(opcode)
    }

    /// Whether rare things are made to happen.
    pub(crate) fn is_faulty(&self) -> bool {
        self.faults.is_some()
    }

    /// Whether the next operation should be an entry even where a plain call would do, so that rare things can happen to it.
    pub(crate) fn prefers_entries(&mut self) -> bool {
        self.faults.as_mut().is_some_and(|faults| faults.prefers_entries())
    }

    /// Whether this process is a fork of the one that made the ring: it must leave the ring alone.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.kernel.is_elsewhere()
    }

    /// What was done so far.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// A handle by which any thread wakes this ring out of a waiting enter.
    pub(crate) fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// The provided buffers, registered at the first call. None if the kernel refuses (no memory, or masked):
    /// receive into memory of one's own then.
    pub(crate) fn buffers(&self) -> Option<Rc<Buffers>> {
        self.buffers.get_or_init(|| self.register_buffers()).clone()
    }

    /// Asks the kernel to take a buffer ring, if the mask allows one. A ring that was closed just before may
    /// still be charged for: that is waited for as at set-up, once in the life of the ring.
    fn register_buffers(&self) -> Option<Rc<Buffers>> {
        let Config { mask, buffers, buffer_size, .. } = self.config;
        if !mask.allows_buffer_ring() || self.is_elsewhere() {
            return None;
        }
        for _ in 0..PATIENCE {
            match self.kernel.register_buffers(buffers, buffer_size) {
                Err(Errno::ENOMEM) => std::thread::sleep(LATE),
                registered => return registered.ok(),
            }
        }
        tracing::debug!("locked memory is short: no buffer ring");
        None
    }

    /// A buffer that this ring keeps ready, if the kernel lets it; else one like any other.
    pub(crate) fn registered_buffer(&self, len: usize) -> Result<RegisteredBuf, Errno> {
        let registry = self.registry.get_or_init(|| {
            let table = (!self.is_elsewhere()).then(|| self.kernel.register_table(Registry::ENTRIES));
            table?.ok().map(Registry::new)
        });
        RegisteredBuf::make(len, registry.as_ref())
    }

    /// The time: real, or paused.
    pub(crate) fn now(&self) -> Instant {
        self.time.now()
    }

    /// Moves a paused clock on; a real one does that by itself.
    pub(crate) fn advance_clock(&mut self, by: Duration) {
        self.time.advance(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_a_count_or_an_error() {
        let outcome = |result| Outcome { result, flags: 0 };
        assert_eq!(outcome(7).count().ok(), Some(7));
        assert!(outcome(0).error().is_none());
        let errno = |result| outcome(result).error().and_then(|error| error.raw_os_error());
        assert_eq!(errno(-libc::EIO), Some(libc::EIO));
        assert_eq!(errno(-512), Some(libc::ECANCELED), "the kernel's word for restart is not one for users");
    }

    #[test]
    fn the_flags_of_a_completion_are_told_apart() {
        let outcome = |flags| Outcome { result: 0, flags };
        assert_eq!(outcome(0x0007_0001).buffer_id(), Some(7));
        assert_eq!(outcome(0x0007_0000).buffer_id(), None);
        assert!(outcome(2).has_more() && !outcome(1).has_more());
        assert!(outcome(4).sock_nonempty() && !outcome(3).sock_nonempty());
    }

    #[test]
    fn reserved_user_data_is_no_key() {
        for reserved in [IGNORE, NOTIFY] {
            assert_eq!(reserved as u32, u32::MAX, "the index of a key is never that");
        }
        assert_ne!(IGNORE, NOTIFY);
    }

    #[test]
    fn a_configuration_may_come_from_another_thread() {
        let config =
            std::thread::spawn(|| Config { faults: Some(FaultPlan::seeded(1)), ..Config::default() });
        assert_eq!(config.join().expect("nothing panics").completions, 1024);
        assert_eq!(Config::with_entries(1024).completions, 4096);
    }
}
