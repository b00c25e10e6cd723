//! Calls in the running clock hour and in the running day, against the same hour and day of the week.
//!
//! One test for each bucket, not for each call: the running count only grows, so the chance that any
//! call of a bucket is flagged at level alpha is at most alpha (detection.md 3.2, E2). Rates lean on
//! each other like active hours do; counts scatter more than Poisson, and a learnt dispersion says
//! by how much.
//!
//! What is judged are attempts; what is learned are executed calls, two days late, in order: by then
//! sessions have ended and reviewers have spoken.

use super::array;
use super::decay;
use super::millibits::MilliBits;
use super::negative_binomial::upper_tail;
use super::presence::WEEK_HOURS;
use serde::{Deserialize, Serialize};

/// Hours that learned calls wait before they change the rates.
const DELAY_HOURS: usize = 48;
/// Hours without a call after which silence teaches the dispersion nothing new.
const SILENCE_HOURS: i64 = WEEK_HOURS as i64;
/// One call in the fixed point of the sums (Q24.8).
const ONE: u32 = 1 << 8;
/// One week in the fixed point of the exposure (Q16).
const WEEK_Q16: u32 = 1 << 16;
/// Hours of observation before anything is judged: two weeks.
const KNOWN_HOURS: i64 = 2 * WEEK_HOURS as i64;
/// Strength with which levels lean on their parents, in weeks.
const LEAN: [f64; 3] = [1.0, 2.0, 8.0];
/// Weight of the parent's rate, in hours.
const LEVEL_PRIOR: f64 = 24.0;
/// The dispersion's prior and its weight.
const PHI: f64 = 0.5;
const PHI_WEIGHT: f64 = 10.0;

/// The seasonal counts of one entity. About 920 bytes; half-life four weeks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeasonalCounts {
    /// Local hours since 1970-01-01 at which observation began; a midnight.
    first: i64,
    /// The running hour.
    now: i64,
    /// The next hour to be learned; those from here to `now` wait in `pending`.
    next: i64,
    /// Calls per hour of the parent, the prior.
    parent_rate: f64,
    /// Decayed whole weeks learned, Q16.
    exposure: u32,
    /// Attempts in the running hour and day.
    running: [u32; 2],
    /// Executed calls of the day being learned.
    learned_today: u32,
    /// Executed calls by hour, not learned yet.
    #[serde(with = "array")]
    pending: [u16; DELAY_HOURS],
    /// Decayed calls by hour of the week, Q24.8.
    #[serde(with = "array")]
    sums: [u32; WEEK_HOURS],
    /// For hours, for days.
    dispersions: [Dispersion; 2],
    /// What the running hour and the running day are judged by.
    forecasts: [Forecast; 2],
}

/// Sums behind one dispersion; see [`Dispersion::phi`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Dispersion {
    excess: f64,
    weight: f64,
}

/// A gamma-distributed rate with dispersion: the count is negative binomial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Forecast {
    mean: f64,
    /// a, the shape of the gamma: how much is known about the mean.
    shape: f64,
    /// 1 / (1/a + phi).
    size: f64,
}

/// A bucket of the clock or the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bucket {
    /// The clock hour.
    Hour,
    /// The calendar day.
    Day,
}

impl Bucket {
    /// Both, in the order of every array of two in this file.
    pub const ALL: [Self; 2] = [Self::Hour, Self::Day];
}

impl SeasonalCounts {
    /// Nothing seen; observation begins with this local day (days since 1970-01-01).
    pub fn new(first_day: i32) -> Self {
        let first = i64::from(first_day) * 24;
        let mut counts = Self {
            first,
            now: first,
            next: first,
            parent_rate: 1.0,
            exposure: 0,
            running: [0; 2],
            learned_today: 0,
            pending: [0; DELAY_HOURS],
            sums: [0; WEEK_HOURS],
            dispersions: [Dispersion::default(); 2],
            forecasts: [Forecast::default(); 2],
        };
        counts.forecast();
        counts
    }

    /// Moves to a local day and hour of the day (0..24); an earlier hour changes nothing.
    /// `parent_rate`: calls per hour one level up, the prior; finite and positive.
    pub fn advance(&mut self, day: i32, hour: u8, parent_rate: f64) {
        let now = i64::from(day) * 24 + i64::from(hour.min(23));
        if now <= self.now {
            return;
        }
        self.parent_rate = if parent_rate.is_finite() { parent_rate.clamp(1e-6, 1e6) } else { 1.0 };
        self.running[0] = 0;
        if now.div_euclid(24) != self.now.div_euclid(24) {
            self.running[1] = 0;
        }
        self.now = now;
        // The slot of the new hour must be free: the hour 48 before it is learned now.
        self.learn_until(now - DELAY_HOURS as i64 + 1);
        self.forecast();
    }

    /// Counts one attempt in the running hour and day.
    pub fn attempt(&mut self) {
        self.running.iter_mut().for_each(|count| *count = count.saturating_add(1));
    }

    /// Hands in one executed call of this local day and hour of the day (0..24), to be learned 48
    /// hours after its time. Older calls, and calls of the future, are left out; says whether it was taken.
    pub fn learn(&mut self, day: i32, hour: u8) -> bool {
        let at = i64::from(day) * 24 + i64::from(hour.min(23));
        let taken = at >= self.next && at <= self.now && self.now - at < DELAY_HOURS as i64;
        if taken {
            let count = &mut self.pending[at.rem_euclid(DELAY_HOURS as i64) as usize];
            *count = count.saturating_add(1);
        }
        taken
    }

    /// These counts as one more attempt at a local day and hour of the day finds them, itself included. None before
    /// two weeks of observation, and for an earlier hour.
    pub fn with_attempt(&self, day: i32, hour: u8, parent_rate: f64) -> Option<Self> {
        let at = i64::from(day) * 24 + i64::from(hour.min(23));
        if at < self.now || self.next - self.first < KNOWN_HOURS {
            return None;
        }
        let mut counts = self.clone();
        counts.advance(day, hour, parent_rate);
        counts.attempt();
        Some(counts)
    }

    /// Calls that the rates are made of, decayed.
    pub fn calls(&self) -> u64 {
        self.sums.iter().map(|&sum| u64::from(sum)).sum::<u64>() / u64::from(ONE)
    }

    /// Surprise at so many attempts in the running hour and in the running day; 0 up to the mean.
    pub fn surprises(&self) -> [MilliBits; 2] {
        std::array::from_fn(|bucket| {
            let (count, forecast) = (self.running[bucket], self.forecasts[bucket]);
            if f64::from(count) <= forecast.mean {
                return MilliBits::ZERO;
            }
            MilliBits::from_p(upper_tail(count, forecast.mean, forecast.size))
        })
    }

    /// Attempts in the running bucket, and the number expected of a whole one.
    pub fn running(&self, bucket: Bucket) -> (u32, f64) {
        (self.running[bucket as usize], self.forecasts[bucket as usize].mean)
    }

    /// Calls per hour, over all hours: the `parent_rate` of children.
    pub fn rate(&self) -> f64 {
        self.level(&Pools::of(self))
    }

    /// Learns all hours before `end`: first judge the hour by what is known, then add it.
    fn learn_until(&mut self, end: i64) {
        let quiet_from = self.next.saturating_add(DELAY_HOURS as i64 + SILENCE_HOURS);
        let mut pools = Pools::of(self);
        while self.next < end.min(quiet_from) {
            self.learn_next(&mut pools);
        }
        if self.next < end {
            self.skip_silence(end);
        }
    }

    fn learn_next(&mut self, pools: &mut Pools) {
        let slot = self.next.rem_euclid(DELAY_HOURS as i64) as usize;
        let count = std::mem::take(&mut self.pending[slot]);
        let hour = hour_of_week(self.next);
        let forecast = self.forecast_hour(pools, hour);
        self.dispersions[0].learn(f64::from(count), forecast);
        self.sums[hour] = self.sums[hour].saturating_add(u32::from(count) * ONE);
        self.learned_today = self.learned_today.saturating_add(u32::from(count));
        if self.next.rem_euclid(24) == 23 {
            // The day's own calls are in the sums by now: take them out of its forecast.
            let day = std::mem::take(&mut self.learned_today);
            *pools = Pools::of(self);
            let forecast = self.forecast_day(pools, hour / 24, f64::from(day));
            self.dispersions[1].learn(f64::from(day), forecast);
        }
        self.next += 1;
        if (self.next - self.first) % WEEK_HOURS as i64 == 0 {
            self.turn_weeks(1);
        }
        *pools = Pools::of(self);
    }

    /// A long silence teaches that the rates are low, and nothing about their scatter.
    fn skip_silence(&mut self, end: i64) {
        let weeks_before = (self.next - self.first) / WEEK_HOURS as i64;
        let weeks = (end - self.first) / WEEK_HOURS as i64 - weeks_before;
        self.next = end;
        self.learned_today = 0;
        self.turn_weeks(weeks.clamp(0, 10_000) as u32);
    }

    fn turn_weeks(&mut self, weeks: u32) {
        for _ in 0..weeks.min(200) {
            self.exposure = decay::weekly(u64::from(self.exposure + WEEK_Q16), 1) as u32;
        }
        for sum in &mut self.sums {
            *sum = decay::weekly(u64::from(*sum), weeks) as u32;
        }
        for dispersion in &mut self.dispersions {
            dispersion.excess *= decay::weekly_factor(weeks);
            dispersion.weight *= decay::weekly_factor(weeks);
        }
    }

    fn forecast(&mut self) {
        let pools = Pools::of(self);
        let hour = hour_of_week(self.now);
        self.forecasts = [self.forecast_hour(&pools, hour), self.forecast_day(&pools, hour / 24, 0.0)];
    }

    fn level(&self, pools: &Pools) -> f64 {
        (pools.calls + LEVEL_PRIOR * self.parent_rate) / (pools.exposed + LEVEL_PRIOR)
    }

    /// `a = S_k + c2 mu_dt ; b = e + c2 ; mu = a / b ; 1/r = 1/a + phi`.
    fn forecast_hour(&self, pools: &Pools, hour: usize) -> Forecast {
        let (h, kind) = (hour % 24, usize::from(hour >= 120));
        let level = self.level(pools);
        let hourly = (pools.by_hour[h].0 + LEAN[0] * level) / (pools.by_hour[h].1 + LEAN[0]);
        let (calls, exposed) = pools.by_type[kind][h];
        let typed = (calls + LEAN[1] * hourly) / (exposed + LEAN[1]);
        let own = f64::from(self.sums[hour]) / f64::from(ONE);
        self.dispersions[0].forecast(own + LEAN[2] * typed, self.exposure_of(hour) + LEAN[2])
    }

    /// The same for a day: it leans on its kind of day, that on all days. `without`: calls of this
    /// very day that are in the sums already.
    fn forecast_day(&self, pools: &Pools, weekday: usize, without: f64) -> Forecast {
        let kind = usize::from(weekday >= 5);
        let level = 24.0 * self.level(pools);
        let of_kind =
            pools.by_type[kind].iter().fold((0.0, 0.0), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1));
        let typed = (of_kind.0 + LEAN[1] * level) / (of_kind.1 / 24.0 + LEAN[1]);
        let hours = weekday * 24..weekday * 24 + 24;
        let calls: u64 = self.sums[hours.clone()].iter().map(|&sum| u64::from(sum)).sum();
        let exposed: f64 = hours.map(|hour| self.exposure_of(hour)).sum::<f64>() / 24.0;
        let own = (calls as f64 / f64::from(ONE) - without).max(0.0);
        let exposed = if without > 0.0 { (exposed - 1.0).max(0.0) } else { exposed };
        self.dispersions[1].forecast(own + LEAN[2] * typed, exposed + LEAN[2])
    }

    /// Decayed weeks in which this hour of the week was learned.
    fn exposure_of(&self, hour: usize) -> f64 {
        let into_week = (self.next - self.first).rem_euclid(WEEK_HOURS as i64) as usize;
        let place = (hour + WEEK_HOURS - hour_of_week(self.first)) % WEEK_HOURS;
        f64::from(self.exposure) / f64::from(WEEK_Q16) + f64::from(u8::from(place < into_week))
    }
}

/// (calls, exposure) summed by hour of the day, apart for weekdays and weekends, and in all.
struct Pools {
    calls: f64,
    exposed: f64,
    by_hour: [(f64, f64); 24],
    by_type: [[(f64, f64); 24]; 2],
}

impl Pools {
    fn of(counts: &SeasonalCounts) -> Self {
        let mut pools =
            Self { calls: 0.0, exposed: 0.0, by_hour: [(0.0, 0.0); 24], by_type: [[(0.0, 0.0); 24]; 2] };
        for (hour, &sum) in counts.sums.iter().enumerate() {
            let (calls, exposed) = (f64::from(sum) / f64::from(ONE), counts.exposure_of(hour));
            let cell = &mut pools.by_type[usize::from(hour >= 120)][hour % 24];
            *cell = (cell.0 + calls, cell.1 + exposed);
            let cell = &mut pools.by_hour[hour % 24];
            *cell = (cell.0 + calls, cell.1 + exposed);
            pools.calls += calls;
            pools.exposed += exposed;
        }
        pools
    }
}

impl Dispersion {
    /// Adds `((x - mu)^2 - mu - mu^2 / a) / (mu + mu^2)` and `mu^2 / (mu + mu^2)`.
    fn learn(&mut self, count: f64, forecast: Forecast) {
        let (mean, square) = (forecast.mean, forecast.mean * forecast.mean);
        let deviation = count - mean;
        self.excess += (deviation * deviation - mean - square / forecast.shape) / (mean + square);
        self.weight += square / (mean + square);
    }

    /// `(excess + .5 * 10) / (weight + 10)`, in [0, 5].
    fn phi(&self) -> f64 {
        ((self.excess + PHI * PHI_WEIGHT) / (self.weight + PHI_WEIGHT)).clamp(0.0, 5.0)
    }

    fn forecast(&self, shape: f64, rate: f64) -> Forecast {
        let shape = shape.max(1e-6);
        Forecast { mean: shape / rate, shape, size: 1.0 / (1.0 / shape + self.phi()) }
    }
}

/// Hour of the week (0 = Monday 00:00) of local hours since 1970-01-01, a Thursday.
fn hour_of_week(hours: i64) -> usize {
    (hours.rem_euclid(WEEK_HOURS as i64) as usize + 72) % WEEK_HOURS
}

#[cfg(test)]
#[path = "counts_tests.rs"]
mod tests;
