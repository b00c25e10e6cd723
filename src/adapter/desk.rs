//! From an envelope to a ruling: asks the daemon, holds while people look, tells how calls ended.

use super::envelope::{About, Call, Carried, Ending, Envelope, Ruling};
use super::memory::{Memory, key};
use crate::domain::call::limits::{CALL_ID_BYTES_MAX, CHAIN_LINKS_MAX};
use crate::domain::json::Json;
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::mcp::gate::{Gate, Seen, Trouble};
use crate::mcp::refusal::{Refusal, category_name};
use crate::mcp::scope::{Fixed, Scope, is_name, scope};
use crate::policy::category;
use crate::proto::v1::{
    Decision, EndedCall, Outcome, SessionHints, ToolCall, ToolDefinition, TraceContext, UserRequest, Verdict,
};
use crate::rpc::user_name;
use prost::bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest that one question waits for people; then it is asked again.
const STEP: Duration = Duration::from_secs(5);
/// Least time between two questions about a call that is held.
const PAUSE: Duration = Duration::from_secs(1);

/// What holds for every message.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The tenant.
    pub tenant: String,
    /// Who acts for whom, outermost first; those whom a message names stand beneath them, or the client. Empty only
    /// where the message names some.
    pub principals: Vec<String>,
    /// How long a call that people must look at is held before its client is told to come back.
    pub hold: Duration,
    /// Whether calls of low risk run when the daemon cannot be asked.
    pub low_runs_unasked: bool,
    /// The trace that came with the request, for messages that say where they stand.
    pub carried: Carried,
}

/// Rules on messages.
pub struct Desk {
    gate: Arc<Gate>,
    memory: Memory,
    settings: Settings,
}

impl Desk {
    /// A desk that asks through `gate`.
    pub const fn new(gate: Arc<Gate>, memory: Memory, settings: Settings) -> Self {
        Self { gate, memory, settings }
    }

    /// What is to be answered. Only a call to come is ever refused; what cannot be told of others is logged.
    pub async fn rule(&self, envelope: &Envelope) -> Ruling {
        match &envelope.about {
            About::Before(call) => return self.before(envelope, call).await,
            About::After(call, ending) => self.after(envelope, call, ending).await,
            About::Request(text) => self.request(envelope, text).await,
            About::End => self.end(envelope).await,
            About::Nothing => {}
        }
        Ruling::Pass
    }

    fn asked(&self, envelope: &Envelope, call: &Call, call_id: &str) -> ToolCall {
        let (session, trace) = whereabouts(envelope, &self.settings.carried);
        ToolCall {
            call_id: call_id.to_owned(),
            tool: call.tool.clone(),
            server: call.server.clone(),
            arguments_json: Bytes::copy_from_slice(&call.arguments),
            principal_chain: principals(&self.settings, envelope),
            session,
            trace,
            tenant: self.settings.tenant.clone(),
            client: envelope.client.clone(),
            ..ToolCall::default()
        }
    }

    async fn before(&self, envelope: &Envelope, call: &Call) -> Ruling {
        let call_id = match call_id(envelope, call) {
            Some(id) => id,
            None => match random_id() {
                Ok(id) => id,
                Err(why) => return self.unasked(call, why),
            },
        };
        let mut asked = self.asked(envelope, call, &call_id);
        let session = envelope.session.clone();
        let request = self.remember(move |memory| memory.take_request(&session)).await.flatten();
        asked.user_request = request.clone().map(|text| UserRequest { text, ..UserRequest::default() });
        let first = self.gate.evaluate(&asked, Duration::ZERO).await;
        if let (Err(_), Some(text)) = (&first, request) {
            // The next call takes it instead.
            self.request(envelope, &text).await;
        }
        let ruling = match self.ruled(call, first) {
            Ok(ruling) => ruling,
            Err(decision) => self.hold(call, &asked, decision).await,
        };
        if ruling == Ruling::Pass && call.id.is_empty() && !envelope.never_tells_endings {
            let (key, id) = (open_key(envelope, call), call_id);
            self.noted(move |memory| memory.note_open(&each(&key), &id)).await;
        }
        ruling
    }

    /// Waits for people, at most the time that calls are held.
    async fn hold(&self, call: &Call, asked: &ToolCall, first: Box<Decision>) -> Ruling {
        let until = Instant::now() + self.settings.hold;
        let mut decision = first;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || decision.review_id.is_empty() {
                return Ruling::Refuse(Refusal::Waits(decision));
            }
            let (since, wait) = (Instant::now(), left.min(STEP));
            match self.ruled(call, self.gate.evaluate(asked, wait).await) {
                Ok(ruling) => return ruling,
                Err(newer) if newer.review_id.is_empty() && newer.degraded => {}
                Err(newer) => decision = newer,
            }
            // A daemon with no room for waiting answers at once.
            tokio::time::sleep(wait.min(PAUSE).saturating_sub(since.elapsed())).await;
        }
    }

    /// The ruling, or the decision that people must make.
    fn ruled(&self, call: &Call, answer: Result<Decision, Trouble>) -> Result<Ruling, Box<Decision>> {
        let decision = match answer {
            Ok(decision) => Box::new(decision),
            Err(Trouble::Refused(why)) => return Ok(Ruling::Refuse(Refusal::Unacceptable(why))),
            Err(Trouble::Away(why)) => return Ok(self.unasked(call, why)),
        };
        match decision.verdict() {
            Verdict::Allow => Ok(Ruling::Pass),
            Verdict::Review => Err(decision),
            Verdict::Deny => Ok(Ruling::Refuse(Refusal::Denied(decision))),
            Verdict::Unspecified => {
                let why = "it answered with a verdict that this version does not know".to_owned();
                Ok(Ruling::Refuse(Refusal::Away(danger(call), why)))
            }
        }
    }

    /// What holds when nobody can be asked.
    fn unasked(&self, call: &Call, why: String) -> Ruling {
        unasked(call, why, self.settings.low_runs_unasked)
    }

    async fn after(&self, envelope: &Envelope, call: &Call, ending: &Ending) {
        let id = match call_id(envelope, call) {
            Some(id) => Some(id),
            None => {
                let key = open_key(envelope, call);
                self.remember(move |memory| memory.take_open(&each(&key))).await.flatten()
            }
        };
        if let Some(id) = id {
            self.ended(&id, ending).await;
        }
    }

    /// Tells how the call of this id ended, the daemon's own id.
    pub async fn ended(&self, id: &str, ending: &Ending) {
        let outcome = Outcome {
            status: ending.status.into(),
            latency: ending.milliseconds.and_then(|ms| Duration::from_millis(ms).try_into().ok()),
            result_bytes: Some(ending.bytes),
            result_text: ending.text.clone().into_bytes().into(),
            error_text: ending.error.clone(),
            ..Outcome::default()
        };
        let ended = EndedCall { call_id: id.to_owned(), outcome: Some(outcome) };
        told("an outcome", self.gate.record(&self.settings.tenant, ended).await);
    }

    /// Tells which tools a server offers.
    pub async fn offered(&self, server: &str, tools: &[ToolDefinition]) {
        told("the tools of a server", self.gate.register(&self.settings.tenant, server, tools).await);
    }

    async fn request(&self, envelope: &Envelope, text: &str) {
        if !text.is_empty() {
            let (session, text) = (envelope.session.clone(), text.to_owned());
            self.noted(move |memory| memory.note_request(&session, &text)).await;
        }
    }

    async fn end(&self, envelope: &Envelope) {
        let session = envelope.session.clone();
        self.remember(move |memory| memory.take_request(&session)).await;
        if let Some(hints) = hints(&envelope.session) {
            let chain = principals(&self.settings, envelope);
            told("the end of a session", self.gate.end_session(&self.settings.tenant, hints, &chain).await);
        }
    }

    /// Looks at files where waiting for them holds up nobody else.
    async fn remember<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Memory) -> T + Send + 'static,
    ) -> Option<T> {
        let memory = self.memory.clone();
        tokio::task::spawn_blocking(move || look(&memory)).await.ok()
    }

    async fn noted(&self, note: impl FnOnce(&Memory) -> std::io::Result<()> + Send + 'static) {
        if let Some(Err(fault)) = self.remember(note).await {
            tracing::warn!(fault = ?fault.to_string(), "a hook's event is not remembered");
        }
    }

    /// Looks at the review of a call, which is compared with this one if one is given.
    pub async fn review(&self, call_id: &str, envelope: Option<&Envelope>) -> Seen {
        let call = envelope.and_then(|envelope| match &envelope.about {
            About::Before(call) => Some(self.asked(envelope, call, call_id)),
            _ => None,
        });
        self.gate.review(&self.settings.tenant, call_id, call).await
    }

    /// How long a call is held.
    pub const fn hold_time(&self) -> Duration {
        self.settings.hold
    }

    /// Ends the connection.
    pub async fn close(&self) {
        self.gate.close().await;
    }
}

/// What holds for a call when nobody can be asked, for this reason.
pub fn unasked(call: &Call, why: String, low_runs: bool) -> Ruling {
    let category = danger(call);
    if low_runs && category == RiskCategory::Low {
        tracing::warn!(tool = ?call.tool, why = ?why, "a call of low risk runs unasked and unrecorded");
        return Ruling::Pass;
    }
    let (tool, category_said) = (&call.tool, category_name(category));
    tracing::debug!(tool = ?tool, why = ?why, category = category_said, "a call is refused: askance cannot be asked");
    Ruling::Refuse(Refusal::Away(category, why))
}

/// The category of a call as far as names and arguments tell without the daemon. What may read a secret or send data
/// out is never low.
fn danger(call: &Call) -> RiskCategory {
    let named = category::infer(&call.tool, "", None, None).category;
    let Ok(arguments) = Json::parse(&call.arguments) else { return named.max(RiskCategory::High) };
    let judged = category::of_call(named, category::danger(&arguments));
    let reach = category::reach(&arguments);
    if reach == Capabilities::NONE { judged } else { judged.max(RiskCategory::Medium) }
}

/// Who acts: whom the message names, or the client beneath whoever runs it and the agent beneath the client.
fn principals(settings: &Settings, envelope: &Envelope) -> Vec<String> {
    let mut chain = settings.principals.clone();
    if !envelope.principals.is_empty() {
        let is_known = chain.last() == envelope.principals.first();
        chain.extend(envelope.principals.iter().skip(usize::from(is_known)).cloned());
        chain.truncate(CHAIN_LINKS_MAX);
        return chain;
    }
    let client = format!("agent:{}", envelope.client);
    let beneath = (!envelope.sub_agent.is_empty()).then(|| format!("{client}/{}", envelope.sub_agent));
    let links = std::iter::once(client).chain(beneath).filter(|link| is_name(link));
    links.filter(|link| !settings.principals.contains(link)).for_each(|link| {
        if chain.len() < CHAIN_LINKS_MAX {
            chain.push(link);
        }
    });
    chain
}

/// Session and trace of a call. A trace alone is not told: it would name a session, and some clients begin one with every
/// call, so that an approved call would never be found again.
fn whereabouts(envelope: &Envelope, carried: &Carried) -> (Option<SessionHints>, Option<TraceContext>) {
    let Some(whence) = &envelope.whence else { return (hints(&envelope.session), None) };
    let mut whence = whence.clone();
    whence.fill(carried);
    let (session, parent) = (session_name(&whence.named), session_name(&whence.parent));
    let fixed = Fixed { session, parent, ..Fixed::default() };
    let Scope { session, trace, .. } =
        scope(&fixed, &session_name(&whence.connection), "", &[], &whence.meta);
    if session == SessionHints::default() { (None, None) } else { (Some(session), trace) }
}

/// What is fit for a session's name: itself, or its digest.
fn session_name(session: &str) -> String {
    if session.is_empty() || is_name(session) { session.to_owned() } else { key(&[session]) }
}

/// The session as the daemon is told of it.
fn hints(session: &str) -> Option<SessionHints> {
    let id = session_name(session);
    (!id.is_empty()).then(|| SessionHints { host_session_id: id, ..SessionHints::default() })
}

/// The id of a call whose client gives it one: the same before and after, and another in each session.
pub(super) fn call_id(envelope: &Envelope, call: &Call) -> Option<String> {
    if call.id.is_empty() {
        return None;
    }
    let session = key(&[&envelope.client, &envelope.session]);
    let id = format!("hook-{}-{}", session.get(..12).unwrap_or_default(), call.id);
    let fits = id.len() <= CALL_ID_BYTES_MAX && is_name(&id);
    Some(if fits { id } else { format!("hook-{}", key(&[&envelope.client, &envelope.session, &call.id])) })
}

pub(super) fn random_id() -> Result<String, String> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|fault| format!("no random bytes: {fault}"))?;
    Ok(format!("hook-{:032x}", u128::from_le_bytes(random)))
}

/// What a call without an id is known by until it ends.
fn open_key(envelope: &Envelope, call: &Call) -> [String; 4] {
    let arguments = String::from_utf8_lossy(&call.arguments).into_owned();
    [envelope.session.clone(), call.server.clone(), call.tool.clone(), arguments]
}

fn each(key: &[String; 4]) -> [&str; 4] {
    key.each_ref().map(String::as_str)
}

fn told(what: &str, told: Result<(), Trouble>) {
    if let Err(Trouble::Away(why) | Trouble::Refused(why)) = told {
        tracing::debug!(what, why = ?why, "could not be told");
    }
}

/// The name of whoever runs this, as a principal; where the environment has none, as the daemon names a voter.
pub fn this_user() -> String {
    let mut named = ["USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    let fit = named.find(|name| is_name(name));
    fit.map_or_else(|| user_name(rustix::process::getuid().as_raw()), |name| format!("user:{name}"))
}

#[cfg(test)]
mod tests {
    use super::super::envelope::Whence;
    use super::*;
    use crate::mcp::peek::Meta;

    fn call(tool: &str, arguments: &str) -> Call {
        Call { tool: tool.to_owned(), arguments: arguments.as_bytes().to_vec(), ..Call::default() }
    }

    #[test]
    fn what_runs_unasked() {
        let runs = |tool: &str, arguments: &str| {
            unasked(&call(tool, arguments), String::new(), true) == Ruling::Pass
        };
        assert!(runs("Read", r#"{"file_path":"/src/main.rs"}"#));
        assert!(!runs("Read", r#"{"file_path":"/home/ann/.env"}"#), "a secret is not of low risk");
        assert!(!runs("Bash", r#"{"command":"ls"}"#), "nothing says that a shell only reads");
        assert!(!runs("Read", "{\"a\":1,\"a\":2}"));
        assert_ne!(unasked(&call("Read", "{}"), String::new(), false), Ruling::Pass);
    }

    #[test]
    fn who_acts() {
        let chain = |fixed: &[&str], told: &[&str]| {
            let all = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
            let settings = Settings { principals: all(fixed), ..Settings::default() };
            let envelope = Envelope { client: "c".to_owned(), principals: all(told), ..Envelope::default() };
            principals(&settings, &envelope).join(" ")
        };
        assert_eq!(chain(&["user:ann"], &[]), "user:ann agent:c");
        assert_eq!(chain(&[], &["user:bob", "agent:a"]), "user:bob agent:a");
        assert_eq!(chain(&["user:org"], &["user:bob"]), "user:org user:bob");
        assert_eq!(chain(&["user:bob"], &["user:bob", "agent:a"]), "user:bob agent:a");
        assert_eq!(chain(&["user:ann"], &["x"; 100]).split(' ').count(), CHAIN_LINKS_MAX);
    }

    #[test]
    fn a_gateways_call_stands_where_it_says() {
        let headers = |baggage: &'static str| {
            Carried::of([("TraceParent", &b"00-t-s-01"[..]), ("baggage", baggage.as_bytes())].into_iter())
        };
        let at = |named: &str, connection: &str, meta: Meta, carried: &Carried| {
            let (named, connection) = (named.to_owned(), connection.to_owned());
            let whence = Whence { named, connection, meta, ..Whence::default() };
            let envelope = Envelope { whence: Some(Box::new(whence)), ..Envelope::default() };
            let (session, trace) = whereabouts(&envelope, carried);
            let session = session.unwrap_or_default();
            let ids = [session.session_id, session.conversation_id, session.host_session_id];
            let trace = trace.map_or_else(String::new, |trace| trace.traceparent);
            format!("{}|{}|{trace}", ids.join("/"), session.parent_session_id)
        };
        let none = Carried::default();
        assert_eq!(at("s", "c", Meta::default(), &none), "s//||");
        assert_eq!(at("", "c", Meta::default(), &none), "//c||");
        assert_eq!(at("", "", Meta::default(), &headers("")), "//||", "a trace alone names no session");
        assert_eq!(at("", "c", Meta::default(), &headers("askance.parent=up")), "c//|up|00-t-s-01");
        let meta = Meta { traceparent: "00-own-x-01".to_owned(), ..Meta::default() };
        assert_eq!(at("s", "", meta, &headers("x=y")), "s//||00-own-x-01", "the client's own comes first");
        let conversation = "gen_ai.conversation.id=k";
        assert_eq!(at("", "c", Meta::default(), &headers(conversation)), "/k/||00-t-s-01");
        assert_eq!(at("a\u{202e}", "", Meta::default(), &none).len(), 32 + 4);
    }

    #[test]
    fn ids_are_of_one_session() {
        let of = |session: &str, id: &str| {
            let envelope = Envelope { session: session.to_owned(), ..Envelope::default() };
            call_id(&envelope, &Call { id: id.to_owned(), ..Call::default() })
        };
        assert_eq!(of("a", ""), None);
        assert_eq!(of("a", "toolu_1"), of("a", "toolu_1"));
        assert_ne!(of("a", "toolu_1"), of("b", "toolu_1"));
        assert!(of("a", "toolu_1").unwrap().ends_with("-toolu_1"));
        assert!(of("a", &"x".repeat(300)).unwrap().len() < CALL_ID_BYTES_MAX);
        assert!(is_name(&of("a", "x\u{202e}").unwrap()));
    }
}
