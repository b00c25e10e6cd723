//! What can be asked of a partition about reviews, locks and tokens, and what its worker keeps for it.

use super::Error;
use super::hub::Hub;
use super::partition::{Decided, Reply};
use crate::clock::Clock;
use crate::decide::review::{Asking, Ballot};
use crate::domain::call::{Call, Digest};
use crate::domain::decision::{Decision, Verdict};
use crate::domain::event::{
    CallProposed, Event, FeedbackGiven, Pending, Recorded, ReviewDelegated, TokenCreated, TokenRevoked,
};
use crate::domain::lock::{Lock, LockOrigin};
use crate::domain::position::Position;
use crate::domain::risk::RiskCategory;
use crate::domain::stream::{CallKey, StreamId};
use crate::projection::{KnownLock, KnownToken, Review};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// What can be asked about reviews, locks and tokens. It happens when the worker comes to it.
pub enum Oversight {
    /// Decide a call that claims the approval of this review.
    Claim(Box<Call>, Position, Reply<Arc<Decided>>),
    /// The decision about a call (tenant, id) as it stands; an approval that is there is used up.
    Stand(String, String, Reply<Arc<Decided>>),
    /// A vote, and what was said about the alarm with it.
    Vote(Box<Ballot>, Option<Box<FeedbackGiven>>, Reply<Cast>),
    /// A review is handed on.
    Delegate(Box<ReviewDelegated>, Reply<Arc<Review>>),
    /// A judgement of an alarm.
    Feedback(Box<FeedbackGiven>, Reply<Position>),
    /// A lock is placed.
    Place(Box<Lock>, Reply<Placed>),
    /// A lock is lifted.
    Lift(Box<Lifting>, Reply<Arc<KnownLock>>),
    /// A token is made.
    CreateToken(Box<TokenCreated>, Reply<KnownToken>),
    /// A token is revoked.
    RevokeToken(Box<TokenRevoked>, Reply<KnownToken>),
    /// Time has passed.
    Tick,
}

impl Oversight {
    /// Answers without doing it.
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Claim(_, _, reply) | Self::Stand(_, _, reply) => reply(Err(error)),
            Self::Vote(_, _, reply) => reply(Err(error)),
            Self::Delegate(_, reply) => reply(Err(error)),
            Self::Feedback(_, reply) => reply(Err(error)),
            Self::Place(_, reply) => reply(Err(error)),
            Self::Lift(_, reply) => reply(Err(error)),
            Self::CreateToken(_, reply) => reply(Err(error)),
            Self::RevokeToken(_, reply) => reply(Err(error)),
            Self::Tick => {}
        }
    }
}

/// A vote that counts.
#[derive(Clone, Debug)]
pub struct Cast {
    /// The review with the vote in it.
    pub review: Arc<Review>,
    /// Position of the `VoteCast`; of the review's latest event if the same vote was cast before.
    pub position: Position,
}

/// A lock that holds.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The lock.
    pub lock: Arc<KnownLock>,
    /// Reviews that it cancels.
    pub cancelled: u32,
}

/// A lock to be lifted.
#[derive(Clone, Debug)]
pub struct Lifting {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// By which way.
    pub by: LockOrigin,
}

/// What the worker keeps for its oversight.
pub(super) struct Overseer {
    pub(super) clock: Clock,
    pub(super) hub: Arc<Hub>,
    /// Reviews that have lost their ground and are to be settled, a few at a time.
    pub(super) groundless: VecDeque<Position>,
    pub(super) reviews_changed: BTreeSet<Position>,
    pub(super) locks_changed: Vec<String>,
    /// Whether another policy came into force: open reviews have lost their ground.
    pub(super) policy_changed: bool,
}

impl Overseer {
    pub(super) fn new(clock: Clock, hub: Arc<Hub>) -> Self {
        Self {
            clock,
            hub,
            groundless: VecDeque::new(),
            reviews_changed: BTreeSet::new(),
            locks_changed: Vec::new(),
            policy_changed: false,
        }
    }

    /// Notes what an event that was folded in changed.
    pub(super) fn note(&mut self, recorded: &Recorded) {
        match &recorded.record.event {
            Event::ReviewOpened(_) => {
                self.reviews_changed.insert(recorded.position);
            }
            Event::VoteCast(event) => {
                self.reviews_changed.insert(event.review);
            }
            Event::ReviewResolved(event) => {
                self.reviews_changed.insert(event.review);
            }
            Event::ReviewDelegated(event) => {
                self.reviews_changed.insert(event.review);
            }
            Event::ReviewJoined(event) => {
                self.reviews_changed.insert(event.review);
            }
            Event::CallReleased(event) => {
                self.reviews_changed.insert(event.review);
            }
            Event::PolicyAdopted(_) | Event::PolicyWithdrawn(_) => self.policy_changed = true,
            Event::LockPlaced(event) => self.locks_changed.push(event.lock.id.clone()),
            Event::LockLifted(event) => self.locks_changed.push(event.lock_id.clone()),
            _ => {}
        }
    }
}

/// What of a call decided REVIEW is needed to open its review.
pub(super) struct Reviewed {
    pub(super) tenant: String,
    pub(super) stream: StreamId,
    pub(super) call: CallKey,
    pub(super) call_id: String,
    digest: Digest,
    server: String,
    tool: String,
    principal_chain: Vec<String>,
    category: RiskCategory,
    rule_id: String,
    pub(super) claims: Option<Position>,
}

impl Reviewed {
    /// Of a call just judged; none unless a human must look at it.
    pub(super) fn of(proposed: &Pending, decision: &Decision, claims: Option<Position>) -> Option<Box<Self>> {
        let Event::CallProposed(event) = &proposed.event else { return None };
        if decision.answer() != Verdict::Review {
            return None;
        }
        let CallProposed { tenant, call_id, digest, server, tool, principal_chain, .. } = event.clone();
        Some(Box::new(Self {
            tenant,
            stream: proposed.stream,
            call: proposed.call,
            call_id,
            digest,
            server,
            tool,
            principal_chain,
            category: decision.category,
            rule_id: decision.rule_id.clone(),
            claims,
        }))
    }

    pub(super) fn asking(&self, decided_at: Position) -> Asking<'_> {
        Asking {
            tenant: &self.tenant,
            stream: self.stream,
            call: self.call,
            call_id: &self.call_id,
            digest: self.digest,
            server: &self.server,
            tool: &self.tool,
            principal_chain: &self.principal_chain,
            category: self.category,
            rule_id: &self.rule_id,
            decided_at,
        }
    }
}
