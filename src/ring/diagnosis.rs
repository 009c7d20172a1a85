//! Why there is no ring: the errno, the call that gave it and the surroundings, made into a cause and a
//! remedy.
//!
//! The same EPERM means a sysctl, a container's filter or a security module, and each wants something else
//! from the reader. The decision is a pure function, so that every cause can be tested on a machine that has
//! none of them.

use crate::error::RunError;
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
    /// A [`Builder`](crate::Builder) was given a value that cannot work; the text names its method and the range.
    InvalidOption,
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
pub struct SetupError(Reason);

#[derive(Clone)]
enum Reason {
    Refused(Refusal),
    /// What is wrong with an option, as a sentence.
    Option(String),
}

/// A system call that failed.
#[derive(Clone)]
struct Refusal {
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
        let kind = decide(stage, errno, needed, &around);
        SetupError(Reason::Refused(Refusal { kind, stage, errno, around }))
    }

    /// An option that cannot work; `what` is a sentence that names it and says what it may be.
    #[cold]
    pub(crate) fn of_option(what: String) -> SetupError {
        SetupError(Reason::Option(what))
    }

    /// The cause.
    pub fn kind(&self) -> SetupErrorKind {
        match &self.0 {
            Reason::Refused(refusal) => refusal.kind,
            Reason::Option(_) => SetupErrorKind::InvalidOption,
        }
    }

    /// The errno that the kernel answered; `EINVAL` for an option that it was not asked for.
    pub fn raw_os_error(&self) -> i32 {
        match &self.0 {
            Reason::Refused(refusal) => refusal.errno as i32,
            Reason::Option(_) => Errno::EINVAL as i32,
        }
    }
}

impl Refusal {
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
            InvalidOption | Other => match self.errno {
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
            InvalidOption | Other => match self.errno {
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
        match &self.0 {
            Reason::Refused(refusal) => {
                write!(f, "io_uring cannot be used: {} {}", refusal.cause(), refusal.remedy())
            }
            Reason::Option(what) => f.write_str(what),
        }
    }
}

/// The same text: a `main` that returns the error prints this.
impl fmt::Debug for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for SetupError {}

impl From<SetupError> for RunError {
    fn from(error: SetupError) -> RunError {
        RunError::setup(io::Error::from(error))
    }
}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> io::Error {
        let kind = match error.kind() {
            SetupErrorKind::KernelTooOld | SetupErrorKind::Missing => io::ErrorKind::Unsupported,
            SetupErrorKind::DisabledBySysctl(_) | SetupErrorKind::Seccomp | SetupErrorKind::EnterRefused => {
                io::ErrorKind::PermissionDenied
            }
            SetupErrorKind::Memlock { .. } => io::ErrorKind::OutOfMemory,
            SetupErrorKind::InvalidOption => io::ErrorKind::InvalidInput,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{Config, Ring};

    /// A machine on which io_uring works, as an ordinary user.
    fn fine() -> Surroundings {
        Surroundings {
            release: "6.12.1".into(),
            version: "Linux version 6.12.1".into(),
            disabled: Some(0),
            seccomp: Some(0),
            memlock: 8 << 20,
            descriptors: 1024,
            processes: 1000,
            may_lock: false,
            is_admin: false,
        }
    }

    /// The kind, and a check that the text names each of these, is made of sentences and is the same in both
    /// formats.
    fn kind(stage: Stage, errno: Errno, around: Surroundings, names: &[&str]) -> SetupErrorKind {
        let kind = decide(stage, errno, 36 * 1024, &around);
        let error = SetupError(Reason::Refused(Refusal { kind, stage, errno, around: Box::new(around) }));
        let text = error.to_string();
        for name in names.iter().chain(&["io_uring cannot be used: ", stage.call(), "). "]) {
            assert!(text.contains(name), "{name:?} is not in: {text}");
        }
        assert!(text.ends_with('.'), "{text}");
        assert_eq!(format!("{error:?}"), text);
        assert!(!text.contains('\n') && !text.contains("  "), "{text}");
        kind
    }

    use SetupErrorKind::*;
    use Stage::*;

    #[test]
    fn an_old_kernel_is_named() {
        let around = Surroundings { release: "5.15.0-91-generic".into(), disabled: None, ..fine() };
        let names = ["5.15.0-91-generic", "6.1 or newer", "host"];
        assert_eq!(kind(Setup, Errno::EINVAL, around, &names), KernelTooOld);
        assert_eq!(kind(Setup, Errno::EINVAL, fine(), &["6.12.1", "EINVAL"]), Other);
    }

    #[test]
    fn a_kernel_without_it_is_told_from_a_filter_that_hides_it() {
        let without = Surroundings { disabled: None, ..fine() };
        assert_eq!(kind(Setup, Errno::ENOSYS, without.clone(), &["CONFIG_IO_URING"]), Missing);
        let ancient = Surroundings { release: "4.19.0".into(), seccomp: Some(2), ..without.clone() };
        assert_eq!(kind(Setup, Errno::ENOSYS, ancient, &["4.19.0"]), Missing);
        let podman = Surroundings { seccomp: Some(2), ..without.clone() };
        assert_eq!(kind(Setup, Errno::ENOSYS, podman, &["ENOSYS", "scripts/seccomp.json"]), Seccomp);
        let gvisor =
            Surroundings { version: "Linux version 4.4.0 gVisor".into(), seccomp: Some(2), ..without };
        assert_eq!(kind(Setup, Errno::ENOSYS, gvisor, &["gVisor", "runsc --iouring"]), Missing);
    }

    #[test]
    fn the_sysctl_is_told_by_its_value() {
        let off = Surroundings { disabled: Some(2), seccomp: Some(2), is_admin: true, ..fine() };
        let names =
            ["kernel.io_uring_disabled is 2", "root included", "sysctl -w kernel.io_uring_disabled=0"];
        assert_eq!(kind(Setup, Errno::EPERM, off, &names), DisabledBySysctl(2));
        let restricted = Surroundings { disabled: Some(1), ..fine() };
        let names = ["kernel.io_uring_disabled is 1", "kernel.io_uring_group"];
        assert_eq!(kind(Setup, Errno::EPERM, restricted, &names), DisabledBySysctl(1));
        let admin = Surroundings { disabled: Some(1), is_admin: true, seccomp: Some(2), ..fine() };
        assert_eq!(kind(Setup, Errno::EPERM, admin, &["seccomp"]), Seccomp);
    }

    #[test]
    fn a_container_profile_is_told_with_the_one_to_use() {
        let docker = Surroundings { seccomp: Some(2), ..fine() };
        let names = ["seccomp", "Docker", "--security-opt seccomp=scripts/seccomp.json", "Localhost"];
        assert_eq!(kind(Setup, Errno::EPERM, docker.clone(), &names), Seccomp);
        assert_eq!(kind(Register, Errno::EPERM, docker.clone(), &["io_uring_register"]), Seccomp);
        assert_eq!(kind(Enter, Errno::EPERM, docker.clone(), &["io_uring_enter is refused"]), EnterRefused);
        assert_eq!(kind(Enter, Errno::ENOSYS, docker, &["io_uring_enter is refused"]), EnterRefused);
    }

    #[test]
    fn short_locked_memory_is_told_in_numbers() {
        let names = ["36 KiB", "8 MiB", "ulimit -l", "LimitMEMLOCK=", "--ulimit memlock=-1:-1"];
        let memlock = Memlock { needed: 36 * 1024, limit: 8 << 20 };
        assert_eq!(kind(Setup, Errno::ENOMEM, fine(), &names), memlock);
        let privileged = Surroundings { may_lock: true, ..fine() };
        assert_eq!(kind(Setup, Errno::ENOMEM, privileged, &["no memory"]), Other);
        let unlimited = Surroundings { memlock: u64::MAX, ..fine() };
        assert_eq!(kind(Setup, Errno::ENOMEM, unlimited, &["no memory"]), Other);
    }

    #[test]
    fn spent_descriptors_are_told_by_whose_they_are() {
        assert_eq!(kind(Setup, Errno::EMFILE, fine(), &["1024", "ulimit -n"]), Descriptors);
        assert_eq!(kind(Notifier, Errno::EMFILE, fine(), &["eventfd", "ulimit -n"]), Descriptors);
        assert_eq!(kind(Setup, Errno::ENFILE, fine(), &["fs.file-max"]), Descriptors);
    }

    #[test]
    fn what_has_no_name_still_has_a_remedy() {
        assert_eq!(kind(Setup, Errno::EACCES, fine(), &["security module", "ausearch"]), Other);
        assert_eq!(kind(Setup, Errno::EPERM, fine(), &["no reason that can be seen", "Ask"]), Other);
        assert_eq!(kind(Setup, Errno::EOPNOTSUPP, fine(), &["EOPNOTSUPP"]), Other);
    }

    #[test]
    fn it_is_an_error_for_threads_and_for_io() {
        fn travels<T: std::error::Error + std::marker::Send + Sync + 'static>(_: &T) {}
        let around = Box::new(Surroundings { seccomp: Some(2), ..fine() });
        let error =
            SetupError(Reason::Refused(Refusal { kind: Seccomp, stage: Setup, errno: Errno::EPERM, around }));
        travels(&error);
        assert_eq!((error.kind(), error.raw_os_error()), (Seccomp, libc::EPERM));
        let text = error.to_string();
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::PermissionDenied, text));
    }

    /// Sets up a ring on a thread for which a filter answers one system call with an error, and gives what
    /// came of it.
    #[allow(unsafe_code)]
    fn filtered(call: libc::c_long, errno: Errno) -> Option<SetupError> {
        use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
        let statement = |code: u32, k: u32, jf: u8| sock_filter { code: code as u16, jt: 0, jf, k };
        let set_up = move || {
            let mut program = [
                statement(BPF_LD | BPF_W | BPF_ABS, 0, 0),
                statement(BPF_JMP | BPF_JEQ | BPF_K, call as u32, 1),
                statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32, 0),
                statement(BPF_RET | BPF_K, libc::SECCOMP_RET_ALLOW, 0),
            ];
            let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
            // SAFETY: L1: the program lives through both calls, which concern this thread alone; it ends after
            // the set-up.
            unsafe {
                assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
                assert_eq!(
                    libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program),
                    0
                );
            }
            Ring::new(&Config::default()).err()
        };
        std::thread::spawn(set_up).join().expect("the filter is accepted")
    }

    #[test]
    fn a_real_filter_is_recognised() {
        let refused = |call, errno| filtered(call, errno).expect("the call was refused").kind();
        assert_eq!(refused(libc::SYS_io_uring_setup, Errno::EPERM), Seccomp);
        assert_eq!(refused(libc::SYS_io_uring_setup, Errno::ENOSYS), Seccomp);
        assert_eq!(refused(libc::SYS_io_uring_register, Errno::EPERM), Seccomp);
        assert_eq!(refused(libc::SYS_io_uring_enter, Errno::EPERM), EnterRefused);
        assert!(filtered(libc::SYS_getdents64, Errno::EPERM).is_none(), "another call is none of ours");
    }
}
