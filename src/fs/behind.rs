//! The writing half of a file's cursor: bytes that a write has accepted and the kernel has not.
//!
//! Small writes are gathered; when there are enough of them they go out as one batch, detached, while the next batch fills. One
//! batch is on its way at a time, so bytes reach the file in the order in which they were accepted. A batch that comes back
//! short, or with an error that may pass (a full disk), is kept and goes first when writing is tried again: nothing is lost,
//! and nothing written twice. After an error that cannot pass, such as a place that no file has, the bytes are given up, and the
//! position is again where they began.
//!
//! An error is told once: to the operation that waited for the batch, else to the cursor's next call.
//!
//! [`Unwritten`] is the bookkeeping, without a kernel; [`Behind`] adds who waits, and for what.

use std::cell::{RefCell, RefMut};
use std::io;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::descriptor::Descriptor;
use crate::error::is_end_of_loop;
use crate::event_loop::{DroppedFile, ErrorContext, EventLoop, Home, Writer};
use crate::executor::wake;
use crate::op::Operation;
use crate::op::io::{At, AtEnd, Batch, Bell, Passage, Pour, Routed, Stream};
use crate::reactor;
use crate::sys::Errno;
use crate::sys::file::OFlag;
use crate::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use crate::waiting::{Waiting, waits_for};

/// A batch goes out when it has as many bytes.
const BATCH: usize = 64 << 10;
/// The most bytes that gather while a batch is on its way.
const ROOM: usize = 128 << 10;

/// Bytes that are accepted and not written.
#[derive(Debug, Default)]
struct Unwritten {
    /// What gathers.
    gathering: Vec<u8>,
    /// Where it belongs.
    offset: u64,
    /// How many bytes are on their way; none: no batch is.
    away: usize,
    /// A batch that has come back with something left.
    left: Option<Batch>,
    /// Memory of the last batch, for the next.
    memory: Vec<u8>,
}

impl Unwritten {
    /// Takes as many of the bytes as there is room for. They follow those accepted before; a stream has no offsets to say so.
    fn accept(&mut self, offset: Option<u64>, bytes: &[u8]) -> usize {
        let end = self.offset + self.gathering.len() as u64;
        let offset = offset.unwrap_or(end);
        debug_assert!(self.gathering.is_empty() || offset == end, "a seek did not flush");
        if self.gathering.is_empty() {
            self.offset = offset;
        }
        let count = bytes.len().min(ROOM - self.gathering.len());
        self.gathering.extend_from_slice(&bytes[..count]);
        count
    }

    /// The next batch to write, if it has `least` bytes. What came back goes before all else.
    fn next(&mut self, least: usize) -> Option<Batch> {
        if self.away > 0 {
            return None;
        }
        let Unwritten { gathering, offset, memory, left, .. } = self;
        let next = left.take().or_else(|| {
            let enough = gathering.len() >= least.max(1);
            enough.then(|| Batch::new(std::mem::replace(gathering, std::mem::take(memory)), *offset))
        });
        self.away = next.as_ref().map_or(0, |batch| batch.rest().0.len());
        next
    }

    /// The batch that was on its way is back.
    fn landed(&mut self, batch: Batch) {
        self.away = 0;
        if batch.rest().0.is_empty() {
            self.memory = batch.into_memory();
        } else {
            self.left = Some(batch);
        }
    }

    /// Forgets what is not on its way, and says where that began.
    fn forget(&mut self) -> u64 {
        let began = self.left.take().map_or(self.offset, |batch| batch.rest().1);
        self.gathering.clear();
        began
    }

    fn is_empty(&self) -> bool {
        self.away == 0 && self.left.is_none() && self.gathering.is_empty()
    }

    /// How many bytes are not known to be written.
    fn pending(&self) -> usize {
        self.away + self.gathering.len() + self.left.as_ref().map_or(0, |batch| batch.rest().0.len())
    }
}

/// What happens behind a cursor that writes.
pub(super) struct Behind {
    /// Whether the file may be written, and where writes go.
    access: Access,
    /// The loop that has a batch on its way, or had the last one, or that gathers.
    home: Home,
    /// All else.
    state: RefCell<State>,
}

/// How the file was opened.
#[derive(Clone, Copy)]
struct Access {
    /// To write.
    writes: bool,
    /// All writes go to the end.
    appends: bool,
}

impl Access {
    fn of(file: &Descriptor) -> Access {
        let flags = file.flags();
        let writes = !flags.contains(OFlag::O_PATH) && flags & OFlag::O_ACCMODE != OFlag::O_RDONLY;
        Access { writes, appends: flags.contains(OFlag::O_APPEND) }
    }
}

#[derive(Default)]
struct State {
    /// What is accepted and not written.
    unwritten: Unwritten,
    /// Everything is to be written, however little.
    flush: bool,
    /// The error of the last batch, until somebody is told.
    error: Option<io::Error>,
    /// Where the bytes began that were given up.
    lost: Option<u64>,
    /// The cursor's call that waits.
    waker: Option<Waker>,
    /// Positional calls that wait until all is written.
    bell: Option<Rc<Bell>>,
    /// The file was dropped.
    orphan: Option<Orphan>,
}

/// A dropped file that still writes.
struct Orphan {
    /// Who is told of errors.
    event_loop: Rc<EventLoop>,
    /// Its place among what the loop's end waits for, given up when this is dropped.
    _place: Writer,
    /// Its place among what calls on paths wait for; pipes have no bytes that could be read back by one.
    _file: Option<DroppedFile>,
}

impl Orphan {
    fn new(event_loop: Rc<EventLoop>, bytes: usize, is_stream: bool) -> Self {
        if event_loop.is_debug() && !is_stream {
            let message = format!(
                "a file was dropped with {bytes} bytes unwritten, which other processes do not see yet: close it"
            );
            event_loop.report(&ErrorContext::new(message));
        }
        let file = (!is_stream).then(|| event_loop.detached.enrol_file());
        Orphan { _place: event_loop.detached.enrol(bytes), _file: file, event_loop }
    }
}

impl Behind {
    fn new(file: &Descriptor) -> Box<Behind> {
        Box::new(Behind { access: Access::of(file), home: Home::default(), state: RefCell::default() })
    }

    /// The books, for the loop that runs now: it writes what comes next, unless another one has a batch on its way.
    fn open(&self) -> RefMut<'_, State> {
        let state = self.state.borrow_mut();
        if state.unwritten.away == 0 {
            self.home.settle();
        }
        state
    }

    fn is_idle(&self) -> bool {
        let state = self.state.borrow();
        state.unwritten.is_empty() && state.error.is_none()
    }

    /// Forgets what is not on its way.
    fn forget(&self) {
        let mut state = self.state.borrow_mut();
        state.error = None;
        state.unwritten.forget();
    }
}

impl Descriptor {
    /// Accepts bytes of the cursor that belong at `offset`: at least one, or the error of an earlier batch. A file that is not
    /// open for writing refuses them, as write(2) does.
    pub(super) fn poll_accept(
        self: &Rc<Self>,
        cx: &mut Context<'_>,
        offset: Option<u64>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let behind = self.behind.get_or_init(|| Behind::new(self));
        if !behind.access.writes {
            return Poll::Ready(Err(Errno::EBADF.into()));
        }
        let mut state = behind.open();
        if let Some(error) = state.error.take() {
            return Poll::Ready(Err(error));
        }
        let mut count = state.unwritten.accept(offset, bytes);
        let batch = state.unwritten.next(BATCH);
        if count == 0 && batch.is_some() {
            count = state.unwritten.accept(offset, bytes);
        }
        let before = (count == 0).then(|| state.waker.replace(cx.waker().clone()));
        drop(state);
        drop(before);
        self.pour(batch);
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        self.waits();
        Poll::Pending
    }

    /// Ends when all that the cursor has accepted is with the kernel. What an error leaves is tried again by the next flush.
    pub(super) fn poll_flush(self: &Rc<Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(behind) = self.behind.get() else { return Poll::Ready(Ok(())) };
        let mut state = behind.open();
        if let Some(error) = state.error.take() {
            return Poll::Ready(Err(error));
        }
        if state.unwritten.is_empty() {
            return Poll::Ready(Ok(()));
        }
        state.flush = true;
        let before = state.waker.replace(cx.waker().clone());
        let batch = state.unwritten.next(1);
        drop(state);
        drop(before);
        self.pour(batch);
        self.waits();
        Poll::Pending
    }

    fn waits(&self) {
        waits_for(|| Waiting::Operation { name: "write", descriptor: Some(self.as_raw_fd()) });
    }

    /// Lets a positional call through, or starts what must be written first.
    pub(super) fn pass_behind(self: &Rc<Self>, behind: &Behind) -> Passage {
        let mut state = behind.open();
        if state.unwritten.is_empty() {
            return Passage::Open;
        }
        let passage = Passage::Shut(state.bell.get_or_insert_with(Bell::new).clone());
        state.flush = true;
        let batch = state.unwritten.next(1);
        drop(state);
        self.pour(batch);
        passage
    }

    /// Puts a batch on its way.
    fn pour(self: &Rc<Self>, batch: Option<Batch>) {
        let Some((batch, behind)) = batch.zip(self.behind.get()) else { return };
        match (self.is_stream(), behind.access.appends) {
            (true, _) => behind.home.detach(Pour::<_, Stream>::new(self.clone(), batch).then(poured)),
            (false, true) => behind.home.detach(Pour::<_, AtEnd>::new(self.clone(), batch).then(poured)),
            (false, false) => behind.home.detach(Pour::<_, At>::new(self.clone(), batch).then(poured)),
        }
    }

    /// Whether all that the cursor writes goes to the end.
    pub(super) fn appends(&self) -> bool {
        self.behind.get().is_some_and(|behind| behind.access.appends)
    }

    /// Where bytes began that were given up since this was asked last.
    pub(super) fn lost(&self) -> Option<u64> {
        self.behind.get()?.state.borrow_mut().lost.take()
    }

    /// Whether gathered bytes may be written while the thread waits: to the kernel's memory, on a file system of this machine.
    fn is_written_at_once(&self) -> bool {
        let facts = self.facts();
        facts.seekable && !facts.waits && facts.closes_at_once
    }

    /// The file is dropped: what it has accepted is still written. Errors go to the exception handler.
    ///
    /// On a file system of this machine that is done here and now, as std would have done it long ago: at most 128 KiB are
    /// copied into the kernel's memory. Whatever is done next, by whomever, finds them.
    pub(super) fn orphan(self: &Rc<Self>) {
        let Some(behind) = self.behind.get().filter(|behind| !behind.is_idle()) else { return };
        let mut state = behind.open();
        let Some(event_loop) = behind.home.event_loop() else {
            drop(state);
            return self.write_now(None);
        };
        if event_loop.reactor.is_child() {
            drop(state);
            // What the parent process has accepted is the parent's to write.
            return behind.forget();
        }
        state.error = None;
        if state.unwritten.away == 0 && self.is_written_at_once() {
            drop(state);
            return self.write_now(Some(&event_loop));
        }
        state.flush = true;
        state.orphan = Some(Orphan::new(event_loop, state.unwritten.pending(), self.is_stream()));
        let batch = state.unwritten.next(1);
        drop(state);
        self.pour(batch);
    }

    /// Forgets what a failed flush has left.
    pub(super) fn forget_unwritten(&self) {
        if let Some(behind) = self.behind.get() {
            behind.forget();
        }
    }

    /// Writes all by plain calls: without a loop there is nothing that could be held up.
    fn write_now(self: &Rc<Self>, event_loop: Option<&EventLoop>) {
        let Some(behind) = self.behind.get() else { return };
        loop {
            let Some(mut batch) = behind.state.borrow_mut().unwritten.next(1) else { return };
            let written = self.write_plainly(behind, &mut batch);
            behind.state.borrow_mut().unwritten.landed(batch);
            let Err(error) = written else { continue };
            behind.forget();
            match event_loop {
                Some(event_loop) => event_loop.report(&lost_bytes(error)),
                None => {
                    tracing::error!(target: "ringloop", %error, "bytes of a dropped file are lost; `File::close` tells of this");
                }
            }
        }
    }

    fn write_plainly(&self, behind: &Behind, batch: &mut Batch) -> io::Result<()> {
        match (self.is_stream(), behind.access.appends) {
            (true, _) => batch.write_plainly::<Stream>(self),
            (false, true) => batch.write_plainly::<AtEnd>(self),
            (false, false) => batch.write_plainly::<At>(self),
        }
    }
}

/// The report of bytes that could not be written.
fn lost_bytes(error: io::Error) -> ErrorContext {
    let message =
        "bytes that were written to a file that was dropped are lost (`File::close` tells of such errors)";
    ErrorContext::new(message).with_error(error)
}

/// A batch has come back.
fn poured((file, batch, result): (Rc<Descriptor>, Batch, io::Result<()>)) {
    file.poured(batch, result);
}

impl Descriptor {
    /// A batch has come back: all of it is written, unless there is an error. The next goes on its way.
    fn poured(self: Rc<Self>, mut batch: Batch, result: io::Result<()>) {
        let Some(behind) = self.behind.get() else { return };
        let result = match result {
            // The loop has ended before the batch was on its way. A pipe or a device might block for ever.
            Err(error) if is_end_of_loop(&error) && reactor::current().is_none() && !self.facts().waits => {
                self.write_plainly(behind, &mut batch)
            }
            result => result,
        };
        let mut state = behind.state.borrow_mut();
        self.count_change();
        state.unwritten.landed(batch);
        let failed = result.as_ref().err().map(errno);
        if failed.is_some_and(|errno| !may_pass(errno)) {
            let began = state.unwritten.forget();
            state.lost = (!self.is_stream()).then_some(began);
        }
        // An operation that waits for the batch is told; else the cursor's next call.
        let is_told = state.bell.as_ref().is_some_and(|bell| Rc::strong_count(bell) > 1);
        state.error = result.err().filter(|_| !is_told || state.orphan.is_some());
        state.flush &= failed.is_none() && !state.unwritten.is_empty();
        let least = if state.flush { 1 } else { BATCH };
        let batch = if failed.is_none() { state.unwritten.next(least) } else { None };
        let ended = failed.is_some() || state.unwritten.is_empty();
        let bell = if ended { state.bell.take() } else { None };
        let orphan = if ended { state.orphan.take() } else { None };
        let lost = orphan.and_then(|orphan| Some((orphan, state.error.take()?)));
        let waker = state.waker.take();
        drop(state);
        self.pour(batch);
        if let Some(bell) = bell {
            bell.ring(failed);
        }
        if let Some((orphan, error)) = lost {
            behind.forget();
            orphan.event_loop.report(&lost_bytes(error));
        }
        if let Some(waker) = waker {
            wake(waker);
        }
    }
}

/// Whether a write that failed so may succeed later: when there is room on the disk, or a limit was raised.
fn may_pass(errno: i32) -> bool {
    let limited = || getrlimit(Resource::RLIMIT_FSIZE).is_ok_and(|(limit, _)| limit != RLIM_INFINITY);
    match Errno::from_raw(errno) {
        Errno::EFBIG => limited(),
        Errno::EBADF
        | Errno::EINVAL
        | Errno::EISDIR
        | Errno::ENODEV
        | Errno::ENXIO
        | Errno::EPERM
        | Errno::EPIPE
        | Errno::ESPIPE => false,
        _ => true,
    }
}

/// The error's number, as an operation passes it on.
fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(crate::sys::Errno::EIO as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that takes at most so many bytes at once, and fails when it is told to.
    #[derive(Default)]
    struct Disk(Vec<u8>);

    impl Disk {
        fn write(&mut self, mut batch: Batch, most: usize) -> Batch {
            let (rest, offset) = batch.rest();
            let count = rest.len().min(most);
            let (begin, end) = (offset as usize, offset as usize + count);
            self.0.resize(self.0.len().max(end), 0);
            self.0[begin..end].copy_from_slice(&rest[..count]);
            batch.written(count);
            batch
        }
    }

    #[test]
    fn small_writes_gather_until_there_is_a_batch() {
        let mut unwritten = Unwritten::default();
        let piece = [1; 1000];
        for index in 0..(BATCH / piece.len()) as u64 {
            assert_eq!(unwritten.accept(Some(index * 1000), &piece), 1000);
            assert!(unwritten.next(BATCH).is_none());
        }
        unwritten.accept(None, &piece[..BATCH % 1000]);
        let batch = unwritten.next(BATCH).expect("it is full");
        assert_eq!((batch.rest().0.len(), batch.rest().1), (BATCH, 0));
        assert!(!unwritten.is_empty() && unwritten.gathering.is_empty(), "it is on its way");
        unwritten.landed(Disk::default().write(batch, usize::MAX));
        assert!(unwritten.is_empty());
    }

    #[test]
    fn one_batch_is_on_its_way_while_the_next_gathers_up_to_a_limit() {
        let mut unwritten = Unwritten::default();
        let bytes = vec![1; 3 * ROOM];
        assert_eq!(unwritten.accept(Some(0), &bytes), ROOM);
        assert_eq!(unwritten.accept(Some(ROOM as u64), &bytes), 0, "no room");
        let first = unwritten.next(1).expect("there is one");
        assert_eq!(unwritten.accept(Some(ROOM as u64), &bytes), ROOM);
        assert!(unwritten.next(1).is_none(), "one at a time");
        unwritten.landed(Disk::default().write(first, usize::MAX));
        assert_eq!(unwritten.next(1).expect("the second").rest().1, ROOM as u64);
    }

    #[test]
    fn what_comes_back_goes_first_and_nothing_is_lost_or_doubled() {
        let (mut unwritten, mut disk, mut expected) = (Unwritten::default(), Disk::default(), Vec::new());
        let mut position = 7;
        expected.resize(7, 0);
        for round in 0..200_usize {
            let bytes: Vec<u8> = (0..round * 37 % 500).map(|index| (round + index) as u8).collect();
            let accepted = unwritten.accept(Some(position), &bytes);
            expected.extend_from_slice(&bytes[..accepted]);
            position += accepted as u64;
            if let Some(batch) = unwritten.next(1 + round % 900) {
                // Every third write fails, the others are short.
                let most = if round % 3 == 0 { 0 } else { 1 + round * 13 % 300 };
                unwritten.landed(disk.write(batch, most));
            }
        }
        while let Some(batch) = unwritten.next(1) {
            unwritten.landed(disk.write(batch, 100));
        }
        assert!(unwritten.is_empty());
        assert!(disk.0 == expected);
    }
}
