//! Reason codes that no other story tells: each is reached by a call that earns it.

use crate::stage::{
    Stage, Who, ask, call, call_of, eventually, migration, refusal, says, state, tuesday, vote,
};
use askance::clock::Clock;
use askance::proto::v1::access_service_client::AccessServiceClient;
use askance::proto::v1::{self, ReasonCode, ReviewState, Role, Verdict, VoteChoice};
use tonic::Code;

async fn stage(policy: &str) -> (tempfile::TempDir, Stage) {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::with_policy(dir.path(), &Clock::manual(tuesday()), policy).await;
    (dir, stage)
}

/// What a policy itself says: what it expects, what it denies by default or by risk, which windows are closed.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_policy_says() {
    let policy = r#"version: 1
defaults: {high: deny, critical: deny}
thresholds: {deny: 90}
windows:
  night: {days: [mon-sun], hours: "00:00-04:00", zone: UTC, outside: deny}
rules:
  - {id: calm, tool: scale_replicas, effect: allow, risk: medium, expect: risk.score < 1}
  - {id: nightly, tool: backup_*, effect: allow, risk: low, window: night}
  - {id: seen, tool: read_*, effect: review, risk: high, mode: observe}
"#;
    let (_dir, stage) = stage(policy).await;
    let mut gateway = stage.gateway().await;
    let mut code = async |id: &str, tool: &str, arguments: &str| {
        let decision = ask(&mut gateway, call_of(id, id, tool, arguments)).await;
        (says(&decision), decision.enforced)
    };
    let expected = (Verdict::Review, ReasonCode::ExpectationFailed);
    assert_eq!(code("c-1", "scale_replicas", r#"{"replicas":3}"#).await, (expected, true));
    let closed = (Verdict::Deny, ReasonCode::WindowClosed);
    assert_eq!(code("c-2", "backup_volume", "{}").await, (closed, true));
    let denied = (Verdict::Deny, ReasonCode::DeniedByDefault);
    assert_eq!(code("c-3", "drop_database", r#"{"name":"prod"}"#).await, (denied, true));
    let watched = (Verdict::Allow, ReasonCode::ReviewByRule);
    assert_eq!(code("c-4", "read_mail", "{}").await, (watched, false), "this rule only observes");
    stage.close().await;
    // What is risky enough is denied, though a rule allows it.
    let policy = "version: 1\nthresholds: {deny: 40}\nrules: [{id: all, tool: drop_*, effect: allow, risk: critical}]\n";
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::with_policy(dir.path(), &Clock::manual(tuesday()), policy).await;
    let decision = ask(&mut stage.gateway().await, call("c-5", "drop_database", "{}")).await;
    assert_eq!(says(&decision), (Verdict::Deny, ReasonCode::RiskOverDenyThreshold), "{decision:?}");
    stage.close().await;
}

/// A secret was read, and the next call sends data out: no rule of the policy minds, a floor does.
#[tokio::test(flavor = "multi_thread")]
async fn a_floor_fires() {
    let policy =
        "version: 1\nshipped_compositions: false\ndefaults: {medium: allow, high: allow, critical: allow}\n";
    let (_dir, stage) = stage(policy).await;
    let mut gateway = stage.gateway().await;
    let read = ask(&mut gateway, call("c-1", "get_secret", r#"{"name":"deploy-key"}"#)).await;
    assert_eq!(says(&read), (Verdict::Allow, ReasonCode::AllowedByDefault));
    let sent = ask(&mut gateway, call("c-2", "send_email", r#"{"to":"x@example.com","body":"hello"}"#)).await;
    assert_eq!(says(&sent), (Verdict::Review, ReasonCode::FloorFired), "{sent:?}");
    stage.close().await;
}

/// Nobody answers, and for calls of little risk the policy takes that for consent: not a moment earlier, and once.
#[tokio::test(flavor = "multi_thread")]
async fn silence_is_consent_where_the_policy_says_so() {
    let policy = "version: 1\nrules:\n  - {id: ask, tool: rename_*, effect: review, risk: medium, timeout: {after: 5m, then: approve}}\n";
    let (_dir, stage) = stage(policy).await;
    let mut gateway = stage.gateway().await;
    let bob = stage.reviewer("user:bob", &[]).await;
    let asked = ask(&mut gateway, call("c-1", "rename_file", "{}")).await;
    assert_eq!(says(&asked), (Verdict::Review, ReasonCode::ReviewByRule));
    stage.pass(4);
    assert_eq!(ask(&mut gateway, call("c-1", "rename_file", "{}")).await.verdict(), Verdict::Review);
    stage.pass(1);
    eventually("silence approves", async || {
        state(&mut bob.clone(), &asked.review_id).await == ReviewState::Approved
    })
    .await;
    let released = ask(&mut gateway, call("c-1", "rename_file", "{}")).await;
    assert_eq!(says(&released), (Verdict::Allow, ReasonCode::AllowedBySilence));
    stage.close().await;
}

/// A session that asks and asks is not given another review; another session is.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_too_many_reviews() {
    let (_dir, stage) = stage("version: 1\n").await;
    let mut gateway = stage.gateway().await;
    let mut last = None;
    for number in 0..=64 {
        let arguments = format!(r#"{{"name":"db-{number}"}}"#);
        last = Some(ask(&mut gateway, call(&format!("c-{number}"), "delete_database", &arguments)).await);
    }
    assert_eq!(says(&last.unwrap()), (Verdict::Deny, ReasonCode::TooManyReviews));
    let other = ask(&mut gateway, call_of("s-2", "d-1", "delete_database", "{}")).await;
    assert_eq!(other.verdict(), Verdict::Review);
    stage.close().await;
}

/// Two approvers are two people: not one under two names.
#[tokio::test(flavor = "multi_thread")]
async fn one_person_under_two_names_is_one_approver() {
    let policy = "version: 1\nrules:\n  - {id: two, tool: run_*, effect: review, risk: high, approvers: 2}\n";
    let (_dir, stage) = stage(policy).await;
    let mut gateway = stage.gateway().await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let mut access = AccessServiceClient::new(stage.socket().await);
    let request = v1::CreateTokenRequest {
        subject: "robert@example.com".to_owned(),
        role: Role::Reviewer.into(),
        aliases: vec!["Bob".to_owned()],
        ..v1::CreateTokenRequest::default()
    };
    let secret = access.create_token(request).await.unwrap().into_inner().secret;
    let mut robert = stage.reviews(&Who::with(&secret)).await;
    let mut eve = stage.reviewer("user:eve", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();
    let again = refusal(vote(&mut robert, &asked, VoteChoice::Approve).await);
    assert_eq!(again, (Code::AlreadyExists, "SAME_APPROVER".to_owned()));
    let turned = refusal(vote(&mut bob, &asked, VoteChoice::Deny).await);
    assert_eq!(turned, (Code::AlreadyExists, "SAME_APPROVER".to_owned()), "a vote stands");
    assert_eq!(state(&mut bob, &asked.review_id).await, ReviewState::Pending);
    let both = vote(&mut eve, &asked, VoteChoice::Approve).await.unwrap();
    assert_eq!((both.state(), both.votes.len()), (ReviewState::Approved, 2));
    stage.close().await;
}
