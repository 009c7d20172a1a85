//! What a job in a worker process may come to.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::process::ExitStatus;

/// Why a job of a [`ProcessPool`](crate::ProcessPool) has no result. The pool itself goes on. Converts into `io::Error`.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProcessError {
    /// No worker could be started: the system refuses, or `main` does not hand over to
    /// [`worker_main`](crate::process_pool::worker_main).
    Start(io::Error),
    /// The worker ended with the job in hand: it exited, aborted or was killed. Whether the job has done what it was to do is
    /// unknown; it is not run again.
    Died {
        /// How it ended; None where other code of this program has reaped it, or SIGCHLD is ignored.
        status: Option<ExitStatus>,
    },
    /// The function panicked; this is what it said.
    Panicked(String),
    /// The argument could not be written, or not be read in the worker.
    Argument(String),
    /// The result could not be written in the worker, or not be read here.
    Output(String),
    /// The worker has no function of that name.
    Unknown(String),
    /// The worker did not keep to the protocol, because its code has used the pool's socket, and was killed.
    Broken(io::Error),
    /// The pool was closed.
    Closed,
}

impl Display for ProcessError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            ProcessError::Start(error) => write!(f, "no worker process could be started: {error}"),
            ProcessError::Died { status: Some(status) } => {
                write!(f, "the worker process ended with the job in hand: {status}")
            }
            ProcessError::Died { status: None } => f.write_str(
                "the worker process ended with the job in hand; its exit status was taken by other code",
            ),
            ProcessError::Panicked(text) => write!(f, "the function panicked in its worker process: {text}"),
            ProcessError::Argument(text) => {
                write!(f, "the argument did not get through postcard (serde) to the worker process: {text}")
            }
            ProcessError::Output(text) => {
                write!(f, "the result did not get through postcard (serde) from the worker process: {text}")
            }
            ProcessError::Unknown(name) => {
                write!(f, "the worker process has no function `{name}`: was it made by `process_fn!`?")
            }
            ProcessError::Broken(error) => {
                write!(f, "the worker process broke the connection to its pool: {error}")
            }
            ProcessError::Closed => f.write_str("the process pool was closed"),
        }
    }
}

impl Error for ProcessError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ProcessError::Start(error) | ProcessError::Broken(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ProcessError> for io::Error {
    fn from(error: ProcessError) -> io::Error {
        io::Error::other(error)
    }
}
