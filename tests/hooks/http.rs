//! `POST /v1/hooks/CLIENT` of the daemon, and the paths of gateways.

use crate::running::{before, no};
use crate::support::{Daemon, Place, eventually};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

/// A daemon with the door open, and where it is.
pub(crate) fn serve(place: &Place) -> (Daemon, String) {
    let path = place.path().join("serve.log");
    let log = std::fs::File::create(&path).unwrap();
    let mut command = place.askance();
    command.args([
        "serve",
        "--set",
        "http.listen=127.0.0.1:0",
        "--set",
        "log_format=json",
        "--set",
        "http.hold=0s",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let daemon = Daemon(command.spawn().unwrap());
    let mut address = String::new();
    eventually("the adapters' address", || {
        let text = std::fs::read_to_string(&path).unwrap();
        let line = text.lines().find(|line| line.contains("adapters over HTTP"));
        let Some(line) = line else { return false };
        address = line.split("127.0.0.1:").nth(1).unwrap().chars().take_while(char::is_ascii_digit).collect();
        place.path().join("askance-data/askance.sock").exists()
    });
    (daemon, format!("127.0.0.1:{address}"))
}

pub(crate) fn ask(address: &str, head: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    let request = format!("{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn post(address: &str, client: &str, headers: &str, body: &str) -> (u16, Value) {
    let head = format!("POST /v1/hooks/{client} HTTP/1.1\r\nHost: {address}\r\n{headers}");
    let (status, body) = ask(address, &head, body);
    assert_eq!(body.lines().count(), 1, "{body}");
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

#[test]
fn the_door_answers_as_the_command_does() {
    let place = Place::new();
    let (daemon, address) = serve(&place);
    let say = |headers: &str, message: &str| post(&address, "claude", headers, message);
    let get = before("claude", "s-1", "mcp__files__get_note", "toolu_1", &json!({ "name": "x" }));
    assert_eq!(say("", &get), (200, json!({})));
    let after = json!({
        "session_id": "s-1", "hook_event_name": "PostToolUse", "permission_mode": "default", "tool_name": "mcp__files__get_note",
        "tool_input": { "name": "x" }, "tool_use_id": "toolu_1", "tool_response": "a note",
    });
    assert_eq!(say("", &after.to_string()), (200, json!({})));
    let named = "askance-principal: user:bob\r\naskance-principal: agent:planner\r\n";
    let (status, line) = say(named, &before("claude", "s-2", "drop_table", "toolu_2", &json!({})));
    assert!(status == 200 && no(&line).unwrap().contains("denied it"), "{line}");
    let (status, line) = say("", &before("claude", "s-1", "delete_note", "toolu_3", &json!({})));
    assert!(status == 200 && no(&line).unwrap().contains("approve review"), "{line}");
    // Any other status would let the call run.
    let (status, line) = say("", "no JSON");
    assert!(status == 200 && no(&line).unwrap().contains("cannot read"), "{line}");
    let (status, line) = say(&format!("askance-principal: {}\r\n", "a".repeat(300)), &get);
    assert!(status == 200 && no(&line).unwrap().contains("no name"), "{status} {line}");
    let head = |line: &str, host: &str| format!("{line} HTTP/1.1\r\nHost: {host}\r\n");
    assert_eq!(ask(&address, &head("POST /v1/hooks/notepad", &address), &get).0, 404);
    assert_eq!(ask(&address, &head("GET /v1/hooks/claude", &address), "").0, 405);
    assert_eq!(ask(&address, &head("POST /v1/hooks/claude", "rebound.example"), &get).0, 403);
    let foreign = format!("{}Origin: https://evil.example\r\n", head("POST /v1/hooks/claude", &address));
    assert_eq!(ask(&address, &foreign, &get).0, 403);
    daemon.kill();
    let calls = place.calls();
    let chains: Vec<String> = calls
        .iter()
        .filter(|event| event["kind"] == "call_proposed")
        .map(|event| event["data"]["principal_chain"].to_string())
        .collect();
    assert!(chains.contains(&r#"["user:ann","agent:claude-code"]"#.to_owned()), "{chains:?}");
    assert!(chains.contains(&r#"["user:bob","agent:planner","agent:claude-code"]"#.to_owned()), "{chains:?}");
    assert_eq!(calls.iter().filter(|event| event["kind"] == "call_completed").count(), 1);
}

#[test]
fn gateways_are_answered_in_their_own_form() {
    let place = Place::new();
    let (daemon, address) = serve(&place);
    let say = |path: &str, headers: &str, body: &Value| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{headers}");
        ask(&address, &head, &body.to_string())
    };
    let docker = |tool: &str| json!({ "method": "tools/call", "params": { "name": tool, "arguments": {} } });
    let at = "/v1/gateways/docker?server=files&principal=user:bob";
    assert_eq!(say(at, "", &docker("get_note")), (200, String::new()));
    let (status, body) = say(at, "", &docker("drop_table"));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(status == 200 && body["isError"] == true, "{body}");
    let hive = |uid: &str, tool: &str| {
        json!({
            "version": "v0.1.0", "uid": uid, "timestamp": "2026-11-01T09:00:00Z", "principal": { "sub": "carl" },
            "mcp_request": { "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } },
            "context": { "server_name": "files", "source_ip": "127.0.0.1:9", "transport": "stdio" },
        })
    };
    let told = |uid: &str, tool: &str| {
        let (status, body) = say("/v1/gateways/toolhive", "", &hive(uid, tool));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    assert_eq!(told("u-1", "get_note")["allowed"], true);
    let held = told("u-2", "delete_note");
    assert!(held["allowed"] == false && held["details"]["review_id"] != "", "{held}");
    let zen = |tool: &str| {
        json!({
            "subject": { "type": "user", "id": "dora" }, "action": { "name": "tools/call" },
            "resource": { "type": "tool", "id": tool, "properties": { "server": "files" } }, "context": {},
        })
    };
    let evaluated = |tool: &str| {
        let (status, body) = say("/access/v1/evaluation", "X-Request-ID: r-1\r\n", &zen(tool));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()
    };
    assert_eq!(evaluated("get_note"), json!({ "decision": true }));
    assert_eq!(evaluated("drop_table")["decision"], false);
    assert_eq!(say("/access/v1/evaluation", "", &json!({})).0, 400);
    daemon.kill();
    let calls = place.calls();
    let chains: Vec<String> = calls
        .iter()
        .filter(|event| event["kind"] == "call_proposed")
        .map(|event| event["data"]["principal_chain"].to_string())
        .collect();
    for who in ["user:bob", "user:carl", "user:dora"] {
        assert!(chains.contains(&format!("[\"{who}\"]")), "{who}: {chains:?}");
    }
}

#[test]
fn who_may_ask_is_as_over_grpc() {
    let place = Place::new();
    let (_daemon, address) = serve(&place);
    let get = |id: &str| before("claude", "s-1", "get_note", id, &json!({}));
    assert_eq!(post(&address, "claude", "", &get("1")).1, json!({}), "loopback, while there are no tokens");
    let token = |role: &str| {
        let (code, told) =
            place.run(&["token", "create", "--subject", &format!("agent:{role}"), "--role", role, "--json"]);
        assert_eq!(code, 0, "{told}");
        let told: Value =
            serde_json::from_str(told.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
        format!("Authorization: Bearer {}\r\n", told["secret"].as_str().unwrap())
    };
    let (gateway, auditor) = (token("gateway"), token("auditor"));
    let refused =
        |headers: &str, id: &str| no(&post(&address, "claude", headers, &get(id)).1).map(str::to_owned);
    assert!(refused("", "2").unwrap().contains("token"), "with tokens, only they count");
    assert!(refused("Authorization: Bearer wrong\r\n", "3").is_some());
    let told = refused(&auditor, "4").unwrap();
    assert!(
        told.contains("needs a gateway's") && told.contains("auditor"),
        "an auditor asks about nothing: {told}"
    );
    assert_eq!(refused(&gateway, "5"), None);
}

#[test]
fn it_is_off_unless_asked_for_and_for_this_machine_only() {
    let place = Place::new();
    let (_, shown) = place.run(&["config", "show", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let listen = shown.as_array().unwrap().iter().find(|field| field["key"] == "http.listen").unwrap();
    assert_eq!(listen["value"], "off");
    let (code, told) = place.run(&["config", "check", "--set", "http.listen=0.0.0.0:4753"]);
    assert!(code == 1 && told.contains("http.listen"), "{told}");
}

/// A chain over three sessions: two were started by the first, which a header, a parameter or a field says.
#[test]
fn a_chain_over_nested_sessions_is_found_through_gateways() {
    let place = Place::new();
    let policy = "version: 1\ndefaults: {low: allow, medium: allow, high: allow, critical: allow}\n";
    std::fs::write(place.path().join("policy.yaml"), policy).unwrap();
    let (_daemon, address) = serve(&place);
    let say = |path: &str, headers: &str, body: &Value| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{headers}");
        ask(&address, &head, &body.to_string())
    };
    let zen = |who: &str, session: &str, server: &str, tool: &str, headers: &str| {
        let call = json!({
            "subject": { "type": "user", "id": who }, "action": { "name": "tools/call" },
            "resource": { "type": "tool", "id": tool, "properties": { "server": server } },
            "context": { "session_id": session },
        });
        let (status, answer) = say("/access/v1/evaluation", headers, &call);
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str::<Value>(&answer).unwrap()
    };
    let chain = |who: &str, header: &str| {
        assert_eq!(zen(who, "main", "web", "fetch_url", "")["decision"], true);
        let secret = json!({ "method": "tools/call", "params": { "name": "get_secret", "arguments": {} } });
        let at = format!("/v1/gateways/docker?server=vault&session=left&parent=main&principal=user:{who}");
        assert_eq!(say(&at, "", &secret), (200, String::new()));
        zen(who, "right", "mail", "send_email", header)
    };
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let found = chain("dora", &format!("{trace}baggage: a=b,askance.parent=main\r\n"));
    assert_eq!(found["decision"], false, "{found}");
    let alone = chain("carl", trace);
    assert_eq!(alone["decision"], true, "of a session that nobody started it is harmless: {alone}");
}
