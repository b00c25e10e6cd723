//! Calls seen lately, at hand: so that a repeated `call_id` is found before the log's index knows it.
//!
//! Bounded by [`CALLS_MAX`], which is more than the log keeps unindexed: a call that is not here is in the
//! log's index or was never seen. The newest [`DECISIONS_MAX`] keep their decision, more than can be on its
//! way to the disk.

use super::partition::Decided;
use crate::domain::call::Digest;
use crate::domain::position::Position;
use crate::domain::stream::{CallKey, StreamId};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Calls kept at hand: about 150 bytes each.
pub(super) const CALLS_MAX: usize = 32_768;
/// Calls kept with their decision: about 700 bytes each.
pub(super) const DECISIONS_MAX: usize = 8_192;

/// What is kept of a call.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Position of its `CallProposed`.
    pub proposed_at: Position,
    /// Its session.
    pub stream: StreamId,
    /// Digest that binds it.
    pub digest: Digest,
    /// Its decision, if it is among the newest.
    pub decided: Option<Arc<Decided>>,
    /// A digest of its recorded outcome, if there is one and it was looked for.
    pub completed: Option<u64>,
    /// Whether `completed` says all there is; else the log must be asked.
    pub is_completion_known: bool,
}

/// The calls seen lately.
#[derive(Debug, Default)]
pub(super) struct Registry {
    known: HashMap<CallKey, Known>,
    order: VecDeque<CallKey>,
    decided: VecDeque<CallKey>,
}

impl Registry {
    /// What is at hand of a call.
    pub(super) fn get(&self, call: &CallKey) -> Option<&Known> {
        self.known.get(call)
    }

    /// Notes the outcome of a call at hand.
    pub(super) fn complete(&mut self, call: &CallKey, outcome: u64) {
        if let Some(known) = self.known.get_mut(call) {
            known.completed = Some(outcome);
            known.is_completion_known = true;
        }
    }

    /// Puts a call at hand.
    pub(super) fn insert(&mut self, call: CallKey, known: Known) {
        if known.decided.is_some() {
            self.decided.push_back(call);
        }
        if self.known.insert(call, known).is_none() {
            self.order.push_back(call);
        }
        if self.decided.len() > DECISIONS_MAX
            && let Some(oldest) = self.decided.pop_front()
            && let Some(known) = self.known.get_mut(&oldest)
        {
            known.decided = None;
        }
        if self.order.len() > CALLS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}
