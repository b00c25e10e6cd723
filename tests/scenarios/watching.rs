//! Who watches is told what concerns them, soon, and without anything else having to happen.

use crate::stage::{Line, Stage, ask, call, tuesday};
use askance::clock::Clock;
use askance::proto::v1::watch_locks_response::Update as LockUpdate;
use askance::proto::v1::watch_reviews_response::Update as ReviewUpdate;
use askance::proto::v1::{self, LockScope, Verdict};
use std::time::{Duration, Instant};
use tonic::Streaming;

fn lock_on(scope: LockScope, target: &str) -> v1::PlaceLockRequest {
    v1::PlaceLockRequest {
        scope: scope.into(),
        target: target.to_owned(),
        reason: "it does strange things".to_owned(),
        ..v1::PlaceLockRequest::default()
    }
}

async fn lift(control: &mut v1::control_service_client::ControlServiceClient<Line>, lock_id: &str) {
    let request = v1::LiftLockRequest { lock_id: lock_id.to_owned(), reason: "all clear".to_owned() };
    control.lift_lock(request).await.unwrap();
}

/// A lock is pushed to its watchers although nothing else happens: the promise is a tenth of a second; the time is
/// shown, and what fails the test is only that nothing comes.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_pushed_to_its_watchers() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let mut control = stage.control().await;
    let request = v1::WatchLocksRequest::default();
    let mut watch = stage.control().await.watch_locks(request).await.unwrap().into_inner();
    let mut next = async || {
        let message = tokio::time::timeout(Duration::from_secs(10), watch.message()).await;
        match message.expect("the lock is pushed").unwrap().unwrap().update.unwrap() {
            LockUpdate::Lock(lock) => lock,
            LockUpdate::Heartbeat(_) => panic!("nothing else is told within the time of a heartbeat"),
        }
    };
    let mut times = Vec::new();
    for round in 0..50 {
        let begun = Instant::now();
        let request = lock_on(LockScope::Principal, &format!("agent:{round}"));
        let placed = control.place_lock(request).await.unwrap().into_inner().lock.unwrap();
        let seen = next().await;
        times.push(begun.elapsed());
        assert!(seen.lock_id == placed.lock_id && seen.end_time.is_none(), "{seen:?}");
        lift(&mut control, &placed.lock_id).await;
        let seen = next().await;
        assert!(seen.lock_id == placed.lock_id && seen.end_time.is_some(), "{seen:?}");
    }
    times.sort();
    println!("from the request to the watcher: p50 {:?}  most {:?}", times[25], times[49]);
    stage.close().await;
}

async fn next_review(watch: &mut Streaming<v1::WatchReviewsResponse>) -> String {
    let message = tokio::time::timeout(Duration::from_secs(10), watch.message()).await;
    match message.expect("a review is told").unwrap().unwrap().update.unwrap() {
        ReviewUpdate::Review(review) => review.review_id,
        ReviewUpdate::Heartbeat(_) => panic!("nothing else is told within the time of a heartbeat"),
    }
}

/// A reviewer who is locked is not shown what comes meanwhile as theirs to vote on, and is shown it when the lock is
/// lifted.
#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_voted_on_follows_locks_on_the_reviewer() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let (mut gateway, mut control) = (stage.gateway().await, stage.control().await);
    let mine = v1::WatchReviewsRequest { votable_by_me: true, ..v1::WatchReviewsRequest::default() };
    let (mut bob, mut carol) =
        (stage.reviewer("user:bob", &[]).await, stage.reviewer("user:carol", &[]).await);
    let mut of_bob = bob.watch_reviews(mine.clone()).await.unwrap().into_inner();
    let mut of_carol = carol.watch_reviews(mine).await.unwrap().into_inner();
    let mut open = async |id: &str| {
        let asked = ask(&mut gateway, call(id, "delete_database", &format!(r#"{{"name":"{id}"}}"#))).await;
        assert_eq!(asked.verdict(), Verdict::Review);
        asked.review_id
    };
    let first = open("c-1").await;
    assert_eq!(
        (next_review(&mut of_bob).await, next_review(&mut of_carol).await),
        (first.clone(), first.clone())
    );

    let lock = control.place_lock(lock_on(LockScope::Principal, "user:bob")).await.unwrap().into_inner().lock;
    let second = open("c-2").await;
    assert_eq!(next_review(&mut of_carol).await, second);

    lift(&mut control, &lock.unwrap().lock_id).await;
    let told = [next_review(&mut of_bob).await, next_review(&mut of_bob).await];
    assert_eq!(told, [first, second.clone()], "not before the lock was lifted, and then both");
    let third = open("c-3").await;
    assert_eq!((next_review(&mut of_bob).await, next_review(&mut of_carol).await), (third.clone(), third));
    stage.close().await;
}

/// A watch that follows one tenant is not told of another's reviews, and one begun late is told nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_told_of_its_tenant_and_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::open(dir.path(), &Clock::manual(tuesday())).await;
    let mut gateway = stage.gateway().await;
    let mut reviews = v1::review_service_client::ReviewServiceClient::new(stage.socket().await);
    let mut open = async |tenant: &str, id: &str| {
        let arguments = format!(r#"{{"name":"{id}"}}"#);
        let call = v1::ToolCall { tenant: tenant.to_owned(), ..call(id, "delete_database", &arguments) };
        ask(&mut gateway, call).await.review_id
    };
    let first = open("acme", "c-1").await;
    // Published a moment ago, perhaps not told yet: the watch must not tell it again.
    let request = v1::WatchReviewsRequest { tenant: "acme".to_owned(), ..v1::WatchReviewsRequest::default() };
    let mut of_acme = reviews.watch_reviews(request).await.unwrap().into_inner();
    let mut of_all = reviews.watch_reviews(v1::WatchReviewsRequest::default()).await.unwrap().into_inner();
    assert_eq!(next_review(&mut of_acme).await, first);
    assert_eq!(next_review(&mut of_all).await, first);
    let other = open("zeta", "c-2").await;
    let second = open("acme", "c-3").await;
    assert_eq!(next_review(&mut of_all).await, other);
    assert_eq!(next_review(&mut of_all).await, second);
    assert_eq!(next_review(&mut of_acme).await, second);
    stage.close().await;
}
