//! The table: contenders as multiples of one of them, and the targets.

use std::collections::BTreeMap;

use super::record::{Rounds, reason, values};
use super::verdict::{Judged, judge};
use crate::contender::{Known, OUR_WAYS, OURS};
use crate::document::table;
use crate::ratio::{ratio, spread};
use crate::workload::{Figure, Limit, Workload};

/// The table of these workloads: a line each, a column for each contender that can do any of them, with the median of the
/// ratios and, in brackets, the ratio of the best rounds. What a contender cannot do stands below.
pub fn ratios(measured: &[(&Workload, &Rounds)], contenders: &[&Known]) -> String {
    let can = |known: &&&Known| {
        measured.iter().any(|(workload, rounds)| !values(rounds, known.name, workload.key).is_empty())
    };
    let contenders: Vec<&Known> = contenders.iter().filter(can).copied().collect();
    let mut head = vec!["workload", "figure of the base"];
    head.extend(contenders.iter().map(|known| known.name));
    head.extend(["ringloop's spread ", "target ", "reached "]);
    let lines = measured.iter().map(|(workload, rounds)| line(workload, rounds, &contenders));
    let mut text = table(&head, lines);
    let notes = notes(measured, &contenders);
    if !notes.is_empty() {
        text.push_str("\nWithout a figure:\n\n");
        text.extend(
            notes.iter().map(|((name, why), titles)| format!("* {name}, {why}: {}\n", titles.join("; "))),
        );
    }
    text
}

fn line(workload: &Workload, rounds: &Rounds, contenders: &[&Known]) -> Vec<String> {
    let unit = workload.key.unit();
    let base = values(rounds, workload.base, workload.key);
    let mut line = vec![workload.title.to_owned()];
    line.push(
        spread(base.iter().copied()).map_or_else(String::new, |spread| {
            format!("{} ({})", quantity(spread.median, unit), workload.base)
        }),
    );
    for known in contenders {
        let theirs = values(rounds, known.name, workload.key);
        line.push(match ratio(&theirs, &base) {
            Some(ratio) => format!("{:.2} ({:.2})", ratio.rounds.median, ratio.best),
            None => spread(theirs).map_or("-".to_owned(), |spread| quantity(spread.median, unit)),
        });
    }
    let ours = ratio(&values(rounds, OURS, workload.key), &base);
    line.push(
        ours.map_or_else(String::new, |ratio| {
            format!("{:.2} to {:.2}", ratio.rounds.least, ratio.rounds.most)
        }),
    );
    let judged = |way| workload.targets.iter().map(move |&target| judge(target, rounds, way));
    line.push(join(judged(OURS).map(|judged| aim(&judged))));
    let ways = OUR_WAYS.iter().filter(|way| **way == OURS || !values(rounds, way, workload.key).is_empty());
    line.push(join(ways.map(|way| {
        let standing = join(judged(way).map(|judged| standing(&judged)));
        match way.strip_prefix(OURS) {
            Some("") | None => standing,
            Some(other) => format!("{}: {standing}", other.trim_start_matches('-')),
        }
    })));
    line
}

/// The workloads that a contender does not do, by contender and reason.
fn notes<'a>(
    measured: &[(&Workload, &'a Rounds)],
    contenders: &[&Known],
) -> BTreeMap<(&'static str, &'a str), Vec<&'static str>> {
    let mut notes: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (workload, rounds) in measured {
        for known in contenders {
            if let Some(why) = reason(rounds, known.name) {
                notes.entry((known.name, why)).or_default().push(workload.title);
            }
        }
    }
    notes
}

fn join(cells: impl Iterator<Item = String>) -> String {
    cells.collect::<Vec<_>>().join("; ")
}

/// What is to be reached, in words.
fn aim(judged: &Judged) -> String {
    let what = match judged.target.figure {
        Figure::CpuTime => String::new(),
        Figure::WallTime => "wall time ".to_owned(),
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
