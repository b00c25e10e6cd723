//! Whether evidence means what it says: of calls that are in order, a share of 2^-x may show x bits or more.

use serde::Serialize;

/// Bits at which the claim is checked.
pub const LEVELS: [f64; 8] = [1.0, 2.0, 3.0, 4.322, 5.0, 6.644, 8.0, 9.966];

/// One level.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Level {
    /// Bits of evidence.
    pub bits: f64,
    /// Share of calls that may show as much: `2^-bits`.
    pub claimed: f64,
    /// Share that did.
    pub observed: f64,
    /// Calls that did.
    pub count: u64,
}

/// Checks evidence, in milli-bits, of calls that are in order.
pub fn table(evidence: &[i32]) -> Vec<Level> {
    let level = |bits: f64| {
        let count = evidence.iter().filter(|shown| f64::from(**shown) >= bits * 1_000.0 - 0.5).count();
        Level {
            bits,
            claimed: libm::exp2(-bits),
            observed: count as f64 / evidence.len() as f64,
            count: count as u64,
        }
    };
    LEVELS.map(level).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_evidence_is_right_at_every_level() {
        // p = 1/1024 .. 1, each once.
        let evidence: Vec<i32> =
            (1..=1024).map(|rank| (-libm::log2(f64::from(rank) / 1024.0) * 1_000.0) as i32).collect();
        for level in table(&evidence) {
            assert!((level.observed / level.claimed - 1.0).abs() < 0.06, "{level:?}");
        }
        assert!(table(&[])[0].observed.is_nan());
    }
}
