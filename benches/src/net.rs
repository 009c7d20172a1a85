//! Sockets: what a server does, and what the load at its other end does meanwhile.
//!
//! To add a workload: a variant of [`Work`] and an entry of [`CATALOGUE`], what the server counts in [`Progress`], and a file
//! in `load/` if it is another load.

use std::cell::Cell;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::contender::{Listen, Runtime, cannot};
use crate::meter::{Meter, Span, cpu_time};
use crate::workload::{self, A_SECOND, Figure, Limit, RAW, Target, Workload, cpu, cpu_of_best_peer};

/// What is done with sockets: TCP over loopback.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Each connection sends a message, waits until it has come back, and sends the next.
    Echo(Echo),
    /// Messages are due at fixed times, whether or not the last one has come back.
    Paced(Paced),
    /// A connection is made, a message goes there and back, the connection is reset.
    Churn(Churn),
    /// Connections that have been used once and then rest.
    Idle(Idle),
}

/// Messages there and back.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    /// Bytes of a message.
    pub size: usize,
    /// Connections at the same time.
    pub connections: usize,
}

/// Messages in an even stream, over all connections in turn.
#[derive(Clone, Copy, Debug)]
pub struct Paced {
    /// Bytes of a message.
    pub size: usize,
    /// Connections at the same time.
    pub connections: usize,
    /// Messages a second.
    pub rate: u32,
}

/// Connections of one message.
#[derive(Clone, Copy, Debug)]
pub struct Churn {
    /// Bytes of the message.
    pub size: usize,
    /// Connections at the same time.
    pub at_once: usize,
}

/// Connections at rest.
#[derive(Clone, Copy, Debug)]
pub struct Idle {
    /// Bytes of the one message.
    pub size: usize,
    /// How many rest.
    pub connections: usize,
}

/// The workloads of this family, in the order of the table.
pub const CATALOGUE: &[Workload] = &[
    echo("echo-1", "TCP echo, 64 B, 1 connection", Echo { size: 64, connections: 1 }),
    echo("echo-50", "TCP echo, 64 B, 50 connections", Echo { size: 64, connections: 50 }),
    echo("echo-1000", "TCP echo, 64 B, 1000 connections", Echo { size: 64, connections: 1000 }),
    echo("echo-16k", "TCP echo, 16 KiB, 50 connections", Echo { size: 16 << 10, connections: 50 }),
    Workload {
        targets: &[cpu(1.05, RAW), p99_of_tokio()],
        ..entry(
            "paced",
            "TCP echo, 64 B, 50 connections, 50,000 requests a second",
            Work::Paced(Paced { size: 64, connections: 50, rate: 50_000 }),
        )
    },
    Workload {
        targets: &[cpu(1.05, RAW)],
        ..entry(
            "churn",
            "TCP connect, 64 B there and back, close, 32 at a time",
            Work::Churn(Churn { size: 64, at_once: 32 }),
        )
    },
    Workload {
        span: Span::Operations { warm_up: 0, counted: IDLE.connections as u64 },
        key: MEMORY,
        targets: &[Target { figure: MEMORY, limit: Limit::AtMost(600.0) }],
        ..entry("idle", "memory of an idle connection, 9,500 of them", Work::Idle(IDLE))
    },
];

const IDLE: Idle = Idle { size: 64, connections: 9500 };
const MEMORY: Figure = Figure::Noted("memory", "B");

const fn entry(id: &'static str, title: &'static str, work: Work) -> Workload {
    let work = workload::Work::Net(work);
    Workload { id, title, work, span: A_SECOND, key: Figure::CpuTime, base: RAW, targets: &[] }
}

const fn echo(id: &'static str, title: &'static str, echo: Echo) -> Workload {
    Workload { targets: ECHO_TARGETS, ..entry(id, title, Work::Echo(echo)) }
}

const ECHO_TARGETS: &[Target] = &[cpu(1.05, RAW), cpu_of_best_peer(1.0), p99_of_tokio()];

const fn p99_of_tokio() -> Target {
    Target { figure: Figure::Noted("latency p99", "ns"), limit: Limit::Times(1.0, "tokio") }
}

impl Work {
    /// Bytes of a message.
    pub fn size(self) -> usize {
        match self {
            Work::Echo(Echo { size, .. })
            | Work::Paced(Paced { size, .. })
            | Work::Churn(Churn { size, .. })
            | Work::Idle(Idle { size, .. }) => size,
        }
    }

    /// Connections at the same time.
    pub fn connections(self) -> usize {
        match self {
            Work::Echo(Echo { connections, .. })
            | Work::Paced(Paced { connections, .. })
            | Work::Idle(Idle { connections, .. }) => connections,
            Work::Churn(Churn { at_once, .. }) => at_once,
        }
    }

    /// Lets this process have a descriptor for each connection.
    pub fn raise_limit(self) -> io::Result<()> {
        let needed = self.connections() as u64 + 100;
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        if hard < needed {
            return Err(cannot(&format!("at most {hard} descriptors are allowed here")));
        }
        setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard)?;
        Ok(())
    }
}

/// What a server has done, for the meter.
pub struct Progress {
    work: Work,
    meter: &'static Meter,
    /// Messages passed back in all.
    messages: Cell<u64>,
    /// Memory of the process before the first connection, in bytes.
    before: usize,
    /// The process's CPU time when the connections came to rest.
    at_rest: Cell<Duration>,
}

impl Progress {
    /// The server is about to accept.
    pub fn begin(work: Work, meter: &'static Meter) -> io::Result<Progress> {
        let before = resident_memory()?;
        if let Work::Idle(_) = work {
            meter.begin();
        }
        Ok(Progress { work, meter, messages: Cell::new(0), before, at_rest: Cell::default() })
    }

    /// So many bytes were passed back on a connection; `partial` is what has been passed back of its present message.
    pub fn passed_back(&self, partial: &mut usize, count: usize) {
        *partial += count;
        while *partial >= self.work.size() {
            *partial -= self.work.size();
            match self.work {
                Work::Echo(_) | Work::Paced(_) => self.meter.add(),
                Work::Churn(_) => {}
                Work::Idle(idle) => self.rested(idle),
            }
        }
    }

    fn rested(&self, idle: Idle) {
        self.messages.set(self.messages.get() + 1);
        self.meter.add();
        let connections = idle.connections as u64;
        if self.messages.get() == connections {
            let grown = resident_memory().unwrap_or(usize::MAX).saturating_sub(self.before);
            self.meter.note("memory", grown as f64 / connections as f64);
            self.at_rest.set(cpu_time());
        }
        if self.messages.get() > connections {
            self.meter.note("CPU at rest", (cpu_time() - self.at_rest.get()).as_nanos() as f64);
            self.meter.end();
        }
    }

    /// A connection has ended.
    pub fn closed(&self) {
        if let Work::Churn(_) = self.work {
            self.meter.add();
        }
    }

    /// Whether all is done that counts.
    pub fn is_over(&self) -> bool {
        self.meter.is_over()
    }
}

/// Bytes of this process's memory that are present.
fn resident_memory() -> io::Result<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    Ok(pages.ok_or(ErrorKind::InvalidData)? * 4096)
}

/// A runtime's sockets, as its users write them.
pub trait Net: Runtime {
    type Listener: 'static;
    /// A connection, with what it receives into.
    type Stream: 'static;

    fn listen(listener: TcpListener) -> io::Result<Self::Listener>;

    /// The next connection, to receive up to `room` bytes at once.
    fn accept(listener: &mut Self::Listener, room: usize) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Receives what is there and sends it back; gives the number of bytes, 0 at the end.
    fn pass_back(stream: &mut Self::Stream) -> impl Future<Output = io::Result<usize>>;

    /// Has a task of its own do it, whose end nobody waits for.
    fn detach(task: impl Future<Output = ()> + 'static);
}

/// Does this work with this runtime.
pub fn perform<N: Net>(runtime: &N, work: Work, listen: Listen, meter: &'static Meter) -> io::Result<()> {
    work.raise_limit()?;
    runtime.run(serve::<N>(work, listen, meter))
}

/// A task per connection. When all is done that counts, connections are closed; so the other end learns of it, and makes a
/// last one.
async fn serve<N: Net>(work: Work, listen: Listen, meter: &'static Meter) -> io::Result<()> {
    let mut listener = N::listen(listen()?)?;
    let progress = Rc::new(Progress::begin(work, meter)?);
    // Larger than a message: a runtime that asks for readiness takes a filled buffer for a sign that there is more, and asks
    // again.
    let room = 2 * work.size().max(1024);
    loop {
        let stream = N::accept(&mut listener, room).await?;
        if progress.is_over() {
            return Ok(());
        }
        N::detach(serve_one::<N>(stream, progress.clone()));
    }
}

async fn serve_one<N: Net>(mut stream: N::Stream, progress: Rc<Progress>) {
    let mut partial = 0;
    while !progress.is_over() {
        match N::pass_back(&mut stream).await {
            // The other end resets, which is an error to some.
            Ok(0) | Err(_) => break,
            Ok(count) => progress.passed_back(&mut partial, count),
        }
    }
    drop(stream);
    progress.closed();
}
