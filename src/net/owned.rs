//! Sending a buffer of the caller's, without copying it.
//!
//! Written out instead of an `async fn`, which would keep the buffer twice: a task that answers with what it received is
//! mostly this future, and there may be thousands of them at rest.

use std::future::Future;
use std::mem::replace;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::out_queue::OutQueue;
use super::turn::{Take, Turn};
use crate::buf::IoBuf;
use crate::error::{BufError, BufResult};
use crate::reactor::Op;

/// The future of `write_owned`: takes its turn, waits until nothing is queued, sends.
pub(super) struct WriteOwned<'a, B: IoBuf> {
    queue: &'a Rc<OutQueue>,
    stage: Stage<'a, B>,
}

enum Stage<'a, B: IoBuf> {
    /// Others write.
    InLine(Take<'a>, B),
    /// What they have written is on its way.
    Behind(Turn<'a>, B),
    /// The kernel has the buffer.
    Sending { _turn: Turn<'a>, send: Op<BufResult<B>> },
    /// The result was given out.
    Ended,
}

impl<'a, B: IoBuf> WriteOwned<'a, B> {
    pub(super) fn new(queue: &'a Rc<OutQueue>, buf: B) -> Self {
        WriteOwned { queue, stage: Stage::InLine(queue.turns.take(), buf) }
    }
}

impl<B: IoBuf> Future for WriteOwned<'_, B> {
    type Output = BufResult<B>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<BufResult<B>> {
        let queue = self.queue;
        loop {
            match &mut self.stage {
                Stage::InLine(take, _) => {
                    let turn = ready!(Pin::new(take).poll(cx));
                    if let Stage::InLine(_, buf) = replace(&mut self.stage, Stage::Ended) {
                        self.stage = Stage::Behind(turn, buf);
                    }
                }
                Stage::Behind(..) => {
                    let idle = ready!(queue.poll_idle(cx)).and_then(|()| queue.check());
                    let Stage::Behind(turn, buf) = replace(&mut self.stage, Stage::Ended) else { continue };
                    if let Err(error) = idle {
                        return Poll::Ready(Err(BufError { error, buf, done: 0 }));
                    }
                    if buf.is_empty() {
                        return Poll::Ready(Ok((0, buf)));
                    }
                    self.stage = Stage::Sending { _turn: turn, send: queue.send_owned(buf) };
                }
                Stage::Sending { send, .. } => {
                    let sent = ready!(Pin::new(send).poll(cx));
                    self.stage = Stage::Ended;
                    return Poll::Ready(sent);
                }
                Stage::Ended => panic!("a write_owned was polled after it had ended"),
            }
        }
    }
}
