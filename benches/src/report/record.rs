//! Everything that was measured, as it goes to a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contender;
use crate::machine;
use crate::session::Done;
use crate::workload::Figure;

/// All rounds of all workloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub machine: String,
    /// Of the contenders, by name.
    pub versions: BTreeMap<String, String>,
    /// By the workload's name.
    pub workloads: BTreeMap<String, Rounds>,
}

/// The rounds of one workload, by contender.
pub type Rounds = BTreeMap<String, Vec<Outcome>>;

/// How a run ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Outcome {
    Done(Done),
    /// It went wrong, or gave wrong results, or hung.
    Failed(String),
}

impl Record {
    /// A record of this machine, empty.
    pub fn new() -> Self {
        let version = |known: &contender::Known| {
            known.of.and_then(machine::version_of).map(|version| (known.name.to_owned(), version.to_owned()))
        };
        Record {
            machine: machine::describe(),
            versions: contender::ALL.iter().filter_map(version).collect(),
            workloads: BTreeMap::new(),
        }
    }
}

impl Default for Record {
    fn default() -> Self {
        Self::new()
    }
}

/// This contender's figure in each round in which it has one.
pub fn values(rounds: &Rounds, contender: &str, figure: Figure) -> Vec<f64> {
    let outcomes = rounds.get(contender).map(Vec::as_slice).unwrap_or_default();
    let value = |outcome: &Outcome| match (outcome, figure) {
        (Outcome::Done(Done::Cost { cost, .. }), Figure::CpuTime) => Some(cost.nanoseconds()),
        (Outcome::Done(Done::Cost { cost, .. }), Figure::WallTime) => Some(cost.wall_nanoseconds()),
        (Outcome::Done(Done::Cost { cost, .. }), Figure::Noted(name, _)) => cost.noted.get(name).copied(),
        _ => None,
    };
    outcomes.iter().filter_map(value).collect()
}

/// Why this contender has no figures.
pub fn reason<'a>(rounds: &'a Rounds, contender: &str) -> Option<&'a str> {
    rounds.get(contender)?.iter().find_map(|outcome| match outcome {
        Outcome::Done(Done::Cannot(why)) | Outcome::Failed(why) => Some(why.as_str()),
        Outcome::Done(Done::Cost { .. }) => None,
    })
}
