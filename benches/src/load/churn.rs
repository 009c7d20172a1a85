//! Connections that live for one message, several at a time, and are reset, so that none is left in TIME_WAIT.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use socket2::SockRef;

use super::connection::{Connection, Received, is_end};
use super::{Load, Tally};
use crate::net::Churn;

pub(super) fn generate(churn: Churn, to: SocketAddr) -> io::Result<Load> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut connections = Vec::with_capacity(churn.at_once);
    let mut events = vec![EpollEvent::empty(); churn.at_once];
    let mut tally = Tally::begin();
    for index in 0..churn.at_once {
        connections.push(open(to, churn, index, &epoll)?);
    }
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let index = event.data() as usize;
            match connections[index].receive()? {
                Received::Part => {}
                Received::Answer(due) => {
                    tally.answered(due);
                    match open(to, churn, index, &epoll) {
                        Ok(next) => connections[index] = next,
                        Err(error) if is_end(&error) => return Ok(tally.end(Duration::ZERO)),
                        Err(error) => return Err(error),
                    }
                }
                Received::End => return Ok(tally.end(Duration::ZERO)),
            }
        }
    }
}

/// Connects and sends. Its latency counts from the connect on.
fn open(to: SocketAddr, churn: Churn, index: usize, epoll: &Epoll) -> io::Result<Connection> {
    let due = Instant::now();
    let mut connection = Connection::open(to, churn.size, index)?;
    // Closing resets.
    SockRef::from(&connection.stream).set_linger(Some(Duration::ZERO))?;
    connection.send(due)?;
    epoll.add(&connection.stream, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
    Ok(connection)
}
