//! A decision as a value: verdict, score, and the findings behind it.

use super::account::Account;
use super::risk::RiskCategory;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Run the call.
    Allow,
    /// Ask a human first.
    Review,
    /// Do not run the call.
    Deny,
}

impl Verdict {
    /// The stored number, from 1; a higher one is stricter.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The verdict of a stored number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Allow),
            2 => Some(Self::Review),
            3 => Some(Self::Deny),
            _ => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Review => "review",
            Self::Deny => "deny",
        })
    }
}

/// Whether verdicts bind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Decide and record, but answer `ALLOW` with `enforced = false`.
    Observe,
    /// Answer what was decided.
    #[default]
    Enforce,
}

/// A kind of oddness that is judged on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Detector {
    /// Hour of the day and week.
    Time,
    /// Bursts.
    Rate,
    /// The tool after the tools before it.
    Sequence,
    /// What the session has touched so far.
    Context,
    /// Argument names and values.
    Arguments,
    /// A tool new to this principal.
    Novelty,
    /// What earlier results brought in.
    Results,
}

/// How many detectors there are.
pub const DETECTORS: usize = 7;

impl Detector {
    /// All detectors in the order of every array indexed by detector.
    pub const ALL: [Self; DETECTORS] = [
        Self::Time,
        Self::Rate,
        Self::Sequence,
        Self::Context,
        Self::Arguments,
        Self::Novelty,
        Self::Results,
    ];

    /// Place in arrays indexed by detector.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The detector's name as shown and written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Rate => "rate",
            Self::Sequence => "sequence",
            Self::Context => "context",
            Self::Arguments => "arguments",
            Self::Novelty => "novelty",
            Self::Results => "results",
        }
    }
}

/// What a detector saw and what it expected, in figures a human can check against the timeline.
/// The sentence is made from these only when someone reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// No figures: the detector abstained, or nothing was odd.
    None,
    /// Time of day and week: this hour against the learnt ones.
    Hour {
        /// Local hour of the week, 0 = Monday 00:00.
        hour_of_week: u8,
        /// Local minute of the hour.
        minute: u8,
        /// Days on which this hour of the week was active.
        active_here: u32,
        /// All active hours learnt.
        active_total: u32,
        /// Weeks of history.
        weeks: u32,
    },
    /// A burst: calls in the worst window.
    Burst {
        /// Length of the window, seconds.
        window_s: u32,
        /// Calls in the window before this one.
        count: u32,
        /// Mean calls that calls of this entity see in such a window, thousandths.
        mean_milli: u32,
        /// Whether the entity is the pair of principal and tool (else the principal).
        per_tool: bool,
    },
    /// Too many different targets: values of the first text argument, in the last hour.
    Targets {
        /// How many, this call's included.
        count: u32,
        /// Mean number that calls of this entity find, thousandths.
        mean_milli: u32,
        /// Whether the entity is the pair of principal and tool (else the principal).
        per_tool: bool,
    },
    /// More calls than are usual at this hour of the week, or on such a day.
    Volume {
        /// Whether the day is counted (else the clock hour).
        whole_day: bool,
        /// Calls of the principal so far, this one included.
        count: u32,
        /// Calls expected of a whole such hour or day, thousandths.
        expected_milli: u32,
    },
    /// Sequence: how often the tool followed the two before it.
    Sequence {
        /// Calls of the session before this one, at most 2.
        place: u8,
        /// Times it followed both.
        after_two: u32,
        /// Times the two were seen.
        two_total: u32,
        /// Times it followed the last one.
        after_one: u32,
        /// Times the last one was seen.
        one_total: u32,
    },
    /// Session context: capabilities seen before, and the one this call adds.
    Context {
        /// Capabilities of earlier calls of the session.
        seen: u16,
        /// Capabilities of this call.
        adds: u16,
        /// Sessions in which the rarest pair was seen.
        together: u32,
        /// Sessions that had the earlier capability.
        sessions: u32,
    },
    /// Arguments: the oddest path.
    Argument {
        /// Which argument, by its place in the call's features; the renderer finds the path's name.
        index: u8,
        /// What is odd: 0 value, 1 magnitude, 2 the path itself is new, 3 the path is rarely given.
        aspect: u8,
        /// Times this value (or bin, or path) was seen.
        seen: u32,
        /// Times the path (or tool) was seen.
        total: u32,
    },
    /// Novelty: how well the principal knows the tool.
    Novelty {
        /// Calls of the tool by this principal.
        uses: u32,
        /// Calls by this principal.
        calls: u32,
        /// Tools the principal has used.
        tools: u32,
        /// Principals of the tenant that have used the tool.
        peers: u32,
        /// Principals of the tenant.
        principals: u32,
    },
    /// Results: a call that follows the new part of an earlier result.
    Results {
        /// Words of the call that the user did not say and the new part did.
        explained: u32,
        /// Words of the call that the user did not say.
        unexplained: u32,
        /// Different words of the new part.
        new_words: u32,
        /// Those of them that the users' requests use more than this tool's results do.
        requestlike: u32,
        /// Results of that tool that were learnt.
        results: u32,
        /// Different requests that were learnt.
        requests: u32,
    },
}

/// One detector's part in an assessment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Score {
    /// The detector.
    pub detector: Detector,
    /// Raw surprise, milli-bits; none if it abstained.
    pub raw: Option<i32>,
    /// Calibrated surprise, milli-bits; 0 if it abstained.
    pub surprise: i32,
    /// The figures behind it.
    pub evidence: Evidence,
}

/// A rule of the engine's own that sets a least risk, whatever the statistics say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Floor {
    /// Untrusted text and a secret were read, and this call sends, runs or destroys.
    Trifecta,
    /// A secret was read earlier in the session, and this call sends data out.
    SecretThenEgress,
    /// An action like one denied earlier in this session.
    RepeatOfDenied,
    /// The tool's definition changed since it was accepted.
    DefinitionChanged,
    /// A detector failed: what it would have said is unknown.
    DetectorFailed,
    /// Where this call sends, pays or whom it grants was told by text that strangers can write.
    TargetFromStranger,
    /// The call sends out what a secret of this session holds.
    SecretLeaves,
    /// The arguments do not match the tool's schema.
    SchemaMismatch,
    /// The call completes a composition rule that asks for a review.
    Composition,
}

impl Floor {
    /// All floors; the stored bit is the place in this list.
    pub const ALL: [Self; 9] = [
        Self::Trifecta,
        Self::SecretThenEgress,
        Self::RepeatOfDenied,
        Self::DefinitionChanged,
        Self::DetectorFailed,
        Self::TargetFromStranger,
        Self::SecretLeaves,
        Self::SchemaMismatch,
        Self::Composition,
    ];

    /// Its name in policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trifecta => "trifecta",
            Self::SecretThenEgress => "secret_then_egress",
            Self::RepeatOfDenied => "repeat_of_denied",
            Self::DefinitionChanged => "definition_changed",
            Self::DetectorFailed => "detector_failed",
            Self::TargetFromStranger => "target_from_stranger",
            Self::SecretLeaves => "secret_leaves",
            Self::SchemaMismatch => "schema_mismatch",
            Self::Composition => "composition",
        }
    }

    /// The least risk it sets.
    pub const fn risk(self) -> u8 {
        match self {
            Self::SecretLeaves => 90,
            Self::Trifecta | Self::SecretThenEgress => 85,
            Self::TargetFromStranger => 80,
            Self::RepeatOfDenied => 75,
            Self::DefinitionChanged | Self::DetectorFailed => 70,
            Self::SchemaMismatch => 60,
            // The rule's own level sets the risk.
            Self::Composition => 0,
        }
    }

    /// The stored bit.
    pub const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// The floors in a stored set.
    pub fn in_set(bits: u16) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |floor| bits & floor.bit() != 0)
    }

    /// One sentence that says why it fired.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Trifecta => {
                "this session read text that strangers can write and a secret, and this call sends to a target that is new and that the user did not name, or runs or destroys what the user did not name"
            }
            Self::SecretThenEgress => {
                "this session read a secret, and this call sends to a target that is new and that the user did not name"
            }
            Self::TargetFromStranger => {
                "a value of this call is new, the user did not name it, and it comes from new text, like a request, that strangers can write"
            }
            Self::SecretLeaves => {
                "this call can send data out and holds words that only the result of reading a secret held"
            }
            Self::RepeatOfDenied => "a call of the same tool was denied earlier in this session",
            Self::DefinitionChanged => "the tool's definition changed since it was first seen",
            Self::DetectorFailed => "a detector failed on this call, so that its judgement is missing",
            Self::SchemaMismatch => "the arguments do not match the tool's schema",
            Self::Composition => "this call completes a chain of calls that a composition rule watches for",
        }
    }
}

/// Why the verdict is what it is: the step of the decision table that settled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// A rule of the policy allows it.
    RuleAllows,
    /// A rule asks for review.
    RuleReviews,
    /// A rule denies it.
    RuleDenies,
    /// No rule matched: the default of the risk category.
    CategoryDefault,
    /// The statistics found it odd.
    Anomaly,
    /// A floor fired.
    FloorFired,
    /// The risk reached the deny threshold.
    RiskDenies,
    /// History, recorded as it happened.
    Imported,
    /// A lock covers the session.
    SessionLocked,
    /// A lock covers a link of the principal chain.
    PrincipalLocked,
    /// A lock covers the tool.
    ToolLocked,
    /// A lock covers the server.
    ServerLocked,
    /// A lock covers the tenant, or everything.
    TenantLocked,
    /// The call is outside its rule's change window.
    WindowClosed,
    /// What the rule expects of an allowed call does not hold.
    Unexpected,
    /// The rule's condition could not be evaluated.
    ConditionFailed,
    /// A composition rule denies it.
    CompositionDenies,
}

impl Reason {
    /// All reasons; the stored number is the place in this list plus one.
    pub const ALL: [Self; 17] = [
        Self::RuleAllows,
        Self::RuleReviews,
        Self::RuleDenies,
        Self::CategoryDefault,
        Self::Anomaly,
        Self::FloorFired,
        Self::RiskDenies,
        Self::Imported,
        Self::SessionLocked,
        Self::PrincipalLocked,
        Self::ToolLocked,
        Self::ServerLocked,
        Self::TenantLocked,
        Self::WindowClosed,
        Self::Unexpected,
        Self::ConditionFailed,
        Self::CompositionDenies,
    ];

    /// The stored number, from 1.
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }

    /// The reason of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// What the detectors together say of a call, as of one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// One score a detector, in the order of [`Detector::ALL`].
    pub scores: [Score; DETECTORS],
    /// Combined, calibrated evidence, milli-bits.
    pub evidence: i32,
    /// The combination before its calibration, milli-bits.
    pub combined_raw: i32,
    /// Floors that fired, as bits.
    pub floors: u16,
    /// Risk, 0 to 100.
    pub risk: u8,
}

/// A verdict with everything that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// Whether it binds (mode `enforce`).
    pub enforced: bool,
    /// The step that settled it.
    pub reason: Reason,
    /// The rule that matched; empty if none.
    pub rule_id: String,
    /// Base category of the call.
    pub category: RiskCategory,
    /// The review threshold as it stood, milli-bits.
    pub threshold: i32,
    /// Whether the call counts against the review budget.
    pub counted: bool,
    /// Who pays for it, and what its session has shown so far.
    pub account: Account,
    /// Composition rules that the call completes.
    pub compositions: Vec<Completed>,
    /// The assessment.
    pub assessment: Assessment,
}

/// A composition rule that a call completes, as it was when the call was decided. Two are the same if it is the same
/// rule: what is told of it decides nothing.
#[derive(Clone, Debug, Default, Eq)]
pub struct Completed {
    /// The rule's id.
    pub id: String,
    /// What it is about; empty: not recorded, as in decisions of earlier versions.
    pub title: String,
    /// What it is in ATLAS, OWASP and the like.
    pub tags: Vec<String>,
    /// The least risk that it sets.
    pub risk: u8,
}

impl PartialEq for Completed {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Decision {
    /// What a gateway is told to do: the verdict, or `ALLOW` where it does not bind.
    pub const fn answer(&self) -> Verdict {
        if self.enforced { self.verdict } else { Verdict::Allow }
    }
}
