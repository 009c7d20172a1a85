//! Who does the workloads: a file per contender.

mod plain;
mod ringloop;
mod tokio;

use std::io;
use std::net::TcpListener;

use crate::meter::{Counters, Meter};
use crate::{Echo, Reads};

/// Makes the listener of an echo, and tells the generator where it is.
pub type Listen = fn() -> io::Result<TcpListener>;

/// The size of a buffer to receive messages of this size. Larger: a runtime that asks for readiness takes a filled buffer for
/// a sign that there is more, and asks again.
fn receive_size(message: usize) -> usize {
    2 * message.max(1024)
}

/// A way to do the workloads. What it cannot do it says, by an error of kind `Unsupported`.
pub trait Contender: Sync {
    /// Its name in tables and on the command line.
    fn name(&self) -> &'static str;

    /// What it counts of itself, read inside of its loop.
    fn counters(&self) -> Counters {
        Counters::new()
    }

    /// Listens, accepts the workload's connections, sends back what comes on each until its end, and returns when all have
    /// ended.
    fn echo(&self, _echo: Echo, _listen: Listen, _meter: &'static Meter) -> io::Result<()> {
        Err(cannot("no sockets"))
    }

    /// Reads until all that counts is done.
    fn reads(&self, _reads: &'static Reads, _meter: &'static Meter) -> io::Result<()> {
        Err(cannot("no files"))
    }
}

fn cannot(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// All contenders, in the order of the tables.
pub static ALL: [&dyn Contender; 3] = [&ringloop::Ringloop, &tokio::Tokio, &plain::Plain];

/// The contender of this name.
pub fn named(name: &str) -> Option<&'static dyn Contender> {
    ALL.into_iter().find(|contender| contender.name() == name)
}
