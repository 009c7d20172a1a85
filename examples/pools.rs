//! Work that blocks, work that computes, work that may crash: `cargo run --features process-pool --example pools`.
//!
//! What blocks goes to the loop's threads, what computes to a pool with a thread for each processor, and what may take the
//! program down with it to processes of its own. Meanwhile the loop goes on.

use std::process::abort;
use std::thread::sleep;
use std::time::Duration;

use ringloop::{CpuPool, ProcessPool, join, process_fn, run_in_executor, timeout, to_thread};

process_fn! {
    /// Sum of squares: the parser, the codec, the plugin that is not to be trusted.
    fn squares(below: u64) -> u64 {
        (0..below).map(|n| n * n).sum()
    }

    fn careless(name: String) -> String {
        match &*name {
            "crash" => abort(),
            "hang" => loop { sleep(Duration::MAX) },
            _ => panic!("no file {name}"),
        }
    }
}

#[ringloop::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let blocking = to_thread(|| {
        sleep(Duration::from_millis(100));
        "read from a slow device"
    });
    let computed = run_in_executor(CpuPool::shared(), || (0..1_000_000u64).map(|n| n * n).sum::<u64>());
    let workers = ProcessPool::new(2);
    let (blocking, computed, isolated) = join!(blocking, computed, workers.run(squares, 1_000_000)).await;
    println!("a thread:  {}", blocking?);
    println!("the pool:  {}", computed?);
    println!("a process: {}", isolated?);

    for what in ["crash", "hang", "missing"] {
        let limit = Duration::from_millis(500);
        match timeout(limit, workers.run(careless, what.to_owned())).await {
            Ok(Ok(text)) => println!("{what}: {text}"),
            Ok(Err(error)) => println!("{what}: {error}"),
            Err(_) => println!("{what}: no answer within {limit:?}; its process was killed"),
        }
    }
    println!("and then:  {}", workers.run(squares, 4).await?);
    workers.close().await;
    Ok(())
}
