//! A deployment as an OpenTelemetry receiver sees it: calls below their sessions, reviews below their calls, what was
//! denied as an error, and the words of nobody's arguments.

use crate::otlp::{Receiver, text_of};
use crate::stage::{Stage, ask, call, call_of, tuesday, vote};
use askance::clock::Clock;
use askance::export::otlp::live::{Live, Settings};
use askance::proto::v1;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::path::Path;

const POLICY: &str = "version: 1
rules:
  - {id: never, tool: drop_*, effect: deny}
  - {id: ask, tool: run_*, effect: review, risk: high}
  - {id: fine, tool: get_*, effect: allow, risk: low}
";

fn live(stage: &Stage, dir: &Path, receiver: &Receiver, arguments: bool) -> Live {
    let settings = Settings { arguments, ..Settings::new(receiver.endpoint(), dir.to_owned()) };
    Live::start(&stage.engine, None, None, &settings).unwrap()
}

async fn outcome(stage: &Stage, call_id: &str, status: v1::OutcomeStatus) {
    let outcome = v1::Outcome {
        status: status.into(),
        latency: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
        ..v1::Outcome::default()
    };
    let request = v1::RecordOutcomeRequest {
        call_id: call_id.to_owned(),
        outcome: Some(outcome),
        ..v1::RecordOutcomeRequest::default()
    };
    stage.gateway().await.record_outcome(request).await.unwrap();
}

async fn end(stage: &Stage, key: &str) {
    let request = v1::EndSessionRequest { session_key: key.to_owned(), ..v1::EndSessionRequest::default() };
    stage.gateway().await.end_session(request).await.unwrap();
}

fn of_call<'a>(spans: &'a [Span], id: &str) -> &'a Span {
    let is_it = |span: &&Span| {
        span.name.starts_with("execute_tool")
            && text_of(&span.attributes, "gen_ai.tool.call.id").as_deref() == Some(id)
    };
    spans.iter().find(is_it).unwrap_or_else(|| panic!("no span of {id}: {spans:#?}"))
}

fn code(span: &Span) -> i32 {
    span.status.as_ref().map_or(0, |status| status.code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_a_trace() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::with_policy(dir.path(), &Clock::manual(tuesday()), POLICY).await;
    let receiver = Receiver::start();
    let live = live(&stage, dir.path(), &receiver, false);
    let mut gateway = stage.gateway().await;
    let secret = r#"{"pod":"billing-7f9c"}"#;
    let looked = ask(&mut gateway, call("c-logs", "get_logs", secret)).await;
    outcome(&stage, "c-logs", v1::OutcomeStatus::Ok).await;
    ask(&mut gateway, call("c-drop", "drop_table", "{}")).await;
    let mut reviewer = stage.reviewer("user:bo", &[]).await;
    let approved = ask(&mut gateway, call("c-run", "run_migration", r#"{"id":1}"#)).await;
    stage.pass(7);
    vote(&mut reviewer, &approved, v1::VoteChoice::Approve).await.unwrap();
    ask(&mut gateway, call("c-run", "run_migration", r#"{"id":1}"#)).await;
    outcome(&stage, "c-run", v1::OutcomeStatus::Error).await;
    let denied = ask(&mut gateway, call("c-no", "run_migration", r#"{"id":2}"#)).await;
    vote(&mut reviewer, &denied, v1::VoteChoice::Deny).await.unwrap();
    // A session that another one started, and a call that came with its caller's trace.
    let mut nested = call_of("s-2", "c-nested", "get_logs", secret);
    nested.session.as_mut().unwrap().parent_session_id = "s-1".to_owned();
    let inner = ask(&mut gateway, nested).await;
    let mut traced = call_of("s-2", "c-traced", "get_pods", "{}");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned();
    traced.trace = Some(v1::TraceContext { traceparent, ..v1::TraceContext::default() });
    ask(&mut gateway, traced).await;
    end(&stage, &inner.session_key).await;
    end(&stage, &looked.session_key).await;

    // Six calls, two reviews, two sessions.
    let got = receiver.got.clone();
    let spans = tokio::task::spawn_blocking(move || got.wait_for(10)).await.unwrap();
    assert_eq!(spans.len(), 10);
    let session = |key: &str| {
        let is_it = |span: &&Span| {
            span.name == "agent session"
                && text_of(&span.attributes, "askance.session.key").as_deref() == Some(key)
        };
        spans.iter().find(is_it).unwrap()
    };
    let (outer, inner) = (session(&looked.session_key), session(&inner.session_key));
    assert!(outer.parent_span_id.is_empty() && outer.links.is_empty());
    assert_eq!(inner.links[0].span_id, outer.span_id, "the one that started it");
    assert_eq!(inner.links[0].trace_id, outer.trace_id);
    for id in ["c-logs", "c-drop", "c-run", "c-no"] {
        let span = of_call(&spans, id);
        assert_eq!((&span.parent_span_id, &span.trace_id), (&outer.span_id, &outer.trace_id), "{id}");
        assert!(span.start_time_unix_nano >= outer.start_time_unix_nano);
        assert!(
            span.end_time_unix_nano
                <= outer.end_time_unix_nano.max(span.start_time_unix_nano + 2_000_000_000)
        );
    }
    let logs = of_call(&spans, "c-logs");
    assert_eq!((code(logs), logs.end_time_unix_nano - logs.start_time_unix_nano), (1, 2_000_000_000));
    assert_eq!(text_of(&logs.attributes, "gen_ai.agent.name").as_deref(), Some("agent:deployer"));
    let drop = of_call(&spans, "c-drop");
    assert_eq!((code(drop), text_of(&drop.attributes, "error.type").as_deref()), (2, Some("deny")));
    assert_eq!(text_of(&drop.attributes, "askance.rule.id").as_deref(), Some("never"));
    // Reviews.
    for (id, state, status) in [("c-run", "approved", 1), ("c-no", "denied", 2)] {
        let call = of_call(&spans, id);
        let review = spans.iter().find(|span| span.parent_span_id == call.span_id).unwrap();
        assert_eq!(review.trace_id, call.trace_id);
        assert_eq!(text_of(&review.attributes, "askance.review.state").as_deref(), Some(state));
        assert_eq!((code(review), review.events.len()), (status, 1), "{id}");
        assert_eq!(
            text_of(&review.events[0].attributes, "askance.review.reviewer").as_deref(),
            Some("user:bo")
        );
        assert!(review.start_time_unix_nano >= call.start_time_unix_nano);
        assert!(review.end_time_unix_nano <= call.end_time_unix_nano, "{id}");
        assert_eq!(code(call), 2, "one failed, the other was refused");
    }
    let run = of_call(&spans, "c-run");
    assert_eq!(text_of(&run.attributes, "error.type").as_deref(), Some("tool_error"));
    assert!(run.end_time_unix_nano - run.start_time_unix_nano >= 7 * 60 * 1_000_000_000, "it waited for bo");
    // The caller's trace.
    let traced = of_call(&spans, "c-traced");
    assert_eq!(hex(&traced.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(hex(&traced.parent_span_id), "00f067aa0ba902b7");
    assert_eq!(traced.links[0].span_id, inner.span_id);
    // Arguments leave as keyed digests: equal ones are equal, and their words are nowhere.
    let digest =
        |id: &str| text_of(&of_call(&spans, id).attributes, "askance.call.arguments_digest").unwrap();
    assert!(digest("c-logs").starts_with("hmac-sha256:"));
    assert_eq!(digest("c-logs"), digest("c-nested"));
    assert_ne!(digest("c-logs"), digest("c-run"));
    assert!(!format!("{spans:?}").contains("billing-7f9c"));
    live.stop().await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_leave_where_they_are_asked_for_and_an_outage_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::with_policy(dir.path(), &Clock::manual(tuesday()), POLICY).await;
    let receiver = Receiver::start();
    receiver.got.refuse(true);
    let first = live(&stage, dir.path(), &receiver, true);
    let mut gateway = stage.gateway().await;
    let mut ask_some = async |range: std::ops::Range<u32>| {
        for index in range {
            let id = format!("c-{index}");
            ask(&mut gateway, call(&id, "get_logs", r#"{"pod":"billing-7f9c"}"#)).await;
            outcome(&stage, &id, v1::OutcomeStatus::Ok).await;
        }
    };
    ask_some(0..20).await;
    first.stop().await;
    // Nobody exports for a while; then somebody does again, and the receiver comes to.
    ask_some(20..40).await;
    let second = live(&stage, dir.path(), &receiver, true);
    receiver.got.refuse(false);
    let got = receiver.got.clone();
    let spans = tokio::task::spawn_blocking(move || got.wait_for(40)).await.unwrap();
    second.stop().await;
    assert_eq!((spans.len(), receiver.got.spans().len()), (40, 40), "each once");
    assert!(receiver.got.batches() > 1);
    let arguments = text_of(&spans[0].attributes, "gen_ai.tool.call.arguments");
    assert_eq!(arguments.as_deref(), Some(r#"{"pod":"billing-7f9c"}"#));
    assert_eq!(text_of(&spans[0].attributes, "askance.call.arguments_digest"), None);
    stage.close().await;
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
