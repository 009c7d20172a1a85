//! The table: contenders as multiples of one of them, and the targets.

use super::record::{Rounds, reason, values};
use super::verdict::{Judged, judge};
use crate::contender::{Known, OURS};
use crate::document::table;
use crate::ratio::{ratio, spread};
use crate::workload::{Figure, Limit, Workload};

/// The table of these workloads: a line each, a column for each contender with the median of the ratios and, in brackets,
/// the ratio of the best rounds; what a contender cannot do stands below.
pub fn ratios(measured: &[(&Workload, &Rounds)], contenders: &[&Known]) -> String {
    let mut head = vec!["workload".to_owned(), "figure of the base".to_owned()];
    head.extend(contenders.iter().map(|known| known.name.to_owned()));
    head.extend(["ringloop's spread ".to_owned(), "target ".to_owned(), "verdict ".to_owned()]);
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut notes = Vec::new();
    let lines: Vec<Vec<String>> = measured
        .iter()
        .map(|(workload, rounds)| {
            let base = values(rounds, workload.base, workload.key);
            let mut line = vec![workload.title.to_owned()];
            line.push(spread(base.iter().copied()).map_or_else(String::new, |spread| {
                format!("{} {}", quantity(spread.median, workload.key.unit()), workload.base)
            }));
            for known in contenders {
                let theirs = values(rounds, known.name, workload.key);
                line.push(match (ratio(&theirs, &base), reason(rounds, known.name)) {
                    (_, Some(why)) => {
                        notes.push(format!("{}, {}: {why}", workload.title, known.name));
                        "-".to_owned()
                    }
                    (Some(ratio), None) => format!("{:.2} ({:.2})", ratio.rounds.median, ratio.best),
                    (None, None) => spread(theirs)
                        .map_or_else(String::new, |spread| quantity(spread.median, workload.key.unit())),
                });
            }
            let ours = ratio(&values(rounds, OURS, workload.key), &base);
            line.push(ours.map_or_else(String::new, |ratio| {
                format!("{:.2} to {:.2}", ratio.rounds.least, ratio.rounds.most)
            }));
            let judged: Vec<Judged> = workload.targets.iter().map(|&target| judge(target, rounds)).collect();
            line.push(join(judged.iter().map(aim)));
            line.push(join(judged.iter().map(standing)));
            line
        })
        .collect();
    let mut text = table(&head, lines);
    if !notes.is_empty() {
        text.push_str("\nWithout a figure:\n\n");
        text.extend(notes.iter().map(|note| format!("* {note}\n")));
    }
    text
}

fn join(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join("; ")
}

/// What is to be reached, in words.
fn aim(judged: &Judged) -> String {
    let what = match judged.target.figure {
        Figure::CpuTime => String::new(),
        Figure::Noted(name, _) => format!("{name} "),
    };
    match judged.target.limit {
        Limit::Times(most, of) => format!("{what}{most} x {of}"),
        Limit::TimesBestPeer(most) => format!("{what}{most} x best peer"),
        Limit::AtMost(most) => format!("{what}{}", quantity(most, judged.target.figure.unit())),
    }
}

/// What was reached, and the verdict.
fn standing(judged: &Judged) -> String {
    let reached = judged.reached.map_or_else(String::new, |(median, _)| match judged.target.limit {
        Limit::AtMost(_) => format!("{} ", quantity(median, judged.target.figure.unit())),
        _ => format!("{median:.2} "),
    });
    match (judged.target.limit, judged.with) {
        (Limit::TimesBestPeer(_), Some(peer)) => format!("{reached}({peer}) **{}**", judged.verdict),
        _ => format!("{reached}**{}**", judged.verdict),
    }
}

/// A value with as many digits as say something.
fn quantity(value: f64, unit: &str) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2} {unit}"),
        size if size < 100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}
