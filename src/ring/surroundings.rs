//! What a process can see of the rules it runs under, as far as they concern io_uring.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

use super::features::release;

/// CAP_IPC_LOCK: locked memory is not limited.
const CAP_IPC_LOCK: u32 = 14;
/// CAP_SYS_ADMIN: `kernel.io_uring_disabled=1` does not apply.
const CAP_SYS_ADMIN: u32 = 21;

/// The rules. What cannot be read is None, or the harmless value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// `uname -r`.
    pub(super) release: String,
    /// `/proc/version`: names a kernel that is none.
    pub(super) version: String,
    /// `/proc/sys/kernel/io_uring_disabled`, since 6.6.
    pub(super) disabled: Option<u8>,
    /// The `Seccomp` line of the thread's status: 0 no filter, 1 strict, 2 filtered.
    pub(super) seccomp: Option<u8>,
    /// RLIMIT_MEMLOCK in bytes; `u64::MAX` for none.
    pub(super) memlock: u64,
    /// RLIMIT_NOFILE; `u64::MAX` for none.
    pub(super) descriptors: u64,
    /// RLIMIT_NPROC; `u64::MAX` for none.
    pub(super) processes: u64,
    /// Whether CAP_IPC_LOCK is held where it counts: in the first user namespace.
    pub(super) may_lock: bool,
    /// Whether CAP_SYS_ADMIN is held.
    pub(super) is_admin: bool,
}

impl Surroundings {
    /// Looks around.
    pub(super) fn gather() -> Surroundings {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let limit = |resource| getrlimit(resource).map_or(u64::MAX, |(soft, _)| soft);
        // Filters and capabilities belong to threads; `self` would be the first one.
        let status = read("/proc/thread-self/status");
        let capabilities =
            line(&status, "CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
        Surroundings {
            release: release(),
            version: read("/proc/version").trim().into(),
            disabled: read("/proc/sys/kernel/io_uring_disabled").trim().parse().ok(),
            seccomp: line(&status, "Seccomp:").and_then(|mode| mode.parse().ok()),
            memlock: limit(Resource::RLIMIT_MEMLOCK),
            descriptors: limit(Resource::RLIMIT_NOFILE),
            processes: limit(Resource::RLIMIT_NPROC),
            may_lock: capabilities & 1 << CAP_IPC_LOCK != 0
                && is_first_namespace(&read("/proc/self/uid_map")),
            is_admin: capabilities & 1 << CAP_SYS_ADMIN != 0,
        }
    }

    /// Whether a seccomp filter is active.
    pub(super) fn is_filtered(&self) -> bool {
        self.seccomp.is_some_and(|mode| mode != 0)
    }

    /// Whether the kernel is gVisor's imitation of one.
    pub(super) fn is_gvisor(&self) -> bool {
        self.version.contains("gVisor")
    }

    /// Whether the release names at least this kernel; one that names none is taken for a new one.
    pub(super) fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers =
            self.release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(found), Some(then)) => (found, then) >= (major, minor),
            _ => true,
        }
    }
}

/// The value of a line of a status file.
fn line<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// Whether a `uid_map` is that of the first user namespace: it maps every id to itself.
fn is_first_namespace(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_described() {
        let here = Surroundings::gather();
        assert!(here.release.starts_with(|c: char| c.is_ascii_digit()), "{here:?}");
        assert!(here.descriptors > 0 && !here.is_gvisor(), "{here:?}");
        assert!(here.is_at_least(5, 1) && !here.is_at_least(1000, 0));
    }

    #[test]
    fn releases_are_compared_by_number() {
        let kernel = |release: &str| Surroundings { release: release.into(), ..Surroundings::default() };
        assert!(kernel("6.1.0-28-amd64").is_at_least(6, 1));
        assert!(kernel("6.10.3").is_at_least(6, 9));
        assert!(!kernel("5.15.167.4-microsoft-standard-WSL2").is_at_least(6, 1));
        assert!(kernel("?").is_at_least(6, 1));
    }

    #[test]
    fn only_the_first_namespace_maps_every_id() {
        assert!(is_first_namespace("         0          0 4294967295\n"));
        assert!(!is_first_namespace("         0     100000      65536\n"));
    }

    #[test]
    fn lines_of_the_status_are_found_by_their_whole_name() {
        let status = "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        assert_eq!(line(status, "Seccomp:"), Some("2"));
        assert_eq!(line(status, "CapEff:"), None);
    }
}
