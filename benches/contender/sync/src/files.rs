use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ringloop_benches::files::{BLOCK, BLOCKS_FILE, Places, Work, check_block};
use ringloop_benches::meter::Meter;

pub fn perform(work: Work, scratch: &Path, meter: &'static Meter) -> io::Result<()> {
    match work {
        Work::Reads(_) => read_blocks(scratch, meter),
    }
}

fn read_blocks(scratch: &Path, meter: &'static Meter) -> io::Result<()> {
    let file = File::open(scratch.join(BLOCKS_FILE))?;
    let mut places = Places::new(0);
    let mut buffer = vec![0; BLOCK];
    while !meter.is_over() {
        let block = places.draw();
        file.read_exact_at(&mut buffer, block * BLOCK as u64)?;
        check_block(block, &buffer, meter.done());
        meter.add();
    }
    Ok(())
}
