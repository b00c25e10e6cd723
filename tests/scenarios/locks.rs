//! The panic button: what it stops, how fast, by which ways, and how it is let go.

use crate::stage::{
    Stage, Who, ask, call, call_of, eventually, migration, refusal, says, state, tuesday, vote,
};
use askance::clock::Clock;
use askance::proto::v1::watch_locks_response::Update;
use askance::proto::v1::{self, LockScope, ReasonCode, ReviewState, Verdict, VoteChoice};
use std::time::{Duration, Instant};
use tonic::Code;

fn lock(scope: LockScope, target: &str) -> v1::PlaceLockRequest {
    v1::PlaceLockRequest {
        scope: scope.into(),
        target: target.to_owned(),
        reason: "it does strange things".to_owned(),
        ..v1::PlaceLockRequest::default()
    }
}

/// Each scope stops what it covers and nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_stops_what_it_covers() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let mut gateway = stage.gateway().await;
    let mut control = stage.control().await;
    let look = |id: &str| call(id, "get_service_status", r#"{"service":"api"}"#);
    let first = ask(&mut gateway, look("c-0")).await;
    assert_eq!(first.verdict(), Verdict::Allow);
    let tool = v1::PlaceLockRequest {
        server: "production-tools".to_owned(),
        ..lock(LockScope::Tool, "get_service_status")
    };
    let scopes = [
        (lock(LockScope::Session, &first.session_key), ReasonCode::SessionLocked),
        (lock(LockScope::Principal, "agent:deployer"), ReasonCode::PrincipalLocked),
        (lock(LockScope::Principal, "Alice"), ReasonCode::PrincipalLocked),
        (tool, ReasonCode::ToolLocked),
        (lock(LockScope::Server, "production-tools"), ReasonCode::ServerLocked),
        (lock(LockScope::Tenant, ""), ReasonCode::TenantLocked),
        (lock(LockScope::Everything, ""), ReasonCode::TenantLocked),
    ];
    for (number, (request, code)) in scopes.into_iter().enumerate() {
        let placed = control.place_lock(request.clone()).await.unwrap().into_inner().lock.unwrap();
        let again = control.place_lock(request).await.unwrap().into_inner().lock.unwrap();
        assert_eq!(again.lock_id, placed.lock_id, "the same lock again is the first");
        let denied = ask(&mut gateway, look(&format!("d-{number}"))).await;
        assert_eq!(says(&denied), (Verdict::Deny, code));
        assert!(denied.reason.contains("it does strange things"), "{}", denied.reason);
        let elsewhere = v1::ToolCall {
            tool: "get_logs".to_owned(),
            server: "other".to_owned(),
            principal_chain: vec!["agent:other".to_owned()],
            ..call_of("other", &format!("o-{number}"), "get_logs", "{}")
        };
        let elsewhere = ask(&mut gateway, elsewhere).await;
        let covers_all = code == ReasonCode::TenantLocked;
        assert_eq!(elsewhere.verdict() == Verdict::Deny, covers_all, "{code:?}: {elsewhere:?}");
        let lift = v1::LiftLockRequest { lock_id: placed.lock_id, reason: "all clear".to_owned() };
        let lifted = control.lift_lock(lift.clone()).await.unwrap().into_inner().lock.unwrap();
        assert!(lifted.end_time.is_some());
        control.lift_lock(lift).await.expect("lifting twice is fine");
        let free = ask(&mut gateway, look(&format!("f-{number}"))).await;
        assert_ne!(says(&free).1, code, "{free:?}");
    }
    // Without a server a tool is stopped wherever it is.
    let anywhere =
        control.place_lock(lock(LockScope::Tool, "get_logs")).await.unwrap().into_inner().lock.unwrap();
    assert_eq!(anywhere.server, "*");
    for (number, server) in ["", "k8s", "other"].into_iter().enumerate() {
        let asked = v1::ToolCall {
            server: server.to_owned(),
            ..call_of("anywhere", &format!("a-{number}"), "get_logs", "{}")
        };
        assert_eq!(
            says(&ask(&mut gateway, asked).await),
            (Verdict::Deny, ReasonCode::ToolLocked),
            "{server:?}"
        );
    }
    let unknown = v1::LiftLockRequest { lock_id: "lk_none".to_owned(), reason: "x".to_owned() };
    assert_eq!(refusal(control.lift_lock(unknown).await).0, Code::NotFound);
    for bad in [
        lock(LockScope::Unspecified, "x"),
        lock(LockScope::Principal, ""),
        lock(LockScope::Session, "s-1"),
        lock(LockScope::Everything, "x"),
        v1::PlaceLockRequest { reason: String::new(), ..lock(LockScope::Principal, "x") },
    ] {
        assert_eq!(refusal(control.place_lock(bad).await).0, Code::InvalidArgument);
    }
    stage.close().await;
}

/// A nested session is stopped with its parent, and a lock with a time runs out by itself.
#[tokio::test(flavor = "multi_thread")]
async fn nested_sessions_and_time() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let mut gateway = stage.gateway().await;
    let mut control = stage.control().await;
    let outer = ask(&mut gateway, call_of("outer", "c-1", "get_logs", "{}")).await;
    let inner = |id: &str| {
        let mut call = call_of("inner", id, "get_logs", "{}");
        call.session.as_mut().unwrap().parent_session_id = "outer".to_owned();
        call
    };
    ask(&mut gateway, inner("c-2")).await;
    let ttl = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    let request = v1::PlaceLockRequest { ttl, ..lock(LockScope::Session, &outer.session_key) };
    control.place_lock(request).await.unwrap();
    assert_eq!(says(&ask(&mut gateway, inner("c-3")).await), (Verdict::Deny, ReasonCode::SessionLocked));
    stage.pass(61);
    assert_eq!(ask(&mut gateway, inner("c-4")).await.verdict(), Verdict::Allow, "its time is over");
    eventually("an event says so", async || {
        let all = v1::ListLocksRequest { include_ended: true, ..v1::ListLocksRequest::default() };
        let locks = control.clone().list_locks(all).await.unwrap().into_inner().locks;
        locks.first().is_some_and(|lock| lock.end_time.is_some())
    })
    .await;
    stage.close().await;
}

/// Panic: whoever waits is refused at once, open reviews are cancelled, an approval given before is not let
/// go, and the watchers know within a tenth of a second.
#[tokio::test(flavor = "multi_thread")]
async fn panic_refuses_waits_and_releases_and_tells_the_watchers() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let mut control = stage.control().await;
    let approved = ask(&mut gateway, call("c-1", "delete_database", "{}")).await;
    vote(&mut bob, &approved, VoteChoice::Approve).await.unwrap();
    let mut holder = stage.gateway().await;
    let held = tokio::spawn(async move {
        let wait = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let request =
            v1::EvaluateRequest { call: Some(migration("c-2")), wait, ..v1::EvaluateRequest::default() };
        holder.evaluate(request).await.unwrap().into_inner().decision.unwrap()
    });
    let mut watch =
        stage.control().await.watch_locks(v1::WatchLocksRequest::default()).await.unwrap().into_inner();
    eventually("the second call waits", async || {
        let list = bob.clone().list_reviews(v1::ListReviewsRequest::default()).await.unwrap();
        list.into_inner().reviews.len() == 1
    })
    .await;

    let begun = Instant::now();
    let placed = control.place_lock(lock(LockScope::Everything, "")).await.unwrap().into_inner();
    assert_eq!(placed.reviews_cancelled, 2);
    let seen = watch.message().await.unwrap().unwrap().update.unwrap();
    let told = begun.elapsed();
    assert!(matches!(seen, Update::Lock(seen) if seen.lock_id == placed.lock.as_ref().unwrap().lock_id));
    let refused = held.await.unwrap();
    let refused_after = begun.elapsed();
    assert_eq!(says(&refused), (Verdict::Deny, ReasonCode::TenantLocked));
    let unreleased = ask(&mut gateway, call("c-1", "delete_database", "{}")).await;
    assert_eq!(says(&unreleased), (Verdict::Deny, ReasonCode::TenantLocked));
    assert_eq!(state(&mut bob, &approved.review_id).await, ReviewState::Cancelled);
    println!("told after {told:?}, the wait refused after {refused_after:?}");
    assert!(told < Duration::from_millis(1_000) && refused_after < Duration::from_millis(1_000));

    let lock_id = placed.lock.unwrap().lock_id;
    let lift = v1::LiftLockRequest { lock_id, reason: "all clear".to_owned() };
    control.lift_lock(lift).await.unwrap();
    let still = ask(&mut gateway, call("c-1", "delete_database", "{}")).await;
    assert_eq!(says(&still).0, Verdict::Deny, "what the lock cancelled stays cancelled");
    stage.close().await;
}

/// A lock and its reviews outlive the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_outlives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let stage = Stage::open(dir.path(), &clock).await;
    stage.control().await.place_lock(lock(LockScope::Principal, "agent:deployer")).await.unwrap();
    stage.close().await;
    let stage = Stage::open(dir.path(), &clock).await;
    let denied = ask(&mut stage.gateway().await, migration("c-1")).await;
    assert_eq!(says(&denied), (Verdict::Deny, ReasonCode::PrincipalLocked));
    let mut loopback =
        v1::control_service_client::ControlServiceClient::new(stage.line(&Who::default()).await);
    let placed = loopback.place_lock(lock(LockScope::Server, "x")).await.unwrap().into_inner().lock.unwrap();
    let lift = v1::LiftLockRequest { lock_id: placed.lock_id, reason: "x".to_owned() };
    let refused = refusal(loopback.lift_lock(lift).await);
    assert_eq!(
        refused,
        (Code::PermissionDenied, "NOT_PERMITTED".to_owned()),
        "loopback locks and does not lift"
    );
    stage.close().await;
}
