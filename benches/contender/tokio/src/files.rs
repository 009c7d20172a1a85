use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ringloop_benches::files::Files;

use crate::Tokio;

impl Files for Tokio {
    type File = Arc<std::fs::File>;

    async fn open(path: &Path) -> io::Result<Self::File> {
        Ok(Arc::new(tokio::fs::File::open(path).await?.into_std().await))
    }

    async fn read_at(file: &Rc<Self::File>, buffer: &mut Vec<u8>, offset: u64) -> io::Result<()> {
        let (file, mut filled) = (Arc::clone(file), std::mem::take(buffer));
        let read = tokio::task::spawn_blocking(move || {
            file.read_exact_at(&mut filled, offset)?;
            io::Result::Ok(filled)
        });
        *buffer = read.await??;
        Ok(())
    }
}
