//! Making a ring: the ladder of flags and sizes, and the ring that waits for the thread's next loop.
//!
//! The flags are asked for best first, and what the kernel does not know is left out: without `NO_SQARRAY`
//! (6.6) the set is that of 6.1, and below 6.1 there is no ring. The sizes shrink when locked memory is
//! short. The kernel gives a closed ring's memory back some ten milliseconds late, so the full size is tried
//! once more after that time, and before the smallest size is reported as impossible a tenth of a second has
//! passed; a whole second since this process closed a ring, because a busy machine can take half of that.
//!
//! A loop that ended clean parks its ring: a program that runs loops one after the other sets up one ring,
//! not a thousand. One ring per thread is parked at most, and only one with nothing in flight and all buffers
//! at home.

use std::cell::{Cell, OnceCell};
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use io_uring::IoUring;
use nix::errno::Errno;

use super::backlog::Backlog;
use super::clock::Time;
use super::diagnosis::{SetupError, Stage};
use super::fault::Faults;
use super::features::{FeatureMask, NO_SQARRAY};
use super::kernel::Kernel;
use super::notifier::Notifier;
use super::{Buffers, Config, Counters, Ring};
use crate::sys::clock;

/// How long the kernel takes to give the memory of a closed ring back.
pub(super) const LATE: Duration = Duration::from_millis(10);

/// How often that is waited for: a tenth of a second in all.
pub(super) const PATIENCE: u32 = 10;

/// How long it takes at worst. Measured: 16 to 40 ms on an idle machine, up to 480 ms on one whose processors are all busy.
const LATEST: Duration = Duration::from_secs(1);

/// When this process closed a ring last.
static CLOSED: Mutex<Option<Instant>> = Mutex::new(None);

/// Whether memory of a ring that this process has closed may still be on its way back.
fn memory_is_returning() -> bool {
    let closed = *CLOSED.lock().unwrap_or_else(PoisonError::into_inner);
    closed.is_some_and(|closed| closed.elapsed() < LATEST)
}

/// The lengths below which a ring does not shrink by itself: submission and completion queue.
const FLOOR: (u32, u32) = (32, 64);

/// The least submission queue: a chain of open, read and close fits.
const LEAST: u32 = 4;

thread_local! {
    /// The ring of the thread's last loop.
    static PARKED: Cell<Option<Ring>> = const { Cell::new(None) };
}

/// Gives the ring that this thread keeps for its next loop back to the kernel.
pub(crate) fn release_parked() {
    let parked = PARKED.try_with(Cell::take).ok().flatten();
    drop(parked);
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
            registry: OnceCell::new(),
            notifier,
            listening: false,
            time: Time::start(config.clock),
            in_flight: 0,
            counters: Counters::default(),
            config: config.clone(),
        })
    }

    /// Ends a loop's use of the ring. If all came to its end, the ring waits for the thread's next loop; if
    /// not, it is dropped.
    pub(crate) fn park(mut self) {
        if self.is_clean() {
            // Late in a thread's end there is no place to park; the ring is dropped then.
            let _ = PARKED.try_with(|place| place.set(Some(self)));
        }
    }

    /// Whether no trace of a loop is left in the ring: after that a completion can only be one of the next
    /// loop.
    fn is_clean(&mut self) -> bool {
        let injected = self.faults.take().is_some_and(|faults| faults.holds()) || !self.ready.is_empty();
        if self.kernel.is_elsewhere() || self.in_flight != 0 || injected {
            return false;
        }
        // A cancel that is still queued would meet the next loop's keys, so it goes now. What is left to
        // complete is the ring's own or nobody's: the next loop drops it when it reaps.
        if self.submits() && self.enter(None).is_err() {
            return false;
        }
        let at_home = |buffers: &Buffers| buffers.free() == usize::from(buffers.count());
        !self.submits() && self.buffers.get().and_then(Option::as_deref).is_none_or(at_home)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let Some(Some(registry)) = self.registry.get() {
            registry.close();
        }
        *CLOSED.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock::now());
        if let Some(Some(buffers)) = self.buffers.get() {
            buffers.close();
            if self.kernel.is_elsewhere() {
                return;
            }
            if self.in_flight != 0 {
                // K3: a receive may hold a buffer that it has picked, and closing the ring does not end it.
                tracing::warn!(
                    operations = self.in_flight,
                    "the ring ends before its operations: its buffers are leaked"
                );
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
    tracing::debug!("{}", kernel.features());
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
            tracing::debug!(
                entries = size.0,
                completions = size.1,
                "locked memory is short: a smaller ring is tried"
            );
        };
        if round >= PATIENCE && !memory_is_returning() {
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

/// Bytes of locked memory that a ring of these lengths is charged with: whole pages for the entries and for
/// both queues.
pub(super) fn locked_memory((entries, completions): (u32, u32), no_sqarray: bool) -> u64 {
    let (entries, completions) =
        (u64::from(entries.next_power_of_two()), u64::from(completions.next_power_of_two()));
    let array = if no_sqarray { 0 } else { 4 * entries };
    (64 * entries).next_multiple_of(4096) + (320 + 16 * completions + array).next_multiple_of(4096)
}

#[cfg(test)]
mod tests {
    use super::super::fork::tests::holds_in_a_child;
    use super::super::submit::tests::{drain, nop, queue};
    use super::*;
    use crate::ring::surroundings::Surroundings;
    use crate::ring::{Clock, SetupErrorKind};
    use io_uring::opcode::Timeout;
    use io_uring::types::Timespec;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    fn make(config: &Config) -> Ring {
        Ring::new(config).expect("the tests run where io_uring is allowed")
    }

    #[test]
    fn the_best_set_up_is_granted_or_its_lack_is_seen() {
        let ring = make(&Config { completions: 256, ..Config::with_entries(64) });
        let flags: Vec<_> = ring.features().setup_flags().collect();
        for wanted in ["SINGLE_ISSUER", "DEFER_TASKRUN", "TASKRUN_FLAG", "SUBMIT_ALL", "CQSIZE", "CLAMP"] {
            assert!(flags.contains(&wanted), "{flags:?}");
        }
        assert_eq!(ring.features().queue_lengths(), (64, 256));
        assert!(ring.features().has_operation("nop"));
    }

    #[test]
    fn a_masked_ring_passes_for_one_of_6_1() {
        let mut ring = make(&Config { mask: FeatureMask::kernel_6_1(), ..Config::default() });
        assert!(!ring.features().has_no_sqarray() && !ring.features().has_no_iowait());
        assert!(ring.supports(48) && !ring.supports(49));
        queue(&mut ring, nop(1));
        assert_eq!(drain(&mut ring), [1]);
        let mut ring =
            make(&Config { mask: FeatureMask::default().without_buffer_ring(), ..Config::default() });
        assert!(ring.buffers().is_none());
        queue(&mut ring, nop(2));
        assert_eq!(drain(&mut ring), [2]);
    }

    #[test]
    fn the_least_ring_takes_a_chain_of_three() {
        let ring = make(&Config { completions: 0, ..Config::with_entries(0) });
        assert_eq!(ring.features().queue_lengths(), (4, 4));
    }

    #[test]
    fn a_clean_ring_is_used_again() {
        let config = Config::default();
        let mut ring = make(&config);
        let handle = ring.notifier();
        queue(&mut ring, nop(1));
        assert_eq!(drain(&mut ring), [1]);
        ring.park();
        // Old handles may wake the next loop, to no harm; its own must.
        handle.notify();
        let mut ring = make(&Config { clock: Clock::Paused, ..config });
        assert!(ring.listening, "a new ring's poll is not armed yet");
        assert_eq!(ring.counters(), Counters::default());
        assert_eq!(ring.now(), ring.now());
        queue(&mut ring, nop(2));
        assert_eq!(drain(&mut ring), [2]);
        ring.notifier().notify();
        ring.enter(Some(Duration::from_secs(10))).expect("the ring works");
        assert!(ring.has_completions());
    }

    #[test]
    fn another_configuration_gets_another_ring() {
        let ring = make(&Config::default());
        ring.park();
        let mut ring = make(&Config::with_entries(16));
        assert_eq!(ring.features().queue_lengths(), (16, 1024));
        assert!(!ring.listening);
        assert!(PARKED.take().is_none(), "what was parked has been dropped");
        drain(&mut ring);
    }

    #[test]
    fn a_dropped_ring_leaves_no_slot_behind() {
        for _ in 0..40 {
            let ring = make(&Config::with_entries(8));
            assert!(ring.features().is_registered(), "a thread has sixteen slots for rings");
        }
    }

    #[test]
    fn a_ring_with_something_in_flight_is_not_kept() {
        let mut ring = make(&Config::default());
        let late = Timespec::new().sec(60);
        queue(&mut ring, Timeout::new(&late).build().user_data(1));
        ring.enter(None).expect("the ring works");
        ring.park();
        assert!(PARKED.take().is_none());
    }

    #[test]
    fn a_cancel_left_in_the_queue_does_not_reach_the_next_loop() {
        let mut ring = make(&Config::default());
        queue(&mut ring, io_uring::opcode::AsyncCancel::new(1).build().user_data(super::super::IGNORE));
        ring.park();
        let mut ring = make(&Config::default());
        assert!(ring.listening && !ring.submits());
        let soon = Timespec::new().nsec(1_000_000);
        queue(&mut ring, Timeout::new(&soon).build().user_data(1));
        let mut reaped = Vec::new();
        while reaped.is_empty() {
            ring.enter(Some(Duration::MAX)).expect("the ring works");
            ring.reap(|completion| reaped.push(completion));
        }
        assert_eq!(reaped[0].outcome.result, -libc::ETIME);
    }

    #[test]
    fn a_child_gets_a_clear_error_and_a_ring_of_its_own() {
        let mut ring = make(&Config::default());
        drop(ring.buffers());
        make(&Config::with_entries(16)).park();
        assert!(holds_in_a_child(|| {
            queue(&mut ring, nop(1));
            let mut reaped = Vec::new();
            ring.reap(|completion| reaped.push(completion));
            let refused =
                ring.enter(Some(Duration::MAX)).is_err_and(|error| error.to_string().contains("fork"));
            let quiet = reaped.is_empty() && !ring.has_completions();
            drop(ring);
            let mut own = make(&Config::with_entries(16));
            queue(&mut own, nop(2));
            refused && quiet && !own.listening && drain(&mut own) == [2]
        }));
        let mut ring = make(&Config::with_entries(16));
        queue(&mut ring, nop(3));
        assert_eq!(drain(&mut ring), [3]);
    }

    /// Runs in a process of its own, which gives up its rights and most of its limit.
    #[test]
    fn a_thousand_loops_live_on_64_kib_of_locked_memory() {
        const MARK: &str = "RINGLOOP_TEST_SHORT_OF_MEMORY";
        if std::env::var_os(MARK).is_none() {
            let path = "ring::setup::tests::a_thousand_loops_live_on_64_kib_of_locked_memory";
            let this = std::env::current_exe().expect("the test has a file");
            let run = std::process::Command::new(this)
                .args(["--exact", path, "--nocapture"])
                .env(MARK, "1")
                .output();
            let run = run.expect("the test runs once more");
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            return;
        }
        let (_, most) = getrlimit(Resource::RLIMIT_MEMLOCK).expect("limits can be read");
        let limit = most.min(64 * 1024);
        setrlimit(Resource::RLIMIT_MEMLOCK, limit, limit).expect("a limit can be lowered");
        if nix::unistd::geteuid().is_root() {
            let nobody = nix::unistd::Uid::from_raw(65534);
            nix::unistd::setresuid(nobody, nobody, nobody).expect("root can give its rights up");
        }

        let start = Instant::now();
        for key in 0..1000 {
            let mut ring = make(&Config::default());
            queue(&mut ring, nop(key));
            assert_eq!(drain(&mut ring), [key]);
            ring.park();
        }
        println!("a thousand loops that end clean: {:?}", start.elapsed());
        PARKED.take();

        let start = Instant::now();
        for _ in 0..40 {
            drop(make(&Config::default()));
        }
        println!("forty rings that are dropped: {:?}", start.elapsed());

        let mut rings = Vec::new();
        let error = (0..64).find_map(|_| Ring::new(&Config::default()).map(|ring| rings.push(ring)).err());
        let lengths: Vec<_> = rings.iter().map(|ring| ring.features().queue_lengths()).collect();
        println!("rings at a time: {lengths:?}; then: {error:?}");
        assert!(rings.len() >= 2, "{lengths:?}");
        match error {
            Some(error) => assert_eq!(error.kind(), SetupErrorKind::Memlock { needed: 36 * 1024, limit }),
            None => {
                assert!(!Surroundings::gather().is_at_least(6, 14), "since 6.14 rings count as locked memory")
            }
        }
    }
}
