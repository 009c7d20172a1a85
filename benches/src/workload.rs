//! What is done, which figure of it counts, and what ringloop is to reach.

use std::time::Duration;

use crate::meter::Span;
use crate::{files, net, tasks};

/// An entry of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name on the command line and in records.
    pub id: &'static str,
    /// What a table calls it.
    pub title: &'static str,
    /// What contenders do.
    pub work: Work,
    /// How much of it, and which part counts.
    pub span: Span,
    /// What the table compares.
    pub key: Figure,
    /// The contender that the table's ratios are taken to.
    pub base: &'static str,
    /// What ringloop is to reach. All of it.
    pub targets: &'static [Target],
}

/// What contenders do, by family.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    Tasks(tasks::Work),
    Net(net::Work),
    Files(files::Work),
}

/// Workloads that need the same of a contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Net,
    Files,
    Tasks,
}

/// A figure of a cost. Less is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// CPU time per operation, in nanoseconds.
    CpuTime,
    /// The time of day per operation, in nanoseconds.
    WallTime,
    /// What a workload notes by this name, and its unit.
    Noted(&'static str, &'static str),
}

/// What a figure is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub figure: Figure,
    pub limit: Limit,
}

/// How much a figure may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// So many times the figure of this contender.
    Times(f64, &'static str),
    /// So many times the figure of whichever peer is best.
    TimesBestPeer(f64),
    /// So much, in the figure's unit.
    AtMost(f64),
}

/// The hand-written loop.
pub const RAW: &str = "raw";
/// Plain blocking calls.
pub const SYNC: &str = "sync";

impl Family {
    pub const ALL: [Family; 3] = [Family::Net, Family::Files, Family::Tasks];

    /// Its name on the command line and in documents.
    pub fn name(self) -> &'static str {
        match self {
            Family::Net => "net",
            Family::Files => "files",
            Family::Tasks => "tasks",
        }
    }

    /// Its workloads, in the order of the table.
    pub fn catalogue(self) -> &'static [Workload] {
        match self {
            Family::Net => net::CATALOGUE,
            Family::Files => files::CATALOGUE,
            Family::Tasks => tasks::CATALOGUE,
        }
    }
}

impl Workload {
    pub fn family(&self) -> Family {
        match self.work {
            Work::Tasks(_) => Family::Tasks,
            Work::Net(_) => Family::Net,
            Work::Files(_) => Family::Files,
        }
    }
}

impl Figure {
    pub fn unit(self) -> &'static str {
        match self {
            Figure::CpuTime | Figure::WallTime => "ns",
            Figure::Noted(_, unit) => unit,
        }
    }
}

/// CPU time at most so many times that of this contender.
pub const fn cpu(factor: f64, of: &'static str) -> Target {
    Target { figure: Figure::CpuTime, limit: Limit::Times(factor, of) }
}

/// CPU time at most so many times that of the best peer.
pub const fn cpu_of_best_peer(factor: f64) -> Target {
    Target { figure: Figure::CpuTime, limit: Limit::TimesBestPeer(factor) }
}

/// About a second, after operations of which the first cost more than those that follow.
pub const A_SECOND: Span = Span::Wall { warm_up: 1000, counted: Duration::from_secs(1) };

/// All workloads, in the order of the tables.
pub fn all() -> impl Iterator<Item = &'static Workload> {
    Family::ALL.into_iter().flat_map(Family::catalogue)
}

/// The workload of this name.
pub fn named(id: &str) -> Option<&'static Workload> {
    all().find(|workload| workload.id == id)
}

/// The workload of this name, or all of the family of this name.
pub fn chosen(name: &str) -> Option<Vec<&'static Workload>> {
    let family = Family::ALL.into_iter().find(|family| family.name() == name);
    match family {
        Some(family) => Some(family.catalogue().iter().collect()),
        None => named(name).map(|workload| vec![workload]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::contender;

    #[test]
    fn each_name_is_given_once() {
        let mut names: HashSet<&str> = Family::ALL.into_iter().map(Family::name).collect();
        for workload in all() {
            assert!(names.insert(workload.id), "{} is twice in the catalogue", workload.id);
        }
    }

    #[test]
    fn a_workload_stands_in_the_catalogue_of_its_family() {
        for family in Family::ALL {
            assert!(family.catalogue().iter().all(|workload| workload.family() == family));
        }
    }

    #[test]
    fn targets_name_contenders() {
        for workload in all() {
            assert!(contender::named(workload.base).is_some(), "{}", workload.id);
            for target in workload.targets {
                if let Limit::Times(_, of) = target.limit {
                    assert!(contender::named(of).is_some(), "{}: {of}", workload.id);
                }
            }
        }
    }
}
