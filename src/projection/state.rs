//! The whole state of a partition, folded from its log by one pure function.

use super::access::Access;
use super::inventory::Inventory;
use super::locks::Locks;
use super::policies::Policies;
use super::reviews::{Held, Reviews};
use super::session::{DENIED_TOOLS_MAX, Session, Sessions};
use super::trail::{Made, Trail, Trails};
use crate::detector::learn::{Lesson, tool_key};
use crate::detector::models::Models;
use crate::detector::reading::{Origin, Reading};
use crate::domain::call::{CallFeatures, OutcomeStatus};
use crate::domain::decision::Verdict;
use crate::domain::event::{
    CallCompleted, CallDecided, CallProposed, Event, LogCreated, Recorded, SessionClosed, SessionOpened,
    ToolDefined,
};
use crate::domain::position::{Position, Revision};
use crate::domain::risk::Capabilities;
use crate::domain::stream::StreamId;
use crate::domain::time::Timestamp;
use crate::stats::fingerprint::FingerprintKey;
use crate::stats::tracker::{Budget, Tracker};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Version of the fold and the scoring: a snapshot of another version is not used, and a replay of
/// decisions of another version is not compared.
pub const STATE_VERSION: u32 = 4;
/// Tenants of a partition.
pub const TENANTS_MAX: usize = 256;
/// Closed sessions whose last revision is kept at hand. More than the log's unindexed records, so that
/// a session that is in neither table is surely in the log's index, or new.
pub(super) const CLOSED_SESSIONS_MAX: usize = 16_384;

/// Everything known as of a position.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The latest record folded in.
    pub position: Position,
    /// Random name of the log.
    pub log_id: [u8; 16],
    /// Key of all hashes.
    hash_key: [u8; 16],
    /// Position of the policy in force; zero: none was adopted yet.
    pub policy_revision: Position,
    /// Digest of the policy in force.
    pub policy_digest: [u8; 32],
    /// Place of the latest event of the partition's own stream.
    pub own_revision: Revision,
    tenants: BTreeMap<String, Tenant>,
    pub(super) closed: ClosedSessions,
    proposed: Option<Proposed>,
    /// Open and settled reviews.
    pub reviews: Reviews,
    /// Locks.
    pub locks: Locks,
    /// Tokens; in partition 0 only.
    pub access: Access,
    /// The call that asked for the review right behind it.
    pub(super) asked: Option<Held>,
    /// Set for an evaluation against what is known now; never in a daemon.
    #[serde(skip)]
    learning_stopped: bool,
}

/// A proposed call that waits for the decision right behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Proposed {
    call: u32,
    turn: Option<u32>,
    features: CallFeatures,
    made: Made,
}

/// What is known of a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// The latest event time seen.
    pub clock: Timestamp,
    /// Its policy and grants.
    pub policies: Policies,
    /// What each principal called lately, by hash.
    pub principals: Trails<u64>,
    /// What was called lately in trees of nested sessions, by their root.
    pub trees: Trails<StreamId>,
    /// Live sessions.
    pub sessions: Sessions,
    /// Registered tools.
    pub inventory: Inventory,
    /// Learnt statistics.
    pub models: Models,
    /// The review threshold.
    pub tracker: Tracker,
    /// Calls decided, by verdict.
    pub verdicts: [u64; 3],
    /// Sessions closed because too many were live.
    pub evicted_sessions: u64,
}

/// Last revisions of sessions closed not long ago, oldest forgotten first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ClosedSessions {
    revisions: BTreeMap<StreamId, Revision>,
    order: VecDeque<StreamId>,
}

impl ClosedSessions {
    pub(super) fn set(&mut self, stream: StreamId, revision: Revision) {
        if self.revisions.insert(stream, revision).is_none() {
            self.order.push_back(stream);
        }
        while self.order.len() > CLOSED_SESSIONS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.revisions.remove(&oldest);
            }
        }
    }
}

impl State {
    /// The state before the first record.
    pub fn empty() -> Self {
        Self {
            position: Position::ZERO,
            log_id: [0; 16],
            hash_key: [0; 16],
            policy_revision: Position::ZERO,
            policy_digest: [0; 32],
            own_revision: Revision::ZERO,
            tenants: BTreeMap::new(),
            closed: ClosedSessions::default(),
            proposed: None,
            reviews: Reviews::default(),
            locks: Locks::default(),
            access: Access::default(),
            asked: None,
            learning_stopped: false,
        }
    }

    /// From now on, sessions that close teach nothing: for evaluations.
    pub const fn stop_learning(&mut self) {
        self.learning_stopped = true;
    }

    /// The key of all hashes of this log.
    pub fn key(&self) -> FingerprintKey {
        FingerprintKey::new(self.hash_key)
    }

    /// A tenant, if it has had an event.
    pub fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.get(name)
    }

    /// All tenants by name.
    pub fn tenants(&self) -> impl Iterator<Item = (&String, &Tenant)> {
        self.tenants.iter()
    }

    /// How many tenants there are.
    pub fn tenants_len(&self) -> usize {
        self.tenants.len()
    }

    /// Position of the policy that a tenant's calls are decided by.
    pub fn policy_revision_of(&self, tenant: &str) -> Position {
        let own = self.tenants.get(tenant).map_or(Position::ZERO, |tenant| tenant.policies.revision);
        if own == Position::ZERO { self.policy_revision } else { own }
    }

    /// The last revision of a stream that is live or was closed not long ago.
    pub fn revision_of(&self, tenant: &str, stream: &StreamId) -> Option<Revision> {
        if stream.is_none() {
            return Some(self.own_revision);
        }
        let live = self.tenants.get(tenant).and_then(|tenant| tenant.sessions.get(stream));
        live.map(|session| session.revision).or_else(|| self.closed.revisions.get(stream).copied())
    }

    /// Folds one record in. Records must come in order of position.
    ///
    /// Never fails: a record that does not fit (a decision without its proposal) changes nothing but the
    /// position, and `verify` reports it.
    pub fn apply(&mut self, recorded: &Recorded) {
        let record = &recorded.record;
        self.position = recorded.position;
        if record.stream.is_none() {
            self.own_revision = record.revision;
        }
        match &record.event {
            Event::LogCreated(event) => self.log_created(event),
            Event::SessionOpened(event) => self.session_opened(event, recorded),
            Event::SessionClosed(event) => self.session_closed(event, recorded),
            Event::ToolDefined(event) => self.tool_defined(event, recorded),
            Event::CallProposed(event) => self.call_proposed(event, recorded),
            Event::CallDecided(event) => self.call_decided(event, recorded),
            Event::CallCompleted(event) => self.call_completed(event, recorded),
            Event::RuleAccepted(event) => {
                let at = recorded.record.receive_time;
                self.tenant_mut(&event.tenant).policies.granted(event, recorded.position, at);
            }
            Event::RuleRevoked(event) => self.tenant_mut(&event.tenant).policies.revoked(event),
            Event::ToolAccepted(event) => {
                let key = tool_hash(&self.key(), &event.server, &event.tool);
                self.tenant_mut(&event.tenant).inventory.accept(key, event);
            }
            Event::PolicyAdopted(event) if !event.tenant.is_empty() => {
                self.tenant_mut(&event.tenant).policies.revision = recorded.position;
            }
            Event::PolicyAdopted(event) => {
                self.policy_revision = recorded.position;
                self.policy_digest = event.digest;
            }
            _ => self.oversee(recorded),
        }
    }

    fn log_created(&mut self, event: &LogCreated) {
        self.log_id = event.log_id;
        self.hash_key = event.hash_key;
    }

    pub(super) fn tenant_mut(&mut self, name: &str) -> &mut Tenant {
        if !self.tenants.contains_key(name) {
            self.tenants.insert(name.to_owned(), Tenant::new());
        }
        self.tenants.get_mut(name).expect("it was just put there")
    }

    fn session_opened(&mut self, event: &SessionOpened, recorded: &Recorded) {
        let principal = event.principal_chain.last().map_or("", String::as_str);
        let gap_key = gap_key(&self.key(), principal, &event.client);
        let record = &recorded.record;
        let root = self.root_of(&event.tenant, record.stream, event.parent);
        let session = Session {
            session_id: event.session_id.clone(),
            source: event.source,
            principal: principal.to_owned(),
            opened_at: recorded.position,
            gap_key,
            parent: event.parent,
            opened: record.event_time,
            active: record.event_time,
            last_position: recorded.position,
            revision: record.revision,
            calls: 0,
            verdicts: [0; 3],
            risk_max: 0,
            seen: Capabilities::NONE,
            tools: [0; 2],
            denied_tools: Vec::new(),
            root,
            trail: Trail::default(),
            reading: Reading::default(),
            lesson: Lesson::default(),
        };
        let tenant = self.tenant_mut(&event.tenant);
        if root != record.stream {
            let start = tenant.sessions.get(&root).map(|root| root.trail.clone()).unwrap_or_default();
            tenant.trees.entry(root, || start);
        }
        tenant.sessions.open(record.stream, session);
    }

    /// The root of a session's tree: its parent's root, the parent itself if that is not live, or itself.
    fn root_of(&self, tenant: &str, stream: StreamId, parent: StreamId) -> StreamId {
        if parent.is_none() {
            return stream;
        }
        let parent_session = self.tenants.get(tenant).and_then(|tenant| tenant.sessions.get(&parent));
        parent_session.map_or(parent, |parent| parent.root)
    }

    fn session_closed(&mut self, event: &SessionClosed, recorded: &Recorded) {
        self.closed.set(recorded.record.stream, recorded.record.revision);
        let learns = !self.learning_stopped;
        let tenant = self.tenant_mut(&event.tenant);
        tenant.evicted_sessions += u64::from(event.reason == crate::domain::event::CloseReason::Evicted);
        if let Some(session) = tenant.sessions.close(&recorded.record.stream)
            && learns
        {
            tenant.models.learn(&session.lesson, &session.reading);
        }
    }

    fn tool_defined(&mut self, event: &ToolDefined, recorded: &Recorded) {
        let key = tool_hash(&self.key(), &event.server, &event.tool);
        let words_key = self.key().for_words();
        self.tenant_mut(&event.tenant).inventory.define(key, event, &words_key, recorded.position);
    }

    fn call_proposed(&mut self, event: &CallProposed, recorded: &Recorded) {
        let record = &recorded.record;
        let features = &event.features;
        let tenant = self.tenant_mut(&event.tenant);
        tenant.clock = tenant.clock.max(record.event_time);
        tenant.models.attempt(features);
        if let Some(session) =
            tenant.sessions.touch(&record.stream, recorded.position, record.revision, record.event_time)
        {
            session.calls += 1;
            if let Some(request) = session.reading.request_with(&features.words.request) {
                let wanted = tenant.models.results().wanted(&request);
                session.reading.ask(request, wanted);
            }
        }
        self.proposed = Some(Proposed {
            call: call_number(recorded),
            turn: event.turn,
            features: features.clone(),
            made: Made::new(call_number(recorded), record.event_time, (&event.server, &event.tool), features),
        });
    }

    fn call_decided(&mut self, event: &CallDecided, recorded: &Recorded) {
        let Some(proposed) = self.proposed.take() else { return };
        let record = &recorded.record;
        let decision = &event.decision;
        let tenant = self.tenant_mut(&event.tenant);
        tenant.verdicts[decision.verdict as usize] += 1;
        if decision.verdict == Verdict::Allow {
            tenant.policies.used(&decision.rule_id);
        }
        if decision.counted {
            let weighed = decision.assessment.evidence + decision.category.weight_millibits();
            tenant.tracker.update(weighed >= decision.threshold);
        }
        let Some(session) =
            tenant.sessions.touch(&record.stream, recorded.position, record.revision, record.event_time)
        else {
            return;
        };
        session.verdicts[decision.verdict as usize] += 1;
        session.risk_max = session.risk_max.max(decision.assessment.risk);
        let Proposed { call, turn, features, made } = proposed;
        session.seen = session.seen.with(features.capabilities);
        session.tools = [features.tool, session.tools[0]];
        // Only what was let through is learnt; in observe mode everything was.
        match decision.answer() {
            Verdict::Allow => {
                session.lesson.note(call, &features, &decision.assessment);
                let values = features.arguments.iter().map(|argument| argument.value);
                let origin =
                    Origin { tool: tool_key(features.tool), turn, capabilities: features.capabilities };
                session.reading.called(call, origin, values);
                tenant.models.allowed(&features);
                tenant.remember(record.stream, made);
            }
            Verdict::Deny if session.denied_tools.len() < DENIED_TOOLS_MAX => {
                session.denied_tools.push(features.tool)
            }
            Verdict::Deny | Verdict::Review => {}
        }
        if decision.answer() == Verdict::Review {
            let assessment = decision.assessment.clone();
            let decided_at = recorded.position;
            self.asked = Some(Held { features, turn, assessment, decided_at });
        }
    }

    fn call_completed(&mut self, event: &CallCompleted, recorded: &Recorded) {
        let record = &recorded.record;
        let tenant = self.tenant_mut(&event.tenant);
        let touched =
            tenant.sessions.touch(&record.stream, recorded.position, record.revision, record.event_time);
        match touched {
            Some(session) if event.status == OutcomeStatus::Abandoned => {
                session.lesson.abandon(call_number(recorded));
            }
            Some(session) => {
                if let (Some(origin), Some(words)) =
                    (session.reading.take(call_number(recorded)), &event.words)
                {
                    tenant.models.results().read(&mut session.reading, origin, words);
                }
                let call = call_number(recorded);
                session.trail.bring(call, &event.brought);
                let (root, made) = (session.root, session.trail.find(call).map(|made| made.principal));
                tenant.trees.bring(&root, call, &event.brought);
                if let Some(principal) = made {
                    tenant.principals.bring(&principal, call, &event.brought);
                }
            }
            None => self.closed.set(record.stream, record.revision),
        }
    }
}

impl Tenant {
    /// Notes a call that was made on the trails of its session, its tree and its principal.
    pub(super) fn remember(&mut self, stream: StreamId, made: Made) {
        let Some(session) = self.sessions.get_mut(&stream) else { return };
        session.trail.push(made.clone());
        let root = session.root;
        if root != stream || self.trees.get(&root).is_some() {
            self.trees.entry(root, Trail::default).push(made.clone());
        }
        self.principals.entry(made.principal, Trail::default).push(made);
    }

    /// A tenant without history.
    pub fn new() -> Self {
        Self {
            clock: Timestamp::from_micros(i64::MIN),
            policies: Policies::default(),
            principals: Trails::default(),
            trees: Trails::default(),
            sessions: Sessions::default(),
            inventory: Inventory::default(),
            models: Models::new(),
            tracker: Tracker::new(Budget::default()),
            verdicts: [0; 3],
            evicted_sessions: 0,
        }
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self::new()
    }
}

fn call_number(recorded: &Recorded) -> u32 {
    let bytes = recorded.record.call.as_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Hash of a tool's full name.
pub fn tool_hash(key: &FingerprintKey, server: &str, tool: &str) -> u64 {
    let hash = key.texts(&["tool", server, tool]);
    // Zero stands for "none" in records and sessions, in the whole and in the models' half.
    if tool_key(hash) == 0 { hash | 1 } else { hash }
}

/// Hash of an acting principal.
pub fn principal_hash(key: &FingerprintKey, principal: &str) -> u64 {
    key.texts(&["principal", principal])
}

/// Hash by which sessions without an id are told apart.
pub fn gap_key(key: &FingerprintKey, principal: &str, client: &str) -> u64 {
    key.texts(&["gap", principal, client])
}
