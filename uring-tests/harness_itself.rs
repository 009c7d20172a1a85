//! The harness catches what it is there to catch: each specimen below is a trial that is wrong on purpose, run through
//! the same parent and child as every other, and expected to fail with the right words.

use crate::harness::process::run_in_child;
use crate::harness::trial::Case;
use crate::harness::{Ctx, Trial};
use crate::once;
use libtest_mimic::Completion;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use std::mem::forget;
use std::process::Command;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(a_panic_is_a_failure_and_names_its_seed),
    once!(a_hang_is_ended_with_a_backtrace),
    once!(a_left_descriptor_is_named),
    once!(a_left_thread_is_named),
    once!(a_left_child_is_named),
    once!(a_child_that_nobody_reaped_is_named),
    once!(a_skip_is_reported_with_its_reason),
    once!(an_unmet_need_is_reported_with_its_reason),
    once!(a_trial_for_an_ordinary_user_has_no_root),
];

/// Trials that are wrong on purpose: only a child knows them, so no listing shows them.
pub const SPECIMENS: &[Trial] = &[
    once!(panics),
    once!(hangs).seconds(1),
    once!(leaves_a_descriptor),
    once!(leaves_a_thread),
    once!(leaves_a_child),
    once!(leaves_a_zombie),
    once!(skips),
    once!(needs_the_impossible).needs(&[crate::harness::Need::Tool("no-such-program")]),
    once!(is_an_ordinary_user).by_an_ordinary_user(),
];

/// The theme under which a child finds the specimens.
pub const SPECIMEN: &str = "specimen";

fn a_panic_is_a_failure_and_names_its_seed(_: &Ctx) {
    let said = failure_of("panics");
    assert!(said.contains("on purpose") && said.contains("RINGLOOP_SEED="), "{said}");
}

fn a_hang_is_ended_with_a_backtrace(_: &Ctx) {
    let said = failure_of("hangs");
    assert!(said.contains("watchdog: specimen::hangs still runs"), "{said}");
    assert!(said.contains("harness_itself::hangs"), "the backtrace names the culprit: {said}");
}

fn a_left_descriptor_is_named(_: &Ctx) {
    let said = failure_of("leaves_a_descriptor");
    assert!(said.contains("left behind") && said.contains("/dev/null"), "{said}");
}

fn a_left_thread_is_named(_: &Ctx) {
    let said = failure_of("leaves_a_thread");
    assert!(said.contains("left behind") && said.contains("straggler"), "{said}");
}

fn a_left_child_is_named(_: &Ctx) {
    let said = failure_of("leaves_a_child");
    assert!(said.contains("left behind") && said.contains("a child process"), "{said}");
}

fn a_child_that_nobody_reaped_is_named(_: &Ctx) {
    let said = failure_of("leaves_a_zombie");
    assert!(said.contains("left behind") && said.contains("a child process: Ok(Exited("), "{said}");
}

fn a_skip_is_reported_with_its_reason(_: &Ctx) {
    assert_eq!(ignored_for("skips"), "not today");
}

fn an_unmet_need_is_reported_with_its_reason(_: &Ctx) {
    assert_eq!(ignored_for("needs_the_impossible"), "needs the program `no-such-program`");
}

fn a_trial_for_an_ordinary_user_has_no_root(_: &Ctx) {
    let outcome = run_in_child(specimen("is_an_ordinary_user"));
    assert!(matches!(outcome, Ok(Completion::Completed)), "{:?}", outcome.err());
}

fn specimen(name: &str) -> Case {
    let trial = SPECIMENS.iter().find(|trial| trial.name == name).expect("the specimen exists");
    Case { theme: SPECIMEN, trial, kind: None }
}

fn failure_of(name: &str) -> String {
    let failed = run_in_child(specimen(name)).err().expect("the specimen is wrong on purpose");
    failed.message().expect("a failure says why").to_owned()
}

fn ignored_for(name: &str) -> String {
    match run_in_child(specimen(name)) {
        Ok(Completion::Ignored { reason: Some(reason) }) => reason,
        Ok(_) => panic!("the specimen was not ignored"),
        Err(failed) => panic!("{failed:?}"),
    }
}

fn panics(_: &Ctx) {
    panic!("on purpose");
}

fn hangs(_: &Ctx) {
    std::thread::sleep(Duration::from_secs(3600));
    unreachable!("the watchdog is faster");
}

fn leaves_a_descriptor(_: &Ctx) {
    forget(std::fs::File::open("/dev/null"));
}

fn leaves_a_thread(_: &Ctx) {
    let straggler = std::thread::Builder::new().name("straggler".into());
    forget(straggler.spawn(|| std::thread::sleep(Duration::from_secs(3600))));
}

fn leaves_a_child(_: &Ctx) {
    // It ends by itself, long after the trial, so that the trial about it leaves nothing on the machine.
    forget(Command::new("sleep").arg("5").spawn().expect("sleep exists"));
}

fn leaves_a_zombie(_: &Ctx) {
    let zombie = Command::new("true").spawn().expect("true exists");
    let number = Pid::from_raw(i32::try_from(zombie.id()).expect("process numbers are small"));
    let ended = waitid(Id::Pid(number), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
    ended.expect("it is our child");
    forget(zombie);
}

fn skips(ctx: &Ctx) {
    ctx.skip("not today");
}

fn needs_the_impossible(_: &Ctx) {
    unreachable!("the need is not met");
}

fn is_an_ordinary_user(_: &Ctx) {
    assert!(!nix::unistd::Uid::effective().is_root());
}
