//! Tokens of the daemon, in the state of partition 0. Bounded by `domain::identity::TOKENS_MAX`.

use crate::domain::event::{Recorded, TokenCreated, TokenRevoked};
use crate::domain::identity::Token;
use crate::domain::position::Position;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A token with its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownToken {
    /// The token.
    pub token: Token,
    /// When it was made.
    pub created: Timestamp,
    /// Position of its `TokenCreated`.
    pub position: Position,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// All tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    tokens: BTreeMap<String, KnownToken>,
}

impl Access {
    /// The token of this id.
    pub fn get(&self, id: &str) -> Option<&KnownToken> {
        self.tokens.get(id)
    }

    /// All tokens, ended ones too, by id.
    pub fn iter(&self) -> impl Iterator<Item = &KnownToken> {
        self.tokens.values()
    }

    /// How many there are, ended ones included.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether none was ever made.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    pub(super) fn create(&mut self, event: &TokenCreated, recorded: &Recorded) {
        let known = KnownToken {
            token: event.token.clone(),
            created: recorded.record.receive_time,
            position: recorded.position,
            revoked: None,
        };
        self.tokens.insert(event.token.id.clone(), known);
    }

    pub(super) fn revoke(&mut self, event: &TokenRevoked, at: Timestamp) {
        if let Some(known) = self.tokens.get_mut(&event.token_id) {
            known.revoked.get_or_insert(at);
        }
    }
}
