//! One connection of a load: numbered messages out, the same in the same order back.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

/// A connection, with the messages that are under way on it.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// What goes out, but for the number in the first bytes.
    message: Vec<u8>,
    /// When the messages were due that have not come back.
    due: VecDeque<Instant>,
    /// The number of the next message that comes back.
    next: u64,
    /// What has come back of it.
    answer: Vec<u8>,
    filled: usize,
}

/// What has come.
pub(super) enum Received {
    Part,
    /// The answer to the message that was due then.
    Answer(Instant),
    /// The server has done enough.
    End,
}

impl Connection {
    pub(super) fn open(to: SocketAddr, size: usize, index: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            message: (0..size).map(|at| (at * 31 + index * 7) as u8).collect(),
            due: VecDeque::with_capacity(1),
            next: 0,
            answer: vec![0; size],
            filled: 0,
        })
    }

    /// So many that are watched by the same epoll.
    pub(super) fn open_many(to: SocketAddr, size: usize, count: usize) -> io::Result<(Vec<Self>, Epoll)> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut all = Vec::with_capacity(count);
        for index in 0..count {
            let connection = Connection::open(to, size, index)?;
            connection.stream.set_nonblocking(true)?;
            epoll.add(&connection.stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
            all.push(connection);
        }
        Ok((all, epoll))
    }

    /// Sends the message that was due then. The socket's buffer holds all that is under way.
    pub(super) fn send(&mut self, due: Instant) -> io::Result<()> {
        let number = self.next + self.due.len() as u64;
        put_number(&mut self.message, number);
        self.due.push_back(due);
        match self.stream.write_all(&self.message) {
            // Said once more by the next receive.
            Err(error) if is_end(&error) => Ok(()),
            sent => sent,
        }
    }

    /// Takes what is there of one message.
    pub(super) fn receive(&mut self) -> io::Result<Received> {
        match self.stream.read(&mut self.answer[self.filled..]) {
            Ok(0) => return Ok(Received::End),
            Ok(count) => self.filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if is_end(&error) => return Ok(Received::End),
            Err(error) => return Err(error),
        }
        if self.filled < self.answer.len() {
            return Ok(Received::Part);
        }
        put_number(&mut self.message, self.next);
        assert!(self.answer == self.message, "a message came back changed");
        self.filled = 0;
        self.next += 1;
        let due = self.due.pop_front().expect("nothing comes back that was not sent");
        Ok(Received::Answer(due))
    }
}

fn put_number(message: &mut [u8], number: u64) {
    let head = message.len().min(8);
    message[..head].copy_from_slice(&number.to_le_bytes()[..head]);
}

/// Whether it means that the server has ended the connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionRefused)
}
