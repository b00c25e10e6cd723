//! Scores and decides a call in a session that is open.

use super::SCORING_VERSION;
use super::account::{Shown, ground};
use super::lock::{lock_on_call, under_lock};
use super::policed::{self, moment};
use super::resolve::event_time;
use super::settings::Settings;
use super::verdict::settle;
use crate::detector::models::SessionContext;
use crate::detector::reading::Reading;
use crate::detector::results::ToolWords;
use crate::domain::call::{Call, CallFeatures, Origin};
use crate::domain::decision::{Assessment, Decision, Floor};
use crate::domain::event::{CallDecided, CallProposed, Event, Payload, Pending};
use crate::domain::position::Revision;
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::domain::stream::{CallKey, StreamId};
use crate::domain::time::Timestamp;
use crate::policy::{Policy, category};
use crate::projection::{Session, State, Tenant, Tool, principal_hash, tool_hash};
use hashbrown::HashMap;
use std::borrow::Cow;

/// The two events of a decided call, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// `CallProposed`.
    pub proposed: Pending,
    /// `CallDecided`, caused by the record before it.
    pub decided: Pending,
}

/// Remembers what was inferred for tools that were never registered: a memo of a pure function, so that
/// it may be forgotten at any time.
#[derive(Debug, Default)]
pub struct InferenceCache(HashMap<u64, (RiskCategory, Capabilities)>);

/// What judging needs besides the state.
pub struct Aids<'a> {
    /// What was inferred for tools that were never registered.
    pub inferences: &'a mut InferenceCache,
    /// Where and how arguments do not match a registered tool's schema; empty: they do.
    pub schema_fault: &'a mut dyn FnMut(&Tool, &[u8]) -> String,
}

/// Tools remembered before the memo starts afresh.
const INFERENCES_MAX: usize = 8_192;

impl InferenceCache {
    fn infer(&mut self, key: u64, tool: &str) -> (RiskCategory, Capabilities) {
        if self.0.len() >= INFERENCES_MAX {
            self.0.clear();
        }
        *self.0.entry(key).or_insert_with(|| {
            let inferred = category::infer(tool, "", None, None);
            (inferred.category, inferred.capabilities)
        })
    }
}

/// Judges `call` of the open session `stream`.
pub fn judge(
    state: &State,
    call: Call,
    call_key: CallKey,
    stream: StreamId,
    policy: &Policy,
    settings: &Settings,
    aids: Aids<'_>,
) -> Judged {
    let key = state.key();
    let (at, skewed) = event_time(&call, settings);
    let tenant = state.tenant(&call.tenant);
    let session = tenant.and_then(|tenant| tenant.sessions.get(&stream));
    let tool = tool_hash(&key, &call.server, &call.tool);
    let known = tenant.and_then(|tenant| tenant.inventory.get(tool));
    let (tool_category, capabilities) = known
        .map_or_else(|| aids.inferences.infer(tool, &call.tool), |tool| (tool.category, tool.capabilities));
    let (tool_category, capabilities) = policy.label(&call.tool, &call.server, (tool_category, capabilities));
    let schema_fault = known.map_or_else(String::new, |tool| (aids.schema_fault)(tool, &call.arguments));
    let features = CallFeatures {
        tool,
        principal: principal_hash(&key, call.principal()),
        capabilities: capabilities.with(call.reach),
        at: call.timed.then_some(at),
        utc_offset_minutes: call.utc_offset_minutes.unwrap_or(0),
        arguments: call.arguments_features,
        words: call.words,
    };
    let proposed = CallProposed {
        tenant: call.tenant,
        call_id: call.call_id,
        digest: call.digest,
        server: call.server,
        tool: call.tool,
        principal_chain: call.principal_chain,
        turn: call.turn,
        traceparent: call.traceparent,
        origin: call.origin,
        masked: call.masked,
        category: category::of_call(
            tool_category,
            category::Danger { production: call.aims_at_production, destroys: call.destroys },
        ),
        skewed,
        schema_fault,
        features,
        actor: call.actor,
    };
    let now = moment(proposed.origin, at, call.receive_time);
    let decision = redecide(state, stream, &proposed, policy, &call.arguments, now);
    let revision = session.map_or(Revision::ZERO, |session| session.revision).next();
    let decided = Pending {
        stream,
        revision: revision.next(),
        event_time: at,
        receive_time: call.receive_time,
        call: call_key,
        causation: state.position.next(),
        event: Event::CallDecided(CallDecided {
            tenant: proposed.tenant.clone(),
            decision,
            policy_revision: state.policy_revision_of(&proposed.tenant),
            scoring_version: SCORING_VERSION,
        }),
        payload: Payload::default(),
    };
    let proposed = Pending {
        stream,
        revision,
        event_time: at,
        receive_time: call.receive_time,
        call: call_key,
        causation: crate::domain::position::Position::ZERO,
        event: Event::CallProposed(proposed),
        payload: Payload { arguments: call.arguments, user_request: call.user_request, result: Vec::new() },
    };
    Judged { proposed, decided }
}

/// The decision on a proposed call as of this state. Live and replay both end here. `arguments` are masked;
/// `now` is what [`moment`] gives: by it locks run out, too.
pub fn redecide(
    state: &State,
    stream: StreamId,
    proposed: &CallProposed,
    policy: &Policy,
    arguments: &[u8],
    now: Timestamp,
) -> Decision {
    let tenant = state.tenant(&proposed.tenant);
    let session = tenant.and_then(|tenant| tenant.sessions.get(&stream));
    let decision = weigh(tenant, session, proposed, policy, arguments, now);
    match lock_on_call(state, stream, proposed, now) {
        Some(known) if proposed.origin == Origin::Live => under_lock(decision, known.lock.on.scope),
        _ => decision,
    }
}

/// The same without locks, for a tenant and a session that need not be of one state.
pub fn weigh(
    tenant: Option<&Tenant>,
    session: Option<&Session>,
    proposed: &CallProposed,
    policy: &Policy,
    arguments: &[u8],
    now: Timestamp,
) -> Decision {
    let features = &proposed.features;
    let seen = policed::Seen { tenant, session, proposed, now };
    in_context(tenant, session, features, proposed.turn, |context| {
        let assess = |category, floors| judge_call(tenant, session, features, context, category, floors);
        let policed = policed::apply(&seen, policy, arguments, &assess);
        let e_value = tenant.and_then(|tenant| tenant.models.e_value(features, context));
        let shown = Shown { e_value, muted: context.muted };
        let ground = ground(tenant, session, features, &shown, &proposed.call_id);
        settle(policy, policed, &ground, proposed.origin)
    })
}

/// What is odd about a call as of this state.
pub(super) fn assess(
    tenant: Option<&Tenant>,
    session: Option<&Session>,
    features: &CallFeatures,
    turn: Option<u32>,
    category: RiskCategory,
    floors: u16,
) -> Assessment {
    in_context(tenant, session, features, turn, |context| {
        judge_call(tenant, session, features, context, category, floors)
    })
}

fn in_context<R>(
    tenant: Option<&Tenant>,
    session: Option<&Session>,
    features: &CallFeatures,
    turn: Option<u32>,
    look: impl FnOnce(&SessionContext<'_>) -> R,
) -> R {
    let reading = reading(tenant, session, features);
    let tool_words = tenant.map(|tenant| tenant.inventory.words(features)).unwrap_or_default();
    let context = SessionContext {
        seen: session.map_or(Capabilities::NONE, |session| session.seen),
        tools: session.map_or([0; 2], |session| session.tools),
        muted: session.map_or(0, |session| session.muted_at(features.at)),
        reading: &reading,
        turn,
        tool_words: ToolWords { words: &tool_words },
        passed_hour: session.and_then(|session| session.passed_hour),
    };
    look(&context)
}

fn judge_call(
    tenant: Option<&Tenant>,
    session: Option<&Session>,
    features: &CallFeatures,
    context: &SessionContext<'_>,
    category: RiskCategory,
    floors: u16,
) -> Assessment {
    let (turn, reading) = (context.turn, context.reading);
    let own = session.map_or(0, |session| session_floors(tenant, session, features, turn, reading));
    let mut floors = floors | own;
    if tenant.and_then(|tenant| tenant.inventory.get(features.tool)).is_some_and(|tool| tool.changed) {
        floors |= Floor::DefinitionChanged.bit();
    }
    match tenant {
        Some(tenant) => tenant.models.assess(features, context, category.base_risk(), floors),
        None => crate::detector::models::unknown(category.base_risk(), floors),
    }
}

/// What the session has read, with the request that came with this call.
fn reading<'s>(
    tenant: Option<&Tenant>,
    session: Option<&'s Session>,
    features: &CallFeatures,
) -> Cow<'s, Reading> {
    let known =
        session.map_or_else(|| Cow::Owned(Reading::default()), |session| Cow::Borrowed(&session.reading));
    let (Some(tenant), Some(request)) = (tenant, known.request_with(&features.words.request)) else {
        return known;
    };
    let mut own = known.into_owned();
    let wanted = tenant.models.results().wanted(&request);
    own.ask(request, wanted);
    Cow::Owned(own)
}

fn session_floors(
    tenant: Option<&Tenant>,
    session: &Session,
    features: &CallFeatures,
    turn: Option<u32>,
    reading: &Reading,
) -> u16 {
    let seen = session.seen;
    let capabilities = features.capabilities;
    let aims_anew = || tenant.is_none_or(|tenant| tenant.models.aims_anew(features, reading));
    let changes = Capabilities::EXECUTES.with(Capabilities::DESTROYS);
    let mut floors = 0;
    if seen.has_any(Capabilities::READS_SECRET) {
        let sends = capabilities.has_any(Capabilities::EGRESS) && aims_anew();
        let acts = sends || capabilities.has_any(changes) && !reading.all_said(features);
        if seen.has_any(Capabilities::READS_UNTRUSTED) && acts {
            floors |= Floor::Trifecta.bit();
        }
        if sends {
            floors |= Floor::SecretThenEgress.bit();
        }
    }
    if capabilities.has_any(Capabilities::EGRESS) && reading.tells_secret(&features.words) {
        floors |= Floor::SecretLeaves.bit();
    }
    let gives = Capabilities::EGRESS.with(Capabilities::SPENDS).with(Capabilities::GRANTS_ACCESS);
    let told = |tenant: &Tenant| tenant.models.told_by_stranger(features, reading, turn);
    if capabilities.has_any(gives) && tenant.is_some_and(told) {
        floors |= Floor::TargetFromStranger.bit();
    }
    if session.denied_tools.contains(&features.tool) {
        floors |= Floor::RepeatOfDenied.bit();
    }
    floors
}
