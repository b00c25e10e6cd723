//! How likely a reviewer says no: a logistic model fitted outside, adopted by an event, computed here.
//!
//! It orders what reviewers look at and tells them how the like was judged. It never decides: no verdict and
//! no floor depends on it. The parameters are the bits of floats, so that they are the same on every machine;
//! fitting is not (detection.md 7 and 8).

use crate::domain::decision::{DETECTORS, Decision, Floor};
use crate::domain::risk::RiskCategory;
use std::fmt::Write as _;

/// Features: calibrated bits of each detector, three categories above the lowest, three flags.
pub const FEATURES: usize = DETECTORS + 6;
/// Bits beyond which surprise counts as this.
const BITS_MAX: i32 = 12_000;
/// First line of stored parameters.
const HEAD: &str = "askance-model 1 p_reject";

/// What the model looks at of a decision.
///
/// In order: each detector's calibrated surprise in bits, at most 12, 0 where it abstained; category medium,
/// high, critical; a floor fired; the arguments detector has a finding; something like it was denied before.
pub fn features(decision: &Decision) -> [f64; FEATURES] {
    let assessment = &decision.assessment;
    let mut all = [0.0; FEATURES];
    for (slot, score) in all.iter_mut().zip(&assessment.scores) {
        *slot = f64::from(score.surprise.clamp(0, BITS_MAX)) / 1_000.0;
    }
    let floor = |floor: Floor| assessment.floors & floor.bit() != 0;
    let flags = [
        decision.category == RiskCategory::Medium,
        decision.category == RiskCategory::High,
        decision.category == RiskCategory::Critical,
        assessment.floors != 0,
        assessment.scores.get(4).is_some_and(|score| score.surprise >= super::models::NOTABLE),
        floor(Floor::RepeatOfDenied),
    ];
    for (slot, flag) in all.iter_mut().skip(DETECTORS).zip(flags) {
        *slot = f64::from(u8::from(flag));
    }
    all
}

/// The fitted model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PReject {
    /// Log odds where every feature is 0.
    pub intercept: f64,
    /// Weight of each feature.
    pub weights: [f64; FEATURES],
}

impl PReject {
    /// Chance that a reviewer rejects, in [0, 1].
    pub fn predict(&self, features: &[f64; FEATURES]) -> f64 {
        let odds =
            self.weights.iter().zip(features).fold(self.intercept, |sum, (weight, x)| sum + weight * x);
        1.0 / (1.0 + libm::exp(-odds))
    }

    /// The parameters as they are stored.
    pub fn parameters(&self) -> Vec<u8> {
        let mut text = format!("{HEAD}\n");
        for number in std::iter::once(&self.intercept).chain(&self.weights) {
            let _ = writeln!(text, "{:016x}", number.to_bits());
        }
        text.into_bytes()
    }

    /// Reads stored parameters; says what is wrong with them.
    pub fn parse(parameters: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(parameters).map_err(|_| "are not UTF-8".to_owned())?;
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(format!("do not begin with the line `{HEAD}`"));
        }
        let mut numbers = [0.0; FEATURES + 1];
        for (place, slot) in numbers.iter_mut().enumerate() {
            let line =
                lines.next().ok_or_else(|| format!("end after {place} of {} numbers", FEATURES + 1))?;
            let bits = u64::from_str_radix(line, 16).ok().filter(|_| line.len() == 16);
            let number = bits.map(f64::from_bits).filter(|number| number.is_finite());
            *slot = number.ok_or_else(|| format!("line {}: not the bits of a number", place + 2))?;
        }
        if lines.next().is_some() {
            return Err(format!("have more than {} numbers", FEATURES + 1));
        }
        let [intercept, weights @ ..] = numbers;
        Ok(Self { intercept, weights })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_survive_to_the_bit_and_nothing_else_is_taken() {
        let model = PReject { intercept: -1.0 / 3.0, weights: std::array::from_fn(|i| i as f64 / 7.0) };
        let stored = model.parameters();
        assert_eq!(PReject::parse(&stored), Ok(model));
        assert!(PReject::parse(b"").unwrap_err().contains("begin"));
        assert!(PReject::parse(&stored[..60]).unwrap_err().contains("line 4"));
        assert!(PReject::parse(&stored[..42]).unwrap_err().contains("end after 1"));
        let infinite = PReject { intercept: f64::INFINITY, ..model };
        assert!(PReject::parse(&infinite.parameters()).unwrap_err().contains("line 2"));
        assert!((model.predict(&[0.0; FEATURES]) - 0.417_43).abs() < 1e-5);
        assert!(model.predict(&[12.0; FEATURES]) > 0.999);
    }
}
