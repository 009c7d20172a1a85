//! Every primitive that can be waited for, under everything that can end a wait: one table and one driver.
//!
//! A cell of the matrix: some tasks wait, one of them leaves, {before, in the very moment in which} it is let through, by
//! {a cancel, an abort, a timeout, a `select!` that it loses}. Whatever the primitive: nothing is lost, nothing is given
//! twice, those who stay are served in the order of their coming, and the lines are empty afterwards.

use crate::harness::probes::{Gate, Log, poll_once, poll_with};
use crate::harness::{Ctx, Trial};
use crate::once;
use futures_util::StreamExt;
use futures_util::future::{FutureExt, LocalBoxFuture};
use ringloop::sync::{
    Barrier, Condition, Event, LifoQueue, Mutex, PriorityQueue, Promise, Queue, QueueOf, Semaphore, Storage,
    new_future,
};
use ringloop::{
    AllCompleted, JoinError, Task, TaskSet, as_completed, create_task, select, sleep, staggered_race,
    timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(whoever_leaves_a_line_nothing_is_lost_and_nothing_doubled),
    once!(what_is_free_is_there_at_the_first_poll),
];

/// What is checked in the end, of those who were served, in order.
type Accounts = Box<dyn Fn(&[u32])>;

/// Makes a primitive for one cell.
type Make = fn() -> Subject;

/// A primitive in a state in which everybody has to wait.
struct Subject {
    /// How many let one step of `serve` through.
    serves: Serves,
    /// One task's wait; its number is what it puts in, if it puts something in.
    wait: Box<dyn Fn(u32) -> LocalBoxFuture<'static, ()>>,
    /// Lets waiters through, without running them.
    serve: Box<dyn Fn()>,
    /// The primitive's `Debug`, which shows its lines.
    shown: Box<dyn Fn() -> String>,
    /// Checks what the primitive did, given who was served, in order.
    accounts: Accounts,
}

/// Whom one step lets through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Serves {
    /// The first in line.
    One,
    /// All who wait.
    All,
    /// The only one there ever is: who comes later takes its place over.
    Only,
}

impl Subject {
    fn new<W: Future<Output = ()> + 'static>(
        serves: Serves,
        shown: impl Debug + 'static,
        wait: impl Fn(u32) -> W + 'static,
        serve: impl Fn() + 'static,
    ) -> Self {
        Subject {
            serves,
            wait: Box::new(move |number| Box::pin(wait(number))),
            serve: Box::new(serve),
            shown: Box::new(move || format!("{shown:?}")),
            accounts: Box::new(|_| ()),
        }
    }

    fn with_accounts(self, accounts: impl Fn(&[u32]) + 'static) -> Self {
        Subject { accounts: Box::new(accounts), ..self }
    }
}

/// The primitives, by name.
const SUBJECTS: &[(&str, Make)] = &[
    ("Mutex", mutex),
    ("Semaphore", semaphore),
    ("Event", event),
    ("Condition", condition),
    ("Barrier", barrier),
    ("Queue::get", || getting(Queue::unbounded())),
    ("LifoQueue::get", || getting(LifoQueue::unbounded())),
    ("PriorityQueue::get", || getting(PriorityQueue::unbounded())),
    ("Queue::put", || putting(Queue::bounded(1))),
    ("LifoQueue::put", || putting(LifoQueue::bounded(1))),
    ("PriorityQueue::put", || putting(PriorityQueue::bounded(1))),
    ("Queue::join", || joining(Queue::unbounded())),
    ("LifoQueue::join", || joining(LifoQueue::unbounded())),
    ("PriorityQueue::join", || joining(PriorityQueue::unbounded())),
    ("FutureValue", future_value),
    ("SharedFuture", shared_future),
    ("Task::shield", shielded_handle),
    ("TaskSet::next", task_set),
    ("AsCompleted::next", completed),
    ("Wait", waiting_for_all),
    ("staggered_race", racing),
];

/// Whom the lock is given to keeps it; serving takes it from there.
fn mutex() -> Subject {
    let mutex = Mutex::new(());
    let held = Rc::new(RefCell::new(mutex.try_lock()));
    let holder = held.clone();
    let wait = {
        let mutex = mutex.clone();
        move |_| {
            let (locking, holder) = (mutex.lock(), holder.clone());
            async move {
                let guard = locking.await;
                let before = holder.borrow_mut().replace(guard);
                assert!(before.is_none(), "two have the lock");
            }
        }
    };
    Subject::new(Serves::One, mutex, wait, move || drop(held.take()))
}

fn semaphore() -> Subject {
    let semaphore = Semaphore::new(0);
    let (line, source) = (semaphore.clone(), semaphore.clone());
    let wait = move |_| {
        let acquire = line.acquire();
        async move { acquire.await.forget() }
    };
    let left = semaphore.clone();
    Subject::new(Serves::One, semaphore, wait, move || source.add_permits(1))
        .with_accounts(move |_| assert_eq!(left.available_permits(), 0, "a permit was doubled"))
}

fn event() -> Subject {
    let event = Event::new();
    let (line, source) = (event.clone(), event.clone());
    Subject::new(Serves::All, event, move |_| line.wait(), move || source.set())
}

fn condition() -> Subject {
    let (mutex, condition) = (Mutex::new(()), Condition::new());
    let (lock, line) = (mutex.clone(), condition.clone());
    let wait = move |_| {
        let (lock, line) = (lock.clone(), line.clone());
        async move { drop(line.wait(lock.lock().await).await) }
    };
    let (lock, source) = (mutex.clone(), condition.clone());
    let serve = move || {
        let guard = lock.try_lock().expect("nobody keeps the lock");
        source.notify(&guard, 1);
    };
    Subject::new(Serves::One, (mutex, condition), wait, serve)
}

/// Serving is coming, until the round is complete.
fn barrier() -> Subject {
    let barrier = Barrier::new(7);
    let (line, source) = (barrier.clone(), barrier.clone());
    let numbers = Rc::new(RefCell::new(Vec::new()));
    let given = numbers.clone();
    let wait = move |_| {
        let (passing, given) = (line.wait(), given.clone());
        async move {
            let number = passing.await.expect("nobody breaks it");
            given.borrow_mut().push(number);
        }
    };
    let serve = move || {
        let mut others = Vec::new();
        let mut passed = false;
        while source.n_waiting() > 0 && !passed {
            let mut other = source.wait();
            passed = poll_with(Waker::noop(), &mut other).is_ready();
            others.push(other);
        }
    };
    Subject::new(Serves::All, barrier, wait, serve).with_accounts(move |served| {
        let mut numbers = numbers.borrow_mut();
        assert_eq!(numbers.len(), served.len());
        // The last to come may belong to the next round.
        numbers.pop();
        let different: BTreeSet<_> = numbers.iter().collect();
        assert_eq!(different.len(), numbers.len(), "a number was given twice: {numbers:?}");
    })
}

/// Serving is putting an item in; they are numbered, and each is got out once.
fn getting<S: Storage<Item = u32> + 'static>(queue: QueueOf<S>) -> Subject {
    getting_by(queue, |queue| queue.get().map(|item| item.expect("it is not shut down")).boxed_local())
}

/// The same, by this way to get one.
fn getting_by<S: Storage<Item = u32> + 'static>(
    queue: QueueOf<S>,
    get: fn(&QueueOf<S>) -> LocalBoxFuture<'static, u32>,
) -> Subject {
    let (line, source) = (queue.clone(), queue.clone());
    let got = Rc::new(RefCell::new(Vec::new()));
    let gets = got.clone();
    let wait = move |_| {
        let (getting, gets) = (get(&line), gets.clone());
        async move {
            let item = getting.await;
            gets.borrow_mut().push(item);
        }
    };
    let next = Cell::new(0);
    let serve = move || source.try_put(next.replace(next.get() + 1)).expect("it has no bound");
    let left = queue.clone();
    Subject::new(Serves::One, queue, wait, serve).with_accounts(move |served| {
        assert!(left.is_empty());
        assert!(got.borrow().iter().copied().eq(0..served.len() as u32), "{got:?}");
    })
}

/// Serving is getting an item out; the items are those that were put in, in their order.
fn putting<S: Storage<Item = u32> + 'static>(queue: QueueOf<S>) -> Subject {
    const FIRST: u32 = 1000;
    queue.try_put(FIRST).expect("there is room for one");
    let (line, source, left) = (queue.clone(), queue.clone(), queue.clone());
    let out = Rc::new(RefCell::new(Vec::new()));
    let gets = out.clone();
    let serve = move || gets.borrow_mut().push(source.try_get().expect("it is full"));
    let wait = move |number| {
        let putting = line.put(number);
        async move { putting.await.expect("it is not shut down") }
    };
    Subject::new(Serves::One, queue, wait, serve).with_accounts(move |served| {
        let items = out.borrow().iter().copied().chain(left.try_get()).collect::<Vec<_>>();
        assert!(items.iter().eq([FIRST].iter().chain(served)), "{items:?}");
    })
}

/// The first attempt fails, the second gets an item.
fn racing() -> Subject {
    getting_by(Queue::unbounded(), |queue| {
        let attempts = [None, Some(queue.clone())].map(|queue| {
            async move || match queue {
                Some(queue) => queue.get().await.map_err(drop),
                None => Err(()),
            }
        });
        staggered_race(attempts, None).map(|won| won.expect("it is not shut down").1).boxed_local()
    })
}

fn joining<S: Storage<Item = u32> + 'static>(queue: QueueOf<S>) -> Subject {
    queue.try_put(0).expect("it has no bound");
    let (line, source) = (queue.clone(), queue.clone());
    let unfinished = Cell::new(true);
    let serve = move || {
        if unfinished.replace(false) {
            source.task_done();
        }
    };
    Subject::new(Serves::All, queue, move |_| line.join(), serve)
}

/// Awaited by reference: who leaves leaves the future where it is.
fn future_value() -> Subject {
    let (promise, value) = new_future();
    let (promise, value) = (Cell::new(Some(promise)), Rc::new(RefCell::new(value)));
    let wait = move |_| {
        let value = value.clone();
        async move {
            let came = poll_fn(|cx| Pin::new(&mut *value.borrow_mut()).poll(cx)).await;
            assert_eq!(came, Ok("it"));
        }
    };
    Subject::new(Serves::Only, (), wait, move || keep(&promise))
}

fn shared_future() -> Subject {
    let (promise, value) = new_future();
    let (promise, value) = (Cell::new(Some(promise)), value.shared());
    let line = value.clone();
    let wait = move |_| {
        let value = line.clone();
        async move { assert_eq!(value.await, Ok("it")) }
    };
    Subject::new(Serves::All, value, wait, move || keep(&promise))
}

/// One waits for a task that never ends by itself; serving is ending it, at once.
fn of_a_task<W: 'static>(
    make: impl FnOnce(Task<()>) -> W,
    poll: impl Fn(&mut W, &mut Context<'_>) -> Poll<()> + Copy + 'static,
) -> Subject {
    let task = create_task(pending::<()>());
    let name = task.task_ref();
    let waited_for = Rc::new(RefCell::new(make(task)));
    let wait = move |_| {
        let waited_for = waited_for.clone();
        poll_fn(move |cx| poll(&mut waited_for.borrow_mut(), cx))
    };
    Subject::new(Serves::Only, (), wait, move || name.abort())
}

/// What the task has ended with, once.
fn ended(end: Option<Result<(), JoinError>>) {
    assert!(end.is_some_and(|end| end.is_err_and(|error| error.is_cancelled())));
}

/// A bare handle would pass the request on.
fn shielded_handle() -> Subject {
    of_a_task(Task::shield, |handle, cx| handle.poll_unpin(cx).map(|end| ended(Some(end))))
}

fn task_set() -> Subject {
    of_a_task(|task| TaskSet::from_iter([task]), |set, cx| set.poll_next_unpin(cx).map(ended))
}

fn completed() -> Subject {
    of_a_task(|task| as_completed([task]), |completed, cx| completed.poll_next_unpin(cx).map(ended))
}

fn waiting_for_all() -> Subject {
    of_a_task(
        |task| ringloop::wait([task], AllCompleted),
        |waiting, cx| {
            waiting.poll_unpin(cx).map(|(done, pending)| {
                assert!(pending.is_empty());
                let [mut task] = <[_; 1]>::try_from(done).expect("there was one");
                ended(task.try_result());
            })
        },
    )
}

/// Keeps the promise, the first time.
fn keep(promise: &Cell<Option<Promise<&'static str>>>) {
    if let Some(promise) = promise.take() {
        promise.set("it").expect("it is awaited");
    }
}

/// How one of the waiting tasks leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// By a request, which what has completed beats.
    Cancelled,
    /// Dropped where it stands.
    Aborted,
    /// At its limit; what has completed in that moment beats it.
    TimedOut,
    /// Dropped by a `select!` that another branch wins.
    Deselected,
}

impl Exit {
    const ALL: [Exit; 4] = [Exit::Cancelled, Exit::Aborted, Exit::TimedOut, Exit::Deselected];

    /// Whether a waiter that is let through and leaves in the same moment was let through.
    fn is_beaten(self) -> bool {
        matches!(self, Exit::Cancelled | Exit::TimedOut)
    }
}

/// SEM-05, SEM-06, LOCK-04, COND-05, COND-06, BARRIER-04, QUEUE-05, QUEUE-06, FUT-04, FUT-11
fn whoever_leaves_a_line_nothing_is_lost_and_nothing_doubled(ctx: &Ctx) {
    ctx.run_paused(async {
        for (name, subject) in SUBJECTS {
            for exit in Exit::ALL {
                for woken in [false, true] {
                    for leaver in 0..3 {
                        eprintln!("{name}: number {leaver} leaves, {exit:?}, woken: {woken}");
                        let subject = subject();
                        match subject.serves {
                            // Some have begun a task, which serving ends.
                            Serves::Only if leaver > 0 => (subject.serve)(),
                            _ => cell(subject, exit, woken, leaver).await,
                        }
                    }
                }
            }
        }
    });
}

/// One cell of the matrix, for the waiter that stands in this place.
async fn cell(subject: Subject, exit: Exit, woken: bool, leaver: u32) {
    const LIMIT: Duration = Duration::from_secs(1);
    let Subject { serves, wait, serve, shown, accounts } = subject;
    let (log, gate) = (Log::new(), Gate::new());
    // Registered before the leaver's limit: at that instant this task runs first.
    let mut alarm = sleep(LIMIT);
    assert!(poll_once(&mut alarm).await.is_pending());
    let arrive = |number: u32| {
        let (waiting, log, gate) = (wait(number), log.clone(), gate.clone());
        create_task(async move {
            let waiting = waiting.map(|()| true);
            let served = match exit {
                Exit::TimedOut if number == leaver => timeout(LIMIT, waiting).await.unwrap_or(false),
                Exit::Deselected if number == leaver => select! {
                    () = gate.pass() => false,
                    served = waiting => served,
                },
                _ => waiting.await,
            };
            if served {
                log.push(number);
            }
        })
    };
    let crowd = if serves == Serves::Only { 1 } else { 4 };
    let mut tasks: Vec<_> = (0..crowd).map(arrive).collect();
    pause().await;
    // Those before it in line are served, so that it is the first.
    for served in 0..if serves == Serves::One { leaver } else { 0 } {
        serve();
        pause().await;
        assert_eq!(log.len() as u32, served + 1);
    }
    if exit == Exit::TimedOut {
        alarm.await;
    }
    if woken {
        serve();
    }
    match exit {
        Exit::Cancelled => drop(tasks[leaver as usize].cancel()),
        Exit::Aborted => tasks[leaver as usize].abort(),
        Exit::Deselected => gate.open(),
        Exit::TimedOut => {}
    }
    pause().await;
    assert!(tasks[leaver as usize].is_done());
    let was_served = woken && exit.is_beaten();
    assert_eq!(log.all().contains(&leaver), was_served);
    if serves == Serves::One {
        // What it did not take was for the next.
        assert_eq!(log.len() as u32, leaver + u32::from(woken));
    }

    // One more comes, and nobody is left waiting.
    let mut stay: Vec<_> = (0..crowd).filter(|&number| number != leaver).collect();
    if serves != Serves::Only || !was_served {
        tasks.push(arrive(crowd));
        stay.push(crowd);
    }
    pause().await;
    while log.len() < stay.len() + usize::from(was_served) {
        let before = log.len();
        serve();
        pause().await;
        let served = log.len() - before;
        assert!(
            served == 1 || (served > 1 && serves == Serves::All),
            "{served} were served: {:?}",
            log.all()
        );
    }
    // The leaver may run first: its limit woke it before it was let through.
    let served = log.all();
    let stayed: Vec<_> = served.iter().copied().filter(|&number| number != leaver).collect();
    assert_eq!(stayed, stay, "first come, first served");
    accounts(&served);
    let shown = shown();
    assert!(
        !shown.replace("0 waiting, 0 granted", "").contains("waiting"),
        "somebody is left in line: {shown}"
    );
    assert!(tasks.iter().all(|task| task.is_done()));
}

/// Time enough for whatever was woken, and for what that wakes.
async fn pause() {
    for _ in 0..5 {
        yield_now().await;
    }
}

/// SCHED-16, BARRIER-08, COND-03, QUEUE-11: asyncio does not switch at these either.
fn what_is_free_is_there_at_the_first_poll(ctx: &Ctx) {
    async fn at_once<F: Future>(future: F) -> F::Output {
        let mut future = Box::pin(future);
        match poll_once(&mut future).await {
            std::task::Poll::Ready(output) => output,
            std::task::Poll::Pending => panic!("it waits"),
        }
    }
    ctx.run(async {
        let (mutex, condition, event) = (Mutex::new(7), Condition::new(), Event::new());
        let guard = at_once(mutex.lock()).await;
        drop(at_once(condition.wait_for(guard, |value| *value == 7)).await);
        drop(at_once(Semaphore::new(3).acquire_many(3)).await);
        event.set();
        at_once(event.wait()).await;
        assert_eq!(at_once(Barrier::new(1).wait()).await, Ok(0));
        let queue = Queue::bounded(1);
        at_once(queue.join()).await;
        assert_eq!((at_once(queue.put(1)).await, at_once(queue.get()).await), (Ok(()), Ok(1)));
        let (promise, value) = new_future();
        promise.set(2).expect("it is awaited");
        let value = value.shared();
        assert_eq!((at_once(value.clone()).await, at_once(value).await), (Ok(2), Ok(2)));
    });
}
