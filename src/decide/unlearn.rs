//! The events that take learning back and that adopt what was fitted outside.

use super::lock::own;
use crate::domain::event::{Event, ModelAdopted, Pending, SessionUnlearned};
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use crate::projection::State;

/// Sessions of a partition that may be unlearnt; each costs 16 bytes and is kept for good.
pub const UNLEARNED_MAX: usize = 10_000;

/// The event that unlearns a session; none if it is unlearnt already.
pub fn unlearn(
    state: &State,
    tenant: &str,
    session: StreamId,
    reason: &str,
    now: Timestamp,
) -> Option<Pending> {
    if state.unlearned().contains(&session) {
        return None;
    }
    let event = SessionUnlearned { tenant: tenant.to_owned(), session, reason: reason.to_owned() };
    Some(own(state, Event::SessionUnlearned(event), now))
}

/// The event that adopts a model; none if it is in use already.
pub fn adopt_model(state: &State, model: ModelAdopted, now: Timestamp) -> Option<Pending> {
    if state.model().is_some_and(|known| known.revision == model.revision) {
        return None;
    }
    Some(own(state, Event::ModelAdopted(model), now))
}
