//! glommio, as its users write it.

mod net;

use std::error::Error;
use std::io;

use ringloop_benches::contender::{self, Contender, Listen, Runtime};
use ringloop_benches::meter::Meter;

struct Glommio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Glommio)
}

impl Runtime for Glommio {
    type Join<T: 'static> = glommio::Task<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        glommio::LocalExecutor::default().run(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        glommio::spawn_local(task)
    }
}

impl Contender for Glommio {
    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::net::perform(self, work, listen, meter)
    }
}
