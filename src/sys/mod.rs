//! Plain system calls: the one seam between the crate and the kernel besides the ring.
//!
//! Each function is one call with safe arguments and an [`Errno`] for an error. No policy: which call to make, whether it may
//! block and what its error means is decided by the caller. A kernel that is simulated replaces this module and `ring`.

pub(crate) mod clock;
pub(crate) mod file;
#[cfg(feature = "process-pool")]
pub(crate) mod process;
pub(crate) mod socket;

pub(crate) use nix::errno::Errno;
pub(crate) use nix::sys::{eventfd, resource};
