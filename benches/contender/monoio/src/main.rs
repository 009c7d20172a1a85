//! monoio, as its users write it.

use std::error::Error;

use ringloop_benches::contender::{self, Contender};

struct Monoio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Monoio)
}

impl Contender for Monoio {}
