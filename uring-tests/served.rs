//! Files of a FUSE server: what is read is what std reads, whatever pieces the server answers with.

use crate::harness::fuse::{Fuse, Served};
use crate::harness::{Ctx, Need, Trial};
use crate::io;
use ringloop::fs::{self, File};
use std::os::unix::fs::FileExt;

pub const TRIALS: &[Trial] = &[
    io!(a_server_that_answers_short_is_read_as_std_reads_it).needs(&[Need::Root, Need::Fuse]),
    io!(a_server_that_takes_little_is_written_as_std_writes_it).needs(&[Need::Root, Need::Fuse]),
];

/// PROBE-01: of a file that the kernel does not cache, io_uring goes on after a short read, at the wrong place.
fn a_server_that_answers_short_is_read_as_std_reads_it(ctx: &Ctx) {
    for (len, most) in [(100_000, 1 << 20), (100_000, 5000), (1000, 7)] {
        // No two places look the same.
        let bytes: Vec<u8> = (0..len / 4_u32).flat_map(u32::to_be_bytes).collect();
        let fuse = Fuse::direct(ctx, Served { bytes: bytes.clone(), most });
        let path = fuse.file();
        let std = std::fs::File::open(&path).expect("it is there");
        assert!(std::fs::read(&path).expect("readable") == bytes, "std itself, {most} at a time");
        ctx.run(async {
            let whole = fs::read(&path).await.expect("readable");
            assert_eq!(whole.len(), bytes.len(), "fs::read, {most} at a time");
            assert!(whole == bytes, "fs::read, {most} at a time");

            let mut file = File::open(&path).await.expect("it is there");
            let mut all = Vec::new();
            let count = file.read_to_end(&mut all).await.expect("readable");
            assert_eq!(count, bytes.len(), "read_to_end, {most} at a time");
            assert!(all == bytes, "read_to_end, {most} at a time");

            file.rewind().await.expect("a file can seek");
            let (mut all, mut piece) = (Vec::new(), [0; 3000]);
            loop {
                let count = file.read(&mut piece).await.expect("readable");
                if count == 0 {
                    break;
                }
                all.extend_from_slice(&piece[..count]);
                assert!(all.len() <= bytes.len(), "a loop of reads, {most} at a time: it has no end");
            }
            assert!(all == bytes, "a loop of reads, {most} at a time");

            for offset in [0, 5, len as u64 - 3, len as u64] {
                let mut expected = [0; 600];
                let count = std.read_at(&mut expected, offset).expect("readable");
                let (ours, buf) = file.read_at(vec![0; 600], offset).await.expect("readable");
                assert_eq!((ours, &buf[..ours]), (count, &expected[..count]), "read_at {offset}, {most}");
                let room = vec![Vec::with_capacity(3), Vec::with_capacity(597)];
                let (ours, parts) = file.read_vectored_at(room, offset).await.expect("readable");
                assert_eq!(
                    (ours, &parts.concat()[..]),
                    (count, &expected[..count]),
                    "readv {offset}, {most}"
                );
            }
            let (_, exact) = file.read_exact_at(vec![0; 900], 50, 900).await.expect("long enough");
            assert!(exact == bytes[50..950], "read_exact_at, {most} at a time");
            let short = file.read_exact_at(vec![0; 90], len as u64 - 10, 90).await.expect_err("too short");
            assert_eq!((short.done, &short.buf[..10]), (10, &bytes[bytes.len() - 10..]));
            let (count, rest) = file.read_to_end_at(Vec::new(), 50).await.expect("readable");
            assert!(count == bytes.len() - 50 && rest == bytes[50..], "read_to_end_at, {most} at a time");
            file.close().await.expect("it closes");
        });
    }
}

/// PROBE-01: the same of writes.
fn a_server_that_takes_little_is_written_as_std_writes_it(ctx: &Ctx) {
    for (len, most) in [(100_000, 1 << 20), (100_000, 5000), (1000, 7)] {
        let bytes: Vec<u8> = (0..len / 4_u32).flat_map(u32::to_be_bytes).collect();
        let fuse = Fuse::direct(ctx, Served { bytes: Vec::new(), most });
        let path = fuse.file();
        let there = || std::fs::read(&path).expect("readable");
        ctx.run(async {
            let file = File::options().read(true).write(true).open(&path).await.expect("it is there");
            let (count, _) = file.write_all_at(bytes.clone(), 0).await.expect("it takes all");
            assert_eq!(count, bytes.len());
            assert!(there() == bytes, "write_all_at, {most} at a time");
            let count = file.write_at(vec![9; 600], 50).await.expect("it takes some").0;
            assert_eq!(count, most.min(600), "what one call of std takes");
            let count = file.write_vectored_at(vec![vec![8; 3], vec![8; 597]], 50).await.expect("some").0;
            assert_eq!(count, most.min(600), "what one call of std takes");
            file.write_all_at(bytes.clone(), 0).await.expect("it takes all");
            assert!(there() == bytes, "write_all_at, {most} at a time");
            file.close().await.expect("it closes");

            let mut file = File::options().write(true).open(&path).await.expect("it is there");
            let turned: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
            file.write_all(&turned).await.expect("it takes all");
            file.close().await.expect("it closes");
            assert!(there() == turned, "the cursor, {most} at a time");
        });
    }
}
