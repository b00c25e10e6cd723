//! What was called lately, newest first: the memory of composition rules.
//!
//! Independent of any policy, so that a changed policy is judged on the same history at once. Bounded:
//! [`CALLS_MAX`] calls a trail, [`VALUES_MAX`] telling argument values and [`BROUGHT_MAX`] values of a
//! result a call, [`NAME_BYTES_MAX`] bytes of each name; of principals and trees [`TRAILS_MAX`] trails each.

use crate::domain::call::{ArgumentFeature, CallFeatures};
use crate::domain::risk::Capabilities;
use crate::domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Calls of a trail.
pub(super) const CALLS_MAX: usize = 48;
/// Telling argument values of a call.
pub(super) const VALUES_MAX: usize = 8;
/// Telling values of a result.
pub(super) const BROUGHT_MAX: usize = 32;
/// Trails of principals, and of session trees, of a tenant.
pub(super) const TRAILS_MAX: usize = 1_024;
/// Bytes kept of a tool's and of a server's name.
pub(super) const NAME_BYTES_MAX: usize = 96;
/// Latest calls of a trail whose names a new one may share.
const NAMES_SHARED: usize = 8;

/// Kind of a number among argument features.
const NUMBER: u8 = 2;
/// Kind of a text.
const TEXT: u8 = 3;
/// Magnitude of texts of 7 letters or more: shorter ones are shared by chance.
const TEXT_TELLS: u8 = 134;
/// Magnitude of numbers of 65,535 or more, and its mirror.
const NUMBER_TELLS: u8 = 160;

/// A call that was made.
///
/// 56 bytes, a name that calls of the same tool share, and the values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "stored::Made")]
pub struct Made {
    /// Hash of the principal that made it.
    pub principal: u64,
    /// When.
    pub at: Timestamp,
    /// The MCP server's name and the tool's, one behind the other.
    name: Arc<str>,
    /// Hashes of telling argument values, then of telling values in its result.
    facts: Box<[u32]>,
    /// Its number among records: tells which call a result belongs to.
    pub call: u32,
    /// What the tool can do.
    pub capabilities: Capabilities,
    server_bytes: u8,
    values: u8,
}

impl Made {
    /// A call without a result yet.
    pub fn new(call: u32, at: Timestamp, (server, tool): (&str, &str), features: &CallFeatures) -> Self {
        let (server, tool) = (clip(server), clip(tool));
        let facts = telling(&features.arguments);
        Self {
            call,
            principal: features.principal,
            at,
            name: [server, tool].concat().into(),
            capabilities: features.capabilities,
            // Both are at most what fits: see the limits above.
            server_bytes: server.len() as u8,
            values: facts.len() as u8,
            facts,
        }
    }

    /// MCP server.
    pub fn server(&self) -> &str {
        self.name.get(..self.server_bytes.into()).unwrap_or("")
    }

    /// Tool name.
    pub fn tool(&self) -> &str {
        self.name.get(self.server_bytes.into()..).unwrap_or("")
    }

    /// Hashes of telling argument values.
    pub fn values(&self) -> &[u32] {
        self.facts.get(..self.values.into()).unwrap_or(&[])
    }

    /// Hashes of telling values in its result.
    pub fn brought(&self) -> &[u32] {
        self.facts.get(self.values.into()..).unwrap_or(&[])
    }

    fn bring(&mut self, brought: &[u32]) {
        let brought = brought.iter().take(BROUGHT_MAX);
        self.facts = self.values().iter().chain(brought).copied().collect();
    }

    fn has_name_of(&self, other: &Self) -> bool {
        self.server_bytes == other.server_bytes && self.name == other.name
    }
}

/// What goes into a snapshot: names and values each for itself.
mod stored {
    use crate::domain::risk::Capabilities;
    use crate::domain::time::Timestamp;
    use serde::{Deserialize, Serialize, Serializer};

    #[derive(Deserialize)]
    pub(super) struct Made {
        call: u32,
        principal: u64,
        at: Timestamp,
        server: String,
        tool: String,
        capabilities: Capabilities,
        values: Vec<u32>,
        brought: Vec<u32>,
    }

    /// The same, borrowed.
    #[derive(Serialize)]
    struct Borrowed<'a> {
        call: u32,
        principal: u64,
        at: Timestamp,
        server: &'a str,
        tool: &'a str,
        capabilities: Capabilities,
        values: &'a [u32],
        brought: &'a [u32],
    }

    impl From<Made> for super::Made {
        fn from(stored: Made) -> Self {
            let Made { call, principal, at, server, tool, capabilities, mut values, brought } = stored;
            values.truncate(super::VALUES_MAX);
            let (server, kept) = (super::clip(&server), values.len());
            values.extend(brought);
            Self {
                principal,
                at,
                name: [server, super::clip(&tool)].concat().into(),
                facts: values.into(),
                call,
                capabilities,
                server_bytes: server.len() as u8,
                values: kept as u8,
            }
        }
    }

    impl Serialize for super::Made {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let Self { call, principal, at, capabilities, .. } = *self;
            Borrowed {
                call,
                principal,
                at,
                server: self.server(),
                tool: self.tool(),
                capabilities,
                values: self.values(),
                brought: self.brought(),
            }
            .serialize(serializer)
        }
    }
}

fn clip(name: &str) -> &str {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or("")
}

/// Hashes of values long or large enough that two calls hardly share them by chance.
pub fn telling(arguments: &[ArgumentFeature]) -> Box<[u32]> {
    let tells = |feature: &&ArgumentFeature| match feature.kind {
        TEXT => feature.magnitude >= TEXT_TELLS,
        NUMBER => feature.magnitude >= NUMBER_TELLS || feature.magnitude <= u8::MAX - NUMBER_TELLS,
        _ => false,
    };
    arguments.iter().filter(tells).map(|feature| feature.value).take(VALUES_MAX).collect()
}

/// Calls, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trail(VecDeque<Made>);

impl Trail {
    /// The call of this number.
    pub(super) fn find(&self, call: u32) -> Option<&Made> {
        self.0.iter().find(|made| made.call == call)
    }

    /// The calls, newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Made> {
        self.0.iter()
    }

    /// Adds a call; the oldest goes if there are too many.
    pub(super) fn push(&mut self, mut made: Made) {
        if let Some(known) = self.0.iter().take(NAMES_SHARED).find(|known| known.has_name_of(&made)) {
            made.name = Arc::clone(&known.name);
        }
        self.0.truncate(CALLS_MAX - 1);
        if self.0.len() == self.0.capacity() {
            // Never room for more than it may hold.
            self.0.reserve_exact(self.0.len().clamp(4, CALLS_MAX - self.0.len()));
        }
        self.0.push_front(made);
    }

    /// Notes what a call's result brought in.
    pub(super) fn bring(&mut self, call: u32, brought: &[u32]) {
        if let Some(made) = self.0.iter_mut().find(|made| made.call == call) {
            made.bring(brought);
        }
    }
}

/// Trails by key, the one longest without a call forgotten first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trails<K: Ord> {
    trails: BTreeMap<K, (u64, Trail)>,
    /// Keys by the turn of their latest call.
    order: BTreeMap<u64, K>,
    turn: u64,
}

impl<K: Ord + Copy> Default for Trails<K> {
    fn default() -> Self {
        Self { trails: BTreeMap::new(), order: BTreeMap::new(), turn: 0 }
    }
}

impl<K: Ord + Copy> Trails<K> {
    /// The trail of this key.
    pub fn get(&self, key: &K) -> Option<&Trail> {
        self.trails.get(key).map(|(_, trail)| trail)
    }

    /// The trail of this key, made from `start` if there is none.
    pub(super) fn entry(&mut self, key: K, start: impl FnOnce() -> Trail) -> &mut Trail {
        self.turn += 1;
        if let Some((turn, _)) = self.trails.get(&key) {
            self.order.remove(turn);
        } else if self.trails.len() >= TRAILS_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.trails.remove(&oldest);
        }
        self.order.insert(self.turn, key);
        let slot = self.trails.entry(key).or_insert_with(|| (0, start()));
        slot.0 = self.turn;
        &mut slot.1
    }

    /// Notes what a call's result brought in.
    pub(super) fn bring(&mut self, key: &K, call: u32, brought: &[u32]) {
        if let Some((_, trail)) = self.trails.get_mut(key) {
            trail.bring(call, brought);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(call: u32) -> Made {
        let features = CallFeatures {
            tool: 1,
            principal: 2,
            capabilities: Capabilities::NONE,
            at: None,
            utc_offset_minutes: 0,
            arguments: Vec::new(),
            words: Default::default(),
        };
        Made::new(call, Timestamp::from_micros(0), ("s", "t"), &features)
    }

    #[test]
    fn a_trail_is_bounded_and_newest_first() {
        let mut trail = Trail::default();
        (0..100).for_each(|call| trail.push(made(call)));
        assert_eq!(trail.iter().count(), CALLS_MAX);
        assert_eq!(trail.iter().next().unwrap().call, 99);
        trail.bring(99, &[7; 100]);
        trail.bring(3, &[7]);
        assert_eq!(trail.iter().next().unwrap().brought().len(), BROUGHT_MAX);
    }

    #[test]
    fn the_trail_longest_without_a_call_goes_first() {
        let mut trails = Trails::default();
        for key in 0..TRAILS_MAX as u64 {
            trails.entry(key, Trail::default).push(made(1));
        }
        trails.entry(0, Trail::default).push(made(2));
        trails.entry(5_000, Trail::default).push(made(3));
        assert!(trails.get(&1).is_none() && trails.get(&0).is_some());
        assert_eq!(trails.get(&0).unwrap().iter().count(), 2);
        assert_eq!(trails.trails.len(), TRAILS_MAX);
        assert_eq!(trails.order.len(), TRAILS_MAX);
    }

    #[test]
    fn only_long_values_tell() {
        let feature = |kind, magnitude| ArgumentFeature { path: 0, value: 9, magnitude, kind };
        let count = |kind, magnitude| telling(&[feature(kind, magnitude)]).len();
        assert_eq!([count(TEXT, 134), count(TEXT, 133), count(1, 200)], [1, 0, 0]);
        assert_eq!([count(NUMBER, 160), count(NUMBER, 159), count(NUMBER, 95)], [1, 0, 1]);
        assert_eq!(telling(&[feature(TEXT, 200); 20]).len(), VALUES_MAX);
    }
}
