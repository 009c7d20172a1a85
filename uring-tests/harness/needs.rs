//! What a trial may ask of the machine. A need that is not met makes the case *ignored*, with the reason in the output:
//! a trial is never passed silently.

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs;
use nix::unistd::Uid;
use std::path::Path;
use std::process::{Command, Stdio};

/// Something a trial cannot do without.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Root, for limits that only root may raise and for mounts.
    Root,
    /// This kernel version or a newer one.
    Kernel(u32, u32),
    /// A program on the PATH.
    Tool(&'static str),
    /// The trials' folder lies on ext4.
    Ext4,
    /// At least so many descriptors for one process.
    Descriptors(u64),
    /// An ordinary user may make a user namespace.
    UserNamespaces,
}

impl Need {
    /// Why the machine does not meet this need; None if it does.
    pub fn unmet(self) -> Option<String> {
        match self {
            Need::Root => (!Uid::effective().is_root()).then(|| "needs root".to_owned()),
            Need::Kernel(major, minor) => {
                let (running, release) = kernel();
                (running < (major, minor)).then(|| format!("needs Linux {major}.{minor}, this is {release}"))
            }
            Need::Tool(name) => (!on_path(name)).then(|| format!("needs the program `{name}`")),
            Need::Ext4 => {
                let folder = super::ctx::trials_folder();
                (!is_ext4(&folder)).then(|| format!("needs ext4, {} is not", folder.display()))
            }
            Need::Descriptors(least) => {
                let hard = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
                (hard < least).then(|| format!("needs {least} descriptors, the hard limit is {hard}"))
            }
            Need::UserNamespaces => {
                let tried = Command::new("unshare")
                    .args(["--user", "--map-root-user", "true"])
                    .stderr(Stdio::null())
                    .status();
                (!tried.is_ok_and(|status| status.success())).then(|| "needs user namespaces".to_owned())
            }
        }
    }
}

/// The running kernel's version, and its release string for messages.
fn kernel() -> ((u32, u32), String) {
    let release = nix::sys::utsname::uname()
        .map_or_else(|_| String::from("unknown"), |name| name.release().to_string_lossy().into_owned());
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    ((numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)), release)
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

fn is_ext4(folder: &Path) -> bool {
    statfs::statfs(folder).is_ok_and(|about| about.filesystem_type() == statfs::EXT4_SUPER_MAGIC)
}
