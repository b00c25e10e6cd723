//! Findings that come from the policy: schemas and composition rules.

use crate::detector::sentence::shown;
use crate::domain::decision::{Completed, Decision, Reason};
use crate::policy::composition::shipped;
use crate::proto::v1;

/// Findings of a decision besides those of the detectors.
pub(in crate::rpc) fn of_policy(decision: &Decision, schema_fault: &str) -> Vec<v1::Finding> {
    let mut findings = Vec::new();
    if !schema_fault.is_empty() {
        let pointer = schema_fault.split(' ').next().filter(|start| start.starts_with('/')).unwrap_or("");
        findings.push(v1::Finding {
            argument_pointer: pointer.to_owned(),
            ..told(v1::Detector::Schema, schema_fault.to_owned())
        });
    }
    findings.extend(decision.compositions.iter().map(completed));
    let rule = &decision.rule_id;
    match decision.reason {
        Reason::Unexpected => findings.push(told(
            v1::Detector::Policy,
            format!("what rule `{rule}` expects of the scored call does not hold"),
        )),
        Reason::ConditionFailed => findings.push(told(
            v1::Detector::Policy,
            format!("the condition of rule `{rule}` could not be evaluated for this call"),
        )),
        _ => {}
    }
    findings
}

fn completed(rule: &Completed) -> v1::Finding {
    let id = &rule.id;
    if !rule.title.is_empty() {
        let sentence = format!("{} (composition rule `{}`)", shown(&rule.title), shown(id));
        let (tags, floor) = (rule.tags.clone(), rule.risk.into());
        return v1::Finding { tags, floor, ..told(v1::Detector::Composition, sentence) };
    }
    // Recorded by an earlier version: what is told of it now is what is shipped under its id, if anything.
    let rules = shipped();
    let known = rules.iter().find(|rule| rule.id == *id);
    let sentence = match known {
        Some(rule) => format!("{} (composition rule `{id}`)", rule.title),
        None => format!("composition rule `{}` is complete with this call", shown(id)),
    };
    let tags = known.map(|rule| rule.tags.clone()).unwrap_or_default();
    let floor = known.map_or(0, |rule| rule.risk.into());
    v1::Finding { tags, floor, ..told(v1::Detector::Composition, sentence) }
}

fn told(detector: v1::Detector, sentence: String) -> v1::Finding {
    v1::Finding {
        detector: detector.into(),
        status: v1::FindingStatus::Scored.into(),
        p_value: 1.0,
        sentence,
        ..v1::Finding::default()
    }
}
