//! Whose call it is: the session and the principals a call is asked about with.
//!
//! The principals that the proxy was started with stand first; what a client claims is only ever put beneath
//! them, so that a claim can make nobody else of its caller. A session comes, in this order, from the operator
//! (`--session`), the client's own field, the conversation in its baggage, then the connection: one run of a stdio
//! server, or `Mcp-Session-Id`. A trace id names a session only where the operator says so: some clients begin a
//! trace with every call, and an approval holds within one session.

use super::peek::{Claims, Meta};
use crate::domain::call::limits::{CHAIN_LINKS_MAX, NAME_BYTES_MAX, TRACEPARENT_BYTES_MAX};
use crate::domain::hex;
use crate::domain::text::is_deceptive;
use crate::proto::v1::{SessionHints, TraceContext};

/// Bytes of a trace state that are handed in.
const TRACESTATE_BYTES_MAX: usize = 512;
/// Bytes of a baggage that are handed in.
const BAGGAGE_BYTES_MAX: usize = 8 * 1024;

/// What holds for every call of a proxy.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    /// The tenant.
    pub tenant: String,
    /// Who acts for whom, outermost first; never empty.
    pub principals: Vec<String>,
    /// Whether the client stands beneath them, by the name that it gives itself.
    pub names_client: bool,
    /// The session, if the operator names it.
    pub session: String,
    /// The session that started it, if the operator names it.
    pub parent: String,
    /// Whether a trace id names a session before the connection does.
    pub session_from_trace: bool,
}

/// Whose call it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// The session.
    pub session: SessionHints,
    /// Who acts for whom.
    pub principals: Vec<String>,
    /// Its place in a trace.
    pub trace: Option<TraceContext>,
}

/// Whose call it is. `connection` names the connection it came over; empty: none that lasts.
pub fn scope(fixed: &Fixed, connection: &str, client: &str, meta: &Meta) -> Scope {
    let Claims { session, parent, principals } = &meta.claims;
    let baggage = clipped(&meta.baggage, BAGGAGE_BYTES_MAX);
    let mut hints = SessionHints::default();
    let conversation = member(baggage, "gen_ai.conversation.id");
    let own = [fixed.session.as_str(), session.as_str()].into_iter().find(|id| is_name(id));
    match own {
        Some(id) => hints.session_id = id.to_owned(),
        None if is_name(&conversation) => hints.conversation_id = conversation,
        None if fixed.session_from_trace && !meta.traceparent.is_empty() => {}
        None => hints.host_session_id = connection.to_owned(),
    }
    let told = member(baggage, "askance.parent");
    let outer = [fixed.parent.as_str(), parent.as_str(), told.as_str()].into_iter().find(|id| is_name(id));
    if let Some(outer) = outer {
        // Parents are named by ids of their own, so that this one must be, too, to be found beneath them.
        if !hints.host_session_id.is_empty() {
            hints.session_id = std::mem::take(&mut hints.host_session_id);
        }
        hints.parent_session_id = outer.to_owned();
    }
    let mut chain = fixed.principals.clone();
    let agent = format!("agent:{client}");
    let named = (fixed.names_client && is_name(client)).then_some(agent.as_str());
    let claimed = named.into_iter().chain(principals.iter().map(String::as_str));
    for link in claimed.filter(|link| is_name(link)) {
        if chain.len() < CHAIN_LINKS_MAX && chain.last().is_none_or(|last| last != link) {
            chain.push(link.to_owned());
        }
    }
    let traceparent = Some(meta.traceparent.as_str()).filter(|text| text.len() <= TRACEPARENT_BYTES_MAX);
    let trace = TraceContext {
        traceparent: traceparent
            .filter(|text| !text.chars().any(is_deceptive))
            .unwrap_or_default()
            .to_owned(),
        tracestate: clipped(&meta.tracestate, TRACESTATE_BYTES_MAX).to_owned(),
        // Its conversation has been taken out of it.
        baggage: String::new(),
    };
    Scope { session: hints, principals: chain, trace: (trace != TraceContext::default()).then_some(trace) }
}

/// Whether a text is fit for a name.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && !text.chars().any(is_deceptive)
}

/// The value of a member of a W3C baggage; empty if there is none.
fn member(baggage: &str, name: &str) -> String {
    for part in baggage.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if key.trim() == name {
            let value = value.split(';').next().unwrap_or_default().trim();
            return unescaped(value);
        }
    }
    String::new()
}

/// A text without its percent signs.
pub(crate) fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = match (byte, tail) {
            (b'%', [high, low, ..]) => hex::byte(*high, *low),
            _ => None,
        };
        bytes.push(code.unwrap_or(byte));
        rest = if code.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8(bytes).unwrap_or_default()
}

fn clipped(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed() -> Fixed {
        Fixed { principals: vec!["user:ann".to_owned()], ..Fixed::default() }
    }

    #[test]
    fn sessions_come_from_the_surest_source() {
        let mut meta = Meta { traceparent: "00-t-s-01".to_owned(), ..Meta::default() };
        let by = |fixed: &Fixed, meta: &Meta| scope(fixed, "run-1", "", meta).session;
        assert_eq!(by(&fixed(), &meta).host_session_id, "run-1");
        let traced = Fixed { session_from_trace: true, ..fixed() };
        assert_eq!(by(&traced, &meta), SessionHints::default(), "the daemon takes it from the trace");
        meta.baggage = "a=b, gen_ai.conversation.id=c%201;p=1 ,askance.parent=up".to_owned();
        let found = by(&traced, &meta);
        assert_eq!((found.conversation_id.as_str(), found.parent_session_id.as_str()), ("c 1", "up"));
        meta.claims.session = "mine".to_owned();
        assert_eq!(by(&fixed(), &meta).session_id, "mine");
        let named = Fixed { session: "given".to_owned(), parent: "above".to_owned(), ..fixed() };
        let found = by(&named, &meta);
        assert_eq!((found.session_id.as_str(), found.parent_session_id.as_str()), ("given", "above"));
    }

    #[test]
    fn claims_only_add_links_beneath() {
        let mut meta = Meta::default();
        meta.claims.principals = ["user:ann", "agent:planner", "agent:\u{202e}x", "", "agent:deployer"]
            .map(str::to_owned)
            .to_vec();
        let chain = scope(&fixed(), "", "", &meta).principals;
        assert_eq!(chain, ["user:ann", "agent:planner", "agent:deployer"]);
        let named = Fixed { names_client: true, ..fixed() };
        assert_eq!(scope(&named, "", "editor", &Meta::default()).principals, ["user:ann", "agent:editor"]);
        meta.claims.principals = (0..100).map(|n| format!("agent:{n}")).collect();
        assert_eq!(scope(&fixed(), "", "", &meta).principals.len(), CHAIN_LINKS_MAX);
    }

    #[test]
    fn percent_signs() {
        assert_eq!(unescaped("a%20b%zz%4"), "a b%zz%4");
        assert_eq!(unescaped("%ff"), "");
    }
}
