//! The receiving half of a connection: data lives with the connection, not with the future that asks for it.
//!
//! The receiver keeps the one receive it has submitted (**S1**). A read polls it and copies; a dropped read leaves it in
//! place, and the next read gets its result: no byte is lost. Nothing is armed before the first read and nothing is read
//! ahead of demand, so the kernel's own flow control does the rest. An idle connection holds no buffer: the kernel picks one
//! from the loop's buffer ring when data arrives.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::socket::Socket;
use super::turn::Turns;
use crate::op::net::{Chunk, Recv};
use crate::reactor::{self, Op};

type Receive = Op<io::Result<(Chunk, bool)>>;

/// What a connection knows of its incoming side.
pub(super) struct Receiver {
    /// The receive in flight, if there is one.
    receive: Cell<Option<Receive>>,
    /// What has come and is not consumed.
    chunk: RefCell<Option<Chunk>>,
    /// The peer has ended its side.
    ended: Cell<bool>,
    /// The last receive left more in the socket.
    more: Cell<bool>,
    /// Who reads.
    pub(super) turns: Turns,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Receiver {
            receive: Cell::new(None),
            chunk: RefCell::new(None),
            ended: Cell::new(false),
            more: Cell::new(false),
            turns: Turns::new(),
        }
    }

    /// Waits until there is data, or the end: true if there is data.
    pub(super) fn poll_fill(&self, socket: &Rc<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.chunk.borrow().is_some() {
            return Poll::Ready(Ok(true));
        }
        if self.ended.get() {
            return Poll::Ready(Ok(false));
        }
        let mut receive = self.receive.take().unwrap_or_else(|| {
            let buffers = reactor::current().and_then(|reactor| reactor.buffers());
            Op::new(Recv::new(socket.clone(), buffers, !self.more.get()))
        });
        match Pin::new(&mut receive).poll(cx) {
            Poll::Pending => {
                self.receive.set(Some(receive));
                Poll::Pending
            }
            Poll::Ready(result) => {
                let (chunk, more) = result?;
                self.more.set(more);
                self.ended.set(chunk.is_empty());
                if !chunk.is_empty() {
                    self.chunk.replace(Some(chunk));
                }
                Poll::Ready(Ok(!self.ended.get()))
            }
        }
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
        let _ = ready!(self.poll_fill(socket, cx))?;
        Poll::Ready(Ok(self.consume_into(to)))
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
            && let Ok((chunk, _)) = receive.timeout(std::time::Duration::ZERO).await
        {
            bytes.extend_from_slice(&chunk);
        }
        bytes
    }
}
