//! What the span of a call says.

use super::ids;
use super::messages::{Link, Span, SpanEvent, Status, Value, attribute, text};
use super::names;
use super::{ERROR, INTERNAL, OK, nanos, short};
use crate::domain::hex::hex;
use crate::proto::v1;

/// Surprise from which a finding becomes an event of its span, millibits: one call in twenty.
const NOTABLE_MILLIBITS: i32 = 4_322;

/// The span of a call that came in. `arguments`: put them into it; else their keyed digest, if the event has one.
pub(super) fn begin(event: &v1::Event, proposed: &v1::CallProposed, arguments: bool) -> Span {
    let call = proposed.call.clone().unwrap_or_default();
    let (tenant, session_key) = (&event.tenant, &event.session_key);
    let mut attributes = vec![
        text(names::OPERATION, "execute_tool"),
        text(names::TOOL, &call.tool),
        text(names::CALL_ID, &call.call_id),
        text(names::TENANT, tenant),
        text(names::SESSION_KEY, session_key),
        text(names::SERVER, &call.server),
        text(names::AGENT, call.principal_chain.last().map_or("", String::as_str)),
    ];
    if !proposed.arguments_digest.is_empty() {
        let digest = format!("hmac-sha256:{}", hex(&proposed.arguments_digest));
        attributes.push(text(names::ARGUMENTS_DIGEST, &digest));
    }
    if arguments && !call.arguments_json.is_empty() {
        attributes.push(text(names::ARGUMENTS, &String::from_utf8_lossy(&call.arguments_json)));
    }
    let ours = (ids::trace_of(tenant, session_key), ids::root_of(tenant, session_key));
    let callers = event.trace.as_ref().and_then(|trace| ids::parse(&trace.traceparent));
    // Under the caller's own trace where it has one; its session is then a link.
    let (trace_id, parent_span_id, links) = match callers {
        Some((trace_id, parent)) => {
            (trace_id, parent, vec![Link { trace_id: ours.0.to_vec(), span_id: ours.1.to_vec() }])
        }
        None => (ours.0.to_vec(), ours.1.to_vec(), Vec::new()),
    };
    let start = nanos(event.event_time.as_ref());
    Span {
        trace_id,
        span_id: ids::call(event).to_vec(),
        parent_span_id,
        name: format!("execute_tool {}", call.tool),
        kind: INTERNAL,
        start_time_unix_nano: start,
        end_time_unix_nano: start,
        attributes,
        links,
        ..Span::default()
    }
}

/// Adds the decision. What was denied is an error.
pub(super) fn decide(span: &mut Span, event: &v1::Event, decision: &v1::Decision) {
    let bits = |millibits: i32| Value::Double(f64::from(millibits) / 1_000.0);
    let verdict = short(decision.verdict().as_str_name(), "VERDICT_");
    span.attributes.extend([
        text(names::VERDICT, &verdict),
        attribute(names::ENFORCED, Value::Bool(decision.enforced)),
        attribute(names::RISK, Value::Int(decision.risk.into())),
        attribute(names::EVIDENCE, bits(decision.evidence_millibits)),
        text(names::REASON, &short(decision.reason_code().as_str_name(), "REASON_CODE_")),
        attribute(names::POSITION, Value::Int(event.position as i64)),
    ]);
    if !decision.rule_id.is_empty() {
        span.attributes.push(text(names::RULE, &decision.rule_id));
    }
    let odd = |finding: &&v1::Finding| {
        finding.status() == v1::FindingStatus::Scored && finding.surprise_millibits >= NOTABLE_MILLIBITS
    };
    let start = span.start_time_unix_nano;
    span.events.extend(decision.findings.iter().filter(odd).map(|finding| SpanEvent {
        time_unix_nano: start,
        name: names::FINDING.to_owned(),
        attributes: vec![
            text(names::DETECTOR, &short(finding.detector().as_str_name(), "DETECTOR_")),
            attribute(names::SURPRISE, bits(finding.surprise_millibits)),
            text(names::SENTENCE, &finding.sentence),
        ],
    }));
    if decision.verdict() == v1::Verdict::Deny {
        fail(span, &verdict, &decision.reason);
    }
}

/// Adds that a review let the call go.
pub(super) fn release(span: &mut Span, event: &v1::Event, released: &v1::CallReleased) {
    let at = nanos(event.event_time.as_ref());
    span.end_time_unix_nano = span.end_time_unix_nano.max(at);
    let why = short(released.reason_code().as_str_name(), "REASON_CODE_");
    span.attributes.push(text(names::REVIEW_ID, &released.review_id));
    span.events.push(SpanEvent {
        time_unix_nano: at,
        name: names::RELEASED.to_owned(),
        attributes: vec![text(names::REASON, &why), attribute(names::RISK, Value::Int(released.risk.into()))],
    });
}

/// Adds that the call was refused in the end.
pub(super) fn refuse(span: &mut Span, event: &v1::Event, refused: &v1::CallRefused) {
    span.end_time_unix_nano = span.end_time_unix_nano.max(nanos(event.event_time.as_ref()));
    span.attributes.push(text(names::REVIEW_ID, &refused.review_id));
    let why = short(refused.reason_code().as_str_name(), "REASON_CODE_");
    fail(span, &why, &refused.reason);
}

/// Adds how the call itself ended. One that was denied stays an error.
pub(super) fn complete(span: &mut Span, completed: &v1::CallCompleted) {
    let outcome = completed.outcome.clone().unwrap_or_default();
    let latency = outcome.latency.map_or(0, |latency| {
        u64::try_from(latency.seconds).unwrap_or(0) * 1_000_000_000
            + u64::try_from(latency.nanos).unwrap_or(0)
    });
    let ended = nanos(outcome.end_time.as_ref());
    let ended = ended.max(span.start_time_unix_nano + latency);
    span.end_time_unix_nano = span.end_time_unix_nano.max(ended);
    match outcome.status() {
        v1::OutcomeStatus::Ok if span.status.is_none() => {
            span.status = Some(Status { message: String::new(), code: OK });
        }
        v1::OutcomeStatus::Ok => {}
        status => fail(span, "tool_error", &short(status.as_str_name(), "OUTCOME_STATUS_")),
    }
}

fn fail(span: &mut Span, error_type: &str, message: &str) {
    if span.status.as_ref().is_none_or(|status| status.code != ERROR) {
        span.attributes.push(text(names::ERROR_TYPE, error_type));
        span.status = Some(Status { message: message.to_owned(), code: ERROR });
    }
}
