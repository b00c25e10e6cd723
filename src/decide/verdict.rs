//! The decision table: policy first, then evidence, which may only tighten.

use super::policed::Policed;
use crate::domain::call::Origin;
use crate::domain::decision::{Decision, Mode, Reason, Verdict};
use crate::policy::{Cause, Effect, OnFire, Outcome, Policy};

/// Evidence at or over which a call is escalated whatever the threshold, milli-bits: one chance in a
/// million. Outside the review budget.
pub const HARD_EVIDENCE: i32 = 20_000;

/// Settles a call.
///
/// | step | if | verdict |
/// |---|---|---|
/// | 1 | it is history | ALLOW, not enforced |
/// | 2 | a deny rule matches, or a closed change window denies | DENY |
/// | 3 | a composition rule that denies is complete | DENY |
/// | 3 | a rule matches, else the category's default | as the rule says; REVIEW outside its window, or if it expects what does not hold |
/// | 4 | ALLOW so far, and a floor fired | REVIEW |
/// | 5 | ALLOW so far, and evidence is 20 bits or more, or evidence plus the category's weight reaches the threshold | REVIEW |
/// | 6 | risk reaches the deny threshold | DENY |
///
/// `threshold` is the tenant's review threshold in milli-bits.
pub fn settle(policy: &Policy, policed: Policed<'_>, threshold: i32, origin: Origin) -> Decision {
    let Policed { outcome, assessment, compositions, fired } = policed;
    let weighed = assessment.evidence + outcome.category.weight_millibits();
    let soft = assessment.floors == 0 && assessment.evidence < HARD_EVIDENCE;
    let imported = origin == Origin::Imported;
    let by_rule = outcome.effect.verdict();
    let (verdict, reason) = if imported {
        (Verdict::Allow, Reason::Imported)
    } else if outcome.effect == Effect::Deny {
        (Verdict::Deny, rule_reason(&outcome))
    } else if fired == Some(OnFire::Deny) {
        (Verdict::Deny, Reason::CompositionDenies)
    } else if policy.thresholds.deny.is_some_and(|risk| assessment.risk >= risk) {
        (Verdict::Deny, Reason::RiskDenies)
    } else if by_rule == Verdict::Allow && assessment.floors != 0 {
        (Verdict::Review, Reason::FloorFired)
    } else if by_rule == Verdict::Allow && (assessment.evidence >= HARD_EVIDENCE || weighed >= threshold) {
        (Verdict::Review, Reason::Anomaly)
    } else {
        (by_rule, rule_reason(&outcome))
    };
    Decision {
        verdict,
        enforced: !imported && outcome.mode == Mode::Enforce,
        reason,
        rule_id: outcome.rule.map_or_else(String::new, |rule| rule.id.clone()),
        category: outcome.category,
        threshold,
        counted: soft && (imported || by_rule == Verdict::Allow),
        compositions,
        assessment,
    }
}

fn rule_reason(outcome: &Outcome<'_>) -> Reason {
    match outcome.cause {
        Cause::AsWritten => {}
        Cause::ConditionFailed => return Reason::ConditionFailed,
        Cause::WindowClosed => return Reason::WindowClosed,
        Cause::Unexpected => return Reason::Unexpected,
    }
    match (outcome.rule, outcome.effect) {
        (None, _) => Reason::CategoryDefault,
        (Some(_), Effect::Allow) => Reason::RuleAllows,
        (Some(_), Effect::Review) => Reason::RuleReviews,
        (Some(_), Effect::Deny) => Reason::RuleDenies,
    }
}
