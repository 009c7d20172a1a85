//! Instructions per operation, by valgrind's callgrind: of the contender's own code alone, not the kernel's, and the same on a
//! busy machine as on an idle one.
//!
//! A workload is done twice, with different numbers of operations; the difference is what the operations take, without
//! start and end.

use std::io;
use std::path::Path;
use std::process::Command;

use crate::contender::{Known, Order};
use crate::meter::{Cost, Span};
use crate::net;
use crate::session::{Done, program, run_under};
use crate::tasks;
use crate::workload::{Work, Workload};

/// Why there is no valgrind here, if so.
pub fn missing() -> Option<String> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(answer) if answer.status.success() => None,
        Ok(answer) => Some(format!("valgrind does not work here ({})", answer.status)),
        Err(error) => Some(format!("valgrind cannot be started ({error})")),
    }
}

/// Operations of the shorter run, where the workload is not a whole by itself.
const COUNTED: u64 = 10_000;

/// Instructions per operation; inside an `Err` the reason why there is no such figure.
pub fn per_operation(known: &Known, workload: &Workload, scratch: &Path) -> io::Result<Result<f64, String>> {
    let why_not = match workload.work {
        Work::Net(net::Work::Paced(_)) => {
            Some("its load does not wait for a server that valgrind slows down")
        }
        Work::Tasks(tasks::Work::WakeAsleep | tasks::Work::WakeInTurn | tasks::Work::ToThread) => {
            Some("valgrind lets no other thread run while one waits in the ring")
        }
        _ => None,
    };
    if let Some(why_not) = why_not {
        return Ok(Err(why_not.to_owned()));
    }
    let (warm_up, counted) = match workload.span {
        Span::Operations { warm_up, counted } => (warm_up, (counted / 10).max(1)),
        Span::Wall { .. } => (1000, COUNTED),
    };
    let mut runs = Vec::new();
    for counted in [counted, 3 * counted] {
        let order = Order {
            contender: known.name.to_owned(),
            workload: workload.id.to_owned(),
            span: Span::Operations { warm_up, counted },
            scratch: scratch.to_owned(),
        };
        match run(known, &order, scratch)? {
            Ok(run) => runs.push(run),
            Err(why) => return Ok(Err(why)),
        }
    }
    let [(few, cost), (many, more)] = &runs[..] else { unreachable!("there were two runs") };
    Ok(Ok((many - few) as f64 / (more.operations - cost.operations) as f64))
}

/// All instructions of a run, and its cost.
fn run(known: &Known, order: &Order, scratch: &Path) -> io::Result<Result<(u64, Cost), String>> {
    let log = scratch.join("callgrind.log");
    let mut command = Command::new("valgrind");
    // The profile itself is not wanted, only its sum, which stands in the log.
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(format!("--log-file={}", log.display())).arg(program(known.program));
    match run_under(command, order) {
        Ok(Done::Cannot(why)) => Ok(Err(why)),
        Ok(Done::Cost { cost, .. }) => {
            let instructions = collected(&std::fs::read_to_string(&log)?);
            Ok(instructions.map(|sum| (sum, cost)).ok_or_else(|| "callgrind tells no sum".to_owned()))
        }
        Err(error) => Ok(Err(format!("it does not run under valgrind ({error})"))),
    }
}

/// The sum in callgrind's log.
fn collected(log: &str) -> Option<u64> {
    let line = log.lines().find_map(|line| line.split_once("Collected :"));
    line?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_found_in_the_log() {
        let log = "==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(collected(log), Some(1_234_567));
        assert_eq!(collected("==7== no such tool"), None);
    }
}
