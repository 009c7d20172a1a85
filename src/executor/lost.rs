//! What a task ended with that nobody asked for: asyncio's "exception was never retrieved".
//!
//! A panic is always one. An error is one where the type says that there is one, and no code can ask that of any type. So
//! it is asked of a few: a task that gives `Result<(), E>`, with an `E` of the list below, has nothing else to say, and
//! losing it unseen cannot have been meant. The question compares constants, so it costs nothing at run time. For other
//! types there is `Task::detach_reporting`.

use std::any::{Any, TypeId};
use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;

use crate::error::{
    BrokenBarrier, BrokenPromise, Cancelled, ChildFailed, Elapsed, GroupError, JoinError, LoopClosed,
    RunError, ShutDown, WaitError,
};

/// The end of a task that nobody has seen.
pub(crate) enum Lost {
    Panic(JoinError),
    /// An error, in words.
    Error(String),
}

impl Display for Lost {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Panic(error) => Display::fmt(error, f),
            Lost::Error(error) => write!(f, "the task failed: {error}"),
        }
    }
}

/// Errors that are found in a task's output.
macro_rules! known {
    ($($Error:ty),* $(,)?) => {
        /// Whether tasks with this output are asked for their errors. Of a type that is known to the compiler this is a
        /// constant.
        #[inline]
        fn is_known(output: TypeId) -> bool {
            $(output == TypeId::of::<Result<(), $Error>>())||*
        }

        #[cold]
        fn find_known(output: &dyn Any) -> Option<Lost> {
            $(if let Some(result) = output.downcast_ref::<Result<(), $Error>>() {
                return result.as_ref().err().and_then(Lost::of);
            })*
            None
        }
    };
}

known! {
    io::Error, fmt::Error, Box<dyn Error>, Box<dyn Error + Send>, Box<dyn Error + Send + Sync>, String, &'static str,
    BrokenBarrier, BrokenPromise, Elapsed, GroupError<io::Error>, JoinError, LoopClosed, RunError, ShutDown, WaitError,
}

impl Lost {
    /// The error in an output that is dropped.
    #[inline]
    pub(super) fn find<T: 'static>(output: &T) -> Option<Lost> {
        if is_known(TypeId::of::<T>()) { find_known(output) } else { None }
    }

    /// What is to be reported of an error: nothing if it only says that something was cancelled.
    pub(super) fn of<E: Display + 'static>(error: &E) -> Option<Lost> {
        let is_quiet = as_error(error).is_some_and(is_quiet);
        (!is_quiet).then(|| Lost::Error(error.to_string()))
    }
}

/// The error behind its type, if it is one that may hold a cancellation.
fn as_error(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    fn boxed(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
        if let Some(error) = error.downcast_ref::<Box<dyn Error>>() {
            return Some(&**error);
        }
        if let Some(error) = error.downcast_ref::<Box<dyn Error + Send>>() {
            return Some(&**error);
        }
        error.downcast_ref::<Box<dyn Error + Send + Sync>>().map(|error| &**error as _)
    }
    fn plain<E: Error + 'static>(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
        error.downcast_ref::<E>().map(|error| error as _)
    }
    plain::<io::Error>(error)
        .or_else(|| plain::<JoinError>(error))
        .or_else(|| plain::<Cancelled>(error))
        .or_else(|| plain::<ChildFailed>(error))
        .or_else(|| plain::<RunError>(error))
        .or_else(|| plain::<WaitError>(error))
        .or_else(|| boxed(error))
}

/// A cancellation is no failure, and a task group tells its children's failures itself.
fn is_quiet(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.get_ref().is_some_and(|word| is_quiet(word));
    }
    if let Some(WaitError::Join(error)) = error.downcast_ref() {
        return error.is_cancelled();
    }
    error.is::<Cancelled>()
        || error.is::<ChildFailed>()
        || error.downcast_ref().is_some_and(JoinError::is_cancelled)
        || error.downcast_ref().is_some_and(RunError::is_cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said<T: 'static>(output: T) -> Option<String> {
        Lost::find(&output).map(|lost| lost.to_string())
    }

    /// FUT-09, adapted
    #[test]
    fn an_error_of_a_known_type_is_found() {
        let failed = Some("the task failed: no".to_owned());
        assert_eq!(said(Err::<(), _>(io::Error::other("no"))), failed);
        assert_eq!(said(Err::<(), Box<dyn Error>>("no".into())), failed);
        assert_eq!(said(Err::<(), Box<dyn Error + Send + Sync>>("no".into())), failed);
        assert_eq!(said(Err::<(), _>(String::from("no"))), failed);
        assert_eq!(said(Err::<(), _>("no")), failed);
        assert!(said(Err::<(), _>(Elapsed)).is_some_and(|text| text.contains("time limit")));
    }

    /// FUT-09, adapted
    #[test]
    fn values_and_types_that_nobody_knows_are_not() {
        assert_eq!(said(Ok::<(), io::Error>(())), None);
        assert_eq!(said(()), None);
        assert_eq!(said(Err::<u32, _>(io::Error::other("there is a value besides"))), None);
        assert_eq!(said(Err::<(), _>(7)), None);
    }

    #[test]
    fn a_cancellation_is_no_failure_however_it_is_wrapped() {
        assert_eq!(said(Err::<(), _>(JoinError::cancelled(None))), None);
        assert_eq!(said(Err::<(), _>(io::Error::from(JoinError::cancelled(None)))), None);
        assert_eq!(said(Err::<(), _>(io::Error::from(Cancelled))), None);
        assert_eq!(said(Err::<(), Box<dyn Error>>(Box::new(Cancelled))), None);
        assert_eq!(said(Err::<(), Box<dyn Error + Send + Sync>>(Box::new(io::Error::from(Cancelled)))), None);
        assert_eq!(said(Err::<(), _>(WaitError::from(JoinError::cancelled(None)))), None);
        assert_eq!(said(Err::<(), _>(RunError::cancelled(None))), None);
        assert!(said(Err::<(), _>(JoinError::panicked(Box::new("bad")))).is_some());
        assert!(said(Err::<(), _>(WaitError::from(Elapsed))).is_some());
        // The kernel's own word is not ours.
        assert!(said(Err::<(), _>(io::Error::from_raw_os_error(125))).is_some());
    }
}
