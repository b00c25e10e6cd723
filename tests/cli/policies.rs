//! Policies and tools from the command line: checked, explained, tried, adopted, taken back; definitions looked at.

use crate::support::{Place, Ran};
use askance::proto::v1;
use askance::proto::v1::gateway_service_client::GatewayServiceClient;

const FIVE: &str = r#"version: 1
rules:
  - {id: status, tool: get_service_*, effect: allow, risk: low}
  - {id: scale, tool: scale_replicas, effect: allow, risk: medium}
  - {id: deploy-staging, tool: deploy_service, when: args.env == "staging", effect: allow}
  - {id: deploy-production, tool: deploy_service, when: args.env == "production", effect: review, risk: critical}
  - {id: migrate, tool: run_migration, effect: review, risk: critical, approvers: 2}
"#;

const TWO_OF_OPS: &str =
    "version: 1\nrules:\n  - {id: two, tool: x, effect: review, approvers: {count: 2, groups: [ops]}}\n";

fn evaluate(place: &Place, tenant: &str, id: &str, tool: &str, args: &str) -> Ran {
    let call = ["evaluate", "--tenant", tenant, "--tool", tool, "--principal", "user:a", "--session", id];
    place.run(&[&call[..], &["--call-id", id, "--args", args]].concat())
}

/// Calls handed in as history are covered, and taken as ground, as the policy in force would decide them.
#[test]
fn recorded_calls_are_covered_by_the_policy_in_force() {
    let place = Place::new();
    let line = |index: u64, tool: &str| crate::support::line("one", index, tool) + "\n";
    let text: String = (0..6)
        .map(|index| line(index, "get_logs"))
        .chain((6..12).map(|index| line(index, "send_money")))
        .collect();
    place.file("calls.jsonl", text);
    let daemon = place.serve(&[]);
    place.run(&["import", "calls.jsonl"]).exits(0);
    let sessions = place.run(&["--json", "sessions", "list"]).exits(0).json();
    let tenant = sessions[0]["tenant"].as_str().unwrap().to_owned();
    let policy = |args: &[&str]| place.run(&[&["policy", "--tenant", &tenant, "--json"][..], args].concat());
    let parts = |coverage: &serde_json::Value| {
        ["allowed_by_rule", "allowed_by_default", "reviewed", "denied"]
            .map(|name| coverage["parts"][name].as_u64())
    };
    let before = policy(&["coverage", "--since", "9000d"]).exits(0).json();
    assert_eq!(parts(&before), [0, 6, 6, 0].map(Some), "{before}");
    place.file(
        "own.yaml",
        "version: 1\nrules:\n  - {id: logs, tool: get_logs, effect: allow}\n  - {id: no, tool: send_money, effect: deny}\n",
    );
    policy(&["adopt", "own.yaml"]).exits(0);
    let after = policy(&["coverage", "--since", "9000d"]).exits(0).json();
    assert_eq!(
        (parts(&after), after["unmatched"].as_array().map(Vec::len)),
        ([6, 0, 0, 6].map(Some), Some(0)),
        "{after}"
    );
    assert_eq!(daemon.stop(), 0, "{}", place.log());
}

/// What a file alone can tell, and what only a daemon knows: how many people can approve.
#[test]
fn approvers_are_counted_where_they_can_be() {
    let place = Place::new();
    place.file("two.yaml", TWO_OF_OPS);
    place
        .run(&["policy", "check", "two.yaml"])
        .exits(0)
        .says("no daemon answers: approvers are counted by the groups of this file alone")
        .says("warning: rule `two`: group `ops` is not in this file");
    place.file("one.yaml", TWO_OF_OPS.replace("rules:", "groups: {ops: [user:ann]}\nrules:"));
    place.run(&["policy", "check", "one.yaml"]).exits(1).says("2 approvers are needed and 1 can be reached");

    let daemon = place.serve(&[]);
    let check = || place.run(&["policy", "check", "two.yaml"]);
    check().exits(0).says("only the user of the Unix socket votes");
    let token = |subject: &str| {
        let args = ["token", "create", "--subject", subject, "--role", "reviewer", "--groups", "ops"];
        place.run(&args).exits(0);
    };
    token("user:ann");
    check()
        .exits(1)
        .says("counted by the daemon's tokens")
        .says("2 approvers are needed and 1 can be reached");
    place.run(&["policy", "adopt", "two.yaml"]).exits(1).says("1 can be reached");
    token("user:bob");
    check().exits(0).says("two.yaml is sound");
    place.run(&["policy", "adopt", "two.yaml"]).exits(0).says("is in force");
    place.run(&["token", "list"]).exits(0).says("not since start");
    assert_eq!(daemon.stop(), 0, "{}", place.log());
}

#[test]
fn a_policy_is_explained_and_tested_without_a_daemon() {
    let place = Place::new();
    place.file("policy.yaml", FIVE);
    let explain = ["policy", "explain", "policy.yaml", "--tool", "deploy_service", "--args"];
    place
        .run(&[&explain[..], &[r#"{"env":"production"}"#]].concat())
        .exits(0)
        .says("REVIEW  category critical: rule `deploy-production` says so")
        .says("rule `deploy-production` wins")
        .says("its condition does not hold: args.env == \"staging\"");
    place.run(&[&explain[..], &["{"]].concat()).exits(2).says("--args");
    place.run(&[&explain[..], &["[1]"]].concat()).exits(2).says("give a JSON object");
    place.run(&[&explain[..], &["{}", "--at", "tomorrow"]].concat()).exits(2).says("give a time");
    place
        .run(&["policy", "explain", "policy.yaml", "--tool", "update_config", "--args", r#"{"env":"prod"}"#])
        .exits(0)
        .says("category critical: its name says `update`, which is medium, and its arguments name production")
        .says("no rule of the file names this tool");
    place.file(
        "examples.yaml",
        "- {tool: scale_replicas, expect: allow, rule: scale}\n- {tool: run_migration, expect: review}\n",
    );
    place.run(&["policy", "test", "policy.yaml", "examples.yaml"]).exits(0).says("2 of 2 examples");
    place.file("wrong.yaml", "- {name: by night, tool: run_migration, expect: allow}\n");
    place
        .run(&["policy", "test", "policy.yaml", "wrong.yaml"])
        .exits(1)
        .says("wrong.yaml:1: by night: expected allow, found review by `migrate`");
    place.file("odd.yaml", "- {tool: x, expct: allow}\n");
    place.run(&["policy", "test", "policy.yaml", "odd.yaml"]).exits(1).says("did you mean `expect`");
}

/// History is tried by another policy, covered, and taken as ground for a rule; a tenant's own policy comes and goes.
#[test]
fn a_policy_is_tried_adopted_and_taken_back() {
    let place = Place::new();
    place.file("policy.yaml", FIVE);
    let daemon = place.serve(&[]);
    for number in 0..8 {
        let id = format!("c-{number}");
        evaluate(&place, "acme", &id, "scale_replicas", r#"{"service":"api","count":3}"#).exits(4);
    }
    let policy = |args: &[&str]| place.run(&[&["policy", "--tenant", "acme"][..], args].concat());
    policy(&["backtest", "policy.yaml"]).exits(0).says("8 calls decided again").says("scale");
    policy(&["coverage"]).exits(0).says("8 calls").says("scale_replicas");
    let found = policy(&["suggest", "--json"]).exits(0).json();
    let id = found[0]["id"].as_str().unwrap().to_owned();
    let why = found[0]["why"].as_str().unwrap();
    assert!(why.contains("called 8 times") && !why.contains("in 0 sessions"), "{why}");
    policy(&["suggest", "--accept", &id, "--ttl", "1d"])
        .exits(0)
        .says("holds now")
        .says("\n    tool: 'scale_replicas'");
    policy(&["suggest"]).exits(0).says("gives no ground for a rule that it does not have");
    policy(&["coverage", "--since", "yesterday"]).exits(2).says("7d");
    place.run(&["policy", "coverage"]).exits(0).says("0 calls of tenant default in this time");
    evaluate(&place, "acme", "d-1", "scale_replicas", r#"{"service":"api","count":3}"#).exits(0);

    policy(&["withdraw"]).exits(1).says("not known");
    policy(&["adopt", "policy.yaml", "--comment", "a trial"]).exits(0).says("with 5 rules is in force");
    evaluate(&place, "acme", "d-2", "scale_replicas", r#"{"service":"db","count":9}"#).exits(0);
    policy(&["show"]).exits(0).says("deploy-production");
    policy(&["withdraw", "--base", "1"]).exits(1).says("not at 1 any more");
    policy(&["withdraw", "--comment", "the trial is over"]).exits(0).says("the one for every tenant");
    policy(&["show"]).exits(0).says("the built-in policy");
    let listed = policy(&["show", "--list", "--json"]).exits(0).json();
    let told = |number: usize| {
        let one = &listed[number];
        (
            one["withdrawn"].as_bool(),
            one["current"].as_bool(),
            one["tenant"].as_str(),
            one["comment"].as_str(),
        )
    };
    assert_eq!(told(0), (Some(true), Some(false), Some("acme"), Some("the trial is over")));
    assert_eq!(told(1), (Some(false), Some(false), Some("acme"), Some("a trial")));
    assert_eq!(told(2), (Some(false), Some(true), Some(""), Some("")));
    policy(&["show", "--list"]).exits(0).says("withdrawn").says("in force").says("every tenant");
    let withdrawal = listed[0]["position"].to_string();
    policy(&["show", &withdrawal]).exits(1).says("not known");
    evaluate(&place, "acme", "d-3", "scale_replicas", r#"{"service":"db","count":9}"#).exits(4);
    evaluate(&place, "acme", "d-4", "scale_replicas", r#"{"service":"api","count":3}"#)
        .exits(0)
        .says("granted rule");
    assert_eq!(daemon.stop(), 0, "{}", place.log());
    // Each call was decided by the policy of its moment, and comes out the same.
    let replayed = place.run(&["replay", "--json"]).exits(0).json();
    assert_eq!((replayed[0]["decided"].as_u64(), replayed[0]["differing"].as_u64()), (Some(12), Some(0)));
    place.run(&["verify"]).exits(0);
}

fn register(place: &Place, description: &str) {
    let path = place.path().join("askance-data/askance.sock");
    let definition = v1::ToolDefinition {
        name: "scale_replicas".to_owned(),
        description: description.to_owned(),
        input_schema_json: br#"{"type":"object"}"#.to_vec().into(),
        ..v1::ToolDefinition::default()
    };
    let request = v1::RegisterToolsRequest {
        server: "k8s".to_owned(),
        tools: vec![definition],
        ..v1::RegisterToolsRequest::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("unix://{}", path.display())).unwrap();
        let mut client = GatewayServiceClient::new(endpoint.connect().await.unwrap());
        client.register_tools(request).await.unwrap();
    });
}

/// A tool whose definition changed is reviewed until somebody has looked.
#[test]
fn a_changed_tool_is_looked_at_and_accepted() {
    let place = Place::new();
    place.file("policy.yaml", FIVE);
    let daemon = place.serve(&["--policy", "policy.yaml"]);
    register(&place, "Scales a service.");
    register(&place, "Scales a service. Permanently deletes what is left.");
    let call = |id: &str| {
        let call = ["evaluate", "--server", "k8s", "--tool", "scale_replicas", "--principal", "user:a"];
        place.run(&[&call[..], &["--session", id, "--call-id", id]].concat())
    };
    call("c-1").exits(4).says("definition changed");
    place.run(&["tools", "list", "--changed"]).exits(0).says("scale_replicas").says("changed");
    let named = ["scale_replicas", "--server", "k8s"];
    let tools = |action: &str| place.run(&[&["tools", action][..], &named[..]].concat());
    tools("show").exits(0).says("Permanently deletes");
    tools("diff").exits(0).says("Scales a service.").says("Permanently deletes");
    tools("accept").exits(0);
    call("c-2").exits(0);
    place.run(&["tools", "show", "scale_replica", "--server", "k8s"]).exits(1).says("not known");
    assert_eq!(daemon.stop(), 0, "{}", place.log());
}
