//! How a file is opened: std's options, with std's rules, plus mode and flags.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::File;
use crate::event_loop;
use crate::op::Operation;
use crate::op::fs::Open;
use crate::op::io::{Effect, Ordered};
use crate::reactor::Op;
use crate::sys::file::OFlag;

/// How a file is opened; as [`std::fs::OpenOptions`] with its extensions for Unix.
///
/// Descriptors are never inherited by child processes (`O_CLOEXEC`).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("ringloop-options-{}", std::process::id()));
/// use ringloop::fs::OpenOptions;
/// ringloop::run(async {
///     let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).await?;
///     log.close().await
/// })??;
/// # std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// To read.
    read: bool,
    /// To write anywhere.
    write: bool,
    /// To write at the end.
    append: bool,
    /// Empty what is there.
    truncate: bool,
    /// Make what is not there.
    create: bool,
    /// Make it, and fail if it is there.
    create_new: bool,
    /// Permissions of a file that is made, before the umask.
    mode: u32,
    /// Further flags of open(2).
    custom_flags: i32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// Nothing is allowed yet; files are made with mode `0o666`, less the umask.
    pub fn new() -> Self {
        OpenOptions {
            read: false,
            write: false,
            append: false,
            truncate: false,
            create: false,
            create_new: false,
            mode: 0o666,
            custom_flags: 0,
        }
    }

    /// Allows to read.
    pub fn read(&mut self, read: bool) -> &mut Self {
        self.read = read;
        self
    }

    /// Allows to write. An existing file is written over, from its beginning.
    pub fn write(&mut self, write: bool) -> &mut Self {
        self.write = write;
        self
    }

    /// Allows to write, always at the end of the file, wherever that is when the bytes get there (`O_APPEND`). Implies
    /// [`write`](Self::write). The offset of positional writes is ignored.
    pub fn append(&mut self, append: bool) -> &mut Self {
        self.append = append;
        self
    }

    /// Makes an existing file empty (`O_TRUNC`). Needs [`write`](Self::write).
    pub fn truncate(&mut self, truncate: bool) -> &mut Self {
        self.truncate = truncate;
        self
    }

    /// Makes the file if there is none (`O_CREAT`). Needs [`write`](Self::write) or [`append`](Self::append).
    pub fn create(&mut self, create: bool) -> &mut Self {
        self.create = create;
        self
    }

    /// Makes the file, and fails if something of that name is there, a symbolic link included (`O_EXCL`). Needs
    /// [`write`](Self::write) or [`append`](Self::append); `create` and `truncate` are then ignored.
    pub fn create_new(&mut self, create_new: bool) -> &mut Self {
        self.create_new = create_new;
        self
    }

    /// The permissions of a file that is made, from which the umask is taken. Default `0o666`.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// Further flags of open(2), such as `O_NOFOLLOW`, `O_DIRECT` or `O_SYNC`; the access mode in them is ignored. A later
    /// call replaces the flags of an earlier one.
    ///
    /// With `O_DIRECT` only positional calls work, on buffers, offsets and lengths that are aligned as the device wants it; the
    /// cursor's own buffer is not.
    pub fn custom_flags(&mut self, flags: i32) -> &mut Self {
        self.custom_flags = flags;
        self
    }

    /// Opens the file. open(2).
    ///
    /// A FIFO that is opened to write waits for a reader, as in std. One that is opened to read may be opened before there is a
    /// writer; then the first read waits.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, `AlreadyExists` (with [`create_new`](Self::create_new)), and whatever else open(2) has;
    /// `InvalidInput` for a path with a NUL and for options that contradict each other.
    ///
    /// # Cancellation
    /// A file that is opened after the future was dropped is closed again; one that is made by then stays.
    #[doc(alias = "openat")]
    pub fn open(&self, path: impl AsRef<Path>) -> Op<io::Result<File>> {
        match self.flags() {
            Ok(flags) => {
                on_path(path.as_ref(), |path| Open::new(path, flags.bits(), self.mode, File::opened))
            }
            Err(error) => Op::ready(Err(error)),
        }
    }

    /// The flags of open(2).
    fn flags(&self) -> io::Result<OFlag> {
        let access = match (self.read, self.write, self.append) {
            (true, false, false) => OFlag::O_RDONLY,
            (false, true, false) => OFlag::O_WRONLY,
            (true, true, false) => OFlag::O_RDWR,
            (false, _, true) => OFlag::O_WRONLY | OFlag::O_APPEND,
            (true, _, true) => OFlag::O_RDWR | OFlag::O_APPEND,
            (false, false, false) if self.create || self.create_new || self.truncate => {
                return invalid("`create`, `create_new` and `truncate` need `write` or `append`");
            }
            (false, false, false) => return invalid("a file is opened for `read`, `write` or `append`"),
        };
        if self.append && self.truncate && !self.create_new {
            return invalid("`append` and `truncate` contradict each other");
        }
        let writes = self.write || self.append;
        let creation = match (self.create, self.truncate, self.create_new) {
            (false, false, false) => OFlag::empty(),
            _ if !writes => return invalid("`create`, `create_new` and `truncate` need `write` or `append`"),
            (true, false, false) => OFlag::O_CREAT,
            (false, true, false) => OFlag::O_TRUNC,
            (true, true, false) => OFlag::O_CREAT | OFlag::O_TRUNC,
            (_, _, true) => OFlag::O_CREAT | OFlag::O_EXCL,
        };
        let custom = OFlag::from_bits_retain(self.custom_flags).difference(OFlag::O_ACCMODE);
        Ok(access | creation | custom | OFlag::O_CLOEXEC)
    }
}

fn invalid(why: &'static str) -> io::Result<OFlag> {
    Err(io::Error::new(io::ErrorKind::InvalidInput, why))
}

/// A path as the kernel takes it.
pub(super) fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the path {path:?} has a NUL, which no path can have"),
        )
    })
}

/// The future of an operation on a path.
pub(super) fn on_path<T, O>(path: &Path, operation: impl FnOnce(CString) -> O) -> Op<io::Result<T>>
where
    O: Operation<Output = io::Result<T>>,
{
    match c_path(path) {
        Ok(path) => behind_dropped_files(operation(path)),
        Err(error) => Op::ready(Err(error)),
    }
}

/// The future of an operation that finds files by their names. If files that were dropped still write, it waits for them, so that
/// it sees what was written before.
pub(super) fn behind_dropped_files<O: Operation>(operation: O) -> Op<O::Output> {
    match event_loop::running().and_then(|event_loop| event_loop.detached.files()) {
        None => Op::new(operation),
        Some(files) => Op::new(Ordered::new(files, Effect::None, None, operation)),
    }
}

/// The future of an operation on two paths.
pub(super) fn on_paths<T, O>(
    first: &Path,
    second: &Path,
    operation: impl FnOnce(CString, CString) -> O,
) -> Op<io::Result<T>>
where
    O: Operation<Output = io::Result<T>>,
{
    match (c_path(first), c_path(second)) {
        (Ok(first), Ok(second)) => behind_dropped_files(operation(first, second)),
        (Err(error), _) | (_, Err(error)) => Op::ready(Err(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(set: impl FnOnce(&mut OpenOptions)) -> Result<OFlag, String> {
        let mut options = OpenOptions::new();
        set(&mut options);
        let flags = options.flags().map_err(|error| {
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            error.to_string()
        })?;
        assert!(flags.contains(OFlag::O_CLOEXEC));
        Ok(flags - OFlag::O_CLOEXEC)
    }

    #[test]
    fn the_usual_combinations_give_the_usual_flags() {
        let create = OFlag::O_CREAT;
        assert_eq!(flags(|o| _ = o.read(true)), Ok(OFlag::O_RDONLY));
        assert_eq!(flags(|o| _ = o.write(true)), Ok(OFlag::O_WRONLY));
        assert_eq!(flags(|o| _ = o.read(true).write(true)), Ok(OFlag::O_RDWR));
        assert_eq!(flags(|o| _ = o.append(true)), Ok(OFlag::O_WRONLY | OFlag::O_APPEND));
        assert_eq!(flags(|o| _ = o.append(true).write(true).read(true)), Ok(OFlag::O_RDWR | OFlag::O_APPEND));
        assert_eq!(
            flags(|o| _ = o.write(true).create(true).truncate(true)),
            Ok(OFlag::O_WRONLY | create | OFlag::O_TRUNC)
        );
        assert_eq!(
            flags(|o| _ = o.append(true).create(true)),
            Ok(OFlag::O_WRONLY | OFlag::O_APPEND | create)
        );
        let exclusive = Ok(OFlag::O_WRONLY | create | OFlag::O_EXCL);
        assert_eq!(flags(|o| _ = o.write(true).create_new(true)), exclusive);
        assert_eq!(flags(|o| _ = o.write(true).create_new(true).create(true).truncate(true)), exclusive);
    }

    #[test]
    fn contradictions_are_named() {
        assert!(flags(|_| {}).is_err_and(|text| text.contains("`read`, `write` or `append`")));
        assert!(flags(|o| _ = o.create(true)).is_err_and(|text| text.contains("need `write`")));
        assert!(flags(|o| _ = o.read(true).truncate(true)).is_err_and(|text| text.contains("need `write`")));
        assert!(
            flags(|o| _ = o.read(true).create_new(true)).is_err_and(|text| text.contains("need `write`"))
        );
        assert!(flags(|o| _ = o.append(true).truncate(true)).is_err_and(|text| text.contains("contradict")));
        assert!(flags(|o| _ = o.append(true).truncate(true).create_new(true)).is_ok(), "as in std");
    }

    #[test]
    fn custom_flags_are_added_but_for_the_access_mode() {
        let custom = OFlag::O_NOFOLLOW | OFlag::O_RDWR;
        assert_eq!(
            flags(|o| _ = o.read(true).custom_flags(custom.bits())),
            Ok(OFlag::O_RDONLY | OFlag::O_NOFOLLOW)
        );
    }

    #[test]
    fn a_path_with_a_nul_is_refused_by_name() {
        let error = c_path(Path::new("a\0b")).expect_err("no such path");
        assert!(error.kind() == io::ErrorKind::InvalidInput && error.to_string().contains(r#""a\0b""#));
    }
}
