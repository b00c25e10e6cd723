//! More calls than are usual at this hour of the week, or on such a day (detection.md 3.2, the seasonal part).
//!
//! One test for each clock hour and each day, of a principal. Rates are learnt two days late. Calls come in
//! sessions, so that one session at an unusual hour is many calls where none were expected: how far that is out is
//! no measure of how odd it is, and no more than [`VOLUME_MAX`] is claimed. Abstains for two weeks.

use super::learn::local_hour_and_day;
use crate::domain::call::CallFeatures;
use crate::domain::decision::Evidence;
use crate::stats::counts::{Bucket, SeasonalCounts};
use crate::stats::millibits::MilliBits;
use crate::stats::table::{SetTable, Weigh};
use serde::{Deserialize, Serialize};

/// Principals with seasonal counts. About 930 bytes each.
const PRINCIPALS_MAX: usize = 4_096;
/// Calls an hour that are expected of a principal of whom nothing is known.
const RATE_PRIOR: f64 = 1.0;
/// Surprise that is claimed at most.
const VOLUME_MAX: MilliBits = MilliBits::new(4_000);

/// The seasonal counts of one principal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Season(SeasonalCounts);

impl Weigh for Season {
    fn weight(&self) -> u64 {
        self.0.calls()
    }
}

/// Seasonal counts of a tenant's principals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeModel {
    principals: SetTable<Box<Season>>,
}

impl Default for VolumeModel {
    fn default() -> Self {
        Self { principals: SetTable::new(PRINCIPALS_MAX) }
    }
}

/// Local day, and hour of the day.
fn day_and_hour(features: &CallFeatures) -> Option<(i32, u8)> {
    local_hour_and_day(features).map(|(hour_of_week, day, _)| (day, hour_of_week % 24))
}

impl VolumeModel {
    fn found(&self, features: &CallFeatures) -> Option<SeasonalCounts> {
        let (day, hour) = day_and_hour(features)?;
        self.principals.get(features.principal)?.0.with_attempt(day, hour, RATE_PRIOR)
    }

    /// Surprise at so many calls in this hour, and on this day, this one included.
    pub fn score(&self, features: &CallFeatures) -> Option<[MilliBits; 2]> {
        self.found(features).map(|counts| counts.surprises().map(|surprise| surprise.min(VOLUME_MAX)))
    }

    /// The worse of the two, with its surprise.
    pub fn explain(&self, features: &CallFeatures) -> Option<(MilliBits, Evidence)> {
        let counts = self.found(features)?;
        let surprises = counts.surprises().map(|surprise| surprise.min(VOLUME_MAX));
        let (surprise, bucket) = surprises.into_iter().zip(Bucket::ALL).max()?;
        let (count, expected) = counts.running(bucket);
        let expected_milli = (expected * 1_000.0) as u32;
        Some((surprise, Evidence::Volume { whole_day: bucket == Bucket::Day, count, expected_milli }))
    }

    /// Counts an attempt, whatever becomes of it.
    pub fn attempt(&mut self, features: &CallFeatures) {
        let Some((day, hour)) = day_and_hour(features) else { return };
        let new = || Box::new(Season(SeasonalCounts::new(day)));
        if let Some(season) = self.principals.entry(features.principal, new) {
            season.0.advance(day, hour, RATE_PRIOR);
            season.0.attempt();
        }
    }

    /// Learns an allowed call, after [`VolumeModel::attempt`] counted it.
    pub fn allowed(&mut self, features: &CallFeatures) {
        let Some((day, hour)) = day_and_hour(features) else { return };
        if let Some(season) = self.principals.get_mut(features.principal) {
            season.0.learn(day, hour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::domain::time::{DAY_US, HOUR_US};

    /// 2026-01-05, a Monday.
    const MONDAY: i64 = 20_458;

    fn call(model: &mut VolumeModel, day: i64, hour: i64) -> Option<[MilliBits; 2]> {
        let at = Timestamp::from_micros((MONDAY + day) * DAY_US + hour * HOUR_US);
        let features = CallFeatures { tool: 1, principal: 2, at: Some(at), ..CallFeatures::default() };
        let score = model.score(&features);
        model.attempt(&features);
        model.allowed(&features);
        score
    }

    #[test]
    fn an_hour_is_judged_by_its_like() {
        let mut model = VolumeModel::default();
        for day in 0..28 {
            for hour in 9..17 {
                for _ in 0..20 {
                    let judged = call(&mut model, day, hour).is_some();
                    assert!(if day < 14 { !judged } else { day < 18 || judged }, "day {day}");
                }
            }
        }
        let by_day: Vec<MilliBits> = (0..20).filter_map(|_| Some(call(&mut model, 28, 9)?[0])).collect();
        assert!(by_day.iter().all(|surprise| surprise.as_i32() < 2_000), "{by_day:?}");
        let by_night: Vec<MilliBits> = (0..20).filter_map(|_| Some(call(&mut model, 29, 3)?[0])).collect();
        assert_eq!(by_night.last(), Some(&VOLUME_MAX), "{by_night:?}");
        assert!(by_night.is_sorted());
    }
}
