use std::time::Duration;

use ringloop_benches::tasks::Tasks;

use crate::Compio;

impl Tasks for Compio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        compio::time::sleep(duration)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        compio::time::timeout(limit, future).await.ok()
    }

    async fn to_thread<T: Send + 'static>(function: impl FnOnce() -> T + Send + 'static) -> T {
        compio::runtime::spawn_blocking(function).await.expect("a job of a bench does not fail")
    }
}
