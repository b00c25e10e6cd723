//! Evidence that builds up slowly over a session and may be looked at after every call.
//!
//! Shiryaev-Roberts: `R_t = (R_{t-1} + 1) e_t` over e-values of the sequence model (detection.md 5;
//! Shin, Ramdas, Rinaldo 2024). While the model is right, R passes 10^4 once in 10^4 calls or less.
//! Feed it conditional likelihood ratios only: the p-values of time and bursts depend on each other
//! within a session, and it would then cry out within 220 calls (E7).

use super::millibits::MilliBits;
use serde::{Deserialize, Serialize};

/// `log2(1 + 10^4)`: at or above, there is a finding.
pub const FINDING: MilliBits = MilliBits::new(13_288);

/// The e-value of one call, `1/2 + 1/2 Q(x) / P(x)`, at least 1/2.
///
/// `alternative` Q: probability of the symbol for someone else, such as half unigram, half uniform.
/// `model` P: its probability by this entity's own sequence model, floored (positive). Anything
/// that is not a ratio gives 1, no evidence.
pub fn e_value(alternative: f64, model: f64) -> f64 {
    let ratio = alternative / model;
    if ratio.is_finite() && ratio >= 0.0 { 0.5 + 0.5 * ratio } else { 1.0 }
}

/// The running evidence of one session. 4 bytes: `log2(1 + R)` in milli-bits, so that 0 is "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EDetector {
    log_one_plus_r: MilliBits,
}

impl EDetector {
    /// No evidence: R = 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in one e-value.
    pub fn update(&mut self, e: f64) {
        let e = if e.is_finite() { e.max(0.0) } else { 1.0 };
        self.set(self.log_one_plus_r.to_inverse_p() * e);
    }

    /// Halves R, for evidence carried over to the next day.
    pub fn halve(&mut self) {
        let before = self.log_one_plus_r;
        self.set(0.5 * (before.to_inverse_p() - 1.0));
        // The last thousandth would round to itself for ever.
        if self.log_one_plus_r == before {
            self.log_one_plus_r = MilliBits::ZERO;
        }
    }

    /// The detector with this `log2(1 + R)`, as [`EDetector::evidence`] gave it.
    pub fn at(evidence: MilliBits) -> Self {
        Self { log_one_plus_r: evidence }
    }

    /// Whether R has reached 10^4.
    pub fn is_finding(&self) -> bool {
        self.log_one_plus_r >= FINDING
    }

    /// `log2(1 + R)`, 0 to 40 bits.
    pub fn evidence(&self) -> MilliBits {
        self.log_one_plus_r
    }

    fn set(&mut self, r: f64) {
        self.log_one_plus_r = MilliBits::from_bits(libm::log2(1.0 + r));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{SplitMix64, round_trip};

    #[test]
    fn recursion_and_edges() {
        let mut detector = EDetector::new();
        assert_eq!(detector.evidence(), MilliBits::ZERO);
        detector.update(1.0);
        assert_eq!(detector.evidence(), MilliBits::new(1000)); // R = 1
        detector.update(3.0);
        assert_eq!(detector.evidence(), MilliBits::from_bits(7f64.log2())); // R = 6
        detector.halve();
        assert_eq!(detector.evidence(), MilliBits::new(2000)); // R = 3
        for e in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300] {
            detector.update(e);
        }
        assert!(detector.is_finding() && detector.evidence() == MilliBits::MAX);
        assert_eq!((e_value(0.5, 0.0), e_value(f64::NAN, 1.0), e_value(0.02, 0.01)), (1.0, 1.0, 1.5));
        round_trip(&detector);
    }

    /// Symbols of a skewed distribution; the alternative is uniform over 16.
    fn calls_to_finding(random: &mut SplitMix64, masquerade: bool, calls_max: u32) -> Option<u32> {
        let model: [f64; 16] = std::array::from_fn(|k| 0.5f64.powi(k as i32 + 1).max(0.5f64.powi(15)));
        let mut detector = EDetector::new();
        (1..=calls_max).find(|_| {
            let own = ((-random.uniform().log2()) as usize).min(15);
            let symbol = if masquerade { random.below(16) as usize } else { own };
            detector.update(e_value(1.0 / 16.0, model[symbol]));
            detector.is_finding()
        })
    }

    #[test]
    fn quiet_on_clean_calls_quick_on_foreign_ones() {
        let mut random = SplitMix64(13);
        let clean = (0..300).filter(|_| calls_to_finding(&mut random, false, 200).is_some()).count();
        // At most 200 in 10^4 calls each: 6 of 300 sessions, on average.
        assert!(clean <= 12, "{clean} of 300 clean sessions");
        for _ in 0..50 {
            let calls = calls_to_finding(&mut random, true, 100);
            assert!(calls.is_some_and(|n| n < 25), "{calls:?}");
        }
    }
}
