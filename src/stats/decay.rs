//! Exponential forgetting of fixed-point counts.
//!
//! Factors are Q32 constants of one half-life; whole half-lives are shifts, so a count halves
//! exactly. Results are rounded down: everything is forgotten in the end (detection.md 2.2).

use super::millibits::exp_series;

/// Weeks after which a count of the weekly models weighs half.
pub const HALF_LIFE_WEEKS: u32 = 4;
/// Days after which an observation of the frequency moments weighs half.
pub const HALF_LIFE_DAYS: u32 = 14;

/// `2^(-j/4)` in Q32.
const WEEKS_Q32: [u64; HALF_LIFE_WEEKS as usize] = factors_q32();
/// `2^(-j/14)` in Q32.
const DAYS_Q32: [u64; HALF_LIFE_DAYS as usize] = factors_q32();

const fn factors_q32<const N: usize>() -> [u64; N] {
    let mut factors = [0; N];
    let mut j = 0;
    while j < N {
        let factor = exp_series(-(j as f64) * std::f64::consts::LN_2 / N as f64);
        factors[j] = (factor * 4_294_967_296.0 + 0.5) as u64;
        j += 1;
    }
    factors
}

/// `count` after so many weeks, half-life 4 weeks; in the unit of `count`, rounded down.
pub const fn weekly(count: u64, weeks: u32) -> u64 {
    scale(count, WEEKS_Q32[(weeks % HALF_LIFE_WEEKS) as usize], weeks / HALF_LIFE_WEEKS)
}

/// `count` after so many days, half-life 14 days; in the unit of `count`, rounded down.
pub const fn daily(count: u64, days: u32) -> u64 {
    scale(count, DAYS_Q32[(days % HALF_LIFE_DAYS) as usize], days / HALF_LIFE_DAYS)
}

/// `2^(-weeks/4)`, in [0, 1].
pub(crate) const fn weekly_factor(weeks: u32) -> f64 {
    if weeks > 1000 {
        return 0.0;
    }
    let within = WEEKS_Q32[(weeks % HALF_LIFE_WEEKS) as usize] as f64 / 4_294_967_296.0;
    within * super::millibits::power_of_two(-((weeks / HALF_LIFE_WEEKS) as i32))
}

const fn scale(count: u64, factor_q32: u64, halvings: u32) -> u64 {
    if halvings > 63 {
        return 0;
    }
    ((count as u128 * factor_q32 as u128) >> (32 + halvings)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_exactly_after_one_half_life() {
        for count in [0, 1, 2, 1000, 123_456_789, u64::MAX] {
            assert_eq!(weekly(count, 4), count / 2);
            assert_eq!(daily(count, 14), count / 2);
            assert_eq!(weekly(count, 0), count);
            assert_eq!(daily(count, 28), count / 4);
        }
        assert_eq!(daily(u64::MAX, u32::MAX), 0);
        // 2^40 * 2^-0.25, to the precision of a Q32 factor.
        assert!(weekly(1 << 40, 1).abs_diff(924_575_386_326) < 256);
    }

    #[test]
    fn step_by_step_stays_close_to_one_jump() {
        let mut count = 1u64 << 32;
        for day in 1..=200 {
            count = daily(count, 1);
            let jump = daily(1 << 32, day);
            assert!(count.abs_diff(jump) <= u64::from(day), "{day}: {count} {jump}");
        }
    }

    #[test]
    fn all_is_forgotten() {
        let mut count = 3u64;
        for _ in 0..10 {
            count = weekly(count, 1);
        }
        assert_eq!(count, 0);
        assert!(weekly_factor(8) == 0.25 && weekly_factor(5000) == 0.0);
    }
}
