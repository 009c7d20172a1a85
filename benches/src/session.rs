//! Doing a workload: the contender in its process, and for an echo the generator in its own.
//!
//! The parent starts `contender NAME WORKLOAD`, which for an echo prints the address it listens on, and at its end one
//! line of JSON: a [`Done`]. The contender runs on the first core, the generator on the second, where there are two.

use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, alarm};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::load::Load;
use crate::meter::Cost;
use crate::{Echo, Workload};

/// A process that takes longer than this hangs, and is ended by a signal.
const LIMIT: u32 = 120;

/// What a contender answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Done {
    Cost(Cost),
    /// It has no way to do this workload, and why.
    Cannot(String),
}

/// A contender's answer, and what the generator used if there was one.
#[derive(Clone, Debug)]
pub struct Session {
    pub done: Done,
    pub load: Option<Load>,
}

/// Has the contender of this name do the workload.
pub fn run(contender: &str, workload: &Workload) -> io::Result<Session> {
    run_under(Command::new(program("contender")), contender, workload)
}

/// The same with the contender started by `command`: itself, or a tracer in front of it.
pub fn run_under(mut command: Command, contender: &str, workload: &Workload) -> io::Result<Session> {
    let mut server = command.arg(contender).arg(to_json(workload)).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(server.stdout.take().expect("it is piped")).lines();
    let mut session = || {
        let mut load = None;
        let mut line = next_line(&mut lines)?;
        if let (Workload::Echo(echo), Ok(address)) = (workload, serde_json::from_str::<String>(&line)) {
            load = Some(generate(*echo, &address)?);
            line = next_line(&mut lines)?;
        }
        Ok(Session { done: from_json(&line)?, load })
    };
    let session = session();
    finish(server, session)
}

fn generate(echo: Echo, address: &str) -> io::Result<Load> {
    let mut command = Command::new(program("load"));
    let mut generator = command.arg(address).arg(to_json(&echo)).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(generator.stdout.take().expect("it is piped")).lines();
    let load = next_line(&mut lines).and_then(|line| from_json(&line));
    finish(generator, load)
}

/// Waits for the child if it has answered, and ends it if not: nothing is left behind.
fn finish<T>(mut child: Child, answer: io::Result<T>) -> io::Result<T> {
    if answer.is_err() {
        // It may have ended by itself.
        let _ = child.kill();
    }
    let status = child.wait()?;
    match answer {
        Ok(_) if !status.success() => Err(io::Error::other(format!("a process ended with {status}"))),
        answer => answer,
    }
}

fn next_line(lines: &mut impl Iterator<Item = io::Result<String>>) -> io::Result<String> {
    lines.next().unwrap_or_else(|| Err(io::Error::other("a process ended without an answer")))
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data can be written")
}

fn from_json<T: DeserializeOwned>(text: &str) -> io::Result<T> {
    serde_json::from_str(text).map_err(io::Error::from)
}

/// Prints an answer to the parent.
pub fn answer(value: &impl Serialize) {
    println!("{}", to_json(value));
}

/// Another program of this crate: it lies beside this one.
pub fn program(name: &str) -> PathBuf {
    std::env::current_exe().expect("Linux knows").with_file_name(name)
}

/// Which core a process keeps to.
pub enum Core {
    First,
    Second,
}

/// What both kinds of process do at their start: keep to a core, and end some time.
pub fn settle(core: Core) {
    alarm::set(LIMIT);
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("a process may ask for its own cores");
    let mut cores = (0..CpuSet::count()).filter(|&core| allowed.is_set(core).unwrap_or(false));
    let (first, second) = (cores.next(), cores.next());
    if let (Some(first), Some(second)) = (first, second) {
        let mut chosen = CpuSet::new();
        let number = if let Core::First = core { first } else { second };
        chosen.set(number).expect("the number came out of such a set");
        // A sandbox may forbid it: then the scheduler decides.
        let _ = sched_setaffinity(Pid::from_raw(0), &chosen);
    }
}
