//! Policies over gRPC: checked, adopted, explained, tried on history; schemas, accepted definitions, grants.

use super::support::*;
use askance::proto::v1;
use askance::proto::v1::backtest_policy_response::Step;
use askance::proto::v1::policy_service_client::PolicyServiceClient;
use askance::proto::v1::tool_service_client::ToolServiceClient;
use tonic::Code;
use tonic::transport::Channel;

const FIVE: &str = r#"version: 1
rules:
  - {id: status, tool: get_service_*, effect: allow, risk: low}
  - {id: scale, tool: scale_replicas, effect: allow, risk: medium}
  - {id: deploy-staging, tool: deploy_service, when: args.env == "staging", effect: allow}
  - {id: deploy-production, tool: deploy_service, when: args.env == "production", effect: review, risk: critical}
  - {id: migrate, tool: run_migration, effect: review, risk: critical, approvers: 2}
"#;

async fn policies(server: &Server) -> PolicyServiceClient<Channel> {
    PolicyServiceClient::new(server.socket().await)
}

fn asked(call_id: &str, tool: &str, arguments: &str) -> v1::ToolCall {
    v1::ToolCall {
        call_id: call_id.to_owned(),
        tool: tool.to_owned(),
        server: "k8s".to_owned(),
        arguments_json: arguments.as_bytes().to_vec().into(),
        principal_chain: vec!["user:ann".to_owned(), "agent:ops".to_owned()],
        session: Some(v1::SessionHints { session_id: "s".to_owned(), ..Default::default() }),
        ..v1::ToolCall::default()
    }
}

async fn evaluate(server: &Server, call: v1::ToolCall) -> v1::Decision {
    let request = v1::EvaluateRequest { call: Some(call), explain: true, ..Default::default() };
    server.gateway().await.evaluate(request).await.unwrap().into_inner().decision.unwrap()
}

async fn adopt(server: &Server, text: &str) -> Result<v1::AdoptPolicyResponse, tonic::Status> {
    let request = v1::AdoptPolicyRequest {
        text: text.to_owned(),
        comment: "as tested".to_owned(),
        ..Default::default()
    };
    policies(server).await.adopt_policy(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_policy_is_in_force_from_the_next_call_on_and_a_bad_one_changes_nothing() {
    let server = Server::start().await;
    let before = evaluate(&server, asked("a", "scale_replicas", r#"{"count":3}"#)).await;
    assert_eq!(before.reason_code(), v1::ReasonCode::ReviewByDefault);
    let adopted = adopt(&server, FIVE).await.unwrap().policy.unwrap();
    assert_eq!((adopted.rules, adopted.comment.as_str()), (5, "as tested"));
    let after = evaluate(&server, asked("b", "scale_replicas", r#"{"count":3}"#)).await;
    assert_eq!((after.reason_code(), after.rule_id.as_str()), (v1::ReasonCode::AllowedByRule, "scale"));
    assert_eq!(after.policy_revision, adopted.revision);

    let refused = adopt(&server, "version: 1\nrules: [{id: x, tol: y, effect: allow}]\n").await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("did you mean `tool`"), "{}", refused.message());
    let still = evaluate(&server, asked("c", "scale_replicas", r#"{"count":3}"#)).await;
    assert_eq!(still.policy_revision, adopted.revision);

    let again = adopt(&server, FIVE).await.unwrap().policy.unwrap();
    assert_eq!(again.revision, adopted.revision, "the same text changes nothing");
    let stale = v1::AdoptPolicyRequest {
        text: "version: 1\n".to_owned(),
        base_revision: "1".to_owned(),
        ..Default::default()
    };
    assert_eq!(policies(&server).await.adopt_policy(stale).await.unwrap_err().code(), Code::Aborted);
    let listed =
        policies(&server).await.list_policies(v1::ListPoliciesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.policies.len(), 2, "the built-in one and ours: {listed:?}");
    let got = policies(&server).await.get_policy(v1::GetPolicyRequest::default()).await.unwrap().into_inner();
    assert_eq!((got.current, got.policy.unwrap().text.as_str()), (true, FIVE));
}

#[tokio::test]
async fn the_five_rules_decide_as_they_read() {
    let server = Server::start().await;
    adopt(&server, FIVE).await.unwrap();
    let check = async |id: &str, tool: &str, arguments: &str, rule: &str, verdict: v1::Verdict| {
        let decision = evaluate(&server, asked(id, tool, arguments)).await;
        assert_eq!(
            (decision.rule_id.as_str(), decision.verdict()),
            (rule, verdict),
            "{tool} {arguments}: {}",
            decision.reason
        );
    };
    check("1", "get_service_status", "{}", "status", v1::Verdict::Allow).await;
    check("2", "scale_replicas", r#"{"count":3}"#, "scale", v1::Verdict::Allow).await;
    check("3", "deploy_service", r#"{"env":"staging"}"#, "deploy-staging", v1::Verdict::Allow).await;
    check("4", "deploy_service", r#"{"env":"production"}"#, "deploy-production", v1::Verdict::Review).await;
    check("5", "run_migration", r#"{"db":"prod-postgres"}"#, "migrate", v1::Verdict::Review).await;
}

#[tokio::test]
async fn why_a_rule_wins_is_told() {
    let server = Server::start().await;
    adopt(&server, FIVE).await.unwrap();
    let request = v1::ExplainPolicyRequest {
        call: Some(asked("", "deploy_service", r#"{"env":"production"}"#)),
        ..Default::default()
    };
    let told = policies(&server).await.explain_policy(request).await.unwrap().into_inner();
    assert_eq!(
        (told.rule_id.as_str(), told.verdict(), told.category()),
        ("deploy-production", v1::Verdict::Review, v1::RiskCategory::Critical)
    );
    let rules: Vec<(&str, v1::RuleMatch)> =
        told.rules.iter().map(|rule| (rule.rule_id.as_str(), rule.r#match())).collect();
    assert_eq!(
        rules,
        [("deploy-staging", v1::RuleMatch::ConditionFalse), ("deploy-production", v1::RuleMatch::Won)]
    );
    let faults = policies(&server)
        .await
        .check_policy(v1::CheckPolicyRequest {
            text: "version: 1\nrules: [{id: x, tool: y, effect: allow, when: arg.x == 1}]\n".to_owned(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert!(!faults.adoptable);
    assert_eq!((faults.faults[0].nearest_name.as_str(), faults.faults[0].line), ("args", 2));
}

async fn register(server: &Server, description: &str, schema: &str) -> v1::ToolRegistration {
    let request = v1::RegisterToolsRequest {
        server: "k8s".to_owned(),
        tools: vec![v1::ToolDefinition {
            name: "scale_replicas".to_owned(),
            description: description.to_owned(),
            input_schema_json: schema.as_bytes().to_vec().into(),
            ..v1::ToolDefinition::default()
        }],
        ..v1::RegisterToolsRequest::default()
    };
    server.gateway().await.register_tools(request).await.unwrap().into_inner().tools.remove(0)
}

const SCHEMA: &str = r#"{"type":"object","properties":{"count":{"type":"integer","maximum":50}}}"#;

#[tokio::test]
async fn arguments_that_break_the_schema_are_reviewed_and_the_place_is_told() {
    let server = Server::start().await;
    adopt(&server, FIVE).await.unwrap();
    register(&server, "Scales.", SCHEMA).await;
    let good = evaluate(&server, asked("a", "scale_replicas", r#"{"count":3}"#)).await;
    assert_eq!(good.verdict(), v1::Verdict::Allow);
    let bad = evaluate(&server, asked("b", "scale_replicas", r#"{"count":900}"#)).await;
    assert_eq!((bad.verdict(), bad.reason_code()), (v1::Verdict::Review, v1::ReasonCode::SchemaMismatch));
    let finding = bad.findings.iter().find(|finding| finding.detector() == v1::Detector::Schema).unwrap();
    assert_eq!(finding.argument_pointer, "/count");
    assert!(
        finding.sentence.contains("maximum") && !finding.sentence.contains("900"),
        "{}",
        finding.sentence
    );
}

#[tokio::test]
async fn a_changed_definition_is_reviewed_until_it_is_accepted() {
    let server = Server::start().await;
    adopt(&server, FIVE).await.unwrap();
    register(&server, "Scales.", SCHEMA).await;
    let changed = register(&server, "Scales. Permanently deletes what is left.", SCHEMA).await;
    assert_eq!(changed.status(), v1::ToolStatus::Changed);
    let call = evaluate(&server, asked("a", "scale_replicas", r#"{"count":3}"#)).await;
    assert_eq!(
        (call.verdict(), call.reason_code()),
        (v1::Verdict::Review, v1::ReasonCode::DefinitionChanged)
    );
    let mut tools = ToolServiceClient::new(server.socket().await);
    let named = v1::GetToolRequest {
        server: "k8s".to_owned(),
        tool: "scale_replicas".to_owned(),
        ..Default::default()
    };
    let shown = tools.get_tool(named.clone()).await.unwrap().into_inner();
    assert_eq!(shown.accepted_definition.unwrap().description, "Scales.");
    let accept = |digest: Vec<u8>| v1::AcceptToolRequest {
        server: "k8s".to_owned(),
        tool: "scale_replicas".to_owned(),
        definition_digest: digest.into(),
        ..Default::default()
    };
    let stale = tools.accept_tool(accept(vec![0; 32])).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    let accepted = tools.accept_tool(accept(changed.definition_digest.to_vec())).await.unwrap().into_inner();
    assert_eq!(accepted.tool.unwrap().status(), v1::ToolStatus::Accepted);
    let call = evaluate(&server, asked("b", "scale_replicas", r#"{"count":3}"#)).await;
    assert_eq!(call.verdict(), v1::Verdict::Allow, "{}", call.reason);
    assert!(tools.get_tool(named).await.unwrap().into_inner().accepted_definition.is_none());
}

#[tokio::test]
async fn history_is_tried_covered_and_taken_as_ground_for_rules() {
    let server = Server::start().await;
    for number in 0..8 {
        evaluate(&server, asked(&format!("c{number}"), "scale_replicas", r#"{"service":"api","count":3}"#))
            .await;
    }
    let mut client = policies(&server).await;
    let request = v1::BacktestPolicyRequest { text: FIVE.to_owned(), ..Default::default() };
    let mut stream = client.backtest_policy(request).await.unwrap().into_inner();
    let (mut examples, mut summary) = (0, None);
    while let Some(message) = stream.message().await.unwrap() {
        match message.step {
            Some(Step::Example(_)) => examples += 1,
            Some(Step::Summary(found)) => summary = Some(found),
            _ => {}
        }
    }
    let summary = summary.unwrap();
    assert_eq!((summary.calls, examples, summary.changes.len()), (8, 8, 1));
    assert_eq!((summary.changes[0].rule_id.as_str(), summary.changes[0].calls), ("scale", 8));
    assert_eq!((summary.reviews_per_day_before, summary.reviews_per_day_after), (8.0, 0.0));

    let covered = client.get_coverage(v1::GetCoverageRequest::default()).await.unwrap().into_inner();
    assert_eq!((covered.calls, covered.calls_reviewed, covered.unmatched[0].calls), (8, 8, 8));

    let found = client.list_suggestions(v1::ListSuggestionsRequest::default()).await.unwrap().into_inner();
    let one = &found.suggestions[0];
    assert!(one.rule_text.contains("args.count == 3 && args.service == \"api\""), "{}", one.rule_text);
    let accept =
        v1::AcceptSuggestionRequest { suggestion_id: one.suggestion_id.clone(), ..Default::default() };
    let grant = client.accept_suggestion(accept).await.unwrap().into_inner().grant.unwrap();
    let same = evaluate(&server, asked("same", "scale_replicas", r#"{"service":"api","count":3}"#)).await;
    assert_eq!((same.verdict(), &same.rule_id), (v1::Verdict::Allow, &grant.grant_id));
    let other = evaluate(&server, asked("other", "scale_replicas", r#"{"service":"db","count":3}"#)).await;
    assert_eq!(other.verdict(), v1::Verdict::Review);
    let held = client.list_grants(v1::ListGrantsRequest::default()).await.unwrap().into_inner().grants;
    assert_eq!((held.len(), held[0].uses), (1, 1));
    let revoke = v1::RevokeGrantRequest { grant_id: grant.grant_id.clone(), ..Default::default() };
    client.revoke_grant(revoke.clone()).await.unwrap();
    assert_eq!(client.revoke_grant(revoke).await.unwrap_err().code(), Code::NotFound);
    let again = evaluate(&server, asked("again", "scale_replicas", r#"{"service":"api","count":3}"#)).await;
    assert_eq!(again.verdict(), v1::Verdict::Review);
}

#[tokio::test]
async fn a_chain_of_harmless_calls_is_stopped_at_its_last_one() {
    let server = Server::start().await;
    let allow = "version: 1\ndefaults: {medium: allow, high: allow, critical: allow}\n";
    adopt(&server, allow).await.unwrap();
    let call = async |id: &str, tool: &str| evaluate(&server, asked(id, tool, "{}")).await;
    assert_eq!(call("1", "read_config").await.verdict(), v1::Verdict::Allow);
    assert_eq!(call("2", "get_credential").await.verdict(), v1::Verdict::Allow);
    let last = call("3", "upload_report").await;
    assert_eq!(last.verdict(), v1::Verdict::Review);
    let finding = last.findings.iter().find(|one| one.detector() == v1::Detector::Composition).unwrap();
    assert!(finding.tags.iter().any(|tag| tag.starts_with("atlas.")), "{finding:?}");
    assert!(last.risk >= 85);
}
