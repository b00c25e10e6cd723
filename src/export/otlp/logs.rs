//! Log records of what somebody should see: a call that was not simply allowed, reviews, locks, and changes of rules.
//! One record an event of the log, so that the same log gives the same records.

use super::ids;
use super::log_messages::LogRecord;
use super::messages::{AnyValue, KeyValue, Value, attribute, text};
use super::{names, nanos, short};
use crate::proto::v1::{self, event::Data};

const INFORMATION: (i32, &str) = (9, "INFO");
const WARNING: (i32, &str) = (13, "WARN");
const ERROR: (i32, &str) = (17, "ERROR");

/// Events becoming log records.
#[derive(Debug, Default)]
pub struct Logs {
    /// The call proposed last: a decision stands right behind its proposal.
    proposed: Option<Proposed>,
}

#[derive(Debug)]
struct Proposed {
    position: u64,
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
    call: v1::ToolCall,
}

/// A record being made: event name, severity, body, attributes.
type Said = (&'static str, (i32, &'static str), String, Vec<KeyValue>);

impl Logs {
    /// Takes the next event; the record that it gives, if it does.
    pub fn take(&mut self, event: &v1::Event) -> Option<LogRecord> {
        if let Some(Data::CallProposed(proposed)) = &event.data {
            self.propose(event, proposed);
            return None;
        }
        let of_call = self.proposed.as_ref().filter(|proposed| {
            matches!(event.data, Some(Data::CallDecided(_))) && proposed.position + 1 == event.position
        });
        let (event_name, severity, body, mut attributes) = match &event.data {
            Some(Data::CallDecided(decided)) => decision(decided.decision.as_ref()?, &of_call?.call)?,
            other => said(other.as_ref()?)?,
        };
        attributes.extend([
            text(names::TENANT, &event.tenant),
            text(names::SESSION_KEY, &event.session_key),
            attribute(names::POSITION, Value::Int(event.position as i64)),
        ]);
        let (trace_id, span_id) = match of_call {
            Some(call) => (call.trace_id.clone(), call.span_id.clone()),
            None if event.session_key.is_empty() => (Vec::new(), Vec::new()),
            None => (
                ids::trace_of(&event.tenant, &event.session_key).to_vec(),
                ids::root_of(&event.tenant, &event.session_key).to_vec(),
            ),
        };
        Some(LogRecord {
            time_unix_nano: nanos(event.event_time.as_ref()),
            observed_time_unix_nano: nanos(event.receive_time.as_ref()),
            severity_number: severity.0,
            severity_text: severity.1.to_owned(),
            body: Some(AnyValue { value: Some(Value::Text(body)) }),
            attributes,
            trace_id,
            span_id,
            event_name: event_name.to_owned(),
        })
    }

    fn propose(&mut self, event: &v1::Event, proposed: &v1::CallProposed) {
        let callers = event.trace.as_ref().and_then(|trace| ids::parse(&trace.traceparent));
        let trace_id = callers.map_or_else(
            || ids::trace_of(&event.tenant, &event.session_key).to_vec(),
            |(trace_id, _)| trace_id,
        );
        self.proposed = Some(Proposed {
            position: event.position,
            trace_id,
            span_id: ids::call(event).to_vec(),
            call: proposed.call.clone().unwrap_or_default(),
        });
    }
}

/// A call that was denied, held, or would have been; none for one that was simply allowed.
fn decision(decision: &v1::Decision, call: &v1::ToolCall) -> Option<Said> {
    let computed = decision.computed_verdict();
    let severity = match computed {
        v1::Verdict::Deny => ERROR,
        v1::Verdict::Review => WARNING,
        _ => return None,
    };
    let verdict = short(decision.verdict().as_str_name(), "VERDICT_");
    let computed = short(computed.as_str_name(), "VERDICT_");
    let mut attributes = vec![
        text(names::TOOL, &call.tool),
        text(names::SERVER, &call.server),
        text(names::CALL_ID, &call.call_id),
        text(names::AGENT, call.principal_chain.last().map_or("", String::as_str)),
        text(names::VERDICT, &verdict),
        text(names::COMPUTED_VERDICT, &computed),
        attribute(names::ENFORCED, Value::Bool(decision.enforced)),
        attribute(names::RISK, Value::Int(decision.risk.into())),
        text(names::REASON, &short(decision.reason_code().as_str_name(), "REASON_CODE_")),
    ];
    if !decision.rule_id.is_empty() {
        attributes.push(text(names::RULE, &decision.rule_id));
    }
    let sentences = decision.findings.iter().map(|finding| finding.sentence.as_str());
    let sentences: Vec<&str> = sentences.filter(|sentence| !sentence.is_empty()).take(8).collect();
    if !sentences.is_empty() {
        attributes.push(text(names::SENTENCE, &sentences.join(" ")));
    }
    Some((names::LOG_DECISION, severity, decision.reason.clone(), attributes))
}

fn said(data: &Data) -> Option<Said> {
    Some(match data {
        Data::ReviewOpened(opened) => {
            let review = opened.review.clone().unwrap_or_default();
            let tool = review.call.map(|call| call.tool).unwrap_or_default();
            let attributes = vec![text(names::REVIEW_ID, &review.review_id), text(names::TOOL, &tool)];
            (names::LOG_REVIEW_OPENED, WARNING, "a call waits for a human".to_owned(), attributes)
        }
        Data::ReviewResolved(resolved) => {
            let state = short(resolved.state().as_str_name(), "REVIEW_STATE_");
            let attributes =
                vec![text(names::REVIEW_ID, &resolved.review_id), text(names::REVIEW_STATE, &state)];
            (names::LOG_REVIEW_RESOLVED, INFORMATION, resolved.reason.clone(), attributes)
        }
        Data::LockPlaced(placed) => {
            let lock = placed.lock.clone().unwrap_or_default();
            let scope = short(lock.scope().as_str_name(), "LOCK_SCOPE_");
            let attributes = vec![text(names::LOCK_ID, &lock.lock_id), text(names::LOCK_SCOPE, &scope)];
            (names::LOG_LOCK_PLACED, ERROR, lock.reason, attributes)
        }
        Data::LockLifted(lifted) => {
            let attributes = vec![text(names::LOCK_ID, &lifted.lock_id)];
            (names::LOG_LOCK_LIFTED, INFORMATION, lifted.reason.clone(), attributes)
        }
        Data::ToolRedefined(redefined) => {
            let tool = redefined.definition.as_ref().map_or("", |definition| definition.name.as_str());
            let attributes = vec![text(names::TOOL, tool), text(names::SERVER, &redefined.server)];
            (names::LOG_TOOL_CHANGED, WARNING, "a tool has another definition".to_owned(), attributes)
        }
        Data::PolicyAdopted(_) => {
            (names::LOG_POLICY_ADOPTED, INFORMATION, "a policy came into force".to_owned(), Vec::new())
        }
        Data::ModelAdopted(_) => {
            (names::LOG_MODEL_ADOPTED, INFORMATION, "a model was put into use".to_owned(), Vec::new())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::row::tests::events;
    use super::*;

    #[test]
    fn a_record_for_what_was_not_simply_allowed_beside_the_span_of_its_call() {
        let take = |verdict| {
            let mut logs = Logs::default();
            let [proposed, decided] = events("drop_table", verdict, 81);
            assert_eq!(logs.take(&proposed), None);
            logs.take(&decided)
        };
        assert_eq!(take(v1::Verdict::Allow), None);
        let denied = take(v1::Verdict::Deny).unwrap();
        assert_eq!((denied.severity_number, denied.event_name.as_str()), (17, names::LOG_DECISION));
        let [proposed, decided] = events("drop_table", v1::Verdict::Deny, 81);
        assert_eq!(denied.span_id, ids::call(&proposed));
        assert_eq!(denied.attributes.len(), 13);
        // Without its proposal a decision says too little.
        assert_eq!(Logs::default().take(&decided), None);
    }
}
