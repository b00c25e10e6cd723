//! What the tests of this folder share: a state, a policy, and calls that go all the way through it.

use super::ingest::{Ingest, RawCall};
use super::{InferenceCache, Settings, housekeep, judge, resolve, set_budget, stream_of};
use crate::domain::call::SessionSource;
use crate::domain::decision::{Decision, Mode};
use crate::domain::event::{Event, LogCreated, Payload, Pending, Recorded};
use crate::domain::mask::Masker;
use crate::domain::{CallKey, Position, Revision, StreamId, Timestamp};
use crate::policy::{Defaults, Effect, Policy, Thresholds};
use crate::projection::{State, Tenant};

/// A call to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) principal: &'a str,
    pub(crate) session: &'a str,
    pub(crate) tool: &'a str,
    pub(crate) arguments: &'a str,
    /// Microseconds since 1970.
    pub(crate) at: i64,
    pub(crate) offset: i32,
}

/// An engine without threads and disk.
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) settings: Settings,
    pub(crate) log: Vec<Recorded>,
    pub(crate) policy: Policy,
    ingest: Ingest,
    inferences: InferenceCache,
    calls: u64,
}

pub(crate) const TENANT: &str = "default";

/// A policy of one effect.
pub(crate) fn policy(effect: Effect, mode: Mode) -> Policy {
    let defaults = Defaults { low: effect, medium: effect, high: effect, critical: effect };
    Policy::new(mode, defaults, Thresholds::default(), Vec::new()).unwrap()
}

impl World {
    /// Everything is allowed unless evidence says otherwise.
    pub(crate) fn new() -> Self {
        let state = State::empty();
        let mut world = Self {
            ingest: Ingest {
                key: state.key(),
                masker: Masker::new([0; 32]),
                session_order: SessionSource::ALL.to_vec(),
            },
            state,
            settings: Settings::default(),
            log: Vec::new(),
            policy: policy(Effect::Allow, Mode::Enforce),
            inferences: InferenceCache::default(),
            calls: 0,
        };
        let created = LogCreated { log_id: [1; 16], hash_key: [2; 16], partition: 0, partitions: 1 };
        let start = Timestamp::from_micros(0);
        world.take_up(Pending {
            stream: StreamId::NONE,
            revision: Revision::ZERO.next(),
            event_time: start,
            receive_time: start,
            call: CallKey::NONE,
            causation: Position::ZERO,
            event: Event::LogCreated(created),
            payload: Payload::default(),
        });
        world.ingest.key = world.state.key();
        world
    }

    /// Decides a call and takes it up.
    pub(crate) fn call(&mut self, told: &Told<'_>) -> Decision {
        let now = Timestamp::from_micros(told.at);
        self.calls += 1;
        let call_id = format!("call-{}", self.calls);
        let chain = [told.principal.to_owned()];
        let raw = RawCall {
            call_id: &call_id,
            tool: told.tool,
            server: "s",
            principal_chain: &chain,
            arguments: told.arguments.as_bytes(),
            session_id: told.session,
            utc_offset_minutes: Some(told.offset),
            ..RawCall::default()
        };
        let call = self.ingest.call(&raw, now).unwrap();
        for closing in housekeep(&self.state, TENANT, now, now, &self.settings) {
            self.take_up(closing);
        }
        let mut resolved = resolve(&self.state, &call, &self.settings, &mut |_| Revision::ZERO);
        if let Some(opened) = resolved.opened.take() {
            self.take_up(opened);
        }
        if let Some(budget) = set_budget(&self.state, TENANT, now, &self.settings) {
            self.take_up(budget);
        }
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.calls.to_le_bytes());
        let Self { state, policy, settings, inferences, .. } = self;
        let aids = super::Aids { inferences, schema_fault: &mut |_, _| String::new() };
        let judged = judge(state, call, CallKey::from_bytes(key), resolved.stream, policy, settings, aids);
        let Event::CallDecided(decided) = &judged.decided.event else { panic!("not decided") };
        let decision = decided.decision.clone();
        self.take_up(judged.proposed);
        self.take_up(judged.decided);
        decision
    }

    /// Ends a session.
    pub(crate) fn end(&mut self, principal: &str, session: &str, at: i64) {
        let stream = self.stream(principal, session);
        let now = Timestamp::from_micros(at);
        if let Some(ended) = super::end_session(&self.state, TENANT, &stream, "", now) {
            self.take_up(ended);
        }
    }

    pub(crate) fn stream(&self, principal: &str, session: &str) -> StreamId {
        stream_of(&self.state.key(), TENANT, principal, SessionSource::Explicit, session)
    }

    pub(crate) fn tenant(&self) -> &Tenant {
        self.state.tenant(TENANT).unwrap()
    }

    pub(crate) fn take_up(&mut self, pending: Pending) {
        let recorded = Recorded { position: self.state.position.next(), record: pending };
        self.state.apply(&recorded);
        self.log.push(recorded);
    }
}
