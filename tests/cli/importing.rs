//! `askance import`: good lines are kept, bad ones named, and a second run adds nothing.

use super::support::{Place, line};

fn bad_file() -> String {
    let good = |index| line("one", index, "read_file");
    [
        good(0),
        "{not json".to_owned(),
        good(1).replace("\"tool\":\"read_file\"", "\"tool\":\"\""),
        good(1),
        String::new(),
        good(2).replace("\"index\":2", "\"index\":\"two\""),
        good(2).replace("read_file", "read\\u202efile"),
        good(2).replace("{\"n\":2}", &format!("{{\"n\":{}1{}}}", "[".repeat(100), "]".repeat(100))),
        good(3),
    ]
    .join("\n")
}

#[test]
fn bad_lines_are_named_and_good_ones_kept() {
    let place = Place::new();
    place.file("bad.jsonl", bad_file());
    let ran = place.run(&["import", "bad.jsonl", "--json"]).exits(1);
    let summary = ran.json();
    assert_eq!((summary["imported"].as_u64(), summary["refused"].as_u64()), (Some(3), Some(5)), "{ran:#?}");
    for part in [
        "bad.jsonl:2: line: is not acceptable JSON",
        "bad.jsonl:3: tool: is empty",
        "bad.jsonl:6: index: is a text, not a number",
        "bad.jsonl:7: tool: ",
        "bad.jsonl:8: args: ",
    ] {
        assert!(ran.err.contains(part), "{part} is not in {}", ran.err);
    }
    assert!(!ran.err.contains('\u{202e}'), "untrusted text is escaped");
    place.run(&["import", "bad.jsonl", "--lenient"]).exits(0).says("imported 0, already there 3, refused 5");
}

#[test]
fn plain_compressed_and_standard_input_are_the_same() {
    let place = Place::new();
    let text: String = (0..50).map(|index| line("s", index, "get_logs") + "\n").collect();
    place.file("a.jsonl.zst", zstd::encode_all(text.as_bytes(), 3).unwrap());
    place.run(&["import", "a.jsonl.zst"]).exits(0).says("imported 50, already there 0");
    place.run_with(&["import", "-"], text.as_bytes()).exits(0).says("imported 0, already there 50");
    place.run(&["import", "nowhere.jsonl"]).exits(1).says("cannot open nowhere.jsonl");
    place.run(&["replay", "--json"]).exits(0);
}

#[test]
fn an_import_that_broke_off_is_run_again() {
    let place = Place::new();
    let calls = 4_000;
    let text: String =
        (0..calls).map(|index| line(&format!("s{}", index / 20), index % 20, "t") + "\n").collect();
    place.file("a.jsonl", &text);
    let daemon = place.serve(&[]);
    let mut broken = place.command();
    let mut child = broken.args(["import", "a.jsonl"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(120));
    daemon.kill();
    child.wait().unwrap();
    // The socket of the killed daemon is still there; nobody answers, so the import runs by itself.
    let summary = place.run(&["import", "a.jsonl", "--json"]).exits(0).json();
    let sum = summary["imported"].as_u64().unwrap() + summary["duplicates"].as_u64().unwrap();
    assert_eq!(sum, calls, "{summary}");
    let replayed = place.run(&["replay", "--json"]).exits(0).json();
    assert_eq!(replayed[0]["decided"].as_u64(), Some(calls), "each call is there once");
}

#[test]
fn the_same_id_with_other_content_is_refused() {
    let place = Place::new();
    place.file("a.jsonl", line("s", 0, "get_logs"));
    place.file("b.jsonl", line("s", 0, "drop_table"));
    place.run(&["import", "a.jsonl"]).exits(0);
    place.run(&["import", "b.jsonl"]).exits(1).says("b.jsonl:1:");
}
