//! `ReviewService`: lists, shows and streams reviews, and takes votes.

use super::access::check_text;
use super::convert::event::Converter;
use super::convert::review::{brief, feedback_of, of_review_id, review_id};
use super::convert::{argument_view, key_of_stream, span, stream_of_key, timestamp};
use super::feed;
use super::identity::{Identity, identity_of};
use super::outbox::Reader;
use super::page::{Tokens, size};
use super::review_feed::{ReviewFeed, Wanted};
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::decide::review::{Ballot, VoteFault, may_vote};
use crate::domain::event::{FeedbackGiven, ReviewDelegated};
use crate::domain::position::Position;
use crate::domain::review::limits::COMMENT_BYTES_MAX;
use crate::domain::review::{Choice, Remember, ReviewState};
use crate::domain::stream::StreamId;
use crate::domain::time::{DAY_US, MINUTE_US};
use crate::engine::{Context, Engine, Error};
use crate::policy::remember::{self, Approved};
use crate::projection::Review;
use crate::proto::v1;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Events of the session shown with a review, unless asked otherwise, and at most.
const SESSION_EVENTS: (usize, usize) = (50, 1_000);
/// Similar decisions shown.
const SIMILAR_MAX: usize = 10;

/// The service.
pub(super) struct Reviews {
    shared: Arc<Shared>,
}

impl Reviews {
    /// Over this engine.
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The engine where only what the caller may vote on is wanted.
    fn votable(&self, asked: bool) -> Option<Engine> {
        asked.then(|| self.shared.engine.clone())
    }

    async fn list(
        &self,
        request: v1::ListReviewsRequest,
        identity: Arc<Identity>,
    ) -> Result<v1::ListReviewsResponse, Failure> {
        if !request.tenant.is_empty() {
            identity.must_see(&request.tenant)?;
        }
        let filters = v1::ListReviewsRequest { page_token: String::new(), page_size: 0, ..request.clone() };
        let tokens = Tokens::new(self.shared.engine.key(""), "reviews", &filters);
        let skip = match request.page_token.as_str() {
            "" => 0,
            token => tokens.open_number("page_token", token)? as usize,
        };
        let votable = self.votable(request.votable_by_me);
        let wanted = Wanted {
            tenant: request.tenant,
            identity,
            states: request.states.iter().map(|number| state_of(*number)).collect::<Result<_, _>>()?,
            stream: stream_filter(&request.session_key)?,
            votable,
        };
        let page = size(request.page_size, 50, 1_000);
        let wanted_most = skip + page + 1;
        let now = self.shared.engine.deadline_now();
        let found = self
            .shared
            .engine
            .ask_all(move |state| {
                let mut found: Vec<Review> = Vec::new();
                let live = state.reviews.by_deadline();
                found.extend(
                    live.filter(|review| wanted.admits(Some(state), review, now)).take(wanted_most).cloned(),
                );
                if found.len() < wanted_most && !wanted.states.is_empty() {
                    let settled = state.reviews.iter().rev().filter(|review| !review.state.is_live());
                    let settled = settled.filter(|review| wanted.admits(Some(state), review, now));
                    found.extend(settled.take(wanted_most - found.len()).cloned());
                }
                found
            })
            .await?;
        let mut reviews: Vec<(usize, Review)> = Vec::new();
        for (partition, found) in found.into_iter().enumerate() {
            reviews.extend(found.into_iter().flatten().map(|review| (partition, review)));
        }
        reviews.sort_by_key(|(_, review)| (!review.state.is_live(), review.deadline));
        let more = reviews.len() > skip + page;
        let shown = reviews.iter().skip(skip).take(page);
        Ok(v1::ListReviewsResponse {
            reviews: shown.map(|(partition, review)| brief(review, *partition)).collect(),
            next_page_token: if more { tokens.seal_number((skip + page) as u64) } else { String::new() },
        })
    }

    /// A review at hand, of a tenant that its reader may see.
    async fn find(
        &self,
        field: &'static str,
        id: &str,
        tenant: &str,
        identity: &Identity,
    ) -> Result<(usize, Review), Failure> {
        let Some((partition, position)) = of_review_id(id) else {
            return Err(Failure::field(field, "is not a review's id, such as r0-123"));
        };
        let unknown = || Failure::from(Error::NotFound(format!("review {id}")));
        if partition >= self.shared.engine.partitions() {
            return Err(unknown());
        }
        let found =
            self.shared.engine.ask_of_partition(partition, move |state| state.reviews.get(position).cloned());
        let review = found.await?.ok_or_else(unknown)?;
        let asked = if tenant.is_empty() { review.tenant.as_str() } else { tenant };
        if asked != review.tenant || !identity.sees(&review.tenant) {
            return Err(unknown());
        }
        Ok((partition, review))
    }

    async fn get(
        &self,
        request: v1::GetReviewRequest,
        identity: Arc<Identity>,
    ) -> Result<v1::GetReviewResponse, Failure> {
        let found = self.find("review_id", &request.review_id, &request.tenant, &identity).await?;
        let (partition, review) = found;
        let events_max = size(request.session_events_max, SESSION_EVENTS.0, SESSION_EVENTS.1);
        let wanted = review.clone();
        let context = self.shared.read(move |engine| engine.review_context(&wanted, events_max)).await?;
        let similar = self.similar(partition, &review).await?;
        let standing = self.may_vote(partition, &review, &identity).await?;
        let Context { proposed, decided, session, omitted } = context;
        let mut whole = brief(&review, partition);
        let mut converter = Converter::default();
        converter.note(&proposed);
        let masked = proposed.recorded.record.payload.arguments.clone();
        whole.arguments = Some(argument_view(&masked, proposed.erased));
        let event = converter.event(proposed, partition as u32);
        if let Some(v1::event::Data::CallProposed(event)) = event.data {
            whole.call = event.call;
        }
        let event = converter.event(decided, partition as u32);
        if let Some(v1::event::Data::CallDecided(event)) = event.data
            && let Some(mut decision) = event.decision
        {
            decision.review_id = review_id(partition, review.id);
            decision.session_key = key_of_stream(&review.stream);
            whole.decision = Some(decision);
        }
        let mut converter = Converter::default();
        let mut session_events = Vec::with_capacity(session.len());
        for event in session {
            converter.note(&event);
            session_events.push(converter.event(event, partition as u32));
        }
        Ok(v1::GetReviewResponse {
            review: Some(whole),
            session_events,
            session_events_omitted: omitted,
            similar_decisions: similar,
            votable_by_me: standing.is_none(),
            not_votable_reason: standing.unwrap_or_default(),
        })
    }

    /// Why the caller may not vote; none: may.
    async fn may_vote(
        &self,
        partition: usize,
        review: &Review,
        identity: &Identity,
    ) -> Result<Option<String>, Failure> {
        if !identity.may(super::identity::Need::Vote) {
            return Ok(Some("this credential does not vote".to_owned()));
        }
        let Some(policy) = self.shared.engine.policy_in_force(partition, &review.tenant) else {
            return Ok(None);
        };
        let (voter, review) = (identity.voter(), review.clone());
        let now = self.shared.engine.deadline_now();
        let fault = self
            .shared
            .engine
            .ask_of_partition(partition, move |state| {
                may_vote(&state.locks, &review, &voter, &policy, now).err()
            })
            .await?;
        Ok(fault.map(|fault: VoteFault| Error::Vote(fault).to_string()))
    }

    /// Reviews of the same tool that people settled lately, nearest first.
    async fn similar(&self, partition: usize, review: &Review) -> Result<Vec<v1::SimilarDecision>, Failure> {
        let like = review.clone();
        let found = self
            .shared
            .engine
            .ask_of_partition(partition, move |state| {
                let settled = state.reviews.iter().rev();
                let alike = settled.filter(|other| {
                    other.id != like.id
                        && other.settled.is_some()
                        && !other.votes.is_empty()
                        && other.tenant == like.tenant
                        && other.tool == like.tool
                        && other.server == like.server
                });
                alike.take(SIMILAR_MAX * 4).cloned().collect::<Vec<Review>>()
            })
            .await?;
        let rank = |other: &Review| {
            let same_actor = other.principal_chain.last() == review.principal_chain.last();
            (other.rule_id != review.rule_id, !same_actor)
        };
        let mut found = found;
        found.sort_by_key(rank);
        Ok(found.iter().take(SIMILAR_MAX).map(|other| similar(other, review)).collect())
    }

    async fn cast(
        &self,
        request: v1::CastVoteRequest,
        identity: Arc<Identity>,
    ) -> Result<v1::CastVoteResponse, Failure> {
        let choice = match v1::VoteChoice::try_from(request.choice) {
            Ok(v1::VoteChoice::Approve) => Choice::Approve,
            Ok(v1::VoteChoice::Deny) => Choice::Deny,
            _ => return Err(Failure::field("choice", "is neither APPROVE nor DENY")),
        };
        check_text("comment", &request.comment, COMMENT_BYTES_MAX)?;
        let digest = <[u8; 32]>::try_from(request.call_digest.as_ref());
        let digest = digest.map_err(|_| Failure::field("call_digest", "is not 32 bytes"))?;
        let (partition, review) =
            self.find("review_id", &request.review_id, &request.tenant, &identity).await?;
        let remember = match request.remember {
            None => None,
            Some(_) if choice == Choice::Deny => {
                return Err(Failure::field("remember", "goes with APPROVE only"));
            }
            Some(options) => Some(self.rule_for(partition, &review, options).await?),
        };
        let feedback = feedback_of(request.feedback).map(|feedback| FeedbackGiven {
            tenant: review.tenant.clone(),
            call_id: review.call_id.clone(),
            feedback,
            expect_again: request.expect_again && choice == Choice::Approve,
            comment: String::new(),
            actor: identity.actor(),
            features: None,
        });
        let ballot = Ballot {
            tenant: review.tenant,
            review: review.id,
            voter: identity.voter(),
            choice,
            digest,
            comment: request.comment,
            remember,
        };
        let cast = self.shared.engine.vote(ballot, feedback).await?;
        let review = Some(brief(&cast.review, partition));
        Ok(v1::CastVoteResponse { review, position: cast.position.get() })
    }

    /// The rule that an approval of this review is to leave behind.
    async fn rule_for(
        &self,
        partition: usize,
        review: &Review,
        options: v1::RememberOptions,
    ) -> Result<Remember, Failure> {
        let mut faults = Vec::new();
        let ttl = span("remember.ttl", options.ttl.as_ref(), &mut faults);
        let ttl_us = ttl.and_then(|ttl| i64::try_from(ttl.as_micros()).ok()).unwrap_or(0);
        if !(MINUTE_US..=90 * DAY_US).contains(&ttl_us) {
            return Err(Failure::field("remember.ttl", "is not 1 minute to 90 days"));
        }
        let policy = self.shared.engine.policy_in_force(partition, &review.tenant);
        if policy.is_some_and(|policy| policy.window(&review.rule_id).is_some()) {
            let why = "cannot be: the rule that asked for the review has a change window, which a grant would \
                       not keep";
            return Err(Failure::field("remember", why));
        }
        let wanted = review.clone();
        let context = self.shared.read(move |engine| engine.review_context(&wanted, 1)).await?;
        if context.proposed.erased {
            return Err(Failure::field("remember", "cannot be: the arguments of the call were erased"));
        }
        let call = Approved {
            server: &review.server,
            tool: &review.tool,
            chain: &review.principal_chain,
            arguments: &context.proposed.recorded.record.payload.arguments,
        };
        let rule = remember::rule_of(&call, &options.free_pointers, options.any_chain);
        let rule_text = rule.map_err(|unfit| Failure::field("remember", format!("cannot be: {unfit}")))?;
        Ok(Remember { rule_text, ttl_us })
    }

    async fn hand_on(
        &self,
        request: v1::DelegateReviewRequest,
        identity: Arc<Identity>,
    ) -> Result<v1::DelegateReviewResponse, Failure> {
        check_text("comment", &request.comment, COMMENT_BYTES_MAX)?;
        let (delegate, group) = match request.target {
            Some(v1::delegate_review_request::Target::Delegate(name)) => (name, String::new()),
            Some(v1::delegate_review_request::Target::Group(name)) => (String::new(), name),
            None => return Err(Failure::field("target", "is missing; name a delegate or a group")),
        };
        let name = if group.is_empty() { &delegate } else { &group };
        check_name("target", name, true).map_err(Failure::invalid)?;
        let (partition, review) =
            self.find("review_id", &request.review_id, &request.tenant, &identity).await?;
        let event = ReviewDelegated {
            tenant: review.tenant,
            review: review.id,
            delegate,
            group,
            comment: request.comment,
            actor: identity.actor(),
        };
        let review = self.shared.engine.delegate(event).await?;
        Ok(v1::DelegateReviewResponse { review: Some(brief(&review, partition)) })
    }

    async fn judge(
        &self,
        request: v1::GiveFeedbackRequest,
        identity: Arc<Identity>,
    ) -> Result<Position, Failure> {
        super::intake::check_call_id(&request.call_id)?;
        check_text("comment", &request.comment, COMMENT_BYTES_MAX)?;
        let tenant = tenant_of(&request.tenant).to_owned();
        identity.must_see(&tenant)?;
        let Some(feedback) = feedback_of(request.feedback) else {
            return Err(Failure::field("feedback", "is missing or unknown"));
        };
        let event = FeedbackGiven {
            tenant,
            call_id: request.call_id,
            feedback,
            expect_again: request.expect_again,
            comment: request.comment,
            actor: identity.actor(),
            features: None,
        };
        Ok(self.shared.engine.give_feedback(event).await?)
    }
}

fn similar(other: &Review, review: &Review) -> v1::SimilarDecision {
    let verdict = match other.state {
        ReviewState::Approved | ReviewState::Consumed => v1::Verdict::Allow,
        _ => v1::Verdict::Deny,
    };
    let last = |chain: &[String]| chain.last().cloned().unwrap_or_default();
    let principal = last(&other.principal_chain);
    let same_actor = principal == last(&review.principal_chain);
    let same_session = other.stream == review.stream;
    let sentence = format!(
        "the same tool, {} principal, {} session, {}",
        if same_actor { "the same" } else { "another" },
        if same_session { "the same" } else { "another" },
        if other.digest == review.digest { "the very same arguments" } else { "other arguments" },
    );
    v1::SimilarDecision {
        position: other.id.get().saturating_sub(1),
        call_id: other.call_id.clone(),
        decide_time: other.settled.map(|(at, _)| timestamp(at)),
        principal,
        verdict: verdict.into(),
        risk: 0,
        votes: other.votes.iter().map(super::convert::review::vote).collect(),
        sentence,
    }
}

fn state_of(number: i32) -> Result<ReviewState, Failure> {
    let known = u8::try_from(number).ok().and_then(ReviewState::from_number);
    known.ok_or_else(|| Failure::field("states", format!("has {number}, which is no state")))
}

fn stream_filter(key: &str) -> Result<Option<StreamId>, Failure> {
    if key.is_empty() {
        return Ok(None);
    }
    let stream = stream_of_key(key);
    stream.map(Some).ok_or_else(|| Failure::field("session_key", "is not 32 hex digits"))
}

#[tonic::async_trait]
impl v1::review_service_server::ReviewService for Reviews {
    async fn list_reviews(
        &self,
        request: Request<v1::ListReviewsRequest>,
    ) -> Result<Response<v1::ListReviewsResponse>, Status> {
        let identity = identity_of(&request)?;
        Ok(Response::new(self.list(request.into_inner(), identity).await?))
    }

    async fn get_review(
        &self,
        request: Request<v1::GetReviewRequest>,
    ) -> Result<Response<v1::GetReviewResponse>, Status> {
        let identity = identity_of(&request)?;
        Ok(Response::new(self.get(request.into_inner(), identity).await?))
    }

    type WatchReviewsStream = Reader<v1::WatchReviewsResponse>;

    async fn watch_reviews(
        &self,
        request: Request<v1::WatchReviewsRequest>,
    ) -> Result<Response<Self::WatchReviewsStream>, Status> {
        let identity = identity_of(&request)?;
        let request = request.into_inner();
        if !request.tenant.is_empty() {
            identity.must_see(&request.tenant)?;
        }
        let filters = v1::WatchReviewsRequest { resume_token: String::new(), ..request.clone() };
        let tokens = Tokens::new(self.shared.engine.key(""), "watch reviews", &filters);
        let votable = self.votable(request.votable_by_me);
        let wanted = Wanted { tenant: request.tenant, identity, states: Vec::new(), stream: None, votable };
        let reader = feed::begin(&self.shared, ReviewFeed(wanted), tokens, &request.resume_token)?;
        Ok(Response::new(reader))
    }

    async fn cast_vote(
        &self,
        request: Request<v1::CastVoteRequest>,
    ) -> Result<Response<v1::CastVoteResponse>, Status> {
        let identity = identity_of(&request)?;
        Ok(Response::new(self.cast(request.into_inner(), identity).await?))
    }

    async fn delegate_review(
        &self,
        request: Request<v1::DelegateReviewRequest>,
    ) -> Result<Response<v1::DelegateReviewResponse>, Status> {
        let identity = identity_of(&request)?;
        Ok(Response::new(self.hand_on(request.into_inner(), identity).await?))
    }

    async fn give_feedback(
        &self,
        request: Request<v1::GiveFeedbackRequest>,
    ) -> Result<Response<v1::GiveFeedbackResponse>, Status> {
        let identity = identity_of(&request)?;
        let position = self.judge(request.into_inner(), identity).await?.get();
        Ok(Response::new(v1::GiveFeedbackResponse { position }))
    }
}
