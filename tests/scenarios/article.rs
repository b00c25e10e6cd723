//! The stories that the policy file is for: replicas at two in the afternoon and at three at night, staging
//! and production, two approvers, an approver who is away, an approval that is remembered.

use crate::stage::{Line, Stage, ask, call, call_of, get, refusal, says, state, tuesday, vote};
use askance::clock::Clock;
use askance::domain::Timestamp;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;
use askance::proto::v1::policy_service_client::PolicyServiceClient;
use askance::proto::v1::review_service_client::ReviewServiceClient;
use askance::proto::v1::{self, ReasonCode, ReviewState, Role, Verdict, VoteChoice};
use tonic::Code;

const POLICY: &str = r#"version: 1
groups: {sre: [user:ann, user:bob, user:carl], oncall: [user:eve]}
windows:
  office: {days: [mon-fri], hours: "09:00-17:00", zone: UTC, outside: review}
review: {approvers: {count: 1, groups: [sre]}, timeout: {after: 10m, then: escalate, to: oncall, deny_after: 10m}}
rules:
  - {id: status, tool: get_service_*, effect: allow, risk: low}
  - {id: logs, tool: read_logs, effect: allow, risk: low}
  - {id: secrets, tool: get_secret, effect: review, risk: high}
  - {id: scale, tool: scale_replicas, effect: allow, risk: medium, expect: risk.score < 60}
  - {id: deploy-staging, tool: deploy_service, when: args.env == "staging", effect: allow, window: office}
  - {id: deploy-production, tool: deploy_service, when: args.env == "production", effect: review, risk: critical}
  - {id: migrate, tool: run_database_migration, effect: review, risk: critical, approvers: {count: 2, groups: [sre]}}
  - {id: no-root-keys, tool: "*_root_key", effect: deny}
"#;

async fn stage() -> (tempfile::TempDir, Stage) {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::with_policy(dir.path(), &Clock::manual(tuesday()), POLICY).await;
    (dir, stage)
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

async fn end(gateway: &mut GatewayServiceClient<Line>, session: &str) {
    let request = v1::EndSessionRequest {
        session: Some(v1::SessionHints { session_id: session.to_owned(), ..Default::default() }),
        principal_chain: vec!["user:alice".to_owned(), "agent:deployer".to_owned()],
        ..v1::EndSessionRequest::default()
    };
    gateway.end_session(request).await.unwrap();
}

const SCALE: &str = r#"{"service":"checkout","replicas":6}"#;

/// Six weeks of office days: the agent looks at a service and gives it more replicas.
async fn six_weeks(stage: &Stage, gateway: &mut GatewayServiceClient<Line>) {
    let start = at("2026-10-05T00:00:00Z");
    let mut number = 0;
    for day in (0..42).filter(|day| day % 7 < 5) {
        for hour in [9, 11, 14, 16] {
            let minutes = day * 24 * 60 + hour * 60 + (day * 7 + hour * 3) % 50;
            stage.it_is(start.plus_micros(minutes * 60_000_000));
            number += 1;
            let session = format!("day-{number}");
            let status = r#"{"service":"checkout"}"#;
            ask(gateway, call_of(&session, &format!("a-{number}"), "get_service_status", status)).await;
            stage.pass(1);
            ask(gateway, call_of(&session, &format!("b-{number}"), "scale_replicas", SCALE)).await;
            stage.pass(1);
            end(gateway, &session).await;
        }
    }
}

/// At 14:00 on a Tuesday more replicas are everyday work. The same call at 03:12 in the night from Saturday
/// to Sunday, after log reads that never came before it, is not what the rule is for.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_in_the_afternoon_and_at_night() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    six_weeks(&stage, &mut gateway).await;

    stage.it_is(tuesday());
    let status = call_of("tuesday", "t-1", "get_service_status", r#"{"service":"checkout"}"#);
    assert_eq!(ask(&mut gateway, status).await.verdict(), Verdict::Allow);
    stage.pass(1);
    let scaled = ask(&mut gateway, call_of("tuesday", "t-2", "scale_replicas", SCALE)).await;
    assert_eq!(says(&scaled), (Verdict::Allow, ReasonCode::AllowedByRule), "{scaled:?}");
    assert_eq!(scaled.rule_id, "scale");

    stage.it_is(at("2026-11-22T03:12:00Z"));
    for number in 0..4 {
        let read = format!(r#"{{"service":"checkout","lines":{}}}"#, 5_000 + number);
        ask(&mut gateway, call_of("night", &format!("n-{number}"), "read_logs", &read)).await;
    }
    let asked = ask(&mut gateway, call_of("night", "n-9", "scale_replicas", SCALE)).await;
    assert_eq!(asked.verdict(), Verdict::Review, "{asked:?}");
    assert!(asked.risk > scaled.risk + 20, "{} after {}", asked.risk, scaled.risk);
    let time = asked.findings.iter().find(|finding| finding.detector() == v1::Detector::Time).unwrap();
    assert!(time.surprise_millibits > 3_000 && time.sentence.contains("03:"), "the hour is told: {time:?}");
    stage.close().await;
}

/// Staging is open in office hours, production never without a person.
#[tokio::test(flavor = "multi_thread")]
async fn staging_and_production() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let deploy = |id: &str, env: &str| {
        call(
            id,
            "deploy_service",
            &format!(r#"{{"service":"checkout","env":"{env}","image":"checkout:1.4.2"}}"#),
        )
    };
    let staging = ask(&mut gateway, deploy("c-1", "staging")).await;
    assert_eq!(says(&staging), (Verdict::Allow, ReasonCode::AllowedByRule), "{staging:?}");
    let production = ask(&mut gateway, deploy("c-2", "production")).await;
    assert_eq!(says(&production), (Verdict::Review, ReasonCode::ReviewByRule));
    assert_eq!(
        (production.rule_id.as_str(), production.category()),
        ("deploy-production", v1::RiskCategory::Critical)
    );
    let root = ask(&mut gateway, call("c-3", "create_root_key", "{}")).await;
    assert_eq!(says(&root), (Verdict::Deny, ReasonCode::DeniedByRule));

    stage.it_is(at("2026-11-17T17:00:00Z"));
    let late = ask(&mut gateway, deploy("c-4", "staging")).await;
    assert_eq!(says(&late), (Verdict::Review, ReasonCode::WindowClosed));
    // Approved after hours: the window is looked at again, and the call waits for it.
    let mut bob = stage.reviewer("user:bob", &[]).await;
    vote(&mut bob, &late, VoteChoice::Approve).await.unwrap();
    let held = ask(&mut gateway, deploy("c-4", "staging")).await;
    assert_eq!(says(&held), (Verdict::Review, ReasonCode::WindowClosed), "{held:?}");
    stage.close().await;
}

fn migration(id: &str) -> v1::ToolCall {
    crate::stage::migration(id)
}

/// Two people of the group must agree, and one of them cannot be the one who asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_needs_two() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut ann = stage.reviewer("user:ann", &[]).await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let mut mallory = stage.reviewer("user:mallory", &["sales"]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    assert_eq!(
        (says(&asked), asked.rule_id.as_str()),
        ((Verdict::Review, ReasonCode::ReviewByRule), "migrate")
    );
    let stranger = refusal(vote(&mut mallory, &asked, VoteChoice::Approve).await);
    assert_eq!(stranger, (Code::PermissionDenied, "NOT_A_REVIEWER".to_owned()));
    let half = vote(&mut ann, &asked, VoteChoice::Approve).await.unwrap();
    assert_eq!((half.state(), half.approvals_needed), (ReviewState::Pending, 2));
    assert_eq!(ask(&mut gateway, migration("c-1")).await.verdict(), Verdict::Review);
    vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();
    let released = ask(&mut gateway, migration("c-1")).await;
    assert_eq!(says(&released), (Verdict::Allow, ReasonCode::AllowedByApproval));
    stage.close().await;
}

/// The reviewers are away: after ten minutes their backup may vote, after twenty the call is denied.
#[tokio::test(flavor = "multi_thread")]
async fn the_reviewer_is_away() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut eve = stage.reviewer("user:eve", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    let early = refusal(vote(&mut eve, &asked, VoteChoice::Approve).await);
    assert_eq!(early.1, "NOT_A_REVIEWER");
    stage.pass(10);
    crate::stage::eventually("the review is escalated", async || {
        state(&mut eve.clone(), &asked.review_id).await == ReviewState::Escalated
    })
    .await;
    assert!(get(&mut eve, &asked.review_id).await.votable_by_me);
    stage.pass(10);
    crate::stage::eventually("the review has expired", async || {
        state(&mut eve.clone(), &asked.review_id).await == ReviewState::Expired
    })
    .await;
    let denied = ask(&mut gateway, migration("c-1")).await;
    assert_eq!(says(&denied), (Verdict::Deny, ReasonCode::Expired));
    stage.close().await;
}

async fn approve_and_remember(
    reviewer: &mut ReviewServiceClient<Line>,
    decision: &v1::Decision,
    free: &[&str],
) -> Result<v1::Review, tonic::Status> {
    let request = v1::CastVoteRequest {
        review_id: decision.review_id.clone(),
        choice: VoteChoice::Approve.into(),
        call_digest: decision.call_digest.clone(),
        remember: Some(v1::RememberOptions {
            ttl: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            free_pointers: free.iter().map(|&pointer| pointer.to_owned()).collect(),
            any_chain: false,
        }),
        ..v1::CastVoteRequest::default()
    };
    Ok(reviewer.cast_vote(request).await?.into_inner().review.unwrap())
}

async fn policies(stage: &Stage) -> PolicyServiceClient<Line> {
    PolicyServiceClient::new(stage.socket().await)
}

/// "Approve and remember": such calls pass for a day, and nothing else does.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_is_remembered() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut ann = stage.reviewer("user:ann", &[]).await;
    let deploy = |id: &str, env: &str, tag: u32| {
        let arguments = format!(r#"{{"service":"checkout","env":"{env}","tag":{tag}}}"#);
        call(id, "deploy_service", &arguments)
    };
    let asked = ask(&mut gateway, deploy("c-1", "production", 1)).await;
    let wrong = refusal(approve_and_remember(&mut ann, &asked, &["/tags"]).await);
    assert_eq!(wrong, (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
    approve_and_remember(&mut ann, &asked, &["/tag"]).await.unwrap();
    assert_eq!(ask(&mut gateway, deploy("c-1", "production", 1)).await.verdict(), Verdict::Allow);

    let again = ask(&mut gateway, deploy("c-2", "production", 2)).await;
    assert_eq!(says(&again), (Verdict::Allow, ReasonCode::AllowedByGrant), "{again:?}");
    let mut other = deploy("c-3", "production", 2);
    other.principal_chain[0] = "user:zoe".to_owned();
    assert_eq!(ask(&mut gateway, other).await.verdict(), Verdict::Review, "another chain");
    let more =
        call("c-4", "deploy_service", r#"{"service":"checkout","env":"production","tag":2,"force":true}"#);
    assert_eq!(ask(&mut gateway, more).await.verdict(), Verdict::Review, "another argument");

    let mut policies = policies(&stage).await;
    let grants = policies.list_grants(v1::ListGrantsRequest::default()).await.unwrap().into_inner().grants;
    let grant = &grants[0];
    assert_eq!((grants.len(), grant.actor.as_str(), grant.uses), (1, "user:ann", 1));
    assert_eq!(grant.review_id, asked.review_id);
    let revoke = v1::RevokeGrantRequest {
        grant_id: grant.grant_id.clone(),
        reason: "the release is out".to_owned(),
        ..v1::RevokeGrantRequest::default()
    };
    policies.revoke_grant(revoke).await.unwrap();
    let after = ask(&mut gateway, deploy("c-5", "production", 3)).await;
    assert_eq!(says(&after), (Verdict::Review, ReasonCode::ReviewByRule));
    stage.close().await;
}

/// A grant of two approvers' review waits for the second one, ends with its day, and outlives a restart.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_remembered_waits_for_the_last_approver() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let stage = Stage::with_policy(dir.path(), &clock, POLICY).await;
    let mut gateway = stage.gateway().await;
    let mut ann = stage.reviewer("user:ann", &[]).await;
    let mut bob = stage.reviewer("user:bob", &[]).await;
    let asked = ask(&mut gateway, migration("c-1")).await;
    approve_and_remember(&mut ann, &asked, &[]).await.unwrap();
    let mut policies = policies(&stage).await;
    let list = v1::ListGrantsRequest::default;
    assert_eq!(policies.list_grants(list()).await.unwrap().into_inner().grants.len(), 0);
    vote(&mut bob, &asked, VoteChoice::Approve).await.unwrap();
    let grants = policies.list_grants(list()).await.unwrap().into_inner().grants;
    assert_eq!((grants.len(), grants[0].actor.as_str()), (1, "user:ann"));
    ask(&mut gateway, migration("c-1")).await;
    stage.close().await;

    let stage = Stage::with_policy(dir.path(), &clock, POLICY).await;
    let mut gateway = stage.gateway().await;
    let passes = ask(&mut gateway, migration("c-2")).await;
    assert_eq!(says(&passes), (Verdict::Allow, ReasonCode::AllowedByGrant), "{passes:?}");
    stage.pass(24 * 60);
    let over = ask(&mut gateway, migration("c-3")).await;
    assert_eq!(says(&over), (Verdict::Review, ReasonCode::ReviewByRule));
    stage.close().await;
}

/// What an approver agreed to was under the policy of then: another policy cancels what is open and what is
/// approved, of the tenant that it is for, and of nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn another_policy_cancels_reviews_of_its_tenant() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut ann = stage.reviewer("user:ann", &[]).await;
    let of = |tenant: &str, id: &str| v1::ToolCall { tenant: tenant.to_owned(), ..migration(id) };
    let mine = ask(&mut gateway, of("acme", "c-1")).await;
    let theirs = ask(&mut gateway, of("zeta", "c-1")).await;
    let adopt = v1::AdoptPolicyRequest {
        tenant: "acme".to_owned(),
        text: POLICY.replace("10m", "11m"),
        ..v1::AdoptPolicyRequest::default()
    };
    let adopted = policies(&stage).await.adopt_policy(adopt).await;
    // Two of the group are needed, and only ann has a credential: nobody could settle such a review.
    assert_eq!(refusal(adopted), (Code::InvalidArgument, "POLICY_INVALID".to_owned()));
    for (name, role) in [("user:bob", Role::Reviewer), ("user:eve", Role::Reviewer)] {
        stage.token(name, role, &[]).await;
    }
    let adopt = v1::AdoptPolicyRequest {
        tenant: "acme".to_owned(),
        text: POLICY.replace("10m", "11m"),
        ..v1::AdoptPolicyRequest::default()
    };
    let adopted = policies(&stage).await.adopt_policy(adopt).await.unwrap().into_inner().policy.unwrap();
    assert_eq!(adopted.tenant, "acme");
    crate::stage::eventually("the review is cancelled", async || {
        state(&mut ann.clone(), &mine.review_id).await == ReviewState::Cancelled
    })
    .await;
    let refused = ask(&mut gateway, of("acme", "c-1")).await;
    assert_eq!(says(&refused), (Verdict::Deny, ReasonCode::PolicyVersionMismatch));
    assert_eq!(state(&mut ann, &theirs.review_id).await, ReviewState::Pending);
    vote(&mut ann, &theirs, VoteChoice::Approve).await.unwrap();
    stage.close().await;
}

/// A call that a person let go is part of the story that composition rules read.
#[tokio::test(flavor = "multi_thread")]
async fn an_approved_call_counts_in_compositions() {
    let (_dir, stage) = stage().await;
    let mut gateway = stage.gateway().await;
    let mut ann = stage.reviewer("user:ann", &[]).await;
    let secret = || call("c-1", "get_secret", r#"{"name":"deploy-key"}"#);
    let asked = ask(&mut gateway, secret()).await;
    assert_eq!(asked.verdict(), Verdict::Review, "{asked:?}");
    let staging = |id: &str| call(id, "deploy_service", r#"{"service":"checkout","env":"staging"}"#);
    let before = ask(&mut gateway, staging("c-2")).await;
    assert_eq!(before.verdict(), Verdict::Allow, "the secret was not read: {before:?}");
    vote(&mut ann, &asked, VoteChoice::Approve).await.unwrap();
    assert_eq!(ask(&mut gateway, secret()).await.verdict(), Verdict::Allow);
    let after = ask(&mut gateway, staging("c-3")).await;
    assert_eq!(after.verdict(), Verdict::Review, "{after:?}");
    let told = after.findings.iter().any(|finding| finding.sentence.contains("a credential was read"));
    assert!(told, "{:?}", after.findings);
    stage.close().await;
}
