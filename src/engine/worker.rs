//! The loop that owns a partition's state: drain, order, decide, apply, hand over.

use super::Error;
use super::committer::{Deferred, Group, Shared};
use super::counters::add;
use super::directory;
use super::handover::ClosesHandover;
use super::known::Lookup;
use super::overseer::{Overseer, Reviewed};
use super::partition::{Command, Completed, Decided, Import, Imported, Reply};
use super::registry::{Completion, Known, Registry};
use super::schemas::Schemas;
use crate::decide::observe::KnownCall;
use crate::decide::{self, InferenceCache, Settings};
use crate::domain::call::{Call, Outcome, OutcomeStatus};
use crate::domain::event::{CallCompleted, Event, Pending, Recorded};
use crate::domain::position::{Position, Revision};
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::eventlog::Log;
use crate::policy::Book;
use crate::projection::{State, TENANTS_MAX, Tool};
use crate::stats::fingerprint::FingerprintKey;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;

/// Commands taken from the queue at once.
const DRAIN_MAX: usize = 256;

/// Owns the state of a partition.
pub(super) struct Worker {
    pub(super) state: State,
    pub(super) log: Log,
    pub(super) book: Book,
    pub(super) schemas: Schemas,
    pub(super) settings: Settings,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) handover: ClosesHandover,
    pub(super) registry: Registry,
    pub(super) inferences: InferenceCache,
    pub(super) group: Group,
    pub(super) overseer: Overseer,
}

impl Worker {
    /// Runs until it is told to stop or every handle is gone; hands the state and the last reply back.
    pub(super) fn run(mut self) -> (State, Option<Reply<Position>>) {
        let mut drained = Vec::with_capacity(DRAIN_MAX);
        let mut lookups = Vec::with_capacity(DRAIN_MAX);
        let mut stop = None;
        self.begin_oversight();
        self.hand_over();
        while stop.is_none() && self.commands.blocking_recv_many(&mut drained, DRAIN_MAX) > 0 {
            self.registry.settle(self.log.position());
            self.look_up(&drained, &mut lookups);
            for (command, lookup) in drained.drain(..).zip(&lookups) {
                self.do_urgent();
                match command {
                    Command::Stop(reply) => stop = Some(reply),
                    command => self.handle(command, *lookup),
                }
                let is_idle = || self.group.is_worth_a_sync() && self.handover.0.is_awaited();
                if self.group.is_full() || is_idle() {
                    self.hand_over();
                }
            }
            self.hand_over();
            while self.settle_groundless() && self.commands.is_empty() {
                self.do_urgent();
                self.hand_over();
            }
            self.hand_over();
        }
        (self.state, stop)
    }

    /// Leaves what was decided to the committer. If that has ended, nobody gets an answer any more: the
    /// callers see their answer's sender gone.
    pub(super) fn hand_over(&mut self) {
        self.announce();
        if self.group.is_empty() {
            return;
        }
        match self.handover.0.put(std::mem::take(&mut self.group)) {
            Ok(empty) => self.group = empty,
            Err(_) => tracing::error!("the committer has ended"),
        }
    }

    fn handle(&mut self, command: Command, lookup: Lookup) {
        let reads = matches!(command, Command::Ask(_) | Command::Score(..) | Command::Wake);
        match self.cannot_write() {
            Some(Error::DiskFull(_)) if reads && !self.shared.stalled.load(Ordering::Relaxed) => {}
            Some(error) => return refuse(command, error),
            None => {}
        }
        match command {
            Command::Evaluate(call, reply) => self.evaluate(*call, lookup, None, reply),
            Command::Oversee(oversight) => self.oversee(*oversight),
            Command::Score(call, reply) => self.score(*call, reply),
            Command::Import(import, reply) => self.import(*import, lookup, reply),
            Command::Complete { tenant, call_id, outcome, now, reply } => {
                self.complete(tenant, call_id, *outcome, now, reply);
            }
            Command::DefineTools { tenant, definitions, actor, now, reply } => {
                self.define_tools(&tenant, definitions, (&actor, now), reply);
            }
            Command::EndSession { tenant, stream, actor, now, reply } => {
                let ended = self.end_session(&tenant, &stream, &actor, now);
                self.defer(reply, ended);
            }
            Command::Unlearn { tenant, session, reason, relearning, now, reply } => {
                match self.unlearn(&tenant, session, &reason, *relearning, now) {
                    Ok(position) => self.defer(reply, position),
                    Err(error) => reply(Err(error)),
                }
            }
            Command::AdoptModel { model, now, reply } => self.adopt_model(*model, now, reply),
            Command::Rule(ruling, now, reply) => self.rule(*ruling, now, reply),
            Command::Ask(question) => {
                let answer = question(Ok(&self.state));
                self.group.deferred.push(Deferred::Other(answer));
            }
            Command::Stop(_) | Command::Wake => {}
        }
    }

    /// Decides a call that claims the approval of a review by its id.
    pub(super) fn evaluate_claiming(&mut self, call: Call, review: Position, reply: Reply<Arc<Decided>>) {
        let lookup = Lookup::of(self.call_key(&call.tenant, &call.call_id));
        self.evaluate(call, lookup, Some(review), reply);
    }

    /// Decides a call, or tells the decision on record.
    fn evaluate(&mut self, call: Call, lookup: Lookup, claims: Option<Position>, reply: Reply<Arc<Decided>>) {
        let decided = match self.recorded(lookup, &call) {
            Ok(Some(mut decided)) => {
                add(&self.shared.counters.calls_repeated, 1);
                self.stand(lookup.key, &call.call_id, &mut decided);
                Ok(Arc::new(decided))
            }
            Ok(None) => self.record(lookup.key, call, claims),
            Err(error) => Err(error),
        };
        match decided {
            Ok(decided) => self.group.deferred.push(Deferred::Decided(reply, decided)),
            Err(error) => reply(Err(error)),
        }
    }

    fn import(&mut self, import: Import, lookup: Lookup, reply: Reply<Imported>) {
        let call = import.call;
        let (tenant, call_id, now) = (call.tenant.clone(), call.call_id.clone(), call.receive_time);
        let actor = call.actor.clone();
        let key = lookup.key;
        let (decided, duplicate) = match self.recorded(lookup, &call) {
            Ok(Some(decided)) => (Arc::new(decided), true),
            Err(error) => return reply(Err(error)),
            Ok(None) => match self.record(key, call, None) {
                Ok(decided) => (decided, false),
                Err(error) => return reply(Err(error)),
            },
        };
        if let (Some(outcome), false) = (import.outcome, duplicate) {
            let proposed_at = Position::new(decided.position.get() - 1);
            let known =
                KnownCall { tenant: tenant.clone(), call_id, key, stream: decided.stream, proposed_at };
            self.append_outcome(known, outcome, now);
        }
        if import.ends_session && !duplicate {
            self.end_session(&tenant, &decided.stream, &actor, now);
        }
        self.group
            .deferred
            .push(Deferred::Imported(reply, Imported { position: decided.position, duplicate }));
    }

    /// Decides a call that is not in the log, and takes both events up.
    fn record(&mut self, key: CallKey, call: Call, claims: Option<Position>) -> Result<Arc<Decided>, Error> {
        if self.state.tenant(&call.tenant).is_none() && self.state.tenants_len() >= TENANTS_MAX {
            return Err(Error::TenantsFull(TENANTS_MAX));
        }
        let digest = call.digest;
        add(&self.shared.counters.argument_paths_dropped, call.paths_dropped.into());
        let resolved = self.open_session(&call);
        let source = call.session.source;
        let judged = self.judge(call, key, resolved.stream);
        let state_position = self.state.position;
        let mut decided = decided(&judged, resolved, source, digest, state_position);
        let reviewed = Reviewed::of(&judged.proposed, &decided.decision, claims);
        decided.comment = self.lock_comment(&judged.proposed);
        let decided = Arc::new(decided);
        self.take_up(judged.proposed);
        self.take_up(judged.decided);
        add(&self.shared.counters.calls_decided, 1);
        let proposed_at = state_position.next();
        let stream = decided.stream;
        let known = Known { proposed_at, stream, digest, completed: None, is_completion_known: true };
        self.registry.insert(key, known);
        self.registry.keep(Arc::clone(&decided));
        if let Some(reviewed) = reviewed {
            let mut asked = Decided::clone(&decided);
            self.under_review(&reviewed, &mut asked);
            return Ok(Arc::new(asked));
        }
        Ok(decided)
    }

    fn judge(&mut self, call: Call, key: CallKey, stream: StreamId) -> decide::Judged {
        let Self { state, book, settings, inferences, schemas, log, .. } = self;
        let policy = book.of(&call.tenant);
        let mut misfit = |tool: &Tool, arguments: &[u8]| schemas.fault(log, tool, arguments);
        let aids = decide::Aids { inferences, schema_fault: &mut misfit };
        let judged = decide::judge(state, call, key, stream, policy, settings, aids);
        if let Event::CallDecided(event) = &judged.decided.event {
            let failed = crate::domain::decision::Floor::DetectorFailed.bit();
            let count = u64::from(event.decision.assessment.floors & failed != 0);
            add(&self.shared.counters.detector_failures, count);
        }
        judged
    }

    /// Closes what is over, then finds or opens the call's session.
    fn open_session(&mut self, call: &Call) -> decide::Resolved {
        let (now, _) = decide::event_time(call, &self.settings);
        for closing in decide::housekeep(&self.state, &call.tenant, now, call.receive_time, &self.settings) {
            if let Event::SessionClosed(event) = &closing.event {
                let evicted = event.reason == crate::domain::event::CloseReason::Evicted;
                add(&self.shared.counters.sessions_evicted, evicted.into());
            }
            self.take_up(closing);
        }
        let log = &self.log;
        let mut closed_revision = |stream: &StreamId| last_revision(log, stream);
        let mut resolved = decide::resolve(&self.state, call, &self.settings, &mut closed_revision);
        if let Some(opened) = resolved.opened.take() {
            self.take_up(opened);
        }
        if let Some(budget) = decide::set_budget(&self.state, &call.tenant, call.receive_time, &self.settings)
        {
            self.take_up(budget);
        }
        resolved
    }

    /// Gives an event its position, folds it in, and puts it into the group.
    pub(super) fn take_up(&mut self, pending: Pending) -> Position {
        let recorded = Recorded { position: self.state.position.next(), record: pending };
        let entry = directory::before(&self.state, &recorded);
        self.state.apply(&recorded);
        self.schemas.note(recorded.position, &recorded.record.event);
        if self.book.apply(&recorded.record.event, recorded.record.receive_time).is_err() {
            // It was checked before it was recorded; the next start reads it again and says so.
            tracing::error!(position = recorded.position.get(), "a recorded rule is not accepted");
        }
        if matches!(recorded.record.event, Event::PolicyAdopted(_)) {
            self.shared.set_mode(self.book.of("").mode);
        }
        self.overseer.note(&recorded);
        self.group.directory.extend(entry.or_else(|| directory::after(&self.state, &recorded)));
        self.group.push(recorded);
        self.state.position
    }

    fn score(&mut self, call: Call, reply: Reply<Arc<Decided>>) {
        let digest = call.digest;
        let key = self.call_key(&call.tenant, &call.call_id);
        let log = &self.log;
        let mut closed_revision = |stream: &StreamId| last_revision(log, stream);
        let resolved = decide::resolve(&self.state, &call, &self.settings, &mut closed_revision);
        let source = call.session.source;
        let judged = self.judge(call, key, resolved.stream);
        let mut decided = decided(&judged, resolved, source, digest, self.state.position);
        decided.position = Position::ZERO;
        self.group.deferred.push(Deferred::Decided(reply, Arc::new(decided)));
    }

    fn complete(
        &mut self,
        tenant: String,
        call_id: String,
        outcome: Outcome,
        now: Timestamp,
        reply: Reply<Completed>,
    ) {
        let key = self.call_key(&tenant, &call_id);
        let fingerprint = outcome_fingerprint(&outcome);
        let known = match self.known(Lookup::of(key)) {
            Ok(Some(known)) => known,
            Ok(None) => return reply(Err(Error::NotFound(format!("call_id `{call_id}`")))),
            Err(error) => return reply(Err(error)),
        };
        let completed = if known.is_completion_known {
            Ok(known.completed)
        } else {
            super::query::completion(&self.log, &known, &key)
        };
        let completed = match completed {
            Ok(completed) => completed,
            Err(error) => return reply(Err(error)),
        };
        match completed {
            Some(earlier) if earlier.fingerprint == fingerprint => {
                return self.defer(reply, Completed { position: earlier.position, repeated: true });
            }
            Some(_) => return reply(Err(Error::OutcomeTaken(call_id))),
            None => {}
        }
        let known = KnownCall { tenant, call_id, key, stream: known.stream, proposed_at: known.proposed_at };
        let position = self.append_outcome(known, outcome, now);
        self.defer(reply, Completed { position, repeated: false });
    }

    fn append_outcome(&mut self, known: KnownCall, outcome: Outcome, now: Timestamp) -> Position {
        let key = known.key;
        let fingerprint = outcome_fingerprint(&outcome);
        let last = self.last_of(&known.tenant, &known.stream);
        let position = self.take_up(decide::complete(known, outcome, last, now));
        self.registry.complete(&key, Completion { fingerprint, position });
        position
    }

    /// The last revision of a session's stream.
    pub(super) fn last_of(&self, tenant: &str, stream: &StreamId) -> Revision {
        let at_hand = self.state.revision_of(tenant, stream);
        at_hand.unwrap_or_else(|| last_revision(&self.log, stream))
    }

    fn end_session(
        &mut self,
        tenant: &str,
        stream: &StreamId,
        actor: &str,
        now: Timestamp,
    ) -> Option<Position> {
        let is_live = self.state.tenant(tenant).is_some_and(|tenant| tenant.sessions.get(stream).is_some());
        if is_live {
            // First: the end is the last word of a session's stream.
            self.cancel_of_session(stream);
        }
        let ended = decide::end_session(&self.state, tenant, stream, actor, now)?;
        Some(self.take_up(ended))
    }

    pub(super) fn defer<T: Send + 'static>(&mut self, reply: Reply<T>, value: T) {
        let settle = Box::new(move |outcome: Result<(), Error>| reply(outcome.map(|()| value)));
        self.group.deferred.push(Deferred::Other(settle));
    }

    pub(super) fn call_key(&self, tenant: &str, call_id: &str) -> CallKey {
        super::query::call_key(&self.state.key(), tenant, call_id)
    }
}

/// The last revision of a stream in the log; zero if it has none.
fn last_revision(log: &Log, stream: &StreamId) -> Revision {
    log.stream_last(*stream).ok().flatten().map_or(Revision::ZERO, |(revision, _)| revision)
}

fn decided(
    judged: &decide::Judged,
    resolved: decide::Resolved,
    source: crate::domain::call::SessionSource,
    digest: crate::domain::call::Digest,
    state_position: Position,
) -> Decided {
    let (Event::CallProposed(proposed), Event::CallDecided(event)) =
        (&judged.proposed.event, &judged.decided.event)
    else {
        unreachable!("`judge` makes a proposal and a decision");
    };
    Decided {
        decision: event.decision.clone(),
        position: state_position.plus(2),
        state_position,
        stream: resolved.stream,
        session_id: resolved.session_id,
        session_source: source,
        digest,
        policy_revision: event.policy_revision,
        repeated: false,
        skewed: proposed.skewed,
        schema_fault: proposed.schema_fault.clone(),
        review: Position::ZERO,
        settled: None,
        not_yet: None,
        comment: String::new(),
    }
}

/// Tells two outcomes of one call apart: status, latency and size.
fn outcome_fingerprint(outcome: &Outcome) -> u64 {
    fingerprint(outcome.status, outcome.latency_us, outcome.result_bytes)
}

/// The same of a recorded outcome.
pub(super) fn completion_fingerprint(event: &CallCompleted) -> u64 {
    fingerprint(event.status, event.latency_us, event.result_bytes)
}

fn fingerprint(status: OutcomeStatus, latency_us: Option<u64>, result_bytes: u64) -> u64 {
    let latency = latency_us.map_or(0, |us| us.saturating_add(1));
    FingerprintKey::new([0; 16]).numbers(&[status.number().into(), latency, result_bytes])
}

/// Answers a command without doing it.
pub(super) fn refuse(command: Command, error: Error) {
    match command {
        Command::Evaluate(_, reply) | Command::Score(_, reply) => reply(Err(error)),
        Command::Import(_, reply) => reply(Err(error)),
        Command::Complete { reply, .. } => reply(Err(error)),
        Command::DefineTools { reply, .. } => reply(Err(error)),
        Command::EndSession { reply, .. }
        | Command::Unlearn { reply, .. }
        | Command::AdoptModel { reply, .. } => reply(Err(error)),
        Command::Oversee(oversight) => oversight.refuse(error),
        Command::Wake => {}
        Command::Rule(_, _, reply) => reply(Err(error)),
        Command::Ask(question) => question(Err(error))(Ok(())),
        Command::Stop(reply) => reply(Err(error)),
    }
}
