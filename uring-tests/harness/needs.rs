//! What a trial may ask of the machine. A need that is not met makes the case *ignored*, with the reason in the output:
//! a trial is never passed silently.

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::utsname::uname;
use nix::unistd::Uid;

/// Something a trial cannot do without.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Root, for limits that only root may raise and for mounts.
    Root,
    /// The kernel's door for FUSE servers.
    Fuse,
    /// A program on the PATH.
    Tool(&'static str),
    /// At least so many descriptors for one process.
    Descriptors(u64),
    /// That no open is sent to a worker for fear of a server: before Linux 6.8 all are, where a file system with one is mounted.
    OpensInPlace,
}

impl Need {
    /// Why the machine does not meet this need; None if it does.
    pub fn unmet(self) -> Option<String> {
        match self {
            Need::Root => (!Uid::effective().is_root()).then(|| "needs root".to_owned()),
            Need::Fuse => {
                let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
                device.err().map(|error| format!("needs /dev/fuse: {error}"))
            }
            Need::Tool(name) => (!on_path(name)).then(|| format!("needs the program `{name}`")),
            Need::Descriptors(least) => {
                let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
                (limit < least).then(|| format!("needs {least} descriptors, the limit is {limit}"))
            }
            Need::OpensInPlace => {
                let server = mounted_server().filter(|_| is_before_6_8());
                server.map(|system| format!("needs Linux 6.8, or no file system of the kind {system:?}"))
            }
        }
    }
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// The kind of a mounted file system that has a server, if there is one.
fn mounted_server() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut kinds = mounts.lines().filter_map(|mount| mount.rsplit_once(" - ")?.1.split(' ').next());
    let has_server = |kind: &str| {
        let family = kind.split('.').next().unwrap_or_default();
        family == "fuse"
            || ["9p", "ceph", "cifs", "nfs", "smb", "virtiofs"].iter().any(|name| family.starts_with(name))
    };
    kinds.find(|kind| has_server(kind)).map(str::to_owned)
}

fn is_before_6_8() -> bool {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version < (6, 8))
}
