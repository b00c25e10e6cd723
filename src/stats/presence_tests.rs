use super::*;
use crate::stats::testing::{SplitMix64, round_trip};
use proptest::prelude::*;

/// 2026-01-05, a Monday.
const MONDAY: i32 = 20_458;

fn hour_of_week(day: i32, hour: i32) -> u16 {
    ((day + 3).rem_euclid(7) * 24 + hour) as u16
}

/// An entity active in each hour with the probability `rate(weekday, hour)`, for so many weeks.
fn live(weeks: i32, seed: u64, rate: impl Fn(i32, i32) -> f64) -> Presence {
    let mut random = SplitMix64(seed);
    let mut presence = Presence::new(MONDAY);
    for day in MONDAY..MONDAY + weeks * 7 {
        presence.advance(day, 0.15);
        for hour in 0..24 {
            if random.chance(rate((day + 3).rem_euclid(7), hour)) {
                presence.learn(hour_of_week(day, hour), day, 0.15);
            }
        }
    }
    presence.advance(MONDAY + weeks * 7, 0.15);
    presence
}

fn office(weekday: i32, hour: i32) -> f64 {
    match (weekday < 5, hour) {
        (true, 9..18) => 0.8,
        (true, 8 | 18) => 0.2,
        _ => 0.0,
    }
}

fn bits(presence: &Presence, weekday: i32, hour: i32) -> f64 {
    let day = presence.facts.today;
    presence.surprise((weekday * 24 + hour) as u16, day).unwrap().to_bits()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn an_office_worker_at_night_is_odd() {
    // E1: median 4.7 bits after one week, 6.8 after two, 7.9 to 8.7 after four to eight.
    for (weeks, least) in [(1, 4.0), (2, 5.8), (4, 6.8), (8, 7.5)] {
        let nights = (0..40).map(|seed| bits(&live(weeks, seed, office), 1, 3)).collect();
        let night = median(nights);
        println!("{weeks} weeks: night {night:.1} bits");
        assert!(night > least, "{weeks} weeks: {night}");
    }
    let presence = live(5, 1, office);
    assert!((10..17).all(|hour| bits(&presence, 2, hour) < 4.5));
    let usual = presence.usual_hours().unwrap();
    assert_eq!((usual.days, usual.total), (UsualDays::Weekdays, presence.active_hours()));
    assert!((8..=9).contains(&usual.from) && (18..=19).contains(&usual.until), "{usual:?}");
    assert_eq!((presence.active_days_at(27), presence.weeks(MONDAY + 35)), (0, 5));
}

#[test]
fn genuine_hours_are_rarely_flagged() {
    // E1, office that never works nights, and round the clock: fpr at nominal 1 %.
    let share = |rate: fn(i32, i32) -> f64, most: f64| {
        let (mut hours, mut flagged) = (0.0, 0.0);
        for seed in 0..60 {
            let presence = live(4, 1_000 + seed, rate);
            for hour in 0..168 {
                let weight = rate(hour / 24, hour % 24);
                hours += weight;
                flagged += if bits(&presence, hour / 24, hour % 24) >= 6.644 { weight } else { 0.0 };
            }
        }
        println!("genuine hours flagged at 1 %: {:.4}", flagged / hours);
        assert!(flagged / hours <= most, "{}", flagged / hours);
    };
    share(office, 0.015);
    share(|_, _| 0.5, 0.02);
    share(|_, hour| if (hour + 2) % 24 < 8 { 0.7 } else { 0.002 }, 0.03);
}

#[test]
fn round_the_clock_becomes_flat() {
    let always = live(4, 6, |_, _| 1.0);
    // Ranks still order the two days of the weekend before the five of the week, by a hair.
    assert!((0..168).all(|h| bits(&always, h / 24, h % 24) < 3.0));
}

#[test]
fn a_job_around_midnight_is_not_odd_at_midnight() {
    // Pitfall 2: 23:50 to 00:10.
    let presence = live(4, 7, |_, hour| if hour == 23 || hour == 0 { 0.9 } else { 0.0 });
    assert!(bits(&presence, 3, 0) < 2.0 && bits(&presence, 3, 23) < 2.0);
    assert!(bits(&presence, 3, 12) > 5.0);
    let usual = presence.usual_hours().unwrap();
    assert_eq!((usual.from, usual.until), (23, 1));
}

#[test]
fn an_hour_of_shift_is_not_odd() {
    // Pitfall 3: the clocks change, and a 09:00 job without an offset in its events runs at 08:00 or 10:00.
    let presence = live(5, 9, |weekday, hour| if weekday < 5 && hour == 9 { 1.0 } else { 0.0 });
    assert!(bits(&presence, 1, 8) < 3.0 && bits(&presence, 1, 10) < 3.0);
    assert!(bits(&presence, 1, 12) > 5.0);
}

#[test]
fn one_busy_night_does_not_blind() {
    // E8: 200 calls in one night are one active hour.
    let mut presence = live(6, 8, office);
    let day = presence.facts.today;
    let before = bits(&presence, (day + 3).rem_euclid(7), 3);
    let counted = (0..200).filter(|_| presence.learn(hour_of_week(day, 3), day, 0.15)).count();
    assert_eq!(counted, 1);
    presence.advance(day + 1, 0.15);
    let after = bits(&presence, (day + 3).rem_euclid(7), 3);
    println!("03:00 before {before:.1} bits, after one night of 200 calls {after:.1}");
    assert!(before > 6.0 && after > 4.0, "{before} {after}");
}

#[test]
fn learns_late_but_not_too_late() {
    let mut presence = Presence::new(MONDAY);
    assert!(presence.learn(hour_of_week(MONDAY + 5, 10), MONDAY + 5, 0.15));
    assert!(presence.learn(hour_of_week(MONDAY + 2, 10), MONDAY + 2, 0.15), "three days late");
    assert!(!presence.learn(hour_of_week(MONDAY + 2, 10), MONDAY + 2, 0.15), "once only");
    assert!(!presence.learn(hour_of_week(MONDAY + 1, 10), MONDAY + 1, 0.15), "four days late");
    assert_eq!(presence.active_hours(), 2);
    assert_eq!(presence.surprise(0, MONDAY + 1), None);
    assert!(presence.surprise(0, MONDAY + 2).is_some());
}

#[test]
fn weights_halve_in_four_weeks() {
    let mut presence = Presence::new(MONDAY);
    presence.learn(hour_of_week(MONDAY, 10), MONDAY, 0.15);
    presence.advance(MONDAY + 28, 0.15);
    assert_eq!(presence.weight_at(10), 0.5);
    assert_eq!(presence.active_days_at(10), 1);
    presence.expect(10, 3);
    assert_eq!(presence.weight_at(10), 3.5);
    presence.expect(10, 255);
    assert!(presence.weight_at(10) < 32.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]
    #[test]
    fn any_order_of_days_is_survived(
        events in prop::collection::vec((0u16..400, -40i32..900, -0.5f64..1.5), 0..150),
        first in prop::sample::select(vec![0, MONDAY, -3, i32::MIN, i32::MAX]),
    ) {
        let mut presence = Presence::new(first);
        for (hour, day, level) in events {
            let day = first.saturating_add(day);
            presence.learn(hour, day, level);
            let level = presence.level();
            prop_assert!((0.0..=1.0).contains(&level));
            if let Some(s) = presence.surprise(hour, day) {
                prop_assert!(s <= MilliBits::MAX);
            }
        }
        presence.advance(i32::MAX, f64::NAN);
        round_trip(&presence);
    }
}
