//! What a trial may ask of the machine. A need that is not met makes the case *ignored*, with the reason in the output:
//! a trial is never passed silently.

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::Uid;

/// Something a trial cannot do without.
#[derive(Clone, Copy, Debug)]
pub enum Need {
    /// Root, for limits that only root may raise and for mounts.
    Root,
    /// A program on the PATH.
    Tool(&'static str),
    /// At least so many descriptors for one process.
    Descriptors(u64),
}

impl Need {
    /// Why the machine does not meet this need; None if it does.
    pub fn unmet(self) -> Option<String> {
        match self {
            Need::Root => (!Uid::effective().is_root()).then(|| "needs root".to_owned()),
            Need::Tool(name) => (!on_path(name)).then(|| format!("needs the program `{name}`")),
            Need::Descriptors(least) => {
                let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
                (limit < least).then(|| format!("needs {least} descriptors, the limit is {limit}"))
            }
        }
    }
}

fn on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
