//! A job queue with workers: `cargo run --example workers [options]`; `--help` lists them.
//!
//! Some dozens of jobs, the urgent ones first, are done by a few workers. An attempt has a time limit. A job that fails is
//! tried again after a pause that doubles; one that fails too often, or for good, becomes a dead letter. Ctrl-C lets what
//! runs come to its end, for a while, and then cancels it. All misfortune is staged, by seed: the same seed gives the same
//! dead letters on every machine.
//!
//! * [`options`]: the command line.
//! * [`crew`]: the queue, the workers, the retries, the orderly end. It does not know what jobs do, so its tests bring
//!   their own, on a clock that jumps.
//! * [`backoff`]: the pauses between attempts. [`luck`]: chance by seed.
//! * [`jobs`]: what there is to do: files, sockets, computing. [`service`]: the server that fails and stalls. [`rate`]: how often
//!   that may be asked.
//! * [`log`]: lines that say whose they are. [`tally`]: what came of it all.

mod backoff;
mod crew;
mod jobs;
mod log;
mod luck;
mod options;
mod rate;
mod service;
mod tally;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::{env, fs, panic};

use ringloop::net::TcpListener;
use ringloop::{Builder, Sigint, create_task, now};

use crate::crew::{Crew, Job};
use crate::jobs::Workshop;
use crate::luck::Luck;
use crate::options::Options;
use crate::rate::Rate;
use crate::tally::Tally;

fn main() -> ExitCode {
    let options = match options::parse() {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(complaint) => {
            eprintln!("workers: {complaint}");
            return ExitCode::from(2);
        }
    };
    // A panic belongs to a job, and its line says to which.
    panic::set_hook(Box::new(|panic| log::say(format_args!("{}", panic.to_string().replace('\n', " ")))));
    match run(&options) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("workers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does all the jobs, tells what came of them, and gives the exit status.
fn run(options: &Options) -> io::Result<u8> {
    let directory = nix::unistd::mkdtemp(&env::temp_dir().join("workers-XXXXXX"))?;
    let tally = Rc::new(Tally::of(options.jobs));
    // Ctrl-C cancels `work`, which may take its time over that.
    let mut runner = Builder::new().clock(options.clock).sigint(Sigint::Cancel).build()?;
    let ended = runner.run(work(options, &directory, tally.clone()));
    runner.close()?;
    fs::remove_dir_all(&directory)?;
    let interrupted = match ended {
        Ok(ended) => ended.map(|()| false)?,
        Err(error) if error.is_interrupted() => true,
        Err(error) => return Err(error.into()),
    };
    let _ = write!(io::stdout(), "{tally}");
    Ok(match interrupted {
        true => 130,
        false if tally.is_all_done() => 0,
        false => 1,
    })
}

async fn work(options: &Options, directory: &Path, tally: Rc<Tally>) -> io::Result<()> {
    log::STARTED.set(now());
    let luck = Luck::of(options.seed);
    let jobs: Vec<Job> = (1..=options.jobs).map(|number| Job::dealt(number, luck)).collect();
    jobs::plant(directory, &jobs, luck).await?;

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    // A task, which our own cancel does not reach: the jobs that come to their end still need the server.
    let _service = create_task(service::serve(listener, luck)).abort_on_drop();

    let rate = Rate::new(options.rate);
    let workshop = Rc::new(Workshop { directory: directory.to_owned(), server, rate, luck });
    let crew = Crew::new(options.rules(luck), tally, async move |job, attempt| {
        workshop.clone().perform(job, attempt).await
    });
    crew.run(jobs).await
}

/// Runs a test on a clock that jumps to whatever is next: hours take milliseconds, and times are exact.
#[cfg(test)]
fn paused<T>(test: impl Future<Output = T>) -> T {
    let mut runner =
        Builder::new().clock(ringloop::testing::Clock::Paused).build().expect("io_uring is there");
    runner.run(test).expect("nobody cancels the test")
}
