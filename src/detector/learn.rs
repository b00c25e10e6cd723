//! What a session will teach, kept until it closes: a call is never judged by its own session's lesson.
//!
//! Only calls that were allowed and not abandoned are in it. Bounded: [`CALLS_MAX`] calls in full, spread
//! evenly over the session (each time they are full, every second one goes), the tools of the first
//! [`TOOLS_MAX`], [`ARGUMENTS_MAX`] argument values. The end of a long session is unlike its beginning: a
//! calibration by the first calls alone would take it for odd.

use super::models::is_for_rate;
use crate::domain::call::{ArgumentFeature, CallFeatures};
use crate::domain::decision::{Assessment, DETECTORS};
use crate::stats::fingerprint::mix;
use serde::{Deserialize, Serialize};

/// Calls of a session learnt in full.
pub const CALLS_MAX: usize = 40;
/// Calls of a session whose tools are learnt.
pub const TOOLS_MAX: usize = 256;
/// Argument values of a session that are learnt.
pub const ARGUMENTS_MAX: usize = 96;

/// Stored raw surprise of a detector that abstained.
pub const ABSTAINED: u16 = u16::MAX;

/// One call of a lesson.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// First four bytes of the call's key, to find it again when its outcome is told.
    pub call: u32,
    /// Tool, see [`tool_key`].
    pub tool: u32,
    /// Local hour of the week, 0 to 167; 255: no time.
    pub hour_of_week: u8,
    /// Local day since 1970.
    pub day: i32,
    /// Raw surprises, milli-bits, with [`ABSTAINED`].
    pub raw: [u16; DETECTORS],
    /// Combined surprise before calibration, milli-bits.
    pub combined: u16,
    /// Its arguments: how many of the lesson's, following those of the call before.
    pub arguments: u8,
    /// Set when the call turned out not to have been made.
    pub abandoned: bool,
}

/// What a session will teach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    /// The acting principal of its first call.
    pub principal: u64,
    /// Tools in order.
    pub tools: Vec<u32>,
    /// Calls in full.
    pub calls: Vec<Observation>,
    /// Calls noted so far, in full or not.
    noted: u32,
    /// Every so many-th call is kept in full, as a power of two.
    stride: u8,
    /// Their arguments, one after another.
    pub arguments: Vec<ArgumentFeature>,
    /// Capabilities in the order they were first seen, for the session-context model.
    pub capabilities: Vec<u16>,
    /// A call of the session was sent to review for its rate: how surprising its rates were is not ordinary.
    pub rate_doubted: bool,
}

/// The 32 bits of a tool's hash that the learnt models key by: half the memory of a live session.
pub const fn tool_key(tool: u64) -> u32 {
    tool as u32
}

/// The place of a tool in tables: their sets go by the upper bits, which [`tool_key`] has not.
pub const fn tool_slot(tool: u32) -> u64 {
    mix(tool as u64, 0x746f_6f6c)
}

/// Local hour of the week (0 = Monday 00:00) and local day since 1970.
pub fn local_hour_and_day(features: &CallFeatures) -> Option<(u8, i32, u8)> {
    let local = features.at?.local_micros(features.utc_offset_minutes);
    let day = local.div_euclid(crate::domain::time::DAY_US);
    let within = local.rem_euclid(crate::domain::time::DAY_US);
    let hour = within / crate::domain::time::HOUR_US;
    let minute = within % crate::domain::time::HOUR_US / crate::domain::time::MINUTE_US;
    // 1970-01-01 was a Thursday.
    let weekday = (day + 3).rem_euclid(7);
    let day = i32::try_from(day).ok()?;
    Some(((weekday * 24 + hour) as u8, day, minute as u8))
}

impl Lesson {
    /// Adds an allowed call.
    pub fn note(&mut self, call: u32, features: &CallFeatures, assessment: &Assessment) {
        if self.tools.is_empty() {
            self.principal = features.principal;
        }
        if self.tools.len() < TOOLS_MAX {
            make_room(&mut self.tools, 1, TOOLS_MAX);
            self.tools.push(tool_key(features.tool));
        }
        if features.capabilities.bits() != 0 && !self.capabilities.contains(&features.capabilities.bits()) {
            self.capabilities.push(features.capabilities.bits());
            self.capabilities.truncate(16);
        }
        if !self.keeps_next() {
            return;
        }
        let room = ARGUMENTS_MAX.saturating_sub(self.arguments.len());
        let kept = features.arguments.len().min(room);
        make_room(&mut self.arguments, kept, ARGUMENTS_MAX);
        self.arguments.extend(features.arguments.iter().take(kept));
        let time = local_hour_and_day(features);
        let mut raw = [ABSTAINED; DETECTORS];
        for (slot, score) in raw.iter_mut().zip(&assessment.scores) {
            *slot = score.raw.map_or(ABSTAINED, short);
        }
        make_room(&mut self.calls, 1, CALLS_MAX);
        self.calls.push(Observation {
            call,
            tool: tool_key(features.tool),
            hour_of_week: time.map_or(u8::MAX, |(hour, _, _)| hour),
            day: time.map_or(0, |(_, day, _)| day),
            raw,
            combined: short(assessment.combined_raw),
            arguments: kept as u8,
            abandoned: false,
        });
    }

    /// Whether the next call is kept in full; makes room for it.
    fn keeps_next(&mut self) -> bool {
        let next = self.noted;
        self.noted = self.noted.saturating_add(1);
        let kept = |stride: u8| next & ((1_u32 << stride.min(31)) - 1) == 0;
        if kept(self.stride) && self.calls.len() == CALLS_MAX {
            self.thin_out();
        }
        kept(self.stride)
    }

    /// Drops every second call with its arguments.
    fn thin_out(&mut self) {
        self.stride = self.stride.saturating_add(1);
        let mut rest = std::mem::take(&mut self.arguments).into_iter();
        let calls = std::mem::take(&mut self.calls);
        for (place, call) in calls.into_iter().enumerate() {
            let own = rest.by_ref().take(call.arguments.into());
            if place % 2 == 0 {
                self.arguments.extend(own);
                self.calls.push(call);
            } else {
                own.for_each(drop);
            }
        }
    }

    /// A call of the session was sent to review.
    pub fn doubt(&mut self, assessment: &Assessment) {
        self.rate_doubted |= is_for_rate(assessment);
    }

    /// A reviewer approved a call of the session.
    pub fn vouch(&mut self, assessment: &Assessment) {
        self.rate_doubted &= !is_for_rate(assessment);
    }

    /// Marks a call that was allowed but never made.
    pub fn abandon(&mut self, call: u32) {
        if let Some(found) = self.calls.iter_mut().find(|noted| noted.call == call) {
            found.abandoned = true;
        }
    }
}

/// Makes room for so many more in a list of at most `max`: twice what there is, but never more than that.
pub(super) fn make_room<T>(list: &mut Vec<T>, more: usize, max: usize) {
    let len = list.len();
    if list.capacity() - len < more {
        list.reserve_exact(len.max(4).min(max.saturating_sub(len)).max(more));
    }
}

fn short(millibits: i32) -> u16 {
    u16::try_from(millibits.max(0)).unwrap_or(ABSTAINED - 1).min(ABSTAINED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_has_no_spare_room() {
        let mut list = Vec::new();
        for number in 0..96 {
            make_room(&mut list, 1, 96);
            list.push(number);
            assert!(
                list.capacity() <= 96.min(4.max(2 * list.len())),
                "{} of {}",
                list.capacity(),
                list.len()
            );
        }
        assert_eq!(list.capacity(), 96);
    }

    #[test]
    fn a_long_session_is_kept_evenly() {
        let mut lesson = Lesson::default();
        let features = CallFeatures {
            tool: 7,
            principal: 1,
            capabilities: crate::domain::risk::Capabilities::NONE,
            at: None,
            utc_offset_minutes: 0,
            arguments: vec![ArgumentFeature { path: 1, value: 2, magnitude: 3, kind: 3 }],
            words: Default::default(),
        };
        for call in 0..1_000 {
            lesson.note(call, &features, &crate::detector::models::unknown(0, 0));
        }
        let kept: Vec<u32> = lesson.calls.iter().map(|call| call.call).collect();
        assert!(kept.len() <= CALLS_MAX && kept.len() > CALLS_MAX / 2, "{}", kept.len());
        assert!(kept.windows(2).all(|two| two[1] - two[0] == 32), "{kept:?}");
        assert_eq!(lesson.arguments.len(), kept.len());
        assert_eq!(lesson.tools.len(), TOOLS_MAX);
    }
}
