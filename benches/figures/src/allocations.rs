//! Allocations per operation in steady state: of the loop's thread, after a warm-up, by the counting allocator.
//!
//! The other ends of the sockets are threads of this process that use std; what they allocate is not counted. An
//! operation that allocates more than it should is done a few more times with a look at the stack, which names the place.

use std::cell::Cell;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::Duration;

use ringloop::net::TcpStream;
use ringloop::{create_task, sleep, timeout, yield_now};
use ringloop_benches::document::table;

use super::count::{self, Allocations};
use super::{Part, Setting};

/// Operations that count, and as many before them.
const COUNTED: u64 = 10_000;
/// Bytes that an operation moves, where it moves any and the row says nothing else.
const MESSAGE: usize = 64;
const BLOCK: usize = 4096;
/// One of so many operations may allocate all the same: a queue grows when more comes at once than ever before, which is the
/// machine's to decide.
const GROWS: u64 = 1_000;

struct Row {
    operation: &'static str,
    /// Allocations of one operation in a loop that does what was promised.
    promised: u64,
    /// How many operations were done.
    done: u64,
    seen: Allocations,
    /// Where the first of them were, with their number.
    places: Vec<(String, usize)>,
}

impl Row {
    fn keeps_promise(&self) -> bool {
        self.seen.count <= self.promised * self.done + self.done / GROWS
    }

    fn each(&self, number: u64) -> String {
        format!("{:.3}", number as f64 / self.done as f64)
    }
}

/// Counts the allocations of an operation.
async fn steady(operation: &'static str, promised: u64, mut once: impl AsyncFnMut()) -> Row {
    let done = Cell::new(0);
    let counted = async || {
        once().await;
        done.set(done.get() + 1);
    };
    steady_among(operation, promised, &done, counted).await
}

/// The same, of an operation that other tasks do meanwhile: `done` counts them all.
async fn steady_among(
    operation: &'static str,
    promised: u64,
    done: &Cell<u64>,
    mut once: impl AsyncFnMut(),
) -> Row {
    let mut repeat = async || {
        let start = done.get();
        while done.get() - start < COUNTED {
            once().await;
        }
        done.get() - start
    };
    repeat().await;
    count::start();
    let done = repeat().await;
    let mut row = Row { operation, promised, done, seen: count::stop(), places: Vec::new() };
    if !row.keeps_promise() {
        count::start_tracing();
        repeat().await;
        count::stop();
        row.places = count::places();
    }
    row
}

/// A connection to a thread that does `serve` with its end.
async fn connected(
    serve: impl FnOnce(std::net::TcpStream) + Send + 'static,
) -> std::io::Result<(TcpStream, JoinHandle<()>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let thread = std::thread::spawn(move || serve(listener.accept().expect("somebody connects").0));
    let stream = TcpStream::connect(address).nodelay(true).await?;
    Ok((stream, thread))
}

/// Takes everything until the end.
fn sink(mut stream: std::net::TcpStream) {
    let mut buf = vec![0; 1 << 16];
    while stream.read(&mut buf).is_ok_and(|count| count > 0) {}
}

/// Sends until nobody listens any more.
fn source(mut stream: std::net::TcpStream) {
    while stream.write_all(&[7; MESSAGE]).is_ok() {}
}

/// Sends back what comes.
fn mirror(mut stream: std::net::TcpStream) {
    let mut buf = [0; MESSAGE];
    while stream.read_exact(&mut buf).is_ok() && stream.write_all(&buf).is_ok() {}
    // The other end may be gone.
    let _ = stream.shutdown(Shutdown::Both);
}

const FINE: &str = "the other end is a thread of ours, and there is room on the disk";

async fn measure(setting: &Setting) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = Vec::new();

    let path = setting.scratch.join("allocations");
    std::fs::write(&path, vec![7; 16 * BLOCK])?;
    let file = ringloop::fs::OpenOptions::new().read(true).write(true).open(&path).await?;
    let mut kept = Some(Vec::with_capacity(BLOCK));
    rows.push(
        steady("`File::read_at`, 4 KiB, cached", 0, async || {
            let buf = kept.take().expect("each read gives it back");
            let (count, buf) = file.read_at(buf, 4096).await.expect(FINE);
            assert_eq!(count, BLOCK);
            kept = Some(buf);
        })
        .await,
    );
    rows.push(
        steady("`File::write_at`, 4 KiB", 0, async || {
            let buf = kept.take().expect("each write gives it back");
            let (count, buf) = file.write_at(buf, 4096).await.expect(FINE);
            assert_eq!(count, BLOCK);
            kept = Some(buf);
        })
        .await,
    );
    file.close().await?;

    let (stream, thread) = connected(sink).await?;
    rows.push(
        steady("`TcpStream::write_all`, 64 B (send)", 0, async || {
            stream.write_all(&[7; MESSAGE]).await.expect(FINE);
        })
        .await,
    );
    let mut owned = Some(vec![7; BLOCK]);
    rows.push(
        steady("`TcpStream::write_owned`, 4 KiB", 0, async || {
            let buf = owned.take().expect("each write gives it back");
            let (count, buf) = stream.write_owned(buf).await.expect(FINE);
            assert_eq!(count, BLOCK);
            owned = Some(buf);
        })
        .await,
    );
    stream.close().await?;
    thread.join().map_err(|_| "the sink panicked")?;

    let (stream, thread) = connected(source).await?;
    rows.push(
        steady("`TcpStream::read`, 64 B (receive)", 0, async || {
            let mut buf = [0; MESSAGE];
            assert!(stream.read(&mut buf).await.expect(FINE) > 0);
        })
        .await,
    );
    rows.push(
        steady("`TcpStream::read_chunk`", 0, async || {
            assert!(stream.read_chunk().await.expect(FINE).is_some());
        })
        .await,
    );
    stream.abort();
    thread.join().map_err(|_| "the source panicked")?;

    let (stream, thread) = connected(mirror).await?;
    rows.push(
        steady("`write_all` and `read`, 64 B there and back", 0, async || {
            stream.write_all(&[7; MESSAGE]).await.expect(FINE);
            stream.read_exact(&mut [0; MESSAGE]).await.expect(FINE);
        })
        .await,
    );
    stream.close().await?;
    thread.join().map_err(|_| "the mirror panicked")?;

    rows.push(steady("`sleep`, alone", 0, async || sleep(Duration::from_micros(20)).await).await);
    let slept = Rc::new(Cell::new(0));
    let sleepers: Vec<_> = (0..1000)
        .map(|number| {
            let slept = slept.clone();
            create_task(async move {
                loop {
                    // Spread, so that they fire at all times and in no order.
                    sleep(Duration::from_micros(1000 + number * 7919 % 20_000)).await;
                    slept.set(slept.get() + 1);
                }
            })
        })
        .collect();
    rows.push(
        steady_among("`sleep`, 1,000 at a time, 1 to 21 ms", 0, &slept, async || {
            sleep(Duration::from_millis(5)).await;
        })
        .await,
    );
    for sleeper in &sleepers {
        sleeper.cancel();
    }
    for sleeper in sleepers {
        assert!(sleeper.await.is_err_and(|error| error.is_cancelled()));
    }
    rows.push(
        steady("`timeout` round a future that is pending once", 0, async || {
            timeout(Duration::from_secs(60), yield_now()).await.expect("a minute is enough");
        })
        .await,
    );
    rows.push(steady("`yield_now`", 0, async || yield_now().await).await);
    rows.push(
        steady("`create_task` and its join", 1, async || {
            create_task(async { 7 }).await.expect("it neither panics nor is cancelled");
        })
        .await,
    );
    Ok(rows)
}

pub(super) fn make(setting: &Setting) -> Result<Part, Box<dyn Error>> {
    let rows = ringloop::run(measure(setting))??;
    let place = |row: &Row| {
        let places = row.places.iter().map(|(place, count)| format!("`{place}` ({count} times)"));
        places.collect::<Vec<_>>().join(", ")
    };
    let broken = rows.iter().filter(|row| !row.keeps_promise());
    let objections = broken.map(|row| {
        let (seen, promised) = (row.each(row.seen.count), row.promised);
        format!("{} allocates {seen} times, not {promised}: {}", row.operation, place(row))
    });
    let lines = rows.iter().map(|row| {
        let numbers = [row.each(row.seen.count), row.each(row.seen.bytes), row.promised.to_string()];
        [row.operation.to_owned()].into_iter().chain(numbers).chain([place(row)]).collect()
    });
    let text = table(&["operation", "allocations each", "bytes each", "promised", "where "], lines);
    Ok(Part { text, objections: objections.collect() })
}
