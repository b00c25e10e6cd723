//! The account of a decision: who pays for the review that evidence asks for, and what the session has
//! shown so far.

use super::lock::own;
use super::settings::Settings;
use crate::domain::account::{Account, Tier};
use crate::domain::call::CallFeatures;
use crate::domain::decision::Assessment;
use crate::domain::event::{BudgetSet, Event, Pending};
use crate::domain::time::{DAY_US, Timestamp};
use crate::projection::{Session, State, Tenant};
use crate::stats::EDetector;
use crate::stats::tracker::{Budget, Tracker};

/// Evidence plus the category's weight from which a call is reviewed outside the budget, milli-bits: one
/// chance in a million.
pub const HARD_EVIDENCE: i32 = 20_000;

/// What the budget and the session say before the call is settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// The tenant's threshold, milli-bits.
    pub threshold: i32,
    /// Whether a further review would join the one that is open: the session is held, or there is a surge.
    pub joins: bool,
    /// Whether the slow evidence has reached its line with this call.
    pub adds_up: bool,
    /// What is known of the account already; its tier is settled with the call.
    pub account: Account,
}

/// What the detectors and reviewers say beside the assessment.
pub(super) struct Shown {
    /// The call's e-value for slow evidence; none where sequences are not judged yet.
    pub e_value: Option<f64>,
    /// Detectors that are muted: one bit each, in the order of `Detector::ALL`.
    pub muted: u8,
}

/// The ground of a call.
pub(super) fn ground(
    tenant: Option<&Tenant>,
    session: Option<&Session>,
    features: &CallFeatures,
    shown: &Shown,
    call_id: &str,
) -> Ground {
    let Some(tenant) = tenant else {
        return Ground { threshold: Tracker::new(Budget::default()).tau().as_i32(), ..Ground::default() };
    };
    let day = day_of(features);
    let mut of_session = session.map_or_else(EDetector::new, |session| session.evidence);
    let mut of_principal = tenant.carried.evidence(features.principal, day);
    if let Some(e) = shown.e_value {
        of_session.update(e);
        of_principal.update(e);
    }
    Ground {
        threshold: tenant.budget.tracker.tau().as_i32(),
        joins: session.is_some_and(Session::is_held) || tenant.budget.is_surging(),
        adds_up: of_session.is_finding() || of_principal.is_finding(),
        account: Account {
            tier: Tier::None,
            audited: tenant.budget.is_audited(call_id),
            muted: shown.muted,
            session_evidence: of_session.evidence().as_i32(),
            principal_evidence: of_principal.evidence().as_i32(),
        },
    }
}

/// The day of a call, days since 1970, UTC; 0: it has no time.
fn day_of(features: &CallFeatures) -> i32 {
    features.at.map_or(0, |at| i32::try_from(at.as_micros().div_euclid(DAY_US)).unwrap_or(0))
}

/// Who pays for a review of a call that the policy would allow.
pub(super) fn tier(assessment: &Assessment, weight: i32, ground: &Ground) -> Tier {
    let weighed = assessment.evidence + weight;
    if assessment.floors != 0 {
        Tier::Floor
    } else if weighed >= HARD_EVIDENCE {
        Tier::Hard
    } else if weighed >= ground.threshold {
        if ground.joins { Tier::Joined } else { Tier::Soft }
    } else if ground.adds_up {
        if ground.joins { Tier::Joined } else { Tier::Session }
    } else {
        Tier::None
    }
}

/// The event that gives a tenant the budget of the settings; none if it has it, or is not known yet.
pub fn set_budget(state: &State, tenant: &str, now: Timestamp, settings: &Settings) -> Option<Pending> {
    let wanted = settings.budget;
    if state.tenant(tenant)?.budget.wanted == wanted {
        return None;
    }
    let event = BudgetSet {
        tenant: tenant.to_owned(),
        rate_ppm: wanted.rate_ppm,
        reviews_per_day: wanted.reviews_per_day,
        audit_ppm: wanted.audit_ppm,
    };
    Some(own(state, Event::BudgetSet(event), now))
}
