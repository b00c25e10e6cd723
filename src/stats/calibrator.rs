//! Makes a model's p-values mean what they say, from the tenant's own stream of them.
//!
//! A decayed histogram of raw surprises in quarter bits for the bulk, an exponential tail beyond
//! its last twenty observations (detection.md 2.3; the tail is SPOT's peaks over threshold,
//! Siffer et al. 2017, with shape 0 in bit space). With no data it hands every p through.

use super::array;
use super::millibits::MilliBits;
use serde::{Deserialize, Serialize};

/// Bins of a quarter bit, 0..40 bits.
const BINS: usize = 160;
/// Thousandths of a bit in a bin.
const BIN_WIDTH: i32 = 250;
/// One observation in the fixed point of the counts (Q14). With the decay below at most 100,200
/// observations are ever held, so sums stay below 2^31.
const ONE: u32 = 1 << 14;
/// Weight of the prior "the model is right", in observations.
const KAPPA: f64 = 20.0;
/// The tail begins at the first bin with fewer observations than this above its lower edge.
const TAIL_FROM: u32 = 20 * ONE;
/// Weight of the prior on the tail's mean excess, in observations.
const TAIL_PRIOR: f64 = 10.0;
/// What a raw surprise may grow to, as a multiple of itself.
const AT_MOST: i32 = 3;
/// Surprises of a session that count as they are.
const CLUSTER_FREE: usize = 2;
/// Bits by which the further ones of a session may exceed what is expected of so many.
const CLUSTER_BITS: f64 = 2.0;
/// Additions between two decays.
const DECAY_EVERY: u16 = 200;

/// Calibrator of one dimension of one tenant: raw surprise in, calibrated surprise out.
///
/// Monotone, continuous, never claims a thinner tail than 2^-s. 656 bytes. Counts weigh .998 after
/// every 200 additions (half-life about 69,000 additions).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrator {
    /// T: observations at or above each bin's lower edge, Q14; the first is their number.
    #[serde(with = "array")]
    at_least: [u32; BINS],
    /// Additions since the last decay, 0..200.
    since_decay: u16,
    /// Additions ever.
    additions: u64,
}

impl Default for Calibrator {
    fn default() -> Self {
        Self { at_least: [0; BINS], since_decay: 0, additions: 0 }
    }
}

impl Calibrator {
    /// A calibrator that has seen nothing and hands every surprise through.
    pub fn new() -> Self {
        Self::default()
    }

    /// Observations added since the start.
    pub fn len(&self) -> u64 {
        self.additions
    }

    /// Whether nothing was added yet.
    pub fn is_empty(&self) -> bool {
        self.additions == 0
    }

    /// Notes one raw surprise. Costs a pass over the bins below it: a few for common values.
    pub fn add(&mut self, raw: MilliBits) {
        let bin = bin_of(raw);
        for count in &mut self.at_least[..=bin] {
            *count = count.saturating_add(ONE);
        }
        self.additions += 1;
        self.since_decay += 1;
        if self.since_decay >= DECAY_EVERY {
            self.since_decay = 0;
            // One non-decreasing map for all sums keeps them in order.
            for count in &mut self.at_least {
                *count = (u64::from(*count) * 998 / 1000) as u32;
            }
        }
    }

    /// The surprise that a raw surprise of this size really is on this stream.
    ///
    /// Bulk: `p = (T(s) + 20 * 2^-s) / (N + 20)`, T linear within a bin. Tail, beyond the first
    /// bin edge u with T < 20: `p = p(u) * 2^-(s-u)/beta`. At most [`AT_MOST`] times the raw surprise: on a
    /// stream without variety the least difference is rare, and yet says little.
    pub fn calibrate(&self, raw: MilliBits) -> MilliBits {
        self.rank(raw).min(MilliBits::new(raw.as_i32().saturating_mul(AT_MOST)))
    }

    /// Notes the raw surprises of one session, which are not independent of each other; sorts them.
    ///
    /// Of n of them one is expected at a calibrated surprise of `log2 n`, the k-th largest at `log2(n / k)`.
    /// The first two count as they are; the k-th at most as [`CLUSTER_BITS`] more than expected, for a session
    /// that is odd throughout is one odd thing, not n of them (runs of exceedances are declustered before a
    /// tail is fitted: Coles 2001, section 5.3). So what a session can teach of any level is at most
    /// four times what was known, or two.
    pub fn add_session(&mut self, raw: &mut [MilliBits]) {
        raw.sort_unstable_by(|one, other| other.cmp(one));
        let log_number = libm::log2(raw.len().max(1) as f64);
        let free = MilliBits::from_bits(CLUSTER_BITS);
        for (place, slot) in raw.iter_mut().enumerate().skip(CLUSTER_FREE) {
            // Nothing is calibrated to more, and those that follow are smaller.
            if slot.as_i32().saturating_mul(AT_MOST) <= free.as_i32() {
                break;
            }
            let expected = log_number - libm::log2((place + 1) as f64);
            let most = MilliBits::from_bits(expected + CLUSTER_BITS);
            if self.calibrate(*slot) > most {
                *slot = self.highest_within(most);
            }
        }
        raw.iter().for_each(|&raw| self.add(raw));
    }

    /// Lower edge of the highest bin in which a raw surprise is calibrated to at most this: an addition looks at
    /// the bin only.
    fn highest_within(&self, calibrated: MilliBits) -> MilliBits {
        let edge = |bin: usize| MilliBits::new(bin as i32 * BIN_WIDTH);
        let (mut within, mut beyond) = (0, BINS);
        while beyond - within > 1 {
            let middle = usize::midpoint(within, beyond);
            if self.calibrate(edge(middle)) <= calibrated { within = middle } else { beyond = middle }
        }
        edge(within)
    }

    fn rank(&self, raw: MilliBits) -> MilliBits {
        let bin = bin_of(raw);
        if self.count_at(bin) < TAIL_FROM {
            return self.tail(raw);
        }
        // One step of interpolation inside the bin, in integers.
        let (above, below) = (u64::from(self.count_at(bin + 1)), u64::from(self.count_at(bin)));
        let within = (raw.as_i32() - bin as i32 * BIN_WIDTH) as u64;
        let count = below as f64 - ((below - above) * within) as f64 / f64::from(BIN_WIDTH);
        MilliBits::from_p(self.bulk_p(count, raw))
    }

    fn bulk_p(&self, count_q14: f64, raw: MilliBits) -> f64 {
        let one = f64::from(ONE);
        (count_q14 / one + KAPPA * raw.to_p()) / (f64::from(self.at_least[0]) / one + KAPPA)
    }

    #[cold]
    fn tail(&self, raw: MilliBits) -> MilliBits {
        let edge = self.at_least.partition_point(|&count| count >= TAIL_FROM);
        let beyond = &self.at_least[edge.min(BINS - 1)..];
        // An observation of bin j exceeds the edge by j - edge whole bins and, on average, a half.
        let whole: u64 = beyond.iter().skip(1).map(|&count| u64::from(count)).sum();
        let number = f64::from(beyond[0]) / f64::from(ONE);
        let excess_bits = 0.25 * (whole as f64 / f64::from(ONE) + 0.5 * number);
        let beta = (std::f64::consts::LN_2 * excess_bits + TAIL_PRIOR) / (number + TAIL_PRIOR);
        let edge_bits = MilliBits::new(edge as i32 * BIN_WIDTH);
        let at_edge = self.bulk_p(f64::from(self.count_at(edge)), edge_bits);
        let past_edge = f64::from(raw.as_i32() - edge_bits.as_i32()) / 1000.0;
        MilliBits::from_bits(past_edge / beta.max(1.0) - libm::log2(at_edge.min(1.0)))
    }

    fn count_at(&self, bin: usize) -> u32 {
        self.at_least.get(bin).copied().unwrap_or(0)
    }
}

fn bin_of(raw: MilliBits) -> usize {
    (raw.as_i32() / BIN_WIDTH).clamp(0, BINS as i32 - 1) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{SplitMix64, round_trip};
    use proptest::prelude::*;

    #[test]
    fn hands_through_without_data() {
        let fresh = Calibrator::new();
        for s in (0..=40_000).step_by(37).map(MilliBits::new) {
            assert_eq!(fresh.calibrate(s), s);
        }
        assert!(fresh.is_empty());
    }

    /// Share of fresh draws of `p = u^power` that come out below each level after `n` observations.
    fn shares(power: f64, n: u32, seed: u64, levels: [f64; 2]) -> [f64; 2] {
        let mut random = SplitMix64(seed);
        let mut calibrator = Calibrator::new();
        let mut draw = || MilliBits::from_p(random.uniform().powf(power));
        (0..n).for_each(|_| calibrator.add(draw()));
        let fresh = 100_000;
        let mut hits = [0u32; 2];
        for _ in 0..fresh {
            let s = calibrator.calibrate(draw());
            for (hit, level) in hits.iter_mut().zip(levels) {
                *hit += u32::from(s >= MilliBits::from_p(level));
            }
        }
        let shares = hits.map(|hit| f64::from(hit) / f64::from(fresh));
        println!("p^{power} after {n}: {shares:?} at {levels:?}");
        shares
    }

    #[test]
    fn mends_p_values_that_are_far_too_small() {
        // E9: p^3 fires on 21.6 % at a nominal 1 %.
        let [raw, _] = shares(3.0, 0, 1, [0.01, 0.001]);
        assert!((0.20..0.23).contains(&raw), "{raw}");
        let [at_1000, _] = shares(3.0, 1_000, 2, [0.01, 0.001]);
        assert!((0.005..0.02).contains(&at_1000), "{at_1000}");
        let [at_20000, tail] = shares(3.0, 20_000, 3, [0.01, 0.001]);
        assert!((0.008..0.0125).contains(&at_20000), "{at_20000}");
        assert!((0.0003..0.002).contains(&tail), "{tail}");
    }

    #[test]
    fn keeps_right_p_values_right_and_mends_timid_ones() {
        let [one_percent, tail] = shares(1.0, 5_000, 4, [0.01, 0.001]);
        assert!((0.007..0.013).contains(&one_percent), "{one_percent}");
        assert!((0.0004..0.002).contains(&tail), "{tail}");
        // The tail is never made thinner than 2^-s, so timid models are mended in the bulk only.
        let [timid, _] = shares(0.6, 20_000, 5, [0.01, 0.001]);
        assert!((0.006..0.0125).contains(&timid), "{timid}");
    }

    #[test]
    fn a_small_difference_on_a_stream_without_variety_stays_small() {
        let mut calibrator = Calibrator::new();
        (0..5_000).for_each(|_| calibrator.add(MilliBits::new(20)));
        assert_eq!(
            calibrator.calibrate(MilliBits::new(300)),
            MilliBits::new(900),
            "one in 250, and yet ordinary"
        );
        assert_eq!(calibrator.calibrate(MilliBits::new(8_000)), calibrator.rank(MilliBits::new(8_000)));
    }

    #[test]
    fn a_session_odd_throughout_is_one_odd_thing() {
        let mut random = SplitMix64(5);
        let mut ordinary =
            |n: usize| -> Vec<MilliBits> { (0..n).map(|_| MilliBits::from_p(random.uniform())).collect() };
        let mut calibrator = Calibrator::new();
        (0..500).for_each(|_| calibrator.add_session(&mut ordinary(20)));
        let level = MilliBits::from_bits(8.0);
        let before = calibrator.calibrate(level);
        assert!((before.as_i32() - level.as_i32()).abs() < 700, "sessions of chance alone: {before:?}");
        let mut each = calibrator.clone();
        for _ in 0..5 {
            calibrator.add_session(&mut [MilliBits::from_bits(12.0); 200]);
            (0..200).for_each(|_| each.add(MilliBits::from_bits(12.0)));
        }
        assert!(calibrator.calibrate(level) > MilliBits::from_bits(7.0), "{:?}", calibrator.calibrate(level));
        assert!(each.calibrate(level) < MilliBits::from_bits(4.0), "{:?}", each.calibrate(level));
        // What is new for good is learnt: each session may teach four times what was known.
        (0..100).for_each(|_| calibrator.add_session(&mut [MilliBits::from_bits(12.0); 200]));
        assert!(calibrator.calibrate(level) < MilliBits::from_bits(3.5), "{:?}", calibrator.calibrate(level));
    }

    #[test]
    fn decays_to_its_ceiling() {
        let mut calibrator = Calibrator::new();
        for _ in 0..300_000 {
            calibrator.add(MilliBits::new(2_000));
        }
        let held = calibrator.at_least[0] / ONE;
        assert!((90_000..=100_200).contains(&held), "{held}");
        assert_eq!(calibrator.len(), 300_000);
        round_trip(&calibrator);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn monotone_continuous_and_in_range(
            seen in prop::collection::vec(0i32..=40_000, 0..600),
            at in 0i32..39_999,
        ) {
            let mut calibrator = Calibrator::new();
            seen.iter().for_each(|&s| calibrator.add(MilliBits::new(s)));
            round_trip(&calibrator);
            let one = calibrator.calibrate(MilliBits::new(at)).as_i32();
            let next = calibrator.calibrate(MilliBits::new(at + 1)).as_i32();
            prop_assert!(next >= one, "{one} {next}");
            prop_assert!(calibrator.calibrate(MilliBits::MAX) <= MilliBits::MAX);
        }
    }
}
