//! How Ctrl-C reaches the runs that watch for it.
//!
//! While a run watches, SIGINT has a handler of ours: it counts for each such run of this process, and notifies the ring of
//! each. Who comes first installs it, and who leaves last puts back what was there. It takes the place of the default action
//! only: a SIGINT that is ignored (a shell does that for what it runs in the background) or that somebody else handles is
//! left as it is, and what others install meanwhile is theirs to put back.
//!
//! The handler does nothing but atomics and `write`, and keeps errno. It may run on any thread at any moment, so the places
//! that it looks at are never freed, and a run that leaves waits for handlers under way before its eventfd may be closed:
//! a late write would hit whatever has the number next. A forked child inherits the handler, but nobody who listens to
//! it; there it does what the default action does. The crates that share a signal among many cannot do this: they never put the
//! former action back.
//!
//! From the third Ctrl-C on, the handler itself ends the process: the second was for the loop to answer, and it did not.

#![allow(unsafe_code)]

use std::iter::successors;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::errno::Errno;

use super::fork::{self, Birth};
use super::notifier::Notifier;

/// What the shell's convention calls an end by SIGINT.
const STATUS: i32 = 128 + libc::SIGINT;

/// What the handler knows of one run. Never freed, but used again.
struct Place {
    /// The eventfd of the run's ring; -1 while nobody has the place.
    event: AtomicI32,
    /// The process that the run belongs to.
    epoch: AtomicU32,
    /// How often SIGINT came since the run began to watch.
    count: AtomicU32,
    /// The place that was made after this one.
    next: OnceLock<&'static Place>,
}

/// Where the handler begins to look.
static FIRST: Place = Place::new();

/// How many handlers run now, and above that number the epoch of their process: a child knows by it that those of its parent,
/// which it was forked from in their midst, are not under way in it.
static HANDLING: AtomicU64 = AtomicU64::new(0);

/// Who watches.
struct Watchers {
    /// How many runs watch; in a forked child those of its parent count as well.
    count: usize,
    /// What SIGINT did before the first.
    before: Option<libc::sigaction>,
    /// Places that nobody has.
    idle: Vec<&'static Place>,
    /// The place made last.
    last: &'static Place,
}

static WATCHERS: Mutex<Watchers> =
    Mutex::new(Watchers { count: 0, before: None, idle: Vec::new(), last: &FIRST });

fn watchers() -> MutexGuard<'static, Watchers> {
    // Nothing under the lock can leave a value half changed.
    WATCHERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, SIGINT is counted, and ends the sleep of a ring.
pub(crate) struct Watch {
    /// What the handler has of it.
    place: &'static Place,
    /// Keeps the eventfd open.
    _notifier: Notifier,
}

impl Watch {
    /// Watches from now on. None: SIGINT is ignored, or somebody else handles it.
    pub(crate) fn start(notifier: Notifier) -> Option<Watch> {
        // Marks the process, if a fork came between the ring and this.
        Birth::here();
        let mut watchers = watchers();
        let present = action();
        match present.sa_sigaction {
            own if own == handler() => {}
            libc::SIG_DFL => watchers.before = Some(present),
            _ => return None,
        }
        let place = watchers.take_place();
        place.count.store(0, SeqCst);
        place.epoch.store(fork::epoch(), SeqCst);
        place.event.store(notifier.fd(), SeqCst);
        watchers.count += 1;
        if present.sa_sigaction == libc::SIG_DFL {
            let mut own = default_action();
            own.sa_sigaction = handler();
            own.sa_flags = libc::SA_RESTART;
            set_action(&own);
        }
        Some(Watch { place, _notifier: notifier })
    }

    /// How often SIGINT came since the start.
    pub(crate) fn count(&self) -> u32 {
        self.place.count.load(SeqCst)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.place.event.store(-1, SeqCst);
        let mut watchers = watchers();
        watchers.count -= 1;
        // What another has installed meanwhile is not ours to replace.
        if watchers.count == 0
            && action().sa_sigaction == handler()
            && let Some(before) = watchers.before.take()
        {
            set_action(&before);
        }
        // A handler on another thread that has seen the descriptor still writes to it.
        while is_handling() {
            std::thread::yield_now();
        }
        watchers.idle.push(self.place);
    }
}

impl Watchers {
    /// An idle place, or a new one at the end of the handler's list.
    fn take_place(&mut self) -> &'static Place {
        if let Some(place) = self.idle.pop() {
            return place;
        }
        // The first place is nobody's: the list begins with it.
        let place: &'static Place = Box::leak(Box::new(Place::new()));
        let _ = self.last.next.set(place);
        self.last = place;
        place
    }
}

impl Place {
    const fn new() -> Place {
        Place {
            event: AtomicI32::new(-1),
            epoch: AtomicU32::new(0),
            count: AtomicU32::new(0),
            next: OnceLock::new(),
        }
    }
}

/// Whether this is the thread that the process began with.
pub(crate) fn is_main_thread() -> bool {
    // SAFETY: L1: both only ask for numbers, and cannot fail.
    unsafe { libc::gettid() == libc::getpid() }
}

/// Whether a handler of this process runs.
fn is_handling() -> bool {
    let now = HANDLING.load(SeqCst);
    now >> 32 == u64::from(fork::epoch()) && now as u32 > 0
}

/// Our handler as the kernel knows it.
fn handler() -> libc::sighandler_t {
    on_sigint as extern "C" fn(libc::c_int) as libc::sighandler_t
}

extern "C" fn on_sigint(_: libc::c_int) {
    let errno = Errno::last_raw();
    let epoch = fork::epoch();
    let own = u64::from(epoch) << 32;
    let enter = |now: u64| Some(if now >> 32 == u64::from(epoch) { now + 1 } else { own + 1 });
    let _ = HANDLING.fetch_update(SeqCst, SeqCst, enter);
    let (mut heard, mut inherited, mut overdue) = (false, false, false);
    for place in successors(Some(&FIRST), |place| place.next.get().copied()) {
        let event = place.event.load(SeqCst);
        if event < 0 {
            continue;
        }
        if place.epoch.load(SeqCst) != epoch {
            inherited = true;
            continue;
        }
        heard = true;
        overdue |= place.count.fetch_add(1, SeqCst) >= 2;
        // SAFETY: L1: eight bytes of the frame. D1: the eventfd is open, for who has it waits for this handler.
        unsafe { libc::write(event, (&raw const ONE).cast(), size_of_val(&ONE)) };
    }
    let leave = |now: u64| (now >> 32 == u64::from(epoch)).then(|| now - 1);
    let _ = HANDLING.fetch_update(SeqCst, SeqCst, leave);
    if overdue || (inherited && !heard) {
        die();
    }
    Errno::set_raw(errno);
}

/// What a write to an eventfd adds.
static ONE: u64 = 1;

/// Ends the process by SIGINT's default action, so that whoever started it sees what ended it. No destructor and no exit
/// handler runs. Also for signal handlers.
pub(crate) fn die() -> ! {
    set_action(&default_action());
    let mut set = MaybeUninit::uninit();
    // SAFETY: L1: the set is ours, and made before it is used; each call only acts on this thread and process.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, set.as_ptr(), null_mut());
        libc::raise(libc::SIGINT);
        // Only a container's first process gets here, which default actions do not end.
        libc::_exit(STATUS)
    }
}

/// The action that a process starts with.
fn default_action() -> libc::sigaction {
    // SAFETY: P1: plain numbers; zeros are the default action, no flags, an empty mask.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// What SIGINT does now.
fn action() -> libc::sigaction {
    let mut present = default_action();
    // SAFETY: L1: the place for the answer is ours; nothing is changed.
    unsafe { libc::sigaction(libc::SIGINT, null(), &raw mut present) };
    present
}

/// Changes what SIGINT does.
fn set_action(action: &libc::sigaction) {
    // SAFETY: L1: the action lives through the call. It is one that the kernel gave, the default, or our handler, which
    // keeps to what signal handlers may do.
    unsafe { libc::sigaction(libc::SIGINT, action, null_mut()) };
}
