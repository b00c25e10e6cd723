//! On which terms a call under review is approved: by whom, within which time, and what silence means.

use crate::domain::risk::RiskCategory;
use crate::domain::time::{MINUTE_US, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// Most approvers that a rule can ask for.
pub const APPROVERS_MAX: u8 = 16;
/// Most groups that one list of approvers names.
pub const GROUPS_PER_TERMS_MAX: usize = 16;

/// What happens when the time for a review is over and nobody decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhenSilent {
    /// The call is denied.
    Deny,
    /// The call is approved. Only for calls of category LOW or MEDIUM; any other is denied.
    Approve,
    /// The review goes to further groups, who may vote from then on beside the first ones; after another
    /// `deny_after_us` without a decision the call is denied.
    Escalate {
        /// The groups, at least one.
        to: Vec<String>,
        /// Microseconds from the escalation on.
        deny_after_us: i64,
    },
}

/// The terms of one review.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewTerms {
    /// Distinct approvers needed, 1 to [`APPROVERS_MAX`].
    pub approvers: u8,
    /// Groups whose members may approve. Empty: every reviewer may.
    pub groups: Vec<String>,
    /// Microseconds from the opening on after which [`ReviewTerms::when_silent`] happens.
    pub after_us: i64,
    /// What happens then.
    pub when_silent: WhenSilent,
    /// Microseconds for which an approval holds until the call is released.
    pub release_within_us: i64,
}

impl ReviewTerms {
    /// What silence means for a call of this category: approval by silence is for LOW and MEDIUM only,
    /// whatever the file says.
    pub fn when_silent(&self, category: RiskCategory) -> &WhenSilent {
        match &self.when_silent {
            WhenSilent::Approve if category > RiskCategory::Medium => &WhenSilent::Deny,
            other => other,
        }
    }

    /// When [`ReviewTerms::when_silent`] happens to a review opened at `opened`.
    pub const fn deadline(&self, opened: Timestamp) -> Timestamp {
        opened.plus_micros(self.after_us)
    }
}

impl Default for ReviewTerms {
    /// One approver of any group within 15 minutes, else denied; an approval holds for 10 minutes.
    fn default() -> Self {
        Self {
            approvers: 1,
            groups: Vec::new(),
            after_us: 15 * MINUTE_US,
            when_silent: WhenSilent::Deny,
            release_within_us: 10 * MINUTE_US,
        }
    }
}

/// The terms of reviews that no rule has terms for, by category.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultTerms {
    /// In the order of [`RiskCategory::ALL`].
    pub by_category: [ReviewTerms; 4],
}

impl DefaultTerms {
    /// The terms for a category.
    pub const fn of(&self, category: RiskCategory) -> &ReviewTerms {
        let [low, medium, high, critical] = &self.by_category;
        match category {
            RiskCategory::Low => low,
            RiskCategory::Medium => medium,
            RiskCategory::High => high,
            RiskCategory::Critical => critical,
        }
    }
}

/// Members that the policy file itself gives to groups; those of identities come on top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(pub BTreeMap<String, BTreeSet<String>>);

impl Groups {
    /// Whether the file makes `subject` a member of `group`.
    pub fn has_member(&self, group: &str, subject: &str) -> bool {
        self.0.get(group).is_some_and(|members| members.contains(subject))
    }

    /// The groups of `subject` in the file.
    pub fn of<'g>(&'g self, subject: &'g str) -> impl Iterator<Item = &'g str> + 'g {
        self.0.iter().filter(move |(_, members)| members.contains(subject)).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_approves_low_and_medium_only() {
        let terms = ReviewTerms { when_silent: WhenSilent::Approve, ..ReviewTerms::default() };
        let silent = |category| terms.when_silent(category).clone();
        assert_eq!(silent(RiskCategory::Low), WhenSilent::Approve);
        assert_eq!(silent(RiskCategory::Medium), WhenSilent::Approve);
        assert_eq!(silent(RiskCategory::High), WhenSilent::Deny);
        assert_eq!(silent(RiskCategory::Critical), WhenSilent::Deny);
    }
}
