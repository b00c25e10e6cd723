//! `askance hook` beside a daemon, without one, and beside one that does not answer.

use crate::support::{Place, SOON};
use askance::proto::v1::event::Data;
use askance::proto::v1::timeline_service_client::TimelineServiceClient;
use askance::proto::v1::{EventFilter, ListEventsRequest};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tonic::transport::Endpoint;

/// What a hook said.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) line: Value,
    pub(crate) aside: String,
}

/// Runs the hook with this message; it says exactly one line of JSON.
#[track_caller]
pub(crate) fn hook(place: &Place, client: &str, flags: &[&str], message: &str) -> Said {
    let mut command = place.askance();
    command.args(["hook", client]).args(flags);
    said(command, message)
}

#[track_caller]
fn said(mut command: Command, message: &str) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let aside = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(out.ends_with('\n') && out.lines().count() == 1, "one line: {out:?} {aside}");
    let line = serde_json::from_str(&out).unwrap_or_else(|fault| panic!("{fault}: {out:?}"));
    Said { code: output.status.code().unwrap(), line, aside }
}

pub(crate) fn before(client: &str, session: &str, tool: &str, id: &str, input: &Value) -> String {
    let message = match client {
        "gemini" => {
            json!({ "session_id": session, "hook_event_name": "BeforeTool", "tool_name": tool, "tool_input": input })
        }
        "cursor" => {
            json!({ "conversation_id": session, "hook_event_name": "preToolUse", "tool_name": tool, "tool_input": input, "tool_use_id": id })
        }
        "vscode" => {
            json!({ "sessionId": session, "hookEventName": "PreToolUse", "tool_name": tool, "tool_input": input, "tool_use_id": id })
        }
        _ => {
            json!({ "session_id": session, "hook_event_name": "PreToolUse", "permission_mode": "default", "tool_name": tool, "tool_input": input, "tool_use_id": id })
        }
    };
    message.to_string()
}

/// Why a line says no; none if it does not.
pub(crate) fn no(line: &Value) -> Option<&str> {
    let places =
        [&line["hookSpecificOutput"]["permissionDecisionReason"], &line["reason"], &line["agent_message"]];
    let says_no = line["hookSpecificOutput"]["permissionDecision"] == "deny"
        || line["decision"] == "deny"
        || line["permission"] == "deny";
    says_no.then(|| places.into_iter().find_map(Value::as_str).expect("a no has a reason"))
}

const CLIENTS: [&str; 5] = ["claude", "vscode", "codex", "gemini", "cursor"];

#[test]
fn nobody_approves_a_call_of_their_own_agent_and_is_told_who_can() {
    let place = Place::new();
    let daemon = place.serve();
    // Without a name in its environment the hook names its user as the daemon names a voter.
    let mut command = place.askance();
    command.env_remove("USER").args(["hook", "claude", "--hold", "0s"]);
    let waits = said(command, &before("claude", "s-1", "mcp__files__delete_note", "1", &json!({})));
    let why = no(&waits.line).unwrap().to_owned();
    let review = why.split("approve review ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let (code, told) = place.run(&["review", "approve", review]);
    assert!(code == 1 && told.contains("nobody approves their own call") && told.contains("sudo"), "{told}");
    drop(daemon);
}

#[test]
fn each_client_is_let_pass_refused_and_stopped() {
    let place = Place::new();
    let daemon = place.serve();
    for client in CLIENTS {
        let mcp = |tool: &str| {
            if client == "cursor" { format!("MCP:files:{tool}") } else { format!("mcp__files__{tool}") }
        };
        let ask = |tool: &str, id: &str| {
            hook(
                &place,
                client,
                &["--hold", "0s"],
                &before(client, "s-1", &mcp(tool), id, &json!({"name": "x"})),
            )
        };
        let allowed = ask("get_note", "1");
        assert_eq!((allowed.code, allowed.line.clone()), (0, json!({})), "{client}: {}", allowed.aside);
        let denied = ask("drop_table", "2");
        let why = no(&denied.line).unwrap_or_else(|| panic!("{client}: {}", denied.line));
        assert!(why.contains("denied it") && denied.code == 0, "{client}: {why}");
        let waits = ask("delete_note", "3");
        let why = no(&waits.line).unwrap_or_else(|| panic!("{client}: {}", waits.line));
        assert!(why.contains("approve review") && why.contains("same call again"), "{client}: {why}");
    }
    let (code, told) = place.run(&["lock", "everything", "--reason", "drill"]);
    assert_eq!(code, 0, "{told}");
    for client in CLIENTS {
        let locked = hook(&place, client, &[], &before(client, "s-1", "Read", "9", &json!({})));
        assert!(no(&locked.line).is_some(), "{client}: {}", locked.line);
        let stops = locked.line["continue"] == json!(false);
        assert_eq!(stops, !["codex", "cursor"].contains(&client), "{client}: {}", locked.line);
    }
    daemon.kill();
    let calls = place.calls();
    let proposed: Vec<&Value> = calls.iter().filter(|event| event["kind"] == "call_proposed").collect();
    assert_eq!(proposed.len(), 20);
    let chains: Vec<String> =
        proposed.iter().map(|event| event["data"]["principal_chain"].to_string()).collect();
    for agent in ["claude-code", "vscode", "codex", "gemini-cli", "cursor"] {
        let chain = format!(r#"["user:ann","agent:{agent}"]"#);
        assert_eq!(chains.iter().filter(|known| **known == chain).count(), 4, "{agent}: {chains:?}");
    }
    assert!(
        proposed.iter().any(|event| event["data"]["server"] == "client" && event["data"]["tool"] == "Read")
    );
    assert!(proposed.iter().any(|event| event["data"]["server"] == "files"));
}

/// What users asked for, as the log has it.
fn requests(place: &Place) -> String {
    let socket = place.path().join("askance-data/askance.sock");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answer = runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap();
        let mut client = TimelineServiceClient::new(endpoint.connect().await.unwrap());
        let filter = EventFilter { include_payloads: true, ..EventFilter::default() };
        let request = ListEventsRequest { filter: Some(filter), ..ListEventsRequest::default() };
        client.list_events(request).await.unwrap().into_inner()
    });
    let calls = answer.events.into_iter().filter_map(|event| match event.data {
        Some(Data::CallProposed(proposed)) => proposed.call?.user_request,
        _ => None,
    });
    calls.map(|request| request.text).collect()
}

#[test]
fn a_session_from_its_first_request_to_its_end() {
    let place = Place::new();
    let daemon = place.serve();
    let say = |message: Value| {
        let said = hook(&place, "claude", &[], &message.to_string());
        assert_eq!((said.code, said.line), (0, json!({})), "{message}: {}", said.aside);
    };
    let prompt = "read the note about the milk, my key is sk-0123456789abcdef01234567";
    say(
        json!({ "session_id": "s-1", "hook_event_name": "UserPromptSubmit", "permission_mode": "default", "prompt": prompt }),
    );
    let within = |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let notes = || -> Vec<String> {
        within(&place.path().join("askance-data/hooks"))
            .flat_map(|shelf| within(&shelf))
            .map(|path| std::fs::read_to_string(path).unwrap())
            .collect()
    };
    let left = notes();
    assert!(left.len() == 1 && left[0].contains("milk") && !left[0].contains("sk-0123"), "{left:?}");
    let input = json!({ "name": "milk" });
    say(serde_json::from_str(&before("claude", "s-1", "mcp__files__get_note", "toolu_1", &input)).unwrap());
    say(json!({
        "session_id": "s-1", "hook_event_name": "PostToolUse", "permission_mode": "default",
        "tool_name": "mcp__files__get_note", "tool_input": input, "tool_use_id": "toolu_1", "duration_ms": 41,
        "tool_response": { "content": [{ "type": "text", "text": "buy milk, sk-0123456789abcdef01234567" }] },
    }));
    say(
        json!({ "session_id": "s-1", "hook_event_name": "SessionEnd", "permission_mode": "default", "reason": "exit" }),
    );
    assert_eq!(notes(), [""; 0]);
    let asked = requests(&place);
    assert!(asked.contains("note about the milk") && !asked.contains("sk-0123"), "{asked}");
    daemon.kill();
    let calls = place.calls();
    let of = |kind: &str| {
        calls.iter().find(|event| event["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {calls:#?}"))
    };
    let completed = of("call_completed").to_string();
    assert!(completed.contains("buy milk") && !completed.contains("sk-0123"), "{completed}");
}

#[test]
fn a_client_that_gives_calls_no_id_gets_its_outcomes_all_the_same() {
    let place = Place::new();
    let daemon = place.serve();
    let input = json!({ "name": "x" });
    for _ in 0..2 {
        let said = hook(&place, "gemini", &[], &before("gemini", "g-1", "get_note", "", &input));
        assert_eq!(said.line, json!({}), "{}", said.aside);
    }
    for text in ["first", "second", "third, of a call that never was"] {
        let after = json!({
            "session_id": "g-1", "hook_event_name": "AfterTool", "tool_name": "get_note", "tool_input": input,
            "tool_response": { "llmContent": text },
        });
        assert_eq!(hook(&place, "gemini", &[], &after.to_string()).line, json!({}));
    }
    daemon.kill();
    let calls = place.calls();
    let completed: Vec<String> = calls
        .iter()
        .filter(|event| event["kind"] == "call_completed")
        .map(|event| event["data"]["result"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(completed, ["first", "second"]);
}

#[test]
fn an_approved_call_passes_when_it_comes_again() {
    let place = Place::new();
    let _daemon = place.serve();
    let ask = |id: &str| {
        hook(
            &place,
            "claude",
            &["--hold", "0s"],
            &before("claude", "s-1", "mcp__files__delete_note", id, &json!({"name": "x"})),
        )
    };
    let waits = ask("toolu_1");
    let why = no(&waits.line).unwrap().to_owned();
    let review = why.split("approve review ").nth(1).unwrap().split(' ').next().unwrap();
    let (code, told) = place.run(&["review", "approve", review]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(ask("toolu_2").line, json!({}));
    assert!(no(&ask("toolu_3").line).is_some(), "an approval is good for one call");
}

#[test]
fn a_call_that_is_held_runs_once_it_is_approved() {
    let place = Place::new();
    let _daemon = place.serve();
    let message = before("claude", "s-1", "mcp__files__delete_note", "toolu_1", &json!({"name": "x"}));
    std::thread::scope(|scope| {
        let held = scope.spawn(|| hook(&place, "claude", &["--hold", "30s", "--within", "40s"], &message));
        let since = Instant::now();
        let review = loop {
            let (_, listed) = place.run(&["review", "list", "--json"]);
            let found = serde_json::from_str::<Value>(&listed).ok().and_then(|list| {
                let review = list.as_array()?.first()?;
                review.get("review_id").or_else(|| review.get("id"))?.as_str().map(str::to_owned)
            });
            if let Some(review) = found {
                break review;
            }
            assert!(since.elapsed() < SOON, "no review: {listed}");
        };
        let (code, told) = place.run(&["review", "approve", &review]);
        assert_eq!(code, 0, "{told}");
        let said = held.join().unwrap();
        assert_eq!(said.line, json!({}), "{}", said.aside);
    });
}

#[test]
fn without_a_daemon_nothing_runs_but_what_is_said_to() {
    let place = Place::new();
    for client in CLIENTS {
        let read = before(client, "s-1", "Read", "1", &json!({ "file_path": "src/main.rs" }));
        let refused = hook(&place, client, &[], &read);
        let why = no(&refused.line).unwrap_or_else(|| panic!("{client}: {}", refused.line));
        assert!(
            why.contains("cannot be asked") && why.contains("low risk") && refused.code == 0,
            "{client}: {why}"
        );
        assert_eq!(hook(&place, client, &["--when-away", "low"], &read).line, json!({}), "{client}");
        let shell = before(client, "s-1", "Bash", "2", &json!({ "command": "ls" }));
        assert!(no(&hook(&place, client, &["--when-away", "low"], &shell).line).is_some(), "{client}");
    }
    let wrapped = before("claude", "s-1", "mcp__files__drop_all", "3", &json!({}));
    assert!(no(&hook(&place, "claude", &[], &wrapped).line).is_some());
    assert_eq!(hook(&place, "claude", &["--built-in-only"], &wrapped).line, json!({}));
    let own = before("claude", "s-1", "Read", "4", &json!({}));
    assert!(no(&hook(&place, "claude", &["--built-in-only"], &own).line).is_some());
    let end = r#"{"session_id":"s-1","hook_event_name":"SessionEnd","permission_mode":"default"}"#;
    let said = hook(&place, "claude", &[], end);
    assert_eq!((said.code, said.line), (0, json!({})), "nothing hangs on it");
    let bad = hook(
        &place,
        "claude",
        &["--set", "engine.queue_max=-3"],
        &before("claude", "s", "Read", "1", &json!({})),
    );
    assert!(no(&bad.line).unwrap().contains("queue_max"), "{}", bad.line);
}

#[test]
fn what_cannot_be_read_is_a_no_in_every_way() {
    let place = Place::new();
    let _daemon = place.serve();
    let long =
        format!(r#"{{"hook_event_name":"PreToolUse","tool_name":"Read","x":"{}"}}"#, "a".repeat(17 << 20));
    for bad in ["", "no JSON", "{\"hook_event_name\":\"PreToolUse\"", &long] {
        let mut command = place.askance();
        command.args(["hook", "codex"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It reads no further than it must.
        let _unread = child.stdin.take().unwrap().write_all(bad.as_bytes());
        let output = child.wait_with_output().unwrap();
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(no(&line).unwrap().contains("cannot read"), "{line}");
        assert_eq!(output.status.code(), Some(2));
        assert!(!output.stderr.is_empty(), "some clients show this");
    }
    let unacceptable = before("claude", "s", "Read", "1", &json!({})).replace("{}", r#"{"a":1,"a":2}"#);
    let said = hook(&place, "claude", &[], &unacceptable);
    assert!(no(&said.line).unwrap().contains("cannot judge"), "{}", said.line);
    let flag = hook(&place, "claude", &["--hold", "soon"], &before("claude", "s", "Read", "1", &json!({})));
    assert!(flag.code == 2 && no(&flag.line).unwrap().contains("--hold"), "{}", flag.line);
    let (code, _) = place.run(&["hook", "notepad"]);
    assert_eq!(code, 2);
}

#[test]
fn there_is_an_answer_in_time_whatever_hangs() {
    let place = Place::new();
    let dir = place.path().join("askance-data");
    std::fs::create_dir(&dir).unwrap();
    // It takes connections and says nothing.
    let listener = UnixListener::bind(dir.join("askance.sock")).unwrap();
    std::thread::spawn(move || {
        let mut taken = Vec::new();
        while let Ok(stream) = listener.accept() {
            taken.push(stream);
        }
    });
    let since = Instant::now();
    let read = before("claude", "s", "Read", "1", &json!({}));
    let said = hook(&place, "claude", &["--within", "700ms", "--timeout", "30s"], &read);
    assert!(no(&said.line).unwrap().contains("in time"), "{}", said.line);
    let said = hook(&place, "claude", &["--timeout", "300ms"], &read);
    assert!(no(&said.line).unwrap().contains("cannot be asked"), "{}", said.line);
    // A client that never ends its message.
    let mut command = place.askance();
    command.args(["hook", "claude", "--within", "300ms"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(read.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(no(&line).is_some() && output.status.code() == Some(2), "{line}");
    drop(stdin);
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
}

#[test]
fn forty_hooks_at_a_time_are_each_answered() {
    let place = Place::new();
    let daemon = place.serve();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..40)
            .map(|number: u32| {
                let place = &place;
                scope.spawn(move || {
                    let tool = if number.is_multiple_of(2) { "get_note" } else { "drop_note" };
                    let message =
                        before("codex", "s-1", tool, &number.to_string(), &json!({ "number": number }));
                    no(&hook(place, "codex", &["--timeout", "20s"], &message).line).is_some()
                })
            })
            .collect();
        for (number, one) in all.into_iter().enumerate() {
            assert_eq!(one.join().unwrap(), number % 2 == 1, "{number}");
        }
    });
    daemon.kill();
    assert_eq!(place.calls().iter().filter(|event| event["kind"] == "call_proposed").count(), 40);
}
