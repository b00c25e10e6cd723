//! A tenant's own policy and the way back, what is told of rules of one's own, whose votes are asked for, and by whose
//! credential things happened.

use crate::stage::{Line, Stage, ask, call, eventually, migration, refusal, says, state, tuesday, vote};
use askance::clock::Clock;
use askance::proto::v1::access_service_client::AccessServiceClient;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;
use askance::proto::v1::policy_service_client::PolicyServiceClient;
use askance::proto::v1::review_service_client::ReviewServiceClient;
use askance::proto::v1::timeline_service_client::TimelineServiceClient;
use askance::proto::v1::{self, ReasonCode, ReviewState, Role, Verdict, VoteChoice, event::Data};
use std::path::Path;
use tonic::{Code, Status};

const GENERAL: &str = "version: 1\nrules: [{id: general, tool: run_*, effect: review, risk: critical}]\n";

async fn stage(dir: &Path, clock: &Clock) -> Stage {
    Stage::with_policy(dir, clock, GENERAL).await
}

async fn adopt(stage: &Stage, tenant: &str, text: &str) -> v1::Policy {
    let request =
        v1::AdoptPolicyRequest { tenant: tenant.to_owned(), text: text.to_owned(), ..Default::default() };
    let mut client = PolicyServiceClient::new(stage.socket().await);
    client.adopt_policy(request).await.unwrap().into_inner().policy.unwrap()
}

async fn withdraw(stage: &Stage, base: &str) -> Result<v1::WithdrawPolicyResponse, Status> {
    let request = v1::WithdrawPolicyRequest {
        tenant: "acme".to_owned(),
        base_revision: base.to_owned(),
        comment: "the trial is over".to_owned(),
    };
    let mut client = PolicyServiceClient::new(stage.socket().await);
    client.withdraw_policy(request).await.map(tonic::Response::into_inner)
}

fn of(tenant: &str, id: &str) -> v1::ToolCall {
    v1::ToolCall { tenant: tenant.to_owned(), ..migration(id) }
}

async fn events(stage: &Stage, tenant: &str) -> Vec<v1::Event> {
    let mut timeline = TimelineServiceClient::new(stage.socket().await);
    let filter = v1::EventFilter { tenant: tenant.to_owned(), ..Default::default() };
    let request = v1::ListEventsRequest { filter: Some(filter), page_size: 1_000, ..Default::default() };
    timeline.list_events(request).await.unwrap().into_inner().events
}

/// A tenant tries a policy of its own and goes back to the daemon's: at once, for good, and with a word in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_goes_back_to_the_policy_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(tuesday());
    let stage = stage(dir.path(), &clock).await;
    let mut gateway = stage.gateway().await;
    let unknown = refusal(withdraw(&stage, "").await);
    assert_eq!(unknown, (Code::NotFound, "NOT_FOUND".to_owned()), "there is nothing to take back");
    let own = "version: 1\nrules: [{id: own, tool: run_*, effect: review, risk: high}]\n";
    let adopted = adopt(&stage, "acme", own).await;
    let asked = ask(&mut gateway, of("acme", "c-1")).await;
    assert_eq!((says(&asked).0, asked.rule_id.as_str()), (Verdict::Review, "own"));
    let elsewhere = ask(&mut gateway, of("zeta", "c-1")).await;
    assert_eq!(elsewhere.rule_id, "general");

    let stale = refusal(withdraw(&stage, "1").await);
    assert_eq!(stale, (Code::Aborted, "REVISION_CONFLICT".to_owned()));
    let back = withdraw(&stage, &adopted.revision).await.unwrap();
    let policy = back.policy.unwrap();
    assert_eq!((policy.tenant.as_str(), policy.rules), ("", 1), "the one for all holds");
    let mut reviews = ReviewServiceClient::new(stage.socket().await);
    eventually("its review is cancelled", async || {
        state(&mut reviews.clone(), &asked.review_id).await == ReviewState::Cancelled
    })
    .await;
    let refused = ask(&mut gateway, of("acme", "c-1")).await;
    assert_eq!(says(&refused), (Verdict::Deny, ReasonCode::PolicyVersionMismatch));
    assert_eq!(state(&mut reviews, &elsewhere.review_id).await, ReviewState::Pending, "nobody else's");
    let after = ask(&mut gateway, v1::ToolCall { arguments_json: "{}".into(), ..of("acme", "c-2") }).await;
    assert_eq!((after.rule_id.as_str(), &after.policy_revision), ("general", &policy.revision));
    assert_eq!(refusal(withdraw(&stage, "").await).0, Code::NotFound, "once");
    let told = events(&stage, "acme").await;
    let told = told.iter().find(|event| matches!(event.data, Some(Data::PolicyWithdrawn(_)))).unwrap();
    assert!(told.position == back.position && told.actor.starts_with("user:"), "{told:?}");
    stage.close().await;

    let stage = Stage::with_policy(dir.path(), &clock, GENERAL).await;
    let mut gateway = stage.gateway().await;
    let again = ask(&mut gateway, v1::ToolCall { arguments_json: "{}".into(), ..of("acme", "c-3") }).await;
    assert_eq!(again.rule_id, "general", "also after a restart");
    stage.close().await;
}

/// A rule of one's own is told by its title, with its tags, also long after the policy has gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_composition_of_one_s_own_is_told_by_its_title() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path(), &Clock::manual(tuesday())).await;
    let mut gateway = stage.gateway().await;
    let own = r#"version: 1
defaults: {medium: allow, high: allow, critical: allow}
shipped_compositions: false
compositions:
  - id: lethal-trifecta
    title: a draft is sent that nobody read
    level: high
    tags: [owasp.llm06]
    steps: {draft: {tool: create_draft}, send: {tool: send_draft}}
    correlation: {type: temporal_ordered, rules: [draft, send], timespan: 1h}
"#;
    adopt(&stage, "default", own).await;
    assert_eq!(ask(&mut gateway, call("c-1", "create_draft", "{}")).await.verdict(), Verdict::Allow);
    let sent = ask(&mut gateway, call("c-2", "send_draft", "{}")).await;
    assert_eq!(says(&sent), (Verdict::Review, ReasonCode::FloorFired), "{sent:?}");
    let check = |decision: &v1::Decision| {
        let of_rules = |one: &&v1::Finding| one.detector() == v1::Detector::Composition;
        let finding = decision.findings.iter().find(of_rules).unwrap();
        let words = "a draft is sent that nobody read (composition rule `lethal-trifecta`)";
        assert_eq!((finding.sentence.as_str(), finding.floor), (words, 80));
        assert_eq!(finding.tags, ["owasp.llm06"], "not those of the shipped rule of this name");
    };
    check(&sent);
    adopt(&stage, "default", "version: 1\n").await;
    let told = events(&stage, "default").await.into_iter().find_map(|event| match event.data {
        Some(Data::CallDecided(decided)) if event.position == sent.position => decided.decision,
        _ => None,
    });
    check(&told.unwrap());
    stage.close().await;
}

/// A reviewer of several tenants is shown what is theirs to vote on by each tenant's own policy.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_reviewer_of_several_tenants_may_vote_on() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path(), &Clock::manual(tuesday())).await;
    let mut gateway = stage.gateway().await;
    let groups = |member: &str| {
        format!(
            "version: 1\ngroups: {{sre: [{member}]}}\nreview: {{approvers: {{count: 1, groups: [sre]}}}}\n"
        )
    };
    adopt(&stage, "acme", &groups("user:ann")).await;
    adopt(&stage, "zeta", &groups("user:bob")).await;
    let mut ann = stage.reviewer("user:ann", &[]).await;
    let mut eve = stage.reviewer("user:eve", &[]).await;
    let watch = v1::WatchReviewsRequest { votable_by_me: true, ..Default::default() };
    let mut watching = ann.watch_reviews(watch).await.unwrap().into_inner();
    for tenant in ["acme", "zeta", "other"] {
        assert_eq!(ask(&mut gateway, of(tenant, "c-1")).await.verdict(), Verdict::Review);
    }
    let mine = async |reviewer: &mut ReviewServiceClient<Line>| {
        let request = v1::ListReviewsRequest { votable_by_me: true, ..Default::default() };
        let reviews = reviewer.list_reviews(request).await.unwrap().into_inner().reviews;
        reviews.into_iter().map(|review| review.tenant).collect::<Vec<_>>()
    };
    assert_eq!(mine(&mut ann).await, ["acme", "other"]);
    assert_eq!(mine(&mut eve).await, ["other"], "whoever reviews may, where no group is asked");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        let message = watching.message().await.unwrap().unwrap();
        if let Some(v1::watch_reviews_response::Update::Review(review)) = message.update {
            seen.push(review.tenant);
        }
    }
    assert_eq!(seen, ["acme", "other"], "the watch shows the same");
    stage.close().await;
}

/// Who ended a session and who handed a definition in stands in the log; when a token was used last, in the list.
#[tokio::test(flavor = "multi_thread")]
async fn every_use_of_a_credential_is_attributed() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path(), &Clock::manual(tuesday())).await;
    let proxy = stage.token("gateway:proxy", Role::Gateway, &[]).await;
    stage.token("gateway:idle", Role::Gateway, &[]).await;
    let mut gateway = GatewayServiceClient::new(stage.line(&proxy).await);
    let definition = v1::ToolDefinition { name: "run_database_migration".to_owned(), ..Default::default() };
    let register = v1::RegisterToolsRequest {
        server: "production-tools".to_owned(),
        tools: vec![definition],
        ..Default::default()
    };
    gateway.register_tools(register).await.unwrap();
    let asked = ask(&mut gateway, migration("c-1")).await;
    let end = v1::EndSessionRequest { session_key: asked.session_key.clone(), ..Default::default() };
    gateway.end_session(end).await.unwrap();
    let (mut defined, mut closed) = (None, None);
    for event in events(&stage, "default").await {
        match event.data {
            Some(Data::ToolDefined(_)) => defined = Some(event.actor),
            Some(Data::SessionClosed(_)) => closed = Some(event.actor),
            _ => {}
        }
    }
    assert_eq!(defined.as_deref(), Some("gateway:proxy"));
    assert_eq!(closed.as_deref(), Some("gateway:proxy"));

    stage.pass(61);
    ask(&mut gateway, call("c-2", "get_logs", "{}")).await;
    let mut access = AccessServiceClient::new(stage.socket().await);
    let tokens = access.list_tokens(v1::ListTokensRequest::default()).await.unwrap().into_inner().tokens;
    let used = |subject: &str| {
        let token = tokens.iter().find(|token| token.subject == subject).unwrap();
        token.last_use_time.as_ref().map(|at| at.seconds)
    };
    let expected = tuesday().as_micros() / 1_000_000 + 61 * 60;
    assert_eq!(used("gateway:proxy"), Some(expected));
    assert_eq!(used("gateway:idle"), None);
    stage.close().await;
}

/// Whether enough people can approve is counted by the tokens that there are.
#[tokio::test(flavor = "multi_thread")]
async fn approvers_are_counted_by_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let stage = stage(dir.path(), &Clock::manual(tuesday())).await;
    let mut policies = PolicyServiceClient::new(stage.socket().await);
    let text =
        "version: 1\nrules: [{id: two, tool: x, effect: review, approvers: {count: 2, groups: [ops]}}]\n";
    let mut check = async || {
        let request = v1::CheckPolicyRequest { text: text.to_owned(), ..Default::default() };
        let checked = policies.check_policy(request).await.unwrap().into_inner();
        let told: Vec<String> = checked.faults.into_iter().map(|fault| fault.message).collect();
        (checked.adoptable, told.join("; "))
    };
    let (adoptable, told) = check().await;
    assert!(adoptable && told.contains("only the user of the Unix socket votes"), "{told}");
    let mut ann = stage.reviewer("user:ann", &["ops"]).await;
    assert_eq!(check().await, (false, "2 approvers are needed and 1 can be reached".to_owned()));
    let mut bob = stage.reviewer("user:bob", &["ops"]).await;
    assert_eq!(check().await, (true, String::new()));
    adopt(&stage, "default", text).await;
    let mut gateway = stage.gateway().await;
    let asked = ask(&mut gateway, call("c-1", "x", "{}")).await;
    for reviewer in [&mut ann, &mut bob] {
        vote(reviewer, &asked, VoteChoice::Approve).await.unwrap();
    }
    assert_eq!(ask(&mut gateway, call("c-1", "x", "{}")).await.verdict(), Verdict::Allow);
    stage.close().await;
}
