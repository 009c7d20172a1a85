//! Whether ringloop reaches what it is to reach.

use std::fmt;

use super::record::{Rounds, values};
use crate::contender;
use crate::ratio::{Ratio, ratio, spread};
use crate::workload::{Figure, Limit, Target};

/// How a target stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Also in the median of the rounds.
    Met,
    /// Only where the best rounds are compared: the machine decides.
    MetAtBest,
    Missed,
    /// Something that it needs was not measured.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Met => "met",
            Verdict::MetAtBest => "met at best",
            Verdict::Missed => "missed",
            Verdict::Unknown => "unknown",
        })
    }
}

/// A target beside what was measured: times another contender, or in the figure's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    pub target: Target,
    /// Whom ringloop was compared with.
    pub with: Option<&'static str>,
    /// The median, and the best.
    pub reached: Option<(f64, f64)>,
    pub verdict: Verdict,
}

/// Judges a target by these rounds, for one way to use ringloop.
pub fn judge(target: Target, rounds: &Rounds, way: &str) -> Judged {
    let ours = values(rounds, way, target.figure);
    let beside = |name: &str| ratio(&ours, &values(rounds, name, target.figure));
    let both = |ratio: Ratio| (ratio.rounds.median, ratio.best);
    let (most, with, reached) = match target.limit {
        Limit::Times(most, of) => (most, Some(of), beside(of).map(both)),
        Limit::TimesBestPeer(most) => {
            let best = best_peer(rounds, target.figure);
            (most, best, best.and_then(beside).map(both))
        }
        Limit::AtMost(most) => (most, None, spread(ours).map(|spread| (spread.median, spread.least))),
    };
    let verdict = match reached {
        None => Verdict::Unknown,
        Some((median, _)) if median <= most => Verdict::Met,
        Some((_, best)) if best <= most => Verdict::MetAtBest,
        Some(_) => Verdict::Missed,
    };
    Judged { target, with, reached, verdict }
}

/// The peer with the least median.
pub fn best_peer(rounds: &Rounds, figure: Figure) -> Option<&'static str> {
    let peers = contender::ALL.iter().filter(|known| known.is_peer());
    let medians =
        peers.filter_map(|peer| Some((spread(values(rounds, peer.name, figure))?.median, peer.name)));
    medians.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::super::record::Outcome;
    use super::*;
    use crate::contender::OURS;
    use crate::meter::Cost;
    use crate::session::Done;
    use crate::workload::{cpu, cpu_of_best_peer};

    /// Rounds with these CPU times per operation.
    fn rounds(contenders: &[(&str, &[u64])]) -> Rounds {
        let outcome = |&nanoseconds: &u64| {
            let cost = Cost {
                operations: 1,
                cpu: Duration::from_nanos(nanoseconds),
                wall: Duration::ZERO,
                counters: BTreeMap::new(),
                noted: BTreeMap::from([("bytes".to_owned(), nanoseconds as f64)]),
            };
            Outcome::Done(Done::Cost { cost, load: None })
        };
        contenders
            .iter()
            .map(|(name, costs)| ((*name).to_owned(), costs.iter().map(outcome).collect()))
            .collect()
    }

    #[test]
    fn a_target_against_raw_is_met_by_the_median_or_at_best_or_not() {
        let verdict =
            |ours| judge(cpu(1.1, "raw"), &rounds(&[(OURS, ours), ("raw", &[100; 3])]), OURS).verdict;
        assert_eq!(verdict(&[105, 110, 150]), Verdict::Met);
        assert_eq!(verdict(&[105, 120, 150]), Verdict::MetAtBest);
        assert_eq!(verdict(&[115, 120, 150]), Verdict::Missed);
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert_eq!(judge(cpu(1.0, "raw"), &rounds(&[(OURS, &[1])]), OURS).verdict, Verdict::Unknown);
        assert_eq!(judge(cpu(1.0, "raw"), &rounds(&[("raw", &[1])]), OURS).verdict, Verdict::Unknown);
        let failed = Outcome::Failed("it hung".into());
        let mut rounds = rounds(&[(OURS, &[1])]);
        rounds.insert("raw".into(), vec![failed]);
        assert_eq!(judge(cpu(1.0, "raw"), &rounds, OURS).verdict, Verdict::Unknown);
    }

    #[test]
    fn the_best_peer_is_neither_raw_nor_sync_nor_ringloop() {
        let rounds =
            rounds(&[(OURS, &[90]), ("raw", &[10]), ("sync", &[20]), ("tokio", &[100]), ("smol", &[80])]);
        let judged = judge(cpu_of_best_peer(1.0), &rounds, OURS);
        assert_eq!((judged.with, judged.verdict), (Some("smol"), Verdict::Missed));
    }

    #[test]
    fn a_limit_may_be_in_the_figures_own_unit() {
        let target = Target { figure: Figure::Noted("bytes", "B"), limit: Limit::AtMost(110.0) };
        let judged = judge(target, &rounds(&[(OURS, &[100, 120, 108])]), OURS);
        assert_eq!((judged.reached, judged.verdict), (Some((108.0, 100.0)), Verdict::Met));
    }
}
