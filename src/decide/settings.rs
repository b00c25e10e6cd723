//! Settings that decisions depend on. What they lead to is recorded as events, so that folding the log
//! needs none of them.

use crate::domain::call::SessionSource;
use crate::domain::time::{DAY_US, HOUR_US, MINUTE_US};
use crate::projection::Wanted;

/// Limits and times of the decision steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Live sessions a tenant may have; beyond it the longest silent is closed. At least 1.
    pub sessions_max: usize,
    /// A session without a call for this long is over, microseconds.
    pub idle_us: i64,
    /// A session open for this long is closed, microseconds.
    pub age_max_us: i64,
    /// A pause longer than this starts a new session where no id is given, microseconds.
    pub gap_us: i64,
    /// How far the caller's time may be from ours, microseconds.
    pub skew_max_us: i64,
    /// Which hints name the session, most trusted first.
    pub session_order: Vec<SessionSource>,
    /// Every tenant's review budget.
    pub budget: Wanted,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sessions_max: 10_000,
            idle_us: HOUR_US,
            age_max_us: DAY_US,
            gap_us: 30 * MINUTE_US,
            skew_max_us: 5 * MINUTE_US,
            session_order: SessionSource::ALL.to_vec(),
            budget: Wanted::default(),
        }
    }
}
