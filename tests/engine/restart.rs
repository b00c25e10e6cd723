//! The same log gives the same state and the same decisions, on any way through it.

use super::support::*;
use askance::clock::Clock;
use askance::domain::Position;
use askance::engine::{Engine, replay};
use askance::projection::State;

async fn digest(engine: &Engine) -> [u8; 32] {
    engine.ask("default", State::digest).await.unwrap()
}

async fn some_traffic(engine: &Engine, clock: &Clock, from: u64, count: u64) {
    for number in from..from + count {
        clock.set(tuesday().plus_micros(number as i64 * 45_000_000));
        let id = format!("call-{number}");
        let session = format!("s{}", number / 7);
        let tool =
            ["get_logs", "scale_replicas", "send_email", "get_secret", "deploy_service"][number as usize % 5];
        let arguments = format!(r#"{{"service":"svc-{}","count":{}}}"#, number % 11, number * number % 97);
        evaluate(engine, &told(&id, &session, tool, &arguments)).await.unwrap();
    }
}

#[tokio::test]
async fn restarts_with_and_without_snapshots_end_in_the_same_state() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let options = options(dir.path(), &clock);
    let (engine, _) = open(&options);
    five_weeks(&engine).await;
    some_traffic(&engine, &clock, 0, 300).await;
    nothing_is_due(&engine, &clock).await;
    let live = digest(&engine).await;
    engine.stop().await.unwrap();
    drop(engine);

    let (engine, opened) = open(&options);
    assert_eq!(opened.state.folded, 0, "the last snapshot is at the tail");
    assert!(opened.state.snapshot > Position::ZERO);
    assert_eq!(digest(&engine).await, live);
    some_traffic(&engine, &clock, 300, 200).await;
    nothing_is_due(&engine, &clock).await;
    let later = digest(&engine).await;
    assert_ne!(later, live);

    let log = engine.log("default").clone();
    let report = replay(&log, log.position(), true, |_| {}).unwrap();
    assert_eq!(report.differing, 0, "{:#?}", report.differences.first());
    assert_eq!(report.decided, 500 + 800);
    assert_eq!(report.state_digest, later, "the live state is the fold of its log");
    let again = replay(&log, log.position(), false, |_| {}).unwrap();
    assert_eq!(again.state_digest, later);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn snapshots_at_any_point_lead_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let options = options(dir.path(), &clock);
    let (engine, _) = open(&options);
    some_traffic(&engine, &clock, 0, 120).await;
    nothing_is_due(&engine, &clock).await;
    let log = engine.log("default").clone();
    let whole = replay(&log, log.position(), false, |_| {}).unwrap();
    engine.stop().await.unwrap();
    drop(engine);

    for cut in [3_u64, 17, 64, 150] {
        // A snapshot in the middle, written as an older build would have left it behind.
        let mut state = State::empty();
        askance::engine::fold(&log, &mut state, Position::new(cut)).unwrap();
        let mut resumed = State::from_bytes(&state.to_bytes()).unwrap();
        askance::engine::fold(&log, &mut resumed, log.position()).unwrap();
        assert_eq!(resumed.digest(), whole.state_digest, "through a snapshot at {cut}");
    }
}

/// Waits until the reviews whose time is over are settled: the ticker does that by itself.
async fn nothing_is_due(engine: &Engine, clock: &Clock) {
    let now = clock.now();
    let is_due = move |state: &State| state.next_deadline().is_some_and(|at| at <= now);
    while engine.ask("default", is_due).await.unwrap() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_log_without_its_snapshots_is_folded_from_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let options = options(dir.path(), &clock);
    let (engine, _) = open(&options);
    some_traffic(&engine, &clock, 0, 50).await;
    nothing_is_due(&engine, &clock).await;
    let live = digest(&engine).await;
    engine.stop().await.unwrap();
    drop(engine);
    let before = std::fs::read_dir(dir.path()).unwrap().count();
    assert!(before > 0);

    // Opened twice at once: the second is refused, the first goes on.
    let (engine, _) = open(&options);
    let second = Engine::open(&options).err().expect("the directory is in use");
    assert!(second.to_string().contains("in use"), "{second}");
    assert_eq!(digest(&engine).await, live);
    engine.stop().await.unwrap();
}
