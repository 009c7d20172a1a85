//! What came of the jobs.

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::crew::Job;

/// The figures. Whoever holds one counts along.
#[derive(Default)]
pub struct Tally {
    /// All jobs.
    jobs: u32,
    /// Attempts under way.
    pub running: Count,
    /// Jobs that wait for their next attempt.
    pub pausing: Count,
    /// Attempts after a job's first.
    pub retries: Count,
    /// Jobs that succeeded.
    pub done: Count,
    /// Jobs that were under way at the end, and were given up.
    pub cancelled: Count,
    /// Jobs that will not succeed.
    dead: RefCell<Vec<DeadLetter>>,
}

/// A job that will not succeed, its last attempt, and why.
struct DeadLetter {
    job: Job,
    attempt: u32,
    why: String,
}

/// A figure.
#[derive(Default)]
pub struct Count(Cell<u32>);

impl Count {
    pub fn up(&self) {
        self.0.set(self.0.get() + 1);
    }

    pub fn down(&self) {
        self.0.set(self.0.get() - 1);
    }

    pub fn get(&self) -> u32 {
        self.0.get()
    }
}

impl Tally {
    pub fn of(jobs: u32) -> Tally {
        Tally { jobs, ..Tally::default() }
    }

    pub fn bury(&self, job: Job, attempt: u32, why: String) {
        self.dead.borrow_mut().push(DeadLetter { job, attempt, why });
    }

    pub fn dead(&self) -> u32 {
        self.dead.borrow().len() as u32
    }

    /// Jobs of which nothing has come: they were never begun, or waited for another attempt.
    pub fn left(&self) -> u32 {
        self.jobs - self.done.get() - self.dead() - self.cancelled.get()
    }

    pub fn is_all_done(&self) -> bool {
        self.done.get() == self.jobs
    }

    /// One line for whoever watches.
    pub fn progress(&self) -> String {
        let (done, dead, running, pausing) =
            (self.done.get(), self.dead(), self.running.get(), self.pausing.get());
        let queued = self.left() - running - pausing;
        format!(
            "of {} jobs {done} are done, {dead} dead, {running} run, {pausing} will be tried again, {queued} wait",
            self.jobs
        )
    }
}

/// The dead letters, by number, and a line that tells of all.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut dead = self.dead.borrow_mut();
        dead.sort_by_key(|letter| letter.job.number);
        for DeadLetter { job, attempt, why } in dead.iter() {
            writeln!(f, "dead: {job}, at attempt {attempt}: {why}")?;
        }
        let (done, cancelled) = (self.done.get(), self.cancelled.get());
        let (dead, left) = (dead.len(), self.jobs - done - dead.len() as u32 - cancelled);
        writeln!(f, "{} attempts were repeated", self.retries.get())?;
        writeln!(f, "{} jobs: {done} done, {dead} dead, {cancelled} cancelled, {left} left", self.jobs)
    }
}
