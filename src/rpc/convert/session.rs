//! Sessions as lists and timelines show them.

use super::decision::{confidence, source};
use super::event::end_of;
use super::{key_of_stream, timestamp};
use crate::domain::call::OutcomeStatus;
use crate::domain::decision::Verdict;
use crate::domain::event::{CloseReason, Event};
use crate::domain::stream::StreamId;
use crate::engine::{SessionSummary, TimelineEvent};
use crate::proto::v1;

/// A line of the list of sessions.
pub(in crate::rpc) fn of_summary(summary: &SessionSummary) -> v1::Session {
    let closed = summary.closed.as_deref();
    let active = Some(timestamp(summary.active));
    let [_, reviewed, denied] = summary.verdicts;
    v1::Session {
        session_key: key_of_stream(&summary.stream),
        tenant: summary.tenant.clone(),
        session_id: summary.session_id.clone(),
        source: source(summary.source).into(),
        confidence: confidence(summary.source).into(),
        principal_chain: vec![summary.principal.clone()],
        parent_session_key: key_of_stream(&summary.parent),
        state: state(closed.is_some()).into(),
        end: closed.map_or(v1::SessionEnd::Unspecified, end_named).into(),
        start_time: Some(timestamp(summary.opened)),
        last_call_time: active,
        end_time: if closed.is_some() { active } else { None },
        calls: summary.calls.into(),
        calls_reviewed: reviewed.into(),
        calls_denied: denied.into(),
        risk_max: summary.risk_max.into(),
        position: summary.opened_at.get(),
        ..v1::Session::default()
    }
}

const fn state(closed: bool) -> v1::SessionState {
    if closed { v1::SessionState::Closed } else { v1::SessionState::Open }
}

/// The end that a summary names.
fn end_named(name: &str) -> v1::SessionEnd {
    match name {
        "ended" => end_of(CloseReason::Ended),
        "idle" => end_of(CloseReason::Idle),
        "aged" => end_of(CloseReason::Aged),
        "evicted" => end_of(CloseReason::Evicted),
        _ => v1::SessionEnd::Unspecified,
    }
}

/// Folds the events of one session, in order, to the session as it stands. One that was opened again
/// begins anew.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Fold {
    session: Option<v1::Session>,
}

impl Fold {
    /// Folds one event in.
    pub(in crate::rpc) fn add(&mut self, event: &TimelineEvent) {
        let record = &event.recorded.record;
        let at = Some(timestamp(record.event_time));
        if let Event::SessionOpened(opened) = &record.event {
            self.session = Some(v1::Session {
                session_key: key_of_stream(&record.stream),
                tenant: opened.tenant.clone(),
                session_id: opened.session_id.clone(),
                source: source(opened.source).into(),
                confidence: confidence(opened.source).into(),
                principal_chain: opened.principal_chain.clone(),
                client: opened.client.clone(),
                parent_session_key: key_of_stream(&opened.parent),
                state: state(false).into(),
                start_time: at,
                ..v1::Session::default()
            });
        }
        let Some(session) = &mut self.session else { return };
        session.revision = record.revision.get();
        session.position = event.recorded.position.get();
        match &record.event {
            Event::CallProposed(_) => {
                session.calls += 1;
                session.last_call_time = at;
            }
            Event::CallDecided(decided) => {
                let decision = &decided.decision;
                session.risk_max = session.risk_max.max(decision.assessment.risk.into());
                session.calls_reviewed += u64::from(decision.verdict == Verdict::Review);
                session.calls_denied += u64::from(decision.verdict == Verdict::Deny);
            }
            Event::CallCompleted(completed) => {
                session.calls_failed += u64::from(completed.status == OutcomeStatus::Error);
            }
            Event::SessionClosed(closed) => {
                session.state = state(true).into();
                session.end = end_of(closed.reason).into();
                session.end_time = at;
            }
            _ => {}
        }
    }

    /// The session, if it is of this tenant.
    pub(in crate::rpc) fn of_tenant(self, tenant: &str) -> Option<v1::Session> {
        self.session.filter(|session| session.tenant == tenant)
    }
}

/// Whether a stream's key begins with these digits.
pub(in crate::rpc) fn begins_with(stream: &StreamId, digits: &str) -> bool {
    stream.to_string().starts_with(digits)
}
