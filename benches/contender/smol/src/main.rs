//! smol with one thread.

mod net;

use std::error::Error;
use std::io;

use ringloop_benches::contender::{self, Contender, Listen, Runtime};
use ringloop_benches::meter::Meter;

struct Smol;

thread_local! {
    static EXECUTOR: smol::LocalExecutor<'static> = const { smol::LocalExecutor::new() };
}

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Smol)
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
    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::net::perform(self, work, listen, meter)
    }
}
