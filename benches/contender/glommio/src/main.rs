//! glommio, as its users write it.

mod files;

use std::error::Error;
use std::io;
use std::path::Path;

use glommio::{LocalExecutor, Task};
use ringloop_benches::contender::{self, Contender, Runtime};
use ringloop_benches::meter::Meter;

struct Glommio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Glommio)
}

impl Runtime for Glommio {
    type Join<T: 'static> = Task<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        LocalExecutor::default().run(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Task<F::Output> {
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
}
