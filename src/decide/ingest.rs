//! A request at the door: checked whole, masked, digested, reduced to features. Needs no state, so that
//! it runs beside the engine.

use crate::detector::features;
use crate::domain::call::{
    Call, CallWords, Digest, Origin, Outcome, OutcomeStatus, SessionRef, SessionSource, limits,
};
use crate::domain::json::Json;
use crate::domain::mask::Masker;
use crate::domain::risk::Capabilities;
use crate::domain::stream::StreamId;
use crate::domain::text::is_deceptive;
use crate::domain::time::{DAY_US, Timestamp};
use crate::policy::category;
use crate::stats::fingerprint::FingerprintKey;
use crate::stats::words::{fold, words};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;

/// The tenant of a request that names none.
pub const DEFAULT_TENANT: &str = "default";

/// A request as it came in, before any check.
#[derive(Clone, Debug, Default)]
pub struct RawCall<'a> {
    /// See [`Call::call_id`].
    pub call_id: &'a str,
    /// Empty: [`DEFAULT_TENANT`].
    pub tenant: &'a str,
    /// MCP server.
    pub server: &'a str,
    /// Tool name.
    pub tool: &'a str,
    /// Outermost first.
    pub principal_chain: &'a [String],
    /// Agent host.
    pub client: &'a str,
    /// JSON text; empty means `{}`.
    pub arguments: &'a [u8],
    /// `session_id`.
    pub session_id: &'a str,
    /// `gen_ai.conversation.id`.
    pub conversation_id: &'a str,
    /// Host hook's session id.
    pub host_session_id: &'a str,
    /// Legacy MCP session id.
    pub mcp_session_id: &'a str,
    /// Parent session's id.
    pub parent_session_id: &'a str,
    /// W3C `traceparent`.
    pub traceparent: &'a str,
    /// What the user asked.
    pub user_request: &'a str,
    /// Its words as fingerprints with the name of their key, where the text is not handed in.
    pub request_words: Option<(&'a str, &'a [u64])>,
    /// Assistant message that made the call.
    pub turn: Option<u32>,
    /// The caller's time, microseconds since 1970.
    pub call_time: Option<i64>,
    /// Minutes ahead of UTC.
    pub utc_offset_minutes: Option<i32>,
    /// Whether it is history, and if so whether its times are known.
    pub history: Option<History>,
}

/// How history is handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// With the time of each call.
    Timed,
    /// Without times: time and rate are not judged.
    Untimed,
}

/// One fault of a request: which field, what is wrong with it, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field in the request message.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub description: String,
}

/// Turns a raw call into a call, or says everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct Ingest {
    /// Keys hashes; from the log's first record.
    pub key: FingerprintKey,
    /// Finds secrets.
    pub masker: Masker,
    /// Which hints name the session.
    pub session_order: Vec<SessionSource>,
}

impl Ingest {
    /// Checks, masks and digests a call received at `now`.
    pub fn call(&self, raw: &RawCall<'_>, now: Timestamp) -> Result<Call, Vec<Violation>> {
        let mut faults = Faults::default();
        self.check_names(raw, &mut faults);
        let (call_time, timed) = check_times(raw, now, &mut faults);
        let words_key = self.key.for_words();
        let arguments = self.arguments(raw.arguments, &words_key, &mut faults);
        let mut request = Cow::Borrowed(raw.user_request);
        if raw.user_request.len() > limits::REQUEST_BYTES_MAX {
            faults.add("call.user_request", too_long(raw.user_request.len(), limits::REQUEST_BYTES_MAX));
        }
        let arguments = match (arguments, faults.0.is_empty()) {
            (Some(arguments), true) => arguments,
            _ => return Err(faults.0),
        };
        let tenant = if raw.tenant.is_empty() { DEFAULT_TENANT } else { raw.tenant };
        let session = self.session(raw);
        let digest = digest(tenant, raw, &session);
        let masked_request = self.masker.mask_text(&mut request);
        let request_text = request.into_owned();
        let request_words = self.request_words(&request_text, raw.request_words, &words_key);
        Ok(Call {
            call_id: raw.call_id.to_owned(),
            tenant: tenant.to_owned(),
            session,
            principal_chain: raw.principal_chain.to_vec(),
            client: raw.client.to_owned(),
            server: raw.server.to_owned(),
            tool: raw.tool.to_owned(),
            arguments: arguments.text,
            user_request: request_text.into_bytes(),
            turn: raw.turn,
            call_time,
            receive_time: now,
            timed,
            utc_offset_minutes: raw.utc_offset_minutes.and_then(|minutes| i16::try_from(minutes).ok()),
            traceparent: raw.traceparent.to_owned(),
            origin: if raw.history.is_some() { Origin::Imported } else { Origin::Live },
            digest,
            masked: arguments.masked + u32::from(masked_request),
            aims_at_production: arguments.danger.production,
            destroys: arguments.danger.destroys,
            reach: arguments.reach,
            arguments_features: arguments.features,
            words: CallWords {
                request: request_words,
                tool: words(raw.tool, &words_key, limits::TOOL_WORDS_MAX),
                ..arguments.words
            },
            paths_dropped: arguments.dropped,
            actor: String::new(),
        })
    }

    fn check_names(&self, raw: &RawCall<'_>, faults: &mut Faults) {
        faults.name("call.call_id", raw.call_id, limits::CALL_ID_BYTES_MAX, true);
        faults.name("call.tool", raw.tool, limits::NAME_BYTES_MAX, true);
        faults.name("call.server", raw.server, limits::NAME_BYTES_MAX, false);
        faults.name("call.tenant", raw.tenant, limits::NAME_BYTES_MAX, false);
        faults.name("call.client", raw.client, limits::NAME_BYTES_MAX, false);
        faults.name("call.trace.traceparent", raw.traceparent, limits::TRACEPARENT_BYTES_MAX, false);
        faults.name("call.session.session_id", raw.session_id, limits::NAME_BYTES_MAX, false);
        faults.name("call.session.conversation_id", raw.conversation_id, limits::NAME_BYTES_MAX, false);
        faults.name("call.session.host_session_id", raw.host_session_id, limits::NAME_BYTES_MAX, false);
        faults.name("call.session.mcp_session_id", raw.mcp_session_id, limits::NAME_BYTES_MAX, false);
        faults.name("call.session.parent_session_id", raw.parent_session_id, limits::NAME_BYTES_MAX, false);
        if raw.principal_chain.is_empty() {
            let message =
                "is empty; name who acts, outermost first, such as [\"user:alice\", \"agent:planner\"]";
            faults.add("call.principal_chain", message.to_owned());
        }
        if raw.principal_chain.len() > limits::CHAIN_LINKS_MAX {
            let message =
                format!("has {} links, at most {}", raw.principal_chain.len(), limits::CHAIN_LINKS_MAX);
            faults.add("call.principal_chain", message);
        }
        for link in raw.principal_chain.iter().take(limits::CHAIN_LINKS_MAX) {
            faults.name("call.principal_chain", link, limits::NAME_BYTES_MAX, true);
        }
    }

    fn arguments(&self, text: &[u8], words_key: &FingerprintKey, faults: &mut Faults) -> Option<Arguments> {
        if text.len() > limits::ARGUMENTS_BYTES_MAX {
            faults.add("call.arguments_json", too_long(text.len(), limits::ARGUMENTS_BYTES_MAX));
            return None;
        }
        let text = if text.is_empty() { b"{}" } else { text };
        let mut json = match Json::parse(text) {
            Ok(json @ Json::Object(_)) => json,
            Ok(_) => {
                faults.add("call.arguments_json", "is not a JSON object".to_owned());
                return None;
            }
            Err(fault) => {
                faults.add("call.arguments_json", format!("is not acceptable JSON: {fault}"));
                return None;
            }
        };
        let (danger, reach) = (category::danger(&json), category::reach(&json));
        let masked = self.masker.mask(&mut json);
        let (features, dropped) = features::of_arguments(&json, &self.key);
        let words = features::words_of_arguments(&json, words_key);
        let text = if masked == 0 {
            text.to_vec()
        } else {
            let mut out = Vec::with_capacity(text.len());
            json.write(&mut out);
            out
        };
        Some(Arguments { text, features, words, dropped, masked: masked as u32, danger, reach })
    }

    fn request_words(
        &self,
        text: &str,
        given: Option<(&str, &[u64])>,
        words_key: &FingerprintKey,
    ) -> Vec<u32> {
        let mut found: Vec<u32> = if text.is_empty() {
            let known = given.filter(|(id, _)| *id == self.key.words_id());
            known.map_or_else(Vec::new, |(_, prints)| prints.iter().map(|print| fold(*print)).collect())
        } else {
            words(text, words_key, usize::MAX)
        };
        found.sort_unstable();
        found.dedup();
        found.truncate(limits::REQUEST_WORDS_MAX);
        found
    }

    fn session(&self, raw: &RawCall<'_>) -> SessionRef {
        let hint = |source: &SessionSource| match source {
            SessionSource::Explicit => raw.session_id,
            SessionSource::Conversation => raw.conversation_id,
            SessionSource::Host => raw.host_session_id,
            SessionSource::Trace => trace_id(raw.traceparent),
            SessionSource::McpSession => raw.mcp_session_id,
            SessionSource::Gap => "",
        };
        let given = self.session_order.iter().find(|source| !hint(source).is_empty());
        let source = given.copied().unwrap_or(SessionSource::Gap);
        let parent_id = raw.parent_session_id.to_owned();
        SessionRef { source, id: hint(&source).to_owned(), parent_id }
    }

    /// The stream of the session that a call like this belongs to; none if its hints name no session.
    pub fn stream(&self, raw: &RawCall<'_>) -> Option<StreamId> {
        let tenant = if raw.tenant.is_empty() { DEFAULT_TENANT } else { raw.tenant };
        let session = self.session(raw);
        let root = raw.principal_chain.first()?;
        (session.source != SessionSource::Gap)
            .then(|| super::stream_of(&self.key, tenant, root, session.source, &session.id))
    }

    /// Checks and masks an outcome.
    pub fn outcome(&self, raw: RawOutcome<'_>) -> Result<Outcome, Vec<Violation>> {
        let mut faults = Faults::default();
        if raw.result.len() > limits::RESULT_BYTES_MAX {
            faults.add("outcome.result_text", too_long(raw.result.len(), limits::RESULT_BYTES_MAX));
        }
        if raw.fingerprints.len() > FINGERPRINTS_MAX {
            let message = format!("has {} entries, at most {FINGERPRINTS_MAX}", raw.fingerprints.len());
            faults.add("outcome.result_fingerprints", message);
        }
        if !faults.0.is_empty() {
            return Err(faults.0);
        }
        let mut text = String::from_utf8_lossy(raw.result);
        self.masker.mask_text(&mut text);
        let words = if text.is_empty() {
            let known = raw.words.filter(|(id, _)| *id == self.key.words_id());
            known.map(|(_, prints)| {
                prints.iter().take(limits::RESULT_WORDS_MAX).map(|print| fold(*print)).collect()
            })
        } else {
            Some(words(&text, &self.key.for_words(), limits::RESULT_WORDS_MAX))
        };
        let brought = features::brought(&text, &self.key);
        Ok(Outcome {
            brought,
            status: raw.status,
            latency_us: raw.latency_us,
            result_bytes: raw.result_bytes.max(raw.result.len() as u64),
            result: text.into_owned().into_bytes(),
            fingerprints: raw.fingerprints,
            words,
            end_time: raw.end_time,
            actor: String::new(),
        })
    }
}

/// Result fingerprints accepted with one outcome.
pub const FINGERPRINTS_MAX: usize = 1_024;

/// An outcome as it came in.
#[derive(Clone, Debug)]
pub struct RawOutcome<'a> {
    /// How the call ended.
    pub status: OutcomeStatus,
    /// See [`Outcome::latency_us`].
    pub latency_us: Option<u64>,
    /// See [`Outcome::result_bytes`].
    pub result_bytes: u64,
    /// Result text, clipped by the caller.
    pub result: &'a [u8],
    /// See [`Outcome::fingerprints`].
    pub fingerprints: Vec<u64>,
    /// Its words as fingerprints with the name of their key, where the text is not handed in.
    pub words: Option<(String, Vec<u64>)>,
    /// See [`Outcome::end_time`].
    pub end_time: Option<Timestamp>,
}

struct Arguments {
    text: Vec<u8>,
    features: Vec<crate::domain::call::ArgumentFeature>,
    words: CallWords,
    dropped: u32,
    masked: u32,
    danger: category::Danger,
    reach: Capabilities,
}

#[derive(Default)]
struct Faults(Vec<Violation>);

impl Faults {
    fn add(&mut self, field: &'static str, description: String) {
        self.0.push(Violation { field, description });
    }

    fn name(&mut self, field: &'static str, text: &str, most: usize, required: bool) {
        if text.is_empty() && required {
            self.add(field, "is empty".to_owned());
        }
        if text.len() > most {
            self.add(field, too_long(text.len(), most));
        } else if let Some(letter) = first_deceptive(text) {
            let message = format!("holds {}, a control or invisible character", letter.escape_unicode());
            self.add(field, message);
        }
    }
}

fn first_deceptive(text: &str) -> Option<char> {
    // Nearly every name; its letters need not be looked at one by one.
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_plain { None } else { text.chars().find(|letter| is_deceptive(*letter)) }
}

/// Checks the name fields of requests other than calls.
pub fn check_name(field: &'static str, text: &str, required: bool) -> Result<(), Vec<Violation>> {
    let mut faults = Faults::default();
    faults.name(field, text, limits::NAME_BYTES_MAX, required);
    if faults.0.is_empty() { Ok(()) } else { Err(faults.0) }
}

fn too_long(length: usize, most: usize) -> String {
    format!("is {length} bytes long, at most {most}")
}

/// The time to believe, and whether times mean anything. History may be old but not of the future.
fn check_times(raw: &RawCall<'_>, now: Timestamp, faults: &mut Faults) -> (Option<Timestamp>, bool) {
    if raw.utc_offset_minutes.is_some_and(|minutes| minutes.abs() > 18 * 60) {
        faults.add("call.utc_offset_minutes", "is outside -1080 to 1080".to_owned());
    }
    let time = raw.call_time.map(Timestamp::from_micros);
    match raw.history {
        None => (time, true),
        Some(History::Untimed) => (None, false),
        Some(History::Timed) => {
            match time {
                None => {
                    faults.add("call.call_time", "is missing, but the history is said to be timed".to_owned())
                }
                Some(at) if at.as_micros() < 0 || at.since(now) > DAY_US => {
                    faults.add("call.call_time", format!("is {at}, before 1970 or in the future"));
                }
                Some(_) => {}
            }
            (time, true)
        }
    }
}

/// The trace id inside a `traceparent`, or nothing if it is not one.
fn trace_id(traceparent: &str) -> &str {
    let id = traceparent.split('-').nth(1).unwrap_or("");
    let valid =
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) && id.bytes().any(|b| b != b'0');
    if valid { id } else { "" }
}

/// SHA-256 over everything that an approval binds: tenant, principal chain, session, server, tool, and the
/// argument bytes exactly as they came. Every part is preceded by its length, so that no two calls share a
/// text.
fn digest(tenant: &str, raw: &RawCall<'_>, session: &SessionRef) -> Digest {
    let mut text = Vec::with_capacity(256 + raw.arguments.len());
    let mut part = |bytes: &[u8]| {
        text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        text.extend_from_slice(bytes);
    };
    part(b"askance call v1");
    part(tenant.as_bytes());
    part(&(raw.principal_chain.len() as u64).to_le_bytes());
    raw.principal_chain.iter().for_each(|link| part(link.as_bytes()));
    part(session.id.as_bytes());
    part(raw.server.as_bytes());
    part(raw.tool.as_bytes());
    part(raw.arguments);
    Sha256::digest(&text).into()
}
