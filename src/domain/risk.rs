//! How dangerous a tool is before anything is known of the call: category and capabilities.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Base risk of a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RiskCategory {
    /// Reads only, or a write that destroys nothing: `get_logs`, `add_comment`.
    Low,
    /// A change of state that can be taken back: `scale_replicas`, `update_config`.
    Medium,
    /// Cannot be taken back: `delete_resource`, `send_email`.
    High,
    /// Production, or many things at once: `deploy_service`, `run_migration`.
    Critical,
}

impl RiskCategory {
    /// All categories, lowest first.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Risk of a call of this category with no evidence against it, 0 to 100.
    pub const fn base_risk(self) -> u8 {
        match self {
            Self::Low => 10,
            Self::Medium => 30,
            Self::High => 55,
            Self::Critical => 75,
        }
    }

    /// Weight in bits added to the evidence when it is compared with the review threshold.
    pub const fn weight_millibits(self) -> i32 {
        match self {
            Self::Low => 0,
            Self::Medium => 1_000,
            Self::High => 2_000,
            Self::Critical => 3_000,
        }
    }

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The stored number, 1 to 4.
    pub const fn number(self) -> u8 {
        match self {
            Self::Low => 1,
            Self::Medium => 2,
            Self::High => 3,
            Self::Critical => 4,
        }
    }

    /// The category of a stored number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Low),
            2 => Some(Self::Medium),
            3 => Some(Self::High),
            4 => Some(Self::Critical),
            _ => None,
        }
    }
}

impl fmt::Display for RiskCategory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a tool can do: a set of labels, over which session context and composition are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capabilities(u16);

impl Capabilities {
    /// No label.
    pub const NONE: Self = Self(0);
    /// Reads credentials, keys, secrets.
    pub const READS_SECRET: Self = Self(1);
    /// Returns text that strangers can write: mail, web pages, issues, reviews.
    pub const READS_UNTRUSTED: Self = Self(1 << 1);
    /// Returns data of a person or a company that is not public.
    pub const READS_PRIVATE: Self = Self(1 << 2);
    /// Changes state.
    pub const MUTATES: Self = Self(1 << 3);
    /// Destroys what cannot be brought back.
    pub const DESTROYS: Self = Self(1 << 4);
    /// Moves money or buys.
    pub const SPENDS: Self = Self(1 << 5);
    /// Sends data out: mail, posts, requests, uploads.
    pub const EGRESS: Self = Self(1 << 6);
    /// Runs code or commands.
    pub const EXECUTES: Self = Self(1 << 7);
    /// Gives rights to someone.
    pub const GRANTS_ACCESS: Self = Self(1 << 8);
    /// Touches production by deploying, migrating, restarting.
    pub const DEPLOYS: Self = Self(1 << 9);

    /// Every label with its name.
    pub const NAMES: [(Self, &'static str); 10] = [
        (Self::READS_SECRET, "reads_secret"),
        (Self::READS_UNTRUSTED, "reads_untrusted"),
        (Self::READS_PRIVATE, "reads_private"),
        (Self::MUTATES, "mutates"),
        (Self::DESTROYS, "destroys"),
        (Self::SPENDS, "spends"),
        (Self::EGRESS, "egress"),
        (Self::EXECUTES, "executes"),
        (Self::GRANTS_ACCESS, "grants_access"),
        (Self::DEPLOYS, "deploys"),
    ];

    /// The set behind a stored number; unknown bits are kept.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The stored number.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Both sets together.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The label of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(_, known)| *known == name).map(|(label, _)| label)
    }

    /// Whether every label of `other` is in the set.
    pub const fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any label of `other` is in the set.
    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Names of the labels in the set.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(label, _)| self.has_any(*label)).map(|(_, name)| name)
    }
}
