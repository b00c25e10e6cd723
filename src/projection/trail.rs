//! What was called lately: the memory of composition rules.
//!
//! Independent of any policy, so that a changed policy is judged on the same history at once. Bounded:
//! [`CALLS_MAX`] calls a trail, eight telling argument values and [`BROUGHT_MAX`] values of a result a call, 96 bytes
//! of each name; of principals and trees [`TRAILS_MAX`] trails each.
//!
//! # In memory
//!
//! A call is three words of 32 bits (its number; capabilities, counts and the place of its name; microseconds since
//! the call before it), then its values, then those of its result. Where the time does not fit or another principal
//! acts, four words with both take the place of the third. A snapshot holds each call in full, newest first.

use super::made::{Made, Stored, StoredRef, VALUES_MAX};
use super::names::{Name, Names};
use crate::domain::risk::Capabilities;
use crate::domain::time::Timestamp;
use crate::stats::packed::make_room;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Calls of a trail.
pub(super) const CALLS_MAX: usize = 40;
/// Telling values of a result.
pub(super) const BROUGHT_MAX: usize = 32;
/// Trails of principals, and of session trees, of a tenant.
pub(super) const TRAILS_MAX: usize = 1_024;

/// Turns that are remembered of trails, those that are over included.
const TURNS_MAX: usize = 2 * TRAILS_MAX;

/// Words of a call without values at most.
const HEAD_WORDS_MAX: usize = 6;
/// Words of a trail at most.
const WORDS_MAX: usize = CALLS_MAX * (HEAD_WORDS_MAX + VALUES_MAX + BROUGHT_MAX);
/// What the count of values is multiplied with to hold that of the result's values, too.
const COUNTS: u32 = BROUGHT_MAX as u32 + 1;

// Sixteen bits of capabilities, nine of counts, six of a name's place, one.
const _: () = assert!(CALLS_MAX <= 64 && VALUES_MAX as u32 * COUNTS + COUNTS <= 512);

/// The latest calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Vec<Stored>")]
pub struct Trail {
    /// Calls, oldest first.
    words: Vec<u32>,
    /// Names that calls point to, and some to which none does any more.
    names: Vec<Arc<Name>>,
    /// Before the oldest call.
    before: Mark,
    /// At the newest call.
    last: Mark,
    calls: u8,
    /// Whether a result brought anything.
    brings: bool,
}

/// Time and principal of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mark {
    at: i64,
    principal: u64,
}

/// Second word of a call.
#[derive(Clone, Copy)]
struct Meta {
    capabilities: u16,
    values: u8,
    brought: u8,
    name: u8,
    /// Whether time and principal are told in full.
    whole: bool,
}

impl Meta {
    fn word(self) -> u32 {
        let counts = u32::from(self.values) * COUNTS + u32::from(self.brought);
        u32::from(self.capabilities)
            | (counts & 0x1ff) << 16
            | (u32::from(self.name) & 0x3f) << 25
            | u32::from(self.whole) << 31
    }

    const fn of(word: u32) -> Self {
        let counts = word >> 16 & 0x1ff;
        Self {
            capabilities: word as u16,
            values: (counts / COUNTS) as u8,
            brought: (counts % COUNTS) as u8,
            name: (word >> 25 & 0x3f) as u8,
            whole: word >> 31 == 1,
        }
    }
}

/// A call of a trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed<'t> {
    /// Its number among records.
    pub call: u32,
    /// Hash of the principal that made it.
    pub principal: u64,
    /// When.
    pub at: Timestamp,
    /// The tool's name and its server's.
    pub name: &'t Name,
    /// What the tool can do.
    pub capabilities: Capabilities,
    /// Hashes of telling argument values.
    pub values: &'t [u32],
    /// Hashes of telling values in its result.
    pub brought: &'t [u32],
}

/// The calls of a trail, oldest first.
struct Calls<'t> {
    names: &'t [Arc<Name>],
    rest: &'t [u32],
    mark: Mark,
}

impl<'t> Iterator for Calls<'t> {
    type Item = Passed<'t>;

    fn next(&mut self) -> Option<Passed<'t>> {
        let ([call, meta], rest) = self.rest.split_first_chunk()?;
        let meta = Meta::of(*meta);
        let rest = if meta.whole {
            let ([at_low, at_high, low, high], rest) = rest.split_first_chunk()?;
            let two = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
            self.mark = Mark { at: two(*at_low, *at_high) as i64, principal: two(*low, *high) };
            rest
        } else {
            let (later, rest) = rest.split_first()?;
            self.mark.at = self.mark.at.wrapping_add((*later as i32).into());
            rest
        };
        let (values, rest) = rest.split_at_checked(meta.values.into())?;
        let (brought, rest) = rest.split_at_checked(meta.brought.into())?;
        self.rest = rest;
        Some(Passed {
            call: *call,
            principal: self.mark.principal,
            at: Timestamp::from_micros(self.mark.at),
            name: self.names.get(usize::from(meta.name))?,
            capabilities: Capabilities::from_bits(meta.capabilities),
            values,
            brought,
        })
    }
}

impl PartialEq for Trail {
    /// Whether the same was called, however it is held.
    fn eq(&self, other: &Self) -> bool {
        self.calls().eq(other.calls())
    }
}

impl Eq for Trail {}

impl Serialize for Trail {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all: Vec<Passed<'_>> = self.calls().collect();
        all.reverse();
        serializer.collect_seq(all.into_iter().map(|passed| {
            let Passed { call, principal, at, name, capabilities, values, brought } = passed;
            let (server, tool) = (name.server(), name.tool());
            StoredRef { call, principal, at, server, tool, capabilities, values, brought }
        }))
    }
}

impl From<Vec<Stored>> for Trail {
    fn from(newest_first: Vec<Stored>) -> Self {
        let mut trail = Self::default();
        for mut stored in newest_first.into_iter().rev() {
            let brought = std::mem::take(&mut stored.brought);
            let mut made = Made::from(stored);
            if let Some(known) = trail.names.iter().find(|known| **known == made.name) {
                made.name = Arc::clone(known);
            }
            trail.push(&made);
            trail.bring(made.call, &brought);
        }
        trail
    }
}

impl Trail {
    /// The calls, oldest first.
    pub fn calls(&self) -> impl Iterator<Item = Passed<'_>> {
        Calls { names: &self.names, rest: &self.words, mark: self.before }
    }

    /// Adds a call; the oldest goes if there are too many.
    pub(super) fn push(&mut self, made: &Made) {
        if usize::from(self.calls) >= CALLS_MAX {
            self.forget_oldest();
        }
        let name = self.place_of(&made.name);
        let mark = Mark { at: made.at.as_micros(), principal: made.principal };
        let later = i32::try_from(mark.at.saturating_sub(self.last.at)).ok();
        let later = later.filter(|_| mark.principal == self.last.principal);
        let values = made.values.len() as u8;
        let capabilities = made.capabilities.bits();
        let meta = Meta { capabilities, values, brought: 0, name, whole: later.is_none() };
        make_room(&mut self.words, HEAD_WORDS_MAX + made.values.len(), WORDS_MAX);
        self.words.extend([made.call, meta.word()]);
        match later {
            Some(later) => self.words.push(later as u32),
            None => self.words.extend(
                [mark.at as u64, mark.principal].iter().flat_map(|two| [*two as u32, (*two >> 32) as u32]),
            ),
        }
        self.words.extend_from_slice(&made.values);
        self.last = mark;
        self.calls += 1;
    }

    fn forget_oldest(&mut self) {
        let mut calls = Calls { names: &self.names, rest: &self.words, mark: self.before };
        if calls.next().is_some() {
            let (length, mark) = (self.words.len() - calls.rest.len(), calls.mark);
            self.words.drain(..length);
            self.before = mark;
            self.calls -= 1;
        }
    }

    /// Where a name is; there is room, since there are fewer than [`CALLS_MAX`] calls.
    fn place_of(&mut self, name: &Arc<Name>) -> u8 {
        if let Some(place) = self.names.iter().position(|known| Arc::ptr_eq(known, name)) {
            return place as u8;
        }
        if self.names.len() < CALLS_MAX {
            make_room(&mut self.names, 1, CALLS_MAX);
            self.names.push(Arc::clone(name));
            return self.names.len() as u8 - 1;
        }
        let used = self.metas().fold(0_u64, |used, meta| used | 1 << meta.name);
        let free = used.trailing_ones().min(CALLS_MAX as u32 - 1) as u8;
        if let Some(slot) = self.names.get_mut(usize::from(free)) {
            *slot = Arc::clone(name);
        }
        free
    }

    fn metas(&self) -> impl Iterator<Item = Meta> {
        let mut rest = self.words.as_slice();
        std::iter::from_fn(move || {
            let meta = Meta::of(*rest.get(1)?);
            let head = if meta.whole { HEAD_WORDS_MAX } else { 3 };
            rest = rest.get(head + usize::from(meta.values + meta.brought)..)?;
            Some(meta)
        })
    }

    /// Notes what a call's result brought in; the call's principal, if there is anything to note.
    pub(super) fn bring(&mut self, call: u32, brought: &[u32]) -> Option<u64> {
        if brought.is_empty() && !self.brings {
            return None;
        }
        let brought = brought.get(..BROUGHT_MAX).unwrap_or(brought);
        let mut calls = Calls { names: &self.names, rest: &self.words, mark: self.before };
        let (mut found, mut begin) = (None, 0);
        // Of two calls of one number the newer one is meant.
        while let Some(passed) = calls.next() {
            let end = self.words.len() - calls.rest.len();
            if passed.call == call {
                found = Some((begin, end - passed.brought.len()..end, passed.principal));
            }
            begin = end;
        }
        let (begin, place, principal) = found?;
        make_room(&mut self.words, brought.len().saturating_sub(place.len()), WORDS_MAX);
        self.words.splice(place, brought.iter().copied());
        if let Some(word) = self.words.get_mut(begin + 1) {
            *word = Meta { brought: brought.len() as u8, ..Meta::of(*word) }.word();
        }
        self.brings = true;
        Some(principal)
    }

    /// Shares its names with others of the tenant.
    pub(super) fn share_names(&mut self, names: &mut Names, hash: &impl Fn(&Name) -> u64) {
        for name in &mut self.names {
            *name = names.share(hash(name), name);
        }
    }
}

/// Trails by key, the one longest without a call forgotten first.
///
/// In a snapshot: each key with the turn of its latest call and its trail.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "BTreeMap<K, (u64, Trail)>", bound(deserialize = "K: Ord + Copy + Deserialize<'de>"))]
pub struct Trails<K: Ord> {
    trails: BTreeMap<K, (u64, Trail)>,
    /// Turns in order, with their keys. Some are over, because their key had a later one.
    order: VecDeque<(u64, K)>,
    turn: u64,
}

impl<K: Ord> Default for Trails<K> {
    fn default() -> Self {
        Self { trails: BTreeMap::new(), order: VecDeque::new(), turn: 0 }
    }
}

impl<K: Ord> PartialEq for Trails<K> {
    fn eq(&self, other: &Self) -> bool {
        self.trails == other.trails
    }
}

impl<K: Ord> Eq for Trails<K> {}

impl<K: Ord + Serialize> Serialize for Trails<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.trails.serialize(serializer)
    }
}

impl<K: Ord + Copy> From<BTreeMap<K, (u64, Trail)>> for Trails<K> {
    fn from(trails: BTreeMap<K, (u64, Trail)>) -> Self {
        let mut all = Self { trails, ..Self::default() };
        all.drop_turns_that_are_over();
        all.turn = all.order.back().map_or(0, |(turn, _)| *turn);
        all
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
        if self.trails.len() >= TRAILS_MAX && !self.trails.contains_key(&key) {
            self.forget_oldest();
        }
        match self.order.back_mut() {
            Some((turn, latest)) if *latest == key => *turn = self.turn,
            _ => {
                if self.order.len() >= TURNS_MAX {
                    self.drop_turns_that_are_over();
                }
                self.order.push_back((self.turn, key));
            }
        }
        let slot = self.trails.entry(key).or_insert_with(|| (0, start()));
        slot.0 = self.turn;
        &mut slot.1
    }

    fn forget_oldest(&mut self) {
        while let Some((turn, key)) = self.order.pop_front() {
            if self.trails.get(&key).is_some_and(|(latest, _)| *latest == turn) {
                self.trails.remove(&key);
                return;
            }
        }
    }

    fn drop_turns_that_are_over(&mut self) {
        let mut order: Vec<(u64, K)> = self.trails.iter().map(|(key, (turn, _))| (*turn, *key)).collect();
        order.sort_unstable();
        self.order = order.into();
    }

    /// Notes what a call's result brought in.
    pub(super) fn bring(&mut self, key: &K, call: u32, brought: &[u32]) {
        if let Some((_, trail)) = self.trails.get_mut(key) {
            trail.bring(call, brought);
        }
    }

    /// Shares the names of all trails with others of the tenant.
    pub(super) fn share_names(&mut self, names: &mut Names, hash: &impl Fn(&Name) -> u64) {
        self.trails.values_mut().for_each(|(_, trail)| trail.share_names(names, hash));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn made(call: u32) -> Made {
        Made {
            principal: 2,
            at: Timestamp::from_micros(0),
            name: Arc::new(Name::new("s", "t")),
            values: [1, 2].into_iter().collect(),
            call,
            capabilities: Capabilities::NONE,
        }
    }

    #[test]
    fn a_trail_is_bounded() {
        let mut trail = Trail::default();
        (0..100).for_each(|call| trail.push(&made(call)));
        assert_eq!(trail.calls().count(), CALLS_MAX);
        assert_eq!(trail.calls().last().unwrap().call, 99);
        assert_eq!(trail.bring(99, &[7; 100]), Some(2));
        assert_eq!(trail.bring(3, &[7]), None);
        assert_eq!(trail.calls().last().unwrap().brought.len(), BROUGHT_MAX);
    }

    #[test]
    fn the_trail_longest_without_a_call_goes_first() {
        let mut trails = Trails::default();
        for key in 0..TRAILS_MAX as u64 {
            trails.entry(key, Trail::default).push(&made(1));
        }
        trails.entry(0, Trail::default).push(&made(2));
        trails.entry(5_000, Trail::default).push(&made(3));
        assert!(trails.get(&1).is_none() && trails.get(&0).is_some());
        assert_eq!(trails.get(&0).unwrap().calls().count(), 2);
        assert_eq!(trails.trails.len(), TRAILS_MAX);
    }

    proptest! {
        #[test]
        fn trails_go_in_the_order_of_their_latest_calls(
            keys in prop::collection::vec(0..2_000_u64, 1..400),
            repeats in 1..12_usize,
        ) {
            let mut trails = Trails::default();
            let mut plain: Vec<u64> = Vec::new();
            // From the last key on new ones come until the old ones have to go.
            let flood = 10_000..10_000 + TRAILS_MAX as u64;
            for key in (0..repeats).flat_map(|_| keys.clone()).chain(flood) {
                trails.entry(key, Trail::default).push(&made(1));
                plain.retain(|known| *known != key);
                plain.push(key);
                if plain.len() > TRAILS_MAX {
                    plain.remove(0);
                }
                prop_assert!(trails.order.len() <= TURNS_MAX);
            }
            let mut sorted = plain.clone();
            sorted.sort_unstable();
            prop_assert_eq!(trails.trails.keys().copied().collect::<Vec<_>>(), sorted);
            let bytes = postcard::to_stdvec(&trails).unwrap();
            let mut read: Trails<u64> = postcard::from_bytes(&bytes).unwrap();
            prop_assert_eq!(&read, &trails);
            for trails in [&mut read, &mut trails] {
                trails.entry(9_999, Trail::default);
                prop_assert!(trails.get(&plain[0]).is_none() && trails.get(&plain[1]).is_some());
            }
            prop_assert_eq!(read.turn, trails.turn);
        }
    }

    /// A call and what its result brought, without any packing.
    type Plain = (Made, Vec<u32>);

    fn check(trail: &Trail, plain: &VecDeque<Plain>) -> Result<(), TestCaseError> {
        prop_assert_eq!(trail.calls().count(), plain.len());
        for (passed, (made, brought)) in trail.calls().zip(plain) {
            prop_assert_eq!((passed.call, passed.principal, passed.at), (made.call, made.principal, made.at));
            prop_assert_eq!((passed.name, passed.capabilities), (&*made.name, made.capabilities));
            prop_assert_eq!((passed.values, passed.brought), (&*made.values, &brought[..]));
        }
        let mut newest_first: Vec<&Plain> = plain.iter().collect();
        newest_first.reverse();
        let stored: Vec<StoredRef<'_>> = newest_first
            .iter()
            .map(|(made, brought)| {
                let Made { call, principal, at, capabilities, .. } = *made;
                let (server, tool, values) = (made.name.server(), made.name.tool(), &*made.values);
                StoredRef { call, principal, at, server, tool, capabilities, values, brought }
            })
            .collect();
        let bytes = postcard::to_stdvec(trail).unwrap();
        prop_assert_eq!(&bytes, &postcard::to_stdvec(&stored).unwrap());
        prop_assert_eq!(&postcard::from_bytes::<Trail>(&bytes).unwrap(), trail);
        Ok(())
    }

    proptest! {
        #[test]
        fn a_trail_holds_what_was_called(
            calls in prop::collection::vec(
                (
                    prop_oneof![0..80_u32, any::<u32>()],
                    prop_oneof![Just(5_u64), any::<u64>()],
                    prop_oneof![0..9_000_000_000_i64, any::<i64>()],
                    0..70_u8,
                    any::<u16>(),
                    prop::collection::vec(any::<u32>(), 0..10),
                    prop::option::of((0..80_u32, prop::collection::vec(any::<u32>(), 0..40))),
                ),
                0..200,
            ),
        ) {
            let (mut trail, mut plain, mut names) = (Trail::default(), VecDeque::<Plain>::new(), Names::default());
            for (call, principal, at, tool, capabilities, values, result) in calls {
                let made = Made {
                    call,
                    principal,
                    at: Timestamp::from_micros(at),
                    name: names.name(tool.into(), "server", &format!("tool-{tool}")),
                    capabilities: Capabilities::from_bits(capabilities),
                    values: values.into_iter().collect(),
                };
                trail.push(&made);
                plain.push_back((made, Vec::new()));
                if plain.len() > CALLS_MAX {
                    plain.pop_front();
                }
                if let Some((call, brought)) = result {
                    let found = plain.iter_mut().rev().find(|(made, _)| made.call == call);
                    trail.bring(call, &brought);
                    if let Some(found) = found {
                        found.1 = brought.into_iter().take(BROUGHT_MAX).collect();
                    }
                }
            }
            check(&trail, &plain)?;
        }
    }
}
