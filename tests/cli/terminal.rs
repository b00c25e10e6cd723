//! `askance review watch` as a person at a terminal uses it.

use crate::support::{Place, Ran};
use std::process::Command;

/// Runs a command at a terminal: waits for each text, then types the keys beside it.
fn at_terminal(place: &Place, args: &[&str], script: &[(&str, &str)]) -> Ran {
    let program = place.command();
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/at_terminal.py"));
    command.arg(serde_json::to_string(script).unwrap()).arg(program.get_program()).args(args);
    command.current_dir(place.path()).env_clear().env("TERM", "xterm");
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("python3 runs");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn ask(place: &Place, id: &str, tool: &str) {
    let args = ["evaluate", "--tool", tool, "--principal", "agent:x", "--session", id, "--call-id", id];
    place.run(&args).exits(4);
}

fn state_of(place: &Place, call: &str) -> String {
    let list = place.run(&["--json", "review", "list", "--all"]).exits(0).json();
    let reviews = list.as_array().unwrap().clone();
    let of_call = |review: &serde_json::Value| review["call"]["call_id"] == call || review["call_id"] == call;
    let found = reviews.iter().find(|review| of_call(review));
    found.map_or_else(|| panic!("{call} is not in {list:#}"), |review| review["state"].to_string())
}

const CTRL_C: &str = "\u{3}";

const POLICY: &str = "version: 1
review: {timeout: {after: 10m, then: deny}}
rules:
  - {id: soon, tool: scale_replicas, effect: review, risk: medium, timeout: {after: 2m, then: deny}}
  - {id: later, tool: send_invoice, effect: review, risk: high}
  - {id: grave, tool: run_migration, effect: review, risk: critical, timeout: {after: 30m, then: deny}}
";

/// The oldest deadline comes first; one key votes; a critical call is approved by its name only.
#[test]
fn one_key_votes_and_a_critical_call_wants_its_name() {
    let place = Place::new();
    place.file("policy.yaml", POLICY);
    let daemon = place.serve(&["--policy", "policy.yaml"]);
    for (id, tool) in
        [("c-grave", "run_migration"), ("c-later", "send_invoice"), ("c-soon", "scale_replicas")]
    {
        ask(&place, id, tool);
    }
    let keys = "[a]pprove  [d]eny  [s]kip  [q]uit: ";
    let ran = at_terminal(
        &place,
        &["review", "watch"],
        &[
            ("scale_replicas", ""),
            // Another key asks again, and so does every second.
            (keys, "x"),
            (keys, ""),
            (keys, "a"),
            ("send_invoice", ""),
            (keys, "d"),
            ("run_migration", ""),
            (keys, "a"),
            ("Type the tool's name (run_migration) to approve: ", "yes\n"),
            ("not confirmed: skipped", CTRL_C),
        ],
    );
    let countdown: std::collections::BTreeSet<&str> = ran
        .out
        .split("\u{1b}[K")
        .skip(1)
        .filter_map(|line| line.split_once(" then denied").map(|(left, _)| left))
        .take(3)
        .collect();
    assert!(countdown.len() > 1, "the time that is left runs down: {countdown:?} {ran:#?}");
    assert!(state_of(&place, "c-soon").contains("approved"), "{ran:#?}");
    assert!(state_of(&place, "c-later").contains("denied"), "{ran:#?}");
    assert!(state_of(&place, "c-grave").contains("pending"), "a `yes` is not its name: {ran:#?}");

    let ran = at_terminal(
        &place,
        &["review", "watch"],
        &[(keys, "A"), ("to approve: ", "run_migration\n"), ("is approved", CTRL_C)],
    );
    assert!(state_of(&place, "c-grave").contains("approved"), "{ran:#?}");
    assert_eq!(daemon.stop(), 0, "{}", place.log());
}

/// `q` leaves, with nothing voted and the terminal as it was.
#[test]
fn q_leaves_without_a_vote() {
    let place = Place::new();
    place.file("policy.yaml", POLICY);
    let daemon = place.serve(&["--policy", "policy.yaml"]);
    ask(&place, "c-1", "send_invoice");
    let ran = at_terminal(&place, &["review", "watch"], &[("[q]uit: ", "q")]);
    assert_eq!(ran.code, 0, "{ran:#?}");
    assert!(state_of(&place, "c-1").contains("pending"));
    assert_eq!(daemon.stop(), 0, "{}", place.log());
}
