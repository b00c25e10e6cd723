//! `askance status` and `askance model`, as an operator meets them.

use super::support::{Place, line};

/// A daemon's directory with a few sessions in it.
fn with_history(place: &Place) {
    let mut text = String::new();
    for session in 0..30 {
        for index in 0..6 {
            let tool = ["get_logs", "list_pods", "update_config"][index as usize % 3];
            text.push_str(&format!("{}\n", line(&format!("s{session}"), index, tool)));
        }
    }
    place.file("calls.jsonl", text);
    place.run(&["import", "calls.jsonl", "--embedded"]).exits(0);
}

#[test]
fn status_tells_the_budget_and_what_was_spent() {
    let place = Place::new();
    with_history(&place);
    let told = place.run(&["status", "--embedded", "--json"]).exits(0).json();
    let budget = &told["tenants"][0]["budget"];
    assert_eq!(told["tenants"][0]["calls"], 180);
    assert_eq!(budget["rate"], 0.003);
    assert!(budget["counted"].as_u64().unwrap() > 100);
    assert!(budget["soft_reviews"].as_u64() <= budget["soft_reviews_bound"].as_u64());
    let text = place.run(&["status", "--embedded"]).exits(0);
    text.says("no traffic could have made it more than").says("a session").says("drift index");
}

#[test]
fn a_budget_of_the_configuration_is_recorded_and_shown() {
    let place = Place::new();
    place.file("askance.toml", "version = 1\n[budget]\nrate_ppm = 10000\nreviews_per_day = 40\n");
    with_history(&place);
    let told = place.run(&["status", "--embedded", "--json"]).exits(0).json();
    assert_eq!(told["tenants"][0]["budget"]["rate"], 0.01);
    place.file("askance.toml", "version = 1\n[budget]\nrate_ppm = 0\n");
    place.run(&["status", "--embedded"]).exits(1).says("budget.rate_ppm: 0 is too little, at least 1");
}

#[test]
fn a_session_is_unlearnt_by_its_key() {
    let place = Place::new();
    with_history(&place);
    let sessions = place.run(&["sessions", "list", "--embedded", "--json"]).exits(0).json();
    let first = sessions.as_array().or_else(|| sessions["sessions"].as_array()).unwrap();
    let key = first[0]["session_key"].as_str().or_else(|| first[0]["key"].as_str()).unwrap().to_owned();
    let args = ["model", "unlearn", "--embedded", "--session", &key, "--reason", "poisoned"];
    place.run(&args).exits(0).says("teaches nothing from position");
    place.run(&args).exits(0).says("teaches nothing already");
    place.run(&["replay", "--embedded"]).exits(0);
    place.run(&["verify"]).exits(0);
    place
        .run(&["model", "unlearn", "--embedded", "--session", &"0".repeat(32)])
        .exits(1)
        .says("the daemon refused");
    place
        .run(&["model", "unlearn", "--embedded", "--session", "x"])
        .exits(1)
        .says("32 lower-case hex digits");
}

#[test]
fn a_model_is_trained_adopted_and_listed() {
    let place = Place::new();
    with_history(&place);
    place.run(&["model", "list", "--embedded"]).exits(0).says("no model was adopted");
    let train = ["model", "train", "--synthetic", "2000", "--out", "p_reject.params"];
    place.run(&train).exits(0).says("calibration error");
    let first = std::fs::read(place.path().join("p_reject.params")).unwrap();
    place.run(&train).exits(0);
    assert_eq!(std::fs::read(place.path().join("p_reject.params")).unwrap(), first, "the same every time");
    place.run(&["model", "adopt", "--embedded", "p_reject.params"]).exits(0).says("is in use from position");
    place.run(&["model", "adopt", "--embedded", "p_reject.params"]).exits(0).says("is in use already");
    let list = place.run(&["model", "list", "--embedded", "--json"]).exits(0).json();
    assert_eq!(list[0]["name"], "p_reject");
    assert!(list[0]["card"].as_str().unwrap().contains("Limits"));
    place.file("bad.params", "something else");
    place.file("bad.md", "# no model");
    place.run(&["model", "adopt", "--embedded", "bad.params"]).exits(1).says("do not begin with the line");
    place.file("few.jsonl", "");
    place.run(&["model", "train", "--verdicts", "few.jsonl", "--out", "x"]).exits(1).says("too few");
}

#[test]
fn roles_are_suggested_from_calls() {
    let place = Place::new();
    let mut text = String::new();
    for agent in 0..6 {
        for index in 0..40 {
            let tool = if agent < 3 {
                ["get_logs", "list_pods"][index % 2]
            } else {
                ["send_email", "read_inbox"][index % 2]
            };
            text.push_str(
                &line(&format!("s{agent}"), index as u64, tool)
                    .replace("\"principal\":\"p\"", &format!("\"principal\":\"a{agent}\"")),
            );
            text.push('\n');
        }
    }
    place.file("calls.jsonl", text);
    let told = place.run(&["model", "roles", "calls.jsonl", "--json"]).exits(0).json();
    assert_eq!(told["roles"].as_array().unwrap().len(), 2, "{told:#}");
}

#[test]
fn what_is_in_models_is_what_the_commands_make() {
    let place = Place::new();
    place.run(&["model", "export", "--out", "models"]).exits(0);
    place.run(&["model", "train", "--synthetic", "4000", "--out", "models/p_reject.params"]).exits(0);
    let committed = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut compared = 0;
    for entry in std::fs::read_dir(&committed).unwrap() {
        let name = entry.unwrap().file_name();
        if name == "README.md" {
            continue;
        }
        let (kept, made) = (committed.join(&name), place.path().join("models").join(&name));
        let made = std::fs::read_to_string(&made).unwrap_or_else(|_| panic!("no command makes {name:?}"));
        let kept = std::fs::read_to_string(kept).unwrap();
        if name == "p_reject.params" {
            // Fitting may differ in the last bits on another CPU.
            let numbers = |text: &str| -> Vec<f64> {
                text.lines()
                    .skip(1)
                    .map(|line| f64::from_bits(u64::from_str_radix(line, 16).unwrap()))
                    .collect()
            };
            let far =
                numbers(&kept).iter().zip(numbers(&made)).any(|(kept, made)| (kept - made).abs() > 1e-6);
            assert!(!far, "{name:?} is not what the command makes");
        } else {
            assert_eq!(kept, made, "{name:?} is not what the command makes");
        }
        compared += 1;
    }
    assert_eq!(compared, 6);
}

/// What another model would have decided: the same table changes nothing, another one is told with counts and examples,
/// the review model is held against the calls that went to a human, and what cannot be exchanged is refused.
#[test]
fn a_log_is_replayed_by_another_model() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    let ask = |tool: &str, id: &str, code: i32| {
        let args = ["evaluate", "--tool", tool, "--principal", "agent:x", "--session", id, "--call-id", id];
        place.run(&args).exits(code);
    };
    ask("get_logs", "c-get", 0);
    ask("delete_cluster", "c-delete", 4);
    ask("remove_pods", "c-remove", 4);
    assert_eq!(daemon.stop(), 0);
    let models = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let replay = |model: &str| place.run(&["replay", "--all", "--model", model, "--json"]);
    let same = replay(models.to_str().unwrap()).exits(0).json();
    assert_eq!((same[0]["decided"].as_u64(), same[0]["differing"].as_u64()), (Some(3), Some(0)), "{same:#}");
    assert_eq!(same[0]["reviewed"]["calls"], 2);
    assert!(same[0]["reviewed"]["chance"].as_f64().is_some_and(|chance| chance > 0.0 && chance < 1.0));
    assert!(same[0]["reviewed"]["chance_before"].is_null());

    let text = std::fs::read_to_string(models.join("tool-risk.json")).unwrap();
    let mut table: serde_json::Value = serde_json::from_str(&text).unwrap();
    for entry in table["categories"].as_array_mut().unwrap() {
        let is_low = entry["category"] == "low";
        let verbs = entry["verbs"].as_array_mut().unwrap();
        verbs.retain(|verb| verb != "delete");
        if is_low {
            verbs.push("delete".into());
        }
    }
    place.file("lax.json", table.to_string());
    let lax = replay("lax.json").exits(0).json();
    let changes = lax[0]["changes"].as_array().unwrap();
    assert_eq!((lax[0]["verdicts_differing"].as_u64(), changes.len()), (Some(1), 1), "{lax:#}");
    assert_eq!((changes[0]["from"].as_str(), changes[0]["to"].as_str()), (Some("review"), Some("allow")));
    assert_eq!(
        (changes[0]["calls"].as_u64(), changes[0]["examples"][0].as_str()),
        (Some(1), Some("c-delete"))
    );
    place.run(&["replay", "--all", "--model", "lax.json"]).exits(0).says("c-delete").says("WOULD BE");

    let priors = std::fs::read_to_string(models.join("priors.json")).unwrap();
    place.file("priors.json", priors.replace("\"half_life_weeks\": 4", "\"half_life_weeks\": 5"));
    replay("priors.json").exits(1).says("compiled in");
    place.file("bad.json", "{}");
    replay("bad.json").exits(1).says("no table");
    replay("nowhere").exits(1).says("cannot read");
}
