//! `askance export otlp`: traces to an OpenTelemetry collector (OTLP over gRPC), once or as they come.
//!
//! The log is the buffer: while the collector is away nothing is read, and nothing is kept in memory but the calls that
//! wait for their outcome. The checkpoint is written after the collector took a batch.

use super::client::{Connection, refused};
use super::export::Args;
use super::output::Output;
use crate::export::checkpoint::Checkpoint;
use crate::export::otlp::messages::{
    ExportRequest, ExportResponse, PATH, Resource, ResourceSpans, Scope, ScopeSpans, Span, text,
};
use crate::export::otlp::spans::{Ended, Made, Spans, session_span};
use crate::proto::v1::timeline_service_client::TimelineServiceClient;
use crate::proto::v1::{Event, EventFilter, EventType, ListEventsRequest};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::time::Duration;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

/// Events read at once.
const PAGE: u32 = 1_000;
/// Spans of a batch.
const BATCH: usize = 512;
/// Pause between two looks at a log that has nothing new.
const PAUSE: Duration = Duration::from_millis(500);
/// Time for a batch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// First and longest pause before a batch is sent again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Largest message from the daemon.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Runs the export.
pub(super) async fn run(args: &Args, connection: &Connection, output: &Output) -> Result<()> {
    let mut checkpoint = match &args.checkpoint {
        Some(path) => Checkpoint::read(path, &args.of())
            .with_context(|| format!("the checkpoint {}", path.display()))?,
        None => Checkpoint::new(args.of()),
    };
    let endpoint = Endpoint::from_shared(args.endpoint.clone())
        .with_context(|| format!("--endpoint {}: give one such as http://127.0.0.1:4317", args.endpoint))?;
    let mut run = Exporting {
        args,
        log: TimelineServiceClient::new(connection.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX),
        collector: tonic::client::Grpc::new(endpoint.timeout(TIMEOUT).connect_lazy()),
        spans: Spans::resume(std::mem::take(&mut checkpoint.made), args.payloads),
        next: checkpoint.next,
        checkpoint,
        sent: 0,
        output,
    };
    let mut stop = std::pin::pin!(crate::app::Signals::listen()?.first());
    tokio::select! {
        () = &mut stop => {}
        done = run.export() => done?,
    }
    let summary = json!({ "spans": run.sent, "next_position": run.checkpoint.next });
    output.result(&summary, || {
        format!("{} spans; the log goes on at position {}", run.sent, run.checkpoint.next)
    })
}

struct Exporting<'a> {
    args: &'a Args,
    log: TimelineServiceClient<super::client::Channel>,
    collector: tonic::client::Grpc<Channel>,
    spans: Spans,
    /// First position not read yet.
    next: u64,
    checkpoint: Checkpoint,
    sent: u64,
    output: &'a Output,
}

impl Exporting<'_> {
    async fn export(&mut self) -> Result<()> {
        loop {
            let events = self.read().await?;
            let mut made = Vec::new();
            for event in &events {
                self.next = event.position + 1;
                self.spans.take(event, &mut made);
            }
            let at_the_end = events.is_empty();
            // A single run says all it knows; one that goes on later leaves what waits for then.
            if at_the_end && !self.args.follow && self.args.checkpoint.is_none() {
                self.spans.finish(&mut made);
            }
            self.send_all(made).await?;
            self.settle()?;
            if at_the_end {
                if !self.args.follow {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// The next events; none: there are no more.
    async fn read(&mut self) -> Result<Vec<Event>> {
        let mut request = ListEventsRequest {
            filter: Some(self.args.filter()),
            from_position: self.next,
            from_time: self.args.since.map(super::import::wire_time),
            to_time: self.args.until.map(super::import::wire_time),
            page_size: PAGE,
            ..ListEventsRequest::default()
        };
        loop {
            let page = match self.log.list_events(request.clone()).await {
                Ok(page) => page.into_inner(),
                Err(status) => return Err(refused(&status)),
            };
            if !page.events.is_empty() || page.next_page_token.is_empty() {
                return Ok(page.events);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn send_all(&mut self, made: Vec<Made>) -> Result<()> {
        let mut batch = Vec::new();
        for made in made {
            match made {
                Made::Span(span) => batch.push(span),
                Made::Ended(ended) => batch.extend(self.session(&ended).await?),
            }
            if batch.len() >= BATCH {
                self.send(std::mem::take(&mut batch)).await?;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.send(batch).await }
    }

    async fn session(&mut self, ended: &Ended) -> Result<Option<Span>> {
        let filter = EventFilter {
            tenant: ended.tenant.clone(),
            session_key: ended.session_key.clone(),
            types: vec![EventType::SessionOpened.into(), EventType::SessionClosed.into()],
            ..EventFilter::default()
        };
        let mut request = ListEventsRequest { filter: Some(filter), ..ListEventsRequest::default() };
        let mut events = Vec::new();
        loop {
            let page =
                self.log.list_events(request.clone()).await.map_err(|status| refused(&status))?.into_inner();
            events.extend(page.events);
            if page.next_page_token.is_empty() {
                return Ok(session_span(ended, &events));
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Sends a batch until the collector takes it.
    async fn send(&mut self, spans: Vec<Span>) -> Result<()> {
        let count = spans.len() as u64;
        let version = env!("CARGO_PKG_VERSION");
        let resource =
            Resource { attributes: vec![text("service.name", "askance"), text("service.version", version)] };
        let scope = Scope { name: "askance".to_owned(), version: version.to_owned() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        let request =
            ExportRequest { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] };
        let mut pause = RETRY.0;
        loop {
            match self.ask(request.clone()).await {
                Ok(answer) => {
                    if let Some(partial) = answer.partial_success.filter(|partial| partial.rejected_spans > 0)
                    {
                        let why = crate::detector::sentence::shown(&partial.error_message);
                        self.output
                            .note(&format!("the collector refused {} spans: {why}", partial.rejected_spans));
                    }
                    self.sent += count;
                    return Ok(());
                }
                Err(status) if is_worth_another_try(status.code()) => {
                    let why = crate::detector::sentence::shown(status.message());
                    self.output.note(&format!("the collector does not answer ({why}); again in {pause:?}"));
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY.1);
                }
                Err(status) => bail!(
                    "the collector at {} refused ({:?}): {}",
                    self.args.endpoint,
                    status.code(),
                    crate::detector::sentence::shown(status.message())
                ),
            }
        }
    }

    async fn ask(&mut self, request: ExportRequest) -> Result<ExportResponse, tonic::Status> {
        let codec: ProstCodec<ExportRequest, ExportResponse> = ProstCodec::default();
        let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
        self.collector.ready().await.map_err(unavailable)?;
        let path = PathAndQuery::from_static(PATH);
        self.collector.unary(Request::new(request), path, codec).await.map(tonic::Response::into_inner)
    }

    fn settle(&mut self) -> Result<()> {
        let (next, made) = (self.spans.next().max(1), self.spans.made().collect());
        let before = (self.checkpoint.next, std::mem::replace(&mut self.checkpoint.made, made));
        self.checkpoint.next = if self.next == 1 { 1 } else { next };
        let moved = before.0 != self.checkpoint.next || before.1 != self.checkpoint.made;
        if let (Some(path), true) = (&self.args.checkpoint, moved) {
            self.checkpoint.write(path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
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
