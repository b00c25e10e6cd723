//! What a session teaches, and the keys that the learnt models share.
//!
//! A lesson is kept as a [`super::notebook::Notebook`] until its session closes: a call is never judged by its own
//! session's lesson. Only calls that were allowed and not abandoned are in it. Bounded: [`CALLS_MAX`] calls in full, spread
//! evenly over the session (each time they are full, every second one goes), the tools of the first
//! [`TOOLS_MAX`], [`ARGUMENTS_MAX`] argument values. The end of a long session is unlike its beginning: a
//! calibration by the first calls alone would take it for odd.

use crate::domain::call::{ArgumentFeature, CallFeatures};
use crate::domain::decision::DETECTORS;
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

/// What a session teaches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lesson {
    /// The acting principal of its first call.
    pub principal: u64,
    /// Tools in order.
    pub tools: Vec<u32>,
    /// Calls in full.
    pub calls: Vec<Observation>,
    /// Calls noted so far, in full or not.
    pub(super) noted: u32,
    /// Every so many-th call is kept in full, as a power of two.
    pub(super) stride: u8,
    /// Their arguments, one after another.
    pub arguments: Vec<ArgumentFeature>,
    /// Capabilities in the order they were first seen, for the session-context model.
    pub capabilities: Vec<u16>,
    /// A call of the session was sent to review for its rate, and nobody approved it: how surprising its rates
    /// were is not ordinary.
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
