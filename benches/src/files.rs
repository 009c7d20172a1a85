//! Files: what is read and written, and how it is known to be right.
//!
//! To add a workload: a variant of [`Work`], an entry of [`CATALOGUE`], what it needs in [`prepare`], and a function over
//! [`Files`].

use std::future::Future;
use std::io::{self, Write};
use std::path::Path;
use std::rc::Rc;

use crate::contender::Runtime;
use crate::meter::Meter;
use crate::workload::{self, A_SECOND, Figure, RAW, Workload, cpu};

/// What is done with files.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Reads of whole blocks at random places of a file in the page cache.
    Reads(Reads),
}

/// Reads at random places.
#[derive(Clone, Copy, Debug)]
pub struct Reads {
    /// Reads at the same time, each by a task of its own.
    pub depth: usize,
}

/// The workloads of this family, in the order of the table.
pub const CATALOGUE: &[Workload] = &[
    Workload { targets: &[cpu(1.10, RAW)], ..reads("read-1", "random 4 KiB reads, cached, depth 1", 1) },
    Workload { targets: &[cpu(1.05, RAW)], ..reads("read-32", "random 4 KiB reads, cached, depth 32", 32) },
];

const fn reads(id: &'static str, title: &'static str, depth: usize) -> Workload {
    Workload {
        id,
        title,
        work: workload::Work::Files(Work::Reads(Reads { depth })),
        span: A_SECOND,
        key: Figure::CpuTime,
        base: RAW,
        targets: &[],
    }
}

/// Makes what a workload needs in `scratch`, unless it is there.
pub fn prepare(work: Work, scratch: &Path) -> io::Result<()> {
    match work {
        Work::Reads(_) => make_blocks(&scratch.join(BLOCKS_FILE)),
    }
}

/// The file of [`Work::Reads`] in the scratch folder.
pub const BLOCKS_FILE: &str = "blocks";
/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// Blocks of the file: 256 MiB, more than the processor's caches hold.
pub const BLOCKS: u64 = 65536;

/// Makes the file of blocks. It is in the page cache afterwards.
fn make_blocks(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|found| found.len() == BLOCKS * BLOCK as u64) {
        return Ok(());
    }
    let mut file = io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    for block in 0..BLOCKS {
        file.write_all(&word_of(block).repeat(BLOCK / 8))?;
    }
    // Written back now, so that the kernel does not do it during a measurement.
    file.into_inner()?.sync_all()
}

/// What stands in every eight bytes of a block.
fn word_of(block: u64) -> [u8; 8] {
    (block.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

/// Fails loudly unless these bytes are that block's. Every byte is looked at in a first few; later the first and the last
/// word, because a look at all costs as much as a tenth of the read.
pub fn check_block(block: u64, bytes: &[u8], done: u64) {
    let word = word_of(block);
    let fine = match done < 1000 {
        true => bytes.len() == BLOCK && bytes.chunks_exact(8).all(|chunk| chunk == word),
        false => bytes.len() == BLOCK && bytes[..8] == word && bytes[BLOCK - 8..] == word,
    };
    assert!(fine, "block {block} was not read as it was written");
}

/// A stream of block numbers, another one for each `seed`.
#[derive(Clone, Copy)]
pub struct Places(u64);

impl Places {
    pub fn new(seed: usize) -> Self {
        Places(0x2545_f491_4f6c_dd1d ^ (seed as u64) << 17)
    }

    /// The next block, by xorshift.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % BLOCKS
    }
}

/// A runtime's files, as its users write them.
pub trait Files: Runtime {
    /// A file that several tasks use.
    type File: 'static;

    fn open(path: &Path) -> impl Future<Output = io::Result<Self::File>>;

    /// Fills the buffer from this place on.
    fn read_at(
        file: &Rc<Self::File>,
        buffer: &mut Vec<u8>,
        offset: u64,
    ) -> impl Future<Output = io::Result<()>>;
}

/// Does this work with this runtime.
pub fn perform<F: Files>(runtime: &F, work: Work, scratch: &Path, meter: &'static Meter) -> io::Result<()> {
    match work {
        Work::Reads(reads) => runtime.run(read_blocks::<F>(reads, scratch.join(BLOCKS_FILE), meter)),
    }
}

async fn read_blocks<F: Files>(
    reads: Reads,
    path: std::path::PathBuf,
    meter: &'static Meter,
) -> io::Result<()> {
    let file = Rc::new(F::open(&path).await?);
    let tasks: Vec<_> =
        (0..reads.depth).map(|index| F::spawn(draw_blocks::<F>(file.clone(), index, meter))).collect();
    for task in tasks {
        task.await?;
    }
    Ok(())
}

async fn draw_blocks<F: Files>(file: Rc<F::File>, index: usize, meter: &'static Meter) -> io::Result<()> {
    let mut places = Places::new(index);
    let mut buffer = vec![0; BLOCK];
    while !meter.is_over() {
        let block = places.draw();
        F::read_at(&file, &mut buffer, block * BLOCK as u64).await?;
        check_block(block, &buffer, meter.done());
        meter.add();
    }
    Ok(())
}
