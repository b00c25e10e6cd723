//! Events of reviews, locks and tokens as timelines show them; locks and tokens themselves.

use super::review::{self, review_id};
use super::timestamp;
use crate::domain::event::Event;
use crate::domain::identity::{Role, Token};
use crate::domain::lock::{Lock, LockOrigin, LockScope};
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use crate::projection::{KnownLock, KnownToken};
use crate::proto::v1::{self, event::Data};

/// The tenant of such an event; none for one of the daemon as a whole.
pub(super) fn tenant_of(event: &Event) -> Option<&str> {
    let tenant = match event {
        Event::ReviewOpened(event) => &event.tenant,
        Event::VoteCast(event) => &event.tenant,
        Event::ReviewResolved(event) => &event.tenant,
        Event::ReviewDelegated(event) => &event.tenant,
        Event::ReviewJoined(event) => &event.tenant,
        Event::CallReleased(event) => &event.tenant,
        Event::CallRefused(event) => &event.tenant,
        Event::LockPlaced(event) => &event.lock.on.tenant,
        Event::LockLifted(event) => &event.tenant,
        Event::FeedbackGiven(event) => &event.tenant,
        _ => return None,
    };
    (!tenant.is_empty()).then_some(tenant)
}

/// The type that a filter knows such an event by.
pub(super) const fn type_of(event: &Event) -> v1::EventType {
    match event {
        Event::ReviewOpened(_) => v1::EventType::ReviewOpened,
        Event::VoteCast(_) => v1::EventType::VoteCast,
        Event::ReviewResolved(_) => v1::EventType::ReviewResolved,
        Event::ReviewDelegated(_) => v1::EventType::ReviewDelegated,
        Event::ReviewJoined(_) => v1::EventType::ReviewJoined,
        Event::CallReleased(_) => v1::EventType::CallReleased,
        Event::CallRefused(_) => v1::EventType::CallRefused,
        Event::LockPlaced(_) => v1::EventType::LockPlaced,
        Event::LockLifted(_) => v1::EventType::LockLifted,
        Event::FeedbackGiven(_) => v1::EventType::FeedbackGiven,
        Event::TokenCreated(_) => v1::EventType::TokenCreated,
        Event::TokenRevoked(_) => v1::EventType::TokenRevoked,
        _ => v1::EventType::Unspecified,
    }
}

/// The id of the call that such an event is about.
pub(super) fn call_id_of(event: &Event) -> Option<&str> {
    match event {
        Event::ReviewOpened(event) => Some(&event.call_id),
        Event::ReviewJoined(event) => Some(&event.call_id),
        Event::CallReleased(event) => Some(&event.call_id),
        Event::CallRefused(event) => Some(&event.call_id),
        Event::FeedbackGiven(event) => Some(&event.call_id),
        _ => None,
    }
}

/// Who caused such an event.
pub(super) fn actor_of(event: &Event) -> &str {
    match event {
        Event::VoteCast(event) => &event.vote.reviewer,
        Event::ReviewDelegated(event) => &event.actor,
        Event::LockPlaced(event) => &event.lock.actor,
        Event::LockLifted(event) => &event.actor,
        Event::FeedbackGiven(event) => &event.actor,
        Event::TokenCreated(event) => &event.actor,
        Event::TokenRevoked(event) => &event.actor,
        _ => "askance",
    }
}

/// Such an event's own message.
pub(super) fn data(
    event: Event,
    position: u64,
    stream: &StreamId,
    at: Timestamp,
    partition: u32,
) -> Option<Data> {
    let id = |review| review_id(partition as usize, review);
    Some(match event {
        Event::ReviewOpened(event) => {
            let review = review::opened(event, position, stream, at, partition);
            Data::ReviewOpened(v1::ReviewOpened { review: Some(review) })
        }
        Event::VoteCast(event) => Data::VoteCast(v1::VoteCast {
            review_id: id(event.review),
            vote: Some(review::vote(&event.vote)),
        }),
        Event::ReviewResolved(event) => Data::ReviewResolved(v1::ReviewResolved {
            review_id: id(event.review),
            state: review::state(event.state).into(),
            reason_code: review::why(event.why).into(),
            reason: event.why.sentence().to_owned(),
            groups: event.groups,
            deadline: event.deadline.map(timestamp),
        }),
        Event::ReviewDelegated(event) => Data::ReviewDelegated(v1::ReviewDelegated {
            review_id: id(event.review),
            delegate: event.delegate,
            group: event.group,
            comment: event.comment,
        }),
        Event::ReviewJoined(event) => {
            Data::ReviewJoined(v1::ReviewJoined { review_id: id(event.review), call_id: event.call_id })
        }
        Event::CallReleased(event) => Data::CallReleased(v1::CallReleased {
            call_id: event.call_id,
            review_id: id(event.review),
            reason_code: review::why(event.why).into(),
            risk: event.risk.into(),
        }),
        Event::CallRefused(event) => Data::CallRefused(v1::CallRefused {
            call_id: event.call_id,
            review_id: id(event.review),
            reason_code: review::why(event.why).into(),
            reason: event.why.sentence().to_owned(),
        }),
        Event::LockPlaced(event) => {
            let mut placed = lock(&event.lock, at);
            placed.position = position;
            Data::LockPlaced(v1::LockPlaced { lock: Some(placed) })
        }
        Event::LockLifted(event) => Data::LockLifted(v1::LockLifted {
            lock_id: event.lock_id,
            reason: event.reason,
            expired: event.expired,
        }),
        Event::FeedbackGiven(event) => Data::FeedbackGiven(v1::FeedbackGiven {
            call_id: event.call_id,
            feedback: review::feedback(event.feedback).into(),
            expect_again: event.expect_again,
            comment: event.comment,
        }),
        Event::TokenCreated(event) => {
            Data::TokenCreated(v1::TokenCreated { token: Some(token(&event.token, at)) })
        }
        Event::TokenRevoked(event) => {
            Data::TokenRevoked(v1::TokenRevoked { token_id: event.token_id, reason: event.reason })
        }
        _ => return None,
    })
}

fn lock(lock: &Lock, placed: Timestamp) -> v1::Lock {
    v1::Lock {
        lock_id: lock.id.clone(),
        tenant: lock.on.tenant.clone(),
        scope: scope(lock.on.scope).into(),
        target: lock.on.target.clone(),
        server: lock.on.server.clone(),
        reason: lock.reason.clone(),
        actor: lock.actor.clone(),
        origin: match lock.origin {
            LockOrigin::Rpc => v1::LockOrigin::Rpc,
            LockOrigin::Signal => v1::LockOrigin::Signal,
            LockOrigin::File => v1::LockOrigin::File,
        }
        .into(),
        place_time: Some(timestamp(placed)),
        expire_time: lock.expires.map(timestamp),
        ..v1::Lock::default()
    }
}

/// A lock as it is now.
pub(in crate::rpc) fn known_lock(known: &KnownLock) -> v1::Lock {
    v1::Lock {
        end_time: known.ended.map(timestamp),
        position: known.position.get(),
        ..lock(&known.lock, known.placed)
    }
}

const fn scope(scope: LockScope) -> v1::LockScope {
    match scope {
        LockScope::Session => v1::LockScope::Session,
        LockScope::Principal => v1::LockScope::Principal,
        LockScope::Tool => v1::LockScope::Tool,
        LockScope::Server => v1::LockScope::Server,
        LockScope::Tenant => v1::LockScope::Tenant,
        LockScope::Everything => v1::LockScope::Everything,
    }
}

/// The scope of a number; none for no or an unknown one.
pub(in crate::rpc) fn scope_of(number: i32) -> Option<LockScope> {
    match v1::LockScope::try_from(number) {
        Ok(v1::LockScope::Session) => Some(LockScope::Session),
        Ok(v1::LockScope::Principal) => Some(LockScope::Principal),
        Ok(v1::LockScope::Tool) => Some(LockScope::Tool),
        Ok(v1::LockScope::Server) => Some(LockScope::Server),
        Ok(v1::LockScope::Tenant) => Some(LockScope::Tenant),
        Ok(v1::LockScope::Everything) => Some(LockScope::Everything),
        Ok(v1::LockScope::Unspecified) | Err(_) => None,
    }
}

fn token(token: &Token, created: Timestamp) -> v1::Token {
    v1::Token {
        token_id: token.id.clone(),
        subject: token.subject.clone(),
        role: role(token.role).into(),
        groups: token.groups.clone(),
        tenants: token.tenants.clone(),
        create_time: Some(timestamp(created)),
        expire_time: token.expires.map(timestamp),
        aliases: token.aliases.clone(),
        ..v1::Token::default()
    }
}

/// A token as it is now, and when it was used last.
pub(in crate::rpc) fn known_token(known: &KnownToken, last_use: Option<Timestamp>) -> v1::Token {
    v1::Token {
        revoke_time: known.revoked.map(timestamp),
        last_use_time: last_use.map(timestamp),
        ..token(&known.token, known.created)
    }
}

/// What a credential may do.
pub(in crate::rpc) const fn role(role: Role) -> v1::Role {
    match role {
        Role::Gateway => v1::Role::Gateway,
        Role::Reviewer => v1::Role::Reviewer,
        Role::Operator => v1::Role::Operator,
        Role::Auditor => v1::Role::Auditor,
    }
}

/// The role of a number; none for no or an unknown one.
pub(in crate::rpc) fn role_of(number: i32) -> Option<Role> {
    match v1::Role::try_from(number) {
        Ok(v1::Role::Gateway) => Some(Role::Gateway),
        Ok(v1::Role::Reviewer) => Some(Role::Reviewer),
        Ok(v1::Role::Operator) => Some(Role::Operator),
        Ok(v1::Role::Auditor) => Some(Role::Auditor),
        Ok(v1::Role::Unspecified) | Err(_) => None,
    }
}
