//! monoio, as its users write it.

mod files;
mod net;
mod tasks;

use std::error::Error;
use std::io;
use std::path::Path;

use monoio::blocking::DefaultThreadPool;
use monoio::{IoUringDriver, RuntimeBuilder};
use ringloop_benches::contender::{self, Contender, Listen, Runtime};
use ringloop_benches::meter::Meter;

struct Monoio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Monoio)
}

impl Runtime for Monoio {
    type Join<T: 'static> = monoio::task::JoinHandle<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let builder = RuntimeBuilder::<IoUringDriver>::new().enable_timer();
        let builder = builder.attach_thread_pool(Box::new(DefaultThreadPool::new(4)));
        builder.build().expect("a runtime can be made").block_on(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
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
