//! tokio-uring, as its users write it.

mod files;

use std::error::Error;
use std::io;
use std::path::Path;

use ringloop_benches::contender::{self, Contender, Joined, Runtime};
use ringloop_benches::meter::Meter;

struct TokioUring;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| TokioUring)
}

impl Runtime for TokioUring {
    type Join<T: 'static> = Joined<tokio::task::JoinHandle<T>>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        tokio_uring::start(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Joined(tokio_uring::spawn(task))
    }
}

impl Contender for TokioUring {
    fn files(
        &self,
        work: ringloop_benches::files::Work,
        scratch: &Path,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::files::perform(self, work, scratch, meter)
    }
}
