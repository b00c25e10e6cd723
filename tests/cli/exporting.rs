//! `askance export`: every form, once and as calls come; killed and gone on with, nothing missing and nothing twice.

use super::support::{Place, line};
use serde_json::Value;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

fn import(place: &Place, name: &str, sessions: std::ops::Range<u64>) {
    let calls =
        sessions.flat_map(|session| (0..5).map(move |index| line(&format!("s{session}"), index, "get_logs")));
    place.file(name, calls.collect::<Vec<_>>().join("\n"));
    place.run(&["import", name]).exits(0);
}

fn lines(place: &Place, name: &str) -> Vec<String> {
    std::fs::read_to_string(place.path().join(name)).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn every_form_has_every_call() {
    let place = Place::new();
    import(&place, "a.jsonl", 0..4);
    place.run(&["export", "csv", "--out", "calls.csv"]).exits(0).says("lines");
    let csv = lines(&place, "calls.csv");
    assert_eq!(csv.len(), 21);
    assert!(csv[0].starts_with("position,") && csv[1].contains("get_logs"), "{}", csv[1]);
    let parsed = |form: &str| {
        let ran = place.run(&["export", form, "--tenant", "test"]).exits(0);
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let ocsf = parsed("ocsf");
    assert_eq!(ocsf.iter().filter(|event| event["class_uid"] == 6003).count(), 20);
    assert_eq!(parsed("ecs").len(), 20);
    let events = parsed("jsonl");
    let positions: Vec<u64> = events.iter().map(|event| event["position"].as_u64().unwrap()).collect();
    assert!(positions.is_sorted() && events.len() > 40, "{}", events.len());
    // Arguments leave only when asked for.
    assert!(!csv[1].contains("{\"\"n\"\""));
    place.run(&["export", "csv", "--payloads"]).exits(0).says("{\"\"n\"\":0}");
    place.run(&["export", "csv", "--tenant", "nobody"]).exits(0);
    place.run(&["export", "xml"]).exits(2);
}

#[test]
fn a_checkpoint_goes_on_without_a_gap_or_a_repeat() {
    let place = Place::new();
    import(&place, "a.jsonl", 0..3);
    let export = || place.run(&["export", "csv", "--out", "calls.csv", "--checkpoint", "cp"]).exits(0);
    export();
    let first = lines(&place, "calls.csv");
    assert_eq!(first.len(), 16);
    // Killed while it wrote: what lies behind the checkpoint is cut off, and written once.
    let mut torn = std::fs::read(place.path().join("calls.csv")).unwrap();
    torn.extend_from_slice(b"999,0,half a li");
    place.file("calls.csv", torn);
    import(&place, "b.jsonl", 3..7);
    export();
    let both = lines(&place, "calls.csv");
    place.run(&["export", "csv", "--out", "whole.csv"]).exits(0);
    assert_eq!(both, lines(&place, "whole.csv"));
    assert_eq!(both[..16], first[..]);
    export();
    assert_eq!(lines(&place, "calls.csv"), both, "nothing new adds nothing");
    // A checkpoint is good for its own export, and for its own file.
    place.run(&["export", "ecs", "--out", "x", "--checkpoint", "cp"]).exits(1).says("another export");
    place.file("calls.csv", "short");
    place
        .run(&["export", "csv", "--out", "calls.csv", "--checkpoint", "cp"])
        .exits(1)
        .says("remove the checkpoint");
}

fn follow(place: &Place) -> Child {
    let arguments = ["export", "ecs", "--follow", "--out", "live.ecs", "--checkpoint", "live.cp"];
    place.command().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn wait_for(place: &Place, count: usize) {
    let start = Instant::now();
    while std::fs::read_to_string(place.path().join("live.ecs")).unwrap_or_default().lines().count() < count {
        assert!(start.elapsed() < Duration::from_secs(20), "{count} lines never came");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_followed_export_survives_its_own_death() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    import(&place, "a.jsonl", 0..4);
    let mut first = follow(&place);
    wait_for(&place, 20);
    import(&place, "b.jsonl", 4..6);
    wait_for(&place, 30);
    first.kill().unwrap();
    first.wait().unwrap();
    import(&place, "c.jsonl", 6..9);
    let mut second = follow(&place);
    wait_for(&place, 45);
    let pid = rustix::process::Pid::from_child(&second);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(second.wait().unwrap().success());
    place.run(&["export", "ecs", "--out", "whole.ecs"]).exits(0);
    assert_eq!(lines(&place, "live.ecs"), lines(&place, "whole.ecs"));
    assert_eq!(daemon.stop(), 0);
}
