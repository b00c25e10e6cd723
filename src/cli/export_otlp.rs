//! `askance export otlp`: traces to an OpenTelemetry collector (OTLP over gRPC), once or as they come.
//!
//! The log is the buffer: while the collector is away nothing is read, and nothing is kept in memory but the calls that
//! are not over. The checkpoint is written after the collector took a batch.

use super::client::{Connection, refused};
use super::export::Args;
use super::output::Output;
use crate::export::checkpoint::Checkpoint;
use crate::export::otlp::collector::{BATCH, Collector};
use crate::export::otlp::follow::{Follow, PAGE, Source};
use crate::export::otlp::messages::Span;
use crate::proto::v1::timeline_service_client::TimelineServiceClient;
use crate::proto::v1::{Event, EventFilter, ListEventsRequest};
use anyhow::{Context, Result, anyhow};
use serde_json::json;
use std::time::Duration;

/// Pause between two looks at a log that has nothing new.
const PAUSE: Duration = Duration::from_millis(500);
/// Largest message from the daemon.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Runs the export.
pub(super) async fn run(args: &Args, connection: &Connection, output: &Output) -> Result<()> {
    let checkpoint = match &args.checkpoint {
        Some(path) => Checkpoint::read(path, &args.of())
            .with_context(|| format!("the checkpoint {}", path.display()))?,
        None => Checkpoint::new(args.of()),
    };
    let collector = Collector::new(&args.endpoint, Vec::new()).map_err(|why| anyhow!("--endpoint {why}"))?;
    let client =
        TimelineServiceClient::new(connection.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let filter = EventFilter { include_argument_digests: !args.payloads, ..args.filter() };
    let follow = Follow::resume(Asked { client, args, filter }, &checkpoint, args.payloads);
    let mut run = Exporting { args, collector, follow, checkpoint, sent: 0, output };
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

/// The log as the daemon tells it.
struct Asked<'a> {
    client: TimelineServiceClient<super::client::Channel>,
    args: &'a Args,
    filter: EventFilter,
}

impl Source for Asked<'_> {
    async fn events(&mut self, from: u64) -> Result<Vec<Event>> {
        let mut request = ListEventsRequest {
            filter: Some(self.filter.clone()),
            from_position: from,
            from_time: self.args.since.map(super::import::wire_time),
            to_time: self.args.until.map(super::import::wire_time),
            page_size: PAGE,
            ..ListEventsRequest::default()
        };
        loop {
            let page = self.client.list_events(request.clone()).await;
            let page = page.map_err(|status| refused(&status))?.into_inner();
            if !page.events.is_empty() || page.next_page_token.is_empty() {
                return Ok(page.events);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn first(&mut self, mut request: ListEventsRequest) -> Result<Option<Event>> {
        loop {
            let page = self.client.list_events(request.clone()).await;
            let page = page.map_err(|status| refused(&status))?.into_inner();
            if !page.events.is_empty() || page.next_page_token.is_empty() {
                return Ok(page.events.into_iter().next());
            }
            request.page_token = page.next_page_token;
        }
    }
}

struct Exporting<'a> {
    args: &'a Args,
    collector: Collector,
    follow: Follow<Asked<'a>>,
    checkpoint: Checkpoint,
    sent: u64,
    output: &'a Output,
}

impl Exporting<'_> {
    async fn export(&mut self) -> Result<()> {
        loop {
            let mut step = self.follow.step(None).await?;
            // A single run says all it knows; one that goes on later leaves what waits for then.
            if step.at_end && !self.args.follow && self.args.checkpoint.is_none() {
                step.spans.extend(self.follow.finish().await?);
            }
            let mut spans = step.spans;
            while !spans.is_empty() {
                let rest = spans.split_off(spans.len().min(BATCH));
                self.send(spans).await?;
                spans = rest;
            }
            self.settle()?;
            if step.at_end {
                if !self.args.follow {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Sends a batch until the collector takes it.
    async fn send(&mut self, spans: Vec<Span>) -> Result<()> {
        let count = spans.len() as u64;
        let output = self.output;
        let trouble = |why: &str, pause: Duration| {
            output.note(&format!("the collector does not answer ({why}); again in {pause:?}"));
        };
        let taken = self.collector.spans(spans, trouble).await?;
        if taken.rejected > 0 {
            output.note(&format!("the collector refused {} spans: {}", taken.rejected, taken.why));
        }
        self.sent += count;
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        let moved = self.follow.note(&mut self.checkpoint);
        if let (Some(path), true) = (&self.args.checkpoint, moved) {
            self.checkpoint.write(path).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}
