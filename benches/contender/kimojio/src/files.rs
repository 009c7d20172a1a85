use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use kimojio::operations;
use kimojio::operations::OFlags;
use ringloop_benches::files::blocks::BLOCK;
use ringloop_benches::files::{Access, Files, Pages};

use crate::Kimojio;

impl Files for Kimojio {
    type File = OwnedFd;
    type Buffer = Pages;

    async fn open(path: &Path, access: Access) -> io::Result<OwnedFd> {
        let flags = match access {
            Access::Read => OFlags::RDONLY,
            Access::ReadDirect => OFlags::RDONLY | OFlags::DIRECT,
            Access::Write => OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC,
        };
        let path = c_path(path)?;
        Ok(operations::open(&path, flags | OFlags::CLOEXEC, 0o666.into()).await?)
    }

    async fn close(file: OwnedFd) -> io::Result<()> {
        Ok(operations::close(file).await?)
    }

    async fn sync(file: &OwnedFd) -> io::Result<()> {
        Ok(operations::fsync(file).await?)
    }

    async fn read_at(file: &OwnedFd, mut buffer: Pages, offset: u64) -> io::Result<Pages> {
        let count = operations::pread(file, &mut buffer, offset).await?;
        whole(count == buffer.len()).map(|()| buffer)
    }

    async fn write_at(file: &OwnedFd, buffer: Pages, offset: u64) -> io::Result<Pages> {
        let count = operations::pwrite(file, &buffer, offset).await?;
        whole(count == buffer.len()).map(|()| buffer)
    }

    async fn length(path: &Path) -> io::Result<u64> {
        let path = c_path(path)?;
        Ok(operations::stat(&path).await?.stx_size)
    }

    async fn read(path: &Path) -> io::Result<Vec<u8>> {
        let file = Self::open(path, Access::Read).await?;
        let mut bytes = vec![0; BLOCK];
        let count = operations::pread(&file, &mut bytes, 0).await?;
        bytes.truncate(count);
        Self::close(file).await?;
        Ok(bytes)
    }

    async fn write(path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        let file = Self::open(path, Access::Write).await?;
        let count = operations::pwrite(&file, &bytes, 0).await?;
        whole(count == bytes.len())?;
        Self::close(file).await
    }

    async fn sleep(duration: Duration) {
        operations::sleep(duration).await.expect("nobody cancels it");
    }
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// A part of a block would be a bench gone wrong.
fn whole(is_whole: bool) -> io::Result<()> {
    is_whole.then_some(()).ok_or_else(|| io::Error::other("a part of a block was moved"))
}
