//! The cursor of a file: a position, what was read ahead of it, and what is in flight for it.
//!
//! The position is the `File`'s own: every read and write says where it belongs, so the kernel's position of the descriptor is not
//! used, and positional calls do not disturb the cursor. Streams (pipes, terminals) have no offsets; there the position just counts.
//!
//! No call loses bytes when it is dropped. A read in flight belongs to the cursor: the next call takes its result. Bytes are given
//! out only by a call that ends, and count as read only then. What a write has accepted is in `behind`.
//!
//! What was read ahead is forgotten when this file changes its content, by either side. Changes by others are seen like those
//! behind any buffered reader: late.

use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::Metadata;
use super::ahead::Ahead;
use super::descriptor::Descriptor;
use crate::error::{BufError, BufResult};
use crate::op::fs::{ReadToEnd, Stat, Subject};
use crate::op::io::{At, Extent, Read, ReadByThread, Routed, Stream, Want};
use crate::reactor::Op;
use crate::sys::Errno;
use crate::sys::file::{Whence, is_fifo, lseek};

/// How much is read ahead.
const CHUNK: usize = 64 << 10;
/// The most that is read at once for a call that wants more.
const LARGE: usize = 1 << 20;

/// The cursor of a file.
#[derive(Default)]
pub(super) struct Cursor {
    /// Where the next byte is read or written; None: it was not used yet.
    position: Option<u64>,
    /// Bytes were appended: the position is the end of the file, wherever that is.
    at_end: bool,
    /// A stream was read from.
    has_read: bool,
    /// What was read and not given out.
    ahead: Ahead,
    /// How often the content had been changed when `ahead` was read.
    changes: u64,
    /// The read in flight.
    reading: Option<Reading>,
    /// The question in flight where the file ends.
    measuring: Option<Op<io::Result<Metadata>>>,
    /// Memory for the next read.
    memory: Vec<u8>,
}

/// A read in flight.
struct Reading {
    /// The operation.
    op: Op<BufResult<Vec<u8>>>,
    /// Where it reads.
    offset: u64,
    /// How often the content had been changed when it began.
    changes: u64,
    /// It reads to the end of the file.
    to_end: bool,
}

impl Cursor {
    /// The cursor of a clone: it begins at the same position.
    pub(super) fn beside(&self) -> Self {
        Cursor { position: self.position, at_end: self.at_end, ..Cursor::default() }
    }

    /// The position; it begins where the descriptor's own was.
    fn position(&mut self, file: &Descriptor) -> u64 {
        *self.position.get_or_insert_with(|| file.own_position())
    }

    /// What was read and not given out.
    pub(super) fn unread(&self) -> &[u8] {
        self.position.map_or(&[], |position| self.ahead.unread(position))
    }

    /// Counts bytes as read.
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.unread().len(), "more bytes are consumed than there are");
        if let Some(position) = &mut self.position {
            *position += count as u64;
        }
    }

    /// Takes all that was read, and counts it as read.
    pub(super) fn take_unread(&mut self) -> Vec<u8> {
        let Some(position) = self.position else { return Vec::new() };
        let bytes = self.ahead.take(position);
        self.position = Some(position + bytes.len() as u64);
        bytes
    }

    /// Ends the read in flight of a stream, and takes all that was read and not given out.
    pub(super) async fn stop(&mut self) -> Vec<u8> {
        if let (Some(reading), Some(position)) = (self.reading.take(), self.position)
            && reading.op.is_submitted()
        {
            let bytes = match reading.op.timeout(Duration::ZERO).await {
                Ok((_, bytes)) => bytes,
                Err(BufError { buf, done, .. }) if done == buf.len() => buf,
                Err(_) => Vec::new(),
            };
            let end = position + self.unread().len() as u64;
            self.ahead.add(position, end, bytes);
        }
        self.take_unread()
    }

    /// Reads until `enough` bytes are there to be given out, or the file ends.
    pub(super) fn poll_fill(
        &mut self,
        file: &Rc<Descriptor>,
        cx: &mut Context<'_>,
        enough: usize,
    ) -> Poll<io::Result<()>> {
        loop {
            self.step_back(file);
            ready!(self.poll_locate(file, cx))?;
            let position = self.position(file);
            let stream = file.is_stream();
            if !stream && self.changes != file.changes() {
                self.ahead.clear();
                self.changes = file.changes();
            }
            let end = position + self.unread().len() as u64;
            if self.unread().len() >= enough {
                return Poll::Ready(Ok(()));
            }
            // After a seek or a change it reads the wrong thing; nothing is lost with it but time.
            let stale =
                |reading: &mut Reading| !stream && (reading.offset, reading.changes) != (end, file.changes());
            drop(self.reading.take_if(stale));
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => {
                    if !stream {
                        ready!(file.poll_flush(cx))?;
                    }
                    let reading = self.read(file, end, enough);
                    self.reading.insert(reading)
                }
            };
            let result = ready!(Pin::new(&mut reading.op).poll(cx));
            let (changes, to_end) = (reading.changes, reading.to_end);
            self.reading = None;
            let (count, bytes) = result?;
            if !stream && changes != file.changes() {
                continue;
            }
            self.memory = self.ahead.add(position, end, bytes);
            if count == 0 || to_end {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Starts to read at `offset`, so that `enough` bytes are there.
    fn read(&mut self, file: &Rc<Descriptor>, offset: u64, enough: usize) -> Reading {
        let changes = file.changes();
        let mut memory = std::mem::take(&mut self.memory);
        memory.clear();
        let to_end = enough == usize::MAX && !file.is_stream();
        if !to_end {
            memory.reserve(enough.saturating_sub(self.unread().len()).clamp(CHUNK, LARGE));
        }
        let room = memory.capacity();
        let op = match (to_end, file.is_stream()) {
            _ if file.facts().reads_by_thread() => {
                let want = if to_end { Want::ToEnd } else { Want::Once(room) };
                Op::new(ReadByThread::new(&**file, memory, offset, want, |memory, bytes| *memory = bytes))
            }
            (true, _) => Op::new(ReadToEnd::new(file.clone(), memory, offset)),
            (_, true) => {
                let read = Read::new(file.clone(), memory, Stream, room, Extent::Once);
                // A FIFO that has had no writer yet reads like one whose writers are gone. Others may never be ready.
                let first = !std::mem::replace(&mut self.has_read, true);
                Op::new(if first && is_fifo(file.as_fd()) { read.once_ready() } else { read })
            }
            (_, false) => Op::new(Read::new(file.clone(), memory, At(offset), room, Extent::Once)),
        };
        Reading { op, offset, changes, to_end }
    }

    /// Accepts bytes to be written at the position.
    pub(super) fn poll_write(
        &mut self,
        file: &Rc<Descriptor>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if file.is_stream() {
            return file.poll_accept(cx, None, bytes);
        }
        self.step_back(file);
        let position = self.position(file);
        let count = ready!(file.poll_accept(cx, Some(position), bytes))?;
        self.position = Some(position + count as u64);
        self.at_end = file.appends();
        // What is read ahead, or being read, does not know of these bytes.
        self.ahead.clear();
        (self.reading, self.measuring) = (None, None);
        Poll::Ready(Ok(count))
    }

    /// If bytes were given up, the position is again where they began.
    fn step_back(&mut self, file: &Descriptor) {
        if let Some(began) = file.lost() {
            (self.position, self.at_end) = (Some(began), file.appends());
        }
    }

    /// Finds out where the position is after bytes were appended: where the kernel has put them, which is told by its own position of
    /// the file. Others may have appended more since.
    fn poll_locate(&mut self, file: &Rc<Descriptor>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.at_end {
            ready!(file.poll_flush(cx))?;
            let end = file.own_position();
            (self.position, self.at_end) = (Some(end), false);
        }
        Poll::Ready(Ok(()))
    }

    /// The offset that lies so far behind the end of the file.
    fn poll_end(
        &mut self,
        file: &Rc<Descriptor>,
        cx: &mut Context<'_>,
        behind: i64,
    ) -> Poll<io::Result<u64>> {
        ready!(file.poll_flush(cx))?;
        let ask = || Op::new(Stat::new(Subject::File(file.clone()), Metadata::told));
        let measured = ready!(Pin::new(self.measuring.get_or_insert_with(ask)).poll(cx));
        self.measuring = None;
        let metadata = measured?;
        if metadata.is_file() {
            return Poll::Ready(offset(metadata.len(), behind));
        }
        // A device knows its end only by itself.
        let end = lseek(&**file, behind, Whence::SeekEnd)?;
        Poll::Ready(offset(0, end))
    }

    /// Where the position is.
    pub(super) fn poll_position(
        &mut self,
        file: &Rc<Descriptor>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<u64>> {
        if file.is_stream() {
            return Poll::Ready(Err(Errno::ESPIPE.into()));
        }
        self.step_back(file);
        ready!(self.poll_locate(file, cx))?;
        Poll::Ready(Ok(self.position(file)))
    }

    /// Moves the position, after what was written.
    pub(super) fn poll_seek(
        &mut self,
        file: &Rc<Descriptor>,
        cx: &mut Context<'_>,
        to: io::SeekFrom,
    ) -> Poll<io::Result<u64>> {
        let here = ready!(self.poll_position(file, cx))?;
        ready!(file.poll_flush(cx))?;
        let position = match to {
            io::SeekFrom::Start(position) => offset(position, 0)?,
            io::SeekFrom::Current(behind) => offset(here, behind)?,
            io::SeekFrom::End(behind) => ready!(self.poll_end(file, cx, behind))?,
        };
        self.position = Some(position);
        Poll::Ready(Ok(position))
    }

    /// Forgets a question that an earlier call has left: the end may have moved since.
    pub(super) fn measure_anew(&mut self) {
        self.measuring = None;
    }
}

/// An offset so far from another; offsets are numbers from 0 to `i64::MAX`.
fn offset(from: u64, by: i64) -> io::Result<u64> {
    let there = from.checked_add_signed(by).filter(|&there| there <= i64::MAX as u64);
    there.ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "a seek to a negative or overflowing position")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_stay_within_what_a_file_can_have() {
        assert_eq!(offset(10, -10).expect("the beginning"), 0);
        assert_eq!(offset(i64::MAX as u64, 0).expect("the last"), i64::MAX as u64);
        for (from, by) in [(10, -11), (i64::MAX as u64, 1), (u64::MAX, 0), (0, i64::MIN)] {
            assert_eq!(offset(from, by).expect_err("no such place").kind(), io::ErrorKind::InvalidInput);
        }
    }
}
