//! `askance config`: precedence and faults through the binary. The details are tested beside the code.

use super::support::Place;

#[test]
fn every_fault_at_once_and_precedence() {
    let place = Place::new();
    place.file(
        "askance.toml",
        "version = 1\n[server]\nlisen = \"x\"\n[engine]\nmode = \"both\"\npartitions = 100\n",
    );
    let ran = place.run(&["config", "check"]).exits(1).says("3 faults");
    assert!(ran.err.contains("did you mean `server.listen`?"), "{ran:#?}");
    place.file("askance.toml", "version = 1\n[engine]\nqueue_max = 100\nsessions_max = 7\n");
    let mut command = place.command();
    command
        .args(["config", "show", "--json", "--set", "engine.queue_max=300"])
        .env("ASKANCE_ENGINE__QUEUE_MAX", "200");
    let shown: serde_json::Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    let of = |key: &str| shown.as_array().unwrap().iter().find(|field| field["key"] == key).unwrap().clone();
    assert_eq!(
        (of("engine.queue_max")["value"].as_str(), of("engine.queue_max")["origin"].as_str()),
        (Some("300"), Some("flag"))
    );
    assert_eq!(of("engine.sessions_max")["origin"], "file");
    assert_eq!(of("log.ballast")["origin"], "env");
    assert_eq!(of("engine.mode")["origin"], "default");
    place.run(&["config", "show", "--explain"]).exits(0).says("Requests that may wait");
}
