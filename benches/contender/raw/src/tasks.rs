use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use ringloop_benches::contender::Runtime;
use ringloop_benches::tasks::{Tasks, Work};

use crate::Raw;
use crate::executor::{self, Handle};
use crate::timers::Timer;

impl Runtime for Raw {
    type Join<T: 'static> = Handle<T>;

    fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        executor::run(main)
    }

    fn spawn<F: Future<Output: 'static> + 'static>(task: F) -> Handle<F::Output> {
        executor::spawn(task)
    }
}

impl Tasks for Raw {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        Timer::new(Instant::now() + duration)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        // The limit counts from here, so the clock is read also where the future is ready at once.
        let deadline = Instant::now() + limit;
        let (mut future, mut timer) = (pin!(future), None);
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let timer = timer.get_or_insert_with(|| Timer::new(deadline));
            Pin::new(timer).poll(context).map(|()| None)
        })
        .await
    }

    async fn to_thread<T: Send + 'static>(_function: impl FnOnce() -> T + Send + 'static) -> T {
        unreachable!("it says that it has no threads")
    }

    fn cannot(work: Work) -> Option<&'static str> {
        matches!(work, Work::ToThread | Work::WakeAwake { .. } | Work::WakeAsleep | Work::WakeInTurn)
            .then_some("its wakers are bound to one thread")
    }
}
