//! `askance score`: the same every time, and only the fields that may be used are.

use super::support::{Place, shared_data};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Fields that must never reach the engine.
const FORBIDDEN: [&str; 7] =
    ["label", "session_label", "note", "arg_src", "exposed", "verdict", "verdict_security"];

/// A stream of numbers that is the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Recorded calls: sessions one after another, timed or not, a few of them odd.
fn traces(dataset: &str, sessions: u64, timed: bool, seed: u64) -> Vec<Value> {
    let mut numbers = Numbers(seed);
    let tools = ["get_logs", "get_metrics", "list_pods", "update_config", "send_email", "delete_volume"];
    let mut lines = Vec::new();
    for session in 0..sessions {
        let odd = numbers.below(10) == 0;
        for index in 0..5 + numbers.below(8) {
            let tool = tools[numbers.below(if odd { 6 } else { 4 }) as usize];
            let minute = session * 90 + index;
            let at =
                format!("2026-01-{:02}T{:02}:{:02}:00Z", 1 + minute / 1_440, minute / 60 % 24, minute % 60);
            lines.push(json!({
                "dataset": dataset, "session": format!("{dataset}/{session}"),
                "principal": format!("dev-{}", session % 3), "suite": "k8s", "index": index,
                "ts": if timed { json!(at) } else { Value::Null }, "tool": tool,
                "args": { "name": format!("web-{}", numbers.below(5)), "n": numbers.below(9) },
                "result": "fine", "result_bytes": 4, "outcome": "ok", "turn": index,
                "label": u64::from(odd), "session_label": u64::from(odd), "note": if odd { "hijacked" } else { "" },
                "arg_src": { "name": "prompt" }, "exposed": odd, "verdict": "deny", "verdict_security": odd,
            }));
        }
    }
    lines
}

/// The same lines with the forbidden fields exchanged between them, and some taken away.
fn shuffled(lines: &[Value]) -> Vec<Value> {
    let mut numbers = Numbers(99);
    let mut shuffled = lines.to_vec();
    for field in FORBIDDEN {
        for place in (1..shuffled.len()).rev() {
            let other = numbers.below(place as u64 + 1) as usize;
            let (one, two) = (shuffled[place][field].take(), shuffled[other][field].take());
            shuffled[place][field] = two;
            shuffled[other][field] = one;
        }
        for line in shuffled.iter_mut().step_by(3) {
            line.as_object_mut().unwrap().remove(field);
        }
    }
    shuffled
}

fn text(lines: &[Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn score(place: &Place, test: &[Value], more: &[&str]) -> String {
    place.file("test.jsonl", text(test));
    let mut args = vec!["score", "--test", "test.jsonl", "--out", "scores.jsonl"];
    args.extend(more);
    place.run(&args).exits(0);
    std::fs::read_to_string(place.path().join("scores.jsonl")).unwrap()
}

fn by_call(scores: &str) -> BTreeMap<(String, u64), Map<String, Value>> {
    let read = |line: &str| {
        let score: Map<String, Value> = serde_json::from_str(line).unwrap();
        ((score["session"].as_str().unwrap().to_owned(), score["index"].as_u64().unwrap()), score)
    };
    scores.lines().map(read).collect()
}

#[test]
fn scores_are_the_same_every_time_and_blind_to_labels() {
    let place = Place::new();
    for timed in [false, true] {
        place.file("train.jsonl", text(&traces("a", 60, timed, 1)));
        let test = traces("a", 40, timed, 2);
        for mode in [&["--train", "train.jsonl"][..], &["--train", "train.jsonl", "--frozen"]] {
            let scores = score(&place, &test, mode);
            assert_eq!(scores.lines().count(), test.len());
            assert_eq!(score(&place, &test, mode), scores, "again");
            assert_eq!(score(&place, &shuffled(&test), mode), scores, "with other labels");
            let mut changed = test.clone();
            changed[30]["args"]["name"] = json!("something-never-seen");
            assert_ne!(score(&place, &changed, mode), scores, "the control: arguments do count");
        }
    }
}

#[test]
fn training_labels_do_not_count_either() {
    let place = Place::new();
    let (train, test) = (traces("a", 60, false, 1), traces("a", 20, false, 2));
    place.file("train.jsonl", text(&train));
    let scores = score(&place, &test, &["--train", "train.jsonl"]);
    place.file("train.jsonl", text(&shuffled(&train)));
    assert_eq!(score(&place, &test, &["--train", "train.jsonl"]), scores);
}

#[test]
fn frozen_scores_do_not_depend_on_other_test_sessions() {
    let place = Place::new();
    place.file("train.jsonl", text(&traces("a", 60, false, 1)));
    let test = traces("a", 30, false, 2);
    let mut backwards: BTreeMap<std::cmp::Reverse<String>, Vec<Value>> = BTreeMap::new();
    for line in &test {
        let session = std::cmp::Reverse(line["session"].as_str().unwrap().to_owned());
        backwards.entry(session).or_default().push(line.clone());
    }
    let backwards: Vec<Value> = backwards.into_values().flatten().collect();
    let frozen = ["--train", "train.jsonl", "--frozen"];
    assert_eq!(by_call(&score(&place, &test, &frozen)), by_call(&score(&place, &backwards, &frozen)));
    let learning = ["--train", "train.jsonl"];
    assert_ne!(by_call(&score(&place, &test, &learning)), by_call(&score(&place, &backwards, &learning)));
}

#[test]
fn every_line_has_what_was_promised() {
    let place = Place::new();
    let train = text(&traces("a", 60, false, 1));
    place.file("train.jsonl.zst", zstd::encode_all(train.as_bytes(), 3).unwrap());
    let scores = by_call(&score(&place, &traces("a", 20, false, 2), &["--train", "train.jsonl.zst"]));
    let mut judged = 0;
    for score in scores.values() {
        let risk = score["risk"].as_f64().unwrap();
        assert!((0.0..=100.0).contains(&risk) && score["surprise"].as_f64().unwrap() >= 0.0);
        assert!(["ALLOW", "REVIEW", "DENY"].contains(&score["verdict"].as_str().unwrap()));
        for finding in score["findings"].as_array().unwrap() {
            let name = finding["detector"].as_str().unwrap();
            assert!(!finding["sentence"].as_str().unwrap().is_empty());
            match finding["status"].as_str().unwrap() {
                "ABSTAINED" => assert!(finding["p_value"].is_null() && finding["bits"].is_null()),
                "SCORED" => {
                    judged += 1;
                    assert!(!["time", "rate"].contains(&name), "no times: {finding}");
                    let p = finding["p_value"].as_f64().unwrap();
                    assert!(p > 0.0 && p <= 1.0);
                }
                other => panic!("{other}"),
            }
        }
    }
    assert!(judged > 0, "something is judged");
}

#[test]
fn refused_lines_are_named_and_fail_the_run() {
    let place = Place::new();
    let mut test = text(&traces("a", 3, false, 2));
    test.push_str("{}\n");
    place.file("test.jsonl", &test);
    let last = test.lines().count();
    let args = ["score", "--test", "test.jsonl", "--out", "scores.jsonl"];
    place.run(&args).exits(1).says(&format!("test.jsonl:{last}: dataset: is missing"));
    place.run(&[&args[..], &["--lenient"]].concat()).exits(0);
    place
        .run(&["score", "--test", "test.jsonl", "--out", "/nowhere/x"])
        .exits(1)
        .says("cannot write /nowhere/x");
}

/// The first lines of a compressed file.
fn first_lines(path: &Path, count: usize) -> Vec<Value> {
    let mut text = String::new();
    let file = std::fs::File::open(path).unwrap();
    zstd::Decoder::new(file).unwrap().read_to_string(&mut text).unwrap();
    text.lines().take(count).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn real_traces_score_the_same_whatever_their_labels() {
    let Some(data) = shared_data() else { return };
    let place = Place::new();
    for (name, count) in [("agentdojo", 6_000), ("claudecode", 3_000)] {
        let lines = first_lines(&data.join(format!("{name}.jsonl.zst")), count);
        let sessions = data.join(format!("{name}.sessions.jsonl.zst"));
        let more = ["--sessions", sessions.to_str().unwrap()];
        let scores = score(&place, &lines, &more);
        assert_eq!(scores.lines().count(), lines.len(), "{name}");
        assert_eq!(score(&place, &shuffled(&lines), &more), scores, "{name}");
    }
}
