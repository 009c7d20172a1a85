//! The bare ring, and loops written by hand, as good as they get: no futures where it is about I/O, the least that an executor
//! can be where it is about tasks.

mod executor;
mod files;
mod net;
mod tasks;
mod timers;

use std::error::Error;
use std::io;
use std::path::Path;

use ringloop_benches::contender::{self, Contender, Listen};
use ringloop_benches::meter::Meter;

struct Raw;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Raw)
}

impl Contender for Raw {
    fn files(
        &self,
        work: ringloop_benches::files::Work,
        scratch: &Path,
        meter: &'static Meter,
    ) -> io::Result<()> {
        files::perform(work, scratch, meter)
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
        net::perform(work, listen, meter)
    }
}
