//! The life of one operation.
use crate::ring::{Entry, Outcome};

/// What a drop of the future does to an operation that the kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnDrop {
    /// It may wait without end (sockets, pipes, polls): ask the kernel to cancel it.
    Cancel,
    /// It ends by itself (block I/O, detached sends): leave it.
    Finish,
}

/// Whether an operation is done with its last outcome.
pub(crate) enum Next {
    /// `finish` may run.
    Finish,
    /// Submit another entry for the rest (a short transfer): `entry` is called again, at the same address.
    Again,
}

/// One kernel operation. SAFETY contract: the entry points only into `self` or into memory that `self` owns and has lent to nobody else.
#[allow(unsafe_code)]
pub(crate) unsafe trait Operation: Sized + 'static {
    /// What awaiting it gives.
    type Output: 'static;
    /// For diagnosis: the operation's name, as in `openat`.
    const NAME: &'static str;
    /// What a drop does while the kernel has it.
    const ON_DROP: OnDrop;
    /// Builds the entry. Called at the operation's final address.
    fn entry(&mut self) -> Entry;
    /// Looks at an outcome before `finish`: a multi-step operation may ask for another entry. Not called once a cancel was asked for.
    fn advance(&mut self, _outcome: Outcome) -> Next { Next::Finish }
    /// Turns the completion into the output.
    fn finish(self, outcome: Outcome) -> Self::Output;
    /// The same as a plain system call, where it cannot block; None: the ring must do it.
    fn call(&mut self) -> Option<Outcome> { None }
}
