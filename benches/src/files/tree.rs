//! Many small files.

use std::cell::Cell;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};

use super::Files;
use super::blocks::{BLOCK, check, fill};
use crate::contender::cannot;
use crate::meter::Meter;

/// Files of a tree, each one block long.
pub const FILES: u64 = 20_000;
/// Files of a folder.
const PER_FOLDER: u64 = 200;
/// Files in work at the same time, each by a task of its own.
pub const AT_ONCE: usize = 64;

/// What is done to each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Create,
    Read,
    Stat,
    Copy,
}

/// Where the tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// In a tmpfs.
    Memory,
    /// In the scratch folder.
    Disk,
}

/// A folder that goes when this goes.
pub struct Place(PathBuf);

impl Place {
    /// An empty folder on this medium.
    pub fn new(medium: Medium, scratch: &Path) -> io::Result<Place> {
        let path = match medium {
            Medium::Disk => scratch.join("tree"),
            Medium::Memory => {
                let memory = Path::new("/dev/shm");
                if !statfs(memory).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC) {
                    return Err(cannot("no tmpfs at /dev/shm"));
                }
                // Another checkout may measure at the same time.
                memory.join(format!("ringloop-bench-{}", std::fs::metadata(scratch)?.ino()))
            }
        };
        // A run that was killed has left its files.
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir(&path)?,
        }
        Ok(Place(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It lies in a folder that goes too, or is emptied by the next run.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where trees on the disk lie that have served, until all contenders have had theirs: ext4 gives no inode away again soon after it
/// was freed, and looks at each of those for each file it makes, which then takes ten times as long.
fn served(scratch: &Path) -> PathBuf {
    scratch.join("served")
}

/// Removes the trees that have served.
pub(super) fn remove_served(scratch: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(served(scratch)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Names of files, and the folders for them.
pub struct Tree {
    files: Vec<PathBuf>,
}

impl Tree {
    /// Makes the folders of a tree of so many files.
    pub fn folders(root: &Path, count: u64) -> io::Result<Tree> {
        for folder in 0..count.div_ceil(PER_FOLDER) {
            std::fs::create_dir_all(root.join(folder.to_string()))?;
        }
        let name = |file: u64| root.join((file / PER_FOLDER).to_string()).join(format!("file-{file}"));
        Ok(Tree { files: (0..count).map(name).collect() })
    }

    /// Makes a tree with its files.
    pub fn filled(root: &Path, count: u64) -> io::Result<Tree> {
        let tree = Tree::folders(root, count)?;
        for (file, path) in tree.files.iter().enumerate() {
            std::fs::write(path, content(file))?;
        }
        Ok(tree)
    }

    /// A tree of files that are there.
    pub fn of(files: Vec<PathBuf>) -> Tree {
        Tree { files }
    }

    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Looks at every byte of every file.
    pub fn verify(&self) -> io::Result<()> {
        for (file, path) in self.files.iter().enumerate() {
            check_content(&std::fs::read(path)?, file);
        }
        Ok(())
    }
}

/// What is in a file.
pub fn content(file: usize) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    fill(&mut bytes, file as u64);
    bytes
}

/// Fails loudly unless this is in the file.
pub fn check_content(bytes: &[u8], file: usize) {
    assert_eq!(bytes.len(), BLOCK, "file {file} has its length");
    check(bytes, file as u64, 0);
}

/// The trees of a deed: what there is, and what comes of it.
pub struct Trees {
    pub from: Tree,
    pub to: Option<Tree>,
    /// They are in here.
    place: Place,
    /// Where they are put when they have served.
    aside: Option<PathBuf>,
}

impl Trees {
    /// Makes them for so many files.
    pub fn new(deed: Deed, medium: Medium, scratch: &Path, count: u64) -> io::Result<Trees> {
        let place = Place::new(medium, scratch)?;
        let from = match deed {
            Deed::Create => Tree::folders(&place.path().join("from"), count)?,
            Deed::Read | Deed::Stat | Deed::Copy => Tree::filled(&place.path().join("from"), count)?,
        };
        let to = match deed {
            Deed::Copy => Some(Tree::folders(&place.path().join("to"), count)?),
            Deed::Create | Deed::Read | Deed::Stat => None,
        };
        if medium == Medium::Memory {
            return Ok(Trees { from, to, place, aside: None });
        }
        // What the set-up has left to be written must not be written during the measurement.
        nix::unistd::sync();
        let served = served(scratch);
        std::fs::create_dir_all(&served)?;
        Ok(Trees { from, to, place, aside: Some(served.join(std::process::id().to_string())) })
    }

    /// Looks at what came of it.
    pub fn verify(&self) -> io::Result<()> {
        self.to.as_ref().unwrap_or(&self.from).verify()
    }
}

impl Drop for Trees {
    fn drop(&mut self) {
        if let Some(aside) = &self.aside {
            // Where that fails they go with their place.
            let _ = std::fs::rename(self.place.path(), aside);
        }
    }
}

impl Deed {
    /// Whether it is done once to each file, so that a run is a whole by itself; else it goes on as long as it counts.
    pub fn is_once(self) -> bool {
        matches!(self, Deed::Create | Deed::Copy)
    }

    /// Files of a run.
    pub fn files(self, meter: &Meter) -> u64 {
        if self.is_once() { meter.operations() } else { FILES }
    }

    /// Before a run: the first mark, if it is a whole.
    pub fn begin(self, meter: &Meter) {
        if self.is_once() {
            meter.begin();
        }
    }

    /// After a run: the second.
    pub fn end(self, meter: &Meter) {
        if self.is_once() {
            meter.end();
        }
    }
}

/// The files that are yet to be worked at.
struct Queue {
    next: Cell<usize>,
    files: usize,
    deed: Deed,
    meter: &'static Meter,
}

impl Queue {
    /// The next file: each once where that makes something, else one after the other as long as it counts.
    fn take(&self) -> Option<usize> {
        let next = self.next.get();
        let ended = if self.deed.is_once() { next == self.files } else { self.meter.is_over() };
        (!ended).then(|| {
            self.next.set(next + 1);
            next % self.files
        })
    }
}

/// Does the deed, by as many tasks as there are files in work at the same time.
pub(super) fn perform<R: Files>(
    runtime: &R,
    deed: Deed,
    medium: Medium,
    scratch: &Path,
    meter: &'static Meter,
) -> io::Result<()> {
    let trees = Rc::new(Trees::new(deed, medium, scratch, deed.files(meter))?);
    let files = trees.from.files().len();
    let queue = Rc::new(Queue { next: Cell::new(0), files, deed, meter });
    runtime.run({
        let trees = trees.clone();
        async move {
            let tasks: Vec<_> =
                (0..AT_ONCE).map(|_| R::spawn(work::<R>(trees.clone(), queue.clone()))).collect();
            deed.begin(meter);
            for task in tasks {
                task.await?;
            }
            deed.end(meter);
            io::Result::Ok(())
        }
    })?;
    trees.verify()
}

async fn work<R: Files>(trees: Rc<Trees>, queue: Rc<Queue>) -> io::Result<()> {
    while let Some(file) = queue.take() {
        let path = &trees.from.files()[file];
        match (queue.deed, &trees.to) {
            (Deed::Create, _) => R::write(path, content(file)).await?,
            (Deed::Read, _) => check_content(&R::read(path).await?, file),
            (Deed::Stat, _) => assert_eq!(R::length(path).await?, BLOCK as u64),
            (Deed::Copy, to) => {
                let to = to.as_ref().expect("a copy has a place to go to");
                R::copy(path, &to.files()[file]).await?;
            }
        }
        queue.meter.add();
    }
    Ok(())
}
