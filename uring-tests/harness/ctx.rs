//! What a trial is given: its kind of ring, a seed, and a folder of its own on a real file system.

use super::Kind;
use super::process::Skip;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The surroundings of one case.
pub struct Ctx {
    /// The kind of ring that [`Ctx::builder`] makes.
    pub kind: Kind,
    /// Drives the fault filter and whatever the trial chooses at random; RINGLOOP_SEED sets it.
    pub seed: u64,
    /// The case's folder, removed at the end.
    dir: PathBuf,
}

impl Ctx {
    /// A fresh folder and a seed.
    pub fn new(kind: Kind) -> io::Result<Self> {
        let dir = trials_folder().join(folder_name(std::process::id()));
        // A process of the same number may have died in it.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir)?;
        Ok(Ctx { kind, seed: seed(), dir })
    }

    /// The case's own folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in the case's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A file in the case's own folder with these bytes.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("the case's folder can be written");
        path
    }

    /// Ends the trial as *ignored*: the machine turned out to lack something.
    pub fn skip(&self, reason: impl Into<String>) -> ! {
        // Without the hook of a real panic: this is no failure and shall not read like one.
        std::panic::resume_unwind(Box::new(Skip(reason.into())))
    }
}

impl Drop for Ctx {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes what a child left that did not come to its end.
pub fn sweep(child: u32) {
    for folder in [trials_folder(), std::env::temp_dir()] {
        let _ = fs::remove_dir_all(folder.join(folder_name(child)));
    }
}

fn folder_name(process: u32) -> String {
    format!("ringloop-trial-{process}")
}

/// Where the cases' folders are made: beside the build, which is on a real file system where /tmp often is not.
fn trials_folder() -> PathBuf {
    let beside_the_build = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let writable = nix::unistd::access(beside_the_build, nix::unistd::AccessFlags::W_OK).is_ok();
    if writable { beside_the_build.to_owned() } else { std::env::temp_dir() }
}

fn seed() -> u64 {
    let asked =
        std::env::var("RINGLOOP_SEED").ok().map(|text| text.parse().expect("RINGLOOP_SEED is a number"));
    asked.unwrap_or_else(|| {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
        u64::from(clock) << 20 | u64::from(std::process::id())
    })
}
