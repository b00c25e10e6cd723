//! A policy, ready to decide.

use super::composition::Composition;
use super::names::{Names, Pattern};
use super::review_terms::{DefaultTerms, Groups, ReviewTerms};
use super::rule::{Defaults, Effect, Rule, Thresholds, ToolLabel};
use super::window::Window;
use crate::domain::decision::Mode;
use crate::domain::risk::{Capabilities, RiskCategory};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most rules in a policy.
pub(super) const RULES_MAX: usize = 10_000;

/// A compiled policy.
#[derive(Clone, Debug, Default)]
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
    /// What the file says of tools; the first match counts.
    pub(super) labels: Vec<ToolLabel>,
    /// Rules over several calls.
    pub(super) compositions: Arc<Vec<Composition>>,
    /// Rules, most specific first, ties in the order of the file.
    pub(super) rules: Vec<Compiled>,
    /// Places of the rules by the tool names they match.
    pub(super) names: Names,
}

/// A rule with its patterns compiled.
#[derive(Clone, Debug)]
pub(super) struct Compiled {
    pub(super) rule: Rule,
    pub(super) tool: Pattern,
    pub(super) server: Option<Pattern>,
    pub(super) principal: Option<Pattern>,
}

impl Policy {
    /// A policy of rules and defaults; the error names the rule and the fault, all of them.
    pub fn new(
        mode: Mode,
        defaults: Defaults,
        thresholds: Thresholds,
        rules: Vec<Rule>,
    ) -> Result<Self, Vec<String>> {
        let mut policy = Self { mode, defaults, thresholds, ..Self::default() };
        policy.set_rules(rules)?;
        Ok(policy)
    }

    /// The built-in policy: no rules but the shipped compositions, the defaults of the categories.
    pub fn built_in(mode: Mode) -> Self {
        Self { mode, compositions: super::composition::shipped(), ..Self::default() }
    }

    /// Replaces the rules and sorts them.
    pub(super) fn set_rules(&mut self, mut rules: Vec<Rule>) -> Result<(), Vec<String>> {
        let mut faults = Vec::new();
        if rules.len() > RULES_MAX {
            faults.push(format!("{} rules, at most {RULES_MAX} are allowed", rules.len()));
        }
        if self.thresholds.deny.is_some_and(|risk| risk == 0 || risk > 100) {
            faults.push("thresholds.deny must be 1 to 100".to_owned());
        }
        let mut seen = BTreeSet::new();
        rules.sort_by_key(|rule| Reverse(specificity(rule)));
        let (mut compiled, mut names) = (Vec::new(), Names::default());
        for rule in rules {
            if !seen.insert(rule.id.clone()) {
                faults.push(format!("two rules have the id `{}`", rule.id));
            }
            match compile(rule) {
                Ok(rule) => {
                    names.add(&rule.tool, u32::try_from(compiled.len()).unwrap_or(u32::MAX));
                    compiled.push(rule);
                }
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        (self.rules, self.names) = (compiled, names);
        Ok(())
    }

    /// The same policy with further rules, such as grants. Rules that do not compile are left out.
    pub fn with_rules(&self, more: impl IntoIterator<Item = Rule>) -> Self {
        let mut policy = self.clone();
        let known: BTreeSet<&str> = self.rules().map(|rule| rule.id.as_str()).collect();
        let mut rules: Vec<Rule> = self.rules().cloned().collect();
        rules.extend(more.into_iter().filter(|rule| !known.contains(rule.id.as_str())));
        // What was accepted once compiles again; if not, the policy without it is the safe one.
        let _refused = policy.set_rules(rules);
        policy
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

    /// Category and capabilities of a tool: what the file says, else what was inferred.
    pub fn label(
        &self,
        tool: &str,
        server: &str,
        inferred: (RiskCategory, Capabilities),
    ) -> (RiskCategory, Capabilities) {
        let Some(label) = self.labels.iter().find(|label| label.matches(tool, server)) else {
            return inferred;
        };
        (label.risk.unwrap_or(inferred.0), label.capabilities.unwrap_or(inferred.1))
    }

    /// The rules, most specific first.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|compiled| &compiled.rule)
    }

    /// Whether some rule looks at a call beyond its names, so that deciding needs the call's arguments.
    pub fn needs_arguments(&self) -> bool {
        self.rules().any(|rule| rule.when.is_some() || rule.expect.is_some())
    }

    /// The rules over several calls.
    pub fn compositions(&self) -> &[Composition] {
        &self.compositions
    }
}

fn compile(rule: Rule) -> Result<Compiled, String> {
    let pattern = |field: &str, text: &str| {
        Pattern::new(text).map_err(|fault| format!("rule `{}`: {field}: {fault}", rule.id))
    };
    let tool = pattern("tool", &rule.tool)?;
    let server = rule.server.as_deref().map(|text| pattern("server", text)).transpose()?;
    let principal = rule.principal.as_deref().map(|text| pattern("principal", text)).transpose()?;
    Ok(Compiled { rule, tool, server, principal })
}

/// How narrow a rule is. Deny rules come before all others, then rules that people granted for a while:
/// they stand over the rule whose reviews they save. Then, each only where those before are equal: an exact tool name, letters of the tool pattern that are no wildcards, the same of the server
/// and of the principal, and having a condition. Ties keep the order of the file.
fn specificity(rule: &Rule) -> impl Ord + use<> {
    let literal = |text: &str| text.chars().filter(|letter| !"*?[]{}".contains(*letter)).count();
    let width = |text: &Option<String>| text.as_deref().map_or(0, |text| literal(text) + 1);
    let exact = literal(&rule.tool) == rule.tool.chars().count();
    let deny = rule.effect == Effect::Deny;
    (
        deny,
        rule.line == 0,
        exact,
        literal(&rule.tool),
        width(&rule.server),
        width(&rule.principal),
        rule.when.is_some(),
    )
}
