//! compio, by default and with a ring as ringloop sets it up: a single issuer, deferred task work.

mod files;
mod net;
mod tasks;

use std::error::Error;
use std::io;
use std::path::Path;

use compio::driver::ProactorBuilder;
use compio::runtime::{JoinHandle, RuntimeBuilder};
use ringloop_benches::contender::{self, Contender, Joined, Listen, Runtime};
use ringloop_benches::meter::Meter;

struct Compio {
    tuned: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|name| Compio { tuned: name == "compio-tuned" })
}

impl Runtime for Compio {
    type Join<T: 'static> = Joined<JoinHandle<T>>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let mut ring = ProactorBuilder::new();
        if self.tuned {
            ring.single_issuer(true).defer_taskrun(true).taskrun_flag(true);
        }
        let mut builder = RuntimeBuilder::new();
        builder.with_proactor(ring).build().expect("a runtime can be made").block_on(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Joined(compio::runtime::spawn(task))
    }
}

impl Contender for Compio {
    fn files(
        &self,
        work: ringloop_benches::files::Work,
        scratch: &Path,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::files::perform(self, work, scratch, meter)
    }

    fn tasks(&self, work: ringloop_benches::tasks::Work, meter: &'static Meter) -> io::Result<()> {
        ringloop_benches::tasks::perform(self, work, meter)
    }

    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::net::perform(self, work, listen, meter)
    }
}
