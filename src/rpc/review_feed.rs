//! Which reviews somebody sees, and the watch of them.

use super::convert::review::brief;
use super::convert::timestamp;
use super::feed::{Feed, Found};
use super::identity::Identity;
use super::status::Failure;
use crate::decide::review::may_vote;
use crate::domain::review::ReviewState;
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use crate::engine::{Engine, Interest, Notice};
use crate::projection::{Locks, Review, State};
use crate::proto::v1::{self, ErrorCode, watch_reviews_response::Update};
use std::sync::Arc;

/// Which reviews somebody wants to see.
#[derive(Clone)]
pub(super) struct Wanted {
    pub(super) tenant: String,
    pub(super) identity: Arc<Identity>,
    pub(super) states: Vec<ReviewState>,
    pub(super) stream: Option<StreamId>,
    /// Only what its reader may vote on, by each tenant's own policy.
    pub(super) votable: Option<Engine>,
}

impl Wanted {
    /// Whether to list it.
    pub(super) fn admits(&self, state: Option<&State>, review: &Review, now: Timestamp) -> bool {
        let is_state =
            if self.states.is_empty() { review.state.is_open() } else { self.states.contains(&review.state) };
        is_state && self.is_of(review) && self.is_votable(state.map(|state| &state.locks), review, now)
    }

    /// Whether it is one of theirs, whatever its state.
    fn is_of(&self, review: &Review) -> bool {
        (self.tenant.is_empty() || review.tenant == self.tenant)
            && self.identity.sees(&review.tenant)
            && self.stream.is_none_or(|stream| review.stream == stream)
    }

    /// By these locks, or by those that watchers were told of last.
    fn is_votable(&self, locks: Option<&Locks>, review: &Review, now: Timestamp) -> bool {
        let Some(engine) = &self.votable else { return true };
        let partition = engine.partition_of(&review.tenant);
        let Some(policy) = engine.policy_in_force(partition, &review.tenant) else { return true };
        let voter = self.identity.voter();
        match locks {
            Some(locks) => may_vote(locks, review, &voter, &policy, now).is_ok(),
            None => may_vote(&engine.locks_in_force(partition), review, &voter, &policy, now).is_ok(),
        }
    }
}

/// What a watch of reviews shows.
pub(super) struct ReviewFeed(pub(super) Wanted);

impl Feed for ReviewFeed {
    type Message = v1::WatchReviewsResponse;

    fn interest(&self) -> Interest {
        let tenant = &self.0.tenant;
        if tenant.is_empty() { Interest::AllReviews } else { Interest::Reviews(tenant.clone()) }
    }

    /// What its reader may vote on grows when a lock on them is lifted.
    fn is_news(&self, change: &Notice) -> bool {
        let Notice::Lock(known) = change else { return false };
        let voter = || self.0.identity.voter();
        self.0.votable.is_some() && known.ended.is_some() && known.is_on_person(|name| voter().is(name))
    }

    fn all(
        &self,
        state: &State,
        partition: usize,
        since: Option<u64>,
        now: Timestamp,
    ) -> Found<Self::Message> {
        let show = |review: &Review| (review.changed.get(), message(review, partition));
        let Some(since) = since else {
            let open = state.reviews.by_deadline().filter(|review| self.0.admits(Some(state), review, now));
            return Ok(open.map(show).collect());
        };
        if state.reviews.forgotten().get() > since {
            let message = "more reviews were settled since than are kept at hand; watch without the token";
            return Err(Failure::new(ErrorCode::PositionOutOfRange, message));
        }
        let changed = state.reviews.iter().filter(|review| review.changed.get() > since);
        let changed = changed.filter(|review| self.0.is_of(review) && self.is_shown(state, review, now));
        Ok(changed.map(show).collect())
    }

    fn one(&self, change: &Notice, partition: usize, now: Timestamp) -> Option<(u64, Self::Message)> {
        let Notice::Review(review) = change else { return None };
        let is_shown = !review.state.is_open() || self.0.is_votable(None, review, now);
        (self.0.is_of(review) && is_shown).then(|| (review.changed.get(), message(review, partition)))
    }

    fn heartbeat(&self, now: Timestamp, tail_position: u64) -> Self::Message {
        let heartbeat = v1::Heartbeat { send_time: Some(timestamp(now)), tail_position };
        v1::WatchReviewsResponse { update: Some(Update::Heartbeat(heartbeat)), ..Default::default() }
    }

    fn with_token(mut message: Self::Message, resume_token: String) -> Self::Message {
        message.resume_token = resume_token;
        message
    }
}

impl ReviewFeed {
    /// A review that is over is shown to all who may have seen it open.
    fn is_shown(&self, state: &State, review: &Review, now: Timestamp) -> bool {
        !review.state.is_open() || self.0.is_votable(Some(&state.locks), review, now)
    }
}

fn message(review: &Review, partition: usize) -> v1::WatchReviewsResponse {
    let update = Some(Update::Review(brief(review, partition)));
    v1::WatchReviewsResponse { update, ..Default::default() }
}
