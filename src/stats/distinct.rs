//! How many different things came by in the last hour, in 40 bytes however many they are.
//!
//! Linear counting (Whang, Vander-Zanden and Taylor, ACM TODS 15(2), 1990): each thing sets one of 128 bits, and the
//! bits set tell how many there were. One set of bits for the running half hour and one for the half hour before:
//! what is told covers the last 30 to 60 minutes.

use super::fingerprint::mix;
use serde::{Deserialize, Serialize};

/// Bits of one half hour.
const BITS: usize = 128;
/// Length of a half, microseconds.
const HALF_US: i64 = 30 * 60 * 1_000_000;
/// The most that is told.
pub const DISTINCT_MAX: u32 = NUMBERS[BITS];

/// How many things it takes on average until so many bits are set: `sum over i < k of 128 / (128 - i)`, to the nearest.
/// Of few things two may share a bit and count as one (of five in one case of thirteen); around 100 it is off by some
/// 9 %.
static NUMBERS: [u32; BITS + 1] = numbers();

const fn numbers() -> [u32; BITS + 1] {
    let mut table = [0; BITS + 1];
    let (mut sum, mut set) = (0.0, 0);
    while set < BITS {
        sum += BITS as f64 / (BITS - set) as f64;
        set += 1;
        table[set] = (sum + 0.5) as u32;
    }
    table
}

/// Different things of the last hour.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    /// The running half hour's bits, and those of the one before.
    halves: [[u64; 2]; 2],
    /// The running half hour, since 1970.
    half: i32,
}

impl Distinct {
    /// Notes a thing, by its hash, at `now` (microseconds). One of an earlier time counts where that is still
    /// remembered; much earlier ones are of another time, and the count begins anew there.
    pub fn add(&mut self, thing: u64, now: i64) {
        let half = half_of(now);
        *self = self.at(half);
        let behind = usize::from(half < self.half);
        set(&mut self.halves[behind], thing);
    }

    /// How many there are at `now` (microseconds).
    pub fn count(&self, now: i64) -> u32 {
        self.at(half_of(now)).number()
    }

    /// How many there are with this one.
    pub fn count_with(&self, thing: u64, now: i64) -> u32 {
        let mut with = self.clone();
        with.add(thing, now);
        with.number()
    }

    /// As it is in another half hour.
    fn at(&self, half: i32) -> Self {
        match i64::from(half) - i64::from(self.half) {
            0 | -1 => self.clone(),
            1 => Self { halves: [[0; 2], self.halves[0]], half },
            _ => Self { halves: [[0; 2]; 2], half },
        }
    }

    fn number(&self) -> u32 {
        let [running, before] = self.halves;
        let set: u32 = running.iter().zip(before).map(|(one, other)| (one | other).count_ones()).sum();
        NUMBERS.get(set as usize).copied().unwrap_or(DISTINCT_MAX)
    }
}

fn half_of(now: i64) -> i32 {
    i32::try_from(now.div_euclid(HALF_US)).unwrap_or(if now < 0 { i32::MIN } else { i32::MAX })
}

fn set(bits: &mut [u64; 2], thing: u64) {
    let place = mix(thing, 0x6661_6e20) as usize % BITS;
    bits[place / 64] |= 1 << (place % 64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::testing::round_trip;

    fn after(things: u64) -> Distinct {
        let mut distinct = Distinct::default();
        (0..things).for_each(|thing| (0..3).for_each(|_| distinct.add(mix(thing, 7), 0)));
        distinct
    }

    #[test]
    fn tells_how_many_were_different() {
        assert_eq!([0, 1, 2].map(|things| after(things).count(0)), [0, 1, 2]);
        for things in [8, 30, 100, 300] {
            let told = f64::from(after(things).count(0));
            assert!((told / things as f64 - 1.0).abs() < 0.25, "{told} of {things}");
        }
        assert_eq!(after(100_000).count(0), DISTINCT_MAX);
        assert_eq!(DISTINCT_MAX, 695);
        let two = after(2);
        assert_eq!((two.count_with(mix(0, 7), 0), two.count_with(mix(9, 7), 0)), (2, 3));
        round_trip(&after(300));
    }

    #[test]
    fn forgets_after_an_hour_and_takes_late_ones() {
        let mut distinct = after(3);
        assert_eq!([1, 2, 3].map(|half| distinct.count(half * HALF_US - 1)), [3, 3, 0]);
        distinct.add(mix(20, 7), HALF_US);
        assert_eq!(distinct.count(HALF_US), 4);
        distinct.add(mix(21, 7), 0);
        assert_eq!((distinct.count(HALF_US), distinct.count(2 * HALF_US)), (5, 1));
        distinct.add(mix(22, 7), -10 * HALF_US);
        assert_eq!(distinct.count(-10 * HALF_US), 1, "another time");
        [i64::MIN, i64::MAX, i64::MIN].into_iter().for_each(|now| distinct.add(1, now));
        assert_eq!(distinct.count(i64::MIN), 1);
    }
}
