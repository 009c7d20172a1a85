//! The books of transfers against a kernel that does as it is told.

use super::*;
use crate::op::retry::TRIES;
use std::os::fd::AsFd;

const EOF: Outcome = Outcome { result: 0, flags: 0 };

fn moved(count: i32) -> Outcome {
    Outcome { result: count, flags: 0 }
}

fn failed(errno: i32) -> Outcome {
    Outcome { result: -errno, flags: 0 }
}

/// Feeds outcomes to a transfer as its future does, and gives its end and how much it moved.
fn run(outcomes: &[Outcome], extent: Extent, len: usize) -> (Result<(), io::ErrorKind>, usize) {
    let mut progress = Progress::default();
    let (last, before) = outcomes.split_last().expect("an operation has an outcome");
    let build = |progress: &mut Progress| {
        let done = progress.done;
        let entry = |from| {
            assert_eq!(from, done, "the next entry goes on where the last one ended");
            opcode::Nop::new().build()
        };
        let _ = progress.entry(types::Fd(-1), libc::POLLIN, entry);
    };
    for &outcome in before {
        build(&mut progress);
        let next = progress.advance(outcome, At::IF_BLOCKED, extent, len);
        assert!(matches!(next, Next::Again), "{outcome:?} is not the end");
    }
    build(&mut progress);
    assert!(
        matches!(progress.advance(*last, At::IF_BLOCKED, extent, len), Next::Finish),
        "{last:?} is the end"
    );
    let (done, result) = progress.end(*last, At::IF_BLOCKED, (extent, len), io::ErrorKind::UnexpectedEof);
    (result.map_err(|error| error.kind()), done)
}

#[test]
fn one_call_is_enough_where_one_was_asked_for() {
    assert_eq!(run(&[moved(10)], Extent::Once, 100), (Ok(()), 10));
    assert_eq!(run(&[EOF], Extent::Once, 100), (Ok(()), 0));
    assert_eq!(run(&[failed(libc::ENOSPC)], Extent::Once, 100), (Err(io::ErrorKind::StorageFull), 0));
}

#[test]
fn a_whole_transfer_goes_on_until_it_is_whole() {
    assert_eq!(run(&[moved(100)], Extent::All, 100), (Ok(()), 100));
    assert_eq!(run(&[moved(1), moved(60), moved(39)], Extent::All, 100), (Ok(()), 100));
    assert_eq!(run(&[EOF], Extent::All, 0), (Ok(()), 0), "nothing is whole at once");
}

#[test]
fn what_stops_it_midway_leaves_an_exact_count() {
    assert_eq!(run(&[moved(30), EOF], Extent::All, 100), (Err(io::ErrorKind::UnexpectedEof), 30));
    let full = [moved(30), moved(40), failed(libc::ENOSPC)];
    assert_eq!(run(&full, Extent::All, 100), (Err(io::ErrorKind::StorageFull), 70));
}

#[test]
fn what_has_moved_nothing_is_tried_again_but_not_for_ever() {
    for errno in [libc::EINTR, libc::EAGAIN, libc::ECANCELED] {
        assert_eq!(run(&[failed(errno), moved(5)], Extent::Once, 10), (Ok(()), 5));
        let stubborn = vec![failed(errno); usize::from(TRIES) + 1];
        assert!(run(&stubborn, Extent::Once, 10).0.is_err(), "{errno}");
    }
    let mut interrupted = Vec::new();
    for _ in 0..100 {
        interrupted.extend([failed(libc::EINTR), failed(libc::EAGAIN), moved(1)]);
    }
    assert_eq!(run(&interrupted, Extent::All, 100), (Ok(()), 100), "progress renews the retry");
}

#[test]
fn a_descriptor_that_would_block_is_forced_or_waited_for() {
    let mut progress = Progress::default();
    assert!(progress.note(failed(libc::EAGAIN), At::IF_BLOCKED) == Noted::NotYet);
    assert_eq!(progress.step, Step::Forced);
    assert!(progress.note(failed(libc::EAGAIN), Stream::IF_BLOCKED) == Noted::NotYet);
    assert_eq!(progress.step, Step::Wait);
    // Ready: the poll's answer is no count of bytes.
    assert!(progress.note(moved(1), Stream::IF_BLOCKED) == Noted::NotYet);
    assert_eq!((progress.step, progress.done), (Step::Move, 0));
}

#[test]
fn a_transfer_that_is_asked_to_stop_midway_says_so() {
    let end = |outcome| {
        let (aim, dry) = ((Extent::All, 100), io::ErrorKind::UnexpectedEof);
        let (done, result) = Progress::default().end(outcome, At::IF_BLOCKED, aim, dry);
        (result.expect_err("it was not whole").to_string(), done)
    };
    // The last entry may have moved something all the same; that counts.
    assert_eq!(end(moved(40)), (Cancelled.to_string(), 40));
    let elapsed = Outcome { result: Outcome::ELAPSED, flags: 0 };
    assert_eq!(end(elapsed), (crate::error::Elapsed.to_string(), 0));
}

#[test]
fn long_buffers_are_moved_in_parts_that_the_kernel_takes() {
    let start = std::ptr::without_provenance::<u8>(4096);
    assert_eq!(rest(start, 10, 3), (start.wrapping_add(3).cast_mut(), 7));
    let long = 5 * MOST;
    assert_eq!(rest(start, long, 0).1 as usize, MOST);
    assert_eq!(rest(start, long, long - 8).1, 8);
}

#[test]
fn no_offset_is_taken_for_the_files_own_position() {
    assert_eq!((At(5).offset(3), Stream.offset(3)), (8, u64::MAX));
    assert_ne!(At(u64::MAX).offset(0), u64::MAX);
    assert_ne!(At(u64::MAX - 3).offset(100), u64::MAX);
}

/// A part of a file that somebody reads; there is no descriptor behind it.
struct Nowhere(Facts);

impl Routed for Nowhere {
    fn lend(&self) -> Loan {
        Lender::default().lend(std::io::stdin().as_fd())
    }

    fn facts(&self) -> &Facts {
        &self.0
    }
}

impl AsRawFd for Nowhere {
    fn as_raw_fd(&self) -> i32 {
        -1
    }
}

/// A read whose kernel fills the buffer by the operation's own pointer.
fn read_into<B: IoBufMut>(buf: B, extent: Extent, pieces: &[&[u8]]) -> BufResult<B> {
    let len = buf.capacity();
    let mut read = Box::new(Read::new(Rc::new(Nowhere(Facts::unknown())), buf, At(0), len, extent));
    let mut outcome = EOF;
    // Behind the last piece the file ends.
    let end: &[u8] = &[];
    for &piece in pieces.iter().chain([&end]) {
        let done = read.progress.done;
        let _ = read.entry();
        let (start, room) = rest(read.buf.as_mut_ptr(), len, done);
        let count = piece.len().min(room as usize);
        // SAFETY: O1: the room that the entry names, in a buffer that the operation owns.
        unsafe { std::ptr::copy_nonoverlapping(piece.as_ptr(), start, count) };
        outcome = moved(count as i32);
        if let Next::Finish = read.advance(outcome) {
            break;
        }
    }
    read.finish(outcome)
}

#[test]
fn a_read_fills_its_buffer_from_the_front_and_sets_the_length() {
    let (count, bytes) = read_into(Vec::with_capacity(8), Extent::Once, &[b"abc"]).expect("it is there");
    assert_eq!((count, &bytes[..]), (3, &b"abc"[..]));
    let (count, bytes) = read_into([0; 6], Extent::All, &[b"ab", b"cd", b"ef"]).expect("it is there");
    assert_eq!((count, &bytes), (6, b"abcdef"));
    let error = read_into(vec![0; 6], Extent::All, &[b"ab", b"c"]).expect_err("it ends too early");
    assert_eq!((error.done, &error.buf[..]), (3, &b"abc"[..]));
}

#[test]
fn a_failed_read_leaves_its_buffer_as_it_was() {
    let mut read = Read::new(Rc::new(Nowhere(Facts::unknown())), b"old".to_vec(), At(0), 3, Extent::Once);
    let _ = read.entry();
    assert!(matches!(read.advance(failed(libc::EIO)), Next::Finish));
    let error = read.finish(failed(libc::EIO)).expect_err("the disk is broken");
    assert_eq!((error.done, &error.buf[..]), (0, &b"old"[..]));
}
