//! Spans as the daemon itself sends them: recorded agents as the traffic, daemon and receiver killed and started again
//! under it, and what came held against the log.

use super::otlp::{Got, Receiver, number_of, text_of};
use super::support::{Daemon, Place, line, shared_data};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Calls of the log: position of the decision, with what the log says of it.
#[derive(Debug)]
struct Logged {
    start_ms: i64,
    session_key: String,
    tool: String,
    call_id: String,
    verdict: String,
    risk: i64,
}

fn logged(place: &Place) -> BTreeMap<i64, Logged> {
    place.run(&["export", "ecs", "--out", "calls.ecs"]).exits(0);
    let text = std::fs::read_to_string(place.path().join("calls.ecs")).unwrap();
    let call = |line: &str| {
        let doc: serde_json::Value = serde_json::from_str(line).unwrap();
        let at =
            |path: &str| doc.pointer(path).cloned().unwrap_or_else(|| panic!("{path} is not in {doc:#}"));
        let text = |path: &str| at(path).as_str().unwrap().to_owned();
        let time = askance::domain::Timestamp::parse(&text("/@timestamp")).unwrap();
        let logged = Logged {
            start_ms: time.as_micros() / 1_000,
            session_key: text("/labels/askance_session_key"),
            tool: text("/gen_ai/tool/name"),
            call_id: text("/gen_ai/tool/call/id"),
            verdict: text("/labels/askance_verdict"),
            risk: at("/event/risk_score").as_f64().unwrap() as i64,
        };
        (at("/event/sequence").as_i64().unwrap(), logged)
    };
    text.lines().map(call).collect()
}

/// Holds what came against the log; tells how many spans came more than once.
fn check(place: &Place, got: &Got, calls: usize) -> usize {
    let log = logged(place);
    assert_eq!(log.len(), calls);
    let (spans, again) = got.distinct();
    let mut sessions: BTreeMap<String, (Vec<u8>, Vec<u8>)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for span in spans.iter().filter(|span| span.name.starts_with("execute_tool ")) {
        let text = |key: &str| text_of(&span.attributes, key).unwrap_or_default();
        let position = number_of(&span.attributes, "askance.position").unwrap();
        let call = log.get(&position).unwrap_or_else(|| panic!("{position} is no call of the log"));
        assert!(seen.insert(position), "position {position} has two spans");
        assert_eq!(span.name, format!("execute_tool {}", call.tool));
        assert_eq!(i64::try_from(span.start_time_unix_nano / 1_000_000).unwrap(), call.start_ms);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        assert_eq!(
            (text("gen_ai.tool.call.id"), text("askance.verdict"), text("askance.session.key")),
            (call.call_id.clone(), call.verdict.clone(), call.session_key.clone())
        );
        assert_eq!(number_of(&span.attributes, "askance.risk"), Some(call.risk));
        assert!(text("askance.call.arguments_digest").starts_with("hmac-sha256:"));
        assert_eq!(text_of(&span.attributes, "gen_ai.tool.call.arguments"), None);
        let place = (span.trace_id.clone(), span.parent_span_id.clone());
        let of_session = sessions.entry(call.session_key.clone()).or_insert_with(|| place.clone());
        assert_eq!(*of_session, place, "calls of a session hang under one span");
    }
    let missing: Vec<&i64> = log.keys().filter(|position| !seen.contains(position)).take(5).collect();
    assert!(missing.is_empty(), "{} of {} calls came; not {missing:?}", seen.len(), log.len());
    let traces: BTreeSet<&Vec<u8>> = sessions.values().map(|(trace, _)| trace).collect();
    assert_eq!(traces.len(), sessions.len(), "a trace a session");
    for span in spans.iter().filter(|span| span.name == "agent session") {
        let key = text_of(&span.attributes, "askance.session.key").unwrap();
        let (trace, root) = &sessions[&key];
        assert_eq!(&span.trace_id, trace);
        assert!(&span.span_id == root || &span.parent_span_id == root);
    }
    again
}

fn traffic(place: &Place) -> usize {
    if let Some(data) = shared_data() {
        let packed = std::fs::read(data.join("agentdojo.jsonl.zst")).unwrap();
        let text = String::from_utf8(zstd::decode_all(packed.as_slice()).unwrap()).unwrap();
        let lines: Vec<&str> = text.lines().take(4_000).collect();
        place.file("traffic.jsonl", lines.join("\n"));
        return lines.len();
    }
    let lines: Vec<String> =
        (0..4_000).map(|index| line(&format!("s{}", index / 20), index % 20, "t")).collect();
    place.file("traffic.jsonl", lines.join("\n"));
    lines.len()
}

fn serve(place: &Place, endpoint: &str) -> Daemon {
    let endpoint = format!("otlp.endpoint={endpoint}");
    let _left = std::fs::remove_file(place.path().join("askance-data/askance.sock"));
    place.serve(&["--set", &endpoint])
}

fn import(place: &Place) -> Child {
    let arguments = ["import", "traffic.jsonl", "--daemon", "unix:askance-data/askance.sock"];
    place.command().args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn kills_of_daemon_and_receiver_lose_no_span() {
    let place = Place::new();
    let calls = traffic(&place);
    let receiver = Receiver::start();
    let endpoint = receiver.endpoint();
    let mut receiver = Some(receiver);
    for round in 0..6_u64 {
        let daemon = serve(&place, &endpoint);
        let mut importing = import(&place);
        std::thread::sleep(Duration::from_millis(150 + 90 * round));
        if round % 2 == 1 {
            let (address, got) = receiver.take().unwrap().kill();
            std::thread::sleep(Duration::from_millis(60));
            receiver = Some(Receiver::at(address, got));
        }
        daemon.kill();
        importing.wait().unwrap();
    }
    let receiver = receiver.unwrap();
    let daemon = serve(&place, &endpoint);
    assert!(import(&place).wait().unwrap().success(), "{}", place.log());
    let begun = Instant::now();
    let count = || receiver.got.count("execute_tool ");
    while count() < calls && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
    }
    receiver.got.settle();
    assert_eq!(daemon.stop(), 0, "{}", place.log());
    let again = check(&place, &receiver.got, calls);
    println!(
        "{calls} calls, 6 kills of the daemon, 3 of the receiver: {again} spans came again, none is missing"
    );

    // Ended and begun in good order, nothing comes twice.
    let before = receiver.got.spans().len();
    let daemon = serve(&place, &endpoint);
    place.file(
        "traffic.jsonl",
        (0..50).map(|index| line("late", index, "get_logs") + "\n").collect::<String>(),
    );
    assert!(import(&place).wait().unwrap().success());
    let begun = Instant::now();
    while count() < calls + 50 && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(50));
    }
    receiver.got.settle();
    assert_eq!(daemon.stop(), 0);
    assert_eq!(check(&place, &receiver.got, calls + 50), again);
    assert!(receiver.got.spans().len() >= before + 50);

    // What was written before anybody listened is handed in afterwards, and is the same to the bit.
    let second = Receiver::start();
    place.run(&["export", "otlp", "--endpoint", &second.endpoint()]).exits(0).says("spans");
    check(&place, &second.got, calls + 50);
    let by_id = |got: &Got| -> BTreeMap<Vec<u8>, String> {
        got.spans().into_iter().map(|span| (span.span_id.clone(), format!("{span:?}"))).collect()
    };
    let (live, later) = (by_id(&receiver.got), by_id(&second.got));
    for (id, span) in &live {
        assert_eq!(later.get(id), Some(span));
    }
}

/// Metrics are those of `/metrics`, with units; log records say what somebody should see, beside the spans.
#[test]
fn metrics_and_log_records_come_where_they_are_asked_for() {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    let place = Place::new();
    place.file("policy.yaml", "version: 1\nrules:\n  - {id: never, tool: drop_*, effect: deny}\n");
    let receiver = Receiver::start();
    let endpoint = format!("otlp.endpoint={}", receiver.endpoint());
    let sets = [&endpoint, "otlp.logs=true", "otlp.metrics_every=200ms", "otlp.own_spans_ppm=1000000"];
    let args = sets.iter().flat_map(|set| ["--set", *set]).chain(["--policy", "policy.yaml"]);
    let daemon = place.serve(&args.collect::<Vec<_>>());
    let ask = |tool: &str, code: i32| {
        place.run(&["evaluate", "--tool", tool, "--principal", "agent:x", "--call-id", tool]).exits(code);
    };
    ask("get_logs", 0);
    ask("drop_table", 3);
    let begun = Instant::now();
    let answered = || {
        let metrics = receiver.got.metrics();
        let times = metrics.into_iter().find(|metric| metric.name == "askance_evaluate_duration_seconds");
        match times.and_then(|metric| metric.data) {
            Some(Data::Histogram(histogram)) => histogram.data_points,
            _ => Vec::new(),
        }
    };
    while receiver.got.logs().is_empty() || answered().iter().map(|point| point.count).sum::<u64>() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", receiver.got.logs());
        std::thread::sleep(Duration::from_millis(20));
    }
    let deny =
        answered().into_iter().find(|point| text_of(&point.attributes, "verdict").as_deref() == Some("deny"));
    let deny = deny.unwrap();
    assert_eq!((deny.count, deny.bucket_counts.iter().sum::<u64>()), (1, 1));
    assert_eq!(deny.bucket_counts.len(), deny.explicit_bounds.len() + 1);
    assert!(deny.sum.unwrap() > 0.0 && deny.start_time_unix_nano < deny.time_unix_nano);
    let metrics = receiver.got.metrics();
    for known in askance::admin::METRICS {
        let metric = metrics
            .iter()
            .find(|metric| metric.name == known.name)
            .unwrap_or_else(|| panic!("{}", known.name));
        assert_eq!(metric.unit, known.unit, "{}", known.name);
    }
    let tools = metrics.iter().find(|metric| metric.name == "askance_tool_calls_total").unwrap();
    let Some(Data::Sum(tools)) = &tools.data else { panic!("{tools:?}") };
    assert!(tools.is_monotonic && tools.aggregation_temporality == 2);
    assert_eq!(tools.data_points.len(), 2);
    // One record, of the call that was denied, beside its span; the one that was allowed makes none.
    let named = |name: &str| loop {
        let found = receiver.got.distinct().0.into_iter().find(|span| span.name == name);
        if let Some(span) = found {
            return span;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no span {name}");
        std::thread::sleep(Duration::from_millis(20));
    };
    let denied = named("execute_tool drop_table");
    let logs = receiver.got.logs();
    let about: Vec<_> = logs.iter().filter(|record| record.event_name == "askance.decision").collect();
    assert_eq!(about.len(), 1, "{logs:?}");
    assert_eq!((&about[0].span_id, &about[0].trace_id), (&denied.span_id, &denied.trace_id));
    assert_eq!(
        (about[0].severity_number, text_of(&about[0].attributes, "askance.rule.id").as_deref()),
        (17, Some("never"))
    );
    // The daemon's own work: a request with its parts.
    let (evaluate, decide) = (named("evaluate"), named("decide"));
    assert!(evaluate.parent_span_id.is_empty());
    let of_one =
        receiver.got.distinct().0.into_iter().find(|span| span.span_id == decide.parent_span_id).unwrap();
    assert_eq!((of_one.name.as_str(), &of_one.trace_id), ("evaluate", &decide.trace_id));
    assert!(text_of(&of_one.attributes, "verdict").is_some_and(|verdict| verdict.starts_with("VERDICT_")));
    named("commit");
    assert_eq!(daemon.stop(), 0, "{}", place.log());
    assert_eq!(place.run(&["serve", "--set", "otlp.endpoint=https://x:1"]).exits(1).code, 1);
}
