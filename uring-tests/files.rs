//! Files: what is written is read back by every route, the numbers are exact, std's meaning is kept, errors keep their
//! errno and give buffers back.

use crate::harness::kinds::{Reports, rest, run_on, turns};
use crate::harness::peers::Peer;
use crate::harness::probes::{Dice, OnDrop, poll_once, start_and_drop};
use crate::harness::{Ctx, Kind, Need, Trial, aftermath};
use crate::io;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use ringloop::fs::{self, File, OpenOptions};
use ringloop::{create_task, current_task, yield_now};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::future::pending;
use std::io::{ErrorKind, Read, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::task::Poll;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(what_is_written_is_read_back),
    io!(positional_calls_do_not_move_the_cursor),
    io!(reads_stop_at_the_end_of_the_file),
    io!(exact_calls_take_exactly_their_length),
    io!(reading_to_the_end_takes_any_length),
    io!(vectored_calls_keep_the_order_of_their_parts),
    io!(every_kind_of_owned_buffer_works),
    io!(many_writers_of_one_file_do_not_mix),
    io!(the_cursor_reads_seeks_and_writes_as_stds),
    io!(the_cursor_serves_futures_io),
    io!(lines_come_one_by_one),
    io!(a_positional_call_sees_what_the_cursor_wrote),
    io!(open_options_mean_what_std_means),
    io!(a_file_on_any_descriptor_does_what_stds_does),
    io!(modes_and_custom_flags_are_passed_on),
    io!(length_metadata_and_sync),
    io!(a_close_reports_and_frees),
    io!(whole_files_go_in_one_call),
    io!(bytes_that_are_no_text_are_refused_in_stds_words),
    io!(procfs_is_read_whole_though_its_length_is_zero),
    io!(folders_are_made_listed_and_removed),
    io!(making_a_tree_of_folders_is_a_race_without_losers),
    io!(a_rename_replaces),
    io!(a_missing_file_keeps_its_errno),
    io!(a_path_with_a_nul_is_an_error_not_a_panic),
    io!(a_full_disk_reports_exactly_what_was_written).needs(&[Need::Root]),
    io!(what_was_written_and_dropped_is_read_back),
    io!(what_a_dropped_file_had_gathered_is_there_for_all),
    io!(in_debug_mode_bytes_that_a_drop_leaves_unwritten_are_reported),
    io!(a_file_not_open_to_be_written_refuses_at_once_and_is_read_on),
    io!(bytes_that_no_file_can_take_are_given_up_once_told),
    io!(an_error_of_a_write_is_told_once),
    io!(an_open_file_needs_no_further_descriptor),
    io!(after_an_append_the_position_is_behind_what_was_appended),
    io!(a_dropped_file_writes_its_cursor_out),
    io!(a_file_dropped_between_run_and_close_writes_its_cursor_out),
    io!(a_file_dropped_in_another_loop_writes_its_cursor_out),
    io!(a_file_dropped_after_its_loop_writes_its_cursor_out),
    io!(the_loops_end_waits_for_a_dropped_pipe),
    io!(what_was_read_ahead_of_a_pipe_is_handed_on_with_it),
    io!(files_in_memory_mean_what_std_means),
    io!(a_copy_in_memory_is_what_std_makes),
    io!(a_link_out_of_memory_is_followed),
    io!(a_pipe_with_a_name_is_opened_without_its_other_end).needs(&[Need::OpensInPlace]),
    io!(a_pipe_with_a_name_waits_for_its_other_end),
    io!(a_whole_file_is_written_to_what_has_no_offsets),
    io!(a_file_that_was_just_written_can_be_executed),
    io!(stds_times_are_given_to_an_open_file),
    io!(a_relative_path_is_looked_up_where_the_process_is),
    io!(calls_one_after_the_other_let_others_run),
    io!(many_calls_of_one_poll_go_both_ways),
    io!(a_call_that_takes_offers_does_not_give_way),
];

fn what_is_written_is_read_back(ctx: &Ctx) {
    let mut dice = Dice(ctx.seed);
    ctx.run(async {
        let path = ctx.path("file");
        for size in [0, 1, 4095, 4096, 4097, 100_000, 1 << 20] {
            let bytes = dice.bytes(size);
            let file = File::create(&path).await.expect("the folder can be written");
            let (count, back) = file.write_all_at(bytes.clone(), 0).await.expect("there is room");
            assert_eq!((count, back.len()), (size, size));
            file.close().await.expect("it closes");
            assert!(std::fs::read(&path).expect("it is there") == bytes, "what std reads, {size} bytes");
            let file = File::open(&path).await.expect("it is there");
            let (count, read) = file.read_to_end_at(Vec::new(), 0).await.expect("it is readable");
            assert_eq!(count, size);
            assert!(read == bytes, "what the loop reads, {size} bytes");
        }
    });
}

fn positional_calls_do_not_move_the_cursor(ctx: &Ctx) {
    let path = ctx.file("file", b"0123456789");
    ctx.run(async {
        let mut file = File::open(&path).await.expect("it is there");
        let mut two = [0; 2];
        file.read_exact(&mut two).await.expect("long enough");
        let (_, middle) = file.read_exact_at(vec![0; 3], 6, 3).await.expect("long enough");
        assert_eq!((&two, &middle[..]), (b"01", &b"678"[..]));
        file.read_exact(&mut two).await.expect("long enough");
        assert_eq!(&two, b"23");
    });
}

fn reads_stop_at_the_end_of_the_file(ctx: &Ctx) {
    let path = ctx.file("file", b"0123456789");
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let (count, buffer) = file.read_at(Vec::with_capacity(100), 4).await.expect("readable");
        assert!((1..=6).contains(&count), "a read may be short, but not empty");
        assert_eq!(buffer, b"456789"[..count]);
        let (count, buffer) = file.read_at(Vec::with_capacity(100), 10).await.expect("readable");
        assert_eq!((count, buffer.len()), (0, 0));
        let (count, _) = file.read_at(Vec::new(), 0).await.expect("no room, no bytes");
        assert_eq!(count, 0);
    });
}

fn exact_calls_take_exactly_their_length(ctx: &Ctx) {
    let path = ctx.file("file", vec![1; 10_000]);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let (count, buffer) =
            file.read_exact_at(Vec::with_capacity(9000), 1000, 8000).await.expect("long enough");
        assert_eq!((count, buffer), (8000, vec![1; 8000]));
        let error = file.read_exact_at(Vec::with_capacity(9000), 5000, 8000).await.expect_err("too short");
        assert_eq!(error.error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(error.done, 5000, "how much there was");
        assert_eq!(error.into_buf()[..5000], [1; 5000]);
    });
}

fn reading_to_the_end_takes_any_length(ctx: &Ctx) {
    let mut dice = Dice(ctx.seed);
    let bytes = dice.bytes(300_001);
    let path = ctx.file("file", &bytes);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        for (capacity, offset) in [(0, 0), (10, 0), (300_001, 0), (400_000, 7), (1, 300_000), (5, 300_001)] {
            let (count, read) =
                file.read_to_end_at(Vec::with_capacity(capacity), offset).await.expect("readable");
            assert_eq!(count, bytes.len() - offset as usize);
            assert!(read == bytes[offset as usize..], "from {offset} with room for {capacity}");
        }
    });
}

fn vectored_calls_keep_the_order_of_their_parts(ctx: &Ctx) {
    let path = ctx.path("file");
    ctx.run(async {
        let file =
            OpenOptions::new().read(true).write(true).create(true).open(&path).await.expect("writable");
        let parts = vec![b"one ".to_vec(), Vec::new(), b"two ".to_vec(), b"three".to_vec()];
        let (count, parts) = file.write_vectored_at(parts, 3).await.expect("there is room");
        assert!((1..=13).contains(&count) && parts.len() == 4, "the parts come back");
        let whole = "\0\0\0one two three";
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), whole[..3 + count]);
        file.write_all_at(whole.to_owned(), 0).await.expect("there is room");
        let room = vec![Vec::with_capacity(3), Vec::with_capacity(4), Vec::with_capacity(50)];
        let (count, read) = file.read_vectored_at(room, 0).await.expect("readable");
        assert_eq!(read.concat(), whole.as_bytes()[..count]);
        assert_eq!(read[0].len(), count.min(3));
    });
}

fn every_kind_of_owned_buffer_works(ctx: &Ctx) {
    let path = ctx.path("file");
    ctx.run(async {
        let file =
            OpenOptions::new().read(true).write(true).create(true).open(&path).await.expect("writable");
        file.write_all_at(Bytes::from_static(b"bytes"), 0).await.expect("there is room");
        file.write_all_at("static".as_bytes(), 5).await.expect("there is room");
        file.write_all_at(String::from("text"), 11).await.expect("there is room");
        file.write_all_at(*b"array", 15).await.expect("there is room");
        file.write_all_at(vec![b'!'], 20).await.expect("there is room");
        let (count, array) = file.read_exact_at([0; 21], 0, 21).await.expect("long enough");
        assert_eq!((count, &array), (21, b"bytesstatictextarray!"));
    });
}

fn many_writers_of_one_file_do_not_mix(ctx: &Ctx) {
    let path = ctx.path("file");
    ctx.run(async {
        let file = File::create(&path).await.expect("the folder can be written");
        let writes = (0..200_u64).map(async |number| {
            file.write_all_at(vec![number as u8; 500], number * 500).await.expect("there is room");
        });
        join_all(writes).await;
    });
    let bytes = std::fs::read(&path).expect("it is there");
    assert_eq!(bytes.len(), 100_000);
    assert!(
        bytes.chunks(500).enumerate().all(|(number, chunk)| chunk.iter().all(|&byte| byte == number as u8))
    );
}

fn the_cursor_reads_seeks_and_writes_as_stds(ctx: &Ctx) {
    let mut dice = Dice(ctx.seed);
    let (ours, stds) = (ctx.path("ours"), ctx.path("stds"));
    ctx.run(async {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).open(&ours).await.expect("writable");
        let mut std_file =
            std::fs::File::options().read(true).write(true).create_new(true).open(&stds).expect("writable");
        for step in 0..300 {
            use std::io::{Read, Seek, Write};
            let size = 1 + dice.below(6000) as usize;
            match dice.below(3) {
                0 => {
                    let bytes = dice.bytes(size);
                    file.write_all(&bytes).await.expect("there is room");
                    std_file.write_all(&bytes).expect("there is room");
                }
                1 => {
                    let (mut one, mut other) = (vec![0; size], vec![0; size]);
                    let mut read = 0;
                    while read < size {
                        match file.read(&mut one[read..]).await.expect("readable") {
                            0 => break,
                            count => read += count,
                        }
                    }
                    let mut expected = 0;
                    while expected < size {
                        match std_file.read(&mut other[expected..]).expect("readable") {
                            0 => break,
                            count => expected += count,
                        }
                    }
                    assert_eq!(read, expected, "step {step}, seed {}", ctx.seed);
                    assert!(one == other, "step {step}, seed {}", ctx.seed);
                }
                _ => {
                    let to = match dice.below(3) {
                        0 => SeekFrom::Start(dice.below(50_000)),
                        1 => SeekFrom::End(dice.below(100) as i64),
                        _ => SeekFrom::Current(dice.below(300) as i64),
                    };
                    let place = file.seek(to).await.expect("forward");
                    assert_eq!(place, std_file.seek(to).expect("forward"), "step {step}, {to:?}");
                }
            }
        }
        assert!(file.seek(SeekFrom::Current(-1 << 40)).await.is_err(), "before the beginning");
        file.flush().await.expect("there is room");
        file.close().await.expect("it closes");
    });
    assert!(std::fs::read(ours).expect("it is there") == std::fs::read(stds).expect("it is there"));
}

/// The inherent calls and the traits are the same thing by two names.
fn the_cursor_serves_futures_io(ctx: &Ctx) {
    let (from, to) = (ctx.file("from", vec![9; 70_000]), ctx.path("to"));
    ctx.run(async {
        let mut source = File::open(&from).await.expect("it is there");
        let mut target = File::create(&to).await.expect("the folder can be written");
        let copied = futures_util::io::copy(&mut source, &mut target).await.expect("there is room");
        assert_eq!(copied, 70_000);
        AsyncSeekExt::seek(&mut source, SeekFrom::Start(69_999)).await.expect("within the file");
        let mut rest = Vec::new();
        AsyncReadExt::read_to_end(&mut source, &mut rest).await.expect("readable");
        assert_eq!(rest, [9]);
        AsyncWriteExt::close(&mut target).await.expect("it closes");
    });
    assert_eq!(std::fs::read(to).expect("it is there"), vec![9; 70_000]);
}

fn lines_come_one_by_one(ctx: &Ctx) {
    let path = ctx.file("file", "one\r\ntwo\n\nfour without end");
    ctx.run(async {
        let mut file = File::open(&path).await.expect("it is there");
        let mut lines = file.lines();
        let mut all = Vec::new();
        while let Some(line) = lines.next().await {
            all.push(line.expect("it is text"));
        }
        assert_eq!(all, ["one", "two", "", "four without end"]);
    });
}

fn a_positional_call_sees_what_the_cursor_wrote(ctx: &Ctx) {
    let path = ctx.path("file");
    ctx.run(async {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).open(&path).await.expect("writable");
        file.write_all(b"by the cursor").await.expect("there is room");
        let (_, seen) = file.read_exact_at(vec![0; 13], 0, 13).await.expect("it was flushed first");
        assert_eq!(seen, b"by the cursor");
        file.write_all(b", and more").await.expect("there is room");
        assert_eq!(file.metadata().await.expect("it is open").len(), 23);
    });
}

/// No kind of descriptor is refused: `File` on it reads, or fails, as std's does.
fn a_file_on_any_descriptor_does_what_stds_does(ctx: &Ctx) {
    let folder = ctx.path("folder");
    std::fs::create_dir(&folder).expect("the folder can be written");
    ctx.run(async {
        let socket = || {
            let (mut left, right) = std::os::unix::net::UnixStream::pair().expect("descriptors are left");
            std::io::Write::write_all(&mut left, b"hello").expect("there is room");
            OwnedFd::from(right)
        };
        let listener =
            || OwnedFd::from(std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is there"));
        let open = || OwnedFd::from(std::fs::File::open(&folder).expect("it is there"));
        for (name, ours, stds) in
            [("socket", socket(), socket()), ("listener", listener(), listener()), ("folder", open(), open())]
        {
            let mut expected = [0; 8];
            let std = std::fs::File::from(stds).read(&mut expected);
            let mut file = File::from(ours);
            let mut buffer = [0; 8];
            let read = file.read(&mut buffer).await;
            let told = |read: std::io::Result<usize>| read.map_err(|error| error.raw_os_error());
            assert_eq!((told(read), buffer), (told(std), expected), "{name}");
        }
    });
}

fn open_options_mean_what_std_means(ctx: &Ctx) {
    let path = ctx.file("file", b"old content");
    ctx.run(async {
        let exists =
            OpenOptions::new().write(true).create_new(true).open(&path).await.expect_err("it exists");
        assert_eq!(exists.kind(), ErrorKind::AlreadyExists);
        let mut file = OpenOptions::new().append(true).open(&path).await.expect("it is there");
        file.write_all(b", appended").await.expect("there is room");
        file.close().await.expect("it closes");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"old content, appended");
        let file = OpenOptions::new().write(true).truncate(true).open(&path).await.expect("it is there");
        assert_eq!(file.metadata().await.expect("it is open").len(), 0);
        let nothing = OpenOptions::new().open(&path).await.expect_err("neither reading nor writing");
        assert_eq!(nothing.kind(), ErrorKind::InvalidInput);
        let odd =
            OpenOptions::new().read(true).truncate(true).open(&path).await.expect_err("std refuses it too");
        assert_eq!(odd.kind(), ErrorKind::InvalidInput);
    });
}

fn modes_and_custom_flags_are_passed_on(ctx: &Ctx) {
    let (path, link) = (ctx.path("file"), ctx.path("link"));
    std::os::unix::fs::symlink(&path, &link).expect("the folder can be written");
    ctx.run(async {
        OpenOptions::new().write(true).create(true).mode(0o640).open(&path).await.expect("writable");
        let mode = fs::metadata(&path).await.expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640 & !umask());
        let mut options = OpenOptions::new();
        let refused = options.read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&link).await;
        assert_eq!(refused.expect_err("it is a link").raw_os_error(), Some(nix::libc::ELOOP));
    });
}

/// The process's mask for new files.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs is there");
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:")).expect("Linux 4.7 has it");
    u32::from_str_radix(line.trim(), 8).expect("octal digits")
}

fn length_metadata_and_sync(ctx: &Ctx) {
    let path = ctx.path("file");
    ctx.run(async {
        let file = File::create(&path).await.expect("the folder can be written");
        file.set_len(12_345).await.expect("there is room");
        file.sync_all().await.expect("a file system syncs");
        file.sync_data().await.expect("a file system syncs");
        let (ours, stds) = (file.metadata().await.expect("open"), std::fs::metadata(&path).expect("there"));
        assert_eq!((ours.len(), ours.ino(), ours.dev()), (12_345, stds.ino(), stds.dev()));
        assert!(ours.is_file() && !ours.is_dir());
        assert_eq!(ours.modified().expect("a time"), stds.modified().expect("a time"));
        assert_eq!(ours.permissions().mode(), stds.permissions().mode());
        file.set_len(10).await.expect("shorter");
        assert_eq!(fs::metadata(&path).await.expect("it is there").len(), 10);
        assert!(fs::metadata(ctx.dir()).await.expect("it is there").is_dir());
    });
}

fn a_close_reports_and_frees(ctx: &Ctx) {
    let path = ctx.file("file", b"x");
    ctx.run(async {
        rest().await;
        let before = aftermath::descriptors();
        for _ in 0..20 {
            let file = File::open(&path).await.expect("it is there");
            file.close().await.expect("it closes");
            assert_eq!(
                aftermath::opened_since(&before),
                [""; 0],
                "when close returns, the descriptor is free"
            );
        }
        let mut full = OpenOptions::new().write(true).open("/dev/full").await.expect("Linux has it");
        full.write_all(b"does not fit").await.expect("the cursor buffers it");
        let error = full.close().await.expect_err("close is the way to see it");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        rest().await;
        assert_eq!(aftermath::opened_since(&before), [""; 0], "freed all the same");
    });
}

fn whole_files_go_in_one_call(ctx: &Ctx) {
    let path = ctx.path("file");
    ctx.run(async {
        fs::write(&path, "some text").await.expect("the folder can be written");
        assert_eq!(fs::read(&path).await.expect("it is there"), b"some text");
        assert_eq!(fs::read_to_string(&path).await.expect("it is text"), "some text");
        fs::write(&path, b"new").await.expect("it is replaced");
        assert_eq!(fs::read(&path).await.expect("it is there"), b"new");
        fs::write(&path, [0xff, 0xfe]).await.expect("any bytes");
        assert_eq!(fs::read_to_string(&path).await.expect_err("not text").kind(), ErrorKind::InvalidData);
        fs::remove_file(&path).await.expect("it is there");
        assert!(!path.exists());
    });
}

/// USE-03: the error does not carry the file.
fn bytes_that_are_no_text_are_refused_in_stds_words(ctx: &Ctx) {
    let path = ctx.file("bytes", vec![0xff; 100_000]);
    let std = std::fs::read_to_string(&path).expect_err("it is no text");
    ctx.run(async {
        let whole = fs::read_to_string(&path).await.expect_err("it is no text");
        let mut file = File::open(&path).await.expect("it is there");
        let rest = file.read_to_string(&mut String::new()).await.expect_err("it is no text");
        let line = file.lines().next().await.expect("it is not empty").expect_err("it is no text");
        for error in [whole, rest, line] {
            assert_eq!((error.kind(), error.to_string()), (std.kind(), std.to_string()));
            assert!(format!("{error:?}").len() < 200, "it carries the file");
        }
    });
}

fn procfs_is_read_whole_though_its_length_is_zero(ctx: &Ctx) {
    ctx.run(async {
        let text = fs::read_to_string("/proc/self/status").await.expect("procfs is there");
        assert!(text.starts_with("Name:") && text.contains("nonvoluntary_ctxt_switches"), "{text}");
        // More than one page of it, so more than one read.
        let maps = fs::read("/proc/self/smaps").await.expect("procfs is there");
        assert!(maps.len() > 8192);
    });
}

fn folders_are_made_listed_and_removed(ctx: &Ctx) {
    let folder = ctx.path("folder");
    ctx.run(async {
        fs::create_dir(&folder).await.expect("it is new");
        let again = fs::create_dir(&folder).await.expect_err("it exists");
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        let names: BTreeSet<String> = (0..500).map(|number| format!("file-{number}")).collect();
        for name in &names {
            std::fs::write(folder.join(name), name).expect("the folder can be written");
        }
        fs::create_dir(folder.join("sub")).await.expect("it is new");
        let mut seen = BTreeSet::new();
        let mut entries = fs::read_dir(&folder).await.expect("it is there");
        while let Some(entry) = entries.next().await {
            let entry = entry.expect("it is readable");
            let name = entry.file_name().into_string().expect("text");
            assert_eq!(entry.path(), folder.join(&name));
            assert_eq!(entry.file_type().expect("ext4 tells").is_dir(), name == "sub");
            assert!(name == "sub" || seen.insert(name), "each once");
        }
        assert_eq!(seen, names);
        let full = fs::remove_dir(&folder).await.expect_err("it is not empty");
        assert_eq!(full.kind(), ErrorKind::DirectoryNotEmpty);
        fs::remove_dir(folder.join("sub")).await.expect("it is empty");
        join_all(names.iter().map(async |name| fs::remove_file(folder.join(name)).await.expect("there")))
            .await;
        fs::remove_dir(&folder).await.expect("it is empty");
        assert!(!folder.exists());
        assert_eq!(fs::read_dir(&folder).await.expect_err("gone").kind(), ErrorKind::NotFound);
    });
}

fn making_a_tree_of_folders_is_a_race_without_losers(ctx: &Ctx) {
    ctx.run(async {
        let deep = ctx.path("a/b/c/d/e");
        for made in join_all((0..20).map(|_| fs::create_dir_all(&deep))).await {
            made.expect("whoever made it");
        }
        assert!(deep.is_dir());
        fs::create_dir_all(&deep).await.expect("it exists");
        std::fs::write(ctx.path("a/file"), b"").expect("the folder can be written");
        assert!(fs::create_dir_all(ctx.path("a/file/b")).await.is_err(), "a file stands in the way");
    });
}

fn a_rename_replaces(ctx: &Ctx) {
    let (from, to) = (ctx.file("from", b"new"), ctx.file("to", b"old"));
    ctx.run(async {
        fs::rename(&from, &to).await.expect("the same file system");
        assert!(!from.exists());
        assert_eq!(fs::read(&to).await.expect("it is there"), b"new");
        let gone = fs::rename(&from, &to).await.expect_err("it is gone");
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    });
}

fn a_missing_file_keeps_its_errno(ctx: &Ctx) {
    ctx.run(async {
        let missing = ctx.path("missing");
        let errors = [
            File::open(&missing).await.err(),
            fs::read(&missing).await.err(),
            fs::metadata(&missing).await.err(),
            fs::remove_file(&missing).await.err(),
            fs::remove_dir(&missing).await.err(),
        ];
        for error in errors {
            assert_eq!(error.expect("it is missing").raw_os_error(), Some(nix::libc::ENOENT));
        }
        let folder = File::create(ctx.dir()).await.expect_err("it is a folder");
        assert_eq!(folder.raw_os_error(), Some(nix::libc::EISDIR));
    });
}

fn a_path_with_a_nul_is_an_error_not_a_panic(ctx: &Ctx) {
    ctx.run(async {
        let odd = "no\0such";
        assert_eq!(File::open(odd).await.expect_err("a NUL").kind(), ErrorKind::InvalidInput);
        assert_eq!(fs::metadata(odd).await.expect_err("a NUL").kind(), ErrorKind::InvalidInput);
        assert_eq!(fs::rename("/tmp", odd).await.expect_err("a NUL").kind(), ErrorKind::InvalidInput);
    });
}

/// A file system of one mebibyte: the write that does not fit says how much of it did.
fn a_full_disk_reports_exactly_what_was_written(ctx: &Ctx) {
    let small = ctx.path("small");
    std::fs::create_dir(&small).expect("the folder can be written");
    // A mount namespace of this process alone: the machine never sees the mount.
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
        ctx.skip(format!("needs a mount namespace: {error}"));
    }
    let nowhere = None::<&str>;
    mount(nowhere, "/", nowhere, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nowhere).expect("root may");
    mount(Some("tmpfs"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).expect("root may");
    ctx.run(async {
        let path = small.join("file");
        let file = File::create(&path).await.expect("there is room yet");
        let error = file.write_all_at(vec![6; 3 << 20], 0).await.expect_err("three do not fit into one");
        assert_eq!(error.error.kind(), ErrorKind::StorageFull);
        let there = std::fs::metadata(&path).expect("it is there").len();
        assert!(there > 500_000, "most of it fits");
        assert_eq!(error.done as u64, there);
        assert_eq!(error.into_buf().len(), 3 << 20);
        file.close().await.expect("it closes");
    });
    umount2(&small, MntFlags::MNT_DETACH).expect("root may");
}

/// BUG-05: whoever looks by a path after the drop, and however much was written.
fn what_was_written_and_dropped_is_read_back(ctx: &Ctx) {
    let memory = InMemory::new(ctx);
    for folder in [ctx.dir(), &memory.0] {
        let (path, other) = (folder.join("file"), folder.join("other"));
        ctx.run(async {
            for (round, len) in [5, 70_000, 1, 400_000, 140_000].into_iter().cycle().take(30).enumerate() {
                let bytes = vec![round as u8; len];
                let write = async || {
                    let mut file = File::create(&path).await.expect("the folder can be written");
                    file.write_all(&bytes).await.expect("there is room");
                };
                write().await;
                assert!(fs::read(&path).await.expect("it is there") == bytes, "fs::read, {len} bytes");
                write().await;
                assert_eq!(fs::metadata(&path).await.expect("it is there").len(), len as u64, "stat");
                write().await;
                let mut all = Vec::new();
                let mut file = File::open(&path).await.expect("it is there");
                file.read_to_end(&mut all).await.expect("readable");
                assert!(all == bytes, "open and read, {len} bytes");
                write().await;
                assert_eq!(fs::copy(&path, &other).await.expect("there is room"), len as u64, "copy");
                write().await;
                fs::rename(&path, &other).await.expect("it is there");
                assert!(std::fs::read(&other).expect("it is there") == bytes, "rename, {len} bytes");
            }
        });
    }
}

/// BUG-05: also for other processes, which ask no loop.
fn what_a_dropped_file_had_gathered_is_there_for_all(ctx: &Ctx) {
    let path = ctx.path("script");
    ctx.run(async {
        for append in [false, true] {
            let mut options = OpenOptions::new();
            let options = options.write(!append).append(append).create(true);
            for text in ["echo one\n", "echo two\n"] {
                let mut file = options.open(&path).await.expect("the folder can be written");
                file.write_all(text.as_bytes()).await.expect("there is room");
                drop(file);
                assert!(std::fs::read_to_string(&path).expect("it is there").ends_with(text), "{append}");
            }
        }
    });
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "echo two\necho one\necho two\n");
}

/// BUG-05: what is on its way to the kernel cannot be there at once.
fn in_debug_mode_bytes_that_a_drop_leaves_unwritten_are_reported(ctx: &Ctx) {
    let reports = Reports::default();
    run_on(reports.builder(ctx.builder()).debug(true).slow_step(Duration::from_secs(60)), async {
        for (len, expected) in [(1000, 0), (70_000, 1)] {
            let mut file = File::create(ctx.path("file")).await.expect("the folder can be written");
            file.write_all(&vec![1; len]).await.expect("there is room");
            drop(file);
            let told = reports.take();
            assert_eq!(told.len(), expected, "{told:?}");
            let names =
                |text: &String| text.contains(&format!("{len} bytes unwritten")) && text.contains("close it");
            assert!(told.iter().all(names), "{told:?}");
        }
    });
}

/// BUG-13: as std does.
fn a_file_not_open_to_be_written_refuses_at_once_and_is_read_on(ctx: &Ctx) {
    let path = ctx.file("file", b"0123456789");
    let refusal = std::io::Write::write(&mut std::fs::File::open(&path).expect("it is there"), b"x");
    let refusal = refusal.expect_err("it is open to be read").raw_os_error();
    ctx.run(async {
        let mut file = File::open(&path).await.expect("it is there");
        let mut two = [0; 2];
        file.read_exact(&mut two).await.expect("long enough");
        assert_eq!(file.write(b"x").await.expect_err("std refuses it").raw_os_error(), refusal);
        assert_eq!(file.write_all(b"x").await.expect_err("std refuses it").raw_os_error(), refusal);
        file.flush().await.expect("there is nothing to write");
        file.read_exact(&mut two).await.expect("long enough");
        assert_eq!(&two, b"23");
        assert_eq!(file.stream_position().await.expect("a file has one"), 4);
        assert_eq!(file.metadata().await.expect("it is open").len(), 10);
        file.close().await.expect("there is nothing to write");
    });
}

/// BUG-13: an error that stays is told once, and the file goes on without the bytes, where std's would be.
fn bytes_that_no_file_can_take_are_given_up_once_told(ctx: &Ctx) {
    let path = ctx.file("file", b"0123456789");
    let far = SeekFrom::Start(i64::MAX as u64);
    let std = std::fs::File::options().write(true).open(&path).expect("it is there");
    let refusal =
        FileExt::write_at(&std, b"x", i64::MAX as u64).expect_err("no file is so long").raw_os_error();
    ctx.run(async {
        let mut file = OpenOptions::new().read(true).write(true).open(&path).await.expect("it is there");
        for by_position in [false, true] {
            file.seek(far).await.expect("any place");
            file.write_all(b"x").await.expect("it is gathered");
            let told = match by_position {
                false => file.flush().await,
                true => file.sync_all().await,
            };
            assert_eq!(told.expect_err("no file is so long").raw_os_error(), refusal);
            assert_eq!(file.stream_position().await.expect("a file has one"), i64::MAX as u64);
            file.flush().await.expect("it was told, and given up");
            file.rewind().await.expect("any place");
            let mut two = [0; 2];
            file.read_exact(&mut two).await.expect("it is read on");
            assert_eq!(&two, b"01");
        }
        file.close().await.expect("there is nothing to write");
    });
}

/// BUG-09: to whoever asks first; the next one has it tried again.
fn an_error_of_a_write_is_told_once(ctx: &Ctx) {
    let path = ctx.path("file");
    let ignore = nix::sys::signal::SigHandler::SigIgn;
    // SAFETY: no handler of ours.
    unsafe { nix::sys::signal::signal(nix::sys::signal::Signal::SIGXFSZ, ignore) }
        .expect("it can be ignored");
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("Linux has it");
    ctx.run(async {
        for call in 0..4 {
            let mut file = File::create(&path).await.expect("the folder can be written");
            setrlimit(Resource::RLIMIT_FSIZE, 10_000, hard).expect("it is lower");
            file.write_all(&[1; 50_000]).await.expect("it is gathered");
            file.flush().await.expect_err("there is a limit");
            let told = match call {
                0 => file.sync_all().await,
                1 => file.metadata().await.map(drop),
                2 => file.write_at("x", 0).await.map(drop).map_err(|error| error.error),
                _ => file.flush().await,
            };
            told.expect_err("there is still a limit");
            setrlimit(Resource::RLIMIT_FSIZE, soft, hard).expect("it is what it was");
            file.flush().await.unwrap_or_else(|error| panic!("call {call}: there is room again: {error}"));
            file.close().await.expect("it closes");
            assert_eq!(std::fs::metadata(&path).expect("it is there").len(), 50_000);
        }
    });
}

/// BUG-11: fsync(2), fstat(2), ftruncate(2), fchmod(2) and futimens(2) need none.
fn an_open_file_needs_no_further_descriptor(ctx: &Ctx) {
    let path = ctx.path("file");
    let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
    ctx.run(async {
        let mut file = File::create(&path).await.expect("the folder can be written");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("Linux has it");
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).expect("it is lower");
        let mut ends = Vec::new();
        for call in 0..6 {
            file.write_all(b"a record of a log").await.expect("it is gathered");
            ends.push(match call {
                0 => file.sync_all().await,
                1 => file.metadata().await.map(drop),
                2 => file.set_permissions(Permissions::from_mode(0o600)).await,
                3 => file.set_times(times).await,
                4 => file.set_len(5).await,
                _ => file.write_all_at("x", 0).await.map(drop).map_err(|error| error.error),
            });
        }
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("it is what it was");
        for (call, end) in ends.into_iter().enumerate() {
            end.unwrap_or_else(|error| panic!("call {call}: {error}"));
        }
        file.close().await.expect("it closes");
    });
}

/// BUG-12: and not behind what others append later.
fn after_an_append_the_position_is_behind_what_was_appended(ctx: &Ctx) {
    let (ours, stds) = (ctx.path("ours"), ctx.path("stds"));
    let append = |path| {
        std::fs::File::options().read(true).append(true).create(true).open(path).expect("it can be written")
    };
    ctx.run(async {
        let (mut file, mut std_file) = (File::from_std(append(&ours)), append(&stds));
        for round in 0..3 {
            use std::io::{Read, Seek, Write};
            file.write_all(b"mine ").await.expect("there is room");
            file.flush().await.expect("there is room");
            std_file.write_all(b"mine ").expect("there is room");
            for path in [&ours, &stds] {
                append(path).write_all(b"theirs ").expect("there is room");
            }
            file.write_all_at("at the end ", 0).await.expect("there is room");
            FileExt::write_at(&std_file, b"at the end ", 0).expect("there is room");
            let place = file.stream_position().await.expect("a file has one");
            assert_eq!(place, std_file.stream_position().expect("a file has one"), "round {round}");
            let (mut rest, mut expected) = (String::new(), String::new());
            file.read_to_string(&mut rest).await.expect("readable");
            std_file.read_to_string(&mut expected).expect("readable");
            assert_eq!(rest, expected, "round {round}");
        }
        file.close().await.expect("it closes");
    });
    assert_eq!(std::fs::read(&ours).expect("there"), std::fs::read(&stds).expect("there"));
}

/// Dropping detaches the write: it is on disk when the loop has come to rest.
fn a_dropped_file_writes_its_cursor_out(ctx: &Ctx) {
    let path = ctx.path("file");
    ctx.run(async {
        let mut file = File::create(&path).await.expect("the folder can be written");
        file.write_all(b"written late").await.expect("the cursor buffers it");
        let mut write = Box::pin(file.write_all(b", dropped midway"));
        let _ = poll_once(&mut write).await;
        drop(write);
        drop(file);
        rest().await;
        assert!(std::fs::read(&path).expect("it is there").starts_with(b"written late"));
    });
}

/// A file whose cursor has just accepted these bytes: a batch of them is on its way, and the rest gathers behind it.
async fn written(ctx: &Ctx) -> (File, Vec<u8>) {
    let bytes = Dice(ctx.seed).bytes(70_000);
    let mut file = File::create(ctx.path("file")).await.expect("the folder can be written");
    let (batch, rest) = bytes.split_at(64 << 10);
    file.write_all(batch).await.expect("the cursor buffers it");
    file.write_all(rest).await.expect("the cursor buffers it");
    (file, bytes)
}

fn a_file_dropped_between_run_and_close_writes_its_cursor_out(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let (file, bytes) = runner.run(written(ctx)).expect("it runs");
    drop(file);
    runner.close().expect("it ends");
    assert!(std::fs::read(ctx.path("file")).expect("it is there") == bytes);
}

/// The other loop neither writes over what is on its way, nor waits for it.
fn a_file_dropped_in_another_loop_writes_its_cursor_out(ctx: &Ctx) {
    let mut first = ctx.runner();
    let (file, bytes) = first.run(written(ctx)).expect("it runs");
    let mut second = ctx.runner();
    second.run(async { drop(file) }).expect("it runs");
    second.close().expect("it ends");
    first.close().expect("it ends");
    assert!(std::fs::read(ctx.path("file")).expect("it is there") == bytes);
}

fn a_file_dropped_after_its_loop_writes_its_cursor_out(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let (file, bytes) = runner.run(written(ctx)).expect("it runs");
    runner.close().expect("it ends");
    drop(file);
    assert!(std::fs::read(ctx.path("file")).expect("it is there") == bytes);
}

/// READ-07: what was written by std is, in order, what was read, what was read ahead, and what std still reads.
fn what_was_read_ahead_of_a_pipe_is_handed_on_with_it(ctx: &Ctx) {
    ctx.run(async {
        for in_flight in [false, true] {
            let (reader, mut writer) = std::io::pipe().expect("a pipe can be made");
            let mut file = File::from(OwnedFd::from(reader));
            writer.write_all(b"one\ntwo\nthree").expect("the pipe has room");
            let mut all = [0; 4].to_vec();
            file.read_exact(&mut all).await.expect("it was written");
            if in_flight {
                start_and_drop(file.read_exact(&mut [0; 30])).await;
                turns(2).await;
                writer.write_all(b", four").expect("the pipe has room");
            }
            let (mut std_file, rest) = file.into_parts().await.expect("it can be handed on");
            writer.write_all(b", five").expect("the pipe has room");
            drop(writer);
            all.extend_from_slice(&rest);
            std_file.read_to_end(&mut all).expect("a pipe can be read");
            let four = if in_flight { ", four" } else { "" };
            assert_eq!(String::from_utf8_lossy(&all), format!("one\ntwo\nthree{four}, five"));
        }
        let (reader, mut writer) = std::io::pipe().expect("a pipe can be made");
        writer.write_all(b"one").expect("the pipe has room");
        let mut file = File::from(OwnedFd::from(reader));
        file.read_exact(&mut [0; 1]).await.expect("it was written");
        let refused = file.into_std().await.expect_err("two bytes would be lost");
        assert!(refused.to_string().contains("2 bytes"), "{refused}");
    });
}

/// A pipe's write may wait without end, so the end would cancel it; but it was promised. The pipe is full, and its reader begins
/// only when the end has begun.
fn the_loops_end_waits_for_a_dropped_pipe(ctx: &Ctx) {
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let bytes = Dice(ctx.seed).bytes(200_000);
    let (tell, told) = channel();
    let reading = Peer::play(move || {
        told.recv().expect("the trial tells it");
        let mut all = Vec::new();
        reader.read_to_end(&mut all).map(|_| all).expect("a pipe can be read")
    });
    let mut runner = ctx.runner();
    let accepted = runner
        .run(async {
            let mut file = File::from(OwnedFd::from(writer));
            let mut accepted = 0;
            while accepted < bytes.len() {
                match poll_once(&mut Box::pin(file.write(&bytes[accepted..]))).await {
                    Poll::Ready(count) => accepted += count.expect("somebody may read"),
                    Poll::Pending => break,
                }
                turns(1).await;
            }
            let end = OnDrop(move || tell.send(()).expect("the peer waits"));
            create_task(async move {
                let _end = end;
                pending::<()>().await;
            })
            .detach();
            accepted
        })
        .expect("it runs");
    assert!(accepted > 64 << 10, "more than a pipe holds");
    runner.close().expect("it ends");
    assert!(reading.end() == bytes[..accepted]);
}

/// A folder in memory that goes with its value.
struct InMemory(std::path::PathBuf);

impl InMemory {
    fn new(ctx: &Ctx) -> InMemory {
        let template = std::path::Path::new("/dev/shm/ringloop-XXXXXX");
        let made = nix::unistd::mkdtemp(template);
        InMemory(made.unwrap_or_else(|error| ctx.skip(format!("needs a tmpfs at /dev/shm: {error}"))))
    }
}

impl Drop for InMemory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What is made, written and read by plain calls is the same as by any other way, and so are the errors.
fn files_in_memory_mean_what_std_means(ctx: &Ctx) {
    let folder = InMemory::new(ctx);
    let path = folder.0.join("file");
    ctx.run(async {
        for round in 0..4_u8 {
            let file = File::create(&path).await.expect("the first time it is new, then it is emptied");
            assert_eq!(file.metadata().await.expect("it is open").len(), 0, "round {round}");
            // Longer than what goes at once, and shorter.
            for (len, offset) in [(5, 0), (300_000, 5), (4096, 300_005)] {
                file.write_all_at(vec![round + 1; len], offset).await.expect("there is room");
            }
            let unreadable = file.read_at(vec![0; 9], 0).await.expect_err("it is open for writing only");
            assert_eq!(unreadable.error.raw_os_error(), Some(nix::libc::EBADF));
            file.close().await.expect("it closes");
            let bytes = vec![round + 1; 304_101];
            assert!(std::fs::read(&path).expect("it is there") == bytes, "round {round}");
            assert!(fs::read(&path).await.expect("it is there") == bytes, "round {round}");
            let file = File::open(&path).await.expect("it is there");
            let (count, rest) = file.read_at(vec![0; 100], 304_100).await.expect("it is readable");
            assert_eq!((count, &rest[..]), (1, &[round + 1][..]), "the end of the file is no error");
            let unwritable = file.write_at("no", 0).await.expect_err("it is open for reading only");
            assert_eq!(unwritable.error.raw_os_error(), Some(nix::libc::EBADF));
            assert_eq!(fs::metadata(&path).await.expect("it is there").len(), 304_101);
        }
        let mode = fs::metadata(&path).await.expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o666 & !umask());
        let again = File::create_new(&path).await.expect_err("it is there");
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        let written = folder.0.join("written");
        for len in [4096, 0, 300_000, 9] {
            // New, and then in place of what is there.
            for byte in [5, 6] {
                let bytes = vec![byte; len];
                fs::write(&written, &bytes).await.expect("there is room");
                assert!(std::fs::read(&written).expect("it is there") == bytes, "{len} bytes");
            }
            std::fs::remove_file(&written).expect("it is there");
        }
        let log = OpenOptions::new().append(true).create(true).open(&path).await.expect("it is there");
        log.write_all_at("!", 0).await.expect("there is room");
        assert!(
            std::fs::read(&path).expect("it is there").ends_with(b"\x04!"),
            "at the end, wherever it was told"
        );
        for missing in [folder.0.join("none"), folder.0.join("none/deeper"), path.join("below")] {
            let expected = std::fs::metadata(&missing).expect_err("it is not there").raw_os_error();
            let stat = fs::metadata(&missing).await.expect_err("it is not there");
            let open = File::open(&missing).await.expect_err("it is not there");
            assert_eq!([stat.raw_os_error(), open.raw_os_error()], [expected; 2], "{missing:?}");
        }
    });
}

/// Small and large, new and in place of another, of any permissions; and the errors are std's.
fn a_copy_in_memory_is_what_std_makes(ctx: &Ctx) {
    let (folder, far) = (InMemory::new(ctx), ctx.file("far", "far away"));
    let (source, copy, model) = (folder.0.join("source"), folder.0.join("copy"), folder.0.join("model"));
    ctx.run(async {
        for (size, mode) in [(0, 0o600), (4096, 0o751), (256 << 10, 0o644), (300_000, 0o444), (10, 0o4755)] {
            let bytes: Vec<u8> = (0..size).map(|index| index as u8).collect();
            let _ = std::fs::remove_file(&source);
            std::fs::write(&source, &bytes).expect("there is room");
            std::fs::set_permissions(&source, Permissions::from_mode(mode)).expect("it is ours");
            // New, and then in place of what is there.
            for round in 0..2 {
                let count = fs::copy(&source, &copy).await.expect("there is room");
                assert_eq!(count, size as u64, "round {round}");
                assert!(std::fs::read(&copy).expect("it is there") == bytes, "{size} bytes, round {round}");
            }
            std::fs::copy(&source, &model).expect("there is room");
            let mode_of = |path| std::fs::metadata(path).expect("it is there").permissions().mode();
            assert_eq!(mode_of(&copy), mode_of(&model), "{mode:o}");
            std::fs::remove_file(&copy).and_then(|()| std::fs::remove_file(&model)).expect("they are there");
        }
        // Where it is known what lies in memory, neither a look nor a small copy needs the ring.
        let started = || ringloop::testing::stats().started;
        let before = started();
        fs::metadata(&source).await.expect("it is there");
        let is_known = started() == before;
        fs::copy(&source, &copy).await.expect("there is room");
        assert!(!is_known || ctx.kind == Kind::Faulty || started() == before, "a small copy needs no job");
        assert_eq!(fs::copy(&far, folder.0.join("from far")).await.expect("there is room"), 8);
        for (from, to) in [("none", "copy"), ("source", "none/copy"), ("source", ".")] {
            let (from, to) = (folder.0.join(from), folder.0.join(to));
            let expected = std::fs::copy(&from, &to).expect_err("it cannot be").raw_os_error();
            let error = fs::copy(&from, &to).await.expect_err("it cannot be");
            assert_eq!(error.raw_os_error(), expected, "{from:?} {to:?}");
        }
    });
}

fn a_link_out_of_memory_is_followed(ctx: &Ctx) {
    let (folder, target) = (InMemory::new(ctx), ctx.file("target", "far away"));
    let (link, dangling) = (folder.0.join("link"), folder.0.join("dangling"));
    std::os::unix::fs::symlink(&target, &link).expect("the folder can be written");
    std::os::unix::fs::symlink(ctx.path("later"), &dangling).expect("the folder can be written");
    ctx.run(async {
        let inode = std::fs::metadata(&target).expect("it is there").ino();
        assert_eq!(fs::metadata(&link).await.expect("it leads there").ino(), inode);
        assert!(fs::symlink_metadata(&link).await.expect("it is there").is_symlink());
        assert_eq!(fs::read(&link).await.expect("it leads there"), b"far away");
        assert!(!fs::try_exists(&dangling).await.expect("that can be known"));
        let made = File::create(&dangling).await.expect("what a link names is made");
        assert_eq!(
            made.metadata().await.expect("it is open").ino(),
            std::fs::metadata(ctx.path("later")).expect("there").ino()
        );
        File::create(&link).await.expect("what a link names is emptied");
        assert_eq!(std::fs::read(&target).expect("it is there"), b"");
    });
}

/// It is first tried without waiting, and must wait where it should afterwards.
fn a_pipe_with_a_name_is_opened_without_its_other_end(ctx: &Ctx) {
    let path = ctx.path("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("the folder can be written");
    ctx.run(async {
        let mut reader = File::open(&path).await.expect("a reader need not wait for a writer");
        let flags = nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_GETFL).expect("it is open");
        assert_eq!(flags & nix::libc::O_NONBLOCK, 0, "nobody asked for that");
        let mut writer = OpenOptions::new().write(true).open(&path).await.expect("there is a reader");
        let mut bytes = [0; 4];
        let mut read = Box::pin(reader.read_exact(&mut bytes));
        assert!(poll_once(&mut read).await.is_pending(), "it waits");
        writer.write_all(b"text").await.expect("there is a reader");
        writer.flush().await.expect("there is a reader");
        read.await.expect("it was written");
        assert_eq!(&bytes, b"text");
    });
}

/// BUG-02: as std waits, whether the kernel has the path in its cache or not.
fn a_pipe_with_a_name_waits_for_its_other_end(ctx: &Ctx) {
    let path = ctx.path("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("the folder can be written");
    ctx.run(async {
        for append in [false, true] {
            let mut options = OpenOptions::new();
            let opening = create_task(options.write(!append).append(append).open(&path));
            turns(5).await;
            assert!(!opening.is_done(), "there is no reader yet");
            let other = path.clone();
            let reader = Peer::play(move || std::fs::read(other).expect("there is a writer"));
            let mut file = opening.await.expect("no panic").expect("there is a reader");
            file.write_all(b"text").await.expect("there is a reader");
            file.close().await.expect("there is a reader");
            assert_eq!(reader.end(), b"text");
        }
        for whole in [false, true] {
            let other = path.clone();
            let reading = create_task(async move {
                if whole {
                    return fs::read(&other).await.expect("there is a writer");
                }
                let mut all = Vec::new();
                let mut file = File::open(&other).await.expect("it is there");
                file.read_to_end(&mut all).await.expect("there is a writer");
                all
            });
            turns(5).await;
            assert!(!reading.is_done(), "there is no writer yet");
            let other = path.clone();
            let writer = Peer::play(move || std::fs::write(other, "hello").expect("there is a reader"));
            assert_eq!(reading.await.expect("no panic"), b"hello", "whole: {whole}");
            writer.end();
        }
        // What waits without end can be given up.
        let given_up = create_task(OpenOptions::new().write(true).open(&path));
        turns(5).await;
        given_up.abort();
        let given_up = create_task(fs::read(path.clone()));
        turns(5).await;
        given_up.abort();
    });
}

/// READ-08: std writes there, too.
fn a_whole_file_is_written_to_what_has_no_offsets(ctx: &Ctx) {
    let (disk, memory) = (ctx.path("pipe"), InMemory::new(ctx));
    for path in [disk, memory.0.join("pipe")] {
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("the folder can be written");
        let bytes = Dice(ctx.seed).bytes(200_000);
        let other = path.clone();
        let reader = Peer::play(move || std::fs::read(other).expect("there is a writer"));
        ctx.run(async { fs::write(&path, &bytes).await.expect("there is a reader") });
        assert!(reader.end() == bytes, "{path:?}");
    }
    ctx.run(async { fs::write("/dev/null", "anything").await.expect("it takes all") });
}

/// BUG-10: nothing has it open for writing any more.
fn a_file_that_was_just_written_can_be_executed(ctx: &Ctx) {
    let (path, program) = (ctx.path("program"), std::fs::read("/proc/self/exe").expect("it runs"));
    // The shortest program that can be had everywhere: it ends by a signal at once, if the kernel begins it.
    let program = &program[..program.len().min(64)];
    ctx.run(async {
        for round in 0..100 {
            fs::write(&path, program).await.expect("there is room");
            std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it is ours");
            let ended = std::process::Command::new(&path).status();
            let busy = ended.is_err_and(|error| error.kind() == ErrorKind::ExecutableFileBusy);
            assert!(!busy, "round {round}: it is open for writing");
            std::fs::remove_file(&path).expect("it is there");
        }
    });
}

/// USE-10
fn stds_times_are_given_to_an_open_file(ctx: &Ctx) {
    let (path, model) = (ctx.file("file", "x"), ctx.file("model", "x"));
    let birthday = std::time::UNIX_EPOCH + Duration::new(684_000_000, 5);
    let times = std::fs::FileTimes::new().set_modified(birthday);
    std::fs::File::options().write(true).open(&model).and_then(|file| file.set_times(times)).expect("ours");
    ctx.run(async {
        let file = OpenOptions::new().write(true).open(&path).await.expect("it is there");
        file.set_times(times).await.expect("it is ours");
        file.close().await.expect("it closes");
    });
    let modified = |path| std::fs::metadata(path).and_then(|there| there.modified()).expect("there");
    assert_eq!(modified(&path), modified(&model));
}

/// READ-11: what lies in memory is asked anew.
fn a_relative_path_is_looked_up_where_the_process_is(ctx: &Ctx) {
    let memory = InMemory::new(ctx);
    ctx.run(async {
        std::env::set_current_dir(&memory.0).expect("it is there");
        File::create("first").await.expect("there is room");
        std::env::set_current_dir(ctx.dir()).expect("it is there");
        let file = File::create("second").await.expect("there is room");
        let started = ringloop::testing::stats().started;
        file.write_all_at("by the ring", 0).await.expect("there is room");
        assert!(ringloop::testing::stats().started > started, "a disk is written to on the loop's thread");
        file.close().await.expect("it closes");
        std::env::set_current_dir("/").expect("it is there");
    });
}

/// A task that never suspends of itself uses up what a poll may cost, and goes on through the ring.
/// A task that finds everything at hand gives way all the same.
fn calls_one_after_the_other_let_others_run(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(400 * 1024);
    let path = ctx.file("file", &bytes);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let turns = Rc::new(Cell::new(0));
        let other = create_task({
            let turns = turns.clone();
            async move {
                loop {
                    turns.set(turns.get() + 1);
                    yield_now().await;
                }
            }
        });
        let mut buffer = vec![0; 1024];
        for index in 0..400 {
            (_, buffer) = file.read_exact_at(buffer, index * 1024, 1024).await.expect("long enough");
            let begin = index as usize * 1024;
            assert!(buffer == bytes[begin..begin + 1024], "part {index}");
        }
        let turns = turns.get();
        assert!(turns >= 400 / 33, "the other task ran {turns} times beside 400 calls");
        other.abort();
    });
}

/// Several calls in one poll: those that find the poll's share used up do not wait for each other's turns.
fn many_calls_of_one_poll_go_both_ways(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(400 * 1024);
    let path = ctx.file("file", &bytes);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let before = ringloop::testing::stats();
        let reads = (0..400).map(|index| file.read_exact_at(vec![0; 1024], index * 1024, 1024));
        for (index, read) in join_all(reads).await.into_iter().enumerate() {
            let (_, buffer) = read.expect("long enough");
            assert!(buffer == bytes[index * 1024..][..1024], "part {index}");
        }
        let after = ringloop::testing::stats();
        let through = after.started - before.started;
        assert!(through >= 400 / 2, "{through} of 400 went through the ring");
    });
}

/// An operation that answers cancel requests must be there to answer one, also where the share of the poll is used up.
fn a_call_that_takes_offers_does_not_give_way(ctx: &Ctx) {
    let path = ctx.file("file", vec![1; 1024]);
    ctx.run(async {
        let file = File::open(&path).await.expect("it is there");
        let mut buffer = vec![0; 1024];
        let reader = current_task().expect("the body is a task");
        reader.cancel();
        // Nothing in here suspends before the share is used up, so the request is still to be delivered then.
        for _ in 0..40 {
            buffer = match file.read_exact_at(buffer, 0, 1024).cancellable().await {
                Ok((_, buffer)) => buffer,
                Err(error) => error.into_buf(),
            };
        }
        assert_eq!(buffer.capacity(), 1024, "no read took the buffer with it");
        reader.uncancel();
    });
}
