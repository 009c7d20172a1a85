//! A process that forks under a loop: the child shares the ring's memory with its parent, so it must not touch it. Every
//! use says so, drops do nothing, a loop of its own works, and the parent never notices.

use crate::harness::forked::forked;
use crate::harness::kinds::{start, turns};
use crate::harness::pairs::connected;
use crate::harness::probes::{poll_once, poll_with};
use crate::harness::{Ctx, Trial};
use crate::io;
use nix::sys::wait::WaitStatus;
use ringloop::fs::{self, File};
use ringloop::{Builder, create_task, sleep, testing};
use std::future::pending;
use std::io::Write;
use std::process::Command;
use std::task::{Poll, Waker};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    io!(a_childs_use_of_its_parents_loop_is_an_error),
    io!(a_run_whose_ring_broke_says_so),
    io!(a_childs_drops_do_nothing_to_the_parent),
    io!(a_child_can_run_a_loop_of_its_own),
    io!(a_program_that_is_started_gets_none_of_our_descriptors),
];

/// Forks; the child runs `part` and ends with 0 if it returned true. Gives the child's exit status.
pub fn in_a_fork(part: impl FnOnce() -> bool) -> i32 {
    match forked(|| if part() { 0 } else { 1 }) {
        WaitStatus::Exited(_, status) => status,
        ended => panic!("the child did not exit by itself: {ended:?}"),
    }
}

/// SHUT-09
fn a_childs_use_of_its_parents_loop_is_an_error(ctx: &Ctx) {
    let path = ctx.file("file", b"text");
    ctx.run(async {
        let (ours, mut theirs) = connected().await;
        let mut byte = [0];
        let mut read = Box::pin(ours.read(&mut byte));
        assert!(poll_once(&mut read).await.is_pending());
        turns(2).await;
        let status = in_a_fork(|| {
            let mut open = File::create(ctx.path("by-the-child"));
            match poll_with(Waker::noop(), &mut open) {
                Poll::Ready(Err(error)) if error.to_string().contains("fork") => true,
                polled => {
                    eprintln!("in the child: {:?}", polled.map(|opened| opened.map(drop)));
                    false
                }
            }
        });
        assert_eq!(status, 0, "the child was told");
        assert!(!ctx.path("by-the-child").exists());
        theirs.write_all(b"p").expect("the loop's end is open");
        read.await.expect("the parent's own receive goes on");
        assert_eq!(&byte, b"p");
        assert_eq!(fs::read(&path).await.expect("it is there"), b"text");
    });
}

/// READ-24: not as a ring that could not be made, whose text gives advice on that.
fn a_run_whose_ring_broke_says_so(ctx: &Ctx) {
    let mut runner = ctx.runner();
    runner.run(turns(2)).expect("it runs");
    let status = in_a_fork(|| {
        let error = runner.run(sleep(Duration::from_secs(3600))).expect_err("the ring is the parent's");
        let text = error.to_string();
        error.is_broken() && !error.is_setup() && text.contains("broke") && text.contains("fork")
    });
    assert_eq!(status, 0);
    runner.run(turns(2)).expect("the parent's ring is whole");
    runner.close().expect("it ends");
}

fn a_childs_drops_do_nothing_to_the_parent(ctx: &Ctx) {
    let mut runner = ctx.runner();
    let (ours, mut theirs) = runner.run(connected()).expect("it runs");
    let mut byte = [0];
    let mut read = Box::pin(ours.read(&mut byte));
    let mut kept = Vec::new();
    let mut nap = sleep(Duration::from_millis(1));
    let task = runner
        .run(async {
            assert!(poll_once(&mut read).await.is_pending());
            assert!(poll_once(&mut nap).await.is_pending());
            for number in 0..5 {
                let mut create = File::create(ctx.path(&format!("{number}")));
                assert!(poll_once(&mut create).await.is_pending());
                kept.push(create);
            }
            create_task(pending::<()>())
        })
        .expect("it runs");
    let mut everything = Some((read, kept, nap, task, runner));
    let status = in_a_fork(|| {
        drop(everything.take());
        true
    });
    assert_eq!(status, 0, "nothing panicked");
    let (read, kept, nap, task, mut runner) = everything.expect("this is the parent's copy");
    theirs.write_all(b"q").expect("the loop's end is open");
    runner
        .run(async {
            read.await.expect("the parent's receive goes on");
            for create in kept {
                create.await.expect("the parent's files are made");
            }
            nap.await;
            task.cancel();
            assert!(task.await.is_err());
        })
        .expect("it runs");
    drop(ours);
    runner.close().expect("it ends");
    assert_eq!(&byte, b"q");
}

fn a_child_can_run_a_loop_of_its_own(ctx: &Ctx) {
    let path = ctx.file("file", b"for both");
    let mut runner = ctx.runner();
    runner.run(sleep(Duration::from_millis(1))).expect("it runs");
    // Once with the loop alive, once with its ring parked.
    for parked in [false, true] {
        if parked {
            std::mem::replace(&mut runner, start(Builder::new())).close().expect("it ends");
        }
        let status = in_a_fork(|| {
            let mut own = start(Builder::new());
            let read = own.run(async {
                let (ours, mut theirs) = connected().await;
                theirs.write_all(b"x").expect("the loop's end is open");
                ours.read_exact(&mut [0]).await.expect("it was sent");
                fs::read(&path).await.expect("it is there")
            });
            own.close().expect("it ends");
            read.is_ok_and(|bytes| bytes == b"for both")
        });
        assert_eq!(status, 0);
        assert_eq!(
            runner.run(async { fs::read(&path).await.expect("it is there") }).expect("it runs"),
            b"for both"
        );
    }
    runner.close().expect("it ends");
    testing::release_parked_ring();
}

/// Everything is close-on-exec: the ring, the eventfd, files and sockets.
fn a_program_that_is_started_gets_none_of_our_descriptors(ctx: &Ctx) {
    let inherited = descriptors_of_a_program();
    ctx.run(async {
        let (ours, _theirs) = connected().await;
        let file = File::create(ctx.path("file")).await.expect("the folder can be written");
        assert_eq!(descriptors_of_a_program(), inherited, "the same as before any of ours was there");
        file.close().await.expect("it closes");
        drop(ours);
    });
}

/// What a program that this process starts finds open.
fn descriptors_of_a_program() -> String {
    let listed = Command::new("ls").arg("/proc/self/fd").output().expect("ls exists");
    String::from_utf8(listed.stdout).expect("numbers")
}
