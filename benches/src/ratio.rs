//! Figures out of several rounds: medians, and the ratio to another contender with its spread.
//!
//! Contenders take turns within a round, so that what disturbs the machine disturbs all; the ratio is taken within the
//! round, and its median over the rounds is the figure. Beside it stands the ratio of the best rounds of each: what
//! disturbs only adds.

/// The middle of some values, and how far apart they lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

/// How one contender does beside another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Round by round.
    pub rounds: Spread,
    /// The best round of the one by the best of the other.
    pub best: f64,
}

/// The spread of values; None if there are none.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (least, most) = (*values.first()?, *values.last()?);
    let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
    Some(Spread { least, median: (low + high) / 2.0, most })
}

/// `ours / theirs`, two lists of a value per round; None without rounds, and where a value is missing and stands as zero.
pub fn ratio(ours: &[f64], theirs: &[f64]) -> Option<Ratio> {
    if theirs.contains(&0.0) {
        return None;
    }
    let rounds = spread(ours.iter().zip(theirs).map(|(our, their)| our / their))?;
    let best = spread(ours.iter().copied())?.least / spread(theirs.iter().copied())?.least;
    Some(Ratio { rounds, best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(spread([]), None);
        assert_eq!(spread([3.0, 1.0, 2.0]), Some(Spread { least: 1.0, median: 2.0, most: 3.0 }));
        assert_eq!(spread([4.0, 1.0, 2.0, 3.0]).map(|spread| spread.median), Some(2.5));
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // A machine that was half as fast in the second round changes nothing.
        let ratio = ratio(&[1.0, 2.0, 1.2], &[1.0, 2.0, 1.0]).expect("three rounds");
        assert_eq!(ratio.rounds, Spread { least: 1.0, median: 1.0, most: 1.2 });
    }

    #[test]
    fn nothing_is_compared_with_what_is_missing() {
        assert_eq!(ratio(&[1.0, 0.0], &[1.0, 0.0]), None);
    }

    #[test]
    fn the_best_rounds_are_compared_wherever_they_are() {
        let ratio = ratio(&[3.0, 2.0], &[1.0, 4.0]).expect("two rounds");
        assert_eq!(ratio.best, 2.0);
    }
}
