//! Figures, measured in a release build: `cargo test --release --features faults --test scenarios figures -- \
//! --ignored --nocapture --test-threads 1`.

use crate::stage::{Stage, ask, call_of, tuesday};
use askance::clock::Clock;
use askance::proto::v1::{self, ReasonCode, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Calls measured at a time.
const CALLS: usize = 4_000;
/// Pause between two calls of the open loop.
const PAUSE: Duration = Duration::from_millis(1);
/// Reviews open.
const REVIEWS: usize = 10_000;
/// Watchers.
const WATCHERS: usize = 1_000;
/// One call of so many is reviewed, so that watchers have something to be told.
const REVIEWED_EVERY: usize = 100;

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

/// The times of calls that are allowed, one a millisecond, over one connection; ten a second are reviewed.
async fn evaluate_times(stage: &Stage, name: &str) -> Vec<Duration> {
    let gateway = stage.gateway().await;
    let mut running = Vec::with_capacity(CALLS);
    let begun = tokio::time::Instant::now();
    for number in 0..CALLS {
        tokio::time::sleep_until(begun + PAUSE * number as u32).await;
        let mut gateway = gateway.clone();
        let reviewed = number % REVIEWED_EVERY == 0;
        let tool = if reviewed { "delete_database" } else { "get_logs" };
        let arguments = if reviewed { format!(r#"{{"n":"{name}-{number}"}}"#) } else { "{}".to_owned() };
        let call = call_of(&format!("{name}-{}", number % 50), &format!("{name}-{number}"), tool, &arguments);
        running.push(tokio::spawn(async move {
            let begun = Instant::now();
            ask(&mut gateway, call).await;
            begun.elapsed()
        }));
    }
    let mut times = Vec::with_capacity(CALLS);
    for one in running {
        times.push(one.await.unwrap());
    }
    times.sort();
    times
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn open_reviews_and_watchers_beside_evaluate() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    evaluate_times(&stage, "warm").await;
    let mut before = Vec::new();
    for round in 0..3 {
        before.push(evaluate_times(&stage, &format!("before-{round}")).await);
    }
    let gateway = stage.gateway().await;
    let mut opening = tokio::task::JoinSet::new();
    for number in 0..REVIEWS {
        let mut gateway = gateway.clone();
        opening.spawn(async move {
            let call = call_of(
                &format!("r-{}", number / 50),
                &format!("r-{number}"),
                "delete_database",
                &format!("{{\"n\":{number}}}"),
            );
            assert_eq!(ask(&mut gateway, call).await.verdict(), Verdict::Review);
        });
        if opening.len() >= 128 {
            opening.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(opened) = opening.join_next().await {
        opened.unwrap();
    }
    let live = stage.engine.ask("default", |state| state.reviews.live()).await.unwrap();
    assert!(live >= REVIEWS, "{live} reviews are open");
    let mut open = Vec::new();
    for round in 0..3 {
        open.push(evaluate_times(&stage, &format!("open-{round}")).await);
    }
    let told = Arc::new(AtomicU64::new(0));
    let strangers = watchers(&stage, "nobody's", &told).await;
    let mut beside_strangers = Vec::new();
    for round in 0..3 {
        beside_strangers.push(evaluate_times(&stage, &format!("strangers-{round}")).await);
    }
    strangers.iter().for_each(|watch| watch.abort());
    let own = watchers(&stage, "default", &told).await;
    let before_own = told.load(Ordering::Relaxed);
    let mut beside_own = Vec::new();
    for round in 0..3 {
        beside_own.push(evaluate_times(&stage, &format!("own-{round}")).await);
    }
    let show = |name: &str, rounds: &[Vec<Duration>]| {
        for times in rounds {
            println!("{name}: p50 {:?}  p99 {:?}", quantile(times, 0.5), quantile(times, 0.99));
        }
    };
    show("alone", &before);
    show(&format!("beside {REVIEWS} open reviews"), &open);
    show(&format!("and {WATCHERS} watchers of another tenant"), &beside_strangers);
    show(&format!("and {WATCHERS} watchers of this tenant"), &beside_own);
    println!("those were told {} times", told.load(Ordering::Relaxed) - before_own);
    own.iter().for_each(|watch| watch.abort());
    stage.close().await;
}

/// Watchers of a tenant's reviews that know what is open and are told what comes.
async fn watchers(stage: &Stage, tenant: &str, told: &Arc<AtomicU64>) -> Vec<JoinHandle<()>> {
    let mut client = v1::review_service_client::ReviewServiceClient::new(stage.socket().await);
    let mut request = v1::WatchReviewsRequest { tenant: tenant.to_owned(), ..Default::default() };
    let live = stage.engine.ask(tenant, |state| state.reviews.live()).await.unwrap();
    if tenant == "default" {
        let mut first = client.watch_reviews(request.clone()).await.unwrap().into_inner();
        for _ in 0..live {
            request.resume_token = first.message().await.unwrap().unwrap().resume_token;
        }
        // What comes at first is told up to no position; the next change is.
        evaluate_times(stage, "token").await;
        request.resume_token = first.message().await.unwrap().unwrap().resume_token;
    }
    let mut watching = Vec::new();
    for number in 0..WATCHERS {
        // As from several machines.
        if number % 100 == 0 {
            client = v1::review_service_client::ReviewServiceClient::new(stage.socket().await);
        }
        let mut stream = client.watch_reviews(request.clone()).await.unwrap().into_inner();
        let told = Arc::clone(told);
        watching.push(tokio::spawn(async move {
            while let Ok(Some(_)) = stream.message().await {
                told.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    // What is told at the beginning is no part of the measurement.
    let mut before = u64::MAX;
    while before != told.load(Ordering::Relaxed) {
        before = told.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    watching
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
