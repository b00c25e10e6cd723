//! How a decision came about, from what was recorded of it: every finding in words, how the risk was made, the
//! rule that settled it, and what would have changed the verdict.
//!
//! What would have changed it is worked out from the decision table (`decide::verdict`) and the recorded
//! figures; nothing is scored again.

use super::convert::decision::{core, names_of};
use super::convert::key_of_stream;
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::HARD_EVIDENCE;
use crate::decide::ingest::check_name;
use crate::detector::models::NOTABLE;
use crate::detector::sentence::{Names, shown};
use crate::detector::weigh::together;
use crate::domain::account::Tier;
use crate::domain::decision::{Assessment, Decision, Floor, Reason, Score, Verdict};
use crate::domain::event::{CallProposed, Event};
use crate::engine::{Error, TimelineEvent};
use crate::proto::v1;
use crate::stats::combine::risk;
use crate::stats::edetector::FINDING;
use crate::stats::millibits::MilliBits;
use prost::bytes::Bytes;

/// Answers `ExplainDecision`.
pub(super) async fn explain(
    shared: &Shared,
    request: v1::ExplainDecisionRequest,
) -> Result<v1::ExplainDecisionResponse, Failure> {
    let tenant = tenant_of(&request.tenant).to_owned();
    check_name("tenant", &tenant, false).map_err(Failure::invalid)?;
    let call_id = request.call_id;
    if call_id.is_empty() {
        return Err(Failure::field("call_id", "is empty; give the id of a call"));
    }
    let asked = call_id.clone();
    let found = shared.read(move |engine| engine.call_events(&tenant, &asked)).await?;
    let unknown = || Error::NotFound(format!("call_id `{}`", shown(&call_id)));
    let (proposed, decided) = found.ok_or_else(unknown)?;
    explained(proposed, decided).ok_or_else(|| Failure::from(unknown()))
}

fn explained(proposed: TimelineEvent, decided: TimelineEvent) -> Option<v1::ExplainDecisionResponse> {
    let (stream, payload) = (proposed.recorded.record.stream, proposed.recorded.record.payload);
    let (Event::CallProposed(call), Event::CallDecided(event)) =
        (proposed.recorded.record.event, decided.recorded.record.event)
    else {
        return None;
    };
    let decision = event.decision;
    let paths = names_of(&payload.arguments);
    let principal = call.principal_chain.last().map_or("", String::as_str);
    let names = Names { tool: &call.tool, principal, paths: &paths };
    let position = decided.recorded.position;
    let answer = v1::Decision {
        position: position.get(),
        state_position: position.get().saturating_sub(2),
        session_key: key_of_stream(&stream),
        call_id: call.call_id.clone(),
        call_digest: Bytes::copy_from_slice(&call.digest),
        policy_revision: event.policy_revision.to_string(),
        model_revision: event.scoring_version.to_string(),
        ..core(&decision, call.skewed, Some(&names))
    };
    Some(v1::ExplainDecisionResponse {
        decision: Some(answer),
        risk: Some(breakdown(&decision)),
        rules: considered(&decision, &call),
        counterfactuals: counterfactuals(&decision, &names),
    })
}

fn breakdown(decision: &Decision) -> v1::RiskBreakdown {
    let assessment = &decision.assessment;
    let base = decision.category.base_risk();
    v1::RiskBreakdown {
        base: base.into(),
        evidence_millibits: assessment.evidence,
        raised: risk(base, MilliBits::new(assessment.evidence), 0).into(),
        floor: Floor::in_set(assessment.floors).map(Floor::risk).max().unwrap_or(0).into(),
        threshold_millibits: decision.threshold,
        category_weight_millibits: decision.category.weight_millibits(),
    }
}

/// The rule that won. Those that lost are told by `ExplainPolicy`.
fn considered(decision: &Decision, call: &CallProposed) -> Vec<v1::ConsideredRule> {
    if decision.rule_id.is_empty() {
        return Vec::new();
    }
    vec![v1::ConsideredRule {
        rule_id: decision.rule_id.clone(),
        r#match: v1::RuleMatch::Won.into(),
        sentence: format!("it names {}", shown(&call.tool)),
        ..v1::ConsideredRule::default()
    }]
}

fn bits(millibits: i32) -> String {
    format!("{:.1} bits", f64::from(millibits) / 1_000.0)
}

/// The evidence from which a call that the policy allows goes to a human.
fn limit(decision: &Decision) -> i32 {
    HARD_EVIDENCE.min(decision.threshold).saturating_sub(decision.category.weight_millibits())
}

/// What would have changed the verdict, the smallest change first.
fn counterfactuals(decision: &Decision, names: &Names<'_>) -> Vec<String> {
    let assessment = &decision.assessment;
    let (evidence, limit) = (assessment.evidence, limit(decision));
    let quiet = evidence < limit && assessment.floors == 0;
    let mut told = Vec::new();
    match decision.reason {
        Reason::RuleAllows | Reason::CategoryDefault if decision.verdict == Verdict::Allow => {
            told.push(format!(
                "With {} more of evidence it would have gone to a human: it had {}, and the limit for category {} was {}.",
                bits(limit.saturating_sub(evidence)), bits(evidence), decision.category, bits(limit)
            ));
        }
        Reason::Anomaly if decision.account.tier == Tier::Session => told.push(added_up(decision)),
        Reason::Anomaly => {
            told.push(format!(
                "With evidence under {} it would have been allowed; it had {}.",
                bits(limit),
                bits(evidence)
            ));
            told.extend(without_each(&assessment.scores));
            told.push(
                "No rule that allows it would have changed this: evidence tightens what rules allow."
                    .to_owned(),
            );
        }
        Reason::FloorFired => told.push(without_floors(assessment, limit)),
        Reason::RiskDenies => {
            told.push(format!(
                "With a risk under the policy's threshold for denial; it was {}.",
                assessment.risk
            ));
            told.extend(without_each(&assessment.scores));
        }
        Reason::WindowClosed | Reason::Unexpected | Reason::ConditionFailed | Reason::CompositionDenies => {
            told.push(by_policy(decision));
        }
        Reason::RuleReviews | Reason::RuleDenies => {
            let rule = shown(&decision.rule_id);
            let then = if quiet {
                "then the next rule that matches would have settled it, or the default of its category"
                    .to_owned()
            } else {
                format!(
                    "and even then its evidence, {}, or a floor would have asked for a human",
                    bits(evidence)
                )
            };
            told.push(format!("Without rule `{rule}`: {then}."));
        }
        Reason::CategoryDefault => {
            told.push(by_a_rule(evidence, limit, quiet, names));
            told.push(format!(
                "In a lower category than {} the default may be another one.",
                decision.category
            ));
        }
        Reason::Imported => told.push("Nothing: history is recorded as it happened.".to_owned()),
        Reason::SessionLocked
        | Reason::PrincipalLocked
        | Reason::ToolLocked
        | Reason::ServerLocked
        | Reason::TenantLocked => {
            told.push("Without the lock it would have been judged as any other call.".to_owned());
        }
        Reason::RuleAllows => {}
    }
    told
}

fn added_up(decision: &Decision) -> String {
    format!(
        "The call itself was below the limit, with {}; the order of calls in its session had added up to {}, in all \
         sessions of its principal to {}, and the line is {}.",
        bits(decision.assessment.evidence),
        bits(decision.account.session_evidence),
        bits(decision.account.principal_evidence),
        bits(FINDING.as_i32())
    )
}

/// What would have changed a verdict that the policy gave for more than a rule's effect.
fn by_policy(decision: &Decision) -> String {
    let rule = shown(&decision.rule_id);
    match decision.reason {
        Reason::WindowClosed => {
            format!("Inside the change window of rule `{rule}` it would have been as that rule says.")
        }
        Reason::Unexpected => format!("Had what rule `{rule}` expects held, it would have been allowed."),
        Reason::ConditionFailed => {
            format!(
                "With arguments that the condition of rule `{rule}` can judge, that rule would have settled it."
            )
        }
        _ => {
            let rules: Vec<String> = decision.compositions.iter().map(|rule| shown(&rule.id)).collect();
            let rules = rules.join(", ");
            format!("Without the calls before it that composition rule {rules} watches for.")
        }
    }
}

fn without_floors(assessment: &Assessment, limit: i32) -> String {
    let floors: Vec<String> = Floor::in_set(assessment.floors)
        .map(|floor| format!("\u{201c}{}\u{201d}", floor.sentence()))
        .collect();
    let then = if assessment.evidence < limit {
        "it would have been allowed".to_owned()
    } else {
        format!("its evidence, {}, would have sent it to a human all the same", bits(assessment.evidence))
    };
    format!("If this did not hold: {}; then {then}.", floors.join(" and "))
}

fn by_a_rule(evidence: i32, limit: i32, quiet: bool, names: &Names<'_>) -> String {
    let (tool, evidence) = (shown(names.tool), bits(evidence));
    if quiet {
        let limit = bits(limit);
        return format!(
            "A rule that allows {tool} would have let it pass: its evidence, {evidence}, is under the limit of {limit}."
        );
    }
    format!(
        "A rule that allows {tool} alone would not have let it pass: its evidence, {evidence}, or a floor asks for a \
         human."
    )
}

/// What the combination before its calibration would have been without each notable finding, the largest first.
fn without_each(scores: &[Score]) -> Vec<String> {
    let whole = together(scores, None).as_i32();
    let mut drops: Vec<(i32, &Score)> = scores
        .iter()
        .filter(|score| score.raw.is_some() && score.surprise >= NOTABLE)
        .map(|score| (together(scores, Some(score.detector)).as_i32(), score))
        .filter(|(left, _)| *left < whole)
        .collect();
    drops.sort_by_key(|(left, _)| *left);
    let sentence = |(left, score): (i32, &Score)| {
        format!(
            "Without the finding about {} ({}) all findings together would have come to {} in place of {}.",
            score.detector.name(),
            bits(score.surprise),
            bits(left),
            bits(whole)
        )
    };
    drops.into_iter().map(sentence).collect()
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
