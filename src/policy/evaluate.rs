//! Which rule wins for a call.

use super::rule::{Effect, Policy, Rule};
use crate::domain::decision::Mode;
use crate::domain::risk::RiskCategory;

/// What the policy says of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'p> {
    /// The rule that won; none: the default of the category.
    pub rule: Option<&'p Rule>,
    /// What it does.
    pub effect: Effect,
    /// Category of the call, after a rule's override.
    pub category: RiskCategory,
    /// Whether verdicts bind.
    pub mode: Mode,
}

impl Policy {
    /// The outcome for a call of `tool` on `server` by `principals` (the whole chain), whose inferred
    /// category is `category`. The first match in order of specificity wins; deny rules come first.
    pub fn evaluate(
        &self,
        tool: &str,
        server: &str,
        principals: &[String],
        category: RiskCategory,
    ) -> Outcome<'_> {
        let matched = if self.rules.is_empty() {
            None
        } else {
            let candidates = self.tools.matches(tool);
            candidates.into_iter().filter_map(|index| self.rules.get(index)).find(|compiled| {
                compiled.server.as_ref().is_none_or(|glob| glob.is_match(server))
                    && compiled
                        .principal
                        .as_ref()
                        .is_none_or(|glob| principals.iter().any(|link| glob.is_match(link)))
            })
        };
        let rule = matched.map(|compiled| &compiled.rule);
        let category = rule.and_then(|rule| rule.risk).unwrap_or(category);
        Outcome {
            rule,
            effect: rule.map_or_else(|| self.defaults.of(category), |rule| rule.effect),
            category,
            mode: rule.and_then(|rule| rule.mode).unwrap_or(self.mode),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::{Defaults, Thresholds};
    use super::*;

    fn policy(rules: &[(&str, &str, Effect)]) -> Policy {
        let rules = rules
            .iter()
            .map(|(id, tool, effect)| Rule {
                id: (*id).to_owned(),
                tool: (*tool).to_owned(),
                server: None,
                principal: None,
                effect: *effect,
                risk: None,
                mode: None,
                review: None,
                window: None,
                notes: None,
            })
            .collect();
        Policy::new(Mode::Enforce, Defaults::default(), Thresholds::default(), rules).unwrap()
    }

    fn check(policy: &Policy, tool: &str, rule: Option<&str>, effect: Effect) {
        let chain = ["user:a".to_owned(), "agent:b".to_owned()];
        let outcome = policy.evaluate(tool, "k8s", &chain, RiskCategory::Medium);
        assert_eq!(outcome.rule.map(|rule| rule.id.as_str()), rule, "{tool}");
        assert_eq!(outcome.effect, effect, "{tool}");
    }

    #[test]
    fn the_narrower_rule_wins_and_deny_wins_over_all() {
        let policy = policy(&[
            ("any-get", "get_*", Effect::Allow),
            ("secrets", "get_secret*", Effect::Review),
            ("never", "*_root_key", Effect::Deny),
        ]);
        check(&policy, "get_logs", Some("any-get"), Effect::Allow);
        check(&policy, "get_secret_names", Some("secrets"), Effect::Review);
        check(&policy, "get_secret_root_key", Some("never"), Effect::Deny);
        check(&policy, "set_flag", None, Effect::Review);
    }

    #[test]
    fn globs_are_anchored_and_stop_at_separators() {
        let policy = policy(&[("files", "fs/*", Effect::Allow)]);
        check(&policy, "fs/read", Some("files"), Effect::Allow);
        check(&policy, "fs/a/b", None, Effect::Review);
        check(&policy, "xfs/read", None, Effect::Review);
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let rule = |id: &str, tool: &str| Rule {
            id: id.to_owned(),
            tool: tool.to_owned(),
            server: None,
            principal: None,
            effect: Effect::Allow,
            risk: None,
            mode: None,
            review: None,
            window: None,
            notes: None,
        };
        let thresholds = Thresholds { deny: Some(101) };
        let rules = vec![rule("a", "["), rule("a", "")];
        let faults = Policy::new(Mode::Enforce, Defaults::default(), thresholds, rules).unwrap_err();
        assert_eq!(faults.len(), 4, "{faults:?}");
    }
}
