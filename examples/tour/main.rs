//! The tutorial, program by program: `cargo run --example tour [NAME..]`.
//!
//! Each function below is one program of the asyncio tutorial that this crate implements, named after its section, and prints
//! what the tutorial's program prints. It has a `run` of its own, as the tutorial's programs do. The table at the end of
//! the file lists them, with how long each takes and how long it would take if its parts ran one after another.
//!
//! * `--list` names the programs, and what the tutorial has that comes later.
//! * `--fast` divides every delay by 20 and looks at the clock: whoever is early, or as slow as one after another, fails.

mod programs;

use std::env;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use programs::{ABSENT, PROGRAMS, Pace, Program};

const USAGE: &str = "usage: tour [--fast] [--list] [NAME..]";

fn main() -> ExitCode {
    // Processes of a pool are this program again.
    #[cfg(feature = "process-pool")]
    ringloop::process_pool::worker_main();
    let mut pace = Pace { divisor: 1 };
    let mut names = Vec::new();
    for word in env::args().skip(1) {
        match word.as_str() {
            "--fast" => pace = Pace { divisor: 20 },
            "--list" => {
                list();
                return ExitCode::SUCCESS;
            }
            "-h" | "--help" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            name if PROGRAMS.iter().any(|program| program.name == name) => names.push(word),
            _ => {
                eprintln!("tour: no program is called {word:?}; --list names them all\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let mut well = true;
    let chosen = |program: &&Program| names.is_empty() || names.iter().any(|name| name == program.name);
    for program in PROGRAMS.iter().filter(chosen) {
        println!("--- {}: {}", program.name, program.shows);
        well &= perform(program, pace);
    }
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn list() {
    for program in PROGRAMS {
        println!("{:<24}{}", program.name, program.shows);
    }
    for (name, why) in ABSENT {
        println!("{name:<24}{why}");
    }
}

/// Runs one program and says how long it took; with `--fast`, whether that is credible.
fn perform(program: &Program, pace: Pace) -> bool {
    let started = Instant::now();
    if let Err(error) = (program.run)(pace) {
        println!("{}: {error}", program.name);
        return false;
    }
    let took = started.elapsed();
    let least = pace.seconds(program.seconds);
    let in_turn = pace.seconds(program.in_turn);
    print!("took {:.2} s", took.as_secs_f64());
    if in_turn > least {
        print!("; one after another it would be {:.2} s", in_turn.as_secs_f64());
    }
    println!("\n");
    if pace.divisor == 1 {
        return true;
    }
    let early = took < least;
    let no_better = in_turn > least && took >= in_turn;
    if early || no_better {
        println!("{}: expected {:.2} s or a little more\n", program.name, least.as_secs_f64());
    }
    !early && !no_better
}

impl Pace {
    /// So many of the tutorial's seconds.
    pub fn seconds(self, seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds) / self.divisor
    }
}
