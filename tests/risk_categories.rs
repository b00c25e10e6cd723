//! How often the inferred risk category of a declared tool equals the one that a person gave it.
//!
//! The labels are ours (`tests/data/tool_labels.txt`, made before measuring); the descriptions are read from
//! the agent data beside the project, if it is there.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test stops where something is wrong, and shows its figures"
)]

use askance::domain::json::Json;
use askance::domain::risk::RiskCategory;
use askance::policy::category::infer;
use std::collections::BTreeMap;
use std::path::Path;

const LABELS: &str = include_str!("data/tool_labels.txt");

fn category(name: &str) -> RiskCategory {
    RiskCategory::ALL.into_iter().find(|category| category.name() == name).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn at_least_nine_of_ten_are_as_a_person_says_and_nothing_irreversible_is_below_high() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/agents/tools.jsonl");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("SKIPPED: {} is not there", path.display());
        return;
    };
    let mut declared = BTreeMap::new();
    for line in text.lines() {
        let tool: serde_json::Value = serde_json::from_str(line).unwrap();
        declared.entry(tool["tool"].as_str().unwrap().to_owned()).or_insert(tool);
    }
    let labels: Vec<(&str, RiskCategory)> = LABELS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(tool, label)| (tool, category(label)))
        .collect();
    assert_eq!(labels.len(), 100);
    let mut equal = 0;
    let mut too_low = Vec::new();
    for (name, label) in &labels {
        let tool = declared.get(*name).unwrap_or_else(|| panic!("{name} is not declared"));
        let schema = serde_json::to_vec(&tool["parameters"]).unwrap();
        let schema = Json::parse(&schema).ok();
        let inferred = infer(name, tool["description"].as_str().unwrap_or(""), None, schema.as_ref());
        if inferred.category == *label {
            equal += 1;
        } else {
            println!("{name}: a person says {label}, inferred {}: {}", inferred.category, inferred.reason);
        }
        if *label >= RiskCategory::High && inferred.category < RiskCategory::High {
            too_low.push(*name);
        }
    }
    println!("{equal} of 100 equal");
    assert!(equal >= 90, "{equal} of 100 equal");
    assert!(too_low.is_empty(), "irreversible and below HIGH: {too_low:?}");
}
