use super::*;
use crate::stats::combine::truncated_cauchy;
use crate::stats::testing::{SplitMix64, round_trip};
use proptest::prelude::*;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

#[test]
fn counts_what_the_window_covers() {
    let mut windows = WindowCounts::new();
    assert_eq!(windows.counts(i64::MAX), [0; 4]);
    let start = 1_000 * 3600 * SECOND;
    for second in 0..30 {
        windows.add(start + second * SECOND);
    }
    let last = start + 29 * SECOND;
    let [ten, minute, ten_minutes, hour] = windows.counts(last);
    assert!((9..=10).contains(&ten), "{ten}");
    assert_eq!((minute, ten_minutes, hour), (30, 30, 30));
    assert_eq!(windows.count(Window::TenSeconds, last + 11 * SECOND), 0);
    assert_eq!(windows.count(Window::Minute, last + 120 * SECOND), 0);
    assert_eq!(windows.count(Window::Hour, last + 1800 * SECOND), 30);
    assert_eq!(windows.counts(last + 3601 * SECOND), [0; 4]);
    assert_eq!(windows.count(Window::Hour, i64::MIN), 0, "nothing is remembered of that time");
    round_trip(&windows);
}

#[test]
fn extreme_times_and_floods_do_no_harm() {
    let mut windows = WindowCounts::new();
    for at in [i64::MIN, -1, 0, 5, -7, i64::MAX, i64::MIN, 0] {
        windows.add(at);
        assert!(windows.counts(at)[3] >= 1);
    }
    let mut flooded = WindowCounts::new();
    (0..70_000).for_each(|_| flooded.add(0));
    assert_eq!(flooded.counts(0), [65_535; 4]);
}

#[test]
fn moments_decay_and_cap() {
    let mut moments = WindowMoments::new();
    learn(&mut moments, [1, 2, 3, 4, 5], 100);
    let before = moments.sum;
    moments.advance(114);
    assert_eq!(moments.weight, ONE / 2);
    assert_eq!(moments.sum, before.map(|x| x / 2));
    moments.advance(90);
    assert_eq!(moments.weight, ONE / 2, "an earlier day changes nothing");

    // One day of 5,000 calls weighs 60 (1 + ln(5000 / 60)), about 325.
    let mut busy = WindowMoments::new();
    (0..5_000).for_each(|_| learn(&mut busy, [9; FIGURES], 1));
    assert!((320.0..330.0).contains(&busy.observations()), "{}", busy.observations());
    round_trip(&busy);
    learn(&mut busy, [u32::MAX; FIGURES], i32::MAX);
    busy.advance(i32::MIN);
    assert!(busy.surprises([u32::MAX; FIGURES])[0] <= MilliBits::MAX);
}

#[test]
fn usual_numbers_for_the_sentence() {
    let mut moments = WindowMoments::new();
    for day in 0..10 {
        (0..40).for_each(|k| learn(&mut moments, [k % 4, 2, 5, 20, 1], day));
    }
    let usual = moments.usual(Window::TenMinutes as usize);
    assert!((4.9..5.1).contains(&usual.mean) && (8..=13).contains(&usual.percentile_99), "{usual:?}");
    assert_eq!(moments.surprises([0, 1, 4, 19, 1]), [MilliBits::ZERO; FIGURES], "at or below the mean");
}

/// What a call without a target finds.
fn found(windows: &WindowCounts, at: i64) -> [u32; FIGURES] {
    let [ten, minute, ten_minutes, hour] = windows.counts(at);
    [ten, minute, ten_minutes, hour, 0]
}

/// Learns one observation.
fn learn(moments: &mut WindowMoments, counts: [u32; FIGURES], day: i32) {
    let squares = counts.map(|count| (u64::from(count) * u64::from(count)) as f32);
    moments.learn(1, counts, squares, day, f64::INFINITY);
}

/// Shares of clean calls at or beyond 1 % and 0.1 %, after three weeks, and the calls a burst of
/// ten times the tempo needs until one lies beyond 0.01 %.
fn sessions(a_day: u32, calls: u32, gap_seconds: f64, seed: u64) -> (f64, f64, Option<u32>) {
    let mut random = SplitMix64(seed);
    let (mut windows, mut moments) = (WindowCounts::new(), WindowMoments::new());
    let (mut judged, mut hits, mut rare) = (0u32, 0u32, 0u32);
    let levels = [0.01, 0.001].map(MilliBits::from_p);
    for day in 0..84i32 {
        let mut calls_at: Vec<i64> = Vec::new();
        for _ in 0..random.poisson(f64::from(a_day)) {
            let mut at = random.uniform() * 8.0 * 3600.0 + 9.0 * 3600.0;
            for _ in 0..1 + random.below(2 * u64::from(calls) - 1) {
                calls_at.push(i64::from(day) * DAY + (at * 1e6) as i64);
                at += random.exponential(gap_seconds);
            }
        }
        calls_at.sort_unstable();
        for at in calls_at {
            let counts = found(&windows, at);
            let s = truncated_cauchy(&moments.surprises(counts));
            if day >= 21 {
                judged += 1;
                hits += u32::from(s >= levels[0]);
                rare += u32::from(s >= levels[1]);
            }
            windows.add(at);
            learn(&mut moments, counts, day);
        }
    }
    let mut at = 85 * DAY;
    let detected = (1..=500).find(|_| {
        at += (random.exponential(gap_seconds / 10.0) * 1e6) as i64;
        let s = truncated_cauchy(&moments.surprises(found(&windows, at)));
        windows.add(at);
        s >= MilliBits::from_p(1e-4)
    });
    (f64::from(hits) / f64::from(judged), f64::from(rare) / f64::from(judged), detected)
}

#[test]
fn session_traffic_is_not_a_burst() {
    // E3: the hourly-rate test fires on 50 to 80 % of these calls.
    for (a_day, calls, gap, seed) in [(4, 25, 20.0, 1), (15, 40, 8.0, 2)] {
        let (hits, rare, detected) = sessions(a_day, calls, gap, seed);
        println!(
            "{a_day} sessions a day: {hits:.4} at 1 %, {rare:.5} at .1 %, burst after {detected:?} calls"
        );
        assert!(hits <= 0.02, "{hits} at 1 %");
        assert!(rare <= 0.005, "{rare} at .1 %");
        assert!(detected.is_some_and(|n| n <= 60), "tempo x10 found after {detected:?} calls");
    }
}

#[test]
fn history_that_goes_back_in_time_is_no_burst() {
    // A year of calls, then another file that begins before it: one call a minute.
    let mut windows = WindowCounts::new();
    (0..10_000).for_each(|minute| windows.add(365 * DAY + minute * 60 * SECOND));
    let mut highest = [0; 4];
    for minute in 0..500 {
        let now = 10 * DAY + minute * 60 * SECOND;
        windows.add(now);
        for (most, count) in highest.iter_mut().zip(windows.counts(now)) {
            *most = (*most).max(count);
        }
    }
    assert_eq!(highest[..2], [1, 1]);
    assert!(highest[2] <= 10 && highest[3] <= 60, "{highest:?}");
    // And one call whose clock was far ahead blinds nobody for longer than until the next call.
    windows.add(400 * DAY);
    (0..5).for_each(|second| windows.add(11 * DAY + second * SECOND));
    assert_eq!(windows.count(Window::Minute, 11 * DAY + 5 * SECOND), 5);
}

/// Counts by remembering every call: what the cells must add up to.
#[derive(Default)]
struct Model {
    latest: Option<i64>,
    calls: Vec<i64>,
}

impl Model {
    fn add(&mut self, at: i64) {
        let latest = self.latest.unwrap_or(at);
        if latest - at > REACH_US {
            self.calls.clear();
            self.latest = None;
        }
        self.latest = Some(self.latest.map_or(at, |latest| latest.max(at)));
        self.calls.push(at);
    }

    fn count(&self, window: Window, now: i64) -> u32 {
        let step = |at: i64| at.div_euclid(window.step_us());
        let steps = window.steps() as i64;
        let Some(latest) = self.latest else { return 0 };
        let (end, kept) = (step(now), step(latest) - steps);
        let covered = |at: &&i64| step(**at) <= end && step(**at) > end - steps && step(**at) > kept;
        self.calls.iter().filter(covered).count() as u32
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn calls_in_any_order_are_counted_where_they_belong(
        times in prop::collection::vec((0i64..3, -400i64..400), 1..120),
        unit in 1i64..30_000_000,
        looks in prop::collection::vec((0i64..3, -400i64..400), 1..20),
    ) {
        // Three eras a month apart, so that some jumps are beyond what the windows reach.
        let at = |(era, offset): (i64, i64)| era * 30 * DAY + offset * unit;
        let (mut windows, mut model) = (WindowCounts::new(), Model::default());
        for time in times {
            windows.add(at(time));
            model.add(at(time));
            for window in Window::ALL {
                for now in looks.iter().copied().map(at).chain([at(time), at(time) + SECOND]) {
                    prop_assert_eq!(windows.count(window, now), model.count(window, now));
                }
            }
        }
    }

    #[test]
    fn the_order_of_calls_within_reach_does_not_matter(
        mut times in prop::collection::vec(0i64..3_500, 1..60),
        seed in any::<u64>(),
    ) {
        let count = |times: &[i64]| {
            let mut windows = WindowCounts::new();
            times.iter().for_each(|second| windows.add(second * SECOND));
            windows
        };
        let shuffled = {
            let mut random = SplitMix64(seed);
            let mut times = times.clone();
            for last in (1..times.len()).rev() {
                times.swap(last, random.below(last as u64 + 1) as usize);
            }
            times
        };
        times.sort_unstable();
        prop_assert_eq!(count(&times), count(&shuffled));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn totals_are_the_sums_of_their_cells(times in prop::collection::vec(-4_000i64..4_000, 1..200), unit in 1i64..3_000_000) {
        let mut windows = WindowCounts::new();
        for t in times {
            windows.add(t * unit);
            for window in Window::ALL {
                let cells = &windows.cells[window.first_cell()..window.first_cell() + window.steps()];
                let sum: u32 = cells.iter().map(|&c| u32::from(c)).sum();
                prop_assert_eq!(sum, windows.totals[window as usize]);
                // Reading ahead equals expiring for real.
                let later = windows.latest.saturating_add(window.step_us() * 3 + 17);
                let mut moved = windows.clone();
                moved.expire(window, window.step_of(moved.latest), window.step_of(later));
                prop_assert_eq!(moved.totals[window as usize], windows.count(window, later));
            }
        }
        round_trip(&windows);
    }
}
