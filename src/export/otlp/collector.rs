//! The way to an OpenTelemetry collector: OTLP over gRPC, without TLS; one batch at a time, until it is taken.

use super::log_messages::{self, ExportLogs, LogRecord, LogsTaken, ResourceLogs, ScopeLogs};
use super::messages::{
    ExportRequest, ExportResponse, KeyValue, PATH, Resource, ResourceSpans, Scope, ScopeSpans, Span, text,
};
use super::names::SCHEMA_URL;
use crate::detector::sentence::shown;
use prost::Message;
use std::time::Duration;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// Spans of a batch.
pub const BATCH: usize = 512;
/// Time for a batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause before a batch is sent again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A collector.
#[derive(Clone, Debug)]
pub struct Collector {
    grpc: tonic::client::Grpc<Channel>,
    address: String,
    resource: Resource,
}

/// A collector does not take what it is sent, now or ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the collector at {address} refused ({code:?}): {message}")]
pub struct Refused {
    /// Where it is.
    pub address: String,
    /// What it answered.
    pub code: Code,
    /// The same in words, fit to be shown.
    pub message: String,
}

/// What became of a batch that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many of its entries the collector did not want.
    pub rejected: u64,
    /// Why, fit to be shown.
    pub why: String,
}

impl Collector {
    /// A collector at an address such as `http://127.0.0.1:4317`. Needs a tokio runtime around it; connects when
    /// something is sent.
    pub fn new(address: &str, own: Vec<KeyValue>) -> Result<Self, String> {
        let example = "give one such as http://127.0.0.1:4317";
        let endpoint = Endpoint::from_shared(address.to_owned())
            .ok()
            .filter(|endpoint| endpoint.uri().scheme_str() == Some("http"))
            .ok_or_else(|| format!("{}: {example}; TLS is not spoken", shown(address)))?;
        let version = env!("CARGO_PKG_VERSION");
        let mut attributes = vec![text("service.name", "askance"), text("service.version", version)];
        attributes.extend(own);
        Ok(Self {
            grpc: tonic::client::Grpc::new(endpoint.timeout(TIMEOUT).connect_lazy()),
            address: address.to_owned(),
            resource: Resource { attributes },
        })
    }

    /// Who sends.
    pub fn resource(&self) -> Option<Resource> {
        Some(self.resource.clone())
    }

    /// Sends spans until they are taken. `trouble` hears why not, and after which pause it is tried again.
    pub async fn spans(
        &mut self,
        spans: Vec<Span>,
        trouble: impl FnMut(&str, Duration),
    ) -> Result<Taken, Refused> {
        self.spans_of(scope(), spans, trouble).await
    }

    /// The same for spans of another instrumentation.
    pub(super) async fn spans_of(
        &mut self,
        scope: Scope,
        spans: Vec<Span>,
        trouble: impl FnMut(&str, Duration),
    ) -> Result<Taken, Refused> {
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: SCHEMA_URL.to_owned() }];
        let schema_url = SCHEMA_URL.to_owned();
        let resource_spans = vec![ResourceSpans { resource: self.resource(), scope_spans, schema_url }];
        let answer: ExportResponse =
            self.until_taken(PATH, ExportRequest { resource_spans }, trouble).await?;
        let partial = answer.partial_success.unwrap_or_default();
        Ok(taken(partial.rejected_spans, &partial.error_message))
    }

    /// Sends log records until they are taken, as [`Collector::spans`] does.
    pub async fn logs(
        &mut self,
        log_records: Vec<LogRecord>,
        trouble: impl FnMut(&str, Duration),
    ) -> Result<Taken, Refused> {
        let schema_url = SCHEMA_URL.to_owned();
        let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, schema_url }];
        let schema_url = SCHEMA_URL.to_owned();
        let resource_logs = vec![ResourceLogs { resource: self.resource(), scope_logs, schema_url }];
        let request = ExportLogs { resource_logs };
        let answer: LogsTaken = self.until_taken(log_messages::PATH, request, trouble).await?;
        let partial = answer.partial_success.unwrap_or_default();
        Ok(taken(partial.rejected_spans, &partial.error_message))
    }

    /// Sends a request until it is answered or refused for good.
    pub(super) async fn until_taken<Q, A>(
        &mut self,
        path: &'static str,
        request: Q,
        mut trouble: impl FnMut(&str, Duration),
    ) -> Result<A, Refused>
    where
        Q: Message + Clone + Default + 'static,
        A: Message + Default + 'static,
    {
        let mut pause = RETRY.0;
        loop {
            match self.ask(path, request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(status) if is_worth_another_try(status.code()) => {
                    trouble(&shown(status.message()), pause);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
                Err(status) => {
                    let (address, code) = (self.address.clone(), status.code());
                    return Err(Refused { address, code, message: shown(status.message()) });
                }
            }
        }
    }

    /// Sends a request once.
    pub(super) async fn ask<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let answer = self.grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await;
        answer.map(tonic::Response::into_inner)
    }
}

/// The instrumentation that everything is of.
pub(super) fn scope() -> Scope {
    Scope { name: "askance".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// What a partial success says.
pub(super) fn taken(rejected: i64, why: &str) -> Taken {
    Taken { rejected: u64::try_from(rejected).unwrap_or(0), why: shown(why) }
}

/// Codes after which OTLP wants a batch sent again.
const fn is_worth_another_try(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::DataLoss
            | Code::ResourceExhausted
    )
}
