//! Too many calls in a short time, by this principal or of this tool by this principal; too many different targets
//! of the tool; and more calls than the hour or the day usually has (detection.md 3.2).
//!
//! A call is judged against what calls of the same entity usually find in the trailing windows, not
//! against the hourly rate: traffic comes in sessions. A target is the value of the first text argument, which by
//! the habit of tools is what they act on. Attempts count, whatever became of them; only
//! allowed calls move what is usual, ten minutes later (see `stats::held_back`). Abstains without times, below
//! [`OBSERVATIONS_MIN`] observations and below [`TIMES_MIN`] times they come from.

use super::features::kind;
use super::learn::{local_hour_and_day, tool_key};
use super::volume::VolumeModel;
use crate::domain::call::CallFeatures;
use crate::domain::decision::Evidence;
use crate::stats::combine::truncated_cauchy;
use crate::stats::distinct::Distinct;
use crate::stats::fingerprint::mix;
use crate::stats::held_back::Usually;
use crate::stats::millibits::MilliBits;
use crate::stats::rate::{FIGURES, TARGETS, WINDOWS, Window, WindowCounts, WindowMoments};
use crate::stats::table::{SetTable, Weigh};
use serde::{Deserialize, Serialize};

/// Principals with a history of rates. About 310 bytes each.
const PRINCIPALS_MAX: usize = 4_096;
/// Pairs of principal and tool with a history of rates. About 310 bytes each.
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
    targets: Distinct,
    usually: Usually,
}

impl Weigh for Rate {
    fn weight(&self) -> u64 {
        self.usually.moments().observations() as u64
    }
}

/// What a call acts on: the value of its first text argument.
fn target(features: &CallFeatures) -> Option<u64> {
    let text = features.arguments.iter().find(|argument| argument.kind == kind::TEXT)?;
    Some(text.value.into())
}

impl Rate {
    /// Calls before this one in each window, and targets with its own.
    fn found(&self, target: Option<u64>, now: i64) -> [u32; FIGURES] {
        let targets =
            target.map_or_else(|| self.targets.count(now), |target| self.targets.count_with(target, now));
        let [ten, minute, ten_minutes, hour] = self.counts.counts(now);
        [ten, minute, ten_minutes, hour, targets]
    }

    /// Against its own calls and, where they are few, its peers'.
    fn surprises(
        &self,
        peers: &WindowMoments,
        target: Option<u64>,
        now: i64,
    ) -> Option<[MilliBits; FIGURES]> {
        let usual = self.usually.moments().leaning_on(peers);
        let known = usual.observations() >= OBSERVATIONS_MIN && usual.times() >= TIMES_MIN;
        known.then(|| usual.surprises(self.found(target, now)))
    }

    fn attempt(&mut self, target: Option<u64>, now: i64) {
        self.counts.add(now);
        if let Some(target) = target {
            self.targets.add(target, now);
        }
    }

    /// What is told of the figure at this place.
    fn evidence(&self, figure: usize, found: [u32; FIGURES], per_tool: bool) -> Evidence {
        let mean_milli = (self.usually.moments().usual(figure).mean * 1_000.0) as u32;
        let count = found.get(figure).copied().unwrap_or(0);
        match Window::ALL.get(figure) {
            Some(window) => Evidence::Burst { window_s: window.seconds(), count, mean_milli, per_tool },
            None => Evidence::Targets { count, mean_milli, per_tool },
        }
    }
}

/// Rates of a tenant's principals, and of their tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateModel {
    principals: SetTable<Rate>,
    pairs: SetTable<Rate>,
    /// What calls of any principal, and of any pair, find.
    any: [Usually; 2],
    volume: VolumeModel,
}

impl Default for RateModel {
    fn default() -> Self {
        Self {
            principals: SetTable::new(PRINCIPALS_MAX),
            pairs: SetTable::new(PAIRS_MAX),
            any: Default::default(),
            volume: VolumeModel::default(),
        }
    }
}

fn pair(features: &CallFeatures) -> u64 {
    mix(features.principal, tool_key(features.tool).into())
}

impl RateModel {
    /// Surprise at so many calls before this one, and so many targets, over all windows of both entities; and at so
    /// many calls for the hour and the day.
    pub fn score(&self, features: &CallFeatures) -> Option<MilliBits> {
        let now = features.at?.as_micros();
        let rates = [self.principals.get(features.principal), self.pairs.get(pair(features))];
        // Of a principal's targets only those of one tool are compared with each other.
        let compared = [(None, WINDOWS), (target(features), FIGURES)];
        let mut all = [MilliBits::ZERO; WINDOWS + FIGURES + 2];
        let mut known = 0;
        let mut take = |surprises: &[MilliBits]| {
            all.iter_mut().skip(known).zip(surprises).for_each(|(slot, surprise)| *slot = *surprise);
            known += surprises.len();
        };
        for ((rate, any), (target, figures)) in rates.into_iter().zip(&self.any).zip(compared) {
            if let Some(surprises) = rate.and_then(|rate| rate.surprises(any.moments(), target, now)) {
                take(surprises.get(..figures).unwrap_or_default());
            }
        }
        if let Some(surprises) = self.volume.score(features) {
            take(&surprises);
        }
        let heard = all.get(..known).filter(|heard| !heard.is_empty())?;
        Some(truncated_cauchy(heard))
    }

    /// The worst of all.
    pub fn explain(&self, features: &CallFeatures) -> Evidence {
        let Some(now) = features.at.map(|at| at.as_micros()) else { return Evidence::None };
        let entities = [
            (false, self.principals.get(features.principal), None, WINDOWS),
            (true, self.pairs.get(pair(features)), target(features), FIGURES),
        ];
        let mut worst = (MilliBits::ZERO, Evidence::None);
        for (per_tool, rate, target, figures) in entities {
            let Some(rate) = rate else { continue };
            let any = &self.any[usize::from(per_tool)];
            let Some(surprises) = rate.surprises(any.moments(), target, now) else { continue };
            for (figure, surprise) in surprises.into_iter().take(figures).enumerate() {
                if surprise > worst.0 || worst.1 == Evidence::None {
                    worst = (surprise, rate.evidence(figure, rate.found(target, now), per_tool));
                }
            }
        }
        match self.volume.explain(features) {
            Some((surprise, evidence)) if surprise > worst.0 => evidence,
            _ => worst.1,
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
            rate.attempt(None, now);
        }
        if let Some(rate) = self.pairs.entry(pair(features), Rate::default) {
            rate.attempt(target(features), now);
        }
        self.volume.attempt(features);
    }

    /// Learns what an allowed call found, after [`RateModel::attempt`] counted it.
    pub fn allowed(&mut self, features: &CallFeatures) {
        let (Some(at), Some((_, day, _))) = (features.at, local_hour_and_day(features)) else { return };
        let now = at.as_micros();
        let rates = [self.principals.get_mut(features.principal), self.pairs.get_mut(pair(features))];
        for (rate, any) in rates.into_iter().zip(&mut self.any) {
            let Some(rate) = rate else { continue };
            // The call itself is counted by now; of the targets it is one when it is judged, too.
            let mut found = rate.found(None, now);
            found.iter_mut().take(TARGETS).for_each(|count| *count = count.saturating_sub(1));
            rate.usually.learn(found, now, day);
            any.learn(found, now, day);
        }
        self.volume.allowed(features);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;
    use crate::domain::call::ArgumentFeature;

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

    /// Twenty calls, one every two minutes, each with one of so many targets.
    fn visits(rates: &mut RateModel, hour: i64, targets: i64) -> (Option<MilliBits>, Evidence) {
        let mut last = (None, Evidence::None);
        for call in 0..20 {
            let at = Timestamp::from_micros((hour * 60 + call * 2) * MINUTE_US);
            let value = (call % targets + 1) as u32;
            let arguments = vec![ArgumentFeature { path: 1, value, magnitude: 20, kind: kind::TEXT }];
            let features =
                CallFeatures { tool: 1, principal: 2, at: Some(at), arguments, ..CallFeatures::default() };
            last = (rates.score(&features), rates.explain(&features));
            rates.attempt(&features);
            rates.allowed(&features);
        }
        last
    }

    #[test]
    fn many_targets_at_the_usual_pace_are_odd() {
        let mut rates = RateModel::default();
        let usual = (0..60).map(|stretch| visits(&mut rates, stretch * 5, 2).0).last().flatten().unwrap();
        let (many, evidence) = visits(&mut rates, 400, 20);
        assert!(usual.as_i32() < 2_000 && many.unwrap().as_i32() > 6_000, "{usual:?} {many:?}");
        let Evidence::Targets { count, mean_milli, per_tool: true } = evidence else {
            panic!("{evidence:?}")
        };
        assert!((15..=23).contains(&count) && mean_milli < 2_500, "{count} {mean_milli}");
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
