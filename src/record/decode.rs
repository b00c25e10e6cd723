//! Bytes to event.

use super::decision::read_decision;
use super::encode::ARGUMENT_BYTES;
use super::policy;
use super::wire::{Field, Reader};
use super::{Error, named, wire};
use crate::domain::call::{ArgumentFeature, CallFeatures, Origin, OutcomeStatus, SessionSource};
use crate::domain::decision::Mode;
use crate::domain::event::{
    BudgetSet, CallCompleted, CallDecided, CallProposed, CloseReason, Event, LogCreated, ModelAdopted,
    PolicyAdopted, SessionClosed, SessionOpened, SessionUnlearned, ToolDefined, kind,
};
use crate::domain::position::Position;
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;

/// Reads the body of a record of this kind.
pub fn decode(event_kind: u8, body: &[u8]) -> Result<Event, Error> {
    read(event_kind, body, true)
}

/// Reads what a fold needs: of calls and outcomes no ids, no actors, no chain of principals, no fingerprints.
pub fn decode_for_fold(event_kind: u8, body: &[u8]) -> Result<Event, Error> {
    read(event_kind, body, false)
}

fn read(event_kind: u8, body: &[u8], whole: bool) -> Result<Event, Error> {
    Ok(match event_kind {
        kind::LOG_CREATED => Event::LogCreated(log_created(body)?),
        kind::SESSION_OPENED => Event::SessionOpened(session_opened(body)?),
        kind::SESSION_CLOSED => Event::SessionClosed(session_closed(body)?),
        kind::TOOL_DEFINED | kind::TOOL_REDEFINED => Event::ToolDefined(tool_defined(body)?),
        kind::CALL_PROPOSED => Event::CallProposed(call_proposed(body, whole)?),
        kind::CALL_DECIDED => Event::CallDecided(call_decided(body)?),
        kind::CALL_COMPLETED => Event::CallCompleted(call_completed(body, whole)?),
        kind::POLICY_ADOPTED => Event::PolicyAdopted(policy_adopted(body)?),
        kind::BUDGET_SET => Event::BudgetSet(budget_set(body)?),
        kind::SESSION_UNLEARNED => Event::SessionUnlearned(session_unlearned(body)?),
        kind::MODEL_ADOPTED => Event::ModelAdopted(model_adopted(body)?),
        kind::POLICY_WITHDRAWN => Event::PolicyWithdrawn(policy::read_policy_withdrawn(body)?),
        kind::RULE_ACCEPTED => Event::RuleAccepted(policy::read_rule_accepted(body)?),
        kind::RULE_REVOKED => Event::RuleRevoked(policy::read_rule_revoked(body)?),
        kind::TOOL_ACCEPTED => Event::ToolAccepted(policy::read_tool_accepted(body)?),
        other => return super::oversight::read(other, body),
    })
}

pub(super) fn each(body: &[u8], mut read: impl FnMut(&Field<'_>) -> Result<(), Error>) -> Result<(), Error> {
    Reader::new(body).try_for_each(|field| read(&field?))
}

fn log_created(body: &[u8]) -> Result<LogCreated, Error> {
    let mut event = LogCreated { log_id: [0; 16], hash_key: [0; 16], partition: 0, partitions: 0 };
    each(body, |field| {
        match field.number {
            1 => event.log_id = field.array()?,
            2 => event.hash_key = field.array()?,
            3 => event.partition = field.fit()?,
            4 => event.partitions = field.fit()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn session_opened(body: &[u8]) -> Result<SessionOpened, Error> {
    let mut event = SessionOpened {
        tenant: String::new(),
        session_id: String::new(),
        source: SessionSource::Explicit,
        principal_chain: Vec::new(),
        client: String::new(),
        parent: StreamId::NONE,
        parent_id: String::new(),
        reopened: false,
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.session_id = field.text()?,
            3 => event.source = named(field, SessionSource::from_number)?,
            4 => event.principal_chain.push(field.text()?),
            5 => event.client = field.text()?,
            6 => event.parent = StreamId::from_bytes(field.array()?),
            7 => event.parent_id = field.text()?,
            8 => event.reopened = field.uint() != 0,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn session_closed(body: &[u8]) -> Result<SessionClosed, Error> {
    let mut event = SessionClosed { tenant: String::new(), reason: CloseReason::Ended, actor: String::new() };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.reason = named(field, CloseReason::from_number)?,
            3 => event.actor = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn tool_defined(body: &[u8]) -> Result<ToolDefined, Error> {
    let mut event = ToolDefined {
        tenant: String::new(),
        server: String::new(),
        tool: String::new(),
        definition_hash: [0; 32],
        previous_hash: None,
        description: String::new(),
        input_schema: Vec::new(),
        annotations: Vec::new(),
        category: RiskCategory::High,
        capabilities: Capabilities::NONE,
        actor: String::new(),
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.server = field.text()?,
            3 => event.tool = field.text()?,
            4 => event.definition_hash = field.array()?,
            5 => event.previous_hash = Some(field.array()?),
            6 => event.description = field.text()?,
            7 => event.input_schema = field.bytes().to_vec(),
            8 => event.annotations = field.bytes().to_vec(),
            9 => event.category = named(field, RiskCategory::from_number)?,
            10 => event.capabilities = Capabilities::from_bits(field.fit()?),
            11 => event.actor = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn call_proposed(body: &[u8], whole: bool) -> Result<CallProposed, Error> {
    let mut event = CallProposed {
        tenant: String::new(),
        call_id: String::new(),
        digest: [0; 32],
        server: String::new(),
        tool: String::new(),
        principal_chain: Vec::new(),
        turn: None,
        traceparent: String::new(),
        origin: Origin::Live,
        masked: 0,
        category: RiskCategory::Critical,
        skewed: false,
        schema_fault: String::new(),
        features: CallFeatures::default(),
        actor: String::new(),
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 if whole => event.call_id = field.text()?,
            3 => event.digest = field.array()?,
            4 => event.server = field.text()?,
            5 => event.tool = field.text()?,
            6 if whole => event.principal_chain.push(field.text()?),
            7 => event.turn = Some(field.fit()?),
            8 if whole => event.traceparent = field.text()?,
            9 if field.uint() != 0 => event.origin = Origin::Imported,
            10 => event.masked = field.fit()?,
            11 => event.skewed = field.uint() != 0,
            12 => event.features = features(field.bytes())?,
            13 => event.category = named(field, RiskCategory::from_number)?,
            14 if whole => event.schema_fault = field.text()?,
            15 if whole => event.actor = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

pub(super) fn features(body: &[u8]) -> Result<CallFeatures, Error> {
    let mut features = CallFeatures::default();
    each(body, |field| {
        match field.number {
            1 => features.tool = field.uint(),
            2 => features.principal = field.uint(),
            3 => features.capabilities = Capabilities::from_bits(field.fit()?),
            4 => features.at = Some(Timestamp::from_micros(field.sint())),
            5 => features.utc_offset_minutes = field.sfit()?,
            6 => features.arguments = unpack_arguments(field)?,
            7 => features.words.request = unpack_words(field)?,
            8 => features.words.tool = unpack_words(field)?,
            9 => features.words.arguments = unpack_words(field)?,
            10 => features.words.counts = field.bytes().to_vec(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(features)
}

fn unpack_words(field: &Field<'_>) -> Result<Vec<u32>, Error> {
    let (words, rest) = field.bytes().as_chunks::<4>();
    if !rest.is_empty() {
        return Err(wire::Error::Range(field.number).into());
    }
    Ok(words.iter().map(|word| u32::from_le_bytes(*word)).collect())
}

fn unpack_arguments(field: &Field<'_>) -> Result<Vec<ArgumentFeature>, Error> {
    let bytes = field.bytes();
    if !bytes.len().is_multiple_of(ARGUMENT_BYTES) {
        return Err(wire::Error::Range(field.number).into());
    }
    let unpack = |chunk: &[u8]| {
        let word = |from: usize| u32::from_le_bytes(chunk[from..from + 4].try_into().expect("four bytes"));
        ArgumentFeature { path: word(0), value: word(4), magnitude: chunk[8], kind: chunk[9] }
    };
    Ok(bytes.chunks_exact(ARGUMENT_BYTES).map(unpack).collect())
}

fn call_decided(body: &[u8]) -> Result<CallDecided, Error> {
    let mut tenant = String::new();
    let mut decision = None;
    let mut policy_revision = Position::ZERO;
    let mut scoring_version = 0;
    each(body, |field| {
        match field.number {
            1 => tenant = field.text()?,
            2 => decision = Some(read_decision(field.bytes())?),
            3 => policy_revision = Position::new(field.uint()),
            4 => scoring_version = field.fit()?,
            _ => {}
        }
        Ok(())
    })?;
    let decision = decision.ok_or(Error::Unnamed { field: 2, value: 0 })?;
    Ok(CallDecided { tenant, decision, policy_revision, scoring_version })
}

fn call_completed(body: &[u8], whole: bool) -> Result<CallCompleted, Error> {
    let mut event = CallCompleted {
        tenant: String::new(),
        call_id: String::new(),
        status: OutcomeStatus::Ok,
        latency_us: None,
        result_bytes: 0,
        fingerprints: Vec::new(),
        words: None,
        brought: Vec::new(),
        actor: String::new(),
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 if whole => event.call_id = field.text()?,
            3 => event.status = named(field, OutcomeStatus::from_number)?,
            4 => event.latency_us = Some(field.uint()),
            5 => event.result_bytes = field.uint(),
            6 if whole => event.fingerprints = field.packed_fixed64()?,
            7 => event.words = Some(unpack_words(field)?),
            8 => event.brought = unpack_values(field)?,
            9 if whole => event.actor = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn unpack_values(field: &Field<'_>) -> Result<Vec<u32>, Error> {
    let bytes = field.bytes();
    if !bytes.len().is_multiple_of(4) {
        return Err(wire::Error::Range(field.number).into());
    }
    let (values, _) = bytes.as_chunks::<4>();
    Ok(values.iter().map(|value| u32::from_le_bytes(*value)).collect())
}

fn policy_adopted(body: &[u8]) -> Result<PolicyAdopted, Error> {
    let mut event = PolicyAdopted {
        text: String::new(),
        mode: Mode::Enforce,
        digest: [0; 32],
        tenant: String::new(),
        actor: String::new(),
        comment: String::new(),
    };
    each(body, |field| {
        match field.number {
            1 => event.text = field.text()?,
            2 => event.digest = field.array()?,
            3 if field.uint() != 0 => event.mode = Mode::Observe,
            4 => event.tenant = field.text()?,
            5 => event.actor = field.text()?,
            6 => event.comment = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn budget_set(body: &[u8]) -> Result<BudgetSet, Error> {
    let mut event = BudgetSet { tenant: String::new(), rate_ppm: 0, reviews_per_day: 0, audit_ppm: 0 };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.rate_ppm = field.fit()?,
            3 => event.reviews_per_day = field.fit()?,
            4 => event.audit_ppm = field.fit()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn session_unlearned(body: &[u8]) -> Result<SessionUnlearned, Error> {
    let mut event =
        SessionUnlearned { tenant: String::new(), session: StreamId::NONE, reason: String::new() };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.session = StreamId::from_bytes(field.array()?),
            3 => event.reason = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn model_adopted(body: &[u8]) -> Result<ModelAdopted, Error> {
    let mut event = ModelAdopted {
        revision: String::new(),
        name: String::new(),
        card: String::new(),
        parameters: Vec::new(),
    };
    each(body, |field| {
        match field.number {
            1 => event.revision = field.text()?,
            2 => event.name = field.text()?,
            3 => event.card = field.text()?,
            4 => event.parameters = field.bytes().to_vec(),
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}
