//! Retries: how often an operation is tried again after an error that means that nothing has happened.
//!
//! One limit for files and sockets. A kernel that answers like that without end is told to the caller instead of keeping the
//! loop busy.

use super::Next;
use crate::ring::Outcome;

/// How often in a row.
pub(super) const TRIES: u8 = 16;

/// Errors after which a transfer may be tried again: nothing has been moved. ECANCELED that was not asked for: a kernel
/// worker could not start.
pub(super) const NOTHING_MOVED: &[i32] = &[libc::EINTR, libc::EAGAIN, libc::ECANCELED];
/// Errors after which a call that may be repeated is tried again.
pub(super) const INTERRUPTED: &[i32] = &[libc::EINTR, libc::ECANCELED];
/// Errors after which a call has not begun.
pub(super) const NOT_BEGUN: &[i32] = &[libc::ECANCELED];

/// Counts the tries of an operation that failed without an effect.
#[derive(Debug, Default)]
pub(super) struct Retry(u8);

impl Retry {
    /// Whether to try again, after one of these errors.
    pub(super) fn again(&mut self, outcome: Outcome, errors: &[i32]) -> bool {
        let again = errors.contains(&outcome.result.wrapping_neg()) && self.0 < TRIES;
        self.0 = if again { self.0 + 1 } else { 0 };
        again
    }

    pub(super) fn advance(&mut self, outcome: Outcome, errors: &[i32]) -> Next {
        if self.again(outcome, errors) { Next::Again } else { Next::Finish }
    }
}
