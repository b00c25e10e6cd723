//! Reviews, locks and tokens as everyone outside the engine sees them.

use super::Error;
use super::handle::Engine;
use super::hub::{Batch, Hub, Interest};
use super::overseer::{Cast, Lifting, Oversight, Placed};
use super::partition::{Command, Decided, Reply};
use super::query::{self, EventView, TimelineEvent};
use crate::decide::review::Ballot;
use crate::domain::call::Call;
use crate::domain::event::{FeedbackGiven, ReviewDelegated, TokenCreated, TokenRevoked};
use crate::domain::identity::{Role, Token};
use crate::domain::lock::{Lock, LockScope};
use crate::domain::position::{Position, Revision};
use crate::domain::time::Timestamp;
use crate::policy::{Policy, Reviewer, Surroundings};
use crate::projection::{KnownLock, KnownToken, Locks, Review, State};
use std::sync::Arc;
use tokio::sync::{broadcast, oneshot};

/// The partition that tokens live in.
pub(super) const TOKENS_PARTITION: usize = 0;

/// What a person needs to judge a review, read from the log.
#[derive(Clone, Debug)]
pub struct Context {
    /// The `CallProposed` with its payload.
    pub proposed: TimelineEvent,
    /// The `CallDecided`.
    pub decided: TimelineEvent,
    /// The session's events up to the review, oldest first, with payloads.
    pub session: Vec<TimelineEvent>,
    /// How many events came before those.
    pub omitted: u64,
}

impl Engine {
    /// What a partition tells of reviews and locks; none if there is no such partition.
    pub fn hub(&self, partition: usize) -> Option<&Arc<Hub>> {
        self.partitions.get(partition).map(|partition| &partition.hub)
    }

    /// Wakes a partition's worker: something is on the way past its queue.
    fn wake(&self, partition: usize) {
        if let Some(partition) = self.partitions.get(partition) {
            // A full queue means that it is awake.
            let _awake = partition.commands.try_send(Command::Wake);
        }
    }

    /// Now, as deadlines see it.
    pub fn deadline_now(&self) -> Timestamp {
        self.clock.deadlines().late
    }

    /// Follows the reviews and locks of a partition; none if there is no such partition.
    pub fn follow(&self, partition: usize, interest: Interest) -> Option<broadcast::Receiver<Batch>> {
        self.hub(partition).map(|hub| hub.follow(interest))
    }

    /// The locks of a partition, as watchers were told of them.
    pub fn locks_in_force(&self, partition: usize) -> Arc<Locks> {
        self.hub(partition).map(|hub| hub.locks()).unwrap_or_default()
    }

    /// The policy by which a tenant's votes count.
    pub fn policy_in_force(&self, partition: usize, tenant: &str) -> Option<Arc<Policy>> {
        self.hub(partition).and_then(|hub| hub.policy(tenant))
    }

    async fn oversee<T: Send + 'static>(
        &self,
        tenant: &str,
        make: impl FnOnce(Reply<T>) -> Oversight,
    ) -> Result<T, Error> {
        self.call(tenant, |reply| Command::Oversee(Box::new(make(reply)))).await
    }

    /// Past the queue of a partition, for what must not wait behind calls.
    async fn urgent<T: Send + 'static>(
        &self,
        partition: usize,
        make: impl FnOnce(Reply<T>) -> Oversight,
    ) -> Result<T, Error> {
        let hub = self.hub(partition).ok_or_else(|| Error::NotFound(format!("partition {partition}")))?;
        let (sender, receiver) = oneshot::channel();
        let reply: Reply<T> = Box::new(move |answer| {
            let _gone = sender.send(answer);
        });
        hub.push_urgent(make(reply)).map_err(|_| Error::Overloaded)?;
        self.wake(partition);
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    /// The command that decides a call which claims the approval of a review.
    pub fn claiming(call: Box<Call>, review: Position, reply: Reply<Arc<Decided>>) -> Command {
        Command::Oversee(Box::new(Oversight::Claim(call, review, reply)))
    }

    /// The decision about a call as it stands; an approval that is there is used up.
    pub async fn stand(&self, tenant: &str, call_id: &str) -> Result<Arc<Decided>, Error> {
        let (name, id) = (tenant.to_owned(), call_id.to_owned());
        self.oversee(tenant, |reply| Oversight::Stand(name, id, reply)).await
    }

    /// The review of a call as it is at hand; nothing is changed by looking.
    pub async fn review_of_call(&self, tenant: &str, call_id: &str) -> Result<Option<Review>, Error> {
        let (name, id) = (tenant.to_owned(), call_id.to_owned());
        let found = self.ask(tenant, move |state| {
            let call = query::call_key(&state.key(), &name, &id);
            let settled = || state.reviews.get(state.reviews.final_of(&call)?.review);
            state.reviews.of_call(&call).or_else(settled).cloned()
        });
        found.await
    }

    /// Casts a vote.
    pub async fn vote(&self, ballot: Ballot, feedback: Option<FeedbackGiven>) -> Result<Cast, Error> {
        let tenant = ballot.tenant.clone();
        let feedback = feedback.map(Box::new);
        self.oversee(&tenant, |reply| Oversight::Vote(Box::new(ballot), feedback, reply)).await
    }

    /// Hands a review on.
    pub async fn delegate(&self, event: ReviewDelegated) -> Result<Arc<Review>, Error> {
        let tenant = event.tenant.clone();
        self.oversee(&tenant, |reply| Oversight::Delegate(Box::new(event), reply)).await
    }

    /// Records a judgement of an alarm.
    pub async fn give_feedback(&self, event: FeedbackGiven) -> Result<Position, Error> {
        let tenant = event.tenant.clone();
        self.oversee(&tenant, |reply| Oversight::Feedback(Box::new(event), reply)).await
    }

    /// The partitions that a lock is held in.
    fn partitions_of(&self, scope: LockScope, tenant: &str) -> std::ops::Range<usize> {
        if scope == LockScope::Everything {
            return 0..self.partitions();
        }
        let partition = self.partition_of(tenant);
        partition..partition + 1
    }

    /// Places a lock, past every queue. On everything: in every partition.
    pub async fn place_lock(&self, lock: &Lock) -> Result<Placed, Error> {
        let mut placed: Option<Placed> = None;
        for partition in self.partitions_of(lock.on.scope, &lock.on.tenant) {
            let lock = Box::new(lock.clone());
            let here = self.urgent(partition, |reply| Oversight::Place(lock, reply)).await?;
            let cancelled = here.cancelled;
            placed.get_or_insert(Placed { cancelled: 0, ..here }).cancelled += cancelled;
        }
        placed.ok_or(Error::Stopping)
    }

    /// Lifts a lock, wherever it is held.
    pub async fn lift_lock(&self, lifting: &Lifting) -> Result<Arc<KnownLock>, Error> {
        let mut lifted = Err(Error::Lock(crate::decide::lock::Fault::Unknown));
        for partition in 0..self.partitions() {
            let lifting = Box::new(lifting.clone());
            match self.urgent(partition, |reply| Oversight::Lift(lifting, reply)).await {
                Ok(known) => lifted = Ok(known),
                Err(Error::Lock(crate::decide::lock::Fault::Unknown)) => {}
                Err(error) => return Err(error),
            }
        }
        lifted
    }

    /// Makes a token.
    pub async fn create_token(&self, event: TokenCreated) -> Result<KnownToken, Error> {
        self.urgent(TOKENS_PARTITION, |reply| Oversight::CreateToken(Box::new(event), reply)).await
    }

    /// Revokes a token.
    pub async fn revoke_token(&self, event: TokenRevoked) -> Result<KnownToken, Error> {
        self.urgent(TOKENS_PARTITION, |reply| Oversight::RevokeToken(Box::new(event), reply)).await
    }

    /// All tokens, ended ones too.
    pub async fn tokens(&self) -> Result<Vec<KnownToken>, Error> {
        self.ask_of_partition(TOKENS_PARTITION, |state| state.access.iter().cloned().collect()).await
    }

    /// Who can vote on reviews of a tenant (empty: of any), as far as tokens tell. Without tokens whoever
    /// reaches the Unix socket can, in anybody's group.
    pub async fn surroundings(&self, tenant: &str) -> Result<Surroundings, Error> {
        let now = self.now();
        let tokens = self.tokens().await?;
        let valid = || tokens.iter().filter(|known| known.revoked.is_none()).map(|known| &known.token);
        if valid().next().is_none() {
            return Ok(Surroundings::NoTokens);
        }
        let sees = |token: &&Token| {
            tenant.is_empty() || token.tenants.is_empty() || token.tenants.iter().any(|name| name == tenant)
        };
        let votes = valid().filter(|token| token.role == Role::Reviewer && !token.is_expired(now));
        let reviewers = votes.filter(sees).map(|token| Reviewer {
            names: std::iter::once(&token.subject).chain(&token.aliases).cloned().collect(),
            groups: token.groups.clone(),
        });
        Ok(Surroundings::Tokens(reviewers.collect()))
    }

    /// Asks a partition's state.
    pub async fn ask_of_partition<T: Send + 'static>(
        &self,
        partition: usize,
        question: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.ask_partition(partition, question).await
    }

    /// What a person needs to judge a review, with at most `events_max` events of its session. Blocks on
    /// disk reads.
    pub fn review_context(&self, review: &Review, events_max: usize) -> Result<Context, Error> {
        let log = self.log(&review.tenant);
        let decided_at = Position::new(review.id.get().saturating_sub(1));
        let proposed_at = Position::new(review.id.get().saturating_sub(2));
        let at = |position| {
            let mut events = query::log_events(log, position, 1, EventView::Full)?;
            events.pop().ok_or_else(|| Error::NotFound(format!("position {position}")))
        };
        let (proposed, decided) = (at(proposed_at)?, at(decided_at)?);
        let last = decided.recorded.record.revision.get();
        let from = (last + 1).saturating_sub(events_max as u64).max(1);
        let count = usize::try_from(last + 1 - from).unwrap_or(usize::MAX);
        let session = query::session_events(log, review.stream, Revision::new(from), count, EventView::Full)?;
        Ok(Context { proposed, decided, session, omitted: from - 1 })
    }
}
