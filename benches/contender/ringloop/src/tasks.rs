use std::time::Duration;

use ringloop_benches::tasks::Tasks;

use crate::Ringloop;

impl Tasks for Ringloop {
    fn yield_now() -> impl Future<Output = ()> + 'static {
        ringloop::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        ringloop::sleep(duration)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        ringloop::timeout(limit, future).await.ok()
    }

    async fn to_thread<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> T {
        ringloop::to_thread(function).await.expect("a job of a bench does not fail")
    }
}
