//! Detached writers: connections and files whose owners are gone and that still write what they had accepted.
//! The loop's end waits for them.
//!
//! The loop that writes is the one that the bytes are with, which is not always the one that runs when the owner goes: an owner
//! may go between two runs, or while another loop of the thread runs. So a writer remembers its loop, its [`Home`].

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::{EventLoop, running};
use crate::op::Operation;
use crate::op::io::{Bell, Passage, Shared};
use crate::ring::Outcome;

/// What may still be sent for connections whose stream was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DetachLimits {
    /// How long each may take, from the drop on.
    pub time: Duration,
    /// How many bytes they may hold together.
    pub bytes: usize,
    /// How many there may be.
    pub streams: usize,
}

impl Default for DetachLimits {
    /// 30 seconds, 64 MiB, 4096 streams.
    fn default() -> Self {
        DetachLimits { time: Duration::from_secs(30), bytes: 64 << 20, streams: 4096 }
    }
}

/// The detached writers of one loop.
#[derive(Default)]
pub(crate) struct Detached {
    counts: Rc<Counts>,
    files: Rc<DroppedFiles>,
}

#[derive(Default)]
struct Counts {
    streams: Cell<usize>,
    bytes: Cell<usize>,
    /// How many were reset at a limit.
    resets: Cell<u64>,
}

/// One writer's place; given up when dropped.
pub(crate) struct Writer {
    counts: Rc<Counts>,
    bytes: usize,
}

impl Detached {
    /// A place for a writer of so many bytes, if the limits allow one more.
    pub(crate) fn admit(&self, bytes: usize, limits: DetachLimits) -> Option<Writer> {
        let (streams, total) = self.pending();
        (streams < limits.streams && total + bytes <= limits.bytes).then(|| self.enrol(bytes))
    }

    /// A place for a writer of so many bytes, whatever the limits: files end by themselves.
    pub(crate) fn enrol(&self, bytes: usize) -> Writer {
        let counts = &self.counts;
        counts.streams.set(counts.streams.get() + 1);
        counts.bytes.set(counts.bytes.get() + bytes);
        Writer { counts: counts.clone(), bytes }
    }

    pub(crate) fn count_reset(&self) {
        self.counts.resets.update(|resets| resets + 1);
    }

    /// How many there are, and the bytes that they had when they were dropped.
    pub(crate) fn pending(&self) -> (usize, usize) {
        (self.counts.streams.get(), self.counts.bytes.get())
    }

    pub(crate) fn resets(&self) -> u64 {
        self.counts.resets.get()
    }

    /// A place for a dropped file that still writes.
    pub(crate) fn enrol_file(&self) -> DroppedFile {
        self.files.count.update(|count| count + 1);
        DroppedFile(self.files.clone())
    }

    /// The dropped files that still write, if there are any.
    pub(crate) fn files(&self) -> Option<Rc<DroppedFiles>> {
        (self.files.count.get() > 0).then(|| self.files.clone())
    }
}

/// The files that were dropped and still write: a gate for calls on paths, which are to see what was written before them.
#[derive(Default)]
pub(crate) struct DroppedFiles {
    count: Cell<usize>,
    /// Calls that wait until there is none left.
    bell: RefCell<Option<Rc<Bell>>>,
    /// Calls on paths are no changes of one file.
    changing: Cell<usize>,
}

impl Shared for DroppedFiles {
    fn pass(self: &Rc<Self>) -> Passage {
        match self.count.get() {
            0 => Passage::Open,
            _ => Passage::Shut(self.bell.borrow_mut().get_or_insert_with(Bell::new).clone()),
        }
    }

    fn changed(&self) {}

    fn changing(&self) -> &Cell<usize> {
        &self.changing
    }
}

/// One of them; its place is given up when this is dropped.
pub(crate) struct DroppedFile(Rc<DroppedFiles>);

impl Drop for DroppedFile {
    fn drop(&mut self) {
        self.0.count.update(|count| count - 1);
        if self.0.count.get() == 0
            && let Some(bell) = self.0.bell.take()
        {
            bell.ring(None);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.counts.streams.set(self.counts.streams.get() - 1);
        self.counts.bytes.set(self.counts.bytes.get() - self.bytes);
    }
}

/// The loop that a writer's bytes are with.
#[derive(Default)]
pub(crate) struct Home(Cell<Weak<EventLoop>>);

impl Home {
    /// From now on it is the loop that runs now, if one does. Only for a writer that has nothing in flight elsewhere.
    pub(crate) fn settle(&self) {
        let Some(current) = running() else { return };
        let before = self.0.take();
        let stays = std::ptr::eq(before.as_ptr(), &*current);
        self.0.set(if stays { before } else { Rc::downgrade(&current) });
    }

    /// The loop, be it running or standing still; None after its end.
    pub(crate) fn event_loop(&self) -> Option<Rc<EventLoop>> {
        let home = self.0.take();
        let event_loop = home.upgrade();
        self.0.set(home);
        event_loop.filter(|event_loop| !event_loop.executor.is_closed())
    }

    /// Starts an operation there that nobody waits for; after the loop's end it is finished with that.
    pub(crate) fn detach(&self, operation: impl Operation<Output = ()>) {
        match self.event_loop() {
            Some(event_loop) => event_loop.reactor.detach(operation),
            None => operation.finish(Outcome::CLOSED),
        }
    }
}
