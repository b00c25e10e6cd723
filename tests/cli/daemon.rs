//! `askance serve` and `askance evaluate`: exit codes, and how a daemon begins and ends.

use super::support::{Place, line};
use rustix::process::Signal;
use std::os::unix::fs::PermissionsExt;

const POLICY: &str = "version: 1\nrules:\n  - {id: never, tool: drop_*, effect: deny}\n  - {id: fine, tool: get_*, effect: allow, risk: low}\n";

#[test]
fn verdicts_are_exit_codes() {
    let place = Place::new();
    place.file("policy.yaml", POLICY);
    let daemon = place.serve(&["--policy", "policy.yaml"]);
    let ask = |tool: &str, id: &str| {
        place.run(&["evaluate", "--tool", tool, "--principal", "user:a", "--session", "s", "--call-id", id])
    };
    ask("get_logs", "1").exits(0).says("ALLOW");
    ask("drop_table", "2").exits(3).says("DENY");
    ask("delete_cluster", "3").exits(4).says("REVIEW");
    ask("get_logs", "1").exits(0).says("asked before");
    ask("get_pods", "1").exits(1).says("AlreadyExists");
    let json = place
        .run(&["evaluate", "--tool", "get_x", "--principal", "a", "--dry-run", "--json"])
        .exits(0)
        .json();
    assert_eq!((json["verdict"].as_str(), json["position"].as_u64()), (Some("allow"), Some(0)));
    place.run(&["evaluate", "--tool", "get_x"]).exits(1).says("--principal");
    place.run(&["evaluate"]).exits(2);
    place.run(&["nonsense"]).exits(2);
    place.run(&["--version"]).exits(0).says("askance 0.");
    assert_eq!(daemon.stop(), 0, "{}", place.log());
    place
        .run(&["evaluate", "--tool", "get_x", "--principal", "a"])
        .exits(1)
        .says("start one with `askance serve`");
    // The final snapshot spares the next start the fold.
    let daemon = place.serve(&["--policy", "policy.yaml"]);
    assert!(place.log().contains("\"folded\":0"), "{}", place.log());
    ask("get_logs", "1").exits(0).says("asked before");
    daemon.kill();
}

#[test]
fn the_data_directory_belongs_to_one_daemon_and_its_owner() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    let rights = |name: &str| {
        let path = place.path().join("askance-data").join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((rights(""), rights("keys/mask.key"), rights("askance.sock")), (0o700, 0o600, 0o600));
    place
        .run(&["serve", "--unix", "other.sock"])
        .exits(1)
        .says("in use by another writer")
        .says("--daemon unix:");
    place.run(&["replay"]).exits(0).says("STATE DIGEST");
    place.run(&["verify"]).exits(0);
    assert_eq!(daemon.stop(), 0);
    // A daemon that listens elsewhere is named as it is, and found by who knows only the directory.
    let daemon = place.serve_at("elsewhere.sock", &["--unix", "elsewhere.sock"]);
    place.run(&["serve"]).exits(1).says("in use by another writer").says("elsewhere.sock");
    place.run(&["sessions", "list", "--json"]).exits(0);
    assert_eq!(daemon.stop(), 0, "{}", place.log());
    assert!(!place.path().join("askance-data/listening").exists());
    place.run(&["serve", "--set", "engine.partitions=2"]).exits(1).says("set engine.partitions = 1");
    place.file("askance-data/keys/mask.key", "short");
    place.run(&["serve"]).exits(1).says("5 bytes long, not 32");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let place = Place::new();
    let daemon = place.serve(&[]);
    daemon.signal(Signal::INT);
    daemon.signal(Signal::TERM);
    // Either the drain was over before the second signal came, or the signal cut it short.
    assert!([0, 1].contains(&daemon.wait()), "{}", place.log());
    place.run(&["verify"]).exits(0);
}

#[test]
fn wrong_starts_say_what_to_do() {
    let place = Place::new();
    place.file("policy.yaml", "version: 1\nrules:\n  - {id: a, tol: x, effect: allow}\n");
    place
        .run(&["serve", "--policy", "policy.yaml"])
        .exits(1)
        .says("policy policy.yaml is not accepted")
        .says("tol");
    place.run(&["serve", "--listen", "0.0.0.0:1"]).exits(1).says("server.allow_remote");
    place.run(&["serve", "--log-filter", "a=b=c"]).exits(1).says("log_filter");
    assert!(!place.path().join("askance-data").exists(), "a refused start leaves nothing behind");
}

#[test]
fn another_directory_s_daemon_is_not_written_to() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let theirs = Place::new();
    let daemon = theirs.serve(&["--listen", &address]);
    let listen = format!("server.listen={address}");
    let import = |place: &Place| place.run(&["import", "a.jsonl", "--set", &listen]);

    let ours = Place::new();
    ours.file("a.jsonl", line("s", 0, "get_logs"));
    ours.run(&["import", "a.jsonl"]).exits(0).says("imported 1");
    import(&ours).exits(0).says("in this process").says("already there 1");

    let nobody = Place::new();
    nobody.file("a.jsonl", line("s", 0, "get_logs"));
    import(&nobody).exits(0).says(&format!("talking to the daemon at http://{address}")).says("imported 1");
    assert!(!nobody.path().join("askance-data").exists());
    assert_eq!(daemon.stop(), 0, "{}", theirs.log());
}

/// One request over plain HTTP: status and body.
fn get(address: &str, path: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn the_admin_port_tells_health_and_figures() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let place = Place::new();
    let admin = format!("admin.listen={address}");
    let daemon = place.serve(&["--set", &admin]);
    place.file("a.jsonl", line("s", 0, "get_logs"));
    place.run(&["import", "a.jsonl"]).exits(0);
    assert_eq!(get(&address, "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(get(&address, "/readyz").0, 200);
    let (status, metrics) = get(&address, "/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("\naskance_calls_total{tenant=\"test\",verdict=\"allow\"} 1\n"), "{metrics}");
    assert!(metrics.contains("\naskance_calls_decided_total{partition=\"0\"} 1\n"), "{metrics}");
    for name in askance::admin::METRICS.iter().map(|metric| metric.name) {
        assert!(metrics.contains(&format!("# TYPE {name} ")), "{name} is in the list and not in the answer");
    }
    // Every line is a comment, or a name that was announced, with a number.
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let name = name.split('{').next().unwrap();
        let name =
            ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        assert!(value.parse::<f64>().is_ok() && metrics.contains(&format!("# HELP {name} ")), "{line}");
    }
    assert_eq!(get(&address, "/other").0, 404);
    assert_eq!(daemon.stop(), 0, "{}", place.log());
    place.run(&["serve", "--set", "admin.listen=0.0.0.0:1"]).exits(1).says("admin.listen");
}

#[test]
fn a_used_port_is_told_with_its_flag_and_leaves_nothing_behind() {
    let place = Place::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let used = other.local_addr().unwrap().to_string();
    place.run(&["serve", "--listen", &used]).exits(1).says(&used).says("`--listen ADDRESS`");
    for door in ["admin", "http"] {
        let set = format!("{door}.listen={used}");
        place.run(&["serve", "--set", &set]).exits(1).says(&format!("`--set {door}.listen=ADDRESS`"));
    }
    assert!(!place.path().join("askance-data").exists(), "nothing was created");
}
