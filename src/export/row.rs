//! One decided call as a flat row: what every tabular form is made of.

use crate::domain::hex::hex;
use crate::domain::time::{SECOND_US, Timestamp};
use crate::proto::v1::{self, event::Data};
use serde::Serialize;

/// Detectors that a row has a column for, in order.
pub const DETECTORS: [(v1::Detector, &str); 7] = [
    (v1::Detector::Time, "time_bits"),
    (v1::Detector::Rate, "rate_bits"),
    (v1::Detector::Sequence, "sequence_bits"),
    (v1::Detector::Context, "context_bits"),
    (v1::Detector::Arguments, "arguments_bits"),
    (v1::Detector::Novelty, "novelty_bits"),
    (v1::Detector::Results, "results_bits"),
];

/// A decided call.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallRow {
    /// Position of its `CallDecided`; unique within a partition.
    pub position: u64,
    /// Its partition.
    pub partition: u32,
    /// When it happened, microseconds since 1970.
    pub time_us: i64,
    /// When it was received, microseconds since 1970.
    pub receive_time_us: i64,
    /// Tenant.
    pub tenant: String,
    /// Key of the session.
    pub session_key: String,
    /// The acting principal.
    pub principal: String,
    /// Everyone it acts for, outermost first, the acting one last.
    pub principal_chain: Vec<String>,
    /// Agent host.
    pub client: String,
    /// MCP server.
    pub server: String,
    /// Tool.
    pub tool: String,
    /// The client's id of the call.
    pub call_id: String,
    /// W3C `traceparent` it came with; may be empty.
    pub traceparent: String,
    /// Masked arguments, JSON; empty unless asked for.
    pub arguments: String,
    /// Whether it was handed in as history.
    pub imported: bool,
    /// What the gateway was told: `allow`, `review` or `deny`.
    pub verdict: String,
    /// What enforce mode would have said.
    pub computed_verdict: String,
    /// Whether the verdict bound.
    pub enforced: bool,
    /// Risk, 0 to 100.
    pub risk: u32,
    /// Evidence, bits.
    pub bits: f64,
    /// Threshold of the review budget, bits.
    pub threshold_bits: f64,
    /// Risk category.
    pub category: String,
    /// What settled the verdict.
    pub reason_code: String,
    /// The same in a sentence.
    pub reason: String,
    /// The rule that won; empty: a default.
    pub rule_id: String,
    /// Surprise of each of [`DETECTORS`], bits; none where it abstained.
    pub detector_bits: [Option<f64>; DETECTORS.len()],
    /// What was odd, with what was expected: for tools that show findings.
    #[serde(skip)]
    pub findings: Vec<v1::Finding>,
    /// SHA-256 of the record, hex.
    pub hash: String,
}

impl CallRow {
    /// The time of the call as RFC 3339 text.
    pub fn time(&self) -> String {
        Timestamp::from_micros(self.time_us).to_string()
    }

    /// Id that names it among all logs of a daemon.
    pub fn uid(&self) -> String {
        format!("{}-{}", self.partition, self.position)
    }
}

/// Makes rows from events in the order of the log: a decision stands right behind its proposal.
#[derive(Debug, Default)]
pub struct Rows {
    proposed: Option<(u64, v1::ToolCall, bool, String)>,
}

impl Rows {
    /// Takes an event; the row of the call that it completes, if it does.
    pub fn take(&mut self, event: &v1::Event) -> Option<CallRow> {
        match &event.data {
            Some(Data::CallProposed(proposed)) => {
                let trace = event.trace.as_ref().map_or_else(String::new, |trace| trace.traceparent.clone());
                let imported = proposed.import_origin.is_some();
                self.proposed =
                    Some((event.position, proposed.call.clone().unwrap_or_default(), imported, trace));
                None
            }
            Some(Data::CallDecided(decided)) => {
                let (position, call, imported, traceparent) = self.proposed.take()?;
                let decision = decided.decision.as_ref()?;
                (position + 1 == event.position).then(|| row(event, call, decision, imported, traceparent))
            }
            _ => None,
        }
    }
}

fn bits(millibits: i32) -> f64 {
    f64::from(millibits) / 1_000.0
}

fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map_or(0, |time| {
        time.seconds.saturating_mul(SECOND_US).saturating_add(i64::from(time.nanos) / 1_000)
    })
}

/// An enum's value without its prefix, in lower case.
fn short(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

fn row(
    event: &v1::Event,
    call: v1::ToolCall,
    decision: &v1::Decision,
    imported: bool,
    traceparent: String,
) -> CallRow {
    let of = |detector: v1::Detector| {
        let scored = |finding: &&v1::Finding| {
            finding.detector() == detector && finding.status() == v1::FindingStatus::Scored
        };
        decision.findings.iter().find(scored).map(|finding| bits(finding.surprise_millibits))
    };
    CallRow {
        position: event.position,
        partition: event.partition,
        time_us: micros(event.event_time.as_ref()),
        receive_time_us: micros(event.receive_time.as_ref()),
        tenant: event.tenant.clone(),
        session_key: event.session_key.clone(),
        principal: call.principal_chain.last().cloned().unwrap_or_default(),
        principal_chain: call.principal_chain,
        client: call.client,
        server: call.server,
        tool: call.tool,
        call_id: call.call_id,
        traceparent,
        arguments: String::from_utf8_lossy(&call.arguments_json).into_owned(),
        imported,
        verdict: short(decision.verdict().as_str_name(), "VERDICT_"),
        computed_verdict: short(decision.computed_verdict().as_str_name(), "VERDICT_"),
        enforced: decision.enforced,
        risk: decision.risk,
        bits: bits(decision.evidence_millibits),
        threshold_bits: bits(decision.threshold_millibits),
        category: short(decision.category().as_str_name(), "RISK_CATEGORY_"),
        reason_code: short(decision.reason_code().as_str_name(), "REASON_CODE_"),
        reason: decision.reason.clone(),
        rule_id: decision.rule_id.clone(),
        detector_bits: DETECTORS.map(|(detector, _)| of(detector)),
        findings: decision.findings.clone(),
        hash: hex(&event.hash),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A proposal at position 6 and its decision.
    pub(in crate::export) fn events(tool: &str, verdict: v1::Verdict, risk: u32) -> [v1::Event; 2] {
        let call = v1::ToolCall {
            call_id: "c-1".to_owned(),
            tool: tool.to_owned(),
            server: "k8s".to_owned(),
            principal_chain: vec!["user:ann".to_owned(), "agent:ops".to_owned()],
            ..v1::ToolCall::default()
        };
        let finding = v1::Finding {
            detector: v1::Detector::Novelty.into(),
            status: v1::FindingStatus::Scored.into(),
            surprise_millibits: 9_000,
            p_value: 0.002,
            observed: "never used before".to_owned(),
            expected: "0 of 11 principals use it".to_owned(),
            sentence: "First use by agent:ops.".to_owned(),
            ..v1::Finding::default()
        };
        let decision = v1::Decision {
            verdict: verdict.into(),
            computed_verdict: verdict.into(),
            enforced: true,
            risk,
            evidence_millibits: 9_500,
            findings: vec![finding],
            category: v1::RiskCategory::High.into(),
            reason: "the call is unusual for whoever makes it".to_owned(),
            reason_code: v1::ReasonCode::RiskOverReviewThreshold.into(),
            ..v1::Decision::default()
        };
        let event = |position: u64, data: Data| v1::Event {
            position,
            tenant: "acme".to_owned(),
            session_key: "ab".repeat(16),
            event_time: Some(prost_types::Timestamp { seconds: 1_763_400_000, nanos: 250_000_000 }),
            receive_time: Some(prost_types::Timestamp { seconds: 1_763_400_001, nanos: 0 }),
            hash: vec![7; 32].into(),
            data: Some(data),
            ..v1::Event::default()
        };
        [
            event(
                6,
                Data::CallProposed(v1::CallProposed { call: Some(call), ..v1::CallProposed::default() }),
            ),
            event(7, Data::CallDecided(v1::CallDecided { decision: Some(decision) })),
        ]
    }

    pub(in crate::export) fn row_of(tool: &str, verdict: v1::Verdict, risk: u32) -> CallRow {
        let [proposed, decided] = events(tool, verdict, risk);
        let mut rows = Rows::default();
        assert_eq!(rows.take(&proposed), None);
        rows.take(&decided).unwrap()
    }

    #[test]
    fn a_row_is_made_of_a_proposal_and_its_decision() {
        let row = row_of("drop_table", v1::Verdict::Review, 81);
        assert_eq!((row.position, row.tool.as_str(), row.principal.as_str()), (7, "drop_table", "agent:ops"));
        assert_eq!((row.verdict.as_str(), row.risk, row.bits), ("review", 81, 9.5));
        assert_eq!(row.detector_bits[5], Some(9.0));
        assert_eq!(row.detector_bits[0], None);
        assert_eq!(row.time(), "2025-11-17T17:20:00.250Z");
        // A decision whose proposal was not seen makes no row.
        let [_, decided] = events("x", v1::Verdict::Allow, 1);
        assert_eq!(Rows::default().take(&decided), None);
    }
}
