use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use ringloop_benches::contender::cannot;
use ringloop_benches::files::blocks::{
    BLOCK, Cache, LARGE, Places, SIZE, check, pages, verify_and_remove, written,
};
use ringloop_benches::files::tree::{Deed, Trees, check_content, content};
use ringloop_benches::files::{O_DIRECT, Work};
use ringloop_benches::meter::Meter;

pub fn perform(work: Work, scratch: &Path, meter: &'static Meter) -> io::Result<()> {
    match work {
        Work::Random { cache, .. } => read_randomly(cache, scratch, meter),
        Work::ReadThrough => read_through(scratch, meter),
        Work::WriteThrough => write_through(scratch, meter),
        Work::Tree(deed, medium) => {
            let trees = Trees::new(deed, medium, scratch, deed.files(meter))?;
            deed.begin(meter);
            do_to_each(deed, &trees, meter)?;
            deed.end(meter);
            trees.verify()
        }
        Work::Stall(..) => Err(cannot("nothing runs beside a plain call")),
    }
}

fn read_randomly(cache: Cache, scratch: &Path, meter: &Meter) -> io::Result<()> {
    let flags = if cache == Cache::None { O_DIRECT } else { 0 };
    let file = File::options().read(true).custom_flags(flags).open(cache.path(scratch))?;
    let mut places = Places::new(0);
    let mut buffer = pages(BLOCK);
    while !meter.is_over() {
        let block = places.draw();
        file.read_exact_at(&mut buffer, block * BLOCK as u64)?;
        check(&buffer, block, meter.done());
        meter.add();
    }
    Ok(())
}

fn read_through(scratch: &Path, meter: &Meter) -> io::Result<()> {
    let file = File::open(Cache::Hot.path(scratch))?;
    let mut buffer = pages(LARGE);
    let mut offset = 0;
    while !meter.is_over() {
        file.read_exact_at(&mut buffer, offset)?;
        check(&buffer, offset / BLOCK as u64, meter.done());
        offset = (offset + LARGE as u64) % SIZE;
        meter.add();
    }
    Ok(())
}

fn write_through(scratch: &Path, meter: &Meter) -> io::Result<()> {
    let path = scratch.join("written");
    let file = File::create(&path)?;
    let bytes = written();
    meter.begin();
    for block in 0..meter.operations() {
        file.write_all_at(&bytes, block * LARGE as u64)?;
        meter.add();
    }
    file.sync_all()?;
    meter.end();
    verify_and_remove(&path, meter.operations())
}

fn do_to_each(deed: Deed, trees: &Trees, meter: &Meter) -> io::Result<()> {
    let mut buffer = pages(BLOCK);
    loop {
        for (file, path) in trees.from.files().iter().enumerate() {
            match (deed, &trees.to) {
                (Deed::Create, _) => File::create(path)?.write_all(&content(file))?,
                (Deed::Read, _) => {
                    File::open(path)?.read_exact(&mut buffer)?;
                    check_content(&buffer, file);
                }
                (Deed::Stat, _) => assert_eq!(std::fs::metadata(path)?.len(), BLOCK as u64),
                (Deed::Copy, to) => {
                    File::open(path)?.read_exact(&mut buffer)?;
                    let to = to.as_ref().expect("a copy has a place to go to");
                    File::create(&to.files()[file])?.write_all(&buffer)?;
                }
            }
            meter.add();
            if !deed.is_once() && meter.is_over() {
                return Ok(());
            }
        }
        if deed.is_once() {
            return Ok(());
        }
    }
}
