//! smol with one thread: a local executor.

mod files;

use std::error::Error;
use std::io;
use std::path::Path;

use ringloop_benches::contender::{self, Contender, Runtime};
use ringloop_benches::meter::Meter;
use smol::{LocalExecutor, Task};

struct Smol;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Smol)
}

thread_local! {
    /// Lives as long as the process.
    static EXECUTOR: &'static LocalExecutor<'static> = Box::leak(Box::new(LocalExecutor::new()));
}

impl Runtime for Smol {
    type Join<T: 'static> = Task<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        EXECUTOR.with(|executor| smol::block_on(executor.run(main)))
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Task<F::Output> {
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
}
