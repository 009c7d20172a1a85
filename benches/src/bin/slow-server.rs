//! `slow-server FOLDER`: a slow file system in this folder until the input ends. Prints a line when it is there.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use ringloop_benches::files::stall::server::Mounted;

fn main() -> Result<(), Box<dyn Error>> {
    let folder: PathBuf = std::env::args_os().nth(1).ok_or("usage: slow-server FOLDER")?.into();
    let mounted = Mounted::at(&folder)?;
    println!("mounted");
    io::copy(&mut io::stdin(), &mut io::sink())?;
    drop(mounted);
    Ok(())
}
