use std::io;
use std::path::Path;
use std::rc::Rc;

use ringloop::fs::File;
use ringloop_benches::files::Files;

use crate::Ringloop;

impl Files for Ringloop {
    type File = File;

    async fn open(path: &Path) -> io::Result<File> {
        File::open(path).await
    }

    async fn read_at(file: &Rc<File>, buffer: &mut Vec<u8>, offset: u64) -> io::Result<()> {
        let (_, read) = file.read_at(std::mem::take(buffer), offset).await?;
        *buffer = read;
        Ok(())
    }
}
