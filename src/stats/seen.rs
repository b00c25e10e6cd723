//! A bounded, forgetting memory of keys: has this been seen before?
//!
//! Two Bloom filters, the present and the last generation (Bloom 1970; the ageing is that of double
//! buffering, Chang, Feng and Li 2004). When the present one has taken [`GENERATION`] new keys it becomes the
//! last one. False yes: under 1 % at the end of a generation; false no: only for keys of two generations ago.

use super::fingerprint::mix;
use serde::{Deserialize, Serialize};

/// New keys in a generation.
const GENERATION: u32 = 200_000;
/// Bits of one generation: 512 KB.
const BITS: usize = 1 << 22;
/// Bits set for a key.
const PROBES: u64 = 4;

/// What was seen. Nothing while empty, then 512 KB, 1 MB from the second generation on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    present: Vec<u64>,
    last: Vec<u64>,
    taken: u32,
}

fn places(key: u64) -> impl Iterator<Item = usize> {
    let (start, step) = (mix(key, 0xb10f), mix(key, 0x0dd) | 1);
    (0..PROBES).map(move |probe| start.wrapping_add(probe.wrapping_mul(step)) as usize % BITS)
}

fn holds(filter: &[u64], key: u64) -> bool {
    !filter.is_empty()
        && places(key).all(|bit| filter.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 == 1))
}

impl Seen {
    /// Whether `key` was noted in this or the last generation.
    pub fn contains(&self, key: u64) -> bool {
        holds(&self.present, key) || holds(&self.last, key)
    }

    /// Notes `key`.
    pub fn insert(&mut self, key: u64) {
        if holds(&self.present, key) {
            return;
        }
        if self.taken >= GENERATION {
            std::mem::swap(&mut self.present, &mut self.last);
            self.present.fill(0);
            self.taken = 0;
        }
        if self.present.is_empty() {
            self.present.resize(BITS / 64, 0);
        }
        for bit in places(key) {
            if let Some(word) = self.present.get_mut(bit / 64) {
                *word |= 1 << (bit % 64);
            }
        }
        self.taken += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_generation_and_forgets_after_two() {
        let mut seen = Seen::default();
        let key = |n: u64| mix(n, 77);
        (0..u64::from(GENERATION)).for_each(|n| seen.insert(key(n)));
        assert!((0..u64::from(GENERATION)).all(|n| seen.contains(key(n))));
        let wrong = (1 << 32..(1u64 << 32) + 20_000).filter(|n| seen.contains(key(*n))).count();
        assert!(wrong < 200, "{wrong} of 20000 false");
        let later = |from: u64| (from..from + u64::from(GENERATION)).map(key);
        later(1 << 33).for_each(|key| seen.insert(key));
        assert!((0..1_000).all(|n| seen.contains(key(n))), "the last generation is still known");
        later(1 << 34).for_each(|key| seen.insert(key));
        let kept = (0..1_000).filter(|n| seen.contains(key(*n))).count();
        assert!(kept < 20, "{kept} of 1000 kept");
        assert_eq!(seen.present.len() + seen.last.len(), 2 * BITS / 64);
    }
}
