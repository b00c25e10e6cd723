//! Events of a session as rows and as JSON.

use super::evaluate::{as_json, short_name, verdict_name};
use crate::detector::sentence::shown;
use crate::domain::hex::hex;
use crate::domain::time::{SECOND_US, Timestamp};
use crate::proto::v1::event::Data;
use crate::proto::v1::{CallCompleted, Decision, Event, FindingStatus, VoteCast};
use serde_json::{Value, json};

/// A pause that is shown as a gap, seconds: the default one that starts a new session where no id is given.
const GAP_SECONDS: i64 = 1_800;

/// An instant of the API in words; a dash if it is absent.
pub(super) fn when(time: Option<&prost_types::Timestamp>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| Timestamp::from_micros(micros(time)).to_string())
}

/// An instant of the API, microseconds since 1970.
pub(super) fn micros(time: &prost_types::Timestamp) -> i64 {
    time.seconds.saturating_mul(SECOND_US).saturating_add(i64::from(time.nanos) / 1_000)
}

/// Rows of a timeline; a decision is shown with its call, and long pauses as gaps.
pub(super) fn rows(events: &[Event]) -> Vec<[String; 7]> {
    let mut tool = String::new();
    let mut rows: Vec<[String; 7]> = Vec::new();
    let mut last: Option<i64> = None;
    for event in events {
        let at = event.event_time.as_ref().map(micros);
        if let (Some(last), Some(at)) = (last, at)
            && at.saturating_sub(last) >= GAP_SECONDS * SECOND_US
        {
            let minutes = (at - last) / SECOND_US / 60;
            let what = format!("nothing for {} h {:02} min", minutes / 60, minutes % 60);
            rows.push(["", "", "gap", "", "", "", &what].map(str::to_owned));
        }
        last = at.or(last);
        rows.push(row(event, &mut tool));
        if let Some(Data::CallDecided(decided)) = &event.data {
            let sentences = decided.decision.iter().flat_map(sentences);
            rows.extend(sentences.map(|what| ["", "", "", "", "", "", &what].map(str::to_owned)));
        }
    }
    rows
}

/// The findings of a decision that have something to say, the oddest first.
fn sentences(decision: &Decision) -> Vec<String> {
    let mut findings: Vec<_> = decision
        .findings
        .iter()
        .filter(|finding| finding.status() == FindingStatus::Scored && !finding.sentence.is_empty())
        .filter(|finding| finding.surprise_millibits >= crate::detector::models::NOTABLE)
        .collect();
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.surprise_millibits));
    let bits = |millibits: i32| f64::from(millibits) / 1_000.0;
    findings
        .iter()
        .map(|finding| format!("{:.1} bits: {}", bits(finding.surprise_millibits), shown(&finding.sentence)))
        .collect()
}

/// One event: time, position, kind, tool, verdict, risk, and what happened. `tool` is that of the call at hand.
pub(super) fn row(event: &Event, tool: &mut String) -> [String; 7] {
    let plain = |kind: &str, what: String| (kind.to_owned(), String::new(), String::new(), what);
    let (kind, verdict, risk, what) = match &event.data {
        Some(Data::CallProposed(proposed)) => {
            let call = proposed.call.clone().unwrap_or_default();
            *tool = shown(&call.tool);
            plain("proposed", shown(&String::from_utf8_lossy(&call.arguments_json)))
        }
        Some(Data::CallDecided(decided)) => {
            let decision = decided.decision.clone().unwrap_or_default();
            let verdict = verdict_name(decision.computed_verdict());
            ("decided".to_owned(), verdict, decision.risk.to_string(), shown(&decision.reason))
        }
        Some(Data::CallCompleted(completed)) => plain("completed", outcome(completed)),
        Some(Data::SessionOpened(opened)) => {
            let parent = &opened.parent_session_key;
            let nested = if parent.is_empty() { String::new() } else { format!("nested in {parent}") };
            plain("opened", nested)
        }
        Some(Data::SessionClosed(closed)) => {
            plain("closed", short_name(closed.end().as_str_name(), "SESSION_END_"))
        }
        Some(Data::ReviewOpened(opened)) => {
            let review = opened.review.clone().unwrap_or_default();
            plain("review", format!("{} opened", shown(&review.review_id)))
        }
        Some(Data::VoteCast(cast)) => plain("vote", vote(cast)),
        Some(Data::ReviewResolved(resolved)) => {
            let state = short_name(resolved.state().as_str_name(), "REVIEW_STATE_");
            plain("review", format!("{} {state} {}", shown(&resolved.review_id), shown(&resolved.reason)))
        }
        Some(Data::ReviewDelegated(delegated)) => {
            plain("review", format!("handed to {}", shown(&delegated.delegate)))
        }
        Some(Data::CallReleased(released)) => {
            plain("released", short_name(released.reason_code().as_str_name(), "REASON_CODE_"))
        }
        Some(Data::CallRefused(refused)) => plain("refused", shown(&refused.reason)),
        Some(Data::LockPlaced(placed)) => {
            plain("lock", format!("placed {}", shown(&placed.lock.clone().unwrap_or_default().lock_id)))
        }
        Some(Data::LockLifted(lifted)) => plain("lock", format!("lifted {}", shown(&lifted.lock_id))),
        _ => plain("other", String::new()),
    };
    let of_call =
        matches!(event.data, Some(Data::CallProposed(_) | Data::CallDecided(_) | Data::CallCompleted(_)));
    let tool = if of_call { tool.clone() } else { String::new() };
    [when(event.event_time.as_ref()), event.position.to_string(), kind, tool, verdict, risk, what]
}

fn outcome(completed: &CallCompleted) -> String {
    let outcome = completed.outcome.clone().unwrap_or_default();
    let status = short_name(outcome.status().as_str_name(), "OUTCOME_STATUS_");
    let size = outcome.result_bytes.map_or_else(String::new, |bytes| format!(", {bytes} bytes"));
    let text = String::from_utf8_lossy(&outcome.result_text);
    let text = if text.is_empty() { String::new() } else { format!(": {}", shown(&text)) };
    format!("{status}{size}{text}")
}

fn vote(cast: &VoteCast) -> String {
    let vote = cast.vote.clone().unwrap_or_default();
    let choice = short_name(vote.choice().as_str_name(), "VOTE_CHOICE_");
    format!("{} by {} on {}", choice, shown(&vote.reviewer), shown(&cast.review_id))
}

/// An event for programs.
pub(super) fn event_json(event: &Event) -> Value {
    let (kind, data) = match &event.data {
        Some(Data::CallProposed(proposed)) => {
            let call = proposed.call.clone().unwrap_or_default();
            let arguments = serde_json::from_slice::<Value>(&call.arguments_json).unwrap_or(Value::Null);
            let data = json!({
                "call_id": call.call_id, "tool": call.tool, "server": call.server,
                "principal_chain": call.principal_chain, "arguments": arguments,
            });
            ("call_proposed", data)
        }
        Some(Data::CallDecided(decided)) => {
            ("call_decided", decided.decision.as_ref().map_or(Value::Null, as_json))
        }
        Some(Data::CallCompleted(completed)) => {
            let outcome = completed.outcome.clone().unwrap_or_default();
            let data = json!({
                "call_id": completed.call_id,
                "status": short_name(outcome.status().as_str_name(), "OUTCOME_STATUS_"),
                "result_bytes": outcome.result_bytes,
                "result": String::from_utf8_lossy(&outcome.result_text),
            });
            ("call_completed", data)
        }
        Some(Data::SessionOpened(opened)) => {
            let parent = (!opened.parent_session_key.is_empty()).then_some(&opened.parent_session_key);
            let data = json!({
                "session_id": opened.session_id, "principal_chain": opened.principal_chain,
                "client": opened.client, "parent_session_key": parent,
            });
            ("session_opened", data)
        }
        Some(Data::SessionClosed(closed)) => {
            ("session_closed", json!({ "end": short_name(closed.end().as_str_name(), "SESSION_END_") }))
        }
        Some(Data::ToolDefined(defined)) => {
            let name = defined.definition.as_ref().map(|definition| definition.name.as_str());
            ("tool_defined", json!({ "server": defined.server, "tool": name }))
        }
        Some(other) => overseen_json(other),
        None => ("other", Value::Null),
    };
    json!({
        "position": event.position,
        "partition": event.partition,
        "tenant": event.tenant,
        "session_key": event.session_key,
        "actor": event.actor,
        "revision": event.revision,
        "event_time": when(event.event_time.as_ref()),
        "receive_time": when(event.receive_time.as_ref()),
        "causation_position": event.causation_position,
        "hash": hex(&event.hash),
        "kind": kind,
        "data": data,
    })
}

/// Events of reviews for programs, and what comes of them.
fn overseen_json(data: &Data) -> (&'static str, Value) {
    let reason = |code: &str| short_name(code, "REASON_CODE_");
    match data {
        Data::ReviewOpened(opened) => {
            let review = opened.review.clone().unwrap_or_default();
            let call_id = review.call.map(|call| call.call_id);
            let data = json!({
                "review_id": review.review_id, "call_id": call_id, "groups": review.groups,
                "approvals_needed": review.approvals_needed, "deadline": when(review.deadline.as_ref()),
            });
            ("review_opened", data)
        }
        Data::ReviewJoined(joined) => {
            ("review_joined", json!({ "review_id": joined.review_id, "call_id": joined.call_id }))
        }
        Data::VoteCast(cast) => {
            let vote = cast.vote.clone().unwrap_or_default();
            let data = json!({
                "review_id": cast.review_id, "reviewer": vote.reviewer, "group": vote.group,
                "choice": short_name(vote.choice().as_str_name(), "VOTE_CHOICE_"), "comment": vote.comment,
            });
            ("vote_cast", data)
        }
        Data::ReviewDelegated(handed) => {
            let (id, to, group) = (&handed.review_id, &handed.delegate, &handed.group);
            ("review_delegated", json!({ "review_id": id, "delegate": to, "group": group }))
        }
        Data::ReviewResolved(resolved) => {
            let data = json!({
                "review_id": resolved.review_id,
                "state": short_name(resolved.state().as_str_name(), "REVIEW_STATE_"),
                "reason_code": reason(resolved.reason_code().as_str_name()), "reason": resolved.reason,
            });
            ("review_resolved", data)
        }
        Data::CallReleased(released) => {
            let code = reason(released.reason_code().as_str_name());
            let (call_id, review_id) = (&released.call_id, &released.review_id);
            let data = json!({ "call_id": call_id, "review_id": review_id, "reason_code": code, "risk": released.risk });
            ("call_released", data)
        }
        Data::CallRefused(refused) => {
            let code = reason(refused.reason_code().as_str_name());
            let (call_id, review_id) = (&refused.call_id, &refused.review_id);
            let data = json!({ "call_id": call_id, "review_id": review_id, "reason_code": code, "reason": refused.reason });
            ("call_refused", data)
        }
        other => ruled_json(other),
    }
}

/// Events of locks, tools and rules for programs.
fn ruled_json(data: &Data) -> (&'static str, Value) {
    match data {
        Data::LockPlaced(placed) => {
            let lock = placed.lock.clone().unwrap_or_default();
            let scope = short_name(lock.scope().as_str_name(), "LOCK_SCOPE_");
            let data = json!({ "lock_id": lock.lock_id, "scope": scope, "target": lock.target, "reason": lock.reason });
            ("lock_placed", data)
        }
        Data::LockLifted(lifted) => {
            let (id, reason, expired) = (&lifted.lock_id, &lifted.reason, lifted.expired);
            ("lock_lifted", json!({ "lock_id": id, "reason": reason, "expired": expired }))
        }
        Data::ToolRedefined(defined) => {
            let name = defined.definition.as_ref().map(|definition| definition.name.as_str());
            ("tool_redefined", json!({ "server": defined.server, "tool": name }))
        }
        Data::ToolAccepted(accepted) => {
            ("tool_accepted", json!({ "server": accepted.server, "tool": accepted.tool }))
        }
        Data::PolicyAdopted(adopted) => {
            let revision = adopted.policy.as_ref().map(|policy| policy.revision.as_str());
            ("policy_adopted", json!({ "revision": revision }))
        }
        Data::ModelAdopted(adopted) => {
            let model = adopted.model.clone().unwrap_or_default();
            ("model_adopted", json!({ "name": model.name, "revision": model.revision }))
        }
        _ => ("other", Value::Null),
    }
}
