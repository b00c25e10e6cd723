//! The list of sessions: one directory entry a run of a session, newest first, written when it opens
//! and again when it closes.
//!
//! Key: `01 | tenant hash u64 BE | opened, complemented so that later comes first, u64 BE | stream 16`.
//! Value: a protobuf message of the fields of [`SessionSummary`], in their order.

use super::Error;
use crate::domain::call::SessionSource;
use crate::domain::event::{CloseReason, Event, Recorded};
use crate::domain::position::Position;
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use crate::projection::{Session, State};
use crate::record::wire::{Reader, Writer};
use crate::stats::fingerprint::FingerprintKey;

/// First byte of a session's key.
const SESSION: u8 = 1;

/// One line of the list of sessions.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SessionSummary {
    /// Its stream.
    #[serde(serialize_with = "as_text")]
    pub stream: StreamId,
    /// Tenant.
    pub tenant: String,
    /// The id it goes by.
    pub session_id: String,
    /// Where the id came from.
    pub source: SessionSource,
    /// The principal that opened it.
    pub principal: String,
    /// Parent session's stream; all zero if none.
    #[serde(serialize_with = "as_text")]
    pub parent: StreamId,
    /// Event time of its opening.
    pub opened: Timestamp,
    /// Event time of its latest event.
    pub active: Timestamp,
    /// Position of its `SessionOpened`.
    pub opened_at: Position,
    /// Whether it is over, and why.
    pub closed: Option<String>,
    /// Calls.
    pub calls: u32,
    /// Calls by verdict: allow, review, deny.
    pub verdicts: [u32; 3],
    /// Highest risk.
    pub risk_max: u8,
}

fn as_text<S: serde::Serializer>(stream: &StreamId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(stream)
}

type Entry = (Vec<u8>, Option<Vec<u8>>);

/// What every key of a tenant's sessions begins with.
pub(super) fn prefix(key: &FingerprintKey, tenant: &str) -> Vec<u8> {
    let mut prefix = vec![SESSION];
    prefix.extend_from_slice(&key.texts(&["tenant", tenant]).to_be_bytes());
    prefix
}

fn directory_key(key: &FingerprintKey, tenant: &str, opened: Timestamp, stream: &StreamId) -> Vec<u8> {
    let mut bytes = prefix(key, tenant);
    let sortable = (opened.as_micros() as u64) ^ (1 << 63);
    bytes.extend_from_slice(&(!sortable).to_be_bytes());
    bytes.extend_from_slice(stream.as_bytes());
    bytes
}

/// The entry for a session about to be closed: its figures are gone afterwards.
pub(super) fn before(state: &State, recorded: &Recorded) -> Option<Entry> {
    let Event::SessionClosed(event) = &recorded.record.event else { return None };
    let stream = recorded.record.stream;
    let session = state.tenant(&event.tenant)?.sessions.get(&stream)?;
    Some(entry(state, &event.tenant, &stream, session, Some(event.reason)))
}

/// The entry for a session just opened.
pub(super) fn after(state: &State, recorded: &Recorded) -> Option<Entry> {
    let Event::SessionOpened(event) = &recorded.record.event else { return None };
    let stream = recorded.record.stream;
    let session = state.tenant(&event.tenant)?.sessions.get(&stream)?;
    Some(entry(state, &event.tenant, &stream, session, None))
}

fn entry(
    state: &State,
    tenant: &str,
    stream: &StreamId,
    session: &Session,
    closed: Option<CloseReason>,
) -> Entry {
    let key = directory_key(&state.key(), tenant, session.opened, stream);
    (key, Some(encode(&summary(tenant, stream, session, closed))))
}

/// The summary of a session.
pub(super) fn summary(
    tenant: &str,
    stream: &StreamId,
    session: &Session,
    closed: Option<CloseReason>,
) -> SessionSummary {
    SessionSummary {
        stream: *stream,
        tenant: tenant.to_owned(),
        session_id: session.session_id.to_string(),
        source: session.source,
        principal: session.principal.to_string(),
        parent: session.parent,
        opened: session.opened,
        active: session.active,
        opened_at: session.opened_at,
        closed: closed.map(|reason| reason_name(reason).to_owned()),
        calls: session.calls,
        verdicts: session.verdicts,
        risk_max: session.risk_max,
    }
}

/// A close reason as shown.
pub(super) const fn reason_name(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Ended => "ended",
        CloseReason::Idle => "idle",
        CloseReason::Aged => "aged",
        CloseReason::Evicted => "evicted",
    }
}

fn encode(summary: &SessionSummary) -> Vec<u8> {
    let mut out = Writer::with_capacity(128);
    out.bytes(1, summary.stream.as_bytes());
    out.text(2, &summary.tenant);
    out.text(3, &summary.session_id);
    out.uint(4, summary.source.number().into());
    out.text(5, &summary.principal);
    out.bytes(6, summary.parent.as_bytes());
    out.sint(7, summary.opened.as_micros());
    out.sint(8, summary.active.as_micros());
    out.uint(9, summary.opened_at.get());
    out.text(10, summary.closed.as_deref().unwrap_or(""));
    out.uint(11, summary.calls.into());
    out.packed_uint(12, &summary.verdicts);
    out.uint(13, summary.risk_max.into());
    out.finish()
}

/// Reads an entry's value.
pub(super) fn decode(value: &[u8]) -> Result<SessionSummary, Error> {
    let damaged =
        |fault: crate::record::wire::Error| Error::DataLoss(format!("a session directory entry: {fault}"));
    let mut summary = SessionSummary {
        stream: StreamId::NONE,
        tenant: String::new(),
        session_id: String::new(),
        source: SessionSource::Explicit,
        principal: String::new(),
        parent: StreamId::NONE,
        opened: Timestamp::default(),
        active: Timestamp::default(),
        opened_at: Position::ZERO,
        closed: None,
        calls: 0,
        verdicts: [0; 3],
        risk_max: 0,
    };
    for field in Reader::new(value) {
        let field = field.map_err(damaged)?;
        match field.number {
            1 => summary.stream = StreamId::from_bytes(field.array().map_err(damaged)?),
            2 => summary.tenant = field.text().map_err(damaged)?,
            3 => summary.session_id = field.text().map_err(damaged)?,
            4 => {
                summary.source =
                    SessionSource::from_number(field.fit().map_err(damaged)?).unwrap_or(SessionSource::Gap)
            }
            5 => summary.principal = field.text().map_err(damaged)?,
            6 => summary.parent = StreamId::from_bytes(field.array().map_err(damaged)?),
            7 => summary.opened = Timestamp::from_micros(field.sint()),
            8 => summary.active = Timestamp::from_micros(field.sint()),
            9 => summary.opened_at = Position::new(field.uint()),
            10 => summary.closed = Some(field.text().map_err(damaged)?),
            11 => summary.calls = field.fit().map_err(damaged)?,
            12 => {
                field.packed_uint_into(&mut summary.verdicts).map_err(damaged)?;
            }
            13 => summary.risk_max = field.fit().map_err(damaged)?,
            _ => {}
        }
    }
    Ok(summary)
}
