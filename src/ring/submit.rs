//! The traffic: entries are queued, one enter takes them to the kernel, completions are reaped.
//!
//! Queuing never enters. What does not fit, and all that comes after it, waits in the backlog; an enter feeds
//! the backlog through, with one more system call for each full submission queue. A chain is handed to the
//! kernel in one piece or not yet.
//!
//! An enter submits exactly what is queued, always runs the deferred work and waits in the same call. Whether
//! a wait ended by a completion, by time or by a signal is not told: the kernel itself does not say reliably,
//! and the loop looks at the queue and the clock anyway.

#![allow(unsafe_code)]

use std::io;
use std::slice;
use std::time::Duration;

use io_uring::opcode::PollAdd;
use io_uring::types::Fd;
use nix::errno::Errno;

use super::transfer::Transfer;
use super::{Completion, Entry, FORKED, IGNORE, NOTIFY, Outcome, Ring, Where};

/// How long to wait for the kernel to find memory for a request, when there is nothing else to do.
const BACK_OFF: Duration = Duration::from_millis(1);

impl Ring {
    /// Queues one entry. It reaches the kernel with the next enter.
    ///
    /// # Safety
    ///
    /// What the entry points to stays valid and in place until its final completion was reaped or it was
    /// retracted (K1).
    #[inline]
    pub(crate) unsafe fn queue(&mut self, entry: &mut Entry) -> Where {
        if let Some(faults) = &mut self.faults
            && faults.replaces(entry)
        {
            return Where::Ring;
        }
        let transfer = Transfer::of(entry);
        if let Some((index, start, len)) = transfer.registered() {
            let registry = self.registry.get().and_then(Option::as_deref);
            if !registry.is_some_and(|registry| registry.has(index, start, len)) {
                transfer.count_on_nothing();
            }
        }
        // SAFETY: K1: as the caller promises.
        unsafe { self.place(entry) }
    }

    /// Puts an entry into the submission queue, or behind those that wait for room in it.
    ///
    /// # Safety
    ///
    /// As for `queue`.
    #[inline]
    unsafe fn place(&mut self, entry: &Entry) -> Where {
        self.in_flight += u64::from(is_counted(entry.get_user_data()));
        // SAFETY: K1: as the caller promises.
        match self.takes_more() && unsafe { self.kernel.submission().push(entry) }.is_ok() {
            true => Where::Ring,
            false => self.put_off(slice::from_ref(entry)),
        }
    }

    /// Whether an entry need not wait for others that came before it.
    #[inline]
    fn takes_more(&self) -> bool {
        self.backlog.is_empty() && !self.kernel.is_elsewhere()
    }

    /// Queues entries that are linked: they reach the kernel in one submission. They have one place in the
    /// backlog, and are retracted together.
    ///
    /// # Safety
    ///
    /// As for `queue`, for each of them.
    ///
    /// # Panics
    ///
    /// If the chain is longer than the submission queue.
    #[cfg_attr(not(test), expect(dead_code, reason = "no operation is a chain yet"))]
    pub(crate) unsafe fn queue_chain(&mut self, chain: &[Entry]) -> Where {
        let (entries, _) = self.features().queue_lengths();
        assert!(
            chain.len() <= entries as usize,
            "a chain of {} entries needs a longer ring than {entries}",
            chain.len()
        );
        self.in_flight += chain.iter().filter(|entry| is_counted(entry.get_user_data())).count() as u64;
        // SAFETY: K1: as the caller promises.
        match self.takes_more() && unsafe { self.kernel.submission().push_multiple(chain) }.is_ok() {
            true => Where::Ring,
            false => self.put_off(chain),
        }
    }

    /// Puts entries that belong together behind those that wait for room in the submission queue.
    #[cold]
    fn put_off(&mut self, entries: &[Entry]) -> Where {
        self.counters.backlogged += entries.len() as u64;
        Where::Backlog(self.backlog.push(entries))
    }

    /// Takes back what waits in the backlog under this ticket: true if it will never reach the kernel.
    pub(crate) fn retract(&mut self, ticket: u64) -> bool {
        let in_flight = &mut self.in_flight;
        self.backlog.retract(ticket, |entry| *in_flight -= u64::from(is_counted(entry.get_user_data())))
    }

    /// Whether entries wait for submission.
    #[inline]
    pub(crate) fn submits(&self) -> bool {
        !self.backlog.is_empty() || (!self.kernel.is_elsewhere() && self.kernel.pending() != 0)
    }

    /// Whether an enter would do something now: entries wait for submission, or the kernel has work or
    /// completions for us that only an enter brings.
    #[inline]
    pub(crate) fn should_enter(&self) -> bool {
        let held = self.faults.as_ref().is_some_and(|faults| faults.holds());
        held || !self.backlog.is_empty() || (!self.kernel.is_elsewhere() && self.kernel.calls())
    }

    /// Whether a reap would bring something now.
    #[inline]
    pub(crate) fn has_completions(&self) -> bool {
        !self.ready.is_empty() || (!self.kernel.is_elsewhere() && self.kernel.has_completions())
    }

    /// Whether an enter or a reap would bring somebody something now. While nothing is in flight there is nothing to look for.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        (self.in_flight != 0 || self.is_faulty()) && (self.should_enter() || self.has_completions())
    }

    /// Enters the kernel: submits all that is queued, runs deferred work and waits for at least one
    /// completion, but no longer than `wait`. None does not wait, `Duration::MAX` waits without limit. It may
    /// come back early, with nothing: after a signal, or when the kernel had no memory for a request. Entries
    /// that it did not take stay queued.
    ///
    /// # Errors
    ///
    /// Only what makes the ring useless: it is broken, completions were lost, or this process is a fork of
    /// the ring's.
    pub(crate) fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        if self.kernel.is_elsewhere() {
            return Err(io::Error::other(FORKED));
        }
        if !self.listening {
            self.listen();
        }
        if let Some(faults) = &mut self.faults {
            faults.release(&mut self.ready);
            if let Some(errno) = faults.enter() {
                return self.refused(errno, wait);
            }
        }
        let wait = wait.filter(|_| self.ready.is_empty());
        self.counters.overflowed += u64::from(self.kernel.overflows());
        loop {
            let pending = self.feed();
            let last = self.backlog.is_empty();
            self.counters.enters += 1;
            match self.kernel.enter(pending, wait.filter(|_| last)) {
                // A call that takes less than it was asked to neither waits nor runs deferred work: go on
                // with the rest.
                Ok(taken) => {
                    self.counters.submitted += taken as u64;
                    if taken == 0 || (last && taken == pending) {
                        return Ok(());
                    }
                }
                Err(errno) => return self.refused(errno, wait),
            }
        }
    }

    /// Moves what fits from the backlog into the submission queue, and says how many entries are there now.
    fn feed(&mut self) -> usize {
        let mut queue = self.kernel.submission();
        // SAFETY: K1: the callers of `queue` and `queue_chain` promise it of the entries in the backlog.
        self.backlog.feed(|entries| unsafe { queue.push_multiple(entries) }.is_ok());
        queue.len()
    }

    /// Tells what passes from what does not. The entries are still queued.
    fn refused(&mut self, errno: Errno, wait: Option<Duration>) -> io::Result<()> {
        match errno {
            Errno::EINTR | Errno::ETIME => Ok(()),
            Errno::EAGAIN | Errno::EBUSY => match wait {
                // No memory for a request, or for completions that were not reaped. The loop reaps and comes
                // again; if it has nothing else to do, what is in flight gets a moment to end.
                Some(limit) => {
                    self.counters.enters += 1;
                    match self.kernel.enter(0, Some(limit.min(BACK_OFF))) {
                        Ok(_) | Err(Errno::EINTR | Errno::ETIME | Errno::EAGAIN | Errno::EBUSY) => Ok(()),
                        Err(errno) => Err(errno.into()),
                    }
                }
                None => Ok(()),
            },
            errno => Err(errno.into()),
        }
    }

    /// Queues the poll on the notifier. If it was notified meanwhile, the poll completes at once.
    #[cold]
    fn listen(&mut self) {
        let poll = PollAdd::new(Fd(self.notifier.fd()), libc::POLLIN as u32).multi(true);
        // SAFETY: K1: it points to nothing.
        unsafe { self.place(&poll.build().user_data(NOTIFY)) };
        self.listening = true;
    }

    /// Hands out all completions that there are. The ring's own and those that nobody reads are not among them.
    #[inline]
    pub(crate) fn reap(&mut self, mut each: impl FnMut(Completion)) {
        match self.faults.is_some() {
            true => self.reap_with_faults(&mut each),
            false => self.reap_fresh(each),
        }
    }

    #[cold]
    fn reap_with_faults(&mut self, each: &mut dyn FnMut(Completion)) {
        let mut completions: Vec<Completion> = self.ready.drain(..).collect();
        let fresh = completions.len();
        self.reap_fresh(|completion| completions.push(completion));
        if let Some(faults) = &mut self.faults {
            faults.incoming(&mut completions, fresh);
        }
        completions.into_iter().for_each(each);
    }

    /// Hands out those that lie in the kernel's queue.
    #[inline]
    fn reap_fresh(&mut self, mut each: impl FnMut(Completion)) {
        if self.kernel.is_elsewhere() {
            return;
        }
        let buffers = self.buffers.get().and_then(Option::as_deref);
        for entry in self.kernel.completion() {
            let completion = Completion {
                user_data: entry.user_data(),
                outcome: Outcome { result: entry.result(), flags: entry.flags() },
            };
            self.counters.completed += 1;
            match completion.user_data {
                // The poll ends when the completion queue was full; the next enter arms it again.
                NOTIFY => self.listening = completion.outcome.has_more(),
                IGNORE => {}
                _ => {
                    self.in_flight -= u64::from(!completion.outcome.has_more());
                    if let (Some(id), Some(buffers)) = (completion.outcome.buffer_id(), buffers) {
                        buffers.delivered(id);
                    }
                    each(completion);
                }
            }
        }
    }
}

/// Whether a completion with this user data ends something that somebody counts on.
#[inline]
fn is_counted(user_data: u64) -> bool {
    user_data != IGNORE && user_data != NOTIFY
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ring::Config;
    use io_uring::opcode::{AsyncCancel, Nop, Read, Timeout};
    use io_uring::squeue::Flags;
    use io_uring::types::Timespec;
    use std::time::Instant;

    fn ring(entries: u32, completions: u32) -> Ring {
        let config = Config { completions, ..Config::with_entries(entries) };
        Ring::new(&config).expect("the tests run where io_uring is allowed")
    }

    pub(in crate::ring) fn nop(user_data: u64) -> Entry {
        Nop::new().build().user_data(user_data)
    }

    /// Queues an entry that points to nothing, or only to what outlives it.
    pub(in crate::ring) fn queue(ring: &mut Ring, mut entry: Entry) -> Where {
        // SAFETY: K1: see above.
        unsafe { ring.queue(&mut entry) }
    }

    /// Runs turns until nothing is left, and gives the completions in their order.
    pub(in crate::ring) fn finish(ring: &mut Ring) -> Vec<Completion> {
        let (mut reaped, mut turns) = (Vec::new(), 0);
        while ring.in_flight != 0 || ring.should_enter() || ring.has_completions() {
            ring.enter(Some(Duration::from_secs(5))).expect("the ring works");
            ring.reap(|completion| reaped.push(completion));
            turns += 1;
            assert!(turns < 10_000, "the ring does not come to rest: {reaped:?}");
        }
        reaped
    }

    /// The same, but only the keys.
    pub(in crate::ring) fn drain(ring: &mut Ring) -> Vec<u64> {
        finish(ring).iter().map(|completion| completion.user_data).collect()
    }

    #[test]
    fn a_nop_goes_and_comes_back() {
        let mut ring = ring(8, 16);
        assert_eq!(queue(&mut ring, nop(7)), Where::Ring);
        assert!(ring.submits() && !ring.has_completions());
        assert_eq!(drain(&mut ring), [7]);
        assert!(!ring.submits() && !ring.should_enter() && !ring.has_completions());
    }

    #[test]
    fn a_thousand_nops_pass_through_eight_places_in_order() {
        let mut ring = ring(8, 8);
        let keys: Vec<u64> = (0..1000).collect();
        for &key in &keys {
            queue(&mut ring, nop(key));
        }
        assert_eq!(ring.counters().backlogged, 992);
        assert_eq!(drain(&mut ring), keys);
        assert!(ring.counters().overflowed > 0, "eight places overflow: {:?}", ring.counters());
        assert_eq!(ring.counters().submitted, 1001, "and the poll on the notifier");
    }

    #[test]
    fn only_what_waits_in_the_backlog_can_be_taken_back() {
        let mut ring = ring(4, 8);
        let places: Vec<Where> = (0..8).map(|key| queue(&mut ring, nop(key))).collect();
        assert_eq!(places[3], Where::Ring);
        let Where::Backlog(ticket) = places[5] else { panic!("four fit: {places:?}") };
        assert!(ring.retract(ticket));
        assert!(!ring.retract(ticket));
        assert_eq!(drain(&mut ring), [0, 1, 2, 3, 4, 6, 7]);
        assert!(!ring.retract(ticket));
    }

    #[test]
    fn what_nobody_waits_for_is_no_work() {
        let mut ring = ring(4, 16);
        assert!(!ring.has_work());
        queue(&mut ring, nop(1));
        assert!(ring.has_work(), "an entry is to be submitted");
        ring.enter(None).expect("the ring works");
        assert!(ring.has_work(), "a completion is to be reaped");
        ring.reap(|_| ());
        queue(&mut ring, AsyncCancel::new(1).build().user_data(IGNORE));
        assert!(ring.should_enter() && !ring.has_work());
    }

    #[test]
    fn a_chain_is_never_split() {
        let mut ring = ring(4, 16);
        queue(&mut ring, nop(1));
        queue(&mut ring, nop(2));
        // A failing head breaks the chain: the rest is cancelled, which it would not be in another
        // submission.
        let mut nothing = [0u8; 1];
        let head = Read::new(Fd(-1), nothing.as_mut_ptr(), 1).build().flags(Flags::IO_LINK).user_data(3);
        let chain = [head, nop(4).flags(Flags::IO_LINK), nop(5)];
        // SAFETY: K1: `nothing` lives to the end of this function, and the descriptor is none.
        let place = unsafe { ring.queue_chain(&chain) };
        assert!(matches!(place, Where::Backlog(_)), "three do not fit into two places");
        assert!(matches!(queue(&mut ring, nop(6)), Where::Backlog(_)), "nothing overtakes what waits");
        let reaped = finish(&mut ring);
        let result = |key| {
            reaped.iter().find(|completion| completion.user_data == key).map(|found| found.outcome.result)
        };
        assert_eq!(result(3), Some(-libc::EBADF));
        assert_eq!((result(4), result(5)), (Some(-libc::ECANCELED), Some(-libc::ECANCELED)));
        assert_eq!(result(6), Some(0));
    }

    #[test]
    fn a_wait_is_not_cut_short() {
        let mut ring = ring(8, 16);
        ring.enter(None).expect("the ring works");
        let (limit, start) = (Duration::from_millis(20), Instant::now());
        ring.enter(Some(limit)).expect("the ring works");
        assert!(start.elapsed() >= limit);
        assert!(!ring.has_completions());
    }

    #[test]
    fn a_wait_ends_with_the_first_completion() {
        let mut ring = ring(8, 16);
        let soon = Timespec::new().nsec(5_000_000);
        queue(&mut ring, Timeout::new(&soon).build().user_data(1));
        ring.enter(Some(Duration::MAX)).expect("the ring works");
        assert!(ring.has_completions());
        assert_eq!(drain(&mut ring), [1]);
    }

    #[test]
    fn what_nobody_reads_is_not_handed_out() {
        let mut ring = ring(8, 16);
        let late = Timespec::new().sec(60);
        queue(&mut ring, Timeout::new(&late).build().user_data(1));
        queue(&mut ring, AsyncCancel::new(1).build().user_data(IGNORE));
        assert_eq!(drain(&mut ring), [1]);
    }

    #[test]
    fn another_thread_ends_a_wait_each_time() {
        let mut ring = ring(8, 16);
        let notifier = ring.notifier();
        for _ in 0..20 {
            let notifier = notifier.clone();
            let other = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(1));
                notifier.notify();
            });
            ring.enter(Some(Duration::from_secs(10))).expect("the ring works");
            assert!(ring.has_completions());
            let mut reaped = Vec::new();
            ring.reap(|completion| reaped.push(completion));
            assert!(reaped.is_empty(), "the wake is the ring's own: {reaped:?}");
            other.join().expect("the other thread only writes");
        }
    }

    #[test]
    fn a_wake_survives_a_full_completion_queue() {
        let mut ring = ring(8, 8);
        let notifier = ring.notifier();
        ring.enter(None).expect("the ring works");
        for key in 0..8 {
            queue(&mut ring, nop(key));
        }
        ring.enter(None).expect("the ring works");
        // The poll finds no room for its completion, which ends it.
        notifier.notify();
        assert_eq!(drain(&mut ring).len(), 8);
        notifier.notify();
        ring.enter(Some(Duration::from_secs(10))).expect("the ring works");
        assert!(ring.has_completions());
    }

    #[test]
    fn a_notify_before_the_wait_is_not_lost() {
        let mut ring = ring(8, 16);
        ring.notifier().notify();
        ring.enter(Some(Duration::from_secs(10))).expect("the ring works");
        assert!(ring.has_completions());
    }
}
