//! The official clients and servers with and without the proxy between them.

use crate::packages::{Packages, file, packages};
use crate::support::Place;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

const EVERYTHING: &str = "@modelcontextprotocol/server-everything/dist/index.js";

/// Runs a client to its end and tells what it said.
fn said(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// A client's environment: the same whether or not the proxy is between.
fn client(place: &Place, program: &Path, packages: &Packages) -> Command {
    let ours = place.askance();
    let mut command = Command::new(program);
    command.env_clear().current_dir(place.path());
    ours.get_envs().for_each(|(name, value)| {
        command.env(name, value.unwrap_or_default());
    });
    command
        .env("PACKAGES", &packages.node)
        .env("NODE_OPTIONS", format!("--require {}", file("clients/freeze.cjs")));
    command.env("ASKANCE_ENGINE__MODE", "observe");
    command
}

fn everything(place: &Place, packages: &Packages, record: &str, server: &[String]) -> (String, Vec<u8>) {
    let raw = place.path().join(record);
    let mut command = client(place, Path::new("node"), packages);
    command.args([file("clients/everything.mjs"), "stdio".to_owned(), "python3".to_owned()]);
    command.arg(file("clients/record.py")).arg(&raw).args(server);
    (said(command), std::fs::read(raw).unwrap())
}

/// What a client understood, without progress: the SDK drops what comes together with the answer.
pub(crate) fn understood(said: &str) -> Vec<&str> {
    said.lines().filter(|line| !line.starts_with("[\"progress\"")).collect()
}

/// The lines of a stream, those that answer requests in their order, then the others, which may come in between
/// anywhere, in any.
fn lines(raw: &[u8]) -> (Vec<&[u8]>, Vec<&[u8]>) {
    let all = raw.split_inclusive(|byte| *byte == b'\n');
    let (answers, mut others): (Vec<_>, Vec<_>) = all.partition(|line| {
        serde_json::from_slice::<Value>(line).is_ok_and(|message| message.get("method").is_none())
    });
    others.sort_unstable();
    (answers, others)
}

#[test]
fn the_typescript_client_sees_the_same_bytes_of_every_method_with_and_without_the_proxy() {
    let Some(packages) = packages() else { return };
    let place = Place::new();
    let server = ["node".to_owned(), packages.module(EVERYTHING), "stdio".to_owned()];
    let (bare, raw_bare) = everything(&place, packages, "bare", &server);
    let own = env!("CARGO_BIN_EXE_askance");
    let wrap: Vec<String> = [own, "mcp", "wrap", "--"].map(str::to_owned).into_iter().chain(server).collect();
    let (wrapped, raw_wrapped) = everything(&place, packages, "wrapped", &wrap);
    assert!(bare.lines().count() >= 37, "every method was asked: {bare}");
    let (bare, wrapped) = (understood(&bare), understood(&wrapped));
    bare.iter().zip(&wrapped).for_each(|(bare, wrapped)| assert_eq!(wrapped, bare));
    assert_eq!(wrapped.len(), bare.len());
    assert!(lines(&raw_wrapped) == lines(&raw_bare), "the bytes differ");
    let calls = place.calls();
    let of_kind = |kind: &str| calls.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((of_kind("call_proposed"), of_kind("call_completed")), (18, 18));
    assert!(of_kind("tool_defined") >= 13, "{}", of_kind("tool_defined"));
    let proposed = calls.iter().find(|event| event["kind"] == "call_proposed").unwrap();
    assert_eq!(proposed["data"]["server"], "mcp-servers/everything");
    let chain = proposed["data"]["principal_chain"].to_string();
    assert_eq!(chain, r#"["user:ann","agent:everything-test"]"#);
}

#[test]
fn the_python_client_works_in_both_eras_through_the_proxy() {
    let Some(packages) = packages() else { return };
    for mode in ["legacy", "auto"] {
        let place = Place::new();
        let run = |server: &[String]| {
            let mut command = client(&place, &packages.python, packages);
            command.args([file("clients/both_eras.py"), mode.to_owned()]).args(server);
            said(command)
        };
        let server = [packages.python.display().to_string(), file("servers/official.py")];
        let bare = run(&server);
        let own = env!("CARGO_BIN_EXE_askance");
        let flags = [own, "mcp", "wrap", "--"].map(str::to_owned);
        let wrapped = run(&[&flags[..], &server[..]].concat());
        assert_eq!(wrapped, bare, "{mode}");
        let revision = if mode == "auto" { "2026-07-28" } else { "2025-11-25" };
        assert!(bare.contains(revision), "{mode}: {bare}");
        let completed = place.calls().into_iter().filter(|event| event["kind"] == "call_completed");
        let statuses: Vec<String> = completed.map(|event| event["data"]["status"].to_string()).collect();
        assert_eq!(statuses.len(), 3, "{mode}: {statuses:?}");
    }
}

#[test]
fn the_file_server_reads_what_it_is_allowed_and_the_result_is_recorded() {
    let Some(packages) = packages() else { return };
    let place = Place::new();
    std::fs::write(place.path().join("note.txt"), "remember the milk, password sk-0123456789abcdef01234567")
        .unwrap();
    let server = packages.module("@modelcontextprotocol/server-filesystem/dist/index.js");
    let mut wrapped = place.askance();
    wrapped.args(["mcp", "wrap", "--set", "engine.mode=observe", "--name", "files", "--", "node", &server]);
    wrapped.arg(place.path());
    let mut client = crate::support::Client::start(wrapped, &place.path().join("wrap.log"));
    client.greet();
    let path = serde_json::json!({ "path": place.path().join("note.txt") }).to_string();
    client.call(1, "read_text_file", &path);
    let answer = loop {
        let message = client.next();
        if message["id"] == 1 {
            break message;
        }
    };
    assert!(answer["result"]["content"][0]["text"].as_str().unwrap().contains("sk-0123"), "{answer:#}");
    client.hang_up();
    client.ended();
    let calls = place.calls();
    let completed = calls.iter().find(|event| event["kind"] == "call_completed").unwrap();
    let result = completed["data"]["result"].as_str().unwrap();
    assert!(result.contains("remember the milk") && !result.contains("sk-0123"), "{result}");
}
