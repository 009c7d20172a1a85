//! Many connections that have all been used once and then rest; after a while one is used again.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::connection::{Connection, Received};
use super::{Load, Tally};
use crate::net::Idle;

/// How long they rest.
const REST: Duration = Duration::from_secs(1);

pub(super) fn generate(idle: Idle, to: SocketAddr) -> io::Result<Load> {
    let mut tally = Tally::begin();
    let mut connections = Vec::with_capacity(idle.connections);
    for index in 0..idle.connections {
        let mut connection = Connection::open(to, idle.size, index)?;
        pass(&mut connection, &mut tally)?;
        connections.push(connection);
    }
    std::thread::sleep(REST);
    pass(&mut connections[0], &mut tally)?;
    Ok(tally.end(Duration::ZERO))
}

/// One message there and back.
fn pass(connection: &mut Connection, tally: &mut Tally) -> io::Result<()> {
    connection.send(Instant::now())?;
    loop {
        match connection.receive()? {
            Received::Part => {}
            Received::Answer(due) => {
                tally.answered(due);
                return Ok(());
            }
            Received::End => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}
