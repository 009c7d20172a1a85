//! kimojio, as its users write it.

mod files;
mod net;
mod tasks;

use std::error::Error;
use std::io;
use std::path::Path;

use kimojio::configuration::{Configuration, ExitBehavior};
use kimojio::operations::{self, TaskHandle};
use ringloop_benches::contender::{self, Contender, Joined, Listen, Runtime};
use ringloop_benches::meter::Meter;

struct Kimojio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Kimojio)
}

impl Runtime for Kimojio {
    type Join<T: 'static> = Joined<TaskHandle<T>>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let configuration = Configuration::new().set_exit_behavior(ExitBehavior::WhenMainTaskCompletes);
        let ended = kimojio::run_with_configuration(0, main, configuration);
        ended.and_then(Result::ok).expect("a bench runs to its end")
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Joined(operations::spawn_task(task))
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
