//! Values that are names: how odd is this one among those seen before?
//!
//! A Pitman-Yor tail over the popularity of values (detection.md 3.5 and 3.6), answered from sums by
//! popularity class, so the cost does not depend on the number of values. Values are fingerprints;
//! what they stand for is never kept.

use super::decay;
use serde::{Deserialize, Serialize};

/// Values counted exactly; others are counted together.
pub const VALUES_MAX: usize = 64;
/// Classes of popularity, half an octave each, from one observation up.
const CLASSES: usize = 24;
/// One observation in the fixed point of the counts (Q24.8).
const ONE: u32 = 1 << 8;
/// Values that have decayed below this are dropped.
const LEAST: u32 = ONE / 8;
/// d and alpha of the Pitman-Yor process.
const DISCOUNT: f64 = 0.5;
const CONCENTRATION: f64 = 1.0;

/// How odd a value is, with the counts behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Oddness {
    /// Probability of a value at least as rare, in (0, 1].
    pub p: f64,
    /// Times this value was seen, decayed, rounded.
    pub seen: u32,
    /// Times any value was seen, decayed, rounded.
    pub total: u32,
}

/// A fingerprint: 32 bits where a collision costs little and memory counts, else 64.
pub trait Value: Copy + Ord {}

impl Value for u32 {}
impl Value for u64 {}

/// What is known of the values of one thing: an argument, or the tools of an agent.
///
/// At most 64 values: 8 bytes each if they are of 32 bits, 16 if they are of 64, plus 140. Half-life four weeks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "stored::CategoryModel<V>", into = "stored::CategoryModel<V>")]
#[serde(bound(serialize = "V: Value + Serialize", deserialize = "V: Value + Deserialize<'de>"))]
pub struct CategoryModel<V: Value = u64> {
    /// (value, count Q24.8), by value.
    values: Vec<(V, u32)>,
    /// Observations of values not among the above, Q24.8, and their number of kinds.
    others: u32,
    other_kinds: u32,
    week: u16,
    /// Derived: sum of the counts of the values of each class, Q24.8.
    mass: [u32; CLASSES],
}

impl<V: Value> Default for CategoryModel<V> {
    fn default() -> Self {
        Self { values: Vec::new(), others: 0, other_kinds: 0, week: 0, mass: [0; CLASSES] }
    }
}

impl<V: Value> CategoryModel<V> {
    /// Nothing seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns one value in `week`. The first week after another forgets first; an earlier week
    /// counts as the latest.
    ///
    /// With 64 values known, a new one takes the place of the rarest if that was seen at most once
    /// lately; otherwise it is counted among the others.
    pub fn learn(&mut self, value: V, week: u16) {
        self.advance(week);
        match self.values.binary_search_by_key(&value, |&(value, _)| value) {
            Ok(index) => {
                let count = self.values[index].1;
                self.mass[class_of(count)] = self.mass[class_of(count)].saturating_sub(count);
                self.values[index].1 = count.saturating_add(ONE);
            }
            Err(_) if self.values.len() >= VALUES_MAX && !self.retire_rarest() => {
                self.others = self.others.saturating_add(ONE);
                self.other_kinds = self.other_kinds.saturating_add(ONE);
                return;
            }
            Err(_) => {
                let index = self.values.partition_point(|&(known, _)| known < value);
                self.values.insert(index, (value, ONE));
            }
        }
        let count = self.count_of(value);
        self.mass[class_of(count)] = self.mass[class_of(count)].saturating_add(count);
    }

    /// Forgets up to `week`; an earlier week changes nothing.
    pub fn advance(&mut self, week: u16) {
        let weeks = u32::from(week.saturating_sub(self.week));
        if weeks == 0 {
            return;
        }
        self.week = week;
        for (_, count) in &mut self.values {
            *count = decay::weekly(u64::from(*count), weeks) as u32;
        }
        self.values.retain(|&(_, count)| count >= LEAST);
        self.others = decay::weekly(u64::from(self.others), weeks) as u32;
        self.other_kinds = decay::weekly(u64::from(self.other_kinds), weeks) as u32;
        self.rebuild();
    }

    /// How odd `value` is. `parent`: its p-value one level up, in (0, 1]; 1 if there is no such level.
    ///
    /// New: `P_new * parent` with `P_new = (alpha + d K) / (N + alpha)`. Known: `P_new` plus the share
    /// of rarer classes plus half that of its own. A value not seen among nothing has p = 1.
    pub fn oddness(&self, value: V, parent: f64) -> Oddness {
        let one = f64::from(ONE);
        let mass: u64 = self.mass.iter().map(|&mass| u64::from(mass)).sum();
        let total = mass + u64::from(self.others);
        let kinds = self.values.len() as f64 + f64::from(self.other_kinds) / one;
        let weight = total as f64 / one + CONCENTRATION;
        // Kinds may outweigh observations that have decayed; a probability stays one.
        let p_new = ((CONCENTRATION + DISCOUNT * kinds) / weight).min(1.0);
        let count = self.count_of(value);
        let p = if count == 0 {
            p_new * parent.clamp(0.0, 1.0)
        } else {
            let class = class_of(count);
            let rarer: u64 = self.mass[..class].iter().map(|&mass| u64::from(mass)).sum();
            p_new + (rarer as f64 + 0.5 * f64::from(self.mass[class])) / one / weight
        };
        Oddness { p: p.min(1.0), seen: rounded(u64::from(count)), total: rounded(total) }
    }

    /// Distinct values counted exactly, at most 64.
    pub fn kinds(&self) -> usize {
        self.values.len()
    }

    /// The value seen most, and how often (decayed, rounded); the smallest fingerprint of equals.
    pub fn most_frequent(&self) -> Option<(V, u32)> {
        let best = self.values.iter().max_by_key(|&&(value, count)| (count, std::cmp::Reverse(value)))?;
        Some((best.0, rounded(u64::from(best.1))))
    }

    fn count_of(&self, value: V) -> u32 {
        let found = self.values.binary_search_by_key(&value, |&(value, _)| value);
        found.map_or(0, |index| self.values[index].1)
    }

    /// Moves the rarest value to the others if it was seen at most once lately.
    fn retire_rarest(&mut self) -> bool {
        let rarest =
            self.values.iter().enumerate().map(|(index, &(value, count))| (count, value, index)).min();
        let Some((count, _, index)) = rarest.filter(|&(count, _, _)| count <= ONE) else { return false };
        self.values.remove(index);
        self.mass[class_of(count)] = self.mass[class_of(count)].saturating_sub(count);
        self.others = self.others.saturating_add(count);
        self.other_kinds = self.other_kinds.saturating_add(ONE);
        true
    }

    fn rebuild(&mut self) {
        self.mass = [0; CLASSES];
        for &(_, count) in &self.values {
            self.mass[class_of(count)] = self.mass[class_of(count)].saturating_add(count);
        }
    }
}

fn rounded(count: u64) -> u32 {
    ((count + u64::from(ONE / 2)) / u64::from(ONE)).min(u64::from(u32::MAX)) as u32
}

/// Half octaves of the count above one observation, 0..24.
fn class_of(count: u32) -> usize {
    if count < ONE {
        return 0;
    }
    let octave = count.ilog2();
    // The upper half octave begins at sqrt 2 = 1.41421 (92,682 / 65,536).
    let upper = (u64::from(count) << 16) >> octave >= 92_682;
    (2 * (octave as usize - 8) + usize::from(upper)).min(CLASSES - 1)
}

/// Whether something is there at all: a coin with a memory. 12 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// Q24.8, as of `week`.
    present: u32,
    total: u32,
    week: u16,
}

impl Occurrence {
    /// Nothing seen.
    pub fn new() -> Self {
        Self::default()
    }

    /// Learns that it was there or not, in `week`; an earlier week counts as the latest.
    pub fn learn(&mut self, present: bool, week: u16) {
        let weeks = u32::from(week.saturating_sub(self.week));
        self.week = self.week.max(week);
        self.present = decay::weekly(u64::from(self.present), weeks) as u32;
        self.total = (decay::weekly(u64::from(self.total), weeks) as u32).saturating_add(ONE);
        if present {
            self.present = self.present.saturating_add(ONE).min(self.total);
        }
    }

    /// Probability of being there, `(n + 1/2) / (N + 1)`, or of not being there; in (0, 1).
    pub fn probability(&self, present: bool) -> f64 {
        let n = if present { self.present } else { self.total - self.present.min(self.total) };
        (f64::from(n) + 0.5 * f64::from(ONE)) / (f64::from(self.total) + f64::from(ONE))
    }

    /// Times it was there, and times anyone looked; decayed, rounded.
    pub fn counts(&self) -> (u32, u32) {
        (rounded(u64::from(self.present)), rounded(u64::from(self.total)))
    }
}

/// What goes into a snapshot: the sums by class are rebuilt, so they cannot disagree.
mod stored {
    use super::Value;
    use serde::{Deserialize, Serialize};

    #[derive(Serialize, Deserialize)]
    pub(super) struct CategoryModel<V> {
        values: Vec<(V, u32)>,
        others: u32,
        other_kinds: u32,
        week: u16,
    }

    impl<V: Value> From<CategoryModel<V>> for super::CategoryModel<V> {
        fn from(stored: CategoryModel<V>) -> Self {
            let CategoryModel { values, others, other_kinds, week } = stored;
            let mut model = Self { values, others, other_kinds, week, mass: [0; super::CLASSES] };
            model.rebuild();
            model
        }
    }

    impl<V: Value> From<super::CategoryModel<V>> for CategoryModel<V> {
        fn from(model: super::CategoryModel<V>) -> Self {
            let super::CategoryModel { values, others, other_kinds, week, .. } = model;
            Self { values, others, other_kinds, week }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fingerprint::mix;
    use crate::stats::testing::{SplitMix64, round_trip};
    use proptest::prelude::*;

    #[test]
    fn by_hand() {
        let mut model = CategoryModel::<u64>::new();
        assert_eq!(model.oddness(1, 1.0), Oddness { p: 1.0, seen: 0, total: 0 });
        (0..96).for_each(|_| model.learn(1, 0));
        (0..3).for_each(|_| model.learn(2, 0));
        // P_new = (1 + 2/2) / 100.
        assert_eq!(model.oddness(9, 1.0), Oddness { p: 0.02, seen: 0, total: 99 });
        assert_eq!(model.oddness(9, 0.25).p, 0.005);
        assert_eq!(model.oddness(2, 0.1), Oddness { p: 0.02 + 0.015, seen: 3, total: 99 });
        assert!((model.oddness(1, 1.0).p - (0.02 + 0.03 + 0.48)).abs() < 1e-12);
        assert_eq!((model.most_frequent(), model.kinds()), (Some((1, 96)), 2));
    }

    #[test]
    fn classes_are_half_octaves() {
        let check = |times: f64, class: usize| assert_eq!(class_of((times * 256.0) as u32), class, "{times}");
        check(0.2, 0);
        check(1.0, 0);
        check(1.41, 0);
        check(1.42, 1);
        check(2.0, 2);
        check(2.84, 3);
        check(4096.0, 23);
        assert_eq!(class_of(u32::MAX), 23);
    }

    #[test]
    fn a_flood_of_values_keeps_the_established() {
        // Pitfall 4: memory constant, the established value's score unchanged.
        let mut model = CategoryModel::<u64>::new();
        (0..400).for_each(|k| model.learn(k % 4, 0));
        let before = model.oddness(1, 1.0);
        (0..10_000).for_each(|k| model.learn(mix(k, 77), 0));
        let after = model.oddness(1, 1.0);
        assert_eq!((model.kinds(), after.seen, before.seen), (VALUES_MAX, 100, 100));
        assert!(after.p > 0.5, "known values are not odd among ever new ones");
        assert!(model.oddness(123_456_789, 1.0).p > 0.45, "and new ones are the rule");
        assert!(postcard::to_stdvec(&model).unwrap().len() < 1024);
    }

    #[test]
    fn uniform_or_timid_on_its_own_traffic() {
        let mut random = SplitMix64(9);
        let mut model = CategoryModel::<u64>::new();
        let (mut judged, mut hits) = (0u32, 0u32);
        for k in 0..20_000u32 {
            // Popularity falls off steeply; now and then something new.
            let value = (1.0 / random.uniform()) as u64;
            if k > 500 {
                judged += 1;
                hits += u32::from(model.oddness(value, 1.0).p < 0.01);
            }
            model.learn(value, (k / 2_000) as u16);
        }
        let share = f64::from(hits) / f64::from(judged);
        assert!(share < 0.015, "{share}");
    }

    #[test]
    fn forgets_in_weeks() {
        let mut model = CategoryModel::<u64>::new();
        (0..8).for_each(|_| model.learn(5, 0));
        model.learn(6, 0);
        model.advance(4);
        assert_eq!(model.oddness(5, 1.0).seen, 4);
        model.advance(40);
        assert_eq!(model.kinds(), 0);
        let mut there = Occurrence::new();
        (0..64).for_each(|k| there.learn(k % 4 == 0, 2));
        assert_eq!(there.counts(), (16, 64));
        assert!((there.probability(true) - 16.5 / 65.0).abs() < 1e-12);
        assert!((there.probability(true) + there.probability(false) - 1.0).abs() < 1e-12);
        there.learn(true, 6);
        assert_eq!(there.counts(), (9, 33));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn values_of_32_bits_are_judged_and_stored_like_those_of_64(
            events in prop::collection::vec((0u32..100, 0u16..30), 0..400),
            value in 0u32..120,
        ) {
            let (mut narrow, mut wide) = (CategoryModel::<u32>::new(), CategoryModel::<u64>::new());
            for (value, week) in events {
                narrow.learn(value, week);
                wide.learn(value.into(), week);
            }
            prop_assert_eq!(narrow.oddness(value, 0.5), wide.oddness(value.into(), 0.5));
            prop_assert_eq!(postcard::to_stdvec(&narrow).unwrap(), postcard::to_stdvec(&wide).unwrap());
        }

        #[test]
        fn a_probability_after_anything(
            events in prop::collection::vec((0u64..100, 0u16..30), 0..400),
            value in 0u64..120,
            parent in -1.0f64..2.0,
        ) {
            let mut model = CategoryModel::<u64>::new();
            let mut there = Occurrence::new();
            for (value, week) in events {
                model.learn(mix(value, 1), week);
                there.learn(value % 3 == 0, week);
                let fresh = { let mut copy = model.clone(); copy.rebuild(); copy.mass };
                prop_assert_eq!(model.mass, fresh);
            }
            let p = model.oddness(mix(value, 1), parent).p;
            prop_assert!((0.0..=1.0).contains(&p), "{}", p);
            prop_assert!(there.probability(true) > 0.0 && there.probability(false) > 0.0);
            round_trip(&model);
            round_trip(&there);
        }
    }
}
