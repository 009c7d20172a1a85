use std::time::Duration;

use kimojio::operations;
use ringloop_benches::tasks::{Tasks, Work};

use crate::Kimojio;

impl Tasks for Kimojio {
    fn yield_now() -> impl Future<Output = ()> + 'static {
        operations::yield_cpu()
    }

    async fn sleep(duration: Duration) {
        operations::sleep(duration).await.expect("a sleep is not cancelled");
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        operations::timeout_at(std::time::Instant::now() + limit, future).await.ok()
    }

    async fn to_thread<T: Send + 'static>(_function: impl FnOnce() -> T + Send + 'static) -> T {
        unreachable!("it says that it has no threads")
    }

    fn cannot(work: Work) -> Option<&'static str> {
        matches!(work, Work::ToThread | Work::WakeAwake { .. } | Work::WakeAsleep | Work::WakeInTurn)
            .then_some("its wakers and tasks are bound to one thread")
    }
}
