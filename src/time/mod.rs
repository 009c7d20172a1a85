//! Waiting for a point in time; `interval`, for one after the other.
//!
//! A `Sleep` is plain data: a deadline, the key of its timer and the number of the loop that has the timer. It registers
//! at its first pending poll and leaves the loop's timers when it is dropped; the timer lives in the reactor.

mod interval;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub use interval::{Interval, MissedTickBehavior, interval};

use crate::executor::give_way;
use crate::reactor::{self, Reactor, TimerKey};
use crate::sys::clock;
use crate::waiting::{Waiting, waits_for};

/// Resumes not before `duration` has passed, counted from the first poll; `Duration::ZERO` gives way for exactly one turn
/// of the loop. Resolution: timers are exact when alone and may be up to `Builder::timer_spacing` late in a storm.
///
/// # Cancellation
/// Dropping it removes the timer. Nothing is lost.
///
/// ```
/// # fn main() -> Result<(), ringloop::RunError> {
/// use std::time::{Duration, Instant};
/// ringloop::run(async {
///     let start = Instant::now();
///     ringloop::sleep(Duration::from_millis(10)).await;
///     assert!(start.elapsed() >= Duration::from_millis(10));
/// })
/// # }
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { state: State::After(duration) }
}

/// Resumes not before `deadline`; in the next turn if that has passed.
///
/// # Cancellation
/// As [`sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { state: State::Until(deadline) }
}

/// The time of the running loop, or the machine's monotonic clock outside of one. It stands still while the loop's clock is
/// paused.
pub fn now() -> Instant {
    reactor::current().map_or_else(clock::now, |reactor| reactor.now())
}

/// The future of [`sleep`] and [`sleep_until`]. `Send` and `Sync`: it holds no pointer into its loop.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not polled yet.
    After(Duration),
    /// Has a deadline, and no timer.
    Until(Instant),
    /// Gives way for one turn.
    Yielded,
    /// The loop of this number has its timer.
    Waiting { number: u32, timer: TimerKey },
    /// Over.
    Done,
}

impl Sleep {
    /// The deadline, once it is known: a [`sleep`] counts from its first poll.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Until(deadline) => Some(deadline),
            State::Waiting { timer, .. } => Some(timer.at),
            _ => None,
        }
    }

    /// Gives the timer back to the loop that has it.
    fn leave(&mut self) {
        if let State::Waiting { number, timer } = std::mem::replace(&mut self.state, State::Done) {
            reactor::remove_timer(number, timer);
        }
    }

    /// Waits on this loop, unless the deadline has passed.
    fn wait_until(&mut self, reactor: &Rc<Reactor>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        match deadline <= reactor.now() {
            true => self.give_way(cx),
            false => self.register(reactor, deadline, cx),
        }
    }

    /// A sleep that is over before it begins gives way for a turn, so that a loop of them lets others run.
    fn give_way(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.state = State::Yielded;
        give_way(cx);
        Poll::Pending
    }

    /// Waits on this loop for a deadline that is known to lie ahead.
    fn register(&mut self, reactor: &Rc<Reactor>, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = reactor.add_timer(deadline, cx.waker().clone());
        waits_for(|| Waiting::Timer(deadline));
        self.state = State::Waiting { number: reactor.number(), timer };
        Poll::Pending
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Done | State::Yielded = self.state {
            self.state = State::Done;
            return Poll::Ready(());
        }
        let reactor = reactor::expect_current("sleep");
        match self.state {
            State::After(Duration::ZERO) => self.give_way(cx),
            State::After(duration) => {
                let deadline = reactor.after(duration);
                self.register(&reactor, deadline, cx)
            }
            State::Until(deadline) => self.wait_until(&reactor, deadline, cx),
            State::Waiting { number, timer } if number == reactor.number() => {
                if reactor.keep_timer(timer, cx.waker()) {
                    waits_for(|| Waiting::Timer(timer.at));
                    return Poll::Pending;
                }
                self.state = State::Done;
                Poll::Ready(())
            }
            // It was kept beyond its loop's end, or carried to another: the deadline stays.
            State::Waiting { timer, .. } => {
                self.leave();
                self.wait_until(&reactor, timer.at, cx)
            }
            State::Done | State::Yielded => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.leave();
    }
}

const _: fn() = || {
    fn crosses<T: Send + Sync>() {}
    crosses::<Sleep>();
};
