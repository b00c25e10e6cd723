//! What the span of a session says: the root of its calls.

use super::messages::{KeyValue, Link, Span, text};
use super::{INTERNAL, ids, names, nanos};
use crate::proto::v1::{self, event::Data};

/// A session that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Tenant.
    pub tenant: String,
    /// Key of the session.
    pub session_key: String,
    /// Position of its `SessionClosed`.
    pub position: u64,
    /// When it ended, nanoseconds since 1970.
    pub end_nano: u64,
    /// How.
    pub end: String,
}

/// How a session began, as far as its span tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// Whether it is its first beginning: later ones are those of a session that was opened again.
    first: bool,
    start_nano: u64,
    session_id: String,
    agent: String,
    parent: String,
}

impl Opening {
    /// From a `SessionOpened`; none from another event.
    pub(super) fn of(event: &v1::Event) -> Option<Self> {
        let Some(Data::SessionOpened(opened)) = &event.data else { return None };
        Some(Self {
            // A session's stream begins with its opening.
            first: event.revision == 1,
            start_nano: nanos(event.event_time.as_ref()),
            session_id: opened.session_id.clone(),
            agent: opened.principal_chain.last().cloned().unwrap_or_default(),
            parent: opened.parent_session_key.clone(),
        })
    }
}

/// The span of a session that ended, from its last `SessionOpened` before that.
pub fn session_span(ended: &Ended, opened: &v1::Event) -> Option<Span> {
    let opening = Opening::of(opened).filter(|_| opened.position < ended.position)?;
    Some(span(ended, &opening))
}

/// The span of a session that ended.
pub(super) fn span(ended: &Ended, opening: &Opening) -> Span {
    let root = ids::root_of(&ended.tenant, &ended.session_key);
    // The first ending closes the root that calls hang under; one that was opened again gets a span of its own below.
    let span_id =
        if opening.first { root } else { ids::again(&ended.tenant, &ended.session_key, ended.position) };
    let links = (!opening.parent.is_empty()).then(|| Link {
        trace_id: ids::trace_of(&ended.tenant, &opening.parent).to_vec(),
        span_id: ids::root_of(&ended.tenant, &opening.parent).to_vec(),
    });
    Span {
        trace_id: ids::trace_of(&ended.tenant, &ended.session_key).to_vec(),
        span_id: span_id.to_vec(),
        parent_span_id: if opening.first { Vec::new() } else { root.to_vec() },
        name: "agent session".to_owned(),
        kind: INTERNAL,
        start_time_unix_nano: opening.start_nano,
        end_time_unix_nano: ended.end_nano.max(opening.start_nano),
        attributes: attributes(ended, opening),
        links: links.into_iter().collect(),
        ..Span::default()
    }
}

fn attributes(ended: &Ended, opening: &Opening) -> Vec<KeyValue> {
    let mut attributes = vec![
        text(names::CONVERSATION, &opening.session_id),
        text(names::SESSION_KEY, &ended.session_key),
        text(names::TENANT, &ended.tenant),
        text(names::AGENT, &opening.agent),
        text(names::END, &ended.end),
    ];
    if !opening.parent.is_empty() {
        attributes.push(text(names::PARENT_SESSION, &opening.parent));
    }
    attributes
}
