//! Events of reviews, locks and tokens. Those of a review are in the stream of its call's session; those of
//! locks and tokens in the partition's own.

use super::call::{CallFeatures, Digest};
use super::identity::Token;
use super::lock::Lock;
use super::position::Position;
use super::review::{Feedback, ReviewState, Terms, Vote, Why};
use super::risk::RiskCategory;
use super::time::Timestamp;

/// A review was opened; it stands right behind the `CallDecided` that asked for it. Its position names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewOpened {
    /// Tenant.
    pub tenant: String,
    /// The call's id.
    pub call_id: String,
    /// Digest that binds the call.
    pub digest: Digest,
    /// MCP server.
    pub server: String,
    /// Tool name.
    pub tool: String,
    /// Outermost first.
    pub principal_chain: Vec<String>,
    /// Category of the call as decided.
    pub category: RiskCategory,
    /// The rule that asked for it; empty: none did.
    pub rule_id: String,
    /// Revision of the policy it was opened under.
    pub policy_revision: Position,
    /// Its terms.
    pub terms: Terms,
}

/// A reviewer voted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VoteCast {
    /// Tenant.
    pub tenant: String,
    /// The review, by the position of its `ReviewOpened`.
    pub review: Position,
    /// The vote.
    pub vote: Vote,
}

/// A review was settled, or passed on to further groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewResolved {
    /// Tenant.
    pub tenant: String,
    /// The review.
    pub review: Position,
    /// Its new state.
    pub state: ReviewState,
    /// Why.
    pub why: Why,
    /// Groups that may vote from now on, after an escalation.
    pub groups: Vec<String>,
    /// The new deadline: of the review after an escalation, of the approval after approval.
    pub deadline: Option<Timestamp>,
}

/// A review was handed to somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewDelegated {
    /// Tenant.
    pub tenant: String,
    /// The review.
    pub review: Position,
    /// The reviewer it was handed to; empty: a group.
    pub delegate: String,
    /// The group it was handed to; empty: a reviewer.
    pub group: String,
    /// What was said about it.
    pub comment: String,
    /// Who handed it on.
    pub actor: String,
}

/// A further call joined an open review: the very same call, asked for again under another id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewJoined {
    /// Tenant.
    pub tenant: String,
    /// The review.
    pub review: Position,
    /// The further call's id.
    pub call_id: String,
}

/// An approved call was let go; its approval is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallReleased {
    /// Tenant.
    pub tenant: String,
    /// The call's id.
    pub call_id: String,
    /// The review.
    pub review: Position,
    /// Why: approved, or silence.
    pub why: Why,
    /// Risk at the moment of release.
    pub risk: u8,
}

/// A reviewed call was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRefused {
    /// Tenant.
    pub tenant: String,
    /// The call's id.
    pub call_id: String,
    /// The review; zero: none was opened.
    pub review: Position,
    /// Why.
    pub why: Why,
}

/// A lock was placed. In the partition's own stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockPlaced {
    /// The lock.
    pub lock: Lock,
}

/// A lock was lifted, or ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockLifted {
    /// Tenant; empty for a lock on everything.
    pub tenant: String,
    /// The lock.
    pub lock_id: String,
    /// Why.
    pub reason: String,
    /// Who lifted it.
    pub actor: String,
    /// Whether it ran out by itself.
    pub expired: bool,
}

/// A person judged an alarm, or a call without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedbackGiven {
    /// Tenant.
    pub tenant: String,
    /// The call's id.
    pub call_id: String,
    /// The judgement.
    pub feedback: Feedback,
    /// Whether such calls are to be expected again.
    pub expect_again: bool,
    /// What was said about it.
    pub comment: String,
    /// Who.
    pub actor: String,
    /// What is learnt of the call where such calls are to be expected again.
    pub features: Option<Box<CallFeatures>>,
}

/// A token was made. In the own stream of partition 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenCreated {
    /// The token without its secret.
    pub token: Token,
    /// Who made it.
    pub actor: String,
}

/// A token was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRevoked {
    /// The token.
    pub token_id: String,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
}
