//! A process that a loop watches: its end is an event.
//!
//! A watch is detached and ends in [`Child::seen`]; it is not polled, so an idle worker is a task's business no more than an
//! idle connection is. A watch ends with its loop. The next loop that has to do with the process begins one of its own.

use std::cell::Cell;
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use super::process::Process;
use crate::event_loop::{Home, running};
use crate::op::Operation;
use crate::op::process::{Purpose, Sight, Watch};
use crate::sync::Event;
use crate::task::timeout;

/// A child process on a loop.
pub(super) struct Child {
    process: Process,
    /// The loop that watches it.
    home: Home,
    /// The number of the loop that watches it for its life's time.
    watched_by: Cell<Option<u32>>,
    /// It was sent SIGKILL and is watched for its death.
    dying: Cell<bool>,
    /// Set when it has ended.
    ended: Event,
}

impl Child {
    pub(super) fn new(process: Process) -> Rc<Self> {
        Rc::new(Child {
            process,
            home: Home::default(),
            watched_by: Cell::new(None),
            dying: Cell::new(false),
            ended: Event::new(),
        })
    }

    /// Whether it is this process's child, and not that of one which was forked from.
    pub(super) fn is_ours(&self) -> bool {
        self.process.is_ours()
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_set() || self.process.has_ended()
    }

    /// Its number, for messages.
    pub(super) fn number(&self) -> u32 {
        self.process.number()
    }

    /// How it ended, if it has and that is known.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        self.process.status()
    }

    /// Sees to it that the running loop watches it.
    pub(super) fn watch(self: &Rc<Self>) {
        let Some(number) = running().map(|event_loop| event_loop.executor.number()) else { return };
        if self.watched_by.replace(Some(number)) != Some(number) {
            self.home.settle();
            self.begin_watch(Purpose::Life(number));
        }
    }

    /// Waits for its end; see [`watch`](Self::watch).
    pub(super) async fn ended(&self) {
        self.ended.wait().await;
    }

    /// Waits for its end, kills it if that does not come within `grace`, and tells how it ended, if that is known.
    pub(super) async fn end(self: &Rc<Self>, grace: Duration) -> Option<ExitStatus> {
        if timeout(grace, self.ended()).await.is_err() {
            self.kill();
            self.ended().await;
        }
        self.status()
    }

    /// Kills it, without waiting: it is reaped by the loop when it has ended, and where no loop runs before this returns.
    pub(super) fn kill(self: &Rc<Self>) {
        if !self.process.is_ours() || self.has_ended() || self.dying.replace(true) {
            return;
        }
        self.process.kill();
        self.home.settle();
        self.begin_watch(Purpose::Death);
    }
}

impl AsRawFd for Child {
    fn as_raw_fd(&self) -> RawFd {
        self.process.as_raw_fd()
    }
}

impl Child {
    fn begin_watch(self: &Rc<Self>, purpose: Purpose) {
        let watch = Watch::new(self.clone(), purpose);
        self.home.detach(watch.then(|(child, sight, watch)| child.seen(sight, watch)));
    }

    /// A watch has ended: how, and what it was for.
    fn seen(self: Rc<Self>, sight: Sight, watch: Purpose) {
        if let Purpose::Life(number) = watch {
            if self.watched_by.get() != Some(number) {
                // Another loop's watch counts by now.
                return;
            }
            self.watched_by.set(None);
        }
        // Asking reaps it. Where a debugger keeps it from us, the end that was seen is an end all the same.
        let ended = self.process.has_ended() || matches!(sight, Sight::End);
        match sight {
            _ if ended => self.ended.set(),
            Sight::Nothing => {
                if let Purpose::Life(number) = watch {
                    self.watched_by.set(Some(number));
                }
                self.begin_watch(watch);
            }
            // Its end cannot be seen, so it is made.
            Sight::Failed(error) => {
                tracing::error!(target: "ringloop", %error, "a worker process could not be watched, and is killed");
                self.process.kill();
                self.process.wait(Duration::from_secs(1));
                self.ended.set();
            }
            // The next loop begins a watch of its own; a killed process is reaped by its drop.
            Sight::End | Sight::Closed => {}
        }
    }
}
