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

/// The policy file is read again on SIGHUP; a bad one changes nothing and says why, the same one nothing
/// either, and a good one cancels what was open under the one before.
#[test]
fn a_policy_is_read_again_on_sighup() {
    let place = Place::new();
    let with = |after: &str| {
        format!(
            "version: 1\nreview: {{timeout: {{after: {after}, then: deny}}}}\nrules:\n  - {{id: run, tool: run_*, effect: review, risk: high}}\n"
        )
    };
    place.file("policy.yaml", with("10m"));
    let daemon = place.serve(&["--policy", "policy.yaml"]);
    place.run(&MIGRATION).exits(4).says("rule `run`");
    place.run(&["review", "list"]).exits(0).says("then denied");
    place.file("policy.yaml", "version: 1\nrules:\n  - {id: run, tol: run_*, effect: review}\n");
    daemon.signal(Signal::HUP);
    until("the fault is told", || place.log().contains("did you mean `tool`"));
    assert!(place.log().contains("the old one stays in force"), "{}", place.log());
    place.file("policy.yaml", with("10m"));
    daemon.signal(Signal::HUP);
    until("it was read again", || place.log().contains("the policy was read again"));
    place.run(&["review", "list"]).exits(0).says("run_database_migration");
    place.file("policy.yaml", with("20m"));
    daemon.signal(Signal::HUP);
    until("the review is cancelled", || {
        place.run(&["review", "list"]).exits(0).out.contains("no review is open")
    });
    let revisions = place.run(&["--json", "policy", "show", "--list"]).exits(0).json();
    assert_eq!(revisions.as_array().map(Vec::len), Some(2), "{revisions}");
    place.run(&MIGRATION).exits(3).says("the policy changed");
    assert_eq!(daemon.stop(), 0, "{}", place.log());
}

/// Approve and remember, see what was granted, take it back.
#[test]
fn an_approval_is_remembered_and_taken_back() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    let ask = |id: &str, replicas: u32, code: i32| {
        let args = format!(r#"{{"service":"api","replicas":{replicas}}}"#);
        let all = ["evaluate", "--tool", "scale_replicas", "--principal", "agent:x", "--session", id];
        place.run(&[&all[..], &["--args", &args, "--call-id", id]].concat()).exits(code)
    };
    ask("c-1", 3, 4);
    let list = place.run(&["--json", "review", "list", "--tenant", "default"]).exits(0).json();
    let id = list[0]["review_id"].as_str().unwrap().to_owned();
    place.run(&["review", "show", &id, "--tenant", "other"]).exits(1).says("not known");
    place.run(&["review", "approve", &id, "--free", "/replicas"]).exits(2);
    let words =
        ["--tenant", "default", "--remember", "7d", "--free", "/replicas", "-m", "scaling is routine"];
    place.run(&[&["review", "approve", &id][..], &words].concat()).exits(0).says("is approved");
    ask("c-1", 3, 0);
    ask("c-2", 5, 0).says("granted rule");
    let grants = place.run(&["--json", "policy", "grants"]).exits(0).json();
    let grant = grants[0]["grant_id"].as_str().or_else(|| grants[0]["id"].as_str()).unwrap().to_owned();
    place.run(&["policy", "grants", "--revoke", &grant, "--reason", "enough"]).exits(0);
    ask("c-3", 6, 4);
    assert_eq!(daemon.stop(), 0, "{}", place.log());
}

#[test]
fn a_person_at_a_terminal_approves() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    let ran = place.run(&MIGRATION).exits(4);
    let list = place.run(&["--json", "review", "list"]).exits(0).json();
    let id = list[0]["review_id"].as_str().unwrap().to_owned();
    ran.says(&format!("review {id} waits for people"));
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
    place.run(&["review", "approve", &id, "--yes"]).exits(0).says("had been cast before; it counts once");
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

/// In a hurry nobody copies 32 digits, or looks up in which tenant a session is.
#[test]
fn a_session_is_locked_by_what_is_on_the_screen() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    let ask = |id: &str| {
        let args =
            ["evaluate", "--tool", "get_logs", "--principal", "a", "--tenant", "acme", "--session", "run-7"];
        place.run(&[&args[..], &["--call-id", id]].concat())
    };
    ask("c-1").exits(0);
    let sessions = place.run(&["--json", "sessions", "list"]).exits(0).json();
    let key = sessions[0]["session_key"].as_str().unwrap().to_owned();
    for (number, name) in [&key[..12], "run-7", &key].into_iter().enumerate() {
        let lock = ["--json", "lock", "session", name, "--reason", "drill"];
        let lock = place.run(&lock).exits(0).json();
        assert_eq!(lock["lock"]["covers"], format!("session {key} in tenant acme"));
        ask(&format!("d-{number}")).exits(3).says("a lock covers its session");
        let id = lock["lock"]["lock_id"].as_str().unwrap();
        place.run(&["locks"]).exits(0).says("no end set");
        place.run(&["unlock", id, "--reason", "over"]).exits(0);
    }
    place.run(&["lock", "session", "nosuch", "--reason", "drill"]).exits(1).says("not known");
    let unseen = "0123456789abcdef".repeat(2);
    place
        .run(&["lock", "session", &unseen, "--reason", "drill"])
        .exits(0)
        .says("no session of this key has been seen");
    assert_eq!(daemon.stop(), 0, "{}", place.log());
}

#[test]
fn four_independent_ways_to_panic() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    assert_eq!(evaluate(&place, "c-1", "get_logs"), 0);

    let locked = place.run(&["--json", "lock", "everything", "--reason", "drill", "--yes"]).exits(0).json();
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
