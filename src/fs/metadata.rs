//! What a file system says of a file: [`Metadata`], [`FileType`]; and [`FileTimes`] to be set.

use std::fs::Permissions;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::op::fs::Status;
use crate::sys::file::{SFlag, TimeSpec, futimens, makedev};

/// `STATX_BTIME`: the file system knows when a file was made.
const HAS_CREATED: u32 = 0x800;

/// What a file system says of a file: [`std::fs::Metadata`] with its extension for Unix, from statx(2).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let metadata = ringloop::run(ringloop::fs::metadata("/proc/self/status"))??;
/// assert!(metadata.is_file() && metadata.mode() & 0o777 == 0o444);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Metadata {
    /// Kind and permissions.
    mode: u32,
    /// Owner.
    uid: u32,
    /// Owning group.
    gid: u32,
    /// How many names it has.
    nlink: u32,
    /// Number on its device.
    ino: u64,
    /// Length in bytes.
    size: u64,
    /// Blocks of 512 bytes that it occupies.
    blocks: u64,
    /// Preferred size of I/O in bytes.
    blksize: u32,
    /// The device that holds it.
    dev: u64,
    /// The device that it is.
    rdev: u64,
    /// When it was read last.
    accessed: Moment,
    /// When its content was changed last.
    modified: Moment,
    /// When its inode was changed last.
    changed: Moment,
    /// None where the file system does not know it.
    created: Option<Moment>,
}

/// Seconds since 1970, perhaps negative, and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(i64, u32);

impl Moment {
    fn time(self) -> io::Result<SystemTime> {
        let Moment(seconds, nanoseconds) = self;
        let away = Duration::from_secs(seconds.unsigned_abs());
        let second = if seconds < 0 { UNIX_EPOCH.checked_sub(away) } else { UNIX_EPOCH.checked_add(away) };
        let time = second.and_then(|second| second.checked_add(Duration::from_nanos(nanoseconds.into())));
        time.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "a time that this system cannot express")
        })
    }

    fn of(time: SystemTime) -> Moment {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Moment(after.as_secs() as i64, after.subsec_nanos()),
            Err(before) => {
                // Nanoseconds count forward, also before 1970.
                let before = before.duration();
                let borrow = i64::from(before.subsec_nanos() > 0);
                let nanoseconds = (1_000_000_000 - before.subsec_nanos()) % 1_000_000_000;
                Moment((before.as_secs() as i64).wrapping_neg() - borrow, nanoseconds)
            }
        }
    }
}

impl From<&Status> for Metadata {
    fn from(status: &Status) -> Self {
        let moment = |time: &crate::op::fs::StatusTime| Moment(time.tv_sec, time.tv_nsec);
        Metadata {
            mode: status.stx_mode.into(),
            uid: status.stx_uid,
            gid: status.stx_gid,
            nlink: status.stx_nlink,
            ino: status.stx_ino,
            size: status.stx_size,
            blocks: status.stx_blocks,
            blksize: status.stx_blksize,
            dev: makedev(status.stx_dev_major.into(), status.stx_dev_minor.into()),
            rdev: makedev(status.stx_rdev_major.into(), status.stx_rdev_minor.into()),
            accessed: moment(&status.stx_atime),
            modified: moment(&status.stx_mtime),
            changed: moment(&status.stx_ctime),
            created: (status.stx_mask & HAS_CREATED != 0).then(|| moment(&status.stx_btime)),
        }
    }
}

impl Metadata {
    /// From the answer of an operation.
    pub(super) fn told(status: io::Result<&Status>) -> io::Result<Metadata> {
        status.map(Metadata::from)
    }
}

#[expect(
    clippy::len_without_is_empty,
    reason = "as in std: a file that has no bytes is not an empty collection"
)]
impl Metadata {
    /// What kind of file it is.
    pub fn file_type(&self) -> FileType {
        FileType { mode: self.mode & SFlag::S_IFMT.bits() }
    }

    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.file_type().is_dir()
    }

    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.file_type().is_file()
    }

    /// Whether it is a symbolic link: only what [`symlink_metadata`](super::symlink_metadata) gives can be.
    pub fn is_symlink(&self) -> bool {
        self.file_type().is_symlink()
    }

    /// The length in bytes. Files of `/proc` say 0 and have content all the same.
    pub fn len(&self) -> u64 {
        self.size
    }

    /// The permissions.
    pub fn permissions(&self) -> Permissions {
        Permissions::from_mode(self.mode)
    }

    /// When the content was changed last.
    ///
    /// # Errors
    /// `InvalidData` for a time that `SystemTime` cannot express.
    pub fn modified(&self) -> io::Result<SystemTime> {
        self.modified.time()
    }

    /// When the content was read last, as far as the file system keeps count of that.
    ///
    /// # Errors
    /// As [`modified`](Self::modified).
    pub fn accessed(&self) -> io::Result<SystemTime> {
        self.accessed.time()
    }

    /// When the file was made.
    ///
    /// # Errors
    /// `Unsupported` where the file system does not know it.
    pub fn created(&self) -> io::Result<SystemTime> {
        match self.created {
            Some(moment) => moment.time(),
            None => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the file system does not say when a file was made",
            )),
        }
    }

    /// When the inode was changed last: content, permissions, owner, links.
    ///
    /// # Errors
    /// As [`modified`](Self::modified).
    #[doc(alias = "ctime")]
    pub fn changed(&self) -> io::Result<SystemTime> {
        self.changed.time()
    }

    /// Kind and permissions as the kernel has them, `st_mode`.
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// The owner.
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The owning group.
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The device that holds the file.
    pub fn dev(&self) -> u64 {
        self.dev
    }

    /// The file's number on its device.
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// How many names it has.
    pub fn nlink(&self) -> u64 {
        self.nlink.into()
    }

    /// The device that it is, if it is one.
    pub fn rdev(&self) -> u64 {
        self.rdev
    }

    /// The length in bytes, as [`len`](Self::len).
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many blocks of 512 bytes it occupies.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The size that I/O should preferably have, in bytes.
    pub fn blksize(&self) -> u64 {
        self.blksize.into()
    }
}

/// What kind of file something is.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let kind = ringloop::run(ringloop::fs::metadata("/dev/null"))??.file_type();
/// assert!(kind.is_char_device() && !kind.is_file());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileType {
    /// The `S_IFMT` part of a mode.
    mode: u32,
}

impl FileType {
    /// A regular file.
    pub fn is_file(&self) -> bool {
        self.is(SFlag::S_IFREG)
    }

    /// A directory.
    pub fn is_dir(&self) -> bool {
        self.is(SFlag::S_IFDIR)
    }

    /// A symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.is(SFlag::S_IFLNK)
    }

    /// A named pipe.
    pub fn is_fifo(&self) -> bool {
        self.is(SFlag::S_IFIFO)
    }

    /// A Unix socket.
    pub fn is_socket(&self) -> bool {
        self.is(SFlag::S_IFSOCK)
    }

    /// A block device.
    pub fn is_block_device(&self) -> bool {
        self.is(SFlag::S_IFBLK)
    }

    /// A character device.
    pub fn is_char_device(&self) -> bool {
        self.is(SFlag::S_IFCHR)
    }

    fn is(&self, kind: SFlag) -> bool {
        self.mode == kind.bits()
    }
}

impl From<std::fs::FileType> for FileType {
    fn from(kind: std::fs::FileType) -> Self {
        use std::os::unix::fs::FileTypeExt;
        let kinds = [
            (kind.is_file(), SFlag::S_IFREG),
            (kind.is_dir(), SFlag::S_IFDIR),
            (kind.is_symlink(), SFlag::S_IFLNK),
            (kind.is_fifo(), SFlag::S_IFIFO),
            (kind.is_socket(), SFlag::S_IFSOCK),
            (kind.is_block_device(), SFlag::S_IFBLK),
            (kind.is_char_device(), SFlag::S_IFCHR),
        ];
        FileType { mode: kinds.iter().find(|(is, _)| *is).map_or(0, |(_, kind)| kind.bits()) }
    }
}

/// Times to be set: what is not named stays as it is. As [`std::fs::FileTimes`], which cannot be read back and so can be given to
/// an open file only.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let path = std::env::temp_dir().join(format!("ringloop-times-{}", std::process::id()));
/// # std::fs::write(&path, "")?;
/// use ringloop::fs::{self, FileTimes};
/// use std::time::{Duration, UNIX_EPOCH};
/// let birthday = UNIX_EPOCH + Duration::from_secs(684_000_000);
/// ringloop::run(async {
///     fs::set_times(&path, FileTimes::new().set_modified(birthday)).await?;
///     assert_eq!(fs::metadata(&path).await?.modified()?, birthday);
///     std::io::Result::Ok(())
/// })??;
/// # std::fs::remove_file(path)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileTimes {
    /// When it was read last; None: as it is.
    accessed: Option<SystemTime>,
    /// When it was changed last; None: as it is.
    modified: Option<SystemTime>,
}

impl FileTimes {
    /// Nothing to set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets when the content was read last.
    pub fn set_accessed(mut self, time: SystemTime) -> Self {
        self.accessed = Some(time);
        self
    }

    /// Sets when the content was changed last.
    pub fn set_modified(mut self, time: SystemTime) -> Self {
        self.modified = Some(time);
        self
    }

    /// As the kernel takes them: access and change.
    pub(super) fn specs(self) -> (TimeSpec, TimeSpec) {
        let spec = |time: Option<SystemTime>| match time.map(Moment::of) {
            Some(Moment(seconds, nanoseconds)) => TimeSpec::new(seconds, nanoseconds.into()),
            None => TimeSpec::UTIME_OMIT,
        };
        (spec(self.accessed), spec(self.modified))
    }
}

/// Times that can be given to an open file: [`FileTimes`] or std's, which tell nobody what they are.
pub trait Times: Send + 'static {
    /// Gives them to the file by a call that blocks.
    #[doc(hidden)]
    fn set(self, file: BorrowedFd<'_>) -> io::Result<()>;
}

impl Times for FileTimes {
    fn set(self, file: BorrowedFd<'_>) -> io::Result<()> {
        let (accessed, modified) = self.specs();
        Ok(futimens(file, &accessed, &modified)?)
    }
}

impl Times for std::fs::FileTimes {
    fn set(self, file: BorrowedFd<'_>) -> io::Result<()> {
        std::fs::File::from(file.try_clone_to_owned()?).set_times(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> [(Moment, SystemTime); 4] {
        let nanoseconds = |count| Duration::from_nanos(count);
        [
            (Moment(0, 0), UNIX_EPOCH),
            (Moment(1_700_000_000, 123_456_789), UNIX_EPOCH + nanoseconds(1_700_000_000_123_456_789)),
            (Moment(-1, 999_999_999), UNIX_EPOCH - nanoseconds(1)),
            (Moment(-86_400, 0), UNIX_EPOCH - Duration::from_secs(86_400)),
        ]
    }

    #[test]
    fn times_survive_the_way_there_and_back_also_before_1970() {
        for (moment, time) in moments() {
            assert_eq!(moment.time().expect("it can be expressed"), time);
            assert_eq!(Moment::of(time), moment);
        }
        assert_eq!(Moment::of(Moment(i64::MIN, 0).time().expect("it can be expressed")), Moment(i64::MIN, 0));
    }

    #[test]
    fn what_is_not_named_is_left_alone() {
        let (accessed, modified) = FileTimes::new().set_modified(UNIX_EPOCH).specs();
        assert_eq!((accessed, modified), (TimeSpec::UTIME_OMIT, TimeSpec::new(0, 0)));
    }

    #[test]
    fn a_mode_is_taken_apart() {
        let kind = |mode| FileType { mode };
        assert!(kind(SFlag::S_IFDIR.bits()).is_dir() && !kind(SFlag::S_IFDIR.bits()).is_file());
        assert!(kind(SFlag::S_IFSOCK.bits()).is_socket() && !kind(SFlag::S_IFSOCK.bits()).is_symlink());
        assert!(kind(SFlag::S_IFBLK.bits()).is_block_device() && !kind(SFlag::S_IFBLK.bits()).is_dir());
    }

    #[test]
    #[cfg_attr(miri, ignore = "asks the kernel")]
    fn stds_kinds_are_ours() {
        let kind =
            |path: &str| FileType::from(std::fs::symlink_metadata(path).expect("Linux has it").file_type());
        assert!(kind("/").is_dir() && kind("/dev/null").is_char_device() && kind("/proc/self").is_symlink());
        assert!(kind("/proc/self/status").is_file());
    }
}
