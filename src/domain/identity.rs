//! Who may do what, and when two names are one person.

use super::review::numbered;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Tokens that a daemon keeps, ended ones included.
pub const TOKENS_MAX: usize = 10_000;
/// Groups of one token.
pub const GROUPS_MAX: usize = 64;
/// Tenants of one token.
pub const TENANTS_MAX: usize = 64;
/// Other names of one person.
pub const ALIASES_MAX: usize = 16;

numbered! {
    /// What a credential may do.
    Role {
        /// Ask about calls and tell their outcomes.
        Gateway,
        /// Read reviews and timelines, and vote.
        Reviewer,
        /// Everything but voting.
        Operator,
        /// Read everything.
        Auditor,
    }
}

impl Role {
    /// The role's name as written on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Reviewer => "reviewer",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id, safe to show.
    pub id: String,
    /// Who uses it, such as `user:alice`.
    pub subject: String,
    /// Other names of the same person.
    pub aliases: Vec<String>,
    /// What it may do.
    pub role: Role,
    /// Groups in whose name it votes.
    pub groups: Vec<String>,
    /// Tenants it is good for; empty: all.
    pub tenants: Vec<String>,
    /// Until when; none: until it is revoked.
    pub expires: Option<Timestamp>,
    /// SHA-256 of its secret, which is 256 random bits: nothing slower is needed.
    pub hash: [u8; 32],
}

impl Token {
    /// Whether its time is over.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// A voter: all names of one person, and what they vote as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voter {
    /// Subject of the credential.
    pub subject: String,
    /// Other names of the same person.
    pub aliases: Vec<String>,
    /// Groups by the credential.
    pub groups: Vec<String>,
    /// Whether it counts for every group: the owner of a daemon that has no credentials.
    pub any_group: bool,
}

impl Voter {
    /// All names of the person.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.subject.as_str()).chain(self.aliases.iter().map(String::as_str))
    }

    /// Whether `name` is one of this person's.
    pub fn is(&self, name: &str) -> bool {
        self.names().any(|own| same_person(own, name))
    }
}

/// Whether two names are one person's: case does not count, nor does what kind of name it is said to be,
/// so that `alice`, `user:alice` and `User:Alice` are one.
pub fn same_person(one: &str, other: &str) -> bool {
    let one = bare(one).chars().flat_map(char::to_lowercase);
    one.eq(bare(other).chars().flat_map(char::to_lowercase))
}

fn bare(name: &str) -> &str {
    let name = name.trim();
    match name.split_once(':') {
        Some((kind, rest)) if PERSON_KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind)) => {
            rest.trim()
        }
        _ => name,
    }
}

/// What a person's name may begin with. An agent's name is never a person's.
const PERSON_KINDS: [&str; 4] = ["user", "unix", "human", "person"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_under_two_names() {
        for (one, other) in
            [("user:alice", "alice"), ("User:Alice", "unix:alice"), ("user:ÄNNE", "user:änne"), ("a", "a")]
        {
            assert!(same_person(one, other), "{one} {other}");
        }
        for (one, other) in [("user:alice", "user:bob"), ("agent:alice", "user:alice"), ("", "user:alice")] {
            assert!(!same_person(one, other), "{one} {other}");
        }
    }

    #[test]
    fn aliases_are_names_too() {
        let voter = Voter {
            subject: "user:alice".to_owned(),
            aliases: vec!["alice@example.com".to_owned()],
            groups: Vec::new(),
            any_group: false,
        };
        assert!(voter.is("ALICE@example.com") && voter.is("alice") && !voter.is("bob"));
    }
}
