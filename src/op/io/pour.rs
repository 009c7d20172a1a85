//! The write behind a cursor: detached, so it goes on when its file is dropped.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use io_uring::{opcode, types};

use super::{Extent, Position, Progress, Routed, rest};
use crate::op::{Next, Operation, Policy, route};
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

    /// Writes what is left by plain calls, which block.
    pub(crate) fn write_plainly<P: Position>(&mut self, file: impl AsFd) -> io::Result<()> {
        while let (rest @ [_, ..], _) = self.rest() {
            let offset = P::at(self.offset).offset(self.progress.done);
            match route::write_plainly(file.as_fd().as_raw_fd(), rest, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The memory, for other bytes.
    pub(crate) fn into_memory(mut self) -> Vec<u8> {
        self.bytes.clear();
        self.bytes
    }
}

/// pwrite(2) of a batch, which comes back: all of it is written, unless there is an error.
pub(crate) struct Pour<F: Routed, P: Position> {
    /// Where it goes; held, so that it stays open.
    file: Rc<F>,
    /// What is poured.
    batch: Batch,
    /// Where in the file it goes.
    position: PhantomData<P>,
}

impl<F: Routed, P: Position> Pour<F, P> {
    pub(crate) fn new(file: Rc<F>, batch: Batch) -> Self {
        Pour { file, batch, position: PhantomData }
    }
}

// SAFETY: O1: the entry points into the batch, which the operation owns: bytes in memory of their own, which do not move.
unsafe impl<F: Routed, P: Position> Operation for Pour<F, P> {
    type Output = (Rc<F>, Batch, io::Result<()>);
    const NAME: &'static str = "write";

    fn policy(&self) -> Policy {
        if self.file.facts().waits { Policy::PROMISED } else { Policy::CHANGES }
    }

    fn entry(&mut self) -> Entry {
        let fd = types::Fd(self.file.as_raw_fd());
        let Batch { bytes, offset, progress } = &mut self.batch;
        progress.entry(fd, libc::POLLOUT, |done| {
            let (start, count) = rest(bytes.as_ptr(), bytes.len(), done);
            opcode::Write::new(fd, start, count).offset(P::at(*offset).offset(done)).build()
        })
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        let len = self.batch.bytes.len();
        self.batch.progress.advance(outcome, P::IF_BLOCKED, Extent::All, len)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        let Pour { file, batch: Batch { bytes, offset, progress }, .. } = self;
        let aim = (Extent::All, bytes.len());
        let (done, result) = progress.end(outcome, P::IF_BLOCKED, aim, io::ErrorKind::WriteZero);
        let mut batch = Batch::new(bytes, offset);
        batch.written(done);
        (file, batch, result)
    }
}
