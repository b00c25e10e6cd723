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

/// Holds OCSF events against the schemas under `tests/ocsf`.
fn check_ocsf(events: &[Value]) {
    let schema = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ocsf").join(name);
        let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    };
    let (activity, finding) =
        (schema("api_activity_6003.schema.json"), schema("detection_finding_2004.schema.json"));
    for event in events {
        let schema = if event["class_uid"] == 2004 { &finding } else { &activity };
        let faults: Vec<String> = schema.iter_errors(event).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?} in {event:#}");
    }
}

/// Recorded agents, whose calls the policy holds and denies: every event fits the schema of its class.
#[test]
fn ocsf_of_recorded_agents_fits_its_schemas() {
    let place = Place::new();
    let policy = "version: 1\nrules:\n  - {id: never, tool: send_*, effect: deny}\n  - {id: ask, tool: get_*, effect: review}\n";
    place.file("policy.yaml", policy);
    let Some(data) = super::support::shared_data() else { return };
    let packed = std::fs::read(data.join("agentdojo.jsonl.zst")).unwrap();
    let text = String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
    let lines: Vec<&str> = text.lines().take(1_530).collect();
    place.file("traffic.jsonl", lines[..1_500].join("\n"));
    let daemon = place.serve(&["--policy", "policy.yaml"]);
    place.run(&["import", "traffic.jsonl"]).exits(0);
    for line in &lines[1_500..] {
        let ran = place.run_with(&["evaluate", "--line", "-"], line.as_bytes());
        assert!([0, 3, 4].contains(&ran.code), "{ran:?}");
    }
    let ran = place.run(&["export", "ocsf"]).exits(0);
    let events: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let findings = events.iter().filter(|event| event["class_uid"] == 2004).count();
    assert!(events.len() - findings == 1_530 && findings > 3, "{} events, {findings} findings", events.len());
    check_ocsf(&events);
    assert_eq!(daemon.stop(), 0);
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
    check_ocsf(&ocsf);
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
        assert!(start.elapsed() < Duration::from_secs(90), "{count} lines never came");
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

/// What DuckDB reads of a directory of Parquet files; none where it is not installed.
fn duckdb(place: &Place, query: &str) -> Option<String> {
    let python = format!("import duckdb; print(duckdb.sql({query:?}).fetchall())");
    let ran = std::process::Command::new("python3")
        .args(["-c", &python])
        .current_dir(place.path())
        .output()
        .ok()?;
    if !ran.status.success() {
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(said.contains("No module named"), "DuckDB cannot read our files: {said}");
        eprintln!("SKIPPED: DuckDB is not installed (pip install duckdb)");
        return None;
    }
    Some(String::from_utf8(ran.stdout).unwrap().trim().to_owned())
}

#[test]
fn parquet_files_lie_by_day_and_others_can_read_them() {
    let place = Place::new();
    let timed = |day: u64, index: u64| {
        line(&format!("s{day}"), index, "get_logs")
            .replace("\"ts\":null", &format!("\"ts\":\"2026-01-{day:02}T12:00:0{index}Z\""))
    };
    let text: Vec<String> = (5..8).flat_map(|day| (0..5).map(move |index| timed(day, index))).collect();
    place.file("a.jsonl", text.join("\n"));
    place.run(&["import", "a.jsonl"]).exits(0);
    let export = || place.run(&["export", "parquet", "--out", "lake", "--checkpoint", "cp"]).exits(0);
    export();
    let files = |day: &str| {
        let dir = place.path().join("lake").join(day);
        std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect::<Vec<_>>()
    };
    assert_eq!(files("day=2026-01-05").len(), 1);
    let bytes = std::fs::read(&files("day=2026-01-06")[0]).unwrap();
    assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
    // A file that a killed export left behind is not read twice.
    let one = files("day=2026-01-06").remove(0);
    let later = one.file_name().unwrap().to_string_lossy().replace("-0000000", "-0000999");
    std::fs::copy(&one, one.with_file_name(later)).unwrap();
    assert_eq!(files("day=2026-01-06").len(), 2);
    export();
    assert_eq!(files("day=2026-01-06").len(), 1);
    place.run(&["export", "parquet"]).exits(1).says("name a directory");
    let query = "select count(*), count(distinct position), min(tool), sum(risk) > 0, count(time_bits), min(time)::varchar, max(day)::varchar from read_parquet('lake/*/*.parquet', hive_partitioning=true)";
    let Some(read) = duckdb(&place, query) else { return };
    assert!(
        read.starts_with("[(15, 15, 'get_logs', True, ")
            && read.contains("2026-01-05 12:00:00")
            && read.contains("2026-01-07"),
        "{read}"
    );
}
