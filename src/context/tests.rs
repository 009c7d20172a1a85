//! Context variables without a loop: levels, copies, tokens, threads, and values whose drop does things.

use super::*;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::task::Waker;
use std::thread;

context_var! {
    /// Has neither a default nor a value at first.
    pub static NAME: ContextVar<String>;
    static LEVEL: ContextVar<u32> = 3;
    static NESTED: ContextVar<Vec<Vec<u8>>>
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut task::Context::from_waker(Waker::noop()))
}

#[test]
fn a_variable_has_its_default_until_it_is_set() {
    assert_eq!((NAME.get(), LEVEL.get(), NESTED.get()), (None, Some(3), None));
    NAME.set("n".into());
    LEVEL.set(4);
    assert_eq!((NAME.get().as_deref(), LEVEL.get(), NESTED.get()), (Some("n"), Some(4), None));
    assert!(NESTED.with(|value| value.is_none()) && LEVEL.with(|value| value == Some(&4)));
}

#[test]
fn copies_share_their_values_until_one_changes_and_see_no_change_of_the_other() {
    let context = Context::new();
    context.run(|| LEVEL.set(1));
    let copy = context.copy();
    let shared = |a: &Context, b: &Context| match (&*a.lock(), &*b.lock()) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    };
    assert!(shared(&context, &copy) && !context.same(&copy) && context.same(&context.clone()));
    context.run(|| LEVEL.set(2));
    copy.run(|| NAME.set("copy".into()));
    assert!(!shared(&context, &copy));
    assert_eq!(context.run(|| (LEVEL.get(), NAME.get())), (Some(2), None));
    assert_eq!(copy.run(|| (LEVEL.get(), NAME.get())), (Some(1), Some("copy".into())));
    assert_eq!(LEVEL.get(), Some(3), "nor does it show outside");
}

/// CTX-06
#[test]
fn a_token_gives_the_old_value_back_and_only_where_it_was_set() {
    context_var! { static OTHER: ContextVar<u32> }
    let first = LEVEL.set(1);
    let second = LEVEL.set(2);
    assert_eq!((first.before(), second.before()), (None, Some(&1)));
    LEVEL.reset(second).expect("it is of this variable and context");
    assert_eq!(LEVEL.get(), Some(1));

    let refused = OTHER.reset(first).expect_err("it is of another variable");
    assert_eq!(refused.to_string(), "the token is of another variable");
    let first = refused.into_token();
    let refused = Context::current().run(|| LEVEL.reset(first)).expect_err("it is of another context");
    assert!(io::Error::from(refused).to_string().contains("in the task that set it"));
    let elsewhere = Context::new().run(|| LEVEL.set(5));
    let refused = LEVEL.reset(elsewhere).expect_err("its context is gone");
    assert!(Context::new().run(|| LEVEL.reset(refused.into_token())).is_err(), "and stays so");
    assert_eq!(LEVEL.get(), Some(1), "what is refused changes nothing");
}

#[test]
fn a_token_of_the_first_value_takes_it_away() {
    let context = Context::new();
    context.run(|| {
        let token = NAME.set("n".into());
        LEVEL.set(1);
        NAME.reset(token).expect("it is of this variable and context");
        assert_eq!((NAME.get(), LEVEL.get()), (None, Some(1)));
    });
}

#[test]
fn runs_nest_and_end_also_by_a_panic() {
    let (outer, inner) = (Context::new(), Context::new());
    inner.run(|| LEVEL.set(2));
    outer.run(|| {
        LEVEL.set(1);
        let thrown = catch_unwind(AssertUnwindSafe(|| {
            inner.run(|| {
                assert_eq!(outer.run(|| LEVEL.get()), Some(1), "again inside itself");
                assert_eq!(LEVEL.get(), Some(2));
                panic!("as expected");
            })
        }));
        assert!(thrown.is_err());
        assert_eq!(LEVEL.get(), Some(1));
    });
    assert_eq!(LEVEL.get(), Some(3));
}

#[test]
fn a_scope_sets_its_value_during_its_polls_and_keeps_what_is_set_inside() {
    LEVEL.set(0);
    let mut polls = 0;
    let mut scope = pin!(LEVEL.scope(
        1,
        std::future::poll_fn(|_| {
            polls += 1;
            let found = LEVEL.get();
            LEVEL.set(10 * polls);
            NAME.set("inside".into());
            if polls == 3 { Poll::Ready(found) } else { Poll::Pending }
        })
    ));
    assert!(poll(scope.as_mut()).is_pending());
    assert_eq!((LEVEL.get(), NAME.get().as_deref()), (Some(0), Some("inside")), "only its own variable");
    LEVEL.set(7);
    assert!(poll(scope.as_mut()).is_pending());
    assert_eq!(LEVEL.get(), Some(7), "what is set outside stays outside");
    assert_eq!(poll(scope.as_mut()), Poll::Ready(Some(20)));
    assert_eq!(LEVEL.get(), Some(7));
}

#[test]
fn scopes_nest_and_leave_nothing_where_nothing_was() {
    Context::new().run(|| {
        let inner = async { (NAME.get(), LEVEL.scope(2, async { LEVEL.get() }).await, LEVEL.get()) };
        let mut outer = pin!(LEVEL.scope(1, NAME.scope("n".into(), inner)));
        assert_eq!(poll(outer.as_mut()), Poll::Ready((Some("n".into()), Some(2), Some(1))));
        assert_eq!((NAME.get(), LEVEL.get()), (None, Some(3)));
        assert_eq!(format!("{:?}", Context::current()), "Context{}");
    });
}

/// What is there when it is dropped.
struct AtDrop<'a>(&'a Cell<Option<u32>>);

impl Drop for AtDrop<'_> {
    fn drop(&mut self) {
        self.0.set(LEVEL.get());
    }
}

#[test]
fn a_scope_that_ends_in_any_way_drops_its_future_inside_and_restores() {
    LEVEL.set(0);
    let seen = Cell::new(None);
    let at_drop = AtDrop(&seen);
    assert!(poll(pin!(LEVEL.scope(1, async move { drop(at_drop) }))).is_ready());
    assert_eq!((seen.take(), LEVEL.get()), (Some(1), Some(0)), "ready");

    let at_drop = AtDrop(&seen);
    let mut scope = Box::pin(LEVEL.scope(2, async {
        let _at_drop = at_drop;
        LEVEL.set(3);
        pending::<()>().await
    }));
    assert!(poll(scope.as_mut()).is_pending());
    drop(scope);
    assert_eq!((seen.take(), LEVEL.get()), (Some(3), Some(0)), "dropped half-way");

    let at_drop = AtDrop(&seen);
    drop(LEVEL.scope(4, async move { drop(at_drop) }));
    assert_eq!((seen.take(), LEVEL.get()), (Some(4), Some(0)), "never polled");

    let at_drop = AtDrop(&seen);
    let mut scope = Box::pin(LEVEL.scope(5, async move {
        let _at_drop = at_drop;
        panic!("as expected")
    }));
    assert!(catch_unwind(AssertUnwindSafe(|| poll(scope.as_mut()).is_pending())).is_err());
    assert_eq!((seen.take(), LEVEL.get()), (Some(5), Some(0)), "a panic");
}

/// Uses variables wherever a value's own code runs.
struct Busy;

static BUSY_ENDS: AtomicUsize = AtomicUsize::new(0);

context_var! { static BUSY: ContextVar<Busy> }

impl Clone for Busy {
    fn clone(&self) -> Self {
        BUSY.set(Busy);
        Busy
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        LEVEL.set(BUSY_ENDS.fetch_add(1, Relaxed) as u32);
        BUSY.with(|_| ());
    }
}

#[test]
fn values_may_use_variables_when_they_are_cloned_and_dropped() {
    let context = Context::new();
    context.run(|| {
        BUSY.set(Busy);
        drop(BUSY.get());
        let token = BUSY.set(Busy);
        BUSY.reset(token).expect("it is of this variable and context");
        assert!(poll(pin!(BUSY.scope(Busy, async { BUSY.get().is_some() }))).is_ready());
    });
    let before = BUSY_ENDS.load(Relaxed);
    drop(context);
    assert_eq!(BUSY_ENDS.load(Relaxed), before + 1, "the last goes with its context");
}

#[test]
fn each_thread_has_values_of_its_own_to_the_very_end() {
    struct Late;
    impl Drop for Late {
        fn drop(&mut self) {
            assert_eq!(NAME.get(), None, "the thread's values are gone");
            NAME.set("dropped at once".into());
            let kept = run_in(None, || NAME.set("dropped as well".into()));
            assert!(NAME.reset(kept).is_err());
        }
    }
    context_var! { static LATE: ContextVar<Late> }
    NAME.set("mine".into());
    let context = Context::current();
    let elsewhere = thread::spawn(move || {
        assert_eq!(NAME.get(), None);
        LATE.set(Late);
        assert_eq!(context.run(|| NAME.get()).as_deref(), Some("mine"));
        context.run(|| NAME.set("theirs".into()));
        context
    });
    let context = elsewhere.join().expect("the late drop finds nothing, and no panic");
    assert_eq!(context.run(|| NAME.get()).as_deref(), Some("theirs"));
    assert_eq!(NAME.get().as_deref(), Some("mine"));
}

#[test]
fn threads_may_be_in_one_context_at_once() {
    context_var! { static OTHER: ContextVar<u32> }
    const ROUNDS: u32 = if cfg!(miri) { 20 } else { 2_000 };
    let context = Context::new();
    thread::scope(|scope| {
        for variable in [&LEVEL, &OTHER] {
            scope.spawn(|| {
                for round in 0..ROUNDS {
                    context.run(|| variable.set(round));
                    assert_eq!(context.run(|| variable.get()), Some(round));
                    let copy = context.copy();
                    assert_eq!(copy.run(|| variable.get()), Some(round));
                }
            });
        }
    });
    assert_eq!(context.run(|| (LEVEL.get(), OTHER.get())), (Some(ROUNDS - 1), Some(ROUNDS - 1)));
}

#[test]
fn what_is_carried_runs_in_a_copy_wherever_it_is_called() {
    let (empty, set) = (carried(|| LEVEL.set(8)), {
        LEVEL.set(1);
        carried(|| (LEVEL.get(), LEVEL.set(9)).0)
    });
    assert!(Context::new().run(inherited).is_none(), "there is nothing to carry");
    assert_eq!(Context::new().run(set), Some(1));
    empty();
    assert_eq!(LEVEL.get(), Some(1), "and it leaves nothing behind");
}

thread_local! {
    /// The context of whoever the host below speaks for.
    static HOSTS: RefCell<Option<Context>> = const { RefCell::new(None) };
}

#[test]
fn a_host_is_asked_unless_something_stands_between() {
    static HOST: Host = Host {
        find: || HOSTS.with_borrow(Option::clone),
        make: || HOSTS.with_borrow_mut(|place| Some(place.get_or_insert_default().clone())),
    };
    static NOBODY: Host = Host { find: || None, make: || None };
    LEVEL.set(1);
    assert!(!is_hosted());
    let hosted = host(&HOST);
    assert!(is_hosted() && HOSTS.with_borrow(|place| place.is_none()));
    assert_eq!(LEVEL.get(), Some(3), "the thread's values are hidden");
    let token = LEVEL.set(2);
    assert!(HOSTS.with_borrow(|place| place.is_some()), "made for the first value");
    Context::new().run(|| assert!(!is_hosted() && LEVEL.get() == Some(3)));
    assert!(is_hosted());
    LEVEL.reset(token).expect("it is of this variable and context");
    {
        let _nobody = host(&NOBODY);
        let token = LEVEL.set(4);
        assert_eq!(LEVEL.get(), Some(3), "nobody keeps it");
        assert!(LEVEL.reset(token).is_err());
        let scope = pin!(LEVEL.scope(5, async { LEVEL.get() }));
        assert_eq!(poll(scope), Poll::Ready(Some(5)), "but a scope keeps its own");
    }
    drop(hosted);
    assert_eq!(LEVEL.get(), Some(1));
}

#[test]
fn all_have_a_text_that_names_the_variables() {
    Context::new().run(|| {
        let token = NAME.set("secret".into());
        assert_eq!(format!("{NAME:?} {token:?}"), "ContextVar(NAME) Token(NAME)");
        assert_eq!(format!("{:?}", Context::current()), "Context{\"NAME\"}");
    });
}

#[test]
fn contexts_tokens_and_scopes_may_go_to_other_threads() {
    fn send_and_sync<T: Send + Sync>(_: &T) {}
    send_and_sync(&Context::new());
    send_and_sync(&LEVEL.set(1));
    send_and_sync(&LEVEL.scope(1, std::future::ready(())));
}
