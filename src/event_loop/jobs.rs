//! What a loop hands to other threads: to its default thread pool, and to executors of the user's.
//!
//! While the clock is paused the loop counts these jobs, so that the clock does not jump over what they do: each carries a
//! [`Share`] of the count, which goes after the job has told the loop of its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::EventLoop;
use crate::pool::{Job, Refused, ThreadPool};
use crate::ring::Clock;

/// How many jobs are queued or running; None while nobody wants to know.
pub(super) struct Jobs(Option<Arc<AtomicUsize>>);

impl Jobs {
    pub(super) fn new(clock: Clock) -> Self {
        Jobs((clock == Clock::Paused).then(Arc::default))
    }

    /// Whether the clock has to wait for one. What those that have ended told the loop is in its inbox then.
    pub(super) fn are_under_way(&self) -> bool {
        self.0.as_ref().is_some_and(|count| count.load(Ordering::Acquire) > 0)
    }

    fn counted(&self, job: Job) -> Job {
        let Some(count) = &self.0 else { return job };
        count.fetch_add(1, Ordering::Relaxed);
        let counted = Counted { job, share: Share(count.clone()) };
        Box::new(move || counted.run())
    }
}

/// One of those that are counted, until it has run or is dropped.
struct Share(Arc<AtomicUsize>);

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A job with its share. In this order they are dropped: a job tells of its end also if it never runs.
struct Counted {
    job: Job,
    share: Share,
}

impl Counted {
    fn run(self) {
        let Counted { job, share } = self;
        job();
        drop(share);
    }
}

impl EventLoop {
    /// The default thread pool.
    fn pool(&self) -> &ThreadPool {
        self.pool.get_or_init(|| self.options.make_pool())
    }

    /// Gives a job to the default thread pool.
    pub(crate) fn submit(&self, job: Job) -> Result<(), Refused> {
        self.pool().submit(self.jobs.counted(job))
    }

    /// The job as one of this loop's, for an executor of the user's.
    pub(crate) fn counted(&self, job: Job) -> Job {
        self.jobs.counted(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_paused_loop_counts_jobs_until_they_have_run_failed_or_been_dropped() {
        let jobs = Jobs::new(Clock::Paused);
        let ends: [fn(Job); 3] = [
            |job| job(),
            |job| drop(job),
            |job| {
                let failing: Job = Box::new(move || {
                    let _job = job;
                    panic!("as expected")
                });
                catch_unwind(AssertUnwindSafe(failing)).expect_err("it panics");
            },
        ];
        for end in ends {
            let (one, other) = (jobs.counted(Box::new(|| ())), jobs.counted(Box::new(|| ())));
            end(one);
            assert!(jobs.are_under_way(), "the other is left");
            end(other);
            assert!(!jobs.are_under_way());
        }
    }

    #[test]
    fn a_job_tells_of_its_end_before_it_leaves_the_count() {
        struct Tells(Arc<AtomicUsize>, Arc<AtomicUsize>);
        impl Drop for Tells {
            fn drop(&mut self) {
                self.1.store(self.0.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        let (jobs, at_its_end) = (Jobs::new(Clock::Paused), Arc::new(AtomicUsize::new(0)));
        let count = jobs.0.clone().expect("it counts");
        for run in [true, false] {
            let tells = Tells(count.clone(), at_its_end.clone());
            let job = jobs.counted(Box::new(move || drop(tells)));
            match run {
                true => job(),
                false => drop(job),
            }
            assert_eq!((at_its_end.swap(0, Ordering::Relaxed), jobs.are_under_way()), (1, false));
        }
    }

    #[test]
    fn a_loop_whose_clock_goes_on_counts_nothing() {
        let jobs = Jobs::new(Clock::Real);
        let _job = jobs.counted(Box::new(|| ()));
        assert!(!jobs.are_under_way());
    }
}
