//! The engine without a log: the same steps in memory, for scoring recorded calls.
//!
//! Does what `engine::worker` does to a call (close what is over, resolve, judge, take both events up,
//! outcome, end of session), with positions counted here and the time taken from the calls. No thread, no
//! disk, no randomness: the same calls give the same answers.
//!
//! # Frozen
//!
//! [`Offline::freeze`] keeps, once, a copy of each tenant as it is. From then on a call is judged by the
//! models, definitions and threshold of that copy, while its session's context (what was called, read and
//! denied in it) comes from the state that goes on. Of the copy only the counts of attempts in the trailing
//! windows advance, because how busy the moment is belongs to the call and not to what is usual.
//!
//! Deliberately absent: `call_id`s (every call handed in is a new one), and masking keys that mean anything.

use crate::cli::trace_line::{ToolLine, TraceLine, tenant_of};
use crate::clock::Clock;
use crate::decide::ingest::{History, Ingest, RawCall, RawOutcome, Violation, check_name};
use crate::decide::observe::{Definition, KnownCall};
use crate::decide::{self, InferenceCache, Judged, Settings};
use crate::domain::call::{Call, Origin, OutcomeStatus, SessionSource};
use crate::domain::decision::{Decision, Mode};
use crate::domain::event::{CallProposed, Event, LogCreated, Payload, Pending, Recorded};
use crate::domain::mask::Masker;
use crate::domain::position::{Position, Revision};
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::policy::{Defaults, Effect, Policy, Thresholds};
use crate::projection::{State, Tenant, Tool, Wanted};
use std::collections::BTreeMap;

/// The key of all hashes: fixed, so that scores can be repeated.
const HASH_KEY: [u8; 16] = *b"askance offline!";

/// How a recorded call is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// As history: observed and allowed.
    Train,
    /// As a live call under the policy.
    Test,
}

/// A call that was judged.
#[derive(Debug)]
pub struct Scored {
    /// As it was recorded.
    pub proposed: CallProposed,
    /// What was decided.
    pub decision: Decision,
    /// Its masked arguments.
    pub arguments: Vec<u8>,
}

/// The engine in memory.
pub struct Offline {
    state: State,
    policy: Policy,
    settings: Settings,
    inferences: InferenceCache,
    ingest: Ingest,
    clock: Clock,
    calls: u64,
    frozen: Option<BTreeMap<String, Tenant>>,
}

impl Offline {
    /// An engine that knows nothing, under a policy that allows every category.
    pub fn new() -> Self {
        let mut state = State::empty();
        let created = LogCreated { log_id: [0; 16], hash_key: HASH_KEY, partition: 0, partitions: 1 };
        let start = Timestamp::from_micros(0);
        state.apply(&Recorded {
            position: Position::FIRST,
            record: own_event(Event::LogCreated(created), Revision::ZERO.next(), start),
        });
        let settings = Settings::default();
        let ingest = Ingest {
            key: state.key(),
            masker: Masker::new([0; 32]),
            session_order: settings.session_order.clone(),
        };
        Self {
            state,
            policy: allow_all(),
            settings,
            inferences: InferenceCache::default(),
            ingest,
            clock: Clock::manual(start),
            calls: 0,
            frozen: None,
        }
    }

    /// Sets the review budget of every tenant.
    pub fn set_budget(&mut self, wanted: Wanted) {
        self.settings.budget = wanted;
    }

    /// From now on nothing is learnt: see the module.
    pub fn freeze(&mut self) {
        self.state.stop_learning();
        let copy = |(name, tenant): (&String, &Tenant)| (name.clone(), tenant.clone());
        self.frozen = Some(self.state.tenants().map(copy).collect());
    }

    /// The state as it is.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Registers a tool's definition.
    pub fn define(&mut self, tool: ToolLine) -> Result<(), Vec<Violation>> {
        check_name("tool", &tool.tool, true)?;
        check_name("suite", &tool.suite, false)?;
        let tenant = tenant_of(&tool.dataset);
        let definition = Definition {
            server: tool.suite,
            tool: tool.tool,
            description: tool.description,
            input_schema: tool.parameters.into_bytes(),
            annotations: Vec::new(),
        };
        if let Some(pending) = decide::define_tool(&self.state, &tenant, definition, "", self.clock.now()) {
            self.take_up(pending);
        }
        Ok(())
    }

    /// Judges a recorded call and takes it up. `request` is what the user said since the call before.
    pub fn call(&mut self, line: &TraceLine, request: &str, take: Take) -> Result<Scored, Vec<Violation>> {
        let call = self.enter(line, request, take)?;
        let tenant = call.tenant.clone();
        let now = call.receive_time;
        for closing in decide::housekeep(&self.state, &tenant, now, now, &self.settings) {
            self.take_up(closing);
        }
        let mut closed = |_: &StreamId| Revision::ZERO;
        let mut resolved = decide::resolve(&self.state, &call, &self.settings, &mut closed);
        if let Some(opened) = resolved.opened.take() {
            self.take_up(opened);
        }
        if let Some(budget) = decide::set_budget(&self.state, &tenant, now, &self.settings) {
            self.take_up(budget);
        }
        self.calls += 1;
        let key = call_key(self.calls);
        let Self { state, policy, settings, inferences, .. } = self;
        let mut misfit = |_: &Tool, _: &[u8]| String::new();
        let aids = decide::Aids { inferences, schema_fault: &mut misfit };
        let mut judged = decide::judge(state, call, key, resolved.stream, policy, settings, aids);
        if take == Take::Test {
            self.judge_frozen(&mut judged, &tenant, &resolved.stream);
        }
        let scored = scored(&judged);
        self.take_up(judged.proposed);
        let proposed_at = self.state.position;
        self.take_up(judged.decided);
        let call_id = scored.proposed.call_id.clone();
        let known = KnownCall { tenant, call_id, key, stream: resolved.stream, proposed_at };
        self.complete(line, known, now)?;
        Ok(scored)
    }

    /// Ends the session of a call.
    pub fn end_session(&mut self, line: &TraceLine) {
        let tenant = line.tenant();
        let stream = decide::stream_of(
            &self.state.key(),
            &tenant,
            &line.principal,
            SessionSource::Explicit,
            &line.session,
        );
        let now = self.clock.now();
        if let Some(pending) = decide::end_session(&self.state, &tenant, &stream, "", now) {
            self.take_up(pending);
        }
    }

    /// The call as the engine's door would make it, and the clock at its time.
    fn enter(&mut self, line: &TraceLine, request: &str, take: Take) -> Result<Call, Vec<Violation>> {
        let now = line.ts.unwrap_or_else(|| self.clock.now().plus_micros(1));
        self.clock.set(now);
        let (tenant, call_id) = (line.tenant(), line.call_id());
        let raw = RawCall {
            call_id: &call_id,
            tenant: &tenant,
            server: &line.suite,
            tool: &line.tool,
            principal_chain: std::slice::from_ref(&line.principal),
            arguments: line.args.as_bytes(),
            session_id: &line.session,
            user_request: request,
            turn: line.turn,
            call_time: line.ts.map(Timestamp::as_micros),
            utc_offset_minutes: line.utc_offset_minutes,
            history: Some(if line.ts.is_some() { History::Timed } else { History::Untimed }),
            ..RawCall::default()
        };
        let mut call = self.ingest.call(&raw, now)?;
        if take == Take::Test {
            call.origin = Origin::Live;
        }
        Ok(call)
    }

    /// Replaces the decision by the one as of the moment of freezing.
    fn judge_frozen(&mut self, judged: &mut Judged, tenant: &str, stream: &StreamId) {
        let Some(frozen) = &mut self.frozen else { return };
        let (Event::CallProposed(proposed), Event::CallDecided(decided)) =
            (&judged.proposed.event, &mut judged.decided.event)
        else {
            return;
        };
        let session = self.state.tenant(tenant).and_then(|tenant| tenant.sessions.get(stream));
        let now = judged.proposed.event_time;
        let arguments = &judged.proposed.payload.arguments;
        decided.decision = decide::weigh(frozen.get(tenant), session, proposed, &self.policy, arguments, now);
        if let Some(tenant) = frozen.get_mut(tenant) {
            tenant.models.attempt(&proposed.features);
        }
    }

    fn complete(&mut self, line: &TraceLine, known: KnownCall, now: Timestamp) -> Result<(), Vec<Violation>> {
        let Some(status) = line.outcome else { return Ok(()) };
        let result = if line.result.is_empty() { &line.error } else { &line.result };
        let outcome = self.ingest.outcome(RawOutcome {
            status: if status == OutcomeStatus::Ok && !line.error.is_empty() {
                OutcomeStatus::Error
            } else {
                status
            },
            latency_us: line.latency_us,
            result_bytes: line.result_bytes.unwrap_or(0),
            result: clip(result).as_bytes(),
            fingerprints: Vec::new(),
            words: None,
            end_time: line.end(),
        })?;
        let last = self.state.revision_of(&known.tenant, &known.stream).unwrap_or(Revision::ZERO);
        self.take_up(decide::complete(known, outcome, last, now));
        Ok(())
    }

    fn take_up(&mut self, pending: Pending) {
        let recorded = Recorded { position: self.state.position.next(), record: pending };
        self.state.apply(&recorded);
    }
}

impl Default for Offline {
    fn default() -> Self {
        Self::new()
    }
}

/// As much of a result as may be handed in.
pub(crate) fn clip(text: &str) -> &str {
    let most = crate::domain::call::limits::RESULT_BYTES_MAX;
    if text.len() <= most {
        return text;
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn allow_all() -> Policy {
    let defaults =
        Defaults { low: Effect::Allow, medium: Effect::Allow, high: Effect::Allow, critical: Effect::Allow };
    Policy::new(Mode::Enforce, defaults, Thresholds::default(), Vec::new()).expect("no rule can be wrong")
}

fn call_key(number: u64) -> CallKey {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    CallKey::from_bytes(bytes)
}

fn scored(judged: &Judged) -> Scored {
    let (Event::CallProposed(proposed), Event::CallDecided(decided)) =
        (&judged.proposed.event, &judged.decided.event)
    else {
        unreachable!("`judge` makes a proposal and a decision");
    };
    Scored {
        proposed: proposed.clone(),
        decision: decided.decision.clone(),
        arguments: judged.proposed.payload.arguments.clone(),
    }
}

fn own_event(event: Event, revision: Revision, at: Timestamp) -> Pending {
    Pending {
        stream: StreamId::NONE,
        revision,
        event_time: at,
        receive_time: at,
        call: CallKey::NONE,
        causation: Position::ZERO,
        event,
        payload: Payload::default(),
    }
}
