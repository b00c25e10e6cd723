//! Reviews, tokens and the panic button from the command line, against the daemon as a process.

use crate::support::Place;
use rustix::process::Signal;
use std::time::{Duration, Instant};

const MIGRATION: [&str; 11] = [
    "evaluate",
    "--tool",
    "run_database_migration",
    "--principal",
    "agent:deployer",
    "--session",
    "s-1",
    "--args",
    r#"{"migration_id":"0047_drop_legacy_users","db":"prod-postgres"}"#,
    "--call-id",
    "c-1",
];

fn evaluate(place: &Place, id: &str, tool: &str) -> i32 {
    // A session each: what was denied in one makes its repeat a floor.
    let args = ["evaluate", "--tool", tool, "--principal", "agent:x", "--session", id, "--call-id", id];
    place.run(&args).code
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_person_at_a_terminal_approves() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    place.run(&MIGRATION).exits(4);
    let list = place.run(&["--json", "review", "list"]).exits(0).json();
    let id = list[0]["review_id"].as_str().unwrap().to_owned();
    place.run(&["review", "list"]).exits(0).says(&id).says("then denied").says("run_database_migration");
    place
        .run(&["review", "show", &id])
        .exits(0)
        .says("0047_drop_legacy_users")
        .says("agent:deployer")
        .says("needs      1 of any reviewer");
    place.run(&["review", "approve", &id]).exits(1).says("CRITICAL");
    place.run(&["review", "approve", &id, "--yes", "--digest", "00"]).exits(1);
    place
        .run(&["review", "approve", &id, "--yes", "-m", "maintenance window"])
        .exits(0)
        .says("is approved (1/1)");
    place.run(&MIGRATION).exits(0).says("approved this very call");
    let all = place.run(&["--json", "review", "list", "--all"]).exits(0).json();
    assert_eq!(all[0]["state"], "used", "{all}");
    assert!(all[0]["votes"][0]["reviewer"].as_str().unwrap().starts_with("user:"), "{all}");
    place.run(&["review", "deny", &id]).exits(1).says("settled");
    place.run(&["review", "show", "r0-1"]).exits(1).says("not known");
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn tokens_are_made_listed_and_revoked() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    let made = place.run(&[
        "--json",
        "token",
        "create",
        "--subject",
        "user:alice",
        "--role",
        "reviewer",
        "--groups",
        "sre,dba",
        "--expires",
        "90d",
    ]);
    let made = made.exits(0).json();
    let secret = made["secret"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("askance_") && secret.len() == 8 + 64, "{secret}");
    place.run(&["token", "list"]).exits(0).says("user:alice").says("sre,dba");
    assert!(!place.run(&["token", "list"]).out.contains(&secret), "the secret is shown once");
    place.run(&["--token", &secret, "token", "whoami"]).exits(0).says("user:alice as reviewer");
    place.run(&["--token", "askance_wrong", "token", "whoami"]).exits(1).says("unknown, revoked or expired");
    let id = made["token"]["token_id"].as_str().unwrap();
    place.run(&["token", "revoke", id, "--reason", "left"]).exits(0).says("revoked");
    place.run(&["--token", &secret, "token", "whoami"]).exits(1);
    let bytes: Vec<u8> = walk(&place.path().join("askance-data"));
    assert!(
        !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
        "the secret is nowhere on disk"
    );
    assert_eq!(daemon.stop(), 0);
}

fn walk(dir: &std::path::Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            bytes.extend(walk(&path));
        } else if path.is_file() {
            bytes.extend(std::fs::read(&path).unwrap_or_default());
        }
    }
    bytes
}

#[test]
fn four_independent_ways_to_panic() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    assert_eq!(evaluate(&place, "c-1", "get_logs"), 0);

    let locked = place.run(&["--json", "lock", "everything", "--reason", "drill"]).exits(0).json();
    assert_eq!(evaluate(&place, "c-2", "get_logs"), 3, "by command and RPC");
    let id = locked["lock"]["lock_id"].as_str().unwrap();
    place.run(&["unlock", id, "--reason", "drill is over"]).exits(0);
    assert_eq!(evaluate(&place, "c-3", "get_logs"), 0);

    daemon.signal(Signal::USR1);
    let mut number = 3;
    until("the signal locks", || {
        number += 1;
        evaluate(&place, &format!("c-{number}"), "get_logs") == 3
    });
    let locks = place.run(&["--json", "locks"]).exits(0).json();
    assert_eq!(locks[0]["origin"], "signal", "{locks}");
    let id = locks[0]["lock_id"].as_str().unwrap();
    place.run(&["unlock", id, "--reason", "all clear"]).exits(0);

    let file = place.path().join("askance-data/LOCK");
    std::fs::write(&file, "the agents have gone mad").unwrap();
    until("the file locks", || {
        number += 1;
        let args = ["evaluate", "--tool", "get_logs", "--principal", "a", "--session", "s"];
        let id = format!("c-{number}");
        let ran = place.run(&[&args[..], &["--call-id", &id]].concat());
        ran.code == 3 && ran.says("the agents have gone mad").code == 3
    });
    let locks = place.run(&["--json", "locks"]).exits(0).json();
    let id = locks[0]["lock_id"].as_str().unwrap();
    place.run(&["unlock", id, "--reason", "x"]).exits(1).says("sentinel file");
    assert_eq!(daemon.stop(), 0);

    let daemon = place.serve(&[]);
    assert_eq!(evaluate(&place, "d-1", "get_logs"), 3, "the file is there when the daemon starts");
    std::fs::remove_file(&file).unwrap();
    until("its lock is lifted with it", || {
        number += 1;
        evaluate(&place, &format!("d-{number}"), "get_logs") == 0
    });
    place.run(&["locks"]).exits(0).says("no lock holds");
    place.run(&["locks", "--all"]).exits(0).says("sentinel file");
    assert_eq!(daemon.stop(), 0);
}
