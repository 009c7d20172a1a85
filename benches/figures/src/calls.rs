//! System calls per operation, of the contender's process alone, counted from outside: by perf's tracepoints, or by strace.
//!
//! Each workload is done twice, with different numbers of operations; the difference is what the operations cost, without
//! start and end. strace stops the process at every call, so requests pile up meanwhile and fewer calls serve more of them:
//! perf's figures are the better ones. From within, ringloop says how many turns its loop made.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use ringloop_benches::contender::{self, Known, Order};
use ringloop_benches::document::table;
use ringloop_benches::files;
use ringloop_benches::meter::{Cost, Span};
use ringloop_benches::session::{Done, program, run_under};
use ringloop_benches::workload::{self, Work};

use super::{Part, Setting, skipped};

/// Whose calls are counted, at what.
const CONTENDERS: [&str; 3] = ["ringloop", "tokio", "sync"];
const WORKLOADS: [&str; 4] = ["echo-1", "echo-50", "read-1", "read-32"];

/// Operations of the shorter run.
const COUNTED: u64 = 20_000;

/// The calls that contenders live on, by name; others are counted together.
const NAMED: [&str; 14] = [
    "io_uring_enter",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "recvfrom",
    "sendto",
    "recvmsg",
    "sendmsg",
    "read",
    "write",
    "pread64",
    "futex",
    "madvise",
    "sched_yield",
];

/// What can count calls from outside.
#[derive(Clone, Copy)]
enum Tracer {
    Perf,
    Strace,
}

/// Calls by name.
type Calls = BTreeMap<String, f64>;

impl Tracer {
    /// The best that works here, or why none does.
    fn find(scratch: &Path) -> Result<Tracer, String> {
        let mut reasons = Vec::new();
        for tracer in [Tracer::Perf, Tracer::Strace] {
            let output = scratch.join("calls");
            let mut command = tracer.command(&output);
            match command.arg("true").output() {
                Ok(result) if result.status.success() && tracer.read(&output).is_some() => return Ok(tracer),
                Ok(result) => {
                    let told = String::from_utf8_lossy(&result.stderr);
                    let told =
                        told.lines().find(|line| !line.trim().is_empty()).unwrap_or("it counts nothing");
                    reasons.push(format!("{} does not work here ({})", tracer.name(), told.trim()));
                }
                Err(error) => reasons.push(format!("{} cannot be started ({error})", tracer.name())),
            }
        }
        Err(reasons.join(", "))
    }

    fn name(self) -> &'static str {
        match self {
            Tracer::Perf => "perf",
            Tracer::Strace => "strace",
        }
    }

    /// The tracer's command line, up to the program to trace.
    fn command(self, output: &Path) -> Command {
        let mut command = Command::new(self.name());
        match self {
            Tracer::Perf => {
                command.args(["stat", "--field-separator", ",", "--event", "raw_syscalls:sys_enter"]);
                for name in NAMED.into_iter().filter(|name| has_tracepoint(name)) {
                    command.arg("--event").arg(format!("syscalls:sys_enter_{name}"));
                }
                command.arg("--output").arg(output).arg("--");
            }
            Tracer::Strace => {
                command.args(["--follow-forks", "--summary-only", "--summary-columns=calls,name"]);
                command.arg("--output").arg(output);
            }
        }
        command
    }

    /// What it has written: all calls, and those that have a name here.
    fn read(self, output: &Path) -> Option<Calls> {
        let text = fs::read_to_string(output).ok()?;
        let mut calls = Calls::new();
        for line in text.lines() {
            let found = match self {
                // value, unit, event, ..
                Tracer::Perf => {
                    let mut fields = line.split(',');
                    let value = fields.next().and_then(|value| value.parse().ok());
                    let event = fields.nth(1).map(|event| match event {
                        "raw_syscalls:sys_enter" => "all",
                        event => event.trim_start_matches("syscalls:sys_enter_"),
                    });
                    value.zip(event)
                }
                // calls name
                Tracer::Strace => {
                    let mut fields = line.split_whitespace();
                    let value = fields.next().and_then(|value| value.parse().ok());
                    value
                        .zip(fields.next())
                        .map(|(value, name)| (value, if name == "total" { "all" } else { name }))
                }
            };
            if let Some((value, name)) = found
                && (name == "all" || NAMED.contains(&name))
            {
                calls.insert(name.to_owned(), value);
            }
        }
        calls.contains_key("all").then_some(calls)
    }
}

fn has_tracepoint(name: &str) -> bool {
    let folders = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
    folders.iter().any(|folder| Path::new(folder).join(format!("events/syscalls/sys_enter_{name}")).exists())
}

/// One run under the tracer.
fn run(
    tracer: Tracer,
    output: &Path,
    contender: &Known,
    order: &Order,
) -> Result<Option<(Calls, Cost)>, Box<dyn Error>> {
    let mut command = tracer.command(output);
    command.arg(program(contender.program));
    match run_under(command, order)? {
        Done::Cannot(_) => Ok(None),
        Done::Cost { cost, .. } => {
            let calls =
                tracer.read(output).ok_or_else(|| format!("{} has counted nothing", tracer.name()))?;
            Ok(Some((calls, cost)))
        }
    }
}

pub(super) fn make(setting: &Setting) -> Result<Part, Box<dyn Error>> {
    let tracer = match Tracer::find(&setting.scratch) {
        Ok(tracer) => tracer,
        Err(why) => return Ok(Part { text: skipped("system calls", why), objections: Vec::new() }),
    };
    let output = setting.scratch.join("calls");
    let mut lines = Vec::new();
    for workload in WORKLOADS.into_iter().filter_map(workload::named) {
        if let Work::Files(work) = workload.work {
            files::prepare(work, &setting.scratch)?;
        }
        for contender in CONTENDERS.into_iter().filter_map(contender::named) {
            let order = |counted| Order {
                contender: contender.name.to_owned(),
                workload: workload.id.to_owned(),
                span: Span::Operations { warm_up: 5_000, counted },
                scratch: setting.scratch.clone(),
            };
            let Some((few, _)) = run(tracer, &output, contender, &order(COUNTED))? else { continue };
            let Some((many, cost)) = run(tracer, &output, contender, &order(5 * COUNTED))? else { continue };
            let per = |call: &str| {
                let [few, many] = [&few, &many].map(|calls| calls.get(call).copied().unwrap_or(0.0));
                (many - few) / (4 * COUNTED) as f64
            };
            let mut calls: Vec<(f64, &str)> = NAMED.into_iter().map(|call| (per(call), call)).collect();
            calls.push((per("all") - calls.iter().map(|(each, _)| each).sum::<f64>(), "others"));
            calls.retain(|(each, _)| *each >= 0.0005);
            calls.sort_by(|a, b| b.0.total_cmp(&a.0));
            let calls: Vec<String> = calls.iter().map(|(each, call)| format!("{call} {each:.3}")).collect();
            let counter = |name| cost.counters.get(name).map(|&value| value as f64);
            let per_turn = |value: Option<f64>| {
                value
                    .zip(counter("turns"))
                    .map_or_else(String::new, |(value, turns)| format!("{:.3}", value / turns))
            };
            lines.push(vec![
                format!("{}: {}", workload.title, contender.name),
                format!("{:.3}", per("all")),
                calls.join(", "),
                per_turn(counter("enters")),
                per_turn(Some(cost.operations as f64)),
            ]);
        }
    }
    let head = ["workload", "calls each", "of which ", "enters per turn", "operations per turn"];
    let text = format!("Counted by {}.\n\n{}", tracer.name(), table(&head, lines));
    Ok(Part { text, objections: Vec::new() })
}
