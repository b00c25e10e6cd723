//! Reviews: when one is opened, who may vote, what a deadline does, and whether an approved call may go.
//!
//! | step | refused with |
//! |---|---|
//! | a call is to be reviewed | `TooManyReviews` |
//! | a vote | see [`VoteFault`] |
//! | release | lock, `PolicyChanged`, `ApprovalExpired`, `WindowClosed`, `ScoreRose` |
//!
//! Pure: state, request and time in, events or a refusal out. Time is that of deadlines, see `clock`.

use super::judge::assess;
use crate::domain::call::Digest;
use crate::domain::decision::Floor;
use crate::domain::event::{
    CallRefused, CallReleased, Event, Payload, Pending, ReviewDelegated, ReviewJoined, ReviewOpened,
    ReviewResolved, VoteCast,
};
use crate::domain::identity::{Voter, same_person};
use crate::domain::position::{Position, Revision};
use crate::domain::review::{Choice, OnDeadline, Remember, ReviewState, Terms, Vote, Why, limits};
use crate::domain::risk::RiskCategory;
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::policy::{Policy, WhenSilent};
use crate::projection::{Locks, Review, State};

/// A call that was decided REVIEW and binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking<'a> {
    /// Tenant.
    pub tenant: &'a str,
    /// Its session.
    pub stream: StreamId,
    /// Its key.
    pub call: CallKey,
    /// Its id.
    pub call_id: &'a str,
    /// Digest that binds it.
    pub digest: Digest,
    /// MCP server.
    pub server: &'a str,
    /// Tool name.
    pub tool: &'a str,
    /// Outermost first.
    pub principal_chain: &'a [String],
    /// Category as decided.
    pub category: RiskCategory,
    /// The rule that asked for it; empty: none did.
    pub rule_id: &'a str,
    /// Position of its `CallDecided`.
    pub decided_at: Position,
}

/// What becomes of a call that is to be reviewed.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// A review is opened.
    Opens(Box<Event>),
    /// An open review of the very same call is there: this call shares it.
    Joins(Box<Event>),
    /// The very same call was approved and the approval is unused: it may claim it.
    Claims(Position),
    /// There is no room for another review.
    Refused(Box<Event>),
}

/// What becomes of a call that is to be reviewed at `now`.
pub fn ask(state: &State, asking: &Asking<'_>, policy: &Policy, now: Timestamp) -> Asked {
    if let Some(review) = state.reviews.of_digest(&asking.digest) {
        match review.state {
            ReviewState::Approved if now < review.deadline => return Asked::Claims(review.id),
            state if state.is_open() && now < review.deadline => return join(review, asking),
            _ => {}
        }
    }
    let full = state.reviews.live() >= limits::OPEN_MAX
        || state.reviews.live_in(&asking.stream) >= limits::PER_SESSION_MAX;
    if full {
        return refused(asking, Position::ZERO, Why::TooManyReviews);
    }
    Asked::Opens(Box::new(Event::ReviewOpened(ReviewOpened {
        tenant: asking.tenant.to_owned(),
        call_id: asking.call_id.to_owned(),
        digest: asking.digest,
        server: asking.server.to_owned(),
        tool: asking.tool.to_owned(),
        principal_chain: asking.principal_chain.to_vec(),
        category: asking.category,
        rule_id: asking.rule_id.to_owned(),
        policy_revision: state.policy_revision_of(asking.tenant),
        terms: terms(policy, asking.rule_id, asking.category, now),
    })))
}

/// The same for a call that names the review whose approval it claims.
pub fn claim(state: &State, asking: &Asking<'_>, id: Position, now: Timestamp) -> Asked {
    let review = state.reviews.get(id).filter(|review| review.tenant == asking.tenant);
    let Some(review) = review else { return refused(asking, Position::ZERO, Why::UnknownReview) };
    if review.principal_chain != asking.principal_chain {
        return refused(asking, id, Why::ChainMismatch);
    }
    if review.digest != asking.digest {
        return refused(asking, id, Why::DigestMismatch);
    }
    match (review.state, review.settled) {
        (ReviewState::Consumed, _) => refused(asking, id, Why::AlreadyConsumed),
        (ReviewState::Approved, _) => Asked::Claims(id),
        (state, _) if state.is_open() && now < review.deadline => join(review, asking),
        (_, Some((_, why))) => refused(asking, id, why),
        (_, None) => refused(asking, id, Why::Expired),
    }
}

fn join(review: &Review, asking: &Asking<'_>) -> Asked {
    if review.joined.len() >= limits::JOINED_MAX {
        return refused(asking, review.id, Why::TooManyReviews);
    }
    let (tenant, call_id) = (asking.tenant.to_owned(), asking.call_id.to_owned());
    Asked::Joins(Box::new(Event::ReviewJoined(ReviewJoined { tenant, review: review.id, call_id })))
}

fn refused(asking: &Asking<'_>, review: Position, why: Why) -> Asked {
    let (tenant, call_id) = (asking.tenant.to_owned(), asking.call_id.to_owned());
    Asked::Refused(Box::new(Event::CallRefused(CallRefused { tenant, call_id, review, why })))
}

/// The terms of a review opened at `now`.
fn terms(policy: &Policy, rule_id: &str, category: RiskCategory, now: Timestamp) -> Terms {
    let terms = policy.review_terms(rule_id, category);
    Terms {
        approvals: terms.approvers.max(1),
        groups: terms.groups.clone(),
        deadline: terms.deadline(now),
        on_deadline: match terms.when_silent(category) {
            WhenSilent::Deny => OnDeadline::Deny,
            WhenSilent::Approve => OnDeadline::Approve,
            WhenSilent::Escalate { to, deny_after_us } => {
                OnDeadline::Escalate { to: to.clone(), deny_after_us: *deny_after_us }
            }
        },
        approval_us: terms.release_within_us,
    }
}

/// A vote as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// Tenant.
    pub tenant: String,
    /// The review.
    pub review: Position,
    /// Who votes.
    pub voter: Voter,
    /// What they say.
    pub choice: Choice,
    /// Digest of the call they were shown.
    pub digest: Digest,
    /// Why.
    pub comment: String,
    /// What it is to leave behind if the review ends approved. With an approval only.
    pub remember: Option<Remember>,
}

/// Why a vote does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoteFault {
    /// There is no such review in this tenant.
    Unknown,
    /// It is settled, or its time is over.
    Closed,
    /// The digest is not that of the call under review.
    Digest,
    /// A lock covers the voter.
    Locked,
    /// The voter is the requester, or acts in its name.
    Requester,
    /// The voter is in none of the groups that are asked.
    NotAsked,
    /// This person has voted.
    Voted,
    /// The review has as many votes as it can hold.
    Full,
}

/// An event and the call it is about.
pub type About = (CallKey, Event);

/// What becomes of a vote.
#[derive(Clone, Debug, PartialEq)]
pub enum Voted {
    /// These events.
    Counts(Vec<About>),
    /// The very same vote was cast before: nothing changes.
    Again,
}

/// A vote at `now`: the events, in order.
pub fn vote(state: &State, ballot: Ballot, policy: &Policy, now: Timestamp) -> Result<Voted, VoteFault> {
    let review = state.reviews.get(ballot.review).filter(|review| review.tenant == ballot.tenant);
    let review = review.ok_or(VoteFault::Unknown)?;
    let earlier = review.votes.iter().find(|vote| is_by(&ballot.voter, vote));
    if let Some(earlier) = earlier
        && earlier.choice == ballot.choice
        && earlier.digest == ballot.digest
        && earlier.reviewer == ballot.voter.subject
    {
        return Ok(Voted::Again);
    }
    may_vote(&state.locks, review, &ballot.voter, policy, now)?;
    if ballot.digest != review.digest {
        return Err(VoteFault::Digest);
    }
    if review.votes.len() >= limits::VOTES_MAX {
        return Err(VoteFault::Full);
    }
    let group = group_of(review, &ballot.voter, policy).unwrap_or("").to_owned();
    let vote = Vote {
        reviewer: ballot.voter.subject,
        aliases: ballot.voter.aliases,
        group,
        choice: ballot.choice,
        comment: ballot.comment,
        digest: ballot.digest,
        at: now,
        remember: ballot.remember,
    };
    let tenant = || review.tenant.clone();
    let approvals = review.approvals_given() + 1;
    let cast = Event::VoteCast(VoteCast { tenant: tenant(), review: review.id, vote });
    let mut events = vec![(review.call, cast)];
    match ballot.choice {
        Choice::Deny => events.extend(ending(review, ReviewState::Denied, Why::DeniedByReviewer)),
        Choice::Approve if approvals >= usize::from(review.approvals) => {
            events.push(approved(review, Why::Approved, now));
        }
        Choice::Approve => {}
    }
    Ok(Voted::Counts(events))
}

/// Whether this person may vote on a review at `now`, and if not, why.
pub fn may_vote(
    locks: &Locks,
    review: &Review,
    voter: &Voter,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), VoteFault> {
    if !review.state.is_open() || now >= review.deadline {
        return Err(VoteFault::Closed);
    }
    if locks.covering_person(&review.tenant, |name| voter.is(name), now).is_some() {
        return Err(VoteFault::Locked);
    }
    if review.principal_chain.iter().any(|link| voter.is(link)) {
        return Err(VoteFault::Requester);
    }
    if review.votes.iter().any(|vote| is_by(voter, vote)) {
        return Err(VoteFault::Voted);
    }
    group_of(review, voter, policy).map(|_| ()).ok_or(VoteFault::NotAsked)
}

/// Whether a vote was cast by this person, under whatever name.
fn is_by(voter: &Voter, vote: &Vote) -> bool {
    voter.is(&vote.reviewer) || vote.aliases.iter().any(|alias| voter.is(alias))
}

/// The group in whose name this person's vote counts; empty: without one.
fn group_of<'r>(review: &'r Review, voter: &Voter, policy: &Policy) -> Option<&'r str> {
    if review.groups.is_empty() || review.delegates.iter().any(|name| voter.is(name)) {
        return Some("");
    }
    let is_member = |group: &&String| {
        voter.any_group
            || voter.groups.contains(group)
            || voter.names().any(|name| policy.groups.has_member(group, name))
    };
    review.groups.iter().find(is_member).map(String::as_str)
}

/// Handing a review on at `now`; the target is a reviewer's subject or a group.
pub fn delegate(state: &State, event: ReviewDelegated, now: Timestamp) -> Result<Option<Event>, VoteFault> {
    let review = state.reviews.get(event.review).filter(|review| review.tenant == event.tenant);
    let review = review.ok_or(VoteFault::Unknown)?;
    if !review.state.is_open() || now >= review.deadline {
        return Err(VoteFault::Closed);
    }
    let known = if event.group.is_empty() {
        review.delegates.iter().any(|name| same_person(name, &event.delegate))
    } else {
        review.groups.contains(&event.group)
    };
    if known {
        return Ok(None);
    }
    if review.delegates.len() + review.groups.len() >= limits::DELEGATES_MAX {
        return Err(VoteFault::Full);
    }
    Ok(Some(Event::ReviewDelegated(event)))
}

fn resolved(review: &Review, state: ReviewState, why: Why) -> ReviewResolved {
    ReviewResolved {
        tenant: review.tenant.clone(),
        review: review.id,
        state,
        why,
        groups: Vec::new(),
        deadline: None,
    }
}

fn approved(review: &Review, why: Why, now: Timestamp) -> About {
    let deadline = Some(now.plus_micros(review.approval_us));
    let event = ReviewResolved { deadline, ..resolved(review, ReviewState::Approved, why) };
    (review.call, Event::ReviewResolved(event))
}

/// The events that end a review without a release: it is settled, and every call that waits for it is
/// refused for good.
pub fn ending(review: &Review, state: ReviewState, why: Why) -> Vec<About> {
    let mut events = vec![(review.call, Event::ReviewResolved(resolved(review, state, why)))];
    events.extend(waiting(review).map(|(call, call_id)| (call, refusal(review, call_id, why))));
    events
}

/// The calls that wait for a review: the one that opened it and those that joined.
fn waiting(review: &Review) -> impl Iterator<Item = (CallKey, &str)> {
    let own = std::iter::once((review.call, review.call_id.as_str()));
    own.chain(review.joined.iter().map(|(call, call_id)| (*call, call_id.as_str())))
}

/// The time as deadlines see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// No earlier than any clock says: by it things run out.
    pub late: Timestamp,
    /// No later than any clock says: by it silence becomes consent, so that no clock that jumps ahead can
    /// approve a call.
    pub early: Timestamp,
}

/// What happens by itself to a review whose deadline has come; nothing if it has not.
pub fn overdue(review: &Review, now: Now) -> Vec<About> {
    if !review.state.is_live() || now.late < review.deadline {
        return Vec::new();
    }
    if review.state == ReviewState::Approved {
        return ending(review, ReviewState::Expired, Why::ApprovalExpired);
    }
    match &review.on_deadline {
        OnDeadline::Deny => ending(review, ReviewState::Expired, Why::Expired),
        OnDeadline::Approve if now.early < review.deadline => Vec::new(),
        OnDeadline::Approve => vec![approved(review, Why::Silence, now.late)],
        OnDeadline::Escalate { to, deny_after_us } => {
            let mut groups = review.groups.clone();
            groups.extend(to.iter().filter(|group| !review.groups.contains(group)).cloned());
            let deadline = Some(now.late.plus_micros((*deny_after_us).max(0)));
            let event = ReviewResolved {
                groups,
                deadline,
                ..resolved(review, ReviewState::Escalated, Why::Escalated)
            };
            vec![(review.call, Event::ReviewResolved(event))]
        }
    }
}

/// What takes a review's ground away, if anything does: a lock, or another policy.
pub fn ground_lost(state: &State, review: &Review, now: Timestamp) -> Option<Why> {
    if let Some(known) = state.lock_on(review, now) {
        return Some(known.lock.on.scope.why());
    }
    (review.policy_revision != state.policy_revision_of(&review.tenant)).then_some(Why::PolicyChanged)
}

/// Whether an approved call may go now.
#[derive(Clone, Debug, PartialEq)]
pub enum Release {
    /// It may: these events use the approval up, and refuse the others that waited for it.
    Goes(Vec<About>),
    /// It may not, for good: these events settle it.
    Refused(Vec<About>),
    /// Not now, but perhaps later: nothing changes.
    NotYet(Why),
}

/// A call claims the approval of a review at `now`: lock, policy, expiry, window and risk are looked at
/// again.
pub fn release(
    state: &State,
    review: &Review,
    (call, call_id): (CallKey, &str),
    policy: &Policy,
    now: Timestamp,
) -> Release {
    let waits = waiting(review).any(|(waiting, _)| waiting == call);
    let refuse = |outcome: ReviewState, why: Why| {
        let mut events = ending(review, outcome, why);
        if !waits {
            events.push((call, refusal(review, call_id, why)));
        }
        Release::Refused(events)
    };
    if let Some(why) = ground_lost(state, review, now) {
        return refuse(ReviewState::Cancelled, why);
    }
    if now >= review.deadline {
        return refuse(ReviewState::Expired, Why::ApprovalExpired);
    }
    if policy.window(&review.rule_id).is_some_and(|window| !window.contains(now)) {
        return Release::NotYet(Why::WindowClosed);
    }
    let risk = risk_now(state, review);
    if risk.rose {
        return refuse(ReviewState::Cancelled, Why::ScoreRose);
    }
    let released = CallReleased {
        tenant: review.tenant.clone(),
        call_id: call_id.to_owned(),
        review: review.id,
        why: review.settled.map_or(Why::Approved, |(_, why)| why),
        risk: risk.now,
    };
    let others = waiting(review).filter(|(waiting, _)| *waiting != call);
    let others = others.map(|(other, id)| (other, refusal(review, id, Why::AlreadyConsumed)));
    let events = std::iter::once((call, Event::CallReleased(released))).chain(others);
    Release::Goes(events.collect())
}

/// The event that refuses a call for good.
fn refusal(review: &Review, call_id: &str, why: Why) -> Event {
    Event::CallRefused(CallRefused {
        tenant: review.tenant.clone(),
        call_id: call_id.to_owned(),
        review: review.id,
        why,
    })
}

struct RiskNow {
    now: u8,
    rose: bool,
}

/// The call's risk as of this state, and whether it rose beyond what its approvers saw: a floor fires that
/// did not then, or there are more points than [`limits::RISK_RISE_MAX`].
fn risk_now(state: &State, review: &Review) -> RiskNow {
    let Some(held) = &review.held else { return RiskNow { now: 100, rose: true } };
    let tenant = state.tenant(&review.tenant);
    let session = tenant.and_then(|tenant| tenant.sessions.get(&review.stream));
    let now = assess(tenant, session, &held.features, held.turn, review.category, 0);
    // What was denied since is another call's matter: this very call was approved.
    let new_floors = now.floors & !held.assessment.floors & !Floor::RepeatOfDenied.bit();
    let most = held.assessment.risk.saturating_add(limits::RISK_RISE_MAX);
    RiskNow { now: now.risk, rose: new_floors != 0 || now.risk > most }
}

/// An event of a call's review, in the stream of its session. `last` is the last revision of that stream.
pub fn pending(
    event: Event,
    stream: StreamId,
    last: Revision,
    call: CallKey,
    causation: Position,
    now: Timestamp,
) -> Pending {
    Pending {
        stream,
        revision: last.next(),
        event_time: now,
        receive_time: now,
        call,
        causation,
        event,
        payload: Payload::default(),
    }
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
