//! Killed under load, again and again: nothing acknowledged is lost, no decision changes.

use super::support::*;
use askance::proto::v1::Decision;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Acknowledged = Arc<Mutex<BTreeMap<u64, Decision>>>;

/// Asks as fast as it can from several tasks until the daemon is gone; remembers what was acknowledged.
async fn load(daemon: &Daemon, cycle: u64, acknowledged: &Acknowledged) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for lane in 0..8_u64 {
        let mut client = daemon.client().await;
        let acknowledged = Arc::clone(acknowledged);
        tasks.push(tokio::spawn(async move {
            for step in 0.. {
                let number = (cycle * 8 + lane) * 1_000_000 + step;
                let session = format!("s-{}", step / 20);
                let tool = ["get_logs", "scale_replicas", "send_email"][step as usize % 3];
                match evaluate(&mut client, call("kill", number, &session, tool)).await {
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
    one.position == other.position && one.risk == other.risk && one.verdict == other.verdict
}

/// Asks again for some of what was acknowledged; counts what is not as it was.
async fn lost(daemon: &Daemon, acknowledged: &Acknowledged, sample: usize) -> usize {
    let all: Vec<(u64, Decision)> =
        acknowledged.lock().unwrap().iter().rev().take(sample).map(|(n, d)| (*n, d.clone())).collect();
    let mut client = daemon.client().await;
    let mut lost = 0;
    for (number, decision) in all {
        let step = number % 1_000_000;
        let session = format!("s-{}", step / 20);
        let tool = ["get_logs", "scale_replicas", "send_email"][step as usize % 3];
        let again = evaluate(&mut client, call("kill", number, &session, tool)).await.unwrap();
        if !again.repeated_call || !same(&again, &decision) {
            lost += 1;
        }
    }
    lost
}

async fn cycles(dir: &Path, count: u64, environment: &[(&str, &str)]) -> (usize, usize) {
    let acknowledged = Acknowledged::default();
    let mut lost_in_all = 0;
    for cycle in 0..count {
        let daemon = Daemon::start(dir, environment).await;
        lost_in_all += lost(&daemon, &acknowledged, 40).await;
        let tasks = load(&daemon, cycle, &acknowledged).await;
        tokio::time::sleep(Duration::from_millis(20 + cycle * 37 % 90)).await;
        daemon.kill();
        for task in tasks {
            task.await.unwrap();
        }
    }
    let daemon = Daemon::start(dir, &[]).await;
    let total = acknowledged.lock().unwrap().len();
    lost_in_all += lost(&daemon, &acknowledged, 5_000).await;
    assert_eq!(daemon.stop(), Some(0));
    (total, lost_in_all)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_no_decision_changes() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let count = std::env::var("ASKANCE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let (total, lost) = cycles(&data, count, &[]).await;
    println!("{count} kills, {total} calls acknowledged, {lost} lost or changed");
    assert!(total > count as usize * 10, "only {total} calls were acknowledged");
    assert_eq!(lost, 0);
    let (code, text) = run(&["verify"], &data);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&["replay"], &data);
    assert_eq!(code, 0, "{text}");
}
