//! The tool after the two tools before it, for this principal (detection.md 3.3).
//!
//! Order-2 Pitman-Yor back-off: this principal after two tools, after one, the tenant after one, the
//! tenant's tools, all tools alike. The start and the end of a session are symbols. Abstains until
//! [`CALLS_MIN`] calls of the tenant were learnt.

use super::learn::{Lesson, tool_key};
use crate::domain::call::CallFeatures;
use crate::domain::decision::Evidence;
use crate::stats::edetector::e_value;
use crate::stats::fingerprint::mix;
use crate::stats::millibits::MilliBits;
use crate::stats::pitman_yor::{Contexts, PitmanYor};
use serde::{Deserialize, Serialize};

/// Calls of a tenant before sequences are judged.
const CALLS_MIN: u64 = 50;
/// The symbol after a session's last tool. Tools are never 0 (the start) nor this.
const END: u64 = 1 << 32;

/// Sequences of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SequenceModel {
    tools: PitmanYor,
    calls: u64,
}

/// Contexts, longest first, of a call by `principal` after `last` and the one before it.
fn contexts(principal: u64, last: u64, before: u64) -> Contexts {
    let after_one = mix(mix(principal, 1), last);
    [mix(mix(after_one, 2), before), after_one, mix(3, last)]
}

/// Weeks since 1970.
pub fn week_of(day: i32) -> u16 {
    u16::try_from(day / 7).unwrap_or(0)
}

impl SequenceModel {
    /// Surprise at this tool. `tools`: the session's last two, latest first, 0 for none. `alphabet`: tools
    /// the tenant knows.
    pub fn score(
        &self,
        features: &CallFeatures,
        tools: [u64; 2],
        alphabet: u32,
        day: i32,
    ) -> Option<MilliBits> {
        if self.calls < CALLS_MIN {
            return None;
        }
        let [last, before] = tools.map(|tool| u64::from(tool_key(tool)));
        let contexts = contexts(features.principal, last, before);
        Some(self.tools.surprise(&contexts, tool_key(features.tool).into(), alphabet, week_of(day)))
    }

    /// How much likelier the tool is for anybody at all than for this principal here: half the tenant's tools
    /// as they are used, half all alike.
    pub fn e_value(&self, features: &CallFeatures, tools: [u64; 2], alphabet: u32, day: i32) -> Option<f64> {
        if self.calls < CALLS_MIN {
            return None;
        }
        let [last, before] = tools.map(|tool| u64::from(tool_key(tool)));
        let contexts = contexts(features.principal, last, before);
        let (symbol, week) = (tool_key(features.tool).into(), week_of(day));
        let model = self.tools.probability(&contexts, symbol, alphabet, week);
        let uniform = 1.0 / f64::from(alphabet + 5);
        let other = 0.5 * self.tools.unigram(symbol, alphabet, week) + 0.5 * uniform;
        Some(e_value(other, model))
    }

    /// How often the tool followed the two and the one before it.
    pub fn explain(&self, features: &CallFeatures, tools: [u64; 2], day: i32) -> Evidence {
        let [last, before] = tools.map(|tool| u64::from(tool_key(tool)));
        let [two, one, _] = contexts(features.principal, last, before);
        let symbol = tool_key(features.tool).into();
        let two = self.tools.seen(two, symbol, week_of(day));
        let one = self.tools.seen(one, symbol, week_of(day));
        Evidence::Sequence {
            place: tools.iter().filter(|tool| **tool != 0).count() as u8,
            after_two: two.times,
            two_total: two.of,
            after_one: one.times,
            one_total: one.of,
        }
    }

    /// Learns a session's tools in order, its start and its end.
    pub fn learn(&mut self, lesson: &Lesson, day: i32) {
        let week = week_of(day);
        let (mut last, mut before) = (0, 0);
        for tool in lesson.tools.iter().map(|tool| u64::from(*tool)).chain([END]) {
            self.tools.learn(&contexts(lesson.principal, last, before), tool, week);
            (last, before) = (tool, last);
        }
        self.calls += lesson.tools.len() as u64;
    }
}
