//! Reviews that clients carry, and agents beneath agents.

use crate::packages::{Packages, file, packages};
use crate::support::Place;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// The official client calls what people must look at; tells the page it opens and what came of the call.
fn carried(
    place: &Place,
    packages: &Packages,
    action: &str,
    meanwhile: impl FnOnce(&str),
) -> (String, String) {
    let mut command = Command::new(&packages.python);
    command.env_clear().current_dir(place.path());
    place.askance().get_envs().for_each(|(name, value)| {
        command.env(name, value.unwrap_or_default());
    });
    command.args([file("clients/review.py"), action.to_owned(), env!("CARGO_BIN_EXE_askance").to_owned()]);
    command.args(["mcp", "wrap", "--hold", "20s", "--review-page", "https://desk.example/r/{review}", "--"]);
    command.arg(&packages.python).arg(file("servers/official.py"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let page = lines.next().unwrap().unwrap();
    meanwhile(page.rsplit('/').next().unwrap());
    writeln!(child.stdin.as_mut().unwrap()).unwrap();
    let said = lines.next().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    (page, said)
}

#[test]
fn a_client_that_opens_pages_is_asked_to_and_brings_the_call_back() {
    let Some(packages) = packages() else { return };
    let place = Place::new();
    let (page, said) = carried(&place, packages, "accept", |review| {
        let (code, told) = place.run(&["review", "approve", review]);
        assert_eq!(code, 0, "{told}");
    });
    assert!(page.starts_with("https://desk.example/r/"), "{page}");
    assert_eq!(said, "False deleted main");
    let calls = place.calls();
    let proposed = calls.iter().filter(|event| event["kind"] == "call_proposed").count();
    assert_eq!(proposed, 1, "the call that came back is the same one");
}

#[test]
fn a_user_who_does_not_open_the_page_gets_the_reviews_name() {
    let Some(packages) = packages() else { return };
    let place = Place::new();
    let (_, said) = carried(&place, packages, "decline", |_| {});
    assert!(said.starts_with("True This call was not run yet") && said.contains("review"), "{said}");
}

fn verdict_of(answer: &Value) -> &str {
    answer["result"]["_meta"]["dev.askance/decision"]["refused"].as_str().unwrap_or("ran")
}

#[test]
fn a_composition_across_a_parent_and_its_child_is_found() {
    let flags = |session: &'static str| ["--hold", "0s", "--principal", "user:ann", "--session", session];
    let reads = [("fetch_webpage", r#"{"url":"http://a.example"}"#), ("get_secret", r#"{"name":"db"}"#)];
    let sends = ("send_email", r#"{"to":"x@b.example","body":"hello"}"#);
    // The same three calls, in sessions that have nothing to do with each other, and in a parent and its child.
    for is_nested in [false, true] {
        let place = Place::new();
        std::fs::write(
            place.path().join("policy.yaml"),
            "version: 1\ndefaults: {low: allow, medium: allow, high: allow, critical: allow}\n",
        )
        .unwrap();
        let mut parent = place.wrap(&flags("parent"));
        parent.greet();
        for (id, (tool, arguments)) in (1..).zip(reads) {
            parent.call(id, tool, arguments);
            assert_eq!(verdict_of(&parent.next()), "ran", "{tool}");
        }
        let mut nested = flags("child").to_vec();
        nested.extend(["--principal", "agent:helper"]);
        if is_nested {
            nested.extend(["--parent-session", "parent"]);
        }
        let mut child = place.wrap(&nested);
        child.greet();
        child.call(1, sends.0, sends.1);
        let answer = child.next();
        let expected = if is_nested { "review" } else { "ran" };
        assert_eq!(verdict_of(&answer), expected, "{answer:#}");
    }
}

#[test]
fn a_client_tells_its_place_among_agents_beside_its_calls() {
    let place = Place::new();
    let mut client = place.wrap(&["--principal", "user:ann"]);
    client.greet();
    for (id, meta) in (1..).zip([
        json!({"dev.askance/session": "s-1", "dev.askance/parentSession": "s-0", "dev.askance/principals": ["agent:planner", "agent:deployer"]}),
        json!({"baggage": "gen_ai.conversation.id=c%2D9", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}),
        json!({}),
    ]) {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": "get_logs", "_meta": meta}});
        client.send(&call.to_string());
        assert_eq!(client.next()["id"], id);
    }
    client.hang_up();
    client.ended();
    let calls = place.calls();
    let chains: Vec<&Value> = calls
        .iter()
        .filter(|event| event["kind"] == "call_proposed")
        .map(|event| &event["data"]["principal_chain"])
        .collect();
    assert_eq!(
        chains,
        [&json!(["user:ann", "agent:planner", "agent:deployer"]), &json!(["user:ann"]), &json!(["user:ann"])]
    );
    let (code, listed) = place.run(&["sessions", "list", "--json"]);
    assert_eq!(code, 0, "{listed}");
    let sessions: Vec<Value> = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    let told = |session: &Value| (session["session_id"].clone(), session["source"].clone());
    let told: Vec<(Value, Value)> = sessions.iter().rev().map(told).collect();
    assert_eq!(
        told[..2],
        [(json!("s-1"), json!("explicit")), (json!("c-9"), json!("conversation"))],
        "{listed}"
    );
    assert_eq!(told[2].1, "host", "{listed}");
}
