//! Locks: placing, lifting, listing, watching.

use super::access::check_text;
use super::convert::oversight::{known_lock, scope_of};
use super::convert::{span, stream_of_key, timestamp};
use super::feed::{Feed, Found};
use super::identity::Identity;
use super::page::{Tokens, size};
use super::shared::{Shared, tenant_of};
use super::status::Failure;
use crate::decide::ingest::check_name;
use crate::domain::hex::hex;
use crate::domain::lock::{EVERY_SERVER, Lock, LockOrigin, LockScope, LockTarget, REASON_BYTES_MAX};
use crate::domain::time::Timestamp;
use crate::engine::{Interest, Lifting, Notice};
use crate::projection::{KnownLock, State};
use crate::proto::v1::{self, watch_locks_response::Update};
use std::sync::Arc;

/// Places a lock.
pub(super) async fn place(
    shared: &Shared,
    request: v1::PlaceLockRequest,
    identity: &Identity,
) -> Result<v1::PlaceLockResponse, Failure> {
    let on = target(&request)?;
    identity.must_see(&on.tenant)?;
    check_reason(&request.reason)?;
    let mut faults = Vec::new();
    let ttl = span("ttl", request.ttl.as_ref(), &mut faults);
    if !faults.is_empty() {
        return Err(Failure::invalid(faults));
    }
    let engine = &shared.engine;
    let expires = ttl.map(|ttl| {
        let us = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        engine.deadline_now().plus_micros(us)
    });
    if ttl.is_some_and(|ttl| ttl.is_zero()) {
        return Err(Failure::field("ttl", "is zero; leave it out for a lock until it is lifted"));
    }
    let lock = Lock {
        id: lock_id()?,
        on,
        reason: request.reason,
        actor: identity.actor(),
        origin: LockOrigin::Rpc,
        expires,
    };
    let placed = engine.place_lock(&lock).await?;
    Ok(v1::PlaceLockResponse { lock: Some(known_lock(&placed.lock)), reviews_cancelled: placed.cancelled })
}

/// A new lock's id.
fn lock_id() -> Result<String, Failure> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|fault| Failure::internal(&fault.to_string()))?;
    Ok(format!("lk_{}", hex(&random)))
}

fn check_reason(reason: &str) -> Result<(), Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::field("reason", "is missing; say why, 1 to 1,024 bytes"));
    }
    check_text("reason", reason, REASON_BYTES_MAX)
}

fn target(request: &v1::PlaceLockRequest) -> Result<LockTarget, Failure> {
    let Some(scope) = scope_of(request.scope) else {
        return Err(Failure::field("scope", "is missing or unknown"));
    };
    check_name("tenant", &request.tenant, false).map_err(Failure::invalid)?;
    check_name("server", &request.server, false).map_err(Failure::invalid)?;
    let named = !matches!(scope, LockScope::Tenant | LockScope::Everything);
    check_name("target", &request.target, named).map_err(Failure::invalid)?;
    if !named && !request.target.is_empty() {
        return Err(Failure::field("target", "must be empty for this scope"));
    }
    if scope != LockScope::Tool && !request.server.is_empty() {
        return Err(Failure::field("server", "is for the scope TOOL only"));
    }
    if scope == LockScope::Everything && !request.tenant.is_empty() {
        return Err(Failure::field("tenant", "must be empty for EVERYTHING"));
    }
    if scope == LockScope::Session && stream_of_key(&request.target).is_none() {
        return Err(Failure::field("target", "is not a session key, 32 hex digits"));
    }
    let tenant = if scope == LockScope::Everything { "" } else { tenant_of(&request.tenant) };
    let target = if scope == LockScope::Session {
        request.target.to_ascii_lowercase()
    } else {
        request.target.clone()
    };
    // Who stops a tool without naming its server means the tool.
    let server = match request.server.as_str() {
        "" if scope == LockScope::Tool => EVERY_SERVER,
        named => named,
    };
    Ok(LockTarget { tenant: tenant.to_owned(), scope, target, server: server.to_owned() })
}

/// Lifts a lock.
pub(super) async fn lift(
    shared: &Shared,
    request: v1::LiftLockRequest,
    identity: &Identity,
) -> Result<v1::LiftLockResponse, Failure> {
    check_name("lock_id", &request.lock_id, true).map_err(Failure::invalid)?;
    check_reason(&request.reason)?;
    let lifting =
        Lifting { id: request.lock_id, reason: request.reason, actor: identity.actor(), by: LockOrigin::Rpc };
    let lifted = shared.engine.lift_lock(&lifting).await?;
    Ok(v1::LiftLockResponse { lock: Some(known_lock(&lifted)) })
}

/// Which locks somebody wants to see.
#[derive(Clone, Debug)]
struct Wanted {
    tenant: String,
    identity: Arc<Identity>,
}

impl Wanted {
    fn admits(&self, known: &KnownLock) -> bool {
        let tenant = &known.lock.on.tenant;
        tenant.is_empty() || (self.tenant.is_empty() || *tenant == self.tenant) && self.identity.sees(tenant)
    }
}

/// Lists locks, newest first.
pub(super) async fn list(
    shared: &Shared,
    request: v1::ListLocksRequest,
    identity: Arc<Identity>,
) -> Result<v1::ListLocksResponse, Failure> {
    if !request.tenant.is_empty() {
        identity.must_see(&request.tenant)?;
    }
    let page = size(request.page_size, 50, 1_000);
    let token = request.page_token.clone();
    let filters = v1::ListLocksRequest { page_token: String::new(), page_size: 0, ..request.clone() };
    let tokens = Tokens::new(shared.engine.key(""), "locks", &filters);
    let skip = if token.is_empty() { 0 } else { tokens.open_number("page_token", &token)? };
    let wanted = Wanted { tenant: request.tenant, identity };
    let ended = request.include_ended;
    let all = shared.engine.ask_all(move |state| listed(state, &wanted, ended)).await?;
    let mut locks: Vec<KnownLock> = Vec::new();
    for known in all.into_iter().flatten().flatten() {
        // A lock on everything is in every partition.
        if !locks.iter().any(|other| other.lock.id == known.lock.id) {
            locks.push(known);
        }
    }
    locks.sort_by_key(|known| std::cmp::Reverse((known.placed, known.position)));
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let more = locks.len() > skip.saturating_add(page);
    let shown = locks.iter().skip(skip).take(page).map(known_lock).collect();
    let next_page_token = if more { tokens.seal_number((skip + page) as u64) } else { String::new() };
    Ok(v1::ListLocksResponse { locks: shown, next_page_token })
}

fn listed(state: &State, wanted: &Wanted, ended: bool) -> Vec<KnownLock> {
    let held = state.locks.held();
    let over = state.locks.ended().filter(|_| ended);
    held.chain(over).filter(|known| wanted.admits(known)).cloned().collect()
}

/// What a watch of locks shows.
pub(super) struct LockFeed(Wanted);

impl LockFeed {
    /// Of these.
    pub(super) fn new(tenant: String, identity: Arc<Identity>) -> Result<Self, Failure> {
        if !tenant.is_empty() {
            identity.must_see(&tenant)?;
        }
        Ok(Self(Wanted { tenant, identity }))
    }
}

impl Feed for LockFeed {
    type Message = v1::WatchLocksResponse;

    fn interest(&self) -> Interest {
        Interest::Locks
    }

    fn all(&self, state: &State, _: usize, since: Option<u64>, _: Timestamp) -> Found<Self::Message> {
        let held = state.locks.held().filter(|known| self.0.admits(known));
        // Those that ended while nobody looked are told too.
        let over = state.locks.ended().filter(|known| since.is_some() && self.0.admits(known));
        Ok(over.chain(held).map(|known| (known.position.get(), message(known))).collect())
    }

    fn one(&self, change: &Notice, _: usize, _: Timestamp) -> Option<(u64, Self::Message)> {
        let Notice::Lock(known) = change else { return None };
        self.0.admits(known).then(|| (known.position.get(), message(known)))
    }

    fn heartbeat(&self, now: Timestamp, tail_position: u64) -> Self::Message {
        let heartbeat = v1::Heartbeat { send_time: Some(timestamp(now)), tail_position };
        v1::WatchLocksResponse { update: Some(Update::Heartbeat(heartbeat)), ..Default::default() }
    }

    fn with_token(mut message: Self::Message, resume_token: String) -> Self::Message {
        message.resume_token = resume_token;
        message
    }
}

fn message(known: &KnownLock) -> v1::WatchLocksResponse {
    v1::WatchLocksResponse { update: Some(Update::Lock(known_lock(known))), ..Default::default() }
}
