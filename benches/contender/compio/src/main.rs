//! compio, by default and with a tuned ring.

mod files;

use std::error::Error;
use std::io;
use std::path::Path;

use compio::driver::ProactorBuilder;
use compio::runtime::{JoinHandle, RuntimeBuilder};
use ringloop_benches::contender::{self, Contender, Joined, Runtime};
use ringloop_benches::meter::Meter;

struct Compio {
    /// For one thread that asks for its completions itself.
    tuned: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|name| Compio { tuned: name == "compio-tuned" })
}

impl Runtime for Compio {
    type Join<T: 'static> = Joined<JoinHandle<T>>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let mut proactor = ProactorBuilder::new();
        if self.tuned {
            proactor.single_issuer(true).taskrun_flag(true).defer_taskrun(true);
        }
        let runtime = RuntimeBuilder::new().with_proactor(proactor).build();
        runtime.expect("a runtime can be made").block_on(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Joined(compio::runtime::spawn(task))
    }
}

impl Contender for Compio {
    fn files(
        &self,
        work: ringloop_benches::files::Work,
        scratch: &Path,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::files::perform(self, work, scratch, meter)
    }
}
