//! Going through a log and making spans of it: the same for the command and for the daemon.

use super::log_messages::LogRecord;
use super::logs::Logs;
use super::messages::Span;
use super::session_span::{Ended, session_span};
use super::spans::{Made, Spans};
use crate::export::checkpoint::Checkpoint;
use crate::proto::v1::{Event, EventFilter, EventType, ListEventsRequest};
use anyhow::Result;

/// Events read at once.
pub const PAGE: u32 = 1_000;

/// Where events are read.
pub(crate) trait Source {
    /// The next events from a position on; none: there are no more now.
    async fn events(&mut self, from: u64) -> Result<Vec<Event>>;
    /// The first event of a list.
    async fn first(&mut self, request: ListEventsRequest) -> Result<Option<Event>>;
}

/// A log being gone through.
pub(crate) struct Follow<S> {
    source: S,
    spans: Spans,
    logs: Logs,
    /// First position not read yet.
    next: u64,
    /// First position that was never taken.
    fresh: u64,
}

/// What a step gave.
pub(crate) struct Step {
    /// Spans to send.
    pub(crate) spans: Vec<Span>,
    /// Log records to send.
    pub(crate) logs: Vec<LogRecord>,
    /// Nothing is left to read now.
    pub(crate) at_end: bool,
}

impl<S: Source> Follow<S> {
    /// Goes on where a checkpoint stands. `arguments`: put them into the spans.
    pub(crate) fn resume(source: S, checkpoint: &Checkpoint, arguments: bool) -> Self {
        let held = checkpoint.held.iter().copied();
        let spans = Spans::resume(checkpoint.next.saturating_sub(1), held, arguments);
        Self { source, next: spans.next().max(1), spans, logs: Logs::default(), fresh: checkpoint.next }
    }

    /// Notes where it stands; whether that is further than before. Everything of the steps before must have been taken.
    pub(crate) fn note(&self, checkpoint: &mut Checkpoint) -> bool {
        let (next, held) = (self.spans.taken() + 1, self.spans.held().collect());
        let moved = next != checkpoint.next || held != checkpoint.held;
        (checkpoint.next, checkpoint.held) = (next, held);
        moved
    }

    /// Reads on. `now_us`: lets go what waits since too long by this time, if nothing is left to read.
    pub(crate) async fn step(&mut self, now_us: Option<i64>) -> Result<Step> {
        let events = self.source.events(self.next).await?;
        let (mut made, mut logs) = (Vec::new(), Vec::new());
        for event in &events {
            self.next = event.position + 1;
            self.spans.take(event, &mut made);
            logs.extend(self.logs.take(event).filter(|_| event.position >= self.fresh));
        }
        let at_end = events.is_empty();
        if let (true, Some(now_us)) = (at_end, now_us) {
            self.spans.tick(now_us, &mut made);
        }
        Ok(Step { spans: self.spans_of(made).await?, logs, at_end })
    }

    /// What is still held, as it is.
    pub(crate) async fn finish(&mut self) -> Result<Vec<Span>> {
        let mut made = Vec::new();
        self.spans.finish(&mut made);
        self.spans_of(made).await
    }

    async fn spans_of(&mut self, made: Vec<Made>) -> Result<Vec<Span>> {
        let mut spans = Vec::new();
        for made in made {
            match made {
                Made::Span(span) => spans.push(span),
                Made::Ended(ended) => {
                    let opened = self.source.first(opening_of(&ended)).await?;
                    spans.extend(opened.and_then(|opened| session_span(&ended, &opened)));
                }
            }
        }
        Ok(spans)
    }
}

/// Asks for the last beginning of a session before its end.
fn opening_of(ended: &Ended) -> ListEventsRequest {
    let filter = EventFilter {
        tenant: ended.tenant.clone(),
        session_key: ended.session_key.clone(),
        types: vec![EventType::SessionOpened.into()],
        ..EventFilter::default()
    };
    ListEventsRequest {
        filter: Some(filter),
        to_position: Some(ended.position),
        descending: true,
        page_size: 1,
        ..ListEventsRequest::default()
    }
}
