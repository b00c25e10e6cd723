//! Names of attributes. Those of OpenTelemetry's GenAI conventions are still in development: they change here.

/// Operation of a call: `execute_tool`.
pub const OPERATION: &str = "gen_ai.operation.name";
/// Tool.
pub const TOOL: &str = "gen_ai.tool.name";
/// The client's id of the call.
pub const CALL_ID: &str = "gen_ai.tool.call.id";
/// Arguments; only when asked for.
pub const ARGUMENTS: &str = "gen_ai.tool.call.arguments";
/// Session.
pub const CONVERSATION: &str = "gen_ai.conversation.id";
/// The acting agent.
pub const AGENT: &str = "gen_ai.agent.name";
/// What went wrong.
pub const ERROR_TYPE: &str = "error.type";
/// MCP server.
pub const SERVER: &str = "askance.server";
/// Tenant.
pub const TENANT: &str = "askance.tenant";
/// Key of the session.
pub const SESSION_KEY: &str = "askance.session.key";
/// What the gateway was told.
pub const VERDICT: &str = "askance.verdict";
/// Whether the verdict bound.
pub const ENFORCED: &str = "askance.enforced";
/// Risk, 0 to 100.
pub const RISK: &str = "askance.risk";
/// Evidence, bits.
pub const EVIDENCE: &str = "askance.evidence_bits";
/// What settled the verdict.
pub const REASON: &str = "askance.reason_code";
/// The rule that won.
pub const RULE: &str = "askance.rule.id";
/// Position of the decision in the log.
pub const POSITION: &str = "askance.position";
/// Keyed digest of the arguments: equal arguments have equal digests, and nobody without the key can test a guess.
pub const ARGUMENTS_DIGEST: &str = "askance.call.arguments_digest";
/// Key of the session that started a session.
pub const PARENT_SESSION: &str = "askance.session.parent_key";
/// How a session ended.
pub const END: &str = "askance.session.end";
/// A finding, as an event of a span.
pub const FINDING: &str = "askance.finding";
/// Its detector.
pub const DETECTOR: &str = "askance.finding.detector";
/// Its surprise, bits.
pub const SURPRISE: &str = "askance.finding.surprise_bits";
/// Its sentence.
pub const SENTENCE: &str = "askance.finding.sentence";
/// Id of a review.
pub const REVIEW_ID: &str = "askance.review.id";
/// Groups that may vote, or in whose name was voted; joined by commas.
pub const REVIEW_GROUPS: &str = "askance.review.groups";
/// How many people must approve.
pub const REVIEW_APPROVALS: &str = "askance.review.approvals_needed";
/// How a review ended.
pub const REVIEW_STATE: &str = "askance.review.state";
/// Who voted, or was asked to.
pub const REVIEWER: &str = "askance.review.reviewer";
/// What was voted.
pub const VOTE: &str = "askance.review.vote";
/// A vote, as an event of a review's span.
pub const VOTE_CAST: &str = "askance.review.voted";
/// A review was passed on.
pub const REVIEW_ESCALATED: &str = "askance.review.escalated";
/// A review was handed to somebody.
pub const REVIEW_DELEGATED: &str = "askance.review.delegated";
/// Another call joined a review.
pub const REVIEW_JOINED: &str = "askance.review.joined";
/// A reviewed call was let go, as an event of its span.
pub const RELEASED: &str = "askance.call.released";
/// Conventions that the names are of.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.42.0";
/// What enforce mode would have said.
pub const COMPUTED_VERDICT: &str = "askance.computed_verdict";
/// Id of a lock.
pub const LOCK_ID: &str = "askance.lock.id";
/// What a lock stops.
pub const LOCK_SCOPE: &str = "askance.lock.scope";
/// Name of a log record: a call was not simply allowed.
pub const LOG_DECISION: &str = "askance.decision";
/// Name of a log record: a call waits for a human.
pub const LOG_REVIEW_OPENED: &str = "askance.review.opened";
/// Name of a log record: a review ended or was passed on.
pub const LOG_REVIEW_RESOLVED: &str = "askance.review.resolved";
/// Name of a log record: calls are stopped.
pub const LOG_LOCK_PLACED: &str = "askance.lock.placed";
/// Name of a log record: calls are no longer stopped.
pub const LOG_LOCK_LIFTED: &str = "askance.lock.lifted";
/// Name of a log record: a tool has another definition.
pub const LOG_TOOL_CHANGED: &str = "askance.tool.changed";
/// Name of a log record: another policy is in force.
pub const LOG_POLICY_ADOPTED: &str = "askance.policy.adopted";
/// Name of a log record: another model is in use.
pub const LOG_MODEL_ADOPTED: &str = "askance.model.adopted";
