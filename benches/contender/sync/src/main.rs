//! Plain blocking system calls on one thread: what the kernel's work costs when nothing else is to be done meanwhile. It
//! does one thing after the other, however many are to be done at a time.

mod files;

use std::error::Error;
use std::io;
use std::path::Path;

use ringloop_benches::contender::{self, Contender};
use ringloop_benches::meter::Meter;

struct Sync;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Sync)
}

impl Contender for Sync {
    fn files(
        &self,
        work: ringloop_benches::files::Work,
        scratch: &Path,
        meter: &'static Meter,
    ) -> io::Result<()> {
        files::perform(work, scratch, meter)
    }
}
