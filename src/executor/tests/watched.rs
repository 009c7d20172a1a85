//! Records: of tasks that somebody watches, and of no others.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};

use super::{Log, Loop, poll_once, turns};
use crate::executor::{TaskRef, Watcher, yield_now};
use crate::waiting::{Waiting, waits_for};

/// Notes the polls.
struct Noted(Log);

impl Watcher for Noted {
    fn begins(&self, task: &TaskRef, _: Instant) {
        self.0.push(format!("({}", task.name()));
    }

    fn ends(&self, _: &TaskRef, _: Duration) {
        self.0.push(")");
    }
}

fn watched() -> (Loop, Log) {
    let (looped, log) = (Loop::new(), Log::default());
    looped.executor.set_watcher(Some(Rc::new(Noted(log.clone()))));
    (looped, log)
}

#[test]
fn a_watcher_is_told_of_each_poll_while_there_is_one() {
    let (looped, log) = (Loop::new(), Log::default());
    let old = looped.named("old", pending::<()>());
    looped.settle();
    assert!(old.record().is_none());
    looped.executor.set_watcher(Some(Rc::new(Noted(log.clone()))));
    old.0.wake();
    let new = looped.named("new", turns(1));
    looped.settle();
    assert_eq!(log.take(), "(old ) (new ) (new )");
    assert_eq!(old.record().map(|record| record.polls), Some(1), "from then on");
    assert!(new.is_done() && new.record().is_none(), "a record goes with its task");
    looped.executor.set_watcher(None);
    old.0.wake();
    looped.settle();
    assert_eq!(log.take(), "");
    assert!(old.record().is_none());
}

#[test]
fn a_record_has_what_the_last_poll_found() {
    let (looped, _log) = watched();
    let task = looped.spawn(async {
        yield_now().await;
        std::future::poll_fn(|_| {
            waits_for(|| Waiting::Thread);
            std::task::Poll::<()>::Pending
        })
        .await
    });
    for (polls, waits) in [(0, vec![]), (1, vec![Waiting::Turn]), (2, vec![Waiting::Thread])] {
        let record = task.record().expect("it is watched");
        assert_eq!((record.polls, record.waits), (polls, waits));
        looped.turn();
    }
}

#[test]
fn an_edge_of_the_tasks_own_waker_holds_for_one_poll_and_others_until_the_handle_goes() {
    let (looped, _log) = watched();
    let names =
        |task: &TaskRef| task.awaiters().iter().map(|task| task.name().to_string()).collect::<Vec<_>>();
    let (mut direct, below) = (looped.spawn(pending::<()>()), looped.spawn(pending::<()>()));
    let (first, second) = (direct.task_ref(), below.task_ref());
    let many = join_all((0..40).map(|_| pending::<()>()));
    let kept = Rc::new(RefCell::new(None));
    let keep = kept.clone();
    let task = looped.named("awaiting", async move {
        let mut set = futures_util::stream::FuturesUnordered::from_iter([below]);
        assert!(poll_once(&mut direct).await.is_pending());
        assert!(poll_once(futures_util::StreamExt::next(&mut set)).await.is_pending());
        yield_now().await;
        keep.replace(Some((direct, set)));
        join(many, pending::<()>()).await;
    });
    looped.turn();
    assert_eq!((names(&first), names(&second)), (vec!["awaiting".into()], vec!["awaiting".into()]));
    looped.turn();
    assert_eq!((names(&first), names(&second)), (vec![], vec!["awaiting".to_owned()]));
    drop(kept.take());
    assert_eq!(names(&second), [""; 0]);
    task.abort();
}

#[test]
fn who_has_ended_awaits_nothing() {
    let (looped, _log) = watched();
    let inner = looped.spawn(pending::<()>());
    let inside = inner.task_ref();
    let outer = looped.spawn(inner.shield());
    looped.settle();
    assert_eq!(inside.awaiters().len(), 1);
    outer.abort();
    assert!(inside.awaiters().is_empty() && !inside.is_done());
}

#[test]
fn a_watcher_may_go_while_it_is_told() {
    let (looped, log) = watched();
    let executor = looped.executor.clone();
    let task = looped.spawn(async move {
        executor.set_watcher(None);
        yield_now().await;
        7
    });
    assert_eq!(looped.finish(task), 7);
    assert_eq!(log.take(), "(Task-1 )", "the poll that ran is told to its end");
}
