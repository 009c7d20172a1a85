//! monoio, as its users write it.

mod net;

use std::error::Error;
use std::io;

use ringloop_benches::contender::{self, Contender, Listen, Runtime};
use ringloop_benches::meter::Meter;

struct Monoio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Monoio)
}

impl Runtime for Monoio {
    type Join<T: 'static> = monoio::task::JoinHandle<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().enable_timer().build();
        runtime.expect("a runtime can be made").block_on(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        monoio::spawn(task)
    }
}

impl Contender for Monoio {
    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::net::perform(self, work, listen, meter)
    }
}
