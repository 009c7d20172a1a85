//! Plain blocking system calls on one thread: what the kernel's work costs when nothing else is to be done meanwhile. It
//! reads one block after the other, whatever the depth.

use std::io;
use std::os::unix::fs::FileExt;

use super::Contender;
use crate::meter::Meter;
use crate::{BLOCK, Places, Reads};

pub struct Plain;

impl Contender for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn reads(&self, reads: &'static Reads, meter: &'static Meter) -> io::Result<()> {
        let file = std::fs::File::open(&reads.file)?;
        let mut places = Places::new(0);
        let mut buf = vec![0; BLOCK];
        while !meter.is_over() {
            let block = places.draw();
            file.read_exact_at(&mut buf, block * BLOCK as u64)?;
            reads.check(block, &buf, meter.done());
            meter.add();
        }
        Ok(())
    }
}
