//! Transfers of several buffers by one call.

use std::rc::Rc;

use io_uring::{opcode, types};

use super::{At, Position, Routed};
use crate::buf::{IoBuf, IoBufMut};
use crate::error::{BufError, BufResult};
use crate::op::retry::{NOTHING_MOVED, Retry};
use crate::op::{Next, Operation, Policy, route};
use crate::ring::{Entry, Outcome};

/// The most parts of a vectored transfer (`UIO_MAXIOV`).
const PARTS: usize = 1024;

/// The parts of a vectored transfer, as the kernel reads them: the first [`PARTS`] of them.
fn vectors<'a, B: 'a>(
    parts: impl Iterator<Item = &'a mut B>,
    part: impl Fn(&mut B) -> (*mut u8, usize),
) -> Box<[libc::iovec]> {
    let vector = |buf: &mut B| {
        let (start, len) = part(buf);
        libc::iovec { iov_base: start.cast(), iov_len: len }
    };
    parts.take(PARTS).map(vector).collect()
}

/// preadv(2) into one buffer after the other.
pub(crate) struct ReadVectored<F: Routed, B: IoBufMut> {
    /// What it works on; held, so that it stays open.
    file: Rc<F>,
    /// Lent by the caller.
    bufs: Vec<B>,
    /// The buffers as the kernel reads them; it does so when the entry is submitted.
    vectors: Box<[libc::iovec]>,
    /// Where it begins in the file.
    position: At,
    /// How often it was tried in vain.
    retry: Retry,
}

impl<F: Routed, B: IoBufMut> ReadVectored<F, B> {
    pub(crate) fn new(file: Rc<F>, bufs: Vec<B>, offset: u64) -> Self {
        ReadVectored { file, bufs, vectors: Box::default(), position: At(offset), retry: Retry::default() }
    }
}

// SAFETY: O1: the entry points to the vectors, and these into the buffers, all of which the operation owns and which stay as they
// are while they are lent (B1); the buffers stand in a vector of their own, which does not move.
unsafe impl<F: Routed, B: IoBufMut> Operation for ReadVectored<F, B> {
    type Output = BufResult<Vec<B>>;
    const NAME: &'static str = "readv";

    fn policy(&self) -> Policy {
        self.file.reading()
    }

    fn entry(&mut self) -> Entry {
        self.vectors = vectors(self.bufs.iter_mut(), |buf| (buf.as_mut_ptr(), buf.capacity()));
        let fd = types::Fd(self.file.as_raw_fd());
        let entry = opcode::Readv::new(fd, self.vectors.as_ptr(), self.vectors.len() as u32)
            .offset(self.position.offset(0))
            .build();
        route::read_entry(self.file.facts(), entry)
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.retry.advance(outcome, NOTHING_MOVED)
    }

    fn finish(mut self, outcome: Outcome) -> Self::Output {
        let count = match outcome.count() {
            Ok(count) => count,
            Err(error) => return Err(BufError { error, buf: self.bufs, done: 0 }),
        };
        let mut left = count;
        for buf in &mut self.bufs {
            let filled = left.min(buf.capacity());
            // SAFETY: B1: the kernel has filled the buffers in order, each up to its capacity.
            unsafe { buf.set_len(filled) };
            left -= filled;
        }
        Ok((count, self.bufs))
    }
}

/// pwritev(2) of one buffer after the other.
pub(crate) struct WriteVectored<F: Routed, B: IoBuf> {
    /// What it works on; held, so that it stays open.
    file: Rc<F>,
    /// Lent by the caller.
    bufs: Vec<B>,
    /// The buffers as the kernel reads them; it does so when the entry is submitted.
    vectors: Box<[libc::iovec]>,
    /// Where it begins in the file.
    position: At,
    /// How often it was tried in vain.
    retry: Retry,
}

impl<F: Routed, B: IoBuf> WriteVectored<F, B> {
    pub(crate) fn new(file: Rc<F>, bufs: Vec<B>, offset: u64) -> Self {
        WriteVectored { file, bufs, vectors: Box::default(), position: At(offset), retry: Retry::default() }
    }
}

// SAFETY: O1 as for `ReadVectored`.
unsafe impl<F: Routed, B: IoBuf> Operation for WriteVectored<F, B> {
    type Output = BufResult<Vec<B>>;
    const NAME: &'static str = "writev";

    fn policy(&self) -> Policy {
        self.file.writing()
    }

    fn entry(&mut self) -> Entry {
        self.vectors = vectors(self.bufs.iter_mut(), |buf| (buf.as_ptr().cast_mut(), buf.len()));
        let fd = types::Fd(self.file.as_raw_fd());
        opcode::Writev::new(fd, self.vectors.as_ptr(), self.vectors.len() as u32)
            .offset(self.position.offset(0))
            .build()
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.retry.advance(outcome, NOTHING_MOVED)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        match outcome.count() {
            Ok(count) => Ok((count, self.bufs)),
            Err(error) => Err(BufError { error, buf: self.bufs, done: 0 }),
        }
    }
}
