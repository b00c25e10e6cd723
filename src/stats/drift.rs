//! Whether today's surprises still look like those of the weeks when the tenant was learnt.
//!
//! A frozen reference histogram of raw combined surprise against the present week's, compared when a week is
//! over by the population stability index, `sum (a - b) ln(a / b)` over twelve bins of one bit with half an observation added to
//! each (Siddiqi 2006; .25 is the usual line for "changed"). The reference is never moved by what it is compared
//! with: forgetting follows a slow poisoner, a frozen reference does not.

use serde::{Deserialize, Serialize};

/// Bins of one bit; the last holds the rest.
const BINS: usize = 12;
/// Observations of the reference, and of a week that is compared.
const OBSERVATIONS_MIN: u32 = 500;
/// Days of the reference after the first observation.
const REFERENCE_DAYS: i32 = 14;
/// Days of a week.
const WEEK_DAYS: i32 = 7;
/// Index, in thousandths, from which a week has drifted.
const ALARM_MILLI: u32 = 250;

/// The reference and the present week of one tenant. 120 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    reference: [u32; BINS],
    week: [u32; BINS],
    /// First day of the reference, days since 1970; 0: none yet.
    first_day: i32,
    /// First day of the present week.
    week_day: i32,
    /// Index of the last week compared, thousandths.
    index_milli: u32,
    /// Weeks that had drifted.
    alarms: u32,
}

impl Drift {
    /// Notes one surprise, milli-bits, of a call on this day (days since 1970).
    pub fn note(&mut self, millibits: i32, day: i32) {
        if self.first_day == 0 {
            (self.first_day, self.week_day) = (day, day);
        }
        let bin = (millibits.max(0) / 1_000) as usize;
        let bin = bin.min(BINS - 1);
        if self.is_reference(day) {
            self.reference[bin] = self.reference[bin].saturating_add(1);
            self.week_day = day.max(self.week_day);
            return;
        }
        if day >= self.week_day + WEEK_DAYS {
            self.compare();
            self.week = [0; BINS];
            self.week_day = day;
        }
        self.week[bin] = self.week[bin].saturating_add(1);
    }

    /// Index of the last week that was compared; 0 before the first.
    pub fn index(&self) -> f64 {
        f64::from(self.index_milli) / 1_000.0
    }

    /// Whether the last week compared had drifted.
    pub const fn is_alarm(&self) -> bool {
        self.index_milli >= ALARM_MILLI
    }

    /// Weeks that had drifted, ever.
    pub const fn alarms(&self) -> u32 {
        self.alarms
    }

    /// Takes the present as the new reference.
    pub fn renew(&mut self) {
        *self = Self { alarms: self.alarms, ..Self::default() };
    }

    fn is_reference(&self, day: i32) -> bool {
        day < self.first_day + REFERENCE_DAYS || self.reference.iter().sum::<u32>() < OBSERVATIONS_MIN
    }

    fn compare(&mut self) {
        let totals = [&self.reference, &self.week].map(|counts| counts.iter().sum::<u32>());
        if totals[1] < OBSERVATIONS_MIN {
            return;
        }
        let share =
            |count: u32, total: u32| (f64::from(count) + 0.5) / (f64::from(total) + 0.5 * BINS as f64);
        let parts = self.reference.iter().zip(&self.week).map(|(before, now)| {
            let (before, now) = (share(*before, totals[0]), share(*now, totals[1]));
            (now - before) * libm::log(now / before)
        });
        self.index_milli = (parts.sum::<f64>() * 1_000.0) as u32;
        self.alarms += u32::from(self.is_alarm());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::MilliBits;
    use crate::stats::testing::{SplitMix64, round_trip};

    fn weeks(drift: &mut Drift, random: &mut SplitMix64, days: std::ops::Range<i32>, power: f64) {
        for day in days {
            for _ in 0..200 {
                drift.note(MilliBits::from_p(random.uniform().powf(power)).as_i32(), day);
            }
        }
    }

    #[test]
    fn quiet_while_traffic_stays_and_loud_when_it_changes() {
        let mut random = SplitMix64(8);
        let mut drift = Drift::default();
        weeks(&mut drift, &mut random, 20_000..20_100, 1.0);
        assert_eq!(drift.alarms(), 0);
        assert!(drift.index() < 0.05, "{}", drift.index());
        weeks(&mut drift, &mut random, 20_100..20_115, 2.0);
        assert!(drift.is_alarm() && drift.alarms() >= 1, "{}", drift.index());
        drift.renew();
        weeks(&mut drift, &mut random, 20_115..20_150, 2.0);
        assert!(!drift.is_alarm(), "the new reference is what is usual now");
        round_trip(&drift);
    }

    #[test]
    fn a_slow_drift_is_found_although_each_week_is_close_to_the_last() {
        let mut random = SplitMix64(9);
        let mut drift = Drift::default();
        weeks(&mut drift, &mut random, 20_000..20_014, 1.0);
        let mut power = 1.0;
        let found = (0..60).find(|week| {
            power += 0.03;
            let first = 20_014 + 7 * week;
            weeks(&mut drift, &mut random, first..first + 7, power);
            drift.is_alarm()
        });
        assert!(found.is_some(), "{}", drift.index());
    }
}
