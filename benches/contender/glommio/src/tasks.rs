use std::time::Duration;

use ringloop_benches::tasks::Tasks;

use crate::Glommio;

impl Tasks for Glommio {
    fn sleep(duration: Duration) -> impl Future<Output = ()> + 'static {
        glommio::timer::sleep(duration)
    }

    async fn timeout<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
        glommio::timer::timeout(limit, async { Ok(future.await) }).await.ok()
    }

    fn to_thread<T: Send + 'static>(
        function: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> {
        glommio::executor().spawn_blocking(function)
    }
}
