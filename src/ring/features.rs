//! What the kernel gave: set-up flags, feature bits, operations; and a mask that pretends it gave less.
//!
//! Asked once, when the ring is made, and never derived from the kernel's version: distributions carry
//! features back and sandboxes take them away. The release string is kept for the reader of a log line.

use std::fmt;

/// Set-up flags by bit, in the kernel's words.
const SETUP: [(u32, &str); 7] = [
    (3, "CQSIZE"),
    (4, "CLAMP"),
    (7, "SUBMIT_ALL"),
    (9, "TASKRUN_FLAG"),
    (12, "SINGLE_ISSUER"),
    (13, "DEFER_TASKRUN"),
    (16, "NO_SQARRAY"),
];

/// `IORING_SETUP_NO_SQARRAY`, since 6.6: no index array between the queue and its entries.
pub(super) const NO_SQARRAY: u32 = 1 << 16;

/// `IORING_FEAT_NO_IOWAIT`, since 6.15: an idle wait need not be accounted as waiting for I/O.
const FEATURE_NO_IOWAIT: u32 = 1 << 17;

/// `IORING_FEAT_RECVSEND_BUNDLE`, since 6.10. There is no bit for what the same release brought to accepts: that they may wait
/// before they try.
const FEATURE_RECVSEND_BUNDLE: u32 = 1 << 14;

/// Feature bits that 6.1 has; `IORING_FEAT_REG_REG_RING` of 6.3 is the first that it has not.
const FEATURES_6_1: u32 = (1 << 13) - 1;

/// The last operation that 6.1 has: a zero-copy sendmsg.
const LAST_OPERATION_6_1: usize = 48;

/// The operations by code, as the kernel names them, in lower case.
#[rustfmt::skip]
const OPERATIONS: [&str; 63] = [
    "nop", "readv", "writev", "fsync", "read_fixed", "write_fixed", "poll_add", "poll_remove", "sync_file_range", "sendmsg",
    "recvmsg", "timeout", "timeout_remove", "accept", "async_cancel", "link_timeout", "connect", "fallocate", "openat", "close",
    "files_update", "statx", "read", "write", "fadvise", "madvise", "send", "recv", "openat2", "epoll_ctl", "splice",
    "provide_buffers", "remove_buffers", "tee", "shutdown", "renameat", "unlinkat", "mkdirat", "symlinkat", "linkat", "msg_ring",
    "fsetxattr", "setxattr", "fgetxattr", "getxattr", "socket", "uring_cmd", "send_zc", "sendmsg_zc", "read_multishot", "waitid",
    "futex_wait", "futex_wake", "futex_waitv", "fixed_fd_install", "ftruncate", "bind", "listen", "recv_zc", "epoll_wait",
    "readv_fixed", "writev_fixed", "pipe",
];

/// The code of an operation.
fn operation(name: &str) -> Option<u8> {
    OPERATIONS.iter().position(|&known| known == name).map(|code| code as u8)
}

/// The code of an operation that a test names: a name that is none would silently test nothing.
#[track_caller]
pub(super) fn known_operation(name: &str) -> u8 {
    operation(name)
        .unwrap_or_else(|| panic!("io_uring has no operation {name:?}: use the kernel's name in lower case"))
}

/// What of the kernel a loop overlooks: with it a new kernel stands in for an old one in tests.
///
/// ```
/// use ringloop::FeatureMask;
/// let mask = FeatureMask::kernel_6_1().without_buffer_ring();
/// assert_ne!(mask, FeatureMask::default());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureMask {
    /// Operations to deny, by code.
    operations: u128,
    /// Set-up flags not to ask for.
    setup: u32,
    /// Feature bits to overlook.
    features: u32,
    /// Whether to refuse the provided-buffer ring.
    buffer_ring: bool,
}

impl FeatureMask {
    /// Overlooks all that came after kernel 6.1, the oldest one supported.
    pub fn kernel_6_1() -> FeatureMask {
        FeatureMask {
            operations: u128::MAX << (LAST_OPERATION_6_1 + 1),
            setup: NO_SQARRAY,
            features: !FEATURES_6_1,
            buffer_ring: false,
        }
    }

    /// Overlooks one more operation.
    ///
    /// # Panics
    ///
    /// If there is no such operation. The names are the kernel's, in lower case: `openat`, `send_zc`.
    #[track_caller]
    pub fn without_operation(mut self, name: &str) -> FeatureMask {
        self.operations |= 1 << known_operation(name);
        self
    }

    /// Does without the provided-buffer ring, as if there were no memory for it.
    pub fn without_buffer_ring(mut self) -> FeatureMask {
        self.buffer_ring = true;
        self
    }

    /// Whether these set-up flags may be asked for.
    pub(super) fn allows_setup(self, flags: u32) -> bool {
        self.setup & flags == 0
    }

    /// Whether a provided-buffer ring may be registered.
    pub(super) fn allows_buffer_ring(self) -> bool {
        !self.buffer_ring
    }
}

/// What a loop's ring got from the kernel. Its text is one line for a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Operations that the kernel has, by code.
    operations: u128,
    /// Set-up flags that were granted.
    setup: u32,
    /// Feature bits of the kernel.
    features: u32,
    /// Length of the submission queue.
    entries: u32,
    /// Length of the completion queue.
    completions: u32,
    /// Whether enter goes by a registered descriptor.
    registered: bool,
    /// The kernel's release, as in `uname -r`.
    release: String,
}

impl Features {
    /// From what set-up answered; `operations` are those of the probe.
    pub(super) fn new(setup: [u32; 30], operations: u128, registered: bool, mask: FeatureMask) -> Features {
        // The kernel's io_uring_params: two lengths, the flags, two words for a polling thread, the features.
        let [entries, completions, flags, _, _, features, ..] = setup;
        Features {
            operations: operations & !mask.operations,
            setup: flags,
            features: features & !mask.features,
            entries,
            completions,
            registered,
            release: release(),
        }
    }

    /// Whether the kernel has the operation of this code.
    #[inline]
    pub(super) fn supports(&self, code: u8) -> bool {
        code < 128 && self.operations & (1 << code) != 0
    }

    /// Whether waits may be kept out of the I/O-wait statistics.
    #[inline]
    pub(super) fn has_no_iowait(&self) -> bool {
        self.features & FEATURE_NO_IOWAIT != 0
    }

    /// Whether an accept may be told to wait first. A kernel that says so and does not know it answers with EINVAL.
    #[inline]
    pub(crate) fn accepts_wait(&self) -> bool {
        self.features & FEATURE_RECVSEND_BUNDLE != 0
    }

    /// Whether enter goes by a registered descriptor.
    pub(super) fn is_registered(&self) -> bool {
        self.registered
    }

    /// Whether the index array between queue and entries is left out.
    pub(super) fn has_no_sqarray(&self) -> bool {
        self.setup & NO_SQARRAY != 0
    }

    /// Whether the kernel has an operation, by its name in lower case: `openat`, `send_zc`.
    pub fn has_operation(&self, name: &str) -> bool {
        operation(name).is_some_and(|code| self.supports(code))
    }

    /// The operations that this crate knows and the kernel has not.
    pub fn missing_operations(&self) -> impl Iterator<Item = &'static str> {
        OPERATIONS.iter().enumerate().filter(|(code, _)| !self.supports(*code as u8)).map(|(_, name)| *name)
    }

    /// The set-up flags that the ring has, in the kernel's words without `IORING_SETUP_`.
    pub fn setup_flags(&self) -> impl Iterator<Item = &'static str> {
        SETUP.iter().filter(|(bit, _)| self.setup & (1 << bit) != 0).map(|(_, name)| *name)
    }

    /// Lengths of the submission and the completion queue, in entries.
    pub fn queue_lengths(&self) -> (u32, u32) {
        (self.entries, self.completions)
    }

    /// The kernel's release, as in `uname -r`.
    pub fn release(&self) -> &str {
        &self.release
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "io_uring on Linux {}: queues of {} and {},",
            self.release, self.entries, self.completions
        )?;
        for name in self.setup_flags() {
            write!(f, " {name}")?;
        }
        if self.registered {
            f.write_str(", registered ring")?;
        }
        if self.has_no_iowait() {
            f.write_str(", no iowait")?;
        }
        write!(f, ", features {:#x}, {} operations", self.features, self.operations.count_ones())
    }
}

/// `uname -r`; a question mark where even that is refused.
pub(super) fn release() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "?".into(), |name| name.release().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(flags: u32, features: u32) -> [u32; 30] {
        let mut words = [0; 30];
        (words[0], words[1], words[2], words[5]) = (256, 1024, flags, features);
        words
    }

    #[test]
    fn names_and_codes_agree_with_the_crate() {
        use io_uring::opcode::*;
        for (name, code) in [
            ("nop", Nop::CODE),
            ("accept", Accept::CODE),
            ("openat", OpenAt::CODE),
            ("read", Read::CODE),
            ("shutdown", Shutdown::CODE),
            ("socket", Socket::CODE),
            ("sendmsg_zc", SendMsgZc::CODE),
            ("ftruncate", Ftruncate::CODE),
            ("pipe", Pipe::CODE),
        ] {
            assert_eq!(operation(name), Some(code), "{name}");
        }
    }

    #[test]
    fn the_mask_of_6_1_takes_what_is_newer() {
        let features = Features::new(answer(0, 0x3ffff), u128::MAX, false, FeatureMask::kernel_6_1());
        assert!(features.has_operation("sendmsg_zc") && !features.has_operation("read_multishot"));
        assert!(!features.has_no_iowait() && !features.accepts_wait());
        assert!(!FeatureMask::kernel_6_1().allows_setup(NO_SQARRAY));
        let whole = Features::new(answer(0, 0x3ffff), u128::MAX, false, FeatureMask::default());
        assert!(whole.has_operation("read_multishot") && whole.has_no_iowait());
        assert!(whole.accepts_wait());
        assert_eq!(whole.missing_operations().count(), 0);
    }

    #[test]
    fn one_operation_can_be_masked_by_name() {
        let mask = FeatureMask::default().without_operation("openat2");
        let features = Features::new(answer(0, 0), u128::MAX, false, mask);
        assert_eq!(features.missing_operations().collect::<Vec<_>>(), ["openat2"]);
    }

    #[test]
    #[should_panic(expected = "no operation \"opnat\"")]
    fn a_misspelt_operation_is_not_masked_silently() {
        let _ = FeatureMask::default().without_operation("opnat");
    }

    #[test]
    fn the_text_is_one_line_with_all_of_it() {
        let text = Features::new(answer(1 << 13 | 1 << 12, 1 << 17), 0b111, true, FeatureMask::default())
            .to_string();
        assert!(
            text.contains("queues of 256 and 1024, SINGLE_ISSUER DEFER_TASKRUN, registered ring, no iowait"),
            "{text}"
        );
        assert!(text.ends_with("features 0x20000, 3 operations") && !text.contains('\n'), "{text}");
    }
}
