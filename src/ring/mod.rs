//! The kernel: one io_uring, and the only door to it.
use std::time::Instant;

/// The submission entry of one operation.
pub(crate) type Entry = io_uring::squeue::Entry;

/// What the kernel answered to one entry: result and flags of its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// A count or a descriptor, or a negated errno.
    pub(crate) result: i32,
    /// `IORING_CQE_F_*` and, in the upper half, the id of a picked buffer.
    pub(crate) flags: u32,
}
