//! tokio with one thread, as its users write it: a task per connection; file reads at an offset by `spawn_blocking`, which is
//! also what its own `fs` does.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::{Contender, Listen, receive_size};
use crate::meter::Meter;
use crate::{BLOCK, Echo, Places, Reads};

pub struct Tokio;

impl Contender for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn echo(&self, echo: Echo, listen: Listen, meter: &'static Meter) -> io::Result<()> {
        let listener = listen()?;
        listener.set_nonblocking(true)?;
        runtime()?.block_on(async move {
            let listener = TcpListener::from_std(listener)?;
            let mut served = Vec::new();
            for _ in 0..echo.connections {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                served.push(tokio::spawn(serve(stream, echo.size, meter)));
            }
            for task in served {
                task.await??;
            }
            Ok(())
        })
    }

    fn reads(&self, reads: &'static Reads, meter: &'static Meter) -> io::Result<()> {
        runtime()?.block_on(async move {
            let file = Arc::new(std::fs::File::open(&reads.file)?);
            let tasks: Vec<_> =
                (0..reads.depth).map(|index| tokio::spawn(read(file.clone(), index, reads, meter))).collect();
            for task in tasks {
                task.await??;
            }
            Ok(())
        })
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().build()
}

async fn serve(mut stream: TcpStream, size: usize, meter: &'static Meter) -> io::Result<()> {
    let mut buf = vec![0; receive_size(size)];
    // A message may come in pieces.
    let mut received = 0;
    loop {
        let count = stream.read(&mut buf).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..count]).await?;
        received += count;
        while received >= size {
            received -= size;
            meter.add();
        }
    }
}

async fn read(
    file: Arc<std::fs::File>,
    index: usize,
    reads: &'static Reads,
    meter: &'static Meter,
) -> io::Result<()> {
    let mut places = Places::new(index);
    let mut buf = vec![0; BLOCK];
    while !meter.is_over() {
        let block = places.draw();
        let file = file.clone();
        buf = tokio::task::spawn_blocking(move || {
            file.read_exact_at(&mut buf, block * BLOCK as u64)?;
            io::Result::Ok(buf)
        })
        .await??;
        reads.check(block, &buf, meter.done());
        meter.add();
    }
    Ok(())
}
