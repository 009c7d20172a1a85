//! The listener keeps its accepts: every client is served once and in order, nothing accepted is lost with a future, and
//! what nobody took is closed with the listener.

use crate::harness::kinds::{rest, settle, turns};
use crate::harness::pairs::{bound, clients};
use crate::harness::peers::{connect, listen, reset};
use crate::harness::probes::{CountingWaker, Log, poll_with, start_and_drop};
use crate::harness::{Ctx, Kind, Trial, aftermath};
use crate::io;
use nix::sys::socket::{Shutdown, shutdown};
use ringloop::net::TcpListener;
use ringloop::{create_task, testing, yield_now};
use socket2::{Domain, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(clients_are_served_in_the_order_of_their_coming),
    io!(the_address_is_the_clients),
    io!(accepts_in_flight_are_bounded),
    io!(several_accepting_tasks_take_turns),
    io!(a_cancelled_acceptor_leaves_its_turn),
    io!(a_dropped_listener_frees_its_port),
    io!(the_port_of_a_dropped_listener_is_free_before_the_next_turn),
    io!(a_listener_dropped_between_two_runs_frees_its_port_at_once),
    io!(a_closed_listener_has_ended_its_accepts),
    io!(a_listener_goes_on_with_the_next_loop),
    io!(what_nobody_took_is_closed_with_the_listener),
    io!(an_idle_listener_costs_no_enters),
    io!(a_client_that_is_gone_already_is_still_accepted),
    io!(a_bound_port_cannot_be_bound_again),
    io!(a_listener_of_std_may_be_blocking_or_not),
    io!(a_socket_that_does_not_listen_is_refused),
    io!(a_listener_that_listens_no_more_says_so),
    io!(a_listener_survives_a_burst),
];

fn clients_are_served_in_the_order_of_their_coming(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        // Several accepts in flight on a 6.1 kernel end in the reverse order.
        let old =
            nix::sys::utsname::uname().is_ok_and(|name| name.release().to_string_lossy().starts_with("6.1."));
        for _ in 0..3 {
            let waiting = clients(address, 40);
            let mut expected: Vec<_> =
                waiting.iter().map(|c| c.local_addr().expect("it is connected")).collect();
            let mut served = Vec::new();
            for _ in &waiting {
                served.push(listener.accept().await.expect("a client waits").1);
            }
            if ctx.kind == Kind::Faulty || old {
                // There completions change places: each once is all that can be asked.
                expected.sort();
                served.sort();
            }
            assert_eq!(served, expected);
        }
    });
}

fn the_address_is_the_clients(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let client = connect(address);
        let (stream, peer) = listener.accept().await.expect("a client waits");
        assert_eq!(peer, client.local_addr().expect("it is connected"));
        assert_eq!(stream.peer_addr().expect("it is connected"), peer);
        assert_eq!(stream.local_addr().expect("it is connected"), address);
        let Ok(listener) = TcpListener::bind("[::1]:0").await else { return };
        let client = connect(listener.local_addr().expect("it is bound"));
        let (_, peer) = listener.accept().await.expect("a client waits");
        assert_eq!(peer, client.local_addr().expect("it is connected"));
    });
}

/// Accepted but untaken plus in flight stays small: a listener takes no thousand connections in a turn for one `accept`.
fn accepts_in_flight_are_bounded(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let before = aftermath::descriptors().len();
        let waiting = clients(address, 100);
        let with_clients = before + waiting.len();
        let (first, _) = listener.accept().await.expect("a client waits");
        turns(20).await;
        let taken = aftermath::descriptors().len() - with_clients;
        assert!(taken <= 1 + 32, "{taken} connections accepted, one asked for");
        for _ in 1..waiting.len() {
            listener.accept().await.expect("a client waits");
        }
        drop(first);
    });
}

fn several_accepting_tasks_take_turns(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let (listener, log) = (Rc::new(listener), Log::new());
        let tasks: Vec<_> = (0..4)
            .map(|number| {
                let (listener, log) = (listener.clone(), log.clone());
                create_task(async move {
                    let (_, peer) = listener.accept().await.expect("a client comes");
                    log.push((number, peer));
                })
            })
            .collect();
        turns(2).await;
        let mut expected = Vec::new();
        let mut waiting = Vec::new();
        for number in 0..4 {
            let client = connect(address);
            expected.push((number, client.local_addr().expect("it is connected")));
            waiting.push(client);
            // One accept after the other, so that even a ring that swaps completions keeps them apart.
            settle(|_| log.len() > number).await;
        }
        for task in tasks {
            task.await.expect("each had its turn");
        }
        assert_eq!(log.all(), expected);
    });
}

fn a_cancelled_acceptor_leaves_its_turn(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let listener = Rc::new(listener);
        let tasks: Vec<_> = (0..2)
            .map(|_| {
                let listener = listener.clone();
                create_task(async move { listener.accept().await.expect("a client comes").1 })
            })
            .collect();
        turns(2).await;
        tasks[0].cancel();
        turns(1).await;
        let client = connect(address);
        let mut ends = Vec::new();
        for task in tasks {
            ends.push(task.await.ok());
        }
        assert_eq!(ends, [None, client.local_addr().ok()]);
    });
}

fn a_dropped_listener_frees_its_port(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        start_and_drop(listener.accept()).await;
        turns(2).await;
        drop(listener);
        rest().await;
        let refused =
            TcpStream::connect_timeout(&address, Duration::from_secs(5)).expect_err("nobody listens");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        let again = TcpListener::bind(address).await.expect("the port is free");
        let client = connect(address);
        let (_, peer) = again.accept().await.expect("a client waits");
        assert_eq!(peer, client.local_addr().expect("it is connected"));
    });
}

/// A listener with an accept in flight that nobody waits for, so many turns later.
async fn accepting(turns_later: usize) -> (TcpListener, std::net::SocketAddr) {
    let (listener, address) = bound().await;
    start_and_drop(listener.accept()).await;
    turns(turns_later).await;
    (listener, address)
}

/// BUG-03. The first round is std's, and says what the others must do.
fn the_port_of_a_dropped_listener_is_free_before_the_next_turn(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = listen();
        drop(listener);
        let expected = after_the_drop(address);
        for turns_between in [0, 2] {
            let (listener, address) = accepting(turns_between).await;
            drop(listener);
            assert_eq!(after_the_drop(address), expected, "after {turns_between} turns");
        }
    });
}

/// BUG-03. There is no turn between two runs.
fn a_listener_dropped_between_two_runs_frees_its_port_at_once(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let (listener, address) = runner.run(accepting(2)).expect("nothing cancels it");
    drop(listener);
    assert_eq!(after_the_drop(address), (ErrorKind::ConnectionRefused, None));
    runner.close().expect("the loop is at rest");
}

/// What std meets at the address of a listener that is gone: the error of a connect, and that of a bind, if there is one.
fn after_the_drop(address: std::net::SocketAddr) -> (ErrorKind, Option<ErrorKind>) {
    let connected = TcpStream::connect(address).map(drop).expect_err("nobody listens").kind();
    (connected, std::net::TcpListener::bind(address).err().map(|error| error.kind()))
}

fn a_closed_listener_has_ended_its_accepts(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = accepting(2).await;
        listener.close().await;
        assert_eq!(testing::stats().operations, 0);
        assert_eq!(after_the_drop(address), (ErrorKind::ConnectionRefused, None));
    });
}

/// READ-17. To std it is one listener, whoever accepts from it.
fn a_listener_goes_on_with_the_next_loop(ctx: &Ctx) {
    let mut first = ctx.runner();
    let (listener, address) = first.run(accepting(2)).expect("nothing cancels it");
    first.close().expect("the loop is at rest");
    ctx.run(async {
        let client = connect(address);
        let (_, peer) = listener.accept().await.expect("a client waits");
        assert_eq!(peer, client.local_addr().expect("it is connected"));
        drop(listener);
    });
}

fn what_nobody_took_is_closed_with_the_listener(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let before = aftermath::descriptors().len();
        let waiting = clients(address, 10);
        let (counter, waker) = CountingWaker::new();
        let mut accept = Box::pin(listener.accept());
        if poll_with(&waker, &mut accept).is_pending() {
            settle(|_| counter.count() > 0).await;
        }
        drop(accept);
        drop(listener);
        rest().await;
        for mut client in waiting {
            // The accepted one gets a FIN or a reset, those in the backlog a reset: no client hangs.
            let _ = client.write_all(b"hello?");
            assert!(matches!(client.read(&mut [0; 8]), Ok(0) | Err(_)));
            drop(client);
        }
        assert_eq!(aftermath::descriptors().len(), before - 1, "the listener's own went too");
    });
}

fn an_idle_listener_costs_no_enters(ctx: &Ctx) {
    ctx.run(async {
        let (listener, _) = bound().await;
        start_and_drop(listener.accept()).await;
        turns(5).await;
        let before = testing::stats().enters;
        for _ in 0..500 {
            yield_now().await;
        }
        assert!(testing::stats().enters - before <= 2);
    });
}

fn a_client_that_is_gone_already_is_still_accepted(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let mut gone = connect(address);
        gone.write_all(b"bye").expect("the backlog holds it");
        drop(gone);
        let staying = connect(address);
        let (first, _) = listener.accept().await.expect("its connection is in the backlog");
        let mut buffer = [0; 3];
        first.read_exact(&mut buffer).await.expect("it was written");
        assert_eq!(&buffer, b"bye");
        assert_eq!(first.read(&mut buffer).await.expect("the end is no error"), 0);
        let (_, peer) = listener.accept().await.expect("the next one waits");
        assert_eq!(peer, staying.local_addr().expect("it is connected"));
    });
}

fn a_bound_port_cannot_be_bound_again(ctx: &Ctx) {
    ctx.run(async {
        let (_listener, address) = bound().await;
        let error = TcpListener::bind(address).await.expect_err("it is taken");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    });
}

/// A client that goes, or none: nothing blocks the loop.
fn a_listener_of_std_may_be_blocking_or_not(ctx: &Ctx) {
    ctx.run(async {
        for nonblocking in [false, true] {
            let (listener, address) = listen();
            listener.set_nonblocking(nonblocking).expect("it is a socket");
            let listener = TcpListener::from_std(listener).expect("it is a socket");
            for _ in 0..3 {
                start_and_drop(listener.accept()).await;
                turns(2).await;
                reset(connect(address));
                let staying = connect(address);
                let expected = staying.local_addr().expect("it is connected");
                while listener.accept().await.expect("a client waits").1 != expected {}
            }
        }
    });
}

/// A descriptor of a kind that a listener does not expect is refused at once, as accept(2) of std's refuses it later.
fn a_socket_that_does_not_listen_is_refused(ctx: &Ctx) {
    ctx.run(async {
        let (_listening, address) = listen();
        let fresh = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("sockets can be made");
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
        let wrong: [(OwnedFd, &str); 4] = [
            (fresh.into(), "a stream socket that does not listen"),
            (connect(address).into(), "a stream socket that does not listen"),
            (datagrams.into(), "a socket, but not of streams"),
            (std::fs::File::open("/dev/null").expect("every system has it").into(), "no socket"),
        ];
        for (fd, name) in wrong {
            let std = std::net::TcpListener::from(fd);
            std.accept().expect_err("std cannot accept there either");
            let error = TcpListener::from_std(std).expect_err(name);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name}");
            let text = error.to_string();
            assert!(text.contains("TcpListener") && text.contains(name), "{text:?} names {name:?}");
        }
    });
}

fn a_listener_that_listens_no_more_says_so(ctx: &Ctx) {
    ctx.run(async {
        let (std, _) = listen();
        let other = std.try_clone().expect("descriptors are left");
        let listener = TcpListener::from_std(std).expect("it listens");
        shutdown(other.as_raw_fd(), Shutdown::Both).expect("it is a socket");
        let expected = other.accept().expect_err("nothing can come").kind();
        for _ in 0..2 {
            assert_eq!(listener.accept().await.expect_err("nothing can come").kind(), expected);
        }
    });
}

fn a_listener_survives_a_burst(ctx: &Ctx) {
    ctx.run(async {
        let (listener, address) = bound().await;
        let burst = crate::harness::peers::Peer::play(move || {
            let mut served = 0;
            for round in 0..10_u8 {
                for mut client in clients(address, 50) {
                    client.write_all(&[round]).expect("the backlog holds it");
                    let mut answer = [0];
                    client.read_exact(&mut answer).expect("the loop answers");
                    served += u32::from(answer[0] == round);
                }
            }
            served
        });
        for _ in 0..500 {
            let (stream, _) = listener.accept().await.expect("a client comes");
            create_task(async move {
                let mut byte = [0];
                stream.read_exact(&mut byte).await.expect("the client asks");
                stream.write_all(&byte).await.expect("the client reads");
            })
            .detach();
        }
        settle(|now| now.tasks <= 1).await;
        while !burst.is_over() {
            turns(1).await;
        }
        assert_eq!(burst.end(), 500);
    });
}
