//! Reviews as values: where one is in its life, on which terms it stands, and what was said.

use super::call::Digest;
use super::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Limits of reviews.
pub mod limits {
    /// Reviews that may be open or approved in one session; a further call to review is refused.
    pub const PER_SESSION_MAX: u32 = 64;
    /// Reviews that may be open or approved in one partition; a further call to review is refused.
    pub const OPEN_MAX: usize = 20_000;
    /// Settled reviews a partition keeps at hand; older ones are in the log only.
    pub const SETTLED_MAX: usize = 4_096;
    /// Votes on one review.
    pub const VOTES_MAX: usize = 64;
    /// Calls that may join one review.
    pub const JOINED_MAX: usize = 100;
    /// Reviewers and groups that one review may be handed to.
    pub const DELEGATES_MAX: usize = 16;
    /// A voter's comment, bytes.
    pub const COMMENT_BYTES_MAX: usize = 4_096;
    /// Points of risk by which a call may have become riskier since its approvers saw it.
    pub const RISK_RISE_MAX: u8 = 15;
}

/// Declares an enum whose stored number is its place in the list plus one.
macro_rules! numbered {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// All; the stored number is the place in this list plus one. New ones go to the end.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stored number, from 1.
            pub const fn number(self) -> u8 {
                self as u8 + 1
            }

            /// The one of a stored number.
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
            }
        }
    };
}
pub(super) use numbered;

numbered! {
    /// Where a review is in its life.
    ReviewState {
        /// Open, with the groups that the rule names.
        Pending,
        /// Open, passed on to further groups.
        Escalated,
        /// Approved: good for one release until the approval expires.
        Approved,
        /// Somebody denied.
        Denied,
        /// The review, or the approval it gave, ran out of time.
        Expired,
        /// A lock, the end of its session or another policy took its ground away.
        Cancelled,
        /// Approved, and its call was let go.
        Consumed,
    }
}

impl ReviewState {
    /// Whether votes count.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Escalated)
    }

    /// Whether something can still happen to it: it is open, or its approval waits to be used.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Escalated | Self::Approved)
    }
}

numbered! {
    /// What a voter says.
    Choice {
        /// Let this very call run, once.
        Approve,
        /// Do not let it run. One denial settles the review.
        Deny,
    }
}

numbered! {
    /// Why a review was settled as it was, and why a reviewed call was let go or refused.
    Why {
        /// Enough people approved.
        Approved,
        /// Nobody answered, and the terms take silence for consent.
        Silence,
        /// A reviewer said no.
        DeniedByReviewer,
        /// Nobody answered in time.
        Expired,
        /// Nobody answered in time, and the terms name further groups.
        Escalated,
        /// The approval was not used in time.
        ApprovalExpired,
        /// The session was ended.
        SessionEnded,
        /// The policy is not the one under which the review was opened.
        PolicyChanged,
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
        /// The approval was used by another call.
        AlreadyConsumed,
        /// Tool, arguments, session or tenant are not those that were approved.
        DigestMismatch,
        /// The principal chain is not the one that was approved.
        ChainMismatch,
        /// The change window is closed.
        WindowClosed,
        /// The call is riskier than what the approvers saw.
        ScoreRose,
        /// There is no such review in this tenant.
        UnknownReview,
        /// Too many reviews are open.
        TooManyReviews,
    }
}

impl Why {
    /// Why, in a sentence fit for whoever made the call.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Approved => "a reviewer approved this very call; the approval is used up by it",
            Self::Silence => "nobody answered in time, and the policy takes silence for consent here",
            Self::DeniedByReviewer => "a reviewer denied it",
            Self::Expired => "nobody approved it in time",
            Self::Escalated => "nobody answered in time; it was passed on to the backup groups",
            Self::ApprovalExpired => "its approval was not used in time and has expired",
            Self::SessionEnded => "its session was ended",
            Self::PolicyChanged => {
                "the policy changed since the review was opened; ask again with a new call"
            }
            Self::SessionLocked => "a lock covers its session",
            Self::PrincipalLocked => "a lock covers a principal it acts for",
            Self::ToolLocked => "a lock covers its tool",
            Self::ServerLocked => "a lock covers its server",
            Self::TenantLocked => "a lock covers its tenant",
            Self::AlreadyConsumed => "the approval was used by another call; it is good for one",
            Self::DigestMismatch => "tool, arguments or session are not those that were approved",
            Self::ChainMismatch => "the principal chain is not the one that was approved",
            Self::WindowClosed => "its change window is closed",
            Self::ScoreRose => "it has become riskier than what the approvers saw",
            Self::UnknownReview => "there is no such review",
            Self::TooManyReviews => "too many reviews are open; no further one is opened",
        }
    }
}

numbered! {
    /// What a person says of an alarm, or of a call that raised none.
    Feedback {
        /// Rightly raised.
        TrueAlarm,
        /// Wrongly raised.
        FalseAlarm,
        /// Should have been raised and was not.
        Missed,
    }
}

/// What happens when the deadline passes and nobody decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnDeadline {
    /// The call is denied.
    Deny,
    /// The call is approved. Opened so for LOW and MEDIUM only.
    Approve,
    /// Further groups may vote; after another `deny_after_us` microseconds the call is denied.
    Escalate {
        /// The groups.
        to: Vec<String>,
        /// Microseconds from the escalation on.
        deny_after_us: i64,
    },
}

/// The terms of one review, fixed when it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Distinct people that must approve, at least 1.
    pub approvals: u8,
    /// Groups whose members may vote. Empty: every reviewer.
    pub groups: Vec<String>,
    /// When `on_deadline` happens.
    pub deadline: Timestamp,
    /// What happens then.
    pub on_deadline: OnDeadline,
    /// Microseconds that an approval holds.
    pub approval_us: i64,
}

/// One person's vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Subject of the voter's credential.
    pub reviewer: String,
    /// Other names of the same person.
    pub aliases: Vec<String>,
    /// The group in whose name it counts; empty: none was asked for, or it was handed to them by name.
    pub group: String,
    /// What was said.
    pub choice: Choice,
    /// Why.
    pub comment: String,
    /// Digest of the call that the voter was shown.
    pub digest: Digest,
    /// When.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_numbers_go_both_ways() {
        for state in ReviewState::ALL {
            assert_eq!(ReviewState::from_number(state.number()), Some(*state));
        }
        for why in Why::ALL {
            assert_eq!(Why::from_number(why.number()), Some(*why));
            assert!(!why.sentence().is_empty());
        }
        assert_eq!(Why::from_number(0), None);
        assert_eq!(Choice::from_number(3), None);
        assert_eq!(Feedback::from_number(3), Some(Feedback::Missed));
    }
}
