//! A tenant's review budget: what was set, what was spent, and what reviews cost per day and session.
//!
//! The tracker holds the soft tier to its share whatever the scores do; floors, evidence of 20 bits and the
//! session's own evidence stand outside and are counted apart. Deliberately absent: who reviews, and what they say.

use crate::domain::account::{Account, Tier};
use crate::domain::decision::{Decision, Verdict};
use crate::domain::event::BudgetSet;
use crate::domain::time::{DAY_US, HOUR_US, Timestamp};
use crate::stats::fingerprint::FingerprintKey;
use crate::stats::tracker::{Budget, Tracker};
use crate::stats::{Drift, Surge};
use serde::{Deserialize, Serialize};

/// Soft reviews of a session after which it is held.
pub const SESSION_TICKETS_MAX: u8 = 5;
/// Days whose figures are kept.
const DAYS: usize = 7;
/// Share of allowed calls looked at afterwards where nothing was set: 0.2 %.
const AUDIT_PPM: u32 = 2_000;
/// Least calls a day that a budget of reviews a day is divided by.
const CALLS_A_DAY_MIN: u64 = 100;

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Share of counted calls, parts per million; used where `reviews_per_day` is 0.
    pub rate_ppm: u32,
    /// Reviews a day; 0: by the share.
    pub reviews_per_day: u32,
    /// Share of allowed calls looked at afterwards, parts per million.
    pub audit_ppm: u32,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { rate_ppm: Budget::default().eps_ppm, reviews_per_day: 0, audit_ppm: AUDIT_PPM }
    }
}

/// What one day cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Days since 1970, UTC; 0: none.
    pub day: i32,
    /// Calls counted against the budget.
    pub counted: u32,
    /// Calls sent to review, for whatever reason.
    pub reviews: u32,
    /// Of them paid from the budget.
    pub soft: u32,
    /// Of them asked for by evidence outside the budget: floors, 20 bits, the session's evidence.
    pub outside: u32,
    /// Sessions opened.
    pub sessions: u32,
    /// Sessions with their first review on this day.
    pub sessions_reviewed: u32,
}

/// Since the log began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// By tier, in the order of `Tier::ALL`; the first is unused.
    pub tiers: [u64; 6],
    /// Allowed calls in the sample.
    pub audited: u64,
    /// Sessions that were held.
    pub sessions_held: u64,
    /// Surges.
    pub surges: u64,
    /// Decisions with detectors muted by an approval.
    pub muted: u64,
}

/// The budget of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewBudget {
    /// The threshold.
    pub tracker: Tracker,
    /// What is wanted.
    pub wanted: Wanted,
    /// What was spent.
    pub spent: Spent,
    /// Reviews by the hour.
    pub surge: Surge,
    /// Whether surprises still look like those of the first weeks.
    pub drift: Drift,
    days: [Day; DAYS],
    sample_key: [u8; 16],
}

impl ReviewBudget {
    /// The default budget. `sample_key` picks the calls to look at afterwards.
    pub fn new(sample_key: [u8; 16]) -> Self {
        Self {
            tracker: Tracker::new(Budget::default()),
            wanted: Wanted::default(),
            spent: Spent::default(),
            surge: Surge::default(),
            drift: Drift::default(),
            days: [Day::default(); DAYS],
            sample_key,
        }
    }

    /// Takes another budget.
    pub(super) fn set(&mut self, event: &BudgetSet) {
        self.wanted = Wanted {
            rate_ppm: event.rate_ppm,
            reviews_per_day: event.reviews_per_day,
            audit_ppm: event.audit_ppm,
        };
        self.apply_rate();
    }

    /// Whether an allowed call belongs to the sample: by a keyed hash, so that nobody outside can tell.
    pub fn is_audited(&self, call_id: &str) -> bool {
        let hash = FingerprintKey::new(self.sample_key).texts(&["audit", call_id]);
        hash % 1_000_000 < u64::from(self.wanted.audit_ppm)
    }

    /// Whether reviews of this hour are one incident.
    pub const fn is_surging(&self) -> bool {
        self.surge.is_on()
    }

    /// Comes to the time of a call: day figures roll over, and the share follows the traffic.
    pub(super) fn advance(&mut self, at: Timestamp) {
        let micros = at.as_micros();
        self.surge.advance(micros.div_euclid(HOUR_US), self.tracker.tau());
        let day = i32::try_from(micros.div_euclid(DAY_US)).unwrap_or(0);
        if day > self.days[0].day {
            self.days.rotate_right(1);
            self.days[0] = Day { day, ..Day::default() };
            self.apply_rate();
        }
    }

    /// Notes a decision. `first`: the first review of its session.
    pub(super) fn note(&mut self, decision: &Decision, first: bool, imported: bool) {
        let Account { tier, audited, muted, .. } = decision.account;
        let today = &mut self.days[0];
        if decision.counted {
            today.counted += 1;
            self.tracker.update(tier == Tier::Soft);
        }
        if let Some(slot) = self.spent.tiers.get_mut(usize::from(tier.number())) {
            *slot += 1;
        }
        self.spent.audited += u64::from(audited);
        self.spent.muted += u64::from(muted != 0);
        today.soft += u32::from(tier == Tier::Soft);
        today.outside += u32::from(matches!(tier, Tier::Hard | Tier::Floor | Tier::Session));
        let reviewed = decision.verdict == Verdict::Review;
        today.reviews += u32::from(reviewed);
        today.sessions_reviewed += u32::from(reviewed && first);
        // History is told in any order and speed; only live reviews can flood anybody.
        if matches!(tier, Tier::Soft | Tier::Joined) && !imported && self.surge.note() {
            self.spent.surges += 1;
            self.tracker.put_back(self.surge.tau_before());
        }
        self.drift.note(decision.assessment.combined_raw, self.days[0].day);
    }

    /// Notes a session that was opened.
    pub(super) fn session_opened(&mut self) {
        self.days[0].sessions += 1;
    }

    /// Notes a session that is held from now on.
    pub(super) fn session_held(&mut self) {
        self.spent.sessions_held += 1;
    }

    /// The figures of the last seven days that had calls, latest first.
    pub fn days(&self) -> impl Iterator<Item = &Day> {
        self.days.iter().filter(|day| day.day != 0)
    }

    /// Counted calls of an average day, from the days that are over; none before the first.
    pub fn calls_a_day(&self) -> Option<u64> {
        let over: Vec<&Day> = self.days().skip(1).collect();
        let counted: u64 = over.iter().map(|day| u64::from(day.counted)).sum();
        counted.checked_div(over.len() as u64)
    }

    fn apply_rate(&mut self) {
        let wanted = self.wanted;
        let ppm = match (wanted.reviews_per_day, self.calls_a_day()) {
            (0, _) => wanted.rate_ppm,
            (_, None) => wanted.rate_ppm,
            (reviews, Some(calls)) => {
                let ppm = u64::from(reviews) * 1_000_000 / calls.max(CALLS_A_DAY_MIN);
                u32::try_from(ppm).unwrap_or(u32::MAX)
            }
        };
        if ppm.clamp(1, 500_000) != self.tracker.budget().eps_ppm {
            self.tracker.set_rate(ppm);
        }
    }
}
