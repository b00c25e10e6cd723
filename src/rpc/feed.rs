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
use crate::engine::{Batch, Error, Interest, Notice};
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

    /// What it has to be told of.
    fn interest(&self) -> Interest;

    /// Whether everything is to be shown anew after a change.
    fn is_news(&self, _change: &Notice) -> bool {
        false
    }

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
        whole: vec![0; partitions],
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
    /// For each partition the position as of which everything was told last.
    whole: Vec<u64>,
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
            let following =
                self.shared.engine.follow(partition, self.feed.interest()).ok_or(End::Stopping)?;
            changes.insert(partition, BroadcastStream::new(following));
        }
        for partition in 0..partitions {
            let since = self.resumed.then(|| self.seen.get(partition).copied()).flatten();
            let position = self.show_all(partition, since, outbox).await?;
            self.note_whole(partition, position);
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
                    Some((partition, Ok(changes))) => self.show(partition, &changes, outbox).await?,
                    Some((partition, Err(_behind))) => {
                        let since = self.seen.get(partition).copied();
                        let position = self.show_all(partition, since, outbox).await?;
                        self.note_whole(partition, position);
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
    ) -> Result<u64, End> {
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
        Ok(position)
    }

    /// Everything was told as of this position.
    fn note_whole(&mut self, partition: usize, position: u64) {
        if let Some(seen) = self.seen.get_mut(partition) {
            *seen = (*seen).max(position);
        }
        if let Some(whole) = self.whole.get_mut(partition) {
            *whole = position;
        }
    }

    async fn show(
        &mut self,
        partition: usize,
        changes: &Batch,
        outbox: &Outbox<F::Message>,
    ) -> Result<(), End> {
        let now = self.shared.engine.deadline_now();
        for (as_of, change) in changes.iter() {
            // Told before with everything else: it was published a moment before this watch began.
            if self.whole.get(partition).is_some_and(|whole| as_of.get() <= *whole) {
                continue;
            }
            if self.feed.is_news(change) {
                // What is over meanwhile is told by what follows, so that nothing counts as told by this.
                let _position = self.show_all(partition, None, outbox).await?;
                continue;
            }
            let Some((position, message)) = self.feed.one(change, partition, now) else { continue };
            if let Some(seen) = self.seen.get_mut(partition) {
                *seen = (*seen).max(position);
            }
            self.send(message, outbox).await?;
        }
        Ok(())
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
