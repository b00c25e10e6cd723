//! A client that invents names: memory stays bounded, what is given up is counted, others are served.

use super::support::*;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;
use askance::proto::v1::{EvaluateStreamRequest, evaluate_stream_response};
use tonic::transport::Channel;

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
    let daemon = Daemon::start(&dir.path().join("data"), &[]).await;
    let mut client = daemon.client().await;
    let count: u64 =
        std::env::var("ASKANCE_FLOOD").ok().and_then(|text| text.parse().ok()).unwrap_or(120_000);
    assert_eq!(flood(&mut client, 0, count / 2).await, count / 2);
    let half = resident_mib(daemon.pid());
    assert_eq!(flood(&mut client, count / 2, count / 2).await, count / 2);
    let whole = resident_mib(daemon.pid());
    println!("{count} invented tools and sessions: {half} MiB half-way, {whole} MiB at the end");
    // 45 MB of models, 40 MB of sessions, log buffers and caches of about 200 MB: see README.
    assert!(whole < 512, "{whole} MiB resident");
    // The second half may not cost what the first did: everything is at its cap by then.
    assert!(whole < half + 96, "{half} MiB, then {whole} MiB");
    let honest = evaluate(&mut client, call("honest", 1, "mine", "get_logs")).await.unwrap();
    assert!(!honest.degraded);
    assert_eq!(daemon.stop(), Some(0));
}
