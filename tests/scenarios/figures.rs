//! Figures, measured in a release build: `cargo test --release --features faults --test scenarios figures -- \
//! --ignored --nocapture`. What open reviews and watchers cost is measured by `askance bench --reviews`.

use crate::stage::{Stage, ask, call_of, tuesday};
use askance::clock::Clock;
use askance::proto::v1::{self, ReasonCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn lock_to_refusal_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let gateway = stage.gateway().await;
    let going = Arc::new(AtomicBool::new(true));
    let mut load = Vec::new();
    for worker in 0..64 {
        let (mut gateway, going) = (gateway.clone(), Arc::clone(&going));
        load.push(tokio::spawn(async move {
            let mut number = 0_u64;
            while going.load(Ordering::Relaxed) {
                number += 1;
                let id = format!("l-{worker}-{number}");
                ask(&mut gateway, call_of(&format!("l-{worker}"), &id, "get_logs", "{}")).await;
            }
            number
        }));
    }
    let mut control = stage.control().await;
    let mut probe = stage.gateway().await;
    let mut times = Vec::new();
    for round in 0..200 {
        let request = v1::PlaceLockRequest {
            scope: v1::LockScope::Principal.into(),
            target: format!("agent:{round}"),
            reason: "measured".to_owned(),
            ..v1::PlaceLockRequest::default()
        };
        let begun = Instant::now();
        control.place_lock(request).await.unwrap();
        let mut call = call_of("probe", &format!("p-{round}"), "get_logs", "{}");
        call.principal_chain = vec![format!("agent:{round}")];
        let decision = ask(&mut probe, call).await;
        times.push(begun.elapsed());
        assert_eq!(decision.reason_code(), ReasonCode::PrincipalLocked);
    }
    going.store(false, Ordering::Relaxed);
    let mut calls = 0;
    for one in load {
        calls += one.await.unwrap();
    }
    times.sort();
    println!(
        "lock to refusal beside {calls} calls: p50 {:?}  p99 {:?}  most {:?}",
        quantile(&times, 0.5),
        quantile(&times, 0.99),
        times.last().unwrap()
    );
    stage.close().await;
}
