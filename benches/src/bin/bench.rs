//! `bench [--rounds N] [--only CONTENDER,..] [--quick] [WORKLOAD..]`: has the contenders do the workloads in turn, round after
//! round, and prints the table. Workloads are named by themselves or by their family; without a name it is all.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::time::Duration;

use ringloop_benches::contender::{self, Known, Order};
use ringloop_benches::files;
use ringloop_benches::machine;
use ringloop_benches::meter::Span;
use ringloop_benches::report::record::{Outcome, Record, Rounds};
use ringloop_benches::report::table;
use ringloop_benches::session::{self, Done};
use ringloop_benches::workload::{self, Work, Workload};

/// What the command line asks for.
struct Wanted {
    rounds: usize,
    contenders: Vec<&'static Known>,
    workloads: Vec<&'static Workload>,
    /// Less of each workload: to see that it works, and roughly how it stands.
    quick: bool,
}

impl Wanted {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, Box<dyn Error>> {
        let mut wanted = Wanted { rounds: 5, contenders: Vec::new(), workloads: Vec::new(), quick: false };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => (wanted.quick, wanted.rounds) = (true, 3),
                "--rounds" => {
                    wanted.rounds = arguments.next().ok_or("--rounds takes a number")?.parse()?;
                }
                "--only" => {
                    for name in arguments.next().ok_or("--only takes names")?.split(',') {
                        let known = contender::named(name);
                        wanted.contenders.push(known.ok_or_else(|| format!("no contender '{name}'"))?);
                    }
                }
                name => {
                    let chosen = workload::chosen(name);
                    wanted.workloads.extend(chosen.ok_or_else(|| format!("no workload '{name}'"))?);
                }
            }
        }
        if wanted.contenders.is_empty() {
            wanted.contenders = contender::ALL.iter().collect();
        }
        if wanted.workloads.is_empty() {
            wanted.workloads = workload::all().collect();
        }
        Ok(wanted)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = Wanted::parse(std::env::args().skip(1))?;
    let scratch = machine::repository().join("benches/target/bench");
    std::fs::create_dir_all(&scratch)?;
    let mut record = Record::new();
    for workload in &wanted.workloads {
        if let Work::Files(work) = workload.work {
            files::prepare(work, &scratch)?;
        }
        record.workloads.insert(workload.id.to_owned(), compete(workload, &wanted, &scratch));
    }
    std::fs::write(scratch.join("record.json"), serde_json::to_string_pretty(&record)?)?;
    let measured: Vec<(&Workload, &Rounds)> =
        wanted.workloads.iter().map(|workload| (*workload, &record.workloads[workload.id])).collect();
    println!("{}", table::ratios(&measured, &wanted.contenders));
    let failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
    if record.workloads.values().flat_map(BTreeMap::values).flatten().any(failed) {
        return Err("not all went well: see above".into());
    }
    Ok(())
}

/// All rounds of a workload. Each begins with another contender.
fn compete(workload: &Workload, wanted: &Wanted, scratch: &Path) -> Rounds {
    let mut rounds = Rounds::new();
    let contenders = &wanted.contenders;
    for round in 0..wanted.rounds {
        for at in 0..contenders.len() {
            let name = contenders[(round + at) % contenders.len()].name;
            let earlier = rounds.entry(name.to_owned()).or_default();
            // It could not, or it went wrong: once is enough.
            if earlier.iter().any(|outcome| !matches!(outcome, Outcome::Done(Done::Cost { .. }))) {
                continue;
            }
            let order = Order {
                contender: name.to_owned(),
                workload: workload.id.to_owned(),
                span: if wanted.quick { shortened(workload.span) } else { workload.span },
                scratch: scratch.to_owned(),
            };
            let outcome = match session::run(&order) {
                Ok(done) => Outcome::Done(done),
                Err(error) => Outcome::Failed(format!("FAILED: {error}")),
            };
            tell(workload, name, round, &outcome);
            earlier.push(outcome);
        }
    }
    rounds
}

/// The same in a tenth of the time.
fn shortened(span: Span) -> Span {
    match span {
        Span::Wall { warm_up, counted } => {
            Span::Wall { warm_up, counted: (counted / 10).max(Duration::from_millis(100)) }
        }
        span => span,
    }
}

fn tell(workload: &Workload, name: &str, round: usize, outcome: &Outcome) {
    let told = match outcome {
        Outcome::Done(Done::Cost { cost, load }) => {
            let busy =
                load.map_or_else(String::new, |load| format!(", load busy {:.0} %", load.share() * 100.0));
            let noted: Vec<String> =
                cost.noted.iter().map(|(name, value)| format!(", {name} {value:.0}")).collect();
            format!(
                "{:.1} ns of CPU time each, {} in {:.2} s{}{busy}",
                cost.nanoseconds(),
                cost.operations,
                cost.wall.as_secs_f64(),
                noted.concat()
            )
        }
        Outcome::Done(Done::Cannot(why)) => format!("cannot: {why}"),
        Outcome::Failed(why) => why.clone(),
    };
    eprintln!("{} {} {name}: {told}", workload.id, round + 1);
}
