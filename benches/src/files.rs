//! Files: what is read and written, and how it is known to be right.
//!
//! * [`blocks`]: one large file, at random places and from end to end.
//! * [`tree`]: many small files, made, read, looked at, copied.
//! * [`stall`]: how long a loop does nothing else while it works with files.
//!
//! To add a workload: a variant of [`Work`], an entry of [`CATALOGUE`], what it needs in [`prepare`], and a function over
//! [`Files`] in one of the modules.

pub mod blocks;
pub mod stall;
pub mod tree;

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use aligned_vec::{AVec, ConstAlign};

use crate::contender::{Runtime, cannot};
use crate::meter::{Meter, Span};
use crate::workload::{self, A_SECOND, Figure, Limit, RAW, SYNC, Target, Workload, cpu};
use blocks::{BLOCK, Cache, LARGE, SIZE};
use stall::{Calls, Where};
use tree::{Deed, FILES, Medium};

/// What is done with files.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Reads of whole blocks at random places of the large file, each by a task of its own.
    Random { cache: Cache, depth: usize },
    /// Reads the large file from its beginning, in large blocks, by one task.
    ReadThrough,
    /// Writes a large file in large blocks, by one task, and has it brought to the medium.
    WriteThrough,
    /// Does this to each file of a tree.
    Tree(Deed, Medium),
    /// Does file work beside a ticker.
    Stall(Where, Calls),
}

/// The workloads of this family, in the order of the table.
pub const CATALOGUE: &[Workload] = &[
    Workload { targets: &[cpu(1.10, RAW)], ..hot("read-1", "random 4 KiB reads, cached, depth 1", 1) },
    Workload { targets: &[cpu(1.05, RAW)], ..hot("read-32", "random 4 KiB reads, cached, depth 32", 32) },
    Workload { targets: &[cpu(1.05, RAW)], ..hot("read-128", "random 4 KiB reads, cached, depth 128", 128) },
    direct("direct-1", "random 4 KiB reads, O_DIRECT, depth 1", 1),
    Workload {
        targets: &[cpu(1.05, RAW)],
        ..direct("direct-32", "random 4 KiB reads, O_DIRECT, depth 32", 32)
    },
    Workload {
        targets: &[cpu(1.05, RAW)],
        ..direct("direct-128", "random 4 KiB reads, O_DIRECT, depth 128", 128)
    },
    Workload {
        span: Span::Operations { warm_up: 64, counted: SIZE / LARGE as u64 },
        targets: &[cpu(1.03, RAW)],
        ..entry("read-through", "sequential read, 1 GiB in 128 KiB blocks, cached", Work::ReadThrough)
    },
    Workload {
        span: Span::Operations { warm_up: 0, counted: SIZE / 2 / LARGE as u64 },
        targets: &[cpu(1.03, RAW)],
        ..entry("write-through", "sequential write, 512 MiB in 128 KiB blocks, fsync", Work::WriteThrough)
    },
    Workload {
        span: EACH_FILE,
        targets: &[cpu(1.10, SYNC)],
        ..tree("tree-create", "20,000 files of 4 KiB: create, write, close", Deed::Create, Medium::Memory)
    },
    Workload {
        targets: &[cpu(0.95, SYNC)],
        ..tree("tree-read", "20,000 files of 4 KiB: open, read, close", Deed::Read, Medium::Memory)
    },
    Workload {
        targets: &[cpu(1.10, SYNC)],
        ..tree("tree-stat", "20,000 files of 4 KiB: stat", Deed::Stat, Medium::Memory)
    },
    Workload {
        span: EACH_FILE,
        targets: &[cpu(1.05, SYNC)],
        ..tree("tree-copy", "20,000 files of 4 KiB: copy", Deed::Copy, Medium::Memory)
    },
    Workload {
        span: EACH_FILE,
        key: Figure::WallTime,
        targets: &[Target { figure: Figure::WallTime, limit: Limit::Times(1.0, SYNC) }],
        ..tree("tree-copy-disk", "20,000 files of 4 KiB: copy on disk", Deed::Copy, Medium::Disk)
    },
    stalling("stall-hot", "a ticker beside stat, read, write of files in memory", Where::Hot, Calls::Own),
    stalling("stall-hot-plain", "the same by plain calls on the loop", Where::Hot, Calls::Plain),
    stalling("stall-disk", "a ticker beside writes to a slow disk", Where::SlowDisk, Calls::Own),
    stalling("stall-disk-plain", "the same by plain calls on the loop", Where::SlowDisk, Calls::Plain),
    stalling("stall-fuse", "a ticker beside files of a slow server (FUSE)", Where::SlowServer, Calls::Own),
    stalling("stall-fuse-plain", "the same by plain calls on the loop", Where::SlowServer, Calls::Plain),
];

/// The longest time between two ticks that should be a millisecond apart.
const WORST_STALL: Figure = Figure::Noted("worst stall", "us");

/// Milliseconds of a ticker.
const TICKS: Span = Span::Operations { warm_up: 0, counted: 1500 };

/// Once for each file of a tree.
const EACH_FILE: Span = Span::Operations { warm_up: 0, counted: FILES };

const fn entry(id: &'static str, title: &'static str, work: Work) -> Workload {
    let work = workload::Work::Files(work);
    Workload { id, title, work, span: A_SECOND, key: Figure::CpuTime, base: RAW, targets: &[] }
}

const fn hot(id: &'static str, title: &'static str, depth: usize) -> Workload {
    entry(id, title, Work::Random { cache: Cache::Hot, depth })
}

const fn direct(id: &'static str, title: &'static str, depth: usize) -> Workload {
    entry(id, title, Work::Random { cache: Cache::None, depth })
}

const fn tree(id: &'static str, title: &'static str, deed: Deed, medium: Medium) -> Workload {
    Workload { base: SYNC, ..entry(id, title, Work::Tree(deed, medium)) }
}

const fn stalling(id: &'static str, title: &'static str, place: Where, calls: Calls) -> Workload {
    Workload { base: "tokio", key: WORST_STALL, span: TICKS, ..entry(id, title, Work::Stall(place, calls)) }
}

/// Makes what a workload needs in `scratch`, unless it is there.
pub fn prepare(work: Work, scratch: &Path) -> io::Result<()> {
    match work {
        Work::Random { cache, .. } => blocks::make(scratch, cache),
        Work::ReadThrough => blocks::make(scratch, Cache::Hot),
        Work::WriteThrough | Work::Tree(..) | Work::Stall(..) => Ok(()),
    }
}

/// Removes what the runs of a workload have left in `scratch` for the next workload not to see.
pub fn tidy(work: Work, scratch: &Path) -> io::Result<()> {
    match work {
        Work::Tree(..) => tree::remove_served(scratch),
        Work::Random { .. } | Work::ReadThrough | Work::WriteThrough | Work::Stall(..) => Ok(()),
    }
}

/// Bytes that begin where a page does, as O_DIRECT wants them.
pub type Pages = AVec<u8, ConstAlign<BLOCK>>;

/// The flag of open(2) for [`Access::ReadDirect`].
pub use nix::libc::O_DIRECT;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read.
    Read,
    /// To read past the page cache.
    ReadDirect,
    /// To write; it is made, or made empty.
    Write,
}

/// A runtime's files, as its users write them.
pub trait Files: Runtime {
    /// A file that several tasks use.
    type File: 'static;

    /// Bytes that can be lent to the kernel, always as many.
    type Buffer: From<Pages> + AsRef<[u8]> + 'static;

    fn open(path: &Path, access: Access) -> impl Future<Output = io::Result<Self::File>>;

    fn close(file: Self::File) -> impl Future<Output = io::Result<()>>;

    /// Has the content brought to the medium.
    fn sync(file: &Self::File) -> impl Future<Output = io::Result<()>>;

    /// Fills the buffer from this offset on.
    fn read_at(
        file: &Self::File,
        buffer: Self::Buffer,
        offset: u64,
    ) -> impl Future<Output = io::Result<Self::Buffer>>;

    /// Writes all of the buffer from this offset on.
    fn write_at(
        file: &Self::File,
        buffer: Self::Buffer,
        offset: u64,
    ) -> impl Future<Output = io::Result<Self::Buffer>>;

    /// How long the file is that the path leads to.
    fn length(path: &Path) -> impl Future<Output = io::Result<u64>>;

    /// Reads a whole file, which is one block long.
    fn read(path: &Path) -> impl Future<Output = io::Result<Vec<u8>>>;

    /// Makes a file of these bytes.
    fn write(path: &Path, bytes: Vec<u8>) -> impl Future<Output = io::Result<()>>;

    /// Makes a file of the bytes of another one.
    fn copy(from: &Path, to: &Path) -> impl Future<Output = io::Result<()>> {
        async move { Self::write(to, Self::read(from).await?).await }
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()>;

    /// Why the runtime cannot do this, if so.
    fn cannot(_work: Work) -> Option<&'static str> {
        None
    }
}

/// Does this work with this runtime.
pub fn perform<R: Files>(runtime: &R, work: Work, scratch: &Path, meter: &'static Meter) -> io::Result<()> {
    if let Some(why) = R::cannot(work) {
        return Err(cannot(why));
    }
    match work {
        Work::Random { cache, depth } => {
            let (path, access) = (cache.path(scratch), cache.access());
            runtime.run(async move { blocks::read_randomly::<R>(&path, access, depth, meter).await })
        }
        Work::ReadThrough => {
            let path = Cache::Hot.path(scratch);
            runtime.run(async move { blocks::read_through::<R>(&path, meter).await })
        }
        Work::WriteThrough => {
            let path = scratch.join("written");
            let written = runtime.run({
                let path = path.clone();
                async move { blocks::write_through::<R>(&path, meter).await }
            });
            written.and_then(|()| blocks::verify_and_remove(&path, meter.operations()))
        }
        Work::Tree(deed, medium) => tree::perform(runtime, deed, medium, scratch, meter),
        Work::Stall(place, calls) => stall::perform(runtime, place, calls, scratch, meter),
    }
}
