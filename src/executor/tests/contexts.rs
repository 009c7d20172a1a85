//! Context variables of tasks: what they begin with, who sees what they set, when their context goes.

use std::cell::RefCell;
use std::future::pending;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::thread::{self, ThreadId};

use super::{Gate, Log, Loop, OnDrop, own_waker, turns};
use crate::context::{Context, host, is_hosted};
use crate::executor::task::HOST;
use crate::executor::{Executor, Lost, Spawn, TaskRef, current, current_task};

crate::context_var! {
    static LEVEL: ContextVar<u32> = 0;
    static MARK: ContextVar<Mark>;
}

fn level() -> u32 {
    LEVEL.get().expect("it has a default")
}

/// Notes the thread on which it is dropped.
struct Mark(Arc<Mutex<Vec<ThreadId>>>);

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.lock().expect("nobody panics with it").push(thread::current().id());
    }
}

#[test]
fn a_task_begins_with_a_copy_and_without_variables_it_has_no_context() {
    let looped = Loop::new();
    let plain = looped.spawn(async { level() });
    let creator = looped.spawn(async {
        LEVEL.set(1);
        let executor = current().expect("a task runs inside of its loop");
        let child = executor.spawn(
            async {
                let begun = level();
                turns(1).await;
                LEVEL.set(10 + level());
                (begun, level())
            },
            Spawn::default(),
        );
        LEVEL.set(2);
        let child = child.await.expect("it has a value");
        (child, level())
    });
    looped.settle();
    assert!(plain.context_if_any().is_none());
    assert_eq!(looped.finish(plain), 0);
    assert_eq!(looped.finish(creator), ((1, 11), 2));
    assert_eq!(level(), 0, "nothing is left on the loop's thread");
}

/// CTX-04
#[test]
fn tasks_with_one_context_see_each_others_changes() {
    let (looped, context) = (Loop::new(), Context::new());
    let how = || Spawn { context: Some(context.clone()), ..Spawn::default() };
    let first = looped.executor.spawn(async { (LEVEL.set(1), turns(1).await, level()).2 }, how());
    let second = looped.executor.spawn(async { (level(), LEVEL.set(2)).0 }, how());
    assert!(first.context().same(&context) && second.context().same(&context));
    looped.settle();
    assert_eq!((looped.finish(first), looped.finish(second)), (2, 1));
    assert_eq!(context.run(level), 2);
}

#[test]
fn a_running_tasks_context_is_the_one_it_sets_in_wherever_it_is_asked_for() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        let own = || current_task().expect("this is a task").context();
        // Asked for while another context is in force, before the task has set anything.
        let asked = Context::new().run(own);
        asked.run(|| LEVEL.set(1));
        assert_eq!(level(), 1);
        let token = LEVEL.set(2);
        assert!(asked.same(&own()) && asked.run(level) == 2);
        LEVEL.reset(token).expect("it was set in this context");
        level()
    });
    assert_eq!(looped.finish(task), 1);
}

#[test]
fn a_task_that_is_dropped_by_another_one_is_dropped_in_its_own_context() {
    let (looped, log) = (Loop::new(), Log::default());
    let noting = || {
        let log = log.clone();
        OnDrop(move || {
            log.push(level());
            LEVEL.set(99);
        })
    };
    let (set, plain) = (noting(), noting());
    let set = looped.spawn(async move {
        let _set = set;
        LEVEL.set(1);
        pending::<()>().await
    });
    let plain = looped.spawn(async move {
        let _plain = plain;
        pending::<()>().await
    });
    let aborts = looped.spawn(async move {
        turns(1).await;
        LEVEL.set(2);
        set.abort();
        Context::new().run(|| {
            LEVEL.set(3);
            plain.abort();
            assert_eq!(level(), 3);
        });
        level()
    });
    assert_eq!(looped.finish(aborts), 2);
    assert_eq!(log.take(), "1 0");
}

/// CTX-07
#[test]
fn the_handler_of_a_panic_runs_in_the_context_of_the_task_that_failed() {
    let told = Rc::new(RefCell::new(Vec::new()));
    let on_lost = {
        let told = told.clone();
        Box::new(move |task: &TaskRef, _: &Lost| {
            told.borrow_mut().push((task.name().to_string(), level()));
            LEVEL.set(99);
        })
    };
    let executor = Executor::new(Waker::noop().clone(), on_lost);
    let inside = executor.enter();
    let failing = |name: &'static str, level| {
        let fails = async move {
            if level > 0 {
                LEVEL.set(level);
            }
            panic!("as expected");
        };
        executor.spawn(fails, Spawn { name: Some(name.into()), ..Spawn::default() })
    };
    failing("detached", 1).detach();
    failing("without a context", 0).detach();
    let kept = failing("kept", 2);
    let later = executor.spawn(async { level() }, Spawn::default());
    executor.run(executor.ready_count());
    assert!(kept.is_done() && later.is_done());
    Context::new().run(|| {
        LEVEL.set(3);
        drop(kept);
        assert_eq!(level(), 3);
    });
    let expected = [("detached", 1), ("without a context", 0), ("kept", 2)];
    assert_eq!(told.take(), expected.map(|(name, level)| (name.to_owned(), level)));
    executor.close();
    drop(inside);
}

#[test]
fn a_context_goes_with_its_task_or_the_handle_and_never_with_a_last_waker() {
    let (looped, ends) = (Loop::new(), Arc::new(Mutex::new(Vec::new())));
    let ended = |count: usize| {
        let ends = ends.lock().expect("nobody panics with it");
        assert_eq!(*ends, vec![thread::current().id(); count]);
    };
    let marked = || {
        let mark = Mark(ends.clone());
        looped.spawn(async move {
            MARK.set(mark);
            own_waker().await
        })
    };
    let mut kept = marked();
    let detached = marked();
    let name = detached.task_ref();
    detached.detach();
    looped.settle();
    ended(1);
    assert!(!MARK.with(|mark| mark.is_some()));
    assert!(name.is_done() && !name.context().run(|| MARK.with(|mark| mark.is_some())));
    assert!(!name.context().same(&name.context()), "nothing is put into a task that is over");

    let waker = kept.try_result().expect("it has ended").expect("it has a value");
    assert!(kept.context().run(|| MARK.with(|mark| mark.is_some())), "as long as there is a handle");
    drop(kept);
    ended(2);
    drop(looped);
    thread::spawn(move || drop(waker)).join().expect("the last waker only frees memory");
    ended(2);
}

#[test]
fn the_roots_context_goes_with_the_root() {
    let (looped, ends) = (Loop::new(), Arc::new(Mutex::new(Vec::new())));
    let mark = Mark(ends.clone());
    let root = async move {
        MARK.set(mark);
        pending::<()>().await
    };
    let mut name = None;
    looped.executor.scoped(root, Spawn::default(), |root| {
        looped.turn();
        assert!(root.context_if_any().is_some());
        name = Some(root.clone());
    });
    assert_eq!(ends.lock().expect("nobody panics with it").len(), 1);
    let name = name.expect("it has run");
    assert!(!name.context().same(&name.context()), "nothing is put into a task that is over");
}

#[test]
fn a_value_that_panics_when_it_is_dropped_stops_nobody() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("a value panics");
        }
    }
    crate::context_var! { static BAD: ContextVar<Bad> }
    let (looped, log) = (Loop::new(), Log::default());
    looped.spawn(async { _ = BAD.set(Bad) }).detach();
    let after = log.clone();
    looped.spawn(async move { after.push("others run") }).detach();
    looped.settle();
    assert_eq!(log.take(), "others run");
}

/// CTX-05
#[test]
fn a_call_runs_in_a_copy_and_a_waker_that_the_loop_calls_in_none() {
    struct Sees(Mutex<Option<u32>>);
    impl Wake for Sees {
        fn wake(self: Arc<Self>) {
            *self.0.lock().expect("nobody panics with it") = LEVEL.get();
            LEVEL.set(98);
        }
    }
    let (looped, log, gate) = (Loop::new(), Log::default(), Gate::default());
    let waits = looped.spawn(gate.pass());
    let sees = Arc::new(Sees(Mutex::new(None)));
    let waker = Waker::from(sees.clone());
    let mut waits = Box::pin(waits);
    assert!(waits.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    let (note, open) = (log.clone(), gate.clone());
    let task = looped.spawn(async move {
        LEVEL.set(1);
        let executor = current().expect("a task runs inside of its loop");
        executor.call_soon(move || {
            note.push(level());
            LEVEL.set(99);
        });
        LEVEL.set(2);
        open.open();
        turns(2).await;
        level()
    });
    assert_eq!(looped.finish(task), 2);
    assert_eq!(log.take(), "1");
    assert_eq!(*sees.0.lock().expect("nobody panics with it"), Some(0));
}

#[test]
fn a_loop_that_is_run_in_a_task_of_another_sees_nothing_of_that_task() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        LEVEL.set(1);
        let inner = Loop::new();
        let task = inner.spawn(async { (level(), LEVEL.set(2)).0 });
        let (note, log) = (Log::default(), Log::default());
        let noted = note.clone();
        inner.executor.call_soon(move || noted.push(level()));
        let seen = inner.finish(task);
        log.push(format!("{seen} {} {}", note.take(), level()));
        drop(inner);
        log.push(level());
        log.take()
    });
    assert_eq!(looped.finish(task), "0 0 0 1");
}

#[test]
fn a_poll_inside_of_a_loop_finds_its_host_in_place() {
    let looped = Loop::new();
    assert!(is_hosted());
    let task = looped.spawn(async { is_hosted() });
    assert!(looped.finish(task));
    drop(host(&HOST));
    assert!(is_hosted());
    drop(looped);
    assert!(!is_hosted());
}

#[test]
fn a_scope_in_a_task_is_seen_by_what_it_makes_and_by_nobody_else() {
    let looped = Loop::new();
    let task = looped.spawn(async {
        let scope = pin!(LEVEL.scope(1, async {
            let executor = current().expect("a task runs inside of its loop");
            let child = executor.spawn(async { (turns(3).await, level()).1 }, Spawn::default());
            turns(1).await;
            (level(), child)
        }));
        let (inside, child) = scope.await;
        (inside, level(), child.await.expect("it has a value"))
    });
    let other = looped.spawn(async {
        turns(1).await;
        level()
    });
    looped.settle();
    assert_eq!(looped.finish(task), (1, 0, 1));
    assert_eq!(looped.finish(other), 0);
}
