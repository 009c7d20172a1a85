//! The receiving half of a connection: data lives with the connection, not with the future that asks for it.
//!
//! The receiver keeps the one receive it has submitted (**S1**). A read polls it and copies; a dropped read leaves it in
//! place, and the next read gets its result: no byte is lost. Nothing is armed before the first read and nothing is read
//! ahead of demand, so the kernel's own flow control does the rest. An idle connection holds no buffer: the kernel picks one
//! from the loop's buffer ring when data arrives.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::socket::Socket;
use super::turn::Turns;
use crate::op::net::{Chunk, Received, Recv, try_recv};
use crate::reactor::{self, Op};

/// From this size on data is worth a call of its own that puts it straight into the reader's memory.
const DIRECT: usize = 8 << 10;

/// What a connection knows of its incoming side.
pub(super) struct Receiver {
    /// The receive in flight, if there is one.
    receive: Cell<Option<Op<io::Result<Received>>>>,
    /// What has come and is not consumed.
    chunk: RefCell<Option<Chunk>>,
    /// The peer has ended its side.
    ended: Cell<bool>,
    /// No receive is in flight, and there is likely to be data in the socket: the last one left some, or the connection is
    /// new, and the first request often comes with it.
    more: Cell<bool>,
    /// The last receive brought [`DIRECT`] bytes or more.
    much: Cell<bool>,
    /// Who reads.
    pub(super) turns: Turns,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Receiver {
            receive: Cell::new(None),
            chunk: RefCell::new(None),
            ended: Cell::new(false),
            more: Cell::new(true),
            much: Cell::new(false),
            turns: Turns::new(),
        }
    }

    /// Waits until there is data, or the end: true if there is data.
    pub(super) fn poll_fill(&self, socket: &Rc<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.is_empty() && !self.ended.get() {
            ready!(self.poll_receive(socket, cx, false))?;
        }
        Poll::Ready(Ok(!self.is_empty()))
    }

    /// Waits for a receive to end and keeps what it brings. It may leave to the reader what has yet to come.
    fn poll_receive(&self, socket: &Rc<Socket>, cx: &mut Context<'_>, leaves: bool) -> Poll<io::Result<()>> {
        let mut receive = self.receive.take().unwrap_or_else(|| {
            let more = self.more.take();
            Op::new(match leaves && !more {
                true => Recv::readiness(socket.clone()),
                false => {
                    let buffers = reactor::current().and_then(|reactor| reactor.buffers());
                    Recv::new(socket.clone(), buffers, !more)
                }
            })
        });
        let received = Pin::new(&mut receive).poll(cx);
        if received.is_pending() {
            self.receive.set(Some(receive));
        }
        self.keep(ready!(received)?);
        Poll::Ready(Ok(()))
    }

    /// Keeps what was received.
    fn keep(&self, received: Received) {
        match received {
            Received::Data(chunk, more) => {
                self.note(chunk.len(), more);
                if !chunk.is_empty() {
                    self.chunk.replace(Some(chunk));
                }
            }
            Received::Readiness => self.more.set(true),
        }
    }

    /// Notes how much was received.
    fn note(&self, count: usize, more: bool) {
        self.ended.set(count == 0);
        self.more.set(more);
        self.much.set(count >= DIRECT);
    }

    fn is_empty(&self) -> bool {
        self.chunk.borrow().is_none()
    }

    /// Takes what fits into `to` from the data that is there.
    fn consume_into(&self, to: &mut [u8]) -> usize {
        let mut chunk = self.chunk.borrow_mut();
        let Some(bytes) = chunk.as_deref() else { return 0 };
        let count = bytes.len().min(to.len());
        to[..count].copy_from_slice(&bytes[..count]);
        Self::advance(&mut chunk, count);
        count
    }

    fn advance(chunk: &mut Option<Chunk>, count: usize) {
        if let Some(rest) = chunk {
            rest.advance(count);
            if rest.is_empty() {
                *chunk = None;
            }
        }
    }

    pub(super) fn poll_read(
        &self,
        socket: &Rc<Socket>,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if to.is_empty() {
            return Poll::Ready(Ok(0));
        }
        while self.is_empty() && !self.ended.get() {
            let straight = to.len() >= DIRECT && self.much.get();
            if straight
                && self.more.get()
                && let Some(count) = self.read_straight(socket, to)?
            {
                return Poll::Ready(Ok(count));
            }
            ready!(self.poll_receive(socket, cx, straight))?;
        }
        Poll::Ready(Ok(self.consume_into(to)))
    }

    /// Has a plain call put what is in the socket into the reader's memory, with no buffer between. None: nothing is there, or
    /// it is not the time for plain calls.
    fn read_straight(&self, socket: &Socket, to: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(reactor) = reactor::current().filter(|reactor| reactor.may_call()) else { return Ok(None) };
        match try_recv(socket.as_raw_fd(), to) {
            Ok(count) => {
                reactor.count_bytes(count);
                self.note(count, count == to.len());
                Ok(Some(count))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                self.more.set(false);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The data with its buffer; None at the end.
    pub(super) fn poll_chunk(
        &self,
        socket: &Rc<Socket>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Chunk>>> {
        if !ready!(self.poll_fill(socket, cx))? {
            return Poll::Ready(Ok(None));
        }
        let mut chunk = self.chunk.take();
        if let Some(chunk) = &mut chunk
            && let Some(buffers) = reactor::current().and_then(|reactor| reactor.buffers())
            && buffers.free() < usize::from(buffers.count()) / 4
        {
            chunk.release();
        }
        Poll::Ready(Ok(chunk))
    }

    /// Data that is there, by reference.
    pub(super) fn filled(&mut self) -> &[u8] {
        self.chunk.get_mut().as_deref().unwrap_or_default()
    }

    pub(super) fn consume(&mut self, count: usize) {
        Self::advance(self.chunk.get_mut(), count);
    }

    /// Ends the receive in flight, and gives out what came before it ended.
    pub(super) async fn stop(&self) -> Vec<u8> {
        let mut bytes = self.chunk.take().map(|chunk| chunk.to_vec()).unwrap_or_default();
        if let Some(receive) = self.receive.take().filter(Op::is_submitted)
            && let Ok(Received::Data(chunk, _)) = receive.timeout(std::time::Duration::ZERO).await
        {
            bytes.extend_from_slice(&chunk);
        }
        bytes
    }
}
