//! The queue and its workers: attempts, retries, dead letters, and the orderly end.
//!
//! A worker takes the most urgent job, runs an attempt at it as a task of its own, and waits for that no longer than the
//! limit. A job that is to be tried again leaves its worker: it spends its pause in a task of the group `pauses` and then goes
//! into the queue again, in front of those that are as urgent and have come later. It is reported as done with
//! (`task_done`) only then, so that the queue's `join` waits for jobs that pause as well.
//!
//! **The orderly end.** A cancel, which is what Ctrl-C is, does not reach the workers, for they are tasks that nobody cancels
//! yet. It ends the pauses, since a group hands a cancel on to its children, and it is caught where the crew waits for
//! the queue. From then on nothing begins; what runs may end within the grace, is cancelled then, and awaited. Then the
//! cancel goes on.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringloop::sync::{Prioritized, PriorityQueue};
use ringloop::{
    AllCompleted, ShutDown, Task, TaskBuilder, TaskGroup, WaitError, cancel_and_wait, catch_cancel,
    resume_cancel, sleep, task_group, wait, wait_for,
};

use crate::backoff::Backoff;
use crate::log::{JOB, say};
use crate::tally::Tally;

/// One of many things to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// 0 is the most urgent.
    pub priority: u8,
    pub number: u32,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Fetch,
    Archive,
    Digest,
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job-{:03} {}", self.number, format!("{:?}", self.kind).to_lowercase())
    }
}

/// Why an attempt failed.
#[derive(Debug)]
pub enum Failure {
    /// Another one may succeed.
    Again(String),
    /// None will.
    Final(String),
}

/// How the crew works.
pub struct Rules {
    /// How many jobs run at once.
    pub workers: u32,
    /// How long an attempt may take.
    pub limit: Duration,
    /// How long what runs may go on when the crew is cancelled.
    pub grace: Duration,
    /// The time between two lines of progress.
    pub progress: Duration,
    pub backoff: Backoff,
}

/// A job in the queue, and which attempt comes next, the first being 1.
struct Ticket {
    job: Job,
    attempt: u32,
}

impl Ticket {
    /// As it stands in the queue: by urgency, then by number.
    fn in_line(self) -> Prioritized<(u8, u32), Ticket> {
        Prioritized((self.job.priority, self.job.number), self)
    }
}

/// Workers that do jobs by `W`.
pub struct Crew<W> {
    rules: Rules,
    queue: PriorityQueue<Prioritized<(u8, u32), Ticket>>,
    tally: Rc<Tally>,
    work: W,
}

impl<W: AsyncFn(Job, u32) -> Result<(), Failure> + 'static> Crew<W> {
    /// A crew that calls `work` for each attempt, with the job and the number of the attempt.
    pub fn new(rules: Rules, tally: Rc<Tally>, work: W) -> Rc<Crew<W>> {
        Rc::new(Crew { rules, queue: PriorityQueue::unbounded(), tally, work })
    }

    /// Does all the jobs; what came of them is in the tally.
    ///
    /// # Cancellation
    /// Lets what runs come to its end, within the grace.
    pub async fn run(self: &Rc<Self>, jobs: impl IntoIterator<Item = Job>) -> io::Result<()> {
        let progress = self.clone().tell_progress();
        let _progress = TaskBuilder::new().name("progress").create_task(progress).abort_on_drop();
        let ended = task_group(async |pauses| {
            let worker = |number| {
                let work = self.clone().be_a_worker(pauses.clone());
                TaskBuilder::new().name(format!("worker-{number}")).create_task(work)
            };
            let workers: Vec<Task<()>> = (1..=self.rules.workers).map(worker).collect();
            let all = catch_cancel(async {
                for job in jobs {
                    self.queue.put(Ticket { job, attempt: 1 }.in_line()).await?;
                }
                self.queue.join().await;
                Ok(())
            });
            let Ok(ended) = all.await else {
                self.drain(workers).await;
                resume_cancel().await
            };
            self.queue.shutdown();
            wait(workers, AllCompleted).await;
            ended
        });
        Ok(ended.await?)
    }

    /// Does one job after the other, until the queue is shut down.
    async fn be_a_worker(self: Rc<Self>, pauses: TaskGroup<ShutDown>) {
        while let Ok(Prioritized(_, ticket)) = self.queue.get().await {
            // Whatever is made in here, tasks and threads, knows the job.
            JOB.scope(ticket.job.to_string(), self.process(ticket, &pauses)).await;
        }
    }

    async fn process(self: &Rc<Self>, ticket: Ticket, pauses: &TaskGroup<ShutDown>) {
        let Ticket { job, attempt } = ticket;
        self.tally.running.up();
        let ended = catch_cancel(self.attempt(job, attempt)).await;
        self.tally.running.down();
        match ended {
            Ok(Ok(())) => {
                self.tally.done.up();
                say(format_args!("is done"));
            }
            Ok(Err(Failure::Final(why))) => self.bury(job, attempt, why),
            Ok(Err(Failure::Again(why))) => match self.rules.backoff.pause(job.number, attempt) {
                None => self.bury(job, attempt, why),
                Some(pause) => {
                    say(format_args!("attempt {attempt} failed: {why}; the next in {pause:.0?}"));
                    let ticket = Ticket { job, attempt: attempt + 1 };
                    // Refused when the end has begun: the job is left.
                    if pauses.try_create_task(self.clone().come_back(ticket, pause)).is_ok() {
                        return;
                    }
                }
            },
            Err(_) => {
                self.tally.cancelled.up();
                say(format_args!("attempt {attempt} is cancelled"));
                resume_cancel().await
            }
        }
        self.queue.task_done();
    }

    /// One attempt: a task, so that the limit ends whatever it does, and a panic ends nothing else.
    async fn attempt(self: &Rc<Self>, job: Job, attempt: u32) -> Result<(), Failure> {
        let limit = self.rules.limit;
        let crew = self.clone();
        let task = TaskBuilder::new()
            .name(job.to_string())
            .create_task(async move { (crew.work)(job, attempt).await });
        match wait_for(task, limit).await {
            Ok(ended) => ended,
            Err(WaitError::Elapsed(_)) => Err(Failure::Again(format!("it did not end within {limit:?}"))),
            Err(WaitError::Join(error)) => Err(error.into()),
        }
    }

    fn bury(&self, job: Job, attempt: u32, why: String) {
        say(format_args!("attempt {attempt} failed: {why}; it will not be tried again"));
        self.tally.bury(job, attempt, why);
    }

    /// Goes into the queue again after a pause.
    async fn come_back(self: Rc<Self>, ticket: Ticket, pause: Duration) -> Result<(), ShutDown> {
        self.tally.pausing.up();
        let paused = catch_cancel(sleep(pause)).await;
        self.tally.pausing.down();
        if paused.is_err() {
            resume_cancel().await
        }
        // The crew's end may have come in this very turn; then the job is left.
        if self.queue.put(ticket.in_line()).await.is_ok() {
            self.tally.retries.up();
            self.queue.task_done();
        }
        Ok(())
    }

    /// The orderly end.
    async fn drain(&self, workers: Vec<Task<()>>) {
        self.queue.shutdown_now();
        let (running, grace) = (self.tally.running.get(), self.rules.grace);
        say(format_args!("interrupted: {running} jobs run, and may do so for {grace:?}"));
        let (_, late) = wait(workers, AllCompleted).timeout(grace).await;
        if !late.is_empty() {
            say(format_args!("{} jobs have not come to their end and are cancelled", late.len()));
            cancel_and_wait(late).await;
        }
    }

    async fn tell_progress(self: Rc<Self>) {
        loop {
            sleep(self.rules.progress).await;
            say(format_args!("{}", self.tally.progress()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use ringloop::{create_task, now};

    use super::*;
    use crate::luck::Luck;
    use crate::paused;

    const LIMIT: Duration = Duration::from_secs(10);
    const GRACE: Duration = Duration::from_secs(4);

    fn rules(workers: u32) -> Rules {
        let backoff = Backoff {
            attempts: 3,
            first: Duration::from_secs(60),
            longest: Duration::from_secs(3600),
            luck: Luck::of(1),
        };
        Rules { workers, limit: LIMIT, grace: GRACE, progress: Duration::from_secs(3600), backoff }
    }

    fn job(number: u32) -> Job {
        Job { priority: 1, number, kind: Kind::Digest }
    }

    fn pause(number: u32, attempt: u32) -> Duration {
        rules(1).backoff.pause(number, attempt).expect("it is not the last attempt")
    }

    /// What came of the jobs: done, dead, cancelled, left.
    fn outcome(tally: &Tally) -> [u32; 4] {
        assert_eq!((tally.running.get(), tally.pausing.get()), (0, 0), "nothing is under way any more");
        [tally.done.get(), tally.dead(), tally.cancelled.get(), tally.left()]
    }

    /// Attempts, and when they began.
    #[derive(Clone, Default)]
    struct Attempts(Rc<RefCell<Vec<(u32, u32, Duration)>>>);

    impl Attempts {
        fn note(&self, started: std::time::Instant, job: Job, attempt: u32) {
            self.0.borrow_mut().push((job.number, attempt, now().duration_since(started)));
        }

        fn take(&self) -> Vec<(u32, u32, Duration)> {
            self.0.take()
        }
    }

    #[test]
    fn a_job_that_fails_twice_succeeds_after_two_pauses() -> io::Result<()> {
        paused(async {
            let (tally, attempts, started) = (Rc::new(Tally::of(1)), Attempts::default(), now());
            let noted = attempts.clone();
            let crew = Crew::new(rules(2), tally.clone(), async move |job, attempt| {
                noted.note(started, job, attempt);
                if attempt < 3 { Err(Failure::Again("not yet".into())) } else { Ok(()) }
            });
            crew.run([job(1)]).await?;
            let second = pause(1, 1);
            let third = second + pause(1, 2);
            assert_eq!(attempts.take(), [(1, 1, Duration::ZERO), (1, 2, second), (1, 3, third)]);
            assert_eq!(outcome(&tally), [1, 0, 0, 0]);
            assert_eq!(tally.retries.get(), 2);
            Ok(())
        })
    }

    #[test]
    fn a_job_that_stalls_is_ended_at_the_limit_and_dies_after_its_last_attempt() -> io::Result<()> {
        paused(async {
            let (tally, started) = (Rc::new(Tally::of(1)), now());
            let crew = Crew::new(rules(1), tally.clone(), async move |_, _| {
                sleep(Duration::from_secs(86_400)).await;
                Ok(())
            });
            crew.run([job(1)]).await?;
            assert_eq!(now().duration_since(started), LIMIT * 3 + pause(1, 1) + pause(1, 2));
            assert_eq!(outcome(&tally), [0, 1, 0, 0]);
            assert!(
                tally
                    .to_string()
                    .starts_with("dead: job-001 digest, at attempt 3: it did not end within 10s\n")
            );
            Ok(())
        })
    }

    #[test]
    fn what_fails_for_good_and_what_panics_are_not_tried_again_and_harm_nobody() -> io::Result<()> {
        paused(async {
            let (tally, attempts, started) = (Rc::new(Tally::of(3)), Attempts::default(), now());
            let noted = attempts.clone();
            let crew = Crew::new(rules(1), tally.clone(), async move |job, attempt| {
                noted.note(started, job, attempt);
                assert_ne!(job.number, 2, "bad luck");
                if job.number == 1 { Err(Failure::Final("no such thing".into())) } else { Ok(()) }
            });
            crew.run([1, 2, 3].map(job)).await?;
            assert_eq!(attempts.take(), [1, 2, 3].map(|number| (number, 1, Duration::ZERO)));
            assert_eq!(outcome(&tally), [1, 2, 0, 0]);
            Ok(())
        })
    }

    #[test]
    fn a_job_in_its_pause_keeps_no_worker_and_the_urgent_come_first() -> io::Result<()> {
        paused(async {
            let (tally, attempts, started) = (Rc::new(Tally::of(4)), Attempts::default(), now());
            let noted = attempts.clone();
            let crew = Crew::new(rules(1), tally.clone(), async move |job, attempt| {
                noted.note(started, job, attempt);
                sleep(Duration::from_secs(1)).await;
                if (job.number, attempt) == (4, 1) { Err(Failure::Again("not yet".into())) } else { Ok(()) }
            });
            let urgent = Job { priority: 0, ..job(4) };
            crew.run([job(2), job(1), job(3), urgent]).await?;
            let second = Duration::from_secs(1) + pause(4, 1);
            let at = Duration::from_secs;
            assert_eq!(
                attempts.take(),
                [(4, 1, at(0)), (1, 1, at(1)), (2, 1, at(2)), (3, 1, at(3)), (4, 2, second)]
            );
            assert_eq!(outcome(&tally), [4, 0, 0, 0]);
            Ok(())
        })
    }

    #[test]
    fn a_cancelled_crew_lets_jobs_end_within_the_grace_and_leaves_the_rest() {
        paused(async {
            let (tally, started) = (Rc::new(Tally::of(5)), now());
            // Two run when the cancel comes, a second after the beginning: one needs 3 seconds more, the other 8.
            let crew = Crew::new(rules(2), tally.clone(), async move |job, _| {
                sleep(Duration::from_secs(if job.number == 1 { 4 } else { 9 })).await;
                Ok(())
            });
            let run = create_task(async move { crew.run((1..=5).map(job)).await });
            sleep(Duration::from_secs(1)).await;
            run.cancel();
            let ended = run.await.expect_err("the cancel has gone on");
            assert!(ended.is_cancelled());
            assert_eq!(now().duration_since(started), Duration::from_secs(1) + GRACE);
            assert_eq!(outcome(&tally), [1, 0, 1, 3]);
        })
    }

    #[test]
    fn a_cancelled_crew_waits_for_no_pause_and_begins_none() {
        paused(async {
            let (tally, started) = (Rc::new(Tally::of(2)), now());
            // At the cancel one job pauses; the other fails two seconds later.
            let crew = Crew::new(rules(2), tally.clone(), async move |job, _| {
                sleep(Duration::from_secs(if job.number == 1 { 0 } else { 3 })).await;
                Err(Failure::Again("not today".into()))
            });
            let run = create_task(async move { crew.run([job(1), job(2)]).await });
            sleep(Duration::from_secs(1)).await;
            assert_eq!((tally.running.get(), tally.pausing.get()), (1, 1));
            run.cancel();
            assert!(run.await.is_err_and(|error| error.is_cancelled()));
            assert_eq!(now().duration_since(started), Duration::from_secs(3));
            assert_eq!(outcome(&tally), [0, 0, 0, 2]);
        })
    }

    #[test]
    fn an_attempt_knows_its_job_without_being_told() -> io::Result<()> {
        paused(async {
            let (tally, seen) = (Rc::new(Tally::of(2)), Rc::new(RefCell::new(Vec::new())));
            let heard = seen.clone();
            let crew = Crew::new(rules(1), tally, async move |_, _| {
                let inside = create_task(async { JOB.get() });
                let inside = inside.await?;
                heard.borrow_mut().extend(inside);
                Ok(())
            });
            crew.run([job(1), job(2)]).await?;
            assert_eq!(*seen.borrow(), ["job-001 digest", "job-002 digest"]);
            assert_eq!(JOB.get(), None);
            Ok(())
        })
    }
}
