//! Spans of the daemon's own work: a sample of requests with their parts, batches of the log, snapshots.
//!
//! Best effort: what the collector does not take soon is dropped and counted, and nothing waits for it.

use super::collector::{BATCH, Collector};
use super::messages::{KeyValue, Scope, Span, Status, Value, attribute};
use super::{ERROR, INTERNAL, OK};
use opentelemetry::trace::{Status as SdkStatus, TracerProvider};
use opentelemetry::{SpanId, Value as SdkValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Batches that wait for the collector.
const WAITING_MAX: usize = 16;
/// Name of the instrumentation.
const SCOPE: &str = "askance.internal";

/// Spans of the daemon's own work, on their way.
pub struct OwnSpans {
    batches: mpsc::Receiver<Vec<SpanData>>,
    dropped: Arc<AtomicU64>,
    /// Ends the batches when it goes.
    _provider: SdkTracerProvider,
}

/// Where the SDK leaves its batches.
#[derive(Debug)]
struct Queue {
    batches: mpsc::Sender<Vec<SpanData>>,
    dropped: Arc<AtomicU64>,
}

impl SpanExporter for Queue {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len() as u64;
        if self.batches.try_send(batch).is_err() {
            self.dropped.fetch_add(count, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Begins to sample: this share of traces, parts per million.
pub fn sample(ppm: u64) -> (SdkTracer, OwnSpans) {
    let (sender, batches) = mpsc::channel(WAITING_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let queue = Queue { batches: sender, dropped: Arc::clone(&dropped) };
    let share = Sampler::TraceIdRatioBased(ppm as f64 / 1e6);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_span_processor(BatchSpanProcessor::builder(queue).build())
        .build();
    (provider.tracer(SCOPE), OwnSpans { batches, dropped, _provider: provider })
}

impl OwnSpans {
    /// Sends what comes, for ever.
    pub(super) async fn send(mut self, mut collector: Collector) {
        let scope = Scope { name: SCOPE.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let mut told = 0;
        while let Some(batch) = self.batches.recv().await {
            let spans: Vec<Span> = batch.into_iter().map(span).collect();
            for batch in spans.chunks(BATCH) {
                let sent = collector.spans_of(scope.clone(), batch.to_vec(), |_, _: Duration| {}).await;
                if let Err(refused) = sent {
                    tracing::warn!(why = ?refused.to_string(), "own spans were not taken");
                }
            }
            let dropped = self.dropped.load(Ordering::Relaxed);
            if dropped > told {
                tracing::warn!(dropped = dropped - told, "own spans were dropped: the collector was away");
                told = dropped;
            }
        }
    }
}

fn span(data: SpanData) -> Span {
    let parent = data.parent_span_id;
    let status = match data.status {
        SdkStatus::Unset => None,
        SdkStatus::Ok => Some(Status { message: String::new(), code: OK }),
        SdkStatus::Error { description } => Some(Status { message: description.into_owned(), code: ERROR }),
    };
    Span {
        trace_id: data.span_context.trace_id().to_bytes().to_vec(),
        span_id: data.span_context.span_id().to_bytes().to_vec(),
        parent_span_id: if parent == SpanId::INVALID { Vec::new() } else { parent.to_bytes().to_vec() },
        name: data.name.into_owned(),
        kind: INTERNAL,
        start_time_unix_nano: nanos(data.start_time),
        end_time_unix_nano: nanos(data.end_time),
        attributes: data.attributes.into_iter().map(key_value).collect(),
        status,
        ..Span::default()
    }
}

fn key_value(own: opentelemetry::KeyValue) -> KeyValue {
    let value = match own.value {
        SdkValue::Bool(value) => Value::Bool(value),
        SdkValue::I64(value) => Value::Int(value),
        SdkValue::F64(value) => Value::Double(value),
        other => Value::Text(other.as_str().into_owned()),
    };
    attribute(own.key.as_str(), value)
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
