//! Reading to the end: of an open file, or of a file that is opened for it. One operation of several steps.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use io_uring::{opcode, types};

use super::{Facts, adopt, open_entry, open_policy};
use crate::error::{BufError, BufResult, Cancelled};
use crate::op::io::{At, Content, MOST, Noted, Position, Progress, Routed, Want, read_plainly};
use crate::op::retry::{INTERRUPTED, Retry};
use crate::op::{BlockingWork, Company, Next, Operation, Policy, route};
use crate::pool::Job;
use crate::ring::{Entry, Outcome};

/// The least room worth a read.
const LEAST: usize = 32;
/// The room for a file of unknown length: more than procfs gives at once.
const FIRST: usize = 8 << 10;
/// How a file is opened to be read.
const TO_READ: i32 = libc::O_RDONLY | libc::O_CLOEXEC;

/// Bytes that are read until a file ends.
struct Incoming {
    /// What was read so far; the kernel writes into the room behind it.
    bytes: Vec<u8>,
    /// How many there probably are; 0: unknown.
    hint: usize,
    /// How many the last entry asked for.
    asked: usize,
    /// The books.
    progress: Progress,
    /// How it ended.
    end: Option<io::Result<()>>,
}

impl Incoming {
    /// Replaces what is in `memory`, and makes it as long as it takes.
    fn new(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Incoming { bytes: memory, hint: 0, asked: 0, progress: Progress::default(), end: None }
    }

    /// The file has probably so many bytes to read.
    fn expect(&mut self, size: u64) {
        self.hint = usize::try_from(size).unwrap_or(usize::MAX);
        self.make_room();
    }

    /// Makes room for the next read: one byte more than should come, so that the end shows.
    fn make_room(&mut self) {
        let room = self.bytes.capacity() - self.bytes.len();
        let left = self.hint.checked_sub(self.bytes.len()).filter(|_| self.hint > 0);
        let result = match left {
            Some(left) if room <= left => self.bytes.try_reserve_exact(left.saturating_add(1)),
            None if room < LEAST => self.bytes.try_reserve(FIRST),
            _ => Ok(()),
        };
        if result.is_err() {
            self.end = Some(Err(io::ErrorKind::OutOfMemory.into()));
        }
    }

    fn entry(&mut self, fd: RawFd, facts: &Facts, offset: u64) -> Entry {
        if self.end.is_some() {
            return opcode::Nop::new().build();
        }
        let Incoming { bytes, asked, progress, .. } = self;
        progress.entry(types::Fd(fd), libc::POLLIN, |done| {
            let room = bytes.spare_capacity_mut();
            *asked = room.len().min(MOST);
            let start = room.as_mut_ptr().cast();
            let entry = opcode::Read::new(types::Fd(fd), start, *asked as u32);
            route::read_entry(facts, entry.offset(At(offset).offset(done)).build())
        })
    }

    /// The next step as a plain call.
    fn call(&mut self, fd: RawFd, facts: &Facts, offset: u64) -> Option<Outcome> {
        let Incoming { bytes, asked, progress, end: None, .. } = self else { return None };
        progress.call(|done| {
            let room = bytes.spare_capacity_mut();
            *asked = room.len().min(MOST);
            let place = (room.as_mut_ptr().cast(), *asked as u32);
            // SAFETY: B1: the room that the vector has to spare.
            unsafe { route::read_at_once(fd, facts, place, At(offset).offset(done)) }
        })
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        if self.end.is_none() {
            self.note(outcome);
        }
        if self.end.is_some() { Next::Finish } else { Next::Again }
    }

    /// Takes the outcome of a read in.
    fn note(&mut self, outcome: Outcome) {
        match self.progress.note(outcome, At::IF_BLOCKED) {
            Noted::NotYet => return,
            Noted::Dry => return self.end = Some(Ok(())),
            Noted::Failed => return self.end = Some(outcome.count().map(drop)),
            Noted::Moved => {}
        }
        // SAFETY: B1: the kernel has filled that many bytes, each read where the one before it ended, within the capacity.
        unsafe { self.bytes.set_len(self.progress.done) };
        // Short and as long as expected: that was the end. Files of /proc are never as long as they say.
        if (outcome.result as usize) < self.asked && self.progress.done == self.hint {
            return self.end = Some(Ok(()));
        }
        self.make_room();
    }

    /// All that was read, and how it ended; `outcome` is that of the last entry.
    fn finish(self, outcome: Outcome) -> (io::Result<()>, Vec<u8>) {
        let stopped = || Err(outcome.error().unwrap_or_else(|| Cancelled.into()));
        (self.end.unwrap_or_else(stopped), self.bytes)
    }
}

/// Reads an open file from an offset to its end.
pub(crate) struct ReadToEnd<F: Routed> {
    /// What it works on; held, so that it stays open.
    file: Rc<F>,
    /// Where it begins in the file.
    offset: u64,
    /// What is read.
    content: Incoming,
    /// The length of the file was asked for.
    measured: bool,
}

impl<F: Routed> ReadToEnd<F> {
    pub(crate) fn new(file: Rc<F>, memory: Vec<u8>, offset: u64) -> Self {
        ReadToEnd { file, offset, content: Incoming::new(memory), measured: false }
    }

    /// Asks once how much there probably is.
    fn measure(&mut self) {
        if !std::mem::replace(&mut self.measured, true) {
            let (size, _) = route::measure(self.file.as_raw_fd());
            self.content.expect(size.saturating_sub(self.offset));
        }
    }
}

// SAFETY: O1: the entry points into the content, which the operation owns and which stays as it is while it is lent (B1).
unsafe impl<F: Routed> Operation for ReadToEnd<F> {
    type Output = BufResult<Vec<u8>>;
    const NAME: &'static str = "read";
    const HAS_CALL: bool = true;

    fn policy(&self) -> Policy {
        self.file.reading()
    }

    fn call(&mut self, _company: Company) -> Option<Outcome> {
        self.measure();
        self.content.call(self.file.as_raw_fd(), self.file.facts(), self.offset)
    }

    fn entry(&mut self) -> Entry {
        self.measure();
        self.content.entry(self.file.as_raw_fd(), self.file.facts(), self.offset)
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.content.advance(outcome)
    }

    fn finish(self, outcome: Outcome) -> Self::Output {
        let (result, buf) = self.content.finish(outcome);
        let done = buf.len();
        match result {
            Ok(()) => Ok((done, buf)),
            Err(error) => Err(BufError { error, buf, done }),
        }
    }
}

/// Opens a file and reads all of it.
pub(crate) struct ReadFile<T: 'static> {
    /// What the entry points to.
    path: CString,
    /// Once it is open, with what is known of it.
    file: Option<(OwnedFd, Facts)>,
    /// The file is with a thread, which reads it.
    job: Option<BlockingWork<Content>>,
    /// It does not wait where it should; plain calls need not care.
    is_nonblocking: bool,
    /// What is read.
    content: Incoming,
    /// How often it was tried in vain.
    retry: Retry,
    /// Closes a file that may have to wait for somebody.
    close: fn(OwnedFd),
    /// Makes the output.
    tell: fn(io::Result<Vec<u8>>) -> T,
}

impl<T> ReadFile<T> {
    pub(crate) fn new(path: CString, close: fn(OwnedFd), tell: fn(io::Result<Vec<u8>>) -> T) -> Self {
        let content = Incoming::new(Vec::new());
        ReadFile {
            path,
            file: None,
            job: None,
            is_nonblocking: false,
            content,
            retry: Retry::default(),
            close,
            tell,
        }
    }
}

// SAFETY: O1: the entry points to the path, in memory of its own, or into the content, both of which the operation owns and
// nobody touches while they are lent (K1).
unsafe impl<T: 'static> Operation for ReadFile<T> {
    type Output = T;
    const NAME: &'static str = "read file";
    const HAS_CALL: bool = true;
    const HAS_JOB: bool = true;

    fn policy(&self) -> Policy {
        if let Some(job) = &self.job {
            return job.policy();
        }
        match &self.file {
            None => open_policy(&self.path, TO_READ),
            Some((_, facts)) if facts.waits => Policy::WAITS,
            Some(_) => Policy::READS,
        }
    }

    fn call(&mut self, _company: Company) -> Option<Outcome> {
        match &self.file {
            None if self.job.is_some() => None,
            None => {
                let outcome = route::open_nonblocking(&self.path, TO_READ)?;
                self.is_nonblocking = true;
                Some(outcome)
            }
            Some((file, facts)) => self.content.call(file.as_raw_fd(), facts, 0),
        }
    }

    fn job(&mut self) -> Option<Job> {
        self.job.as_mut().and_then(BlockingWork::job)
    }

    fn entry(&mut self) -> Entry {
        match &self.file {
            None => open_entry(&self.path, TO_READ, 0),
            Some((file, facts)) => {
                if std::mem::take(&mut self.is_nonblocking) {
                    route::let_wait(file.as_raw_fd(), TO_READ);
                }
                self.content.entry(file.as_raw_fd(), facts, 0)
            }
        }
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        if self.job.is_some() {
            return Next::Finish;
        }
        if self.file.is_some() {
            return self.content.advance(outcome);
        }
        if self.retry.again(outcome, INTERRUPTED) {
            return Next::Again;
        }
        match adopt(outcome) {
            Ok(file) => {
                let (size, facts) = route::measure(file.as_raw_fd());
                if facts.reads_by_thread() {
                    if std::mem::take(&mut self.is_nonblocking) {
                        route::let_wait(file.as_raw_fd(), TO_READ);
                    }
                    let job = move || Ok(read_plainly(file, 0, Want::ToEnd));
                    self.job = Some(BlockingWork::new(job));
                    return Next::Again;
                }
                if facts.waits {
                    self.content.progress.wait_first();
                }
                self.file = Some((file, facts));
                self.content.expect(size);
                Next::Again
            }
            Err(error) => {
                self.content.end = Some(Err(error));
                Next::Finish
            }
        }
    }

    fn finish(self, outcome: Outcome) -> T {
        if let Some(job) = self.job {
            let read = job.finish(outcome).and_then(|(bytes, end)| end.map(|()| bytes));
            return (self.tell)(read);
        }
        let (result, bytes) = self.content.finish(outcome);
        match self.file {
            Some((file, facts)) if !facts.closes_at_once => (self.close)(file),
            file => drop(file),
        }
        (self.tell)(result.map(|()| bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::MaybeUninit;

    /// Reads a file of these bytes that says it has `size`, at most `most` at a time. Gives what was read, and by how many reads.
    fn read(file: &[u8], size: u64, memory: Vec<u8>, most: usize) -> (Vec<u8>, usize) {
        let mut incoming = Incoming::new(memory);
        incoming.expect(size);
        for reads in 1.. {
            let _ = incoming.entry(-1, &Facts::unknown(), 0);
            let rest = &file[incoming.bytes.len()..];
            let count = rest.len().min(incoming.asked).min(most);
            for (place, &byte) in incoming.bytes.spare_capacity_mut().iter_mut().zip(&rest[..count]) {
                *place = MaybeUninit::new(byte);
            }
            let outcome = Outcome { result: count as i32, flags: 0 };
            if let Next::Finish = incoming.advance(outcome) {
                let (result, bytes) = incoming.finish(outcome);
                result.expect("a file that ends is read");
                return (bytes, reads);
            }
        }
        unreachable!("a file has an end")
    }

    #[test]
    fn a_file_as_long_as_it_says_takes_one_read_and_no_more_memory() {
        let file = vec![5; 10_000];
        let (bytes, reads) = read(&file, 10_000, Vec::new(), usize::MAX);
        assert!(bytes == file && reads == 1 && bytes.capacity() < 10_100, "{reads} {}", bytes.capacity());
    }

    #[test]
    fn a_file_of_unknown_length_is_read_until_it_ends() {
        let file: Vec<u8> = (0..12_000_u32).map(|index| index as u8).collect();
        for (size, most) in [(0, usize::MAX), (0, 3000), (4096, 700), (11_999, usize::MAX), (1 << 16, 999)] {
            assert!(read(&file, size, Vec::new(), most).0 == file, "{size} {most}");
        }
        assert_eq!(read(b"", 0, Vec::new(), 10), (Vec::new(), 1));
        assert_eq!(read(b"", 4096, Vec::new(), 10), (Vec::new(), 1));
    }

    #[test]
    fn what_was_in_the_vector_is_replaced_and_its_memory_used() {
        let memory = vec![9; 500];
        let start = memory.as_ptr();
        let (bytes, _) = read(b"short", 5, memory, usize::MAX);
        assert_eq!((&bytes[..], bytes.as_ptr()), (&b"short"[..], start));
    }

    #[test]
    fn a_length_that_no_memory_has_is_an_error() {
        let mut incoming = Incoming::new(Vec::new());
        incoming.expect(u64::MAX);
        let (result, _) = incoming.finish(Outcome { result: 0, flags: 0 });
        assert_eq!(result.expect_err("too long").kind(), io::ErrorKind::OutOfMemory);
    }
}
