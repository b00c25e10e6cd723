//! Takes what a session taught out of a tenant's statistics: by folding the log anew without it.
//!
//! `SessionUnlearned` says from where on the statistics are those of a log in which the session taught
//! nothing. Whoever folds a log comes by here with every record, so that a fold with a snapshot and one without
//! end in the same bytes. The worker does not fold while calls wait: [`Relearning`] is made beside it, follows
//! the log, and is handed over when it is almost there.

use super::Error;
use super::query::decode;
use crate::domain::event::{Event, Payload, Recorded, SessionUnlearned};
use crate::domain::position::Position;
use crate::domain::stream::StreamId;
use crate::eventlog::Log;
use crate::projection::State;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// A fold of one tenant's events in which some sessions teach nothing.
pub struct Relearning {
    tenant: String,
    state: State,
}

impl Relearning {
    /// Before the first record. `unlearned`: sessions that teach nothing.
    pub fn new(tenant: &str, unlearned: BTreeSet<StreamId>) -> Self {
        Self { tenant: tenant.to_owned(), state: State::without(unlearned) }
    }

    /// Folds the log in, up to `to`.
    pub fn follow(&mut self, log: &Log, to: Position) -> Result<(), Error> {
        let mut fault = None;
        let (tenant, state) = (&self.tenant, &mut self.state);
        log.scan(state.position.next(), to, |view| match decode(&view, Payload::default()) {
            Ok(mut recorded) => {
                if concerns(&recorded.record.event, tenant) {
                    state.take(&mut recorded);
                } else {
                    state.position = recorded.position;
                }
                ControlFlow::Continue(())
            }
            Err(error) => {
                fault = Some(error);
                ControlFlow::Break(())
            }
        })?;
        fault.map_or(Ok(()), Err)
    }

    /// The sessions that teach nothing.
    pub(super) fn unlearned(&self) -> &BTreeSet<StreamId> {
        self.state.unlearned()
    }

    /// Puts the statistics into a state at the same position.
    pub(super) fn finish(self, into: &mut State) {
        let Self { tenant, state } = self;
        into.relearn(&tenant, state);
    }
}

/// Whether an event can change what is learnt of a tenant.
fn concerns(event: &Event, tenant: &str) -> bool {
    match event {
        Event::LogCreated(_) => true,
        Event::SessionOpened(event) => event.tenant == tenant,
        Event::SessionClosed(event) => event.tenant == tenant,
        Event::ToolDefined(event) => event.tenant == tenant,
        Event::CallProposed(event) => event.tenant == tenant,
        Event::CallDecided(event) => event.tenant == tenant,
        Event::CallCompleted(event) => event.tenant == tenant,
        // Of a review its beginning and its end teach; votes do not.
        Event::ReviewOpened(event) => event.tenant == tenant,
        Event::ReviewResolved(event) => event.tenant == tenant,
        Event::ReviewJoined(event) => event.tenant == tenant,
        Event::CallReleased(event) => event.tenant == tenant,
        Event::CallRefused(event) => event.tenant == tenant,
        Event::FeedbackGiven(event) => event.tenant == tenant,
        Event::VoteCast(_) | Event::ReviewDelegated(_) | Event::LockPlaced(_) | Event::LockLifted(_) => false,
        Event::TokenCreated(_) | Event::TokenRevoked(_) => false,
        Event::RuleAccepted(_) | Event::RuleRevoked(_) | Event::ToolAccepted(_) => false,
        Event::PolicyAdopted(_) | Event::PolicyWithdrawn(_) => false,
        Event::BudgetSet(_) | Event::SessionUnlearned(_) => false,
        Event::ModelAdopted(_) => false,
    }
}

/// Folds one record into a state whose log this is. A call's features are taken out of it.
pub(super) fn take(log: &Log, state: &mut State, recorded: &mut Recorded) -> Result<(), Error> {
    state.take(recorded);
    let Event::SessionUnlearned(SessionUnlearned { tenant, .. }) = &recorded.record.event else {
        return Ok(());
    };
    let mut relearning = Relearning::new(tenant, state.unlearned().clone());
    relearning.follow(log, Position::new(recorded.position.get().saturating_sub(1)))?;
    relearning.finish(state);
    Ok(())
}
