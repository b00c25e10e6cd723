//! Surprise in integer thousandths of a bit: the only form in which a result leaves a model.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Surprise of a p-value, `-log2 p`, in thousandths of a bit; 0..=40,000.
///
/// 0 says "nothing odd" (p = 1), 1,000 a coin flip, 6,644 one in a hundred, 40,000 "2^-40 or
/// less". Integers make comparisons, ties and replay exact (detection.md 2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MilliBits(i32);

/// Thousandths in a bit.
const PER_BIT: usize = 1000;

/// `2^(-i/1000)` for i in 0..1000, built at compile time from additions, multiplications and
/// divisions only, so it is the same on every machine. 8 KB.
static NEG_EXP2: [f64; PER_BIT] = neg_exp2_table();

/// `exp(x)` by its power series, within an ulp or two for |x| < 1; for tables built at compile time.
pub(crate) const fn exp_series(x: f64) -> f64 {
    let mut sum = 1.0;
    let mut k = 24;
    while k > 0 {
        sum = 1.0 + sum * x / k as f64;
        k -= 1;
    }
    sum
}

const fn neg_exp2_table() -> [f64; PER_BIT] {
    let mut table = [0.0; PER_BIT];
    let mut i = 0;
    while i < PER_BIT {
        table[i] = exp_series(-(i as f64) * (std::f64::consts::LN_2 / PER_BIT as f64));
        i += 1;
    }
    table
}

/// Points between one and two for which a logarithm is kept, as a power of two.
const POINTS_LOG: u32 = 6;
const POINTS: usize = 1 << POINTS_LOG;

/// For the middle of each of the 64 parts of [1, 2): its inverse, and its `log2` in thousandths. 1 KB.
static LOGS: [(f64, f64); POINTS] = logs_table();

const fn logs_table() -> [(f64, f64); POINTS] {
    let mut table = [(0.0, 0.0); POINTS];
    let mut i = 0;
    while i < POINTS {
        let middle = 1.0 + (i as f64 + 0.5) / POINTS as f64;
        // ln c = 2 artanh((c - 1) / (c + 1)), whose series gains a digit a term here.
        let x = (middle - 1.0) / (middle + 1.0);
        let (mut power, mut sum, mut k) = (x, 0.0, 1);
        while k < 60 {
            sum += power / k as f64;
            power *= x * x;
            k += 2;
        }
        table[i] = (1.0 / middle, 2.0 * sum / std::f64::consts::LN_2 * PER_BIT as f64);
        i += 1;
    }
    table
}

/// `1000 log2 p` for a normal positive p, within 1e-5.
fn rough_log2(p: f64) -> f64 {
    let bits = p.to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let fraction = bits & ((1 << 52) - 1);
    let (inverse, log) = LOGS[(fraction >> (52 - POINTS_LOG)) as usize];
    let off = f64::from_bits(fraction | 1023 << 52) * inverse - 1.0;
    // |off| <= 1/128: the next term is below 1e-6.
    let rest = off * (1.0 + off * (-0.5 + off * (1.0 / 3.0 - 0.25 * off)));
    exponent as f64 * PER_BIT as f64 + log + rest * (PER_BIT as f64 / std::f64::consts::LN_2)
}

impl MilliBits {
    /// No surprise: p = 1.
    pub const ZERO: Self = Self(0);
    /// The most that is ever claimed: p = 2^-40.
    pub const MAX: Self = Self(40_000);

    /// This many thousandths of a bit, clamped to 0..=40,000.
    pub const fn new(millibits: i32) -> Self {
        if millibits < 0 {
            Self::ZERO
        } else if millibits > Self::MAX.0 {
            Self::MAX
        } else {
            Self(millibits)
        }
    }

    /// Thousandths of a bit, 0..=40,000.
    pub const fn as_i32(self) -> i32 {
        self.0
    }

    /// `-log2 p` rounded to a thousandth; `p` is first clamped to [2^-40, 1].
    ///
    /// Not a number gives 0: a model that could not compute has no evidence to show.
    pub fn from_p(p: f64) -> Self {
        if p.is_nan() {
            return Self::ZERO;
        }
        let p = p.clamp(1.0 / (1u64 << 40) as f64, 1.0);
        let rough = 0.5 - rough_log2(p);
        let whole = rough as i32;
        // Only where the two could be rounded apart the exact logarithm is worth its price.
        let apart = rough - f64::from(whole);
        if (1e-4..1.0 - 1e-4).contains(&apart) { Self::new(whole) } else { Self::from_bits(-libm::log2(p)) }
    }

    /// This many bits rounded to a thousandth and clamped to 0..=40; not a number gives 0.
    pub fn from_bits(bits: f64) -> Self {
        // A float-to-integer `as` saturates and takes NaN to 0. 40,001 keeps the sum below exact.
        Self::new((bits * PER_BIT as f64 + 0.5).clamp(0.0, 40_001.0) as i32)
    }

    /// The p-value, in [2^-40, 1]: a table look-up and an exponent, no library call.
    pub fn to_p(self) -> f64 {
        let whole = self.0 as usize / PER_BIT;
        NEG_EXP2[self.0 as usize % PER_BIT] * power_of_two(-(whole as i32))
    }

    /// `1 / p`, in [1, 2^40].
    pub fn to_inverse_p(self) -> f64 {
        // 2^s = 2^(whole + 1) * 2^(fraction - 1), with the second factor read from the table.
        let (whole, fraction) = (self.0 as usize / PER_BIT, self.0 as usize % PER_BIT);
        match fraction {
            0 => power_of_two(whole as i32),
            f => NEG_EXP2[PER_BIT - f] * power_of_two(whole as i32 + 1),
        }
    }

    /// The surprise in bits, 0.0..=40.0, for people and exports.
    pub fn to_bits(self) -> f64 {
        f64::from(self.0) / PER_BIT as f64
    }

    /// Sum, at most [`MilliBits::MAX`].
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::new(self.0.saturating_add(other.0))
    }
}

/// `2^exponent` for -1022..=1023, exact.
pub(crate) const fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

impl fmt::Display for MilliBits {
    /// Bits with three decimals, such as `6.644`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let check = |p: f64, millibits: i32| assert_eq!(MilliBits::from_p(p).as_i32(), millibits, "p = {p}");
        check(1.0, 0);
        check(0.5, 1000);
        check(0.01, 6644);
        check(0.0, 40_000);
        check(-3.0, 40_000);
        check(7.0, 0);
        check(f64::NAN, 0);
        check(f64::INFINITY, 0);
        check(f64::NEG_INFINITY, 40_000);
        check(f64::MIN_POSITIVE, 40_000);
        assert_eq!(MilliBits::new(-5), MilliBits::ZERO);
        assert_eq!(MilliBits::new(i32::MAX), MilliBits::MAX);
        assert_eq!(MilliBits::from_bits(f64::NAN), MilliBits::ZERO);
        assert_eq!(MilliBits::from_bits(f64::INFINITY), MilliBits::MAX);
        assert_eq!(MilliBits::new(6_007).to_string(), "6.007");
    }

    #[test]
    fn the_quick_logarithm_rounds_as_the_exact_one_does() {
        let check = |p: f64| assert_eq!(MilliBits::from_p(p), MilliBits::from_bits(-libm::log2(p)), "{p:e}");
        let mut random = crate::stats::testing::SplitMix64(3);
        for _ in 0..300_000 {
            let p = libm::exp2(-40.0 * random.uniform());
            check(p);
            let exact = 1000.0 * libm::log2(p);
            assert!((rough_log2(p) - exact).abs() < 1e-7 + 1e-15 * exact.abs(), "{p:e}");
        }
        // Right where the rounding turns, and beside it.
        for half in (1..80_000).step_by(2) {
            let p = libm::exp2(-f64::from(half) / 2000.0);
            [p, p.next_up(), p.next_down(), p * (1.0 + 1e-9), p * (1.0 - 1e-9)].into_iter().for_each(check);
        }
    }

    #[test]
    fn every_value_survives_the_round_trip() {
        for i in 0..=40_000 {
            let s = MilliBits::new(i);
            assert_eq!(MilliBits::from_p(s.to_p()), s);
            assert!((s.to_p() * s.to_inverse_p() - 1.0).abs() < 1e-14, "{i}");
            let exact = libm::exp2(-f64::from(i) / 1000.0);
            assert!((s.to_p() / exact - 1.0).abs() < 1e-14, "{i}");
        }
    }
}
