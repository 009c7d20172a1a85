//! kimojio, as its users write it.

mod net;

use std::error::Error;
use std::io;
use std::pin::Pin;

use ringloop_benches::contender::{self, Contender, Joined, Listen, Runtime};
use ringloop_benches::meter::Meter;

struct Kimojio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Kimojio)
}

impl Runtime for Kimojio {
    type Join<T: 'static> = Joined<Pin<Box<kimojio::operations::TaskHandle<T>>>>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let configuration = kimojio::configuration::Configuration::new()
            .set_exit_behavior(kimojio::configuration::ExitBehavior::WhenMainTaskCompletes);
        let ended = kimojio::run_with_configuration(0, main, configuration);
        ended.expect("nobody shuts it down").expect("a bench does not panic")
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Self::Join<F::Output> {
        Joined(Box::pin(kimojio::operations::spawn_task(task)))
    }
}

impl Contender for Kimojio {
    fn net(
        &self,
        work: ringloop_benches::net::Work,
        listen: Listen,
        meter: &'static Meter,
    ) -> io::Result<()> {
        ringloop_benches::net::perform(self, work, listen, meter)
    }
}
