use std::time::{Duration, Instant};
fn main() -> Result<(), ringloop::RunError> {
    let t = Instant::now();
    let v = ringloop::run(async {
        let a = ringloop::create_task(async { ringloop::sleep(Duration::from_millis(100)).await; 1 });
        let b = ringloop::create_task(async { ringloop::sleep(Duration::from_millis(50)).await; 2 });
        let c = ringloop::to_thread(|| { std::thread::sleep(Duration::from_millis(70)); 3 }).await.unwrap();
        println!("{:?} {:?}", a, ringloop::all_tasks());
        let r = ringloop::timeout(Duration::from_millis(10), ringloop::sleep(Duration::from_secs(3))).await;
        println!("{r:?}");
        let x = ringloop::create_task(ringloop::sleep(Duration::from_secs(100)));
        ringloop::yield_now().await;
        x.cancel();
        println!("{:?}", x.await);
        a.await.unwrap() + b.await.unwrap() + c
    })?;
    println!("{v} {:?}", t.elapsed());
    Ok(())
}
