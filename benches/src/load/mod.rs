//! The load: the other end of a server, a program of its own, so that its cost is not the server's.
//!
//! One thread, readiness by epoll, plain calls. Every byte that comes back is compared. It ends when the server closes a
//! connection, and makes a last one, so that a server that waits for connections learns of it.
//!
//! It reports how long it was at work: where that is near all the time, the load bounds the rate, and the server's CPU time
//! per request is the figure to look at.

mod churn;
mod closed;
mod connection;
mod idle;
mod open;

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::meter::cpu_time;
use crate::net::Work;

/// What a load has done and seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Requests that were answered.
    pub requests: u64,
    /// Time at work: CPU time, without what a paced load spends on looking at the clock.
    pub busy: Duration,
    pub wall: Duration,
    /// Figures of the requests: latencies in nanoseconds.
    pub noted: BTreeMap<String, f64>,
}

impl Load {
    /// The share of the time in which the load was at work: near 1, it bounds the rate.
    pub fn share(&self) -> f64 {
        self.busy.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// Does the other end of this work against the server at `to`.
pub fn generate(work: Work, to: SocketAddr) -> io::Result<Load> {
    let load = match work {
        Work::Echo(echo) => closed::generate(echo, to),
        Work::Paced(paced) => open::generate(paced, to),
        Work::Churn(churn) => churn::generate(churn, to),
        Work::Idle(idle) => idle::generate(idle, to),
    };
    // The server may be gone by now.
    let _ = TcpStream::connect(to);
    load
}

/// Latencies of the first so much time are not recorded.
const WARM_UP: Duration = Duration::from_millis(200);

/// Requests in the making: their number and latencies.
struct Tally {
    cpu: Duration,
    start: Instant,
    requests: u64,
    /// From the time at which a request was due to its answer.
    latency: Histogram<u64>,
}

impl Tally {
    fn begin() -> Tally {
        // Up to a minute, to a thousandth.
        let latency = Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds are sound");
        Tally { cpu: cpu_time(), start: Instant::now(), requests: 0, latency }
    }

    /// A request that was due then has been answered.
    fn answered(&mut self, due: Instant) {
        self.requests += 1;
        let now = Instant::now();
        if now - self.start > WARM_UP {
            self.latency.saturating_record((now - due).as_nanos() as u64);
        }
    }

    /// The report of a load that spent so much of its time on looking at the clock.
    fn end(self, idle: Duration) -> Load {
        let at = |quantile| self.latency.value_at_quantile(quantile) as f64;
        let noted = [("latency p50", at(0.5)), ("latency p99", at(0.99))];
        Load {
            requests: self.requests,
            busy: (cpu_time() - self.cpu).saturating_sub(idle),
            wall: self.start.elapsed(),
            noted: noted.map(|(name, value)| (name.to_owned(), value)).into(),
        }
    }
}
