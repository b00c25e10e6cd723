//! Unusual hour of the day and week, for this principal or for this tool (detection.md 3.1).
//!
//! The unit is the active hour, not the call: one night of two hundred calls teaches as much as one
//! call. Abstains without a time, in an entity's first two days, and below [`HOURS_MIN`] active hours.

use super::learn::{Observation, local_hour_and_day, tool_key, tool_slot};
use crate::domain::call::CallFeatures;
use crate::domain::decision::Evidence;
use crate::domain::risk::RiskCategory;
use crate::stats::millibits::MilliBits;
use crate::stats::presence::Presence;
use crate::stats::table::{SetTable, Weigh};
use serde::{Deserialize, Serialize};

/// Principals with a history of hours. About 1 KB each.
const PRINCIPALS_MAX: usize = 4_096;
/// Tools with a history of hours. About 1 KB each.
const TOOLS_MAX: usize = 1_024;
/// Active hours before an entity is judged.
const HOURS_MIN: u32 = 8;
/// A tenant's share of active hours before anything is known of it.
const TENANT_LEVEL: f64 = 0.15;

/// The last hour of a session in which a call was let go, and whether a grave one was.
///
/// An hour is judged once in a session, and once more for the first call that cannot be taken back: the second
/// read at 03:10 says nothing that the first did not, the first deployment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassedHour {
    hour_of_week: u8,
    day: i32,
    grave: bool,
}

impl PassedHour {
    /// A call of base risk `base` was let go at this time, after those of `before`.
    pub fn after(before: Option<Self>, features: &CallFeatures, base: u8) -> Option<Self> {
        let (hour_of_week, day, _) = local_hour_and_day(features)?;
        let same = before.filter(|before| before.hour_of_week == hour_of_week && before.day == day);
        Some(Self { hour_of_week, day, grave: is_grave(base) || same.is_some_and(|same| same.grave) })
    }

    /// Whether a call of this base risk at this time says nothing new.
    pub const fn covers(self, hour_of_week: u8, day: i32, base: u8) -> bool {
        self.hour_of_week == hour_of_week && self.day == day && (self.grave || !is_grave(base))
    }
}

const fn is_grave(base: u8) -> bool {
    base >= RiskCategory::High.base_risk()
}

/// Hours of one entity; boxed in the tables, because it is large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hours(Box<Presence>);

impl Weigh for Hours {
    fn weight(&self) -> u64 {
        self.0.active_hours().into()
    }
}

/// Active hours of a tenant's principals and tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeModel {
    tenant: Option<Hours>,
    principals: SetTable<Hours>,
    tools: SetTable<Hours>,
}

impl Default for TimeModel {
    fn default() -> Self {
        Self { tenant: None, principals: SetTable::new(PRINCIPALS_MAX), tools: SetTable::new(TOOLS_MAX) }
    }
}

impl TimeModel {
    /// Surprise at this hour for the principal; for the tool where the principal is not known yet.
    pub fn score(&self, features: &CallFeatures, hour_of_week: u8, day: i32) -> Option<MilliBits> {
        let of = |hours: Option<&Hours>| {
            let hours = &hours?.0;
            (hours.active_hours() >= HOURS_MIN).then(|| hours.surprise(hour_of_week.into(), day)).flatten()
        };
        let principal = of(self.principals.get(features.principal));
        let tool = of(self.tools.get(tool_slot(tool_key(features.tool))));
        principal.or(tool)
    }

    /// The figures behind a score.
    pub fn explain(&self, features: &CallFeatures, hour_of_week: u8, minute: u8, day: i32) -> Evidence {
        let judged = |hours: &&Hours| {
            hours.0.active_hours() >= HOURS_MIN && hours.0.surprise(hour_of_week.into(), day).is_some()
        };
        let principal = self.principals.get(features.principal).filter(judged);
        let tool = self.tools.get(tool_slot(tool_key(features.tool)));
        let Some(hours) = principal.or(tool) else {
            return Evidence::None;
        };
        Evidence::Hour {
            hour_of_week,
            minute,
            active_here: hours.0.active_days_at(hour_of_week.into()).into(),
            active_total: hours.0.active_hours(),
            weeks: hours.0.weeks(day),
        }
    }

    /// A person says that calls at this hour are to be expected: as good as `hours` active hours there.
    pub fn expect(&mut self, principal: u64, tool: u64, hour_of_week: u8, day: i32, hours: u8) {
        let new = || Hours(Box::new(Presence::new(day)));
        if let Some(known) = self.principals.entry(principal, new) {
            known.0.expect(hour_of_week.into(), hours);
        }
        if let Some(known) = self.tools.entry(tool_key(tool).into(), new) {
            known.0.expect(hour_of_week.into(), hours);
        }
    }

    /// Learns one executed call.
    pub fn learn(&mut self, principal: u64, observed: &Observation) {
        if observed.hour_of_week == u8::MAX {
            return;
        }
        let (hour, day) = (u16::from(observed.hour_of_week), observed.day);
        let new = || Hours(Box::new(Presence::new(day)));
        let tenant = self.tenant.get_or_insert_with(new);
        tenant.0.learn(hour, day, TENANT_LEVEL);
        // Once a day and entity: the level is a sum over the week.
        let level = |hours: &Hours| if hours.0.has_reached(day) { TENANT_LEVEL } else { tenant.0.level() };
        if let Some(hours) = self.principals.entry(principal, new) {
            hours.0.learn(hour, day, level(hours));
        }
        if let Some(hours) = self.tools.entry(tool_slot(observed.tool), new) {
            hours.0.learn(hour, day, level(hours));
        }
    }
}
