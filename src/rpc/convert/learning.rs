//! Budgets, models and what was unlearnt, as messages.

use super::timestamp;
use crate::domain::event::{BudgetSet, ModelAdopted, SessionUnlearned};
use crate::domain::time::Timestamp;
use crate::projection::{Day, ReviewBudget};
use crate::proto::v1;
use prost::bytes::Bytes;

pub(super) fn budget_set(event: &BudgetSet) -> v1::BudgetSet {
    v1::BudgetSet {
        rate: f64::from(event.rate_ppm) / 1e6,
        reviews_per_day: event.reviews_per_day,
        audit_rate: f64::from(event.audit_ppm) / 1e6,
    }
}

pub(super) fn session_unlearned(event: SessionUnlearned) -> v1::SessionUnlearned {
    v1::SessionUnlearned { unlearned_session_key: event.session.to_string(), reason: event.reason }
}

/// A model with its parameters.
pub(in crate::rpc) fn model(event: ModelAdopted, at: Timestamp, position: u64) -> v1::Model {
    v1::Model {
        revision: event.revision,
        name: event.name,
        card: event.card,
        parameters: Bytes::from(event.parameters),
        actor: String::new(),
        adopt_time: Some(timestamp(at)),
        position,
    }
}

/// What a tenant's reviewers are asked.
pub(in crate::rpc) fn budget(budget: &ReviewBudget) -> v1::ReviewBudget {
    let tracker = &budget.tracker;
    let share = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { part / whole };
    let sum = |figure: fn(&Day) -> u32| budget.days().map(|day| f64::from(figure(day))).sum::<f64>();
    let rate = f64::from(tracker.budget().eps_ppm) / 1e6;
    let [_, soft, hard, floor, slow, joined] = budget.spent.tiers;
    let (reviews, sessions) = (sum(|day| day.reviews), sum(|day| day.sessions));
    v1::ReviewBudget {
        rate,
        rate_spent: share(tracker.hits() as f64, tracker.counted() as f64),
        reviews_per_day: budget.calls_a_day().map_or(0.0, |calls| calls as f64 * rate),
        reviews_per_day_spent: share(reviews, budget.days().count() as f64),
        sessions_reviewed: share(sum(|day| day.sessions_reviewed), sessions),
        threshold_millibits: tracker.tau().as_i32(),
        hard_escalations: sum(|day| day.outside) as u64,
        reviews_per_session: share(reviews, sessions),
        counted: tracker.counted(),
        soft_reviews: soft,
        soft_reviews_bound: tracker.bound(),
        hard_reviews: hard,
        floor_reviews: floor,
        slow_reviews: slow,
        joined_reviews: joined,
        sessions_held: budget.spent.sessions_held,
        surges: budget.spent.surges,
        surging: budget.is_surging(),
        audited: budget.spent.audited,
        drift_index: budget.drift.index(),
        drifted: budget.drift.is_alarm(),
    }
}
