//! Workloads, who does them, and what that costs.
//!
//! A workload is defined once, below, and done by every [`contender`](contender): ringloop, its peers, plain system
//! calls. The program `contender` does one workload with one of them, in a process of its own, and reports what it cost
//! between two marks ([`meter`]), so that set-up and end are not counted; for an echo it is the server, and the program
//! `load` is the other end ([`load`]). [`session`] runs the two together, and [`ratio`] makes figures of several rounds.
//! The program `figures` writes the tables of `docs/figures.md`.
//!
//! To add a peer: a file in `contender/` and a line in its `mod.rs`. To add a workload: a variant here, and a method of
//! the trait `Contender`; contenders without it say that they cannot do it.
//!
//! The cost is CPU time, user and kernel, of all threads of the contender: on a machine that others use too it is the
//! steadiest figure there is. Times of day mean little there and are not reported.

pub mod contender;
pub mod count;
pub mod load;
pub mod meter;
pub mod ratio;
pub mod session;

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What is to be done, whoever does it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Workload {
    Echo(Echo),
    Reads(Reads),
}

/// TCP over loopback: each connection sends a message, waits until it has come back, and sends the next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Echo {
    /// Bytes of a message.
    pub size: usize,
    /// Connections at the same time.
    pub connections: usize,
    /// Messages and where they count.
    pub span: Span,
}

/// Reads of whole blocks at random places of a file in the page cache.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reads {
    /// The file, made by [`make_blocks`].
    pub file: PathBuf,
    /// Reads at the same time, each by a task of its own.
    pub depth: usize,
    /// Reads and where they count.
    pub span: Span,
}

/// How many operations are done, and which of them count.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Span {
    /// Operations before the first mark.
    pub warm_up: u64,
    /// Operations between the marks.
    pub counted: u64,
}

/// Bytes of a block.
pub const BLOCK: usize = 4096;
/// Blocks of the file: 256 MiB, more than the processor's caches hold.
pub const BLOCKS: u64 = 65536;

/// What stands in every eight bytes of a block.
pub fn word_of(block: u64) -> [u8; 8] {
    (block.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

/// Makes the file of [`Reads`]. It is in the page cache afterwards.
pub fn make_blocks(path: &std::path::Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path)?);
    for block in 0..BLOCKS {
        std::io::Write::write_all(&mut file, &word_of(block).repeat(BLOCK / 8))?;
    }
    // Written back now, so that the kernel does not do it during a measurement.
    file.into_inner()?.sync_all()
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

impl Reads {
    /// Whether these bytes are that block's. Every byte is looked at in the warm-up; later the first and the last word,
    /// because a look at all costs as much as a tenth of the read.
    pub fn check(&self, block: u64, bytes: &[u8], done: u64) {
        let word = word_of(block);
        let fine = match done < self.span.warm_up {
            true => bytes.len() == BLOCK && bytes.chunks_exact(8).all(|chunk| chunk == word),
            false => bytes.len() == BLOCK && bytes[..8] == word && bytes[BLOCK - 8..] == word,
        };
        assert!(fine, "block {block} was not read as it was written");
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::Echo(Echo { size, connections: 1, .. }) => {
                write!(f, "TCP echo, {size} B, 1 connection")
            }
            Workload::Echo(Echo { size, connections, .. }) => {
                write!(f, "TCP echo, {size} B, {connections} connections")
            }
            Workload::Reads(Reads { depth, .. }) => write!(f, "random 4 KiB reads, cached, depth {depth}"),
        }
    }
}

impl Workload {
    /// The same with other numbers of operations.
    pub fn with_span(&self, span: Span) -> Workload {
        match self {
            Workload::Echo(echo) => Workload::Echo(Echo { span, ..*echo }),
            Workload::Reads(reads) => Workload::Reads(Reads { span, ..reads.clone() }),
        }
    }

    pub fn span(&self) -> Span {
        match self {
            Workload::Echo(echo) => echo.span,
            Workload::Reads(reads) => reads.span,
        }
    }
}
