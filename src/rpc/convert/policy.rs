//! Policies, faults and grants as messages.

use super::review::review_id;
use super::timestamp;
use crate::domain::event::{PolicyAdopted, PolicyWithdrawn, RuleAccepted};
use crate::domain::position::Position;
use crate::domain::time::Timestamp;
use crate::policy::{Considered, Fault, Match, Severity, adopted};
use crate::projection::Grant;
use crate::proto::v1;

/// A revision of a policy; its text only if it is asked for.
pub(in crate::rpc) fn revision(
    event: PolicyAdopted,
    at: Timestamp,
    position: u64,
    with_text: bool,
) -> v1::Policy {
    let rules = adopted(&event, at).map_or(0, |policy| policy.rules().count());
    v1::Policy {
        tenant: event.tenant,
        revision: position.to_string(),
        text: if with_text { event.text } else { String::new() },
        actor: if event.actor.is_empty() { "askance".to_owned() } else { event.actor },
        adopt_time: Some(timestamp(at)),
        comment: event.comment,
        rules: u32::try_from(rules).unwrap_or(u32::MAX),
        position,
        withdrawn: false,
    }
}

/// The taking back of a tenant's own policy.
pub(in crate::rpc) fn withdrawal(event: PolicyWithdrawn, at: Timestamp, position: u64) -> v1::Policy {
    v1::Policy {
        tenant: event.tenant,
        actor: event.actor,
        adopt_time: Some(timestamp(at)),
        comment: event.comment,
        position,
        withdrawn: true,
        ..v1::Policy::default()
    }
}

/// A fault of a policy's text.
pub(in crate::rpc) fn fault(fault: Fault) -> v1::PolicyFault {
    let severity = match fault.severity {
        Severity::Warning => v1::FaultSeverity::Warning,
        Severity::Error => v1::FaultSeverity::Error,
    };
    v1::PolicyFault {
        severity: severity.into(),
        line: fault.line,
        column: fault.column,
        rule_id: fault.rule_id,
        message: fault.message,
        nearest_name: fault.nearest,
    }
}

/// A grant as its event tells it.
pub(in crate::rpc) fn accepted(event: RuleAccepted, at: Timestamp, partition: usize) -> v1::Grant {
    let review = event.review;
    let category = crate::policy::granted(&event, at).ok().and_then(|rule| rule.risk);
    v1::Grant {
        grant_id: event.grant_id,
        tenant: event.tenant,
        rule_text: event.rule_text,
        actor: event.actor,
        create_time: Some(timestamp(at)),
        expire_time: event.expires.map(timestamp),
        review_id: if review == Position::ZERO { String::new() } else { review_id(partition, review) },
        suggestion_id: event.suggestion_id,
        uses: 0,
        category: category.map_or(v1::RiskCategory::Unspecified, v1::RiskCategory::from).into(),
    }
}

/// A grant that holds, with how often it was used.
pub(in crate::rpc) fn grant(event: RuleAccepted, held: &Grant, partition: usize) -> v1::Grant {
    v1::Grant { uses: held.uses, ..accepted(event, held.granted, partition) }
}

/// A rule that was considered for a call.
pub(in crate::rpc) fn considered(considered: &Considered<'_>) -> v1::ConsideredRule {
    let rule = considered.rule;
    let (became, sentence) = match &considered.became {
        Match::Won => (v1::RuleMatch::Won, "it matches and comes first".to_owned()),
        Match::Shadowed => (
            v1::RuleMatch::Shadowed,
            "it matches, but another rule is stricter, narrower or earlier".to_owned(),
        ),
        Match::False => {
            let condition = rule.when.as_ref().map_or("", |when| when.text());
            (v1::RuleMatch::ConditionFalse, format!("its condition `{condition}` does not hold"))
        }
        Match::Failed(failure) => {
            (v1::RuleMatch::ConditionFailed, format!("its condition has no answer: {failure}"))
        }
        Match::Expired => (v1::RuleMatch::Expired, "it has expired".to_owned()),
    };
    v1::ConsideredRule {
        rule_id: rule.id.clone(),
        line: rule.line,
        r#match: became.into(),
        sentence,
        principal: considered.principal.clone(),
    }
}
