//! The decision table: policy first, then evidence, which may only tighten.

use super::account::{Ground, tier};
use super::policed::Policed;
use crate::domain::account::{Account, Tier};
use crate::domain::call::Origin;
use crate::domain::decision::{Decision, Mode, Reason, Verdict};
use crate::policy::{Cause, Effect, OnFire, Outcome, Policy};

/// Settles a call.
///
/// | step | if | verdict |
/// |---|---|---|
/// | 1 | it is history | ALLOW, not enforced |
/// | 2 | a deny rule matches, or a closed change window denies | DENY |
/// | 3 | a composition rule that denies is complete | DENY |
/// | 3 | a rule matches, else the category's default | as the rule says; REVIEW outside its window, or if it expects what does not hold |
/// | 4 | ALLOW so far, and a floor fired | REVIEW |
/// | 5 | ALLOW so far, and evidence plus the category's weight reaches 20 bits or the threshold, or the slow evidence of the session or the principal its line | REVIEW |
/// | 6 | risk reaches the deny threshold | DENY |
///
/// `ground`: what the review budget and the session say.
pub fn settle(policy: &Policy, policed: Policed<'_>, ground: &Ground, origin: Origin) -> Decision {
    let Policed { outcome, assessment, compositions, fired } = policed;
    let imported = origin == Origin::Imported;
    let by_rule = outcome.effect.verdict();
    // Only what the policy would allow is evidence's to stop.
    let open = imported || by_rule == Verdict::Allow;
    let tier = if open { tier(&assessment, outcome.category.weight_millibits(), ground) } else { Tier::None };
    let (verdict, reason) = if imported {
        (Verdict::Allow, Reason::Imported)
    } else if outcome.effect == Effect::Deny {
        (Verdict::Deny, rule_reason(&outcome))
    } else if fired == Some(OnFire::Deny) {
        (Verdict::Deny, Reason::CompositionDenies)
    } else if policy.thresholds.deny.is_some_and(|risk| assessment.risk >= risk) {
        (Verdict::Deny, Reason::RiskDenies)
    } else if tier == Tier::Floor {
        (Verdict::Review, Reason::FloorFired)
    } else if tier != Tier::None {
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
        threshold: ground.threshold,
        counted: open && !ground.joins && matches!(tier, Tier::None | Tier::Soft | Tier::Session),
        account: Account {
            tier,
            audited: ground.account.audited && !imported && verdict == Verdict::Allow,
            ..ground.account
        },
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
