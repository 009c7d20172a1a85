//! An open loop: requests are due at fixed times, whether or not the server keeps up, and go out on one connection after the
//! other. Latency counts from the time at which a request was due, so neither a late server nor a late load hides anything.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::epoll::{EpollEvent, EpollTimeout};

use super::connection::{Connection, Received};
use super::{Load, Tally};
use crate::net::Paced;

pub(super) fn generate(paced: Paced, to: SocketAddr) -> io::Result<Load> {
    let Paced { size, connections: count, rate } = paced;
    let (mut connections, epoll) = Connection::open_many(to, size, count)?;
    let mut events = vec![EpollEvent::empty(); count];
    let step = Duration::from_secs(1) / rate;
    let mut tally = Tally::begin();
    let (mut due, mut sent, mut idle) = (tally.start, 0, Duration::ZERO);
    loop {
        // A sleep would come back late by more than the step: it looks at the clock without end.
        let look = Instant::now();
        let mut works = false;
        while due <= look {
            connections[sent % count].send(due)?;
            (sent, due, works) = (sent + 1, due + step, true);
        }
        let arrived = epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in &events[..arrived] {
            match connections[event.data() as usize].receive()? {
                Received::Part => {}
                Received::Answer(due) => tally.answered(due),
                Received::End => return Ok(tally.end(idle)),
            }
        }
        if !works && arrived == 0 {
            idle += look.elapsed();
        }
    }
}
