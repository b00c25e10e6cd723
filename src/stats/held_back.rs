//! What calls usually find, learnt an hour late: a burst must not be judged by what itself has taught.
//!
//! Observations are gathered apart and join the moments when the first of them is an hour old. Those far
//! beyond what is usual join as the farthest that is believed at once ([`FAR`]), so that one burst that nobody
//! held up does not make the next one usual, and a lasting change is still learnt, step by step.

use super::rate::{REACH_US, WINDOWS, WindowMoments};
use serde::{Deserialize, Serialize};

/// Observations gathered at most; later ones of the hour teach nothing.
const HELD_MAX: u32 = 65_535;
/// Standard deviations above the mean that an observation is learnt at, at most.
const FAR: f64 = 3.0;
/// What an hour may weigh of all that is known, once that is firm.
const HOUR_SHARE: f64 = 1.0 / 16.0;
/// Observations from which what is usual is firm enough to doubt others.
const FIRM: f64 = 20.0;
/// Microseconds of a minute.
const MINUTE_US: i64 = 60_000_000;

/// Observations of the hour under way. 56 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// Minutes since 1970: the first of them.
    since: i32,
    /// How many.
    number: u32,
    /// Sum of counts.
    sum: [u32; WINDOWS],
    /// Sum of squared counts.
    squares: [u64; WINDOWS],
}

/// What is usual, and what will be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usually {
    moments: WindowMoments,
    held: Held,
}

impl Usually {
    /// What was usual up to an hour ago.
    pub const fn moments(&self) -> &WindowMoments {
        &self.moments
    }

    /// Learns what one executed call found in its windows at `now` (microseconds), on local day `day`.
    pub fn learn(&mut self, counts: [u32; WINDOWS], now: i64, day: i32) {
        let minute = i32::try_from(now.div_euclid(MINUTE_US)).unwrap_or(i32::MAX);
        let age = i64::from(minute) - i64::from(self.held.since);
        if age.abs() * MINUTE_US >= REACH_US {
            self.release(day);
            self.held.since = minute;
        }
        if self.held.number == HELD_MAX {
            return;
        }
        self.held.number += 1;
        let far = (self.moments.observations() >= FIRM).then(|| self.moments.far(FAR));
        for (window, count) in counts.into_iter().enumerate() {
            let count = far.map_or(count, |far| count.min(far[window])).min(HELD_MAX);
            self.held.sum[window] = self.held.sum[window].saturating_add(count);
            self.held.squares[window] += u64::from(count) * u64::from(count);
        }
    }

    /// Joins what was gathered to the moments.
    fn release(&mut self, day: i32) {
        let held = std::mem::take(&mut self.held);
        let known = self.moments.observations();
        let most = if known >= FIRM { HOUR_SHARE * known } else { f64::INFINITY };
        self.moments.join(held.number, held.sum, held.squares, day, most);
    }
}
