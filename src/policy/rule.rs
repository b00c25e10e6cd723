//! Rules, and what else a policy says.

use super::cel::Condition;
use super::names::Pattern;
use super::review_terms::ReviewTerms;
use super::window::Window;
use crate::domain::decision::{Mode, Verdict};
use crate::domain::risk::{Capabilities, RiskCategory};
use crate::domain::time::Timestamp;
use serde::Serialize;

/// What a rule does with a call it matches. A higher one is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Whitelisted: allowed unless it is anomalous.
    Allow,
    /// A human must approve.
    Review,
    /// Denied, before anything else is asked.
    Deny,
}

impl Effect {
    /// Names as they are written.
    pub(super) const NAMES: [(&'static str, Self); 3] =
        [("allow", Self::Allow), ("review", Self::Review), ("deny", Self::Deny)];

    /// The verdict it asks for.
    pub const fn verdict(self) -> Verdict {
        match self {
            Self::Allow => Verdict::Allow,
            Self::Review => Verdict::Review,
            Self::Deny => Verdict::Deny,
        }
    }
}

/// A rule as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Name, unique in the policy.
    pub id: String,
    /// Line in the file, from 1; 0: a grant.
    pub line: u32,
    /// Glob over tool names, anchored; `*` does not cross `/`.
    pub tool: String,
    /// Glob over server names; any if absent.
    pub server: Option<String>,
    /// Glob over the links of the principal chain; any if absent.
    pub principal: Option<String>,
    /// Condition over the call; none: always.
    pub when: Option<Condition>,
    /// What it does.
    pub effect: Effect,
    /// Category it sets, over the inferred one.
    pub risk: Option<RiskCategory>,
    /// Terms of the reviews it asks for; those of the category if absent.
    pub review: Option<ReviewTerms>,
    /// When its calls may be made; always if absent.
    pub window: Option<Window>,
    /// From when on it counts no more; never if absent.
    pub expires: Option<Timestamp>,
    /// Must hold of an allowed call once it is scored; if it does not, the call is reviewed.
    pub expect: Option<Condition>,
    /// Mode for calls it matches, over the policy's.
    pub mode: Option<Mode>,
    /// For the reader.
    pub notes: String,
    /// Whether its author says that its breadth is meant.
    pub acknowledged: bool,
}

impl Rule {
    /// A rule over tool names and nothing else.
    pub fn plain(id: &str, tool: &str, effect: Effect) -> Self {
        Self {
            id: id.to_owned(),
            line: 0,
            tool: tool.to_owned(),
            server: None,
            principal: None,
            when: None,
            effect,
            risk: None,
            review: None,
            window: None,
            expires: None,
            expect: None,
            mode: None,
            notes: String::new(),
            acknowledged: false,
        }
    }
}

/// Verdict for a call that no rule matches, by category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// LOW; default allow.
    pub low: Effect,
    /// MEDIUM; default review.
    pub medium: Effect,
    /// HIGH; default review.
    pub high: Effect,
    /// CRITICAL; default review.
    pub critical: Effect,
}

impl Default for Defaults {
    fn default() -> Self {
        Self { low: Effect::Allow, medium: Effect::Review, high: Effect::Review, critical: Effect::Review }
    }
}

impl Defaults {
    /// The default of a category.
    pub const fn of(&self, category: RiskCategory) -> Effect {
        match category {
            RiskCategory::Low => self.low,
            RiskCategory::Medium => self.medium,
            RiskCategory::High => self.high,
            RiskCategory::Critical => self.critical,
        }
    }
}

/// Where risk alone changes a verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Risk at or over which a call is denied; none: risk alone never denies. 1 to 100.
    pub deny: Option<u8>,
}

/// What the policy says of tools, over what was inferred.
#[derive(Clone, Debug)]
pub(super) struct ToolLabel {
    pub(super) tool: Pattern,
    pub(super) server: Option<Pattern>,
    /// Category; none: as inferred.
    pub(super) risk: Option<RiskCategory>,
    /// Capabilities; none: as inferred.
    pub(super) capabilities: Option<Capabilities>,
}

impl ToolLabel {
    pub(super) fn matches(&self, tool: &str, server: &str) -> bool {
        self.tool.matches(tool) && self.server.as_ref().is_none_or(|pattern| pattern.matches(server))
    }
}
