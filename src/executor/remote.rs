//! The side of a loop that other threads may touch: its inbox, and whether it sleeps.
//!
//! The places are pooled and live for the whole program, so a waker needs no count to reach one: it compares the loop's
//! number under the lock and thereby knows whether its loop still lives. A pusher wakes the loop only when it sleeps;
//! otherwise a push costs no system call.
//!
//! The loop goes to sleep in this order: set `asleep`, look into the inbox under its lock, enter the kernel. A pusher
//! takes the lock, pushes and looks at `asleep` before it lets go. Whoever has the lock first, one of the two sees the other.
//! A loop that is woken is awake for all: the first pusher that sees it asleep takes the flag and wakes it.

#[cfg(all(test, loom))]
use loom::sync::{Mutex, MutexGuard, atomic::AtomicBool};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering::*};
#[cfg(not(all(test, loom)))]
use std::sync::{Mutex, MutexGuard, atomic::AtomicBool};
use std::task::Waker;

use super::task::Parcel;
use crate::context::Context;

/// Something for the owner.
pub(super) enum Mail {
    /// A task that was woken, or whose count must be merged.
    Task(Parcel),
    /// A function to run on the loop, and the context to run it in.
    Call(Box<dyn FnOnce() + Send>, Option<Context>),
    /// A thread has ended its work for the operation of this key.
    JobEnded(u64),
}

/// One loop's place for other threads.
pub(crate) struct Shared {
    /// What came in, and for whom.
    inbox: Mutex<Inbox>,
    /// Something is in the inbox.
    mail: AtomicBool,
    /// The loop is in the kernel, or about to enter it, and must be woken.
    asleep: AtomicBool,
}

struct Inbox {
    /// The loop that owns the place now; zero for none.
    number: u32,
    /// In order of arrival.
    mail: Vec<Mail>,
    /// Ends the loop's sleep.
    notify: Option<Waker>,
}

/// All places, and those of them that have no owner.
struct Places {
    all: Vec<&'static Shared>,
    idle: Vec<&'static Shared>,
}

#[cfg(not(all(test, loom)))]
static PLACES: Mutex<Places> = Mutex::new(Places { all: Vec::new(), idle: Vec::new() });
#[cfg(all(test, loom))]
loom::lazy_static! {
    static ref PLACES: Mutex<Places> = Mutex::new(Places { all: Vec::new(), idle: Vec::new() });
}
static LAST: AtomicU32 = AtomicU32::new(0);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can leave a value half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Opens a place for a new loop and gives the loop its number. `notify` ends the loop's sleep, from any thread.
    pub(super) fn open(notify: Waker) -> (&'static Shared, u32) {
        let number = LAST.fetch_add(1, Relaxed).wrapping_add(1);
        assert!(number != 0, "more than four billion loops in one process: their numbers have run out");
        let place = lock(&PLACES).idle.pop();
        let shared = place.unwrap_or_else(|| {
            let inbox = Mutex::new(Inbox { number: 0, mail: Vec::new(), notify: None });
            let shared: &'static Shared = Box::leak(Box::new(Shared {
                inbox,
                mail: AtomicBool::new(false),
                asleep: AtomicBool::new(false),
            }));
            lock(&PLACES).all.push(shared);
            shared
        });
        let mut inbox = lock(&shared.inbox);
        inbox.number = number;
        inbox.notify = Some(notify);
        (shared, number)
    }

    /// Closes the place: what is still in the inbox comes back, and pushes fail from now on.
    pub(super) fn close(&'static self) -> Vec<Mail> {
        let (mail, notify) = {
            let mut inbox = lock(&self.inbox);
            inbox.number = 0;
            self.mail.store(false, Relaxed);
            self.asleep.store(false, Relaxed);
            (std::mem::take(&mut inbox.mail), inbox.notify.take())
        };
        drop(notify);
        lock(&PLACES).idle.push(self);
        mail
    }

    /// The place of the loop `number`, if that lives, on whatever thread.
    pub(super) fn find(number: u32) -> Option<&'static Shared> {
        let all = lock(&PLACES).all.clone();
        all.into_iter().find(|shared| shared.is_open(number))
    }

    /// Pushes for the loop `number`. If that loop is gone, `closed` gets the mail back, still under the lock.
    pub(super) fn push(&self, number: u32, mail: Mail, closed: impl FnOnce(Mail)) -> bool {
        let mut inbox = lock(&self.inbox);
        if inbox.number != number {
            closed(mail);
            return false;
        }
        inbox.mail.push(mail);
        self.mail.store(true, Release);
        // Under the lock: once it is let go, the place may have another owner, whose flag this is not.
        let notify = match self.asleep.load(Relaxed) {
            true => {
                self.asleep.store(false, Relaxed);
                inbox.notify.clone()
            }
            false => None,
        };
        // The loop wakes at once and wants the lock: on this thread's core it would sleep again, until this one has let go.
        drop(inbox);
        if let Some(notify) = notify {
            notify.wake();
        }
        true
    }

    /// Whether something is in the inbox: one load.
    pub(super) fn has_mail(&self) -> bool {
        self.mail.load(Acquire)
    }

    /// Exchanges the mail for `into`, which is empty.
    pub(super) fn take(&self, into: &mut Vec<Mail>) {
        let mut inbox = lock(&self.inbox);
        self.mail.store(false, Relaxed);
        std::mem::swap(&mut inbox.mail, into);
    }

    /// Announces sleep. False: mail has come, do not sleep.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Relaxed);
        let empty = lock(&self.inbox).mail.is_empty();
        if !empty {
            self.wake_up();
        }
        empty
    }

    /// The sleep is over.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Relaxed);
    }

    /// Whether the loop `number` still has this place.
    pub(super) fn is_open(&self, number: u32) -> bool {
        lock(&self.inbox).number == number
    }
}
