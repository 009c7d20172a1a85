//! smol with one thread: a local executor, files and blocking work on its threads.

mod files;
mod net;
mod tasks;

use std::error::Error;
use std::io;
use std::path::Path;

use ringloop_benches::contender::{self, Contender, Listen, Runtime};
use ringloop_benches::meter::Meter;
use smol::LocalExecutor;

struct Smol;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Smol)
}

thread_local! {
    static EXECUTOR: LocalExecutor<'static> = const { LocalExecutor::new() };
}

impl Runtime for Smol {
    type Join<T: 'static> = smol::Task<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        EXECUTOR.with(|executor| smol::block_on(executor.run(main)))
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        EXECUTOR.with(|executor| executor.spawn(task))
    }
}

impl Contender for Smol {
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
