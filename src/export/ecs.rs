//! Elastic Common Schema 9.5: one document a decided call; what was not allowed is an alert.

use super::row::CallRow;
use serde_json::{Value, json};

/// The schema's version.
const VERSION: &str = "9.5.0";

/// The document of a call.
pub fn document(row: &CallRow) -> Value {
    let alert = row.computed_verdict != "allow";
    let mut categories = vec!["api"];
    if alert {
        categories.push("intrusion_detection");
    }
    let access = if row.enforced && row.verdict != "allow" { "denied" } else { "allowed" };
    let mut document = json!({
        "@timestamp": row.time(),
        "ecs": { "version": VERSION },
        "message": row.reason,
        "event": {
            "id": row.uid(),
            "kind": if alert { "alert" } else { "event" },
            "category": categories,
            "type": ["access", access],
            "action": "tool-call",
            "outcome": if access == "allowed" { "success" } else { "failure" },
            "risk_score": row.risk,
            "risk_score_norm": row.risk,
            "sequence": row.position,
            "hash": row.hash,
            "reason": row.reason,
            "provider": "askance",
            "module": "askance",
        },
        "organization": { "id": row.tenant },
        "user": { "name": row.principal },
        "gen_ai": {
            "operation": { "name": "execute_tool" },
            "tool": { "name": row.tool, "call": { "id": row.call_id } },
        },
        "service": { "name": row.server },
        "labels": {
            "askance_verdict": row.verdict,
            "askance_computed_verdict": row.computed_verdict,
            "askance_session_key": row.session_key,
            "askance_category": row.category,
            "askance_reason_code": row.reason_code,
        },
    });
    let Some(fields) = document.as_object_mut() else { return document };
    if !row.rule_id.is_empty() {
        fields.insert("rule".to_owned(), json!({ "id": row.rule_id, "name": row.rule_id }));
    }
    if let Some(trace) = row.traceparent.split('-').nth(1).filter(|trace| trace.len() == 32) {
        fields.insert("trace".to_owned(), json!({ "id": trace }));
    }
    document
}

#[cfg(test)]
mod tests {
    use super::super::row::tests::row_of;
    use super::*;
    use crate::proto::v1::Verdict;

    #[test]
    fn calls_are_events_and_what_was_held_is_an_alert() {
        let held = document(&row_of("drop_table", Verdict::Review, 81));
        assert_eq!(
            (held["event"]["kind"].as_str(), held["event"]["type"][1].as_str()),
            (Some("alert"), Some("denied"))
        );
        assert_eq!(held["@timestamp"], "2025-11-17T17:20:00.250Z");
        assert_eq!(held["gen_ai"]["tool"]["name"], "drop_table");
        assert_eq!(held["event"]["sequence"], 7);
        let passed = document(&row_of("get_logs", Verdict::Allow, 12));
        assert_eq!(
            (passed["event"]["kind"].as_str(), passed["event"]["outcome"].as_str()),
            (Some("event"), Some("success"))
        );
        assert!(passed.get("rule").is_none() && passed.get("trace").is_none());
    }

    #[test]
    fn the_callers_trace_is_named() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let mut row = row_of("get_logs", Verdict::Allow, 12);
        row.traceparent = format!("00-{trace}-00f067aa0ba902b7-01");
        assert_eq!(document(&row)["trace"]["id"], trace);
    }
}
