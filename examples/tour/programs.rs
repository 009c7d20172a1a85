//! The programs, in the tutorial's order.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ringloop::fs::{self, File};
use ringloop::sync::Semaphore;
use ringloop::{
    Builder, Cancelled, CpuPool, FirstCompleted, JoinError, Promise, TaskBuilder, ThreadPool, WaitError,
    all_tasks, cancel_and_wait, catch_cancel, create_task, gather, gather_settled, new_future, resume_cancel,
    run, run_in_executor, sleep, timeout, to_thread, wait, wait_for,
};

/// How fast the clock of the tutorial runs.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Every delay is divided by this.
    pub divisor: u32,
}

/// One program of the tutorial.
pub struct Program {
    /// The section, and what it is about.
    pub name: &'static str,
    /// What there is to be seen.
    pub shows: &'static str,
    /// The program.
    pub run: fn(Pace) -> Result<(), Box<dyn Error>>,
    /// How long it takes.
    pub seconds: f64,
    /// How long it would take if nothing in it ran at the same time.
    pub in_turn: f64,
}

type Ended = Result<(), Box<dyn Error>>;

// ---------------------------------------------------------------- 2.1 The event loop

fn s2_1_event_loop(pace: Pace) -> Ended {
    async fn my_coroutine(pace: Pace) -> &'static str {
        sleep(pace.seconds(0.5)).await;
        "my_coroutine is done"
    }
    // As `loop.run_until_complete`: one loop, several runs.
    let mut runner = Builder::new().build()?;
    println!("{}", runner.run(my_coroutine(pace))?);
    println!("{}", runner.run(my_coroutine(pace))?);
    runner.close()?;
    // The simpler way, as `asyncio.run`.
    println!("{}", run(my_coroutine(pace))?);
    Ok(())
}

// ---------------------------------------------------------------- 2.2 Coroutines

fn s2_2_hello_world(pace: Pace) -> Ended {
    async fn hello_world(pace: Pace) {
        println!("Hello");
        sleep(pace.seconds(1.0)).await;
        println!("World!");
    }
    run(hello_world(pace))?;
    Ok(())
}

// ---------------------------------------------------------------- 2.4 Tasks

async fn say_after(delay: Duration, what: &str) {
    sleep(delay).await;
    println!("{what}");
}

/// The time of day in UTC, as `time.strftime('%X')` writes it.
fn time_of_day() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn s2_4_tasks(pace: Pace) -> Ended {
    run(async {
        // Both run from here on: a task does not wait to be awaited.
        let task1 = create_task(say_after(pace.seconds(1.0), "Hello"));
        let task2 = create_task(say_after(pace.seconds(2.0), "World"));

        println!("Started at {}", time_of_day());
        task1.await?;
        task2.await?;
        println!("Finished at {}", time_of_day());
        Ok(())
    })?
}

fn s2_4_sequential(pace: Pace) -> Ended {
    run(async {
        println!("Started at {}", time_of_day());
        say_after(pace.seconds(1.0), "Hello").await;
        say_after(pace.seconds(2.0), "World").await;
        println!("Finished at {}", time_of_day());
        Ok(())
    })?
}

// ---------------------------------------------------------------- 2.5 Futures

fn s2_5_future(pace: Pace) -> Ended {
    async fn set_after(promise: Promise<&'static str>, delay: Duration, value: &'static str) {
        sleep(delay).await;
        // The value comes back as an error if nobody waits for it any more.
        let _ = promise.set(value);
    }
    run(async {
        let (promise, future) = new_future();
        create_task(set_after(promise, pace.seconds(1.0), "... world!")).detach();
        println!("hello {}", future.await?);
        Ok(())
    })?
}

// ---------------------------------------------------------------- 3.1 gather

struct Data {
    id: u32,
    data: String,
}

impl fmt::Display for Data {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{{'id': {}, 'data': '{}'}}", self.id, self.data)
    }
}

async fn fetch_data(pace: Pace, id: u32, delay: f64) -> io::Result<Data> {
    sleep(pace.seconds(delay)).await;
    Ok(Data { id, data: format!("sample data after {delay:.1}s") })
}

/// The tutorial's three, and what else is to be fetched.
const FETCHES: [(u32, f64); 3] = [(1, 2.0), (2, 1.0), (3, 3.0)];

fn s3_1_gather(pace: Pace) -> Ended {
    run(async {
        // The results come in the order of the futures, not in that of their ends.
        let results = gather(FETCHES.map(|(id, delay)| fetch_data(pace, id, delay))).await?;
        for result in results {
            println!("Received: {result}");
        }
        // As `return_exceptions=True`. The tutorial hands the same coroutines over again, and is told three times at run time
        // that they were awaited already; here the compiler would say so: what was awaited is gone.
        let tasks = FETCHES.map(|(id, delay)| create_task(fetch_data(pace, id, delay)));
        for result in gather_settled(tasks).await {
            match result.map_err(io::Error::from).and_then(|result| result) {
                Ok(result) => println!("Task succeeded: {result}"),
                Err(error) => println!("Task failed: {error}"),
            }
        }
        Ok(())
    })?
}

fn s3_1_gather_errors(pace: Pace) -> Ended {
    async fn fetch_or_fail(pace: Pace, id: u32, delay: f64) -> io::Result<Data> {
        let data = fetch_data(pace, id, delay).await?;
        if id == 2 { Err(io::Error::other(format!("no data for {id}"))) } else { Ok(data) }
    }
    run(async {
        // The first error is the answer at once; the others go on, and nobody reads what they bring.
        let gathered = gather(FETCHES.map(|(id, delay)| fetch_or_fail(pace, id, delay))).await;
        match gathered {
            Ok(_) => println!("All tasks succeeded"),
            Err(error) => println!("gather ended with: {error}"),
        }
        // Every task's own end, a cancel or a panic among them.
        let tasks = FETCHES.map(|(id, delay)| create_task(fetch_or_fail(pace, id, delay)));
        for ended in gather_settled(tasks).await {
            match ended {
                Ok(Ok(result)) => println!("Task succeeded: {result}"),
                Ok(Err(error)) => println!("Task failed: {error}"),
                Err(error) => println!("Task did not end by itself: {error}"),
            }
        }
        Ok(())
    })?
}

fn s3_1_wait(pace: Pace) -> Ended {
    run(async {
        let tasks = (1..4).map(|i| create_task(fetch_data(pace, i, f64::from(i))));

        // Both come back as tasks: the ended with their ends, the others still running.
        let (done, pending) = wait(tasks, FirstCompleted).await;
        println!("Completed: {}", done.len());
        println!("Pending: {}", pending.len());

        // Cancels what is left, and waits until it has really ended.
        cancel_and_wait(pending).await;
        Ok(())
    })?
}

// ---------------------------------------------------------------- 3.2 Semaphore

#[derive(Clone)]
struct LimitedResource {
    semaphore: Semaphore,
}

impl LimitedResource {
    fn new(concurrency_limit: usize) -> LimitedResource {
        LimitedResource { semaphore: Semaphore::new(concurrency_limit) }
    }

    async fn access(self, pace: Pace, id: u32) {
        let _permit = self.semaphore.acquire().await; // given back where it goes out of scope
        println!("Task {id} is accessing the resource...");
        sleep(pace.seconds(2.0)).await;
        println!("Task {id} is done.");
    }
}

fn s3_2_semaphore(pace: Pace) -> Ended {
    run(async {
        let resource = LimitedResource::new(3);
        // Never more than three are inside: ten visits of two seconds take four rounds.
        gather((0..10).map(|id| create_task(resource.clone().access(pace, id)))).await?;
        Ok(())
    })?
}

// ---------------------------------------------------------------- 3.3 timeout

async fn slow_operation(pace: Pace, seconds: f64) -> String {
    sleep(pace.seconds(seconds)).await;
    format!("Operation completed after {seconds}s")
}

fn s3_3_wait_for(pace: Pace) -> Ended {
    run(async {
        // For tasks: when this has returned, the task has ended.
        match wait_for(create_task(slow_operation(pace, 5.0)), pace.seconds(2.0)).await {
            Ok(result) => println!("{result}"),
            Err(WaitError::Elapsed(_)) => println!("The operation timed out!"),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    })?
}

fn s3_3_timeout(pace: Pace) -> Ended {
    run(async {
        match timeout(pace.seconds(2.0), slow_operation(pace, 5.0)).await {
            Ok(result) => println!("{result}"),
            Err(_elapsed) => println!("The operation timed out (new way)!"),
        }
        Ok(())
    })?
}

// ---------------------------------------------------------------- 4 Threads and executors

fn blocking_io_operation(pace: Pace) -> &'static str {
    thread::sleep(pace.seconds(2.0));
    "Blocking IO result"
}

fn sum_of_squares(n: u128) -> u128 {
    (0..n).map(|i| i * i).sum()
}

#[cfg(feature = "process-pool")]
ringloop::process_fn! {
    fn cpu_intensive_calculation(n: u128) -> u128 {
        sum_of_squares(n)
    }
}

fn s4_executors(pace: Pace) -> Ended {
    run(async {
        // The loop's own threads, as `asyncio.to_thread` and as `loop.run_in_executor(None, ..)`.
        println!("{}", to_thread(move || blocking_io_operation(pace)).await?);

        // A pool of one's own, for work that must not wait behind other work.
        let pool = ThreadPool::new("tour", 2);
        println!("{}", run_in_executor(&pool, move || blocking_io_operation(pace)).await?);

        // The tutorial takes processes, because Python's threads take turns. Threads of Rust compute side by side.
        let result = run_in_executor(CpuPool::shared(), || sum_of_squares(10_000_000)).await?;
        println!("CPU result: {result}");
        Ok(())
    })?
}

#[cfg(feature = "process-pool")]
fn s4_process_pool(_: Pace) -> Ended {
    run(async {
        let pool = ringloop::ProcessPool::default();
        let result = pool.run(cpu_intensive_calculation, 10_000_000).await?;
        println!("CPU result: {result}");
        pool.close().await; // the end of the `with` block
        Ok(())
    })?
}

// ---------------------------------------------------------------- 5.2 Files

async fn async_write_file(filename: &Path, data: &str) -> io::Result<()> {
    let mut f = File::create(filename).await?;
    f.write_all(data.as_bytes()).await?;
    f.close().await?; // what `async with` does at its end: the error of a late write would be seen here
    println!("Finished writing {}", name_of(filename));
    Ok(())
}

async fn async_read_file(filename: &Path) -> io::Result<String> {
    let mut f = File::open(filename).await?;
    let mut content = String::new();
    f.read_to_string(&mut content).await?;
    let beginning: String = content.chars().take(20).collect();
    println!("Read from {}: {beginning}...", name_of(filename));
    Ok(content)
}

fn name_of(path: &Path) -> std::path::Display<'_> {
    path.file_name().map_or(path, Path::new).display()
}

fn s5_2_files(_: Pace) -> Ended {
    run(async {
        // The tutorial leaves its files where it was started; here they go to a directory that is removed at the end.
        let here = nix::unistd::mkdtemp(&std::env::temp_dir().join("tour-XXXXXX"))?;

        let data = "Hello, Asyncio World!\n".repeat(1000);
        async_write_file(&here.join("test_async.txt"), &data).await?;
        let content = async_read_file(&here.join("test_async.txt")).await?;
        assert_eq!(content, data, "what was written is what is read");

        // Several files at once.
        let names: Vec<_> = (0..5).map(|i| here.join(format!("file_{i}.txt"))).collect();
        let write = |(i, name): (usize, PathBuf)| async move {
            async_write_file(&name, &format!("Content of file {i}")).await
        };
        gather(names.iter().cloned().enumerate().map(write)).await?;
        for (i, name) in names.iter().enumerate() {
            assert_eq!(fs::read_to_string(name).await?, format!("Content of file {i}"));
            fs::remove_file(name).await?;
        }
        fs::remove_file(here.join("test_async.txt")).await?;
        fs::remove_dir(&here).await?;
        Ok(())
    })?
}

// ---------------------------------------------------------------- 6.1 Blocking the loop

/// Tells three times, half a second apart, that the loop goes on.
async fn tick(pace: Pace, started: Instant) {
    for _ in 0..3 {
        sleep(pace.seconds(0.5)).await;
        let seconds = started.elapsed().as_secs_f64() * f64::from(pace.divisor);
        println!("the loop goes on, {seconds:.1}s");
    }
}

fn s6_1_blocking(pace: Pace) -> Ended {
    // The mistake: a call that blocks, in a coroutine. Everything else stands still meanwhile.
    async fn careless(pace: Pace) -> &'static str {
        blocking_io_operation(pace)
    }
    let caught = Arc::new(AtomicBool::new(false));
    let noticed = caught.clone();
    // Debug mode names who holds the loop: while it does, from another thread, and when it has let go.
    let mut runner = Builder::new()
        .debug(true)
        .slow_step(pace.seconds(0.1))
        .on_error(move |message| {
            println!("debug mode: {message}");
            noticed.store(true, Ordering::Relaxed);
        })
        .build()?;
    runner.run(async {
        let ticker = create_task(tick(pace, Instant::now()));
        println!("{}", TaskBuilder::new().name("careless").create_task(careless(pace)).await?);
        ticker.await?;
        Ok::<_, JoinError>(())
    })??;
    runner.close()?;
    if caught.load(Ordering::Relaxed) { Ok(()) } else { Err("debug mode has not noticed".into()) }
}

fn s6_1_to_thread(pace: Pace) -> Ended {
    run(async {
        let ticker = create_task(tick(pace, Instant::now()));
        println!("{}", to_thread(move || blocking_io_operation(pace)).await?);
        ticker.await?;
        Ok(())
    })?
}

// ---------------------------------------------------------------- 6.3 Cancelling, and cleaning up

fn s6_3_cancel(pace: Pace) -> Ended {
    async fn worker(pace: Pace) {
        // As `try: .. except CancelledError: .. raise`: the code that handles a cancel may await.
        if let Err(Cancelled { .. }) = catch_cancel(sleep(pace.seconds(3600.0))).await {
            println!("Cancelled: cleaning up");
            sleep(pace.seconds(0.5)).await;
            println!("Cleaned up");
            resume_cancel().await;
        }
    }
    run(async {
        let task = create_task(worker(pace));
        sleep(pace.seconds(0.5)).await;
        task.cancel();
        match task.await {
            Err(error) if error.is_cancelled() => println!("The task was cancelled"),
            other => println!("The task ended otherwise: {other:?}"),
        }
        Ok(())
    })?
}

// ---------------------------------------------------------------- 7 Debugging

fn s7_task_states(pace: Pace) -> Ended {
    // As `asyncio.run(main(), debug=True)`; RINGLOOP_DEBUG=1 does the same from outside.
    let mut runner = Builder::new().debug(true).build()?;
    runner.run(async {
        let name = |i: u32| TaskBuilder::new().name(format!("worker-{i}"));
        let tasks: Vec<_> = (1..=3).map(|i| name(i).create_task(sleep(pace.seconds(f64::from(i))))).collect();
        sleep(pace.seconds(1.5)).await;
        tasks[1].cancel();
        sleep(pace.seconds(0.1)).await;
        for task in &tasks {
            println!("Task: {}, Done: {}, Cancelled: {}", task.name(), task.is_done(), task.is_cancelled());
        }
        let mut alive: Vec<_> = all_tasks().iter().map(|task| task.name().to_string()).collect();
        alive.sort();
        println!("Alive: {}", alive.join(", "));
    })?;
    runner.close()?;
    Ok(())
}

/// All programs of the tutorial, but for that of 5.1: there is no HTTP client yet.
#[rustfmt::skip]
pub const PROGRAMS: &[Program] = &[
    Program { name: "s2_1_event_loop", shows: "one loop runs several coroutines, in turn", run: s2_1_event_loop, seconds: 1.5, in_turn: 1.5 },
    Program { name: "s2_2_hello_world", shows: "a coroutine that sleeps", run: s2_2_hello_world, seconds: 1.0, in_turn: 1.0 },
    Program { name: "s2_4_tasks", shows: "two tasks at the same time", run: s2_4_tasks, seconds: 2.0, in_turn: 3.0 },
    Program { name: "s2_4_sequential", shows: "the mistake: no tasks, hence no concurrency", run: s2_4_sequential, seconds: 3.0, in_turn: 3.0 },
    Program { name: "s2_5_future", shows: "a value that somebody else sets", run: s2_5_future, seconds: 1.0, in_turn: 1.0 },
    Program { name: "s3_1_gather", shows: "many results, in the order asked for", run: s3_1_gather, seconds: 6.0, in_turn: 12.0 },
    Program { name: "s3_1_gather_errors", shows: "one that fails, among others", run: s3_1_gather_errors, seconds: 4.0, in_turn: 12.0 },
    Program { name: "s3_1_wait", shows: "the first to end; the others are cancelled", run: s3_1_wait, seconds: 1.0, in_turn: 6.0 },
    Program { name: "s3_2_semaphore", shows: "ten tasks, three at a time", run: s3_2_semaphore, seconds: 8.0, in_turn: 20.0 },
    Program { name: "s3_3_wait_for", shows: "no more than two seconds for a task, the old way", run: s3_3_wait_for, seconds: 2.0, in_turn: 5.0 },
    Program { name: "s3_3_timeout", shows: "no more than two seconds for any code, the new way", run: s3_3_timeout, seconds: 2.0, in_turn: 5.0 },
    Program { name: "s4_executors", shows: "what blocks and what computes, off the loop", run: s4_executors, seconds: 4.0, in_turn: 4.0 },
    #[cfg(feature = "process-pool")]
    Program { name: "s4_process_pool", shows: "the same work, in a process of its own", run: s4_process_pool, seconds: 0.0, in_turn: 0.0 },
    Program { name: "s5_2_files", shows: "files, one and several at once", run: s5_2_files, seconds: 0.0, in_turn: 0.0 },
    Program { name: "s6_1_blocking", shows: "the mistake: a call that blocks, on the loop", run: s6_1_blocking, seconds: 3.0, in_turn: 3.0 },
    Program { name: "s6_1_to_thread", shows: "the same call, off the loop", run: s6_1_to_thread, seconds: 2.0, in_turn: 3.5 },
    Program { name: "s6_3_cancel", shows: "a cancelled task cleans up first", run: s6_3_cancel, seconds: 1.0, in_turn: 3600.0 },
    Program { name: "s7_task_states", shows: "what the tasks are doing", run: s7_task_states, seconds: 1.6, in_turn: 6.0 },
];

/// What the tutorial has beside these, and why it is not here.
pub const ABSENT: &[(&str, &str)] = &[
    #[cfg(not(feature = "process-pool"))]
    ("s4_process_pool", "with --features process-pool"),
    ("s5_1_http", "comes later: four addresses through one client session"),
];
