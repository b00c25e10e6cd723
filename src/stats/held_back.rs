//! What calls usually find, learnt late: a burst must not be judged by what itself has taught.
//!
//! Observations are gathered apart and join the moments when the first of them is [`HELD_MINUTES`] old, or are
//! dropped when what they are part of is in question. Together they weigh at most a share of all that is known,
//! and each counts as the farthest that is believed at once: one burst that nobody held up does not make the
//! next one usual, and a lasting change is still learnt, step by step.

use super::rate::{FIGURES, WindowMoments};
use serde::{Deserialize, Serialize};

/// How long observations are held back.
const HELD_MINUTES: u32 = 10;
/// Observations gathered at most; later ones teach nothing. Their sums stay below 2^32.
const HELD_MAX: u32 = 65_535;
/// Standard deviations above the mean that an observation is learnt at, at most.
const FAR: f64 = 3.0;
/// What the observations of one time may weigh of all that is known.
const SHARE_MAX: f64 = 1.0 / 16.0;
/// Observations from which what is known is firm enough to doubt others.
const FIRM: f64 = 20.0;
/// Microseconds of a minute.
const MINUTE_US: i64 = 60_000_000;

/// Observations held back. 48 bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Held {
    /// Minutes since 1970: the first of them.
    since: i32,
    /// How many.
    number: u32,
    /// Sum of counts.
    sum: [u32; FIGURES],
    /// Sum of squared counts, as exact as a float of 32 bits is.
    squares: [f32; FIGURES],
}

/// What is usual, and what will be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usually {
    moments: WindowMoments,
    held: Held,
    #[serde(skip)]
    far: Far,
}

/// What an observation is learnt as at most, of each figure; zero: not reckoned since the moments changed.
#[derive(Clone, Copy, Debug, Default)]
struct Far([u32; FIGURES]);

impl PartialEq for Far {
    /// It follows from the moments: whether it is reckoned yet is no difference.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Usually {
    /// What was usual before what is held back.
    pub const fn moments(&self) -> &WindowMoments {
        &self.moments
    }

    /// Learns what one executed call found at `now` (microseconds), on local day `day`.
    pub fn learn(&mut self, counts: [u32; FIGURES], now: i64, day: i32) {
        let minute = i32::try_from(now.div_euclid(MINUTE_US)).unwrap_or(i32::MAX);
        if self.held.number == 0 || minute.abs_diff(self.held.since) >= HELD_MINUTES {
            self.release(day);
            self.held.since = minute;
        }
        if self.held.number == HELD_MAX {
            return;
        }
        self.held.number += 1;
        for (window, (count, far)) in counts.into_iter().zip(self.far()).enumerate() {
            let count = count.min(far).min(HELD_MAX);
            self.held.sum[window] += count;
            self.held.squares[window] += (u64::from(count) * u64::from(count)) as f32;
        }
    }

    /// Drops what is held back: it is part of what somebody is asked about.
    pub fn forget_held(&mut self) {
        self.held = Held::default();
    }

    fn is_firm(&self) -> bool {
        self.moments.observations() >= FIRM
    }

    fn far(&mut self) -> [u32; FIGURES] {
        if self.far.0 == [0; FIGURES] {
            self.far = Far(if self.is_firm() { self.moments.far(FAR) } else { [HELD_MAX; FIGURES] });
        }
        self.far.0
    }

    fn release(&mut self, day: i32) {
        self.far = Far::default();
        let held = std::mem::take(&mut self.held);
        let most = if self.is_firm() { SHARE_MAX * self.moments.observations() } else { f64::INFINITY };
        self.moments.learn(held.number, held.sum, held.squares, day, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::millibits::MilliBits;
    use crate::stats::testing::round_trip;

    const HOUR_US: i64 = 60 * MINUTE_US;
    const DAY_US: i64 = 24 * HOUR_US;

    /// Thirty days with two sessions of up to nine calls a minute.
    fn steady() -> Usually {
        let mut usually = Usually::default();
        for day in 0..30 {
            for session in [10, 15] {
                for call in 0..10_u32 {
                    let now = i64::from(day) * DAY_US + session * HOUR_US + i64::from(call) * 5_000_000;
                    usually.learn([call.min(2), call, call, call, call], now, day);
                }
            }
        }
        usually
    }

    fn surprise(usually: &Usually, count: u32) -> MilliBits {
        usually.moments().surprises([0, count, 0, 0, 0])[1]
    }

    #[test]
    fn a_burst_is_not_judged_by_itself() {
        let mut usually = steady();
        let mut burst = |calls: std::ops::Range<u32>| {
            for call in calls {
                usually.learn([call; FIGURES], 31 * DAY_US + i64::from(call) * 100_000, 31);
            }
            surprise(&usually, 40)
        };
        let begun = burst(0..1);
        assert!(begun > MilliBits::from_bits(10.0), "{begun:?}");
        assert_eq!(burst(1..300), begun);
    }

    #[test]
    fn one_burst_that_passed_does_not_make_the_next_usual_and_many_do() {
        let mut usually = steady();
        let before = surprise(&usually, 40);
        let burst = |usually: &mut Usually, day: i32| {
            (0..300).for_each(|call| usually.learn([call; FIGURES], i64::from(day) * DAY_US, day));
        };
        burst(&mut usually, 31);
        burst(&mut usually, 32);
        let after = surprise(&usually, 40);
        assert!(after < before && after.as_i32() * 2 > before.as_i32(), "{before:?} {after:?}");
        (33..80).for_each(|day| burst(&mut usually, day));
        assert!(surprise(&usually, 40) < MilliBits::from_bits(2.0), "a new habit");
        round_trip(&usually);
    }

    #[test]
    fn what_is_in_question_teaches_nothing() {
        let mut usually = steady();
        (0..300).for_each(|call| usually.learn([call; FIGURES], 31 * DAY_US, 31));
        let mut doubted = usually.clone();
        doubted.forget_held();
        for usually in [&mut usually, &mut doubted] {
            usually.learn([0; FIGURES], 31 * DAY_US + HOUR_US, 31);
        }
        let mean = |usually: &Usually| usually.moments().usual(1).mean;
        assert!(mean(&usually) > mean(&doubted) + 0.1, "{} {}", mean(&usually), mean(&doubted));
        assert_eq!(mean(&doubted), mean(&steady_on_day_31()));
    }

    fn steady_on_day_31() -> Usually {
        let mut usually = steady();
        usually.release(31);
        usually
    }

    #[test]
    fn extreme_times_and_counts_do_no_harm() {
        let mut usually = Usually::default();
        for now in [i64::MIN, 0, i64::MAX, -1] {
            (0..70_000).for_each(|_| usually.learn([u32::MAX; FIGURES], now, 0));
        }
        assert!(usually.moments().observations().is_finite());
        round_trip(&usually);
    }
}
