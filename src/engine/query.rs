//! Reading the log back: timelines, recorded decisions, the list of sessions. Never stops the worker.

use super::Error;
use super::directory::{self, SessionSummary};
use super::partition::Decided;
use super::registry::Known;
use crate::domain::call::{Digest, SessionSource};
use crate::domain::event::{Event, Payload, Pending, Recorded};
use crate::domain::position::{Position, Revision};
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::eventlog::{Log, PayloadState, RecordView, StoredRecord, StreamFrom};
use crate::projection::Final;
use crate::record;
use crate::stats::fingerprint::FingerprintKey;

/// An event of a timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct TimelineEvent {
    /// The event with its payload, if that was asked for and is there.
    pub recorded: Recorded,
    /// Whether its payload was erased.
    pub erased: bool,
    /// SHA-256 of the record.
    pub hash: [u8; 32],
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
    let event = record::decode(view.kind(), view.body()).map_err(|fault| {
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

/// Turns a stored record into an event of a timeline.
pub(super) fn timeline_event(
    log: &Log,
    stored: &StoredRecord,
    view: EventView,
) -> Result<TimelineEvent, Error> {
    let record = stored.view();
    let mut erased = false;
    let mut payload = Payload::default();
    if view == EventView::Full && record.has_payload() {
        match log.payload(record.position())? {
            PayloadState::Present(bytes) => {
                payload = record::decode_payload(&bytes).map_err(|fault| {
                    Error::DataLoss(format!("the payload at position {}: {fault}", record.position()))
                })?;
            }
            PayloadState::Erased => erased = true,
            PayloadState::None => {}
        }
    }
    Ok(TimelineEvent { recorded: decode(&record, payload)?, erased, hash: record.hash() })
}

/// Up to `max` events of a session from a revision on.
pub(super) fn session_events(
    log: &Log,
    stream: StreamId,
    from: Revision,
    max: usize,
    view: EventView,
) -> Result<Vec<TimelineEvent>, Error> {
    let records = log.stream(stream, StreamFrom::Revision(from), max)?;
    records.iter().map(|stored| timeline_event(log, stored, view)).collect()
}

/// Up to `max` events of the whole partition from a position on.
pub(super) fn log_events(
    log: &Log,
    from: Position,
    max: usize,
    view: EventView,
) -> Result<Vec<TimelineEvent>, Error> {
    let records = log.read(from, max, READ_BYTES_MAX)?;
    records.iter().map(|stored| timeline_event(log, stored, view)).collect()
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
pub(super) fn known_call(log: &Log, proposed_at: Position, key: &CallKey) -> Result<Known, Error> {
    let recorded = event_at(log, proposed_at)?;
    let Event::CallProposed(proposed) = &recorded.record.event else {
        return Err(Error::DataLoss(format!("position {proposed_at} is indexed as a call and is none")));
    };
    let stream = recorded.record.stream;
    let later = log.stream(stream, StreamFrom::Position(proposed_at), LATER_EVENTS_MAX)?;
    let completed = later
        .iter()
        .filter(|stored| stored.view().kind() == crate::domain::event::kind::CALL_COMPLETED)
        .find(|stored| stored.view().call() == *key)
        .map(|stored| decode(&stored.view(), Payload::default()))
        .transpose()?
        .and_then(|recorded| match recorded.record.event {
            Event::CallCompleted(event) => Some(super::worker::completion_fingerprint(&event)),
            _ => None,
        });
    Ok(Known { proposed_at, stream, digest: proposed.digest, decided: None, completed })
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
        review: Position::ZERO,
        settled: None,
        not_yet: None,
        comment: String::new(),
    })
}

/// The event at a position.
pub(super) fn event_at(log: &Log, position: Position) -> Result<Recorded, Error> {
    let stored = log.get(position)?.ok_or_else(|| Error::NotFound(format!("position {position}")))?;
    decode(&stored.view(), Payload::default())
}
