use std::time::Duration;

use ringloop_benches::tasks::Tasks;

use crate::TokioUring;

impl Tasks for TokioUring {
    fn yield_now() -> impl Future<Output = ()> + 'static {
        tokio::task::yield_now()
    }

    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        tokio::time::sleep(duration)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        tokio::time::timeout(limit, future).await.ok()
    }

    async fn to_thread<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> T {
        tokio::task::spawn_blocking(function).await.expect("a job of a bench does not fail")
    }
}
