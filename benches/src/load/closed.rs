//! A closed loop: each connection sends a message, waits until it has come back, and sends the next.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollTimeout};

use super::connection::{Connection, Received};
use super::{Load, Tally};
use crate::net::Echo;

pub(super) fn generate(echo: Echo, to: SocketAddr) -> io::Result<Load> {
    let (mut connections, epoll) = Connection::open_many(to, echo.size, echo.connections)?;
    let mut events = vec![EpollEvent::empty(); echo.connections];
    let mut tally = Tally::begin();
    for connection in &mut connections {
        connection.send(Instant::now())?;
    }
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let connection = &mut connections[event.data() as usize];
            match connection.receive()? {
                Received::Part => {}
                Received::Answer(due) => {
                    tally.answered(due);
                    connection.send(Instant::now())?;
                }
                Received::End => return Ok(tally.end(Duration::ZERO)),
            }
        }
    }
}
