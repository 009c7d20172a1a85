//! Lines that say when, and on behalf of which job, without anybody being handed either: context variables, which go along
//! into tasks and onto threads.

use std::fmt;
use std::io::{self, Write};
use std::time::Instant;

use ringloop::{context_var, now};

context_var! {
    /// When the program's work began.
    pub static STARTED: ContextVar<Instant>;
    /// The job that is worked on.
    pub static JOB: ContextVar<String>;
}

/// Prints a line.
pub fn say(what: fmt::Arguments<'_>) {
    let now = now();
    let time = now.saturating_duration_since(STARTED.get().unwrap_or(now)).as_secs_f64();
    JOB.with(|job| {
        // Whoever closed our stdout does not want to know.
        let _ = writeln!(io::stdout(), "{time:7.3}  {:<16}{what}", job.map_or("", String::as_str));
    });
}
