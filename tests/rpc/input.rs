//! Bad input: each has one documented status, names its field, and leaves nothing in the log.

use crate::support::{Server, call, decide, evaluate, fields, reason};
use askance::proto::v1;
use tonic::Code;

/// Sends a call that must be refused for this field, and one that must not.
async fn refused(server: &Server, bad: v1::ToolCall, field: &str) {
    let mut gateway = server.gateway().await;
    let tail = *server.engine.tail("default").borrow();
    let status = gateway.evaluate(evaluate(bad)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    assert_eq!(fields(&status), [field], "{status:?}");
    assert!(status.message().len() < 400, "{}", status.message().len());
    assert_eq!(*server.engine.tail("default").borrow(), tail, "nothing is recorded");
}

fn with_arguments(arguments: impl Into<Vec<u8>>) -> v1::ToolCall {
    v1::ToolCall { arguments_json: arguments.into().into(), ..call("c-bad") }
}

#[tokio::test]
async fn arguments_must_be_one_plain_json_object() {
    let server = Server::start().await;
    let nested = |levels: usize| format!("{}{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let bad: [Vec<u8>; 14] = [
        b"{".to_vec(),
        b"{\"a\":1}}".to_vec(),
        b"[1]".to_vec(),
        b"null".to_vec(),
        b"{\"a\":NaN}".to_vec(),
        b"{\"a\":Infinity}".to_vec(),
        b"{\"a\":1e999}".to_vec(),
        b"{\"a\":1,\"a\":2}".to_vec(),
        b"{\"a\":\"\\ud800\"}".to_vec(),
        b"{\"a\":\"\xff\"}".to_vec(),
        nested(10_000).into_bytes(),
        format!("{{\"a\":[{}1]}}", "1,".repeat(30_000)).into_bytes(),
        format!("{{\"a\":\"{}\"}}", "x".repeat(256 * 1024)).into_bytes(),
        b"\xef\xbb\xbf{}".to_vec(),
    ];
    for arguments in bad {
        refused(&server, with_arguments(arguments), "call.arguments_json").await;
    }
    // Controls: close to the same, and accepted.
    let mut gateway = server.gateway().await;
    let deep = format!("{}1{}", "{\"a\":".repeat(60), "}".repeat(60));
    let good = ["", "{}", "{\"a\":1e300}", "{\"a\":-9007199254740993}", "{\"a\":\"\\u202e\"}", deep.as_str()];
    for (number, arguments) in good.into_iter().enumerate() {
        let call =
            v1::ToolCall { arguments_json: arguments.to_owned().into(), ..call(&format!("c-{number}")) };
        decide(&mut gateway, call).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn names_are_short_and_hide_nothing() {
    let server = Server::start().await;
    let long = "n".repeat(10_000);
    let deceptive =
        ["a\nb", "a\u{1b}[31m", "a\0", "deploy\u{202e}gnp", "de\u{200b}ploy", "x\u{e0041}", "a\u{9b}b"];
    for name in deceptive.into_iter().chain([long.as_str()]) {
        let name = || name.to_owned();
        refused(&server, v1::ToolCall { tool: name(), ..call("c") }, "call.tool").await;
        refused(&server, v1::ToolCall { server: name(), ..call("c") }, "call.server").await;
        refused(&server, v1::ToolCall { client: name(), ..call("c") }, "call.client").await;
        refused(&server, v1::ToolCall { call_id: name(), ..call("c") }, "call.call_id").await;
        refused(&server, v1::ToolCall { tenant: name(), ..call("c") }, "call.tenant").await;
        let chain = vec!["user:alice".to_owned(), name()];
        refused(&server, v1::ToolCall { principal_chain: chain, ..call("c") }, "call.principal_chain").await;
        let session = Some(v1::SessionHints { session_id: name(), ..Default::default() });
        refused(&server, v1::ToolCall { session, ..call("c") }, "call.session.session_id").await;
    }
    refused(&server, v1::ToolCall { tool: String::new(), ..call("c") }, "call.tool").await;
    refused(&server, v1::ToolCall { call_id: String::new(), ..call("c") }, "call.call_id").await;
    refused(&server, v1::ToolCall { principal_chain: Vec::new(), ..call("c") }, "call.principal_chain").await;
    let chain = vec!["a".to_owned(); 17];
    refused(&server, v1::ToolCall { principal_chain: chain, ..call("c") }, "call.principal_chain").await;
    // Control: names of many scripts are names.
    let mut gateway = server.gateway().await;
    for (number, name) in ["wetter_für_zürich", "天気", "ارسل"].into_iter().enumerate() {
        decide(&mut gateway, v1::ToolCall { tool: name.to_owned(), ..call(&format!("c-{number}")) }).await;
    }
    server.stop().await;
}

#[tokio::test]
async fn everything_else_that_is_out_of_range() {
    let server = Server::start().await;
    let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    for call_time in [at(i64::MAX, 0), at(i64::MIN, 0), at(0, -1), at(0, 1_000_000_000)] {
        refused(&server, v1::ToolCall { call_time, ..call("c") }, "call.call_time").await;
    }
    let offset = v1::ToolCall { utc_offset_minutes: Some(100_000), ..call("c") };
    refused(&server, offset, "call.utc_offset_minutes").await;
    let digest = v1::ToolCall { definition_digest: vec![1; 31].into(), ..call("c") };
    refused(&server, digest, "call.definition_digest").await;
    let trace = |traceparent: usize, tracestate: usize, baggage: usize| v1::ToolCall {
        trace: Some(v1::TraceContext {
            traceparent: "0".repeat(traceparent),
            tracestate: "s".repeat(tracestate),
            baggage: "b".repeat(baggage),
        }),
        ..call("c")
    };
    refused(&server, trace(65, 0, 0), "call.trace.traceparent").await;
    refused(&server, trace(0, 513, 0), "call.trace.tracestate").await;
    refused(&server, trace(0, 0, 8_193), "call.trace.baggage").await;
    let request = |request: v1::UserRequest| v1::ToolCall { user_request: Some(request), ..call("c") };
    let text = v1::UserRequest { text: "t".repeat(64 * 1024 + 1), ..Default::default() };
    refused(&server, request(text), "call.user_request").await;
    let scheme = v1::Fingerprints { scheme: 2, ..Default::default() };
    let unknown = v1::UserRequest { fingerprints: Some(scheme), ..Default::default() };
    refused(&server, request(unknown), "call.user_request.fingerprints").await;
    let mut gateway = server.gateway().await;
    let status = gateway.evaluate(v1::EvaluateRequest::default()).await.unwrap_err();
    assert_eq!(fields(&status), ["call"]);
    let review = v1::EvaluateRequest { review_id: "r".to_owned(), ..evaluate(call("c")) };
    let status = gateway.evaluate(review).await.unwrap_err();
    assert_eq!(fields(&status), ["review_id"]);
    server.stop().await;
}

#[tokio::test]
async fn all_faults_of_a_request_are_told_at_once() {
    let server = Server::start().await;
    let bad = v1::ToolCall {
        tool: String::new(),
        principal_chain: Vec::new(),
        arguments_json: "x".into(),
        call_time: Some(prost_types::Timestamp { seconds: 0, nanos: -1 }),
        ..call("c")
    };
    let status = server.gateway().await.evaluate(evaluate(bad)).await.unwrap_err();
    let expected = ["call.tool", "call.principal_chain", "call.arguments_json", "call.call_time"];
    assert_eq!(fields(&status), expected);
    server.stop().await;
}

#[tokio::test]
async fn times_of_1970_and_2100_are_not_believed() {
    let server = Server::start().await;
    let mut gateway = server.gateway().await;
    let clock = |decision: &v1::Decision| {
        let findings = decision.findings.iter();
        findings.filter(|finding| finding.detector() == v1::Detector::Clock).count()
    };
    for (number, seconds) in [0, 1, 4_102_444_800].into_iter().enumerate() {
        let call_time = Some(prost_types::Timestamp { seconds, nanos: 0 });
        let decision = decide(&mut gateway, v1::ToolCall { call_time, ..call(&format!("c-{number}")) }).await;
        assert_eq!(clock(&decision), 1, "{seconds}");
    }
    let now = server.engine.now().as_micros() / 1_000_000;
    let call_time = Some(prost_types::Timestamp { seconds: now, nanos: 0 });
    let decision = decide(&mut gateway, v1::ToolCall { call_time, ..call("c-now") }).await;
    assert_eq!(clock(&decision), 0, "the control: a right time is believed");
    server.stop().await;
}

#[tokio::test]
async fn unknown_enum_numbers_are_refused() {
    let server = Server::start().await;
    let mut timeline = v1::timeline_service_client::TimelineServiceClient::new(server.channel().await);
    let bad = [
        v1::ListSessionsRequest { verdict: 99, ..Default::default() },
        v1::ListSessionsRequest { state: -3, ..Default::default() },
        v1::ListSessionsRequest { order: 17, ..Default::default() },
        v1::ListSessionsRequest { risk_min: 101, ..Default::default() },
    ];
    for (request, field) in bad.into_iter().zip(["verdict", "state", "order", "risk_min"]) {
        assert_eq!(fields(&timeline.list_sessions(request).await.unwrap_err()), [field]);
    }
    for types in [vec![0], vec![1], vec![24, 999]] {
        let filter = Some(v1::EventFilter { types, ..Default::default() });
        let request = v1::ListEventsRequest { filter, ..Default::default() };
        assert_eq!(fields(&timeline.list_events(request).await.unwrap_err()), ["filter.types"]);
    }
    let mut tools = v1::tool_service_client::ToolServiceClient::new(server.channel().await);
    let request = v1::ListToolsRequest { category: 9, ..Default::default() };
    assert_eq!(fields(&tools.list_tools(request).await.unwrap_err()), ["category"]);
    server.stop().await;
}
