//! `bench [OPTION..] [WORKLOAD..]`: has the contenders do the workloads in turn, round after round, and prints the tables.
//!
//! Workloads are named by themselves or by their family. A run of a whole family with all contenders also writes its table
//! in `docs/performance.md` and its chart; any other writes only its record.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use ringloop_benches::contender::{self, Known, Order};
use ringloop_benches::meter::Span;
use ringloop_benches::report::record::{Outcome, Record, Rounds};
use ringloop_benches::report::{chart, table};
use ringloop_benches::session::{self, Done};
use ringloop_benches::workload::{self, Family, Figure, Work, Workload};
use ringloop_benches::{document, files, instructions, machine};

const USAGE: &str =
    "usage: bench [--rounds N] [--only CONTENDER,..] [--quick] [--add] [--instructions] [WORKLOAD..]";

/// What the command line asks for.
struct Wanted {
    rounds: usize,
    contenders: Vec<&'static Known>,
    workloads: Vec<&'static Workload>,
    /// Less of each workload: to see that it works, and roughly how it stands.
    is_quick: bool,
    /// To what the last run has recorded, in place of a new record.
    adds: bool,
    /// Instructions in place of time.
    instructions: bool,
}

impl Wanted {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, Box<dyn Error>> {
        let mut rounds = None;
        let mut wanted = Wanted {
            rounds: 0,
            contenders: Vec::new(),
            workloads: Vec::new(),
            is_quick: false,
            adds: false,
            instructions: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--quick" => wanted.is_quick = true,
                "--add" => wanted.adds = true,
                "--instructions" => wanted.instructions = true,
                "--rounds" => rounds = Some(arguments.next().ok_or(USAGE)?.parse()?),
                "--only" => {
                    for name in arguments.next().ok_or(USAGE)?.split(',') {
                        let known = contender::named(name);
                        wanted.contenders.push(known.ok_or_else(|| format!("no contender '{name}'"))?);
                    }
                }
                option if option.starts_with('-') => return Err(USAGE.into()),
                name => {
                    let chosen = workload::chosen(name);
                    wanted.workloads.extend(chosen.ok_or_else(|| format!("no workload '{name}'"))?);
                }
            }
        }
        wanted.rounds = rounds.unwrap_or(if wanted.is_quick { 3 } else { 5 });
        if wanted.contenders.is_empty() {
            wanted.contenders = contender::ALL.iter().collect();
        }
        if wanted.workloads.is_empty() {
            wanted.workloads = workload::all().collect();
        }
        Ok(wanted)
    }

    /// Whether a document may be made of it: all workloads of the family, all contenders, each for its full time.
    fn is_whole(&self, family: Family, record: &Record) -> bool {
        let mut of_family = workload::all().filter(|workload| workload.family() == family);
        !self.is_quick
            && of_family.all(|workload| {
                record.workloads.get(workload.id).is_some_and(|rounds| rounds.len() == contender::ALL.len())
            })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = Wanted::parse(std::env::args().skip(1))?;
    let scratch = machine::repository().join("benches/target/bench");
    std::fs::create_dir_all(&scratch)?;
    if wanted.instructions {
        return count_instructions(&wanted, &scratch);
    }
    let path = scratch.join("record.json");
    let mut record = match wanted.adds {
        true => serde_json::from_str(&std::fs::read_to_string(&path)?)?,
        false => Record::new(),
    };
    for workload in &wanted.workloads {
        if let Work::Files(work) = workload.work {
            files::prepare(work, &scratch)?;
        }
        record.workloads.insert(workload.id.to_owned(), compete(workload, &wanted, &scratch));
        if let Work::Files(work) = workload.work {
            files::tidy(work, &scratch)?;
        }
        // After each, so that a run that is ended leaves what it has.
        std::fs::write(&path, serde_json::to_string_pretty(&record)?)?;
    }
    report(&wanted, &record)?;
    let mut outcomes = record.workloads.values().flat_map(|rounds| rounds.values()).flatten();
    match outcomes.any(|outcome| matches!(outcome, Outcome::Failed(_))) {
        true => Err("not all went well: see above".into()),
        false => Ok(()),
    }
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
                span: if wanted.is_quick { shortened(workload.span) } else { workload.span },
                scratch: scratch.to_owned(),
            };
            let outcome = match session::run(&order) {
                Ok(done) => Outcome::Done(done),
                Err(error) => Outcome::Failed(format!("FAILED: {error}")),
            };
            eprintln!("{} {} {name}: {}", workload.id, round + 1, told(&outcome));
            earlier.push(outcome);
        }
    }
    rounds
}

/// The same in a tenth of the time, where it goes by time.
fn shortened(span: Span) -> Span {
    match span {
        Span::Wall { warm_up, counted } => {
            Span::Wall { warm_up, counted: (counted / 10).max(Duration::from_millis(100)) }
        }
        span => span,
    }
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(Done::Cost { cost, load }) => {
            let each = format!("{:.1} ns of CPU time each", cost.nanoseconds());
            let all = format!("{} in {:.2} s", cost.operations, cost.wall.as_secs_f64());
            let noted = cost.noted.iter().map(|(name, value)| format!(", {name} {value:.0}"));
            let load = load.as_ref().map(|load| format!(", load busy {:.0} %", load.share() * 100.0));
            [each, ", ".into(), all].into_iter().chain(noted).chain(load).collect()
        }
        Outcome::Done(Done::Cannot(why)) => format!("cannot: {why}"),
        Outcome::Failed(why) => why.clone(),
    }
}

/// Prints the table of each family; that of a whole one also goes into the document, with its chart.
fn report(wanted: &Wanted, record: &Record) -> Result<(), Box<dyn Error>> {
    for family in Family::ALL {
        let of_family = workload::all().filter(|workload| workload.family() == family);
        let measured: Vec<(&Workload, &Rounds)> =
            of_family.filter_map(|workload| Some((workload, record.workloads.get(workload.id)?))).collect();
        if measured.is_empty() {
            continue;
        }
        let ratios = table::ratios(&measured, &wanted.contenders);
        println!("{ratios}");
        if wanted.is_whole(family, record) {
            let versions: Vec<String> =
                record.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
            // Parts may have been added with other numbers of rounds.
            let rounds = measured.iter().filter_map(|(_, rounds)| Some(rounds.get(contender::OURS)?.len()));
            let rounds = (rounds.clone().min().unwrap_or(0), rounds.max().unwrap_or(0));
            let made = format!(
                "Made by `scripts/bench`, {}, on {}. Versions: {}.",
                match rounds {
                    (1, 1) => "1 round".to_owned(),
                    (least, most) if least == most => format!("{most} rounds"),
                    (least, most) => format!("{least} to {most} rounds"),
                },
                record.machine,
                versions.join(", ")
            );
            let docs = machine::repository().join("docs");
            document::write_part(
                &docs.join("performance.md"),
                family.name(),
                &format!("{made}\n\n{ratios}"),
            )?;
            std::fs::create_dir_all(docs.join("charts"))?;
            let title = format!("CPU time and memory beside the base, {}: left is better", family.name());
            let chart = chart::draw(&title, &measured, &wanted.contenders);
            std::fs::write(docs.join(format!("charts/{}.svg", family.name())), chart)?;
        }
    }
    Ok(())
}

/// Prints instructions per operation, for tasks and sockets, where the figure is a time.
fn count_instructions(wanted: &Wanted, scratch: &Path) -> Result<(), Box<dyn Error>> {
    if let Some(why) = instructions::missing() {
        println!("SKIP: instructions: {why}");
        return Ok(());
    }
    let mut reasons = Vec::new();
    let mut lines = Vec::new();
    let counts =
        |workload: &&&Workload| workload.family() != Family::Files && workload.key == Figure::CpuTime;
    for workload in wanted.workloads.iter().filter(counts) {
        let mut line = vec![workload.title.to_owned()];
        for known in &wanted.contenders {
            line.push(match instructions::per_operation(known, workload, scratch)? {
                Ok(each) => format!("{each:.0}"),
                Err(why) => {
                    reasons.push(format!("* {}, {}: {why}", known.name, workload.title));
                    "-".to_owned()
                }
            });
            eprintln!("{} {}: {}", workload.id, known.name, line[line.len() - 1]);
        }
        lines.push(line);
    }
    let mut head = vec!["instructions each"];
    head.extend(wanted.contenders.iter().map(|known| known.name));
    println!("{}\n{}", document::table(&head, lines), reasons.join("\n"));
    Ok(())
}
