//! Rare things made frequent, for tests: a filter on what goes out to the kernel and on what comes back.
//!
//! A [`FaultPlan`] says what may happen and how often; the generator is seeded, so the same plan strikes the
//! same way. The filter never lies about an effect that happened. A failure replaces an entry *before*
//! submission, so the kernel never sees it. A transfer is made short by shortening the entry, only where the
//! kernel itself may be short. Completions are held back or change places, but those of one key keep their
//! order. Entries in chains and the ring's own are left alone.

use std::collections::VecDeque;

use nix::errno::Errno;

use super::features::known_operation;
use super::transfer::Transfer;
use super::{Completion, Entry, IGNORE, NOTIFY, Outcome};

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// An entry of this operation fails with this errno and is not executed.
    Fail(u8, i32),
    /// A receive into a provided buffer finds none.
    Starve,
    /// A transfer moves less than it was asked to.
    Short,
    /// A completion comes one enter later.
    Delay,
    /// Two neighbouring completions change places.
    Swap,
    /// An enter is interrupted by a signal.
    Interrupt,
    /// An enter finds no memory for a request.
    NoMemory,
}

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// At each so many-th occasion.
    Every(u32),
    /// At one occasion in so many, by chance.
    OneIn(u32),
}

/// Which rare things a loop meets, and how often.
///
/// A program that is right under [`FaultPlan::seeded`] does not depend on transfers being whole, on
/// completions coming at once or in order, or on enters being undisturbed. The other methods aim: at one
/// operation, or at one kind of trouble.
///
/// ```
/// use ringloop::testing::FaultPlan;
/// // Benign trouble everywhere, and every third open fails because descriptors ran out.
/// let plan = FaultPlan::seeded(42).fail("openat", 24, 3);
/// println!("{plan:?}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// Where the generator starts.
    seed: u64,
    /// What happens and when.
    rules: Vec<(Fault, When)>,
}

impl FaultPlan {
    /// No faults yet: a plan to aim with.
    pub fn new() -> FaultPlan {
        FaultPlan { seed: 0, rules: Vec::new() }
    }

    /// A mix of benign trouble that any correct program survives: short transfers, late and reordered
    /// completions, interrupted enters, an empty buffer ring. The same seed gives the same decisions on the
    /// same traffic.
    pub fn seeded(seed: u64) -> FaultPlan {
        let rules = vec![
            (Fault::Starve, When::OneIn(16)),
            (Fault::Short, When::OneIn(4)),
            (Fault::Delay, When::OneIn(8)),
            (Fault::Swap, When::OneIn(4)),
            (Fault::Interrupt, When::OneIn(16)),
            (Fault::NoMemory, When::OneIn(32)),
        ];
        FaultPlan { seed, rules }
    }

    /// Lets every so many-th entry of an operation fail with an errno, unexecuted. The names are the
    /// kernel's, in lower case: `openat`, `recv`.
    ///
    /// # Panics
    ///
    /// If there is no such operation, or `every_nth` is zero.
    #[track_caller]
    pub fn fail(self, name: &str, errno: i32, every_nth: u32) -> FaultPlan {
        self.rule(Fault::Fail(known_operation(name), errno), every_nth)
    }

    /// Shortens every so many-th transfer that the kernel might have made short: reads, writes, receives and
    /// sends of regular files, pipes and stream sockets.
    ///
    /// # Panics
    ///
    /// If `every_nth` is zero; so for all methods with this parameter.
    pub fn short(self, every_nth: u32) -> FaultPlan {
        self.rule(Fault::Short, every_nth)
    }

    /// Lets every so many-th receive into a provided buffer find none: it fails with ENOBUFS, unexecuted.
    pub fn starve(self, every_nth: u32) -> FaultPlan {
        self.rule(Fault::Starve, every_nth)
    }

    /// Interrupts every so many-th enter, as a signal does. The enter after an interrupted one is left alone,
    /// so that the loop gets on.
    pub fn interrupt_enter(self, every_nth: u32) -> FaultPlan {
        self.rule(Fault::Interrupt, every_nth)
    }

    /// Lets every so many-th enter find no memory for a request. The enter after it is left alone, so that
    /// the loop gets on.
    pub fn no_memory_enter(self, every_nth: u32) -> FaultPlan {
        self.rule(Fault::NoMemory, every_nth)
    }

    /// Brings every so many-th completion one enter later.
    pub fn delay(self, every_nth: u32) -> FaultPlan {
        self.rule(Fault::Delay, every_nth)
    }

    /// Adds a rule. It goes before the earlier ones: who aims, means it.
    fn rule(mut self, fault: Fault, every_nth: u32) -> FaultPlan {
        assert!(every_nth != 0, "a fault at every 0th occasion never happens: use 1 for every occasion");
        self.rules.insert(0, (fault, When::Every(every_nth)));
        self
    }
}

impl Default for FaultPlan {
    fn default() -> FaultPlan {
        FaultPlan::new()
    }
}

/// A plan at work on one ring.
#[derive(Debug)]
pub(super) struct Faults {
    /// The rules, and how many occasions each has seen.
    rules: Vec<(Fault, When, u32)>,
    /// State of the generator.
    state: u64,
    /// Injected and delayed completions, for the next enter.
    held: Vec<Completion>,
    /// Whether the last enter was refused: the next one is not.
    refused: bool,
}

impl Faults {
    /// Puts a plan to work.
    pub(super) fn start(plan: &Option<FaultPlan>) -> Option<Box<Faults>> {
        let FaultPlan { seed, rules } = plan.as_ref()?;
        let rules = rules.iter().map(|&(fault, when)| (fault, when, 0)).collect();
        Some(Box::new(Faults { rules, state: *seed, held: Vec::new(), refused: false }))
    }

    /// Whether completions wait for the next enter.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether an operation that could be a plain call should be an entry: always under a plan that aims at an operation, else
    /// every other time, so that either way is met.
    pub(super) fn prefers_entries(&mut self) -> bool {
        let aims = self.rules.iter().any(|(fault, ..)| matches!(fault, Fault::Fail(..)));
        aims || self.next().is_multiple_of(2)
    }

    /// An enter happens: what was held is due.
    pub(super) fn release(&mut self, ready: &mut VecDeque<Completion>) {
        ready.extend(self.held.drain(..));
    }

    /// The error of this enter, if it is to fail.
    pub(super) fn enter(&mut self) -> Option<Errno> {
        if std::mem::take(&mut self.refused) {
            return None;
        }
        let fault = self.strike(|fault| matches!(fault, Fault::Interrupt | Fault::NoMemory))?;
        self.refused = true;
        Some(if fault == Fault::Interrupt { Errno::EINTR } else { Errno::EAGAIN })
    }

    /// Looks at an entry on its way out. True: its completion has been made up, and the kernel must not see
    /// it.
    #[cold]
    pub(super) fn replaces(&mut self, entry: &mut Entry) -> bool {
        let user_data = entry.get_user_data();
        if user_data == IGNORE || user_data == NOTIFY {
            return false;
        }
        let transfer = Transfer::of(entry);
        let struck = self.strike(|fault| match fault {
            Fault::Fail(code, _) => transfer.is(code),
            Fault::Starve => transfer.picks_buffer(),
            _ => false,
        });
        let errno = match struck {
            Some(Fault::Fail(_, errno)) => errno,
            Some(_) => libc::ENOBUFS,
            None => {
                if transfer.can_be_short() && self.strike(|fault| fault == Fault::Short).is_some() {
                    transfer.shorten(self.next());
                }
                return false;
            }
        };
        self.held.push(Completion { user_data, outcome: Outcome { result: -errno, flags: 0 } });
        true
    }

    /// Looks at the completions, those from `fresh` on new from the kernel: holds some of these back, and lets
    /// neighbours change places.
    pub(super) fn incoming(&mut self, completions: &mut Vec<Completion>, fresh: usize) {
        for completion in completions.split_off(fresh) {
            let follows = self.held.iter().any(|held| held.user_data == completion.user_data);
            if follows || self.strike(|fault| fault == Fault::Delay).is_some() {
                self.held.push(completion);
            } else {
                completions.push(completion);
            }
        }
        for index in 1..completions.len() {
            let differ = completions[index - 1].user_data != completions[index].user_data;
            if differ && self.strike(|fault| fault == Fault::Swap).is_some() {
                completions.swap(index - 1, index);
            }
        }
    }

    /// An occasion for the faults that `fits` knows: the first rule whose turn it is strikes.
    fn strike(&mut self, fits: impl Fn(Fault) -> bool) -> Option<Fault> {
        for index in 0..self.rules.len() {
            let (fault, when, seen) = &mut self.rules[index];
            let fault = *fault;
            if !fits(fault) {
                continue;
            }
            *seen += 1;
            let strikes = match *when {
                When::Every(nth) => *seen % nth == 0,
                When::OneIn(odds) => self.next().is_multiple_of(u64::from(odds)),
            };
            if strikes {
                return Some(fault);
            }
        }
        None
    }

    /// The next number of the generator (splitmix64).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::super::submit::tests::{drain, finish, nop, queue};
    use super::super::{Config, Ring};
    use super::*;
    use io_uring::opcode::{Recv, Write};
    use io_uring::squeue::Flags;
    use io_uring::types::Fd;
    use std::io::{Read, pipe};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    fn ring(plan: FaultPlan) -> Ring {
        let config = Config { faults: Some(plan), completions: 8, ..Config::with_entries(8) };
        Ring::new(&config).expect("the tests run where io_uring is allowed")
    }

    #[test]
    fn a_failed_entry_was_not_executed() {
        let (mut reader, writer) = pipe().expect("pipes can be made");
        let mut ring = ring(FaultPlan::new().fail("write", libc::EIO, 2));
        static TEXT: [u8; 6] = *b"abcdef";
        for (key, byte) in TEXT.iter().enumerate() {
            queue(&mut ring, Write::new(Fd(writer.as_raw_fd()), byte, 1).build().user_data(key as u64));
        }
        let mut completions = finish(&mut ring);
        completions.sort_by_key(|completion| completion.user_data);
        let results: Vec<_> = completions.iter().map(|completion| completion.outcome.result).collect();
        assert_eq!(results, [1, -libc::EIO, 1, -libc::EIO, 1, -libc::EIO]);
        drop(writer);
        let mut arrived = Vec::new();
        reader.read_to_end(&mut arrived).expect("bytes arrive");
        // Kernels before 6.3 hand writes on pipes to workers, which keep no order.
        arrived.sort_unstable();
        assert_eq!(arrived, b"ace");
    }

    #[test]
    fn a_starved_receive_takes_nothing() {
        let mut ring = ring(FaultPlan::new().starve(1));
        let group = ring.buffers().expect("there is memory for buffers").group();
        let entry = Recv::new(Fd(-1), std::ptr::null_mut(), 0).buf_group(group).build().user_data(1);
        queue(&mut ring, entry.flags(Flags::BUFFER_SELECT));
        assert_eq!(finish(&mut ring)[0].outcome, Outcome { result: -libc::ENOBUFS, flags: 0 });
        assert_eq!(ring.counters().submitted, 1, "the poll on the notifier, and no receive");
    }

    #[test]
    fn an_injected_completion_comes_with_the_next_enter() {
        let mut ring = ring(FaultPlan::new().fail("nop", libc::EIO, 1));
        queue(&mut ring, nop(1));
        assert!(!ring.submits() && ring.should_enter() && !ring.has_completions());
        let start = Instant::now();
        ring.enter(Some(Duration::from_secs(10))).expect("the ring works");
        assert!(start.elapsed() < Duration::from_secs(5), "there is something to reap: no wait");
        assert!(ring.has_completions());
        assert_eq!(drain(&mut ring), [1]);
    }

    #[test]
    fn interrupted_enters_keep_what_is_queued() {
        for plan in [FaultPlan::new().interrupt_enter(1), FaultPlan::new().no_memory_enter(1)] {
            let mut ring = ring(plan);
            queue(&mut ring, nop(1));
            ring.enter(Some(Duration::MAX)).expect("a signal is no error");
            assert!(ring.submits() && !ring.has_completions());
            ring.enter(Some(Duration::MAX)).expect("the ring works");
            assert!(!ring.submits() && ring.has_completions());
            assert_eq!(drain(&mut ring), [1]);
        }
    }

    #[test]
    fn a_delayed_completion_is_one_enter_late() {
        let mut ring = ring(FaultPlan::new().delay(2));
        queue(&mut ring, nop(1));
        queue(&mut ring, nop(2));
        let mut reaped = Vec::new();
        ring.enter(None).expect("the ring works");
        ring.reap(|completion| reaped.push(completion));
        assert_eq!(reaped.len(), 1);
        assert!(ring.should_enter() && !ring.has_completions());
        ring.enter(None).expect("the ring works");
        ring.reap(|completion| reaped.push(completion));
        assert_eq!(reaped.len(), 2);
    }

    #[test]
    fn no_seed_loses_or_doubles_a_completion() {
        for seed in 0..32 {
            let mut ring = ring(FaultPlan::seeded(seed));
            let keys: Vec<u64> = (0..300).collect();
            for &key in &keys {
                queue(&mut ring, nop(key));
            }
            let mut seen = drain(&mut ring);
            assert_ne!(seen, keys, "seed {seed}: something changes places");
            seen.sort_unstable();
            assert_eq!(seen, keys, "seed {seed}");
        }
    }

    #[test]
    fn completions_of_one_key_keep_their_order() {
        for seed in 0..8 {
            let plan = FaultPlan::seeded(seed).delay(1 + seed as u32 % 4);
            let mut faults = Faults::start(&Some(plan)).expect("there is a plan");
            let (mut ready, mut seen) = (VecDeque::new(), Vec::new());
            let mut number = 0;
            for turn in 0..200 {
                faults.release(&mut ready);
                let mut completions: Vec<_> = ready.drain(..).collect();
                let fresh = completions.len();
                for key in 0..if turn < 199 { 5 } else { 0 } {
                    let outcome = Outcome { result: number, flags: 0 };
                    completions.push(Completion { user_data: key % 3, outcome });
                    number += 1;
                }
                faults.incoming(&mut completions, fresh);
                seen.extend(completions);
            }
            assert_eq!(seen.len(), 199 * 5, "seed {seed}: one enter later all are there");
            for key in 0..3 {
                let of_key = seen.iter().filter(|completion| completion.user_data == key);
                assert!(
                    of_key.is_sorted_by_key(|completion| completion.outcome.result),
                    "seed {seed}, key {key}"
                );
            }
        }
    }

    #[test]
    fn a_seed_decides_everything() {
        let decisions = |seed| {
            let mut faults = Faults::start(&Some(FaultPlan::seeded(seed))).expect("there is a plan");
            (0..500)
                .map(|_| (faults.enter(), faults.strike(|fault| fault == Fault::Short)))
                .collect::<Vec<_>>()
        };
        assert_eq!(decisions(7), decisions(7));
        assert_ne!(decisions(7), decisions(8));
    }

    #[test]
    #[should_panic(expected = "every 0th occasion")]
    fn a_fault_that_never_happens_is_refused() {
        let _ = FaultPlan::new().delay(0);
    }
}
