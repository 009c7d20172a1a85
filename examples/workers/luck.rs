//! Chance that can be repeated: what happens follows from the seed and from what it happens to, not from who comes first.

/// A number that looks like chance.
#[derive(Clone, Copy)]
pub struct Luck(u64);

impl Luck {
    pub fn of(seed: u64) -> Luck {
        Luck(mixed(seed))
    }

    /// The luck of one among many: of a job, of an attempt.
    pub fn with(self, number: u32) -> Luck {
        Luck(mixed(self.0 ^ u64::from(number)))
    }

    /// From 0 to below `end`.
    pub fn below(self, end: u32) -> u32 {
        // 32 bits times a bound of 32 bits: what is above the point is below the bound.
        ((u64::from(self.0 as u32) * u64::from(end)) >> 32) as u32
    }

    /// From 0.0 to below 1.0.
    pub fn fraction(self) -> f64 {
        f64::from(self.0 as u32) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The step of SplitMix64: neighbours end up far apart.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luck_is_spread_and_can_be_repeated() {
        let mut seen = [0; 10];
        for number in 0..10_000 {
            let luck = Luck::of(7).with(number);
            assert_eq!(luck.below(10), Luck::of(7).with(number).below(10));
            assert!((0.0..1.0).contains(&luck.fraction()));
            seen[luck.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
