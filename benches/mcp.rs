//! What the proxy adds to a call that is allowed: round trips of one client, one call at a time, with and without it;
//! and how long a hook takes from the start of its process to the end of its answer.
//!
//! `cargo bench --bench mcp`; `ASKANCE_BENCH_CALLS` sets the calls of each run. The server answers at once, so that
//! what is left is the transport, the decision and its durable record.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement stops where something is wrong"
)]

use std::io::{BufRead, BufReader, BufWriter, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Calls before the measured ones.
const WARMING: usize = 200;

fn main() {
    if std::env::args().any(|argument| argument == "--echo") {
        return echo();
    }
    let calls = std::env::var("ASKANCE_BENCH_CALLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000);
    println!("one call at a time, {calls} calls; microseconds");
    println!("| transport | p50 bare | p50 with | p50 added | p90 added | p99 added |");
    println!("|---|---|---|---|---|---|");
    for (name, run) in [("stdio", stdio as fn(bool, usize) -> Vec<Duration>), ("http", http)] {
        let (bare, with) = (run(false, calls), run(true, calls));
        let at = |times: &[Duration], percent: usize| times[times.len() * percent / 100].as_micros() as i64;
        let added = |percent| at(&with, percent) - at(&bare, percent);
        println!(
            "| {name} | {} | {} | {} | {} | {} |",
            at(&bare, 50),
            at(&with, 50),
            added(50),
            added(90),
            added(99)
        );
    }
    hooks(calls.min(500));
}

/// A hook a call, each a process of its own, beside a daemon.
fn hooks(calls: usize) {
    let dir = tempfile::tempdir().unwrap();
    let command = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_askance"));
        command
            .current_dir(dir.path())
            .env("ASKANCE_SERVER__LISTEN", "off")
            .env("ASKANCE_ENGINE__MODE", "observe");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    let mut daemon = command(&["serve"]).spawn().unwrap();
    let since = Instant::now();
    while !dir.path().join("askance-data/askance.sock").exists() {
        assert!(since.elapsed() < Duration::from_secs(30), "no daemon");
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = |mut command: Command, message: &str| {
        let mut child = command.spawn().unwrap();
        // `--version` reads nothing.
        let _unread = child.stdin.take().unwrap().write_all(message.as_bytes());
        child.wait_with_output().unwrap()
    };
    let hook = timed(calls, |id| {
        let message = format!(
            r#"{{"session_id":"s","hook_event_name":"PreToolUse","permission_mode":"default","tool_name":"Bash","tool_input":{{"command":"cargo test"}},"tool_use_id":"{id}"}}"#
        );
        assert_eq!(run(command(&["hook", "claude"]), &message).stdout, b"{}\n");
    });
    let bare = timed(calls.min(100), |_| {
        run(command(&["--version"]), "");
    });
    let at = |times: &[Duration], percent: usize| times[times.len() * percent / 100].as_micros();
    println!(
        "a hook from its start to its answer, {calls} processes: p50 {} p90 {} p99 {}",
        at(&hook, 50),
        at(&hook, 90),
        at(&hook, 99)
    );
    println!("of that the process alone (`askance --version`): p50 {}", at(&bare, 50));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// A stdio server that answers every line at once.
fn echo() {
    let (mut line, mut input) = (String::new(), std::io::stdin().lock());
    let mut output = std::io::stdout().lock();
    while input.read_line(&mut line).unwrap() > 0 {
        let id = line.split("\"id\":").nth(1).and_then(|rest| rest.split([',', '}']).next()).unwrap_or("0");
        output.write_all(answer(id).as_bytes()).unwrap();
        output.write_all(b"\n").unwrap();
        output.flush().unwrap();
        line.clear();
    }
}

fn answer(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"three lines of log"}}]}}}}"#
    )
}

fn call(id: usize) -> String {
    let service = id % 7;
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"get_logs","arguments":{{"service":"s{service}","lines":50}}}}}}"#
    )
}

fn askance(dir: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_askance"));
    command.current_dir(dir).env("ASKANCE_SERVER__LISTEN", "off").env("ASKANCE_ENGINE__MODE", "observe");
    command.arg("mcp");
    command
}

fn timed(calls: usize, mut ask: impl FnMut(usize)) -> Vec<Duration> {
    (0..WARMING).for_each(&mut ask);
    let mut times: Vec<Duration> = (WARMING..WARMING + calls)
        .map(|id| {
            let since = Instant::now();
            ask(id);
            since.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

fn stdio(is_wrapped: bool, calls: usize) -> Vec<Duration> {
    let dir = tempfile::tempdir().unwrap();
    let own = std::env::current_exe().unwrap();
    let mut command = if is_wrapped { askance(dir.path()) } else { Command::new(&own) };
    if is_wrapped {
        command.args(["wrap", "--"]).arg(&own);
    }
    command.arg("--echo").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let times = timed(calls, |id| {
        input.write_all((call(id) + "\n").as_bytes()).unwrap();
        line.clear();
        output.read_line(&mut line).unwrap();
        assert!(line.contains("three lines"), "{line}");
    });
    drop(input);
    child.wait().unwrap();
    times
}

/// An HTTP server that answers every request at once, and its port.
fn http_echo() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let stream = stream.unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut input, mut output) =
                    (BufReader::new(stream.try_clone().unwrap()), BufWriter::new(stream));
                while let Some(body) = request(&mut input) {
                    let id = body
                        .split("\"id\":")
                        .nth(1)
                        .and_then(|rest| rest.split([',', '}']).next())
                        .unwrap_or("0");
                    let body = answer(id);
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    output.write_all((head + &body).as_bytes()).unwrap();
                    output.flush().unwrap();
                }
            });
        }
    });
    port
}

/// The body of a message with a length; none at the end.
fn request(input: &mut impl BufRead) -> Option<String> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line).unwrap_or(0) == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _ended = self.0.wait();
    }
}

fn http(is_proxied: bool, calls: usize) -> Vec<Duration> {
    let dir = tempfile::tempdir().unwrap();
    let direct = http_echo();
    let mut port = direct;
    let mut proxy = None;
    if is_proxied {
        let mut command = askance(dir.path());
        command.args([
            "proxy",
            "--listen",
            "127.0.0.1:0",
            "--upstream",
            &format!("http://127.0.0.1:{direct}"),
        ]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = said.find(|line| line.contains("listening")).unwrap();
        std::thread::spawn(move || said.for_each(drop));
        port = line.rsplit(':').next().unwrap().parse().unwrap();
        proxy = Some(Ended(child));
    }
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut input, mut output) = (BufReader::new(stream.try_clone().unwrap()), BufWriter::new(stream));
    let times = timed(calls, |id| {
        let body = call(id);
        let head = format!(
            "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        output.write_all((head + &body).as_bytes()).unwrap();
        output.flush().unwrap();
        let answer = request(&mut input).unwrap();
        assert!(answer.contains("three lines"), "{answer}");
    });
    drop(proxy);
    times
}
