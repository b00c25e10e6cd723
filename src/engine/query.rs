//! Reading the log back: timelines, recorded decisions, the list of sessions. Never stops the worker.

use super::Error;
use super::directory::{self, SessionSummary};
use super::partition::Decided;
use super::registry::{Completion, Known};
use crate::domain::call::{Digest, SessionSource};
use crate::domain::event::{Event, Payload, Pending, Recorded};
use crate::domain::position::{Position, Revision};
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::eventlog::{Log, PayloadRef, PayloadState, RecordView, StreamFrom};
use crate::projection::Final;
use crate::record;
use crate::stats::fingerprint::FingerprintKey;
use std::ops::ControlFlow;

/// An event of a timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineEvent {
    /// The event with its payload, if that was asked for and is there.
    pub recorded: Recorded,
    /// Whether its payload was erased.
    pub erased: bool,
    /// SHA-256 of the record.
    pub hash: [u8; 32],
    /// Keyed digest of the call's arguments, if that was asked for: see [`Engine::arguments_digest`].
    ///
    /// [`Engine::arguments_digest`]: super::Engine::arguments_digest
    pub arguments_digest: Option<[u8; 32]>,
}

/// How much of an event to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventView {
    /// Without arguments and results.
    Basic,
    /// With them.
    Full,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Opened at or after.
    pub since: Option<Timestamp>,
    /// Opened before.
    pub until: Option<Timestamp>,
    /// Of this principal.
    pub principal: Option<String>,
    /// With a highest risk of at least this.
    pub risk_min: u8,
    /// With at least one call of this verdict: 0 allow, 1 review, 2 deny.
    pub verdict: Option<usize>,
}

impl SessionFilter {
    fn admits(&self, session: &SessionSummary) -> bool {
        self.since.is_none_or(|since| session.opened >= since)
            && self.until.is_none_or(|until| session.opened < until)
            && self.principal.as_ref().is_none_or(|principal| *principal == session.principal)
            && session.risk_max >= self.risk_min
            && self
                .verdict
                .is_none_or(|verdict| session.verdicts.get(verdict).is_some_and(|count| *count > 0))
    }
}

/// Reads a record as an event.
pub(super) fn decode(view: &RecordView<'_>, payload: Payload) -> Result<Recorded, Error> {
    recorded(view, record::decode(view.kind(), view.body()), payload)
}

/// Reads a record as a fold needs it: see [`record::decode_for_fold`].
pub(super) fn decode_for_fold(view: &RecordView<'_>) -> Result<Recorded, Error> {
    recorded(view, record::decode_for_fold(view.kind(), view.body()), Payload::default())
}

fn recorded(
    view: &RecordView<'_>,
    event: Result<Event, record::Error>,
    payload: Payload,
) -> Result<Recorded, Error> {
    let event = event.map_err(|fault| {
        Error::DataLoss(format!("the record at position {} does not decode: {fault}", view.position()))
    })?;
    Ok(Recorded {
        position: view.position(),
        record: Pending {
            stream: view.stream(),
            revision: view.revision(),
            event_time: view.event_time(),
            receive_time: view.receive_time(),
            call: view.call(),
            causation: view.causation(),
            event,
            payload,
        },
    })
}

/// Turns a record into an event of a timeline.
fn timeline_event(record: &RecordView<'_>, payload: PayloadRef<'_>) -> Result<TimelineEvent, Error> {
    let (payload, erased) = match payload {
        PayloadRef::Present { bytes, .. } => {
            let read = record::decode_payload(bytes).map_err(|fault| {
                Error::DataLoss(format!("the payload at position {}: {fault}", record.position()))
            })?;
            (read, false)
        }
        PayloadRef::Erased => (Payload::default(), true),
        PayloadRef::None => (Payload::default(), false),
    };
    Ok(TimelineEvent {
        recorded: decode(record, payload)?,
        erased,
        hash: record.hash(),
        arguments_digest: None,
    })
}

/// The events at these positions, as long as their records stay within `bytes_max` together.
fn events_at(
    log: &Log,
    positions: impl IntoIterator<Item = Position>,
    view: EventView,
    bytes_max: usize,
) -> Result<Vec<TimelineEvent>, Error> {
    let (mut events, mut bytes, mut fault) = (Vec::new(), 0, None);
    log.visit(positions, view == EventView::Full, |record, payload| {
        bytes += record.bytes().len();
        if bytes > bytes_max && !events.is_empty() {
            return ControlFlow::Break(());
        }
        match timeline_event(&record, payload) {
            Ok(event) => {
                events.push(event);
                ControlFlow::Continue(())
            }
            Err(error) => {
                fault = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    fault.map_or(Ok(events), Err)
}

/// Up to `max` events of a session from a revision on.
pub(super) fn session_events(
    log: &Log,
    stream: StreamId,
    from: Revision,
    max: usize,
    view: EventView,
) -> Result<Vec<TimelineEvent>, Error> {
    let positions = log.stream_positions(stream, StreamFrom::Revision(from), max)?;
    events_at(log, positions, view, usize::MAX)
}

/// Up to `max` events of the whole partition from a position on.
pub(super) fn log_events(
    log: &Log,
    from: Position,
    max: usize,
    view: EventView,
) -> Result<Vec<TimelineEvent>, Error> {
    let from = from.get().max(Position::FIRST.get());
    let end = from.saturating_add(max as u64).min(log.position().get() + 1);
    events_at(log, (from..end).map(Position::new), view, READ_BYTES_MAX)
}

/// Bytes of records read at once.
const READ_BYTES_MAX: usize = 4 << 20;

/// One page of a tenant's sessions, newest first, and the key to ask for the next page with.
pub(super) fn list_sessions(
    log: &Log,
    key: &FingerprintKey,
    tenant: &str,
    after: Option<Vec<u8>>,
    filter: &SessionFilter,
    page: usize,
) -> Result<(Vec<SessionSummary>, Option<Vec<u8>>), Error> {
    let prefix = directory::prefix(key, tenant);
    let mut sessions = Vec::new();
    let mut after = after;
    loop {
        let entries = log.directory(&prefix, after.as_deref(), false, PAGE_READ)?;
        let last_page = entries.len() < PAGE_READ;
        for (entry, value) in entries {
            let session = directory::decode(&value)?;
            if filter.admits(&session) {
                sessions.push(session);
            }
            after = Some(entry);
            if sessions.len() == page {
                return Ok((sessions, after));
            }
        }
        if last_page {
            return Ok((sessions, None));
        }
    }
}

/// Directory entries read at once.
const PAGE_READ: usize = 512;

/// Id and source of a session, from its first event.
pub(super) fn session_of(log: &Log, stream: StreamId) -> Result<(String, SessionSource), Error> {
    let first = session_events(log, stream, Revision::new(1), 1, EventView::Basic)?;
    match first.into_iter().next().map(|event| event.recorded.record.event) {
        Some(Event::SessionOpened(opened)) => Ok((opened.session_id, opened.source)),
        _ => Err(Error::DataLoss(format!("session {stream} does not begin with its opening"))),
    }
}

/// What the log knows of the call proposed at a position.
pub(super) fn known_call(log: &Log, proposed_at: Position) -> Result<Known, Error> {
    let recorded = event_at(log, proposed_at)?;
    let Event::CallProposed(proposed) = &recorded.record.event else {
        return Err(Error::DataLoss(format!("position {proposed_at} is indexed as a call and is none")));
    };
    let stream = recorded.record.stream;
    Ok(Known { proposed_at, stream, digest: proposed.digest, completed: None, is_completion_known: false })
}

/// What tells the recorded outcome of a call from another one, if there is one.
pub(super) fn completion(log: &Log, known: &Known, key: &CallKey) -> Result<Option<Completion>, Error> {
    let later =
        log.stream_positions(known.stream, StreamFrom::Position(known.proposed_at), LATER_EVENTS_MAX)?;
    let (mut found, mut fault) = (None, None);
    log.visit(later, false, |record, _| {
        if record.kind() != crate::domain::event::kind::CALL_COMPLETED || record.call() != *key {
            return ControlFlow::Continue(());
        }
        match decode(&record, Payload::default()).map(|recorded| recorded.record.event) {
            Ok(Event::CallCompleted(event)) => {
                let fingerprint = super::worker::completion_fingerprint(&event);
                found = Some(Completion { fingerprint, position: record.position() });
            }
            Ok(_) => {}
            Err(error) => fault = Some(error),
        }
        ControlFlow::Break(())
    })?;
    fault.map_or(Ok(found), Err)
}

/// The final word on a reviewed call, from the log; none if there is none.
pub(super) fn final_of(log: &Log, stream: StreamId, proposed_at: Position, key: &CallKey) -> Option<Final> {
    let later = log.stream(stream, StreamFrom::Position(proposed_at), LATER_EVENTS_MAX).ok()?;
    let is_final = |kind: u8| {
        kind == crate::domain::event::kind::CALL_RELEASED || kind == crate::domain::event::kind::CALL_REFUSED
    };
    let mut finals = later.iter().filter(|stored| is_final(stored.view().kind()));
    let stored = finals.find(|stored| stored.view().call() == *key)?;
    let recorded = decode(&stored.view(), Payload::default()).ok()?;
    let position = recorded.position;
    match recorded.record.event {
        Event::CallReleased(event) => {
            Some(Final { released: true, why: event.why, review: event.review, position })
        }
        Event::CallRefused(event) => {
            Some(Final { released: false, why: event.why, review: event.review, position })
        }
        _ => None,
    }
}

/// Events of a session looked through for an outcome recorded earlier.
const LATER_EVENTS_MAX: usize = 10_000;

/// The recorded decision of the call proposed at a position.
pub(super) fn decided_at(
    log: &Log,
    proposed_at: Position,
    digest: Digest,
    session: (String, SessionSource),
) -> Result<Decided, Error> {
    let proposed = event_at(log, proposed_at)?;
    let recorded = event_at(log, proposed_at.next())?;
    let (Event::CallProposed(proposed), Event::CallDecided(event)) =
        (proposed.record.event, recorded.record.event)
    else {
        return Err(Error::DataLoss(format!("no decision follows the call at position {proposed_at}")));
    };
    Ok(Decided {
        decision: event.decision,
        position: proposed_at.next(),
        state_position: Position::new(proposed_at.get() - 1),
        stream: recorded.record.stream,
        session_id: session.0,
        session_source: session.1,
        digest,
        policy_revision: event.policy_revision,
        repeated: true,
        skewed: proposed.skewed,
        schema_fault: proposed.schema_fault,
        review: Position::ZERO,
        settled: None,
        not_yet: None,
        comment: String::new(),
    })
}

/// The masked arguments of the call proposed at a position; none if they were erased.
pub(super) fn arguments_at(log: &Log, position: Position) -> Result<Option<Vec<u8>>, Error> {
    match log.payload(position)? {
        PayloadState::Present(bytes) => {
            let payload = record::decode_payload(&bytes)
                .map_err(|fault| Error::DataLoss(format!("the payload at position {position}: {fault}")))?;
            Ok(Some(payload.arguments))
        }
        PayloadState::Erased => Ok(None),
        PayloadState::None => Ok(Some(Vec::new())),
    }
}

/// The key of a call: keyed hashes of tenant and id.
pub(super) fn call_key(key: &FingerprintKey, tenant: &str, call_id: &str) -> CallKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&key.texts(&["call", tenant, call_id]).to_be_bytes());
    bytes[8..].copy_from_slice(&key.texts(&["id", tenant, call_id]).to_be_bytes());
    CallKey::from_bytes(bytes)
}

/// A call's proposal, with its payload, and its decision.
pub(super) fn call_events(
    log: &Log,
    key: &FingerprintKey,
    tenant: &str,
    call_id: &str,
) -> Result<Option<(TimelineEvent, TimelineEvent)>, Error> {
    let Some(proposed_at) = log.find_call(call_key(key, tenant, call_id))? else { return Ok(None) };
    let positions = [proposed_at, proposed_at.next()];
    let mut events = events_at(log, positions, EventView::Full, usize::MAX)?.into_iter();
    let (Some(proposed), Some(decided)) = (events.next(), events.next()) else {
        return Err(Error::DataLoss(format!("no decision follows the call at position {proposed_at}")));
    };
    let is_ours = match &proposed.recorded.record.event {
        Event::CallProposed(event) => event.tenant == tenant && event.call_id == call_id,
        _ => false,
    };
    Ok(is_ours.then_some((proposed, decided)))
}

/// The event at a position.
pub(super) fn event_at(log: &Log, position: Position) -> Result<Recorded, Error> {
    let stored = log.get(position)?.ok_or_else(|| Error::NotFound(format!("position {position}")))?;
    decode(&stored.view(), Payload::default())
}
