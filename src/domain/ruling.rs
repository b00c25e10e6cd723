//! Events of policies, grants and accepted definitions: what people decide about rules. All are in the partition's own
//! stream.

use super::call::Digest;
use super::decision::Mode;
use super::position::Position;
use super::risk::{Capabilities, RiskCategory};
use super::time::Timestamp;

/// A policy came into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyAdopted {
    /// The whole text of the policy file; empty for the built-in policy, which has no rules.
    pub text: String,
    /// Mode where the text sets none.
    pub mode: Mode,
    /// SHA-256 of the text, preceded by one byte for the mode.
    pub digest: Digest,
    /// The tenant it holds for; empty: every tenant that has none of its own.
    pub tenant: String,
    /// Who adopted it; empty: the daemon, from its policy file.
    pub actor: String,
    /// What was said about it.
    pub comment: String,
}

/// A tenant's own policy was taken back: from here on the one for everybody holds for it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWithdrawn {
    /// The tenant.
    pub tenant: String,
    /// Who took it back.
    pub actor: String,
    /// Why.
    pub comment: String,
}

/// A person granted a rule: by approving and remembering, or by accepting a suggestion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleAccepted {
    /// Tenant.
    pub tenant: String,
    /// Id of the grant; also the rule's id in decisions.
    pub grant_id: String,
    /// The rule, YAML as it would stand in the file.
    pub rule_text: String,
    /// Until when it holds; none: until it is revoked.
    pub expires: Option<Timestamp>,
    /// Who granted it.
    pub actor: String,
    /// The review it came from, by the position of its opening; zero: none.
    pub review: Position,
    /// The suggestion it came from; empty: none.
    pub suggestion_id: String,
    /// What was said about it.
    pub comment: String,
}

/// A granted rule was taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleRevoked {
    /// Tenant.
    pub tenant: String,
    /// Id of the grant.
    pub grant_id: String,
    /// Who took it back.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// A tool's changed definition was accepted: its calls are no longer reviewed for the change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolAccepted {
    /// Tenant.
    pub tenant: String,
    /// MCP server.
    pub server: String,
    /// Tool name.
    pub tool: String,
    /// SHA-256 of the definition that was accepted.
    pub definition_hash: Digest,
    /// Category inferred from it, which holds from now on, also if it is lower than before.
    pub category: RiskCategory,
    /// Capabilities inferred from it.
    pub capabilities: Capabilities,
    /// Who accepted it.
    pub actor: String,
    /// What was said about it.
    pub comment: String,
}
