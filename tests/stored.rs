//! Stored bodies: golden bytes of every kind, round trips, and an independent reader.
//!
//! `ASKANCE_GOLDEN=write cargo test --test stored` writes goldens for kinds that have none yet. A changed
//! golden is a broken log: a new format needs a new version, not a new golden.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test stops where something is wrong")]

use askance::domain::account::{Account, Tier};
use askance::domain::call::{ArgumentFeature, CallFeatures, CallWords, Origin, OutcomeStatus, SessionSource};
use askance::domain::decision::{
    Assessment, Completed, Decision, Detector, Evidence, Mode, Reason, Score, Verdict,
};
use askance::domain::event::*;
use askance::domain::identity::{Role, Token};
use askance::domain::lock::{Lock, LockOrigin, LockScope, LockTarget};
use askance::domain::review::{Choice, Feedback, OnDeadline, Remember, ReviewState, Terms, Vote, Why};
use askance::domain::risk::{Capabilities, RiskCategory};
use askance::domain::{CallKey, Position, Revision, StreamId, Timestamp};
use askance::projection::State;
use askance::record::{decode, decode_for_fold, decode_payload, encode, encode_payload};
use std::fmt::Write as _;
use std::path::Path;

fn features() -> CallFeatures {
    CallFeatures {
        tool: 0x1122_3344_5566_7788,
        principal: 42,
        capabilities: Capabilities::EGRESS.with(Capabilities::MUTATES),
        at: Some(Timestamp::from_micros(-5)),
        utc_offset_minutes: -330,
        arguments: vec![
            ArgumentFeature { path: 1, value: u32::MAX, magnitude: 130, kind: 2 },
            ArgumentFeature { path: 7, value: 0, magnitude: 0, kind: 0 },
        ],
        words: CallWords::default(),
    }
}

fn decision() -> Decision {
    let evidence = [
        Evidence::Hour { hour_of_week: 27, minute: 12, active_here: 0, active_total: 43, weeks: 5 },
        Evidence::Burst { window_s: 600, count: 70_000, mean_milli: 2_100, per_tool: true },
        Evidence::Sequence { place: 2, after_two: 0, two_total: 212, after_one: 3, one_total: 400 },
        Evidence::Context { seen: 1, adds: 64, together: 0, sessions: 80 },
        Evidence::Argument { index: 3, aspect: 1, seen: 0, total: 412 },
        Evidence::Novelty { uses: 0, calls: 1_204, tools: 14, peers: 1, principals: 11 },
        Evidence::None,
    ];
    let mut evidence = evidence.into_iter();
    let scores = Detector::ALL.map(|detector| Score {
        detector,
        raw: (detector != Detector::Results).then_some(9_000 + detector.index() as i32),
        surprise: if detector == Detector::Results { 0 } else { 8_000 },
        evidence: evidence.next().unwrap(),
    });
    Decision {
        verdict: Verdict::Review,
        enforced: true,
        reason: Reason::Anomaly,
        rule_id: "scale".to_owned(),
        category: RiskCategory::Medium,
        threshold: 7_781,
        counted: true,
        account: Account::default(),
        compositions: Vec::new(),
        assessment: Assessment { scores, evidence: 12_345, combined_raw: 14_000, floors: 0b101, risk: 78 },
    }
}

/// The same, for too many targets and too many calls of an hour.
fn decision_on_volume() -> Decision {
    let mut decision = decision();
    let [time, rate, ..] = &mut decision.assessment.scores;
    time.evidence = Evidence::Targets { count: 17, mean_milli: 2_040, per_tool: true };
    rate.evidence = Evidence::Volume { whole_day: true, count: 310, expected_milli: 24_000 };
    decision
}

/// The same with an account.
fn decision_on_account() -> Decision {
    Decision {
        account: Account {
            tier: Tier::Joined,
            audited: true,
            muted: 0b10_0001,
            session_evidence: 13_300,
            principal_evidence: 9_001,
        },
        ..decision()
    }
}

/// Every kind of event, with every field set.
fn specimens() -> Vec<(&'static str, Event)> {
    let mut specimens = plain();
    specimens.extend(attributed(&specimens));
    specimens
}

fn plain() -> Vec<(&'static str, Event)> {
    let tool = |previous_hash| {
        Event::ToolDefined(ToolDefined {
            tenant: "acme".to_owned(),
            server: "k8s".to_owned(),
            tool: "scale_replicas".to_owned(),
            definition_hash: [1; 32],
            previous_hash,
            description: "Scales a service.".to_owned(),
            input_schema: b"{}".to_vec(),
            annotations: br#"{"destructiveHint":true}"#.to_vec(),
            category: RiskCategory::High,
            capabilities: Capabilities::DESTROYS,
            actor: String::new(),
        })
    };
    vec![
        (
            "LogCreated",
            Event::LogCreated(LogCreated { log_id: [3; 16], hash_key: [4; 16], partition: 1, partitions: 2 }),
        ),
        (
            "SessionOpened",
            Event::SessionOpened(SessionOpened {
                tenant: "acme".to_owned(),
                session_id: "s-1".to_owned(),
                source: SessionSource::Conversation,
                principal_chain: vec!["user:alice".to_owned(), "agent:ops".to_owned()],
                client: "claude-code".to_owned(),
                parent: StreamId::from_bytes([5; 16]),
                parent_id: "s-0".to_owned(),
                reopened: true,
            }),
        ),
        (
            "SessionClosed",
            Event::SessionClosed(SessionClosed {
                tenant: "acme".to_owned(),
                reason: CloseReason::Idle,
                actor: String::new(),
            }),
        ),
        ("ToolDefined", tool(None)),
        ("ToolRedefined", tool(Some([2; 32]))),
        (
            "CallProposed",
            Event::CallProposed(CallProposed {
                tenant: "acme".to_owned(),
                call_id: "c-1".to_owned(),
                digest: [6; 32],
                server: "k8s".to_owned(),
                tool: "scale_replicas".to_owned(),
                principal_chain: vec!["user:alice".to_owned(), String::new()],
                turn: Some(0),
                traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
                origin: Origin::Imported,
                masked: 2,
                category: RiskCategory::Critical,
                skewed: true,
                schema_fault: String::new(),
                features: features(),
                actor: String::new(),
            }),
        ),
        (
            "CallDecided",
            Event::CallDecided(CallDecided {
                tenant: "acme".to_owned(),
                decision: decision(),
                policy_revision: Position::new(2),
                scoring_version: 1,
            }),
        ),
        (
            "CallDecidedOnAccount",
            Event::CallDecided(CallDecided {
                tenant: "acme".to_owned(),
                decision: decision_on_account(),
                policy_revision: Position::new(2),
                scoring_version: 3,
            }),
        ),
        (
            "CallDecidedOnVolume",
            Event::CallDecided(CallDecided {
                tenant: "acme".to_owned(),
                decision: decision_on_volume(),
                policy_revision: Position::new(2),
                scoring_version: 9,
            }),
        ),
        (
            "BudgetSet",
            Event::BudgetSet(BudgetSet {
                tenant: "acme".to_owned(),
                rate_ppm: 10_000,
                reviews_per_day: 20,
                audit_ppm: 2_000,
            }),
        ),
        (
            "SessionUnlearned",
            Event::SessionUnlearned(SessionUnlearned {
                tenant: "acme".to_owned(),
                session: StreamId::from_bytes([8; 16]),
                reason: "a poisoned session".to_owned(),
            }),
        ),
        (
            "ModelAdopted",
            Event::ModelAdopted(ModelAdopted {
                revision: "0123456789abcdef".to_owned(),
                name: "p_reject".to_owned(),
                card: "# P(reject)\n".to_owned(),
                parameters: b"askance-model 1 p_reject\n".to_vec(),
            }),
        ),
        (
            "CallCompleted",
            Event::CallCompleted(CallCompleted {
                tenant: "acme".to_owned(),
                call_id: "c-1".to_owned(),
                status: OutcomeStatus::Error,
                latency_us: Some(0),
                result_bytes: 70_000,
                fingerprints: vec![1, u64::MAX],
                brought: Vec::new(),
                words: None,
                actor: String::new(),
            }),
        ),
        ("CallProposedWithWords", proposed_with_words()),
        (
            "CallCompletedWithWords",
            Event::CallCompleted(CallCompleted {
                tenant: "acme".to_owned(),
                call_id: "c-1".to_owned(),
                status: OutcomeStatus::Ok,
                latency_us: None,
                result_bytes: 12,
                fingerprints: Vec::new(),
                brought: Vec::new(),
                words: Some(vec![9, u32::MAX, 9]),
                actor: String::new(),
            }),
        ),
        (
            "PolicyAdopted",
            Event::PolicyAdopted(PolicyAdopted {
                text: "version: 1\n".to_owned(),
                mode: Mode::Observe,
                digest: [7; 32],
                tenant: String::new(),
                actor: String::new(),
                comment: String::new(),
            }),
        ),
        (
            "PolicyAdoptedForTenant",
            Event::PolicyAdopted(PolicyAdopted {
                text: "version: 1\n".to_owned(),
                mode: Mode::Enforce,
                digest: [7; 32],
                tenant: "acme".to_owned(),
                actor: "user:ann".to_owned(),
                comment: "tighter".to_owned(),
            }),
        ),
        (
            "RuleAccepted",
            Event::RuleAccepted(RuleAccepted {
                tenant: "acme".to_owned(),
                grant_id: "grant-9".to_owned(),
                rule_text: "{id: x, tool: y, effect: allow}".to_owned(),
                expires: Some(Timestamp::from_micros(-7)),
                actor: "user:ann".to_owned(),
                review: Position::new(8),
                suggestion_id: "s-1".to_owned(),
                comment: "every day".to_owned(),
            }),
        ),
        (
            "RuleRevoked",
            Event::RuleRevoked(RuleRevoked {
                tenant: "acme".to_owned(),
                grant_id: "grant-9".to_owned(),
                actor: "user:ann".to_owned(),
                reason: "no more".to_owned(),
            }),
        ),
        (
            "ToolAccepted",
            Event::ToolAccepted(ToolAccepted {
                tenant: "acme".to_owned(),
                server: "k8s".to_owned(),
                tool: "scale_replicas".to_owned(),
                definition_hash: [1; 32],
                category: RiskCategory::Medium,
                capabilities: Capabilities::MUTATES,
                actor: "user:ann".to_owned(),
                comment: "a typo".to_owned(),
            }),
        ),
        (
            "CallProposedMisfit",
            Event::CallProposed(CallProposed {
                tenant: "acme".to_owned(),
                call_id: "c-2".to_owned(),
                digest: [6; 32],
                server: String::new(),
                tool: "t".to_owned(),
                principal_chain: vec!["user:ann".to_owned()],
                turn: None,
                traceparent: String::new(),
                origin: Origin::Live,
                masked: 0,
                category: RiskCategory::Low,
                skewed: false,
                schema_fault: "/count: is no integer".to_owned(),
                features: features(),
                actor: String::new(),
            }),
        ),
        (
            "CallDecidedComposition",
            Event::CallDecided(CallDecided {
                tenant: "acme".to_owned(),
                decision: Decision {
                    compositions: names(&["lethal-trifecta", "b"])
                        .into_iter()
                        .map(|id| Completed { id, ..Completed::default() })
                        .collect(),
                    ..decision()
                },
                policy_revision: Position::new(2),
                scoring_version: 2,
            }),
        ),
        (
            "CallDecidedCompletedTold",
            Event::CallDecided(CallDecided {
                tenant: "acme".to_owned(),
                decision: Decision {
                    compositions: vec![
                        Completed {
                            id: "refund-spree".to_owned(),
                            title: "many refunds to one account".to_owned(),
                            tags: names(&["owasp.llm06", ""]),
                            risk: 80,
                        },
                        Completed { id: "b".to_owned(), ..Completed::default() },
                    ],
                    ..decision()
                },
                policy_revision: Position::new(2),
                scoring_version: 2,
            }),
        ),
        (
            "PolicyWithdrawn",
            Event::PolicyWithdrawn(PolicyWithdrawn {
                tenant: "acme".to_owned(),
                actor: "user:ann".to_owned(),
                comment: "the trial is over".to_owned(),
            }),
        ),
        (
            "CallCompletedBrought",
            Event::CallCompleted(CallCompleted {
                tenant: "acme".to_owned(),
                call_id: "c-2".to_owned(),
                status: OutcomeStatus::Ok,
                latency_us: None,
                result_bytes: 9,
                fingerprints: Vec::new(),
                brought: vec![1, u32::MAX],
                words: None,
                actor: String::new(),
            }),
        ),
    ]
    .into_iter()
    .chain(oversight())
    .collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// The same of events that say by whose credential they came.
fn attributed(specimens: &[(&'static str, Event)]) -> Vec<(&'static str, Event)> {
    let actor = || "gateway:proxy".to_owned();
    let mut found = Vec::new();
    for (name, event) in specimens {
        match event.clone() {
            Event::CallProposed(event) if *name == "CallProposedMisfit" => {
                let event = CallProposed { actor: actor(), ..event };
                found.push(("CallProposedAttributed", Event::CallProposed(event)));
            }
            Event::CallCompleted(event) if *name == "CallCompletedBrought" => {
                let event = CallCompleted { actor: actor(), ..event };
                found.push(("CallCompletedAttributed", Event::CallCompleted(event)));
            }
            Event::ToolDefined(event) if *name == "ToolDefined" => {
                let event = ToolDefined { actor: actor(), ..event };
                found.push(("ToolDefinedAttributed", Event::ToolDefined(event)));
            }
            Event::SessionClosed(event) => {
                let event = SessionClosed { reason: CloseReason::Ended, actor: actor(), ..event };
                found.push(("SessionClosedAttributed", Event::SessionClosed(event)));
            }
            _ => {}
        }
    }
    found
}

/// Reviews, locks and tokens.
fn oversight() -> Vec<(&'static str, Event)> {
    let tenant = || "acme".to_owned();
    let text = |text: &str| text.to_owned();
    let review = Position::new(300);
    let terms = Terms {
        approvals: 2,
        groups: names(&["sre", "dba"]),
        deadline: at(1_763_000_000_000_000),
        on_deadline: OnDeadline::Escalate { to: names(&["on-call"]), deny_after_us: 900_000_000 },
        approval_us: 600_000_000,
    };
    let vote = Vote {
        reviewer: text("user:bob"),
        aliases: names(&["bob@example.com"]),
        group: text("sre"),
        choice: Choice::Deny,
        comment: text("not today"),
        digest: [6; 32],
        at: at(-7),
        remember: None,
    };
    let remembered = Vote {
        choice: Choice::Approve,
        remember: Some(Remember { rule_text: text("id: r\ntool: x\neffect: allow\n"), ttl_us: 60_000_000 }),
        ..vote.clone()
    };
    let on = LockTarget {
        tenant: tenant(),
        scope: LockScope::Tool,
        target: text("drop_table"),
        server: text("db"),
    };
    let lock = Lock {
        id: text("lk_0011223344556677"),
        on,
        reason: text("panic"),
        actor: text("user:alice"),
        origin: LockOrigin::File,
        expires: Some(at(5)),
    };
    let token = Token {
        id: text("tk_0011223344556677"),
        subject: text("user:alice"),
        aliases: names(&["alice@example.com"]),
        role: Role::Reviewer,
        groups: names(&["sre"]),
        tenants: names(&["acme"]),
        expires: Some(at(9)),
        hash: [8; 32],
    };
    let actor = || text("user:carol");
    vec![
        (
            "ReviewOpened",
            Event::ReviewOpened(ReviewOpened {
                tenant: tenant(),
                call_id: text("c-1"),
                digest: [6; 32],
                server: text("db"),
                tool: text("run_migration"),
                principal_chain: names(&["user:alice", ""]),
                category: RiskCategory::Critical,
                rule_id: text("migrations"),
                policy_revision: Position::new(2),
                terms,
            }),
        ),
        ("VoteCast", Event::VoteCast(VoteCast { tenant: tenant(), review, vote })),
        ("VoteCastRemembered", Event::VoteCast(VoteCast { tenant: tenant(), review, vote: remembered })),
        (
            "ReviewResolved",
            Event::ReviewResolved(ReviewResolved {
                tenant: tenant(),
                review,
                state: ReviewState::Escalated,
                why: Why::Escalated,
                groups: names(&["sre", "on-call"]),
                deadline: Some(at(0)),
            }),
        ),
        (
            "ReviewDelegated",
            Event::ReviewDelegated(ReviewDelegated {
                tenant: tenant(),
                review,
                delegate: text("user:dan"),
                group: text("dba"),
                comment: text("yours"),
                actor: actor(),
            }),
        ),
        (
            "ReviewJoined",
            Event::ReviewJoined(ReviewJoined { tenant: tenant(), review, call_id: text("c-2") }),
        ),
        (
            "CallReleased",
            Event::CallReleased(CallReleased {
                tenant: tenant(),
                call_id: text("c-1"),
                review,
                why: Why::Silence,
                risk: 78,
            }),
        ),
        (
            "CallRefused",
            Event::CallRefused(CallRefused {
                tenant: tenant(),
                call_id: text("c-1"),
                review,
                why: Why::TooManyReviews,
            }),
        ),
        ("LockPlaced", Event::LockPlaced(LockPlaced { lock })),
        (
            "LockLifted",
            Event::LockLifted(LockLifted {
                tenant: tenant(),
                lock_id: text("lk_0011223344556677"),
                reason: text("all clear"),
                actor: actor(),
                expired: true,
            }),
        ),
        (
            "FeedbackGiven",
            Event::FeedbackGiven(FeedbackGiven {
                tenant: tenant(),
                call_id: text("c-1"),
                feedback: Feedback::FalseAlarm,
                expect_again: true,
                comment: text("month's end"),
                actor: actor(),
                features: None,
            }),
        ),
        (
            "FeedbackGivenToLearn",
            Event::FeedbackGiven(FeedbackGiven {
                tenant: tenant(),
                call_id: text("c-1"),
                feedback: Feedback::FalseAlarm,
                expect_again: true,
                comment: text("month's end"),
                actor: actor(),
                features: Some(Box::new(features())),
            }),
        ),
        ("TokenCreated", Event::TokenCreated(TokenCreated { token, actor: actor() })),
        (
            "TokenRevoked",
            Event::TokenRevoked(TokenRevoked {
                token_id: text("tk_0011223344556677"),
                reason: text("left"),
                actor: actor(),
            }),
        ),
    ]
}

fn proposed_with_words() -> Event {
    let mut features = features();
    features.words =
        CallWords { request: vec![1, 2], tool: vec![3], arguments: vec![4, 5, u32::MAX], counts: vec![1, 2] };
    Event::CallProposed(CallProposed {
        tenant: "acme".to_owned(),
        call_id: "c-2".to_owned(),
        digest: [6; 32],
        server: String::new(),
        tool: "send".to_owned(),
        principal_chain: vec!["agent:ops".to_owned()],
        turn: None,
        traceparent: String::new(),
        origin: Origin::Live,
        masked: 0,
        category: RiskCategory::High,
        skewed: false,
        schema_fault: String::new(),
        features,
        actor: String::new(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

#[test]
fn every_kind_has_its_golden_bytes_and_reads_back() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    for (name, event) in specimens() {
        let body = encode(&event);
        let read = decode(event.kind(), &body).unwrap();
        assert_eq!(read, event, "{name}");
        assert_eq!(encode(&read), body, "{name}: nothing of it is lost");
        let path = folder.join(format!("{name}.hex"));
        if !path.exists() && std::env::var("ASKANCE_GOLDEN").is_ok_and(|value| value == "write") {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, hex(&body) + "\n").unwrap();
        }
        let golden =
            std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()));
        assert_eq!(golden.trim(), hex(&body), "{name}: the stored format changed");
    }
}

#[test]
fn any_protobuf_reader_reads_them_by_the_store_s_own_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let file = root.join("askance/store/v1/event.proto");
    let pool =
        prost_reflect::DescriptorPool::from_file_descriptor_set(protox::compile([file], [root]).unwrap())
            .unwrap();
    let known_fields = |name: &str, body: &[u8]| {
        let variants = [
            "WithWords",
            "ForTenant",
            "Misfit",
            "Composition",
            "CompletedTold",
            "Brought",
            "OnAccount",
            "OnVolume",
            "ToLearn",
            "Remembered",
            "Attributed",
        ];
        let name = variants.iter().fold(name, |name, variant| name.trim_end_matches(variant));
        let name = if name == "ToolRedefined" { "ToolDefined" } else { name };
        let schema = pool.get_message_by_name(&format!("askance.store.v1.{name}")).unwrap();
        let message = prost_reflect::DynamicMessage::decode(schema, body).unwrap();
        assert_eq!(message.unknown_fields().count(), 0, "{name} has fields that the schema does not know");
        message.fields().count()
    };
    for (name, event) in specimens() {
        assert!(known_fields(name, &encode(&event)) >= 2, "{name}");
    }
    let payload =
        Payload { arguments: b"{}".to_vec(), user_request: b"please".to_vec(), result: b"done".to_vec() };
    assert_eq!(known_fields("Payload", &encode_payload(&payload)), 3);
    assert_eq!(decode_payload(&encode_payload(&payload)).unwrap(), payload);
}

#[test]
fn a_fold_misses_nothing_that_is_not_decoded_for_it() {
    let (mut whole, mut folded) = (State::empty(), State::empty());
    let specimens = specimens();
    // Twice: the second time there are a session, a call and a review for every event to meet.
    for (number, (name, event)) in (1..).zip(specimens.iter().chain(&specimens)) {
        let body = encode(event);
        let recorded = |event| Recorded {
            position: Position::new(number),
            record: Pending {
                stream: StreamId::from_bytes([7; 16]),
                revision: Revision::new(number),
                event_time: at(number as i64),
                receive_time: at(number as i64),
                call: CallKey::from_bytes([9; 16]),
                causation: Position::ZERO,
                event,
                payload: Payload::default(),
            },
        };
        whole.apply(&recorded(decode(event.kind(), &body).unwrap()));
        folded.take(&mut recorded(decode_for_fold(event.kind(), &body).unwrap()));
        assert!(whole.to_bytes() == folded.to_bytes(), "{name}: the states differ");
    }
}

#[test]
fn damaged_bodies_are_errors_and_never_panics() {
    for (name, event) in specimens() {
        let body = encode(&event);
        for cut in 0..body.len() {
            let _read = decode(event.kind(), &body[..cut]);
        }
        for at in 0..body.len() {
            let mut flipped = body.clone();
            flipped[at] ^= 0xff;
            let _read = decode(event.kind(), &flipped);
        }
        assert!(decode(250, &body).is_err(), "{name}");
    }
}
