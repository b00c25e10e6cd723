//! Watches of reviews and locks: what there is, then what changes, over all partitions.
//!
//! A resume token holds, for each partition, the position up to which everything was told. A watcher that
//! falls behind the hub is told everything anew since there, so that nothing is lost; it may see a thing
//! twice.

use super::outbox::{Outbox, Reader, Stuck, outbox};
use super::page::Tokens;
use super::shared::Shared;
use super::status::Failure;
use super::watch_end::End;
use crate::domain::time::Timestamp;
use crate::engine::{Error, Notice};
use crate::projection::State;
use crate::proto::v1::ErrorCode;
use prost::Message;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{StreamExt, StreamMap};

/// Messages with the positions they were told at.
pub(super) type Found<M> = Result<Vec<(u64, M)>, Failure>;

/// What a watch shows.
pub(super) trait Feed: Send + Sync + 'static {
    /// Its messages.
    type Message: Message + Default + Clone;

    /// Everything to be shown at first; with `since`, what changed behind that position.
    fn all(
        &self,
        state: &State,
        partition: usize,
        since: Option<u64>,
        now: Timestamp,
    ) -> Found<Self::Message>;

    /// What to show of a change.
    fn one(&self, change: &Notice, partition: usize, now: Timestamp) -> Option<(u64, Self::Message)>;

    /// A sign of life.
    fn heartbeat(&self, now: Timestamp, tail_position: u64) -> Self::Message;

    /// The message with its resume token.
    fn with_token(message: Self::Message, token: String) -> Self::Message;
}

/// Begins a watch.
pub(super) fn begin<F: Feed>(
    shared: &Arc<Shared>,
    feed: F,
    tokens: Tokens,
    resume_token: &str,
) -> Result<Reader<F::Message>, Failure> {
    let partitions = shared.engine.partitions();
    let seen = match resume_token {
        "" => None,
        token => Some(positions(&tokens.open("resume_token", token)?, partitions)?),
    };
    let permit = shared.feed_place()?;
    let (sender, reader) = outbox();
    let task = Task {
        shared: Arc::clone(shared),
        feed: Arc::new(feed),
        tokens,
        seen: seen.clone().unwrap_or_else(|| vec![0; partitions]),
        resumed: seen.is_some(),
        heartbeat_due: Instant::now() + shared.options.heartbeat,
        _permit: permit,
    };
    tokio::spawn(task.run(sender));
    Ok(reader)
}

fn positions(place: &[u8], partitions: usize) -> Result<Vec<u64>, Failure> {
    let numbers: Vec<u64> =
        place.chunks(8).filter_map(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))).collect();
    if numbers.len() == partitions { Ok(numbers) } else { Err(Failure::token("resume_token")) }
}

struct Task<F: Feed> {
    shared: Arc<Shared>,
    feed: Arc<F>,
    tokens: Tokens,
    /// For each partition the position up to which everything was told.
    seen: Vec<u64>,
    resumed: bool,
    heartbeat_due: Instant,
    _permit: OwnedSemaphorePermit,
}

impl<F: Feed> Task<F> {
    async fn run(mut self, outbox: Outbox<F::Message>) {
        let Err(end) = self.follow(&outbox).await else { return };
        end.tell(outbox, |_| {
            self.shared.engine.count("", |counters| &counters.watchers_cut);
            let message = "the watcher took nothing for too long and was cut; watch again";
            Failure::new(ErrorCode::WatcherTooSlow, message)
        });
    }

    async fn follow(&mut self, outbox: &Outbox<F::Message>) -> Result<(), End> {
        let partitions = self.shared.engine.partitions();
        let mut changes = StreamMap::new();
        for partition in 0..partitions {
            let following = self.shared.engine.follow(partition).ok_or(End::Stopping)?;
            changes.insert(partition, BroadcastStream::new(following));
        }
        for partition in 0..partitions {
            let since = self.resumed.then(|| self.seen.get(partition).copied()).flatten();
            self.show_all(partition, since, outbox).await?;
        }
        let stall = self.shared.options.watcher_stall;
        // Made once: a change that is not shown, of which there may be many a second, must cost next to nothing.
        let mut stopping = std::pin::pin!(self.shared.stopping());
        let mut gone = std::pin::pin!(outbox.gone());
        let mut look = std::pin::pin!(sleep(stall / 4));
        let mut heartbeat = std::pin::pin!(sleep_until(self.heartbeat_due));
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    None => return Err(End::Stopping),
                    Some((partition, Ok(change))) => self.show(partition, &change, outbox).await?,
                    Some((partition, Err(_behind))) => {
                        let since = self.seen.get(partition).copied();
                        self.show_all(partition, since, outbox).await?;
                    }
                },
                () = &mut heartbeat => {
                    // Whatever was sent meanwhile was a sign of life, too.
                    if self.heartbeat_due <= Instant::now() {
                        self.beat(outbox).await?;
                    }
                    heartbeat.as_mut().reset(self.heartbeat_due);
                }
                () = &mut look => {
                    outbox.check(stall)?;
                    look.as_mut().reset(Instant::now() + stall / 4);
                }
                () = &mut gone => return Err(End::Stuck(Stuck::Gone)),
                () = &mut stopping => return Err(End::Stopping),
            }
        }
    }

    async fn show_all(
        &mut self,
        partition: usize,
        since: Option<u64>,
        outbox: &Outbox<F::Message>,
    ) -> Result<(), End> {
        let feed = Arc::clone(&self.feed);
        let now = self.shared.engine.deadline_now();
        let asked = self
            .shared
            .engine
            .ask_of_partition(partition, move |state| {
                (state.position.get(), feed.all(state, partition, since, now))
            })
            .await;
        let (position, found) = asked.map_err(|error: Error| End::Failed(error.into()))?;
        for (_, message) in found? {
            // What comes at first is not told in order: resuming before its end tells it again.
            self.send(message, outbox).await?;
        }
        if let Some(seen) = self.seen.get_mut(partition) {
            *seen = (*seen).max(position);
        }
        Ok(())
    }

    async fn show(
        &mut self,
        partition: usize,
        change: &Notice,
        outbox: &Outbox<F::Message>,
    ) -> Result<(), End> {
        let now = self.shared.engine.deadline_now();
        let Some((position, message)) = self.feed.one(change, partition, now) else { return Ok(()) };
        if let Some(seen) = self.seen.get_mut(partition) {
            *seen = (*seen).max(position);
        }
        self.send(message, outbox).await
    }

    async fn beat(&mut self, outbox: &Outbox<F::Message>) -> Result<(), End> {
        let tail = self.shared.engine.partition_tail(0).map_or(0, |tail| tail.borrow().get());
        let message = self.feed.heartbeat(self.shared.engine.now(), tail);
        self.send(message, outbox).await
    }

    async fn send(&mut self, message: F::Message, outbox: &Outbox<F::Message>) -> Result<(), End> {
        let place: Vec<u8> = self.seen.iter().flat_map(|position| position.to_be_bytes()).collect();
        let message = F::with_token(message, self.tokens.seal(&place));
        outbox.put(message, 0, self.shared.options.watcher_stall).await?;
        self.heartbeat_due = Instant::now() + self.shared.options.heartbeat;
        Ok(())
    }
}
