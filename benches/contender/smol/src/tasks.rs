use std::time::Duration;

use ringloop_benches::tasks::Tasks;
use smol::Timer;

use crate::Smol;

impl Tasks for Smol {
    fn yield_now() -> impl Future<Output = ()> + 'static {
        smol::future::yield_now()
    }

    async fn sleep(duration: Duration) {
        Timer::after(duration).await;
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        let done = async { Some(future.await) };
        let late = async {
            Timer::after(limit).await;
            None
        };
        smol::future::or(done, late).await
    }

    fn to_thread<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> {
        smol::unblock(function)
    }
}
