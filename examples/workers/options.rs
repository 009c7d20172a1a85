//! The command line.

use std::time::Duration;

use lexopt::prelude::*;
use ringloop::testing::Clock;

use crate::backoff::Backoff;
use crate::crew::Rules;
use crate::luck::Luck;

pub const HELP: &str = "\
Does jobs that fetch, write and compute, with workers, time limits and retries.

usage: workers [options]

  --jobs N         how many jobs there are [default: 60]
  --workers N      how many of them run at once [default: 8]
  --attempts N     how often a job is tried [default: 5]
  --limit SECS     how long an attempt may take [default: 0.5]
  --grace SECS     how long what runs may go on after Ctrl-C [default: 1]
  --rate N         requests to the server per second [default: 100]
  --progress SECS  the time between two lines of progress [default: 0.5]
  --seed N         what goes wrong, and where [default: 7]
  --clock paused   the loop's clock jumps to whatever is next: the same, but nobody waits
  -h, --help       this text

Exit status: 0 if every job was done, 1 if one was not, 2 for a wrong command line, 130 after Ctrl-C.";

pub struct Options {
    pub jobs: u32,
    pub rate: u32,
    pub seed: u64,
    pub clock: Clock,
    workers: u32,
    attempts: u32,
    limit: Duration,
    grace: Duration,
    progress: Duration,
}

impl Options {
    pub fn rules(&self, luck: Luck) -> Rules {
        let &Options { workers, attempts, limit, grace, progress, .. } = self;
        let backoff =
            Backoff { attempts, first: Duration::from_millis(100), longest: Duration::from_secs(1), luck };
        Rules { workers, limit, grace, progress, backoff }
    }
}

/// What the command line asks for: `None` for the help.
pub fn parse() -> Result<Option<Options>, String> {
    parse_from(lexopt::Parser::from_env()).map_err(|error| format!("{error}; --help lists the options"))
}

fn parse_from(mut words: lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        jobs: 60,
        rate: 100,
        seed: 7,
        clock: Clock::Real,
        workers: 8,
        attempts: 5,
        limit: Duration::from_millis(500),
        grace: Duration::from_secs(1),
        progress: Duration::from_millis(500),
    };
    while let Some(word) = words.next()? {
        match word {
            Short('h') | Long("help") => return Ok(None),
            Long("jobs") => options.jobs = words.value()?.parse_with(above_zero)?,
            Long("workers") => options.workers = words.value()?.parse_with(above_zero)?,
            Long("attempts") => options.attempts = words.value()?.parse_with(above_zero)?,
            Long("rate") => options.rate = words.value()?.parse_with(above_zero)?,
            Long("limit") => options.limit = words.value()?.parse_with(seconds)?,
            Long("grace") => options.grace = words.value()?.parse_with(seconds)?,
            Long("progress") => options.progress = words.value()?.parse_with(seconds)?,
            Long("seed") => options.seed = words.value()?.parse()?,
            Long("clock") => options.clock = words.value()?.parse_with(clock)?,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(options))
}

fn above_zero(word: &str) -> Result<u32, &'static str> {
    word.parse().ok().filter(|&number| number > 0).ok_or("give a whole number above 0")
}

fn seconds(word: &str) -> Result<Duration, &'static str> {
    let duration = word.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.filter(|duration| !duration.is_zero()).ok_or("give a number of seconds above 0")
}

fn clock(word: &str) -> Result<Clock, &'static str> {
    match word {
        "paused" => Ok(Clock::Paused),
        "real" => Ok(Clock::Real),
        _ => Err("the clocks are real and paused"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Option<Options>, String> {
        parse_from(lexopt::Parser::from_args(words)).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_taken() {
        let options = parsed(&["--jobs=5", "--limit", "0.25", "--clock", "paused"]).unwrap().unwrap();
        assert_eq!((options.jobs, options.limit), (5, Duration::from_millis(250)));
        assert_eq!(options.clock, Clock::Paused);
        assert!(parsed(&["--jobs", "5", "-h"]).unwrap().is_none());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["--workers", "0"],
            &["--limit", "-1"],
            &["--limit", "0"],
            &["--rate", "x"],
            &["--clock", "sun"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
        assert!(parsed(&["stray"]).is_err() && parsed(&["--seed"]).is_err());
    }
}
