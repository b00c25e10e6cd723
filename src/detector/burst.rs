//! Too many calls in a short time, by this principal or of this tool by this principal (detection.md 3.2).
//!
//! A call is judged against what calls of the same entity usually find in the trailing windows, not
//! against the hourly rate: traffic comes in sessions. Attempts count, whatever became of them; only
//! allowed calls move what is usual, ten minutes later (see `stats::held_back`). Abstains without times, below
//! [`OBSERVATIONS_MIN`] observations and below [`TIMES_MIN`] times they come from.

use super::learn::{local_hour_and_day, tool_key};
use crate::domain::call::CallFeatures;
use crate::domain::decision::Evidence;
use crate::stats::combine::truncated_cauchy;
use crate::stats::fingerprint::mix;
use crate::stats::held_back::Usually;
use crate::stats::millibits::MilliBits;
use crate::stats::rate::{WINDOWS, Window, WindowCounts, WindowMoments};
use crate::stats::table::{SetTable, Weigh};
use serde::{Deserialize, Serialize};

/// Principals with a history of rates. About 220 bytes each.
const PRINCIPALS_MAX: usize = 4_096;
/// Pairs of principal and tool with a history of rates. About 220 bytes each.
const PAIRS_MAX: usize = 32_768;
/// Observations before an entity is judged.
const OBSERVATIONS_MIN: f64 = 20.0;
/// Times, of ten minutes at least, that an entity's and its peers' observations come from before it is judged: of
/// one stretch of work nobody knows how the next will be.
const TIMES_MIN: u16 = 8;

/// Calls of one entity now, and what is usual.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Rate {
    counts: WindowCounts,
    usually: Usually,
}

impl Weigh for Rate {
    fn weight(&self) -> u64 {
        self.usually.moments().observations() as u64
    }
}

impl Rate {
    /// Against its own calls and, where they are few, its peers'.
    fn surprises(&self, peers: &WindowMoments, now: i64) -> Option<[MilliBits; WINDOWS]> {
        let usual = self.usually.moments().leaning_on(peers);
        let known = usual.observations() >= OBSERVATIONS_MIN && usual.times() >= TIMES_MIN;
        known.then(|| usual.surprises(self.counts.counts(now)))
    }
}

/// Rates of a tenant's principals, and of their tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateModel {
    principals: SetTable<Rate>,
    pairs: SetTable<Rate>,
    /// What calls of any principal, and of any pair, find.
    any: [Usually; 2],
}

impl Default for RateModel {
    fn default() -> Self {
        Self {
            principals: SetTable::new(PRINCIPALS_MAX),
            pairs: SetTable::new(PAIRS_MAX),
            any: Default::default(),
        }
    }
}

fn pair(features: &CallFeatures) -> u64 {
    mix(features.principal, tool_key(features.tool).into())
}

impl RateModel {
    /// Surprise at so many calls before this one, over all windows of both entities.
    pub fn score(&self, features: &CallFeatures) -> Option<MilliBits> {
        let now = features.at?.as_micros();
        let principal = self
            .principals
            .get(features.principal)
            .and_then(|rate| rate.surprises(self.any[0].moments(), now));
        let pair = self.pairs.get(pair(features)).and_then(|rate| rate.surprises(self.any[1].moments(), now));
        match (principal, pair) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(truncated_cauchy(&one)),
            (Some(one), Some(other)) => {
                let mut all = [MilliBits::ZERO; 2 * WINDOWS];
                all[..WINDOWS].copy_from_slice(&one);
                all[WINDOWS..].copy_from_slice(&other);
                Some(truncated_cauchy(&all))
            }
        }
    }

    /// The worst window.
    pub fn explain(&self, features: &CallFeatures) -> Evidence {
        let Some(now) = features.at.map(|at| at.as_micros()) else { return Evidence::None };
        let entities =
            [(false, self.principals.get(features.principal)), (true, self.pairs.get(pair(features)))];
        let windows = entities.into_iter().filter_map(|(per_tool, rate)| Some((per_tool, rate?))).flat_map(
            |(per_tool, rate)| {
                let surprises =
                    rate.surprises(self.any[usize::from(per_tool)].moments(), now).unwrap_or_default();
                surprises
                    .into_iter()
                    .zip(Window::ALL)
                    .map(move |(surprise, window)| (surprise, per_tool, window, rate))
            },
        );
        match windows.max_by_key(|(surprise, per_tool, window, _)| (*surprise, *per_tool, *window)) {
            Some((_, per_tool, window, rate)) => Evidence::Burst {
                window_s: window.seconds(),
                count: rate.counts.count(window, now),
                mean_milli: (rate.usually.moments().usual(window).mean * 1_000.0) as u32,
                per_tool,
            },
            None => Evidence::None,
        }
    }

    /// A call was sent to review for its rate: what led up to it teaches nothing of its principal. What it taught
    /// of everybody stays, since others' calls are in it; a newcomer leans on that at the weight of a few calls.
    pub fn doubt(&mut self, features: &CallFeatures) {
        let rates = [self.principals.get_mut(features.principal), self.pairs.get_mut(pair(features))];
        rates.into_iter().flatten().for_each(|rate| rate.usually.forget_held());
    }

    /// Counts an attempt, whatever becomes of it.
    pub fn attempt(&mut self, features: &CallFeatures) {
        let Some(now) = features.at.map(|at| at.as_micros()) else { return };
        if let Some(rate) = self.principals.entry(features.principal, Rate::default) {
            rate.counts.add(now);
        }
        if let Some(rate) = self.pairs.entry(pair(features), Rate::default) {
            rate.counts.add(now);
        }
    }

    /// Learns what an allowed call found, after [`RateModel::attempt`] counted it.
    pub fn allowed(&mut self, features: &CallFeatures) {
        let (Some(at), Some((_, day, _))) = (features.at, local_hour_and_day(features)) else { return };
        let now = at.as_micros();
        let rates = [self.principals.get_mut(features.principal), self.pairs.get_mut(pair(features))];
        for (rate, any) in rates.into_iter().zip(&mut self.any) {
            let Some(rate) = rate else { continue };
            let found = rate.counts.counts(now).map(|count| count.saturating_sub(1));
            rate.usually.learn(found, now, day);
            any.learn(found, now, day);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    const MINUTE_US: i64 = 60_000_000;

    /// Forty calls within forty seconds from this minute on.
    fn work(rates: &mut RateModel, minute: i64) -> Option<MilliBits> {
        let mut last = None;
        for second in 0..40 {
            let at = Timestamp::from_micros(minute * MINUTE_US + second * 1_000_000);
            let features = CallFeatures { tool: 1, principal: 2, at: Some(at), ..CallFeatures::default() };
            last = rates.score(&features);
            rates.attempt(&features);
            rates.allowed(&features);
        }
        last
    }

    #[test]
    fn nobody_is_judged_by_a_single_stretch_of_work() {
        let mut rates = RateModel::default();
        let judged: Vec<bool> = (0..12).map(|stretch| work(&mut rates, stretch * 30).is_some()).collect();
        // What a stretch teaches is known when the next one begins; an entity and all its peers are one here.
        let first = judged.iter().position(|judged| *judged);
        assert_eq!(first, Some(usize::from(TIMES_MIN) / 2), "{judged:?}");
        assert!(judged[usize::from(TIMES_MIN) / 2..].iter().all(|judged| *judged));
    }
}
