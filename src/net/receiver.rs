//! The receiving half of a connection: data lives with the connection, not with the future that asks for it.
//!
//! The receiver keeps the one receive it has submitted (**S1**). A read polls it and copies; a dropped read leaves it in
//! place, and the next read gets its result: no byte is lost. A reader that needs several receives (a line, an exact
//! count) and is dropped before it has them gives back what it has taken ([`lines`](super::lines)). Nothing is armed before
//! the first read and nothing is read ahead of demand, so the kernel's own flow control does the rest. An idle connection
//! holds no buffer: the kernel picks one from the loop's buffer ring when data arrives.
//!
//! Where data is likely to be there already, a plain call takes it into memory of the reader's own ([`plain`]): the first request
//! comes with its connection. Who reads so, and waits again and again, gets a watch instead of receives ([`watched`](super::watched)).

use std::cell::RefCell;
use std::io;
use std::mem::{replace, take};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use memchr::memchr;

use super::plain::{self, Taken};
use super::turn::Turns;
use super::watched::Watched;
use crate::error::is_end_of_loop;
use crate::executor::give_way;
use crate::op::net::{Chunk, Received, Recv};
use crate::reactor::{self, Admission, Op};

/// From this size on data is worth a call of its own that puts it straight into the reader's memory.
pub(super) const DIRECT: usize = 8 << 10;

/// What a connection knows of its incoming side.
pub(super) struct Receiver {
    /// Borrowed for the time of a poll.
    incoming: RefCell<Incoming>,
    /// Who reads.
    pub(super) turns: Turns,
}

/// What is between the socket and its reader.
struct Incoming {
    stage: Stage,
    /// With nothing here, there is likely to be data in the socket: the last receive left some, or the connection is new, and
    /// the first request often comes with it.
    more: bool,
    /// The last receive brought [`DIRECT`] bytes or more.
    much: bool,
    /// It was waited for before.
    again: bool,
}

enum Stage {
    /// Nothing.
    Empty,
    /// The receive in flight.
    Receiving(Op<io::Result<Received>>),
    /// What has come and is not consumed.
    Filled(Chunk),
    /// Bytes that a reader has given back, in front of another stage.
    Unread(Box<Unread>),
    /// No receive, but the kernel tells when it is time for one.
    Watched(Box<Watched>),
    /// The peer has ended its side.
    Ended,
}

/// Bytes that a dropped reader had taken, and the stage that follows them. There is at least one.
struct Unread {
    bytes: Vec<u8>,
    /// How much of them is consumed.
    start: usize,
    then: Stage,
}

impl Receiver {
    pub(super) fn new() -> Self {
        let incoming = Incoming { stage: Stage::Empty, more: true, much: false, again: false };
        Receiver { incoming: RefCell::new(incoming), turns: Turns::new() }
    }

    /// Waits until there is data, or the end: true if there is data.
    pub(super) fn poll_fill(
        &self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        self.incoming.borrow_mut().poll_fill(socket, cx)
    }

    pub(super) fn poll_read(
        &self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.incoming.borrow_mut().poll_read(socket, cx, to)
    }

    /// The data with its buffer; None at the end.
    pub(super) fn poll_chunk(
        &self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Chunk>>> {
        self.incoming.borrow_mut().poll_chunk(socket, cx)
    }

    /// Waits until a read would not.
    pub(super) fn poll_readable(
        &self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.incoming.borrow_mut().poll_readable(socket, cx)
    }

    /// Reads what is there, without waiting.
    pub(super) fn try_read(&self, socket: &Rc<impl AsRawFd + 'static>, to: &mut [u8]) -> io::Result<usize> {
        self.incoming.borrow_mut().try_read(socket, to)
    }

    /// Data that is there, by reference.
    pub(super) fn filled(&mut self) -> &[u8] {
        self.incoming.get_mut().filled()
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.incoming.get_mut().consume(count);
    }

    /// Takes the next bytes, at most all up to and with a delimiter, and appends them. True: that was the delimiter, or
    /// the end of the peer's side.
    pub(super) fn poll_piece(
        &self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
        delimiter: u8,
        to: &mut Vec<u8>,
    ) -> Poll<io::Result<bool>> {
        let mut incoming = self.incoming.borrow_mut();
        if !ready!(incoming.poll_fill(socket, cx))? {
            return Poll::Ready(Ok(true));
        }
        let filled = incoming.filled();
        let found = memchr(delimiter, filled);
        let count = found.map_or(filled.len(), |at| at + 1);
        to.extend_from_slice(&filled[..count]);
        incoming.consume(count);
        Poll::Ready(Ok(found.is_some()))
    }

    /// Puts bytes back that a reader has taken last: the next reader gets them first.
    pub(super) fn unread(&self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.incoming.borrow_mut().unread(bytes);
        }
    }

    /// Ends the receive in flight, or the watch, and gives out what came before it ended.
    pub(super) async fn stop(&self) -> Vec<u8> {
        let (mut left, stage) = {
            let mut incoming = self.incoming.borrow_mut();
            let mut left = Vec::new();
            while let Stage::Unread(_) | Stage::Filled(_) = incoming.stage {
                let filled = incoming.filled();
                left.extend_from_slice(filled);
                let count = filled.len();
                incoming.consume(count);
            }
            left.extend_from_slice(incoming.filled());
            (left, replace(&mut incoming.stage, Stage::Ended))
        };
        if let Stage::Receiving(receive) = stage
            && receive.is_submitted()
            && let Ok((chunk, _)) = receive.timeout(Duration::ZERO).await
        {
            left.extend_from_slice(&chunk);
        }
        left
    }
}

impl Incoming {
    fn poll_fill(
        &mut self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        self.unwatch();
        loop {
            match self.stage {
                Stage::Filled(_) | Stage::Unread(_) => return Poll::Ready(Ok(true)),
                Stage::Ended => return Poll::Ready(Ok(false)),
                _ => ready!(self.poll_receive(socket, cx))?,
            }
        }
    }

    fn poll_read(
        &mut self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if to.is_empty() {
            return Poll::Ready(Ok(0));
        }
        loop {
            if self.is_worth_a_watch(to.len())
                && let Some(watched) = Watched::start(socket, cx)
            {
                self.stage = Stage::Watched(watched);
            }
            if let Some(count) = self.copy_filled(to) {
                return Poll::Ready(Ok(count));
            }
            match &mut self.stage {
                Stage::Ended => return Poll::Ready(Ok(0)),
                Stage::Empty | Stage::Watched(_) if self.more => {
                    if let Some(count) = ready!(self.poll_take(socket, cx, to))? {
                        return Poll::Ready(Ok(count));
                    }
                }
                Stage::Watched(watched) => match ready!(watched.poll_event(cx)) {
                    true => self.more = true,
                    false => self.unwatch(),
                },
                _ => ready!(self.poll_receive(socket, cx))?,
            }
        }
    }

    fn poll_chunk(
        &mut self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Chunk>>> {
        if !ready!(self.poll_fill(socket, cx))? {
            return Poll::Ready(Ok(None));
        }
        let mut chunk = match replace(&mut self.stage, Stage::Empty) {
            Stage::Filled(chunk) => chunk,
            Stage::Unread(unread) => {
                let Unread { bytes, start, then } = *unread;
                self.stage = then;
                let mut chunk = Chunk::from(bytes);
                chunk.advance(start);
                chunk
            }
            _ => unreachable!("there is data"),
        };
        if let Some(buffers) = reactor::current().and_then(|reactor| reactor.buffers())
            && buffers.free() < usize::from(buffers.count()) / 4
        {
            chunk.release();
        }
        Poll::Ready(Ok(Some(chunk)))
    }

    /// Waits for a receive to end and keeps what it brings.
    fn poll_receive(
        &mut self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let is_new = matches!(self.stage, Stage::Empty);
        if is_new {
            let waits = !take(&mut self.more);
            self.again |= waits;
            self.receive(socket, waits);
        }
        let Stage::Receiving(receive) = &mut self.stage else { return Poll::Ready(Ok(())) };
        let received = ready!(Pin::new(receive).poll(cx));
        self.stage = Stage::Empty;
        let (chunk, more) = match received {
            // The receive has ended with the loop that it was with, which says nothing about the connection.
            Err(error) if !is_new && is_end_of_loop(&error) => {
                self.more = true;
                return Poll::Ready(Ok(()));
            }
            received => received?,
        };
        self.note(chunk.len(), more);
        if !chunk.is_empty() {
            self.stage = Stage::Filled(chunk);
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until a read would not, and holds no memory meanwhile.
    fn poll_readable(
        &mut self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if matches!(self.stage, Stage::Ended) || !self.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            if let Stage::Empty = self.stage
                && !self.more
                && let Some(watched) = Watched::start(socket, cx)
            {
                self.stage = Stage::Watched(watched);
            }
            match &mut self.stage {
                Stage::Empty | Stage::Watched(_) if self.more => {
                    match reactor::expect_current("recv").admit() {
                        Admission::Call => return Poll::Ready(Ok(())),
                        Admission::GiveWay => {
                            give_way(cx);
                            return Poll::Pending;
                        }
                        Admission::Ring => {
                            self.unwatch();
                            ready!(self.poll_receive(socket, cx))?;
                        }
                    }
                }
                Stage::Watched(watched) => match ready!(watched.poll_event(cx)) {
                    true => self.more = true,
                    false => self.unwatch(),
                },
                _ => ready!(self.poll_receive(socket, cx))?,
            }
        }
    }

    /// Reads what is there, without waiting; `WouldBlock`: nothing.
    fn try_read(&mut self, socket: &Rc<impl AsRawFd + 'static>, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        if let Stage::Receiving(_) = self.stage
            && let Poll::Ready(ended) = self.poll_receive(socket, &mut Context::from_waker(Waker::noop()))
        {
            ended?;
        }
        if let Some(count) = self.copy_filled(to) {
            return Ok(count);
        }
        let taken = match self.stage {
            Stage::Ended => return Ok(0),
            Stage::Receiving(_) => None,
            _ => self.take(socket.as_raw_fd(), to)?,
        };
        taken.ok_or_else(|| io::ErrorKind::WouldBlock.into())
    }

    /// Makes a receive, which waits before it tries, or not.
    fn receive(&mut self, socket: &Rc<impl AsRawFd + 'static>, waits: bool) {
        let buffers = reactor::current().and_then(|reactor| reactor.buffers());
        self.stage = Stage::Receiving(Op::new(Recv::new(socket.clone(), buffers, waits)));
    }

    /// Whether a reader with so much room should have a watch, now that nothing is here.
    fn is_worth_a_watch(&self, room: usize) -> bool {
        if !matches!(self.stage, Stage::Empty) {
            return false;
        }
        let straight = self.much && room >= DIRECT;
        straight || (self.again && !self.more)
    }

    /// Has a plain call take what is in the socket. None: nothing, or it is not the time for plain calls, and a receive took their
    /// place.
    fn poll_take(
        &mut self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<io::Result<Option<usize>>> {
        let reactor = reactor::expect_current("recv");
        match reactor.admit() {
            Admission::Call => {}
            Admission::GiveWay => {
                give_way(cx);
                return Poll::Pending;
            }
            Admission::Ring => {
                self.unwatch();
                return self.poll_receive(socket, cx).map_ok(|()| None);
            }
        }
        let taken = self.take(socket.as_raw_fd(), to)?;
        if taken.is_none()
            && let Stage::Empty = self.stage
        {
            // It counts as a try, not as a wait: a connection for one request is waited for a second time at its end.
            self.receive(socket, true);
        }
        Poll::Ready(Ok(taken))
    }

    /// Has a plain call take what is in the socket. None: nothing.
    fn take(&mut self, socket: RawFd, to: &mut [u8]) -> io::Result<Option<usize>> {
        let taken = match &mut self.stage {
            Stage::Watched(watched) => watched.take(socket, to)?,
            stage => plain::take(socket, to, |later| *stage = Stage::Filled(later.to_vec().into()))?,
        };
        let Some(Taken { received, read, more }) = taken else {
            self.more = false;
            return Ok(None);
        };
        if let Some(reactor) = reactor::current() {
            reactor.made_call(received);
        }
        self.note(received, more);
        Ok(Some(read))
    }

    /// Copies what has come and is not consumed, as much as there is room for, and consumes that. None: nothing is here.
    fn copy_filled(&mut self, to: &mut [u8]) -> Option<usize> {
        let filled = self.filled();
        if filled.is_empty() {
            return None;
        }
        let count = filled.len().min(to.len());
        to[..count].copy_from_slice(&filled[..count]);
        self.consume(count);
        Some(count)
    }

    /// Ends the watch, if there is one. What it had to tell is not known.
    fn unwatch(&mut self) {
        if let Stage::Watched(watched) = &self.stage {
            let rest = watched.rest().to_vec();
            self.stage = if rest.is_empty() { Stage::Empty } else { Stage::Filled(rest.into()) };
            self.more = true;
        }
    }

    /// Notes how much was received.
    fn note(&mut self, count: usize, more: bool) {
        self.more = more;
        self.much = count >= DIRECT;
        if count == 0 {
            self.stage = Stage::Ended;
        }
    }

    /// What has come and is not consumed.
    fn filled(&self) -> &[u8] {
        match &self.stage {
            Stage::Filled(chunk) => chunk,
            Stage::Unread(unread) => &unread.bytes[unread.start..],
            Stage::Watched(watched) => watched.rest(),
            _ => &[],
        }
    }

    fn consume(&mut self, count: usize) {
        match &mut self.stage {
            Stage::Filled(chunk) => {
                chunk.advance(count);
                if chunk.is_empty() {
                    self.stage = Stage::Empty;
                }
            }
            Stage::Unread(unread) => {
                unread.start += count;
                if unread.start >= unread.bytes.len() {
                    self.stage = replace(&mut unread.then, Stage::Empty);
                }
            }
            Stage::Watched(watched) => watched.consume(count),
            _ => {}
        }
    }

    fn unread(&mut self, bytes: &[u8]) {
        let then = replace(&mut self.stage, Stage::Empty);
        let unread = match then {
            Stage::Unread(mut unread) => {
                unread.bytes.splice(..unread.start, bytes.iter().copied());
                unread.start = 0;
                unread
            }
            then => Box::new(Unread { bytes: bytes.to_vec(), start: 0, then }),
        };
        self.stage = Stage::Unread(unread);
    }
}

/// Thousands of connections rest.
const _: () = assert!(size_of::<Receiver>() == 72);
