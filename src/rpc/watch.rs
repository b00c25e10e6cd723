//! `WatchEvents`: what is there, then what comes, without a gap and without a repeat.
//!
//! One task a watch reads the log and fills the watcher's outbox. A watcher that takes nothing for too
//! long is cut: what waited for it is dropped, and the status says where to go on.

use super::convert::event::Converter;
use super::convert::timestamp;
use super::events::Scope;
use super::outbox::{Outbox, Reader, outbox};
use super::page::Tokens;
use super::shared::Shared;
use super::status::Failure;
use super::watch_end::End;
use crate::domain::position::Position;
use crate::engine::{Error, TimelineEvent};
use crate::proto::v1::watch_events_response::Update;
use crate::proto::v1::{ErrorCode, Heartbeat, WatchEventsRequest, WatchEventsResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Events read at once.
const CHUNK: u64 = 256;
/// Pause after the log grew, so that a busy log is read in batches.
const GATHER: Duration = Duration::from_millis(2);
/// Looks at a watcher within the time after which it is cut.
const LOOKS_PER_STALL: u32 = 4;

/// The stream of events.
pub(super) type WatchStream = Reader<WatchEventsResponse>;

/// Begins a watch.
pub(super) fn begin(shared: &Arc<Shared>, request: WatchEventsRequest) -> Result<WatchStream, Failure> {
    let filters = request.filter.clone().unwrap_or_default();
    let tokens = Tokens::new(shared.engine.key(""), "watch", &filters);
    let scope = Scope::new(&shared.engine, request.filter)?;
    let tail = shared.engine.partition_tail(scope.partition);
    let tail = tail.ok_or_else(|| Failure::from(Error::Stopping))?;
    let newest = tail.borrow().get();
    let next = match (request.resume_token.as_str(), request.from_position) {
        ("", None) => newest + 1,
        ("", Some(from)) => from.max(1),
        (token, _) => tokens.open_number("resume_token", token)?.saturating_add(1),
    };
    if next > newest + 1 {
        let message = format!("the log has positions 1 to {newest}");
        return Err(Failure::new(ErrorCode::PositionOutOfRange, message));
    }
    let permit = shared.watch_place()?;
    let (sender, reader) = outbox();
    let task = Task {
        shared: Arc::clone(shared),
        scope,
        tokens,
        tail,
        next,
        converter: Converter::default(),
        heartbeat_due: Instant::now() + shared.options.heartbeat,
        _permit: permit,
    };
    tokio::spawn(task.run(sender));
    Ok(reader)
}

struct Task {
    shared: Arc<Shared>,
    scope: Scope,
    tokens: Tokens,
    tail: watch::Receiver<Position>,
    /// The first position not looked at yet.
    next: u64,
    converter: Converter,
    heartbeat_due: Instant,
    _permit: OwnedSemaphorePermit,
}

impl Task {
    async fn run(mut self, outbox: Outbox<WatchEventsResponse>) {
        let before = self.next - 1;
        let Err(end) = self.follow(&outbox).await else { return };
        end.tell(outbox, |taken| {
            let tenant = self.scope.tenant_counted();
            self.shared.engine.count(tenant, |counters| &counters.watchers_cut);
            tracing::warn!(?tenant, "a watcher was cut: it did not read");
            let message = "the watcher took nothing for too long and was cut; resume with the token";
            let mut failure = Failure::new(ErrorCode::WatcherTooSlow, message);
            failure.facts.push(("resume_token", self.tokens.seal_number(taken.unwrap_or(before))));
            failure
        });
    }

    async fn follow(&mut self, outbox: &Outbox<WatchEventsResponse>) -> Result<(), End> {
        let stall = self.shared.options.watcher_stall;
        self.note_before().await?;
        if self.scope.stream.is_some() {
            self.catch_up_session(outbox).await?;
        }
        let mut stopping = std::pin::pin!(self.shared.stopping());
        loop {
            let newest = self.tail.borrow_and_update().get();
            while self.next <= newest {
                let events = self.read(self.next, CHUNK.min(newest - self.next + 1)).await?;
                if events.is_empty() {
                    break;
                }
                for event in events {
                    self.next = event.recorded.position.get() + 1;
                    self.show(event, outbox).await?;
                }
                if *self.shared.phase.borrow() != super::shared::Phase::Serving {
                    return Err(End::Stopping);
                }
            }
            tokio::select! {
                changed = self.tail.changed() => {
                    if changed.is_err() {
                        return Err(End::Stopping);
                    }
                    sleep(GATHER).await;
                }
                () = sleep_until(self.heartbeat_due) => self.beat(outbox).await?,
                () = sleep(stall / LOOKS_PER_STALL) => {}
                () = outbox.gone() => {}
                () = &mut stopping => return Err(End::Stopping),
            }
            outbox.check(stall)?;
        }
    }

    /// Notes the event before the first one: it may be the proposal of a decision.
    async fn note_before(&mut self) -> Result<(), End> {
        if self.next > 1 && self.scope.stream.is_none() {
            let before = self.read(self.next - 1, 1).await?;
            before.iter().for_each(|event| self.converter.note(event));
        }
        Ok(())
    }

    /// Shows what the session has so far, by its own order; what comes is found in the log.
    async fn catch_up_session(&mut self, outbox: &Outbox<WatchEventsResponse>) -> Result<(), End> {
        let newest = self.tail.borrow().get();
        let mut revision = 1;
        while self.next <= newest {
            let scope = self.scope.clone();
            let events = self.shared.read(move |engine| scope.read(engine, revision, CHUNK)).await?;
            let Some(last) = events.last() else { break };
            revision = last.recorded.record.revision.get() + 1;
            for event in events {
                let position = event.recorded.position.get();
                if position > newest {
                    break;
                }
                if position < self.next {
                    self.converter.note(&event);
                } else {
                    self.show(event, outbox).await?;
                }
            }
        }
        self.next = self.next.max(newest + 1);
        Ok(())
    }

    /// Events of the whole partition.
    async fn read(&self, from: u64, max: u64) -> Result<Vec<TimelineEvent>, Failure> {
        let scope = self.scope.clone();
        self.shared.read(move |engine| scope.read_partition(engine, from, max)).await
    }

    async fn show(&mut self, event: TimelineEvent, outbox: &Outbox<WatchEventsResponse>) -> Result<(), End> {
        self.converter.note(&event);
        if !self.scope.admits(&event, &self.converter) {
            return Ok(());
        }
        let position = event.recorded.position.get();
        let event = self.converter.event(event, self.scope.partition as u32);
        self.send(Update::Event(event), position, outbox).await
    }

    async fn beat(&mut self, outbox: &Outbox<WatchEventsResponse>) -> Result<(), End> {
        let now = self.shared.engine.now();
        let tail_position = self.tail.borrow().get();
        let heartbeat = Heartbeat { send_time: Some(timestamp(now)), tail_position };
        self.send(Update::Heartbeat(heartbeat), self.next - 1, outbox).await
    }

    async fn send(
        &mut self,
        update: Update,
        position: u64,
        outbox: &Outbox<WatchEventsResponse>,
    ) -> Result<(), End> {
        let resume_token = self.tokens.seal_number(position);
        let message = WatchEventsResponse { resume_token, update: Some(update) };
        outbox.put(message, position, self.shared.options.watcher_stall).await?;
        self.heartbeat_due = Instant::now() + self.shared.options.heartbeat;
        Ok(())
    }
}
