//! Reviews, locks and tokens inside their records, both ways.

use super::decode::{self, each};
use super::encode;
use super::wire::{Field, Reader, Writer};
use super::{Error, named, tokens};
use crate::domain::event::{
    CallRefused, CallReleased, Event, FeedbackGiven, LockLifted, LockPlaced, ReviewDelegated, ReviewJoined,
    ReviewOpened, ReviewResolved, VoteCast, kind,
};
use crate::domain::lock::{Lock, LockOrigin, LockScope, LockTarget};
use crate::domain::position::Position;
use crate::domain::review::{Choice, Feedback, OnDeadline, Remember, ReviewState, Terms, Vote, Why};
use crate::domain::risk::RiskCategory;
use crate::domain::time::Timestamp;

/// Writes the body of an event of this file; nothing for any other event.
pub(super) fn write(event: &Event, out: &mut Writer) {
    match event {
        Event::ReviewOpened(event) => review_opened(event, out),
        Event::VoteCast(event) => {
            out.text(1, &event.tenant);
            out.uint(2, event.review.get());
            out.message(3, |inner| write_vote(&event.vote, inner));
        }
        Event::ReviewResolved(event) => {
            out.text(1, &event.tenant);
            out.uint(2, event.review.get());
            out.uint(3, event.state.number().into());
            out.uint(4, event.why.number().into());
            texts(5, &event.groups, out);
            out.sint_present(6, event.deadline.map(Timestamp::as_micros));
        }
        Event::ReviewDelegated(event) => {
            out.text(1, &event.tenant);
            out.uint(2, event.review.get());
            out.text(3, &event.delegate);
            out.text(4, &event.group);
            out.text(5, &event.comment);
            out.text(6, &event.actor);
        }
        Event::ReviewJoined(event) => {
            out.text(1, &event.tenant);
            out.uint(2, event.review.get());
            out.text(3, &event.call_id);
        }
        Event::CallReleased(event) => {
            out.text(1, &event.tenant);
            out.text(2, &event.call_id);
            out.uint(3, event.review.get());
            out.uint(4, event.why.number().into());
            out.uint(5, event.risk.into());
        }
        Event::CallRefused(event) => {
            out.text(1, &event.tenant);
            out.text(2, &event.call_id);
            out.uint(3, event.review.get());
            out.uint(4, event.why.number().into());
        }
        Event::LockPlaced(event) => lock_placed(&event.lock, out),
        Event::LockLifted(event) => {
            out.text(1, &event.tenant);
            out.text(2, &event.lock_id);
            out.text(3, &event.reason);
            out.text(4, &event.actor);
            out.uint(5, event.expired.into());
        }
        Event::FeedbackGiven(event) => {
            out.text(1, &event.tenant);
            out.text(2, &event.call_id);
            out.uint(3, event.feedback.number().into());
            out.uint(4, event.expect_again.into());
            out.text(5, &event.comment);
            out.text(6, &event.actor);
            if let Some(features) = &event.features {
                out.message(7, |inner| encode::features(features, inner));
            }
        }
        Event::TokenCreated(event) => tokens::created(event, out),
        Event::TokenRevoked(event) => {
            out.text(1, &event.token_id);
            out.text(2, &event.reason);
            out.text(3, &event.actor);
        }
        _ => {}
    }
}

/// Reads the body of a record of this kind, if it is one of this file's.
pub(super) fn read(event_kind: u8, body: &[u8]) -> Result<Event, Error> {
    Ok(match event_kind {
        kind::REVIEW_OPENED => Event::ReviewOpened(read_review_opened(body)?),
        kind::VOTE_CAST => Event::VoteCast(read_vote_cast(body)?),
        kind::REVIEW_RESOLVED => Event::ReviewResolved(read_review_resolved(body)?),
        kind::REVIEW_DELEGATED => Event::ReviewDelegated(read_review_delegated(body)?),
        kind::REVIEW_JOINED => Event::ReviewJoined(read_review_joined(body)?),
        kind::CALL_RELEASED => Event::CallReleased(read_call_released(body)?),
        kind::CALL_REFUSED => Event::CallRefused(read_call_refused(body)?),
        kind::LOCK_PLACED => Event::LockPlaced(LockPlaced { lock: read_lock(body)? }),
        kind::LOCK_LIFTED => Event::LockLifted(read_lock_lifted(body)?),
        kind::FEEDBACK_GIVEN => Event::FeedbackGiven(read_feedback(body)?),
        kind::TOKEN_CREATED => Event::TokenCreated(tokens::read_created(body)?),
        kind::TOKEN_REVOKED => Event::TokenRevoked(tokens::read_revoked(body)?),
        unknown => return Err(Error::UnknownKind(unknown)),
    })
}

pub(super) fn texts(number: u32, texts: &[String], out: &mut Writer) {
    texts.iter().for_each(|text| out.bytes_present(number, text.as_bytes()));
}

pub(super) fn instant(field: &Field<'_>) -> Timestamp {
    Timestamp::from_micros(field.sint())
}

fn review_opened(event: &ReviewOpened, out: &mut Writer) {
    out.text(1, &event.tenant);
    out.text(2, &event.call_id);
    out.bytes(3, &event.digest);
    out.text(4, &event.server);
    out.text(5, &event.tool);
    texts(6, &event.principal_chain, out);
    out.uint(7, event.category.number().into());
    out.text(8, &event.rule_id);
    out.uint(9, event.policy_revision.get());
    out.uint(10, event.terms.approvals.into());
    texts(11, &event.terms.groups, out);
    out.sint(12, event.terms.deadline.as_micros());
    let (number, to, deny_after_us) = match &event.terms.on_deadline {
        OnDeadline::Deny => (1, &[][..], 0),
        OnDeadline::Approve => (2, &[][..], 0),
        OnDeadline::Escalate { to, deny_after_us } => (3, to.as_slice(), *deny_after_us),
    };
    out.uint(13, number);
    texts(14, to, out);
    out.sint(15, deny_after_us);
    out.sint(16, event.terms.approval_us);
}

fn read_review_opened(body: &[u8]) -> Result<ReviewOpened, Error> {
    let mut event = ReviewOpened {
        tenant: String::new(),
        call_id: String::new(),
        digest: [0; 32],
        server: String::new(),
        tool: String::new(),
        principal_chain: Vec::new(),
        category: RiskCategory::Critical,
        rule_id: String::new(),
        policy_revision: Position::ZERO,
        terms: Terms {
            approvals: 1,
            groups: Vec::new(),
            deadline: Timestamp::default(),
            on_deadline: OnDeadline::Deny,
            approval_us: 0,
        },
    };
    let (mut on_deadline, mut to, mut deny_after_us) = (1, Vec::new(), 0);
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.call_id = field.text()?,
            3 => event.digest = field.array()?,
            4 => event.server = field.text()?,
            5 => event.tool = field.text()?,
            6 => event.principal_chain.push(field.text()?),
            7 => event.category = named(field, RiskCategory::from_number)?,
            8 => event.rule_id = field.text()?,
            9 => event.policy_revision = Position::new(field.uint()),
            10 => event.terms.approvals = field.fit()?,
            11 => event.terms.groups.push(field.text()?),
            12 => event.terms.deadline = instant(field),
            13 => on_deadline = field.uint(),
            14 => to.push(field.text()?),
            15 => deny_after_us = field.sint(),
            16 => event.terms.approval_us = field.sint(),
            _ => {}
        }
        Ok(())
    })?;
    event.terms.on_deadline = match on_deadline {
        1 => OnDeadline::Deny,
        2 => OnDeadline::Approve,
        3 => OnDeadline::Escalate { to, deny_after_us },
        value => return Err(Error::Unnamed { field: 13, value }),
    };
    Ok(event)
}

fn write_vote(vote: &Vote, out: &mut Writer) {
    out.text(1, &vote.reviewer);
    texts(2, &vote.aliases, out);
    out.text(3, &vote.group);
    out.uint(4, vote.choice.number().into());
    out.text(5, &vote.comment);
    out.bytes(6, &vote.digest);
    out.sint(7, vote.at.as_micros());
    if let Some(remember) = &vote.remember {
        out.text(8, &remember.rule_text);
        out.sint(9, remember.ttl_us);
    }
}

fn read_vote_cast(body: &[u8]) -> Result<VoteCast, Error> {
    let (mut tenant, mut review, mut vote) = (String::new(), Position::ZERO, None);
    each(body, |field| {
        match field.number {
            1 => tenant = field.text()?,
            2 => review = Position::new(field.uint()),
            3 => vote = Some(read_vote(field.bytes())?),
            _ => {}
        }
        Ok(())
    })?;
    let vote = vote.ok_or(Error::Unnamed { field: 3, value: 0 })?;
    Ok(VoteCast { tenant, review, vote })
}

fn read_vote(bytes: &[u8]) -> Result<Vote, Error> {
    let mut vote = Vote {
        reviewer: String::new(),
        aliases: Vec::new(),
        group: String::new(),
        choice: Choice::Deny,
        comment: String::new(),
        digest: [0; 32],
        at: Timestamp::default(),
        remember: None,
    };
    let mut remember = Remember { rule_text: String::new(), ttl_us: 0 };
    for field in Reader::new(bytes) {
        let field = field?;
        match field.number {
            1 => vote.reviewer = field.text()?,
            2 => vote.aliases.push(field.text()?),
            3 => vote.group = field.text()?,
            4 => vote.choice = named(&field, Choice::from_number)?,
            5 => vote.comment = field.text()?,
            6 => vote.digest = field.array()?,
            7 => vote.at = instant(&field),
            8 => remember.rule_text = field.text()?,
            9 => remember.ttl_us = field.sint(),
            _ => {}
        }
    }
    vote.remember = (!remember.rule_text.is_empty()).then_some(remember);
    Ok(vote)
}

fn read_review_resolved(body: &[u8]) -> Result<ReviewResolved, Error> {
    let mut event = ReviewResolved {
        tenant: String::new(),
        review: Position::ZERO,
        state: ReviewState::Cancelled,
        why: Why::Expired,
        groups: Vec::new(),
        deadline: None,
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.review = Position::new(field.uint()),
            3 => event.state = named(field, ReviewState::from_number)?,
            4 => event.why = named(field, Why::from_number)?,
            5 => event.groups.push(field.text()?),
            6 => event.deadline = Some(instant(field)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn read_review_delegated(body: &[u8]) -> Result<ReviewDelegated, Error> {
    let mut event = ReviewDelegated {
        tenant: String::new(),
        review: Position::ZERO,
        delegate: String::new(),
        group: String::new(),
        comment: String::new(),
        actor: String::new(),
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.review = Position::new(field.uint()),
            3 => event.delegate = field.text()?,
            4 => event.group = field.text()?,
            5 => event.comment = field.text()?,
            6 => event.actor = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn read_review_joined(body: &[u8]) -> Result<ReviewJoined, Error> {
    let mut event = ReviewJoined { tenant: String::new(), review: Position::ZERO, call_id: String::new() };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.review = Position::new(field.uint()),
            3 => event.call_id = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn read_call_released(body: &[u8]) -> Result<CallReleased, Error> {
    let mut event = CallReleased {
        tenant: String::new(),
        call_id: String::new(),
        review: Position::ZERO,
        why: Why::Approved,
        risk: 0,
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.call_id = field.text()?,
            3 => event.review = Position::new(field.uint()),
            4 => event.why = named(field, Why::from_number)?,
            5 => event.risk = field.fit()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn read_call_refused(body: &[u8]) -> Result<CallRefused, Error> {
    let mut event = CallRefused {
        tenant: String::new(),
        call_id: String::new(),
        review: Position::ZERO,
        why: Why::UnknownReview,
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.call_id = field.text()?,
            3 => event.review = Position::new(field.uint()),
            4 => event.why = named(field, Why::from_number)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn lock_placed(lock: &Lock, out: &mut Writer) {
    out.text(1, &lock.id);
    out.text(2, &lock.on.tenant);
    out.uint(3, lock.on.scope.number().into());
    out.text(4, &lock.on.target);
    out.text(5, &lock.on.server);
    out.text(6, &lock.reason);
    out.text(7, &lock.actor);
    out.uint(8, lock.origin.number().into());
    out.sint_present(9, lock.expires.map(Timestamp::as_micros));
}

fn read_lock(body: &[u8]) -> Result<Lock, Error> {
    let on = LockTarget {
        tenant: String::new(),
        scope: LockScope::Everything,
        target: String::new(),
        server: String::new(),
    };
    let mut lock = Lock {
        id: String::new(),
        on,
        reason: String::new(),
        actor: String::new(),
        origin: LockOrigin::Rpc,
        expires: None,
    };
    each(body, |field| {
        match field.number {
            1 => lock.id = field.text()?,
            2 => lock.on.tenant = field.text()?,
            3 => lock.on.scope = named(field, LockScope::from_number)?,
            4 => lock.on.target = field.text()?,
            5 => lock.on.server = field.text()?,
            6 => lock.reason = field.text()?,
            7 => lock.actor = field.text()?,
            8 => lock.origin = named(field, LockOrigin::from_number)?,
            9 => lock.expires = Some(instant(field)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(lock)
}

fn read_lock_lifted(body: &[u8]) -> Result<LockLifted, Error> {
    let mut event = LockLifted {
        tenant: String::new(),
        lock_id: String::new(),
        reason: String::new(),
        actor: String::new(),
        expired: false,
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.lock_id = field.text()?,
            3 => event.reason = field.text()?,
            4 => event.actor = field.text()?,
            5 => event.expired = field.uint() != 0,
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}

fn read_feedback(body: &[u8]) -> Result<FeedbackGiven, Error> {
    let mut event = FeedbackGiven {
        tenant: String::new(),
        call_id: String::new(),
        feedback: Feedback::TrueAlarm,
        expect_again: false,
        comment: String::new(),
        actor: String::new(),
        features: None,
    };
    each(body, |field| {
        match field.number {
            1 => event.tenant = field.text()?,
            2 => event.call_id = field.text()?,
            3 => event.feedback = named(field, Feedback::from_number)?,
            4 => event.expect_again = field.uint() != 0,
            5 => event.comment = field.text()?,
            6 => event.actor = field.text()?,
            7 => event.features = Some(Box::new(decode::features(field.bytes())?)),
            _ => {}
        }
        Ok(())
    })?;
    Ok(event)
}
