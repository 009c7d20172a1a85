//! glommio, as its users write it.

use std::error::Error;

use ringloop_benches::contender::{self, Contender};

struct Glommio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Glommio)
}

impl Contender for Glommio {}
