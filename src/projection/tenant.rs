//! What is known of a tenant.

use super::budget::ReviewBudget;
use super::inventory::Inventory;
use super::made::Made;
use super::names::{Name, Names};
use super::policies::Policies;
use super::principal::Principals;
use super::session::Sessions;
use super::trail::{Trail, Trails};
use crate::detector::models::Models;
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What is known of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// The latest event time seen.
    pub clock: Timestamp,
    /// Its policy and grants.
    pub policies: Policies,
    /// What each principal called lately, by hash.
    pub principals: Trails<u64>,
    /// What was called lately in trees of nested sessions, by their root.
    pub trees: Trails<StreamId>,
    /// Live sessions.
    pub sessions: Sessions,
    /// Registered tools.
    pub inventory: Inventory,
    /// Learnt statistics.
    pub models: Models,
    /// The review budget.
    pub budget: ReviewBudget,
    /// What is carried from session to session.
    pub carried: Principals,
    /// Calls decided, by verdict.
    pub verdicts: [u64; 3],
    /// Sessions closed because too many were live.
    pub evicted_sessions: u64,
    /// Names that trails share.
    #[serde(skip)]
    pub(super) names: Names,
}

impl Tenant {
    /// Notes a call that was made on the trails of its session, its tree and its principal.
    pub(super) fn remember(&mut self, stream: StreamId, made: &Made) {
        let Some(session) = self.sessions.get_mut(&stream) else { return };
        session.trail.push(made);
        let root = session.root;
        if root != stream || self.trees.get(&root).is_some() {
            self.trees.entry(root, Trail::default).push(made);
        }
        self.principals.entry(made.principal, Trail::default).push(made);
    }

    /// Shares names among trails that were read from a snapshot. `hash`: of a tool.
    pub(super) fn share_names(&mut self, hash: &impl Fn(&Name) -> u64) {
        let names = &mut self.names;
        self.sessions.iter_mut().for_each(|session| session.trail.share_names(names, hash));
        self.principals.share_names(names, hash);
        self.trees.share_names(names, hash);
    }

    /// A tenant without history. `key`: of the log's hashes.
    pub fn new(key: [u8; 16]) -> Self {
        Self {
            clock: Timestamp::from_micros(i64::MIN),
            policies: Policies::default(),
            principals: Trails::default(),
            trees: Trails::default(),
            sessions: Sessions::default(),
            inventory: Inventory::default(),
            models: Models::new(),
            budget: ReviewBudget::new(key),
            carried: Principals::default(),
            verdicts: [0; 3],
            evicted_sessions: 0,
            names: Names::default(),
        }
    }
}
