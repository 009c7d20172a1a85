//! The write behind a cursor: detached, so it goes on when its file is dropped.

use std::io;
use std::marker::PhantomData;
use std::rc::Rc;

use io_uring::{opcode, types};

use super::{Noted, Position, Progress, Routed, rest};
use crate::op::{Nature, Operation};
use crate::ring::{Entry, Outcome};

/// Bytes on their way into a file.
#[derive(Debug)]
pub(crate) struct Batch {
    /// What is written.
    bytes: Vec<u8>,
    /// Where the first of them belongs.
    offset: u64,
    /// The books.
    progress: Progress,
}

impl Batch {
    pub(crate) fn new(bytes: Vec<u8>, offset: u64) -> Self {
        Batch { bytes, offset, progress: Progress::default() }
    }

    /// What is not written yet, and where it belongs.
    pub(crate) fn rest(&self) -> (&[u8], u64) {
        let done = self.progress.done;
        (&self.bytes[done..], self.offset.saturating_add(done as u64))
    }

    /// So much more of it is written.
    pub(crate) fn written(&mut self, count: usize) {
        self.progress.done = self.progress.done.saturating_add(count).min(self.bytes.len());
    }

    /// The memory, for other bytes.
    pub(crate) fn into_memory(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }
}

/// A file that bytes are poured into.
pub(crate) trait Sink: Routed {
    /// A write has ended; it may have been short. The sink starts the next.
    fn poured(self: Rc<Self>, batch: Batch, result: io::Result<()>);
}

/// pwrite(2) of a batch, which its sink gets back.
pub(crate) struct Pour<S: Sink, P: Position> {
    /// Where it goes, and who is told.
    sink: Rc<S>,
    /// What is poured.
    batch: Batch,
    /// Where in the file it goes.
    position: PhantomData<P>,
}

impl<S: Sink, P: Position> Pour<S, P> {
    pub(crate) fn new(sink: Rc<S>, batch: Batch) -> Self {
        Pour { sink, batch, position: PhantomData }
    }
}

// SAFETY: O1: the entry points into the batch, which the operation owns: bytes in memory of their own, which do not move.
unsafe impl<S: Sink, P: Position> Operation for Pour<S, P> {
    type Output = ();
    const NAME: &'static str = "write";

    fn nature(&mut self) -> Nature {
        if self.sink.facts().waits { Nature::Promised } else { Nature::Finite }
    }

    fn entry(&mut self) -> Entry {
        let fd = types::Fd(self.sink.as_raw_fd());
        let Batch { bytes, offset, progress } = &mut self.batch;
        progress.entry(fd, libc::POLLOUT, |done| {
            let (start, count) = rest(bytes.as_ptr(), bytes.len(), done);
            opcode::Write::new(fd, start, count).offset(P::at(*offset).offset(done)).build()
        })
    }

    fn finish(mut self, outcome: Outcome) {
        let result = match self.batch.progress.note(outcome, P::IF_BLOCKED) {
            Noted::Moved | Noted::NotYet => Ok(()),
            Noted::Dry => Err(io::ErrorKind::WriteZero.into()),
            Noted::Failed => outcome.count().map(drop),
        };
        self.sink.poured(self.batch, result);
    }
}
