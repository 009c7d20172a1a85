//! Files and directories.
//!
//! [`File`] is an open file with two sides: positional calls on owned buffers, any number at once, and a cursor with plain
//! slices. The functions work on paths and mirror those of [`std::fs`]. What is one operation of the kernel is an
//! [`Op`](crate::Op): a future that is `'static`, so it can be spawned, gathered and timed.
//!
//! A call on one path gives an `io::Error` with its errno; a call on many paths gives a [`PathError`], which says on which.
//!
//! Nothing here blocks the loop: what may wait for a disk or a server goes through the ring, and what the ring cannot do goes
//! to the thread pool. `op/route.rs` decides.
//!
//! * `file`, `options`, `positional`: opening, the positional side, with `registered` buffers if it is to be fast. `descriptor`: what a file and its operations in flight share.
//! * `cursor`, on `ahead` (what was read) and `behind` (what is to be written); `cursor_io`: its calls and traits.
//! * `path`, `dir`, `metadata`, `error`: the rest, by name.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = std::env::temp_dir().join(format!("ringloop-fs-{}", std::process::id()));
//! use ringloop::fs::{self, File};
//! ringloop::run(async {
//!     fs::create_dir(&folder).await?;
//!     let mut file = File::create(folder.join("poem")).await?;
//!     file.write_all(b"The fog comes\non little cat feet.\n").await?;
//!     file.close().await?;
//!
//!     let mut file = File::open(folder.join("poem")).await?;
//!     let mut lines = file.lines();
//!     assert_eq!(lines.next().await.unwrap()?, "The fog comes");
//!
//!     fs::remove_dir_all(&folder).await?;
//!     std::io::Result::Ok(())
//! })??;
//! # Ok(()) }
//! ```

mod ahead;
mod behind;
mod cursor;
mod cursor_io;
mod descriptor;
mod dir;
mod error;
mod file;
mod metadata;
mod options;
mod path;
mod positional;
mod registered;

pub use cursor_io::Lines;
pub use dir::{DirEntry, ReadDir, create_dir_all, read_dir, remove_dir_all};
pub use error::PathError;
pub use file::File;
pub use metadata::{FileTimes, FileType, Metadata, Times};
pub use options::OpenOptions;
pub use path::{
    canonicalize, copy, create_dir, hard_link, metadata, read, read_link, read_to_string, remove_dir,
    remove_file, rename, set_permissions, set_symlink_times, set_times, symlink, symlink_metadata,
    try_exists, write,
};

pub use crate::ring::RegisteredBuf;
