//! The official TypeScript client of revision 2026-07-28.

use crate::packages::{Packages, file, packages};
use crate::support::Place;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// The client in front of the official Python server behind the proxy.
fn client(place: &Place, packages: &Packages, mode: &str, calls: &str, flags: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.env_clear().current_dir(place.path());
    place.askance().get_envs().for_each(|(name, value)| {
        command.env(name, value.unwrap_or_default());
    });
    command.env("PACKAGES", &packages.node).env("MODE", mode);
    command.args([&file("clients/modern.mjs"), calls, env!("CARGO_BIN_EXE_askance"), "mcp", "wrap"]);
    command.args(flags).arg("--").arg(&packages.python).arg(file("servers/official.py"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[test]
fn a_server_has_the_same_tools_to_clients_of_both_eras() {
    let Some(packages) = packages() else { return };
    let place = Place::new();
    for (mode, revision) in [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("legacy", "2025-11-25")] {
        let mut command =
            client(&place, packages, mode, r#"[["get_sum",{"a":2,"b":3}]]"#, &["--name", "sums"]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        // The server writes its schemas in another order to clients of another revision.
        assert_eq!(said, format!("{revision}\nfalse 5\n"), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let calls = place.calls();
    let of_kind = |kind: &str| calls.iter().filter(|event| event["kind"] == kind).count();
    assert_eq!((of_kind("tool_defined"), of_kind("tool_redefined")), (3, 0));
}

#[test]
fn it_carries_a_review_to_its_user_and_back() {
    let Some(packages) = packages() else { return };
    let place = Place::new();
    let flags = ["--hold", "20s", "--review-page", "https://desk.example/r/{review}"];
    let calls = r#"[["delete_database",{"name":"main"}]]"#;
    let mut child = client(&place, packages, "auto", calls, &flags).env("ACTION", "accept").spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "2026-07-28");
    let page = lines.next().unwrap().unwrap();
    let review = page.strip_prefix("https://desk.example/r/").unwrap();
    let (code, told) = place.run(&["review", "approve", review]);
    assert_eq!(code, 0, "{told}");
    writeln!(child.stdin.as_mut().unwrap()).unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "false deleted main");
    assert!(child.wait().unwrap().success());
    let calls = place.calls();
    let proposed = calls.iter().filter(|event| event["kind"] == "call_proposed").count();
    assert_eq!(proposed, 1, "the call that came back is the same one");
}
