//! Reads and writes of owned buffers, whole or in part: the transfers behind `fs::File`.
//!
//! A transfer holds its file by count, so the descriptor is closed after the last operation on it, and its number is never used
//! again under one. It may take several entries: an exact one goes on until it has its bytes, and each goes on after
//! a failure that means nothing has happened yet. [`Progress`] keeps the books; `entry` builds the next step from them.
//!
//! Where a file is read or written is a type, [`At`], [`AtEnd`] or [`Stream`], because it decides how an operation ends: block I/O
//! by itself, a pipe perhaps never.
//!
//! * `ordered`: what must come before an operation on a file, and what it changes.
//! * `pour`: the write behind a cursor, which nobody waits for.
//! * `vectored`: one transfer of several buffers.
//! * `threaded`: reads that a thread does, by a `loan` of the descriptor.
//!
//! Not here: paths and metadata (`fs`), sockets (`net`).

#![allow(unsafe_code)]

mod loan;
mod ordered;
mod pour;
mod threaded;
mod vectored;

use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use super::retry::{NOTHING_MOVED, Retry};
use super::route::{self, Facts, if_so};
use super::{Company, Next, Operation, Policy};
use crate::buf::{IoBuf, IoBufMut};
use crate::error::{BufError, BufResult, Cancelled};
use crate::ring::{Entry, Outcome};

pub(crate) use loan::{Lender, Loan};
pub(crate) use ordered::{Bell, Effect, Ordered, Passage, Shared};
pub(crate) use pour::{Batch, Pour};
pub(crate) use threaded::{Content, ReadByThread, Want, fill, fill_all, read_plainly};
pub(crate) use vectored::{ReadVectored, WriteVectored};

/// The most bytes that the kernel moves at once (`MAX_RW_COUNT`).
pub(super) const MOST: usize = 0x7fff_f000;
/// Where in its file a transfer begins.
pub(crate) trait Position: 'static {
    /// What is done about a descriptor that would block.
    const IF_BLOCKED: Step;

    /// The position that this offset means.
    fn at(offset: u64) -> Self;

    /// The offset of the entry after `done` bytes.
    fn offset(&self, done: usize) -> u64;
}

/// At this offset of a file that has offsets.
pub(crate) struct At(pub(crate) u64);

/// At the end of a pipe, a terminal or the like, which has no offsets.
pub(crate) struct Stream;

/// At the end of a file that is appended to: the kernel's own position of the file then stands behind what was written.
pub(crate) struct AtEnd;

impl Position for AtEnd {
    const IF_BLOCKED: Step = Step::Forced;

    fn at(_offset: u64) -> Self {
        AtEnd
    }

    /// Minus one: the file's own position, which moves to the end first.
    fn offset(&self, _done: usize) -> u64 {
        u64::MAX
    }
}

impl Position for At {
    const IF_BLOCKED: Step = Step::Forced;

    fn at(offset: u64) -> Self {
        At(offset)
    }

    /// Never minus one, which means something else; any other negative offset is an error.
    fn offset(&self, done: usize) -> u64 {
        self.0.saturating_add(done as u64).min(u64::MAX - 1)
    }
}

impl Position for Stream {
    const IF_BLOCKED: Step = Step::Wait;

    fn at(_offset: u64) -> Self {
        Stream
    }

    /// Minus one: the file's own position, which a pipe has not.
    fn offset(&self, _done: usize) -> u64 {
        u64::MAX
    }
}

/// An open file that knows what kind of file it is.
pub(crate) trait Routed: AsRawFd + 'static {
    /// What is known of it.
    fn facts(&self) -> &Facts;

    /// The descriptor for a job.
    fn lend(&self) -> Loan;

    /// How a read ends.
    fn reading(&self) -> Policy {
        if self.facts().waits { Policy::WAITS } else { Policy::READS }
    }

    /// How a write ends.
    fn writing(&self) -> Policy {
        if self.facts().waits { Policy::WAITS } else { Policy::CHANGES }
    }
}

/// What the next entry of a transfer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Step {
    /// Moves bytes.
    #[default]
    Move,
    /// Moves bytes on a kernel worker, which may block.
    Forced,
    /// Waits for readiness: kernels before 6.2 do not do that themselves for a descriptor with O_NONBLOCK, and a FIFO without a
    /// writer tells of its end instead.
    Wait,
}

/// How much a transfer moves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What one call of the kernel moves.
    Once,
    /// All of it, unless the file ends or fails.
    All,
}

/// The books of a transfer.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Bytes moved so far.
    pub(super) done: usize,
    /// The next entry.
    step: Step,
    /// The last outcome is in the books.
    noted: bool,
    /// How often it was tried in vain.
    retry: Retry,
}

/// What an outcome means for a transfer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// Bytes were moved.
    Moved,
    /// Nothing was moved, and nothing will be: the end of the file, or a medium that takes no more.
    Dry,
    /// Nothing was moved, but may be the next time.
    NotYet,
    /// An error.
    Failed,
}

impl Progress {
    /// The next entry, given how to build one that moves, and what readiness is waited for.
    pub(super) fn entry(
        &mut self,
        fd: types::Fd,
        ready: i16,
        transfer: impl FnOnce(usize) -> Entry,
    ) -> Entry {
        self.noted = false;
        match self.step {
            Step::Wait => opcode::PollAdd::new(fd, ready as u32).build(),
            step => transfer(self.done).flags(if_so(step == Step::Forced, squeue::Flags::ASYNC)),
        }
    }

    /// Begins by waiting for readiness.
    pub(super) fn wait_first(&mut self) {
        self.step = Step::Wait;
    }

    /// The next step as a plain call, given how to make one that moves.
    pub(super) fn call(&mut self, transfer: impl FnOnce(usize) -> Option<Outcome>) -> Option<Outcome> {
        let outcome = if self.step == Step::Move { transfer(self.done)? } else { return None };
        self.noted = false;
        Some(outcome)
    }

    /// Takes an outcome into the books.
    pub(super) fn note(&mut self, outcome: Outcome, if_blocked: Step) -> Noted {
        self.noted = true;
        let waited = std::mem::take(&mut self.step) == Step::Wait;
        if outcome.result == -libc::EAGAIN {
            self.step = if_blocked;
        }
        match outcome.result {
            ..0 if self.retry.again(outcome, NOTHING_MOVED) => Noted::NotYet,
            ..0 => Noted::Failed,
            _ if waited => Noted::NotYet,
            0 => Noted::Dry,
            count => {
                self.retry = Retry::default();
                self.done += count as usize;
                Noted::Moved
            }
        }
    }

    /// What follows an outcome of a transfer of `len` bytes.
    fn advance(&mut self, outcome: Outcome, if_blocked: Step, extent: Extent, len: usize) -> Next {
        match self.note(outcome, if_blocked) {
            Noted::NotYet => Next::Again,
            Noted::Moved if extent == Extent::All && self.done < len => Next::Again,
            _ => Next::Finish,
        }
    }

    /// How it ended, and how many bytes were moved; `dry` is the error of a whole transfer that found an end before `len` bytes.
    #[inline]
    fn end(
        self,
        outcome: Outcome,
        if_blocked: Step,
        (extent, len): (Extent, usize),
        dry: io::ErrorKind,
    ) -> (usize, io::Result<()>) {
        let whole = extent == Extent::Once || self.done >= len;
        if self.noted && outcome.result >= 0 && whole {
            return (self.done, Ok(()));
        }
        let mut books = self;
        let result = books.end_otherwise(outcome, if_blocked, (extent, len), dry);
        (books.done, result)
    }

    /// How it ended, where there is more to tell than that it was done.
    #[cold]
    fn end_otherwise(
        &mut self,
        outcome: Outcome,
        if_blocked: Step,
        (extent, len): (Extent, usize),
        dry: io::ErrorKind,
    ) -> io::Result<()> {
        let noted = if self.noted { Noted::Moved } else { self.note(outcome, if_blocked) };
        let whole = extent == Extent::Once || self.done >= len;
        match outcome.error() {
            Some(error) => Err(error),
            // It was asked to stop between two entries.
            None if noted == Noted::NotYet => Err(Cancelled.into()),
            None if whole => Ok(()),
            None if outcome.result == 0 => Err(dry.into()),
            None => Err(Cancelled.into()),
        }
    }
}

/// The rest of a buffer as pointer and length of an entry.
pub(super) fn rest(start: *const u8, len: usize, done: usize) -> (*mut u8, u32) {
    (start.wrapping_add(done).cast_mut(), (len - done).min(MOST) as u32)
}

/// Writes as many bytes to the beginning of a file as a plain call can without waiting; perhaps none. An error is no news yet:
/// whoever writes the rest meets it again.
pub(crate) fn write_at_once(file: &impl Routed, bytes: &[u8]) -> usize {
    let (start, len) = rest(bytes.as_ptr(), bytes.len(), 0);
    // SAFETY: L1: the bytes are borrowed for the call.
    let outcome = unsafe { route::write_at_once(file.as_raw_fd(), file.facts(), (start, len), 0) };
    outcome.and_then(|outcome| outcome.count().ok()).unwrap_or(0)
}

/// pread(2) into the front of a buffer.
pub(crate) struct Read<F: Routed, B: IoBufMut, P: Position> {
    /// What it works on; held, so that it stays open.
    file: Rc<F>,
    /// Lent by the caller.
    buf: B,
    /// Where it begins in the file.
    position: P,
    /// How much of the buffer to fill.
    len: usize,
    /// How much of it.
    extent: Extent,
    /// The books.
    progress: Progress,
}

impl<F: Routed, B: IoBufMut, P: Position> Read<F, B, P> {
    /// `len` is at most the buffer's capacity.
    pub(crate) fn new(file: Rc<F>, buf: B, position: P, len: usize, extent: Extent) -> Self {
        let len = len.min(buf.capacity());
        Read { file, buf, position, len, extent, progress: Progress::default() }
    }
}

impl<F: Routed, B: IoBufMut> Read<F, B, Stream> {
    /// Waits for something to read first. A FIFO is opened before there is a writer, and would tell of its end.
    pub(crate) fn once_ready(mut self) -> Self {
        self.progress.wait_first();
        self
    }
}

// SAFETY: O1: the entry points into the buffer, which the operation owns and which stays as it is while it is lent (B1).
unsafe impl<F: Routed, B: IoBufMut, P: Position> Operation for Read<F, B, P> {
    type Output = BufResult<B>;
    const NAME: &'static str = "read";
    const HAS_CALL: bool = true;

    fn policy(&self) -> Policy {
        self.file.reading()
    }

    fn call(&mut self, company: Company) -> Option<Outcome> {
        let registered = self.buf.registered().map(|_| self.len);
        if self.file.facts().waits || !route::reads_by_call(self.file.facts(), registered, company) {
            return None;
        }
        let Read { file, buf, position, len, extent, progress } = self;
        progress.call(|done| {
            let mut read = |from: usize| {
                let place = rest(buf.as_mut_ptr(), *len, from);
                // SAFETY: B1: the part of the buffer that is left, and the operation owns the buffer.
                unsafe { route::read_at_once(file.as_raw_fd(), file.facts(), place, position.offset(from)) }
            };
            let outcome = read(done)?;
            let end = done + outcome.count().ok()?;
            // Less than asked is the end of the file, or of what is cached: then the kernel reads it all again, at once.
            let whole = *extent == Extent::All || end == done || end == *len;
            (whole || read(end)?.result == 0).then_some(outcome)
        })
    }

    fn entry(&mut self) -> Entry {
        let Read { file, buf, position, len, progress, .. } = self;
        let fd = types::Fd(file.as_raw_fd());
        progress.entry(fd, libc::POLLIN, |done| {
            let (start, count) = rest(buf.as_mut_ptr(), *len, done);
            let offset = position.offset(done);
            let entry = match buf.registered() {
                Some(index) => opcode::ReadFixed::new(fd, start, count, index).offset(offset).build(),
                None => opcode::Read::new(fd, start, count).offset(offset).build(),
            };
            route::read_entry(file.facts(), entry)
        })
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.progress.advance(outcome, P::IF_BLOCKED, self.extent, self.len)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        let Read { file, mut buf, position: _, len, extent, progress } = self;
        // Before the output is there, which then need not be moved.
        drop(file);
        let aim = (extent, len);
        let (done, result) = progress.end(outcome, P::IF_BLOCKED, aim, io::ErrorKind::UnexpectedEof);
        let done = done.min(len);
        // A read that failed before it began has changed nothing.
        if done > 0 || result.is_ok() {
            // SAFETY: B1: the kernel has filled that many bytes from the start, which is within the capacity.
            unsafe { buf.set_len(done) };
        }
        match result {
            Ok(()) => Ok((done, buf)),
            Err(error) => Err(BufError { error, buf, done }),
        }
    }
}

/// pwrite(2) of a buffer's bytes.
pub(crate) struct Write<F: Routed, B: IoBuf> {
    /// What it works on; held, so that it stays open.
    file: Rc<F>,
    /// Lent by the caller.
    buf: B,
    /// Where it begins in the file.
    position: At,
    /// How much of it.
    extent: Extent,
    /// The books.
    progress: Progress,
}

impl<F: Routed, B: IoBuf> Write<F, B> {
    pub(crate) fn new(file: Rc<F>, buf: B, offset: u64, extent: Extent) -> Self {
        Write { file, buf, position: At(offset), extent, progress: Progress::default() }
    }
}

// SAFETY: O1: the entry points into the buffer, which the operation owns and which stays as it is while it is lent (B1).
unsafe impl<F: Routed, B: IoBuf> Operation for Write<F, B> {
    type Output = BufResult<B>;
    const NAME: &'static str = "write";
    const HAS_CALL: bool = true;

    fn policy(&self) -> Policy {
        self.file.writing()
    }

    fn call(&mut self, _company: Company) -> Option<Outcome> {
        let Write { file, buf, position, progress, .. } = self;
        progress.call(|done| {
            let (start, len) = rest(buf.as_ptr(), buf.len(), done);
            let offset = position.offset(done);
            // SAFETY: B1: the part of the buffer that is left, and the operation owns the buffer.
            unsafe { route::write_at_once(file.as_raw_fd(), file.facts(), (start, len), offset) }
        })
    }

    fn entry(&mut self) -> Entry {
        let Write { file, buf, position, progress, .. } = self;
        let fd = types::Fd(file.as_raw_fd());
        progress.entry(fd, libc::POLLOUT, |done| {
            let (start, count) = rest(buf.as_ptr(), buf.len(), done);
            let offset = position.offset(done);
            match buf.registered() {
                Some(index) => opcode::WriteFixed::new(fd, start, count, index).offset(offset).build(),
                None => opcode::Write::new(fd, start, count).offset(offset).build(),
            }
        })
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.progress.advance(outcome, At::IF_BLOCKED, self.extent, self.buf.len())
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        let Write { file, buf, position: _, extent, progress } = self;
        drop(file);
        let aim = (extent, buf.len());
        let (done, result) = progress.end(outcome, At::IF_BLOCKED, aim, io::ErrorKind::WriteZero);
        match result {
            Ok(()) => Ok((done, buf)),
            Err(error) => Err(BufError { error, buf, done }),
        }
    }
}

#[cfg(test)]
mod tests;
