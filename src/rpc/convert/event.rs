//! Events as timelines show them.

use super::decision::{confidence, core, names_of, source};
use super::{finding, key_of_stream, learning, oversight, policy, timestamp, tool};
use crate::detector::sentence::Names;
use crate::domain::call::{Origin, OutcomeStatus};
use crate::domain::decision::Verdict;
use crate::domain::event::{
    CallCompleted, CallDecided, CallProposed, CloseReason, Event, Payload, Pending, Recorded, SessionClosed,
    SessionOpened, ToolDefined, kind,
};
use crate::domain::stream::CallKey;
use crate::domain::time::Timestamp;
use crate::engine::{RECORD_FORMAT, TimelineEvent};
use crate::proto::v1::{self, event::Data};
use prost::bytes::Bytes;

/// The tenant of an event; none for an event of the daemon as a whole.
pub(in crate::rpc) fn tenant_of_event(event: &TimelineEvent) -> Option<&str> {
    match &event.recorded.record.event {
        Event::LogCreated(_) => None,
        Event::PolicyAdopted(event) => (!event.tenant.is_empty()).then_some(event.tenant.as_str()),
        Event::PolicyWithdrawn(event) => Some(&event.tenant),
        Event::RuleAccepted(event) => Some(&event.tenant),
        Event::RuleRevoked(event) => Some(&event.tenant),
        Event::ToolAccepted(event) => Some(&event.tenant),
        Event::SessionOpened(event) => Some(&event.tenant),
        Event::SessionClosed(event) => Some(&event.tenant),
        Event::ToolDefined(event) => Some(&event.tenant),
        Event::CallProposed(event) => Some(&event.tenant),
        Event::CallDecided(event) => Some(&event.tenant),
        Event::CallCompleted(event) => Some(&event.tenant),
        Event::BudgetSet(event) => Some(&event.tenant),
        Event::SessionUnlearned(event) => Some(&event.tenant),
        Event::ModelAdopted(_) => None,
        other => oversight::tenant_of(other),
    }
}

/// The type that a filter knows an event by.
pub(in crate::rpc) const fn type_of(event: &Event) -> v1::EventType {
    match event {
        Event::LogCreated(_) => v1::EventType::LogCreated,
        Event::SessionOpened(_) => v1::EventType::SessionOpened,
        Event::SessionClosed(_) => v1::EventType::SessionClosed,
        Event::ToolDefined(_) if event.kind() == kind::TOOL_REDEFINED => v1::EventType::ToolRedefined,
        Event::ToolDefined(_) => v1::EventType::ToolDefined,
        Event::CallProposed(_) => v1::EventType::CallProposed,
        Event::CallDecided(_) => v1::EventType::CallDecided,
        Event::CallCompleted(_) => v1::EventType::CallCompleted,
        Event::PolicyAdopted(_) => v1::EventType::PolicyAdopted,
        Event::PolicyWithdrawn(_) => v1::EventType::PolicyWithdrawn,
        Event::BudgetSet(_) => v1::EventType::BudgetSet,
        Event::SessionUnlearned(_) => v1::EventType::SessionUnlearned,
        Event::ModelAdopted(_) => v1::EventType::ModelAdopted,
        Event::RuleAccepted(_) => v1::EventType::RuleAccepted,
        Event::RuleRevoked(_) => v1::EventType::RuleRevoked,
        Event::ToolAccepted(_) => v1::EventType::ToolAccepted,
        other => oversight::type_of(other),
    }
}

/// The id of the call an event is about, where the event itself says it.
pub(in crate::rpc) fn call_id_of(event: &Event) -> Option<&str> {
    match event {
        Event::CallProposed(event) => Some(&event.call_id),
        Event::CallCompleted(event) => Some(&event.call_id),
        other => oversight::call_id_of(other),
    }
}

/// Who caused an event; empty where nobody is known to have.
fn actor_of(event: &Event) -> &str {
    match event {
        Event::PolicyAdopted(event) if !event.actor.is_empty() => &event.actor,
        Event::CallProposed(event) => &event.actor,
        Event::CallCompleted(event) => &event.actor,
        Event::PolicyWithdrawn(event) => &event.actor,
        Event::RuleAccepted(event) => &event.actor,
        Event::RuleRevoked(event) => &event.actor,
        Event::ToolAccepted(event) => &event.actor,
        Event::LogCreated(_) | Event::PolicyAdopted(_) | Event::CallDecided(_) => "askance",
        Event::SessionClosed(closed) if closed.reason != CloseReason::Ended => "askance",
        Event::SessionClosed(event) => &event.actor,
        Event::ToolDefined(event) => &event.actor,
        Event::SessionOpened(_) => "",
        other => oversight::actor_of(other),
    }
}

/// Turns events of a log into messages, in the order of the log: a decision is put into words with what
/// its proposal said, which stands right before it.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Converter {
    proposed: Option<Proposed>,
}

#[derive(Debug)]
struct Proposed {
    key: CallKey,
    call_id: String,
    tool: String,
    principal: String,
    skewed: bool,
    schema_fault: String,
    digest: Bytes,
    path_names: Vec<String>,
}

impl Converter {
    /// Notes what later events need of this one; must see every event, shown or not.
    pub(in crate::rpc) fn note(&mut self, event: &TimelineEvent) {
        let record = &event.recorded.record;
        let Event::CallProposed(proposed) = &record.event else { return };
        self.proposed = Some(Proposed {
            key: record.call,
            call_id: proposed.call_id.clone(),
            tool: proposed.tool.clone(),
            principal: proposed.principal_chain.last().cloned().unwrap_or_default(),
            skewed: proposed.skewed,
            schema_fault: proposed.schema_fault.clone(),
            digest: Bytes::copy_from_slice(&proposed.digest),
            path_names: names_of(&record.payload.arguments),
        });
    }

    /// The id of the call an event is about, if it is known here.
    pub(in crate::rpc) fn call_id<'a>(&'a self, event: &'a TimelineEvent) -> &'a str {
        let record = &event.recorded.record;
        call_id_of(&record.event)
            .or_else(|| Some(self.proposal(&record.call)?.call_id.as_str()))
            .unwrap_or("")
    }

    fn proposal(&self, call: &CallKey) -> Option<&Proposed> {
        self.proposed.as_ref().filter(|proposed| !call.is_none() && proposed.key == *call)
    }

    /// The event as a message.
    pub(in crate::rpc) fn event(&self, event: TimelineEvent, partition: u32) -> v1::Event {
        let tenant = tenant_of_event(&event).unwrap_or("").to_owned();
        let correlation_id = self.call_id(&event).to_owned();
        let position = event.recorded.position;
        let actor = actor_of(&event.recorded.record.event).to_owned();
        let arguments_digest = event.arguments_digest;
        let record = event.recorded.record;
        let trace = match &record.event {
            Event::CallProposed(proposed) if !proposed.traceparent.is_empty() => {
                Some(v1::TraceContext { traceparent: proposed.traceparent.clone(), ..Default::default() })
            }
            _ => None,
        };
        let call = record.call;
        let mut shown = v1::Event {
            position: position.get(),
            tenant,
            session_key: key_of_stream(&record.stream),
            revision: record.revision.get(),
            event_time: Some(timestamp(record.event_time)),
            receive_time: Some(timestamp(record.receive_time)),
            actor,
            causation_position: record.causation.get(),
            correlation_id,
            trace,
            format_version: RECORD_FORMAT.into(),
            hash: Bytes::copy_from_slice(&event.hash),
            erased: event.erased,
            partition,
            data: self.data(Recorded { position, record }, &call, partition),
        };
        if let (Some(Data::CallProposed(proposed)), Some(digest)) = (&mut shown.data, arguments_digest) {
            proposed.arguments_digest = Bytes::copy_from_slice(&digest);
        }
        shown
    }

    fn data(&self, recorded: Recorded, call: &CallKey, partition: u32) -> Option<Data> {
        let (at, position) = (recorded.record.event_time, recorded.position.get());
        let Pending { event, payload, stream, receive_time, .. } = recorded.record;
        Some(match event {
            Event::LogCreated(event) => Data::LogCreated(v1::LogCreated {
                log_id: Bytes::copy_from_slice(&event.log_id),
                partitions: event.partitions,
            }),
            Event::SessionOpened(event) => Data::SessionOpened(session_opened(event)),
            Event::SessionClosed(event) => Data::SessionClosed(session_closed(&event)),
            Event::ToolDefined(event) => tool_defined(event),
            Event::CallProposed(event) => Data::CallProposed(call_proposed(event, payload, at)),
            Event::CallDecided(event) => Data::CallDecided(self.call_decided(&event, call, position)),
            Event::CallCompleted(event) => Data::CallCompleted(call_completed(event, payload, at)),
            Event::PolicyAdopted(event) => Data::PolicyAdopted(v1::PolicyAdopted {
                policy: Some(policy::revision(event, at, position, true)),
            }),
            Event::PolicyWithdrawn(event) => {
                Data::PolicyWithdrawn(v1::PolicyWithdrawn { comment: event.comment })
            }
            Event::RuleAccepted(event) => Data::RuleAccepted(v1::RuleAccepted {
                grant: Some(policy::accepted(event, at, partition as usize)),
            }),
            Event::RuleRevoked(event) => {
                Data::RuleRevoked(v1::RuleRevoked { grant_id: event.grant_id, reason: event.reason })
            }
            Event::ToolAccepted(event) => Data::ToolAccepted(v1::ToolAccepted {
                server: event.server,
                tool: event.tool,
                definition_digest: Bytes::copy_from_slice(&event.definition_hash),
                comment: event.comment,
            }),
            Event::BudgetSet(event) => Data::BudgetSet(learning::budget_set(&event)),
            Event::SessionUnlearned(event) => Data::SessionUnlearned(learning::session_unlearned(event)),
            Event::ModelAdopted(event) => {
                Data::ModelAdopted(v1::ModelAdopted { model: Some(learning::model(event, at, position)) })
            }
            other => return oversight::data(other, position, &stream, receive_time, partition),
        })
    }

    fn call_decided(&self, event: &CallDecided, call: &CallKey, position: u64) -> v1::CallDecided {
        let decision = &event.decision;
        let proposed = self.proposal(call);
        let context = match proposed {
            Some(proposed) => {
                Names { tool: &proposed.tool, principal: &proposed.principal, paths: &proposed.path_names }
            }
            None => Names { tool: "this tool", principal: "this principal", paths: &[] },
        };
        let in_words = decision.verdict != Verdict::Allow;
        let skewed = proposed.is_some_and(|proposed| proposed.skewed);
        let mut answer = core(decision, skewed, in_words.then_some(&context));
        let misfit = proposed.map_or("", |proposed| &proposed.schema_fault);
        answer.findings.extend(finding::of_policy(decision, misfit));
        answer.position = position;
        answer.state_position = position.saturating_sub(2);
        answer.policy_revision = event.policy_revision.to_string();
        answer.model_revision = event.scoring_version.to_string();
        if let Some(proposed) = proposed {
            answer.call_id.clone_from(&proposed.call_id);
            answer.call_digest = proposed.digest.clone();
        }
        v1::CallDecided { decision: Some(answer) }
    }
}

fn session_opened(event: SessionOpened) -> v1::SessionOpened {
    v1::SessionOpened {
        session_id: event.session_id,
        source: source(event.source).into(),
        confidence: confidence(event.source).into(),
        principal_chain: event.principal_chain,
        client: event.client,
        parent_session_key: key_of_stream(&event.parent),
        start_time: None,
    }
}

fn session_closed(event: &SessionClosed) -> v1::SessionClosed {
    v1::SessionClosed { end: end_of(event.reason).into(), learnt: true, ..v1::SessionClosed::default() }
}

/// Why a session ended.
pub(in crate::rpc) const fn end_of(reason: CloseReason) -> v1::SessionEnd {
    match reason {
        CloseReason::Ended => v1::SessionEnd::Explicit,
        CloseReason::Idle => v1::SessionEnd::Idle,
        CloseReason::Aged => v1::SessionEnd::Age,
        CloseReason::Evicted => v1::SessionEnd::Evicted,
    }
}

/// The definition that an event carries.
pub(in crate::rpc) fn definition_of(event: ToolDefined) -> v1::ToolDefinition {
    tool::handed_in(event.tool, event.description, event.input_schema, &event.annotations)
}

fn tool_defined(event: ToolDefined) -> Data {
    let server = event.server.clone();
    let definition_digest = Bytes::copy_from_slice(&event.definition_hash);
    let assessment = Some(tool::assessment(event.category, event.capabilities));
    let previous = event.previous_hash;
    let definition = Some(definition_of(event));
    match previous {
        None => Data::ToolDefined(v1::ToolDefined { server, definition, definition_digest, assessment }),
        Some(previous) => Data::ToolRedefined(v1::ToolRedefined {
            server,
            definition,
            definition_digest,
            previous_digest: Bytes::copy_from_slice(&previous),
            assessment,
        }),
    }
}

fn call_proposed(event: CallProposed, payload: Payload, at: Timestamp) -> v1::CallProposed {
    let arguments_bytes = payload.arguments.len() as u64;
    let request = (!payload.user_request.is_empty()).then(|| v1::UserRequest {
        text: String::from_utf8_lossy(&payload.user_request).into_owned(),
        ..v1::UserRequest::default()
    });
    let imported = event.origin == Origin::Imported;
    v1::CallProposed {
        call: Some(v1::ToolCall {
            call_id: event.call_id,
            tool: event.tool,
            server: event.server,
            arguments_json: payload.arguments.into(),
            principal_chain: event.principal_chain,
            call_time: (!event.skewed).then(|| timestamp(at)),
            tenant: event.tenant,
            utc_offset_minutes: Some(event.features.utc_offset_minutes.into()),
            turn: event.turn,
            user_request: request,
            ..v1::ToolCall::default()
        }),
        call_digest: Bytes::copy_from_slice(&event.digest),
        arguments_bytes,
        import_origin: imported.then(v1::ImportOrigin::default),
        masked_values: event.masked,
        ..v1::CallProposed::default()
    }
}

fn call_completed(event: CallCompleted, payload: Payload, at: Timestamp) -> v1::CallCompleted {
    let status = match event.status {
        OutcomeStatus::Ok => v1::OutcomeStatus::Ok,
        OutcomeStatus::Error => v1::OutcomeStatus::Error,
        OutcomeStatus::Abandoned => v1::OutcomeStatus::Abandoned,
    };
    let outcome = v1::Outcome {
        status: status.into(),
        latency: event.latency_us.map(|us| super::duration(std::time::Duration::from_micros(us))),
        result_bytes: Some(event.result_bytes),
        result_text: payload.result.into(),
        end_time: Some(timestamp(at)),
        ..v1::Outcome::default()
    };
    v1::CallCompleted { call_id: event.call_id, outcome: Some(outcome), breach: false }
}
