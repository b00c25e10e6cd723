use super::*;
use crate::stats::testing::{SplitMix64, round_trip};
use proptest::prelude::*;

/// 2026-01-05, a Monday.
const MONDAY: i32 = 20_458;

/// A gamma draw of shape 2 and mean 1: two exponentials.
fn gamma_2(random: &mut SplitMix64) -> f64 {
    0.5 * (random.exponential(1.0) + random.exponential(1.0))
}

fn office_rate(day: i32, hour: u8) -> f64 {
    match ((day + 3).rem_euclid(7) < 5, hour) {
        (true, 9..18) => 6.0,
        _ => 0.05,
    }
}

/// Lives `days` days; share of hours and days (from `judge_from` on) whose last call is at or beyond 1 %.
fn live(days: i32, judge_from: i32, seed: u64, overdispersed: bool) -> (SeasonalCounts, [f64; 2]) {
    let mut random = SplitMix64(seed);
    let mut counts = SeasonalCounts::new(MONDAY);
    let (mut hits, mut judged) = ([0u32; 2], [0u32; 2]);
    let level = MilliBits::from_p(0.01);
    for day in MONDAY..MONDAY + days {
        for hour in 0..24 {
            counts.advance(day, hour, 1.0);
            let spread = if overdispersed { gamma_2(&mut random) } else { 1.0 };
            for _ in 0..random.poisson(office_rate(day, hour) * spread) {
                counts.attempt();
                assert!(counts.learn(day, hour));
            }
            if day >= MONDAY + judge_from {
                let last_of = [true, hour == 23];
                for (bucket, surprise) in counts.surprises().into_iter().enumerate() {
                    judged[bucket] += u32::from(last_of[bucket]);
                    hits[bucket] += u32::from(last_of[bucket] && surprise >= level);
                }
            }
        }
    }
    (counts, std::array::from_fn(|b| f64::from(hits[b]) / f64::from(judged[b])))
}

#[test]
fn clean_buckets_are_rarely_flagged() {
    // E2: 0 to 1.1 % for true Poisson, up to 3.2 % in week 1 and .5 to 1.7 % later for gamma shape 2.
    let mean = |overdispersed: bool, days: i32, from: i32| {
        let mut sums = [0.0; 2];
        for seed in 0..12 {
            let (_, shares) = live(days, from, 100 + seed, overdispersed);
            sums = std::array::from_fn(|b| sums[b] + shares[b] / 12.0);
        }
        sums
    };
    let [hours, days] = mean(false, 35, 9);
    println!("Poisson: hours {hours:.4}, days {days:.4} at 1 %");
    assert!(hours <= 0.012 && days <= 0.02, "Poisson {hours} {days}");
    let [hours, days] = mean(true, 56, 30);
    println!("gamma shape 2: hours {hours:.4}, days {days:.4} at 1 %");
    assert!(hours <= 0.018 && days <= 0.025, "gamma {hours} {days}");
}

#[test]
fn a_surge_is_found() {
    let (mut counts, _) = live(35, 35, 3, true);
    let day = MONDAY + 36;
    counts.advance(day, 3, 1.0);
    let needed = (1..100).find(|_| {
        counts.attempt();
        counts.surprises()[0] >= MilliBits::from_p(0.001)
    });
    assert!(needed.is_some_and(|n| n <= 12), "at night, {needed:?} calls");
    counts.advance(day, 11, 1.0);
    let (_, expected) = counts.running(Bucket::Hour);
    assert!((4.0..8.5).contains(&expected), "{expected}");
    (0..150).for_each(|_| counts.attempt());
    assert!(counts.surprises()[0] >= MilliBits::from_p(1e-4));
    assert!(counts.running(Bucket::Day).0 > 150 && (0.8..3.0).contains(&counts.rate()));
}

#[test]
fn attempts_teach_nothing_and_calls_teach_late() {
    let mut counts = SeasonalCounts::new(MONDAY);
    counts.advance(MONDAY, 10, 1.0);
    (0..50).for_each(|_| counts.attempt());
    let mut quiet = SeasonalCounts::new(MONDAY);
    quiet.advance(MONDAY, 10, 1.0);
    for each in [&mut counts, &mut quiet] {
        each.advance(MONDAY + 4, 0, 1.0);
    }
    assert_eq!(counts, quiet, "denied calls change no byte of the baseline");

    counts.advance(MONDAY + 7, 10, 1.0);
    assert!(counts.learn(MONDAY + 7, 10) && counts.learn(MONDAY + 6, 0));
    assert!(!counts.learn(MONDAY + 5, 10) && !counts.learn(MONDAY + 7, 11) && !counts.learn(MONDAY + 8, 0));
    assert_eq!(counts.sums, [0; WEEK_HOURS]);
    counts.advance(MONDAY + 9, 11, 1.0);
    assert_eq!(counts.sums[10], ONE);
    counts.advance(MONDAY + 9 + 28, 11, 1.0);
    // Four steps of a week, each rounded down.
    assert!((ONE / 2 - 3..=ONE / 2).contains(&counts.sums[10]));
}

#[test]
fn extreme_days_do_no_harm() {
    let mut counts = SeasonalCounts::new(i32::MIN);
    counts.advance(i32::MAX, 255, f64::NAN);
    counts.attempt();
    assert!(!counts.learn(i32::MIN, 0) && counts.learn(i32::MAX, 23));
    counts.advance(i32::MIN, 0, f64::INFINITY);
    assert!(counts.surprises().iter().all(|&s| s < MilliBits::MAX));
    round_trip(&counts);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn finite_after_anything(
        events in prop::collection::vec((-3i32..200, 0u8..30, 0u8..40, 0.0f64..1e9), 0..60),
    ) {
        let mut counts = SeasonalCounts::new(MONDAY);
        for (day, hour, calls, rate) in events {
            counts.advance(MONDAY + day, hour, rate);
            (0..calls).for_each(|_| { counts.attempt(); counts.learn(MONDAY + day, hour); });
            for forecast in counts.forecasts {
                prop_assert!(forecast.mean.is_finite() && forecast.mean > 0.0 && forecast.size > 0.0);
            }
            let weights = counts.dispersions.map(|d| d.phi());
            prop_assert!(weights.iter().all(|phi| (0.0..=5.0).contains(phi)));
        }
        round_trip(&counts);
    }
}
