//! Whether the people exist that a policy's reviews ask for.

use super::{Reviewer, Surroundings};
use crate::domain::identity::same_person;
use crate::domain::risk::RiskCategory;
use crate::policy::fault::{Fault, Severity};
use crate::policy::policy::Policy;
use crate::policy::review_terms::{ReviewTerms, WhenSilent};

impl Reviewer {
    fn is(&self, name: &str) -> bool {
        self.names.iter().any(|own| same_person(own, name))
    }

    /// Takes another credential of the same person in, if it is one.
    fn merge(&mut self, other: &Self) -> bool {
        let same = other.names.iter().any(|name| self.is(name));
        if same {
            self.names.extend(other.names.iter().cloned());
            self.groups.extend(other.groups.iter().cloned());
        }
        same
    }
}

/// Reviews that nobody could settle: groups without members, or fewer people than approvers. What only a daemon could
/// know is a warning.
pub(super) fn unreachable(policy: &Policy, around: &Surroundings) -> Vec<Fault> {
    let mut faults = Vec::new();
    for rule in policy.rules() {
        let Some(terms) = &rule.review else { continue };
        for (severity, message) in of_terms(terms, policy, around) {
            let fault = Fault::error(rule.line, 1, message);
            faults.push(Fault { rule_id: rule.id.clone(), severity, ..fault });
        }
    }
    for (terms, category) in policy.reviews.by_category.iter().zip(RiskCategory::ALL) {
        if *terms != ReviewTerms::default() {
            for (severity, message) in of_terms(terms, policy, around) {
                let message = format!("reviews of category {category}: {message}");
                faults.push(Fault { severity, ..Fault::error(1, 1, message) });
            }
        }
    }
    faults
}

fn of_terms(terms: &ReviewTerms, policy: &Policy, around: &Surroundings) -> Vec<(Severity, String)> {
    let (backup, needed) = match &terms.when_silent {
        WhenSilent::Escalate { to, .. } => (to.as_slice(), terms.approvers),
        _ => (&[][..], terms.approvers),
    };
    let mut found = match around {
        Surroundings::Tokens(_) => Vec::new(),
        Surroundings::NoTokens if needed > 1 => vec![(
            Severity::Warning,
            format!(
                "{needed} approvers are needed, and while there are no tokens only the user of the Unix socket votes; make \
                 some with `askance token create --role reviewer`"
            ),
        )],
        Surroundings::NoTokens => Vec::new(),
        Surroundings::Unknown => unlisted(terms.groups.iter().chain(backup), policy),
    };
    let is_known = |groups: &[String]| match around {
        Surroundings::Tokens(_) => true,
        _ => groups.iter().all(|group| policy.groups.0.contains_key(group)),
    };
    let mut wrong = |message: String| found.push((Severity::Error, message));
    for group in &terms.groups {
        let group = std::slice::from_ref(group);
        if is_known(group) && members(group, policy, around) == 0 {
            wrong(format!("group `{}` has no members who can vote", group.join("")));
        }
    }
    if !backup.is_empty() && is_known(backup) && members(backup, policy, around) == 0 {
        wrong(format!("nobody is in the groups it escalates to ({})", backup.join(", ")));
    }
    let reachable = match around {
        Surroundings::Tokens(reviewers) if terms.groups.is_empty() => people(reviewers).len(),
        _ if terms.groups.is_empty() || !is_known(&terms.groups) => usize::from(needed),
        _ => members(&terms.groups, policy, around),
    };
    if reachable < usize::from(needed) {
        wrong(format!("{needed} approvers are needed and {reachable} can be reached"));
    }
    found
}

/// Groups that the file does not list, each once: tokens may stand for them.
fn unlisted<'g>(groups: impl Iterator<Item = &'g String>, policy: &Policy) -> Vec<(Severity, String)> {
    let mut names: Vec<&String> = groups.filter(|group| !policy.groups.0.contains_key(*group)).collect();
    names.sort();
    names.dedup();
    let told = |group: &String| {
        format!("group `{group}` is not in this file; whether tokens stand for it only a daemon knows")
    };
    names.into_iter().map(|group| (Severity::Warning, told(group))).collect()
}

/// Credentials to people: one person may hold several.
fn people(reviewers: &[Reviewer]) -> Vec<Reviewer> {
    let mut people: Vec<Reviewer> = Vec::new();
    for reviewer in reviewers {
        if !people.iter_mut().any(|known| known.merge(reviewer)) {
            people.push(reviewer.clone());
        }
    }
    people
}

/// People who can vote in the name of one of these groups.
fn members(groups: &[String], policy: &Policy, around: &Surroundings) -> usize {
    let named = || groups.iter().filter_map(|group| policy.groups.0.get(group)).flatten();
    let Surroundings::Tokens(reviewers) = around else {
        let one = |name: &String| Reviewer { names: vec![name.clone()], groups: Vec::new() };
        return people(&named().map(one).collect::<Vec<_>>()).len();
    };
    // As exactly as a vote is counted.
    let is_member = |person: &&Reviewer| {
        person.groups.iter().any(|group| groups.contains(group))
            || named().any(|name| person.names.contains(name))
    };
    people(reviewers).iter().filter(is_member).count()
}
