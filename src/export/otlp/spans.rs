//! From events to spans.
//!
//! A call is held until its outcome comes, its session ends, or [`HOLD_US`] pass by the log's own times; at most
//! [`HELD_MAX`] calls are. What a span says depends on the log alone.

use super::messages::{KeyValue, Link, Span, SpanEvent, Status, Value, attribute, text};
use super::names;
use crate::domain::time::SECOND_US;
use crate::proto::v1::{self, event::Data};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Longest time that a call waits for its outcome, by the times of receipt in the log, microseconds.
pub const HOLD_US: i64 = 60 * SECOND_US;
/// Calls that wait for their outcome.
pub const HELD_MAX: usize = 4_096;
/// Surprise from which a finding becomes an event of its span, millibits: one call in twenty.
const NOTABLE_MILLIBITS: i32 = 4_322;
const INTERNAL: i32 = 1;
const OK: i32 = 1;
const ERROR: i32 = 2;

/// A call that waits.
#[derive(Debug)]
struct Held {
    span: Span,
    session_key: String,
    tenant: String,
    call_id: String,
    received_us: i64,
    decided: bool,
}

/// A session that ended: what its span is made of stands in its other events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Tenant.
    pub tenant: String,
    /// Key of the session.
    pub session_key: String,
    /// Position of its `SessionClosed`.
    pub position: u64,
    /// When it ended, nanoseconds since 1970.
    pub end_nano: u64,
    /// How.
    pub end: String,
}

/// What an event gave.
#[derive(Debug)]
pub enum Made {
    /// A span.
    Span(Span),
    /// A session ended.
    Ended(Ended),
}

/// Events becoming spans.
#[derive(Debug, Default)]
pub struct Spans {
    held: BTreeMap<u64, Held>,
    by_call: HashMap<(String, String), u64>,
    /// Positions at or behind [`Spans::next`] whose spans were made already.
    made: BTreeSet<u64>,
    last: u64,
    arguments: bool,
}

impl Spans {
    /// Goes on at a position, without those that were made already. `arguments`: put them into the spans.
    pub fn resume(made: impl IntoIterator<Item = u64>, arguments: bool) -> Self {
        Self { made: made.into_iter().collect(), arguments, ..Self::default() }
    }

    /// The position to go on at: before it nothing waits.
    pub fn next(&self) -> u64 {
        self.held.keys().next().copied().unwrap_or(self.last + 1)
    }

    /// Positions from [`Spans::next`] on whose spans were made already.
    pub fn made(&self) -> impl Iterator<Item = u64> {
        self.made.range(self.next()..).copied()
    }

    /// Takes the next event.
    pub fn take(&mut self, event: &v1::Event, made: &mut Vec<Made>) {
        self.last = self.last.max(event.position);
        let received = micros(event.receive_time.as_ref());
        self.expire(received, made);
        match &event.data {
            Some(Data::CallProposed(proposed)) if !self.made.contains(&event.position) => {
                self.hold(event, proposed, received);
                while self.held.len() > HELD_MAX
                    && let Some(oldest) = self.held.keys().next().copied()
                {
                    self.release(oldest, made);
                }
            }
            Some(Data::CallDecided(decided)) => {
                let proposed_at = event.position - 1;
                let decision = decided.decision.clone().unwrap_or_default();
                if let Some(held) = self.held.get_mut(&proposed_at) {
                    held.decided = true;
                    decide(&mut held.span, event, &decision);
                    if decision.verdict() != v1::Verdict::Allow {
                        self.release(proposed_at, made);
                    }
                }
            }
            Some(Data::CallCompleted(completed)) => {
                let call = (event.tenant.clone(), completed.call_id.clone());
                if let Some(proposed_at) = self.by_call.get(&call).copied() {
                    if let Some(held) = self.held.get_mut(&proposed_at) {
                        complete(&mut held.span, completed);
                    }
                    self.release(proposed_at, made);
                }
            }
            Some(Data::SessionClosed(closed)) => {
                let of_session =
                    |held: &Held| held.session_key == event.session_key && held.tenant == event.tenant;
                let ended: Vec<u64> =
                    self.held.iter().filter(|(_, held)| of_session(held)).map(|(at, _)| *at).collect();
                ended.into_iter().for_each(|at| self.release(at, made));
                if self.made.insert(event.position) {
                    made.push(Made::Ended(Ended {
                        tenant: event.tenant.clone(),
                        session_key: event.session_key.clone(),
                        position: event.position,
                        end_nano: nanos(event.event_time.as_ref()),
                        end: closed
                            .end()
                            .as_str_name()
                            .trim_start_matches("SESSION_END_")
                            .to_ascii_lowercase(),
                    }));
                }
            }
            _ => {}
        }
        self.made = self.made.split_off(&self.next());
    }

    /// Lets everything go that waits: nothing comes any more.
    pub fn finish(&mut self, made: &mut Vec<Made>) {
        let waiting: Vec<u64> = self.held.keys().copied().collect();
        waiting.into_iter().for_each(|at| self.release(at, made));
    }

    /// Lets go what waits since too long, by the time of receipt of what came last.
    fn expire(&mut self, now_us: i64, made: &mut Vec<Made>) {
        while let Some((at, held)) = self.held.first_key_value()
            && now_us.saturating_sub(held.received_us) > HOLD_US
        {
            let at = *at;
            self.release(at, made);
        }
    }

    fn hold(&mut self, event: &v1::Event, proposed: &v1::CallProposed, received_us: i64) {
        let call = proposed.call.clone().unwrap_or_default();
        let (tenant, session_key) = (event.tenant.clone(), event.session_key.clone());
        let mut attributes = vec![
            text(names::OPERATION, "execute_tool"),
            text(names::TOOL, &call.tool),
            text(names::CALL_ID, &call.call_id),
            text(names::TENANT, &tenant),
            text(names::SESSION_KEY, &session_key),
            text(names::SERVER, &call.server),
            text(names::AGENT, call.principal_chain.last().map_or("", String::as_str)),
            text(names::DIGEST, &hex(&proposed.call_digest)),
        ];
        if self.arguments && !call.arguments_json.is_empty() {
            attributes.push(text(names::ARGUMENTS, &String::from_utf8_lossy(&call.arguments_json)));
        }
        let ours = (trace_of(&tenant, &session_key), root_of(&tenant, &session_key));
        let callers = event.trace.as_ref().and_then(|trace| parse(&trace.traceparent));
        // Under the caller's own trace where it has one; its session is then a link.
        let (trace_id, parent_span_id, links) = match callers {
            Some((trace_id, parent)) => {
                (trace_id, parent, vec![Link { trace_id: ours.0.to_vec(), span_id: ours.1.to_vec() }])
            }
            None => (ours.0.to_vec(), ours.1.to_vec(), Vec::new()),
        };
        let start = nanos(event.event_time.as_ref());
        let span = Span {
            trace_id,
            span_id: id(&[
                "call",
                &tenant,
                &session_key,
                &event.partition.to_string(),
                &event.position.to_string(),
            ])
            .to_vec(),
            parent_span_id,
            name: format!("execute_tool {}", call.tool),
            kind: INTERNAL,
            start_time_unix_nano: start,
            end_time_unix_nano: start,
            attributes,
            links,
            ..Span::default()
        };
        self.by_call.insert((tenant.clone(), call.call_id.clone()), event.position);
        let held = Held { span, session_key, tenant, call_id: call.call_id, received_us, decided: false };
        self.held.insert(event.position, held);
    }

    fn release(&mut self, at: u64, made: &mut Vec<Made>) {
        let Some(held) = self.held.remove(&at) else { return };
        self.by_call.remove(&(held.tenant, held.call_id));
        if held.decided && self.made.insert(at) {
            made.push(Made::Span(held.span));
        }
    }
}

fn decide(span: &mut Span, event: &v1::Event, decision: &v1::Decision) {
    let short = |name: &str, prefix: &str| name.trim_start_matches(prefix).to_ascii_lowercase();
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
    if verdict != "allow" {
        span.attributes.push(text(names::ERROR_TYPE, &verdict));
        span.status = Some(Status { message: decision.reason.clone(), code: ERROR });
    }
}

fn complete(span: &mut Span, completed: &v1::CallCompleted) {
    let outcome = completed.outcome.clone().unwrap_or_default();
    let latency = outcome.latency.map_or(0, |latency| {
        u64::try_from(latency.seconds).unwrap_or(0) * 1_000_000_000
            + u64::try_from(latency.nanos).unwrap_or(0)
    });
    let ended = nanos(outcome.end_time.as_ref());
    span.end_time_unix_nano = ended.max(span.start_time_unix_nano + latency);
    let status = outcome.status();
    if status == v1::OutcomeStatus::Ok {
        span.status = Some(Status { message: String::new(), code: OK });
    } else {
        span.attributes.push(text(names::ERROR_TYPE, "tool_error"));
        let message = status.as_str_name().trim_start_matches("OUTCOME_STATUS_").to_ascii_lowercase();
        span.status = Some(Status { message, code: ERROR });
    }
}

/// The span of a session that ended, from its openings and endings in order (`SESSION_OPENED`, `SESSION_CLOSED`).
pub fn session_span(ended: &Ended, events: &[v1::Event]) -> Option<Span> {
    let before: Vec<&v1::Event> = events.iter().filter(|event| event.position < ended.position).collect();
    let opened = before.iter().rev().find_map(|event| match &event.data {
        Some(Data::SessionOpened(opened)) => Some((*event, opened)),
        _ => None,
    });
    let (opening, opened) = opened?;
    // The first ending closes the root that calls hang under; one that was opened again gets a span of its own below.
    let first = !before.iter().any(|event| matches!(event.data, Some(Data::SessionClosed(_))));
    let root = root_of(&ended.tenant, &ended.session_key);
    let span_id = if first {
        root
    } else {
        id(&["again", &ended.tenant, &ended.session_key, &ended.position.to_string()])
    };
    let parent = &opened.parent_session_key;
    let links = (!parent.is_empty()).then(|| Link {
        trace_id: trace_of(&ended.tenant, parent).to_vec(),
        span_id: root_of(&ended.tenant, parent).to_vec(),
    });
    Some(Span {
        trace_id: trace_of(&ended.tenant, &ended.session_key).to_vec(),
        span_id: span_id.to_vec(),
        parent_span_id: if first { Vec::new() } else { root.to_vec() },
        name: "agent session".to_owned(),
        kind: INTERNAL,
        start_time_unix_nano: nanos(opening.event_time.as_ref()),
        end_time_unix_nano: ended.end_nano.max(nanos(opening.event_time.as_ref())),
        attributes: session_attributes(ended, opened),
        links: links.into_iter().collect(),
        ..Span::default()
    })
}

fn session_attributes(ended: &Ended, opened: &v1::SessionOpened) -> Vec<KeyValue> {
    vec![
        text(names::CONVERSATION, &opened.session_id),
        text(names::SESSION_KEY, &ended.session_key),
        text(names::TENANT, &ended.tenant),
        text(names::AGENT, opened.principal_chain.last().map_or("", String::as_str)),
        text(names::END, &ended.end),
    ]
}

/// 8 bytes of a hash over texts; never zero, which the protocol forbids.
fn id(parts: &[&str]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hash(parts)[..8]);
    bytes[7] |= u8::from(bytes == [0; 8]);
    bytes
}

fn root_of(tenant: &str, session_key: &str) -> [u8; 8] {
    id(&["session", tenant, session_key])
}

fn trace_of(tenant: &str, session_key: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash(&["trace", tenant, session_key])[..16]);
    bytes
}

fn hash(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix("askance otlp 1");
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Trace id and span id of a W3C `traceparent`, if it is one.
fn parse(traceparent: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut parts = traceparent.split('-');
    let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = |text: &str, length: usize| {
        let pairs = text.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).ok());
        let bytes: Option<Vec<u8>> = pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect();
        bytes.filter(|bytes| text.len() == 2 * length && bytes.iter().any(|byte| *byte != 0))
    };
    (version.len() == 2 && version != "ff").then_some(())?;
    Some((bytes(trace, 16)?, bytes(parent, 8)?))
}

fn micros(time: Option<&prost_types::Timestamp>) -> i64 {
    time.map_or(0, |time| {
        time.seconds.saturating_mul(SECOND_US).saturating_add(i64::from(time.nanos) / 1_000)
    })
}

fn nanos(time: Option<&prost_types::Timestamp>) -> u64 {
    u64::try_from(micros(time)).unwrap_or(0).saturating_mul(1_000)
}

#[cfg(test)]
#[path = "spans_tests.rs"]
mod tests;
