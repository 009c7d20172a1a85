//! compio, by default and with a tuned ring.

mod net;

use std::error::Error;
use std::io;

use ringloop_benches::contender::{self, Contender, Joined, Listen, Runtime};
use ringloop_benches::meter::Meter;

/// A runtime, with the flags of a ring that one thread alone uses or without.
struct Compio {
    tuned: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|name| Compio { tuned: name == "compio-tuned" })
}

impl Runtime for Compio {
    type Join<T: 'static> = Joined<compio::runtime::JoinHandle<T>>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let mut ring = compio::driver::ProactorBuilder::new();
        if self.tuned {
            ring.single_issuer(true).defer_taskrun(true).taskrun_flag(true);
        }
        let runtime = compio::runtime::Runtime::builder().with_proactor(ring).build();
        runtime.expect("a runtime can be made").block_on(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Joined(compio::runtime::spawn(task))
    }
}

impl Contender for Compio {
    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::net::perform(self, work, listen, meter)
    }
}
