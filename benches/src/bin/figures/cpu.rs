//! CPU time per operation beside other contenders, in the same run: contenders take turns, five rounds.

use std::collections::BTreeMap;
use std::error::Error;

use ringloop_benches::Span;
use ringloop_benches::ratio::{ratios, spread};
use ringloop_benches::session::{self, Done};

use super::{Part, Setting, names, table};

const ROUNDS: usize = 5;
const OURS: &str = "ringloop";

pub(super) fn make(setting: &Setting) -> Result<Part, Box<dyn Error>> {
    let span = |counted| Span { warm_up: counted / 10, counted };
    let workloads = [
        setting.echo(1, span(50_000)),
        setting.echo(50, span(300_000)),
        setting.reads(1, span(300_000))?,
        setting.reads(32, span(300_000))?,
    ];
    let mut lines = Vec::new();
    for workload in workloads {
        // By contender: nanoseconds per operation in each round, and the generator's share of the time.
        let mut costs: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut shares: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut cannot = BTreeMap::new();
        for round in 0..ROUNDS {
            for name in names() {
                let session = session::run(name, &workload)?;
                match session.done {
                    Done::Cost(cost) => {
                        eprintln!("{workload}, round {}, {name}: {:.0} ns", round + 1, cost.nanoseconds());
                        costs.entry(name).or_default().push(cost.nanoseconds());
                        shares.entry(name).or_default().extend(session.load.map(|load| load.share()));
                    }
                    Done::Cannot(why) => drop(cannot.insert(name, why)),
                }
            }
        }
        for name in names() {
            let first = format!("{workload}: {name}");
            let rest = match (costs.get(name), cannot.get(name)) {
                (Some(theirs), _) => {
                    let cost = spread(theirs.iter().copied()).ok_or("there were rounds")?;
                    let ratio = ratios(&costs[OURS], theirs).ok_or("there were rounds")?;
                    let share = shares.get(name).and_then(|shares| spread(shares.iter().copied()));
                    [
                        format!("{:.0}", cost.median),
                        format!("{:.0} to {:.0}", cost.least, cost.most),
                        format!("{:.2}", ratio.median),
                        format!("{:.2} to {:.2}", ratio.least, ratio.most),
                        share.map_or_else(String::new, |share| format!("{:.0} %", share.median * 100.0)),
                    ]
                }
                (None, Some(why)) => {
                    [format!("cannot: {why}"), String::new(), String::new(), String::new(), String::new()]
                }
                (None, None) => return Err("a contender did not answer".into()),
            };
            lines.push([first].into_iter().chain(rest).collect());
        }
    }
    let head = ["workload", "CPU ns each", "spread", "ringloop / this", "spread of that", "generator busy"];
    Ok(Part { text: table(&head, lines), objections: Vec::new() })
}
