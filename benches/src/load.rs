//! The other end of an echo: the load generator, a program of its own, so that its cost is not the server's.
//!
//! One thread, readiness by epoll, plain sends and receives. Each connection has one message under way; every byte that
//! comes back is compared. It reports its own CPU time and the time of day: where the two are near each other, the
//! generator is what bounds the requests per second, and the server's CPU time per request is the figure to look at.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use serde::{Deserialize, Serialize};

use crate::meter::cpu_time;
use crate::net::Echo;

/// What the generator used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Messages sent and received.
    pub messages: u64,
    pub cpu: Duration,
    pub wall: Duration,
}

impl Load {
    /// The share of the time in which the generator was at work: near 1, it bounds the rate.
    pub fn share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}

struct Connection {
    stream: TcpStream,
    /// What goes out, another for each message.
    message: Vec<u8>,
    /// What has come back of it.
    answer: Vec<u8>,
    filled: usize,
}

impl Connection {
    fn open(to: SocketAddr, size: usize, number: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let message = (0..size).map(|at| (at * 31 + number * 7) as u8).collect();
        Ok(Connection { stream, message, answer: vec![0; size], filled: 0 })
    }

    fn send(&mut self, number: u64) -> io::Result<()> {
        let head = self.message.len().min(8);
        self.message[..head].copy_from_slice(&number.to_le_bytes()[..head]);
        // One message is under way at a time, and the socket's buffer holds more than that.
        self.stream.write_all(&self.message)
    }

    fn receive(&mut self) -> io::Result<Received> {
        match self.stream.read(&mut self.answer[self.filled..]) {
            Ok(0) => return Ok(Received::End),
            Ok(count) => self.filled += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(Received::End),
            Err(error) => return Err(error),
        }
        if self.filled < self.answer.len() {
            return Ok(Received::Part);
        }
        assert!(self.answer == self.message, "a message came back changed");
        self.filled = 0;
        Ok(Received::Message)
    }
}

/// What has come.
enum Received {
    Part,
    Message,
    /// The server has done enough.
    End,
}

/// Sends against the server at `to`, until that closes a connection.
pub fn generate(echo: Echo, to: SocketAddr) -> io::Result<Load> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut connections = Vec::new();
    for number in 0..echo.connections {
        let connection = Connection::open(to, echo.size, number)?;
        epoll.add(&connection.stream, EpollEvent::new(EpollFlags::EPOLLIN, number as u64))?;
        connections.push(connection);
    }
    let (cpu, wall) = (cpu_time(), Instant::now());
    let (mut sent, mut received) = (0, 0);
    for connection in &mut connections {
        connection.send(sent)?;
        sent += 1;
    }
    let mut events = vec![EpollEvent::empty(); echo.connections];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let connection = &mut connections[event.data() as usize];
            match connection.receive()? {
                Received::Part => {}
                Received::Message => {
                    received += 1;
                    connection.send(sent)?;
                    sent += 1;
                }
                Received::End => {
                    return Ok(Load { messages: received, cpu: cpu_time() - cpu, wall: wall.elapsed() });
                }
            }
        }
    }
}
