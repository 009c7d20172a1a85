use std::io;
use std::path::Path;
use std::time::Duration;

use ringloop::buf::{IoBuf, IoBufMut};
use ringloop::fs::{self, File, RegisteredBuf};
use ringloop_benches::files::{Access, Files, O_DIRECT, Pages};

use crate::With;

/// Pages as this runtime wants its buffers.
pub struct Buffer(Pages);

impl From<Pages> for Buffer {
    fn from(pages: Pages) -> Self {
        Buffer(pages)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

// SAFETY: the pages lie on the heap, initialised, and their number does not change.
unsafe impl IoBuf for Buffer {
    fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: as above; the length is always that of all pages.
unsafe impl IoBufMut for Buffer {
    fn capacity(&self) -> usize {
        self.0.len()
    }

    fn as_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    unsafe fn set_len(&mut self, _len: usize) {}
}

/// The same, kept ready by the kernel.
pub struct Registered(RegisteredBuf);

impl From<Pages> for Registered {
    fn from(pages: Pages) -> Self {
        let mut buffer = RegisteredBuf::new(pages.len()).expect("there is memory");
        assert!(buffer.is_registered(), "the kernel locks as little as that");
        buffer.copy_from_slice(&pages);
        Registered(buffer)
    }
}

impl AsRef<[u8]> for Registered {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// What ringloop takes from such a buffer, and gives back.
pub trait Lent: From<Pages> + AsRef<[u8]> + 'static {
    type Buf: IoBufMut;

    fn lend(self) -> Self::Buf;

    fn back(buf: Self::Buf) -> Self;
}

impl Lent for Buffer {
    type Buf = Buffer;

    fn lend(self) -> Buffer {
        self
    }

    fn back(buf: Buffer) -> Self {
        buf
    }
}

impl Lent for Registered {
    type Buf = RegisteredBuf;

    fn lend(self) -> RegisteredBuf {
        self.0
    }

    fn back(buf: RegisteredBuf) -> Self {
        Registered(buf)
    }
}

impl<B: Lent> Files for With<B> {
    type File = File;
    type Buffer = B;

    async fn open(path: &Path, access: Access) -> io::Result<File> {
        match access {
            Access::Read => File::open(path).await,
            Access::ReadDirect => File::options().read(true).custom_flags(O_DIRECT).open(path).await,
            Access::Write => File::create(path).await,
        }
    }

    async fn close(file: File) -> io::Result<()> {
        file.close().await
    }

    async fn sync(file: &File) -> io::Result<()> {
        file.sync_all().await
    }

    async fn read_at(file: &File, buffer: B, offset: u64) -> io::Result<B> {
        let len = buffer.as_ref().len();
        Ok(B::back(file.read_exact_at(buffer.lend(), offset, len).await?.1))
    }

    async fn write_at(file: &File, buffer: B, offset: u64) -> io::Result<B> {
        Ok(B::back(file.write_all_at(buffer.lend(), offset).await?.1))
    }

    async fn length(path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path).await?.len())
    }

    async fn read(path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path).await
    }

    async fn write(path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        fs::write(path, bytes).await
    }

    async fn copy(from: &Path, to: &Path) -> io::Result<()> {
        fs::copy(from, to).await.map(drop)
    }

    async fn sleep(duration: Duration) {
        ringloop::sleep(duration).await;
    }
}
