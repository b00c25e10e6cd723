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
use askance::domain::{Position, Revision, StreamId, Timestamp};
use askance::engine::{Command, Engine, EventView, Import, Options, fold, replay};
use askance::eventlog;
use askance::eventlog::keys::Family;
use askance::projection::State;
use askance::proto::v1::timeline_service_client::TimelineServiceClient;
use askance::proto::v1::{EventFilter, ListEventsRequest};
use askance::rpc;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;

/// As in the daemon.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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

/// Of so many calls one is of the long session.
const LONG_EVERY: usize = 20;
/// Events of the timeline that is read.
const TIMELINE_EVENTS: usize = 10_000;
/// Times it is read.
const TIMELINE_ROUNDS: usize = 7;

async fn fill(engine: &Engine, calls: usize) {
    let mut world = World::new(5, 400, 1_700_000_000_000_000);
    let lines = (0..).flat_map(|day| world.day(day)).take(calls);
    for (number, line) in lines.enumerate() {
        // One agent never ends its session; its calls lie scattered over the whole log.
        let long = number.is_multiple_of(LONG_EVERY);
        let session = if long { "one-long-session".to_owned() } else { line.session.clone() };
        let arguments = line.args.to_string();
        let call_id = format!("{}/{}", line.session, line.index);
        let name = |name: &str| if long { "never-ends".to_owned() } else { name.to_owned() };
        let chain = [name(&line.user), name(&line.principal)];
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
    timelines(&engine, stream).await;
    disk(&log, dir.path(), calls);
    let _end = Timestamp::default();
    engine.stop().await.expect("stops");
}

/// Reads the long session's first events: from the engine, and as a client over a socket does.
async fn timelines(engine: &Engine, stream: StreamId) {
    for (what, view) in [("without", EventView::Basic), ("with", EventView::Full)] {
        let mut times = Vec::new();
        for _ in 0..TIMELINE_ROUNDS {
            let start = Instant::now();
            let events = engine
                .session_events("default", stream, Revision::new(1), TIMELINE_EVENTS, view)
                .expect("reads");
            times.push(start.elapsed());
            assert_eq!(events.len(), TIMELINE_EVENTS, "set ASKANCE_BENCH_CALLS to 200,000 or more");
        }
        spread(&format!("timeline of {TIMELINE_EVENTS} events, {what} payloads"), &mut times);
    }
    let options =
        rpc::Options { tcp: Some("127.0.0.1:0".parse().expect("an address")), ..Default::default() };
    let bound = rpc::Bound::bind(engine.clone(), options, []).expect("binds");
    let address = bound.tcp().expect("has an address");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(bound.run(async {
        let _told = stopped.await;
    }));
    let channel = Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await;
    let mut client =
        TimelineServiceClient::new(channel.expect("connects")).max_decoding_message_size(8 << 20);
    let mut times = Vec::new();
    for _ in 0..TIMELINE_ROUNDS {
        let start = Instant::now();
        let filter =
            EventFilter { session_key: stream.to_string(), include_payloads: true, ..EventFilter::default() };
        let mut request =
            ListEventsRequest { filter: Some(filter), page_size: 10_000, ..ListEventsRequest::default() };
        let mut events = 0;
        while events < TIMELINE_EVENTS {
            let page = client.list_events(request.clone()).await.expect("lists").into_inner();
            events += page.events.len();
            request.page_token = page.next_page_token;
        }
        times.push(start.elapsed());
    }
    spread(&format!("the same {TIMELINE_EVENTS} or a page more over gRPC"), &mut times);
    drop(stop);
    serving.await.expect("does not panic").expect("ends");
}

/// Bytes on disk against the bytes of the encoded records and their payloads.
fn disk(log: &eventlog::Log, dir: &Path, calls: usize) {
    let mut encoded = 0_u64;
    log.scan_payloads(Position::FIRST, log.position(), |record, payload| {
        encoded += record.bytes().len() as u64;
        if let eventlog::PayloadRef::Present { bytes, .. } = payload {
            encoded += bytes.len() as u64;
        }
        ControlFlow::Continue(())
    })
    .expect("scans");
    let tables = || Family::ALL.iter().map(|family| log.file_bytes(*family)).sum::<u64>();
    let row = |what: &str, bytes: u64| {
        let (a_call, ratio) = (bytes as f64 / calls as f64, bytes as f64 / encoded as f64);
        println!("{what:<44} {a_call:>8.0} bytes a call, {ratio:.2} of the encoded bytes");
    };
    row("records and payloads, encoded", encoded);
    row("everything on disk, as it was left", walk(dir));
    log.compact();
    row("tables after compaction (zstd)", tables());
}

fn spread(what: &str, times: &mut [Duration]) {
    times.sort();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    println!(
        "{what:<44} {:>8.1} ms median, {:.1} to {:.1} ms",
        ms(&times[times.len() / 2]),
        ms(&times[0]),
        ms(&times[times.len() - 1])
    );
}

fn find_long(engine: &Engine) -> StreamId {
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
