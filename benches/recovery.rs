//! Coming back: open with a snapshot, fold without one, replay with rescoring, a long session's timeline.
//!
//! `ASKANCE_BENCH_CALLS` sets the size of the log; 200,000 calls by default, 1,000,000 for the figures in
//! the README. Measured once each, by the wall: an operation of seconds needs no sampling.

#![allow(clippy::print_stdout, reason = "a bench prints its figures")]

use askance::bench::traffic::World;
use askance::clock::Clock;
use askance::decide::Settings;
use askance::decide::ingest::{History, RawCall};
use askance::domain::decision::Mode;
use askance::domain::{Revision, Timestamp};
use askance::engine::{Command, Engine, EventView, Import, Options, fold, replay};
use askance::eventlog;
use askance::projection::State;
use std::path::Path;
use std::time::Instant;

fn options(dir: &Path) -> Options {
    Options {
        dir: dir.to_owned(),
        partitions: 1,
        queue_max: 4_096,
        snapshot_every: u64::MAX,
        policy_text: String::new(),
        mode: Mode::Enforce,
        settings: Settings::default(),
        log: eventlog::Options::default(),
        mask_key: [9; 32],
        clock: Clock::system(),
    }
}

async fn fill(engine: &Engine, calls: usize) {
    let mut world = World::new(5, 400, 1_700_000_000_000_000);
    let lines = (0..).flat_map(|day| world.day(day)).take(calls);
    for line in lines {
        let long = line.principal.ends_with("-7");
        let session = if long { "one-long-session".to_owned() } else { line.session.clone() };
        let arguments = line.args.to_string();
        let call_id = format!("{}/{}", line.session, line.index);
        let chain = [line.user.clone(), line.principal.clone()];
        let raw = RawCall {
            call_id: &call_id,
            tool: &line.tool,
            server: &line.suite,
            principal_chain: &chain,
            arguments: arguments.as_bytes(),
            session_id: &session,
            call_time: Some(line.at_us),
            history: Some(History::Timed),
            ..RawCall::default()
        };
        let call = engine.ingest("default").call(&raw, engine.now()).expect("generated calls are valid");
        let import = Import { call, outcome: None, ends_session: false };
        let reply = Box::new(|answer: Result<_, _>| {
            let _imported: askance::engine::Imported = answer.expect("imports");
        });
        engine.submit_waiting("default", Command::Import(Box::new(import), reply)).await;
    }
}

fn row(what: &str, count: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:<44} {seconds:>8.3} s  {:>12.0} /s", count as f64 / seconds);
}

#[tokio::main]
async fn main() {
    let calls =
        std::env::var("ASKANCE_BENCH_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let options = options(dir.path());
    let (engine, _) = Engine::open(&options).expect("a new log opens");
    let start = Instant::now();
    fill(&engine, calls).await;
    engine.stop().await.expect("stops");
    row("import (scored, durable)", calls as u64, start);
    drop(engine);

    let start = Instant::now();
    let (engine, opened) = Engine::open(&options).expect("opens again");
    assert_eq!(opened[0].state.folded, 0);
    row("open with a snapshot at the tail", calls as u64, start);

    let log = engine.log("default").clone();
    let records = log.position().get();
    let start = Instant::now();
    let mut state = State::empty();
    fold(&log, &mut state, log.position()).expect("folds");
    row("fold without a snapshot (records)", records, start);
    let start = Instant::now();
    let report = replay(&log, log.position(), true, |_| {}).expect("replays");
    assert_eq!(report.differing, 0);
    row("replay with rescoring (calls)", report.decided, start);

    let (page, _) = engine.list_sessions("default", None, &Default::default(), 1).expect("lists");
    assert_eq!(page.len(), 1);
    let stream = find_long(&engine);
    let start = Instant::now();
    let events =
        engine.session_events("default", stream, Revision::new(1), 10_000, EventView::Full).expect("reads");
    row(&format!("timeline of {} events with payloads", events.len()), events.len() as u64, start);
    let bytes: u64 = walk(dir.path());
    println!("on disk: {:.0} bytes a call", bytes as f64 / calls as f64);
    let _end = Timestamp::default();
    engine.stop().await.expect("stops");
}

fn find_long(engine: &Engine) -> askance::domain::StreamId {
    let (page, _) = engine.list_sessions("default", None, &Default::default(), usize::MAX).expect("lists");
    let long = page.into_iter().find(|session| session.session_id == "one-long-session");
    long.expect("the long session is listed").stream
}

fn walk(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a folder").flatten();
    entries
        .map(|entry| {
            if entry.path().is_dir() { walk(&entry.path()) } else { entry.metadata().map_or(0, |m| m.len()) }
        })
        .sum()
}
