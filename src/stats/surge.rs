//! More reviews in an hour than this tenant's hours ever saw: one incident, not many tickets.
//!
//! The hours' numbers of reviews are taken as negative binomial, mean and variance from the hours before with
//! a prior, and an hour under way is a surge once its number has a chance of less than one in a million
//! (detection.md 4, "tenant surge rule"). An hour of surge teaches nothing. The threshold of an hour before
//! is kept, so that it can be put back: an attacker who floods must not buy blindness with it.

use super::millibits::MilliBits;
use super::negative_binomial::upper_tail;
use serde::{Deserialize, Serialize};

/// Chance from which an hour is a surge.
const CHANCE: f64 = 1e-6;
/// Weight 1 in the fixed point of the moments (Q16).
const ONE: u64 = 1 << 16;
/// Per mille that an hour's weight keeps with each later hour that had calls: half after about 700 hours.
const KEEP_PER_MILLE: u64 = 999;
/// Hours of prior: mean 1, variance 3.
const PRIOR_HOURS: f64 = 4.0;
const PRIOR_SUM: f64 = 4.0;
const PRIOR_SQUARES: f64 = 16.0;
/// Reviews of an hour beyond which all hours look alike.
const HITS_MAX: u32 = 10_000;

/// Reviews by the hour of one tenant. 56 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Surge {
    hour: i64,
    hits: u32,
    on: bool,
    weight: u64,
    sum: u64,
    squares: u64,
    /// Threshold at the beginning of this hour, and of the one before.
    tau: [MilliBits; 2],
}

impl Surge {
    /// Comes to this hour (hours since any fixed start); an earlier one changes nothing. `tau`: the threshold now.
    pub fn advance(&mut self, hour: i64, tau: MilliBits) {
        if hour <= self.hour {
            return;
        }
        let still = self.is_beyond(self.hits);
        if !self.on && !still && self.hour != 0 {
            for value in [&mut self.weight, &mut self.sum, &mut self.squares] {
                *value = *value * KEEP_PER_MILLE / 1_000;
            }
            let hits = u64::from(self.hits);
            self.weight += ONE;
            self.sum += hits * ONE;
            self.squares += hits * hits * ONE;
        }
        self.on = self.on && still && hour == self.hour + 1;
        self.tau = [tau, self.tau[0]];
        if hour > self.hour + 1 {
            self.tau[1] = tau;
        }
        self.hour = hour;
        self.hits = 0;
    }

    /// Counts a review; true if the surge begins with it.
    pub fn note(&mut self) -> bool {
        self.hits = (self.hits + 1).min(HITS_MAX);
        let begins = !self.on && self.is_beyond(self.hits);
        self.on |= begins;
        begins
    }

    /// Whether a surge is on.
    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// The threshold at the beginning of the hour before this one.
    pub const fn tau_before(&self) -> MilliBits {
        self.tau[1]
    }

    /// Reviews an hour that are usual.
    pub fn mean(&self) -> f64 {
        (self.sum as f64 / ONE as f64 + PRIOR_SUM) / (self.weight as f64 / ONE as f64 + PRIOR_HOURS)
    }

    fn is_beyond(&self, hits: u32) -> bool {
        let hours = self.weight as f64 / ONE as f64 + PRIOR_HOURS;
        let mean = self.mean();
        let variance = (self.squares as f64 / ONE as f64 + PRIOR_SQUARES) / hours - mean * mean;
        let dispersion = ((variance - mean) / (mean * mean)).max(0.02);
        f64::from(hits) > mean && upper_tail(hits, mean, 1.0 / dispersion) < CHANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{SplitMix64, round_trip};

    const TAU: MilliBits = MilliBits::new(8_000);

    #[test]
    fn usual_hours_never_are_a_surge_and_a_flood_is() {
        let mut random = SplitMix64(31);
        let mut surge = Surge::default();
        for hour in 1..2_000 {
            surge.advance(hour, TAU);
            let usual = random.below(8);
            for _ in 0..usual {
                assert!(!surge.note(), "hour {hour}");
            }
        }
        assert!((3.0..4.0).contains(&surge.mean()), "{}", surge.mean());
        surge.advance(2_000, MilliBits::new(9_000));
        let begins = (1..200).find(|_| surge.note());
        assert!(begins.is_some_and(|hits| hits < 40), "{begins:?}");
        assert!(surge.is_on() && surge.tau_before() == TAU);
        surge.advance(2_001, MilliBits::new(9_000));
        assert!(surge.is_on(), "the hour before was one: it goes on until an hour is usual again");
        surge.advance(2_002, MilliBits::new(9_000));
        assert!(!surge.is_on());
        assert!((3.0..4.0).contains(&surge.mean()), "a surge teaches nothing");
        round_trip(&surge);
    }

    #[test]
    fn a_young_tenant_has_room() {
        let mut surge = Surge::default();
        surge.advance(1, TAU);
        let begins = (1..200).find(|_| surge.note()).unwrap();
        assert!((12..80).contains(&begins), "{begins}");
    }
}
