use std::time::Duration;

use ringloop_benches::tasks::Tasks;

use crate::Monoio;

impl Tasks for Monoio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        monoio::time::sleep(duration)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        monoio::time::timeout(limit, future).await.ok()
    }

    async fn to_thread<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> T {
        monoio::spawn_blocking(function).await.expect("a job of a bench does not fail")
    }
}
