//! Why the engine refused, with what the caller should do: `rpc::status` turns each into a gRPC status.

use crate::decide::ingest::Violation;
use crate::decide::lock::Fault as LockFault;
use crate::decide::review::VoteFault;
use crate::decide::ruling::Refusal;
use crate::eventlog;

/// A refusal. Cloneable, because one failed append answers many callers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request is wrong; nothing happened.
    #[error("{}", violations_text(.0))]
    Invalid(Vec<Violation>),
    /// The queue is full; nothing happened.
    #[error("the engine's queue is full; try again shortly")]
    Overloaded,
    /// The `call_id` belongs to another call; nothing happened.
    #[error("call_id `{0}` was used for a call with other content")]
    CallIdTaken(String),
    /// The outcome of this call is recorded already, and it is another one.
    #[error("the outcome of call_id `{0}` is recorded already and differs")]
    OutcomeTaken(String),
    /// A decision about rules cannot be; nothing happened.
    #[error("{}", refusal_text(.0))]
    Refused(Refusal),
    /// A vote that does not count, or a review that cannot be handed on.
    #[error("{}", vote_text(*.0))]
    Vote(VoteFault),
    /// A lock that cannot be placed or lifted.
    #[error("{}", lock_text(*.0))]
    Lock(LockFault),
    /// A token that cannot be made or revoked.
    #[error("{}", token_text(*.0))]
    Token(LockFault),
    /// No such thing.
    #[error("{0} is not known")]
    NotFound(String),
    /// No room for another tenant in this partition.
    #[error("the partition holds {0} tenants, the most it can")]
    TenantsFull(usize),
    /// The disk is too full to write; nothing happened.
    #[error("the disk is too full to write: {0}")]
    DiskFull(String),
    /// An append failed: whether the event is in the log is known only after a restart.
    #[error("the append failed, its outcome is unknown: {0}; ask again with the same call_id")]
    Unknown(String),
    /// Writes are off since an append failed.
    #[error("writes are off since an append failed ({0}); the daemon must be restarted")]
    WritesOff(String),
    /// The engine is stopping; nothing happened.
    #[error("the daemon is stopping")]
    Stopping,
    /// Stored data is damaged.
    #[error("{0}")]
    DataLoss(String),
    /// Reading failed.
    #[error("{0}")]
    Storage(String),
}

fn violations_text(violations: &[Violation]) -> String {
    let one = |violation: &Violation| format!("{} {}", violation.field, violation.description);
    violations.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn refusal_text(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Faults(faults) => {
            let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
            format!("the policy is not accepted: {}", shown.join("; "))
        }
        Refusal::Conflict(why) | Refusal::Full(why) => why.clone(),
        Refusal::Unknown(what) => format!("{what} is not known"),
    }
}

const fn vote_text(fault: VoteFault) -> &'static str {
    match fault {
        VoteFault::Unknown => "there is no such review in this tenant",
        VoteFault::Closed => "the review is settled or its time is over; read it to see how",
        VoteFault::Digest => {
            "this is not the call under review; read the review again and vote on what it shows"
        }
        VoteFault::Locked => "a lock covers the voter",
        VoteFault::Requester => {
            "nobody approves their own call, nor one that is made in their name: somebody else has to, such as root over \
             the socket (`sudo askance ...`), or a reviewer with a token"
        }
        VoteFault::NotAsked => "the voter is in none of the groups that are asked",
        VoteFault::Voted => "this person has voted already; the first vote stands",
        VoteFault::Full => "the review has as many votes or delegates as it can hold",
    }
}

fn lock_text(fault: LockFault) -> String {
    match fault {
        LockFault::Unknown => "there is no such lock".to_owned(),
        LockFault::FileStillThere => {
            "the sentinel file placed this lock; remove the file and the lock is lifted".to_owned()
        }
        LockFault::Full(most) => format!("{most} locks are held, the most there can be"),
    }
}

fn token_text(fault: LockFault) -> String {
    match fault {
        LockFault::Full(most) => format!("{most} tokens were made, the most there can be"),
        LockFault::Unknown | LockFault::FileStillThere => "there is no such token".to_owned(),
    }
}

impl Error {
    /// Whether the state cannot be told, because it is ahead of a log that takes no writes. The log itself can
    /// still be read.
    pub const fn is_state_withheld(&self) -> bool {
        matches!(self, Self::DiskFull(_) | Self::WritesOff(_))
    }

    /// Whether nothing was written for sure.
    pub const fn is_without_effect(&self) -> bool {
        !matches!(self, Self::Unknown(_))
    }
}

impl From<eventlog::Error> for Error {
    fn from(error: eventlog::Error) -> Self {
        let text = error.to_string();
        match error {
            eventlog::Error::DiskFull { .. } => Self::DiskFull(text),
            eventlog::Error::WritesOff { cause } => Self::WritesOff(cause),
            ref damaged if damaged.is_data_loss() => Self::DataLoss(text),
            _ => Self::Storage(text),
        }
    }
}
