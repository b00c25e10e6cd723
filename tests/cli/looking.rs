//! Commands that only look: doctor, completions, policy check, replay, verify.

use super::support::{Place, line};
use askance::eventlog::{Log, Options};
use askance::projection::{STATE_VERSION, State};

#[test]
fn doctor_finds_what_is_wrong() {
    let place = Place::new();
    place.run(&["doctor"]).exits(0).says("none runs").says("there is none yet");
    place.file("a.jsonl", line("s", 0, "t"));
    place.run(&["import", "a.jsonl"]).exits(0);
    let daemon = place.serve(&[]);
    place.run(&["doctor"]).exits(0).says("answers").says("the newest");
    let checks = place.run(&["doctor", "--json"]).exits(0).json();
    assert!(checks.as_array().unwrap().iter().all(|check| check["health"] == "ok"), "{checks}");
    assert_eq!(daemon.stop(), 0);
    place.run(&["doctor", "--set", "engine.policy=missing.yaml"]).exits(1).says("FAIL");
    place.run(&["doctor", "--daemon", "unix:/nowhere.sock"]).exits(1).says("start it with");
    place.file("askance-data/keys/mask.key", "");
    place.run(&["doctor"]).exits(1).says("0 bytes long, not 32");
}

#[test]
fn completions_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        place.run(&["completions", shell]).exits(0).says("evaluate");
    }
    place.run(&["completions", "nosh"]).exits(2);
}

#[test]
fn policies_are_checked_without_a_daemon() {
    let place = Place::new();
    place.file("good.yaml", "version: 1\nrules:\n  - {id: wide, tool: \"*\", effect: review}\n  - {id: narrow, tool: get_logs, effect: allow}\n");
    let shown = place.run(&["policy", "check", "good.yaml", "--json"]).exits(0).json();
    assert_eq!(shown["rules"][0]["id"], "narrow", "in the order they are tried: {shown}");
    place.file(
        "bad.yaml",
        "version: 1\nrules:\n  - {id: a, tool: \"[\", effect: allow}\n  - {id: a, tool: x, effect: allow}\n",
    );
    let faults = place.run(&["policy", "check", "bad.yaml", "--json"]).exits(1).json();
    assert_eq!(faults["faults"].as_array().map(Vec::len), Some(2), "{faults}");
    place.run(&["policy", "check", "none.yaml"]).exits(1).says("cannot read none.yaml");
}

#[test]
fn replay_and_verify_agree_and_find_a_wrong_snapshot() {
    let place = Place::new();
    let text: String =
        (0..300).map(|index| line(&format!("s{}", index / 10), index % 10, "t") + "\n").collect();
    place.file("a.jsonl", text);
    place.run(&["import", "a.jsonl"]).exits(0);
    let replayed = || place.run(&["replay", "--json"]).exits(0).json();
    let (one, other) = (replayed(), replayed());
    assert_eq!(one[0]["state_digest"], other[0]["state_digest"]);
    assert_eq!((one[0]["decided"].as_u64(), one[0]["differing"].as_u64()), (Some(300), Some(0)));
    let verified = place.run(&["verify", "--json"]).exits(0).json();
    assert_eq!(verified[0]["state_digest"], one[0]["state_digest"]);
    assert_eq!(verified[0]["snapshots_equal_to_fold"], 1, "{verified}");

    let dir = place.path().join("askance-data/p000");
    let options = Options { ballast_bytes: 0, free_bytes_low: 0, free_bytes_hard: 0, ..Options::default() };
    let (log, writer, _) = Log::open(&dir, &options).unwrap();
    log.snapshot_write(log.position(), STATE_VERSION, &State::empty().to_bytes()).unwrap();
    writer.close().unwrap();
    drop(log);
    place.run(&["verify"]).exits(1).says("is not what folding the log gives").says("next: ");
    place.run(&["verify", "--data-dir", "nowhere"]).exits(1).says("holds no log");
}

#[test]
fn another_policy_is_tried_on_the_whole_log() {
    let place = Place::new();
    for number in 0..6 {
        let tool = ["get_logs", "send_email"][number % 2];
        let id = number.to_string();
        let ask = ["evaluate", "--embedded", "--tool", tool, "--principal", "user:a", "--call-id", &id];
        let ran = place.run(&ask);
        assert!([0, 4].contains(&ran.code), "{ran:?}");
    }
    place.run(&["replay", "--all"]).exits(0);
    place.file("deny.yaml", "version: 1\nrules:\n  - {id: no-mail, tool: send_*, effect: deny}\n");
    let tried = place.run(&["replay", "--all", "--policy", "deny.yaml", "--json"]).exits(0).json();
    let changes = tried[0]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{tried}");
    assert_eq!((changes[0]["rule"].as_str(), changes[0]["calls"].as_u64()), (Some("no-mail"), Some(3)));
    assert_eq!(changes[0]["to"], "deny");
    place.run(&["replay", "--policy", "deny.yaml"]).exits(0).says("WOULD BE").says("no-mail");
    place.file("bad.yaml", "version: 1\nrules: 7\n");
    place.run(&["replay", "--policy", "bad.yaml"]).exits(1).says("not accepted");
}

#[test]
fn sessions_are_listed_and_shown() {
    let place = Place::new();
    place.run(&["sessions", "list"]).exits(1).says("start one with `askance serve`");
    let timed = |index: u64| {
        let at = format!("\"ts\":\"2026-01-05T12:0{index}:00Z\"");
        line("one", index, "get_logs").replace("\"ts\":null", &at)
    };
    let text: Vec<String> = (0..3).map(timed).chain([line("two", 0, "drop\\u0041_table")]).collect();
    place.file("a.jsonl", text.join("\n"));
    place.run(&["import", "a.jsonl"]).exits(0);
    let daemon = place.serve(&[]);
    let listed = place.run(&["sessions", "list", "--tenant", "test", "--json"]).exits(0).json();
    let one = listed.as_array().unwrap().iter().find(|session| session["session_id"] == "one").unwrap();
    assert_eq!(one["calls"], 3, "{listed}");
    place.run(&["sessions", "list", "--tenant", "test"]).exits(0).says("two");
    let key = one["session_key"].as_str().unwrap();
    let shown = place
        .run(&["sessions", "show", &key[..12], "--tenant", "test", "--payloads", "--json"])
        .exits(0)
        .json();
    let kinds: Vec<&str> =
        shown["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "call_decided").count(), 3, "{kinds:?}");
    assert_eq!(shown["events"][1]["data"]["arguments"]["n"], 0, "{shown}");
    assert_eq!(shown["events"][3]["event_time"], "2026-01-05T12:00:00.000Z", "an outcome ends when it ended");
    place.run(&["sessions", "show", key, "--tenant", "test"]).exits(0).says("get_logs");
    // Without a tenant all are looked through; one that has none shows none.
    place.run(&["sessions", "list"]).exits(0).says("two").says("test");
    place.run(&["sessions", "show", key]).exits(0).says("get_logs");
    let none = place.run(&["sessions", "list", "--tenant", "nobody", "--json"]).exits(0).json();
    assert_eq!(none.as_array().map(Vec::len), Some(0));
    place.run(&["sessions", "show", "000000", "--tenant", "test"]).exits(1).says("NotFound");
    place.run(&["sessions", "list", "--tool", "get_logs", "--sort", "risk"]).exits(0).says("one");
    place.run(&["explain", "test/one/0"]).exits(0).says("DETECTOR").says("what would have changed it");
    place.run(&["explain", "none"]).exits(1).says("NotFound");
    place.run(&["replay", "one", "--speed", "1000000x"]).exits(0).says("get_logs").says("0 differ");
    let again = place.run(&["replay", key, "--json"]).exits(0).json();
    assert_eq!((again["decided"].as_u64(), again["differing"].as_u64()), (Some(3), Some(0)), "{again}");
    place.run(&["replay", "one", "--at", "2"]).exits(0).says("0 calls decided again");
    place.run(&["replay", "one", "--speed", "0"]).exits(2);
    assert_eq!(daemon.stop(), 0);
    place.run(&["sessions", "list", "--tenant", "test"]).exits(0).says("in this process").says("two");
}
