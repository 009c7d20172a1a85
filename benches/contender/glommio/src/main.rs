//! glommio, as its users write it.

mod files;
mod net;
mod tasks;

use std::error::Error;
use std::io;
use std::path::Path;

use glommio::LocalExecutorBuilder;
use ringloop_benches::contender::{self, Contender, Listen, Runtime};
use ringloop_benches::meter::Meter;

struct Glommio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Glommio)
}

impl Runtime for Glommio {
    type Join<T: 'static> = glommio::Task<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let executor = LocalExecutorBuilder::default().make();
        executor.expect("an executor can be made").run(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        glommio::spawn_local(task)
    }
}

impl Contender for Glommio {
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
