//! The receiving half of a connection: data lives with the connection, not with the future that asks for it.
//!
//! The receiver keeps the one receive it has submitted (**S1**). A read polls it and copies; a dropped read leaves it in
//! place, and the next read gets its result: no byte is lost. Nothing is armed before the first read and nothing is read
//! ahead of demand, so the kernel's own flow control does the rest. An idle connection holds no buffer: the kernel picks one
//! from the loop's buffer ring when data arrives.

use std::cell::RefCell;
use std::io;
use std::mem::{replace, take};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use super::turn::Turns;
use crate::op::net::{Chunk, Received, Recv, try_recv};
use crate::reactor::{self, Op};

/// From this size on data is worth a call of its own that puts it straight into the reader's memory.
const DIRECT: usize = 8 << 10;

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
}

enum Stage {
    /// Nothing.
    Empty,
    /// The receive in flight.
    Receiving(Op<io::Result<Received>>),
    /// What has come and is not consumed.
    Filled(Chunk),
    /// The peer has ended its side.
    Ended,
}

impl Receiver {
    pub(super) fn new() -> Self {
        let incoming = Incoming { stage: Stage::Empty, more: true, much: false };
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

    /// Data that is there, by reference.
    pub(super) fn filled(&mut self) -> &[u8] {
        match &self.incoming.get_mut().stage {
            Stage::Filled(chunk) => chunk,
            _ => &[],
        }
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.incoming.get_mut().consume(count);
    }

    /// Ends the receive in flight, and gives out what came before it ended.
    pub(super) async fn stop(&self) -> Vec<u8> {
        let stage = replace(&mut self.incoming.borrow_mut().stage, Stage::Ended);
        match stage {
            Stage::Filled(chunk) => chunk.to_vec(),
            Stage::Receiving(receive) if receive.is_submitted() => {
                match receive.timeout(Duration::ZERO).await {
                    Ok(Received::Data(chunk, _)) => chunk.to_vec(),
                    _ => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }
}

impl Incoming {
    fn poll_fill(
        &mut self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<bool>> {
        loop {
            match self.stage {
                Stage::Filled(_) => return Poll::Ready(Ok(true)),
                Stage::Ended => return Poll::Ready(Ok(false)),
                _ => ready!(self.poll_receive(socket, cx, false))?,
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
        let straight = to.len() >= DIRECT;
        loop {
            match &self.stage {
                Stage::Filled(chunk) => {
                    let count = chunk.len().min(to.len());
                    to[..count].copy_from_slice(&chunk[..count]);
                    self.consume(count);
                    return Poll::Ready(Ok(count));
                }
                Stage::Ended => return Poll::Ready(Ok(0)),
                Stage::Empty if straight && self.much && self.more => {
                    if let Some(count) = self.read_straight(socket.as_raw_fd(), to)? {
                        return Poll::Ready(Ok(count));
                    }
                }
                _ => {}
            }
            ready!(self.poll_receive(socket, cx, straight && self.much))?;
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
        let Stage::Filled(mut chunk) = replace(&mut self.stage, Stage::Empty) else {
            unreachable!("there is data");
        };
        if let Some(buffers) = reactor::current().and_then(|reactor| reactor.buffers())
            && buffers.free() < usize::from(buffers.count()) / 4
        {
            chunk.release();
        }
        Poll::Ready(Ok(Some(chunk)))
    }

    /// Waits for a receive to end and keeps what it brings. It may leave to the reader what has yet to come.
    fn poll_receive(
        &mut self,
        socket: &Rc<impl AsRawFd + 'static>,
        cx: &mut Context<'_>,
        leaves: bool,
    ) -> Poll<io::Result<()>> {
        if let Stage::Empty = self.stage {
            let more = take(&mut self.more);
            self.stage = Stage::Receiving(Op::new(match leaves && !more {
                true => Recv::readiness(socket.clone()),
                false => {
                    let buffers = reactor::current().and_then(|reactor| reactor.buffers());
                    Recv::new(socket.clone(), buffers, !more)
                }
            }));
        }
        let Stage::Receiving(receive) = &mut self.stage else { return Poll::Ready(Ok(())) };
        let received = ready!(Pin::new(receive).poll(cx));
        self.stage = Stage::Empty;
        match received? {
            Received::Data(chunk, more) => {
                self.note(chunk.len(), more);
                if !chunk.is_empty() {
                    self.stage = Stage::Filled(chunk);
                }
            }
            Received::Readiness => self.more = true,
        }
        Poll::Ready(Ok(()))
    }

    /// Has a plain call put what is in the socket into the reader's memory, with no buffer between. None: nothing is there, or
    /// it is not the time for plain calls.
    fn read_straight(&mut self, socket: RawFd, to: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(reactor) = reactor::current().filter(|reactor| reactor.may_call()) else { return Ok(None) };
        match try_recv(socket, to) {
            Ok(count) => {
                reactor.made_call(count);
                self.note(count, count == to.len());
                Ok(Some(count))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.more = false;
                Ok(None)
            }
            Err(error) => Err(error),
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

    fn consume(&mut self, count: usize) {
        if let Stage::Filled(chunk) = &mut self.stage {
            chunk.advance(count);
            if chunk.is_empty() {
                self.stage = Stage::Empty;
            }
        }
    }
}

/// Thousands of connections rest.
const _: () = assert!(size_of::<Receiver>() == 72);
