//! The whole state of a partition, folded from its log by one pure function.

use super::access::Access;
use super::locks::Locks;
use super::made::Made;
use super::names::Name;
use super::reviews::{Held, Reviews};
use super::session::Session;
use super::tenant::Tenant;
use crate::detector::learn::tool_key;
use crate::detector::reading::Origin as ReadFrom;
use crate::detector::time_of_day::PassedHour;
use crate::domain::call::{CallFeatures, Origin, OutcomeStatus};
use crate::domain::decision::{Assessment, Verdict};
use crate::domain::event::{
    CallCompleted, CallDecided, CallProposed, Event, LogCreated, ModelAdopted, Recorded, SessionClosed,
    SessionOpened, SessionUnlearned, ToolDefined,
};
use crate::domain::position::{Position, Revision};
use crate::domain::stream::StreamId;
use crate::domain::time::{DAY_US, Timestamp};
use crate::stats::edetector::FINDING;
use crate::stats::fingerprint::FingerprintKey;
use crate::stats::millibits::MilliBits;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Version of the fold and the scoring: a snapshot of another version is not used, and a replay of
/// decisions of another version is not compared.
pub const STATE_VERSION: u32 = 9;
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
    /// Sessions that teach nothing.
    unlearned: BTreeSet<StreamId>,
    model: Option<ModelAdopted>,
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
    imported: bool,
    made: Made,
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
            unlearned: BTreeSet::new(),
            model: None,
            reviews: Reviews::default(),
            locks: Locks::default(),
            access: Access::default(),
            asked: None,
            learning_stopped: false,
        }
    }

    /// The state before the first record, of a fold in which these sessions teach nothing.
    pub fn without(unlearned: BTreeSet<StreamId>) -> Self {
        Self { unlearned, ..Self::empty() }
    }

    /// Sessions that teach nothing.
    pub const fn unlearned(&self) -> &BTreeSet<StreamId> {
        &self.unlearned
    }

    /// The fitted model in use.
    pub const fn model(&self) -> Option<&ModelAdopted> {
        self.model.as_ref()
    }

    /// Takes what is learnt of a tenant from another fold of the same log.
    pub fn relearn(&mut self, tenant: &str, mut from: Self) {
        if let (Some(known), Some(learnt)) = (self.tenants.get_mut(tenant), from.tenants.remove(tenant)) {
            known.models = learnt.models;
        }
    }

    /// From now on, sessions that close teach nothing: for evaluations.
    pub const fn stop_learning(&mut self) {
        self.learning_stopped = true;
    }

    /// Shares what a snapshot holds more than once.
    pub(super) fn share_names(&mut self) {
        let key = self.key();
        let hash = |name: &Name| tool_hash(&key, name.server(), name.tool());
        self.tenants.values_mut().for_each(|tenant| tenant.share_names(&hash));
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

    /// [`State::apply`] for whoever has no use for the record afterwards: takes a call's features out of it.
    pub fn take(&mut self, recorded: &mut Recorded) {
        let features = match &mut recorded.record.event {
            Event::CallProposed(event) if !recorded.record.stream.is_none() => {
                std::mem::take(&mut event.features)
            }
            _ => return self.apply(recorded),
        };
        if let Event::CallProposed(event) = &recorded.record.event {
            self.position = recorded.position;
            self.call_proposed(event, recorded, features);
        }
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
            Event::CallProposed(event) => self.call_proposed(event, recorded, event.features.clone()),
            Event::CallDecided(event) => self.call_decided(event, recorded),
            Event::CallCompleted(event) => self.call_completed(event, recorded),
            Event::BudgetSet(event) => self.tenant_mut(&event.tenant).budget.set(event),
            Event::SessionUnlearned(event) => self.session_unlearned(event),
            Event::ModelAdopted(event) => self.model = Some(event.clone()),
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
            Event::PolicyWithdrawn(event) => {
                self.tenant_mut(&event.tenant).policies.revision = Position::ZERO;
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
            self.tenants.insert(name.to_owned(), Tenant::new(self.hash_key));
        }
        self.tenants.get_mut(name).expect("it was just put there")
    }

    fn session_opened(&mut self, event: &SessionOpened, recorded: &Recorded) {
        let principal = event.principal_chain.last().map_or("", String::as_str);
        let gap_key = gap_key(&self.key(), principal, &event.client);
        let record = &recorded.record;
        let root = self.root_of(&event.tenant, record.stream, event.parent);
        let mut session = Session::new(recorded, event.session_id.clone(), event.source, principal);
        (session.gap_key, session.parent, session.root) = (gap_key, event.parent, root);
        let tenant = self.tenant_mut(&event.tenant);
        tenant.budget.advance(record.event_time);
        tenant.budget.session_opened();
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
        let teaches = !self.learning_stopped && !self.unlearned.contains(&recorded.record.stream);
        let tenant = self.tenant_mut(&event.tenant);
        tenant.evicted_sessions += u64::from(event.reason == crate::domain::event::CloseReason::Evicted);
        if let Some(session) = tenant.sessions.close(&recorded.record.stream) {
            let lesson = session.lesson.lesson();
            let day = lesson.calls.last().map_or(0, |call| call.day);
            let calls = u32::try_from(lesson.tools.len()).unwrap_or(u32::MAX);
            if teaches && !session.rejected && tenant.carried.may_teach(lesson.principal, day, calls) {
                tenant.models.learn(&lesson, &session.reading);
            }
        }
    }

    /// A reviewer approved a call of a live session: what was odd about it is muted there for an hour.
    pub fn approved(&mut self, tenant: &str, stream: &StreamId, assessment: &Assessment, at: Timestamp) {
        if let Some(session) = self.tenant_mut(tenant).sessions.get_mut(stream) {
            session.approve(assessment, at);
        }
    }

    /// A person said that calls like this one are to be expected again.
    pub fn expected_again(&mut self, tenant: &str, features: &CallFeatures) {
        self.tenant_mut(tenant).models.expect(features);
    }

    /// A reviewer rejected a call of a live session: the session teaches nothing.
    pub fn rejected(&mut self, tenant: &str, stream: &StreamId) {
        if let Some(session) = self.tenant_mut(tenant).sessions.get_mut(stream) {
            session.reject();
        }
    }

    /// Whoever folds takes the statistics from a fold without the session next: see [`State::relearn`].
    fn session_unlearned(&mut self, event: &SessionUnlearned) {
        self.unlearned.insert(event.session);
        if let Some(session) = self.tenant_mut(&event.tenant).sessions.get_mut(&event.session) {
            session.reject();
        }
    }

    /// Whether what is allowed in this session may teach.
    pub(super) fn teaches(&self, stream: &StreamId) -> bool {
        self.unlearned.is_empty() || !self.unlearned.contains(stream)
    }

    fn tool_defined(&mut self, event: &ToolDefined, recorded: &Recorded) {
        let key = tool_hash(&self.key(), &event.server, &event.tool);
        let words_key = self.key().for_words();
        self.tenant_mut(&event.tenant).inventory.define(key, event, &words_key, recorded.position);
    }

    fn call_proposed(&mut self, event: &CallProposed, recorded: &Recorded, features: CallFeatures) {
        let record = &recorded.record;
        let tenant = self.tenant_mut(&event.tenant);
        tenant.clock = tenant.clock.max(record.event_time);
        tenant.budget.advance(record.event_time);
        tenant.models.attempt(&features);
        if let Some(session) = tenant.sessions.propose(&record.stream, record.revision, record.event_time) {
            session.calls += 1;
            if let Some(request) = session.reading.request_with(&features.words.request) {
                let wanted = tenant.models.results().wanted(&request);
                session.reading.ask(request, wanted);
            }
        }
        let (call, name) =
            (call_number(recorded), tenant.names.name(features.tool, &event.server, &event.tool));
        self.proposed = Some(Proposed {
            call,
            turn: event.turn,
            imported: event.origin == Origin::Imported,
            made: Made::new(call, record.event_time, name, &features),
            features,
        });
    }

    fn call_decided(&mut self, event: &CallDecided, recorded: &Recorded) {
        let Some(proposed) = self.proposed.take() else { return };
        let record = &recorded.record;
        let decision = &event.decision;
        let learns = !self.learning_stopped;
        let teaches = self.teaches(&record.stream);
        let tenant = self.tenant_mut(&event.tenant);
        tenant.verdicts[decision.verdict as usize] += 1;
        if decision.verdict == Verdict::Allow {
            tenant.policies.used(&decision.rule_id);
        }
        let touched =
            tenant.sessions.touch(&record.stream, recorded.position, record.revision, record.event_time);
        let first = touched.as_ref().is_some_and(|session| session.verdicts[Verdict::Review as usize] == 0);
        if learns {
            tenant.budget.note(decision, first, proposed.imported);
            let evidence = MilliBits::new(decision.account.principal_evidence);
            let evidence = if evidence >= FINDING { MilliBits::ZERO } else { evidence };
            let features = &proposed.features;
            tenant.carried.set_evidence(features.principal, day_of(features.at), evidence);
        }
        let Some(session) = touched else { return };
        if session.on_account(decision) {
            tenant.budget.session_held();
        }
        session.verdicts[decision.verdict as usize] += 1;
        session.risk_max = session.risk_max.max(decision.assessment.risk);
        let Proposed { call, turn, features, imported, made } = proposed;
        session.seen = session.seen.with(features.capabilities);
        session.tools = [features.tool, session.tools[0]];
        if decision.answer() == Verdict::Review {
            session.lesson.doubt(&decision.assessment);
            tenant.models.doubt(&features, &decision.assessment);
        }
        // Only what was let through is learnt; in observe mode everything was.
        match decision.answer() {
            Verdict::Allow => {
                // Where nothing is enforced, what a floor fired on passes too; it must not become usual by that.
                let unfloored = imported || decision.assessment.floors == 0;
                if teaches && unfloored && !session.rejected {
                    session.lesson.note(call, &features, &decision.assessment);
                }
                let values = features.arguments.iter().map(|argument| argument.value);
                let origin =
                    ReadFrom { tool: tool_key(features.tool), turn, capabilities: features.capabilities };
                session.reading.called(call, origin, values);
                let base = decision.category.base_risk();
                session.passed_hour = PassedHour::after(session.passed_hour, &features, base);
                if teaches {
                    tenant.models.allowed(&features);
                }
                tenant.remember(record.stream, &made);
            }
            Verdict::Deny => session.deny(features.tool),
            Verdict::Review => {}
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
                // What its session's trail has forgotten, those of its tree and principal have forgotten, too.
                if let Some(principal) = session.trail.bring(call, &event.brought) {
                    tenant.trees.bring(&session.root, call, &event.brought);
                    tenant.principals.bring(&principal, call, &event.brought);
                }
            }
            None => self.closed.set(record.stream, record.revision),
        }
    }
}

/// The day of a call, days since 1970, UTC; 0: it has no time.
fn day_of(at: Option<Timestamp>) -> i32 {
    at.map_or(0, |at| i32::try_from(at.as_micros().div_euclid(DAY_US)).unwrap_or(0))
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
