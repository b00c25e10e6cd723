//! An HTTP server behind the proxy.

use crate::clients::understood;
use crate::packages::{file, packages};
use crate::support::{Daemon, Place, eventually, lives};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A server and the proxy in front of it.
pub(crate) struct Pair {
    server: Daemon,
    proxy: Daemon,
    pub(crate) direct: u16,
    pub(crate) port: u16,
}

/// The port that a program prints.
pub(crate) fn port_of(line: &str) -> u16 {
    line.trim().rsplit([':', ' ']).next().unwrap().parse().unwrap_or_else(|_| panic!("no port in `{line}`"))
}

pub(crate) fn proxy(place: &Place, direct: u16, flags: &[&str]) -> (Daemon, u16) {
    proxy_of(place, &format!("http://127.0.0.1:{direct}"), flags)
}

pub(crate) fn proxy_of(place: &Place, upstream: &str, flags: &[&str]) -> (Daemon, u16) {
    let log = place.path().join("proxy.log");
    let mut command = place.askance();
    command.args(["mcp", "proxy", "--listen", "127.0.0.1:0", "--upstream"]);
    command.arg(upstream).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
    let proxy = Daemon(command.spawn().unwrap());
    let mut port = 0;
    eventually("the proxy's port", || {
        let text = std::fs::read_to_string(&log).unwrap();
        let line = text.lines().find(|line| line.starts_with("listening on"));
        port = line.map_or(0, port_of);
        port > 0
    });
    (proxy, port)
}

pub(crate) fn pair(place: &Place, flags: &[&str]) -> Pair {
    let mut command = Command::new("python3");
    command
        .arg(file("servers/scripted_http.py"))
        .env("SEEN", place.path().join("seen"))
        .stdout(Stdio::piped());
    let mut server = Daemon(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let direct = port_of(&line);
    let (proxy, port) = proxy(place, direct, flags);
    Pair { server, proxy, direct, port }
}

impl Pair {
    /// Asks the proxy to end, and waits for it.
    pub(crate) fn stop(&mut self) {
        kill_process(Pid::from_child(&self.proxy.0), Signal::TERM).unwrap();
        eventually("the proxy's end", || self.proxy.0.try_wait().unwrap().is_some());
    }
}

fn events(place: &Place, kind: &str) -> Vec<Value> {
    let of_kind = place.calls().into_iter().filter(|event| event["kind"] == kind);
    of_kind.map(|mut event| event["data"].take()).collect()
}

/// Sends a request and leaves the connection to read its answer from.
pub(crate) fn ask(port: u16, head: &str, body: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let accept = "Accept: application/json, text/event-stream";
    let length = body.len();
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{accept}\r\n{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .unwrap();
    BufReader::new(stream)
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";
const SESSION: &str = "Content-Type: application/json\r\nMcp-Session-Id: session-1\r\n";

/// A whole answer: status, headers, body as it came, chunks and all.
pub(crate) fn whole(mut answer: BufReader<TcpStream>) -> (u16, String, Vec<u8>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(answer.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let mut body = Vec::new();
    answer.read_to_end(&mut body).unwrap();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head, body)
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
}

fn call(id: u64, tool: &str, arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments},"_meta":{{"progressToken":"p{id}"}}}}}}"#
    )
}

fn hello(port: u16) {
    let body = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"raw","version":"1"}}}"#;
    let (status, head, _) = whole(ask(port, JSON, body));
    assert!(status == 200 && head.to_lowercase().contains("mcp-session-id: session-1"), "{head}");
}

#[test]
fn answers_pass_byte_for_byte_and_calls_are_recorded() {
    let place = Place::new();
    let mut pair = pair(&place, &[]);
    hello(pair.port);
    for body in [
        "{\"jsonrpc\" : \"2.0\",\"id\":\"\\u00e9\",\"method\":\"ping\",\"zz\":[1,  2.50]}".to_owned(),
        call(1, "get_logs", "{\"service\":\"api\"}"),
        call(2, "get_events", "{}"),
        "[]".to_owned(),
    ] {
        let (status, head, bytes) = whole(ask(pair.port, SESSION, &body));
        let (bare_status, bare_head, bare_bytes) = whole(ask(pair.direct, SESSION, &body));
        assert_eq!((status, String::from_utf8(bytes)), (bare_status, String::from_utf8(bare_bytes)));
        assert_eq!(
            head.contains("X-Odd-Header: kept") || head.contains("x-odd-header: kept"),
            bare_head.contains("X-Odd")
        );
    }
    let seen = place.seen();
    let sent: Vec<&str> = seen.lines().skip(1).collect();
    assert!(sent.chunks(2).all(|pair| pair[0] == pair[1]), "what the server was sent differs: {seen}");
    pair.stop();
    let proposed = events(&place, "call_proposed");
    assert_eq!(proposed.len(), 2, "{proposed:#?}");
    assert_eq!(proposed[0]["server"], "scripted-http");
    assert_eq!(proposed[0]["principal_chain"], json!(["user:ann", "agent:raw"]));
    let completed = events(&place, "call_completed");
    assert!(completed.iter().all(|event| event["status"] == "ok"), "{completed:#?}");
    assert!(
        completed.iter().any(|event| event["result"].as_str().unwrap().contains("get_events ran")),
        "{completed:#?}"
    );
    assert_eq!(events(&place, "session_opened").len(), 1);
}

#[test]
fn events_come_as_they_are_sent() {
    let place = Place::new();
    let pair = pair(&place, &[]);
    let mut answer = ask(pair.port, JSON, &call(1, "get_events", "{}"));
    let mut times = Vec::new();
    let mut line = String::new();
    while times.len() < 4 {
        line.clear();
        answer.read_line(&mut line).unwrap();
        if line.starts_with("data: ") {
            times.push(Instant::now());
        }
    }
    assert!(times[3] - times[0] > Duration::from_millis(400), "they came together");
    assert!(line.contains("get_events ran"), "{line}");
    assert!(lives(pair.server.0.id()));
}

#[test]
fn denied_and_hidden_calls_never_reach_the_server() {
    let place = Place::new();
    let pair = pair(&place, &[]);
    let (status, _, body) = whole(ask(pair.port, JSON, &call(5, "drop_table", "{}")));
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &answer["id"], &answer["result"]["isError"]), (200, &json!(5), &json!(true)));
    let utf16: Vec<u8> = call(6, "drop_table", "{}").encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hidden = call(6, "drop_table", "{}");
    for (head, body, expected) in [
        ("Content-Type: text/plain\r\n", hidden.clone(), 200),
        ("", format!("\u{feff}{hidden}"), 400),
        ("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", hidden.clone(), 415),
        ("Content-Type: application/json; charset=utf-7\r\n", hidden.clone(), 415),
        (
            "Content-Type: application/json; charset=\"utf-16le\"\r\n",
            String::from_utf8_lossy(&utf16).into_owned(),
            415,
        ),
        (JSON, hidden.replace("\"method\"", "\"method\":\"ping\",\"method\""), 400),
        ("Content-Type: application/json\r\nMcp-Method: ping\r\n", hidden.clone(), 400),
        (
            "Content-Type: application/json\r\nMcp-Method: tools/call\r\nMcp-Name: drop_table\r\n",
            r#"{"id":1,"method":"ping"}"#.to_owned(),
            400,
        ),
        ("Content-Type: application/json\r\nOrigin: https://evil.example\r\n", hidden.clone(), 403),
    ] {
        let (status, _, body) = whole(ask(pair.port, head, &body));
        assert_eq!(status, expected, "{head}: {}", String::from_utf8_lossy(&body));
    }
    assert_eq!(place.seen(), "");
}

#[test]
fn a_held_call_tells_progress_on_its_stream_and_runs_once_approved() {
    let place = Place::new();
    let mut pair = pair(&place, &["--hold", "60s"]);
    hello(pair.port);
    let mut answer = ask(pair.port, SESSION, &call(1, "delete_database", r#"{"name":"main"}"#));
    let mut told = String::new();
    while !told.contains("review ") {
        assert!(answer.read_line(&mut told).unwrap() > 0, "{told}");
    }
    let review = told.rsplit("review ").next().unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(place.run(&["review", "approve", &review]).0, 0);
    let mut rest = String::new();
    answer.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("delete_database ran with"), "{rest}");
    // One that is taken back never runs.
    let mut other = ask(pair.port, SESSION, &call(2, "delete_database", r#"{"name":"other"}"#));
    let mut told = String::new();
    while !told.contains("review ") {
        assert!(other.read_line(&mut told).unwrap() > 0, "{told}");
    }
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#;
    assert_eq!(whole(ask(pair.port, SESSION, cancel)).0, 202);
    assert!(!place.seen().contains("other") && !place.seen().contains("cancelled"), "{}", place.seen());
    pair.stop();
    let statuses: Vec<Value> =
        events(&place, "call_completed").iter_mut().map(|event| event["status"].take()).collect();
    assert_eq!(statuses, ["ok", "abandoned"]);
}

#[test]
fn without_a_stream_a_held_call_is_refused_after_its_time_and_the_same_call_passes_later() {
    let place = Place::new();
    let pair = pair(&place, &["--hold", "1s"]);
    hello(pair.port);
    let head = format!("{SESSION}Accept: application/json\r\n");
    let body = call(1, "delete_database", "{}");
    let only_json = |id: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", pair.port)).unwrap();
        let body = body.replace("\"id\":1", id);
        write!(stream, "POST /mcp HTTP/1.1\r\nHost: localhost\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).unwrap();
        let (status, _, bytes) = whole(BufReader::new(stream));
        assert_eq!(status, 200);
        serde_json::from_slice::<Value>(&bytes).unwrap()
    };
    let refused = only_json("\"id\":11");
    let review = refused["result"]["_meta"]["dev.askance/decision"]["reviewId"].as_str().unwrap().to_owned();
    assert_eq!(place.run(&["review", "approve", &review]).0, 0);
    let passed = only_json("\"id\":12");
    assert_eq!(passed["result"]["content"][0]["text"], "delete_database ran with {}");
}

#[test]
fn big_results_hanging_servers_and_clients_that_leave() {
    let place = Place::new();
    let mut pair = pair(&place, &[]);
    let (_, _, bytes) = whole(ask(pair.port, JSON, &call(1, "get_big", r#"{"megabytes":50}"#)));
    assert!(bytes.len() > 50 << 20 && bytes.ends_with(b"\"}]}}\n\n"));
    let status = std::fs::read_to_string(format!("/proc/{}/status", pair.proxy.0.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 150 << 10, "the proxy with its daemon took {peak} kB");
    let hanging = ask(pair.port, JSON, &call(2, "get_hang", "{}"));
    eventually("the call at the server", || place.seen().contains("get_hang"));
    drop(hanging);
    let (status, _, body) = whole(ask(pair.port, JSON, &call(3, "get_logs", "{}")));
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    pair.server.0.kill().unwrap();
    pair.server.0.wait().unwrap();
    assert_eq!(whole(ask(pair.port, JSON, &call(4, "get_logs", "{}"))).0, 502);
    pair.stop();
    let statuses: Vec<Value> =
        events(&place, "call_completed").iter_mut().map(|event| event["status"].take()).collect();
    assert_eq!(statuses, ["ok", "abandoned", "ok", "error"]);
}

#[test]
fn a_hundred_calls_at_a_time_over_http() {
    let place = Place::new();
    let pair = pair(&place, &[]);
    let answers: Vec<_> = (0..100).map(|id| ask(pair.port, JSON, &call(id, "get_logs", "{}"))).collect();
    for (id, answer) in answers.into_iter().enumerate() {
        let (status, _, body) = whole(answer);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, answer["id"].as_u64()), (200, Some(id as u64)), "{answer:#}");
        assert!(answer["result"]["isError"].is_null(), "{answer:#}");
    }
}

/// An official server over HTTP, once it answers.
fn official(mut command: Command, port: u16) -> Daemon {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Daemon(command.spawn().unwrap());
    eventually("the server's port", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

/// A port that is free now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_typescript_client_sees_the_same_bytes_over_http() {
    let Some(packages) = packages() else { return };
    let place = Place::new();
    let direct = free_port();
    let mut command = Command::new("node");
    command
        .arg(packages.module("@modelcontextprotocol/server-everything/dist/index.js"))
        .arg("streamableHttp");
    command
        .env("PORT", direct.to_string())
        .env("NODE_OPTIONS", format!("--require {}", file("clients/freeze.cjs")));
    let _server = official(command, direct);
    let (_proxy, port) = proxy(&place, direct, &["--set", "engine.mode=observe"]);
    let run = |port: u16, record: &str| {
        let raw = place.path().join(record);
        let mut command = Command::new("node");
        command
            .arg(file("clients/everything.mjs"))
            .args(["http", &format!("http://127.0.0.1:{port}/mcp")])
            .arg(&raw);
        let output = command.env("PACKAGES", &packages.node).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(raw).unwrap();
        (String::from_utf8(output.stdout).unwrap(), comparable(&text))
    };
    let (bare, raw_bare) = run(direct, "bare");
    let (proxied, raw_proxied) = run(port, "proxied");
    assert!(bare.lines().count() >= 37, "{bare}");
    let (bare, proxied) = (understood(&bare), understood(&proxied));
    bare.iter().zip(&proxied).for_each(|(bare, proxied)| assert_eq!(proxied, bare));
    assert_eq!(proxied.len(), bare.len());
    assert_eq!(raw_proxied, raw_bare);
}

/// The lines of recorded answers, sorted, without the event ids, which the server draws at random.
fn comparable(text: &str) -> Vec<String> {
    let mut lines: Vec<String> =
        text.lines().filter(|line| !line.starts_with("id: ")).map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_python_client_works_in_both_eras_over_http() {
    let Some(packages) = packages() else { return };
    let place = Place::new();
    let direct = free_port();
    let mut command = Command::new(&packages.python);
    command.arg(file("servers/official.py")).args(["--http", &direct.to_string()]);
    let _server = official(command, direct);
    let (_proxy, port) = proxy(&place, direct, &["--set", "engine.mode=observe"]);
    for mode in ["legacy", "auto"] {
        let run = |port: u16| {
            let mut command = Command::new(&packages.python);
            command.arg(file("clients/both_eras.py")).args([mode, &format!("http://127.0.0.1:{port}/mcp")]);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(run(port), run(direct), "{mode}");
    }
}

#[test]
fn a_bearer_token_says_who_acts_for_whom() {
    let place = Place::new();
    let mut pair = pair(&place, &[]);
    // {"sub":"bob","act":{"sub":"coder","act":{"sub":"planner"}}}
    let claims = "eyJzdWIiOiJib2IiLCJhY3QiOnsic3ViIjoiY29kZXIiLCJhY3QiOnsic3ViIjoicGxhbm5lciJ9fX0";
    for credential in [format!("Bearer e30.{claims}.c2ln"), "Bearer opaque".to_owned()] {
        let head = format!("{JSON}Authorization: {credential}\r\n");
        let (status, ..) = whole(ask(pair.port, &head, &call(1, "get_logs", "{}")));
        assert_eq!(status, 200);
    }
    pair.stop();
    let proposed = events(&place, "call_proposed");
    let chains: Vec<&Value> = proposed.iter().map(|call| &call["principal_chain"]).collect();
    let told = json!(["user:ann", "user:bob", "agent:planner", "agent:coder"]);
    assert_eq!(chains, [&told, &json!(["user:ann"])]);
}
