//! How a decision stands to the review budget and to what its session has shown so far.

use serde::{Deserialize, Serialize};

/// Why evidence asked for a review, and who pays for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tier {
    /// Evidence did not ask for one.
    #[default]
    None,
    /// It reached the threshold: paid from the budget.
    Soft,
    /// It reached 20 bits: outside the budget.
    Hard,
    /// A floor fired: outside the budget.
    Floor,
    /// What the session or its principal did call by call has added up: outside the budget, at most about
    /// once in ten thousand calls.
    Session,
    /// It reached the threshold in a session that is held, or in a surge: it joins the review that is open, and
    /// the threshold does not move.
    Joined,
}

impl Tier {
    /// All tiers; the stored number is the place in this list.
    pub const ALL: [Self; 6] = [Self::None, Self::Soft, Self::Hard, Self::Floor, Self::Session, Self::Joined];

    /// The stored number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The tier of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// The account of a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Who pays for the review that evidence asks for.
    pub tier: Tier,
    /// Whether the call, allowed as it is, belongs to the sample that is looked at afterwards.
    pub audited: bool,
    /// Detectors left out of the combination because a reviewer approved the like in this session: one bit
    /// each, in the order of `Detector::ALL`.
    pub muted: u8,
    /// `log2(1 + R)` of the session's e-detector after this call, milli-bits.
    pub session_evidence: i32,
    /// The same over all sessions of the principal.
    pub principal_evidence: i32,
}
