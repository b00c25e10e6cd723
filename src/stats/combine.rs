//! From the surprises of the dimensions to one, and from that to a risk of 0..100.
//!
//! Two combiners, the stronger wins (detection.md 4 and E4): truncated Cauchy for one extreme
//! dimension, valid under any dependence (Liu and Xie 2020; truncation after Fang et al. 2023), and
//! Fisher for several mild ones. Taking the better of two is not a p-value: calibrate the result.

use super::millibits::MilliBits;
use std::f64::consts::{LN_2, PI};

/// The stronger of [`truncated_cauchy`] and [`fisher`], not yet calibrated.
///
/// `present` holds the surprises of the dimensions that answered; one that abstained is left out.
/// None at all: no surprise.
pub fn combine(present: &[MilliBits]) -> MilliBits {
    truncated_cauchy(present).max(fisher(present))
}

/// `1/2 - atan(mean tan((1/2 - min(p, 1/2)) pi)) / pi`, in surprise; at least one bit (p <= 1/2).
///
/// No surprise for an empty slice.
pub fn truncated_cauchy(present: &[MilliBits]) -> MilliBits {
    if present.is_empty() {
        return MilliBits::ZERO;
    }
    let sum: f64 = present.iter().filter(|s| s.as_i32() > 1000).map(|&s| cauchy_quantile(s)).sum();
    if sum <= 0.0 {
        return MilliBits::new(1000);
    }
    // 1/2 - atan(x)/pi = atan(1/x)/pi for x > 0, without the cancellation.
    MilliBits::from_p(libm::atan(present.len() as f64 / sum) / PI)
}

/// `P(chi2 with 2D degrees >= -2 sum ln p)` over the D given, in surprise.
///
/// With S the sum of the surprises in bits this is `2^-S * sum over k < D of (S ln 2)^k / k!`.
pub fn fisher(present: &[MilliBits]) -> MilliBits {
    let sum: i64 = present.iter().map(|s| i64::from(s.as_i32())).sum();
    let bits = sum as f64 / 1000.0;
    let (mut term, mut series) = (1.0, if present.is_empty() { 0.0 } else { 1.0 });
    for k in 1..present.len() {
        term *= bits * LN_2 / k as f64;
        series += term;
    }
    if series > 1.0 { MilliBits::from_bits(bits - libm::log2(series)) } else { MilliBits::from_bits(bits) }
}

/// `cot(pi p)` for p < 1/2, within 1e-9, from + - * / only.
///
/// The partial fractions of the cotangent: `pi cot(pi p) = 1/p - sum over n of 2p / (n^2 - p^2)`,
/// n = 1 exactly, the rest as a power series in p^2 whose coefficients are `zeta(2k) - 1`.
fn cauchy_quantile(s: MilliBits) -> f64 {
    const ZETA_LESS_ONE: [f64; 8] = [
        0.644_934_066_848_226_4,
        0.082_323_233_711_138_19,
        0.017_343_061_984_449_14,
        0.004_077_356_197_944_339,
        0.000_994_575_127_818_085_3,
        0.000_246_086_553_308_048_3,
        0.000_061_248_135_058_704_83,
        0.000_015_282_259_408_651_87,
    ];
    let p = s.to_p();
    let square = p * p;
    let rest = ZETA_LESS_ONE.iter().rev().fold(0.0, |sum, coefficient| sum * square + coefficient);
    (s.to_inverse_p() - 2.0 * p * (1.0 / (1.0 - square) + rest)) / PI
}

/// Risk in 0..=100, unrounded: `B + (100 - B) (1 - 1 / (1 + 2^(E - 4)))`, at least `floor`.
///
/// `base`: the tool's own risk, 0..=100 (10, 30, 55, 75 for low to critical). `evidence`: calibrated
/// surprise E. `floor`: the highest rule floor that fired, 0 for none.
///
/// Four bits of evidence bring the risk half way from its base to 100, each further bit half of the rest. One
/// category higher is worth about a bit then, as in the review threshold; the six bits of detection.md 4
/// let usual calls of risky tools stand above odd calls of harmless ones.
pub fn risk_exact(base: u8, evidence: MilliBits, floor: u8) -> f64 {
    let base = f64::from(base.min(100));
    let left = 1.0 / (1.0 + evidence.to_inverse_p() / 16.0);
    (base + (100.0 - base) * (1.0 - left)).max(f64::from(floor.min(100)))
}

/// [`risk_exact`] rounded to a whole number, halves up: what is logged and compared with thresholds.
///
/// Non-decreasing in all three arguments; the same number on every machine.
pub fn risk(base: u8, evidence: MilliBits, floor: u8) -> u8 {
    (risk_exact(base, evidence, floor) + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::SplitMix64;
    use statrs::distribution::{ChiSquared, ContinuousCDF};

    fn millibits(values: &[i32]) -> Vec<MilliBits> {
        values.iter().copied().map(MilliBits::new).collect()
    }

    #[test]
    fn cotangent_matches_the_library() {
        for i in 1001..=40_000 {
            let s = MilliBits::new(i);
            let exact = libm::tan((0.5 - s.to_p()) * PI);
            // For tiny p the library's argument has lost its digits; 1/(pi p) is exact enough there.
            let exact = if i > 20_000 { s.to_inverse_p() / PI } else { exact };
            let ours = cauchy_quantile(s);
            assert!((ours - exact).abs() < 1e-9 * (1.0 + exact), "{i}: {ours} {exact}");
        }
    }

    #[test]
    fn fisher_matches_the_chi_square_tail() {
        for d in 1..=7usize {
            let oracle = ChiSquared::new(2.0 * d as f64).unwrap();
            for sum in (0..39_000).step_by(911) {
                let mut parts = vec![MilliBits::ZERO; d];
                parts[0] = MilliBits::new(sum);
                let p = oracle.sf(2.0 * LN_2 * f64::from(sum) / 1000.0);
                assert!((fisher(&parts).as_i32() - MilliBits::from_p(p).as_i32()).abs() <= 1, "{d} {sum}");
            }
        }
    }

    #[test]
    fn edges() {
        assert_eq!(combine(&[]), MilliBits::ZERO);
        assert_eq!(fisher(&[]), MilliBits::ZERO);
        assert_eq!(truncated_cauchy(&millibits(&[0, 500, 1000])), MilliBits::new(1000));
        assert_eq!(combine(&millibits(&[7321])), MilliBits::new(7321), "one dimension stands for itself");
        assert_eq!(combine(&[MilliBits::MAX; 7]), MilliBits::MAX);
        // One extreme among seven pays log2 7 under Cauchy.
        let one = millibits(&[15_000, 0, 0, 0, 0, 0, 0]);
        assert!((truncated_cauchy(&one).as_i32() - 12_193).abs() <= 2);
        // Several mild ones: Fisher.
        let mild = [MilliBits::new(4000); 6];
        assert!(fisher(&mild) > truncated_cauchy(&mild));
    }

    /// Share of null draws at or above each level, for six independent uniform p-values.
    #[test]
    fn type_one_error_for_independent_uniforms() {
        let mut random = SplitMix64(11);
        let draws = 100_000;
        let levels = [0.01, 0.001].map(MilliBits::from_p);
        let mut hits = [[0u32; 2]; 3];
        for _ in 0..draws {
            let s: [MilliBits; 6] = std::array::from_fn(|_| MilliBits::from_p(random.uniform()));
            for (row, value) in hits.iter_mut().zip([truncated_cauchy(&s), fisher(&s), combine(&s)]) {
                row[0] += u32::from(value >= levels[0]);
                row[1] += u32::from(value >= levels[1]);
            }
        }
        let share = |row: usize, level: usize| f64::from(hits[row][level]) / f64::from(draws);
        println!("type I at 1 %, .1 %: {:?}", std::array::from_fn::<_, 3, _>(|r| [share(r, 0), share(r, 1)]));
        assert!((0.009..0.0118).contains(&share(0, 0)), "Cauchy {}", share(0, 0));
        assert!((0.0088..0.0112).contains(&share(1, 0)), "Fisher {}", share(1, 0));
        assert!((0.0005..0.0016).contains(&share(0, 1)) && (0.0005..0.0016).contains(&share(1, 1)));
        assert!(share(2, 0) < 0.02, "the better of two at most doubles: {}", share(2, 0));
    }

    #[test]
    fn risk_table_of_the_design() {
        let check = |bits: f64, expected: [u8; 4]| {
            let evidence = MilliBits::from_bits(bits);
            assert_eq!([10, 30, 55, 75].map(|base| risk(base, evidence, 0)), expected, "{bits} bits");
        };
        check(0.0, [15, 34, 58, 76]);
        check(3.0, [40, 53, 70, 83]);
        check(6.644, [88, 90, 94, 97]);
        check(9.966, [99, 99, 99, 100]);
        check(13.288, [100, 100, 100, 100]);
        check(20.0, [100, 100, 100, 100]);
        assert_eq!(risk(10, MilliBits::ZERO, 85), 85);
        assert_eq!(risk(255, MilliBits::MAX, 255), 100);
    }

    #[test]
    fn risk_is_monotone_and_rounds_the_exact_value() {
        for base in [0u8, 10, 30, 55, 75, 100] {
            let mut last = 0;
            for evidence in (0..=40_000).map(MilliBits::new) {
                let exact = risk_exact(base, evidence, 0);
                let r = risk(base, evidence, 0);
                assert!(r >= last && r <= 100 && (f64::from(r) - exact).abs() <= 0.5);
                let e = f64::from(evidence.as_i32()) / 1000.0;
                let left = 1.0 / (1.0 + libm::exp2(e - 4.0));
                let formula = f64::from(base) + (100.0 - f64::from(base)) * (1.0 - left);
                assert!((exact - formula).abs() < 1e-9);
                last = r;
            }
        }
    }
}
