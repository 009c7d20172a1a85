//! Reads by a thread: of files whose reads io_uring gets wrong (see `route`). The thread reads into memory of its own, because the
//! caller's buffer must come back when the wait is cancelled and the thread goes on.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::{Loan, Routed};
use crate::buf::IoBufMut;
use crate::error::{BufError, BufResult};
use crate::op::{BlockingWork, Operation, Policy, route};
use crate::pool::Job;
use crate::ring::Outcome;

/// The most that is asked for at once by a read to the end.
const PIECE: usize = 128 << 10;

/// How much a thread reads.
#[derive(Clone, Copy)]
pub(crate) enum Want {
    /// At most so many bytes, by one call.
    Once(usize),
    /// So many bytes.
    Exactly(usize),
    /// All that is left.
    ToEnd,
}

/// Bytes that were read, and how it ended.
pub(crate) type Content = (Vec<u8>, io::Result<()>);

/// Reads from an offset on by plain calls, which block.
pub(crate) fn read_plainly(file: impl AsFd, offset: u64, want: Want) -> Content {
    let mut bytes = Vec::new();
    let end = loop {
        let done = bytes.len();
        let room = match want {
            Want::Once(len) | Want::Exactly(len) => len - done,
            Want::ToEnd => PIECE,
        };
        if bytes.try_reserve(room).is_err() {
            break Err(io::ErrorKind::OutOfMemory.into());
        }
        bytes.resize(done + room, 0);
        let place = &mut bytes[done..];
        let read = route::read_plainly(file.as_fd().as_raw_fd(), place, offset.saturating_add(done as u64));
        bytes.truncate(done + *read.as_ref().unwrap_or(&0));
        match (read, want) {
            (Err(error), _) if error.kind() == io::ErrorKind::Interrupted => {}
            (Err(error), _) => break Err(error),
            (Ok(_), Want::Once(_)) | (Ok(0), Want::ToEnd) => break Ok(()),
            (Ok(_), Want::Exactly(len)) if bytes.len() == len => break Ok(()),
            (Ok(0), Want::Exactly(_)) => break Err(io::ErrorKind::UnexpectedEof.into()),
            (Ok(_), _) => {}
        }
    };
    (bytes, end)
}

/// pread(2) by a thread.
pub(crate) struct ReadByThread<B: 'static> {
    /// The read.
    work: BlockingWork<Content>,
    /// Lent by the caller.
    buf: B,
    /// Moves what was read into the buffer.
    fill: fn(&mut B, Vec<u8>),
}

impl<B> ReadByThread<B> {
    pub(crate) fn new<F: Routed>(
        file: &F,
        buf: B,
        offset: u64,
        want: Want,
        fill: fn(&mut B, Vec<u8>),
    ) -> Self {
        let loan: Loan = file.lend();
        let work = BlockingWork::new(move || Ok(read_plainly(loan, offset, want)));
        ReadByThread { work, buf, fill }
    }
}

/// Moves what was read into one buffer.
pub(crate) fn fill<B: IoBufMut>(buf: &mut B, bytes: Vec<u8>) {
    let count = bytes.len().min(buf.capacity());
    // SAFETY: B1: the buffer has room for as many bytes, which are initialised then.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), buf.as_mut_ptr(), count);
        buf.set_len(count);
    }
}

/// Moves what was read into one buffer after the other.
pub(crate) fn fill_all<B: IoBufMut>(bufs: &mut Vec<B>, mut bytes: Vec<u8>) {
    for buf in bufs {
        let rest = bytes.split_off(bytes.len().min(buf.capacity()));
        fill(buf, bytes);
        bytes = rest;
    }
}

// SAFETY: O1: it has no entry.
unsafe impl<B: 'static> Operation for ReadByThread<B> {
    type Output = BufResult<B>;
    const NAME: &'static str = "read";
    const HAS_JOB: bool = true;

    fn policy(&self) -> Policy {
        self.work.policy()
    }

    fn job(&mut self) -> Option<Job> {
        self.work.job()
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        let ReadByThread { work, mut buf, fill } = self;
        let (bytes, end) = match work.finish(outcome) {
            Ok(content) => content,
            Err(error) => return Err(BufError { error, buf, done: 0 }),
        };
        let done = bytes.len();
        // A read that failed before it began has changed nothing.
        if done > 0 || end.is_ok() {
            fill(&mut buf, bytes);
        }
        match end {
            Ok(()) => Ok((done, buf)),
            Err(error) => Err(BufError { error, buf, done }),
        }
    }
}
