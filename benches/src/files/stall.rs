//! How long a loop does nothing else while it works with files: a ticker beside the work, and its longest pause.
//!
//! A call that waits for a disk or a server must not be made on the loop. Each workload is there twice: by the runtime's own
//! calls, and by plain calls on the loop, which show what the pause would be.

pub mod server;
mod throttle;

use std::cell::Cell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use self::server::Server;
use super::Files;
use super::blocks::BLOCK;
use super::tree::{Medium, Place, Tree, check_content, content};
use crate::meter::Meter;

/// What the work is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// Files in memory.
    Hot,
    /// Files on a disk that reads a few blocks a second, none of them in the page cache.
    SlowDisk,
    /// Files of a server that takes its time for every request.
    SlowServer,
}

/// By whose calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// The runtime's.
    Own,
    /// Those of std, made on the loop.
    Plain,
}

/// From one tick to the next.
const TICK: Duration = Duration::from_millis(1);

/// Files that are worked at.
struct Work {
    tree: Tree,
    next: Cell<usize>,
    place: Where,
    calls: Calls,
    meter: &'static Meter,
}

impl Where {
    /// Tasks that work at the same time. A few of them keep a slow disk or server busy.
    fn at_once(self) -> usize {
        match self {
            Where::Hot => 64,
            Where::SlowDisk | Where::SlowServer => 4,
        }
    }
}

pub(super) fn perform<R: Files>(
    runtime: &R,
    place: Where,
    calls: Calls,
    scratch: &Path,
    meter: &'static Meter,
) -> io::Result<()> {
    let medium = if place == Where::Hot { Medium::Memory } else { Medium::Disk };
    let folder = Place::new(medium, scratch)?;
    // They end what makes the place slow, before the folder goes.
    let (mut _throttle, mut _server) = (None, None::<Server>);
    let tree = match place {
        Where::Hot => Tree::filled(folder.path(), 2000)?,
        Where::SlowDisk => {
            let tree = Tree::filled(folder.path(), 2000)?;
            forget(tree.files())?;
            _throttle = Some(throttle::Throttle::on_reads(folder.path())?);
            tree
        }
        Where::SlowServer => _server.insert(Server::start(folder.path())?).tree(folder.path())?,
    };
    let work = Rc::new(Work { tree, next: Cell::new(0), place, calls, meter });
    runtime.run(async move {
        let tasks: Vec<_> = (0..place.at_once()).map(|_| R::spawn(labour::<R>(work.clone()))).collect();
        tick::<R>(meter).await;
        for task in tasks {
            task.await?;
        }
        Ok(())
    })
}

/// Has the kernel forget what it knows of these files.
fn forget(files: &[PathBuf]) -> io::Result<()> {
    for path in files {
        let file = std::fs::File::open(path)?;
        file.sync_all()?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}

/// Ticks for as many milliseconds as operations are counted, and notes how far apart the ticks were.
async fn tick<R: Files>(meter: &'static Meter) {
    meter.begin();
    let mut gaps = Vec::new();
    let start = Instant::now();
    let mut last = start;
    while last - start < TICK * meter.operations() as u32 {
        R::sleep(TICK).await;
        let now = Instant::now();
        gaps.push(now - last);
        last = now;
    }
    meter.end();
    meter.note_percentiles("gap", &mut gaps);
    let worst = gaps.last().copied().unwrap_or_default();
    meter.note("worst stall", worst.as_secs_f64() * 1e6);
}

/// Works at one file after the other until the ticker has ended.
async fn labour<R: Files>(work: Rc<Work>) -> io::Result<()> {
    while !work.meter.is_over() {
        let file = work.next.replace(work.next.get() + 1) % work.tree.files().len();
        let path = &work.tree.files()[file];
        match work.calls {
            Calls::Own => {
                assert_eq!(R::length(path).await?, BLOCK as u64);
                check_content(&R::read(path).await?, file);
                if work.place == Where::Hot {
                    R::write(path, content(file)).await?;
                }
            }
            Calls::Plain => {
                assert_eq!(std::fs::metadata(path)?.len(), BLOCK as u64);
                check_content(&std::fs::read(path)?, file);
                if work.place == Where::Hot {
                    std::fs::write(path, content(file))?;
                }
                // Or nobody else would ever run.
                R::sleep(Duration::ZERO).await;
            }
        }
        work.meter.add();
    }
    Ok(())
}
