//! A client that invents names: memory stays bounded, what is given up is counted, others are served.

use super::support::*;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;
use askance::proto::v1::{EvaluateStreamRequest, evaluate_stream_response};
use std::time::Instant;
use tonic::transport::Channel;

/// Calls of the flood, each with a tool and a session of its own; `ASKANCE_FLOOD` sets another number.
/// The million takes about five times as long as what CI has time for.
const CALLS: u64 = 200_000;
/// Live sessions a tenant may have, by default.
const SESSIONS_MAX: u64 = 10_000;
/// Resident memory that the daemon stays under, MiB: 45 of models, 40 of live sessions, 64 of write buffer and as much
/// being flushed, 32 of block cache, 40 of calls at hand, and what the allocator holds back.
const RESIDENT_MIB_MAX: u64 = 450;
/// What the second half may add, MiB: everything is at its cap by then.
const GROWTH_MIB_MAX: u64 = 96;

/// Resident memory of a process, MiB.
fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Streams `count` calls, each with a tool and a session of its own.
async fn flood(client: &mut GatewayServiceClient<Channel>, from: u64, count: u64) -> u64 {
    let requests = tokio_stream::iter((from..from + count).map(|number| {
        let call = call("flood", number, &format!("session-{number}"), &format!("get_{number:x}_thing"));
        EvaluateStreamRequest { tag: number, call: Some(call), ..EvaluateStreamRequest::default() }
    }));
    let mut answers = client.evaluate_stream(requests).await.unwrap().into_inner();
    let mut decided = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        decided += u64::from(matches!(answer.result, Some(evaluate_stream_response::Result::Decision(_))));
    }
    decided
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invented_tools_and_sessions_do_not_exhaust_memory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data, &[]).await;
    let mut client = daemon.client().await;
    let count: u64 = std::env::var("ASKANCE_FLOOD").ok().and_then(|text| text.parse().ok()).unwrap_or(CALLS);
    let start = Instant::now();
    assert_eq!(flood(&mut client, 0, count / 2).await, count / 2);
    let half = resident_mib(daemon.pid());
    assert_eq!(flood(&mut client, count / 2, count / 2).await, count / 2);
    let whole = resident_mib(daemon.pid());
    let evicted = daemon.counter("sessions_evicted").await;
    println!(
        "{count} invented tools and sessions in {:?}: {half} MiB half-way, {whole} MiB at the end, {evicted} sessions \
         evicted",
        start.elapsed()
    );
    assert!(whole < RESIDENT_MIB_MAX, "{whole} MiB resident");
    assert!(whole < half + GROWTH_MIB_MAX, "{half} MiB, then {whole} MiB");
    // Every session beyond the cap pushed out exactly one, whatever the order of arrival of two in a drain.
    assert_eq!(evicted, (count / 2 * 2).saturating_sub(SESSIONS_MAX));
    let honest = evaluate(&mut client, call("honest", 1, "mine", "get_logs")).await.unwrap();
    assert!(!honest.degraded);
    assert_eq!(daemon.stop(), Some(0));
    // What was given up is a fact of the log: folding it anew gives the same state, bit for bit.
    let (code, text) = run(&["verify"], &data);
    assert_eq!(code, 0, "{text}");
}
