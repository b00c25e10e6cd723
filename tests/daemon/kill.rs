//! Killed under load, again and again: nothing acknowledged is lost, no decision changes.

use super::support::*;
use askance::proto::v1::{Decision, EvaluateStreamRequest, evaluate_stream_response};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Acknowledged = Arc<Mutex<BTreeMap<u64, Decision>>>;

/// Requests in flight while the daemon is killed.
const LANES: u64 = 8;
/// Numbers of one lane in one cycle.
const LANE_NUMBERS: u64 = 1_000_000;
/// Of the calls acknowledged so far, the newest that are asked for again after each kill. All are in the end.
const SAMPLE: usize = 100;

fn asked(number: u64) -> askance::proto::v1::ToolCall {
    let step = number % LANE_NUMBERS;
    let tool = ["get_logs", "scale_replicas", "send_email"][step as usize % 3];
    call("kill", number, &format!("s-{}", step / 20), tool)
}

/// Asks as fast as it can from several tasks until the daemon is gone; remembers what was acknowledged.
async fn load(daemon: &Daemon, cycle: u64, acknowledged: &Acknowledged) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    let client = daemon.client().await;
    for lane in 0..LANES {
        let mut client = client.clone();
        let acknowledged = Arc::clone(acknowledged);
        tasks.push(tokio::spawn(async move {
            for number in (cycle * LANES + lane) * LANE_NUMBERS.. {
                match evaluate(&mut client, asked(number)).await {
                    Ok(decision) if !decision.degraded => {
                        acknowledged.lock().unwrap().insert(number, decision);
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        }));
    }
    tasks
}

fn same(one: &Decision, other: &Decision) -> bool {
    one.position == other.position
        && one.risk == other.risk
        && one.verdict == other.verdict
        && one.findings == other.findings
}

/// Asks again for the newest of what was acknowledged; counts what is not as it was.
async fn lost(daemon: &Daemon, acknowledged: &Acknowledged, sample: usize) -> usize {
    let all: Vec<(u64, Decision)> =
        acknowledged.lock().unwrap().iter().rev().take(sample).map(|(n, d)| (*n, d.clone())).collect();
    let asked: Vec<EvaluateStreamRequest> = all
        .iter()
        .map(|(number, _)| EvaluateStreamRequest {
            tag: *number,
            call: Some(asked(*number)),
            // All at once: the last of thousands may take longer than the default second.
            timeout: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..EvaluateStreamRequest::default()
        })
        .collect();
    let mut client = daemon.client().await;
    let mut answers = client.evaluate_stream(tokio_stream::iter(asked)).await.unwrap().into_inner();
    let mut found = BTreeMap::new();
    while let Some(answer) = answers.message().await.unwrap() {
        if let Some(evaluate_stream_response::Result::Decision(decision)) = answer.result {
            found.insert(answer.tag, decision);
        }
    }
    let is_there = |(number, decision): &&(u64, Decision)| {
        found.get(number).is_some_and(|again| again.repeated_call && same(again, decision))
    };
    if let Some((number, before)) = all.iter().find(|known| !is_there(known)) {
        let now = found.get(number).map(|again| (again.position, again.repeated_call, again.risk));
        println!("call {number} was {:?}; now {now:?}", (before.position, before.risk));
    }
    all.len() - all.iter().filter(is_there).count()
}

/// Snapshots often, so that many kills meet one being written, and starts do not fold everything.
const ENVIRONMENT: [(&str, &str); 1] = [("ASKANCE_ENGINE__SNAPSHOT_EVERY", "3000")];

/// Kills a daemon under load so often; acknowledged calls, and those that were not found again.
async fn cycles(dir: &Path, count: u64) -> (usize, usize) {
    let acknowledged = Acknowledged::default();
    let mut lost_in_all = 0;
    for cycle in 0..count {
        let daemon = Daemon::start(dir, &ENVIRONMENT).await;
        lost_in_all += lost(&daemon, &acknowledged, SAMPLE).await;
        let tasks = load(&daemon, cycle, &acknowledged).await;
        tokio::time::sleep(Duration::from_millis(10 + cycle * 37 % 60)).await;
        daemon.kill();
        for task in tasks {
            task.await.unwrap();
        }
    }
    let daemon = Daemon::start(dir, &[]).await;
    lost_in_all += lost(&daemon, &acknowledged, usize::MAX).await;
    assert_eq!(daemon.stop(), Some(0));
    let total = acknowledged.lock().unwrap().len();
    (total, lost_in_all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_no_decision_changes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let count = std::env::var("ASKANCE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let start = std::time::Instant::now();
    let (total, lost) = cycles(&data, count).await;
    println!("{count} kills in {:?}, {total} calls acknowledged, {lost} lost or changed", start.elapsed());
    assert!(total > count as usize * 10, "only {total} calls were acknowledged");
    assert_eq!(lost, 0);
    let (code, text) = run(&["verify"], &data);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&["replay"], &data);
    assert_eq!(code, 0, "{text}");
}

/// The control: a daemon that acknowledges what it has not written is caught, by itself when it starts again,
/// and by the same check as above where the operator goes on without what is lost.
#[cfg(feature = "faults")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledging_before_the_write_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let acknowledged = Acknowledged::default();
    let daemon = Daemon::start(&data, &[("ASKANCE_FAULTS", "ack_before_write:12:always")]).await;
    let tasks = load(&daemon, 0, &acknowledged).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    daemon.kill();
    for task in tasks {
        task.await.unwrap();
    }
    let total = acknowledged.lock().unwrap().len();
    assert!(total > 50, "only {total} calls were acknowledged");

    let output = program().args(serve_arguments(&data, &dir.path().join("again.sock"))).output().unwrap();
    let refusal = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{refusal}");
    let position: String = refusal
        .split_once("--accept-lost-tail ")
        .map(|(_, rest)| rest.chars().take_while(char::is_ascii_digit).collect())
        .unwrap_or_else(|| panic!("the refusal does not say how to go on: {refusal}"));
    let daemon = Daemon::start_with_arguments(&data, &["--accept-lost-tail", &position]).await;
    let counted = daemon.counter("records_lost_accepted").await;
    assert!(counted > 0, "the loss is not in the status");
    let lost = lost(&daemon, &acknowledged, usize::MAX).await;
    println!("control: {lost} of {total} acknowledged calls lost, {counted} records");
    assert!(lost > 20, "only {lost} of {total} are noticed");
    assert_eq!(daemon.stop(), Some(0));
}
