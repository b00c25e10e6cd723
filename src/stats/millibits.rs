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
        Self::from_bits(-libm::log2(p.clamp(1.0 / (1u64 << 40) as f64, 1.0)))
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
