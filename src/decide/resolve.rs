//! Which session a call belongs to, and the event that opens it if it is new.

use super::settings::Settings;
use crate::domain::call::{Call, SessionSource};
use crate::domain::event::{Event, Payload, Pending, SessionOpened};
use crate::domain::position::{Position, Revision};
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::projection::{State, gap_key};
use crate::stats::fingerprint::FingerprintKey;

/// A call's session.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// Its stream.
    pub stream: StreamId,
    /// The id it goes by.
    pub session_id: String,
    /// The event that opens it, if it is not live.
    pub opened: Option<Pending>,
}

/// The stream of a session. The outermost principal is part of it, so that nobody can join or ruin
/// another's session by naming its id.
pub fn stream_of(
    key: &FingerprintKey,
    tenant: &str,
    root: &str,
    source: SessionSource,
    id: &str,
) -> StreamId {
    let source = [source.number()];
    let source = std::str::from_utf8(&source).expect("small numbers are ASCII");
    let low = key.texts(&["session", tenant, root, source, id]);
    let high = key.texts(&["stream", tenant, root, source, id]);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&high.to_be_bytes());
    bytes[8..].copy_from_slice(&low.to_be_bytes());
    StreamId::from_bytes(bytes)
}

/// Time used for statistics, and whether the caller's was too far off to be believed.
pub fn event_time(call: &Call, settings: &Settings) -> (Timestamp, bool) {
    match call.call_time {
        Some(at) if call.origin == crate::domain::call::Origin::Imported => (at, false),
        Some(at) => {
            let off = at.since(call.receive_time).saturating_abs();
            if off <= settings.skew_max_us { (at, false) } else { (call.receive_time, true) }
        }
        None => (call.receive_time, false),
    }
}

/// Finds or opens the session of `call`. `closed_revision` tells the last revision of a stream that is
/// not in the state, zero if there is none: the log knows.
pub fn resolve(
    state: &State,
    call: &Call,
    settings: &Settings,
    closed_revision: &mut dyn FnMut(&StreamId) -> Revision,
) -> Resolved {
    let key = state.key();
    let tenant = state.tenant(&call.tenant);
    let (at, _) = event_time(call, settings);
    let mut id = call.session.id.clone();
    if call.session.source == SessionSource::Gap {
        let gap = gap_key(&key, call.principal(), &call.client);
        let latest = tenant.and_then(|tenant| tenant.sessions.of_gap(gap));
        match latest {
            Some((stream, session)) if at.since(session.active) <= settings.gap_us => {
                return Resolved {
                    stream: *stream,
                    session_id: session.session_id.to_string(),
                    opened: None,
                };
            }
            _ => id = format!("gap-{:016x}", crate::stats::fingerprint::mix(gap, state.position.get())),
        }
    }
    let stream = stream_of(&key, &call.tenant, call.root_principal(), call.session.source, &id);
    if tenant.is_some_and(|tenant| tenant.sessions.get(&stream).is_some()) {
        return Resolved { stream, session_id: id, opened: None };
    }
    let last = state.revision_of(&call.tenant, &stream).unwrap_or_else(|| closed_revision(&stream));
    let parent = match call.session.parent_id.as_str() {
        "" => StreamId::NONE,
        parent => stream_of(&key, &call.tenant, call.root_principal(), call.session.source, parent),
    };
    let opened = Pending {
        stream,
        revision: last.next(),
        event_time: at,
        receive_time: call.receive_time,
        call: CallKey::NONE,
        causation: Position::ZERO,
        event: Event::SessionOpened(SessionOpened {
            tenant: call.tenant.clone(),
            session_id: id.clone(),
            source: call.session.source,
            principal_chain: call.principal_chain.clone(),
            client: call.client.clone(),
            parent,
            parent_id: call.session.parent_id.clone(),
            reopened: last > Revision::ZERO,
        }),
        payload: Payload::default(),
    };
    Resolved { stream, session_id: id, opened: Some(opened) }
}
