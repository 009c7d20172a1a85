//! smol with one thread.

use std::error::Error;

use ringloop_benches::contender::{self, Contender};

struct Smol;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Smol)
}

impl Contender for Smol {}
