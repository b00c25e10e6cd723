//! Reviews, votes and their terms.

use super::{key_of_stream, timestamp};
use crate::domain::event::ReviewOpened;
use crate::domain::position::Position;
use crate::domain::review::{Choice, Feedback, OnDeadline, ReviewState, Vote, Why};
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use crate::projection::Review;
use crate::proto::v1;
use prost::bytes::Bytes;

/// The id of a review: its partition and the position of its opening.
pub(in crate::rpc) fn review_id(partition: usize, position: Position) -> String {
    if position == Position::ZERO { String::new() } else { format!("r{partition}-{position}") }
}

/// Partition and position behind a review's id.
pub(in crate::rpc) fn of_review_id(id: &str) -> Option<(usize, Position)> {
    let (partition, position) = id.strip_prefix('r')?.split_once('-')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(partition) || !digits(position) {
        return None;
    }
    let position = position.parse().ok().filter(|position| *position > 0)?;
    Some((partition.parse().ok()?, Position::new(position)))
}

/// A review as lists and watches show it: without arguments and findings, which `GetReview` adds.
pub(in crate::rpc) fn brief(review: &Review, partition: usize) -> v1::Review {
    let is_approval = matches!(review.state, ReviewState::Approved);
    let is_live = review.state.is_live();
    v1::Review {
        review_id: review_id(partition, review.id),
        tenant: review.tenant.clone(),
        session_key: key_of_stream(&review.stream),
        state: state(review.state).into(),
        call: Some(v1::ToolCall {
            call_id: review.call_id.clone(),
            tool: review.tool.clone(),
            server: review.server.clone(),
            principal_chain: review.principal_chain.clone(),
            tenant: review.tenant.clone(),
            ..v1::ToolCall::default()
        }),
        call_digest: Bytes::copy_from_slice(&review.digest),
        decision: Some(decision(review, partition)),
        open_time: Some(timestamp(review.opened)),
        deadline: is_live.then(|| timestamp(review.deadline)),
        on_deadline: if review.state.is_open() {
            on_deadline(&review.on_deadline).into()
        } else {
            v1::TimeoutAction::Unspecified.into()
        },
        approvals_needed: review.approvals.into(),
        groups: review.groups.clone(),
        votes: review.votes.iter().map(vote).collect(),
        delegates: review.delegates.clone(),
        policy_revision: review.policy_revision.to_string(),
        joined_call_ids: review.joined.iter().map(|(_, call_id)| call_id.clone()).collect(),
        resolve_time: review.settled.map(|(at, _)| timestamp(at)),
        resolve_reason: review
            .settled
            .map_or(v1::ReasonCode::Unspecified, |(_, because)| why(because))
            .into(),
        approval_expire_time: is_approval.then(|| timestamp(review.deadline)),
        position: review.changed.get(),
        ..v1::Review::default()
    }
}

/// What is at hand of the decision that opened a review.
fn decision(review: &Review, partition: usize) -> v1::Decision {
    let held = review.held.as_ref();
    v1::Decision {
        verdict: v1::Verdict::Review.into(),
        computed_verdict: v1::Verdict::Review.into(),
        enforced: true,
        risk: held.map_or(0, |held| held.assessment.risk.into()),
        evidence_millibits: held.map_or(0, |held| held.assessment.evidence),
        category: v1::RiskCategory::from(review.category).into(),
        rule_id: review.rule_id.clone(),
        call_id: review.call_id.clone(),
        call_digest: Bytes::copy_from_slice(&review.digest),
        session_key: key_of_stream(&review.stream),
        review_id: review_id(partition, review.id),
        position: held.map_or(0, |held| held.decided_at.get()),
        ..v1::Decision::default()
    }
}

/// Until when the approval of a review holds or held; none: it was not approved, or the approval was taken back.
pub(in crate::rpc) fn approved_until(review: &Review) -> Option<Timestamp> {
    let ran_out = review.settled.is_some_and(|(_, why)| why == Why::ApprovalExpired);
    let was = matches!(review.state, ReviewState::Approved | ReviewState::Consumed) || ran_out;
    was.then_some(review.deadline)
}

/// A review as its opening tells it.
pub(in crate::rpc) fn opened(
    event: ReviewOpened,
    position: u64,
    stream: &StreamId,
    at: Timestamp,
    partition: u32,
) -> v1::Review {
    v1::Review {
        review_id: review_id(partition as usize, Position::new(position)),
        tenant: event.tenant.clone(),
        session_key: key_of_stream(stream),
        state: v1::ReviewState::Pending.into(),
        call: Some(v1::ToolCall {
            call_id: event.call_id,
            tool: event.tool,
            server: event.server,
            principal_chain: event.principal_chain,
            tenant: event.tenant,
            ..v1::ToolCall::default()
        }),
        call_digest: Bytes::copy_from_slice(&event.digest),
        open_time: Some(timestamp(at)),
        deadline: Some(timestamp(event.terms.deadline)),
        on_deadline: on_deadline(&event.terms.on_deadline).into(),
        approvals_needed: event.terms.approvals.into(),
        groups: event.terms.groups,
        policy_revision: event.policy_revision.to_string(),
        position,
        ..v1::Review::default()
    }
}

/// A vote.
pub(in crate::rpc) fn vote(vote: &Vote) -> v1::Vote {
    v1::Vote {
        reviewer: vote.reviewer.clone(),
        group: vote.group.clone(),
        choice: match vote.choice {
            Choice::Approve => v1::VoteChoice::Approve.into(),
            Choice::Deny => v1::VoteChoice::Deny.into(),
        },
        comment: vote.comment.clone(),
        vote_time: Some(timestamp(vote.at)),
        call_digest: Bytes::copy_from_slice(&vote.digest),
        remember_rule: vote.remember.as_ref().map_or_else(String::new, |rule| rule.rule_text.clone()),
    }
}

/// Where a review is in its life.
pub(in crate::rpc) const fn state(state: ReviewState) -> v1::ReviewState {
    match state {
        ReviewState::Pending => v1::ReviewState::Pending,
        ReviewState::Escalated => v1::ReviewState::Escalated,
        ReviewState::Approved => v1::ReviewState::Approved,
        ReviewState::Denied => v1::ReviewState::Denied,
        ReviewState::Expired => v1::ReviewState::Expired,
        ReviewState::Cancelled => v1::ReviewState::Cancelled,
        ReviewState::Consumed => v1::ReviewState::Consumed,
    }
}

/// What a deadline does by itself.
pub(in crate::rpc) const fn on_deadline(action: &OnDeadline) -> v1::TimeoutAction {
    match action {
        OnDeadline::Deny => v1::TimeoutAction::Deny,
        OnDeadline::Approve => v1::TimeoutAction::Approve,
        OnDeadline::Escalate { .. } => v1::TimeoutAction::Escalate,
    }
}

/// A person's judgement; none for no or an unknown one.
pub(in crate::rpc) fn feedback_of(number: i32) -> Option<Feedback> {
    match v1::Feedback::try_from(number) {
        Ok(v1::Feedback::TrueAlarm) => Some(Feedback::TrueAlarm),
        Ok(v1::Feedback::FalseAlarm) => Some(Feedback::FalseAlarm),
        Ok(v1::Feedback::Missed) => Some(Feedback::Missed),
        Ok(v1::Feedback::Unspecified) | Err(_) => None,
    }
}

/// The same the other way.
pub(in crate::rpc) const fn feedback(feedback: Feedback) -> v1::Feedback {
    match feedback {
        Feedback::TrueAlarm => v1::Feedback::TrueAlarm,
        Feedback::FalseAlarm => v1::Feedback::FalseAlarm,
        Feedback::Missed => v1::Feedback::Missed,
    }
}

/// The code of a reason.
pub(in crate::rpc) const fn why(why: Why) -> v1::ReasonCode {
    use v1::ReasonCode as Code;
    match why {
        Why::Approved => Code::AllowedByApproval,
        Why::Silence => Code::AllowedBySilence,
        Why::DeniedByReviewer => Code::DeniedByReviewer,
        Why::Expired | Why::Escalated | Why::ApprovalExpired => Code::Expired,
        Why::SessionEnded => Code::Cancelled,
        Why::PolicyChanged => Code::PolicyVersionMismatch,
        Why::SessionLocked => Code::SessionLocked,
        Why::PrincipalLocked => Code::PrincipalLocked,
        Why::ToolLocked => Code::ToolLocked,
        Why::ServerLocked => Code::ServerLocked,
        Why::TenantLocked => Code::TenantLocked,
        Why::AlreadyConsumed => Code::AlreadyConsumed,
        Why::DigestMismatch => Code::ActionDigestMismatch,
        Why::ChainMismatch => Code::PrincipalChainMismatch,
        Why::WindowClosed => Code::WindowClosed,
        Why::ScoreRose => Code::ScoreRose,
        Why::UnknownReview => Code::UnknownReview,
        Why::TooManyReviews => Code::TooManyReviews,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn review_ids_go_both_ways() {
        assert_eq!(of_review_id(&review_id(3, Position::new(70))), Some((3, Position::new(70))));
        for bad in ["", "r", "r0", "r0-", "r0-0", "r-1", "x0-1", "r0-1-2", "r+0-1", "r0-99999999999999999999"]
        {
            assert_eq!(of_review_id(bad), None, "{bad}");
        }
    }
}
