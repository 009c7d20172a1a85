//! Asks a live process what its tasks do: `cargo run --example inspect -- ps|pstree PATH`.
//!
//! The process was started with `RINGLOOP_INSPECT=PATH` in its environment. `ps` prints a table of its tasks, `pstree` who
//! awaits whom. A loop that hangs is named with the task that holds it.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (question, path) = match &arguments[..] {
        [question, path] if ["ps", "pstree"].contains(&question.as_str()) => (question, path),
        _ => {
            eprintln!("usage: inspect ps|pstree PATH");
            return ExitCode::from(2);
        }
    };
    match ask(question, path) {
        Ok(answer) => {
            print!("{answer}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("inspect: {path}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends the question and reads the answer to its end.
fn ask(question: &str, path: &str) -> io::Result<String> {
    let mut process = UnixStream::connect(path)?;
    process.set_read_timeout(Some(Duration::from_secs(10)))?;
    process.write_all(format!("{question}\n").as_bytes())?;
    let mut answer = String::new();
    process.read_to_string(&mut answer)?;
    Ok(answer)
}
