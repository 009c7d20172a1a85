//! A slow disk: the kernel's own limit of reads for a group of processes, of which this becomes the only one.

use std::io;
use std::os::linux::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{major, minor};

use crate::contender::cannot;

/// Reads that the disk does in a second.
const READS: u32 = 50;

/// Ends the limit when it goes.
pub(super) struct Throttle {
    group: PathBuf,
}

impl Throttle {
    /// Limits this process's reads of the disk that this lies on.
    pub(super) fn on_reads(path: &Path) -> io::Result<Throttle> {
        let root = Path::new("/sys/fs/cgroup/blkio");
        let group = root.join(format!("ringloop-bench-{}", std::process::id()));
        std::fs::create_dir(&group).map_err(|error| cannot(&format!("no limit of reads here: {error}")))?;
        let throttle = Throttle { group };
        let device = std::fs::metadata(path)?.st_dev();
        let limit = format!("{}:{} {READS}", major(device), minor(device));
        std::fs::write(throttle.group.join("blkio.throttle.read_iops_device"), limit)
            .map_err(|error| cannot(&format!("no limit of reads of this disk: {error}")))?;
        std::fs::write(throttle.group.join("cgroup.procs"), std::process::id().to_string())?;
        Ok(throttle)
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        let leave = || -> io::Result<()> {
            let parent = self.group.with_file_name("cgroup.procs");
            std::fs::write(parent, std::process::id().to_string())?;
            std::fs::remove_dir(&self.group)
        };
        if let Err(error) = leave() {
            eprintln!("{} is left: {error}", self.group.display());
        }
    }
}
