//! Registered buffers: reads and writes of them are those of any other buffer, whatever became of the registration.

use crate::fork::in_a_fork;
use crate::harness::kinds::{release_parked_ring, rest, start};
use crate::harness::probes::{Dice, poll_once};
use crate::harness::{Ctx, Trial};
use crate::{io, once};
use futures_util::future::join_all;
use nix::sys::resource::{Resource, setrlimit};
use ringloop::buf::IoBuf;
use ringloop::fs::{File, OpenOptions, RegisteredBuf};
use ringloop::{Builder, create_task};
use std::io::ErrorKind;
use std::rc::Rc;

pub const TRIALS: &[Trial] = &[
    io!(what_is_written_from_them_is_read_into_them),
    io!(a_part_of_one_is_registered_too),
    io!(they_begin_at_a_page_and_serve_direct_io),
    io!(reads_at_once_do_not_mix),
    io!(one_of_another_loop_is_a_buffer_like_any_other),
    io!(one_that_outlives_its_loop_goes_on_in_the_next),
    io!(beyond_the_table_they_are_buffers_like_any_other),
    io!(one_that_was_dropped_under_way_leaves_its_place),
    io!(a_childs_drop_does_nothing_to_the_parent),
    io!(a_buffer_of_nothing_is_an_error),
    once!(without_locked_memory_it_is_a_buffer_like_any_other).by_an_ordinary_user(),
];

/// Long enough to be read through the ring even when cached.
const LONG: usize = 64 << 10;

fn registered(len: usize) -> RegisteredBuf {
    let buf = RegisteredBuf::new(len).expect("there is memory");
    assert!(buf.is_registered(), "{buf:?}");
    assert!(buf.iter().all(|&byte| byte == 0));
    buf
}

fn filled(bytes: &[u8]) -> RegisteredBuf {
    let mut buf = registered(bytes.len());
    buf.copy_from_slice(bytes);
    buf
}

fn what_is_written_from_them_is_read_into_them(ctx: &Ctx) {
    let mut dice = Dice(ctx.seed);
    ctx.run(async {
        for len in [1, 4096, 4097, LONG, 300_000] {
            let (path, bytes) = (ctx.path(&format!("{len}")), dice.bytes(len));
            let file = OpenOptions::new().read(true).write(true).create(true).open(&path).await.expect("new");
            let (count, buf) = file.write_all_at(filled(&bytes), 7).await.expect("there is room");
            assert_eq!((count, &buf[..]), (len, &bytes[..]));
            assert!(std::fs::read(&path).expect("it is there")[7..] == bytes, "what std reads, {len} bytes");
            let (count, buf) = file.read_exact_at(registered(len), 7, len).await.expect("long enough");
            assert!(count == len && buf[..] == bytes, "exactly {len} bytes");
            let (count, buf) = file.read_at(registered(len + 50), 7).await.expect("readable");
            assert!((1..=len).contains(&count), "a read may be short, but not empty");
            assert!(buf[..count] == bytes[..count], "what stands in the file, {len} bytes");
            let error = file.read_exact_at(registered(len + 50), 7, len + 1).await.expect_err("too short");
            assert_eq!((error.error.kind(), error.done), (ErrorKind::UnexpectedEof, len));
            assert!(error.buf[..len] == bytes, "what there was, {len} bytes");
        }
    });
}

fn a_part_of_one_is_registered_too(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(2 * LONG);
    let path = ctx.file("file", &bytes);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let part = registered(3 * LONG).slice(LONG..2 * LONG);
        assert!(part.registered().is_some());
        let (_, part) = file.read_exact_at(part, 100, LONG).await.expect("long enough");
        let whole = part.into_buf();
        assert!(whole[LONG..2 * LONG] == bytes[100..][..LONG]);
        assert!(whole[..LONG].iter().chain(&whole[2 * LONG..]).all(|&byte| byte == 0), "and nothing else");
    });
}

fn they_begin_at_a_page_and_serve_direct_io(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(LONG);
    let path = ctx.file("file", &bytes);
    ctx.run(async {
        let buf = registered(LONG);
        assert_eq!(buf.as_ptr() as usize % 4096, 0);
        let Ok(file) = File::options().read(true).custom_flags(nix::libc::O_DIRECT).open(&path).await else {
            ctx.skip("needs a file system with direct I/O");
        };
        let (_, buf) = file.read_exact_at(buf, 0, LONG).await.expect("whole blocks");
        assert!(buf[..] == bytes);
    });
}

fn reads_at_once_do_not_mix(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(16 * LONG);
    let path = ctx.file("file", &bytes);
    ctx.run(async {
        let file = Rc::new(File::open(&path).await.expect("it is there"));
        let readers = (0..16).map(|number| {
            let (file, begin) = (file.clone(), number * LONG);
            create_task(async move {
                let mut buf = registered(LONG);
                for _ in 0..4 {
                    buf.fill(0);
                    buf = file.read_exact_at(buf, begin as u64, LONG).await.expect("long enough").1;
                }
                buf
            })
        });
        for (number, buf) in join_all(readers).await.into_iter().enumerate() {
            assert!(buf.expect("it read")[..] == bytes[number * LONG..][..LONG], "part {number}");
        }
    });
}

/// The place that it has in its own loop's table is another buffer's here, which must not be touched.
fn one_of_another_loop_is_a_buffer_like_any_other(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(LONG);
    let path = ctx.file("file", &bytes);
    let (mut one, mut other) = (ctx.runner(), ctx.runner());
    let foreign = one.run(async { registered(LONG) }).expect("it runs");
    other
        .run(async {
            let file = OpenOptions::new().read(true).write(true).open(&path).await.expect("it is there");
            let own = filled(&vec![7; LONG]);
            assert_eq!(own.registered(), foreign.registered(), "the same place, in two tables");
            let (_, mut foreign) = file.read_exact_at(foreign, 0, LONG).await.expect("long enough");
            assert!(foreign[..] == bytes);
            assert!(own.iter().all(|&byte| byte == 7));
            foreign.fill(9);
            let (_, foreign) = file.write_all_at(foreign, 0).await.expect("there is room");
            assert!(std::fs::read(&path).expect("it is there") == [9; LONG]);
            drop(foreign);
            let (_, own) = file.read_exact_at(own, 0, LONG).await.expect("long enough");
            assert!(own[..] == [9; LONG], "a drop elsewhere has not ended its registration");
            assert!(own.is_registered());
        })
        .expect("it runs");
    for runner in [one, other] {
        runner.close().expect("it ends");
    }
}

fn one_that_outlives_its_loop_goes_on_in_the_next(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(LONG);
    let path = ctx.file("file", &bytes);
    // Once with the ring kept for the next loop, once without.
    for parked in [true, false] {
        let mut before = ctx.runner();
        let mut buf = Some(before.run(async { filled(&[3; LONG]) }).expect("it runs"));
        before.close().expect("it ends");
        if !parked {
            release_parked_ring();
            assert!(!buf.as_ref().is_some_and(RegisteredBuf::is_registered), "its ring is gone");
        }
        ctx.run(async {
            let file = File::open(&path).await.expect("it is there");
            let kept = buf.take().expect("it was made");
            let (_, kept) = file.read_exact_at(kept, 0, LONG).await.expect("long enough");
            let (_, own) = file.read_exact_at(registered(LONG), 0, LONG).await.expect("long enough");
            assert!(kept[..] == bytes && own[..] == bytes, "ring parked: {parked}");
        });
        release_parked_ring();
    }
}

fn beyond_the_table_they_are_buffers_like_any_other(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(4096);
    let path = ctx.file("file", &bytes);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let mut all: Vec<_> = (0..1024).map(|_| registered(4096)).collect();
        let more = RegisteredBuf::new(4096).expect("there is memory");
        assert!(!more.is_registered());
        let (_, more) = file.read_exact_at(more, 0, 4096).await.expect("long enough");
        assert!(more[..] == bytes);
        all.swap_remove(500);
        let (_, again) = file.read_exact_at(registered(4096), 0, 4096).await.expect("long enough");
        assert!(again[..] == bytes, "in the place that has become free");
    });
}

fn one_that_was_dropped_under_way_leaves_its_place(ctx: &Ctx) {
    let path = ctx.file("file", vec![1; LONG]);
    ctx.run(async {
        let file = OpenOptions::new().read(true).write(true).open(&path).await.expect("it is there");
        for _ in 0..50 {
            let mut write = file.write_at(filled(&[1; LONG]), 0);
            let mut read = file.read_at(registered(LONG), 0);
            let _ = (poll_once(&mut write).await, poll_once(&mut read).await);
        }
        rest().await;
        let mut places: Vec<_> = (0..1024).map(|_| registered(1)).collect();
        places.sort_by_key(|buf| buf.registered());
        assert!(places.iter().map(|buf| buf.registered()).eq((0..1024).map(Some)), "each place once");
    });
}

fn a_childs_drop_does_nothing_to_the_parent(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(LONG);
    let path = ctx.file("file", &bytes);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let mut buf = Some(registered(LONG));
        let status = in_a_fork(|| {
            buf = None;
            true
        });
        assert_eq!(status, 0, "nothing panicked");
        let buf = buf.expect("this is the parent's copy");
        let (_, buf) = file.read_exact_at(buf, 0, LONG).await.expect("long enough");
        assert!(buf[..] == bytes);
        assert_eq!(registered(1).registered(), Some(1), "its place is still taken");
    });
}

fn a_buffer_of_nothing_is_an_error(ctx: &Ctx) {
    ctx.run(async {
        assert_eq!(RegisteredBuf::new(0).expect_err("no memory").kind(), ErrorKind::InvalidInput);
        assert_eq!(
            RegisteredBuf::new(isize::MAX as usize).expect_err("too much").kind(),
            ErrorKind::OutOfMemory
        );
    });
}

fn without_locked_memory_it_is_a_buffer_like_any_other(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(1 << 20);
    let path = ctx.file("file", &bytes);
    let mut runner = start(Builder::new());
    setrlimit(Resource::RLIMIT_MEMLOCK, 128 << 10, 128 << 10).expect("lower is allowed");
    runner
        .run(async {
            let file = File::open(&path).await.expect("it is there");
            let buf = RegisteredBuf::new(1 << 20).expect("there is memory");
            assert!(!buf.is_registered());
            assert_eq!(format!("{buf:?}"), "RegisteredBuf(1048576 bytes, not registered)");
            let (_, buf) = file.read_exact_at(buf, 0, 1 << 20).await.expect("long enough");
            assert!(buf[..] == bytes);
        })
        .expect("it runs");
    runner.close().expect("it ends");
}
