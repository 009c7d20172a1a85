//! What must be true after a trial: no descriptor more than before, no thread more, no child process left.
//!
//! Two things come late by the kernel's design, so all is polled for some seconds: the teardown of a ring gives its
//! files back some milliseconds after the close, and threads leave `/proc` a moment after they were joined. The kernel's
//! own I/O workers (`iou-wrk-*`) are not ours to count: they idle out after seconds. What the loop itself must have ended
//! (operations, tasks, timers) is checked where the loop is, in `kinds`.

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

/// The process before the trial.
pub struct Before {
    /// Open descriptors: number and what it refers to.
    descriptors: BTreeMap<i32, String>,
    /// Our threads by name.
    threads: Vec<String>,
}

impl Before {
    /// Looks at the process as it is now.
    pub fn take() -> Self {
        Before { descriptors: descriptors(), threads: threads() }
    }

    /// Panics if the process has more than it had; waits some seconds for what comes late.
    pub fn assert_restored(&self) {
        super::kinds::release_parked_ring();
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.left_behind();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind by the trial: {}", left.join("; "));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn left_behind(&self) -> Vec<String> {
        let mut left = opened_since(&self.descriptors);
        let threads = threads();
        if threads.len() > self.threads.len() {
            left.push(format!("threads {threads:?}, before {:?}", self.threads));
        }
        // Without reaping: a child that nobody reaped shall still be seen by the next look.
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::All, look) {
            Err(Errno::ECHILD) => {}
            answer => left.push(format!("a child process: {answer:?}")),
        }
        left
    }
}

/// The open descriptors of this process, without the one that lists them.
pub fn descriptors() -> BTreeMap<i32, String> {
    let numbers: Vec<i32> = fs::read_dir("/proc/self/fd")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    let target = |number: i32| fs::read_link(format!("/proc/self/fd/{number}")).ok();
    numbers
        .into_iter()
        .filter_map(|number| Some((number, target(number)?.to_string_lossy().into_owned())))
        .collect()
}

/// What is open now and was not then, in words.
pub fn opened_since(before: &BTreeMap<i32, String>) -> Vec<String> {
    let fresh = descriptors().into_iter().filter(|(number, target)| before.get(number) != Some(target));
    fresh.map(|(number, target)| format!("descriptor {number} ({target})")).collect()
}

/// The names of this process's threads, the kernel's workers left out.
pub fn threads() -> Vec<String> {
    fs::read_dir("/proc/self/task")
        .expect("/proc is mounted")
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned())
        .filter(|name| !name.starts_with("iou-wrk"))
        .collect()
}
