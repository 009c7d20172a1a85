//! ringloop, as its users write it: a task per connection with plain `read` and `write_all`, `read_at` with an owned buffer.

use std::io;
use std::rc::Rc;

use ringloop::net::{TcpListener, TcpStream};

use super::{Contender, Listen, receive_size};
use crate::meter::{Counters, Meter};
use crate::{BLOCK, Echo, Places, Reads};

pub struct Ringloop;

impl Contender for Ringloop {
    fn name(&self) -> &'static str {
        "ringloop"
    }

    fn counters(&self) -> Counters {
        let stats = ringloop::testing::stats();
        let counted = [("turns", stats.turns), ("enters", stats.enters), ("completions", stats.completed)];
        counted.map(|(name, value)| (name.to_owned(), value)).into()
    }

    fn echo(&self, echo: Echo, listen: Listen, meter: &'static Meter) -> io::Result<()> {
        ringloop::run(async move {
            let listener = TcpListener::from_std(listen()?)?;
            let mut served = Vec::new();
            for _ in 0..echo.connections {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                served.push(ringloop::create_task(serve(stream, echo.size, meter)));
            }
            for task in served {
                task.await??;
            }
            Ok(())
        })?
    }

    fn reads(&self, reads: &'static Reads, meter: &'static Meter) -> io::Result<()> {
        ringloop::run(async move {
            let file = Rc::new(ringloop::fs::File::open(&reads.file).await?);
            let tasks: Vec<_> = (0..reads.depth)
                .map(|index| ringloop::create_task(read(file.clone(), index, reads, meter)))
                .collect();
            for task in tasks {
                task.await??;
            }
            Ok(())
        })?
    }
}

async fn serve(stream: TcpStream, size: usize, meter: &'static Meter) -> io::Result<()> {
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
    file: Rc<ringloop::fs::File>,
    index: usize,
    reads: &'static Reads,
    meter: &'static Meter,
) -> io::Result<()> {
    let mut places = Places::new(index);
    let mut buf = Vec::with_capacity(BLOCK);
    while !meter.is_over() {
        let block = places.draw();
        (_, buf) = file.read_at(buf, block * BLOCK as u64).await?;
        reads.check(block, &buf, meter.done());
        meter.add();
    }
    Ok(())
}
