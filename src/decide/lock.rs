//! Locks: placing, lifting, running out, and which one a call meets. Also the making and revoking of tokens,
//! which is as simple.

use crate::domain::decision::{Decision, Reason, Verdict};
use crate::domain::event::{
    CallProposed, Event, LockLifted, LockPlaced, Payload, Pending, TokenCreated, TokenRevoked,
};
use crate::domain::identity::TOKENS_MAX;
use crate::domain::lock::{LOCKS_MAX, Lock, LockOrigin, LockScope};
use crate::domain::position::Position;
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::projection::{KnownLock, State, Subject};

/// The lock that covers a proposed call, if one does.
pub fn lock_on_call<'s>(
    state: &'s State,
    stream: StreamId,
    proposed: &CallProposed,
    now: Timestamp,
) -> Option<&'s KnownLock> {
    if state.locks.is_empty() {
        return None;
    }
    let sessions = state.nesting(&proposed.tenant, stream);
    let subject = Subject {
        tenant: &proposed.tenant,
        sessions: &sessions,
        principal_chain: &proposed.principal_chain,
        server: &proposed.server,
        tool: &proposed.tool,
    };
    state.locks.covering(&subject, now)
}

/// A decision under a lock: denied, whatever the mode. The panic button binds in observe mode too.
pub fn under_lock(mut decision: Decision, scope: LockScope) -> Decision {
    decision.verdict = Verdict::Deny;
    decision.enforced = true;
    decision.counted = false;
    decision.rule_id = String::new();
    decision.reason = match scope {
        LockScope::Session => Reason::SessionLocked,
        LockScope::Principal => Reason::PrincipalLocked,
        LockScope::Tool => Reason::ToolLocked,
        LockScope::Server => Reason::ServerLocked,
        LockScope::Tenant | LockScope::Everything => Reason::TenantLocked,
    };
    decision
}

/// Why a lock or token was not made, lifted or revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such lock or token.
    Unknown,
    /// The sentinel file that placed the lock is still there.
    FileStillThere,
    /// There are as many as there can be.
    Full(usize),
}

/// The event that places a lock; none if the very same holds already, whose id is told.
pub fn place(state: &State, lock: Lock, now: Timestamp) -> Result<Result<Event, String>, Fault> {
    let same = state.locks.same(&lock.on, now).filter(|same| same.lock.origin == lock.origin);
    if let Some(same) = same
        && (same.lock.expires == lock.expires || same.lock.expires.is_none())
    {
        return Ok(Err(same.lock.id.clone()));
    }
    if state.locks.len() >= LOCKS_MAX {
        return Err(Fault::Full(LOCKS_MAX));
    }
    Ok(Ok(Event::LockPlaced(LockPlaced { lock })))
}

/// The event that lifts a lock; none if it has ended already.
pub fn lift(
    state: &State,
    id: &str,
    reason: String,
    actor: String,
    by: LockOrigin,
) -> Result<Option<Event>, Fault> {
    let known = state.locks.get(id).ok_or(Fault::Unknown)?;
    if known.ended.is_some() {
        return Ok(None);
    }
    if known.lock.origin == LockOrigin::File && by != LockOrigin::File {
        return Err(Fault::FileStillThere);
    }
    let tenant = known.lock.on.tenant.clone();
    Ok(Some(Event::LockLifted(LockLifted { tenant, lock_id: id.to_owned(), reason, actor, expired: false })))
}

/// The event of a lock that ran out.
pub fn ran_out(known: &KnownLock) -> Event {
    Event::LockLifted(LockLifted {
        tenant: known.lock.on.tenant.clone(),
        lock_id: known.lock.id.clone(),
        reason: "its time is over".to_owned(),
        actor: "askance".to_owned(),
        expired: true,
    })
}

/// The event that makes a token.
pub fn create_token(state: &State, event: TokenCreated) -> Result<Event, Fault> {
    if state.access.len() >= TOKENS_MAX {
        return Err(Fault::Full(TOKENS_MAX));
    }
    Ok(Event::TokenCreated(event))
}

/// The event that revokes a token; none if it was revoked before.
pub fn revoke_token(state: &State, event: TokenRevoked) -> Result<Option<Event>, Fault> {
    let known = state.access.get(&event.token_id).ok_or(Fault::Unknown)?;
    Ok(known.revoked.is_none().then_some(Event::TokenRevoked(event)))
}

/// An event of the partition's own stream.
pub fn own(state: &State, event: Event, now: Timestamp) -> Pending {
    Pending {
        stream: StreamId::NONE,
        revision: state.own_revision.next(),
        event_time: now,
        receive_time: now,
        call: CallKey::NONE,
        causation: Position::ZERO,
        event,
        payload: Payload::default(),
    }
}
