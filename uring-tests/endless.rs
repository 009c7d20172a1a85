//! What may wait without end, though it looks like file I/O: an open of a FIFO that nobody opens at its other end, a read of a
//! FIFO or a device that has nothing to say. A drop ends it, and so does the loop's end: none may keep a kernel worker for ever.

use crate::harness::kinds::{settle, start, turns};
use crate::harness::peers::Peer;
use crate::harness::probes::poll_once;
use crate::harness::{Ctx, Trial};
use crate::io;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use ringloop::fs::{self, File, OpenOptions};
use ringloop::{BufResult, Op, create_task, testing, timeout};
use std::future::Future;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(a_dropped_open_of_a_fifo_ends),
    io!(an_open_of_a_fifo_ends_at_its_limit),
    io!(a_loop_ends_with_opens_of_a_fifo_in_flight),
    io!(a_dropped_read_of_a_silent_fifo_ends),
    io!(a_dropped_read_of_a_silent_device_ends),
    io!(a_loop_ends_with_reads_of_a_silent_device_in_flight),
    io!(a_fifo_that_is_opened_at_last_is_written),
];

/// A new FIFO that nobody has open.
fn fifo(ctx: &Ctx, name: &str) -> PathBuf {
    let path = ctx.path(name);
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("the folder can be written");
    path
}

type Opening = Pin<Box<dyn Future<Output = std::io::Result<()>>>>;

/// Opens of FIFOs whose other ends nobody opens, begun and with the kernel. A plain open of a cached path is not among them: the
/// kernel tries it with O_NONBLOCK first, and that neither waits for a writer nor for a reader.
async fn begun(ctx: &Ctx) -> Vec<Opening> {
    let append = OpenOptions::new().append(true).create(true).open(fifo(ctx, "append"));
    let (create, read) = (File::create(fifo(ctx, "create")), fs::read(fifo(ctx, "read")));
    let mut opens: Vec<Opening> = vec![
        Box::pin(async { append.await.map(drop) }),
        Box::pin(async { create.await.map(drop) }),
        Box::pin(async { read.await.map(drop) }),
    ];
    for _ in 0..5 {
        for open in &mut opens {
            let polled = poll_once(open).await;
            assert!(polled.is_pending(), "nobody opens the other end: {polled:?}");
        }
        turns(1).await;
    }
    opens
}

fn a_dropped_open_of_a_fifo_ends(ctx: &Ctx) {
    ctx.run(async {
        drop(begun(ctx).await);
        settle(|now| now.operations == 0).await;
        // No worker is kept: there are fewer than these.
        for number in 0..10 {
            let path = fifo(ctx, &format!("fifo-{number}"));
            let mut create = File::create(&path);
            assert!(poll_once(&mut create).await.is_pending());
            turns(1).await;
            drop(create);
        }
        settle(|now| now.operations == 0).await;
    });
}

fn an_open_of_a_fifo_ends_at_its_limit(ctx: &Ctx) {
    const LIMIT: Duration = Duration::from_millis(10);
    ctx.run(async {
        for open in begun(ctx).await {
            timeout(LIMIT, open).await.expect_err("nobody opens the other end");
        }
        settle(|now| now.operations == 0).await;
        let error = File::create(ctx.path("create")).timeout(LIMIT).await.expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(testing::stats().operations, 0, "it ended before its future");
    });
}

/// If the end waited for them, it would for ever: the limit is beyond the trial's.
fn a_loop_ends_with_opens_of_a_fifo_in_flight(ctx: &Ctx) {
    let mut runner = start(ctx.builder().drain_timeout(Duration::from_secs(3600)));
    let kept = runner.run(begun(ctx)).expect("it runs");
    runner.close().expect("it ends");
    drop(kept);
}

/// Somebody has it open, and writes nothing.
fn a_dropped_read_of_a_silent_fifo_ends(ctx: &Ctx) {
    let path = fifo(ctx, "fifo");
    let both_ends = std::fs::File::options().read(true).write(true).open(&path).expect("it opens at once");
    ctx.run(async {
        let mut read = fs::read(&path);
        for _ in 0..10 {
            assert!(poll_once(&mut read).await.is_pending());
            turns(1).await;
        }
        drop(read);
        settle(|now| now.operations == 0).await;
    });
    drop(both_ends);
}

/// An eventfd stands for devices that have offsets and nothing to say.
fn silent_reads() -> [Op<BufResult<Vec<u8>>>; 3] {
    let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC).expect("an eventfd can be made");
    let file = File::from(OwnedFd::from(event));
    let buf = || Vec::with_capacity(8);
    [file.read_at(buf(), 0), file.read_exact_at(buf(), 0, 8), file.read_to_end_at(buf(), 0)]
}

fn a_dropped_read_of_a_silent_device_ends(ctx: &Ctx) {
    ctx.run(async {
        for mut read in silent_reads() {
            assert!(poll_once(&mut read).await.is_pending());
            turns(2).await;
            drop(read);
            settle(|now| now.operations == 0).await;
        }
    });
}

fn a_loop_ends_with_reads_of_a_silent_device_in_flight(ctx: &Ctx) {
    let mut runner = start(ctx.builder().drain_timeout(Duration::from_secs(3600)));
    let mut reads = silent_reads();
    runner
        .run(async {
            for read in &mut reads {
                assert!(poll_once(read).await.is_pending());
            }
            turns(2).await;
        })
        .expect("it runs");
    runner.close().expect("it ends");
    drop(reads);
}

/// Cancels that came before leave nothing behind.
fn a_fifo_that_is_opened_at_last_is_written(ctx: &Ctx) {
    ctx.run(async {
        drop(begun(ctx).await);
        settle(|now| now.operations == 0).await;
        let path = ctx.path("create");
        let creating = create_task(File::create(&path));
        turns(2).await;
        let reader = Peer::play(move || std::fs::read(path).expect("it has a writer"));
        let mut file = creating.await.expect("no panic").expect("it could be opened");
        file.write_all(b"at last").await.expect("somebody reads");
        file.close().await.expect("somebody reads");
        assert_eq!(reader.end(), b"at last");
    });
}
