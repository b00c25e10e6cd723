//! Deadlines, and a queue that is full.

use crate::support::{Held, Server, call, decide, evaluate, eventually, reason};
use askance::domain::decision::{Mode, Verdict};
use askance::proto::v1;
use askance::proto::v1::evaluate_stream_response::Result as Answer;
use std::time::{Duration, Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};
use tonic_types::StatusExt;

fn is_fallback(decision: &v1::Decision, verdict: v1::Verdict) {
    assert!(decision.degraded, "{decision:?}");
    assert_eq!(decision.degraded_reason(), v1::DegradedReason::Deadline);
    assert_eq!(decision.reason_code(), v1::ReasonCode::Fallback);
    assert_eq!((decision.verdict(), decision.position), (verdict, 0));
    assert_eq!(decision.findings.len(), 7);
}

fn within(call: v1::ToolCall, timeout: Duration) -> Request<v1::EvaluateRequest> {
    let mut request = Request::new(evaluate(call));
    request.set_timeout(timeout);
    request
}

#[tokio::test]
async fn a_late_decision_is_answered_by_the_fallback_and_recorded_all_the_same() {
    let server = Server::start().await;
    let mut gateway = server.gateway().await;
    decide(&mut gateway, call("c-0")).await;
    let held = Held::new(&server.engine).await;
    // The client gives up at its deadline, so that an answer at all is one in time. Another process may
    // take the machine away for the few milliseconds that are left: a second try is fair.
    for ms in [150, 40] {
        let mut in_time = 0;
        for attempt in 0..5 {
            let begin = Instant::now();
            let timeout = Duration::from_millis(ms);
            let answer = gateway.evaluate(within(call(&format!("c-{ms}-{attempt}")), timeout)).await;
            let took = begin.elapsed();
            if let Ok(answer) = answer {
                is_fallback(&answer.into_inner().decision.unwrap(), v1::Verdict::Review);
                assert!(took >= timeout - Duration::from_millis(20), "{took:?}");
                in_time += 1;
                break;
            }
        }
        assert_eq!(in_time, 1, "{ms} ms");
    }
    held.release();
    for id in ["c-150-0", "c-40-0"] {
        let decision = decide(&mut gateway, call(id)).await;
        assert!(decision.repeated_call && !decision.degraded && decision.position > 0);
    }
    assert!(server.engine.counters()[0].answers_degraded >= 2);
    // Control: with the engine free the same deadline is met.
    let answer = gateway.evaluate(within(call("c-3"), Duration::from_millis(150))).await;
    assert!(!answer.unwrap().into_inner().decision.unwrap().degraded);
    server.stop().await;
}

#[tokio::test]
async fn without_a_deadline_the_servers_own_time_counts() {
    let server = Server::with(
        |_| {},
        |options| {
            options.decision_timeout = Duration::from_millis(50);
            options.fallback = Verdict::Deny;
        },
    )
    .await;
    let mut gateway = server.gateway().await;
    let held = Held::new(&server.engine).await;
    is_fallback(&decide(&mut gateway, call("c-1")).await, v1::Verdict::Deny);
    held.release();
    server.stop().await;
}

#[tokio::test]
async fn in_observe_mode_a_late_answer_lets_the_call_go() {
    let late = |policy: &'static str, mode: Mode| async move {
        let server = Server::with(
            |options| {
                options.mode = mode;
                options.policy_text = policy.to_owned();
            },
            |options| options.decision_timeout = Duration::from_millis(50),
        )
        .await;
        let mut gateway = server.gateway().await;
        let settings = gateway.get_gateway_settings(v1::GetGatewaySettingsRequest::default()).await.unwrap();
        let held = Held::new(&server.engine).await;
        let decision = decide(&mut gateway, call("c-1")).await;
        let fallback = settings.into_inner().fallbacks[0].verdict();
        is_fallback(&decision, fallback);
        // The same in a stream.
        let request = v1::EvaluateStreamRequest { tag: 1, call: Some(call("c-2")), ..Default::default() };
        let mut answers = gateway.evaluate_stream(tokio_stream::once(request)).await.unwrap().into_inner();
        match answers.message().await.unwrap().unwrap().result {
            Some(Answer::Decision(decision)) => is_fallback(&decision, fallback),
            other => panic!("{other:?}"),
        }
        held.release();
        server.stop().await;
        fallback
    };
    assert_eq!(late("", Mode::Observe).await, v1::Verdict::Allow);
    assert_eq!(late("version: 1\nmode: observe\n", Mode::Enforce).await, v1::Verdict::Allow);
    // Control: what binds falls back to a human.
    assert_eq!(late("version: 1\nmode: enforce\n", Mode::Observe).await, v1::Verdict::Review);
}

#[tokio::test]
async fn a_question_that_finds_the_queue_full_is_refused_as_such() {
    let server = Server::with(|options| options.queue_max = 16, |_| {}).await;
    let held = Held::new(&server.engine).await;
    let mut waiting = Vec::new();
    let refused = loop {
        let engine = server.engine.clone();
        let mut ask = Box::pin(async move { engine.ask("default", |_| ()).await });
        match futures_now(&mut ask).await {
            Some(answer) => break answer,
            None => waiting.push(ask),
        }
        assert!(waiting.len() <= 16, "the queue takes any number");
    };
    assert_eq!(refused, Err(askance::engine::Error::Overloaded));
    held.release();
    for ask in waiting {
        assert_eq!(ask.await, Ok(()));
    }
    server.stop().await;
}

/// The outcome of a future that is ready at once.
async fn futures_now<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
    std::future::poll_fn(|context| match std::pin::Pin::new(&mut *future).poll(context) {
        std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
        std::task::Poll::Pending => std::task::Poll::Ready(None),
    })
    .await
}

#[tokio::test]
async fn a_stream_keeps_the_time_of_each_request() {
    let server = Server::start().await;
    let mut gateway = server.gateway().await;
    let held = Held::new(&server.engine).await;
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let mut answers = gateway.evaluate_stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    let begin = Instant::now();
    for (tag, ms) in [(1, 5_000), (2, 60), (3, 120)] {
        let nanos = (ms % 1_000) as i32 * 1_000_000;
        let timeout = Some(prost_types::Duration { seconds: ms / 1_000, nanos });
        let call = Some(call(&format!("c-{tag}")));
        sender.send(v1::EvaluateStreamRequest { tag, call, timeout, ..Default::default() }).await.unwrap();
    }
    for (tag, ms) in [(2, 60), (3, 120)] {
        let answer = answers.message().await.unwrap().unwrap();
        assert_eq!(answer.tag, tag);
        let Some(Answer::Decision(decision)) = answer.result else { panic!("no decision") };
        is_fallback(&decision, v1::Verdict::Review);
        let took = begin.elapsed();
        assert!(took >= Duration::from_millis(ms) && took < Duration::from_millis(ms + 50), "{took:?}");
    }
    held.release();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(Answer::Decision(decision)) = answer.result else { panic!("no decision") };
    assert_eq!((answer.tag, decision.degraded), (1, false));
    drop(sender);
    assert!(answers.message().await.unwrap().is_none());
    server.stop().await;
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once() {
    let server = Server::with(|engine| engine.queue_max = 4, |_| {}).await;
    let mut gateway = server.gateway().await;
    let held = Held::new(&server.engine).await;
    let waiting: Vec<_> = (0..4)
        .map(|number| {
            let mut gateway = gateway.clone();
            tokio::spawn(async move { decide(&mut gateway, call(&format!("w-{number}"))).await })
        })
        .collect();
    eventually("the queue is full", || server.engine.health()[0].queue_len == 4).await;
    let begin = Instant::now();
    let status = gateway.evaluate(evaluate(call("c-1"))).await.unwrap_err();
    let took = begin.elapsed();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    let retry = status.get_error_details().retry_info().unwrap().retry_delay;
    assert_eq!(retry, Some(Duration::from_millis(20)));
    assert!(took < Duration::from_millis(500), "at once, and not after the time to decide: {took:?}");
    held.release();
    for task in waiting {
        task.await.unwrap();
    }
    // Control: with room in the queue the same call is decided.
    decide(&mut gateway, call("c-after")).await;
    server.stop().await;
}

#[tokio::test]
async fn a_stream_is_not_read_beyond_its_limit() {
    let server = Server::with(|_| {}, |options| options.limits.stream_in_flight_max = 16).await;
    let mut gateway = server.gateway().await;
    let held = Held::new(&server.engine).await;
    let requests = tokio_stream::iter((0..500_u64).map(|tag| v1::EvaluateStreamRequest {
        tag,
        call: Some(call(&format!("c-{tag}"))),
        timeout: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
        ..Default::default()
    }));
    let mut answers = gateway.evaluate_stream(requests).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let waiting = server.engine.health()[0].queue_len;
    assert_eq!(waiting, 16, "the rest waits at the client");
    held.release();
    let mut count = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(matches!(answer.result, Some(Answer::Decision(_))));
        count += 1;
    }
    assert_eq!(count, 500);
    server.stop().await;
}
