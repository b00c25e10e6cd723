//! What the engine decides, told as stories.

use super::support::*;
use askance::clock::Clock;
use askance::domain::Timestamp;
use askance::domain::decision::{Reason, Verdict};
use askance::engine::{Command, Engine, Error};

const WHITELIST: &str = "version: 1
rules:
  - {id: status, tool: get_*, effect: allow, risk: low}
  - {id: scale, tool: scale_replicas, effect: allow, risk: medium}
";

#[tokio::test]
async fn scaling_is_routine_on_a_tuesday_afternoon_and_odd_at_three_in_the_night() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let mut options = options(dir.path(), &clock);
    options.policy_text = WHITELIST.to_owned();
    let (engine, _) = open(&options);
    five_weeks(&engine).await;

    // The same plan as ever, at the usual pace.
    let plan = [
        told("d1", "day", "get_service_status", r#"{"service":"api"}"#),
        told("d2", "day", "get_logs", r#"{"service":"api"}"#),
        told("d3", "day", "scale_replicas", r#"{"service":"api","count":3}"#),
    ];
    let mut day = None;
    for (step, call) in plan.iter().enumerate() {
        clock.set(tuesday().plus_micros(step as i64 * 40_000_000));
        let decided = evaluate(&engine, call).await.unwrap();
        assert_eq!(decided.decision.verdict, Verdict::Allow, "{:#?}", decided.decision);
        assert_eq!(decided.decision.reason, Reason::RuleAllows);
        day = Some(decided);
    }
    let day = day.unwrap();

    clock.set(Timestamp::parse("2026-11-18T03:12:00Z").unwrap());
    for number in 0..6 {
        clock.set(engine.now().plus_micros(20_000_000));
        let id = format!("n{number}");
        let reads = told(&id, "night", "get_logs", r#"{"service":"payments"}"#);
        evaluate(&engine, &reads).await.unwrap();
    }
    let scales = told("n9", "night", "scale_replicas", r#"{"service":"payments","count":400}"#);
    let night = evaluate(&engine, &scales).await.unwrap();
    assert_eq!((night.decision.verdict, night.decision.reason), (Verdict::Review, Reason::Anomaly));
    assert!(night.decision.enforced);
    assert!(night.decision.assessment.risk > day.decision.assessment.risk + 20);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_repeated_call_gets_the_recorded_decision_and_another_call_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let (engine, _) = open(&options(dir.path(), &clock));
    let first = evaluate(&engine, &told("a", "s", "get_logs", r#"{"n":1}"#)).await.unwrap();
    let tail = engine.log("default").position();
    let again = evaluate(&engine, &told("a", "s", "get_logs", r#"{"n":1}"#)).await.unwrap();
    assert!(again.repeated && !first.repeated);
    assert_eq!((again.position, &again.decision), (first.position, &first.decision));
    let other = evaluate(&engine, &told("a", "s", "get_logs", r#"{"n":2}"#)).await;
    assert_eq!(other.unwrap_err(), Error::CallIdTaken("a".to_owned()));
    assert_eq!(engine.log("default").position(), tail, "nothing was written");
    engine.stop().await.unwrap();
    drop(engine);

    let (engine, _) = open(&options(dir.path(), &clock));
    let later = evaluate(&engine, &told("a", "s", "get_logs", r#"{"n":1}"#)).await.unwrap();
    assert!(later.repeated);
    assert_eq!((later.position, &later.decision), (first.position, &first.decision));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_unlisted_passes_but_reads() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let (engine, _) = open(&options(dir.path(), &clock));
    for (number, (tool, verdict)) in [
        ("get_logs", Verdict::Allow),
        ("scale_replicas", Verdict::Review),
        ("delete_resource", Verdict::Review),
        ("deploy_service", Verdict::Review),
        ("frobnicate", Verdict::Review),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("c{number}");
        let decided = evaluate(&engine, &told(&id, "s", tool, "{}")).await.unwrap();
        assert_eq!((tool, decided.decision.verdict), (tool, verdict));
        assert_eq!(decided.decision.reason, Reason::CategoryDefault);
    }
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn a_deny_is_final_and_its_repeat_is_a_floor() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let mut options = options(dir.path(), &clock);
    options.policy_text = "version: 1
rules:
  - {id: no-root, tool: get_root_key, principal: 'agent:ops', effect: deny}
  - {id: reads, tool: get_*, effect: allow}
"
    .to_owned();
    let (engine, _) = open(&options);
    let denied = evaluate(&engine, &told("1", "s", "get_root_key", "{}")).await.unwrap();
    assert_eq!((denied.decision.verdict, denied.decision.rule_id.as_str()), (Verdict::Deny, "no-root"));
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn outcomes_are_recorded_once() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let (engine, _) = open(&options(dir.path(), &clock));
    evaluate(&engine, &told("a", "s", "get_logs", "{}")).await.unwrap();
    let complete = |engine: &Engine, call_id: &str, bytes: u64| {
        let mut raw = ok_outcome();
        raw.result_bytes = bytes;
        let outcome = engine.ingest("default").outcome(raw).unwrap();
        let (tenant, call_id, now) = ("default".to_owned(), call_id.to_owned(), engine.now());
        let engine = engine.clone();
        async move {
            let command =
                move |reply| Command::Complete { tenant, call_id, outcome: Box::new(outcome), now, reply };
            engine.call("default", command).await
        }
    };
    let first = complete(&engine, "a", 12).await.unwrap();
    let tail = engine.log("default").position();
    let again = complete(&engine, "a", 12).await.unwrap();
    assert_eq!((first.repeated, first.position, again.repeated, again.position), (false, tail, true, tail));
    assert_eq!(engine.log("default").position(), tail, "the same outcome is recorded once");
    assert_eq!(complete(&engine, "a", 13).await.unwrap_err(), Error::OutcomeTaken("a".to_owned()));
    assert_eq!(complete(&engine, "b", 1).await.unwrap_err(), Error::NotFound("call_id `b`".to_owned()));
    engine.stop().await.unwrap();
    drop(engine);

    let (engine, _) = open(&options(dir.path(), &clock));
    let later = complete(&engine, "a", 12).await.unwrap();
    assert_eq!((later.repeated, later.position), (true, tail), "the log knows it too");
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn secrets_never_reach_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let (engine, _) = open(&options(dir.path(), &clock));
    let secret = "hunter2-correct-horse";
    let arguments = format!(r#"{{"password":"{secret}","note":"AKIAABCDEFGHIJKLMNOP"}}"#);
    evaluate(&engine, &told("a", "s", "update_password", &arguments)).await.unwrap();
    engine.stop().await.unwrap();
    let mut files = 0;
    let mut folders = vec![dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            for needle in [secret, "AKIAABCDEFGHIJKLMNOP"] {
                let found = bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
                assert!(!found, "{needle} is in {}", path.display());
            }
        }
    }
    assert!(files > 3);
}
