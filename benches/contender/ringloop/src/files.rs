use std::io;
use std::path::Path;
use std::time::Duration;

use ringloop::buf::{IoBuf, IoBufMut};
use ringloop::fs::{self, File};
use ringloop_benches::files::{Access, Files, O_DIRECT, Pages};

use crate::Ringloop;

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

impl Files for Ringloop {
    type File = File;
    type Buffer = Buffer;

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

    async fn read_at(file: &File, buffer: Buffer, offset: u64) -> io::Result<Buffer> {
        let len = buffer.len();
        Ok(file.read_exact_at(buffer, offset, len).await?.1)
    }

    async fn write_at(file: &File, buffer: Buffer, offset: u64) -> io::Result<Buffer> {
        Ok(file.write_all_at(buffer, offset).await?.1)
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
