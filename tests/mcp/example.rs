//! The example in `examples/python`: a server whose tools ask first, behind a real daemon, as a client meets it.

use crate::packages::{example_python, file};
use crate::support::{Client, Place, SOON, eventually};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};

/// The server of the example, asking over the daemon's socket.
fn server(place: &Place, python: &std::path::Path, wait: u32) -> Client {
    let mut command = Command::new(python);
    let ours = place.askance();
    command.env_clear().current_dir(file("../../examples/python")).arg("server.py");
    ours.get_envs().for_each(|(name, value)| {
        command.env(name, value.unwrap_or_default());
    });
    let socket = place.path().join("askance-data/askance.sock");
    command.env("ASKANCE_DAEMON", format!("unix:{}", socket.display()));
    command.env("REVIEW_WAIT", wait.to_string()).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut client = Client::start(command, &place.path().join("server.log"));
    client.greet();
    client
}

/// The answer to a call: its text, and whether it is an error.
fn answered(client: &Client, id: u64) -> (String, bool) {
    loop {
        let message = client.next();
        if message["id"] == id {
            let result = &message["result"];
            let text = result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{message:#}"));
            return (text.to_owned(), result["isError"] == true);
        }
    }
}

fn open_review(place: &Place) -> String {
    let since = Instant::now();
    loop {
        let (_, listed) = place.run(&["review", "list", "--json"]);
        let list: Value = serde_json::from_str(&listed).unwrap_or_default();
        let first = list.as_array().and_then(|list| list.first());
        if let Some(id) =
            first.and_then(|review| review["review_id"].as_str().or_else(|| review["id"].as_str()))
        {
            return id.to_owned();
        }
        assert!(since.elapsed() < SOON, "no review: {listed}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn reviewer(place: &Place, name: &str) -> String {
    let subject = format!("user:{name}");
    let (code, told) = place.run(&["token", "create", "--subject", &subject, "--role", "reviewer", "--json"]);
    assert_eq!(code, 0, "{told}");
    let told: Value = serde_json::from_str(told.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    told["secret"].as_str().unwrap().to_owned()
}

#[test]
fn the_tools_of_the_example_ask_first() {
    let Some(python) = example_python() else { return };
    let place = Place::new();
    std::fs::copy(file("../../examples/python/policy.yaml"), place.path().join("policy.yaml")).unwrap();
    let daemon = place.serve();
    let mut client = server(&place, &python, 60);
    client.call(1, "get_service_status", r#"{"service":"shop"}"#);
    assert_eq!(answered(&client, 1), ("shop: 3 of 3 replicas ready".to_owned(), false));
    client.call(2, "deploy_service", r#"{"service":"shop","version":"1.2","env":"staging"}"#);
    assert_eq!(answered(&client, 2), ("shop 1.2 runs in staging".to_owned(), false));
    client.call(3, "deploy_service", r#"{"service":"legacy","version":"9","env":"staging"}"#);
    let (why, is_error) = answered(&client, 3);
    assert!(is_error && why.contains("askance:") && why.contains("no-legacy"), "{why}");
    client.call(4, "deploy_service", r#"{"service":"shop","version":"1.2","env":"production"}"#);
    let (code, told) = place.run(&["review", "approve", "--yes", &open_review(&place)]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(answered(&client, 4), ("shop 1.2 runs in production".to_owned(), false));
    let (alice, bob) = (reviewer(&place, "alice"), reviewer(&place, "bob"));
    client.call(
        5,
        "run_database_migration",
        r#"{"migration_id":"0047_drop_legacy_users","db":"prod-postgres"}"#,
    );
    let review = open_review(&place);
    for (secret, is_enough) in [(alice, false), (bob, true)] {
        assert!(client.within(Duration::from_millis(200)).is_none(), "one approver is not enough");
        let (code, told) = place.run(&["--token", &secret, "review", "approve", "--yes", &review]);
        assert!(code == 0 || (!is_enough && code == 4), "{code} {told}");
    }
    assert_eq!(answered(&client, 5), ("0047_drop_legacy_users ran on prod-postgres".to_owned(), false));
    daemon.kill();
    client.call(6, "get_service_status", r#"{"service":"shop"}"#);
    let (why, is_error) = answered(&client, 6);
    assert!(is_error, "nothing runs unasked: {why}");
    client.hang_up();
    client.ended();
    let mut completed = 0;
    eventually("the outcomes", || {
        completed = place.calls().iter().filter(|event| event["kind"] == "call_completed").count();
        completed == 4
    });
}

#[test]
fn a_call_that_nobody_looks_at_is_refused_in_time() {
    let Some(python) = example_python() else { return };
    let place = Place::new();
    std::fs::copy(file("../../examples/python/policy.yaml"), place.path().join("policy.yaml")).unwrap();
    let _daemon = place.serve();
    let mut client = server(&place, &python, 1);
    client.call(1, "deploy_service", r#"{"service":"shop","version":"1.2","env":"production"}"#);
    let (why, is_error) = answered(&client, 1);
    assert!(is_error && why.contains("askance:") && why.contains(&open_review(&place)), "{why}");
}
