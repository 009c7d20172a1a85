//! monoio, as its users write it.

mod files;

use std::error::Error;
use std::io;
use std::path::Path;

use monoio::task::JoinHandle;
use monoio::{IoUringDriver, RuntimeBuilder};
use ringloop_benches::contender::{self, Contender, Runtime};
use ringloop_benches::meter::Meter;

struct Monoio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Monoio)
}

impl Runtime for Monoio {
    type Join<T: 'static> = JoinHandle<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let runtime = RuntimeBuilder::<IoUringDriver>::new().enable_timer().build();
        runtime.expect("a runtime can be made").block_on(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> JoinHandle<F::Output> {
        monoio::spawn(task)
    }
}

impl Contender for Monoio {
    fn files(
        &self,
        work: ringloop_benches::files::Work,
        scratch: &Path,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::files::perform(self, work, scratch, meter)
    }
}
