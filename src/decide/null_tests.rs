//! Traffic in which nothing is wrong: evidence must not claim more than it may, whatever its rhythm.

use super::testing::{Told, World, policy};
use crate::domain::decision::Mode;
use crate::domain::time::{DAY_US, HOUR_US, MINUTE_US, SECOND_US};
use crate::policy::Effect;
use crate::stats::testing::SplitMix64;

const MONDAY: i64 = 20_458 * DAY_US;
const TOOLS: [&str; 12] = [
    "get_logs",
    "get_metrics",
    "list_pods",
    "get_status",
    "search_issues",
    "read_file",
    "update_config",
    "scale_replicas",
    "add_comment",
    "run_query",
    "list_files",
    "get_ticket",
];

/// When sessions begin, and how their calls follow each other.
#[derive(Clone, Copy, Debug)]
enum Rhythm {
    /// Sessions on weekdays from eight to six, calls close together.
    Sessions,
    /// The same, three times as busy at the end of the week, and a quiet night shift.
    Seasonal,
    /// Around the clock, the numbers of sessions an hour far more spread than chance has it.
    Overdispersed,
}

fn sessions_in(rhythm: Rhythm, hour: i64, random: &mut SplitMix64) -> u32 {
    let (day, of_day) = (hour / 24 % 7, hour % 24);
    match rhythm {
        Rhythm::Sessions if day < 5 && (8..18).contains(&of_day) => random.poisson(0.6),
        Rhythm::Sessions => 0,
        Rhythm::Seasonal => {
            let week = if (3..5).contains(&day) { 1.2 } else { 0.4 };
            let work = if (8..18).contains(&of_day) { 1.0 } else { 0.05 };
            random.poisson(if day < 5 { week * work } else { 0.02 })
        }
        Rhythm::Overdispersed => {
            let burst = if random.chance(0.2) { 1.5 } else { 0.05 };
            random.poisson(burst)
        }
    }
}

/// Shares of calls of the last two of seven weeks with evidence of 6.64 and 9.97 bits or more.
fn shares(rhythm: Rhythm, seed: u64) -> (f64, f64, u32) {
    let (mut world, mut random) = (World::new(), SplitMix64(seed));
    world.policy = policy(Effect::Allow, Mode::Observe);
    let (mut calls, mut odd, mut very_odd, mut number) = (0, 0, 0, 0);
    for hour in 0..7 * 168 {
        for agent in 0..5_u64 {
            for _ in 0..sessions_in(rhythm, hour, &mut random) {
                number += 1;
                let principal = format!("agent-{agent}");
                let session = format!("s-{number}");
                let mut at = MONDAY + hour * HOUR_US + random.below(3_000) as i64 * SECOND_US;
                let mut tool = random.below(4) as usize + agent as usize;
                for _ in 0..8 + random.below(20) {
                    at += (random.exponential(12.0) * SECOND_US as f64) as i64 + 1;
                    tool = if random.chance(0.75) { tool + 1 } else { tool + random.below(5) as usize };
                    let arguments = format!(
                        r#"{{"name":"svc-{}","count":{}}}"#,
                        (random.exponential(3.0)) as u32 + agent as u32,
                        1 + (random.exponential(4.0)) as u32
                    );
                    let told = Told {
                        principal: &principal,
                        session: &session,
                        tool: TOOLS[tool % TOOLS.len()],
                        arguments: &arguments,
                        at,
                        offset: 60,
                    };
                    let evidence = world.call(&told).assessment.evidence;
                    if hour >= 5 * 168 {
                        calls += 1;
                        odd += u32::from(evidence >= 6_644);
                        very_odd += u32::from(evidence >= 9_966);
                    }
                }
                world.end(&principal, &session, at + MINUTE_US);
            }
        }
    }
    let spent = world.tenant().budget.spent;
    let share = |count: u32| f64::from(count) / f64::from(calls);
    println!(
        "{rhythm:?}: {calls} calls, 1 %: {:.3} %, 0.1 %: {:.3} %, {spent:?}",
        100.0 * share(odd),
        100.0 * share(very_odd)
    );
    (share(odd), share(very_odd), calls)
}

#[test]
fn sessions_are_not_odd_because_they_are_sessions() {
    // Odd calls come by the session, a few sessions in all: one company alone tells little.
    let companies = [1, 4, 5].map(|seed| shares(Rhythm::Sessions, seed));
    assert!(companies.iter().all(|(_, _, calls)| *calls > 5_000));
    let odd = companies.iter().map(|(odd, ..)| odd).sum::<f64>() / 3.0;
    let very_odd = companies.iter().map(|(_, very_odd, _)| very_odd).sum::<f64>() / 3.0;
    assert!((0.005..0.02).contains(&odd) && very_odd < 0.004, "{odd} {very_odd}");
}

#[test]
fn seasons_are_not_odd() {
    let (odd, very_odd, _) = shares(Rhythm::Seasonal, 2);
    assert!((0.004..0.02).contains(&odd) && very_odd < 0.004, "{odd} {very_odd}");
}

#[test]
fn spread_is_not_odd() {
    let (odd, very_odd, _) = shares(Rhythm::Overdispersed, 3);
    assert!((0.004..0.02).contains(&odd) && very_odd < 0.004, "{odd} {very_odd}");
}

/// Midnight, the change of the clock, and the first week (detection.md 11, pitfalls 2, 3 and 9).
#[test]
fn a_shift_over_midnight_is_usual_at_midnight() {
    let mut world = World::new();
    world.policy = policy(Effect::Allow, Mode::Observe);
    let mut random = SplitMix64(5);
    let mut at_midnight = Vec::new();
    for day in 0..42 {
        let session = format!("shift-{day}");
        let mut last = 0;
        for step in 0..40 {
            let at = MONDAY
                + day * DAY_US
                + 22 * HOUR_US
                + step * 6 * MINUTE_US
                + random.below(60) as i64 * SECOND_US;
            let told = Told {
                principal: "night",
                session: &session,
                tool: "get_logs",
                arguments: "{}",
                at,
                offset: 0,
            };
            let decision = world.call(&told);
            if day >= 35 && (19..22).contains(&step) {
                at_midnight.push(decision.assessment.scores[0].surprise);
            }
            last = at;
        }
        world.end("night", &session, last + MINUTE_US);
    }
    assert!(at_midnight.iter().all(|surprise| *surprise < 4_322), "{at_midnight:?}");
}

#[test]
fn a_job_at_nine_is_usual_after_the_clock_changed() {
    let mut world = World::new();
    world.policy = policy(Effect::Allow, Mode::Observe);
    let mut surprises = Vec::new();
    for day in 0..49_i64 {
        if day % 7 >= 5 {
            continue;
        }
        // From day 42 on an hour ahead: nine in the morning is an hour earlier in UTC.
        let offset = if day >= 42 { 120 } else { 60 };
        let at = MONDAY + day * DAY_US + 9 * HOUR_US - i64::from(offset) * MINUTE_US + 5 * MINUTE_US;
        let session = format!("job-{day}");
        for step in 0..5 {
            let told = Told {
                principal: "job",
                session: &session,
                tool: "get_logs",
                arguments: "{}",
                at: at + step * 30 * SECOND_US,
                offset,
            };
            let decision = world.call(&told);
            if day >= 42 {
                surprises.push(decision.assessment.scores[0].surprise);
            }
        }
        world.end("job", &session, at + 10 * MINUTE_US);
    }
    assert!(surprises.iter().all(|surprise| *surprise < 4_322), "{surprises:?}");
}

#[test]
fn the_first_week_is_no_flood() {
    let (mut world, mut random) = (World::new(), SplitMix64(6));
    world.policy = policy(Effect::Allow, Mode::Observe);
    let (mut calls, mut reviews) = (0_u32, 0_u32);
    for hour in (0..168).filter(|hour| hour / 24 < 5 && (8..18).contains(&(hour % 24))) {
        for agent in 0..6_u64 {
            let (principal, session) = (format!("a{agent}"), format!("s{agent}-{hour}"));
            let mut at = MONDAY + hour * HOUR_US + random.below(1_800) as i64 * SECOND_US;
            for step in 0..12_usize {
                at += 1 + random.below(30) as i64 * SECOND_US;
                let tool = TOOLS[(step + agent as usize) % TOOLS.len()];
                let arguments = format!(r#"{{"name":"svc-{}"}}"#, random.below(6));
                let told = Told {
                    principal: &principal,
                    session: &session,
                    tool,
                    arguments: &arguments,
                    at,
                    offset: 0,
                };
                calls += 1;
                reviews += u32::from(world.call(&told).verdict != crate::domain::decision::Verdict::Allow);
            }
            world.end(&principal, &session, at + MINUTE_US);
        }
    }
    println!("first week: {reviews} of {calls}");
    assert!(f64::from(reviews) <= 0.01 * f64::from(calls), "{reviews} of {calls}");
}
