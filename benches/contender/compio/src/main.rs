//! compio, by default and with a tuned ring.

use std::error::Error;

use ringloop_benches::contender::{self, Contender};

struct Compio;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Compio)
}

impl Contender for Compio {}
