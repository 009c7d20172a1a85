//! One run of a workload: the contender in its process, and for a server the load in its own.
//!
//! The contender runs on the first core, the load on the second, where there are two.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, alarm};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::contender::{self, Order, Said};
use crate::load::Load;
use crate::meter::Cost;

/// A process that takes longer than this hangs, and is ended by a signal.
const LIMIT: u32 = 120;

/// How a run ended that did not fail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Done {
    /// What the contender cost, and what the load used if there was one.
    Cost { cost: Cost, load: Option<Load> },
    /// The contender has no way to do the workload, and why.
    Cannot(String),
}

/// Has a contender do what is ordered.
pub fn run(order: &Order) -> io::Result<Done> {
    let known = contender::named(&order.contender)
        .ok_or_else(|| io::Error::other(format!("no contender '{}'", order.contender)))?;
    run_under(Command::new(program(known.program)), order)
}

/// The same with the contender started by `command`: itself, or a tracer in front of it.
pub fn run_under(mut command: Command, order: &Order) -> io::Result<Done> {
    let mut child = command.arg(to_json(order)).stdout(Stdio::piped()).spawn()?;
    let mut lines = lines_of(&mut child);
    let mut load = None;
    let answer = loop {
        match next_line(&mut lines) {
            Ok(Said::Listening(address)) => match generate(order, address) {
                Ok(used) => load = Some(used),
                Err(error) => break Err(error),
            },
            Ok(Said::Cost(mut cost)) => {
                // What the other end saw is a figure of the contender.
                cost.noted.extend(load.iter().flat_map(|load: &Load| load.noted.clone()));
                break Ok(Done::Cost { cost, load });
            }
            Ok(Said::Cannot(why)) => break Ok(Done::Cannot(why)),
            Err(error) => break Err(error),
        }
    };
    finish(child, answer)
}

fn generate(order: &Order, address: SocketAddr) -> io::Result<Load> {
    let mut command = Command::new(program("load"));
    command.arg(address.to_string()).arg(to_json(order));
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let load = next_line(&mut lines_of(&mut child));
    finish(child, load)
}

type Lines = io::Lines<BufReader<ChildStdout>>;

fn lines_of(child: &mut Child) -> Lines {
    BufReader::new(child.stdout.take().expect("it is piped")).lines()
}

fn next_line<T: DeserializeOwned>(lines: &mut Lines) -> io::Result<T> {
    let line = lines.next().unwrap_or_else(|| Err(io::Error::other("a process ended without an answer")))?;
    serde_json::from_str(&line).map_err(io::Error::from)
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

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data can be written")
}

/// Tells the parent.
pub fn say(value: &impl Serialize) {
    println!("{}", to_json(value));
}

/// Another program of the benches: it lies beside this one.
pub fn program(name: &str) -> PathBuf {
    std::env::current_exe().expect("Linux knows").with_file_name(name)
}

/// Which core a process keeps to.
#[derive(Clone, Copy)]
pub enum Core {
    First,
    Second,
}

/// The cores that the process was started with: a thread that keeps to one has no other.
static CORES: OnceLock<CpuSet> = OnceLock::new();

/// What both kinds of process do at their start: keep to a core, and end some time.
pub fn settle(core: Core) {
    alarm::set(LIMIT);
    keep_to(core);
}

/// Has this thread, and those it will start, run on one core, where there are two.
pub fn keep_to(core: Core) {
    let allowed = CORES
        .get_or_init(|| sched_getaffinity(Pid::from_raw(0)).expect("a process may ask for its own cores"));
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
