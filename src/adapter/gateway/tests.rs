//! What each gateway's message is understood as, and what it is answered.

use super::super::envelope::{About, Call};
use super::*;
use crate::domain::risk::RiskCategory;
use crate::proto::v1::{Decision, ReasonCode};
use proptest::prelude::*;
use serde_json::{Value, json};

fn understood(gateway: Gateway, message: &Value, query: &str) -> Envelope {
    read(gateway, message.to_string().as_bytes(), query).read.unwrap()
}

fn called(envelope: &Envelope) -> &Call {
    let About::Before(call) = &envelope.about else { panic!("{envelope:?}") };
    call
}

fn fault(gateway: Gateway, message: &Value, query: &str) -> String {
    read(gateway, message.to_string().as_bytes(), query).read.unwrap_err()
}

fn docker(tool: &str) -> Value {
    json!({ "method": "tools/call", "params": { "name": tool, "arguments": { "q": "x" } } })
}

fn toolhive(request: &Value) -> Value {
    json!({
        "version": "v0.1.0", "uid": "u-1", "timestamp": "2026-11-01T09:00:00Z",
        "principal": { "sub": "ann", "delegation": { "chain": [{ "sub": "late" }, { "sub": "early" }] } },
        "mcp_request": request,
        "context": { "server_name": "vmcp", "backend_server": "files", "source_ip": "10.0.0.7:5", "transport": "sse" },
    })
}

fn authzen(action: &str, arguments: &Value) -> Value {
    json!({
        "subject": { "type": "user", "id": "ann", "properties": { "act": { "sub": "late", "act": { "sub": "early" } } } },
        "action": { "name": action },
        "resource": { "type": "tool", "id": "read_text", "properties": { "server": "files" } },
        "context": { "session_id": "s-1", "arguments": arguments },
    })
}

fn waits() -> Ruling {
    let decision = Decision {
        risk: 93,
        review_id: "0-17".to_owned(),
        reason: "a floor fired".to_owned(),
        call_id: "hook-1".to_owned(),
        reason_code: ReasonCode::FloorFired.into(),
        ..Decision::default()
    };
    Ruling::Refuse(Refusal::Waits(Box::new(decision)))
}

fn away() -> Ruling {
    Ruling::Refuse(Refusal::Away(RiskCategory::High, "nobody is there".to_owned()))
}

#[test]
fn docker_says_the_call_and_its_address_the_rest() {
    let envelope =
        understood(Gateway::Docker, &docker("search"), "server=web%20docs&session=s-1&principal=user:ann");
    let call = called(&envelope);
    assert_eq!((call.server.as_str(), call.tool.as_str(), call.id.as_str()), ("web docs", "search", ""));
    assert_eq!(call.arguments, br#"{"q":"x"}"#);
    assert_eq!((envelope.session.as_str(), envelope.principals.join(" ").as_str()), ("s-1", "user:ann"));
    let bare = understood(Gateway::Docker, &docker("search"), "");
    assert_eq!((called(&bare).server.as_str(), bare.principals.len()), ("docker-mcp-gateway", 0));
    assert_eq!(called(&understood(Gateway::Docker, &docker("x"), "server=client")).server, "mcp:client");
    let after = json!({ "content": [{ "type": "text", "text": "x" }] });
    assert_eq!(understood(Gateway::Docker, &after, "").about, About::Nothing);
    assert!(fault(Gateway::Docker, &docker("x"), "princpal=user:ann").contains("princpal"));
    assert!(fault(Gateway::Docker, &docker("x"), "principal=").contains("principal"));
    assert!(fault(Gateway::Docker, &json!({}), "").contains("method"));
}

#[test]
fn docker_runs_a_call_only_on_an_empty_answer() {
    let message = read(Gateway::Docker, docker("x").to_string().as_bytes(), "");
    let passed = answer(Gateway::Docker, &message, &Ruling::Pass);
    assert_eq!((passed.status, passed.body.as_str()), (200, ""));
    let no: Value = serde_json::from_str(&answer(Gateway::Docker, &message, &waits()).body).unwrap();
    assert_eq!(no["isError"], true);
    assert!(no["content"][0]["text"].as_str().unwrap().contains("review 0-17"), "{no}");
    let unread = read(Gateway::Docker, b"{", "");
    let no: Value = serde_json::from_str(&answer(Gateway::Docker, &unread, &Ruling::Pass).body).unwrap();
    assert_eq!(no["isError"], true, "what cannot be read does not run");
}

#[test]
fn toolhive_says_who_and_where() {
    let request = json!({
        "jsonrpc": "2.0", "id": 7, "method": "tools/call",
        "params": { "name": "read_text", "arguments": { "path": "/a" }, "_meta": { "dev.askance/session": "s-9" } },
    });
    let envelope = understood(Gateway::ToolHive, &toolhive(&request), "");
    let call = called(&envelope);
    assert_eq!((call.server.as_str(), call.tool.as_str(), call.id.as_str()), ("files", "read_text", "u-1"));
    assert_eq!(envelope.principals.join(" "), "user:ann agent:early agent:late");
    assert_eq!(envelope.session, "s-9");
    let list = json!({ "jsonrpc": "2.0", "id": 8, "method": "tools/list" });
    assert_eq!(understood(Gateway::ToolHive, &toolhive(&list), "").about, About::Nothing);
    let batch = json!([request]);
    assert!(fault(Gateway::ToolHive, &toolhive(&batch), "").contains("batch"));
    let mut newer = toolhive(&list);
    newer["version"] = "v1".into();
    assert!(fault(Gateway::ToolHive, &newer, "").contains("v0.1"));
    newer["version"] = "v0.1.0".into();
    newer["principal"] = json!({ "sub": "a\u{202e}" });
    assert!(fault(Gateway::ToolHive, &newer, "").contains("principal"), "nobody acts for one with no name");
}

#[test]
fn toolhive_is_answered_with_its_id() {
    let list = json!({ "jsonrpc": "2.0", "id": 8, "method": "tools/list" });
    let message = read(Gateway::ToolHive, toolhive(&list).to_string().as_bytes(), "");
    let told = |ruling: &Ruling| {
        let answer = answer(Gateway::ToolHive, &message, ruling);
        assert_eq!(answer.status, 200);
        serde_json::from_str::<Value>(&answer.body).unwrap()
    };
    assert_eq!(told(&Ruling::Pass), json!({ "version": "v0.1.0", "uid": "u-1", "allowed": true }));
    let no = told(&waits());
    assert_eq!((&no["allowed"], &no["reason"]), (&json!(false), &json!("REASON_CODE_FLOOR_FIRED")));
    assert_eq!(no["details"]["review_id"], "0-17");
    assert!(no["details"].as_object().unwrap().values().all(Value::is_string), "{no}");
    assert_eq!(told(&away())["reason"], "away");
    let unread = read(Gateway::ToolHive, br#"{"uid":"u-2","version":7}"#, "");
    let no: Value = serde_json::from_str(&answer(Gateway::ToolHive, &unread, &Ruling::Pass).body).unwrap();
    assert_eq!((&no["uid"], &no["allowed"]), (&json!("u-2"), &json!(false)));
}

#[test]
fn authzen_evaluates_calls_and_everything_else() {
    let envelope = understood(Gateway::AuthZen, &authzen("tools/call", &json!({ "path": "/a" })), "");
    let call = called(&envelope);
    assert_eq!((call.server.as_str(), call.tool.as_str()), ("files", "read_text"));
    assert_eq!(call.arguments, br#"{"path":"/a"}"#);
    assert_eq!(envelope.principals.join(" "), "user:ann agent:early agent:late");
    assert_eq!(envelope.session, "s-1");
    let other = understood(Gateway::AuthZen, &authzen("can_read", &json!({ "path": "/a" })), "");
    let call = called(&other);
    assert_eq!((call.server.as_str(), call.tool.as_str()), ("tool", "can_read"));
    let arguments: Value = serde_json::from_slice(&call.arguments).unwrap();
    assert_eq!(arguments["resource"], "read_text");
    assert_eq!(arguments["arguments"]["path"], "/a");
    let mut agents = authzen("tools/call", &json!({}));
    agents["context"]["agent"] = "planner".into();
    assert_eq!(understood(Gateway::AuthZen, &agents, "").principals.last().unwrap(), "agent:planner");
    assert!(fault(Gateway::AuthZen, &authzen("tools/call", &json!("x")), "").contains("no object"));
    for part in ["subject", "action", "resource"] {
        let mut message = authzen("tools/call", &json!({}));
        message.as_object_mut().unwrap().remove(part);
        assert!(fault(Gateway::AuthZen, &message, "").contains(part), "{part}");
    }
    let twice = br#"{"subject":{"type":"user","id":"ann","id":"root"},"action":{"name":"a"},"resource":{"type":"t","id":"r"}}"#;
    assert!(read(Gateway::AuthZen, twice, "").read.is_err(), "a key that stands there twice has two readers");
}

#[test]
fn authzen_is_told_why() {
    let message = read(Gateway::AuthZen, authzen("tools/call", &json!({})).to_string().as_bytes(), "");
    assert_eq!(answer(Gateway::AuthZen, &message, &Ruling::Pass).body, r#"{"decision":true}"#);
    let no: Value = serde_json::from_str(&answer(Gateway::AuthZen, &message, &waits()).body).unwrap();
    assert_eq!((&no["decision"], &no["context"]["evaluation_id"]), (&json!(false), &json!("hook-1")));
    assert_eq!(no["context"]["review_id"], "0-17");
    assert!(no["context"].get("access_request").is_none(), "there is no endpoint for access requests yet");
    let unread = answer(Gateway::AuthZen, &read(Gateway::AuthZen, b"[]", ""), &Ruling::Pass);
    assert_eq!(unread.status, 400);
}

#[test]
fn actors_have_an_end() {
    let mut act = json!({ "sub": "first" });
    for number in 0..20 {
        act = json!({ "sub": format!("a{number}"), "act": act });
    }
    let mut message = authzen("tools/call", &json!({}));
    message["subject"]["properties"]["act"] = act;
    assert!(fault(Gateway::AuthZen, &message, "").contains("16"));
}

#[test]
fn paths_are_told_apart() {
    for gateway in Gateway::ALL {
        assert_eq!(Gateway::of_path(gateway.path()), Some(gateway));
    }
    assert_eq!(Gateway::of_path("/v1/gateways/"), None);
}

proptest! {
    #[test]
    fn nothing_that_cannot_be_read_runs(bytes in proptest::collection::vec(any::<u8>(), 0..200), query in ".{0,40}") {
        for gateway in Gateway::ALL {
            let message = read(gateway, &bytes, &query);
            let answer = answer(gateway, &message, &Ruling::Pass);
            if message.read.is_err() {
                prop_assert!(!answer.body.is_empty());
                let says_yes = ["\"allowed\":true", "\"decision\":true"];
                prop_assert!(!says_yes.iter().any(|yes| answer.body.contains(yes)), "{}", answer.body);
                prop_assert!(serde_json::from_str::<Value>(&answer.body).is_ok());
            }
        }
    }
}
