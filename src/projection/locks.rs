//! Locks that hold, and those that ended lately.
//!
//! A lock whose time is over covers nothing, even before the event that says so. Bounded by
//! `domain::lock::{LOCKS_MAX, ENDED_MAX}`.

use crate::domain::event::{LockLifted, LockPlaced, Recorded};
use crate::domain::identity::same_person;
use crate::domain::lock::{ENDED_MAX, EVERY_SERVER, Lock, LockScope, LockTarget};
use crate::domain::position::Position;
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// A lock with its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownLock {
    /// The lock.
    pub lock: Lock,
    /// When it was placed.
    pub placed: Timestamp,
    /// Position of its `LockPlaced`.
    pub position: Position,
    /// When it ended; none: it holds.
    pub ended: Option<Timestamp>,
}

impl KnownLock {
    /// Whether it holds.
    pub fn holds(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.lock.expires.is_none_or(|expires| now < expires)
    }

    /// Whether it is on a person of its tenant; `is_person` tells whether a name is theirs.
    pub fn is_on_person(&self, is_person: impl Fn(&str) -> bool) -> bool {
        match self.lock.on.scope {
            LockScope::Principal => is_person(&self.lock.on.target),
            LockScope::Tenant | LockScope::Everything => true,
            LockScope::Session | LockScope::Tool | LockScope::Server => false,
        }
    }
}

/// What a lock is held against.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Tenant.
    pub tenant: &'a str,
    /// The session and those it is nested in.
    pub sessions: &'a [StreamId],
    /// Outermost first.
    pub principal_chain: &'a [String],
    /// MCP server.
    pub server: &'a str,
    /// Tool name.
    pub tool: &'a str,
}

/// All locks of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locks {
    held: Vec<KnownLock>,
    ended: VecDeque<KnownLock>,
}

impl Locks {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Locks that were not lifted, oldest first.
    pub fn held(&self) -> impl DoubleEndedIterator<Item = &KnownLock> {
        self.held.iter()
    }

    /// Locks that ended lately, oldest first.
    pub fn ended(&self) -> impl DoubleEndedIterator<Item = &KnownLock> {
        self.ended.iter()
    }

    /// How many were not lifted.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// The lock of this id, whether it holds or has ended.
    pub fn get(&self, id: &str) -> Option<&KnownLock> {
        self.held.iter().chain(self.ended.iter().rev()).find(|known| known.lock.id == id)
    }

    /// A lock on the very same that holds.
    pub fn same(&self, on: &LockTarget, now: Timestamp) -> Option<&KnownLock> {
        self.held.iter().find(|known| known.lock.on == *on && known.holds(now))
    }

    /// The widest lock that covers a call; of two alike the older.
    pub fn covering(&self, subject: &Subject<'_>, now: Timestamp) -> Option<&KnownLock> {
        if self.held.is_empty() {
            return None;
        }
        let covering = self.held.iter().filter(|known| known.holds(now) && covers(&known.lock.on, subject));
        covering.max_by_key(|known| (known.lock.on.scope, std::cmp::Reverse(known.position)))
    }

    /// A lock that covers a person of this tenant; `is_person` tells whether a name is theirs.
    pub fn covering_person(
        &self,
        tenant: &str,
        is_person: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Option<&KnownLock> {
        self.held.iter().find(|known| {
            let on = &known.lock.on;
            known.is_on_person(&is_person)
                && known.holds(now)
                && (on.tenant.is_empty() || on.tenant == tenant)
        })
    }

    /// When the next lock runs out.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.held.iter().filter_map(|known| known.lock.expires).min()
    }

    /// Locks whose time is over and that no event has ended yet.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = &KnownLock> {
        self.held.iter().filter(move |known| !known.holds(now))
    }

    pub(super) fn place(&mut self, event: &LockPlaced, recorded: &Recorded) {
        let placed = recorded.record.receive_time;
        let lock = event.lock.clone();
        self.held.push(KnownLock { lock, placed, position: recorded.position, ended: None });
    }

    pub(super) fn lift(&mut self, event: &LockLifted, at: Timestamp) {
        let Some(place) = self.held.iter().position(|known| known.lock.id == event.lock_id) else { return };
        let mut known = self.held.remove(place);
        known.ended = Some(at);
        self.ended.push_back(known);
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }
}

/// Whether a lock on this covers a call.
pub fn covers(on: &LockTarget, subject: &Subject<'_>) -> bool {
    if on.scope == LockScope::Everything {
        return true;
    }
    if on.tenant != subject.tenant {
        return false;
    }
    match on.scope {
        LockScope::Everything | LockScope::Tenant => true,
        LockScope::Session => subject.sessions.iter().any(|stream| stream.to_string() == on.target),
        LockScope::Principal => {
            let mut links = subject.principal_chain.iter();
            links.any(|link| *link == on.target || same_person(link, &on.target))
        }
        LockScope::Tool => {
            subject.tool == on.target && (on.server == EVERY_SERVER || subject.server == on.server)
        }
        LockScope::Server => subject.server == on.target,
    }
}
