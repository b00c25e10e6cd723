//! A bounded table that a flood of strange keys cannot empty.
//!
//! Eight-way set-associative, keyed by fingerprints. Into a full set a new key is let only when
//! a doorkeeper (a Bloom filter) has seen it before in the current generation, and it then takes
//! the place of the entry of least weight. A flood of keys used once therefore displaces nothing;
//! a flood of keys used twice displaces at most the lightest entry of each set, again and again
//! the same place (detection.md 8). Deliberately absent: time. Decay is the value's business.

use super::fingerprint::mix;
use serde::{Deserialize, Serialize};

/// Entries a set holds at most.
const WAYS: usize = 8;
/// Bloom filter bits for each entry of capacity.
const DOOR_BITS: usize = 8;

/// How much an entry is worth keeping. Compared between entries of one set at eviction.
pub trait Weigh {
    /// Larger is kept longer. Must not depend on the present time.
    fn weight(&self) -> u64;
}

impl<T: Weigh + ?Sized> Weigh for Box<T> {
    fn weight(&self) -> u64 {
        (**self).weight()
    }
}

/// A weight for a count that halves every four weeks and was last brought up to date in `week`:
/// log2 of the count in 1/256, plus 64 (a quarter octave) for each week. The order of two such
/// weights is the order of the decayed counts at any later time, give or take 6 %.
pub const fn decayed_weight(count: u32, week: u16) -> u64 {
    if count == 0 {
        return 0;
    }
    let octave = count.ilog2();
    let fraction = (((count as u64) << 8) >> octave) - 256;
    256 + octave as u64 * 256 + fraction + week as u64 * 64
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Slot<V> {
    key: u64,
    value: V,
}

/// A table of at most `capacity` entries, eight to a set.
///
/// Memory: nothing while empty; then 24 bytes a set, `8 + size_of::<V>()` bytes an entry (large
/// values should be boxed), and one byte per entry of capacity once the doorkeeper is needed.
/// The same operations in the same order give the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetTable<V> {
    capacity: usize,
    len: usize,
    evictions: u64,
    refusals: u64,
    /// Empty, or `capacity / WAYS` sets; a power of two.
    sets: Vec<Vec<Slot<V>>>,
    door: Doorkeeper,
}

impl<V> SetTable<V> {
    /// An empty table for `capacity` entries, rounded up to a power of two of at least 8.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(WAYS, 1 << 28).next_power_of_two();
        Self { capacity, len: 0, evictions: 0, refusals: 0, sets: Vec::new(), door: Doorkeeper::default() }
    }

    /// Entries it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Entries it holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Entries displaced by others since the start.
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Insertions turned away at the door since the start.
    pub fn refusals(&self) -> u64 {
        self.refusals
    }

    /// The value of `key`.
    pub fn get(&self, key: u64) -> Option<&V> {
        let set = self.sets.get(self.set_index(key))?;
        set.iter().find(|slot| slot.key == key).map(|slot| &slot.value)
    }

    /// The value of `key`, to change.
    pub fn get_mut(&mut self, key: u64) -> Option<&mut V> {
        let index = self.set_index(key);
        let set = self.sets.get_mut(index)?;
        set.iter_mut().find(|slot| slot.key == key).map(|slot| &mut slot.value)
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: u64) -> Option<V> {
        let index = self.set_index(key);
        let set = self.sets.get_mut(index)?;
        let way = set.iter().position(|slot| slot.key == key)?;
        self.len = self.len.saturating_sub(1);
        Some(set.swap_remove(way).value)
    }

    /// All entries, by set and slot: an order that depends on the operations only.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        self.sets.iter().flatten().map(|slot| (slot.key, &slot.value))
    }

    /// All entries to change, in the order of [`SetTable::iter`].
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut V)> {
        self.sets.iter_mut().flatten().map(|slot| (slot.key, &mut slot.value))
    }

    /// Keys are fingerprints, so their top bits choose the set. 0 while there are no sets.
    fn set_index(&self, key: u64) -> usize {
        ((key >> 32) as usize) & self.sets.len().wrapping_sub(1)
    }
}

impl<V: Weigh> SetTable<V> {
    /// The value of `key`; if absent, that of `make` is put in. `None`: the set is full and the
    /// key is new to the doorkeeper, so nothing was put in and `make` was not called.
    pub fn entry(&mut self, key: u64, make: impl FnOnce() -> V) -> Option<&mut V> {
        if self.sets.is_empty() {
            self.sets.resize_with(self.capacity / WAYS, Vec::new);
        }
        let index = self.set_index(key);
        let set = &mut self.sets[index];
        let way = match set.iter().position(|slot| slot.key == key) {
            Some(way) => way,
            None if set.len() < WAYS => {
                set.push(Slot { key, value: make() });
                self.len += 1;
                set.len() - 1
            }
            None if self.door.has_seen(key, self.capacity) => {
                let way = lightest(set);
                set[way] = Slot { key, value: make() };
                self.evictions += 1;
                way
            }
            None => {
                self.refusals += 1;
                return None;
            }
        };
        Some(&mut self.sets[index][way].value)
    }
}

/// The slot of smallest weight; of smallest key among equals.
fn lightest<V: Weigh>(set: &[Slot<V>]) -> usize {
    let weights = set.iter().enumerate().map(|(way, slot)| (slot.value.weight(), slot.key, way));
    weights.min().map_or(0, |(_, _, way)| way)
}

/// A Bloom filter of the keys that wanted in, emptied when as many were noted as the table has entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Doorkeeper {
    /// Empty until first used; a power of two of words.
    words: Vec<u64>,
    noted: usize,
}

impl Doorkeeper {
    /// Whether `key` came by before in this generation (about 3 % false positives at its end); notes it.
    fn has_seen(&mut self, key: u64, capacity: usize) -> bool {
        if self.words.is_empty() {
            self.words.resize((capacity * DOOR_BITS / 64).max(1), 0);
        }
        if self.noted >= capacity {
            self.words.fill(0);
            self.noted = 0;
        }
        let mask = self.words.len() * 64 - 1;
        let (start, step) = (mix(key, 0x5eed), mix(key, 0xd00e) | 1);
        let mut seen = true;
        for probe in 0..3u64 {
            let bit = start.wrapping_add(probe.wrapping_mul(step)) as usize & mask;
            let word = &mut self.words[bit / 64];
            seen &= *word >> (bit % 64) & 1 == 1;
            *word |= 1 << (bit % 64);
        }
        if !seen {
            self.noted += 1;
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::{SplitMix64, round_trip};
    use proptest::prelude::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Count(u64);

    impl Weigh for Count {
        fn weight(&self) -> u64 {
            self.0
        }
    }

    fn bump(table: &mut SetTable<Count>, key: u64) -> bool {
        table.entry(key, || Count(0)).map(|count| count.0 += 1).is_some()
    }

    #[test]
    fn holds_what_it_was_given() {
        let mut table = SetTable::new(100);
        assert_eq!((table.capacity(), table.len(), table.get(7)), (128, 0, None));
        assert!(bump(&mut table, 7) && bump(&mut table, 7));
        assert_eq!(table.get(7), Some(&Count(2)));
        table.get_mut(7).unwrap().0 = 9;
        assert_eq!(table.iter().map(|(k, v)| (k, v.0)).collect::<Vec<_>>(), [(7, 9)]);
        assert_eq!(table.remove(7), Some(Count(9)));
        assert!(table.is_empty() && table.remove(7).is_none());
    }

    #[test]
    fn a_flood_of_keys_used_once_displaces_nothing() {
        let mut random = SplitMix64(1);
        let mut table = SetTable::new(1024);
        // About 2 in a set of 8.
        let established: Vec<u64> = (0..256).map(|_| random.next()).collect();
        for _ in 0..5 {
            established.iter().for_each(|&key| assert!(bump(&mut table, key)));
        }
        for _ in 0..200_000 {
            bump(&mut table, random.next());
        }
        assert!(table.len() <= 1024 && table.refusals() > 150_000);
        for key in &established {
            assert_eq!(table.get(*key), Some(&Count(5)), "established entry lost");
        }
    }

    #[test]
    fn a_flood_of_keys_used_twice_displaces_one_entry_a_set() {
        let mut random = SplitMix64(2);
        let mut table = SetTable::new(512);
        let established: Vec<u64> = (0..2000).map(|_| random.next()).collect();
        for _ in 0..9 {
            established.iter().for_each(|&key| _ = bump(&mut table, key));
        }
        let before: Vec<u64> = table.iter().filter(|(_, v)| v.0 > 3).map(|(k, _)| k).collect();
        for _ in 0..50_000 {
            let key = random.next();
            bump(&mut table, key);
            bump(&mut table, key);
        }
        let kept = before.iter().filter(|&&key| table.get(key).is_some()).count();
        assert!(kept + 64 >= before.len(), "{kept} of {}", before.len());
        assert!(table.evictions() > 10_000);
    }

    #[test]
    fn decayed_weights_are_ordered_like_decayed_counts() {
        assert!(decayed_weight(2, 0) > decayed_weight(1, 0));
        assert_eq!(decayed_weight(256, 4), decayed_weight(512, 0));
        assert!(decayed_weight(256, 5) > decayed_weight(512, 0));
        assert_eq!(decayed_weight(0, 60_000), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn same_operations_same_bytes_never_over_capacity(
            ops in prop::collection::vec((0u8..8, 0u64..60), 0..400),
            capacity in 1usize..40,
        ) {
            let spread = |key: u64| mix(key, 99);
            let run = || {
                let mut table = SetTable::new(capacity);
                for &(op, key) in &ops {
                    match op {
                        0 => _ = table.remove(spread(key)),
                        _ => _ = bump(&mut table, spread(key)),
                    }
                    assert!(table.len() <= table.capacity());
                    assert_eq!(table.iter().count(), table.len());
                }
                table
            };
            let (one, two) = (run(), run());
            prop_assert_eq!(&one, &two);
            round_trip(&one);
            prop_assert_eq!(postcard::to_stdvec(&one).unwrap(), postcard::to_stdvec(&two).unwrap());
        }
    }
}
