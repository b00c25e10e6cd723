//! What the span of a review says: a child of the span of the call that asked for it.

use super::ids;
use super::messages::{KeyValue, Span, SpanEvent, Status, Value, attribute, text};
use super::names;
use super::{ERROR, INTERNAL, OK, nanos, short};
use crate::proto::v1;

/// Events of a review's span: the first ones.
const EVENTS_MAX: usize = 64;

/// The span of a review that was opened for this call.
pub(super) fn begin(event: &v1::Event, review: &v1::Review, call: &Span) -> Span {
    let tool = review.call.as_ref().map_or("", |call| call.tool.as_str());
    let start = nanos(event.event_time.as_ref());
    Span {
        trace_id: call.trace_id.clone(),
        span_id: ids::review(event).to_vec(),
        parent_span_id: call.span_id.clone(),
        name: format!("review {tool}"),
        kind: INTERNAL,
        start_time_unix_nano: start,
        end_time_unix_nano: start,
        attributes: vec![
            text(names::REVIEW_ID, &review.review_id),
            text(names::TENANT, &event.tenant),
            text(names::SESSION_KEY, &event.session_key),
            text(names::TOOL, tool),
            text(names::REVIEW_GROUPS, &review.groups.join(",")),
            attribute(names::REVIEW_APPROVALS, Value::Int(review.approvals_needed.into())),
        ],
        ..Span::default()
    }
}

/// Adds a vote: who and what, never what was said.
pub(super) fn vote(span: &mut Span, event: &v1::Event, vote: &v1::Vote) {
    let choice = short(vote.choice().as_str_name(), "VOTE_CHOICE_");
    let attributes = vec![
        text(names::REVIEWER, &vote.reviewer),
        text(names::REVIEW_GROUPS, &vote.group),
        text(names::VOTE, &choice),
    ];
    happen(span, event, names::VOTE_CAST, attributes);
}

/// Adds that it was handed to somebody.
pub(super) fn delegate(span: &mut Span, event: &v1::Event, delegated: &v1::ReviewDelegated) {
    let attributes =
        vec![text(names::REVIEWER, &delegated.delegate), text(names::REVIEW_GROUPS, &delegated.group)];
    happen(span, event, names::REVIEW_DELEGATED, attributes);
}

/// Adds that another call joined it.
pub(super) fn join(span: &mut Span, event: &v1::Event, joined: &v1::ReviewJoined) {
    happen(span, event, names::REVIEW_JOINED, vec![text(names::CALL_ID, &joined.call_id)]);
}

/// Adds how it went on; whether that ended it.
pub(super) fn resolve(span: &mut Span, event: &v1::Event, resolved: &v1::ReviewResolved) -> bool {
    let state = short(resolved.state().as_str_name(), "REVIEW_STATE_");
    if resolved.state() == v1::ReviewState::Escalated {
        let attributes = vec![text(names::REVIEW_GROUPS, &resolved.groups.join(","))];
        happen(span, event, names::REVIEW_ESCALATED, attributes);
        return false;
    }
    span.end_time_unix_nano = span.start_time_unix_nano.max(nanos(event.event_time.as_ref()));
    span.attributes.push(text(names::REVIEW_STATE, &state));
    span.attributes.push(text(names::REASON, &short(resolved.reason_code().as_str_name(), "REASON_CODE_")));
    let approved = matches!(resolved.state(), v1::ReviewState::Approved | v1::ReviewState::Consumed);
    span.status = Some(if approved {
        Status { message: String::new(), code: OK }
    } else {
        span.attributes.push(text(names::ERROR_TYPE, &state));
        Status { message: resolved.reason.clone(), code: ERROR }
    });
    true
}

fn happen(span: &mut Span, event: &v1::Event, name: &str, attributes: Vec<KeyValue>) {
    let at = nanos(event.event_time.as_ref());
    span.end_time_unix_nano = span.end_time_unix_nano.max(at);
    if span.events.len() < EVENTS_MAX {
        span.events.push(SpanEvent { time_unix_nano: at, name: name.to_owned(), attributes });
    } else {
        span.dropped_events_count += 1;
    }
}
