//! Queues: the three orders, waiting on either side, join, the two shutdowns, and a model under random interleavings.

use crate::harness::kinds::turns;
use crate::harness::probes::{CountingWaker, Dice, Log, poll_with};
use crate::harness::{Ctx, Trial};
use crate::once;
use futures_util::StreamExt;
use ringloop::sync::{Get, LifoQueue, PriorityQueue, Put, Queue, QueueOf, Storage};
use ringloop::{ShutDown, Task, TryGetError, TryPutError, create_task, gather, sleep, timeout, yield_now};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

pub const TRIALS: &[Trial] = &[
    once!(each_queue_has_its_order),
    once!(a_getter_waits_for_a_put),
    once!(the_item_of_a_cancelled_getter_goes_to_the_next),
    once!(many_cancelled_getters_lose_nothing),
    once!(the_item_of_a_cancelled_putter_is_not_put_in),
    once!(producers_and_consumers_of_unequal_pace_do_not_lock_up),
    once!(a_join_waits_for_the_last_report),
    once!(an_unbounded_queue_is_never_full),
    once!(shutting_an_empty_queue_down_sends_getters_away),
    once!(a_queue_that_was_shut_down_is_drained),
    once!(an_immediate_shutdown_leaves_what_was_fetched_to_the_join),
    once!(a_queue_is_a_stream),
    once!(a_queue_does_what_its_model_does),
    once!(a_getter_that_is_awake_already_does_not_take_the_item_of_one_before_it),
    once!(a_putter_does_not_overtake_one_that_was_given_room),
];

/// A task that gets one item.
fn getter<S: Storage + 'static>(queue: &QueueOf<S>) -> Task<Result<S::Item, ShutDown>> {
    create_task(queue.get())
}

/// QUEUE-01
fn each_queue_has_its_order(ctx: &Ctx) {
    async fn round<S: Storage<Item = u32>>(queue: QueueOf<S>) -> Vec<u32> {
        for item in [1, 3, 2] {
            queue.put(item).await.expect("it is open");
        }
        queue.shutdown();
        queue.iter().collect().await
    }
    ctx.run(async {
        assert_eq!(round(Queue::unbounded()).await, [1, 3, 2]);
        assert_eq!(round(LifoQueue::unbounded()).await, [2, 3, 1]);
        assert_eq!(round(PriorityQueue::unbounded()).await, [1, 2, 3]);
    });
}

/// QUEUE-03, QUEUE-08: first come, first served, on both sides.
fn a_getter_waits_for_a_put(ctx: &Ctx) {
    ctx.run_paused(async {
        let queue = Queue::bounded(1);
        let getters = create_task(gather([(); 3].map(|()| queue.get())));
        sleep(Duration::from_secs(1)).await;
        assert!(!getters.is_done());
        let putters = gather(["a", "b", "c", "d"].map(|item| queue.put(item)));
        assert_eq!(getters.await.expect("no panic"), Ok(vec!["a", "b", "c"]));
        assert_eq!(putters.await, Ok(vec![(); 4]));
        assert_eq!(queue.try_get(), Ok("d"));
    });
}

/// QUEUE-05: the getter was let through and is cancelled in the same turn; then what has completed wins, or, if it is
/// dropped, the next getter has the item.
fn the_item_of_a_cancelled_getter_goes_to_the_next(ctx: &Ctx) {
    ctx.run(async {
        for dropped in [false, true] {
            let queue = Queue::bounded(1);
            let [first, next] = [(); 2].map(|()| getter(&queue));
            yield_now().await;
            queue.try_put(1).expect("there is room");
            if dropped {
                first.abort();
                assert!(first.await.expect_err("it was dropped").is_cancelled());
            } else {
                first.cancel();
                assert_eq!(first.await.expect("it had its item"), Ok(1));
                queue.try_put(1).expect("there is room again");
            }
            assert_eq!(next.await.expect("no panic"), Ok(1));
        }
    });
}

/// QUEUE-05
fn many_cancelled_getters_lose_nothing(ctx: &Ctx) {
    ctx.run_paused(async {
        let queue = Queue::bounded(1);
        let given_up = [(); 5].map(|()| getter(&queue));
        let last = getter(&queue);
        yield_now().await;
        for getter in given_up {
            getter.cancel();
            assert!(getter.await.is_err());
        }
        queue.try_put(1).expect("there is room");
        assert_eq!(last.await.expect("no panic"), Ok(1));
        timeout(Duration::from_secs(1), queue.get()).await.expect_err("there was one item");
    });
}

/// QUEUE-06
fn the_item_of_a_cancelled_putter_is_not_put_in(ctx: &Ctx) {
    ctx.run(async {
        let queue = Queue::bounded(1);
        queue.put("first").await.expect("it is open");
        let cancelled = create_task(queue.put("cancelled"));
        let dropped = create_task(queue.put("dropped"));
        let stays = create_task(queue.put("stays"));
        yield_now().await;
        cancelled.cancel();
        assert!(cancelled.await.is_err());
        // Room is granted to the one that is dropped in the same turn.
        assert_eq!(queue.try_get(), Ok("first"));
        dropped.abort();
        assert!(dropped.await.is_err());
        assert_eq!(stays.await.expect("no panic"), Ok(()));
        assert_eq!(queue.try_get(), Ok("stays"));
        assert_eq!(queue.put("later").await, Ok(()));
        assert_eq!((queue.try_get(), queue.try_get()), (Ok("later"), Err(TryGetError::Empty)));
    });
}

/// QUEUE-09
fn producers_and_consumers_of_unequal_pace_do_not_lock_up(ctx: &Ctx) {
    ctx.run_paused(async {
        for (producing, consuming) in [(0, 0), (3, 1), (1, 3)] {
            let queue = Queue::bounded(1);
            let producers = (0..4_u64).map(|producer| {
                let queue = queue.clone();
                create_task(async move {
                    for round in 0..20 {
                        sleep(Duration::from_millis(producing)).await;
                        queue.put((producer, round)).await.expect("it is open");
                    }
                })
            });
            let producers: Vec<_> = producers.collect();
            let (got, consumers) = (Log::new(), Log::new());
            for _ in 0..3 {
                let (queue, got) = (queue.clone(), got.clone());
                let consumer = create_task(async move {
                    while let Ok(item) = queue.get().await {
                        sleep(Duration::from_millis(consuming)).await;
                        got.push(item);
                        queue.task_done();
                    }
                });
                consumers.push(consumer.task_ref());
            }
            for producer in producers {
                producer.await.expect("no panic");
            }
            queue.join().await;
            queue.shutdown();
            yield_now().await;
            assert!(consumers.all().iter().all(|consumer| consumer.is_done()));
            let of = |one| got.all().into_iter().filter(|(producer, _)| *producer == one).count();
            assert!((0..4).all(|producer| of(producer) == 20));
        }
    });
}

/// QUEUE-11
fn a_join_waits_for_the_last_report(ctx: &Ctx) {
    ctx.run_paused(async {
        let (queue, log) = (Queue::unbounded(), Log::new());
        queue.join().await;
        for item in 0..10 {
            queue.put(item).await.expect("it is open");
        }
        for _ in 0..2 {
            let (queue, log) = (queue.clone(), log.clone());
            create_task(async move {
                while let Ok(item) = queue.get().await {
                    sleep(Duration::from_secs(1)).await;
                    log.push(item);
                    queue.task_done();
                }
            })
            .detach();
        }
        queue.join().await;
        assert_eq!(log.len(), 10);
        queue.join().await;
        queue.shutdown();
    });
}

/// QUEUE-12
fn an_unbounded_queue_is_never_full(ctx: &Ctx) {
    ctx.run(async {
        let queue = Queue::unbounded();
        assert!(queue.is_empty());
        for item in 0..10_000 {
            queue.put(item).await.expect("it is open");
        }
        assert_eq!((queue.len(), queue.is_full(), queue.is_empty()), (10_000, false, false));
    });
}

/// QUEUE-13
fn shutting_an_empty_queue_down_sends_getters_away(ctx: &Ctx) {
    ctx.run(async {
        let queue = Queue::<u32>::bounded(1);
        let getter = getter(&queue);
        yield_now().await;
        queue.shutdown();
        assert!(getter.await.expect("no panic").is_err());
        queue.join().await;
        assert!(queue.get().await.is_err());
        assert!(queue.put(1).await.is_err());
        assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
        assert_eq!(queue.try_put(1), Err(TryPutError::ShutDown(1)));
    });
}

/// QUEUE-14
fn a_queue_that_was_shut_down_is_drained(ctx: &Ctx) {
    ctx.run(async {
        let queue = Queue::bounded(1);
        queue.put("in").await.expect("it is open");
        let putter = create_task(queue.put("out"));
        let joiner = create_task(queue.join());
        yield_now().await;
        queue.shutdown();
        assert!(putter.await.expect("no panic").is_err());
        assert_eq!(queue.get().await, Ok("in"));
        assert!(queue.get().await.is_err());
        yield_now().await;
        assert!(!joiner.is_done());
        queue.task_done();
        joiner.await.expect("no panic");
    });
}

/// QUEUE-16
fn an_immediate_shutdown_leaves_what_was_fetched_to_the_join(ctx: &Ctx) {
    ctx.run(async {
        let queue = Queue::unbounded();
        for item in 0..3 {
            queue.put(item).await.expect("it is open");
        }
        assert_eq!(queue.get().await, Ok(0));
        let joiner = create_task(queue.join());
        yield_now().await;
        queue.shutdown_now();
        assert!(queue.get().await.is_err() && queue.is_empty());
        yield_now().await;
        assert!(!joiner.is_done(), "one was fetched and is not done");
        queue.task_done();
        joiner.await.expect("no panic");
    });
}

fn a_queue_is_a_stream(ctx: &Ctx) {
    ctx.run(async {
        let queue = Queue::bounded(2);
        let sum = create_task({
            let items = queue.iter();
            items.fold(0, async |sum, item| sum + item)
        });
        for item in 1..=10 {
            queue.put(item).await.expect("it is open");
        }
        queue.shutdown();
        assert_eq!(sum.await.expect("no panic"), 55);
    });
}

/// What a queue must do, in the plainest words: a list, and who waits for what.
#[derive(Default)]
struct Model {
    /// The items, in the order of their coming.
    items: VecDeque<u32>,
    /// Items that getters with a right left behind, because a later one came before them; in the order of the rights.
    aside: VecDeque<u32>,
    /// How many may be in it.
    capacity: usize,
    /// Getters and putters by number: those who wait, in order, and those with a right.
    getting: Line,
    putting: Line,
    shut: bool,
}

/// Who waits, in order, and who has a right and has not come for it.
#[derive(Default)]
struct Line {
    waiting: VecDeque<u32>,
    granted: Vec<u32>,
}

impl Line {
    /// Grants to those in front, as many as there is something for.
    fn grant(&mut self, available: usize) {
        while self.granted.len() < available
            && let Some(next) = self.waiting.pop_front()
        {
            self.granted.push(next);
        }
    }

    fn remove(&mut self, number: u32) {
        self.waiting.retain(|&other| other != number);
        self.granted.retain(|&other| other != number);
    }

    /// Whether who comes now goes through.
    fn lets_through(&self, available: usize) -> bool {
        self.waiting.is_empty() && self.granted.len() < available
    }

    /// The same, for those who do not go before one with a right.
    fn lets_through_in_turn(&self, available: usize) -> bool {
        self.granted.is_empty() && self.lets_through(available)
    }

    /// How many got their right before this one and have not come; of a newcomer: all.
    fn before(&self, number: u32) -> usize {
        self.granted.iter().position(|&other| other == number).unwrap_or(self.granted.len())
    }
}

impl Model {
    /// For how many items there is room.
    fn room(&self) -> usize {
        if self.shut { usize::MAX } else { self.capacity - self.len() }
    }

    /// How many getters may go through: all, if there is nothing left to wait for.
    fn available(&self) -> usize {
        if self.shut && self.len() == 0 { usize::MAX } else { self.len() }
    }

    fn len(&self) -> usize {
        self.items.len() + self.aside.len()
    }

    /// The item of a getter with so many others before it.
    fn fetch(&mut self, before: usize, take: fn(&mut VecDeque<u32>) -> Option<u32>) -> Option<u32> {
        while self.aside.len() <= before {
            self.aside.push_back(take(&mut self.items)?);
        }
        self.aside.remove(before)
    }

    fn settle(&mut self) {
        self.putting.grant(self.room());
        self.getting.grant(self.available());
    }
}

/// QUEUE-01, QUEUE-03, QUEUE-05, QUEUE-06, QUEUE-13, QUEUE-14, in every mixture: after each random step the queue and the
/// model agree on who is served, who is woken, what comes out and how much is in it.
fn a_queue_does_what_its_model_does(ctx: &Ctx) {
    let mut dice = Dice(ctx.seed);
    for _ in 0..60 {
        let capacity = 1 + dice.below(3) as usize;
        interleave(&mut dice, Queue::bounded(capacity), VecDeque::pop_front);
        interleave(&mut dice, LifoQueue::bounded(capacity), VecDeque::pop_back);
        interleave(&mut dice, PriorityQueue::bounded(capacity), |items| {
            let smallest = items.iter().copied().min()?;
            items.retain(|&item| item != smallest);
            Some(smallest)
        });
    }
}

/// A future that waits, its number and its waker.
struct Waiting<F> {
    number: u32,
    future: F,
    counter: Arc<CountingWaker>,
    waker: std::task::Waker,
}

impl<F: Future + Unpin> Waiting<F> {
    fn new(number: u32, future: F) -> Self {
        let (counter, waker) = CountingWaker::new();
        Waiting { number, future, counter, waker }
    }

    fn poll(&mut self) -> Poll<F::Output> {
        poll_with(&self.waker, &mut self.future)
    }
}

fn interleave<S: Storage<Item = u32>>(
    dice: &mut Dice,
    queue: QueueOf<S>,
    take: fn(&mut VecDeque<u32>) -> Option<u32>,
) {
    let mut model = Model { capacity: queue.capacity().expect("it is bounded"), ..Model::default() };
    let mut getters: Vec<Waiting<Get<S>>> = Vec::new();
    let mut putters: Vec<Waiting<Put<S>>> = Vec::new();
    // The numbers jump up and down, so that the three orders differ.
    for number in (0..300).map(|step| step * 7919 % 1009) {
        match dice.below(10) {
            0 => {
                let mut getter = Waiting::new(number, queue.get());
                let goes = model.getting.lets_through(model.available());
                match getter.poll() {
                    Poll::Ready(item) => {
                        assert!(goes);
                        assert_eq!(item.ok(), model.fetch(model.getting.before(number), take));
                    }
                    Poll::Pending => {
                        assert!(!goes);
                        model.getting.waiting.push_back(number);
                        getters.push(getter);
                    }
                }
            }
            1 | 2 => {
                let mut putter = Waiting::new(number, queue.put(number));
                let goes = model.putting.lets_through_in_turn(model.room());
                match putter.poll() {
                    Poll::Ready(put) => {
                        assert!(goes);
                        assert_eq!(put.is_err(), model.shut);
                        put.into_iter().for_each(|()| model.items.push_back(number));
                    }
                    Poll::Pending => {
                        assert!(!goes);
                        model.putting.waiting.push_back(number);
                        putters.push(putter);
                    }
                }
            }
            3 => {
                let goes = model.getting.lets_through(model.available());
                assert_eq!(
                    queue.try_get().ok(),
                    if goes { model.fetch(model.getting.before(number), take) } else { None }
                );
            }
            4 => {
                let goes = !model.shut && model.putting.lets_through(model.room());
                assert_eq!(queue.try_put(number).is_ok(), goes);
                goes.then(|| model.items.push_back(number));
            }
            5 if !getters.is_empty() => {
                let gone = getters.swap_remove(dice.below(getters.len() as u64) as usize);
                model.getting.remove(gone.number);
            }
            6 if !putters.is_empty() => {
                let gone = putters.swap_remove(dice.below(putters.len() as u64) as usize);
                model.putting.remove(gone.number);
            }
            7 if !getters.is_empty() => {
                let place = dice.below(getters.len() as u64) as usize;
                let number = getters[place].number;
                let granted = model.getting.granted.contains(&number);
                match getters[place].poll() {
                    Poll::Ready(item) => {
                        assert!(granted);
                        let before = model.getting.before(number);
                        model.getting.remove(number);
                        assert_eq!(item.ok(), model.fetch(before, take));
                        getters.swap_remove(place);
                    }
                    Poll::Pending => assert!(!granted),
                }
            }
            8 if !putters.is_empty() => {
                let place = dice.below(putters.len() as u64) as usize;
                let number = putters[place].number;
                let granted = model.putting.granted.contains(&number);
                match putters[place].poll() {
                    Poll::Ready(put) => {
                        assert!(granted);
                        model.putting.remove(number);
                        assert_eq!(put.is_err(), model.shut);
                        put.into_iter().for_each(|()| model.items.push_back(number));
                        putters.swap_remove(place);
                    }
                    Poll::Pending => assert!(!granted),
                }
            }
            9 if dice.below(40) == 0 => {
                queue.shutdown();
                model.shut = true;
            }
            _ => {}
        }
        model.settle();
        assert_eq!((queue.len(), queue.is_full()), (model.len(), model.len() == model.capacity));
        let woken = |line: &Line, number: u32, counter: &CountingWaker| {
            assert_eq!(
                counter.count() > 0,
                line.granted.contains(&number),
                "{number} is woken with its right"
            );
        };
        getters.iter().for_each(|getter| woken(&model.getting, getter.number, &getter.counter));
        putters.iter().for_each(|putter| woken(&model.putting, putter.number, &putter.counter));
    }
    drop((getters, putters));
    let shown = format!("{queue:?}");
    assert!(shown.contains("getters: 0 waiting, 0 granted, putters: 0 waiting, 0 granted"), "{shown}");
    while let Some(item) = model.fetch(0, take) {
        assert_eq!(queue.try_get(), Ok(item));
    }
    assert!(queue.is_empty());
}

/// AIO-04, QUEUE-08. The second getter's task runs first, because something else has woken it before. By the promise of
/// first come, first served, as in CPython, where a getter's task is woken by its own future only.
fn a_getter_that_is_awake_already_does_not_take_the_item_of_one_before_it(_: &Ctx) {
    fn gets<S: Storage<Item = u32> + 'static>(queue: QueueOf<S>, cut: Option<usize>) -> Vec<(usize, u32)> {
        ringloop::run(async move {
            let got = Rc::new(RefCell::new(Vec::new()));
            let bell = ringloop::Event::new();
            let tasks: Vec<_> = (0..4)
                .map(|who| {
                    let (queue, got, bell) = (queue.clone(), got.clone(), bell.clone());
                    create_task(async move {
                        let mut get = queue.get();
                        ringloop::select! {
                            item = &mut get => got.borrow_mut().push((who, item.expect("it is open"))),
                            // Those who come from here run before the first two.
                            () = async { if who < 2 { std::future::pending::<()>().await } bell.wait().await } => {
                                let item = get.await.expect("it is open");
                                got.borrow_mut().push((who, item));
                            }
                        }
                    })
                })
                .collect();
            turns(2).await;
            bell.set();
            for item in [10, 20, 30, 40] {
                queue.try_put(item).expect("it has no bound");
            }
            if let Some(cut) = cut {
                tasks[cut].abort();
            }
            turns(4).await;
            let mut got = got.take();
            got.sort_unstable();
            got
        })
        .expect("it runs")
    }
    assert_eq!(gets(Queue::unbounded(), None), [(0, 10), (1, 20), (2, 30), (3, 40)]);
    assert_eq!(gets(PriorityQueue::unbounded(), None), [(0, 10), (1, 20), (2, 30), (3, 40)]);
    // A getter that goes leaves its item to the next, and none is lost.
    let got = gets(Queue::unbounded(), Some(0));
    assert_eq!(got, [(1, 10), (2, 20), (3, 30)]);
}

/// AIO-05. As in CPython: the items are in the order in which their putters came.
fn a_putter_does_not_overtake_one_that_was_given_room(_: &Ctx) {
    ringloop::run(async {
        let queue = Queue::bounded(2);
        queue.try_put(0).expect("there is room");
        queue.try_put(1).expect("there is room");
        let early = create_task({
            let queue = queue.clone();
            async move { queue.put(2).await }
        });
        turns(2).await;
        assert_eq!((queue.try_get(), queue.try_get()), (Ok(0), Ok(1)));
        // There is room for both; the early one has not run since.
        queue.put(3).await.expect("it is open");
        early.await.expect("it ends").expect("it is open");
        assert_eq!((queue.try_get(), queue.try_get()), (Ok(2), Ok(3)));
    })
    .expect("it runs");
}
