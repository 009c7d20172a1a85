//! Sockets: what a server does, and what the load at its other end does meanwhile.
//!
//! To add a workload: a variant of [`Work`] and an entry of [`CATALOGUE`], a function over [`Net`] if it is another server,
//! a branch in `load` if it is another load.

use std::future::Future;
use std::io;
use std::net::TcpListener;

use crate::contender::{Listen, Runtime};
use crate::meter::Meter;
use crate::workload::{self, A_SECOND, Figure, RAW, Target, Workload, cpu, cpu_of_best_peer};

/// What is done with sockets.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// TCP over loopback: each connection sends a message, waits until it has come back, and sends the next.
    Echo(Echo),
}

/// Messages there and back.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    /// Bytes of a message.
    pub size: usize,
    /// Connections at the same time.
    pub connections: usize,
}

/// The workloads of this family, in the order of the table.
pub const CATALOGUE: &[Workload] = &[
    echo("echo-1", "TCP echo, 64 B, 1 connection", Echo { size: 64, connections: 1 }),
    echo("echo-50", "TCP echo, 64 B, 50 connections", Echo { size: 64, connections: 50 }),
];

const ECHO_TARGETS: &[Target] = &[cpu(1.05, RAW), cpu_of_best_peer(1.0)];

const fn echo(id: &'static str, title: &'static str, echo: Echo) -> Workload {
    Workload {
        id,
        title,
        work: workload::Work::Net(Work::Echo(echo)),
        span: A_SECOND,
        key: Figure::CpuTime,
        base: RAW,
        targets: ECHO_TARGETS,
    }
}

/// A runtime's sockets, as its users write them.
pub trait Net: Runtime {
    type Listener: 'static;
    type Stream: 'static;

    fn listen(listener: TcpListener) -> io::Result<Self::Listener>;
    fn accept(listener: &mut Self::Listener) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Receives what is there, at most as much as the buffer is long, and sends it back; gives the number of bytes, 0 at the
    /// end. The buffer keeps its length.
    fn pass_back(stream: &mut Self::Stream, buffer: &mut Vec<u8>) -> impl Future<Output = io::Result<usize>>;
}

/// Does this work with this runtime.
pub fn perform<N: Net>(runtime: &N, work: Work, listen: Listen, meter: &'static Meter) -> io::Result<()> {
    match work {
        Work::Echo(echo) => runtime.run(serve_echo::<N>(echo, listen, meter)),
    }
}

/// A task per connection. When all is done that counts, connections are closed, and so the other end learns of it.
async fn serve_echo<N: Net>(echo: Echo, listen: Listen, meter: &'static Meter) -> io::Result<()> {
    let mut listener = N::listen(listen()?)?;
    let mut served = Vec::new();
    for _ in 0..echo.connections {
        let stream = N::accept(&mut listener).await?;
        served.push(N::spawn(serve::<N>(stream, echo, meter)));
    }
    for connection in served {
        connection.await?;
    }
    Ok(())
}

async fn serve<N: Net>(mut stream: N::Stream, echo: Echo, meter: &'static Meter) -> io::Result<()> {
    // Larger than a message: a runtime that asks for readiness takes a filled buffer for a sign that there is more, and asks
    // again.
    let mut buffer = vec![0; 2 * echo.size.max(1024)];
    // Of the present message: it may come in pieces.
    let mut received = 0;
    while !meter.is_over() {
        let count = N::pass_back(&mut stream, &mut buffer).await?;
        if count == 0 {
            break;
        }
        received += count;
        while received >= echo.size {
            received -= echo.size;
            meter.add();
        }
    }
    Ok(())
}
