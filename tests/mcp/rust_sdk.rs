//! The official Rust SDK as client and as server, in both eras of the protocol, over both transports.

use crate::http::{port_of, proxy};
use crate::packages::rust;
use crate::support::{Daemon, Place};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the client prints; where it follows a task, its review is approved meanwhile.
fn said(place: &Place, sdk: &Path, era: &str, follows: bool, server: &[String]) -> Vec<String> {
    let mut command = Command::new(sdk);
    command.env_clear().current_dir(place.path());
    place.askance().get_envs().for_each(|(name, value)| {
        command.env(name, value.unwrap_or_default());
    });
    if follows {
        command.env("FOLLOWS", "1");
    }
    command.args(["client", era]).args(server).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some((_, review)) = line.split_once("to approve review ") {
            let (code, told) = place.run(&["review", "approve", review]);
            assert_eq!(code, 0, "{told}");
            continue;
        }
        lines.push(line);
    }
    assert!(child.wait().unwrap().success(), "{era}: {lines:?}");
    lines
}

const RAN: &str = r#""delete_database ran with {\"name\":\"main\"}""#;

/// The client understands the same; in the newer era it then follows a task.
fn compare(place: &Place, sdk: &Path, era: &str, bare: &[String], guarded: &[String]) {
    let wanted = said(&Place::new(), sdk, era, false, bare);
    assert_eq!(wanted.len(), 5, "{wanted:?}");
    assert!(wanted[2].contains("get_sum ran with"), "{wanted:?}");
    let mut found = said(place, sdk, era, era == "2026", guarded);
    if era == "2026" {
        assert_eq!(found.pop().unwrap(), RAN);
    }
    assert_eq!(found, wanted, "{era}");
}

#[test]
fn the_rust_client_sees_the_same_over_stdio_in_both_eras() {
    let Some(sdk) = rust() else { return };
    let server = [sdk.display().to_string(), "server".to_owned()];
    let wrap = [env!("CARGO_BIN_EXE_askance"), "mcp", "wrap", "--"].map(str::to_owned);
    for (era, calls) in [("2025", 2), ("2026", 3)] {
        let place = Place::new();
        compare(&place, &sdk, era, &server, &[&wrap[..], &server[..]].concat());
        let completed = place.calls().iter().filter(|event| event["kind"] == "call_completed").count();
        assert_eq!(completed, calls, "{era}");
    }
}

#[test]
fn the_rust_client_sees_the_same_over_http_in_both_eras() {
    let Some(sdk) = rust() else { return };
    let mut command = Command::new(&sdk);
    let mut server = Daemon(
        command.args(["server", "--http"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap(),
    );
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let direct = port_of(&line);
    for era in ["2025", "2026"] {
        let place = Place::new();
        let (_proxy, front) = proxy(&place, direct, &[]);
        let at = |port: u16| [format!("http://127.0.0.1:{port}/mcp")];
        compare(&place, &sdk, era, &at(direct), &at(front));
    }
}
