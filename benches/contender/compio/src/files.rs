use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

use compio::buf::{BufResult, IoBuf, IoBufMut, SetLen};
use compio::fs::{self, File, OpenOptions};
use compio::io::{AsyncReadAt, AsyncReadAtExt, AsyncWriteAtExt};
use ringloop_benches::files::blocks::BLOCK;
use ringloop_benches::files::{Access, Files, O_DIRECT, Pages};

use crate::Compio;

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

impl IoBuf for Buffer {
    fn as_init(&self) -> &[u8] {
        &self.0
    }
}

impl SetLen for Buffer {
    unsafe fn set_len(&mut self, _len: usize) {}
}

impl IoBufMut for Buffer {
    fn as_uninit(&mut self) -> &mut [MaybeUninit<u8>] {
        let (start, len) = (self.0.as_mut_ptr().cast(), self.0.len());
        // SAFETY: the pages are borrowed as long as this is, and what the runtime writes there is initialised.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }
}

impl Files for Compio {
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
        let BufResult(read, buffer) = file.read_exact_at(buffer, offset).await;
        read.map(|()| buffer)
    }

    async fn write_at(mut file: &File, buffer: Buffer, offset: u64) -> io::Result<Buffer> {
        let BufResult(written, buffer) = file.write_all_at(buffer, offset).await;
        written.map(|()| buffer)
    }

    async fn length(path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path).await?.len())
    }

    async fn read(path: &Path) -> io::Result<Vec<u8>> {
        // Its own function for this reads until nothing more comes.
        let file = File::open(path).await?;
        let BufResult(read, bytes) = file.read_at(Vec::with_capacity(BLOCK), 0).await;
        read?;
        file.close().await?;
        Ok(bytes)
    }

    async fn write(path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let mut file = File::create(path).await?;
        file.write_all_at(bytes, 0).await.0?;
        file.close().await
    }

    async fn sleep(duration: Duration) {
        compio::time::sleep(duration).await;
    }
}
