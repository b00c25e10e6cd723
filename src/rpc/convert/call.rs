//! Calls and outcomes as they come in.

use super::{micros, span};
use crate::decide::ingest::{FINGERPRINTS_MAX, History, Ingest, RawCall, RawOutcome, Violation};
use crate::domain::call::{Call, Outcome, OutcomeStatus};
use crate::domain::hex;
use crate::domain::time::Timestamp;
use crate::engine::Engine;
use crate::proto::v1;
use crate::rpc::shared::tenant_of;
use crate::rpc::status::Failure;
use prost::bytes::Bytes;
use std::borrow::Cow;

/// Bytes of text that is handed in beside a call and that nothing looks at yet.
const SYSTEM_TEXT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a `tracestate`.
const TRACESTATE_BYTES_MAX: usize = 512;
/// Bytes of a `baggage`.
const BAGGAGE_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an error's text.
const ERROR_TEXT_BYTES_MAX: usize = 16 * 1024;
/// The key of the conversation in baggage.
const CONVERSATION_KEY: &str = "gen_ai.conversation.id";
/// The fingerprint function that is understood.
pub(in crate::rpc) const FINGERPRINT_SCHEME: u32 = 1;

/// How calls come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Intake {
    /// A gateway asks before it runs the call.
    Live,
    /// History, with its own times if it has any.
    History,
}

/// What is kept of a request while the engine has its call: enough for an answer in words.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Echo {
    /// The call's id.
    pub(in crate::rpc) call_id: String,
    /// Its tenant.
    pub(in crate::rpc) tenant: String,
    /// Number of its tenant's partition.
    pub(in crate::rpc) partition: usize,
    /// Its tool.
    pub(in crate::rpc) tool: String,
    /// Who acts.
    pub(in crate::rpc) principal: String,
    /// Its arguments as sent: only names of paths are taken from them.
    pub(in crate::rpc) arguments: Bytes,
    /// Whether every finding is to be explained.
    pub(in crate::rpc) explain: bool,
}

/// Checks a call and makes it ready for the engine.
pub(in crate::rpc) fn admit(
    engine: &Engine,
    call: Option<v1::ToolCall>,
    explain: bool,
    intake: Intake,
) -> Result<(Box<Call>, Echo), Failure> {
    let Some(call) = call else { return Err(Failure::field("call", "is missing")) };
    let tenant = tenant_of(&call.tenant);
    let checked = checked(engine.ingest(tenant), &call, engine.now(), intake);
    let ready = match checked {
        Ok(ready) => Box::new(ready),
        Err(violations) => {
            engine.count(tenant, |counters| &counters.requests_invalid);
            return Err(Failure::invalid(violations));
        }
    };
    let tenant = if call.tenant.is_empty() { tenant.to_owned() } else { call.tenant };
    let echo = Echo {
        call_id: call.call_id,
        partition: engine.partition_of(&tenant),
        tenant,
        tool: call.tool,
        principal: { call.principal_chain }.pop().unwrap_or_default(),
        arguments: call.arguments_json,
        explain,
    };
    Ok((ready, echo))
}

fn checked(
    ingest: &Ingest,
    call: &v1::ToolCall,
    now: Timestamp,
    intake: Intake,
) -> Result<Call, Vec<Violation>> {
    let mut faults = Vec::new();
    check_unread(call, &mut faults);
    let call_time = micros("call.call_time", call.call_time.as_ref(), &mut faults);
    let trace = call.trace.as_ref();
    let conversation = match trace {
        Some(trace) if !trace.baggage.is_empty() => conversation_in(&trace.baggage),
        _ => Cow::Borrowed(""),
    };
    let raw = raw(call, &conversation, call_time, intake);
    match ingest.call(&raw, now) {
        Ok(ready) if faults.is_empty() => Ok(ready),
        Ok(_) => Err(faults),
        Err(mut found) => {
            found.extend(faults);
            Err(found)
        }
    }
}

/// The call as the engine's door takes it, borrowed from the message.
fn raw<'a>(
    call: &'a v1::ToolCall,
    conversation: &'a str,
    call_time: Option<i64>,
    intake: Intake,
) -> RawCall<'a> {
    let session = call.session.as_ref();
    let hint = |of: fn(&v1::SessionHints) -> &String| session.map_or("", |hints| of(hints).as_str());
    let conversation_id = match hint(|hints| &hints.conversation_id) {
        "" => conversation,
        given => given,
    };
    RawCall {
        call_id: &call.call_id,
        tenant: &call.tenant,
        server: &call.server,
        tool: &call.tool,
        principal_chain: &call.principal_chain,
        client: &call.client,
        arguments: &call.arguments_json,
        session_id: hint(|hints| &hints.session_id),
        conversation_id,
        host_session_id: hint(|hints| &hints.host_session_id),
        mcp_session_id: hint(|hints| &hints.mcp_session_id),
        parent_session_id: hint(|hints| &hints.parent_session_id),
        traceparent: call.trace.as_ref().map_or("", |trace| trace.traceparent.as_str()),
        user_request: call.user_request.as_ref().map_or("", |request| request.text.as_str()),
        request_words: call
            .user_request
            .as_ref()
            .and_then(|request| request.fingerprints.as_ref())
            .map(|fingerprints| (fingerprints.key_id.as_str(), fingerprints.stems.as_slice())),
        turn: call.turn,
        call_time,
        utc_offset_minutes: call.utc_offset_minutes,
        history: match (intake, call_time) {
            (Intake::Live, _) => None,
            (Intake::History, Some(_)) => Some(History::Timed),
            (Intake::History, None) => Some(History::Untimed),
        },
    }
}

/// Limits on what the engine does not read yet.
fn check_unread(call: &v1::ToolCall, faults: &mut Vec<Violation>) {
    if !matches!(call.definition_digest.len(), 0 | 32) {
        let description = "is neither empty nor 32 bytes long".to_owned();
        faults.push(Violation { field: "call.definition_digest", description });
    }
    if let Some(trace) = &call.trace {
        limit("call.trace.tracestate", trace.tracestate.len(), TRACESTATE_BYTES_MAX, faults);
        limit("call.trace.baggage", trace.baggage.len(), BAGGAGE_BYTES_MAX, faults);
    }
    if let Some(request) = &call.user_request {
        limit("call.user_request.system_text", request.system_text.len(), SYSTEM_TEXT_BYTES_MAX, faults);
        check_fingerprints("call.user_request.fingerprints", request.fingerprints.as_ref(), faults);
        check_fingerprints(
            "call.user_request.system_fingerprints",
            request.system_fingerprints.as_ref(),
            faults,
        );
    }
}

fn limit(field: &'static str, length: usize, most: usize, faults: &mut Vec<Violation>) {
    if length > most {
        faults.push(Violation { field, description: format!("is {length} bytes long, at most {most}") });
    }
}

fn check_fingerprints(
    field: &'static str,
    fingerprints: Option<&v1::Fingerprints>,
    faults: &mut Vec<Violation>,
) {
    let Some(fingerprints) = fingerprints else { return };
    if fingerprints.scheme != FINGERPRINT_SCHEME {
        let description = format!("have scheme {}; only 1 is understood", fingerprints.scheme);
        faults.push(Violation { field, description });
    }
    let longest = fingerprints.values.len().max(fingerprints.bigrams.len()).max(fingerprints.stems.len());
    if longest > FINGERPRINTS_MAX {
        let description = format!("hold a list of {longest}, at most {FINGERPRINTS_MAX}");
        faults.push(Violation { field, description });
    }
}

/// `gen_ai.conversation.id` of a W3C baggage header; empty if it has none.
fn conversation_in(baggage: &str) -> Cow<'_, str> {
    for member in baggage.split(',') {
        let entry = member.split(';').next().unwrap_or("");
        if let Some((key, value)) = entry.split_once('=')
            && key.trim() == CONVERSATION_KEY
        {
            return decode_percent(value.trim());
        }
    }
    Cow::Borrowed("")
}

/// Percent-decoding; what is no escape, or decodes to no UTF-8, stays as it is.
fn decode_percent(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = match after {
            [high, low, ..] if byte == b'%' => hex::byte(*high, *low),
            _ => None,
        };
        out.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(out).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Checks and masks an outcome.
pub(in crate::rpc) fn outcome(
    engine: &Engine,
    tenant: &str,
    outcome: Option<v1::Outcome>,
) -> Result<Outcome, Failure> {
    let Some(outcome) = outcome else { return Err(Failure::field("outcome", "is missing")) };
    let mut faults = Vec::new();
    let status = match outcome.status() {
        v1::OutcomeStatus::Ok => Some(OutcomeStatus::Ok),
        v1::OutcomeStatus::Error => Some(OutcomeStatus::Error),
        v1::OutcomeStatus::Abandoned => Some(OutcomeStatus::Abandoned),
        v1::OutcomeStatus::Unspecified => None,
    };
    if status.is_none() {
        let description = "is not OK, ERROR or ABANDONED".to_owned();
        faults.push(Violation { field: "outcome.status", description });
    }
    let latency = span("outcome.latency", outcome.latency.as_ref(), &mut faults);
    let end_time = micros("outcome.end_time", outcome.end_time.as_ref(), &mut faults);
    limit("outcome.error_text", outcome.error_text.len(), ERROR_TEXT_BYTES_MAX, &mut faults);
    check_fingerprints("outcome.result_fingerprints", outcome.result_fingerprints.as_ref(), &mut faults);
    let Some(status) = status.filter(|_| faults.is_empty()) else {
        engine.count(tenant, |counters| &counters.requests_invalid);
        return Err(Failure::invalid(faults));
    };
    let result = if outcome.result_text.is_empty() {
        outcome.error_text.as_bytes()
    } else {
        outcome.result_text.as_ref()
    };
    let words = match outcome.result_fingerprints {
        Some(fingerprints) if outcome.result_text.is_empty() => {
            Some((fingerprints.key_id, fingerprints.stems))
        }
        _ => None,
    };
    let raw = RawOutcome {
        status,
        latency_us: latency.map(|latency| u64::try_from(latency.as_micros()).unwrap_or(u64::MAX)),
        result_bytes: outcome.result_bytes.unwrap_or(0),
        result,
        fingerprints: Vec::new(),
        words,
        end_time: end_time.map(Timestamp::from_micros),
    };
    engine.ingest(tenant).outcome(raw).map_err(|violations| {
        engine.count(tenant, |counters| &counters.requests_invalid);
        Failure::invalid(violations)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baggage_names_the_conversation() {
        let check = |baggage: &str, expected: &str| assert_eq!(conversation_in(baggage), expected);
        check("", "");
        check("a=b", "");
        check("gen_ai.conversation.id=c1", "c1");
        check("a=b, gen_ai.conversation.id = c%201;p=q ,x=y", "c 1");
        check("gen_ai.conversation.id=100%", "100%");
        check("gen_ai.conversation.id=%ff", "%ff");
        check("gen_ai.conversation.id=%+1", "%+1");
        check("xgen_ai.conversation.id=c", "");
    }
}
