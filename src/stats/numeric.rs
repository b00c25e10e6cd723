//! Values that are numbers: is this one unusually large or small?
//!
//! A decayed histogram over sign and magnitude (detection.md 3.5). Its bins are half octaves from
//! 1/8 to 2 million and four octaves wide beyond, each sign apart: 127 bins cover every f64.

use super::array;
use super::decay;
use serde::{Deserialize, Serialize};
use std::f64::consts::SQRT_2;

/// Bins; the middle one is zero.
const BINS: usize = 127;
/// The bin of zero and of magnitudes below 1/8.
const ZERO: usize = 63;
/// Magnitudes from 2^-3 to 2^21 have half-octave bins, 1..=48 from zero.
const FINE_FROM: i32 = -3;
const FINE_BINS: usize = 48;
const COARSE_FROM: i32 = FINE_FROM + FINE_BINS as i32 / 2;
/// Octaves in each of the 15 bins beyond; the last has no upper end.
const COARSE_OCTAVES: i32 = 4;
/// One observation in the fixed point of the counts (Q24.8).
const ONE: u32 = 1 << 8;

/// What is known of the values of one number. 24 bytes, and 4 for each bin from the first that was seen to the last:
/// 532 at most. Half-life four weeks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "stored::NumberModel", into = "stored::NumberModel")]
pub struct NumberModel {
    /// Q24.8, of the bins from `first` on, from the most negative to the most positive; the first and the last are not 0.
    counts: Box<[u32]>,
    total: u32,
    week: u16,
    first: u8,
}

/// Where a share of the values lies: at least `from` (in magnitude, rounded to the bin) and below `until`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The end nearer to zero, included.
    pub from: f64,
    /// The end farther from zero, excluded; infinite in the outermost bins.
    pub until: f64,
}

impl NumberModel {
    /// Nothing seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns one value in `week`; an earlier week counts as the latest. Not a number counts as
    /// positive infinity.
    pub fn learn(&mut self, value: f64, week: u16) {
        self.advance(week);
        // Past the ceiling all counts are halved: shares stay, memory stays.
        if self.total > u32::MAX / 2 {
            self.change(|count| count / 2);
        }
        let bin = bin_of(value);
        match bin.checked_sub(self.first.into()).and_then(|index| self.counts.get_mut(index)) {
            Some(count) => *count += ONE,
            None => {
                let mut bins = self.bins();
                bins[bin] += ONE;
                self.keep(&bins);
            }
        }
        self.total += ONE;
    }

    fn bins(&self) -> [u32; BINS] {
        let (mut bins, first) = ([0; BINS], usize::from(self.first));
        bins[first..first + self.counts.len()].copy_from_slice(&self.counts);
        bins
    }

    /// Keeps the counts from the first that is not 0 to the last.
    fn keep(&mut self, bins: &[u32; BINS]) {
        let used = |count: &u32| *count > 0;
        let first = bins.iter().position(used).unwrap_or(0);
        let end = bins.iter().rposition(used).map_or(0, |last| last + 1);
        (self.first, self.counts) = (first as u8, bins[first..end].into());
    }

    fn change(&mut self, change: impl Fn(u32) -> u32) {
        self.counts.iter_mut().for_each(|count| *count = change(*count));
        self.total = self.counts.iter().sum();
        if self.counts.first() == Some(&0) || self.counts.last() == Some(&0) {
            self.keep(&self.bins());
        }
    }

    /// Forgets up to `week`; an earlier week changes nothing.
    pub fn advance(&mut self, week: u16) {
        let weeks = u32::from(week.saturating_sub(self.week));
        if weeks == 0 {
            return;
        }
        self.week = week;
        self.change(|count| decay::weekly(u64::from(count), weeks) as u32);
    }

    /// Probability of a value at least as far out on either side: `2 (min(up, low) + 1/2) / (N + 1)`,
    /// in (0, 1]; `up` and `low` include the value's own bin.
    pub fn p(&self, value: f64) -> f64 {
        let (bin, first) = (bin_of(value), usize::from(self.first));
        let upto = self.counts.len().min((bin + 1).saturating_sub(first));
        let low: u32 = self.counts[..upto].iter().sum();
        let own = bin.checked_sub(first).and_then(|index| self.counts.get(index)).copied().unwrap_or(0);
        let up = self.total.saturating_sub(low) + own;
        let one = f64::from(ONE);
        (2.0 * (f64::from(low.min(up)) + 0.5 * one) / (f64::from(self.total) + one)).min(1.0)
    }

    /// Where the middle value lies; `None` with nothing seen.
    pub fn median(&self) -> Option<Span> {
        self.quantile(50)
    }

    /// Where the value lies that 99 of 100 do not exceed; `None` with nothing seen.
    pub fn percentile_99(&self) -> Option<Span> {
        self.quantile(99)
    }

    /// Values seen, decayed, rounded.
    pub fn observations(&self) -> u32 {
        (self.total + ONE / 2) / ONE
    }

    fn quantile(&self, percent: u64) -> Option<Span> {
        let wanted = (u64::from(self.total) * percent).div_ceil(100);
        let mut sum = 0;
        let bin = self.counts.iter().position(|&count| {
            sum += u64::from(count);
            sum >= wanted && sum > 0
        })?;
        Some(span_of(usize::from(self.first) + bin))
    }
}

/// What goes into a snapshot: all bins.
mod stored {
    use super::BINS;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) struct NumberModel {
        #[serde(with = "super::array")]
        counts: [u32; BINS],
        total: u32,
        week: u16,
    }

    impl From<NumberModel> for super::NumberModel {
        fn from(stored: NumberModel) -> Self {
            let NumberModel { counts, total, week } = stored;
            let mut model = Self { total, week, ..Self::default() };
            model.keep(&counts);
            model
        }
    }

    impl From<super::NumberModel> for NumberModel {
        fn from(model: super::NumberModel) -> Self {
            Self { counts: model.bins(), total: model.total, week: model.week }
        }
    }
}

fn bin_of(value: f64) -> usize {
    let magnitude = magnitude_of(value.abs());
    if value < 0.0 { ZERO - magnitude } else { ZERO + magnitude }
}

/// 0 for less than 1/8, 1..=48 by half octaves, 49..=63 by four octaves.
fn magnitude_of(size: f64) -> usize {
    if size < 0.125 {
        return 0;
    }
    // Exponent and fraction straight from the encoding: exact everywhere. Infinity and not a number
    // have the largest exponent.
    let exponent = (size.to_bits() >> 52) as i32 - 1023;
    if exponent >= COARSE_FROM {
        let beyond = ((exponent - COARSE_FROM) / COARSE_OCTAVES) as usize;
        return (1 + FINE_BINS + beyond).min(ZERO);
    }
    let fraction = f64::from_bits(size.to_bits() & ((1 << 52) - 1) | 1023 << 52);
    1 + 2 * (exponent - FINE_FROM) as usize + usize::from(fraction >= SQRT_2)
}

fn span_of(bin: usize) -> Span {
    let magnitude = bin.abs_diff(ZERO);
    let until = if magnitude == ZERO { f64::INFINITY } else { lower_end(magnitude + 1) };
    let sign = if bin < ZERO { -1.0 } else { 1.0 };
    Span { from: sign * lower_end(magnitude), until: sign * until }
}

fn lower_end(magnitude: usize) -> f64 {
    let power = super::millibits::power_of_two;
    match magnitude {
        0 => 0.0,
        m if m <= FINE_BINS => {
            let halves = m as i32 - 1;
            power(FINE_FROM + halves / 2) * if halves % 2 == 1 { SQRT_2 } else { 1.0 }
        }
        m => power(COARSE_FROM + (m - 1 - FINE_BINS) as i32 * COARSE_OCTAVES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{SplitMix64, round_trip};
    use proptest::prelude::*;

    #[test]
    fn bins_are_in_order_and_cover_every_number() {
        let mut last = 0;
        for bin in 0..BINS {
            let span = span_of(bin);
            assert_eq!(bin_of(span.from), bin, "{span:?}");
            assert!(bin_of(span.from) >= last);
            last = bin_of(span.from);
        }
        for (value, bin) in [
            (0.0, 63),
            (-0.0, 63),
            (1e-300, 63),
            (1.0, 70),
            (f64::INFINITY, 126),
            (f64::MAX, 126),
            (f64::NAN, 126),
            (-f64::NAN, 126),
            (f64::NEG_INFINITY, 0),
        ] {
            assert_eq!(bin_of(value), bin, "{value}");
        }
    }

    #[test]
    fn fifty_times_the_median() {
        let mut model = NumberModel::new();
        assert_eq!((model.p(3.0), model.median()), (1.0, None));
        for k in 0..412 {
            model.learn(if k % 50 == 0 { 24.0 } else { 8.0 }, 0);
        }
        assert_eq!(model.median().map(|span| span.from), Some(8.0));
        assert!(model.percentile_99().is_some_and(|span| (span.from..span.until).contains(&24.0)));
        assert_eq!(model.p(400.0), 1.0 / 413.0);
        assert_eq!(model.p(-1.0), 1.0 / 413.0);
        assert_eq!((model.p(8.0), model.observations()), (1.0, 412));
        assert!((model.p(24.0) - 19.0 / 413.0).abs() < 1e-12);
    }

    #[test]
    fn forgets_in_weeks_and_never_overflows() {
        let mut model = NumberModel::new();
        (0..64).for_each(|_| model.learn(-3.0, 0));
        model.advance(4);
        assert_eq!((model.observations(), model.counts.len()), (32, 1));
        let mut bins = model.bins();
        bins[3] = u32::MAX / 2;
        model.keep(&bins);
        model.total = model.counts.iter().sum();
        model.learn(1.0, 4);
        assert_eq!(model.total, model.counts.iter().sum::<u32>());
    }

    #[test]
    fn timid_on_its_own_traffic() {
        let mut random = SplitMix64(10);
        let mut model = NumberModel::new();
        let hits = (0..20_000).filter(|&k| {
            let value = random.exponential(50.0) * random.exponential(2.0);
            let hit = k > 300 && model.p(value) < 0.01;
            model.learn(value, (k / 3_000) as u16);
            hit
        });
        let share = hits.count() as f64 / 19_700.0;
        assert!(share <= 0.011, "{share}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn finite_for_anything(values in prop::collection::vec((any::<f64>(), 0u16..20), 0..300), at in any::<f64>()) {
            let mut model = NumberModel::new();
            values.iter().for_each(|&(value, week)| model.learn(value, week));
            let p = model.p(at);
            prop_assert!(p > 0.0 && p <= 1.0);
            prop_assert_eq!(model.total, model.counts.iter().sum::<u32>());
            round_trip(&model);
        }

        #[test]
        fn larger_numbers_have_later_bins(one in -1e12f64..1e12, other in -1e12f64..1e12) {
            prop_assert!(one.total_cmp(&other).is_ge() == (bin_of(one) >= bin_of(other)) || bin_of(one) == bin_of(other));
        }
    }
}
