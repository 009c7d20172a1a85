//! ringloop, as its users write it.

mod files;
mod net;
mod tasks;

use std::error::Error;
use std::io;
use std::path::Path;

use ringloop_benches::contender::{self, Contender, Joined, Listen, OURS_BY_CHUNK, Runtime, cannot};
use ringloop_benches::meter::{Counters, Meter};

#[derive(Default)]
pub struct Ringloop {
    /// Sockets lend and take buffers, also where a workload does not ask for it.
    by_chunk: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|name| Ringloop { by_chunk: name == OURS_BY_CHUNK })
}

impl Runtime for Ringloop {
    type Join<T: 'static> = Joined<ringloop::Task<T>>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        ringloop::run(main).expect("a loop can run here")
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Joined(ringloop::create_task(task))
    }
}

impl Contender for Ringloop {
    fn counters() -> Counters {
        let stats = ringloop::testing::stats();
        let counted = [("turns", stats.turns), ("enters", stats.enters), ("completions", stats.completed)];
        counted.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn tasks(&self, work: ringloop_benches::tasks::Work, meter: &'static Meter) -> io::Result<()> {
        self.without_sockets()?;
        ringloop_benches::tasks::perform(self, work, meter)
    }

    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        match work {
            // Who holds many connections at rest has no buffer for each.
            ringloop_benches::net::Work::Idle(_) => {
                ringloop_benches::net::perform(&net::Chunks, work, listen, meter)
            }
            _ if self.by_chunk => ringloop_benches::net::perform(&net::Chunks, work, listen, meter),
            _ => ringloop_benches::net::perform(self, work, listen, meter),
        }
    }

    fn files(
        &self,
        work: ringloop_benches::files::Work,
        scratch: &Path,
        meter: &'static Meter,
    ) -> io::Result<()> {
        self.without_sockets()?;
        ringloop_benches::files::perform(self, work, scratch, meter)
    }
}

impl Ringloop {
    /// Chunks are a matter of sockets.
    fn without_sockets(&self) -> io::Result<()> {
        if self.by_chunk { Err(cannot("the same as ringloop")) } else { Ok(()) }
    }
}
