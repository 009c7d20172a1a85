//! One large file: random places of it, and all of it in order.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use aligned_vec::avec;
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use super::{Access, Files, Pages};
use crate::meter::Meter;

/// Bytes of a block that is read at random.
pub const BLOCK: usize = 4096;
/// Bytes of a block that is read or written in order.
pub const LARGE: usize = 128 << 10;
/// Bytes of the file: more than the processor's caches hold.
pub const SIZE: u64 = 1 << 30;

/// Whether the file is in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// All of it, and it is used.
    Hot,
    /// It is passed by.
    None,
}

impl Cache {
    /// Where the file is. There are two of the same content: a block that is in the page cache is not read from the disk.
    pub fn path(self, scratch: &Path) -> PathBuf {
        scratch.join(match self {
            Cache::Hot => "blocks",
            Cache::None => "blocks-direct",
        })
    }

    pub fn access(self) -> Access {
        match self {
            Cache::Hot => Access::Read,
            Cache::None => Access::ReadDirect,
        }
    }
}

/// Makes the file unless it is there, and has it be in the page cache or not.
pub(super) fn make(scratch: &Path, cache: Cache) -> io::Result<()> {
    let path = cache.path(scratch);
    if std::fs::metadata(&path).is_ok_and(|found| found.len() == SIZE) {
        // An earlier run has made it, and the kernel may have forgotten it since.
        return if cache == Cache::Hot { warm(&path) } else { Ok(()) };
    }
    let mut file = io::BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut block = [0; BLOCK];
    for number in 0..SIZE / BLOCK as u64 {
        fill(&mut block, number);
        file.write_all(&block)?;
    }
    // Written back now, so that the kernel does not do it during a measurement.
    let file = file.into_inner()?;
    file.sync_all()?;
    if cache == Cache::None {
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}

/// Reads all of a file.
fn warm(path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = pages(LARGE);
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

/// What stands in every eight bytes of a block.
fn word_of(block: u64) -> u64 {
    block.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Makes these bytes what stands from that block on.
pub fn fill(bytes: &mut [u8], first: u64) {
    for (block, number) in bytes.chunks_mut(BLOCK).zip(first..) {
        let word = word_of(number).to_le_bytes();
        block.chunks_exact_mut(8).for_each(|place| place.copy_from_slice(&word));
    }
}

/// Operations whose bytes are all looked at; in later ones it is one word in [`STRIDE`], because a look at all costs as much
/// as a tenth of a read.
const ALL_OF: u64 = 2000;
/// Bytes from one word that is looked at to the next.
const STRIDE: usize = 512;

/// Fails loudly unless these bytes are what stands from that block on. `done` is how many were looked at before.
pub fn check(bytes: &[u8], first: u64, done: u64) {
    assert!(bytes.len().is_multiple_of(BLOCK) && !bytes.is_empty(), "{} bytes are no blocks", bytes.len());
    for (block, number) in bytes.chunks_exact(BLOCK).zip(first..) {
        let is_as_written = if done < ALL_OF { is_block::<8> } else { is_block::<STRIDE> };
        assert!(is_as_written(block, number), "block {number} was not read as it was written");
    }
}

/// Whether the first word in each `STRIDE` bytes is the block's. Without a branch, so that the processor looks at many at once.
fn is_block<const STRIDE: usize>(bytes: &[u8], number: u64) -> bool {
    let word = word_of(number);
    let found = |place: &[u8]| u64::from_le_bytes(place[..8].try_into().expect("eight bytes"));
    bytes.chunks_exact(STRIDE).fold(0, |differences, place| differences | (found(place) ^ word)) == 0
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
        self.0 % (SIZE / BLOCK as u64)
    }
}

/// So many bytes, zero.
pub fn pages(len: usize) -> Pages {
    avec![[BLOCK]| 0; len]
}

pub(super) async fn read_randomly<R: Files>(
    path: &Path,
    access: Access,
    depth: usize,
    meter: &'static Meter,
) -> io::Result<()> {
    let file = Rc::new(R::open(path, access).await?);
    let tasks: Vec<_> =
        (0..depth).map(|index| R::spawn(read_drawn::<R>(file.clone(), index, meter))).collect();
    for task in tasks {
        task.await?;
    }
    close::<R>(file).await
}

async fn read_drawn<R: Files>(file: Rc<R::File>, index: usize, meter: &'static Meter) -> io::Result<()> {
    let mut places = Places::new(index);
    let mut buffer = R::Buffer::from(pages(BLOCK));
    while !meter.is_over() {
        let block = places.draw();
        buffer = R::read_at(&file, buffer, block * BLOCK as u64).await?;
        check(buffer.as_ref(), block, meter.done());
        meter.add();
    }
    Ok(())
}

async fn close<R: Files>(file: Rc<R::File>) -> io::Result<()> {
    match Rc::try_unwrap(file) {
        Ok(file) => R::close(file).await,
        Err(_) => unreachable!("the tasks that shared it have ended"),
    }
}

pub(super) async fn read_through<R: Files>(path: &Path, meter: &'static Meter) -> io::Result<()> {
    let file = R::open(path, Access::Read).await?;
    let mut buffer = R::Buffer::from(pages(LARGE));
    let mut offset = 0;
    while !meter.is_over() {
        buffer = R::read_at(&file, buffer, offset).await?;
        check(buffer.as_ref(), offset / BLOCK as u64, meter.done());
        offset = (offset + LARGE as u64) % SIZE;
        meter.add();
    }
    R::close(file).await
}

/// What every large block of a written file begins with and holds.
pub fn written() -> Pages {
    let mut bytes = pages(LARGE);
    fill(&mut bytes, 0);
    bytes
}

pub(super) async fn write_through<R: Files>(path: &Path, meter: &'static Meter) -> io::Result<()> {
    let file = R::open(path, Access::Write).await?;
    let mut buffer = R::Buffer::from(written());
    meter.begin();
    for block in 0..meter.operations() {
        buffer = R::write_at(&file, buffer, block * LARGE as u64).await?;
        meter.add();
    }
    R::sync(&file).await?;
    meter.end();
    R::close(file).await
}

/// Looks at every byte that was written.
pub fn verify_and_remove(path: &Path, blocks: u64) -> io::Result<()> {
    let file = File::open(path)?;
    assert_eq!(file.metadata()?.len(), blocks * LARGE as u64, "all was written, and no more");
    let mut buffer = pages(LARGE);
    for block in 0..blocks {
        file.read_exact_at(&mut buffer, block * LARGE as u64)?;
        check(&buffer, 0, 0);
    }
    std::fs::remove_file(path)
}
