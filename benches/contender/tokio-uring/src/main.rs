//! tokio-uring, as its users write it.

use std::error::Error;

use ringloop_benches::contender::{self, Contender};

struct TokioUring;

fn main() -> Result<(), Box<dyn Error>> {
    contender::main(|_| TokioUring)
}

impl Contender for TokioUring {}
