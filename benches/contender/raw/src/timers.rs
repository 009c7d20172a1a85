//! Timers in an ordered map, each exact: the loop sleeps until the first one's time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use io_uring::IoUring;
use io_uring::types::{SubmitArgs, Timespec};

thread_local! {
    static TIMERS: RefCell<BTreeMap<Key, Waker>> = const { RefCell::new(BTreeMap::new()) };
    static NUMBER: Cell<u64> = const { Cell::new(0) };
}

/// When, and a number of its own.
type Key = (Instant, u64);

/// A future that is ready at a time. It is known to the loop from its first poll on.
pub struct Timer {
    deadline: Instant,
    key: Option<Key>,
}

impl Timer {
    pub fn new(deadline: Instant) -> Self {
        Timer { deadline, key: None }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        TIMERS.with_borrow_mut(|timers| match self.key {
            None => {
                let key = (self.deadline, NUMBER.replace(NUMBER.get() + 1));
                timers.insert(key, context.waker().clone());
                self.key = Some(key);
                Poll::Pending
            }
            Some(key) if timers.contains_key(&key) => Poll::Pending,
            Some(_) => Poll::Ready(()),
        })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            TIMERS.with_borrow_mut(|timers| timers.remove(&key));
        }
    }
}

/// Sleeps in the ring until the first timer is due, and wakes all that are.
pub fn sleep(ring: &IoUring) {
    let first = TIMERS.with_borrow(|timers| timers.first_key_value().map(|((deadline, _), _)| *deadline));
    let first = first.expect("nothing is ready, and nothing will be");
    let left = first.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        let timeout = Timespec::from(left);
        match ring.submitter().submit_with_args(1, &SubmitArgs::new().timespec(&timeout)) {
            Err(error) if error.raw_os_error() == Some(libc::ETIME) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            waited => panic!("nothing was submitted, but: {waited:?}"),
        }
    }
    let now = Instant::now();
    TIMERS.with_borrow_mut(|timers| {
        while let Some(timer) = timers.first_entry()
            && timer.key().0 <= now
        {
            timer.remove().wake();
        }
    });
}
