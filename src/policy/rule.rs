//! Rules and the policy they form.

use super::review_terms::{DefaultTerms, Groups, ReviewTerms};
use super::window::Window;
use crate::domain::decision::{Mode, Verdict};
use crate::domain::risk::RiskCategory;
use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

/// What a rule does with a call it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name, unique in the policy.
    pub id: String,
    /// Glob over tool names, anchored; `*` does not cross `/`.
    pub tool: String,
    /// Glob over server names; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Glob over any link of the principal chain; any if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// What it does.
    pub effect: Effect,
    /// Category it sets, over the inferred one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<RiskCategory>,
    /// Mode for calls it matches, over the policy's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
    /// Terms of the reviews it asks for; those of the category if absent.
    #[serde(skip)]
    pub review: Option<ReviewTerms>,
    /// When its calls may be made; always if absent.
    #[serde(skip)]
    pub window: Option<Window>,
    /// For the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

/// Verdict for a call that no rule matches, by category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// Risk at or over which a call is denied; none: risk alone never denies. 1 to 100.
    pub deny: Option<u8>,
}

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Mode where no rule sets one.
    pub mode: Mode,
    /// Verdicts where no rule matches.
    pub defaults: Defaults,
    /// Thresholds on risk.
    pub thresholds: Thresholds,
    /// Terms of reviews that no rule has terms for.
    pub reviews: DefaultTerms,
    /// Members that the file gives to groups.
    pub groups: Groups,
    /// Rules, most specific first, ties in the order of the file.
    pub(super) rules: Vec<Compiled>,
    /// Their tool globs in the same order.
    pub(super) tools: GlobSet,
}

/// A rule with its globs compiled.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) rule: Rule,
    pub(super) server: Option<GlobMatcher>,
    pub(super) principal: Option<GlobMatcher>,
}

/// Most rules in a policy.
pub(super) const RULES_MAX: usize = 10_000;
/// Longest glob, bytes.
pub(super) const GLOB_BYTES_MAX: usize = 1_024;

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            defaults: Defaults::default(),
            thresholds: Thresholds::default(),
            reviews: DefaultTerms::default(),
            groups: Groups::default(),
            rules: Vec::new(),
            tools: GlobSet::empty(),
        }
    }
}

impl Policy {
    /// Compiles rules; the error names the rule and the fault, all of them.
    pub fn new(
        mode: Mode,
        defaults: Defaults,
        thresholds: Thresholds,
        rules: Vec<Rule>,
    ) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        if rules.len() > RULES_MAX {
            faults.push(format!("{} rules, at most {RULES_MAX} are allowed", rules.len()));
        }
        if thresholds.deny.is_some_and(|risk| risk == 0 || risk > 100) {
            faults.push("thresholds.deny must be 1 to 100".to_owned());
        }
        let mut seen = std::collections::BTreeSet::new();
        let mut compiled = Vec::new();
        let mut tools = GlobSetBuilder::new();
        let mut rules = rules;
        rules.sort_by_key(|rule| std::cmp::Reverse(specificity(rule)));
        for rule in rules {
            if !seen.insert(rule.id.clone()) {
                faults.push(format!("two rules have the id `{}`", rule.id));
            }
            let mut glob = |field: &str, text: &str| {
                compile(text)
                    .map_err(|fault| faults.push(format!("rule `{}`: {field}: {fault}", rule.id)))
                    .ok()
            };
            let tool = glob("tool", &rule.tool);
            let server = rule.server.as_deref().and_then(|text| glob("server", text));
            let principal = rule.principal.as_deref().and_then(|text| glob("principal", text));
            if let Some(tool) = tool {
                tools.add(tool);
            }
            compiled.push(Compiled {
                rule,
                server: server.map(|glob| glob.compile_matcher()),
                principal: principal.map(|glob| glob.compile_matcher()),
            });
        }
        let tools = tools.build().map_err(|fault| faults.push(fault.to_string())).unwrap_or_default();
        if faults.is_empty() {
            let (reviews, groups) = (DefaultTerms::default(), Groups::default());
            Ok(Self { mode, defaults, thresholds, reviews, groups, rules: compiled, tools })
        } else {
            Err(faults)
        }
    }

    /// The built-in policy: no rules, the defaults of the categories.
    pub fn built_in(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// The rule of this id.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules().find(|rule| rule.id == id)
    }

    /// The terms of a review of a call of `category` that `rule_id` asked for; empty: no rule did.
    pub fn review_terms(&self, rule_id: &str, category: RiskCategory) -> &ReviewTerms {
        let own = self.rule(rule_id).and_then(|rule| rule.review.as_ref());
        own.unwrap_or_else(|| self.reviews.of(category))
    }

    /// The change window that calls under the rule `rule_id` must keep, checked again at release.
    pub fn window(&self, rule_id: &str) -> Option<&Window> {
        self.rule(rule_id)?.window.as_ref()
    }

    /// The rules, most specific first.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|compiled| &compiled.rule)
    }
}

fn compile(text: &str) -> Result<Glob, String> {
    if text.is_empty() {
        return Err("an empty pattern matches nothing".to_owned());
    }
    if text.len() > GLOB_BYTES_MAX {
        return Err(format!("longer than {GLOB_BYTES_MAX} bytes"));
    }
    GlobBuilder::new(text).literal_separator(true).build().map_err(|fault| fault.kind().to_string())
}

/// How narrow a rule is: deny before all else, then literal characters of principal, server and tool.
fn specificity(rule: &Rule) -> (bool, usize) {
    let literal = |text: &str| text.chars().filter(|letter| !"*?[]{}".contains(*letter)).count() + 1;
    let width = literal(&rule.tool)
        + rule.server.as_deref().map_or(0, literal)
        + rule.principal.as_deref().map_or(0, literal);
    (rule.effect == Effect::Deny, width)
}
