//! Reads that need several receives: lines, records with a delimiter, exact counts.
//!
//! Each takes what has come as it comes, so that the kernel's window opens again, and gives all of it back to the
//! connection if it is dropped or fails before it is complete ([`Partial`]): whole or nothing.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_util::stream::Stream;

use super::out_queue::OutQueue;
use super::receiver::Receiver;
use crate::error::not_utf8;

/// Where a connection's bytes come from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) receiver: &'a Receiver,
    pub(super) socket: &'a Rc<OutQueue>,
}

/// Bytes that an incomplete read has taken; its drop gives them back.
struct Partial<'a, B: AsRef<[u8]>> {
    receiver: &'a Receiver,
    buf: B,
    /// How many bytes of the buffer, from its start.
    taken: usize,
}

impl<'a, B: AsRef<[u8]>> Partial<'a, B> {
    fn new(receiver: &'a Receiver, buf: B) -> Self {
        Partial { receiver, buf, taken: 0 }
    }

    fn give_back(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.receiver.unread(&self.buf.as_ref()[..taken]);
    }
}

impl<B: AsRef<[u8]>> Drop for Partial<'_, B> {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Partial<'_, Vec<u8>> {
    /// Waits for a record and gives it out, with its delimiter unless the peer's side ended before.
    fn poll_record(
        &mut self,
        source: Source<'_>,
        cx: &mut Context<'_>,
        delimiter: u8,
    ) -> Poll<io::Result<Vec<u8>>> {
        loop {
            let piece = source.receiver.poll_piece(source.socket, cx, delimiter, &mut self.buf);
            self.taken = self.buf.len();
            if ready!(piece)? {
                self.taken = 0;
                return Poll::Ready(Ok(std::mem::take(&mut self.buf)));
            }
        }
    }
}

pub(super) async fn readable(source: Source<'_>) -> io::Result<()> {
    let _turn = source.receiver.turns.take().await;
    poll_fn(|cx| source.receiver.poll_readable(source.socket, cx)).await
}

pub(super) fn try_read(source: Source<'_>, to: &mut [u8]) -> io::Result<usize> {
    let Some(_turn) = source.receiver.turns.try_take() else { return Err(io::ErrorKind::WouldBlock.into()) };
    source.receiver.try_read(source.socket, to)
}

pub(super) async fn read_exact(source: Source<'_>, buf: &mut [u8]) -> io::Result<()> {
    let Source { receiver, socket } = source;
    let _turn = receiver.turns.take().await;
    let mut partial = Partial::new(receiver, buf);
    while partial.taken < partial.buf.len() {
        let room = &mut partial.buf[partial.taken..];
        let missing = room.len();
        let count = poll_fn(|cx| receiver.poll_read(socket, cx, room)).await?;
        if count == 0 {
            let missing = format!("the peer ended its side with {missing} bytes missing");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, missing));
        }
        partial.taken += count;
    }
    partial.taken = 0;
    Ok(())
}

async fn read_record(source: Source<'_>, delimiter: u8) -> io::Result<Vec<u8>> {
    let _turn = source.receiver.turns.take().await;
    let mut partial = Partial::new(source.receiver, Vec::new());
    poll_fn(|cx| partial.poll_record(source, cx, delimiter)).await
}

pub(super) async fn read_until(source: Source<'_>, delimiter: u8, to: &mut Vec<u8>) -> io::Result<usize> {
    let record = read_record(source, delimiter).await?;
    to.extend_from_slice(&record);
    Ok(record.len())
}

pub(super) async fn read_line(source: Source<'_>, to: &mut String) -> io::Result<usize> {
    let line = text(read_record(source, b'\n').await?)?;
    to.push_str(&line);
    Ok(line.len())
}

fn text(line: Vec<u8>) -> io::Result<String> {
    String::from_utf8(line).map_err(|_| not_utf8())
}

/// The lines of a connection; see [`TcpStream::lines`](super::TcpStream::lines).
///
/// It is also a `Stream`, which may hold a part of a line between two polls; `next` holds none between two calls.
#[must_use = "lines are read when they are asked for"]
pub struct LineStream<'a> {
    source: Source<'a>,
    partial: Partial<'a, Vec<u8>>,
}

impl<'a> LineStream<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        LineStream { source, partial: Partial::new(source.receiver, Vec::new()) }
    }

    /// Waits for the next line and returns it without its end (`\n` or `\r\n`); None at the end of the peer's side.
    ///
    /// # Errors
    /// `InvalidData` for a line that is not UTF-8, which is skipped; otherwise as
    /// [`TcpStream::read`](super::TcpStream::read).
    ///
    /// # Cancellation
    /// Nothing is lost: part of a line stays with the connection.
    pub async fn next(&mut self) -> Option<io::Result<String>> {
        /// Holds nothing after the call.
        struct Call<'a, 'b>(&'a mut LineStream<'b>);

        impl Drop for Call<'_, '_> {
            fn drop(&mut self) {
                self.0.partial.give_back();
                self.0.partial.buf.clear();
            }
        }

        let _turn = self.source.receiver.turns.take().await;
        let call = Call(self);
        poll_fn(|cx| call.0.poll_line(cx)).await
    }

    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<String>>> {
        let mut line = ready!(self.partial.poll_record(self.source, cx, b'\n'))?;
        if line.is_empty() {
            return Poll::Ready(None);
        }
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        }
        Poll::Ready(Some(text(line)))
    }
}

impl Stream for LineStream<'_> {
    type Item = io::Result<String>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_line(cx)
    }
}

impl std::fmt::Debug for LineStream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LineStream").field("held", &self.partial.taken).finish()
    }
}
