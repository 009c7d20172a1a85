use super::*;
use crate::sync::by_hand::ByHand;

fn put<S: Storage>(queue: &QueueOf<S>, items: impl IntoIterator<Item = S::Item>) {
    for item in items {
        assert!(queue.try_put(item).is_ok());
    }
}

fn drained<S: Storage>(queue: &QueueOf<S>) -> Vec<S::Item> {
    std::iter::from_fn(|| queue.try_get().ok()).collect()
}

/// How many getters and putters are in the lines, waiting or granted.
fn waiters<S: Storage>(queue: &QueueOf<S>) -> (usize, usize) {
    (queue.0.items.waiters().slots().0, queue.0.room.waiters().slots().0)
}

/// QUEUE-01
#[test]
fn each_queue_has_its_order() {
    fn round<S: Storage<Item = u32>>(queue: &QueueOf<S>) -> Vec<u32> {
        put(queue, [1, 3, 2]);
        drained(queue)
    }
    assert_eq!(round(&Queue::unbounded()), [1, 3, 2]);
    assert_eq!(round(&LifoQueue::unbounded()), [2, 3, 1]);
    assert_eq!(round(&PriorityQueue::unbounded()), [1, 2, 3]);
}

/// QUEUE-01: a sort that looked at nothing but the priority would be free to mix them.
#[test]
fn equal_priorities_come_out_in_the_order_of_coming() {
    let queue = PriorityQueue::unbounded();
    put(&queue, (0..30).map(|number| Prioritized(number % 3, number)));
    let order = drained(&queue).into_iter().map(|Prioritized(_, number)| number);
    assert!(order.eq((0..30).step_by(3).chain((1..30).step_by(3)).chain((2..30).step_by(3))));
}

/// QUEUE-12
#[test]
fn sizes_can_be_read() {
    let unbounded = Queue::unbounded();
    put(&unbounded, 0..1000);
    assert_eq!((unbounded.len(), unbounded.is_full(), unbounded.capacity()), (1000, false, None));

    let bounded = Queue::bounded(2);
    assert!(bounded.is_empty() && !bounded.is_full());
    put(&bounded, ["a", "b"]);
    assert_eq!((bounded.len(), bounded.is_full(), bounded.capacity()), (2, true, Some(2)));
    assert_eq!(bounded.try_put("c"), Err(TryPutError::Full("c")));
    assert_eq!(drained(&bounded), ["a", "b"]);
    assert_eq!(bounded.try_get(), Err(TryGetError::Empty));
}

#[test]
#[should_panic(expected = "use unbounded()")]
fn a_queue_without_room_is_refused() {
    let _ = Queue::<()>::bounded(0);
}

/// QUEUE-03: each put wakes one getter, the first, and nobody gets in between.
#[test]
fn a_getter_that_waits_cannot_be_overtaken() {
    let queue = Queue::unbounded();
    let [first, second] = [(); 2].map(|()| ByHand::waiting(queue.get()));
    put(&queue, [1]);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    assert_eq!((queue.try_get(), queue.len()), (Err(TryGetError::Empty), 1));
    assert_eq!(first.take(), Ok(1));
    put(&queue, [2]);
    assert_eq!((second.take(), waiters(&queue)), (Ok(2), (0, 0)));
}

/// QUEUE-05: {waiting, granted} when it is dropped: the item stays where it is, and the next has the right to
/// it.
#[test]
fn a_getter_that_goes_leaves_the_item_in_its_place() {
    for granted in [false, true] {
        let queue = Queue::unbounded();
        let [gone, next, last] = [(); 3].map(|()| ByHand::waiting(queue.get()));
        if granted {
            put(&queue, [1, 2]);
            assert_eq!([gone.wakes(), next.wakes(), last.wakes()], [1, 1, 0]);
            drop(gone);
        } else {
            drop(gone);
            put(&queue, [1, 2]);
        }
        assert_eq!([next.wakes(), last.wakes()], [1, 1]);
        assert_eq!((next.take(), last.take()), (Ok(1), Ok(2)));
        assert_eq!((queue.len(), waiters(&queue)), (0, (0, 0)));
    }
}

/// QUEUE-05: with nobody behind it the item is free for whoever comes.
#[test]
fn the_last_getter_that_goes_leaves_the_item_free() {
    let queue = Queue::unbounded();
    let gone = ByHand::waiting(queue.get());
    put(&queue, [1]);
    drop(gone);
    assert_eq!(queue.try_get(), Ok(1));
}

/// QUEUE-05: what comes while a getter has a right and has not come for it may be better than what it was woken
/// for.
#[test]
fn a_getter_gets_the_best_there_is_when_it_comes() {
    let queue = PriorityQueue::unbounded();
    let [gone, stays] = [(); 2].map(|()| ByHand::waiting(queue.get()));
    put(&queue, [5, 4, 1]);
    drop(gone);
    assert_eq!((stays.take(), drained(&queue)), (Ok(1), vec![4, 5]));
}

/// QUEUE-06: {waiting, granted} when it is dropped: its item is not in the queue, and the next goes on.
#[test]
fn a_putter_that_goes_puts_nothing_in() {
    for granted in [false, true] {
        let queue = Queue::bounded(1);
        put(&queue, ["first"]);
        let [gone, next] = ["gone", "next"].map(|item| ByHand::waiting(queue.put(item)));
        if granted {
            assert_eq!(queue.try_get(), Ok("first"));
            assert_eq!(
                (gone.wakes(), next.wakes(), queue.try_put("barges")),
                (1, 0, Err(TryPutError::Full("barges")))
            );
            drop(gone);
        } else {
            drop(gone);
            assert_eq!(queue.try_get(), Ok("first"));
        }
        assert_eq!((next.wakes(), next.take()), (1, Ok(())));
        assert_eq!((drained(&queue), waiters(&queue)), (vec!["next"], (0, 0)));
    }
}

/// QUEUE-11
#[test]
fn a_join_waits_for_what_is_unfinished() {
    let queue = Queue::unbounded();
    ByHand::new(queue.join()).take();
    put(&queue, [1, 2]);
    let joiner = ByHand::waiting(queue.join());
    for item in [1, 2] {
        assert_eq!((queue.try_get(), joiner.wakes()), (Ok(item), 0));
        queue.task_done();
    }
    // Granted: what is put in afterwards is for the next join.
    put(&queue, [3]);
    assert_eq!(joiner.wakes(), 1);
    joiner.take();
    drop(ByHand::waiting(queue.join()));
}

/// QUEUE-11
#[test]
#[should_panic(expected = "more often than items were put in")]
fn a_report_without_an_item_is_refused() {
    let queue = Queue::unbounded();
    put(&queue, [()]);
    queue.task_done();
    queue.task_done();
}

/// QUEUE-13: everybody is sent away, now and later.
#[test]
fn an_empty_queue_that_is_shut_down_sends_all_away() {
    let queue = Queue::<u8>::bounded(1);
    let getter = ByHand::waiting(queue.get());
    queue.shutdown();
    assert_eq!((getter.wakes(), getter.take()), (1, Err(ShutDown)));
    assert_eq!(ByHand::new(queue.get()).take(), Err(ShutDown));
    assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
    for _ in 0..3 {
        assert_eq!(ByHand::new(queue.put(1)).take(), Err(ShutDown));
        assert_eq!(queue.try_put(1), Err(TryPutError::ShutDown(1)));
    }
    ByHand::new(queue.join()).take();
    assert_eq!((queue.len(), waiters(&queue)), (0, (0, 0)));
}

/// QUEUE-14: putters are sent away, also one that had been granted room; what is in it can be got out.
#[test]
fn a_queue_that_is_shut_down_can_be_drained() {
    let queue = Queue::bounded(2);
    put(&queue, [1, 2]);
    let [granted, waiting] = [3, 4].map(|item| ByHand::waiting(queue.put(item)));
    assert_eq!(queue.try_get(), Ok(1));
    queue.shutdown();
    assert_eq!((granted.take(), waiting.take()), (Err(ShutDown), Err(ShutDown)));
    let joiner = ByHand::waiting(queue.join());
    assert_eq!(ByHand::new(queue.get()).take(), Ok(2));
    assert_eq!(ByHand::new(queue.get()).take(), Err(ShutDown));
    queue.task_done();
    assert_eq!(joiner.wakes(), 0);
    queue.task_done();
    joiner.take();
    assert_eq!(waiters(&queue), (0, 0));
}

/// QUEUE-14: while another has a right to the last item and may hand it on, a getter is not sent away.
#[test]
fn the_last_item_of_a_shut_queue_is_lost_to_nobody() {
    for first_goes in [false, true] {
        let queue = Queue::unbounded();
        let first = ByHand::waiting(queue.get());
        put(&queue, ["last"]);
        queue.shutdown();
        let second = ByHand::waiting(queue.get());
        if first_goes {
            drop(first);
            assert_eq!((second.wakes(), second.take()), (1, Ok("last")));
        } else {
            assert_eq!((first.take(), second.wakes(), second.take()), (Ok("last"), 1, Err(ShutDown)));
        }
        assert_eq!(waiters(&queue), (0, 0));
    }
}

/// QUEUE-16: what is in the queue is thrown away, and so is what a getter was granted and has not come for; the
/// join waits for what was got out.
#[test]
fn an_immediate_shutdown_throws_away_what_nobody_has() {
    let queue = Queue::bounded(3);
    let [late, gone] = [(); 2].map(|()| ByHand::waiting(queue.get()));
    put(&queue, [1, 2, 3]);
    let putter = ByHand::waiting(queue.put(4));
    // The first two belong to those who waited.
    assert_eq!(ByHand::new(queue.get()).take(), Ok(3));
    let joiner = ByHand::waiting(queue.join());
    queue.shutdown();
    queue.shutdown_now();
    assert_eq!((queue.len(), joiner.wakes()), (0, 0));
    drop(gone);
    assert_eq!((late.take(), putter.take()), (Err(ShutDown), Err(ShutDown)));
    assert_eq!(queue.try_get(), Err(TryGetError::ShutDown));
    queue.task_done();
    joiner.take();
    assert_eq!(waiters(&queue), (0, 0));
}

/// The lines are allocated when somebody waits, and not before.
#[test]
fn who_need_not_wait_makes_no_line() {
    let queue = Queue::bounded(1);
    for item in 0..3 {
        assert_eq!(
            (ByHand::new(queue.put(item)).take(), ByHand::new(queue.get()).take()),
            (Ok(()), Ok(item))
        );
        queue.task_done();
        ByHand::new(queue.join()).take();
    }
    assert_eq!((queue.0.items.waiters().slots(), queue.0.room.waiters().slots()), ((0, 0), (0, 0)));
}

#[test]
fn a_stream_of_the_items_ends_with_the_queue() {
    use futures_util::StreamExt;
    let queue = Queue::unbounded();
    let mut items = queue.iter();
    assert!(ByHand::new(items.next()).poll().is_pending());
    put(&queue, [1, 2]);
    queue.shutdown();
    assert_eq!(ByHand::new(items.collect::<Vec<_>>()).take(), [1, 2]);
}

/// R1: an item's drop may use the queue, whoever drops it.
#[test]
fn an_items_drop_may_use_the_queue() {
    struct Nosy(Queue<Nosy>, Rc<Cell<usize>>);
    impl Drop for Nosy {
        fn drop(&mut self) {
            assert!(self.0.try_get().is_err());
            self.1.set(self.1.get() + 1);
        }
    }
    let (queue, drops) = (Queue::bounded(2), Rc::default());
    let nosy = || Nosy(Queue::clone(&queue), Rc::clone(&drops));
    put(&queue, [nosy(), nosy()]);
    let putter = ByHand::waiting(queue.put(nosy()));
    queue.shutdown_now();
    assert_eq!(drops.get(), 2);
    assert_eq!((putter.take(), drops.get()), (Err(ShutDown), 3));
    drop(queue.put(nosy()));
    drop(queue.try_put(nosy()));
    assert_eq!((drops.get(), Rc::strong_count(&queue.0)), (5, 1));
}

#[test]
#[should_panic(expected = "polled after it had ended")]
fn an_item_is_put_in_once() {
    let queue = Queue::unbounded();
    let mut put = ByHand::new(queue.put(1));
    assert!(put.poll().is_ready());
    let _ = put.poll();
}

#[test]
fn a_queue_shows_its_lines() {
    let queue = PriorityQueue::bounded(1);
    put(&queue, [1]);
    let _putter = ByHand::waiting(queue.put(2));
    let shown = "Queue { len: 1, capacity: Some(1), getters: 0 waiting, 0 granted, \
                 putters: 1 waiting, 0 granted, unfinished: 1, \
                 finished: Event { set: false, waiters: 0 waiting, 0 granted } }";
    assert_eq!(format!("{queue:?}"), shown);
}
