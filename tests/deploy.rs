//! The dashboard and the alert rules under deploy/: every name in them is one that the daemon has.
#![cfg(feature = "server")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test stops where something is wrong"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// Names that begin with `askance_` in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("askance_") {
        let starts = text[..at].chars().last().is_none_or(|before| !is_part(before));
        let name: String = text[at..].chars().take_while(|letter| is_part(*letter)).collect();
        if starts {
            found.insert(name);
        }
    }
    found
}

fn known() -> BTreeSet<String> {
    let counters = askance::engine::CountersView::default();
    let counters = counters.named().map(|(name, _)| format!("askance_{name}_total")).collect::<Vec<_>>();
    let parts = |metric: &askance::admin::Metric| match metric.kind {
        askance::admin::Kind::Histogram => {
            ["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", metric.name)).to_vec()
        }
        _ => vec![metric.name.to_owned()],
    };
    askance::admin::METRICS.iter().flat_map(parts).chain(counters).collect()
}

#[test]
fn every_metric_named_is_one_of_ours() {
    for name in ["prometheus/alerts.yml", "grafana/askance.json"] {
        let text = std::fs::read_to_string(file(name)).unwrap();
        let used = names(&text);
        assert!(used.len() >= 5, "{name} uses {used:?}");
        let unknown: Vec<_> = used.difference(&known()).cloned().collect();
        assert!(unknown.is_empty(), "{name} uses {unknown:?}");
    }
    assert_eq!(names("sum(askance_x_total) / my_askance_y"), BTreeSet::from(["askance_x_total".to_owned()]));
}

#[test]
fn the_dashboard_has_panels_that_do_not_overlap() {
    let text = std::fs::read_to_string(file("grafana/askance.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let at = |field: &str| panel["gridPos"][field].as_u64().unwrap();
        for x in at("x")..at("x") + at("w") {
            for y in at("y")..at("y") + at("h") {
                assert!(x < 24 && taken.insert((x, y)), "{} overlaps", panel["title"]);
            }
        }
    }
}

#[test]
fn promtool_accepts_the_rules() {
    let tool = std::env::var("PROMTOOL").unwrap_or_else(|_| "promtool".to_owned());
    let ran =
        std::process::Command::new(tool).args(["check", "rules"]).arg(file("prometheus/alerts.yml")).output();
    match ran {
        Ok(ran) => assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr)),
        Err(_) => eprintln!("SKIPPED: no promtool here (Debian: prometheus)"),
    }
}
