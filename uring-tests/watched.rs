//! Connections whose reader waits again and again: from its third wait on the kernel tells of what comes, and plain calls take
//! it. What is left to them: order, ends, wakes, and that nothing is lost where a watch begins, ends or is given up.

use crate::harness::kinds::{rest, turns};
use crate::harness::pairs::{connected, many_connected};
use crate::harness::peers::{finish_sending, listen, read_all, reset};
use crate::harness::probes::{Dice, poll_once, start_and_drop};
use crate::harness::{Ctx, Trial};
use crate::io;
use crate::sockets::everything_goes_to_std;
use crate::wakers::data_wakes_the_last_waker;
use futures_util::future::select;
use futures_util::io::AsyncBufReadExt;
use nix::sys::socket::{MsgFlags, send};
use ringloop::net::TcpStream;
use ringloop::{create_task, timeout, yield_now};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(pieces_of_any_size_come_in_order_to_readers_with_any_room),
    io!(the_end_that_comes_with_the_last_data_is_seen),
    io!(a_reset_is_an_error_and_then_the_end),
    io!(a_dropped_read_leaves_its_data_to_the_next),
    io!(the_other_verbs_go_on_where_a_watch_ends),
    io!(what_a_reader_had_no_room_for_goes_to_std_with_the_descriptor),
    io!(the_last_waker_is_the_one_that_an_event_wakes),
    io!(a_dropped_stream_is_closed_for_its_peer),
    io!(a_stream_is_closed_when_close_returns),
    io!(more_events_than_the_ring_has_places_for_lose_nothing),
    io!(an_event_after_the_data_was_taken_is_no_data),
    io!(a_stream_at_rest_goes_from_loop_to_loop),
    io!(what_follows_urgent_data_is_read_as_by_std),
    io!(a_readable_stream_is_read_without_waiting_as_by_std),
    io!(a_stream_that_is_waited_for_without_a_buffer_starves_nobody),
];

/// Has the reader wait until it is watched.
async fn wait_again_and_again(ours: &TcpStream, theirs: &mut std::net::TcpStream) {
    for _ in 0..4 {
        let mut byte = [0];
        let mut read = Box::pin(ours.read(&mut byte));
        assert!(poll_once(&mut read).await.is_pending());
        turns(2).await;
        theirs.write_all(b"x").expect("the loop's end is open");
        assert_eq!(read.await.expect("the peer is well"), 1);
    }
}

async fn watched() -> (TcpStream, std::net::TcpStream) {
    let (ours, mut theirs) = connected().await;
    wait_again_and_again(&ours, &mut theirs).await;
    (ours, theirs)
}

fn pieces_of_any_size_come_in_order_to_readers_with_any_room(ctx: &Ctx) {
    let mut dice = Dice(ctx.seed);
    ctx.run(async {
        let (ours, mut theirs) = watched().await;
        let mut buffer = vec![0; 40_000];
        for _ in 0..100 {
            let size = [1, 50, 5000, 30_000][dice.below(4) as usize];
            let piece = dice.bytes(size);
            let mut received = Vec::new();
            if dice.below(2) == 0 {
                start_and_drop(ours.read(&mut buffer)).await;
                turns(2).await;
            }
            theirs.write_all(&piece).expect("it goes into the socket's buffer");
            while received.len() < piece.len() {
                let room = [1, 60, 8191, 8192, 40_000][dice.below(5) as usize];
                let count = ours.read(&mut buffer[..room]).await.expect("the peer is well");
                assert!(count > 0, "the peer has not ended its side");
                received.extend_from_slice(&buffer[..count]);
            }
            assert!(received == piece);
        }
    });
}

/// An event is an edge: the one that tells of data and end tells of no end a second time.
fn the_end_that_comes_with_the_last_data_is_seen(ctx: &Ctx) {
    ctx.run(async {
        for len in [0, 1, 100, 9000] {
            let (ours, mut theirs) = watched().await;
            let mut buffer = [0; 20_000];
            let mut read = Box::pin(ours.read(&mut buffer));
            assert!(poll_once(&mut read).await.is_pending());
            turns(2).await;
            theirs.write_all(&vec![7; len]).expect("the loop's end is open");
            drop(theirs);
            let mut received = read.await.expect("the end is no error");
            while received < len {
                received += ours.read(&mut buffer).await.expect("the end is no error");
            }
            for _ in 0..3 {
                assert_eq!(
                    ours.read(&mut buffer).await.expect("the end is no error"),
                    0,
                    "after {len} bytes"
                );
            }
        }
    });
}

fn a_reset_is_an_error_and_then_the_end(ctx: &Ctx) {
    ctx.run(async {
        let (ours, theirs) = watched().await;
        let mut buffer = [0; 100];
        let mut read = Box::pin(ours.read(&mut buffer));
        assert!(poll_once(&mut read).await.is_pending());
        turns(2).await;
        reset(theirs);
        let error = read.await.expect_err("the peer has reset the connection");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(ours.read(&mut buffer).await.expect("an error is told once"), 0);
    });
}

fn a_dropped_read_leaves_its_data_to_the_next(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = watched().await;
        for round in 0..50 {
            start_and_drop(ours.read(&mut [0; 10])).await;
            turns(round % 3).await;
            theirs.write_all(&[round as u8; 10]).expect("the loop's end is open");
            turns(round % 4).await;
            let mut buffer = [0; 10];
            ours.read_exact(&mut buffer).await.expect("it was written");
            assert_eq!(buffer, [round as u8; 10]);
        }
    });
}

fn the_other_verbs_go_on_where_a_watch_ends(ctx: &Ctx) {
    ctx.run(async {
        for round in 0..20_u8 {
            let (mut ours, mut theirs) = watched().await;
            let mut head = [0; 10];
            for by_chunk in [true, false, true] {
                theirs.write_all(&[round; 30]).expect("the loop's end is open");
                ours.read_exact(&mut head).await.expect("it was written");
                let mut left = 20;
                while left > 0 {
                    let rest = match by_chunk {
                        true => ours
                            .read_chunk()
                            .await
                            .expect("the peer is well")
                            .expect("there is more")
                            .to_vec(),
                        false => ours.fill_buf().await.expect("the peer is well").to_vec(),
                    };
                    if !by_chunk {
                        ours.consume_unpin(rest.len());
                    }
                    assert!(!rest.is_empty() && rest.iter().all(|&byte| byte == round));
                    left -= rest.len();
                }
                wait_again_and_again(&ours, &mut theirs).await;
            }
            finish_sending(&theirs);
            assert!(ours.read_chunk().await.expect("the end is no error").is_none());
        }
    });
}

fn what_a_reader_had_no_room_for_goes_to_std_with_the_descriptor(ctx: &Ctx) {
    ctx.run(async {
        let (ours, theirs) = watched().await;
        everything_goes_to_std(ours, theirs).await;
    });
}

fn the_last_waker_is_the_one_that_an_event_wakes(ctx: &Ctx) {
    ctx.run(async {
        let (ours, theirs) = watched().await;
        data_wakes_the_last_waker(ctx, &ours, theirs).await;
    });
}

fn a_dropped_stream_is_closed_for_its_peer(ctx: &Ctx) {
    ctx.run(async {
        let mut peers = Vec::new();
        for told in [true, false] {
            for (ours, mut theirs) in many_connected(10).await {
                wait_again_and_again(&ours, &mut theirs).await;
                start_and_drop(ours.read(&mut [0; 8])).await;
                turns(2).await;
                if told {
                    // An event that nobody has seen.
                    finish_sending(&theirs);
                    turns(2).await;
                }
                drop(ours);
                peers.push(theirs);
            }
        }
        rest().await;
        for theirs in peers {
            assert_eq!(read_all(theirs), b"", "a FIN, not a reset");
        }
    });
}

/// With no turn of the loop between: the peer reads on the loop's own thread.
fn a_stream_is_closed_when_close_returns(ctx: &Ctx) {
    ctx.run(async {
        for before in ["nothing", "a read", "the end of the watch"] {
            let (mut ours, mut theirs) = watched().await;
            if before == "a read" {
                start_and_drop(ours.read(&mut [0; 8])).await;
            }
            if before == "the end of the watch" {
                theirs.write_all(b"read in part").expect("the loop's end is open");
                ours.read_exact(&mut [0; 4]).await.expect("it was written");
                let mut left = 8;
                while left > 0 {
                    let filled = ours.fill_buf().await.expect("the peer is well").len();
                    ours.consume_unpin(filled);
                    left -= filled;
                }
            }
            ours.write_all(b"the last").await.expect("the peer is there");
            ours.close().await.expect("it can be sent");
            assert_eq!(read_all(theirs), b"the last");
        }
    });
}

/// A completion that finds no place in the queue ends its watch.
fn more_events_than_the_ring_has_places_for_lose_nothing(ctx: &Ctx) {
    const CONNECTIONS: usize = 60;
    const ROUNDS: usize = 20;
    ctx.run(async {
        let (mut readers, mut peers) = (Vec::new(), Vec::new());
        for (ours, mut theirs) in many_connected(CONNECTIONS).await {
            wait_again_and_again(&ours, &mut theirs).await;
            readers.push(create_task(async move {
                let mut received = Vec::new();
                let mut buffer = [0; 4];
                loop {
                    match ours.read(&mut buffer).await.expect("the peer is well") {
                        0 => return received,
                        count => received.extend_from_slice(&buffer[..count]),
                    }
                }
            }));
            peers.push(theirs);
        }
        for round in 0..ROUNDS {
            turns(round % 3).await;
            for theirs in &mut peers {
                theirs.write_all(&[round as u8; 3]).expect("the loop's end is open");
            }
        }
        drop(peers);
        let expected: Vec<u8> = (0..ROUNDS).flat_map(|round| [round as u8; 3]).collect();
        for reader in readers {
            assert_eq!(reader.await.expect("it ends by itself"), expected);
        }
    });
}

/// Data that comes between an event and its reader's call is taken with what the event told of; its own event then finds nothing.
fn an_event_after_the_data_was_taken_is_no_data(ctx: &Ctx) {
    ctx.run(async {
        let (ours, mut theirs) = watched().await;
        for round in 0..50_u8 {
            let mut buffer = [0; 100];
            let mut read = Box::pin(ours.read(&mut buffer));
            assert!(poll_once(&mut read).await.is_pending());
            turns(1).await;
            theirs.write_all(&[round]).expect("the loop's end is open");
            theirs.write_all(&[round]).expect("the loop's end is open");
            let mut count = read.await.expect("the peer is well");
            while count < 2 {
                count += ours.read(&mut buffer).await.expect("the peer is well");
            }
            assert_eq!((count, &buffer[..1]), (2, &[round][..]));
            let waits = ringloop::timeout(Duration::from_millis(1), ours.read(&mut buffer)).await;
            assert!(waits.is_err(), "there is nothing: {waits:?}");
        }
    });
}

/// Both loops alive, in turn: what one has under watch it does not see while it stands still.
fn a_stream_at_rest_goes_from_loop_to_loop(ctx: &Ctx) {
    let (mut first, mut second) = (ctx.runner(), ctx.runner());
    let (ours, mut theirs) = first.run(watched()).expect("it runs");
    for round in 0..3 {
        for runner in [&mut second, &mut first] {
            if round == 1 {
                theirs.write_all(b"between").expect("the socket has room");
                let mut between = [0; 7];
                runner.run(ours.read_exact(&mut between)).expect("it runs").expect("it was written");
                assert_eq!(&between, b"between");
            }
            runner.run(wait_again_and_again(&ours, &mut theirs)).expect("it runs");
        }
    }
    first.close().expect("it ends");
    second.run(wait_again_and_again(&ours, &mut theirs)).expect("it runs");
    drop(ours);
    second.close().expect("it ends");
    assert_eq!(read_all(theirs), b"", "the socket is closed");
}

/// READ-20: recv(2) stops at urgent data, with more behind it. The oracle is a socket of std beside.
fn what_follows_urgent_data_is_read_as_by_std(ctx: &Ctx) {
    let send = |theirs: &mut std::net::TcpStream| {
        theirs.write_all(b"before").expect("the other end is open");
        let urgent = send(theirs.as_raw_fd(), b"!", MsgFlags::MSG_OOB);
        assert_eq!(urgent.expect("the other end is open"), 1);
        theirs.write_all(b"behind").expect("the other end is open");
    };
    ctx.run(async {
        let (ours, mut theirs) = watched().await;
        let mut buffer = [0; 100];
        let mut read = Box::pin(ours.read(&mut buffer));
        assert!(poll_once(&mut read).await.is_pending());
        turns(2).await;
        send(&mut theirs);
        turns(2).await;
        let count = read.await.expect("the peer is well");
        let mut received = buffer[..count].to_vec();

        let (listener, address) = listen();
        let mut sender = std::net::TcpStream::connect(address).expect("it listens");
        let mut receiver = listener.accept().expect("a client waits").0;
        send(&mut sender);
        let mut expected = [0; 12];
        receiver.read_exact(&mut expected).expect("it was sent");

        while received.len() < expected.len() {
            let read = timeout(Duration::from_secs(5), ours.read(&mut buffer)).await;
            let count = read.expect("it was sent").expect("the peer is well");
            received.extend_from_slice(&buffer[..count]);
        }
        assert_eq!(received, expected);
    });
}

/// The oracle is a socket of std that does not block: the same calls, one after the other.
fn a_readable_stream_is_read_without_waiting_as_by_std(ctx: &Ctx) {
    ctx.run(async {
        for again in [false, true] {
            let (ours, mut theirs) = if again { watched().await } else { connected().await };
            let (listener, address) = listen();
            let mut sender = std::net::TcpStream::connect(address).expect("it listens");
            let mut receiver = listener.accept().expect("a client waits").0;
            receiver.set_nonblocking(true).expect("it is open");
            let told = |read: std::io::Result<usize>| read.map_err(|error| error.kind());
            let mut buffer = [0; 4];
            assert_eq!(
                told(ours.try_read(&mut buffer)),
                told(receiver.read(&mut buffer)),
                "nothing is there"
            );
            start_and_drop(ours.readable()).await;
            turns(2).await;
            for piece in [&b"abcdef"[..], b"g"] {
                theirs.write_all(piece).expect("the loop's end is open");
                sender.write_all(piece).expect("the other end is open");
                let mut read = 0;
                while read < piece.len() {
                    ours.readable().await.expect("the peer is well");
                    match ours.try_read(&mut buffer) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        count => {
                            let count = count.expect("the peer is well");
                            let mut expected = [0; 4];
                            assert_eq!(receiver.read(&mut expected).expect("it was sent"), count);
                            assert_eq!(buffer[..count], expected[..count]);
                            read += count;
                        }
                    }
                }
                assert_eq!(told(ours.try_read(&mut buffer)), told(receiver.read(&mut buffer)), "all is read");
            }
            drop((theirs, sender));
            ours.readable().await.expect("the end is no error");
            assert_eq!(told(ours.try_read(&mut buffer)), told(receiver.read(&mut buffer)), "the end");
        }
    });
}

fn a_stream_that_is_waited_for_without_a_buffer_starves_nobody(ctx: &Ctx) {
    ctx.run(async {
        let (ours, theirs) = watched().await;
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flood = std::thread::spawn({
            let (ended, mut theirs) = (ended.clone(), theirs);
            move || while !ended.load(Ordering::Relaxed) && theirs.write_all(&[7; 60_000]).is_ok() {}
        });
        let other = create_task(async {
            for _ in 0..20 {
                yield_now().await;
            }
        });
        let reads = async {
            let mut buffer = vec![0; 500];
            loop {
                ours.readable().await.expect("the peer is well");
                let _ = ours.try_read(&mut buffer);
            }
        };
        select(pin!(reads), other).await;
        ended.store(true, Ordering::Relaxed);
        // A drop lets an operation in flight hold the socket until the next turn, which the join below would keep away.
        ours.close().await.expect("nothing was written");
        flood.join().expect("it ends with the stream");
    });
}
