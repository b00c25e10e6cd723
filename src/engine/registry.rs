//! Calls seen lately, at hand: so that a repeated `call_id` is found before the log's index knows it.
//!
//! Bounded by [`CALLS_MAX`], which is more than the log keeps unindexed: a call that is not here is in the
//! log's index or was never seen. Decisions are kept until they are durable: from then on the log tells
//! them, and their memory is let go while it is still warm.

use super::partition::Decided;
use crate::domain::call::Digest;
use crate::domain::position::Position;
use crate::domain::stream::{BuildKeyHasher, CallKey, StreamId};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Calls kept at hand: about 130 bytes each.
pub(super) const CALLS_MAX: usize = 32_768;
/// Decisions kept that are not durable, about 700 bytes each: more than can be on their way to the disk.
pub(super) const DECISIONS_MAX: usize = 16_384;

/// An outcome on record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Completion {
    /// A digest of it.
    pub fingerprint: u64,
    /// Position of its `CallCompleted`.
    pub position: Position,
}

/// What is kept of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// Position of its `CallProposed`.
    pub proposed_at: Position,
    /// Its session.
    pub stream: StreamId,
    /// Digest that binds it.
    pub digest: Digest,
    /// Its recorded outcome, if there is one and it was looked for.
    pub completed: Option<Completion>,
    /// Whether `completed` says all there is; else the log must be asked.
    pub is_completion_known: bool,
}

/// The calls seen lately.
#[derive(Debug, Default)]
pub(super) struct Registry {
    known: HashMap<CallKey, Known, BuildKeyHasher>,
    order: VecDeque<CallKey>,
    /// Decisions that may not be durable yet, in the order of their positions.
    decided: VecDeque<Arc<Decided>>,
}

impl Registry {
    /// What is at hand of a call.
    pub(super) fn get(&self, call: &CallKey) -> Option<&Known> {
        self.known.get(call)
    }

    /// The decision of the call proposed at a position, if it may not be durable yet.
    pub(super) fn decided(&self, proposed_at: Position) -> Option<&Arc<Decided>> {
        let place =
            self.decided.binary_search_by_key(&proposed_at.next(), |decided| decided.position).ok()?;
        self.decided.get(place)
    }

    /// Notes the outcome of a call at hand.
    pub(super) fn complete(&mut self, call: &CallKey, outcome: Completion) {
        if let Some(known) = self.known.get_mut(call) {
            known.completed = Some(outcome);
            known.is_completion_known = true;
        }
    }

    /// Puts a call at hand.
    pub(super) fn insert(&mut self, call: CallKey, known: Known) {
        if self.known.insert(call, known).is_none() {
            self.order.push_back(call);
        }
        if self.order.len() > CALLS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Keeps a decision until it is durable. Decisions come in the order of their positions.
    pub(super) fn keep(&mut self, decided: Arc<Decided>) {
        self.decided.push_back(decided);
        if self.decided.len() > DECISIONS_MAX {
            self.decided.pop_front();
        }
    }

    /// Lets decisions go that the log can tell by now.
    pub(super) fn settle(&mut self, durable: Position) {
        while self.decided.front().is_some_and(|decided| decided.position <= durable) {
            self.decided.pop_front();
        }
    }
}
