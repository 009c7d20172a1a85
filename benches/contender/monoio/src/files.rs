use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::fs::{self, File, OpenOptions};
use ringloop_benches::files::blocks::BLOCK;
use ringloop_benches::files::{Access, Files, O_DIRECT, Pages};

use crate::Monoio;

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
    fn read_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: as above.
unsafe impl IoBufMut for Buffer {
    fn write_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    fn bytes_total(&mut self) -> usize {
        self.0.len()
    }

    unsafe fn set_init(&mut self, _len: usize) {}
}

impl Files for Monoio {
    type File = File;
    type Buffer = Buffer;

    async fn open(path: &Path, access: Access) -> io::Result<File> {
        match access {
            Access::Read => File::open(path).await,
            Access::ReadDirect => OpenOptions::new().read(true).custom_flags(O_DIRECT).open(path).await,
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
        let (read, buffer) = file.read_exact_at(buffer, offset).await;
        read.map(|()| buffer)
    }

    async fn write_at(file: &File, buffer: Buffer, offset: u64) -> io::Result<Buffer> {
        let (written, buffer) = file.write_all_at(buffer, offset).await;
        written.map(|()| buffer)
    }

    async fn length(path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path).await?.len())
    }

    async fn read(path: &Path) -> io::Result<Vec<u8>> {
        // Its own function for this asks for the length by a plain call.
        let file = File::open(path).await?;
        let (read, bytes) = file.read_at(Vec::with_capacity(BLOCK), 0).await;
        read?;
        file.close().await?;
        Ok(bytes)
    }

    async fn write(path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let file = File::create(path).await?;
        file.write_all_at(bytes, 0).await.0?;
        file.close().await
    }

    async fn sleep(duration: Duration) {
        monoio::time::sleep(duration).await;
    }
}
