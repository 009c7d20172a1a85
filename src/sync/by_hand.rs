//! Futures polled by hand, with wakers that count: the tests of the primitives need no loop.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// How often a waker was woken, seen from outside.
pub(crate) struct Woken(Arc<Count>);

/// The waker's side of it.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn new() -> Self {
        Woken(Arc::default())
    }

    /// How often it was woken.
    pub(crate) fn wakes(&self) -> usize {
        self.0.0.load(Ordering::Relaxed)
    }

    /// How many wakers of it somebody holds.
    pub(crate) fn clones(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }
}

/// A future, and the waker that it is polled with.
pub(crate) struct ByHand<F> {
    future: F,
    woken: Woken,
}

impl<F: Future + Unpin> ByHand<F> {
    pub(crate) fn new(future: F) -> Self {
        ByHand { future, woken: Woken::new() }
    }

    /// One that was polled once and waits.
    pub(crate) fn waiting(future: F) -> Self {
        let mut waiter = Self::new(future);
        assert!(waiter.poll().is_pending());
        waiter
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.woken.0));
        Pin::new(&mut self.future).poll(&mut Context::from_waker(&waker))
    }

    /// The output, which must be there.
    pub(crate) fn take(mut self) -> F::Output {
        match self.poll() {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future has to wait"),
        }
    }

    /// How often the present waker was woken.
    pub(crate) fn wakes(&self) -> usize {
        self.woken.wakes()
    }

    /// Polls with another waker from now on; the one so far.
    pub(crate) fn change_waker(&mut self) -> Woken {
        std::mem::replace(&mut self.woken, Woken::new())
    }

    /// The future, to do something else with it, and its waker.
    pub(crate) fn into_parts(self) -> (F, Woken) {
        (self.future, self.woken)
    }

    /// Drops the future; its waker.
    pub(crate) fn drop_future(self) -> Woken {
        self.woken
    }
}

/// Something to do once.
type Hook = Option<Box<dyn FnOnce()>>;

thread_local! {
    /// What the waker of `as_user_code` does when it is woken, and when it is dropped: wakers are `Send`, and
    /// what they do here is not.
    static HOOKS: RefCell<Vec<Hook>> = const { RefCell::new(Vec::new()) };
}

/// A waker that runs these, once each: user code at its worst.
pub(crate) fn as_user_code(on_wake: impl FnOnce() + 'static, on_drop: impl FnOnce() + 'static) -> Waker {
    struct Hooks(usize);
    impl Hooks {
        fn run(&self, which: usize) {
            let hook = HOOKS.with_borrow_mut(|hooks| hooks[self.0 + which].take());
            if let Some(hook) = hook {
                hook();
            }
        }
    }
    impl Wake for Hooks {
        fn wake(self: Arc<Self>) {
            self.run(0);
        }
    }
    impl Drop for Hooks {
        fn drop(&mut self) {
            self.run(1);
        }
    }
    let first = HOOKS.with_borrow_mut(|hooks| {
        hooks.extend([Some(Box::new(on_wake) as Box<dyn FnOnce()>), Some(Box::new(on_drop))]);
        hooks.len() - 2
    });
    Waker::from(Arc::new(Hooks(first)))
}
