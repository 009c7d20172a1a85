//! kimojio, as its users write it.

use std::error::Error;

use ringloop_benches::contender::{self, Contender};

struct Kimojio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Kimojio)
}

impl Contender for Kimojio {}
