//! Events: facts, in the past tense. The log of them is the only truth; all state is folded from it.

use super::call::{CallFeatures, Digest, Origin, OutcomeStatus, SessionSource};
use super::decision::Decision;
use super::position::{Position, Revision};
use super::risk::{Capabilities, RiskCategory};
use super::stream::{CallKey, StreamId};
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

pub use super::oversight::{
    CallRefused, CallReleased, FeedbackGiven, LockLifted, LockPlaced, ReviewDelegated, ReviewJoined,
    ReviewOpened, ReviewResolved, TokenCreated, TokenRevoked, VoteCast,
};
pub use super::ruling::{PolicyAdopted, PolicyWithdrawn, RuleAccepted, RuleRevoked, ToolAccepted};

/// Numbers of event kinds in stored records. Never reused; those of later work are taken already.
pub mod kind {
    /// [`super::LogCreated`]
    pub const LOG_CREATED: u8 = 1;
    /// [`super::SessionOpened`]
    pub const SESSION_OPENED: u8 = 2;
    /// [`super::SessionClosed`]
    pub const SESSION_CLOSED: u8 = 3;
    /// [`super::ToolDefined`], first definition
    pub const TOOL_DEFINED: u8 = 4;
    /// [`super::ToolDefined`], a changed definition
    pub const TOOL_REDEFINED: u8 = 5;
    /// [`super::CallProposed`]
    pub const CALL_PROPOSED: u8 = 6;
    /// [`super::CallDecided`]
    pub const CALL_DECIDED: u8 = 7;
    /// A review was opened.
    pub const REVIEW_OPENED: u8 = 8;
    /// A reviewer voted.
    pub const VOTE_CAST: u8 = 9;
    /// A review ended: approved, denied, expired, cancelled, escalated.
    pub const REVIEW_RESOLVED: u8 = 10;
    /// An approved call was let go.
    pub const CALL_RELEASED: u8 = 11;
    /// A call was refused for good.
    pub const CALL_REFUSED: u8 = 12;
    /// [`super::CallCompleted`]
    pub const CALL_COMPLETED: u8 = 13;
    /// A lock was placed.
    pub const LOCK_PLACED: u8 = 14;
    /// A lock was lifted.
    pub const LOCK_LIFTED: u8 = 15;
    /// [`super::PolicyAdopted`]
    pub const POLICY_ADOPTED: u8 = 16;
    /// [`super::ModelAdopted`]
    pub const MODEL_ADOPTED: u8 = 17;
    /// A whitelist rule was suggested.
    pub const RULE_SUGGESTED: u8 = 18;
    /// A suggested rule was accepted.
    pub const RULE_ACCEPTED: u8 = 19;
    /// A reviewer called a finding right or wrong.
    pub const FEEDBACK_GIVEN: u8 = 20;
    /// A checkpoint of the log was signed.
    pub const CHECKPOINT_SIGNED: u8 = 21;
    /// A payload was erased.
    pub const PAYLOAD_ERASED: u8 = 22;
    /// [`super::BudgetSet`]
    pub const BUDGET_SET: u8 = 32;
    /// [`super::SessionUnlearned`]
    pub const SESSION_UNLEARNED: u8 = 33;
    /// A granted rule was taken back.
    pub const RULE_REVOKED: u8 = 23;
    /// A tool's changed definition was accepted.
    pub const TOOL_ACCEPTED: u8 = 24;
    /// A tenant's own policy was taken back.
    pub const POLICY_WITHDRAWN: u8 = 34;
    /// A review was handed to somebody.
    pub const REVIEW_DELEGATED: u8 = 25;
    /// A token was made.
    pub const TOKEN_CREATED: u8 = 26;
    /// A token was revoked.
    pub const TOKEN_REVOKED: u8 = 27;
    /// A further call joined an open review.
    pub const REVIEW_JOINED: u8 = 28;
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first record of a log.
    LogCreated(LogCreated),
    /// A session began.
    SessionOpened(SessionOpened),
    /// A session ended; what it taught is learnt now.
    SessionClosed(SessionClosed),
    /// A tool's definition was seen for the first time, or changed.
    ToolDefined(ToolDefined),
    /// A call was proposed.
    CallProposed(CallProposed),
    /// A proposed call was decided.
    CallDecided(CallDecided),
    /// A call ended.
    CallCompleted(CallCompleted),
    /// A policy came into force.
    PolicyAdopted(PolicyAdopted),
    /// A tenant's own policy was taken back.
    PolicyWithdrawn(PolicyWithdrawn),
    /// A tenant's review budget was set.
    BudgetSet(BudgetSet),
    /// What a session taught was taken back.
    SessionUnlearned(SessionUnlearned),
    /// A fitted model was adopted.
    ModelAdopted(ModelAdopted),
    /// A review was opened.
    ReviewOpened(ReviewOpened),
    /// A reviewer voted.
    VoteCast(VoteCast),
    /// A review was settled, or passed on.
    ReviewResolved(ReviewResolved),
    /// A review was handed to somebody.
    ReviewDelegated(ReviewDelegated),
    /// A further call joined an open review.
    ReviewJoined(ReviewJoined),
    /// An approved call was let go.
    CallReleased(CallReleased),
    /// A reviewed call was refused for good.
    CallRefused(CallRefused),
    /// A lock was placed.
    LockPlaced(LockPlaced),
    /// A lock was lifted, or ran out.
    LockLifted(LockLifted),
    /// A person judged an alarm.
    FeedbackGiven(FeedbackGiven),
    /// A token was made.
    TokenCreated(TokenCreated),
    /// A token was revoked.
    TokenRevoked(TokenRevoked),
    /// A rule was granted.
    RuleAccepted(RuleAccepted),
    /// A granted rule was taken back.
    RuleRevoked(RuleRevoked),
    /// A tool's changed definition was accepted.
    ToolAccepted(ToolAccepted),
}

impl Event {
    /// The stored number of the event's kind.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::LogCreated(_) => kind::LOG_CREATED,
            Self::SessionOpened(_) => kind::SESSION_OPENED,
            Self::SessionClosed(_) => kind::SESSION_CLOSED,
            Self::ToolDefined(event) => {
                if event.previous_hash.is_some() {
                    kind::TOOL_REDEFINED
                } else {
                    kind::TOOL_DEFINED
                }
            }
            Self::CallProposed(_) => kind::CALL_PROPOSED,
            Self::CallDecided(_) => kind::CALL_DECIDED,
            Self::CallCompleted(_) => kind::CALL_COMPLETED,
            Self::PolicyAdopted(_) => kind::POLICY_ADOPTED,
            Self::PolicyWithdrawn(_) => kind::POLICY_WITHDRAWN,
            Self::BudgetSet(_) => kind::BUDGET_SET,
            Self::SessionUnlearned(_) => kind::SESSION_UNLEARNED,
            Self::ModelAdopted(_) => kind::MODEL_ADOPTED,
            Self::ReviewOpened(_) => kind::REVIEW_OPENED,
            Self::VoteCast(_) => kind::VOTE_CAST,
            Self::ReviewResolved(_) => kind::REVIEW_RESOLVED,
            Self::ReviewDelegated(_) => kind::REVIEW_DELEGATED,
            Self::ReviewJoined(_) => kind::REVIEW_JOINED,
            Self::CallReleased(_) => kind::CALL_RELEASED,
            Self::CallRefused(_) => kind::CALL_REFUSED,
            Self::LockPlaced(_) => kind::LOCK_PLACED,
            Self::LockLifted(_) => kind::LOCK_LIFTED,
            Self::FeedbackGiven(_) => kind::FEEDBACK_GIVEN,
            Self::TokenCreated(_) => kind::TOKEN_CREATED,
            Self::TokenRevoked(_) => kind::TOKEN_REVOKED,
            Self::RuleAccepted(_) => kind::RULE_ACCEPTED,
            Self::RuleRevoked(_) => kind::RULE_REVOKED,
            Self::ToolAccepted(_) => kind::TOOL_ACCEPTED,
        }
    }
}

/// First record of every log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogCreated {
    /// Names the log; random.
    pub log_id: [u8; 16],
    /// Keys every hash of the fold, so that nobody outside can aim at a table slot; random.
    pub hash_key: [u8; 16],
    /// Number of this partition.
    pub partition: u32,
    /// Partitions of this data directory.
    pub partitions: u32,
}

/// A session began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOpened {
    /// Tenant.
    pub tenant: String,
    /// The id it goes by.
    pub session_id: String,
    /// Where the id came from.
    pub source: SessionSource,
    /// Outermost first.
    pub principal_chain: Vec<String>,
    /// Agent host.
    pub client: String,
    /// The parent session's stream, if any.
    pub parent: StreamId,
    /// The parent session's id as given; empty if none.
    pub parent_id: String,
    /// Whether the session was known before, and had been closed.
    pub reopened: bool,
}

/// Why a session was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The host said so.
    Ended,
    /// No call for the idle time.
    Idle,
    /// Open for the longest time allowed.
    Aged,
    /// Too many live sessions: the longest silent one had to go.
    Evicted,
}

impl CloseReason {
    /// All reasons; the stored number is the place in this list plus one.
    pub const ALL: [Self; 4] = [Self::Ended, Self::Idle, Self::Aged, Self::Evicted];

    /// The stored number, from 1.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The reason of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// A session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionClosed {
    /// Tenant.
    pub tenant: String,
    /// Why.
    pub reason: CloseReason,
    /// Subject of the credential that ended it; empty: the daemon did, or there was none.
    pub actor: String,
}

/// A tool's definition: pinned when first seen, compared ever after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolDefined {
    /// Tenant.
    pub tenant: String,
    /// MCP server.
    pub server: String,
    /// Tool name.
    pub tool: String,
    /// SHA-256 of description, schema and annotations.
    pub definition_hash: Digest,
    /// The hash it replaces, if the tool was known.
    pub previous_hash: Option<Digest>,
    /// Description.
    pub description: String,
    /// JSON Schema of the arguments; may be empty.
    pub input_schema: Vec<u8>,
    /// Annotations as handed in, JSON; may be empty.
    pub annotations: Vec<u8>,
    /// Base category inferred from all this.
    pub category: RiskCategory,
    /// Capabilities inferred from all this.
    pub capabilities: Capabilities,
    /// Subject of the credential that handed it in; empty: there was none.
    pub actor: String,
}

/// A call was proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallProposed {
    /// Tenant.
    pub tenant: String,
    /// The client's idempotency key.
    pub call_id: String,
    /// Digest that binds the call.
    pub digest: Digest,
    /// MCP server.
    pub server: String,
    /// Tool name.
    pub tool: String,
    /// Outermost first.
    pub principal_chain: Vec<String>,
    /// Number of the assistant message.
    pub turn: Option<u32>,
    /// W3C `traceparent`; may be empty.
    pub traceparent: String,
    /// How it came.
    pub origin: Origin,
    /// Secrets masked in the payload.
    pub masked: u32,
    /// Category inferred for this call: of the tool, raised by its arguments.
    pub category: RiskCategory,
    /// Whether the caller's time was off by more than the allowed skew, so that ours was used.
    pub skewed: bool,
    /// Where and how the arguments do not match the tool's schema; empty: they do, or it has none.
    pub schema_fault: String,
    /// What the models look at.
    pub features: CallFeatures,
    /// Subject of the credential that asked; empty: there was none.
    pub actor: String,
}

/// A proposed call was decided. Its position is the causation's next in the same stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallDecided {
    /// Tenant.
    pub tenant: String,
    /// The decision.
    pub decision: Decision,
    /// Revision of the policy used: position of its `PolicyAdopted`.
    pub policy_revision: Position,
    /// Version of the scoring code.
    pub scoring_version: u32,
}

/// A call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallCompleted {
    /// Tenant.
    pub tenant: String,
    /// The client's idempotency key.
    pub call_id: String,
    /// How it ended.
    pub status: OutcomeStatus,
    /// How long it took, microseconds.
    pub latency_us: Option<u64>,
    /// Full size of the result, bytes.
    pub result_bytes: u64,
    /// Salted fingerprints of the result's value-like tokens.
    pub fingerprints: Vec<u64>,
    /// The result's words in order, see `stats::words`; none if no result was handed in.
    pub words: Option<Vec<u32>>,
    /// Hashes of telling values in the result, in the form of argument values.
    pub brought: Vec<u32>,
    /// Subject of the credential that told; empty: there was none.
    pub actor: String,
}

/// A tenant's review budget was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetSet {
    /// Tenant.
    pub tenant: String,
    /// Share of counted calls that evidence may send to review, parts per million.
    pub rate_ppm: u32,
    /// Reviews a day that the share is made of; 0: the share is as it stands.
    pub reviews_per_day: u32,
    /// Share of allowed calls looked at afterwards, parts per million.
    pub audit_ppm: u32,
}

/// What a session taught was taken back: from here on, what is learnt of the tenant is what a log would have
/// taught in which the session taught nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionUnlearned {
    /// Tenant.
    pub tenant: String,
    /// The session's stream.
    pub session: StreamId,
    /// Why.
    pub reason: String,
}

/// A fitted model was adopted, for all tenants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelAdopted {
    /// First 8 bytes of the SHA-256 of the parameters, in hex digits.
    pub revision: String,
    /// Its name.
    pub name: String,
    /// What it is, from which data, measured how, its limits: Markdown.
    pub card: String,
    /// The parameters: a line `askance-model 1 NAME`, then one number a line, the bits of a float in hex digits.
    pub parameters: Vec<u8>,
}

/// What lies beside a record's commitment and can be erased.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// Masked JSON arguments of a proposed call.
    pub arguments: Vec<u8>,
    /// Masked text of the user's request.
    pub user_request: Vec<u8>,
    /// Masked result text of a completed call.
    pub result: Vec<u8>,
}

impl Payload {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.arguments.is_empty() && self.user_request.is_empty() && self.result.is_empty()
    }
}

/// An event decided on, not yet in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Stream it belongs to.
    pub stream: StreamId,
    /// Its place in the stream.
    pub revision: Revision,
    /// Time used for statistics.
    pub event_time: Timestamp,
    /// When we learnt of it.
    pub receive_time: Timestamp,
    /// The call it is about; none otherwise.
    pub call: CallKey,
    /// Position of the event that caused it; zero if none.
    pub causation: Position,
    /// The event.
    pub event: Event,
    /// Erasable part.
    pub payload: Payload,
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// Place in the log.
    pub position: Position,
    /// The rest.
    pub record: Pending,
}
