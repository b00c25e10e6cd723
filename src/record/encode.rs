//! Event to bytes.

use super::decision::write_decision;
use super::policy;
use super::wire::Writer;
use crate::domain::call::{ArgumentFeature, CallFeatures, Origin};
use crate::domain::decision::Mode;
use crate::domain::event::{
    BudgetSet, CallCompleted, CallDecided, CallProposed, Event, LogCreated, ModelAdopted, PolicyAdopted,
    SessionClosed, SessionOpened, SessionUnlearned, ToolDefined,
};

/// The body of an event's record.
pub fn encode(event: &Event) -> Vec<u8> {
    let mut out = Vec::with_capacity(320);
    encode_into(event, &mut out);
    out
}

/// The same, in the place of what `out` held.
pub fn encode_into(event: &Event, out: &mut Vec<u8>) {
    let buffer = out;
    let mut out = Writer::over(std::mem::take(buffer));
    match event {
        Event::LogCreated(event) => log_created(event, &mut out),
        Event::SessionOpened(event) => session_opened(event, &mut out),
        Event::SessionClosed(event) => session_closed(event, &mut out),
        Event::ToolDefined(event) => tool_defined(event, &mut out),
        Event::CallProposed(event) => call_proposed(event, &mut out),
        Event::CallDecided(event) => call_decided(event, &mut out),
        Event::CallCompleted(event) => call_completed(event, &mut out),
        Event::PolicyAdopted(event) => policy_adopted(event, &mut out),
        Event::BudgetSet(event) => budget_set(event, &mut out),
        Event::SessionUnlearned(event) => session_unlearned(event, &mut out),
        Event::ModelAdopted(event) => model_adopted(event, &mut out),
        Event::PolicyWithdrawn(event) => policy::policy_withdrawn(event, &mut out),
        Event::RuleAccepted(event) => policy::rule_accepted(event, &mut out),
        Event::RuleRevoked(event) => policy::rule_revoked(event, &mut out),
        Event::ToolAccepted(event) => policy::tool_accepted(event, &mut out),
        other => super::oversight::write(other, &mut out),
    }
    *buffer = out.finish();
}

fn log_created(event: &LogCreated, out: &mut Writer) {
    out.bytes(1, &event.log_id);
    out.bytes(2, &event.hash_key);
    out.uint(3, event.partition.into());
    out.uint(4, event.partitions.into());
}

fn session_opened(event: &SessionOpened, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.text(2, &event.session_id);
    out.uint(3, event.source.number().into());
    event.principal_chain.iter().for_each(|link| out.bytes_present(4, link.as_bytes()));
    out.text(5, &event.client);
    if !event.parent.is_none() {
        out.bytes(6, event.parent.as_bytes());
    }
    out.text(7, &event.parent_id);
    out.uint(8, event.reopened.into());
}

fn session_closed(event: &SessionClosed, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.uint(2, event.reason.number().into());
    out.text(3, &event.actor);
}

fn tool_defined(event: &ToolDefined, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.text(2, &event.server);
    out.text(3, &event.tool);
    out.bytes(4, &event.definition_hash);
    if let Some(previous) = &event.previous_hash {
        out.bytes(5, previous);
    }
    out.text(6, &event.description);
    out.bytes(7, &event.input_schema);
    out.bytes(8, &event.annotations);
    out.uint(9, event.category.number().into());
    out.uint(10, event.capabilities.bits().into());
    out.text(11, &event.actor);
}

fn call_proposed(event: &CallProposed, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.text(2, &event.call_id);
    out.bytes(3, &event.digest);
    out.text(4, &event.server);
    out.text(5, &event.tool);
    event.principal_chain.iter().for_each(|link| out.bytes_present(6, link.as_bytes()));
    out.uint_present(7, event.turn.map(u64::from));
    out.text(8, &event.traceparent);
    out.uint(9, u64::from(event.origin == Origin::Imported));
    out.uint(10, event.masked.into());
    out.uint(11, event.skewed.into());
    out.message(12, |inner| features(&event.features, inner));
    out.uint(13, event.category.number().into());
    out.text(14, &event.schema_fault);
    out.text(15, &event.actor);
}

pub(super) fn features(features: &CallFeatures, out: &mut Writer) {
    out.fixed64(1, features.tool);
    out.fixed64(2, features.principal);
    out.uint(3, features.capabilities.bits().into());
    out.sint_present(4, features.at.map(|at| at.as_micros()));
    out.sint(5, features.utc_offset_minutes.into());
    if !features.arguments.is_empty() {
        out.message(6, |inner| {
            features.arguments.iter().for_each(|argument| inner.raw(&packed_argument(argument)));
        });
    }
    words(7, &features.words.request, out);
    words(8, &features.words.tool, out);
    words(9, &features.words.arguments, out);
    out.bytes(10, &features.words.counts);
}

/// Four bytes a word, little endian.
fn words(field: u32, words: &[u32], out: &mut Writer) {
    out.bytes(field, &pack_words(words));
}

fn pack_words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Bytes of one argument feature: path u32, value u32, magnitude u8, kind u8, little endian.
pub(super) const ARGUMENT_BYTES: usize = 10;

fn packed_argument(argument: &ArgumentFeature) -> [u8; ARGUMENT_BYTES] {
    let mut packed = [0; ARGUMENT_BYTES];
    packed[..4].copy_from_slice(&argument.path.to_le_bytes());
    packed[4..8].copy_from_slice(&argument.value.to_le_bytes());
    packed[8..].copy_from_slice(&[argument.magnitude, argument.kind]);
    packed
}

fn call_decided(event: &CallDecided, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.message(2, |inner| write_decision(&event.decision, inner));
    out.uint(3, event.policy_revision.get());
    out.uint(4, event.scoring_version.into());
}

fn call_completed(event: &CallCompleted, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.text(2, &event.call_id);
    out.uint(3, event.status.number().into());
    out.uint_present(4, event.latency_us);
    out.uint(5, event.result_bytes);
    out.packed_fixed64(6, &event.fingerprints);
    if let Some(words) = &event.words {
        out.bytes_present(7, &pack_words(words));
    }
    let brought: Vec<u8> = event.brought.iter().flat_map(|value| value.to_le_bytes()).collect();
    out.bytes(8, &brought);
    out.text(9, &event.actor);
}

fn policy_adopted(event: &PolicyAdopted, out: &mut Writer) {
    out.text(1, &event.text);
    out.bytes(2, &event.digest);
    out.uint(3, u64::from(event.mode == Mode::Observe));
    out.text(4, &event.tenant);
    out.text(5, &event.actor);
    out.text(6, &event.comment);
}

fn budget_set(event: &BudgetSet, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.uint(2, event.rate_ppm.into());
    out.uint(3, event.reviews_per_day.into());
    out.uint(4, event.audit_ppm.into());
}

fn session_unlearned(event: &SessionUnlearned, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.bytes(2, event.session.as_bytes());
    out.text(3, &event.reason);
}

fn model_adopted(event: &ModelAdopted, out: &mut Writer) {
    out.text(1, &event.revision);
    out.text(2, &event.name);
    out.text(3, &event.card);
    out.bytes(4, &event.parameters);
}
