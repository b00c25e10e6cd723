//! A real OTLP receiver over gRPC: the services and messages that the OpenTelemetry project generates, behind a door
//! that can be shut.

#![allow(dead_code, reason = "each test binary looks at its part of what came")]

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tower::ServiceExt;

/// What came.
#[derive(Clone, Default)]
pub struct Got {
    spans: Arc<Mutex<Vec<Span>>>,
    logs: Arc<Mutex<Vec<LogRecord>>>,
    /// Those of the last push.
    metrics: Arc<Mutex<Vec<Metric>>>,
    batches: Arc<AtomicU64>,
    refuses: Arc<AtomicBool>,
}

/// A running receiver.
pub struct Receiver {
    pub got: Got,
    pub address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    /// At a port of its own.
    pub fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), Got::default())
    }

    /// At an address, with what another one got before.
    pub fn at(address: SocketAddr, got: Got) -> Self {
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let kept = got.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, kept, stopped));
        });
        Self { got, address, stop, thread: Some(thread) }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it at once, connections included; what it answered it has.
    pub fn kill(mut self) -> (SocketAddr, Got) {
        self.stop.send_replace(true);
        self.thread.take().unwrap().join().unwrap();
        (self.address, self.got.clone())
    }
}

async fn serve(listener: std::net::TcpListener, got: Got, mut stopped: watch::Receiver<bool>) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                let got = got.clone();
                let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
                    let got = got.clone();
                    async move {
                        let path = request.uri().path().to_owned();
                        Ok::<_, Infallible>(match path {
                            path if path.contains(".MetricsService/") => {
                                MetricsServiceServer::new(got).oneshot(request).await.unwrap()
                            }
                            path if path.contains(".LogsService/") => {
                                LogsServiceServer::new(got).oneshot(request).await.unwrap()
                            }
                            _ => TraceServiceServer::new(got).oneshot(request).await.unwrap(),
                        })
                    }
                });
                connections.spawn(async move {
                    let connection = http2::Builder::new(TokioExecutor::new());
                    let _ended = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        }
    }
}

#[tonic::async_trait]
impl TraceService for Got {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.batches.fetch_add(1, Ordering::Relaxed);
        if self.refuses.load(Ordering::Relaxed) {
            return Err(Status::unavailable("not now"));
        }
        let mut spans = self.spans.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.unwrap_or_default();
            assert_eq!(text_of(&resource.attributes, "service.name").as_deref(), Some("askance"));
            assert!(!of_resource.schema_url.is_empty());
            spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Got {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let records = request.into_inner().resource_logs.into_iter().flat_map(|of| of.scope_logs);
        self.logs.lock().unwrap().extend(records.flat_map(|scope| scope.log_records));
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Got {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let metrics = request.into_inner().resource_metrics.into_iter().flat_map(|of| of.scope_metrics);
        *self.metrics.lock().unwrap() = metrics.flat_map(|scope| scope.metrics).collect();
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Got {
    /// Every log record.
    pub fn logs(&self) -> Vec<LogRecord> {
        self.logs.lock().unwrap().clone()
    }

    /// The metrics of the last push.
    pub fn metrics(&self) -> Vec<Metric> {
        self.metrics.lock().unwrap().clone()
    }

    /// Every span, as often as it came.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// How many different spans came whose names begin so.
    pub fn count(&self, name: &str) -> usize {
        let spans = self.spans.lock().unwrap();
        let ids = spans.iter().filter(|span| span.name.starts_with(name)).map(|span| &span.span_id);
        ids.collect::<std::collections::HashSet<_>>().len()
    }

    /// Waits until nothing came for a second.
    pub fn settle(&self) {
        let mut before = u64::MAX;
        while before != self.batches() {
            before = self.batches();
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Requests, refused ones included.
    pub fn batches(&self) -> u64 {
        self.batches.load(Ordering::Relaxed)
    }

    /// Whether it answers that it cannot take anything.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Every span once, and how many came again. One that comes again must be the same to the bit.
    pub fn distinct(&self) -> (Vec<Span>, usize) {
        let mut seen = std::collections::HashMap::new();
        let mut distinct = Vec::new();
        let mut again = 0;
        for span in self.spans() {
            match seen.get(&span.span_id) {
                None => {
                    seen.insert(span.span_id.clone(), span.clone());
                    distinct.push(span);
                }
                Some(before) => {
                    assert_eq!(before, &span, "a span came again with other words");
                    again += 1;
                }
            }
        }
        (distinct, again)
    }

    /// Waits until this many different spans came.
    pub fn wait_for(&self, count: usize) -> Vec<Span> {
        let begun = Instant::now();
        loop {
            let (spans, _) = self.distinct();
            if spans.len() >= count {
                return spans;
            }
            let names: Vec<&String> = spans.iter().map(|span| &span.name).take(40).collect();
            assert!(begun.elapsed() < Duration::from_secs(60), "{} of {count} spans: {names:?}", spans.len());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A text attribute.
pub fn text_of(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// A number attribute.
pub fn number_of(attributes: &[KeyValue], key: &str) -> Option<i64> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::IntValue(number) => Some(*number),
        _ => None,
    }
}
