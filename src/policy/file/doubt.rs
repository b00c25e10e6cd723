//! What a policy says that can hardly be meant, or that does not come about as it reads. Told when a file is checked
//! or adopted, so that a policy that is in force already goes on.

use crate::domain::risk::RiskCategory;
use crate::policy::fault::Fault;
use crate::policy::names::Pattern;
use crate::policy::policy::Policy;
use crate::policy::review_terms::WhenSilent;
use crate::policy::rule::{Effect, Rule};

/// Names that have nothing in common: a pattern that matches all of them takes everything.
const PROBES: [&str; 6] = ["a", "drop_table", "Zq7", "x.y-z", "0", "_"];

/// All doubts about a policy.
pub(super) fn doubts(policy: &Policy) -> Vec<Fault> {
    let of_rules = policy.rules().flat_map(|rule| [breadth(rule), consent(rule, policy)]).flatten();
    of_rules.chain(silent_defaults(policy)).collect()
}

/// A rule that allows everything, however it is written and whatever it calls it.
fn breadth(rule: &Rule) -> Option<Fault> {
    let any = |pattern: &Option<String>| pattern.as_deref().is_none_or(takes_everything);
    let unconditional = rule.when.as_ref().is_none_or(|when| when.text().trim() == "true");
    let everything = takes_everything(&rule.tool) && any(&rule.server) && any(&rule.principal);
    if rule.effect != Effect::Allow || !everything || !unconditional || rule.acknowledged {
        return None;
    }
    let called = match rule.risk {
        None | Some(RiskCategory::Critical) => String::new(),
        Some(risk) => format!(", since it calls all of them {risk}"),
    };
    let message = format!(
        "allows every tool, critical ones too{called}; narrow it, or write `acknowledge: true` if it is meant"
    );
    Some(of(rule, message))
}

fn takes_everything(pattern: &str) -> bool {
    Pattern::new(pattern).is_ok_and(|pattern| PROBES.iter().all(|name| pattern.matches(name)))
}

/// Consent by silence for calls that it never holds for.
fn consent(rule: &Rule, policy: &Policy) -> Option<Fault> {
    let (risk, terms) = (rule.risk?, rule.review.as_ref()?);
    let inherited = policy.reviews.of(risk).when_silent == WhenSilent::Approve;
    if risk <= RiskCategory::Medium || terms.when_silent != WhenSilent::Approve || inherited {
        return None;
    }
    let message = format!(
        "silence approves low and medium calls only, and these are {risk}: write `then: deny` or `then: escalate`"
    );
    Some(of(rule, message))
}

fn silent_defaults(policy: &Policy) -> Option<Fault> {
    let above = [RiskCategory::High, RiskCategory::Critical].map(|risk| policy.reviews.of(risk));
    let silent = above.iter().any(|terms| terms.when_silent == WhenSilent::Approve);
    let message = "silence approves low and medium calls only: reviews of high and critical ones are denied \
                   when nobody answers, whatever `review` says";
    silent.then(|| Fault::error(1, 1, message).warning())
}

fn of(rule: &Rule, message: String) -> Fault {
    Fault { rule_id: rule.id.clone(), ..Fault::error(rule.line, 1, message) }
}
