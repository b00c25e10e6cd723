//! Decisions as they are answered.

use super::call::Echo;
use super::finding;
use super::key_of_stream;
use super::review::{review_id, why};
use crate::decide::SCORING_VERSION;
use crate::detector::features::path_names;
use crate::detector::sentence::{Names, render, shown};
use crate::domain::account::Tier;
use crate::domain::call::SessionSource;
use crate::domain::decision::{Decision, Detector, Floor, Mode, Reason, Score, Verdict};
use crate::domain::json::Json;
use crate::domain::position::Position;
use crate::domain::risk::RiskCategory;
use crate::engine::Decided;
use crate::policy::GRANT_PREFIX;
use crate::projection::Final;
use crate::proto::v1;
use prost::bytes::Bytes;

/// The answer to a call that was decided.
pub(in crate::rpc) fn decided(decided: &Decided, echo: Echo) -> v1::Decision {
    let in_words = echo.explain || decided.decision.verdict != Verdict::Allow;
    let names = if in_words { names_of(&echo.arguments) } else { Vec::new() };
    let context = Names { tool: &echo.tool, principal: &echo.principal, paths: &names };
    let mut answer = core(&decided.decision, decided.skewed, in_words.then_some(&context));
    answer.findings.extend(finding::of_policy(&decided.decision, &decided.schema_fault));
    answer.position = decided.position.get();
    answer.session_key = key_of_stream(&decided.stream);
    answer.session_id.clone_from(&decided.session_id);
    answer.session_source = source(decided.session_source).into();
    answer.repeated_call = decided.repeated;
    answer.call_id = echo.call_id;
    answer.call_digest = Bytes::copy_from_slice(&decided.digest);
    answer.policy_revision = decided.policy_revision.to_string();
    answer.model_revision = SCORING_VERSION.to_string();
    answer.state_position = decided.state_position.get();
    if decided.review != Position::ZERO {
        answer.review_id = review_id(echo.partition, decided.review);
    }
    if !decided.comment.is_empty() {
        answer.reason = format!("{}: {}", answer.reason, shown(&decided.comment));
    }
    if let Some(settled) = &decided.settled {
        settle(&mut answer, settled, &decided.comment);
    } else if let Some(because) = decided.not_yet {
        answer.reason_code = why(because).into();
        answer.reason = format!("it is approved, but {}", because.sentence());
    }
    answer
}

/// Puts the final word on a reviewed call in the place of the decision that asked for the review.
fn settle(answer: &mut v1::Decision, settled: &Final, comment: &str) {
    let verdict = if settled.released { v1::Verdict::Allow } else { v1::Verdict::Deny };
    answer.verdict = verdict.into();
    answer.computed_verdict = verdict.into();
    answer.reason_code = why(settled.why).into();
    answer.reason = settled.why.sentence().to_owned();
    if !comment.is_empty() {
        answer.reason = format!("{}: {}", answer.reason, shown(comment));
    }
}

/// Names of the argument paths, in the order of the call's features.
pub(in crate::rpc) fn names_of(arguments: &[u8]) -> Vec<String> {
    Json::parse(arguments).map_or_else(|_| Vec::new(), |json| path_names(&json))
}

/// What a gateway is told when there is no decision in time.
pub(in crate::rpc) fn fallback(verdict: Verdict, echo: Echo) -> v1::Decision {
    let verdict = v1::Verdict::from(verdict).into();
    v1::Decision {
        verdict,
        computed_verdict: verdict,
        enforced: true,
        degraded: true,
        degraded_reason: v1::DegradedReason::Deadline.into(),
        reason_code: v1::ReasonCode::Fallback.into(),
        reason: "there was no time to decide: this is the configured fallback".to_owned(),
        findings: Detector::ALL.map(|detector| silent(detector, v1::FindingStatus::Abstained)).into(),
        call_id: echo.call_id,
        ..v1::Decision::default()
    }
}

/// Everything that a decision itself says. Findings are put into words if there is a `context` for them.
pub(in crate::rpc) fn core(decision: &Decision, skewed: bool, context: Option<&Names<'_>>) -> v1::Decision {
    let assessment = &decision.assessment;
    let failed = assessment.floors & Floor::DetectorFailed.bit() != 0;
    let mut findings = Vec::with_capacity(Detector::ALL.len() + 1);
    findings.extend(assessment.scores.iter().map(|score| scored(score, failed, context)));
    if skewed {
        findings.push(clock_finding());
    }
    let mut floors: Vec<v1::Floor> = Floor::in_set(assessment.floors).map(floor).collect();
    floors.sort_by_key(|floor| std::cmp::Reverse(floor.risk));
    v1::Decision {
        verdict: v1::Verdict::from(decision.answer()).into(),
        enforced: decision.enforced,
        risk: assessment.risk.into(),
        evidence_millibits: assessment.evidence,
        findings,
        rule_id: decision.rule_id.clone(),
        category: v1::RiskCategory::from(decision.category).into(),
        degraded: failed,
        degraded_reason: if failed {
            v1::DegradedReason::DetectorFailed.into()
        } else {
            v1::DegradedReason::Unspecified.into()
        },
        reason: reason_sentence(decision),
        reason_code: reason_code(decision).into(),
        computed_verdict: v1::Verdict::from(decision.verdict).into(),
        floors,
        threshold_millibits: decision.threshold,
        audited: decision.account.audited,
        muted: muted(decision.account.muted),
        session_evidence_millibits: decision.account.session_evidence,
        principal_evidence_millibits: decision.account.principal_evidence,
        ..v1::Decision::default()
    }
}

fn muted(bits: u8) -> Vec<i32> {
    let chosen = Detector::ALL.into_iter().filter(|detector| bits >> detector.index() & 1 != 0);
    chosen.map(|detector| v1::Detector::from(detector).into()).collect()
}

fn scored(score: &Score, failed: bool, context: Option<&Names<'_>>) -> v1::Finding {
    let Some(raw) = score.raw else {
        let status = if failed { v1::FindingStatus::Failed } else { v1::FindingStatus::Abstained };
        return silent(score.detector, status);
    };
    let words = context.map(|context| render(score, context)).unwrap_or_default();
    v1::Finding {
        detector: v1::Detector::from(score.detector).into(),
        status: v1::FindingStatus::Scored.into(),
        p_value: (-f64::from(score.surprise) / 1_000.0).exp2(),
        surprise_millibits: score.surprise,
        raw_millibits: raw,
        observed: words.observed,
        expected: words.expected,
        sentence: words.sentence,
        ..v1::Finding::default()
    }
}

fn silent(detector: Detector, status: v1::FindingStatus) -> v1::Finding {
    v1::Finding {
        detector: v1::Detector::from(detector).into(),
        status: status.into(),
        p_value: 1.0,
        ..v1::Finding::default()
    }
}

fn clock_finding() -> v1::Finding {
    v1::Finding {
        detector: v1::Detector::Clock.into(),
        status: v1::FindingStatus::Scored.into(),
        p_value: 1.0,
        sentence: "the caller's time is off by more than the allowed skew; the time of receipt was used"
            .to_owned(),
        ..v1::Finding::default()
    }
}

fn floor(floor: Floor) -> v1::Floor {
    let kind = match floor {
        Floor::Trifecta => v1::FloorKind::Trifecta,
        Floor::SecretThenEgress => v1::FloorKind::SecretThenEgress,
        Floor::RepeatOfDenied => v1::FloorKind::RepeatOfDenied,
        Floor::DefinitionChanged => v1::FloorKind::DefinitionChanged,
        Floor::DetectorFailed => v1::FloorKind::DetectorFailed,
        Floor::TargetFromStranger => v1::FloorKind::UntrustedValue,
        Floor::SecretLeaves => v1::FloorKind::SecretValueLeaves,
        Floor::SchemaMismatch => v1::FloorKind::SchemaMismatch,
        Floor::Composition => v1::FloorKind::Composition,
    };
    v1::Floor {
        kind: kind.into(),
        risk: floor.risk().into(),
        sentence: floor.sentence().to_owned(),
        ..v1::Floor::default()
    }
}

fn reason_code(decision: &Decision) -> v1::ReasonCode {
    use v1::ReasonCode as Code;
    match (decision.reason, decision.verdict) {
        (Reason::RuleAllows, _) if decision.rule_id.starts_with(GRANT_PREFIX) => Code::AllowedByGrant,
        (Reason::RuleAllows, _) => Code::AllowedByRule,
        (Reason::RuleReviews, _) => Code::ReviewByRule,
        (Reason::RuleDenies, _) => Code::DeniedByRule,
        (Reason::CategoryDefault, Verdict::Allow) => Code::AllowedByDefault,
        (Reason::CategoryDefault, Verdict::Review) => Code::ReviewByDefault,
        (Reason::CategoryDefault, Verdict::Deny) => Code::DeniedByDefault,
        (Reason::Anomaly, _) if decision.account.tier == Tier::Joined => Code::SessionHeld,
        (Reason::Anomaly, _) => Code::RiskOverReviewThreshold,
        (Reason::FloorFired, _) => floor_code(decision.assessment.floors),
        (Reason::RiskDenies, _) => Code::RiskOverDenyThreshold,
        (Reason::Imported, _) => Code::Imported,
        (Reason::SessionLocked, _) => Code::SessionLocked,
        (Reason::PrincipalLocked, _) => Code::PrincipalLocked,
        (Reason::ToolLocked, _) => Code::ToolLocked,
        (Reason::ServerLocked, _) => Code::ServerLocked,
        (Reason::TenantLocked, _) => Code::TenantLocked,
        (Reason::WindowClosed, _) => Code::WindowClosed,
        (Reason::Unexpected | Reason::ConditionFailed, _) => Code::ExpectationFailed,
        (Reason::CompositionDenies, _) => Code::DeniedByRule,
    }
}

/// The code of a floor that fired alone, where it has one.
const fn floor_code(floors: u16) -> v1::ReasonCode {
    const SCHEMA: u16 = Floor::SchemaMismatch.bit();
    const DEFINITION: u16 = Floor::DefinitionChanged.bit();
    match floors {
        SCHEMA => v1::ReasonCode::SchemaMismatch,
        DEFINITION => v1::ReasonCode::DefinitionChanged,
        _ => v1::ReasonCode::FloorFired,
    }
}

fn reason_sentence(decision: &Decision) -> String {
    let rule = &decision.rule_id;
    let category = decision.category;
    match decision.reason {
        Reason::RuleAllows if rule.starts_with(GRANT_PREFIX) => {
            format!("the granted rule `{rule}` allows it")
        }
        Reason::RuleAllows => format!("rule `{rule}` allows it"),
        Reason::RuleReviews => format!("rule `{rule}` asks for a review"),
        Reason::RuleDenies => format!("rule `{rule}` denies it"),
        Reason::CategoryDefault => {
            let default = decision.verdict;
            format!("no rule matches; the default of the risk category {category} is {default}")
        }
        Reason::Anomaly => anomaly_sentence(decision.account.tier).to_owned(),
        Reason::FloorFired => {
            let floors = Floor::in_set(decision.assessment.floors);
            let sentences: Vec<&str> = floors.map(Floor::sentence).collect();
            sentences.join("; ")
        }
        Reason::RiskDenies => "its risk is at or over the threshold for denial".to_owned(),
        Reason::WindowClosed => format!("it is outside the change window of rule `{rule}`"),
        Reason::Unexpected => format!("rule `{rule}` allows it only while it is calm, and it is not"),
        Reason::ConditionFailed => format!("the condition of rule `{rule}` could not be evaluated"),
        Reason::CompositionDenies => {
            let ids: Vec<&str> = decision.compositions.iter().map(|rule| rule.id.as_str()).collect();
            let ids = ids.join("`, `");
            format!("it completes a chain of calls that a composition rule denies (`{ids}`)")
        }
        Reason::Imported => "history, recorded as it happened".to_owned(),
        Reason::SessionLocked => "a lock covers its session".to_owned(),
        Reason::PrincipalLocked => "a lock covers a principal it acts for".to_owned(),
        Reason::ToolLocked => "a lock covers its tool".to_owned(),
        Reason::ServerLocked => "a lock covers its server".to_owned(),
        Reason::TenantLocked => "a lock covers its tenant".to_owned(),
    }
}

fn anomaly_sentence(tier: Tier) -> &'static str {
    match tier {
        Tier::Session => "the order of the calls of this session or principal adds up to what is not its own",
        Tier::Joined => {
            "the call is unusual for whoever makes it, like others before it that are under review"
        }
        _ => "the call is unusual for whoever makes it",
    }
}

/// How sure a session's identity is.
pub(in crate::rpc) const fn confidence(source: SessionSource) -> v1::SessionConfidence {
    match source {
        SessionSource::Explicit | SessionSource::Conversation | SessionSource::Host => {
            v1::SessionConfidence::Certain
        }
        SessionSource::Trace | SessionSource::McpSession => v1::SessionConfidence::Likely,
        SessionSource::Gap => v1::SessionConfidence::Guessed,
    }
}

/// Where a session's identity came from.
pub(in crate::rpc) const fn source(source: SessionSource) -> v1::SessionSource {
    match source {
        SessionSource::Explicit => v1::SessionSource::Explicit,
        SessionSource::Conversation => v1::SessionSource::Conversation,
        SessionSource::Host => v1::SessionSource::Host,
        SessionSource::Trace => v1::SessionSource::Trace,
        SessionSource::McpSession => v1::SessionSource::Mcp,
        SessionSource::Gap => v1::SessionSource::Inactivity,
    }
}

impl From<Verdict> for v1::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::Allow,
            Verdict::Review => Self::Review,
            Verdict::Deny => Self::Deny,
        }
    }
}

impl From<RiskCategory> for v1::RiskCategory {
    fn from(category: RiskCategory) -> Self {
        match category {
            RiskCategory::Low => Self::Low,
            RiskCategory::Medium => Self::Medium,
            RiskCategory::High => Self::High,
            RiskCategory::Critical => Self::Critical,
        }
    }
}

impl From<Detector> for v1::Detector {
    fn from(detector: Detector) -> Self {
        match detector {
            Detector::Time => Self::Time,
            Detector::Rate => Self::Rate,
            Detector::Sequence => Self::Sequence,
            Detector::Context => Self::Context,
            Detector::Arguments => Self::Arguments,
            Detector::Novelty => Self::Novelty,
            Detector::Results => Self::Results,
        }
    }
}

impl From<Mode> for v1::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Observe => Self::Observe,
            Mode::Enforce => Self::Enforce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Account;
    use crate::domain::decision::{Assessment, Evidence};

    fn decision(reason: Reason, verdict: Verdict) -> Decision {
        let score = |detector| Score { detector, raw: None, surprise: 0, evidence: Evidence::None };
        let scores = Detector::ALL.map(score);
        Decision {
            verdict,
            enforced: true,
            reason,
            rule_id: "r".to_owned(),
            category: RiskCategory::Low,
            threshold: 0,
            counted: false,
            account: Account::default(),
            compositions: Vec::new(),
            assessment: Assessment { scores, evidence: 0, combined_raw: 0, floors: 0, risk: 0 },
        }
    }

    #[test]
    fn each_reason_has_its_code() {
        use v1::ReasonCode as Code;
        let code = |reason, verdict| reason_code(&decision(reason, verdict));
        for reason in Reason::ALL {
            assert_ne!(code(reason, Verdict::Review), Code::Unspecified);
        }
        assert_eq!(code(Reason::Imported, Verdict::Allow), Code::Imported);
        assert_eq!(code(Reason::CategoryDefault, Verdict::Deny), Code::DeniedByDefault);
        assert_eq!(code(Reason::Anomaly, Verdict::Review), Code::RiskOverReviewThreshold);
        let mut held = decision(Reason::Anomaly, Verdict::Review);
        held.account.tier = Tier::Joined;
        assert_eq!(reason_code(&held), Code::SessionHeld);
        let floors = |floors: &[Floor]| {
            let mut decision = decision(Reason::FloorFired, Verdict::Review);
            decision.assessment.floors = floors.iter().fold(0, |bits, floor| bits | floor.bit());
            reason_code(&decision)
        };
        assert_eq!(floors(&[Floor::SchemaMismatch]), Code::SchemaMismatch);
        assert_eq!(floors(&[Floor::DefinitionChanged]), Code::DefinitionChanged);
        assert_eq!(floors(&[Floor::SchemaMismatch, Floor::DefinitionChanged]), Code::FloorFired);
        assert_eq!(floors(&[Floor::Trifecta]), Code::FloorFired);
    }
}
