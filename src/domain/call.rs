//! A tool call as the engine judges it: checked, masked, with its keys and features.

use super::risk::Capabilities;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Limits on the texts of a call, in bytes.
pub mod limits {
    /// `call_id`.
    pub const CALL_ID_BYTES_MAX: usize = 128;
    /// Tool, server and tenant names, client name, one principal, one session id.
    pub const NAME_BYTES_MAX: usize = 256;
    /// Links in a principal chain.
    pub const CHAIN_LINKS_MAX: usize = 16;
    /// Arguments, as JSON text.
    pub const ARGUMENTS_BYTES_MAX: usize = 256 * 1024;
    /// The user's request handed in with a call.
    pub const REQUEST_BYTES_MAX: usize = 64 * 1024;
    /// Result text handed in with an outcome.
    pub const RESULT_BYTES_MAX: usize = 64 * 1024;
    /// Description and schema of a tool together.
    pub const DEFINITION_BYTES_MAX: usize = 256 * 1024;
    /// A `traceparent` header.
    pub const TRACEPARENT_BYTES_MAX: usize = 64;
    /// Argument paths that become features; further ones are counted, not judged.
    pub const ARGUMENT_PATHS_MAX: usize = 32;
    /// Distinct words of a request.
    pub const REQUEST_WORDS_MAX: usize = 192;
    /// Words of a tool's name.
    pub const TOOL_WORDS_MAX: usize = 8;
    /// Words of one argument.
    pub const ARGUMENT_WORDS_MAX: usize = 32;
    /// Words of all arguments of a call.
    pub const ARGUMENTS_WORDS_MAX: usize = 128;
    /// Words of a result, from its beginning.
    pub const RESULT_WORDS_MAX: usize = 1_024;
}

/// SHA-256 over everything of a call that an approval binds: see `decide::ingest`.
pub type Digest = [u8; 32];

/// Where a session's identity came from, most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SessionSource {
    /// `session_id` in the request.
    Explicit,
    /// `gen_ai.conversation.id`.
    Conversation,
    /// The agent host's hook.
    Host,
    /// W3C trace id.
    Trace,
    /// Legacy `Mcp-Session-Id`.
    McpSession,
    /// Derived: same principal and client without a pause longer than the inactivity gap.
    Gap,
}

impl SessionSource {
    /// All sources in the default order of trust; the stored number is the place in this list plus one.
    pub const ALL: [Self; 6] =
        [Self::Explicit, Self::Conversation, Self::Host, Self::Trace, Self::McpSession, Self::Gap];

    /// The stored number, from 1.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The source of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// How sure we are that calls under one id belong to one run of an agent, in percent.
    /// Judgement, not measurement: an explicit id is the caller's word, a pause is a guess.
    pub const fn confidence_percent(self) -> u8 {
        match self {
            Self::Explicit => 100,
            Self::Conversation => 95,
            Self::Host => 95,
            Self::McpSession => 80,
            Self::Trace => 70,
            Self::Gap => 50,
        }
    }
}

/// A session as a caller names it, after the resolver has chosen among the hints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRef {
    /// Where the id came from.
    pub source: SessionSource,
    /// The id as given; empty for [`SessionSource::Gap`] until the engine derives one.
    pub id: String,
    /// The parent session's id as given; empty if none.
    pub parent_id: String,
}

/// How a call came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Origin {
    /// A gateway asked before running it.
    Live,
    /// History, handed in with its own times; observed and allowed.
    Imported,
}

/// A call at the engine's door: checked, masked, digested. Built by `decide::ingest` only.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The client's idempotency key.
    pub call_id: String,
    /// Unit of isolation.
    pub tenant: String,
    /// The session as hinted.
    pub session: SessionRef,
    /// Who acts for whom, outermost first; never empty.
    pub principal_chain: Vec<String>,
    /// Name of the agent host; may be empty.
    pub client: String,
    /// MCP server; may be empty.
    pub server: String,
    /// Tool name.
    pub tool: String,
    /// Masked JSON arguments, an object.
    pub arguments: Vec<u8>,
    /// Masked text of what the user asked, if handed in.
    pub user_request: Vec<u8>,
    /// Number of the assistant message that made the call.
    pub turn: Option<u32>,
    /// The caller's time of the call, if given.
    pub call_time: Option<Timestamp>,
    /// When we received it.
    pub receive_time: Timestamp,
    /// Whether times are meaningful; false for history without times.
    pub timed: bool,
    /// Local offset from UTC in minutes, -1080 to 1080, if known.
    pub utc_offset_minutes: Option<i16>,
    /// W3C `traceparent`; may be empty.
    pub traceparent: String,
    /// How it came.
    pub origin: Origin,
    /// Digest that binds the call.
    pub digest: Digest,
    /// How many secrets were masked.
    pub masked: u32,
    /// Whether the arguments aim at production.
    pub aims_at_production: bool,
    /// Whether the arguments destroy, force, or aim at everything.
    pub destroys: bool,
    /// Features of the arguments, made by `detector::features`.
    pub arguments_features: Vec<ArgumentFeature>,
    /// Words of the request, the tool's name and the arguments.
    pub words: CallWords,
    /// Argument paths beyond the limit, not judged.
    pub paths_dropped: u32,
}

impl Call {
    /// The acting principal: the last link of the chain.
    pub fn principal(&self) -> &str {
        self.principal_chain.last().map_or("", String::as_str)
    }

    /// The outermost principal: on whose behalf everything happens.
    pub fn root_principal(&self) -> &str {
        self.principal_chain.first().map_or("", String::as_str)
    }
}

/// One argument value reduced to what the detectors look at. Hashes are keyed by the log's own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ArgumentFeature {
    /// Hash of the path in the arguments, array indices dropped.
    pub path: u32,
    /// Hash of the value.
    pub value: u32,
    /// Magnitude: for numbers the half-octave bin of the value, for strings that of the length; see
    /// `detector::features`.
    pub magnitude: u8,
    /// What kind of value: 0 null, 1 bool, 2 number, 3 string, 4 empty array or object.
    pub kind: u8,
}

/// What the learnt models look at: everything the fold needs of a call, so that folding the log
/// needs no payload and survives its erasure. By default: of no call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallFeatures {
    /// Hash of server and tool name.
    pub tool: u64,
    /// Hash of the acting principal.
    pub principal: u64,
    /// What the tool can do.
    pub capabilities: Capabilities,
    /// The instant used for statistics; none for history without times.
    pub at: Option<Timestamp>,
    /// Local offset used for time of day, minutes.
    pub utc_offset_minutes: i16,
    /// Arguments, in document order.
    pub arguments: Vec<ArgumentFeature>,
    /// Words of the request, the tool's name and the arguments.
    pub words: CallWords,
}

/// Words of a call as fingerprints, see `stats::words`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallWords {
    /// Of what the user asked with this call: distinct, at most [`limits::REQUEST_WORDS_MAX`].
    pub request: Vec<u32>,
    /// Of the tool's name, at most [`limits::TOOL_WORDS_MAX`].
    pub tool: Vec<u32>,
    /// Of the arguments, one after another, without words of one or two letters.
    pub arguments: Vec<u32>,
    /// How many of them each argument has.
    pub counts: Vec<u8>,
}

impl CallWords {
    /// The words of each argument, in the order of the arguments.
    pub fn by_argument(&self) -> impl Iterator<Item = &[u32]> {
        let mut rest = self.arguments.as_slice();
        self.counts.iter().map(move |count| {
            let (own, others) = rest.split_at(usize::from(*count).min(rest.len()));
            rest = others;
            own
        })
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OutcomeStatus {
    /// The tool answered.
    Ok,
    /// The tool answered with an error.
    Error,
    /// The call was never made, though allowed.
    Abandoned,
}

impl OutcomeStatus {
    /// The stored number, from 1.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The status of a stored number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Ok),
            2 => Some(Self::Error),
            3 => Some(Self::Abandoned),
            _ => None,
        }
    }
}

/// The outcome of a call as handed in by the gateway: checked and masked.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub status: OutcomeStatus,
    /// How long the tool took, microseconds; none if unknown.
    pub latency_us: Option<u64>,
    /// Full size of the result, bytes.
    pub result_bytes: u64,
    /// Masked result text, clipped; empty if not handed in.
    pub result: Vec<u8>,
    /// Salted fingerprints of the result's value-like tokens.
    pub fingerprints: Vec<u64>,
    /// The result's words in order, see `stats::words`; none if no result was handed in.
    pub words: Option<Vec<u32>>,
    /// Hashes of telling values in the result, in the form of argument values.
    pub brought: Vec<u32>,
    /// When the call ended, by the caller's clock.
    pub end_time: Option<Timestamp>,
}
