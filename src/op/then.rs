//! What follows an operation: its output goes through a closure, at every end.
//!
//! `finish` runs however an operation ends: completed, cancelled, abandoned, refused by a loop that has ended, or dropped
//! before it began. So a closure that gives its owner back what it lent is the only thing that an owner needs, and no end
//! passes it by.

#![allow(unsafe_code)]

use super::{Company, Next, Operation, Policy};
use crate::pool::Job;
use crate::ring::{Entry, Outcome};

/// An operation and what follows it.
pub(crate) struct Then<O: Operation, F> {
    operation: O,
    follow: F,
}

impl<O: Operation, F> Then<O, F> {
    #[inline(always)]
    pub(super) fn new(operation: O, follow: F) -> Self {
        Then { operation, follow }
    }
}

// SAFETY: O1: the entries are those of the operation, which keeps it.
unsafe impl<T: 'static, O: Operation, F: FnOnce(O::Output) -> T + 'static> Operation for Then<O, F> {
    type Output = T;
    const NAME: &'static str = O::NAME;
    const HAS_CALL: bool = O::HAS_CALL;
    const HAS_JOB: bool = O::HAS_JOB;
    const REPEATS: bool = O::REPEATS;

    fn prepare(&mut self) {
        self.operation.prepare();
    }

    fn policy(&self) -> Policy {
        self.operation.policy()
    }

    fn entry(&mut self) -> Entry {
        self.operation.entry()
    }

    fn job(&mut self) -> Option<Job> {
        self.operation.job()
    }

    fn advance(&mut self, outcome: Outcome) -> Next {
        self.operation.advance(outcome)
    }

    fn finish(self, outcome: Outcome) -> T {
        (self.follow)(self.operation.finish(outcome))
    }

    fn call(&mut self, company: Company) -> Option<Outcome> {
        self.operation.call(company)
    }
}
