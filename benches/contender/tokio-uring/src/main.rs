//! tokio-uring, as its users write it: tasks and time are those of the tokio below it.

mod files;
mod net;
mod tasks;

use std::error::Error;
use std::io;
use std::path::Path;

use ringloop_benches::contender::{self, Contender, Joined, Listen, Runtime};
use ringloop_benches::meter::Meter;
use tokio::task::JoinHandle;

struct TokioUring;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| TokioUring)
}

impl Runtime for TokioUring {
    type Join<T: 'static> = Joined<JoinHandle<T>>;

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
