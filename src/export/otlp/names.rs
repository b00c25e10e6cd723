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
/// SHA-256 that binds the call, arguments included.
pub const DIGEST: &str = "askance.call.digest";
/// Calls of a session.
pub const CALLS: &str = "askance.session.calls";
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
