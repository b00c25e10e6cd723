//! Events that report facts and decide nothing: outcomes, tool definitions, the end of a session.

use super::housekeep::closed;
use crate::domain::call::{Digest, Outcome};
use crate::domain::event::{CallCompleted, CloseReason, Event, Payload, Pending, ToolDefined};
use crate::domain::json::Json;
use crate::domain::position::{Position, Revision};
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::policy::category;
use crate::projection::{State, tool_hash};
use sha2::{Digest as _, Sha256};

/// A tool definition at the door, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// MCP server.
    pub server: String,
    /// Tool name.
    pub tool: String,
    /// Description.
    pub description: String,
    /// JSON Schema of the arguments; may be empty.
    pub input_schema: Vec<u8>,
    /// Annotations, JSON; may be empty.
    pub annotations: Vec<u8>,
}

/// The event for a definition that is new or changed; none for one that is known as it is.
pub fn define_tool(
    state: &State,
    tenant: &str,
    definition: Definition,
    actor: &str,
    now: Timestamp,
) -> Option<Pending> {
    let hash = definition_hash(&definition);
    let key = tool_hash(&state.key(), &definition.server, &definition.tool);
    let known = state.tenant(tenant).and_then(|tenant| tenant.inventory.get(key));
    let previous_hash = known.map(|tool| tool.definition_hash);
    if previous_hash == Some(hash) {
        return None;
    }
    let annotations = Json::parse(&definition.annotations).ok();
    let schema = Json::parse(&definition.input_schema).ok();
    let inferred =
        category::infer(&definition.tool, &definition.description, annotations.as_ref(), schema.as_ref());
    Some(Pending {
        stream: StreamId::NONE,
        revision: state.own_revision.next(),
        event_time: now,
        receive_time: now,
        call: CallKey::NONE,
        causation: Position::ZERO,
        event: Event::ToolDefined(ToolDefined {
            tenant: tenant.to_owned(),
            server: definition.server,
            tool: definition.tool,
            definition_hash: hash,
            previous_hash,
            description: definition.description,
            input_schema: definition.input_schema,
            annotations: definition.annotations,
            category: inferred.category,
            capabilities: inferred.capabilities,
            actor: actor.to_owned(),
        }),
        payload: Payload::default(),
    })
}

/// SHA-256 over description, schema and annotations, each preceded by its length. Of JSON the order of members does not
/// count, nor the spaces between them: servers write the same schema in another order to clients of another revision.
pub fn definition_hash(definition: &Definition) -> Digest {
    let sorted = |text: &[u8]| {
        let Ok(value) = Json::parse(text) else { return text.to_vec() };
        let mut out = Vec::with_capacity(text.len());
        value.sorted().write(&mut out);
        out
    };
    let mut hash = Sha256::new();
    let description = definition.description.as_bytes().to_vec();
    for part in [description, sorted(&definition.input_schema), sorted(&definition.annotations)] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// What is known of the call an outcome is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCall {
    /// Tenant.
    pub tenant: String,
    /// The client's idempotency key.
    pub call_id: String,
    /// Its key.
    pub key: CallKey,
    /// Its session.
    pub stream: StreamId,
    /// Position of its `CallProposed`.
    pub proposed_at: Position,
}

/// The event for an outcome. `last` is the last revision of the call's session.
pub fn complete(known: KnownCall, outcome: Outcome, last: Revision, now: Timestamp) -> Pending {
    Pending {
        stream: known.stream,
        revision: last.next(),
        event_time: outcome.end_time.unwrap_or(now),
        receive_time: now,
        call: known.key,
        causation: known.proposed_at,
        event: Event::CallCompleted(CallCompleted {
            tenant: known.tenant,
            call_id: known.call_id,
            status: outcome.status,
            latency_us: outcome.latency_us,
            result_bytes: outcome.result_bytes,
            fingerprints: outcome.fingerprints,
            words: outcome.words,
            brought: outcome.brought,
            actor: outcome.actor,
        }),
        payload: Payload { result: outcome.result, ..Payload::default() },
    }
}

/// The event that ends a live session because its host said so; none if it is not live.
pub fn end_session(
    state: &State,
    tenant: &str,
    stream: &StreamId,
    actor: &str,
    now: Timestamp,
) -> Option<Pending> {
    let session = state.tenant(tenant)?.sessions.get(stream)?;
    Some(closed(tenant, stream, session, (CloseReason::Ended, actor), now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_the_same_in_whatever_order_its_members_stand() {
        let hash = |schema: &str, annotations: &str| {
            definition_hash(&Definition {
                server: "s".to_owned(),
                tool: "t".to_owned(),
                description: "d".to_owned(),
                input_schema: schema.as_bytes().to_vec(),
                annotations: annotations.as_bytes().to_vec(),
            })
        };
        let one = hash(
            r#"{"type":"object","properties":{"a":{"title":"A","type":"integer"},"b":{}},"required":["a","b"]}"#,
            r#"{"title":"T","outputSchema":{"x":1,"y":2}}"#,
        );
        let other = hash(
            "{\"properties\": {\"b\":{},\n\"a\":{\"type\":\"integer\",\"title\":\"A\"}}, \"required\":[\"a\",\"b\"], \"type\":\"object\"}",
            r#"{"outputSchema":{"y":2,"x":1},"title":"T"}"#,
        );
        assert_eq!(one, other);
        let changed = hash(
            r#"{"type":"object","properties":{"a":{"title":"A","type":"integer"},"b":{}},"required":["b","a"]}"#,
            r#"{"title":"T","outputSchema":{"x":1,"y":2}}"#,
        );
        assert_ne!(one, changed, "the order of a list counts");
        assert_ne!(hash("{}", "{}"), hash("{}", ""));
        assert_ne!(hash("no json", ""), hash("no  json", ""));
    }
}
