//! What is carried from one session of a principal to the next: slow evidence, and how much it taught today.

use crate::stats::decay;
use crate::stats::edetector::EDetector;
use crate::stats::fingerprint::mix;
use crate::stats::millibits::MilliBits;
use crate::stats::table::{SetTable, Weigh};
use serde::{Deserialize, Serialize};

/// Principals remembered. About 32 bytes each.
const PRINCIPALS_MAX: usize = 4_096;
/// Calls that a principal teaches in full on one day; of later ones a falling share.
const FULL_CALLS_A_DAY: u32 = 400;

/// One principal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Carried {
    evidence: EDetector,
    /// Day of the last call, days since 1970.
    day: i32,
    /// Calls taught on that day.
    taught: u32,
    /// Calls offered on that day.
    offered: u32,
    calls: u32,
}

impl Weigh for Carried {
    fn weight(&self) -> u64 {
        self.calls.into()
    }
}

/// All principals of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Principals {
    table: SetTable<Carried>,
}

impl Default for Principals {
    fn default() -> Self {
        Self { table: SetTable::new(PRINCIPALS_MAX) }
    }
}

fn key(principal: u64) -> u64 {
    mix(principal, 0x7072_696e)
}

impl Principals {
    /// The principal's evidence as of a day: what was there halves with each day.
    pub fn evidence(&self, principal: u64, day: i32) -> EDetector {
        let Some(carried) = self.table.get(key(principal)) else { return EDetector::new() };
        let mut evidence = carried.evidence;
        // After 40 days nothing that fits is left.
        for _ in 0..day.saturating_sub(carried.day).clamp(0, 40) {
            evidence.halve();
        }
        evidence
    }

    /// Sets the evidence after a call.
    pub(super) fn set_evidence(&mut self, principal: u64, day: i32, evidence: MilliBits) {
        if let Some(carried) = self.table.entry(key(principal), Carried::default) {
            carried.advance(day);
            carried.evidence = EDetector::at(evidence);
            carried.calls = carried.calls.saturating_add(1);
        }
    }

    /// Whether a session of this many calls may teach: in full up to the cap of a day, then so that the k-th call
    /// has the weight cap / k, by leaving whole sessions out. A principal that is not remembered may.
    pub(super) fn may_teach(&mut self, principal: u64, day: i32, calls: u32) -> bool {
        let Some(carried) = self.table.entry(key(principal), Carried::default) else { return true };
        carried.advance(day);
        carried.offered = carried.offered.saturating_add(calls);
        let allowed = if carried.offered <= FULL_CALLS_A_DAY {
            carried.offered
        } else {
            let over = f64::from(carried.offered) / f64::from(FULL_CALLS_A_DAY);
            (f64::from(FULL_CALLS_A_DAY) * (1.0 + libm::log(over))) as u32
        };
        let may = carried.taught.saturating_add(calls) <= allowed.max(FULL_CALLS_A_DAY);
        if may {
            carried.taught = carried.taught.saturating_add(calls);
        }
        may
    }
}

impl Carried {
    fn advance(&mut self, day: i32) {
        if day <= self.day {
            return;
        }
        let days = day.saturating_sub(self.day);
        for _ in 0..days.clamp(0, 40) {
            self.evidence.halve();
        }
        let since = u32::try_from(days).unwrap_or(u32::MAX);
        self.calls = u32::try_from(decay::daily(self.calls.into(), since)).unwrap_or(u32::MAX);
        (self.day, self.taught, self.offered) = (day, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_halves_with_the_days() {
        let mut principals = Principals::default();
        principals.set_evidence(7, 100, MilliBits::new(10_000));
        assert_eq!(principals.evidence(7, 100).evidence(), MilliBits::new(10_000));
        let later = principals.evidence(7, 103).evidence().as_i32();
        assert!((6_950..7_050).contains(&later), "{later}: R / 8");
        assert_eq!(principals.evidence(7, 1_000).evidence(), MilliBits::ZERO);
        assert_eq!(principals.evidence(8, 100).evidence(), MilliBits::ZERO);
    }

    #[test]
    fn a_day_of_many_sessions_teaches_a_logarithm_of_them() {
        let mut principals = Principals::default();
        let taught = (0..10_000).filter(|_| principals.may_teach(7, 100, 20)).count() * 20;
        // 200,000 calls: 400 (1 + ln 500) = 2,885.
        assert!((2_700..2_900).contains(&taught), "{taught}");
        assert!(principals.may_teach(7, 101, 20), "a new day");
        assert!(principals.may_teach(8, 100, 20), "somebody else");
    }
}
