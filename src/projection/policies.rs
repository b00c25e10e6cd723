//! What a tenant has of its own in force: the revision of its policy, and rules that people granted.

use crate::domain::event::{RuleAccepted, RuleRevoked};
use crate::domain::position::Position;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A rule that a person granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Position of its `RuleAccepted`.
    pub position: Position,
    /// When it was granted.
    pub granted: Timestamp,
    /// Until when it holds; none: until it is revoked.
    pub expires: Option<Timestamp>,
    /// Who granted it.
    pub actor: String,
    /// The suggestion it came from; empty: none.
    pub suggestion_id: String,
    /// The review it came from; zero: none.
    pub review: Position,
    /// Calls it allowed so far.
    pub uses: u64,
}

/// A tenant's own policy and grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// Position of the `PolicyAdopted` of its own; zero: it has none.
    pub revision: Position,
    grants: BTreeMap<String, Grant>,
}

impl Policies {
    /// Grants by id.
    pub fn grants(&self) -> impl Iterator<Item = (&String, &Grant)> {
        self.grants.iter()
    }

    /// The grant of this id.
    pub fn grant(&self, id: &str) -> Option<&Grant> {
        self.grants.get(id)
    }

    pub(super) fn granted(&mut self, event: &RuleAccepted, position: Position, granted: Timestamp) {
        let grant = Grant {
            position,
            granted,
            expires: event.expires,
            actor: event.actor.clone(),
            suggestion_id: event.suggestion_id.clone(),
            review: event.review,
            uses: 0,
        };
        self.grants.retain(|_, grant| grant.expires.is_none_or(|expires| expires > granted));
        self.grants.insert(event.grant_id.clone(), grant);
    }

    pub(super) fn revoked(&mut self, event: &RuleRevoked) {
        self.grants.remove(&event.grant_id);
    }

    /// Counts a call that a grant allowed.
    pub(super) fn used(&mut self, rule_id: &str) {
        if let Some(grant) = self.grants.get_mut(rule_id) {
            grant.uses += 1;
        }
    }
}
