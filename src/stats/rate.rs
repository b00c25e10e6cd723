//! Bursts: how many calls went before this one in a trailing window, judged by what this entity's
//! own calls usually see before them.
//!
//! The textbook test, a count against the hourly rate, fires on most clean calls when calls come
//! in sessions, since a random *call* lands in a busy moment more often than a random instant does
//! (the Palm effect; detection.md 3.2 and E3). So the moments here are weighted by calls.

use super::array;
use super::decay;
use super::millibits::MilliBits;
use super::negative_binomial::{quantile, upper_tail};
use serde::{Deserialize, Serialize};

/// Number of windows.
pub const WINDOWS: usize = 4;
/// Figures that a call finds: calls in each window, and different targets in the last hour.
pub const FIGURES: usize = WINDOWS + 1;
/// Place of the targets among the figures.
pub const TARGETS: usize = WINDOWS;
/// Sub-counters of all windows together.
const CELLS: usize = 46;
/// Observations an entity learns at full weight in one day; the k-th after that weighs 60/k.
const FULL_WEIGHT_A_DAY: u16 = 60;
/// Weight 1 in the fixed point of the moments (Q16).
const ONE: u64 = 1 << 16;
/// How far back the windows reach, microseconds: the longest of them.
pub const REACH_US: i64 = Window::Hour.seconds() as i64 * 1_000_000;
/// Observations that a parent's moments count for.
const PARENT_WEIGHT: u64 = 20;

/// A trailing span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Window {
    /// The last 10 seconds, in 6 steps.
    TenSeconds,
    /// The last minute, in 10 steps.
    Minute,
    /// The last 10 minutes, in 6 steps.
    TenMinutes,
    /// The last hour, in 24 steps.
    Hour,
}

impl Window {
    /// All, shortest first: the order of every array of four in this file.
    pub const ALL: [Self; WINDOWS] = [Self::TenSeconds, Self::Minute, Self::TenMinutes, Self::Hour];

    /// Length in seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Self::TenSeconds => 10,
            Self::Minute => 60,
            Self::TenMinutes => 600,
            Self::Hour => 3600,
        }
    }

    /// Number of sub-counters.
    const fn steps(self) -> usize {
        match self {
            Self::TenSeconds | Self::TenMinutes => 6,
            Self::Minute => 10,
            Self::Hour => 24,
        }
    }

    /// Length of a sub-counter in microseconds.
    const fn step_us(self) -> i64 {
        self.seconds() as i64 * 1_000_000 / self.steps() as i64
    }

    /// Number of the step that a time lies in.
    const fn step_of(self, at: i64) -> i64 {
        at.div_euclid(self.step_us())
    }

    /// Where its sub-counters begin among the 46.
    const fn first_cell(self) -> usize {
        match self {
            Self::TenSeconds => 0,
            Self::Minute => 6,
            Self::TenMinutes => 16,
            Self::Hour => 22,
        }
    }
}

/// Calls of one entity in four trailing windows. No timestamps are kept, only the latest time and
/// 46 counters: 120 bytes.
///
/// A window of k steps covers its last k-1 to k steps. Calls may come out of order: one that is older than
/// the latest is counted in each window that still reaches back to it, and judged by what those windows
/// remember of the time before it, so that its counts are never too high. One that is more than
/// [`REACH_US`] older is of another time (history handed in after newer history, or a clock that was
/// wrong before): the windows begin anew there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowCounts {
    /// Microseconds: the newest call since the windows began.
    latest: i64,
    totals: [u32; WINDOWS],
    #[serde(with = "array")]
    cells: [u16; CELLS],
}

impl Default for WindowCounts {
    fn default() -> Self {
        Self { latest: i64::MIN, totals: [0; WINDOWS], cells: [0; CELLS] }
    }
}

impl WindowCounts {
    /// Windows without calls.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one call at `now` (microseconds).
    pub fn add(&mut self, now: i64) {
        if self.latest.saturating_sub(now) > REACH_US {
            *self = Self { latest: now, ..Self::default() };
        }
        for window in Window::ALL {
            let (latest, at) = (window.step_of(self.latest), window.step_of(now));
            if at > latest {
                self.expire(window, latest, at);
            }
            let cell = &mut self.cells[cell_of(window, at)];
            if *cell < u16::MAX && latest.saturating_sub(at) < window.steps() as i64 {
                *cell += 1;
                self.totals[window as usize] += 1;
            }
        }
        self.latest = self.latest.max(now);
    }

    /// Calls in the window that ends at `now` (microseconds), as far as they are remembered.
    pub fn count(&self, window: Window, now: i64) -> u32 {
        if now == self.latest {
            return self.totals[window as usize];
        }
        let back = steps_between(window, now, self.latest);
        if back > 0 {
            let remembered = 1..=window.steps() - back;
            return remembered.map(|ahead| u32::from(self.cells[self.cell_ahead(window, ahead)])).sum();
        }
        let gone = steps_between(window, self.latest, now);
        if gone == 0 {
            return self.totals[window as usize];
        }
        // The cells that will be reused for the steps since `latest` no longer count.
        let expired: u32 =
            (1..=gone).map(|ahead| u32::from(self.cells[self.cell_ahead(window, ahead)])).sum();
        self.totals[window as usize].saturating_sub(expired)
    }

    /// Calls in each window that ends at `now` (microseconds), shortest first.
    pub fn counts(&self, now: i64) -> [u32; WINDOWS] {
        Window::ALL.map(|window| self.count(window, now))
    }

    /// Empties the cells of the steps after `latest` up to `at`.
    fn expire(&mut self, window: Window, latest: i64, at: i64) {
        let moved = at.saturating_sub(latest).min(window.steps() as i64);
        for ahead in 0..moved {
            let expired = std::mem::take(&mut self.cells[cell_of(window, at - ahead)]);
            let total = &mut self.totals[window as usize];
            *total = total.saturating_sub(u32::from(expired));
        }
    }

    fn cell_ahead(&self, window: Window, ahead: usize) -> usize {
        cell_of(window, window.step_of(self.latest).saturating_add(ahead as i64))
    }
}

/// Where a step is counted.
fn cell_of(window: Window, step: i64) -> usize {
    window.first_cell() + step.rem_euclid(window.steps() as i64) as usize
}

/// Whole steps the window moved between two times; at most all of its steps, 0 if time ran backwards.
fn steps_between(window: Window, from: i64, to: i64) -> usize {
    if to <= from {
        return 0;
    }
    let moved = window.step_of(to).saturating_sub(window.step_of(from));
    moved.min(window.steps() as i64) as usize
}

/// What one entity's calls usually find in each figure: mean and variance, weighted by calls, with a
/// half-life of 14 days. 96 bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowMoments {
    /// Sum of weights, Q16.
    weight: u64,
    /// Weighted sum of counts, Q16.
    sum: [u64; FIGURES],
    /// Weighted sum of squared counts, Q16.
    squares: [u64; FIGURES],
    /// Latest day seen (days since 1970, local).
    day: i32,
    /// Observations learned on that day; stays at the largest number.
    learned_today: u16,
    /// Times that observations were learned; stays at the largest number.
    times: u16,
}

/// What n observations of a day weigh: n, and from the 60th on 60 (1 + ln(n / 60)).
fn day_weight(number: u16) -> f64 {
    let (number, full) = (f64::from(number), f64::from(FULL_WEIGHT_A_DAY));
    if number <= full { number } else { full * (1.0 + libm::log(number / full)) }
}

/// What is usual of one figure, for the explanation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// On average, at least 0.
    pub mean: f64,
    /// 99 of 100 calls find at most this many.
    pub percentile_99: u32,
}

impl WindowMoments {
    /// No observations: the prior alone, mean 1 and variance 2 with the weight of two calls.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets up to `day`; an earlier day changes nothing.
    pub fn advance(&mut self, day: i32) {
        let days = day.saturating_sub(self.day).max(0) as u32;
        if days == 0 {
            return;
        }
        self.weight = decay::daily(self.weight, days);
        for value in self.sum.iter_mut().chain(&mut self.squares) {
            *value = decay::daily(*value, days);
        }
        self.day = day;
        self.learned_today = 0;
    }

    /// Learns `number` observations of one day, what executed calls found, by the sums of their figures and of
    /// their squares.
    ///
    /// The first 60 observations of a day have weight 1, the k-th after that 60/k, so a day of n calls weighs
    /// 60 (1 + ln(n / 60)); those of one time count alike, and together at most `most`.
    pub fn learn(&mut self, number: u32, sum: [u32; FIGURES], squares: [f32; FIGURES], day: i32, most: f64) {
        self.advance(day);
        if number == 0 {
            return;
        }
        self.times = self.times.saturating_add(1);
        let before = self.learned_today;
        self.learned_today = u16::try_from(number).map_or(u16::MAX, |number| before.saturating_add(number));
        let weight = (day_weight(self.learned_today) - day_weight(before)).min(most);
        let weight = (weight * ONE as f64) as u64;
        self.weight = self.weight.saturating_add(weight);
        let share = |total: u64| {
            let weighed = u128::from(total) * u128::from(weight) / u128::from(number);
            u64::try_from(weighed).unwrap_or(u64::MAX)
        };
        for window in 0..FIGURES {
            self.sum[window] = self.sum[window].saturating_add(share(sum[window].into()));
            self.squares[window] = self.squares[window].saturating_add(share(squares[window] as u64));
        }
    }

    /// So many standard deviations above the mean, of each figure.
    pub fn far(&self, deviations: f64) -> [u32; FIGURES] {
        std::array::from_fn(|figure| {
            let (mean, size) = self.mean_and_size(figure);
            libm::ceil(mean + deviations * (mean + mean * mean / size).sqrt()) as u32
        })
    }

    /// Surprise at finding at least so much, of each figure; 0 at or below the mean.
    pub fn surprises(&self, counts: [u32; FIGURES]) -> [MilliBits; FIGURES] {
        std::array::from_fn(|window| self.surprise(window, counts[window]))
    }

    /// These observations with those of `parent` added at the weight of [`PARENT_WEIGHT`] observations, less if
    /// it has fewer.
    pub fn leaning_on(&self, parent: &Self) -> Self {
        let mut both = self.clone();
        let weight = (PARENT_WEIGHT * ONE).min(parent.weight);
        if weight == 0 {
            return both;
        }
        let scaled =
            |value: u64| ((u128::from(value) * u128::from(weight)) / u128::from(parent.weight)) as u64;
        both.weight = both.weight.saturating_add(weight);
        both.times = both.times.saturating_add(parent.times);
        for (own, others) in
            both.sum.iter_mut().zip(parent.sum).chain(both.squares.iter_mut().zip(parent.squares))
        {
            *own = own.saturating_add(scaled(others));
        }
        both
    }

    fn surprise(&self, window: usize, count: u32) -> MilliBits {
        let (mean, size) = self.mean_and_size(window);
        if f64::from(count) <= mean {
            return MilliBits::ZERO;
        }
        MilliBits::from_p(upper_tail(count, mean, size))
    }

    /// What is usual of this figure, by its place; those of windows are in the order of [`Window::ALL`].
    pub fn usual(&self, figure: usize) -> Usual {
        let (mean, size) = self.mean_and_size(figure.min(TARGETS));
        Usual { mean, percentile_99: quantile(mean, size, 0.01) }
    }

    /// Times that observations were learned, ever.
    pub const fn times(&self) -> u16 {
        self.times
    }

    /// Observations behind the judgement, decayed.
    pub fn observations(&self) -> f64 {
        self.weight as f64 / ONE as f64
    }

    /// `m = (m1 + 2) / (N + 2)`, `v = (m2 + 6) / (N + 2) - m^2`, `1/r = max(.02, (v - m) / m^2)`.
    fn mean_and_size(&self, window: usize) -> (f64, f64) {
        let one = ONE as f64;
        let weight = self.weight as f64 / one + 2.0;
        let mean = (self.sum[window] as f64 / one + 2.0) / weight;
        let variance = (self.squares[window] as f64 / one + 6.0) / weight - mean * mean;
        let inverse_size = ((variance - mean) / (mean * mean)).max(0.02);
        (mean, 1.0 / inverse_size)
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
