//! OCSF 1.8: every decided call as API Activity (6003), and one that was not allowed as Detection Finding (2004) with
//! what was observed against what is usual.

use super::row::CallRow;
use crate::proto::v1::{Finding, FindingStatus};
use serde_json::{Value, json};

/// The schema's version.
const VERSION: &str = "1.8.0";
/// Surprise from which a finding is an anomaly, millibits: one call in twenty.
const ANOMALY_MILLIBITS: i32 = 4_322;

/// The OCSF events of a call, in order.
pub fn events(row: &CallRow) -> Vec<Value> {
    let mut events = vec![api_activity(row)];
    if row.computed_verdict != "allow" {
        events.push(detection_finding(row));
    }
    events.iter_mut().for_each(without_empty);
    events
}

/// What is not known is left out: empty texts, and what then holds nothing.
fn without_empty(value: &mut Value) {
    let is_empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(without_empty);
            fields.retain(|_, value| !is_empty(value));
        }
        Value::Array(values) => values.iter_mut().for_each(without_empty),
        _ => {}
    }
}

fn api_activity(row: &CallRow) -> Value {
    let (action_id, disposition_id) = match (row.enforced, row.verdict.as_str()) {
        (true, "deny") => (2, 2),
        (true, "review") => (2, 14),
        (true, _) => (1, 1),
        (false, _) if row.computed_verdict == "allow" => (3, 1),
        (false, _) => (3, 19),
    };
    json!({
        "activity_id": 99,
        "activity_name": "tools/call",
        "category_uid": 6,
        "category_name": "Application Activity",
        "class_uid": 6003,
        "class_name": "API Activity",
        "type_uid": 600_399,
        "type_name": "API Activity: Other",
        "severity_id": severity(row.risk),
        "time": row.time_us.div_euclid(1_000),
        "metadata": metadata(row, &["security_control"]),
        "actor": actor(row),
        "api": {
            "operation": format!("tools/call {}", row.tool),
            "service": { "name": row.server },
            "request": { "uid": row.call_id },
        },
        "src_endpoint": { "name": if row.client.is_empty() { "unknown" } else { &row.client } },
        "action_id": action_id,
        "disposition_id": disposition_id,
        "is_alert": row.computed_verdict != "allow",
        "policy": { "name": if row.rule_id.is_empty() { "default" } else { &row.rule_id } },
        "message": row.reason,
        "unmapped": unmapped(row),
    })
}

fn detection_finding(row: &CallRow) -> Value {
    let odd = |finding: &&Finding| {
        finding.status() == FindingStatus::Scored && finding.surprise_millibits >= ANOMALY_MILLIBITS
    };
    let side = |finding: &Finding, what: &str| {
        json!({
            "observation_parameter": parameter(finding),
            "observation_type": "Deviation Analysis",
            "observations": [{ "value": what }],
        })
    };
    let odd: Vec<&Finding> = row.findings.iter().filter(odd).collect();
    let anomalies: Vec<Value> = odd.iter().map(|finding| side(finding, said(&finding.observed))).collect();
    let baselines: Vec<Value> = odd.iter().map(|finding| side(finding, said(&finding.expected))).collect();
    let mut event = json!({
        "activity_id": 1,
        "activity_name": "Create",
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "type_uid": 200_401,
        "type_name": "Detection Finding: Create",
        "severity_id": severity(row.risk),
        "status_id": 1,
        "time": row.time_us.div_euclid(1_000),
        "metadata": metadata(row, &[]),
        "finding_info": {
            "uid": format!("askance-{}", row.uid()),
            "title": format!("{}: {}", row.computed_verdict.to_uppercase(), row.tool),
            "desc": row.reason,
            "analytic": { "name": "askance", "type_id": 3, "type": "Statistical" },
            "created_time": row.time_us.div_euclid(1_000),
        },
        "risk_score": row.risk,
        "risk_level_id": risk_level(row.risk),
        "message": sentences(&odd).unwrap_or_else(|| row.reason.clone()),
        "evidences": [{ "actor": actor(row), "api": { "operation": format!("tools/call {}", row.tool) } }],
        "unmapped": unmapped(row),
    });
    if let (false, Some(fields)) = (anomalies.is_empty(), event.as_object_mut()) {
        let analysis = json!([{
            "analysis_targets": [
                { "name": row.principal, "type": "Principal" },
                { "name": row.tool, "type": "Tool" },
            ],
            "anomalies": anomalies,
            "baselines": baselines,
        }]);
        fields.insert("anomaly_analyses".to_owned(), analysis);
    }
    event
}

fn sentences(odd: &[&Finding]) -> Option<String> {
    let sentences: Vec<&str> =
        odd.iter().map(|finding| finding.sentence.as_str()).filter(|text| !text.is_empty()).collect();
    (!sentences.is_empty()).then(|| sentences.join(" "))
}

fn said(text: &str) -> &str {
    if text.is_empty() { "not told" } else { text }
}

fn parameter(finding: &Finding) -> String {
    finding.detector().as_str_name().trim_start_matches("DETECTOR_").to_ascii_lowercase()
}

fn metadata(row: &CallRow, profiles: &[&str]) -> Value {
    json!({
        "version": VERSION,
        "product": { "name": "askance", "vendor_name": "askance", "version": env!("CARGO_PKG_VERSION") },
        "uid": row.uid(),
        "sequence": row.position,
        "correlation_uid": row.session_key,
        "tenant_uid": row.tenant,
        "logged_time": row.receive_time_us.div_euclid(1_000),
        "profiles": profiles,
    })
}

fn actor(row: &CallRow) -> Value {
    json!({
        "user": { "name": row.principal, "uid": row.principal },
        "session": { "uid": row.session_key },
    })
}

fn unmapped(row: &CallRow) -> Value {
    json!({
        "principal_chain": row.principal_chain,
        "verdict": row.verdict,
        "computed_verdict": row.computed_verdict,
        "risk": row.risk,
        "evidence_bits": row.bits,
        "reason_code": row.reason_code,
        "record_hash": row.hash,
    })
}

/// 1 informational to 5 critical.
const fn severity(risk: u32) -> u32 {
    match risk {
        0..=29 => 1,
        30..=49 => 2,
        50..=69 => 3,
        70..=89 => 4,
        _ => 5,
    }
}

/// 0 informational to 4 critical.
const fn risk_level(risk: u32) -> u32 {
    severity(risk) - 1
}

#[cfg(test)]
#[path = "ocsf_tests.rs"]
mod tests;
