//! The review budget where it is spent: six kinds of adverse traffic (detection.md E5), floods, holds, surges.

use super::Ground;
use super::policed::Policed;
use super::settle;
use super::testing::{TENANT, World, policy};
use crate::domain::account::{Account, Tier};
use crate::domain::call::{CallFeatures, Origin};
use crate::domain::decision::{
    Assessment, Decision, Detector, Evidence, Floor, Mode, Reason, Score, Verdict,
};
use crate::domain::event::{CallDecided, CallProposed, Event, Payload, Pending, SessionOpened};
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::domain::time::{DAY_US, HOUR_US, SECOND_US};
use crate::domain::{CallKey, Position, Revision, StreamId, Timestamp};
use crate::policy::{Cause, Effect, Outcome};
use crate::projection::Wanted;
use crate::stats::MilliBits;
use crate::stats::testing::SplitMix64;

/// Calls of a scenario.
const CALLS: u64 = 100_000;
/// The wanted share: one percent.
const RATE_PPM: u32 = 10_000;
/// 2026-01-05, a Monday.
const START: i64 = 20_458 * DAY_US;

/// A stream of decisions over given evidence, through the fold.
struct Stream {
    world: World,
    at: i64,
    session: u64,
    in_session: u32,
}

fn assessment(evidence: MilliBits, floors: u16) -> Assessment {
    let none = |detector| Score { detector, raw: None, surprise: 0, evidence: Evidence::None };
    Assessment {
        scores: Detector::ALL.map(none),
        evidence: evidence.as_i32(),
        combined_raw: evidence.as_i32(),
        floors,
        risk: 10,
    }
}

impl Stream {
    fn new() -> Self {
        let mut world = World::new();
        world.settings.budget = Wanted { rate_ppm: RATE_PPM, ..Wanted::default() };
        Self { world, at: START, session: 0, in_session: 0 }
    }

    fn record(&mut self, stream: StreamId, event: Event) {
        let at = Timestamp::from_micros(self.at);
        self.world.take_up(Pending {
            stream,
            revision: Revision::ZERO.next(),
            event_time: at,
            receive_time: at,
            call: CallKey::NONE,
            causation: Position::ZERO,
            event,
            payload: Payload::default(),
        });
    }

    fn open(&mut self) {
        self.session += 1;
        self.in_session = 0;
        let stream = self.stream();
        self.record(
            stream,
            Event::SessionOpened(SessionOpened {
                tenant: TENANT.to_owned(),
                session_id: self.session.to_string(),
                source: crate::domain::call::SessionSource::Explicit,
                principal_chain: vec!["agent".to_owned()],
                client: String::new(),
                parent: StreamId::NONE,
                parent_id: String::new(),
                reopened: false,
            }),
        );
        let now = Timestamp::from_micros(self.at);
        if let Some(set) = super::set_budget(&self.world.state, TENANT, now, &self.world.settings) {
            self.world.take_up(set);
        }
    }

    fn stream(&self) -> StreamId {
        StreamId::from_bytes(u128::from(self.session).to_be_bytes())
    }

    /// A call of this evidence in the present session; a new one after 28 calls.
    fn call(&mut self, evidence: MilliBits, floors: u16) -> Decision {
        if self.session == 0 || self.in_session >= 28 {
            self.open();
        }
        self.in_session += 1;
        self.at += 3 * SECOND_US;
        let tenant = self.world.tenant();
        let session = tenant.sessions.get(&self.stream());
        let ground = Ground {
            threshold: tenant.budget.tracker.tau().as_i32(),
            joins: session.is_some_and(crate::projection::Session::is_held) || tenant.budget.is_surging(),
            adds_up: false,
            account: Account::default(),
        };
        let allow = policy(Effect::Allow, Mode::Enforce);
        let outcome = Outcome {
            rule: None,
            effect: Effect::Allow,
            cause: Cause::AsWritten,
            category: RiskCategory::Low,
            mode: Mode::Enforce,
        };
        let policed = Policed {
            outcome,
            assessment: assessment(evidence, floors),
            compositions: Vec::new(),
            fired: None,
        };
        let decision = settle(&allow, policed, &ground, Origin::Live);
        let stream = self.stream();
        self.record(stream, Event::CallProposed(proposed()));
        self.record(
            stream,
            Event::CallDecided(CallDecided {
                tenant: TENANT.to_owned(),
                decision: decision.clone(),
                policy_revision: Position::ZERO,
                scoring_version: 0,
            }),
        );
        let tracker = &self.world.tenant().budget.tracker;
        assert!(tracker.hits() <= tracker.bound(), "the proven bound");
        decision
    }

    fn share(&self) -> f64 {
        let tracker = &self.world.tenant().budget.tracker;
        tracker.hits() as f64 / tracker.counted() as f64
    }
}

fn proposed() -> CallProposed {
    CallProposed {
        tenant: TENANT.to_owned(),
        call_id: String::new(),
        digest: [0; 32],
        server: String::new(),
        tool: "t".to_owned(),
        principal_chain: Vec::new(),
        turn: None,
        traceparent: String::new(),
        origin: Origin::Live,
        masked: 0,
        category: RiskCategory::Low,
        skewed: false,
        schema_fault: String::new(),
        features: CallFeatures {
            tool: 1,
            principal: 2,
            capabilities: Capabilities::NONE,
            at: None,
            utc_offset_minutes: 0,
            arguments: Vec::new(),
            words: crate::domain::call::CallWords::default(),
        },
    }
}

/// Runs a scenario: `p` makes the p-value of each call. Anomalies, one in a thousand, have 13 bits.
fn scenario(name: &str, seed: u64, mut p: impl FnMut(&mut SplitMix64, u64) -> f64) -> f64 {
    let mut random = SplitMix64(seed);
    let mut stream = Stream::new();
    let mut hard = 0;
    for number in 0..CALLS {
        let anomaly = random.chance(0.001);
        let evidence =
            if anomaly { MilliBits::new(13_000) } else { MilliBits::from_p(p(&mut random, number)) };
        hard += u64::from(stream.call(evidence, 0).account.tier == Tier::Hard);
    }
    let share = stream.share();
    let spent = &stream.world.tenant().budget.spent;
    println!("{name}: {:.4} %, {:?}", 100.0 * share, spent);
    assert_eq!(spent.tiers[Tier::Hard as usize], hard, "counted apart");
    assert!((share / 0.01 - 1.0).abs() < 0.02, "{name}: {share}");
    share
}

#[test]
fn exact_scores_spend_the_budget() {
    scenario("exact", 1, |random, _| random.uniform());
}

#[test]
fn scores_that_follow_each_other_spend_the_budget() {
    let mut state = 0.0_f64;
    scenario("serial", 2, |random, _| {
        // A Gaussian of memory .9, by the sum of twelve uniform numbers, and its tail.
        let noise: f64 = (0..12).map(|_| random.uniform()).sum::<f64>() - 6.0;
        state = 0.9 * state + (1.0_f64 - 0.81).sqrt() * noise;
        use statrs::distribution::{ContinuousCDF, Normal};
        Normal::new(0.0, 1.0).unwrap().sf(state)
    });
}

#[test]
fn scores_that_claim_too_much_spend_the_budget() {
    scenario("p^1.5", 3, |random, _| random.uniform().powf(1.5));
}

#[test]
fn scores_that_drift_spend_the_budget() {
    scenario("drift", 4, |random, number| random.uniform().powf(1.0 + number as f64 / CALLS as f64));
}

#[test]
fn scores_with_seasons_spend_the_budget() {
    scenario("seasonal", 5, |random, number| {
        let season = (number as f64 * std::f64::consts::TAU / 20_000.0).sin();
        random.uniform().powf(1.25 + 0.25 * season)
    });
}

#[test]
fn a_flood_of_middling_anomalies_spends_the_budget_and_no_more() {
    let (stream, reviewed, after) = flood(8_000..12_000);
    let spent = stream.world.tenant().budget.spent;
    assert!((stream.share() / 0.01 - 1.0).abs() < 0.02, "{}", stream.share());
    // One percent of it, and what moves the threshold from where it was to above the flood.
    assert!((30..90).contains(&reviewed), "{reviewed} of the 3,000 calls of the flood");
    assert_eq!(spent.surges, 0, "the threshold kept up");
    assert!(after.0 * 10 >= after.1 * 9, "it did not buy blindness: {after:?}");
}

#[test]
fn a_flood_of_strong_anomalies_is_one_incident_and_buys_no_blindness() {
    let (stream, reviewed, after) = flood(19_000..20_000);
    let spent = stream.world.tenant().budget.spent;
    assert_eq!(reviewed, 3_000, "each of them is far beyond what is usual");
    assert!(spent.surges >= 1, "a flood from two hundred sessions is one incident");
    assert!(spent.tiers[Tier::Joined as usize] > 2_500, "{spent:?}");
    assert!(after.0 * 10 >= after.1 * 9, "it did not buy blindness: {after:?}");
}

/// 3,000 calls in a row of such evidence from two hundred sessions; how many of them are reviewed, and how
/// many of the 13-bit anomalies after it.
fn flood(evidence: std::ops::Range<u32>) -> (Stream, u32, (u32, u32)) {
    let mut random = SplitMix64(6);
    let mut stream = Stream::new();
    let (mut reviewed, mut after) = (0, (0, 0));
    let width = f64::from(evidence.end - evidence.start);
    for number in 0..CALLS {
        let flooding = (50_000..53_000).contains(&number);
        if flooding && number % 15 == 0 {
            stream.open();
        }
        let late = (53_000..58_000).contains(&number) && number % 100 == 0;
        let odd = if flooding {
            MilliBits::new(evidence.start as i32 + (random.uniform() * width) as i32)
        } else if late {
            MilliBits::new(13_000)
        } else {
            MilliBits::from_p(random.uniform())
        };
        let decision = stream.call(odd, 0);
        reviewed += u32::from(flooding && decision.verdict == Verdict::Review);
        if late {
            after.1 += 1;
            after.0 += u32::from(decision.verdict == Verdict::Review);
        }
    }
    let spent = stream.world.tenant().budget.spent;
    println!("flood: {reviewed}, {spent:?}; of 13-bit anomalies after it {after:?}");
    (stream, reviewed, after)
}

#[test]
fn one_session_is_held_after_five_reviews_and_does_not_move_the_threshold_any_more() {
    let mut stream = Stream::new();
    let odd = MilliBits::new(12_000);
    (0..5).for_each(|_| assert_eq!(stream.call(odd, 0).account.tier, Tier::Soft));
    let tau = stream.world.tenant().budget.tracker.tau();
    for _ in 0..20 {
        let decision = stream.call(odd, 0);
        assert_eq!((decision.account.tier, decision.verdict), (Tier::Joined, Verdict::Review));
        assert!(!decision.counted);
    }
    assert_eq!(stream.world.tenant().budget.tracker.tau(), tau);
    assert_eq!(stream.world.tenant().budget.spent.sessions_held, 1);
    stream.open();
    assert_eq!(stream.call(odd, 0).account.tier, Tier::Soft, "another session is not held");
}

#[test]
fn floors_and_twenty_bits_are_reviewed_whatever_was_spent() {
    let mut stream = Stream::new();
    for _ in 0..2_000 {
        stream.call(MilliBits::new(19_000), 0);
    }
    let tau = stream.world.tenant().budget.tracker.tau();
    let floor = stream.call(MilliBits::ZERO, Floor::Trifecta.bit());
    assert_eq!(
        (floor.verdict, floor.reason, floor.account.tier),
        (Verdict::Review, Reason::FloorFired, Tier::Floor)
    );
    let hard = stream.call(MilliBits::new(20_000), 0);
    assert_eq!((hard.verdict, hard.account.tier), (Verdict::Review, Tier::Hard));
    assert!(!floor.counted && !hard.counted);
    assert_eq!(stream.world.tenant().budget.tracker.tau(), tau);
}

#[test]
fn reviews_a_day_become_a_share_of_the_days_before() {
    let mut stream = Stream::new();
    stream.world.settings.budget = Wanted { reviews_per_day: 20, ..Wanted::default() };
    let mut random = SplitMix64(9);
    for day in 0..12 {
        stream.at = START + day * DAY_US + 8 * HOUR_US;
        for _ in 0..4_000 {
            stream.call(MilliBits::from_p(random.uniform()), 0);
        }
    }
    let budget = &stream.world.tenant().budget;
    assert_eq!(budget.calls_a_day(), Some(4_000));
    assert_eq!(budget.tracker.budget().eps_ppm, 5_000, "20 of 4,000");
    let soft: u32 = budget.days().take(5).map(|day| day.soft).sum();
    assert!((80..=120).contains(&soft), "{soft} in five days");
}

#[test]
fn the_sample_is_of_the_set_size_and_the_same_every_time() {
    let world = World::new();
    let budget = crate::projection::ReviewBudget::new([7; 16]);
    let picked = |seed: u64| (0..100_000).filter(|n| budget.is_audited(&format!("{seed}-{n}"))).count();
    let count = picked(1);
    assert!((150..250).contains(&count), "{count} of 100,000 at 0.2 %");
    assert_eq!(picked(1), count);
    drop(world);
}
