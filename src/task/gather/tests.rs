//! Gathers over a loop turned by hand; the public functions are the same with the running loop's executor.

use super::*;
use crate::executor::tests::{Gate, Log, Loop, OnDrop, counted, turns};
use crate::executor::{all_tasks, catch_cancel, resume_cancel, uncancellable};
use std::future::{pending, ready};
use std::task::Waker;

type Answer<T> = Result<T, &'static str>;

fn cradle(looped: &Loop) -> Cradle<'_> {
    Cradle::new(&looped.executor, None)
}

fn gather_here<T, F>(looped: &Loop, futures: impl IntoIterator<Item = F>) -> Gather<T, &'static str>
where
    F: Future<Output = Answer<T>> + 'static,
{
    gather_in(cradle(looped), futures)
}

fn tuple_here<F: GatherTuple>(looped: &Loop, futures: F) -> Gathering<F::Children> {
    let cradle = cradle(looped);
    let children = futures.spawn(&cradle);
    cradle.gather(children)
}

async fn value_after<T>(count: usize, value: T) -> Answer<T> {
    turns(count).await;
    Ok(value)
}

/// GATHER-01
#[test]
fn values_come_in_the_order_of_the_arguments_when_all_are_there() {
    let looped = Loop::new();
    let polls = Rc::new(Cell::new(0));
    let all = gather_here(&looped, [4, 1, 3].map(|count| value_after(count, count)));
    let waiter = looped.spawn(counted(&polls, all));
    assert_eq!(looped.finish(waiter), Ok(vec![4, 1, 3]));
    assert_eq!(polls.get(), 2, "it is woken by the last end only");
}

#[test]
fn the_children_begin_in_order_and_without_an_await() {
    let (looped, log) = (Loop::new(), Log::default());
    let children = (0..3).map(|number| {
        let log = log.clone();
        async move {
            let _: () = log.push(number);
            Answer::Ok(())
        }
    });
    let unawaited = gather_here(&looped, children);
    assert_eq!(log.take(), "");
    looped.turn();
    assert_eq!(log.take(), "0 1 2");
    drop(unawaited);
}

/// GATHER-10
#[test]
fn nothing_gathers_to_nothing_at_once() {
    let looped = Loop::new();
    let nothing = gather_here(&looped, Vec::<std::future::Ready<Answer<u8>>>::new());
    assert_eq!(nothing.now_or_never(), Some(Ok(vec![])));
}

/// GATHER-15
#[test]
fn children_that_are_done_cost_no_turn() {
    let looped = Loop::new();
    let all = gather_here(&looped, [1, 2].map(|number| ready(Answer::Ok(number))));
    looped.turn();
    assert_eq!(all.now_or_never(), Some(Ok(vec![1, 2])));
    let tuple = tuple_here(&looped, (ready(Answer::Ok(1)), ready(Answer::Ok("two"))));
    looped.turn();
    assert_eq!(tuple.now_or_never(), Some(Ok((1, "two"))));
}

/// GATHER-02, GATHER-03, GATHER-13
#[test]
fn the_first_error_ends_the_wait_and_the_others_go_on() {
    let (looped, log) = (Loop::new(), Log::default());
    let work = |count: usize, end: Answer<()>| {
        let log = log.clone();
        async move {
            turns(count).await;
            log.push(count);
            end
        }
    };
    let all = gather_here(&looped, [work(5, Ok(())), work(2, Err("first")), work(4, Err("second"))]);
    let mut waiter = looped.spawn(all);
    while !waiter.is_done() {
        looped.turn();
    }
    assert_eq!(waiter.try_result().and_then(Result::ok), Some(Err("first")));
    assert_eq!(log.take(), "2");
    looped.settle();
    assert_eq!(log.take(), "4 5");
    assert!(looped.reports().is_empty(), "a later error is quiet");
}

#[test]
fn of_two_errors_in_one_turn_the_one_that_came_first_counts() {
    let looped = Loop::new();
    let (late, early) = (Gate::default(), Gate::default());
    let fail = |gate: &Gate, text| {
        let passed = gate.pass();
        async move {
            passed.await;
            Answer::<()>::Err(text)
        }
    };
    let waiter = looped.spawn(gather_here(&looped, [fail(&late, "late"), fail(&early, "early")]));
    looped.settle();
    early.open();
    late.open();
    assert_eq!(looped.finish(waiter), Err("early"));
}

#[test]
fn a_childs_panic_resumes_in_the_waiter_and_a_later_one_is_reported() {
    let looped = Loop::new();
    let child = |count: usize| async move {
        turns(count).await;
        match count {
            0 => Answer::Ok(()),
            _ => panic!("child {count}"),
        }
    };
    let mut waiter = looped.spawn(gather_here(&looped, [child(0), child(1), child(4)]));
    looped.settle();
    let error = waiter.try_result().expect("it has ended").expect_err("it panicked");
    assert_eq!(error.into_panic().downcast_ref::<String>().map(String::as_str), Some("child 1"));
    assert_eq!(looped.reports(), ["Task-3: the task panicked: child 4"]);
}

#[test]
fn a_panic_in_a_childs_destructor_is_its_failure() {
    let looped = Loop::new();
    let child = async {
        let _guard = OnDrop(|| panic!("in a destructor"));
        pending::<Answer<()>>().await
    };
    let mut waiter = looped.spawn(gather_here(&looped, [child]));
    looped.settle();
    all_tasks()[0].cancel();
    looped.settle();
    assert!(waiter.try_result().is_some_and(|end| end.is_err_and(|error| error.is_panic())));
}

/// Decided 4: a child that somebody else cancels ends the gather as `resume_cancel` would.
#[test]
fn a_child_cancelled_by_others_cancels_the_waiter() {
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let note = log.clone();
    let passed = gate.pass();
    let all = tuple_here(
        &looped,
        (pending::<Answer<()>>(), async {
            passed.await;
            Answer::Ok(1)
        }),
    );
    let children = all_tasks();
    let waiter = looped.spawn(async move {
        note.push(catch_cancel(uncancellable(all)).await.is_err());
        resume_cancel().await
    });
    looped.settle();
    children[0].cancel();
    looped.settle();
    assert_eq!(log.take(), "true");
    assert!(waiter.is_cancelled());
    assert!(!children[1].is_done() && children[1].cancelling() == 0, "the sibling goes on");
    gate.open();
    looped.settle();
    assert!(children[1].is_done() && !children[1].is_cancelled());
}

/// GATHER-07
#[test]
fn a_request_cancels_all_children_waits_for_them_and_goes_on_outward() {
    let (looped, log) = (Loop::new(), Log::default());
    let child = |number: usize| {
        let log = log.clone();
        async move {
            if number == 0 {
                return Answer::Ok(());
            }
            let _ = catch_cancel(pending::<()>()).await;
            turns(number).await;
            log.push(number);
            match number {
                1 => resume_cancel().await,
                2 => Err("failed in its clean-up"),
                _ => Ok(()),
            }
        }
    };
    let children = (0..4).map(child);
    let all = gather_here(&looped, children);
    let (note, waiting) = (log.clone(), Log::default());
    let outcome = waiting.clone();
    let waiter = looped.spawn(async move {
        outcome.push(catch_cancel(all).await.is_err());
        note.push("waiter");
    });
    looped.settle();
    waiter.cancel_with("enough");
    looped.settle();
    assert_eq!((&*log.take(), &*waiting.take()), ("1 2 3 waiter", "true"));
    assert!(all_tasks().is_empty());
    assert!(looped.reports().is_empty());
}

/// The waiter begins to gather in the poll in which a value beat the request: that finds the children not yet started.
#[test]
fn a_request_before_the_first_turn_starts_no_child() {
    let (looped, polls, gate) = (Loop::new(), Rc::new(Cell::new(0)), Gate::default());
    let (passed, count) = (gate.pass(), polls.clone());
    let waiter = looped.spawn(async move {
        passed.await;
        let executor = crate::executor::current().expect("this runs in a task");
        let child = counted(&count, pending::<Answer<()>>());
        gather_in(Cradle::new(&executor, None), [child]).await
    });
    looped.settle();
    gate.open();
    waiter.cancel();
    looped.settle();
    assert!(waiter.is_cancelled() && all_tasks().is_empty());
    assert_eq!(polls.get(), 0);
}

#[test]
fn a_second_request_reaches_the_clean_up_of_the_children() {
    let (looped, log) = (Loop::new(), Log::default());
    let child = {
        let log = log.clone();
        async move {
            let _ = catch_cancel(pending::<()>()).await;
            log.push("cleans up");
            pending::<Answer<()>>().await
        }
    };
    let waiter = looped.spawn(gather_here(&looped, [child]));
    looped.settle();
    waiter.cancel();
    looped.settle();
    assert_eq!((&*log.take(), waiter.is_done()), ("cleans up", false));
    waiter.cancel();
    looped.settle();
    assert!(waiter.is_cancelled() && all_tasks().is_empty());
}

/// GATHER-09
#[test]
fn values_that_are_there_beat_a_request() {
    let (looped, gate) = (Loop::new(), Gate::default());
    let passed = gate.pass();
    let child = async {
        passed.await;
        Answer::Ok(8)
    };
    let waiter = looped.spawn(gather_here(&looped, [child]));
    looped.settle();
    gate.open();
    looped.turn();
    assert!(looped.executor.is_ready() && !waiter.is_done(), "the child has ended, its waiter is woken");
    assert!(waiter.cancel());
    assert_eq!(looped.finish(waiter), Ok(vec![8]));
}

/// GATHER-07 below wakers that are not the task's own
#[test]
fn a_request_reaches_a_gather_below_private_wakers() {
    use futures_util::StreamExt;
    let looped = Loop::new();
    let all = gather_here(&looped, [pending::<Answer<()>>()]);
    let waiter = looped
        .spawn(async { futures_util::stream::FuturesUnordered::from_iter([all]).next().await.is_some() });
    looped.settle();
    waiter.cancel();
    looped.settle();
    assert!(waiter.is_cancelled());
    assert!(all_tasks().is_empty(), "its child was cancelled, not detached");
}

#[test]
fn a_dropped_gather_detaches_its_children() {
    let (looped, log) = (Loop::new(), Log::default());
    let child = |count| {
        let log = log.clone();
        async move {
            turns(count).await;
            let _: () = log.push(count);
            Answer::Ok(())
        }
    };
    let mut all = gather_here(&looped, [child(2), child(1)]);
    assert!((&mut all).now_or_never().is_none());
    drop(all);
    looped.settle();
    assert_eq!(log.take(), "1 2");
}

#[test]
fn twelve_of_different_types_give_a_tuple() {
    let looped = Loop::new();
    let v = |n: u8| value_after(n as usize, n);
    let all = (
        v(1),
        value_after(1, "2"),
        v(3),
        v(4),
        v(5),
        v(6),
        v(7),
        v(8),
        v(9),
        v(10),
        v(11),
        value_after(0, '-'),
    );
    let waiter = looped.spawn(tuple_here(&looped, all));
    assert_eq!(looped.finish(waiter), Ok((1, "2", 3, 4, 5, 6, 7, 8, 9, 10, 11, '-')));
    let fails = (v(1), async { Answer::<()>::Err("second") }, pending::<Answer<u8>>());
    let waiter = looped.spawn(tuple_here(&looped, fails));
    assert_eq!(looped.finish(waiter), Err("second"));
}

/// Ten thousand ends are one wake, and the work for each does not grow with their number.
#[test]
fn many_children_wake_the_gather_once() {
    let many = if cfg!(miri) { 100 } else { 10_000 };
    let (looped, polls) = (Loop::new(), Rc::new(Cell::new(0)));
    let all = gather_here(&looped, (0..many).map(|number| value_after(number % 7, number)));
    let waiter = looped.spawn(counted(&polls, all));
    assert_eq!(looped.finish(waiter), Ok((0..many).collect()));
    assert_eq!(polls.get(), 2);
}

/// Absurd, but it must not hang or panic: a child's last destructor polls the gather by hand.
#[test]
fn a_gather_polled_from_within_a_childs_end_waits_for_that_end() {
    use std::cell::RefCell;
    thread_local! {
        static GATHER: RefCell<Option<Gather<u8, &'static str>>> = const { RefCell::new(None) };
        static SEEN: Cell<Option<bool>> = const { Cell::new(None) };
    }
    struct Inline;
    impl std::task::Wake for Inline {
        fn wake(self: std::sync::Arc<Self>) {
            let ended = GATHER.with_borrow_mut(|all| all.as_mut().map(|all| all.now_or_never().is_some()));
            SEEN.set(ended);
        }
    }
    for fails in [false, true] {
        let looped = Loop::new();
        let mut all = gather_here(&looped, [async move { if fails { Err("fails") } else { Ok(1) } }]);
        let waker = Waker::from(std::sync::Arc::new(Inline));
        assert!(Pin::new(&mut all).poll(&mut Context::from_waker(&waker)).is_pending());
        GATHER.set(Some(all));
        looped.turn();
        assert_eq!(SEEN.take(), Some(false), "the value is not stored yet");
        let all = GATHER.take().expect("it was put there");
        assert_eq!(all.now_or_never(), Some(if fails { Err("fails") } else { Ok(vec![1]) }));
    }
}

/// GATHER-04, GATHER-05
#[test]
fn settled_gives_every_end_in_order() {
    let looped = Loop::new();
    let tasks = [3, 0, 2].map(|count| {
        looped.spawn(async move {
            turns(count).await;
            if count == 2 {
                panic!("two");
            }
            count
        })
    });
    let cancelled = looped.spawn(pending());
    cancelled.cancel();
    let waiter = looped.spawn(gather_settled(tasks.into_iter().chain([cancelled])));
    let ends = looped.finish(waiter);
    assert!(matches!(ends[..], [Ok(3), Ok(0), Err(_), Err(_)]));
    assert!(ends[2].as_ref().is_err_and(JoinError::is_panic));
    assert!(ends[3].as_ref().is_err_and(JoinError::is_cancelled));
    assert!(looped.reports().is_empty());
    let nothing = gather_settled(Vec::<Task<()>>::new());
    assert!(nothing.now_or_never().is_some_and(|ends| ends.is_empty()));
}

/// GATHER-08
#[test]
fn a_request_to_a_settled_gather_goes_on_outward_when_all_have_ended() {
    let (looped, log) = (Loop::new(), Log::default());
    let tasks = [1, 3].map(|count| {
        let log = log.clone();
        looped.spawn(async move {
            let _ = catch_cancel(pending::<()>()).await;
            turns(count).await;
            log.push(count);
        })
    });
    let waiter = looped.spawn(gather_settled(tasks));
    looped.settle();
    waiter.cancel();
    looped.settle();
    assert_eq!(log.take(), "1 3");
    assert!(waiter.is_cancelled());
}

/// SHIELD-05
#[test]
fn a_gather_in_a_shielded_task_survives_the_waiter() {
    let (looped, log) = (Loop::new(), Log::default());
    let note = log.clone();
    let child = async move {
        turns(3).await;
        let _: () = note.push("ended");
        Answer::Ok(())
    };
    let all = looped.spawn(gather_here(&looped, [child]));
    let waiter = looped.spawn(all.shield());
    looped.turn();
    waiter.cancel();
    looped.settle();
    assert!(waiter.is_cancelled());
    assert_eq!(log.take(), "ended");
}
