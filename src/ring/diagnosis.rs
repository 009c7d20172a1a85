//! Why there is no ring: the errno, the call that gave it and the surroundings, made into a cause and a
//! remedy.
//!
//! The same EPERM means a sysctl, a container's filter or a security module, and each wants something else
//! from the reader. The decision is a pure function, so that every cause can be tested on a machine that has
//! none of them.

use std::fmt;
use std::io;

use nix::errno::Errno;

use super::surroundings::Surroundings;

/// What was tried when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Making the eventfd by which other threads wake the loop.
    Notifier,
    /// `io_uring_setup`, or mapping what it made.
    Setup,
    /// `io_uring_register`.
    Register,
    /// `io_uring_enter`.
    Enter,
}

impl Stage {
    /// The system call.
    fn call(self) -> &'static str {
        match self {
            Stage::Notifier => "eventfd",
            Stage::Setup => "io_uring_setup",
            Stage::Register => "io_uring_register",
            Stage::Enter => "io_uring_enter",
        }
    }
}

/// The cause of a [`SetupError`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetupErrorKind {
    /// The kernel is older than 6.1.
    KernelTooOld,
    /// The kernel, or what imitates one, has no io_uring.
    Missing,
    /// The sysctl `kernel.io_uring_disabled` has this value: 1 excludes ordinary processes, 2 excludes all.
    DisabledBySysctl(u8),
    /// A seccomp filter, as containers have it by default, refuses the calls of io_uring.
    Seccomp,
    /// `io_uring_setup` is allowed, but `io_uring_enter` is refused.
    EnterRefused,
    /// The limit of locked memory leaves no room for a ring.
    Memlock {
        /// Bytes that the ring would have been charged with.
        needed: u64,
        /// The limit (`RLIMIT_MEMLOCK`) in bytes, for all processes of the user together.
        limit: u64,
    },
    /// There is no free descriptor.
    Descriptors,
    /// None of the above.
    Other,
}

/// Why an event loop could not get a ring. Its text, in `Display` and in `Debug`, says the cause and the
/// remedy.
///
/// ```
/// use ringloop::{SetupError, SetupErrorKind};
///
/// fn advise(error: &SetupError) {
///     match error.kind() {
///         SetupErrorKind::Seccomp => eprintln!("start the container with scripts/seccomp.json"),
///         _ => eprintln!("{error}"),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct SetupError {
    /// What is wrong.
    kind: SetupErrorKind,
    /// The call that failed.
    stage: Stage,
    /// How it failed.
    errno: Errno,
    /// Where it failed.
    around: Box<Surroundings>,
}

impl SetupError {
    /// Looks around and decides. `needed` is the locked memory, in bytes, of the ring that was asked for.
    #[cold]
    pub(super) fn new(stage: Stage, errno: Errno, needed: u64) -> SetupError {
        let around = Box::new(Surroundings::gather());
        SetupError { kind: decide(stage, errno, needed, &around), stage, errno, around }
    }

    /// The cause.
    pub fn kind(&self) -> SetupErrorKind {
        self.kind
    }

    /// The errno that the kernel answered.
    pub fn raw_os_error(&self) -> i32 {
        self.errno as i32
    }

    /// What is wrong, in sentences.
    fn cause(&self) -> String {
        use SetupErrorKind::*;
        let Surroundings { release, descriptors, .. } = &*self.around;
        let cause = match self.kind {
            KernelTooOld => {
                format!("the kernel is too old: it is Linux {release}, and ringloop needs 6.1 or newer")
            }
            Missing if self.around.is_gvisor() => "this sandbox is gVisor, and its io_uring is off".into(),
            Missing => format!(
                "this kernel, Linux {release}, has none: it was built without CONFIG_IO_URING, or is emulated"
            ),
            DisabledBySysctl(1) => {
                "the sysctl kernel.io_uring_disabled is 1: only processes with CAP_SYS_ADMIN or in \
                                    the group that kernel.io_uring_group names may use it"
                    .into()
            }
            DisabledBySysctl(value) => {
                format!(
                    "the sysctl kernel.io_uring_disabled is {value}: it is off for everybody, root included"
                )
            }
            Seccomp => {
                "a seccomp filter blocks it, as the default profiles of Docker, containerd and Podman do"
                    .into()
            }
            EnterRefused => {
                "io_uring_setup is allowed, but io_uring_enter is refused, as by a seccomp filter that knows \
                             only some of the three calls"
                    .into()
            }
            Memlock { needed, limit } => format!(
                "locked memory is short: the ring needs {}, and the limit (RLIMIT_MEMLOCK) is {} for all processes of \
                 this user together",
                Bytes(needed),
                Bytes(limit)
            ),
            Descriptors if self.errno == Errno::ENFILE => {
                "the whole system has no descriptor left (fs.file-max)".into()
            }
            Descriptors => {
                format!("this process has no descriptor left: its limit (RLIMIT_NOFILE) is {descriptors}")
            }
            Other => match self.errno {
                Errno::EACCES => "a security module denies it, as SELinux does to confined services".into(),
                Errno::ENOMEM => {
                    "the kernel has no memory for a ring, though no limit of locked memory forbids it".into()
                }
                _ => format!("the kernel, Linux {release}, refuses it for no reason that can be seen"),
            },
        };
        format!("{cause} ({}: {}).", self.stage.call(), self.errno)
    }

    /// What to do about it, in sentences.
    fn remedy(&self) -> &'static str {
        use SetupErrorKind::*;
        match self.kind {
            KernelTooOld => {
                "Run on Linux 6.1 or newer. A container runs on the kernel of its host, so it is the host that needs \
                 the update."
            }
            Missing if self.around.is_gvisor() => {
                "Start its runtime as `runsc --iouring`, or use a runtime that runs on the host's kernel."
            }
            Missing => "Use a kernel of version 6.1 or newer that has it; those of the distributions do.",
            DisabledBySysctl(1) => {
                "On the host, set it to 0 (`sysctl -w kernel.io_uring_disabled=0`), or set kernel.io_uring_group to a \
                 group of this user."
            }
            DisabledBySysctl(_) => "On the host, set it to 0: `sysctl -w kernel.io_uring_disabled=0`.",
            Seccomp | EnterRefused => {
                "Use a profile that allows io_uring_setup, io_uring_enter and io_uring_register, such as \
                 scripts/seccomp.json: `docker run --security-opt seccomp=scripts/seccomp.json`, the same with podman, \
                 and in Kubernetes a seccompProfile of type Localhost."
            }
            Memlock { .. } => {
                "Raise the limit (`ulimit -l`, LimitMEMLOCK= in a systemd unit, `docker run --ulimit memlock=-1:-1`), \
                 or use fewer or smaller rings."
            }
            Descriptors if self.errno == Errno::ENFILE => {
                "Raise it (`sysctl -w fs.file-max=...`), or find the process that holds so many."
            }
            Descriptors => {
                "Raise the limit (`ulimit -n`, LimitNOFILE= in a systemd unit, `docker run --ulimit nofile=65536`), or \
                 close some."
            }
            Other => match self.errno {
                Errno::EACCES => {
                    "Look for the denial with `ausearch -m avc`, and allow the service io_uring and the anonymous \
                     inodes of that class."
                }
                Errno::ENOMEM => {
                    "Use a smaller ring, or give the machine or the container's memory cgroup more memory."
                }
                _ => {
                    "Ask whoever runs this sandbox to allow io_uring_setup, io_uring_enter and io_uring_register; \
                     security modules and virtual machines can refuse them too."
                }
            },
        }
    }
}

/// Finds the cause.
fn decide(stage: Stage, errno: Errno, needed: u64, around: &Surroundings) -> SetupErrorKind {
    use SetupErrorKind::*;
    match errno {
        Errno::EMFILE | Errno::ENFILE => Descriptors,
        Errno::EPERM | Errno::ENOSYS | Errno::EACCES if stage == Stage::Enter => EnterRefused,
        Errno::EPERM => match around.disabled {
            Some(2) => DisabledBySysctl(2),
            // The group is allowed too, but a member gets no EPERM from the sysctl.
            Some(1) if !around.is_admin => DisabledBySysctl(1),
            _ if around.is_filtered() => Seccomp,
            _ => Other,
        },
        // A filter may answer "no such call" as well, and a kernel that has the sysctl has io_uring.
        Errno::ENOSYS if around.is_gvisor() => Missing,
        Errno::ENOSYS if around.is_filtered() && (around.disabled.is_some() || around.is_at_least(5, 1)) => {
            Seccomp
        }
        Errno::ENOSYS => Missing,
        Errno::EINVAL if stage == Stage::Setup && !around.is_at_least(6, 1) => KernelTooOld,
        Errno::ENOMEM if around.memlock != u64::MAX && !around.may_lock => {
            Memlock { needed, limit: around.memlock }
        }
        _ => Other,
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "io_uring cannot be used: {} {}", self.cause(), self.remedy())
    }
}

/// The same text: a `main` that returns the error prints this.
impl fmt::Debug for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for SetupError {}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> io::Error {
        let kind = match error.kind {
            SetupErrorKind::KernelTooOld | SetupErrorKind::Missing => io::ErrorKind::Unsupported,
            SetupErrorKind::DisabledBySysctl(_) | SetupErrorKind::Seccomp | SetupErrorKind::EnterRefused => {
                io::ErrorKind::PermissionDenied
            }
            SetupErrorKind::Memlock { .. } => io::ErrorKind::OutOfMemory,
            SetupErrorKind::Descriptors | SetupErrorKind::Other => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// A number of bytes for a reader.
pub(super) struct Bytes(pub(super) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("unlimited"),
            bytes if bytes >= 1 << 20 => write!(f, "{} MiB", bytes >> 20),
            bytes if bytes >= 1 << 10 => write!(f, "{} KiB", bytes >> 10),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}
