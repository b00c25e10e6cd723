//! `askance export otlp` against a collector: every call and session once, under its parent, whatever is killed or away.

use crate::support::{Server, call, decide};
use askance::export::otlp::messages::{ExportRequest, ExportResponse, Span};
use askance::proto::v1;
use askance::rpc::Extra;
use http::{Request, Response};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic_prost::ProstCodec;

/// Takes spans; refuses the first requests as one that is away would.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
    away: Arc<AtomicU32>,
}

impl NamedService for Collector {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl UnaryService<ExportRequest> for Collector {
    type Response = ExportResponse;
    type Future = BoxFuture<tonic::Response<ExportResponse>, Status>;

    fn call(&mut self, request: tonic::Request<ExportRequest>) -> Self::Future {
        let away =
            self.away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if away {
            return Box::pin(async { Err(Status::unavailable("away")) });
        }
        let resources = request.into_inner().resource_spans;
        let scopes = resources.into_iter().flat_map(|resource| resource.scope_spans);
        self.spans.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
        Box::pin(async { Ok(tonic::Response::new(ExportResponse::default())) })
    }
}

impl<B> Service<Request<B>> for Collector
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let codec = ProstCodec::<ExportResponse, ExportRequest>::default();
            Ok(Grpc::new(codec).unary(service, request).await)
        })
    }
}

/// Exports everything there is to the collector on the server itself.
async fn export(server: &Server, checkpoint: Option<&str>) -> String {
    let address = format!("http://{}", server.address);
    let mut command = Command::new(env!("CARGO_BIN_EXE_askance"));
    command.args(["export", "otlp", "--daemon", &address, "--endpoint", &address]);
    command.current_dir(server.unix.parent().unwrap());
    if let Some(path) = checkpoint {
        command.args(["--checkpoint", path]);
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    said
}

/// Three calls in a session of its own, with outcomes, and its end.
async fn session(server: &Server, name: &str, tool: &str) {
    let mut gateway = server.gateway().await;
    let hints = || Some(v1::SessionHints { session_id: name.to_owned(), ..Default::default() });
    for number in 0..3 {
        let id = format!("{name}-{number}");
        let call = v1::ToolCall { tool: tool.to_owned(), session: hints(), ..call(&id) };
        let decision = decide(&mut gateway, call).await;
        if decision.verdict() == v1::Verdict::Allow {
            let outcome = v1::Outcome { status: v1::OutcomeStatus::Ok.into(), ..Default::default() };
            let request =
                v1::RecordOutcomeRequest { call_id: id, outcome: Some(outcome), ..Default::default() };
            gateway.record_outcome(request).await.unwrap();
        }
    }
    let principal_chain = call("x").principal_chain;
    let end = v1::EndSessionRequest { session: hints(), principal_chain, ..Default::default() };
    gateway.end_session(end).await.unwrap();
}

fn ids(spans: &[Span]) -> BTreeSet<Vec<u8>> {
    spans.iter().map(|span| span.span_id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_and_session_becomes_one_span_under_its_parent() {
    let collector = Collector::default();
    collector.away.store(2, Ordering::Relaxed);
    let server = Server::with_extra(|_| {}, |_| {}, vec![Extra::new(collector.clone())]).await;
    session(&server, "s-1", "get_weather").await;
    session(&server, "s-2", "delete_database").await;
    let said = export(&server, Some("cp")).await;
    assert!(said.contains("does not answer") && said.contains("9 spans"), "{said}");
    let first = collector.spans.lock().unwrap().clone();
    // Two sessions, six calls, and the one review that the same three deletions share.
    assert_eq!((first.len(), ids(&first).len()), (9, 9));
    let roots: Vec<&Span> = first.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 2);
    for span in first.iter().filter(|span| !span.parent_span_id.is_empty()) {
        let of_call = |parent: &&Span| parent.name.starts_with("execute_tool");
        let parents = roots.iter().copied().chain(first.iter().filter(of_call));
        let parent = parents.into_iter().find(|parent| parent.span_id == span.parent_span_id);
        let parent = parent.expect("a parent that was sent");
        assert_eq!(parent.trace_id, span.trace_id);
        assert_eq!(of_call(&parent), span.name == "review delete_database", "calls hang under sessions");
        assert!(span.start_time_unix_nano >= parent.start_time_unix_nano);
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0);
    }
    let calls = first.iter().filter(|span| span.name.starts_with("execute_tool"));
    let errors = calls.filter(|span| span.status.as_ref().is_some_and(|status| status.code == 2));
    assert_eq!(errors.count(), 3, "what was not allowed");

    // Gone on with: only what is new. Without the checkpoint: the same spans again, known by their ids.
    session(&server, "s-3", "get_weather").await;
    assert!(export(&server, Some("cp")).await.contains("4 spans"));
    let all = collector.spans.lock().unwrap().clone();
    assert_eq!((all.len(), ids(&all).len()), (13, 13));
    assert!(export(&server, Some("cp")).await.contains("0 spans"));
    collector.spans.lock().unwrap().clear();
    export(&server, None).await;
    assert_eq!(ids(&collector.spans.lock().unwrap()), ids(&all));
    server.stop().await;
}
