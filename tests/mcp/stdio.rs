//! A stdio server behind the proxy: what passes, what is held, what ends when.

use crate::support::{Client, Place, SOON, children, eventually, lives, scripted};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn text(answer: &Value) -> String {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

fn signal(client: &Client, signal: Signal) {
    kill_process(Pid::from_child(&client.child), signal).unwrap();
}

/// Events of one kind in the log.
fn events(place: &Place, kind: &str) -> Vec<Value> {
    let of_kind = place.calls().into_iter().filter(|event| event["kind"] == kind);
    of_kind.map(|mut event| event["data"].take()).collect()
}

/// The server's process: the only child of the one that keeps it.
fn server_of(client: &Client) -> u32 {
    let mut found = None;
    eventually("the server's process", || {
        let keeper = children(client.child.id()).first().copied();
        found = keeper.and_then(|keeper| children(keeper).first().copied());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn what_is_no_call_passes_byte_for_byte() {
    let script = concat!(
        "{\"jsonrpc\" :\"2.0\", \"id\":1.50,\"method\":\"ping\",\"x\":[1,  2]}\n",
        "{\"id\":\"\\u00e9\",\"method\":\"no/such\\u0020method\",\"jsonrpc\":\"2.0\"}\r\n",
        "{\"method\":\"notifications/whatever\",\"params\":{\"a\":1e400}}\n",
        "[{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}]\n",
        "\n",
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"tools/list\"}\n",
        "{\"id\":4,\"method\":\"tools/call\",\"params\":{\"arguments\":{\"b\":[1,2.50],\"a\":\"\\u00e9\"},\"name\":\"get_logs\",\"q\":0}}",
    );
    let run = |mut command: Command, seen: &std::path::Path| {
        command.env("SEEN", seen).env("LINGERS", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        (String::from_utf8(output.stdout).unwrap(), std::fs::read_to_string(seen).unwrap())
    };
    let place = Place::new();
    let mut bare = Command::new("python3");
    bare.args(&scripted()[1..]);
    let without = run(bare, &place.path().join("bare"));
    let mut wrapped = place.askance();
    wrapped.args(["mcp", "wrap", "--"]).args(scripted());
    let with = run(wrapped, &place.path().join("wrapped"));
    assert_eq!(without.1, script, "the script reaches the server as it is");
    assert_eq!(with, without);
}

#[test]
fn a_call_is_recorded_with_its_outcome_and_its_tools() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    client.greet();
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    assert_eq!(client.next()["result"]["tools"][0]["name"], "get_logs");
    client.call(2, "get_logs", r#"{"service":"api","password":"hunter2"}"#);
    assert_eq!(text(&client.next()), r#"get_logs ran with {"password": "hunter2", "service": "api"}"#);
    client.call(3, "get_error", "{}");
    assert_eq!(client.next()["error"]["message"], "broken");
    client.hang_up();
    assert!(client.ended().0.success());
    let proposed = events(&place, "call_proposed");
    assert_eq!(proposed.len(), 2, "{proposed:#?}");
    let call = &proposed[0];
    assert_eq!((&call["server"], &call["tool"]), (&"scripted".into(), &"get_logs".into()), "{call:#}");
    let told = call.to_string();
    assert!(!told.contains("hunter2") && told.contains("masked"), "{told}");
    assert!(told.contains("user:ann") && told.contains("agent:raw"), "{told}");
    let completed = events(&place, "call_completed");
    let statuses: Vec<&Value> = completed.iter().map(|event| &event["status"]).collect();
    assert_eq!(statuses, ["ok", "error"], "{completed:#?}");
    assert_eq!(events(&place, "tool_defined").len(), 2);
    assert_eq!(events(&place, "session_opened").len(), 1);
    assert_eq!(events(&place, "session_closed").len(), 1, "the session ends with the connection");
}

#[test]
fn a_denied_call_never_reaches_the_server_and_the_model_is_told() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    client.greet();
    client.call(1, "drop_table", r#"{"name":"users"}"#);
    let answer = client.next();
    assert_eq!((&answer["id"], &answer["result"]["isError"]), (&1.into(), &true.into()));
    assert!(text(&answer).contains("denied it"), "{answer:#}");
    assert_eq!(answer["result"]["_meta"]["dev.askance/decision"]["reason"], "REASON_CODE_DENIED_BY_RULE");
    // Neither does one that hides: without an id, twice a key, another case, in a batch, or behind a line's end.
    for hidden in [
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"drop_table"}}"#,
        r#"{"jsonrpc":"2.0","id":2,"method":"ping","method":"tools/call","params":{"name":"drop_table"}}"#,
        r#"{"jsonrpc":"2.0","id":2,"METHOD":"tools/call","params":{"name":"drop_table"}}"#,
        r#"[{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"drop_table"}}]"#,
        "{\"id\":2}\r{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/call\",\"params\":{\"name\":\"drop_table\"}}",
    ] {
        client.send(hidden);
    }
    client.call(9, "get_logs", "{}");
    let mut answers = Vec::new();
    while answers.last().is_none_or(|answer: &Value| answer["id"] != 9) {
        answers.push(client.next());
    }
    assert_eq!(answers.len(), 5, "four are answered with errors: {answers:#?}");
    assert!(!place.seen().contains("drop_table"), "{}", place.seen());
}

#[test]
fn a_call_under_review_is_held_then_named_and_passes_once_approved() {
    let place = Place::new();
    let mut client = place.wrap(&["--hold", "2s"]);
    client.greet();
    let ask = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_database","arguments":{"name":"main"},"_meta":{"progressToken":"p"}}}"#;
    client.send(ask);
    let progress = client.next();
    assert_eq!(progress["method"], "notifications/progress", "{progress:#}");
    assert_eq!(progress["params"]["progressToken"], "p");
    // Whoever comes behind is not held up.
    client.call(2, "get_logs", "{}");
    assert_eq!(client.next()["id"], 2);
    let refused = client.next();
    let review = refused["result"]["_meta"]["dev.askance/decision"]["reviewId"].as_str().unwrap().to_owned();
    assert!(text(&refused).contains(&format!("review {review}")), "{refused:#}");
    assert!(!place.seen().contains("delete_database"));
    let (code, said) = place.run(&["review", "approve", &review]);
    assert_eq!(code, 0, "{said}");
    client.send(&ask.replace("\"id\":1", "\"id\":3").replace("\"p\"", "\"q\""));
    let passed = client.next();
    assert_eq!(text(&passed), r#"delete_database ran with {"name": "main"}"#, "{passed:#}");
    // An approval is good for one call.
    client.send(&ask.replace("\"id\":1", "\"id\":4").replace(",\"_meta\":{\"progressToken\":\"p\"}", ""));
    assert_eq!(client.next()["result"]["isError"], true);
}

#[test]
fn an_approval_while_the_call_is_held_lets_it_run() {
    let place = Place::new();
    let mut client = place.wrap(&["--hold", "60s"]);
    client.greet();
    client.send(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_database","_meta":{"progressToken":1}}}"#,
    );
    let told = client.next()["params"]["message"].as_str().unwrap().to_owned();
    let review = told.rsplit(' ').next().unwrap();
    assert_eq!(place.run(&["review", "approve", review]).0, 0);
    let since = Instant::now();
    assert_eq!(text(&client.next()), "delete_database ran with {}");
    assert!(since.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_held_call_that_is_taken_back_never_runs() {
    let place = Place::new();
    let mut client = place.wrap(&["--hold", "60s"]);
    client.greet();
    client.send(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_database","_meta":{"progressToken":1}}}"#,
    );
    client.next();
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    client.call(2, "get_logs", "{}");
    assert_eq!(client.next()["id"], 2);
    assert_eq!(client.within(Duration::from_millis(300)), None, "what was taken back is not answered");
    client.hang_up();
    client.ended();
    let seen = place.seen();
    assert!(!seen.contains("delete_database") && !seen.contains("cancelled"), "{seen}");
    let completed = events(&place, "call_completed");
    assert!(completed.iter().any(|event| event["status"] == "abandoned"), "{completed:#?}");
}

#[test]
fn progress_and_cancelling_pass_both_ways() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    client.greet();
    client.send(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_progress","_meta":{"progressToken":"t"}}}"#,
    );
    for n in 1..=3 {
        assert_eq!(client.next()["params"]["progress"], n);
    }
    assert_eq!(text(&client.next()), "done");
    client.call(2, "get_hang", "{}");
    eventually("the call at the server", || place.seen().contains("get_hang"));
    client.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#);
    eventually("the cancelling at the server", || place.seen().contains("notifications/cancelled"));
    client.hang_up();
    client.ended();
    let completed = events(&place, "call_completed");
    assert_eq!(completed.last().unwrap()["status"], "abandoned", "{completed:#?}");
}

#[test]
fn a_hundred_calls_at_a_time_are_each_answered_and_keep_their_order() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    client.greet();
    (0..100).for_each(|id| client.call(id, "get_logs", &format!("{{\"n\":{id}}}")));
    let mut found: Vec<u64> = (0..100).map(|_| client.next()["id"].as_u64().unwrap()).collect();
    found.sort_unstable();
    assert_eq!(found, (0..100).collect::<Vec<u64>>());
    let seen: Vec<u64> = place
        .seen()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["params"]["arguments"]["n"].as_u64())
        .collect();
    assert_eq!(seen, (0..100).collect::<Vec<u64>>(), "they reach the server in the order they were sent");
}

#[test]
fn a_thousand_calls_in_a_row() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    client.greet();
    for id in 0..1_000 {
        client.call(id, "get_logs", &format!("{{\"service\":\"s{}\"}}", id % 7));
        assert_eq!(client.next()["id"], id);
    }
    client.hang_up();
    assert!(client.ended().0.success());
    assert_eq!(events(&place, "call_completed").len(), 1_000);
    assert_eq!(place.run(&["verify"]).0, 0);
}

#[test]
fn a_result_of_fifty_megabytes_streams_through() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    client.greet();
    client.call(1, "get_big", r#"{"megabytes":50}"#);
    let line = client.line();
    assert!(line.len() > 50 << 20 && line.ends_with(b"\"}]}}\n"), "{}", line.len());
    let status = std::fs::read_to_string(format!("/proc/{}/status", client.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 150 << 10, "the proxy with its daemon took {peak} kB");
    client.call(2, "get_logs", "{}");
    assert_eq!(client.next()["id"], 2);
    client.hang_up();
    client.ended();
    let completed = events(&place, "call_completed");
    assert!(completed[0]["result_bytes"].as_u64().unwrap() > 50 << 20, "{:#}", completed[0]);
}

#[test]
fn a_server_that_writes_garbage_is_passed_on_and_does_not_stop_anything() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    client.greet();
    client.call(1, "get_garbage", "{}");
    assert_eq!(client.line(), b"Traceback: {{{ \xff\xfe \"id\": 3 }]\n");
    assert_eq!(client.line(), b"\n");
    assert_eq!(client.line(), b"{\"half\": \n");
    assert_eq!(text(&client.next()), "after garbage");
}

#[test]
fn a_server_that_crashes_ends_the_proxy_with_its_code() {
    let place = Place::new();
    let mut client = place.wrap(&[]);
    client.greet();
    client.call(1, "get_crash", "{}");
    let (status, rest) = client.ended();
    assert_eq!((status.code(), rest.len()), (Some(7), 0));
    let completed = events(&place, "call_completed");
    assert_eq!(completed[0]["status"], "error", "{completed:#?}");
    let mut missing = place.askance();
    missing.args(["mcp", "wrap", "--", "no-such-server"]);
    let mut client = Client::start(missing, &place.path().join("wrap.log"));
    assert_eq!(client.ended().0.code(), Some(127));
    assert!(client.log().contains("no-such-server"), "{}", client.log());
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let place = Place::new();
    let mut client = place.wrap_with(&[], |command| {
        command.env("STAYS", "1");
    });
    client.greet();
    client.call(1, "get_child", "{}");
    let grandchild: u32 = text(&client.next()).parse().unwrap();
    let server = server_of(&client);
    assert!(lives(server) && lives(grandchild));
    client.call(2, "get_hang", "{}");
    eventually("the call at the server", || place.seen().contains("get_hang"));
    // As clients do: end the input, wait for two seconds, then SIGTERM.
    client.hang_up();
    std::thread::sleep(Duration::from_millis(500));
    let since = Instant::now();
    signal(&client, Signal::TERM);
    client.ended();
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
    eventually("the end of the server and its child", || !lives(server) && !lives(grandchild));
    let completed = events(&place, "call_completed");
    assert_eq!(completed.last().unwrap()["status"], "abandoned", "{completed:#?}");
}

#[test]
fn a_killed_proxy_takes_its_server_along() {
    let place = Place::new();
    let mut client = place.wrap_with(&[], |command| {
        command.env("STAYS", "1");
    });
    client.greet();
    let server = server_of(&client);
    assert!(lives(server));
    signal(&client, Signal::KILL);
    client.ended();
    eventually("the end of the server", || !lives(server));
}

#[test]
fn a_killed_proxy_takes_along_what_a_shell_started_for_it() {
    let place = Place::new();
    let mut command = place.askance();
    command.args(["mcp", "wrap", "--", "sh", "-c", "trap '' TERM; sleep 1000; true"]);
    let mut client = Client::start(command, &place.path().join("wrap.log"));
    let shell = server_of(&client);
    let mut beneath = None;
    eventually("what the shell starts", || {
        beneath = children(shell).first().copied();
        beneath.is_some()
    });
    signal(&client, Signal::KILL);
    client.ended();
    eventually("the end of both", || !lives(shell) && !lives(beneath.unwrap()));
}

#[test]
fn signals_pass_and_the_exit_code_comes_back() {
    for (sent, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let place = Place::new();
        let mut client = place.wrap(&[]);
        client.greet();
        let server = server_of(&client);
        signal(&client, sent);
        // Python answers SIGINT with an exception of its own.
        let ended = client.ended().0.code();
        assert!(ended == Some(code) || (sent == Signal::INT && ended.is_some()), "{ended:?}");
        assert!(!lives(server));
    }
}

#[test]
fn with_the_daemon_away_calls_are_refused_by_category() {
    let place = Place::new();
    let nobody = ["--daemon", "http://127.0.0.1:9", "--timeout", "500ms"];
    let mut client = place.wrap(&nobody);
    client.greet();
    client.call(1, "get_logs", "{}");
    let answer = client.next();
    assert!(text(&answer).contains("cannot be asked"), "{answer:#}");
    assert_eq!(answer["result"]["_meta"]["dev.askance/decision"]["refused"], "away");
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#);
    assert_eq!(client.next()["result"]["echo"], "ping", "what is no call passes");
    client.hang_up();
    client.ended();
    let mut open = place.wrap(&[&nobody[..], &["--when-away", "low"]].concat());
    open.greet();
    open.send(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#);
    open.next();
    open.call(2, "get_logs", "{}");
    assert_eq!(text(&open.next()), "get_logs ran with {}");
    open.call(3, "delete_database", "{}");
    assert!(text(&open.next()).contains("cannot be asked"));
}

#[test]
fn a_daemon_that_comes_back_is_asked_again() {
    let place = Place::new();
    let daemon = place.serve();
    let socket = format!("unix:{}", place.path().join("askance-data/askance.sock").display());
    let mut client = place.wrap(&["--daemon", &socket, "--timeout", "1s"]);
    client.greet();
    client.call(1, "get_logs", "{}");
    assert_eq!(text(&client.next()), "get_logs ran with {}");
    daemon.kill();
    client.call(2, "get_logs", "{}");
    let since = Instant::now();
    assert!(text(&client.next()).contains("cannot be asked"));
    assert!(since.elapsed() < SOON / 3);
    let _again = place.serve();
    let mut id = 3;
    eventually("an answer of the new daemon", || {
        client.call(id, "get_logs", "{}");
        id += 1;
        text(&client.next()) == "get_logs ran with {}"
    });
}

#[test]
fn two_proxies_share_a_directory_and_one_outlives_the_other() {
    let place = Place::new();
    let mut first = place.wrap(&["--principal", "user:a"]);
    first.greet();
    first.call(1, "get_logs", "{}");
    first.next();
    let mut second = place.wrap(&["--principal", "user:b"]);
    second.greet();
    second.call(1, "get_logs", "{}");
    assert_eq!(text(&second.next()), "get_logs ran with {}", "{}", second.log());
    first.hang_up();
    assert!(first.ended().0.success());
    // The one that had the directory open is gone; the other opens it.
    second.call(2, "get_logs", "{}");
    assert_eq!(text(&second.next()), "get_logs ran with {}", "{}", second.log());
    second.hang_up();
    second.ended();
    assert_eq!(events(&place, "call_proposed").len(), 3);
}
