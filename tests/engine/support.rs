//! An engine in a temporary directory with a clock that is set.

use askance::clock::Clock;
use askance::decide::Settings;
use askance::decide::ingest::{History, RawCall, RawOutcome};
use askance::domain::Timestamp;
use askance::domain::call::OutcomeStatus;
use askance::domain::decision::Mode;
use askance::engine::{Command, Decided, Engine, Error, Import, Imported, Opened, Options};
use askance::eventlog;
use std::path::Path;

/// Tuesday 2026-11-17 14:00 UTC.
pub fn tuesday() -> Timestamp {
    Timestamp::parse("2026-11-17T14:00:00Z").unwrap()
}

pub fn options(dir: &Path, clock: &Clock) -> Options {
    Options {
        dir: dir.to_owned(),
        partitions: 1,
        queue_max: 4_096,
        snapshot_every: u64::MAX,
        policy_text: String::new(),
        mode: Mode::Enforce,
        settings: Settings::default(),
        log: eventlog::Options {
            ballast_bytes: 0,
            free_bytes_hard: 0,
            free_bytes_low: 0,
            ..eventlog::Options::default()
        },
        mask_key: [9; 32],
        clock: clock.clone(),
    }
}

pub fn open(options: &Options) -> (Engine, Opened) {
    let (engine, mut opened) = Engine::open(options).unwrap();
    (engine, opened.remove(0))
}

/// A call as a story tells it.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    pub id: &'a str,
    pub session: &'a str,
    pub tool: &'a str,
    pub arguments: &'a str,
    pub at: Option<Timestamp>,
}

pub fn told<'a>(id: &'a str, session: &'a str, tool: &'a str, arguments: &'a str) -> Told<'a> {
    Told { id, session, tool, arguments, at: None }
}

fn raw<'a>(told: &Told<'a>, chain: &'a [String]) -> RawCall<'a> {
    RawCall {
        call_id: told.id,
        session_id: told.session,
        tool: told.tool,
        server: "production-tools",
        principal_chain: chain,
        arguments: told.arguments.as_bytes(),
        call_time: told.at.map(Timestamp::as_micros),
        ..RawCall::default()
    }
}

fn chain() -> Vec<String> {
    vec!["user:alice".to_owned(), "agent:ops".to_owned()]
}

pub async fn evaluate(engine: &Engine, told: &Told<'_>) -> Result<Decided, Error> {
    let chain = chain();
    let call = engine.ingest("default").call(&raw(told, &chain), engine.now()).map_err(Error::Invalid)?;
    engine
        .call("default", |reply| Command::Evaluate(Box::new(call), reply))
        .await
        .map(|decided| (*decided).clone())
}

/// Hands in history at its own time.
pub async fn import(engine: &Engine, told: &Told<'_>, ends_session: bool) -> Result<Imported, Error> {
    let chain = chain();
    let raw = RawCall { history: Some(History::Timed), ..raw(told, &chain) };
    let call = engine.ingest("default").call(&raw, engine.now()).map_err(Error::Invalid)?;
    let outcome = engine.ingest("default").outcome(ok_outcome()).map_err(Error::Invalid)?;
    let import = Import { call, outcome: Some(outcome), ends_session };
    engine.call("default", |reply| Command::Import(Box::new(import), reply)).await
}

pub fn ok_outcome() -> RawOutcome<'static> {
    RawOutcome {
        status: OutcomeStatus::Ok,
        latency_us: Some(1_500),
        result_bytes: 12,
        result: b"ok",
        fingerprints: Vec::new(),
        words: None,
        end_time: None,
    }
}

/// Five weeks of an agent at work on weekdays from nine to five: it looks at services and scales them.
/// Ends on the evening before [`tuesday`].
pub async fn five_weeks(engine: &Engine) {
    let start = Timestamp::parse("2026-10-13T09:00:00Z").unwrap();
    let mut number = 0;
    for day in 0..35_i64 {
        let weekday = (day + 1) % 7;
        if weekday >= 5 {
            continue;
        }
        for hour in 0..8_i64 {
            let session = format!("history-{day}-{hour}");
            let plan = ["get_service_status", "get_logs", "scale_replicas", "get_service_status"];
            for (step, tool) in plan.into_iter().enumerate() {
                number += 1;
                let jitter = (number * 7_919) % 900;
                let at = start
                    .plus_micros(((day * 24 + hour) * 3_600 + step as i64 * 40 + jitter % 30) * 1_000_000);
                let count = 2 + (number / 4 % 4);
                let service = ["api", "web", "worker"][(number / 4 % 3) as usize];
                let arguments = match tool {
                    "scale_replicas" => format!(r#"{{"service":"{service}","count":{count}}}"#),
                    _ => format!(r#"{{"service":"{service}"}}"#),
                };
                let id = format!("history-{number}");
                let told = Told { id: &id, session: &session, tool, arguments: &arguments, at: Some(at) };
                import(engine, &told, step == 3).await.unwrap();
            }
        }
    }
}
