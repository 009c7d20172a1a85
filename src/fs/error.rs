//! [`PathError`]: what went wrong, and with which of many paths.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};

/// The failure of a call that works on many paths: which one it was, what was to be done with it, and why it could not be.
///
/// Converts into an `io::Error` of the same kind, with the same text; `?` does that.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let made = ringloop::run(ringloop::fs::create_dir_all("/proc/no/such/place"))?;
/// let error = made.unwrap_err();
/// assert_eq!((error.path(), error.op()), (std::path::Path::new("/proc/no"), "mkdir"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PathError {
    /// What it failed on.
    path: PathBuf,
    /// What was to be done.
    op: &'static str,
    /// Why it could not be.
    source: io::Error,
}

impl PathError {
    pub(super) fn new(path: impl Into<PathBuf>, op: &'static str, source: io::Error) -> Self {
        PathError { path: path.into(), op, source }
    }

    /// What it failed on.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was to be done with it: the name of a system call, as a rule.
    pub fn op(&self) -> &'static str {
        self.op
    }

    /// Why it could not be.
    pub fn error(&self) -> &io::Error {
        &self.source
    }

    /// The kind of the error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

impl Display for PathError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.op, self.path.display(), self.source)
    }
}

impl Error for PathError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl From<PathError> for io::Error {
    fn from(error: PathError) -> io::Error {
        io::Error::new(error.source.kind(), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_and_the_text_survive_the_way_into_io_error() {
        let source = io::Error::from(crate::sys::Errno::ENOTEMPTY);
        let error = io::Error::from(PathError::new("/a/b", "rmdir", source));
        assert_eq!(error.kind(), io::ErrorKind::DirectoryNotEmpty);
        assert!(error.to_string().starts_with("rmdir /a/b: "));
        let word =
            error.get_ref().and_then(|word| word.downcast_ref::<PathError>()).expect("it is still there");
        assert_eq!(word.error().raw_os_error(), Some(crate::sys::Errno::ENOTEMPTY as i32));
    }
}
