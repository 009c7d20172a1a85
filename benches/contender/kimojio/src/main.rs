//! kimojio, as its users write it.

mod files;

use std::error::Error;
use std::io;
use std::path::Path;

use kimojio::operations::{TaskHandle, spawn_task};
use ringloop_benches::contender::{self, Contender, Joined, Runtime};
use ringloop_benches::meter::Meter;

struct Kimojio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Kimojio)
}

impl Runtime for Kimojio {
    type Join<T: 'static> = Joined<TaskHandle<T>>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let ended = kimojio::run(0, main).expect("nobody ends its loop early");
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Joined(spawn_task(task))
    }
}

impl Contender for Kimojio {
    fn files(
        &self,
        work: ringloop_benches::files::Work,
        scratch: &Path,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::files::perform(self, work, scratch, meter)
    }
}
