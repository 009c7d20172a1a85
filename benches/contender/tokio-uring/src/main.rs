//! tokio-uring, as its users write it.

mod net;

use std::error::Error;
use std::io;

use ringloop_benches::contender::{self, Contender, Joined, Listen, Runtime};
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
    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::net::perform(self, work, listen, meter)
    }
}
