//! Closes sessions that are over: silent too long, open too long, or one too many.

use super::settings::Settings;
use crate::domain::event::{CloseReason, Event, Payload, Pending, SessionClosed};
use crate::domain::position::Position;
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::projection::{Session, State};

/// Most sessions closed before one call, so that no call waits for a whole morning's sessions.
pub(super) const CLOSED_PER_CALL_MAX: usize = 4;

/// The events that close what is over as of `now`, the event time of the call to come. Sessions are
/// looked at from the longest silent on. The latest time seen does not count: history may be handed in
/// session after session, and a session must not be over because another one, told before, came later.
pub fn housekeep(
    state: &State,
    tenant: &str,
    now: Timestamp,
    receive_time: Timestamp,
    settings: &Settings,
) -> Vec<Pending> {
    let Some(known) = state.tenant(tenant) else { return Vec::new() };
    let over = (known.sessions.len() + 1).saturating_sub(settings.sessions_max);
    let reason = |index: usize, session: &Session| {
        if now.since(session.active) > settings.idle_us {
            Some(CloseReason::Idle)
        } else if now.since(session.opened) > settings.age_max_us {
            Some(CloseReason::Aged)
        } else {
            (index < over).then_some(CloseReason::Evicted)
        }
    };
    known
        .sessions
        .by_silence()
        .take(CLOSED_PER_CALL_MAX)
        .enumerate()
        .map_while(|(index, (stream, session))| {
            reason(index, session).map(|reason| closed(tenant, stream, session, (reason, ""), receive_time))
        })
        .collect()
}

/// The event that closes a session. The actor is empty for what the daemon does by itself.
pub(super) fn closed(
    tenant: &str,
    stream: &StreamId,
    session: &Session,
    (reason, actor): (CloseReason, &str),
    receive_time: Timestamp,
) -> Pending {
    Pending {
        stream: *stream,
        revision: session.revision.next(),
        event_time: session.active,
        receive_time,
        call: CallKey::NONE,
        causation: Position::ZERO,
        event: Event::SessionClosed(SessionClosed {
            tenant: tenant.to_owned(),
            reason,
            actor: actor.to_owned(),
        }),
        payload: Payload::default(),
    }
}
