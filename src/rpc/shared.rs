//! What all services have at hand.

use super::Options;
use super::accept::Gate;
use super::identity::Identities;
use super::status::Failure;
use super::tally::Tally;
use crate::decide::ingest::DEFAULT_TENANT;
use crate::domain::decision::{Mode, Verdict};
use crate::domain::time::Timestamp;
use crate::engine::{self, Engine};
use crate::proto::v1::ErrorCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Takes requests.
    Serving,
    /// Ends what is open, takes nothing new.
    Draining,
    /// The grace is over: what is still open is cut.
    Cut,
}

/// What all services have at hand.
pub(super) struct Shared {
    /// The engine.
    pub(super) engine: Engine,
    /// The server's options.
    pub(super) options: Options,
    /// Where the server is in its life.
    pub(super) phase: watch::Receiver<Phase>,
    /// A permit for each read of the log.
    pub(super) reads: Semaphore,
    /// A permit for each watch.
    pub(super) watches: Arc<Semaphore>,
    /// The one permit for a replay.
    pub(super) replays: Arc<Semaphore>,
    /// A permit for each stream of requests.
    pub(super) streams: Arc<Semaphore>,
    /// When the server was bound.
    pub(super) started: Timestamp,
    /// A permit for each watch of reviews or locks.
    pub(super) feeds: Arc<Semaphore>,
    /// A permit for each request that waits for a review.
    pub(super) waits: Arc<Semaphore>,
    /// Who is who.
    pub(super) identities: Arc<Identities>,
    /// The door, for its counters.
    pub(super) gate: Arc<Gate>,
    /// How calls were answered.
    pub(super) tally: Arc<Tally>,
}

impl Shared {
    /// Runs something that reads the log on a thread where it may wait for the disk.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Engine) -> Result<T, engine::Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let _permit = self.reads.acquire().await.map_err(|_| Failure::from(engine::Error::Stopping))?;
        let engine = self.engine.clone();
        let done = tokio::task::spawn_blocking(move || work(&engine)).await;
        match done {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure::internal("a reading thread panicked")),
        }
    }

    /// What a gateway is told about a call of this tenant that there was no time to decide: in observe mode
    /// nothing binds, so it is `ALLOW`.
    pub(super) fn fallback(&self, tenant: &str) -> Verdict {
        match self.engine.mode(tenant) {
            Mode::Observe => Verdict::Allow,
            Mode::Enforce => self.options.fallback,
        }
    }

    /// A place for a watch.
    pub(super) fn watch_place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        place(&self.watches, "watches", self.options.limits.watches_max)
    }

    /// A place for a stream of requests.
    pub(super) fn stream_place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        place(&self.streams, "streams of requests", self.options.limits.streams_max)
    }

    /// A place for a watch of reviews or locks.
    pub(super) fn feed_place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        place(&self.feeds, "watches of reviews and locks", self.options.limits.feeds_max)
    }

    /// Why a request cannot wait for a review.
    pub(super) fn waits_full() -> Failure {
        let message = "too many requests wait for reviews; ask again later with the same call_id";
        Failure::new(ErrorCode::QuotaExceeded, message).retry_after(Duration::from_secs(1))
    }

    /// Learns which tokens there are.
    pub(super) async fn learn_tokens(&self) -> Result<(), Failure> {
        self.identities.learn(&self.engine.tokens().await?);
        Ok(())
    }

    /// Ends once the server is told to stop.
    pub(super) fn stopping(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.phase.clone();
        async move {
            let _closed = phase.wait_for(|phase| *phase != Phase::Serving).await;
        }
    }
}

fn place(places: &Arc<Semaphore>, what: &str, most: usize) -> Result<OwnedSemaphorePermit, Failure> {
    Arc::clone(places).try_acquire_owned().map_err(|_| {
        let message = format!("{most} {what} are open, the most there can be");
        Failure::new(ErrorCode::QuotaExceeded, message).retry_after(Duration::from_secs(1))
    })
}

/// The tenant of a request: the default one if it names none.
pub(super) fn tenant_of(name: &str) -> &str {
    if name.is_empty() { DEFAULT_TENANT } else { name }
}
