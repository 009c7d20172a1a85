//! Detached writers: connections and files whose owners are gone and that still write what they had accepted.
//! The loop's end waits for them.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

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
pub(crate) struct Detached(Rc<Counts>);

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
        let counts = &self.0;
        counts.streams.set(counts.streams.get() + 1);
        counts.bytes.set(counts.bytes.get() + bytes);
        Writer { counts: counts.clone(), bytes }
    }

    pub(crate) fn count_reset(&self) {
        self.0.resets.set(self.0.resets.get() + 1);
    }

    /// How many there are, and the bytes that they had when they were dropped.
    pub(crate) fn pending(&self) -> (usize, usize) {
        (self.0.streams.get(), self.0.bytes.get())
    }

    pub(crate) fn resets(&self) -> u64 {
        self.0.resets.get()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.counts.streams.set(self.counts.streams.get() - 1);
        self.counts.bytes.set(self.counts.bytes.get() - self.bytes);
    }
}
