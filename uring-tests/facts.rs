//! What the design takes for granted about the kernel, asked of the kernel under the suite, without the library. Where one
//! of these fails, look for the sentence of the design that stands on it before looking for a fault in the code.

use crate::harness::peers::{connect, listen};
use crate::harness::{Ctx, Trial};
use crate::once;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use io_uring::{EnterFlags, IoUring, opcode};
use nix::libc;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

pub const TRIALS: &[Trial] = &[
    once!(deferred_work_runs_only_when_it_is_asked_for),
    once!(an_overflow_keeps_every_completion_in_order),
    once!(a_cancel_is_only_a_request),
    once!(a_cancelled_receive_has_taken_all_or_nothing),
    once!(a_closed_descriptor_does_not_end_its_operation),
    once!(a_path_may_go_once_its_entry_is_taken),
    once!(a_receive_without_a_buffer_fails_at_once),
    once!(a_short_read_breaks_a_soft_link_and_not_a_hard_one),
    once!(a_chain_split_over_two_submissions_is_no_chain),
    once!(a_failed_enter_leaves_its_entries_in_the_queue),
    once!(a_descriptor_number_is_looked_up_at_submission),
];

/// A ring as the library makes it, with so many entries.
fn ring(entries: u32) -> IoUring {
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_taskrun_flag()
        .build(entries)
        .expect("the facts need Linux 6.1 and the permission to use io_uring")
}

/// Queues an entry.
fn push(ring: &mut IoUring, entry: Entry, user_data: u64) {
    // SAFETY: each trial keeps what its entries point to until their completions, or says why it need not.
    unsafe { ring.submission().push(&entry.user_data(user_data)) }.expect("there is room");
}

/// Submits without running deferred work.
fn submit(ring: &mut IoUring) {
    enter(ring, 0);
}

/// Submits, and runs deferred work without waiting.
fn look(ring: &mut IoUring) {
    enter(ring, EnterFlags::GETEVENTS.bits());
}

/// The bare call: the crate's own adds flags by what it sees in the ring.
fn enter(ring: &mut IoUring, flags: u32) {
    let queued = ring.submission().len();
    // SAFETY: no signal mask is passed.
    let entered = unsafe { ring.submitter().enter::<libc::sigset_t>(queued as u32, 0, flags, None) };
    assert_eq!(entered.expect("the kernel takes the entries"), queued);
}

/// Waits for so many completions: user data and result.
fn wait(ring: &mut IoUring, count: usize) -> Vec<(u64, i32)> {
    let mut all = Vec::new();
    while all.len() < count {
        ring.submit_and_wait(1).expect("the kernel waits");
        all.extend(ring.completion().map(|completion| (completion.user_data(), completion.result())));
    }
    all
}

fn deferred_work_runs_only_when_it_is_asked_for(_: &Ctx) {
    let mut ring = ring(8);
    let (ours, mut theirs) = UnixStream::pair().expect("a pair can be made");
    let mut byte = [0];
    push(&mut ring, opcode::Read::new(Fd(ours.as_raw_fd()), byte.as_mut_ptr(), 1).build(), 1);
    submit(&mut ring);
    theirs.write_all(b"x").expect("there is room");
    for _ in 0..3 {
        submit(&mut ring);
        assert_eq!(ring.completion().count(), 0, "the data is there, the completion is not");
    }
    assert!(ring.submission().taskrun(), "but the flag says that there is work");
    look(&mut ring);
    let completion = ring.completion().next().expect("now it is");
    assert_eq!((completion.user_data(), completion.result(), byte), (1, 1, *b"x"));
}

fn an_overflow_keeps_every_completion_in_order(_: &Ctx) {
    let mut ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_cqsize(8)
        .build(4)
        .expect("a small ring can be made");
    for number in 0..100 {
        push(&mut ring, opcode::Nop::new().build(), number);
        submit(&mut ring);
    }
    assert!(ring.submission().cq_overflow());
    let mut seen = Vec::new();
    while seen.len() < 100 {
        seen.extend(ring.completion().map(|completion| completion.user_data()));
        look(&mut ring);
    }
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
    assert!(!ring.submission().cq_overflow());
}

/// Hence: at the final completion `finish` runs, whatever was asked for, or descriptors leak.
fn a_cancel_is_only_a_request(_: &Ctx) {
    let mut ring = ring(8);
    let (listener, address) = listen();
    let mut accepted = 0;
    for round in 0..50 {
        let null = std::ptr::null_mut();
        push(&mut ring, opcode::Accept::new(Fd(listener.as_raw_fd()), null, null.cast()).build(), 1);
        submit(&mut ring);
        let client = connect(address);
        if round % 2 == 0 {
            // The completion is made, but nobody has seen it when the cancel is sent.
            look(&mut ring);
        }
        push(&mut ring, opcode::AsyncCancel::new(1).build(), 2);
        let ends: BTreeMap<_, _> = wait(&mut ring, 2).into_iter().collect();
        match ends[&1] {
            descriptor if descriptor >= 0 => {
                // SAFETY: the accept has just made it, and nobody else knows it.
                drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
                accepted += 1;
            }
            error => {
                assert_eq!(error, -libc::ECANCELED);
                drop(listener.accept().expect("the client is still in the backlog"));
            }
        }
        drop(client);
    }
    assert!(accepted >= 25, "an accept that was cancelled too late delivers all the same: {accepted}");
}

/// Hence: a receive belongs to the socket, and ECANCELED means that no byte is gone.
fn a_cancelled_receive_has_taken_all_or_nothing(_: &Ctx) {
    let mut ring = ring(8);
    let (listener, address) = listen();
    let mut theirs = connect(address);
    let (mut ours, _) = listener.accept().expect("the client waits");
    for number in 0..50_u8 {
        let mut buffer = [0; 4];
        push(&mut ring, opcode::Recv::new(Fd(ours.as_raw_fd()), buffer.as_mut_ptr(), 4).build(), 1);
        submit(&mut ring);
        if number % 2 == 0 {
            theirs.write_all(&[number; 4]).expect("there is room");
        }
        push(&mut ring, opcode::AsyncCancel::new(1).build(), 2);
        let ends: BTreeMap<_, _> = wait(&mut ring, 2).into_iter().collect();
        if number % 2 == 1 {
            theirs.write_all(&[number; 4]).expect("there is room");
        }
        if ends[&1] == -libc::ECANCELED {
            ours.read_exact(&mut buffer).expect("nothing was taken");
        } else {
            assert_eq!(ends[&1], 4);
        }
        assert_eq!(buffer, [number; 4]);
    }
}

/// Hence: operations hold their descriptor by count, and a listener is closed only after its accept was cancelled.
fn a_closed_descriptor_does_not_end_its_operation(_: &Ctx) {
    let mut ring = ring(8);
    let (listener, address) = listen();
    let null = std::ptr::null_mut();
    push(&mut ring, opcode::Accept::new(Fd(listener.as_raw_fd()), null, null.cast()).build(), 1);
    submit(&mut ring);
    drop(listener);
    let client = TcpStream::connect(address).expect("the port is still open");
    let ends = wait(&mut ring, 1);
    assert!(ends[0].1 >= 0, "and the accept still serves: {}", ends[0].1);
    // SAFETY: the accept has just made it, and nobody else knows it.
    drop(unsafe { OwnedFd::from_raw_fd(ends[0].1) });
    drop(client);
}

fn a_path_may_go_once_its_entry_is_taken(ctx: &Ctx) {
    let mut ring = ring(64);
    for number in 0..32 {
        let path = ctx.path(&format!("file-{number}"));
        let mut text = path.into_os_string().into_encoded_bytes();
        text.push(0);
        let open = opcode::OpenAt::new(Fd(libc::AT_FDCWD), text.as_ptr().cast());
        push(
            &mut ring,
            open.flags(libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC).mode(0o600).build(),
            number,
        );
        submit(&mut ring);
        // The kernel has copied it: this is what the fact is about.
        text.fill(b'?');
        drop(text);
    }
    for (_, descriptor) in wait(&mut ring, 32) {
        assert!(descriptor >= 0, "{}", std::io::Error::from_raw_os_error(-descriptor));
        // SAFETY: the open has just made it, and nobody else knows it.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
    assert!((0..32).all(|number| ctx.path(&format!("file-{number}")).exists()));
}

/// Hence: an empty buffer ring means a receive into memory of the connection's own, not an error.
fn a_receive_without_a_buffer_fails_at_once(_: &Ctx) {
    let mut ring = ring(8);
    let (ours, _theirs) = UnixStream::pair().expect("a pair can be made");
    let receive = opcode::Recv::new(Fd(ours.as_raw_fd()), std::ptr::null_mut(), 100).buf_group(7).build();
    push(&mut ring, receive.flags(Flags::BUFFER_SELECT), 1);
    assert_eq!(wait(&mut ring, 1), [(1, -libc::ENOBUFS)]);
}

/// Hence: read and close of a chain are joined by a hard link.
fn a_short_read_breaks_a_soft_link_and_not_a_hard_one(ctx: &Ctx) {
    let mut ring = ring(8);
    let file = std::fs::File::open(ctx.file("file", b"short")).expect("it is there");
    for (link, expected) in [(Flags::IO_LINK, -libc::ECANCELED), (Flags::IO_HARDLINK, 0)] {
        let mut buffer = [0; 100];
        let read = opcode::Read::new(Fd(file.as_raw_fd()), buffer.as_mut_ptr(), 100).build();
        push(&mut ring, read.flags(link), 1);
        push(&mut ring, opcode::Nop::new().build(), 2);
        let ends: BTreeMap<_, _> = wait(&mut ring, 2).into_iter().collect();
        assert_eq!((ends[&1], ends[&2]), (5, expected), "{link:?}");
    }
}

/// Hence: a chain reserves all its entries in one submission.
fn a_chain_split_over_two_submissions_is_no_chain(ctx: &Ctx) {
    let mut ring = ring(8);
    let file = std::fs::File::open(ctx.file("file", b"short")).expect("it is there");
    let mut buffer = [0; 100];
    let read = opcode::Read::new(Fd(file.as_raw_fd()), buffer.as_mut_ptr(), 100).build();
    push(&mut ring, read.flags(Flags::IO_LINK), 1);
    submit(&mut ring);
    push(&mut ring, opcode::Nop::new().build(), 2);
    let ends: BTreeMap<_, _> = wait(&mut ring, 2).into_iter().collect();
    assert_eq!((ends[&1], ends[&2]), (5, 0), "the second ran although the first was short");
}

/// Hence: an enter that fails is repeated, and what its entries point to stays alive.
fn a_failed_enter_leaves_its_entries_in_the_queue(_: &Ctx) {
    let mut ring = ring(8);
    push(&mut ring, opcode::Nop::new().build(), 5);
    ring.submission().sync();
    // SAFETY: a bad flag, so that the call is refused before it looks at anything.
    let refused = unsafe { ring.submitter().enter::<libc::sigset_t>(1, 0, 1 << 31, None) };
    assert_eq!(refused.expect_err("no such flag").raw_os_error(), Some(libc::EINVAL));
    assert_eq!(wait(&mut ring, 1), [(5, 0)]);
}

/// Hence: once its entry was taken, an operation goes on with its file, whatever becomes of the number.
fn a_descriptor_number_is_looked_up_at_submission(_: &Ctx) {
    let mut ring = ring(8);
    let (old_ours, mut old_theirs) = UnixStream::pair().expect("a pair can be made");
    let number = old_ours.as_raw_fd();
    let mut byte = [0];
    push(&mut ring, opcode::Recv::new(Fd(number), byte.as_mut_ptr(), 1).build(), 1);
    submit(&mut ring);
    let (new_ours, mut new_theirs) = UnixStream::pair().expect("a pair can be made");
    // The number now means the other socket.
    let mut old_ours = OwnedFd::from(old_ours);
    nix::unistd::dup2(&new_ours, &mut old_ours).expect("the number is ours");
    new_theirs.write_all(b"n").expect("there is room");
    look(&mut ring);
    assert_eq!(ring.completion().count(), 0, "the new socket's byte is not its business");
    old_theirs.write_all(b"o").expect("the operation holds the old socket");
    assert_eq!(wait(&mut ring, 1), [(1, 1)]);
    assert_eq!(&byte, b"o");
}
