//! What a reviewer's word does to learning, by the events that carry it; and how often an hour is judged.

use super::review::{Asked, Asking, ask};
use super::testing::{TENANT, Told, World, policy};
use crate::domain::decision::{Decision, Detector, Mode, Verdict};
use crate::domain::event::{CallProposed, Event, FeedbackGiven, Payload, Pending, Recorded, ReviewResolved};
use crate::domain::review::{Feedback, ReviewState, Why};
use crate::domain::risk::RiskCategory;
use crate::domain::time::{DAY_US, HOUR_US, MINUTE_US};
use crate::policy::Effect;

/// 2026-01-05, a Monday, 00:00 UTC.
const MONDAY: i64 = 20_458 * DAY_US;
/// The Tuesday after five weeks, 03:00.
const NIGHT: i64 = MONDAY + 36 * DAY_US + 3 * HOUR_US;

fn told<'a>(session: &'a str, tool: &'a str, at: i64) -> Told<'a> {
    Told { principal: "agent", session, tool, arguments: r#"{"service":"api"}"#, at, offset: 0 }
}

/// An agent that looks at logs and deploys, from nine to five on weekdays, for five weeks.
fn trained() -> World {
    let mut world = World::new();
    world.policy = policy(Effect::Allow, Mode::Observe);
    for (day, hour) in (0..35).filter(|day| day % 7 < 5).flat_map(|day| (9..17).map(move |hour| (day, hour)))
    {
        let (session, at) = (format!("{day}-{hour}"), MONDAY + day * DAY_US + hour * HOUR_US);
        for (step, tool) in ["get_logs", "get_logs", "deploy_service"].into_iter().enumerate() {
            world.call(&told(&session, tool, at + step as i64 * MINUTE_US));
        }
        world.end("agent", &session, at + 10 * MINUTE_US);
    }
    world
}

fn time(decision: &Decision) -> Option<i32> {
    decision.assessment.scores[Detector::Time.index()].raw
}

/// Adds an event to the stream of the last one, for the same call.
fn tell(world: &mut World, event: Event) {
    let last = &world.log.last().unwrap().record;
    let told = Pending {
        revision: last.revision.next(),
        causation: world.state.position,
        event,
        payload: Payload::default(),
        ..last.clone()
    };
    world.take_up(told);
}

fn last_proposed(world: &World) -> CallProposed {
    let proposed = |recorded: &Recorded| match &recorded.record.event {
        Event::CallProposed(proposed) => Some(proposed.clone()),
        _ => None,
    };
    world.log.iter().rev().find_map(proposed).unwrap()
}

/// A call of a policy that reviews everything, and what the reviewer says to it.
fn reviewed(world: &mut World, call: &Told<'_>, state: ReviewState, why: Why) {
    world.policy = policy(Effect::Review, Mode::Enforce);
    assert_eq!(world.call(call).verdict, Verdict::Review);
    let (proposed, last) = (last_proposed(world), world.log.last().unwrap().record.clone());
    let asking = Asking {
        tenant: TENANT,
        stream: last.stream,
        call: last.call,
        call_id: &proposed.call_id,
        digest: proposed.digest,
        server: &proposed.server,
        tool: &proposed.tool,
        principal_chain: &proposed.principal_chain,
        category: RiskCategory::Low,
        rule_id: "",
        decided_at: world.state.position,
    };
    let asked = ask(&world.state, &asking, &world.policy, last.receive_time);
    let Asked::Opens(opened) = asked else { panic!("{asked:?}") };
    let review = world.state.position.next();
    tell(world, *opened);
    let deadline = Some(last.receive_time.plus_micros(HOUR_US));
    let resolved =
        ReviewResolved { tenant: TENANT.to_owned(), review, state, why, groups: Vec::new(), deadline };
    tell(world, Event::ReviewResolved(resolved));
    world.policy = policy(Effect::Allow, Mode::Observe);
}

#[test]
fn a_no_to_one_call_makes_its_whole_session_teach_nothing() {
    let sessions_after = |state: ReviewState, why: Why| {
        let mut world = trained();
        let before = world.tenant().models.sessions();
        for minute in 0..5 {
            world.call(&told("odd", "export_all", NIGHT + minute * MINUTE_US));
        }
        reviewed(&mut world, &told("odd", "get_logs", NIGHT + 6 * MINUTE_US), state, why);
        world.call(&told("odd", "export_all", NIGHT + 7 * MINUTE_US));
        world.end("agent", "odd", NIGHT + HOUR_US);
        world.tenant().models.sessions() - before
    };
    assert_eq!(sessions_after(ReviewState::Denied, Why::DeniedByReviewer), 0);
    assert_eq!(sessions_after(ReviewState::Approved, Why::Approved), 1, "a yes does not");
}

#[test]
fn expect_again_reaches_the_statistics_with_its_event() {
    let raw_after = |expect: bool| {
        let mut world = trained();
        world.call(&told("nightly", "vacuum_tables", NIGHT));
        let proposed = last_proposed(&world);
        let feedback = FeedbackGiven {
            tenant: TENANT.to_owned(),
            call_id: proposed.call_id.clone(),
            feedback: Feedback::FalseAlarm,
            expect_again: expect,
            comment: String::new(),
            actor: "alice".to_owned(),
            features: expect.then(|| Box::new(proposed.features)),
        };
        tell(&mut world, Event::FeedbackGiven(feedback));
        let again = world.call(&told("next", "vacuum_tables", NIGHT + 7 * DAY_US));
        [Detector::Time, Detector::Novelty]
            .map(|detector| again.assessment.scores[detector.index()].raw.unwrap())
    };
    let (without, with) = (raw_after(false), raw_after(true));
    assert!(without[0] > with[0] + 1_500 && without[1] > with[1], "{without:?} {with:?}");
}

#[test]
fn an_hour_is_judged_once_in_a_session_and_again_for_the_first_grave_call() {
    let mut world = trained();
    let mut at = NIGHT;
    let mut call = |world: &mut World, tool: &str| {
        at += MINUTE_US;
        time(&world.call(&told("night", tool, at))).unwrap()
    };
    assert!(call(&mut world, "get_logs") >= 5_000, "three in the morning is news");
    assert_eq!(call(&mut world, "get_logs"), 0, "the next read says nothing new");
    assert!(call(&mut world, "deploy_service") >= 5_000, "the first call that cannot be taken back does");
    assert_eq!(call(&mut world, "deploy_service"), 0);
    assert_eq!(call(&mut world, "get_logs"), 0);
    at = NIGHT + HOUR_US;
    assert!(
        time(&world.call(&told("night", "get_logs", at))).unwrap() >= 5_000,
        "four o'clock is another hour"
    );
}

#[test]
fn an_hour_in_which_nothing_was_let_go_stays_news() {
    let mut world = trained();
    let night = |minute: i64| told("night", "get_logs", NIGHT + minute * MINUTE_US);
    reviewed(&mut world, &night(0), ReviewState::Denied, Why::DeniedByReviewer);
    assert!(time(&world.call(&night(1))).unwrap() >= 5_000, "the first was not let go");
}
