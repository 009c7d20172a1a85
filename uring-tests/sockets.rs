//! TCP streams: what is sent arrives, in order, by every reading verb; ends, resets and half closes are told apart; data
//! and descriptors stay with their connection.

use crate::harness::kinds::{rest, settle, turns};
use crate::harness::pairs::{both_ends, bound, connected, many_connected};
use crate::harness::peers::{Peer, Python, echo, finish_sending, listen, read_all, reset, serve_one};
use crate::harness::probes::{Dice, Log, poll_once, start_and_drop};
use crate::harness::{Ctx, Need, Trial, aftermath};
use crate::{io, once};
use futures_util::future::join;
use futures_util::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use nix::sys::signal::{SigHandler, Signal, signal};
use ringloop::net::{OwnedReadHalf, TcpStream, lookup_host};
use ringloop::{create_task, sleep, testing, timeout};
use socket2::SockRef;
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(an_echo_of_a_megabyte_is_exact),
    io!(a_python_peer_agrees).needs(&[Need::Tool("python3")]),
    io!(every_reading_verb_continues_the_others),
    io!(a_first_read_takes_what_came_with_the_connection),
    io!(a_first_read_that_finds_nothing_waits),
    once!(a_connection_for_one_request_waits_by_one_receive),
    io!(large_pieces_and_small_ones_keep_their_order),
    io!(the_end_and_a_reset_come_after_a_large_piece),
    io!(a_read_into_nothing_returns_at_once),
    io!(the_end_of_the_stream_stays_the_end),
    io!(a_read_exact_cut_short_is_unexpected_eof),
    io!(a_read_exact_that_is_cut_takes_nothing),
    io!(lines_read_under_timeouts_are_those_that_std_reads),
    io!(a_line_read_in_a_select_is_whole_or_not_taken),
    io!(lines_of_a_half_and_of_the_stream_are_those_that_std_reads),
    io!(a_half_closed_stream_still_sends),
    io!(a_shut_down_stream_still_receives),
    io!(a_reset_is_an_error_after_the_data),
    io!(writing_to_a_closed_peer_is_an_error_not_a_signal),
    io!(two_readers_take_turns),
    io!(a_turn_granted_to_a_reader_that_goes_is_passed_on),
    io!(reading_and_writing_at_once_from_two_tasks),
    io!(split_halves_work_apart_and_close_together),
    io!(a_stream_serves_futures_io),
    io!(lines_need_no_reader_of_their_own),
    io!(a_chunk_outlives_its_stream),
    io!(nothing_is_read_ahead_of_demand),
    io!(a_flooding_socket_does_not_starve_paced_ones),
    io!(a_reused_descriptor_number_is_a_fresh_start),
    io!(a_dropped_stream_is_closed_for_its_peer),
    io!(into_std_hands_everything_over),
    io!(a_descriptor_that_cannot_be_a_connection_is_refused),
    io!(a_socket_that_is_still_connecting_is_taken_over),
    io!(a_refused_connection_says_so),
    io!(connect_tries_every_address),
    io!(a_connect_that_hangs_gives_way_to_the_next_address),
    io!(a_connect_has_a_limit),
    io!(names_are_resolved_beside_the_loop),
    io!(options_reach_the_socket),
    io!(hundreds_of_connections_at_once).needs(&[Need::Descriptors(1000)]),
];

fn an_echo_of_a_megabyte_is_exact(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(1 << 20);
    let (address, peer) = serve_one(echo);
    ctx.run(async {
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        let sending = async {
            for piece in bytes.chunks(10_007) {
                stream.write_all(piece).await.expect("the peer reads");
            }
            stream.shutdown_write().await.expect("it is connected");
        };
        let receiving = async {
            let mut received = Vec::new();
            let mut buffer = vec![0; 7001];
            loop {
                match stream.read(&mut buffer).await.expect("the peer is well") {
                    0 => return received,
                    count => received.extend_from_slice(&buffer[..count]),
                }
            }
        };
        let ((), received) = join(sending, receiving).await;
        assert!(received == bytes, "{} bytes came back", received.len());
    });
    assert_eq!(peer.end(), 1 << 20);
}

/// The other side in another language: a server of asyncio.
fn a_python_peer_agrees(ctx: &Ctx) {
    const SERVER: &str = r#"
import asyncio, sys
async def serve(reader, writer):
    total = 0
    while data := await reader.read(1000):
        total += len(data)
        writer.write(data.upper())
        await writer.drain()
    writer.write(str(total).encode())
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
asyncio.run(main())
"#;
    let python = Python::start(SERVER, &[]);
    let port: u16 = python.ready.trim().parse().expect("it prints its port");
    ctx.run(async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the peer listens");
        let text = "every byte ".repeat(3000);
        let (_, answer) = join(
            async {
                stream.write_all(text.as_bytes()).await.expect("the peer reads");
                stream.shutdown_write().await.expect("it is connected");
            },
            async {
                let mut answer = Vec::new();
                (&stream).read_to_end(&mut answer).await.expect("the peer answers");
                answer
            },
        )
        .await;
        assert_eq!(answer, format!("{}33000", text.to_uppercase()).into_bytes());
    });
    python.end();
}

fn every_reading_verb_continues_the_others(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(60_000);
    let mut dice = Dice(ctx.seed + 1);
    let sent = bytes.clone();
    let (address, peer) = serve_one(move |mut stream| stream.write_all(&sent).expect("the loop reads"));
    ctx.run(async {
        let mut stream = TcpStream::connect(address).await.expect("the peer listens");
        let mut received = Vec::new();
        while received.len() < bytes.len() {
            let size = (1 + dice.below(700) as usize).min(bytes.len() - received.len());
            let mut buffer = vec![0; size];
            match dice.below(4) {
                0 => {
                    let count = stream.read(&mut buffer).await.expect("the peer is well");
                    received.extend_from_slice(&buffer[..count]);
                }
                1 => {
                    stream.read_exact(&mut buffer).await.expect("there is more");
                    received.extend(buffer);
                }
                2 => {
                    let chunk = stream.read_chunk().await.expect("the peer is well").expect("there is more");
                    received.extend_from_slice(&chunk);
                }
                _ => {
                    let taken = {
                        let filled = stream.fill_buf().await.expect("the peer is well");
                        let taken = filled.len().min(size);
                        received.extend_from_slice(&filled[..taken]);
                        taken
                    };
                    stream.consume_unpin(taken);
                }
            }
        }
        assert!(received == bytes);
        assert!(stream.read_chunk().await.expect("the end is no error").is_none());
    });
    peer.end();
}

/// With much room and with little, and whoever reads on.
fn a_first_read_takes_what_came_with_the_connection(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(20_000);
    ctx.run(async {
        for size in [0, 1, 100, 20_000] {
            for room in [1, 99, 100, 8192, 20_000] {
                let (mut ours, mut theirs) = connected().await;
                theirs.write_all(&bytes[..size]).expect("it goes into the socket's buffer");
                finish_sending(&theirs);
                let mut received = vec![0; room];
                let count = ours.read(&mut received).await.expect("the peer is well");
                assert!(count <= size.min(room) && (count > 0 || size == 0), "{count} of {size} into {room}");
                received.truncate(count);
                match room {
                    1 => {
                        while let Some(chunk) = ours.read_chunk().await.expect("the peer is well") {
                            received.extend_from_slice(&chunk);
                        }
                    }
                    99 => {
                        while let filled @ [_, ..] = ours.fill_buf().await.expect("the peer is well") {
                            let taken = filled.len();
                            received.extend_from_slice(filled);
                            ours.consume_unpin(taken);
                        }
                    }
                    100 => {
                        let (mut rest, left) = ours.into_std().await.expect("it is connected");
                        received.extend_from_slice(&left);
                        rest.set_nonblocking(false).expect("it can block");
                        rest.read_to_end(&mut received).expect("it is all there");
                    }
                    _ => {
                        ours.read_to_end(&mut received).await.expect("the peer is well");
                    }
                }
                assert!(received == bytes[..size], "{size} bytes, {room} at first");
            }
        }
    });
}

fn a_first_read_that_finds_nothing_waits(ctx: &Ctx) {
    ctx.run(async {
        for dropped in [false, true] {
            let (ours, mut theirs) = connected().await;
            let mut buffer = [0; 100];
            let mut read = Box::pin(ours.read(&mut buffer));
            assert!(poll_once(&mut read).await.is_pending());
            turns(2).await;
            theirs.write_all(b"late").expect("the loop's end is open");
            let count = match dropped {
                true => {
                    drop(read);
                    ours.read(&mut buffer).await
                }
                false => read.await,
            };
            assert_eq!(&buffer[..count.expect("the peer is well")], b"late");
            let (ours, theirs) = connected().await;
            reset(theirs);
            let error = ours.read(&mut buffer).await.expect_err("the peer has reset the connection");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            assert_eq!(ours.read(&mut buffer).await.expect("an error is told once"), 0);
        }
    });
}

/// Whether its request comes with it or later: what waits for its end is no watch, which would have to be cancelled.
fn a_connection_for_one_request_waits_by_one_receive(ctx: &Ctx) {
    ctx.run(async {
        for late in [false, true] {
            let (ours, mut theirs) = connected().await;
            let before = testing::stats();
            let mut request = [0; 100];
            let mut read = Box::pin(ours.read(&mut request));
            if late {
                assert!(poll_once(&mut read).await.is_pending());
                turns(2).await;
            }
            theirs.write_all(b"request").expect("the loop's end is open");
            assert_eq!(read.await.expect("the peer is well"), 7);
            let mut read = Box::pin(ours.read(&mut request));
            assert!(poll_once(&mut read).await.is_pending());
            turns(2).await;
            drop(theirs);
            assert_eq!(read.await.expect("the end is no error"), 0);
            drop(ours);
            let after = testing::stats();
            assert_eq!(
                after.started - before.started,
                1 + u64::from(late),
                "what is there is taken by a call"
            );
            assert_eq!(after.operations, before.operations, "nothing is left to cancel; late: {late}");
        }
    });
}

/// Large pieces go straight into the reader's memory, small ones through a buffer of the loop's, and which it will be is decided
/// while nothing is there yet: each piece is asked for when the read for it has begun, or has been begun and dropped.
fn large_pieces_and_small_ones_keep_their_order(ctx: &Ctx) {
    const SIZES: [usize; 9] = [20_000, 12_000, 40, 16_384, 30_000, 8191, 8192, 1, 40_000];
    let bytes = Dice(ctx.seed).bytes(SIZES.iter().sum());
    let mut dice = Dice(ctx.seed + 1);
    let sent = bytes.clone();
    let (address, peer) = serve_one(move |mut stream| {
        let mut rest = &sent[..];
        for size in SIZES {
            stream.read_exact(&mut [0]).expect("the loop asks");
            let (piece, later) = rest.split_at(size);
            stream.write_all(piece).expect("the loop reads");
            rest = later;
        }
    });
    ctx.run(async {
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        let (mut received, mut buffer) = (Vec::new(), vec![0; 65_536]);
        for size in SIZES {
            if dice.below(2) == 0 {
                start_and_drop(stream.read(&mut buffer)).await;
            }
            let end = received.len() + size;
            let asking = async { stream.write_all(b"?").await.expect("the peer reads") };
            let reading = async {
                while received.len() < end {
                    let left = end - received.len();
                    match dice.below(6) {
                        0 => {
                            let chunk = stream.read_chunk().await.expect("the peer is well");
                            received.extend_from_slice(&chunk.expect("there is more"));
                        }
                        1 => {
                            stream.read_exact(&mut buffer[..left]).await.expect("the peer is well");
                            received.extend_from_slice(&buffer[..left]);
                        }
                        2 => {
                            let count = stream.read(&mut buffer[..100]).await.expect("the peer is well");
                            received.extend_from_slice(&buffer[..count]);
                        }
                        _ => {
                            let count = stream.read(&mut buffer).await.expect("the peer is well");
                            received.extend_from_slice(&buffer[..count]);
                        }
                    }
                }
            };
            join(reading, asking).await;
        }
        assert!(received == bytes);
        assert_eq!(stream.read(&mut buffer).await.expect("the end is no error"), 0);
    });
    peer.end();
}

fn the_end_and_a_reset_come_after_a_large_piece(ctx: &Ctx) {
    ctx.run(async {
        for resets in [false, true] {
            let (ours, mut theirs) = connected().await;
            let mut buffer = vec![0; 32_768];
            theirs.write_all(&[7; 20_000]).expect("the loop's end is open");
            ours.read_exact(&mut buffer[..20_000]).await.expect("it was written");
            let mut read = Box::pin(ours.read(&mut buffer));
            assert!(poll_once(&mut read).await.is_pending());
            turns(2).await;
            match resets {
                true => reset(theirs),
                false => drop(theirs),
            }
            let end = read.await.map_err(|error| error.kind());
            assert_eq!(end, if resets { Err(ErrorKind::ConnectionReset) } else { Ok(0) });
        }
    });
}

fn a_read_into_nothing_returns_at_once(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        assert_eq!(ours.read(&mut []).await.expect("nothing asked, nothing waited for"), 0);
        ours.read_exact(&mut []).await.expect("nothing asked");
        ours.write_all(&[]).await.expect("nothing to do");
        theirs.write_all(b"x").expect("the loop's end is open");
        let mut byte = [0];
        assert_eq!(ours.read(&mut byte).await.expect("it was written"), 1);
    });
}

fn the_end_of_the_stream_stays_the_end(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        theirs.write_all(b"last").expect("the loop's end is open");
        finish_sending(&theirs);
        let mut buffer = [0; 10];
        let mut received = 0;
        while received < 4 {
            received += ours.read(&mut buffer[received..]).await.expect("it was written");
        }
        for _ in 0..3 {
            assert_eq!(ours.read(&mut buffer).await.expect("the end is no error"), 0);
            assert!(ours.read_chunk().await.expect("the end is no error").is_none());
        }
    });
}

fn a_read_exact_cut_short_is_unexpected_eof(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        theirs.write_all(b"six...").expect("the loop's end is open");
        finish_sending(&theirs);
        let mut buffer = [0; 10];
        let error = ours.read_exact(&mut buffer).await.expect_err("ten were asked for");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        assert_eq!(&buffer[..6], b"six...");
        // As a file's: all or nothing.
        assert_eq!(ours.read(&mut buffer).await.expect("they came"), 6);
    });
}

/// PROBE-04. asyncio's `readexactly` under `wait_for` does the same, and so does the `read_exact` of a file.
fn a_read_exact_that_is_cut_takes_nothing(ctx: &Ctx) {
    let bytes = Dice(ctx.seed).bytes(300_000);
    ctx.run(async {
        let (ours, theirs) = connected().await;
        let sent = bytes.clone();
        let peer = Peer::play(move || {
            let mut theirs = theirs;
            for piece in sent.chunks(7001) {
                theirs.write_all(piece).expect("the loop's end is open");
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        let (mut dice, mut cuts, mut got) = (Dice(ctx.seed), 0, Vec::new());
        while got.len() < bytes.len() {
            let mut buffer = vec![0; (1 + dice.below(40_000) as usize).min(bytes.len() - got.len())];
            match timeout(Duration::from_micros(dice.below(500)), ours.read_exact(&mut buffer)).await {
                Ok(read) => {
                    read.expect("it was sent");
                    got.extend_from_slice(&buffer);
                }
                Err(_) => cuts += 1,
            }
        }
        peer.end();
        assert!(got == bytes, "after {cuts} cuts");
        assert!(cuts > 0, "none was cut");
    });
}

/// Lines of all lengths, among them empty ones and such as need several receives.
fn text(seed: u64) -> String {
    let mut dice = Dice(seed);
    let ends = ["\n", "\r\n", "\n\n"];
    let line = |n: u64| {
        let length = if n.is_multiple_of(10) { 30_000 } else { dice.below(80) as usize };
        let letter = char::from(b'a' + (n % 26) as u8);
        format!("{}{}", String::from_iter(std::iter::repeat_n(letter, length)), ends[dice.below(3) as usize])
    };
    (0..60).map(line).collect::<String>() + "the last has no end"
}

/// Sends a text in pieces of all lengths, with pauses, and ends.
fn sends(text: String, seed: u64) -> impl FnOnce(std::net::TcpStream) + Send {
    move |mut stream| {
        let (mut dice, mut rest) = (Dice(seed), text.as_bytes());
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((1 + dice.below(4000) as usize).min(rest.len()));
            stream.write_all(piece).expect("the loop reads");
            rest = later;
            std::thread::sleep(Duration::from_micros(dice.below(400)));
        }
    }
}

/// What std makes of the text by `read_line`.
fn lines_by_std(mut text: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if std::io::BufRead::read_line(&mut text, &mut line).expect("it is UTF-8") == 0 {
            return lines;
        }
        lines.push(line);
    }
}

/// USE-01. asyncio's `readline` under `wait_for` loses nothing either.
fn lines_read_under_timeouts_are_those_that_std_reads(ctx: &Ctx) {
    let text = text(ctx.seed);
    let (address, peer) = serve_one(sends(text.clone(), ctx.seed));
    ctx.run(async {
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        let (mut dice, mut cuts, mut lines, mut line) = (Dice(ctx.seed), 0, Vec::new(), String::new());
        loop {
            let limit = Duration::from_micros(dice.below(700));
            match timeout(limit, stream.read_line(&mut line)).await.map(|read| read.expect("it is UTF-8")) {
                Ok(0) => break,
                Ok(count) => {
                    assert_eq!(count, line.len());
                    lines.push(std::mem::take(&mut line));
                }
                Err(_) => {
                    assert!(line.is_empty(), "a line that was not read is not appended");
                    cuts += 1;
                }
            }
        }
        assert!(cuts > 0, "none was cut");
        assert_eq!(lines, lines_by_std(text.as_bytes()));
    });
    peer.end();
}

/// USE-01.
fn a_line_read_in_a_select_is_whole_or_not_taken(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let mut line = String::new();
        for part in ["hel", "lo", "\nwor", "ld\n"] {
            theirs.write_all(part.as_bytes()).expect("the loop's end is open");
            ringloop::select! {
                _ = turns(6) => {}
                // Not within six turns if it is not complete.
                read = ours.read_line(&mut line) => _ = read.expect("it was sent"),
            }
        }
        while line.matches('\n').count() < 2 {
            ours.read_line(&mut line).await.expect("it was sent");
        }
        assert_eq!(line, "hello\nworld\n");
        // What is left of a cut read is there for every other verb, too.
        theirs.write_all(b"abc").expect("the loop's end is open");
        assert!(timeout(Duration::from_millis(5), ours.read_line(&mut line)).await.is_err());
        assert_eq!(&*ours.read_chunk().await.expect("it was sent").expect("not the end"), b"abc");
        theirs.write_all(b"def").expect("the loop's end is open");
        assert!(timeout(Duration::from_millis(5), TcpStream::lines(&ours).next()).await.is_err());
        let (_, rest) = ours.into_std().await.expect("it is handed on");
        assert_eq!(&rest[..], b"def");
    });
}

/// USE-01.
fn lines_of_a_half_and_of_the_stream_are_those_that_std_reads(ctx: &Ctx) {
    let text = text(ctx.seed);
    let without_ends: Vec<&str> = text.lines().collect();
    for as_stream in [false, true] {
        let (address, peer) = serve_one(sends(text.clone(), ctx.seed));
        ctx.run(async {
            let stream = TcpStream::connect(address).await.expect("the peer listens");
            let (read, _write) = stream.into_split();
            let (mut lines, mut dice, mut got) = (OwnedReadHalf::lines(&read), Dice(ctx.seed), Vec::new());
            loop {
                let limit = Duration::from_micros(dice.below(700));
                let next = match as_stream {
                    false => timeout(limit, lines.next()).await,
                    true => timeout(limit, futures_util::StreamExt::next(&mut lines)).await,
                };
                match next {
                    Ok(Some(line)) => got.push(line.expect("it is UTF-8")),
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
            assert_eq!(got, without_ends);
            assert!(lines.next().await.is_none(), "the end stays the end");
        });
        peer.end();
    }
    let (address, peer) = serve_one(sends(text.clone(), ctx.seed));
    ctx.run(async {
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        let (mut record, mut records) = (Vec::new(), Vec::new());
        while stream.read_until(b'a', &mut record).await.expect("it was sent") > 0 {
            records.push(std::mem::take(&mut record));
        }
        assert!(records.iter().map(Vec::as_slice).eq(text.as_bytes().split_inclusive(|&byte| byte == b'a')));
    });
    peer.end();
}

fn a_half_closed_stream_still_sends(ctx: &Ctx) {
    let (address, peer) = serve_one(|mut stream| {
        finish_sending(&stream);
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("the loop sends");
        all
    });
    ctx.run(async {
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        assert_eq!(stream.read(&mut [0; 8]).await.expect("the end is no error"), 0);
        stream.write_all(&[5; 100_000]).await.expect("the peer still reads");
        stream.close().await.expect("it closes");
    });
    assert_eq!(peer.end(), vec![5; 100_000]);
}

fn a_shut_down_stream_still_receives(ctx: &Ctx) {
    let (address, peer) = serve_one(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("the loop sends");
        stream.write_all(&[7; 50_000]).expect("the loop still reads");
        all
    });
    ctx.run(async {
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        stream.write_all(b"question").await.expect("the peer reads");
        stream.shutdown_write().await.expect("it is connected");
        let mut answer = Vec::new();
        (&stream).read_to_end(&mut answer).await.expect("the peer answers");
        assert_eq!(answer, vec![7; 50_000]);
        let error = stream.write_all(b"more").await.expect_err("this direction is closed");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
    assert_eq!(peer.end(), b"question");
}

fn a_reset_is_an_error_after_the_data(ctx: &Ctx) {
    ctx.run(async {
        let (ours, theirs) = connected().await;
        let mut byte = [0];
        let mut read = Box::pin(ours.read(&mut byte));
        assert!(poll_once(&mut read).await.is_pending());
        turns(2).await;
        reset(theirs);
        assert_eq!(read.await.expect_err("the peer is gone").kind(), ErrorKind::ConnectionReset);
        // Writing is write-behind: the error may come with the write itself or with the flush.
        let after =
            ours.write_all(b"anybody there?").await.and(ours.flush().await).expect_err("the peer is gone");
        assert!(matches!(after.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{after:?}");
    });
}

/// std ignores SIGPIPE, but a program may have put the default back, and a library must not depend on it: the signal would
/// end the process.
fn writing_to_a_closed_peer_is_an_error_not_a_signal(ctx: &Ctx) {
    // SAFETY: no handler is installed, the default action is restored.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.expect("SIGPIPE has a default");
    ctx.run(async {
        for way in [Way::Queue, Way::Call, Way::Owned] {
            // The first write is told of the reset, and only the next would raise the signal.
            let (ours, theirs) = connected().await;
            reset(theirs);
            write_until_it_fails(&ours, way).await;
            // Our side was ended behind the stream's back: the first write would raise the signal.
            let (ours, _theirs) = connected().await;
            SockRef::from(&ours).shutdown(Shutdown::Write).expect("it is connected");
            write_until_it_fails(&ours, way).await;
        }
    });
}

/// How bytes leave a stream.
#[derive(Clone, Copy)]
enum Way {
    /// They are few, and copied into its queue.
    Queue,
    /// They are many, and first offered to the kernel by a plain call.
    Call,
    /// They lie in the caller's own buffer.
    Owned,
}

async fn write_until_it_fails(stream: &TcpStream, way: Way) {
    for _ in 0..1000 {
        let written = match way {
            Way::Queue => stream.write_all(&[0; 5000]).await,
            Way::Call => stream.write_all(&[0; 20_000]).await,
            Way::Owned => stream.write_owned(vec![0; 5000]).await.map(drop).map_err(std::io::Error::from),
        };
        // Writing is write-behind: the error may come with the write itself or with the flush.
        if let Err(error) = written.and(stream.flush().await) {
            let kind = error.kind();
            return assert!(matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error:?}");
        }
    }
    panic!("nothing can be written, but no write says so");
}

/// By `&self`, first come first served: no byte goes to both, none is lost.
fn two_readers_take_turns(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let (ours, log) = (Rc::new(ours), Log::new());
        let readers: Vec<_> = (0..3)
            .map(|reader| {
                let (ours, log) = (ours.clone(), log.clone());
                create_task(async move {
                    let mut buffer = [0; 2];
                    ours.read_exact(&mut buffer).await.expect("it was written");
                    log.push((reader, buffer));
                })
            })
            .collect();
        turns(2).await;
        for byte in b"aabbcc" {
            theirs.write_all(&[*byte]).expect("the loop's end is open");
            turns(2).await;
        }
        for reader in readers {
            reader.await.expect("each had its turn");
        }
        assert_eq!(log.all(), [(0, *b"aa"), (1, *b"bb"), (2, *b"cc")]);
    });
}

/// Granted by the reader before it, but gone before it was polled again: the turn goes on to the next.
fn a_turn_granted_to_a_reader_that_goes_is_passed_on(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let mut buffers = [[0; 2]; 3];
        let [first, second, third] = &mut buffers;
        let mut reading = Box::pin(ours.read_exact(first));
        let mut granted = Box::pin(ours.read_exact(second));
        let mut waiting = Box::pin(ours.read_exact(third));
        for read in [&mut reading, &mut granted, &mut waiting] {
            assert!(poll_once(read).await.is_pending());
        }
        drop(reading);
        drop(granted);
        theirs.write_all(b"cc").expect("the loop's end is open");
        waiting.await.expect("it was written");
        assert_eq!(buffers, [*b"\0\0", *b"\0\0", *b"cc"]);
        let mut after = [0; 2];
        theirs.write_all(b"dd").expect("the loop's end is open");
        ours.read_exact(&mut after).await.expect("the turn is free again");
        assert_eq!(&after, b"dd");
    });
}

fn reading_and_writing_at_once_from_two_tasks(ctx: &Ctx) {
    ctx.run(async {
        let (one, other) = both_ends().await;
        let (one, other) = (Rc::new(one), Rc::new(other));
        let send = |stream: Rc<TcpStream>, byte: u8| {
            create_task(async move {
                for _ in 0..50 {
                    stream.write_all(&[byte; 10_000]).await.expect("the other reads");
                }
                stream.shutdown_write().await.expect("it is connected");
            })
        };
        let receive = |stream: Rc<TcpStream>| {
            create_task(async move {
                let (mut count, mut sum) = (0, 0_u64);
                while let Some(chunk) = stream.read_chunk().await.expect("the other sends") {
                    count += chunk.len();
                    sum += chunk.iter().map(|&byte| u64::from(byte)).sum::<u64>();
                }
                (count, sum)
            })
        };
        let tasks = (send(one.clone(), 1), send(other.clone(), 2), receive(one), receive(other));
        assert_eq!(tasks.2.await.expect("no panic"), (500_000, 1_000_000));
        assert_eq!(tasks.3.await.expect("no panic"), (500_000, 500_000));
        tasks.0.await.expect("no panic");
        tasks.1.await.expect("no panic");
    });
}

fn split_halves_work_apart_and_close_together(ctx: &Ctx) {
    let (address, peer) = serve_one(echo);
    ctx.run(async {
        rest().await;
        let before = aftermath::descriptors();
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        let (reader, writer) = stream.into_split();
        let writing = create_task(async move {
            writer.write_all(b"there and back").await.expect("the peer reads");
            writer.shutdown_write().await.expect("it is connected");
        });
        let reading = create_task(async move {
            let mut all = Vec::new();
            let mut reader = reader;
            reader.read_to_end(&mut all).await.expect("the peer answers");
            all
        });
        writing.await.expect("no panic");
        assert_eq!(reading.await.expect("no panic"), b"there and back");
        rest().await;
        assert_eq!(aftermath::opened_since(&before), [""; 0]);
    });
    peer.end();
}

fn a_stream_serves_futures_io(ctx: &Ctx) {
    let (address, peer) = serve_one(echo);
    ctx.run(async {
        let mut stream = TcpStream::connect(address).await.expect("the peer listens");
        AsyncWriteExt::write_all(&mut stream, b"by the traits").await.expect("the peer reads");
        AsyncWriteExt::flush(&mut stream).await.expect("the kernel takes it");
        let mut buffer = [0; 13];
        AsyncReadExt::read_exact(&mut stream, &mut buffer).await.expect("the peer answers");
        assert_eq!(&buffer, b"by the traits");
        AsyncWriteExt::close(&mut stream).await.expect("it closes its direction");
        let mut rest = Vec::new();
        AsyncReadExt::read_to_end(&mut stream, &mut rest).await.expect("the peer closes");
        assert!(rest.is_empty());
    });
    peer.end();
}

fn lines_need_no_reader_of_their_own(ctx: &Ctx) {
    ctx.run(async {
        let (mut ours, mut theirs) = connected().await;
        theirs.write_all(b"first\nsecond\nbinary").expect("the loop's end is open");
        let mut line = String::new();
        AsyncBufReadExt::read_line(&mut ours, &mut line).await.expect("it was written");
        assert_eq!(line, "first\n");
        // Dropped midway: what it had looked at is still there.
        let mut next = String::new();
        let _ = poll_once(&mut AsyncBufReadExt::read_line(&mut ours, &mut next)).await;
        let mut binary = [0; 6];
        if next.is_empty() {
            AsyncBufReadExt::read_line(&mut ours, &mut next).await.expect("it was written");
        }
        assert_eq!(next, "second\n");
        ours.read_exact(&mut binary).await.expect("it was written");
        assert_eq!(&binary, b"binary");
    });
}

fn a_chunk_outlives_its_stream(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        theirs.write_all(b"kept").expect("the loop's end is open");
        let chunk = ours.read_chunk().await.expect("it was written").expect("not the end");
        drop(ours);
        rest().await;
        // Others receive into the rest of the buffers meanwhile.
        for (ours, mut theirs) in many_connected(20).await {
            theirs.write_all(&[0xff; 64]).expect("the loop's end is open");
            ours.read_exact(&mut [0; 64]).await.expect("it was written");
        }
        assert_eq!(&*chunk, &b"kept"[..chunk.len()]);
    });
}

/// The kernel's own flow control does the rest: a stream that nobody reads takes nothing out of its socket.
fn nothing_is_read_ahead_of_demand(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        theirs.write_all(b"for whoever has the descriptor").expect("the loop's end is open");
        turns(5).await;
        let (mut std_stream, left) = ours.into_std().await.expect("it is connected");
        assert!(left.is_empty());
        std_stream.set_nonblocking(false).expect("it can block");
        let mut buffer = [0; 30];
        std_stream.read_exact(&mut buffer).expect("it is all there");
        assert_eq!(&buffer, b"for whoever has the descriptor");
    });
}

/// One peer sends without end; forty requests of another are answered beside it.
fn a_flooding_socket_does_not_starve_paced_ones(ctx: &Ctx) {
    for reads_chunks in [true, false] {
        serve_beside_a_flood(ctx, reads_chunks);
    }
}

fn serve_beside_a_flood(ctx: &Ctx, reads_chunks: bool) {
    let (flood_address, flood) = serve_one(|mut stream| {
        let block = vec![1; 65_536];
        while stream.write_all(&block).is_ok() {}
    });
    let (address, peer) = serve_one(echo);
    ctx.run(async {
        let flooded = Rc::new(Cell::new(0));
        let reader = create_task({
            let flooded = flooded.clone();
            async move {
                let stream = TcpStream::connect(flood_address).await.expect("the peer listens");
                let mut buffer = vec![0; if reads_chunks { 0 } else { 65_536 }];
                loop {
                    let count = match reads_chunks {
                        true => stream.read_chunk().await.map(|chunk| chunk.map_or(0, |chunk| chunk.len())),
                        false => stream.read(&mut buffer).await,
                    };
                    match count.expect("the peer is well") {
                        0 => break,
                        count => flooded.set(flooded.get() + count),
                    }
                }
            }
        });
        let stream = TcpStream::connect(address).await.expect("the peer listens");
        while flooded.get() == 0 {
            sleep(Duration::from_millis(1)).await;
        }
        for round in 0..40_u8 {
            let before = flooded.get();
            stream.write_all(&[round; 100]).await.expect("the peer reads");
            let mut buffer = [0; 100];
            stream.read_exact(&mut buffer).await.expect("the peer answers");
            assert_eq!(buffer, [round; 100]);
            // A request waits for turns, not for the flood to end: a turn takes a bounded share of it.
            assert!(
                flooded.get() - before < 256 << 20,
                "{} bytes of flood per request",
                flooded.get() - before
            );
        }
        reader.cancel();
        assert!(reader.await.is_err());
    });
    flood.end();
    peer.end();
}

/// Closed and reopened, a number means another file. What was in flight for the old one must not touch the new one.
fn a_reused_descriptor_number_is_a_fresh_start(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = listen();
        let accepted = || listener.accept().expect("the connection is established").0;
        let mut ours = TcpStream::connect(address).await.expect("the listener is there");
        let mut theirs = accepted();
        for round in 0..30_u8 {
            let number = ours.as_raw_fd();
            start_and_drop(ours.read(&mut [0; 8])).await;
            drop(ours);
            rest().await;
            let fresh = TcpStream::connect(address).await.expect("the listener is there");
            assert_eq!(fresh.as_raw_fd(), number, "the trial needs the reuse");
            let mut fresh_theirs = accepted();
            fresh_theirs.write_all(&[round; 4]).expect("the loop's end is open");
            let mut buffer = [0; 4];
            fresh.read_exact(&mut buffer).await.expect("it was written");
            assert_eq!(buffer, [round; 4]);
            assert_eq!(theirs.read(&mut [0; 8]).expect("the old one was closed"), 0);
            (ours, theirs) = (fresh, fresh_theirs);
        }
    });
}

fn a_dropped_stream_is_closed_for_its_peer(ctx: &Ctx) {
    ctx.run(async {
        let mut peers = Vec::new();
        for (ours, theirs) in many_connected(30).await {
            start_and_drop(ours.read(&mut [0; 8])).await;
            drop(ours);
            peers.push(theirs);
        }
        rest().await;
        for mut theirs in peers {
            assert_eq!(theirs.read(&mut [0; 8]).expect("a FIN, not a reset"), 0);
        }
    });
}

/// With a receive in flight and bytes in the buffer: std gets the descriptor, and what was taken out of it.
fn into_std_hands_everything_over(ctx: &Ctx) {
    ctx.run(async {
        let (ours, theirs) = connected().await;
        everything_goes_to_std(ours, theirs).await;
    });
}

/// Has both directions hold something when std takes over.
pub async fn everything_goes_to_std(ours: TcpStream, mut theirs: std::net::TcpStream) {
    theirs.write_all(b"headbody").expect("the loop's end is open");
    let mut head = [0; 4];
    ours.read_exact(&mut head).await.expect("it was written");
    start_and_drop_maybe(ours.read(&mut [0; 0])).await;
    ours.write_all(b"queued").await.expect("there is room");
    let (mut std_stream, left) = ours.into_std().await.expect("it is connected");
    theirs.write_all(b"tail").expect("std's end is open");
    finish_sending(&theirs);
    std_stream.set_nonblocking(false).expect("it can block");
    let mut all = left.to_vec();
    std_stream.read_to_end(&mut all).expect("it is all there");
    assert_eq!(all, b"bodytail");
    std_stream.write_all(b", sent").expect("the peer is there");
    drop(std_stream);
    assert_eq!(read_all(theirs), b"queued, sent");
}

/// Polls once, whatever comes of it.
async fn start_and_drop_maybe<F: Future>(future: F) {
    let _ = poll_once(&mut Box::pin(future)).await;
}

/// What std takes over without a look, and fails on at the first read, is refused by name.
fn a_descriptor_that_cannot_be_a_connection_is_refused(ctx: &Ctx) {
    ctx.run(async {
        let (listening, _) = listen();
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        let wrong: [(OwnedFd, &str); 3] = [
            (listening.into(), "a listening socket"),
            (datagrams.into(), "a socket, but not of streams"),
            (std::fs::File::open("/dev/null").expect("every system has it").into(), "no socket"),
        ];
        for (fd, name) in wrong {
            let error = TcpStream::from_std(fd.into()).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
            let text = error.to_string();
            assert!(text.contains("TcpStream") && text.contains(name), "{text:?} names {name:?}");
        }
    });
}

/// A connect(2) that was begun elsewhere and has not ended, or has failed, is no wrong kind.
fn a_socket_that_is_still_connecting_is_taken_over(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = listen();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("sockets can be made");
        let unconnected = socket.try_clone().expect("descriptors are left");
        let stream = TcpStream::from_std(unconnected.into()).expect("it can become a connection");
        socket.connect(&address.into()).expect("the listener is there");
        let (mut peer, _) = listener.accept().expect("it has come");
        peer.write_all(b"hello").expect("it is connected");
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).await.expect("it has come");
        assert_eq!(&buffer, b"hello");
    });
}

fn a_refused_connection_says_so(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = listen();
        drop(listener);
        let error = TcpStream::connect(address).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        rest().await;
    });
}

/// `localhost` is ::1 and 127.0.0.1 on most machines; only one of them listens.
fn connect_tries_every_address(ctx: &Ctx) {
    let (address, peer) = serve_one(echo);
    ctx.run(async {
        let dead = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1)), closed_port());
        let stream = TcpStream::connect(&[dead, dead, address][..]).await.expect("the last one listens");
        stream.write_all(b"x").await.expect("the peer reads");
        stream.read_exact(&mut [0]).await.expect("the peer answers");
        assert_eq!(stream.peer_addr().expect("it is connected"), address);
        drop(stream);
        let error = TcpStream::connect(&[dead, dead][..]).await.expect_err("none listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
    peer.end();
}

/// A port of the loopback that nobody listens on.
fn closed_port() -> u16 {
    listen().1.port()
}

/// CONN-03: the one that loses is cancelled and closed.
fn a_connect_that_hangs_gives_way_to_the_next_address(ctx: &Ctx) {
    ctx.run(async {
        rest().await;
        let before = aftermath::descriptors();
        let (full, hanging, filling) = full_listener().await;
        let (listener, address) = listen();
        let stream = TcpStream::connect(&[hanging, address][..]).await.expect("the second listens");
        assert_eq!(stream.peer_addr().expect("it is connected"), address);
        drop((stream, full, filling, listener));
        rest().await;
        assert_eq!(aftermath::opened_since(&before), [""; 0]);
    });
}

fn a_connect_has_a_limit(ctx: &Ctx) {
    ctx.run(async {
        rest().await;
        let before = aftermath::descriptors();
        let (listener, address, connected) = full_listener().await;
        let error = TcpStream::connect(address).timeout(MOMENT).await.expect_err("it has no room");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        drop((connected, listener));
        rest().await;
        assert_eq!(aftermath::opened_since(&before), [""; 0]);
    });
}

/// Longer than a connect to a listener with room takes.
const MOMENT: Duration = Duration::from_millis(30);

/// A listener on which further connects hang, and the connections that fill it.
async fn full_listener() -> (std::net::TcpListener, SocketAddr, Vec<TcpStream>) {
    let (listener, address) = listen();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(1).expect("a small number"))
        .expect("a listener can listen again");
    let mut connected = Vec::new();
    while let Ok(stream) = TcpStream::connect(address).timeout(MOMENT).await {
        connected.push(stream);
        assert!(connected.len() < 10, "the backlog is full by then");
    }
    (listener, address, connected)
}

fn names_are_resolved_beside_the_loop(ctx: &Ctx) {
    ctx.run(async {
        let addresses = lookup_host("localhost:80").await.expect("every machine knows it");
        assert!(
            addresses.iter().any(|address| address.ip().is_loopback() && address.port() == 80),
            "{addresses:?}"
        );
        let ticks = Rc::new(Cell::new(0));
        let ticker = create_task({
            let ticks = ticks.clone();
            async move {
                loop {
                    sleep(Duration::from_micros(100)).await;
                    ticks.set(ticks.get() + 1);
                }
            }
        });
        let answer = timeout(Duration::from_secs(10), lookup_host("no-such-name.invalid:1")).await;
        assert!(answer.is_err() || answer.is_ok_and(|found| found.is_err()), "the name does not exist");
        ticker.cancel();
        assert!(ticker.await.is_err());
    });
}

fn options_reach_the_socket(ctx: &Ctx) {
    ctx.run(async {
        let (ours, theirs) = connected().await;
        let socket = socket2::SockRef::from(&ours);
        for on in [true, false] {
            ours.set_nodelay(on).expect("a TCP option");
            assert_eq!(socket.tcp_nodelay().expect("a TCP option"), on);
            assert_eq!(ours.nodelay().expect("a TCP option"), on);
        }
        assert_eq!(ours.peer_addr().expect("connected"), theirs.local_addr().expect("connected"));
        assert_eq!(ours.local_addr().expect("connected"), theirs.peer_addr().expect("connected"));
        let (listener, address) = listen();
        let quick = TcpStream::connect(address).nodelay(true).await.expect("the listener is there");
        assert!(quick.nodelay().expect("a TCP option"));
        drop(listener);
    });
}

fn hundreds_of_connections_at_once(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let serving = create_task(async move {
            let mut tasks = Vec::new();
            for _ in 0..300 {
                let (stream, _) = listener.accept().await.expect("a client comes");
                tasks.push(create_task(async move {
                    let mut buffer = [0; 2];
                    stream.read_exact(&mut buffer).await.expect("the client asks");
                    stream.write_all(&buffer).await.expect("the client reads");
                    stream.close().await.expect("it closes");
                }));
            }
            for task in tasks {
                task.await.expect("no panic");
            }
        });
        let asking: Vec<_> = (0..300_u16)
            .map(|number| {
                create_task(async move {
                    let stream = TcpStream::connect(address).await.expect("the listener is there");
                    stream.write_all(&number.to_be_bytes()).await.expect("the server reads");
                    let mut answer = [0; 2];
                    stream.read_exact(&mut answer).await.expect("the server answers");
                    assert_eq!(u16::from_be_bytes(answer), number);
                })
            })
            .collect();
        for task in asking {
            task.await.expect("each got its own answer");
        }
        serving.await.expect("no panic");
        settle(|now| now.operations == 0).await;
    });
}
