use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringloop_benches::files::{Access, Files, O_DIRECT, Pages};
use smol::{fs, unblock};
use std::os::unix::fs::OpenOptionsExt;

use crate::Smol;

/// Its own files have no positional calls: as others do, by those of std, on its threads.
impl Files for Smol {
    type File = Arc<std::fs::File>;
    type Buffer = Pages;

    async fn open(path: &Path, access: Access) -> io::Result<Self::File> {
        let mut options = std::fs::OpenOptions::new();
        match access {
            Access::Read => options.read(true),
            Access::ReadDirect => options.read(true).custom_flags(O_DIRECT),
            Access::Write => options.write(true).create(true).truncate(true),
        };
        let path = path.to_owned();
        unblock(move || options.open(path)).await.map(Arc::new)
    }

    async fn close(file: Self::File) -> io::Result<()> {
        unblock(move || drop(file)).await;
        Ok(())
    }

    async fn sync(file: &Self::File) -> io::Result<()> {
        let file = file.clone();
        unblock(move || file.sync_all()).await
    }

    async fn read_at(file: &Self::File, mut buffer: Pages, offset: u64) -> io::Result<Pages> {
        let file = file.clone();
        unblock(move || file.read_exact_at(&mut buffer, offset).map(|()| buffer)).await
    }

    async fn write_at(file: &Self::File, buffer: Pages, offset: u64) -> io::Result<Pages> {
        let file = file.clone();
        unblock(move || file.write_all_at(&buffer, offset).map(|()| buffer)).await
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
        smol::Timer::after(duration).await;
    }
}
