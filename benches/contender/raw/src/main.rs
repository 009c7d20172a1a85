//! The bare ring, and loops written by hand, as good as they get: no futures where it is about I/O, the least that an executor
//! can be where it is about tasks.

use std::error::Error;

use ringloop_benches::contender::{self, Contender};

struct Raw;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| Raw)
}

impl Contender for Raw {}
