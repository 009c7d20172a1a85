use std::io;
use std::path::Path;
use std::time::Duration;

use glommio::io::{BufferedFile, DmaFile, ReadResult};
use ringloop_benches::files::blocks::BLOCK;
use ringloop_benches::files::{Access, Files, Pages};

use crate::Glommio;

/// It has two kinds.
pub enum File {
    Buffered(BufferedFile),
    Direct(DmaFile),
}

/// It reads into buffers of its own, and writes from vectors that it keeps.
pub enum Buffer {
    Own(Pages),
    Read(ReadResult),
}

impl From<Pages> for Buffer {
    fn from(pages: Pages) -> Self {
        Buffer::Own(pages)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        match self {
            Buffer::Own(pages) => pages,
            Buffer::Read(bytes) => bytes,
        }
    }
}

impl Files for Glommio {
    type File = File;
    type Buffer = Buffer;

    async fn open(path: &Path, access: Access) -> io::Result<File> {
        Ok(match access {
            Access::Read => File::Buffered(BufferedFile::open(path).await?),
            Access::ReadDirect => File::Direct(DmaFile::open(path).await?),
            Access::Write => File::Buffered(BufferedFile::create(path).await?),
        })
    }

    async fn close(file: File) -> io::Result<()> {
        match file {
            File::Buffered(file) => Ok(file.close().await?),
            File::Direct(file) => Ok(file.close().await?),
        }
    }

    async fn sync(file: &File) -> io::Result<()> {
        match file {
            File::Buffered(file) => Ok(file.fdatasync().await?),
            File::Direct(file) => Ok(file.fdatasync().await?),
        }
    }

    async fn read_at(file: &File, buffer: Buffer, offset: u64) -> io::Result<Buffer> {
        let len = buffer.as_ref().len();
        let bytes = match file {
            File::Buffered(file) => file.read_at(offset, len).await?,
            File::Direct(file) => file.read_at_aligned(offset, len).await?,
        };
        Ok(Buffer::Read(bytes))
    }

    async fn write_at(file: &File, buffer: Buffer, offset: u64) -> io::Result<Buffer> {
        let File::Buffered(file) = file else {
            return Err(io::Error::other("nothing is written past the cache"));
        };
        let bytes = buffer.as_ref().to_vec();
        let len = bytes.len();
        whole(file.write_at(bytes, offset).await? == len).map(|()| buffer)
    }

    async fn length(path: &Path) -> io::Result<u64> {
        // It has no call for a path.
        let file = BufferedFile::open(path).await?;
        let length = file.file_size().await?;
        file.close().await?;
        Ok(length)
    }

    async fn read(path: &Path) -> io::Result<Vec<u8>> {
        let file = BufferedFile::open(path).await?;
        let bytes = file.read_at(0, BLOCK).await?.to_vec();
        file.close().await?;
        Ok(bytes)
    }

    async fn write(path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let file = BufferedFile::create(path).await?;
        let len = bytes.len();
        whole(file.write_at(bytes, 0).await? == len)?;
        Ok(file.close().await?)
    }

    async fn sleep(duration: Duration) {
        glommio::timer::sleep(duration).await;
    }
}

/// A part of a block would be a bench gone wrong.
fn whole(is_whole: bool) -> io::Result<()> {
    is_whole.then_some(()).ok_or_else(|| io::Error::other("a part of a block was moved"))
}
